//! The commands of sets.

use super::command::{Call, Outcome};
use super::reply::Reply;
use super::store::Store;
use super::value::Set;

pub(crate) fn sadd(store: &mut Store, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    let members = &call.args[1..];
    reply.count(store.edit(call.args[0], |set: &mut Set| {
        members.iter().filter(|member| set.insert(member)).count()
    })?);
    Ok(())
}

pub(crate) fn srem(store: &mut Store, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    let members = &call.args[1..];
    reply.count(store.edit(call.args[0], |set: &mut Set| {
        members.iter().filter(|member| set.remove(member)).count()
    })?);
    Ok(())
}

pub(crate) fn smembers(store: &mut Store, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    let set = store.read::<Set>(call.args[0])?;
    reply.set(set.map_or(0, Set::len));
    set.into_iter().flat_map(Set::members).for_each(|member| reply.bulk(member));
    Ok(())
}

pub(crate) fn sismember(store: &mut Store, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    let set = store.read::<Set>(call.args[0])?;
    reply.flag(set.is_some_and(|set| set.contains(call.args[1])));
    Ok(())
}

pub(crate) fn scard(store: &mut Store, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    reply.count(store.read::<Set>(call.args[0])?.map_or(0, Set::len));
    Ok(())
}
