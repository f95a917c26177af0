//! The commands of sorted sets. `ZADD` and `ZRANGE` have no options but `REV` and `WITHSCORES`.

use super::command::{Call, Outcome};
use super::fault::{Fault, NAN, SYNTAX};
use super::number::{float, integer, range};
use super::reply::{Reply, Version};
use super::store::Store;
use super::value::Sorted;

pub(crate) fn zadd(store: &mut Store, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    let (pairs, rest) = call.args[1..].as_chunks::<2>();
    if !rest.is_empty() {
        return Err(SYNTAX);
    }
    let scores = pairs.iter().map(|[score, _]| float(score));
    let scores = scores.collect::<Result<Vec<_>, Fault>>()?;
    let members = pairs.iter().map(|[_, member]| member).zip(scores);
    reply.count(store.edit(call.args[0], |sorted: &mut Sorted| {
        members.filter(|(member, score)| sorted.insert(member, *score)).count()
    })?);
    Ok(())
}

pub(crate) fn zincrby(store: &mut Store, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    let (delta, member) = (float(call.args[1])?, call.args[2]);
    let old = store.read::<Sorted>(call.args[0])?.and_then(|sorted| sorted.score(member));
    let new = old.map_or(delta, |old| old + delta);
    if new.is_nan() {
        return Err(NAN);
    }
    store.edit(call.args[0], |sorted: &mut Sorted| sorted.insert(member, new))?;
    reply.float(new);
    Ok(())
}

pub(crate) fn zscore(store: &mut Store, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    let sorted = store.read::<Sorted>(call.args[0])?;
    match sorted.and_then(|sorted| sorted.score(call.args[1])) {
        Some(score) => reply.float(score),
        None => reply.null(),
    }
    Ok(())
}

pub(crate) fn zrange(store: &mut Store, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    let (mut is_reversed, mut with_scores) = (false, false);
    for option in &call.args[3..] {
        match option.to_ascii_lowercase().as_slice() {
            b"rev" => is_reversed = true,
            b"withscores" => with_scores = true,
            _ => return Err(SYNTAX),
        }
    }
    let (first, last) = (integer(call.args[1])?, integer(call.args[2])?);
    let Some(sorted) = store.read::<Sorted>(call.args[0])? else {
        reply.array(0);
        return Ok(());
    };
    let len = sorted.len();
    let range = range(first, last, len);
    let has_pairs = with_scores && reply.version == Version::Resp3;
    reply.array(if with_scores && !has_pairs { 2 * range.len() } else { range.len() });
    let mut tell = |(score, member): &(f64, Vec<u8>)| {
        if has_pairs {
            reply.array(2);
        }
        reply.bulk(member);
        if with_scores {
            reply.float(*score);
        }
    };
    if is_reversed {
        sorted.part(len - range.end..len - range.start).iter().rev().for_each(&mut tell);
    } else {
        sorted.part(range).iter().for_each(&mut tell);
    }
    Ok(())
}

pub(crate) fn zrem(store: &mut Store, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    let members = &call.args[1..];
    reply.count(store.edit(call.args[0], |sorted: &mut Sorted| {
        members.iter().filter(|member| sorted.remove(member)).count()
    })?);
    Ok(())
}

pub(crate) fn zcard(store: &mut Store, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    reply.count(store.read::<Sorted>(call.args[0])?.map_or(0, Sorted::len));
    Ok(())
}

pub(crate) fn zrank(store: &mut Store, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    let sorted = store.read::<Sorted>(call.args[0])?;
    match sorted.and_then(|sorted| sorted.rank(call.args[1])) {
        Some(rank) => reply.count(rank),
        None => reply.null(),
    }
    Ok(())
}
