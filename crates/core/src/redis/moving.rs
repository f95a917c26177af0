//! The steps of a key that moves to another server, in commands of Redis.
//!
//! A value of any type moves as its `DUMP`. Whoever copies one first puts a *mark* at the new server: a
//! second key, whose value is a token that no other mark has. The copy is a script that stores the dump
//! only if the mark still has this token. The one rule: every write at the new server removes the mark, so
//! that a copy of an older value is refused. Whoever finds a mark may use its token for a copy of its own,
//! as what is true of one copy is true of the other.
//!
//! A third key is a *lock*, of a write whose old value is still to be removed: nobody may begin to copy
//! that value. Only who made a lock removes it.
//!
//! The scripts are constants, so that a server compiles each of them once. Source: `EVAL`, `DUMP` and
//! `RESTORE` of Redis 3.2 to 8 and of Valkey.

use super::arguments::{Arguments, split_first};
use super::command::{self, Command, Keys};
use super::frame::{integer, is_null, text};
use super::merge::{Elements, number};
use super::response::Form;
use super::{write_bulk, write_bulk_number, write_command, write_header};
use crate::decimal;
use crate::memcache::Needs;
use crate::message::{Class, Effect, Expect, Kept, Many, One, Outcome};
use alloc::vec::Vec;

/// What the name of a mark has behind the key.
pub const MARK: &[u8] = b":nuthatch-moving";

/// How long a mark stays if nobody removes it, in milliseconds.
pub const LEASE_MILLIS: u64 = 5000;

/// What the name of a lock has behind the key.
pub const LOCK: &[u8] = b":nuthatch-lock";

/// Says whether there is a value; if there is none, which mark there is, ours if there was none. There is
/// no mark where there is a lock.
pub const LOOK: &[u8] = b"if redis.call('exists',KEYS[1])==1 then return 1 end \
    if redis.call('exists',KEYS[3])==1 then return -1 end \
    local m=redis.call('get',KEYS[2]) if m then return m end \
    redis.call('set',KEYS[2],ARGV[1],'PX',ARGV[2]) return ARGV[1]";

/// The value, its digest, and the rest of its time to live.
pub const FETCH: &[u8] = b"local d=redis.call('dump',KEYS[1]) if not d then return 0 end \
    return {d,redis.sha1hex(d),redis.call('pttl',KEYS[1])}";

/// Stores a value if the mark is still there.
pub const COPY: &[u8] =
    b"if redis.call('get',KEYS[2])~=ARGV[1] or redis.call('exists',KEYS[1])==1 \
    then return 0 end redis.call('restore',KEYS[1],ARGV[2],ARGV[3]) \
    redis.call('del',KEYS[2]) return 1";

/// Removes a value if it is still the one that was fetched. What is left of its time to live has become
/// less since, by as much as the time that has passed. A Redis before 5 lets a script write behind a `PTTL`
/// only if replicas get the writes and not the script.
pub const DROP: &[u8] = b"if redis.replicate_commands then redis.replicate_commands() end local d=redis.call('dump',KEYS[1]) if not d then return 0 end \
    local t=redis.call('pttl',KEYS[1]) \
    if redis.sha1hex(d)~=ARGV[1] or t<tonumber(ARGV[2]) or t>tonumber(ARGV[3]) then return -1 end \
    return redis.call('del',KEYS[1])";

/// Removes a mark if it is still the one that was made.
pub const RELEASE: &[u8] = b"if redis.call('get',KEYS[1])==ARGV[1] then \
    return redis.call('del',KEYS[1]) end return 0";

/// A step on the way of a key.
#[derive(Clone, Copy, Debug)]
pub enum Carry<'a> {
    /// Whether there is a value.
    Exists,
    /// As [`Carry::Exists`]; if there is none, asks for a mark in its place, with this token if it is new.
    Look(u64),
    /// Asks the old server for the value.
    Fetch,
    /// Stores a value in the place of the mark.
    Copy {
        /// The reply to the fetch.
        fetched: &'a [u8],
        /// The token of the mark.
        token: u64,
    },
    /// Removes the value if it is the one that was fetched.
    Drop {
        /// The reply to the fetch.
        fetched: &'a [u8],
        /// How long ago the server was asked for it, in milliseconds.
        millis: u64,
    },
    /// Removes the value.
    Delete,
    /// Removes the value, and the mark.
    Forget,
    /// Makes a lock: nobody may begin to copy.
    Lock(u64),
    /// Removes a mark if it still has this token.
    Release(u64),
    /// Removes a lock if it still has this token.
    Unlock(u64),
}

/// What a server said to [`Carry::Exists`] or [`Carry::Look`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looked {
    /// There is a value.
    Present,
    /// There is none.
    Absent,
    /// There is none, and the mark has this token.
    Marked(u64),
    /// There is none, and nobody may copy.
    Locked,
    /// The server answered with an error.
    Error,
}

/// What a server said to [`Carry::Fetch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// There is no value.
    Absent,
    /// There is one.
    Value,
    /// The server answered with an error, or its value is too large for the proxy.
    Error,
}

/// What a request does to the values of its keys. The one rule: what is not certain is a change.
pub fn effect(request: &[u8]) -> Effect {
    let mut arguments = Arguments::of(request);
    let Some(name) = arguments.next() else { return Effect::Apart };
    let Some(command) = command::find(name) else { return Effect::Change };
    let subcommand = arguments.clone().next().and_then(|name| command.find_subcommand(name));
    effect_of(subcommand.unwrap_or(command), arguments)
}

fn effect_of(command: &Command, arguments: Arguments<'_>) -> Effect {
    match command.name {
        "publish" | "spublish" => Effect::Apart,
        _ if command.keys == Keys::None => Effect::Apart,
        "touch" => Effect::ReadAsIs,
        "del" | "unlink" => Effect::Remove,
        "setex" | "psetex" | "mset" => Effect::Put,
        "set" if replaces(arguments) => Effect::Put,
        _ if command.class == Class::Get => Effect::ReadAsIs,
        _ => Effect::Change,
    }
}

/// What a request of several keys does to their values: each part of it does the same.
pub fn effect_of_many(many: &Many<'_>) -> Effect {
    let name = split_first(many.head.text).map_or(&b""[..], |(_, name, _)| name);
    command::find(name).map_or(Effect::Change, |command| effect_of(command, Arguments::default()))
}

/// Whether a request carries out a transaction.
pub fn is_exec(request: &[u8]) -> bool {
    Arguments::of(request).next().is_some_and(|name| name.eq_ignore_ascii_case(b"exec"))
}

/// Whether a `SET` with these arguments does not depend on the value: it has no option but a time to live.
fn replaces(arguments: Arguments<'_>) -> bool {
    let mut options = arguments.skip(2);
    while let Some(option) = options.next() {
        let times = [&b"ex"[..], b"px", b"exat", b"pxat"];
        if !times.iter().any(|time| option.eq_ignore_ascii_case(time)) {
            return false;
        }
        options.next();
    }
    true
}

/// Keeps a request; `key` is the first of its keys that moves.
pub fn keep(one: &One<'_>, key: &[u8]) -> Kept {
    let mut bytes = Vec::new();
    one.wire.write(&mut bytes);
    let effect = effect(&bytes);
    keep_bytes(bytes, key, effect, (one.expect, one.class))
}

/// Keeps the part of a request that is about one of its keys.
pub fn keep_part(bytes: Vec<u8>, expect: Expect, class: Class) -> Kept {
    let key = Arguments::of(&bytes).nth(1).unwrap_or_default().to_vec();
    let effect = effect(&bytes);
    keep_bytes(bytes, &key, effect, (expect, class))
}

/// Keeps that a key is to be brought to its new server.
pub fn keep_key(key: &[u8]) -> Kept {
    keep_bytes(Vec::new(), key, Effect::Change, (Expect::ANY, Class::Other))
}

fn keep_bytes(
    bytes: Vec<u8>,
    key: &[u8],
    effect: Effect,
    (expect, class): (Expect, Class),
) -> Kept {
    Kept {
        bytes,
        key: 0..0,
        is_encoded: false,
        echo: key.to_vec(),
        key_len: key.len(),
        echoes: false,
        effect,
        expect,
        class,
        needs: Needs::NOTHING,
    }
}

/// Appends the request of a step. Returns the expected reply.
pub fn write_carry(carry: &Carry<'_>, key: &[u8], out: &mut Vec<u8>) -> Expect {
    match *carry {
        Carry::Exists => write_command(&[b"EXISTS", key], out),
        Carry::Delete => write_command(&[b"DEL", key], out),
        Carry::Forget => write_command(&[b"DEL", key, &mark(key)], out),
        Carry::Lock(token) => {
            let mut room = [0; 20];
            let lease = digits(LEASE_MILLIS, &mut room);
            write_command(&[b"SET", &lock(key), &token_text(token), b"PX", lease], out);
        }
        Carry::Look(token) => {
            let mut room = [0; 20];
            let lease = digits(LEASE_MILLIS, &mut room);
            let keys = [key, &mark(key), &lock(key)];
            write_script(LOOK, &keys, &[&token_text(token), lease], out);
        }
        Carry::Fetch => write_script(FETCH, &[key], &[], out),
        Carry::Copy { fetched, token } => {
            let value = Value::of(fetched);
            let mut room = [0; 20];
            // To RESTORE, 0 is no time to live.
            let ttl = u64::try_from(value.ttl).map_or(0, |ttl| ttl.max(1));
            let arguments = [&token_text(token), digits(ttl, &mut room), value.dump];
            write_script(COPY, &[key, &mark(key)], &arguments, out);
        }
        Carry::Drop { fetched, millis } => {
            let value = Value::of(fetched);
            let (mut low, mut high) = (Vec::new(), Vec::new());
            let least = if value.ttl < 0 {
                value.ttl
            } else {
                value.ttl.saturating_sub_unsigned(millis).max(0)
            };
            write_signed(least, &mut low);
            write_signed(value.ttl, &mut high);
            write_script(DROP, &[key], &[value.digest, &low, &high], out);
        }
        Carry::Release(token) => {
            write_script(RELEASE, &[&mark(key)], &[&token_text(token)], out);
        }
        Carry::Unlock(token) => {
            write_script(RELEASE, &[&lock(key)], &[&token_text(token)], out);
        }
    }
    Form::Write.expect()
}

/// Appends a request that removes the marks of these keys.
pub fn write_unmark<'k>(keys: impl ExactSizeIterator<Item = &'k [u8]>, out: &mut Vec<u8>) {
    write_header(b'*', 1 + keys.len(), out);
    write_bulk(b"DEL", out);
    keys.for_each(|key| write_bulk(&mark(key), out));
}

fn mark(key: &[u8]) -> Vec<u8> {
    [key, MARK].concat()
}

fn lock(key: &[u8]) -> Vec<u8> {
    [key, LOCK].concat()
}

fn write_script(script: &[u8], keys: &[&[u8]], arguments: &[&[u8]], out: &mut Vec<u8>) {
    write_header(b'*', 3 + keys.len() + arguments.len(), out);
    write_bulk(b"EVAL", out);
    write_bulk(script, out);
    write_bulk_number(keys.len() as u64, out);
    keys.iter().chain(arguments).for_each(|word| write_bulk(word, out));
}

fn digits(number: u64, room: &mut [u8; 20]) -> &[u8] {
    let start = decimal::fill(number, room);
    &room[start..]
}

fn token_text(token: u64) -> Vec<u8> {
    digits(token, &mut [0; 20]).to_vec()
}

fn write_signed(number: i64, out: &mut Vec<u8>) {
    if number < 0 {
        out.push(b'-');
    }
    super::write_number(number.unsigned_abs(), out);
}

/// What a reply to [`FETCH`] says.
struct Value<'a> {
    dump: &'a [u8],
    digest: &'a [u8],
    /// Milliseconds until it expires; -1 if it never does.
    ttl: i64,
}

impl<'a> Value<'a> {
    fn of(reply: &'a [u8]) -> Self {
        let mut elements = Elements::of(reply);
        let mut next = || elements.next().unwrap_or_default();
        let (dump, digest, ttl) = (next(), next(), next());
        Self {
            dump: text(dump).unwrap_or_default(),
            digest: text(digest).unwrap_or_default(),
            ttl: if ttl.is_empty() { -1 } else { number(ttl) },
        }
    }
}

/// Reads the reply to [`Carry::Exists`] or [`Carry::Look`].
pub fn read_look(outcome: Outcome, reply: &[u8]) -> Looked {
    match text(reply) {
        _ if outcome.is_error() => Looked::Error,
        Some(token) => {
            match core::str::from_utf8(token).ok().and_then(|token| token.parse().ok()) {
                Some(token) => Looked::Marked(token),
                None => Looked::Error,
            }
        }
        None if number(reply) > 0 => Looked::Present,
        None if number(reply) < 0 => Looked::Locked,
        None => Looked::Absent,
    }
}

/// Reads the reply to [`Carry::Fetch`].
pub fn read_fetch(outcome: Outcome, reply: &[u8]) -> Fetched {
    match reply.first() {
        _ if outcome.is_error() => Fetched::Error,
        Some(b'*') if !is_null(reply) => Fetched::Value,
        _ => Fetched::Absent,
    }
}

/// Appends what [`Carry::Drop`] needs of the reply to [`Carry::Fetch`]: all but the value itself.
pub fn write_without_value(fetched: &[u8], out: &mut Vec<u8>) {
    let value = Value::of(fetched);
    write_header(b'*', 3, out);
    write_bulk(b"", out);
    write_bulk(value.digest, out);
    out.push(b':');
    write_signed(value.ttl, out);
    out.extend_from_slice(b"\r\n");
}

/// The integer that a server said; none if it is an error or no integer.
pub fn read_number(outcome: Outcome, reply: &[u8]) -> Option<i64> {
    let is_integer = reply.first() == Some(&b':') && !outcome.is_error();
    let digits = reply.get(1..reply.len().saturating_sub(2))?;
    integer(digits).filter(|_| is_integer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(line: &str) -> Vec<u8> {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let mut out = Vec::new();
        write_command(&words, &mut out);
        out
    }

    #[test]
    fn what_a_request_does_is_known_or_a_change() {
        for (line, expected) in [
            ("GET k", Effect::ReadAsIs),
            ("object encoding k", Effect::ReadAsIs),
            ("TOUCH k", Effect::ReadAsIs),
            ("SINTER a b", Effect::ReadAsIs),
            ("SET k v", Effect::Put),
            ("set k v ex 10", Effect::Put),
            ("SET k v PXAT 10", Effect::Put),
            ("SET k v NX", Effect::Change),
            ("SET k v EX 10 NX", Effect::Change),
            ("SET k v GET", Effect::Change),
            ("SET k v KEEPTTL", Effect::Change),
            ("SET k v IFEQ w", Effect::Change),
            ("SETEX k 1 v", Effect::Put),
            ("MSET k v", Effect::Put),
            ("UNLINK k", Effect::Remove),
            ("DELEX k IFEQ v", Effect::Change),
            ("GETEX k", Effect::Change),
            ("XGROUP CREATE k g 0", Effect::Change),
            ("EVAL_RO x 1 k", Effect::Change),
            ("SORT k", Effect::Change),
            ("MY.MODULE k", Effect::Change),
            ("PUBLISH channel x", Effect::Apart),
            ("TIME", Effect::Apart),
        ] {
            assert_eq!(effect(&request(line)), expected, "{line}");
        }
    }

    #[test]
    fn a_time_to_live_may_only_have_become_less_by_the_time_that_has_passed() {
        for (ttl, expected) in
            [("-1", [&b"-1"[..], b"-1"]), ("900", [b"880", b"900"]), ("7", [b"0", b"7"])]
        {
            let fetched = alloc::format!("*3\r\n$1\r\nD\r\n$2\r\nab\r\n:{ttl}\r\n");
            let mut kept = Vec::new();
            write_without_value(fetched.as_bytes(), &mut kept);
            let carry = Carry::Drop { fetched: &kept, millis: 20 };
            let mut out = Vec::new();
            write_carry(&carry, b"k", &mut out);
            let words: Vec<&[u8]> = Arguments::of(&out).collect();
            assert_eq!(words[4..], [b"ab", expected[0], expected[1]], "{ttl}");
        }
    }

    #[test]
    fn a_value_in_its_last_millisecond_is_not_kept_for_ever() {
        for (ttl, expected) in [("-1", "0"), ("0", "1"), ("900", "900")] {
            let fetched = alloc::format!("*3\r\n$1\r\nD\r\n$2\r\nab\r\n:{ttl}\r\n");
            let carry = Carry::Copy { fetched: fetched.as_bytes(), token: 5 };
            let mut out = Vec::new();
            write_carry(&carry, b"k", &mut out);
            let words: Vec<&[u8]> = Arguments::of(&out).collect();
            assert_eq!(words[5..], [b"5", expected.as_bytes(), b"D"], "{ttl}");
        }
    }

    #[test]
    fn a_mark_is_told_from_a_lock() {
        let read = |reply: &[u8]| read_look(Outcome::Success, reply);
        assert_eq!(read(b":1\r\n"), Looked::Present);
        assert_eq!(read(b":0\r\n"), Looked::Absent);
        assert_eq!(read(b"$2\r\n17\r\n"), Looked::Marked(17));
        assert_eq!(read(b":-1\r\n"), Looked::Locked);
        assert_eq!(read(b"$1\r\nx\r\n"), Looked::Error);
        assert_eq!(read_look(Outcome::Error, b"-NOPERM\r\n"), Looked::Error);
    }
}
