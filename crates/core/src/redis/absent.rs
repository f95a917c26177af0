//! Keys that are not there: how one is removed, and what is answered in the place of a server that is away.

use super::arguments::Arguments;
use super::response::Form;
use super::{moving, write_command, write_header};
use crate::message::{All, Effect, Expect, One, Outcome, Wire};
use alloc::vec::Vec;

/// Appends a request that removes a key. Returns the expected reply.
pub fn write_removal(key: &[u8], out: &mut Vec<u8>) -> Expect {
    write_command(&[b"DEL", key], out);
    Form::Integer.expect()
}

/// Whether an error says that the user may not use the key (`NOPERM` for a key, not for a command; `acl.c`).
pub fn is_out_of_reach(error: &[u8]) -> bool {
    let text = error.strip_prefix(b"-NOPERM ").unwrap_or_default();
    memchr::memmem::find(text, b" access ").is_some()
}

/// Appends a request that removes all keys of the pool's database. Returns the expected reply.
pub fn write_flush(out: &mut Vec<u8>) -> Expect {
    write_command(&[b"FLUSHDB"], out);
    Form::Status.expect()
}

/// Appends the `FLUSHALL` or `FLUSHDB` that a server has missed. Returns the expected reply, and whether it empties all
/// databases; none if it is another request (`FUNCTION FLUSH`), or one that a server would refuse.
pub fn write_missed_flush(all: &All<'_>, out: &mut Vec<u8>) -> Option<(Expect, bool)> {
    let (Wire::Verbatim(bytes) | Wire::Rewritten(bytes)) = all.wire else { return None };
    let mut words = Arguments::of(bytes);
    let name = words.next()?;
    let is_whole = name.eq_ignore_ascii_case(b"flushall");
    let is_flush = is_whole || name.eq_ignore_ascii_case(b"flushdb");
    let is_how =
        |word: &[u8]| [&b"async"[..], b"sync"].iter().any(|how| word.eq_ignore_ascii_case(how));
    let is_right = words.next().is_none_or(is_how) && words.next().is_none();
    (is_flush && is_right).then(|| {
        out.extend_from_slice(bytes);
        (all.expect, is_whole)
    })
}

/// Whether what a request has in the place of a key is a channel (`PUBLISH`).
pub fn names_channel(one: &One<'_>) -> bool {
    match one.wire {
        Wire::Verbatim(bytes) | Wire::Rewritten(bytes) => moving::effect(bytes) == Effect::Apart,
        Wire::Words { .. } => false,
    }
}

/// What a command answers if there is no such key, in RESP2 and in RESP3; this one is for a single value.
pub const NULL: [&[u8]; 2] = [b"$-1\r\n", b"_\r\n"];
const NULL_ARRAY: [&[u8]; 2] = [b"*-1\r\n", b"_\r\n"];
const ZERO: [&[u8]; 2] = [b":0\r\n"; 2];
const NO_BIT: [&[u8]; 2] = [b":-1\r\n"; 2];
const NO_TTL: [&[u8]; 2] = [b":-2\r\n"; 2];
const EMPTY: [&[u8]; 2] = [b"$0\r\n\r\n"; 2];
const NO_ELEMENTS: [&[u8]; 2] = [b"*0\r\n"; 2];
const NO_MEMBERS: [&[u8]; 2] = [b"*0\r\n", b"~0\r\n"];
const NO_FIELDS: [&[u8]; 2] = [b"*0\r\n", b"%0\r\n"];
const NONE: [&[u8]; 2] = [b"+none\r\n"; 2];
const SCANNED: [&[u8]; 2] = [b"*2\r\n$1\r\n0\r\n*0\r\n"; 2];

/// Appends the reply to a request of one key as if there were no such key. `None` for a write, which can't say
/// that nothing was written, and for a read whose answer only a server knows.
pub fn write_absent(one: &One<'_>, is_resp3: bool, out: &mut Vec<u8>) -> Option<Outcome> {
    let (Wire::Verbatim(request) | Wire::Rewritten(request)) = one.wire else { return None };
    let mut arguments = Arguments::of(request);
    let name = arguments.next()?.to_ascii_lowercase();
    let resp = usize::from(is_resp3);
    if let Some(answer) = answer_to(&name).or_else(|| answer_by(&name, arguments)) {
        out.extend_from_slice(answer[resp]);
    } else {
        let (count, each) = answers_to(&name, arguments)?;
        write_header(b'*', count, out);
        (0..count).for_each(|_| out.extend_from_slice(each[resp]));
    }
    Some(Outcome::Miss)
}

/// The answer to a command, whatever its arguments are.
fn answer_to(name: &[u8]) -> Option<[&'static [u8]; 2]> {
    Some(match name {
        b"get" | b"hget" | b"lindex" | b"zscore" | b"dump" | b"geodist" => NULL,
        b"strlen" | b"exists" | b"getbit" | b"bitcount" | b"hlen" | b"hexists" | b"hstrlen"
        | b"llen" | b"scard" | b"sismember" | b"zcard" | b"zcount" | b"zlexcount" | b"xlen"
        | b"pfcount" | b"sintercard" | b"zintercard" => ZERO,
        b"ttl" | b"pttl" | b"expiretime" | b"pexpiretime" => NO_TTL,
        b"getrange" | b"substr" => EMPTY,
        b"lrange"
        | b"hkeys"
        | b"hvals"
        | b"zrange"
        | b"zrevrange"
        | b"zrangebyscore"
        | b"zrevrangebyscore"
        | b"zrangebylex"
        | b"zrevrangebylex"
        | b"zdiff"
        | b"zinter"
        | b"zunion"
        | b"xrange"
        | b"xrevrange"
        | b"geosearch"
        | b"georadius_ro"
        | b"georadiusbymember_ro"
        | b"sort_ro" => NO_ELEMENTS,
        b"smembers" | b"sdiff" | b"sinter" | b"sunion" => NO_MEMBERS,
        b"hgetall" => NO_FIELDS,
        b"hscan" | b"sscan" | b"zscan" => SCANNED,
        b"type" => NONE,
        // What is to be removed is not there, as far as the client can tell.
        b"del" | b"unlink" | b"touch" => ZERO,
        _ => return None,
    })
}

/// The answer to a command whose arguments decide about the form.
fn answer_by(name: &[u8], mut arguments: Arguments<'_>) -> Option<[&'static [u8]; 2]> {
    Some(match (name, arguments.len()) {
        (b"zrank" | b"zrevrank", 2) => NULL,
        (b"zrank" | b"zrevrank", _) => NULL_ARRAY,
        (b"srandmember" | b"hrandfield" | b"zrandmember", 1) => NULL,
        (b"srandmember" | b"hrandfield" | b"zrandmember", _) => NO_ELEMENTS,
        (b"lpos", _) if arguments.any(|it| it.eq_ignore_ascii_case(b"count")) => NO_ELEMENTS,
        (b"lpos", _) => NULL,
        (b"bitpos", _) => match arguments.nth(1)? {
            b"0" => ZERO,
            b"1" => NO_BIT,
            _ => return None,
        },
        (b"object", 2) => match &*arguments.next()?.to_ascii_lowercase() {
            b"encoding" | b"freq" | b"idletime" | b"refcount" => NULL,
            _ => return None,
        },
        (b"memory", _) if arguments.next()?.eq_ignore_ascii_case(b"usage") => NULL,
        _ => return None,
    })
}

/// How many elements the answer to a command has that names several things of its key, and each of them.
fn answers_to(name: &[u8], arguments: Arguments<'_>) -> Option<(usize, [&'static [u8]; 2])> {
    let count = arguments.len();
    Some(match name {
        b"mget" => (count, NULL),
        b"hmget" | b"zmscore" | b"geohash" => (count - 1, NULL),
        b"geopos" => (count - 1, NULL_ARRAY),
        b"smismember" => (count - 1, ZERO),
        // Each of its reads is three words.
        b"bitfield_ro" if count % 3 == 1 => (count / 3, ZERO),
        _ => return None,
    })
}
