//! The memcached text protocol: classic and meta commands.
//!
//! [`parse_request`] parses what clients send, [`parse_response`] what servers reply; both see only bytes.
//! Source: memcached's `doc/protocol.txt` and, where that document says nothing, memcached 1.6
//! itself.
//!
//! The one rule: a server gets only normalized lines. If a server refuses a line *before* it has
//! read the data block, it parses the data as a command and answers twice, and another client gets
//! the second answer. So the proxy checks every number and refuses invalid ones itself.

mod absent;
mod base64;
mod cap;
mod command;
mod meta;
mod moving;
mod number;
mod request;
mod response;
mod shape;
mod version;
mod wire;
mod words;

pub use absent::{is_plain_key, write_absent, write_flush, write_removal};
pub use base64::{KeyRoom, decode_key};
pub use cap::{cap_head, cap_one};
pub use command::{COMMANDS, Command};
pub use moving::{
    LEASE_SECONDS, is_same_value, judge, keep, keep_part, read_told, shows_cas, write_ask,
    write_found,
};
pub use number::{Number, Numbers};
pub use request::{BAD_LINE, TOO_LARGE, TOO_MANY_KEYS, parse_request};
pub use response::{parse_response, parse_value};
pub use shape::Shape;
pub use version::{GREETING, Needs, parse_greeting};
pub use wire::{Head, Keep};
pub use words::{KEY_LEN_MAX, Words, next_key};

use crate::error::ServerError;
use crate::message::{KeyEncoding, One};
use alloc::vec::Vec;

/// The key whose server is asked for its `version`: twemproxy's choice (`memcache_parse_req`).
pub const VERSION_KEY: &[u8] = b"placeholder";

/// The end of a fragment's keys.
pub const LINE_END: &[u8] = b"\r\n";

/// The end of a multi-key reply.
pub const VALUES_END: &[u8] = b"END\r\n";

/// The reply to a request for all servers if all have replied `OK`.
pub const ALL_OK: &[u8] = b"OK\r\n";

/// The answer if `moves_max` requests are on their way for keys that move.
pub const TOO_MANY_MOVES: &[u8] =
    b"SERVER_ERROR too many requests for keys that move: moves_max\r\n";

/// The answer to a request beyond `pool_rate_max`.
pub const POOL_RATE: &[u8] =
    b"SERVER_ERROR too many requests per second in this pool: pool_rate_max\r\n";

/// The answer to a request beyond `pool_requests_max`.
pub const POOL_REQUESTS: &[u8] =
    b"SERVER_ERROR too many requests in flight in this pool: pool_requests_max\r\n";

/// The answer to a request beyond `address_rate_max`.
pub const ADDRESS_RATE: &[u8] =
    b"SERVER_ERROR too many requests per second from this address: address_rate_max\r\n";

/// The answer to a request beyond `address_requests_max`.
pub const ADDRESS_REQUESTS: &[u8] =
    b"SERVER_ERROR too many requests in flight from this address: address_requests_max\r\n";

/// The answer to a request whose key moves and is changed by others all the time.
pub const BUSY_MOVE: &[u8] =
    b"SERVER_ERROR the key moves, and other clients change it all the time\r\n";

/// The error that replaces a reply that does not fit into `client_backlog_max`.
pub const BACKLOG_ERROR: &[u8] =
    b"SERVER_ERROR reply dropped: it and the client's unread replies exceed client_backlog_max\r\n";

/// The error for `flush_all` if the pool does not allow it.
pub const FLUSH_REFUSED: &[u8] =
    b"CLIENT_ERROR flush_all is not allowed: set allow_flush: true for this pool\r\n";

/// The bytes of a request's key; a key in base64 is decoded, which the parser has checked before.
pub fn key_bytes<'a>(one: &One<'a>, room: &'a mut KeyRoom) -> &'a [u8] {
    match one.encoding {
        KeyEncoding::Plain => one.key,
        KeyEncoding::Base64 => decode_key(one.key, room).expect("the parser decoded it"),
    }
}

/// Appends keys to `text` with a space before the first key, because every other key has a space
/// before it.
pub fn copy_keys(keys: &[u8], text: &mut Vec<u8>) {
    text.push(b' ');
    text.extend_from_slice(keys);
}

/// Appends a read of some keys; each key has a space before it.
pub fn write_fragment<'k>(head: Head<'_>, keys: impl Iterator<Item = &'k [u8]>, out: &mut Vec<u8>) {
    head.write(Keep::All, out);
    keys.for_each(|key| out.extend_from_slice(key));
    out.extend_from_slice(LINE_END);
}

/// Appends the error line for a request that its server could not answer.
pub fn write_server_error(error: ServerError, out: &mut Vec<u8>) {
    out.extend_from_slice(b"SERVER_ERROR ");
    out.extend_from_slice(error.text().as_bytes());
    out.extend_from_slice(LINE_END);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_errors_are_twemproxys_lines() {
        let mut out = Vec::new();
        write_server_error(ServerError::Refused, &mut out);
        assert_eq!(out, b"SERVER_ERROR Connection refused\r\n");
    }
}
