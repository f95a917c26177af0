//! Keys that are not there: how one is removed, and what is answered in the place of a server that is away.

use super::arguments::Arguments;
use super::response::Form;
use super::write_command;
use crate::message::{Expect, One, Outcome, Wire};
use alloc::vec::Vec;

/// Appends a request that removes a key. Returns the expected reply.
pub fn write_removal(key: &[u8], out: &mut Vec<u8>) -> Expect {
    write_command(&[b"DEL", key], out);
    Form::Integer.expect()
}

/// Appends a request that removes all keys of the pool's database. Returns the expected reply.
pub fn write_flush(out: &mut Vec<u8>) -> Expect {
    write_command(&[b"FLUSHDB"], out);
    Form::Status.expect()
}

/// What a command answers if there is no such key, in RESP2 and in RESP3; this one is for a single value.
pub const NULL: [&[u8]; 2] = [b"$-1\r\n", b"_\r\n"];
const ZERO: [&[u8]; 2] = [b":0\r\n"; 2];
const NO_TTL: [&[u8]; 2] = [b":-2\r\n"; 2];
const EMPTY: [&[u8]; 2] = [b"$0\r\n\r\n"; 2];
const NO_ELEMENTS: [&[u8]; 2] = [b"*0\r\n"; 2];
const NO_MEMBERS: [&[u8]; 2] = [b"*0\r\n", b"~0\r\n"];
const NO_FIELDS: [&[u8]; 2] = [b"*0\r\n", b"%0\r\n"];
const NONE: [&[u8]; 2] = [b"+none\r\n"; 2];

/// Appends the reply to a request of one key as if there were no such key. `None` for a write, which can't say
/// that nothing was written, and for a read whose answer only a server knows.
pub fn write_absent(one: &One<'_>, is_resp3: bool, out: &mut Vec<u8>) -> Option<Outcome> {
    let (Wire::Verbatim(request) | Wire::Rewritten(request)) = one.wire else { return None };
    let name = Arguments::of(request).next()?.to_ascii_lowercase();
    let answer = match &*name {
        b"get" | b"hget" | b"lindex" | b"zscore" | b"zrank" | b"zrevrank" | b"dump" => NULL,
        b"strlen" | b"exists" | b"getbit" | b"bitcount" | b"hlen" | b"hexists" | b"hstrlen"
        | b"llen" | b"scard" | b"sismember" | b"zcard" | b"zcount" | b"zlexcount" | b"xlen"
        | b"pfcount" => ZERO,
        b"ttl" | b"pttl" | b"expiretime" | b"pexpiretime" => NO_TTL,
        b"getrange" | b"substr" => EMPTY,
        b"lrange" | b"hkeys" | b"hvals" | b"zrange" | b"zrevrange" | b"zrangebyscore"
        | b"zrevrangebyscore" | b"zrangebylex" | b"zrevrangebylex" | b"xrange" | b"xrevrange" => {
            NO_ELEMENTS
        }
        b"smembers" | b"sdiff" | b"sinter" | b"sunion" => NO_MEMBERS,
        b"hgetall" => NO_FIELDS,
        b"type" => NONE,
        // What is to be removed is not there, as far as the client can tell.
        b"del" | b"unlink" | b"touch" => ZERO,
        _ => return None,
    };
    out.extend_from_slice(answer[usize::from(is_resp3)]);
    Some(Outcome::Miss)
}
