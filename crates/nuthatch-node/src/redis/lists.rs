//! The commands of lists.

use super::command::{Call, Outcome};
use super::fault::{Fault, NOT_POSITIVE};
use super::number::{integer, range};
use super::reply::Reply;
use super::store::Store;
use super::value::{End, List};

/// The end that the command works on.
fn end(call: &Call<'_>) -> End {
    if call.name.starts_with('l') { End::Left } else { End::Right }
}

/// `LPUSH` and `RPUSH`.
pub(crate) fn push(store: &mut Store, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    let len = store.edit(call.args[0], |list: &mut List| {
        call.args[1..].iter().for_each(|item| list.push(end(call), item));
        list.items().len()
    })?;
    reply.count(len);
    Ok(())
}

/// `LPOP` and `RPOP`.
pub(crate) fn pop(store: &mut Store, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    let count = match call.args[1..] {
        [] => None,
        [word] => {
            let number = integer(word).map_err(|_| NOT_POSITIVE)?;
            Some(usize::try_from(number).map_err(|_| NOT_POSITIVE)?)
        }
        _ => return Err(Fault::arity(call.name)),
    };
    let len = store.read::<List>(call.args[0])?.map(|list| list.items().len());
    match (len, count) {
        (None, None) => reply.null(),
        (None, Some(_)) => reply.null_array(),
        (Some(_), None) => {
            let item = store.edit(call.args[0], |list: &mut List| list.pop(end(call)))?;
            reply.bulk_or_null(item.as_deref());
        }
        (Some(len), Some(count)) => {
            let count = count.min(len);
            reply.array(count);
            store.edit(call.args[0], |list: &mut List| {
                let items = (0..count).filter_map(|_| list.pop(end(call)));
                items.for_each(|item| reply.bulk(&item));
            })?;
        }
    }
    Ok(())
}

pub(crate) fn llen(store: &mut Store, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    reply.count(store.read::<List>(call.args[0])?.map_or(0, |list| list.items().len()));
    Ok(())
}

pub(crate) fn lrange(store: &mut Store, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    let (first, last) = (integer(call.args[1])?, integer(call.args[2])?);
    let Some(list) = store.read::<List>(call.args[0])? else {
        reply.array(0);
        return Ok(());
    };
    let range = range(first, last, list.items().len());
    reply.array(range.len());
    list.items().range(range).for_each(|item| reply.bulk(item));
    Ok(())
}

pub(crate) fn lindex(store: &mut Store, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    let Some(list) = store.read::<List>(call.args[0])? else {
        reply.null();
        return Ok(());
    };
    let index = integer(call.args[1])?;
    let len = i64::try_from(list.items().len()).unwrap_or(i64::MAX);
    let index = if index < 0 { index.saturating_add(len) } else { index };
    let item = usize::try_from(index).ok().and_then(|index| list.items().get(index));
    reply.bulk_or_null(item.map(Vec::as_slice));
    Ok(())
}

pub(crate) fn lrem(store: &mut Store, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    let count = integer(call.args[1])?;
    let from = if count < 0 { End::Right } else { End::Left };
    let count_max = match count {
        0 => usize::MAX,
        _ => usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX),
    };
    let item = call.args[2];
    let count = store.edit(call.args[0], |list: &mut List| list.remove(from, item, count_max))?;
    reply.count(count);
    Ok(())
}
