//! The commands of hashes.

use super::command::{Call, Outcome};
use super::fault::{Fault, HASH_NOT_AN_INTEGER, OVERFLOW};
use super::number::integer;
use super::reply::Reply;
use super::store::Store;
use super::value::{Fields, Hash};

/// `HSET`, and `HMSET` with its other reply.
pub(crate) fn hset(store: &mut Store, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    let (pairs, rest) = call.args[1..].as_chunks::<2>();
    if !rest.is_empty() {
        return Err(Fault::arity(call.name));
    }
    let count = store.edit(call.args[0], |hash: &mut Hash| {
        pairs.iter().filter(|[field, value]| hash.insert(field, value)).count()
    })?;
    if call.name == "hset" {
        reply.count(count);
    } else {
        reply.ok();
    }
    Ok(())
}

pub(crate) fn hget(store: &mut Store, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    let value = fields(store, call)?.and_then(|fields| fields.get(call.args[1]));
    reply.bulk_or_null(value.map(Vec::as_slice));
    Ok(())
}

pub(crate) fn hmget(store: &mut Store, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    let fields = fields(store, call)?;
    reply.array(call.args.len() - 1);
    for field in &call.args[1..] {
        let value = fields.and_then(|fields| fields.get(*field));
        reply.bulk_or_null(value.map(Vec::as_slice));
    }
    Ok(())
}

pub(crate) fn hgetall(store: &mut Store, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    let fields = fields(store, call)?;
    reply.map(fields.map_or(0, Fields::len));
    for (field, value) in fields.into_iter().flatten() {
        reply.bulk(field);
        reply.bulk(value);
    }
    Ok(())
}

pub(crate) fn hkeys(store: &mut Store, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    let fields = fields(store, call)?;
    reply.array(fields.map_or(0, Fields::len));
    fields.into_iter().flatten().for_each(|(field, _)| reply.bulk(field));
    Ok(())
}

pub(crate) fn hvals(store: &mut Store, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    let fields = fields(store, call)?;
    reply.array(fields.map_or(0, Fields::len));
    fields.into_iter().flatten().for_each(|(_, value)| reply.bulk(value));
    Ok(())
}

pub(crate) fn hlen(store: &mut Store, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    reply.count(fields(store, call)?.map_or(0, Fields::len));
    Ok(())
}

pub(crate) fn hexists(store: &mut Store, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    reply.flag(fields(store, call)?.is_some_and(|fields| fields.contains_key(call.args[1])));
    Ok(())
}

pub(crate) fn hdel(store: &mut Store, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    let count = store.edit(call.args[0], |hash: &mut Hash| {
        call.args[1..].iter().filter(|field| hash.remove(field)).count()
    })?;
    reply.count(count);
    Ok(())
}

pub(crate) fn hincrby(store: &mut Store, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    let delta = integer(call.args[2])?;
    let old = fields(store, call)?.and_then(|fields| fields.get(call.args[1]));
    let old = old.map_or(Ok(0), |value| integer(value)).map_err(|_| HASH_NOT_AN_INTEGER)?;
    let new = old.checked_add(delta).ok_or(OVERFLOW)?;
    let text = new.to_string();
    store.edit(call.args[0], |hash: &mut Hash| hash.insert(call.args[1], text.as_bytes()))?;
    reply.integer(new);
    Ok(())
}

fn fields<'a>(store: &'a mut Store, call: &Call<'_>) -> Result<Option<&'a Fields>, Fault> {
    Ok(store.read::<Hash>(call.args[0])?.map(Hash::fields))
}
