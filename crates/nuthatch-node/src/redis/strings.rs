//! The commands of strings.

use super::command::{Call, Outcome};
use super::expiry::Unit;
use super::fault::{DECREMENT_OVERFLOW, Fault, OFFSET, OVERFLOW, SYNTAX, TOO_LONG};
use super::number::{integer, range};
use super::reply::Reply;
use super::request::STRING_MAX;
use super::store::{Millis, Store};
use super::value::Text;

pub(crate) fn read(store: &mut Store, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    reply.bulk_or_null(store.read::<Text>(call.args[0])?.map(Vec::as_slice));
    Ok(())
}

/// The options of `SET` and `GETEX`.
#[derive(Debug, Default)]
struct Options<'a> {
    condition: Option<Condition>,
    wants_old: bool,
    expiry: Option<Expiry<'a>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    IfMissing,
    IfPresent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expiry<'a> {
    Keep,
    Remove,
    Set(Unit, &'a [u8]),
}

impl Expiry<'_> {
    /// Two options may both be given if they are of one kind; the last one has the effect.
    fn is_like(self, other: Self) -> bool {
        match (self, other) {
            (Self::Set(unit, _), Self::Set(other, _)) => unit == other,
            _ => self == other,
        }
    }
}

impl<'a> Options<'a> {
    fn parse(words: &[&'a [u8]], command: &str) -> Result<Self, Fault> {
        let is_set = command == "set";
        let mut options = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut time = |unit| words.next().map(|word| Expiry::Set(unit, word)).ok_or(SYNTAX);
            let expiry = match word.to_ascii_lowercase().as_slice() {
                b"nx" if is_set && options.condition != Some(Condition::IfPresent) => {
                    options.condition = Some(Condition::IfMissing);
                    continue;
                }
                b"xx" if is_set && options.condition != Some(Condition::IfMissing) => {
                    options.condition = Some(Condition::IfPresent);
                    continue;
                }
                b"get" if is_set => {
                    options.wants_old = true;
                    continue;
                }
                b"keepttl" if is_set => Expiry::Keep,
                b"persist" if !is_set => Expiry::Remove,
                b"ex" => time(Unit::Seconds)?,
                b"px" => time(Unit::Millis)?,
                b"exat" => time(Unit::SecondsDate)?,
                b"pxat" => time(Unit::MillisDate)?,
                _ => return Err(SYNTAX),
            };
            if options.expiry.is_some_and(|other| !expiry.is_like(other)) {
                return Err(SYNTAX);
            }
            options.expiry = Some(expiry);
        }
        Ok(options)
    }

    /// When the key expires that expires at `old` now.
    fn expires(
        &self,
        old: Option<Millis>,
        now: Millis,
        command: &'static str,
    ) -> Result<Option<Millis>, Fault> {
        Ok(match self.expiry {
            Some(Expiry::Keep) => old,
            Some(Expiry::Set(unit, word)) => Some(unit.future(word, now, command)?),
            Some(Expiry::Remove) | None => None,
        })
    }
}

pub(crate) fn set(store: &mut Store, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    let [key, value] = [call.args[0], call.args[1]];
    let options = Options::parse(&call.args[2..], call.name)?;
    let old = store.entry(key).and_then(|entry| entry.expires);
    let expires = options.expires(old, store.now(), call.name)?;
    let is_present = store.contains(key);
    let is_wanted = match options.condition {
        None => true,
        Some(Condition::IfMissing) => !is_present,
        Some(Condition::IfPresent) => is_present,
    };
    match (options.wants_old, is_wanted) {
        (true, _) => read(store, call, reply)?,
        (false, true) => reply.ok(),
        (false, false) => reply.null(),
    }
    if is_wanted {
        store.insert(key, Text::from(value), expires);
    }
    Ok(())
}

pub(crate) fn setnx(store: &mut Store, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    let is_new = !store.contains(call.args[0]);
    if is_new {
        store.insert(call.args[0], Text::from(call.args[1]), None);
    }
    reply.flag(is_new);
    Ok(())
}

pub(crate) fn setex(store: &mut Store, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    let unit = if call.name == "setex" { Unit::Seconds } else { Unit::Millis };
    let expires = unit.future(call.args[1], store.now(), call.name)?;
    store.insert(call.args[0], Text::from(call.args[2]), Some(expires));
    reply.ok();
    Ok(())
}

pub(crate) fn getset(store: &mut Store, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    read(store, call, reply)?;
    store.insert(call.args[0], Text::from(call.args[1]), None);
    Ok(())
}

pub(crate) fn getdel(store: &mut Store, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    read(store, call, reply)?;
    store.take(call.args[0]);
    Ok(())
}

pub(crate) fn getex(store: &mut Store, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    let options = Options::parse(&call.args[1..], call.name)?;
    let expires = options.expires(None, store.now(), call.name);
    // A missing key has no expiry, so a wrong one is no error.
    if store.read::<Text>(call.args[0])?.is_some() {
        let expires = expires?;
        read(store, call, reply)?;
        if options.expiry.is_some() {
            store.expire(call.args[0], expires);
        }
    } else {
        reply.null();
    }
    Ok(())
}

pub(crate) fn mget(store: &mut Store, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    reply.array(call.args.len());
    for key in call.args {
        // A value of another type is no error here.
        let text = store.read::<Text>(key).unwrap_or_default();
        reply.bulk_or_null(text.map(Vec::as_slice));
    }
    Ok(())
}

/// `MSET` and `MSETNX`.
pub(crate) fn mset(store: &mut Store, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    let (pairs, rest) = call.args.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(Fault::arity(call.name));
    }
    let if_missing = call.name == "msetnx";
    if if_missing && pairs.iter().any(|[key, _]| store.contains(key)) {
        reply.flag(false);
        return Ok(());
    }
    for [key, value] in pairs {
        store.insert(key, Text::from(*value), None);
    }
    if if_missing {
        reply.flag(true);
    } else {
        reply.ok();
    }
    Ok(())
}

pub(crate) fn append(store: &mut Store, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    let len = store.read::<Text>(call.args[0])?.map_or(0, Vec::len);
    if len + call.args[1].len() > STRING_MAX {
        return Err(TOO_LONG);
    }
    store.edit(call.args[0], |text: &mut Text| text.extend_from_slice(call.args[1]))?;
    reply.count(len + call.args[1].len());
    Ok(())
}

pub(crate) fn strlen(store: &mut Store, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    reply.count(store.read::<Text>(call.args[0])?.map_or(0, Vec::len));
    Ok(())
}

pub(crate) fn getrange(store: &mut Store, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    let (first, last) = (integer(call.args[1])?, integer(call.args[2])?);
    let text = store.read::<Text>(call.args[0])?.map_or(&[][..], Vec::as_slice);
    // An end before the string is its first byte, unless both come from its end in wrong order.
    let before = i64::try_from(text.len()).unwrap_or(i64::MAX).saturating_neg();
    let is_backwards = last < first && first < 0;
    let last = if is_backwards { last } else { last.max(before) };
    reply.bulk(&text[range(first, last, text.len())]);
    Ok(())
}

pub(crate) fn setrange(store: &mut Store, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    let value = call.args[2];
    let start = usize::try_from(integer(call.args[1])?).map_err(|_| OFFSET)?;
    let len = store.read::<Text>(call.args[0])?.map_or(0, Vec::len);
    if value.is_empty() {
        reply.count(len);
        return Ok(());
    }
    let end = start.saturating_add(value.len());
    if end > STRING_MAX {
        return Err(TOO_LONG);
    }
    store.edit(call.args[0], |text: &mut Text| {
        text.resize(len.max(end), 0);
        text[start..end].copy_from_slice(value);
    })?;
    reply.count(len.max(end));
    Ok(())
}

/// `INCR`, `DECR`, `INCRBY` and `DECRBY`.
pub(crate) fn count(store: &mut Store, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    let number = call.args.get(1).map_or(Ok(1), |word| integer(word))?;
    let is_up = call.name.starts_with("incr");
    let delta = if is_up { Some(number) } else { number.checked_neg() };
    let delta = delta.ok_or(DECREMENT_OVERFLOW)?;
    let old = store.read::<Text>(call.args[0])?.map_or(Ok(0), |text| integer(text))?;
    let new = old.checked_add(delta).ok_or(OVERFLOW)?;
    store.edit(call.args[0], |text: &mut Text| *text = new.to_string().into_bytes())?;
    reply.integer(new);
    Ok(())
}
