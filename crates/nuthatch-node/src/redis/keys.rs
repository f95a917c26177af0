//! The commands of keys, whatever their values are.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use super::command::{Call, Outcome};
use super::expiry::Unit;
use super::fault::{CURSOR, Fault, GT_AND_LT, NO_SUCH_KEY, NX_AND_OTHERS, SYNTAX};
use super::glob;
use super::number::integer;
use super::reply::Reply;
use super::store::{Millis, Store};

pub(crate) fn del(store: &mut Store, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    reply.count(call.args.iter().filter(|key| store.take(key).is_some()).count());
    Ok(())
}

/// `EXISTS` and `TOUCH`.
pub(crate) fn exists(store: &mut Store, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    reply.count(call.args.iter().filter(|key| store.contains(key)).count());
    Ok(())
}

pub(crate) fn type_of(store: &mut Store, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    reply.simple(store.entry(call.args[0]).map_or("none", |entry| entry.value.name()));
    Ok(())
}

/// The options of `EXPIRE` and the like.
#[derive(Debug, Default)]
struct Conditions {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
}

impl Conditions {
    fn parse(words: &[&[u8]]) -> Result<Self, Fault> {
        let mut it = Self::default();
        for word in words {
            match word.to_ascii_lowercase().as_slice() {
                b"nx" => it.nx = true,
                b"xx" => it.xx = true,
                b"gt" => it.gt = true,
                b"lt" => it.lt = true,
                _ => return Err(Fault([b"ERR Unsupported option ", *word].concat().into())),
            }
        }
        if it.nx && (it.xx || it.gt || it.lt) {
            return Err(NX_AND_OTHERS);
        }
        if it.gt && it.lt { Err(GT_AND_LT) } else { Ok(it) }
    }

    /// Whether a key that expires at `old` may expire at `new` instead. A key that never expires
    /// is the latest.
    fn allow(&self, old: Option<Millis>, new: Millis) -> bool {
        match old {
            None => !self.xx && !self.gt,
            Some(old) => !self.nx && (!self.gt || new > old) && (!self.lt || new < old),
        }
    }
}

/// `EXPIRE`, `PEXPIRE`, `EXPIREAT` and `PEXPIREAT`.
pub(crate) fn expire(store: &mut Store, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    let conditions = Conditions::parse(&call.args[2..])?;
    let unit = match call.name {
        "expire" => Unit::Seconds,
        "pexpire" => Unit::Millis,
        "expireat" => Unit::SecondsDate,
        _ => Unit::MillisDate,
    };
    let at = unit.at(integer(call.args[1])?, store.now());
    let at = at.ok_or_else(|| Fault::expire_time(call.name))?;
    let entry = store.entry(call.args[0]);
    let is_done = entry.is_some_and(|entry| conditions.allow(entry.expires, at));
    if is_done {
        store.expire(call.args[0], Some(at));
    }
    reply.flag(is_done);
    Ok(())
}

/// `TTL` and `PTTL`.
pub(crate) fn ttl(store: &mut Store, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    let now = store.now();
    reply.integer(match store.entry(call.args[0]).map(|entry| entry.expires) {
        None => -2,
        Some(None) => -1,
        Some(Some(at)) if call.name == "pttl" => at - now,
        Some(Some(at)) => (at - now).saturating_add(500) / 1000,
    });
    Ok(())
}

pub(crate) fn persist(store: &mut Store, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    let is_done = store.entry(call.args[0]).is_some_and(|entry| entry.expires.is_some());
    if is_done {
        store.expire(call.args[0], None);
    }
    reply.flag(is_done);
    Ok(())
}

pub(crate) fn rename(store: &mut Store, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    let entry = store.take(call.args[0]).ok_or(NO_SUCH_KEY)?;
    store.put(call.args[1], entry);
    reply.ok();
    Ok(())
}

pub(crate) fn dbsize(store: &mut Store, _: &Call<'_>, reply: &mut Reply) -> Outcome {
    reply.count(store.len());
    Ok(())
}

/// `FLUSHALL` and `FLUSHDB`.
pub(crate) fn flush(store: &mut Store, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    let is_known = |word: &&[u8]| ["sync", "async"].iter().any(|known| is(word, known));
    if call.args.len() > 1 || !call.args.iter().all(is_known) {
        return Err(SYNTAX);
    }
    store.clear();
    reply.ok();
    Ok(())
}

pub(crate) fn keys(store: &mut Store, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    let names = store.keys().map(|(key, _)| key);
    let names: Vec<_> = names.filter(|key| glob::matches(call.args[0], key)).collect();
    reply.array(names.len());
    names.iter().for_each(|key| reply.bulk(key));
    Ok(())
}

/// The cursor is a place in the order of the keys' hashes, so keys that come and go do not move
/// the others: a scan has each key that exists from its start to its end.
pub(crate) fn scan(store: &mut Store, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    let cursor = str::from_utf8(call.args[0]).ok().and_then(|text| text.parse::<u64>().ok());
    let cursor = cursor.ok_or(CURSOR)?;
    let (mut count, mut pattern, mut kind) = (10, None, None);
    let (options, rest) = call.args[1..].as_chunks::<2>();
    for [name, value] in options {
        if is(name, "count") {
            count = usize::try_from(integer(value)?).ok().filter(|n| *n > 0).ok_or(SYNTAX)?;
        } else if is(name, "match") {
            pattern = Some(*value);
        } else if is(name, "type") {
            kind = Some(*value);
        } else {
            return Err(SYNTAX);
        }
    }
    if !rest.is_empty() {
        return Err(SYNTAX);
    }
    let all = store.keys().map(|(key, entry)| (place(key), key, entry.value.name()));
    let mut ahead: Vec<_> = all.filter(|(place, ..)| *place > cursor).collect();
    let mut next = 0;
    if ahead.len() > count {
        let (_, (last, ..), _) = ahead.select_nth_unstable_by_key(count - 1, |(place, ..)| *place);
        let last = *last;
        let len = ahead.len();
        ahead.retain(|(place, ..)| *place <= last);
        next = if ahead.len() < len { last } else { 0 };
    }
    ahead.retain(|(_, key, name)| {
        pattern.is_none_or(|pattern| glob::matches(pattern, key))
            && kind.is_none_or(|kind| is(kind, name))
    });
    reply.array(2);
    reply.bulk(next.to_string().as_bytes());
    reply.array(ahead.len());
    ahead.iter().for_each(|(_, key, _)| reply.bulk(key));
    Ok(())
}

/// The place of a key in a scan, from 1; it fits into 32 bits, as Redis's cursors usually do.
fn place(key: &[u8]) -> u64 {
    (BuildHasherDefault::<DefaultHasher>::default().hash_one(key) >> 33) + 1
}

pub(crate) fn random(store: &mut Store, _: &Call<'_>, reply: &mut Reply) -> Outcome {
    let count = store.len().max(1) as u64;
    let nth = usize::try_from(store.random() % count).unwrap_or_default();
    reply.bulk_or_null(store.keys().nth(nth).map(|(key, _)| key));
    Ok(())
}

fn is(word: &[u8], name: &str) -> bool {
    word.eq_ignore_ascii_case(name.as_bytes())
}
