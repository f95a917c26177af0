//! The memcached text protocol: classic and meta commands.
//!
//! Hop 4 of the walk is [`parse_request`], hop 11 is [`parse_response`]; both only look at bytes.
//! Source: memcached's `doc/protocol.txt`, and memcached 1.6 itself where that is silent.
//!
//! The one rule: a server gets only lines that we would have written ourselves. What a server
//! might refuse *before* it has read the data block would make it take the data for a command and
//! answer twice, and the second answer would be somebody else's. So every number is checked, and
//! what does not pass is refused here.

mod base64;
mod command;
mod meta;
mod number;
mod request;
mod response;
mod shape;
mod version;
mod wire;
mod words;

pub use base64::{KeyRoom, decode_key};
pub use command::{COMMANDS, Command};
pub use number::{Number, Numbers};
pub use request::{BAD_LINE, TOO_LARGE, TOO_MANY_KEYS, parse_request};
pub use response::{parse_response, parse_value};
pub use shape::Shape;
pub use version::{GREETING, Greeting, Needs, Version, parse_greeting};
pub use wire::{Head, Keep, Wire};
pub use words::{KEY_LEN_MAX, Words, next_key};

use crate::error::ServerError;
use crate::message::{KeyEncoding, One};
use alloc::vec::Vec;

/// The key whose server is asked for its `version`: twemproxy's choice (`memcache_parse_req`).
pub const VERSION_KEY: &[u8] = b"placeholder";

/// Where a fragment's keys stop.
pub const LINE_END: &[u8] = b"\r\n";

/// The end of a multi-key reply.
pub const VALUES_END: &[u8] = b"END\r\n";

/// The answer to a request for all servers when all agreed.
pub const ALL_OK: &[u8] = b"OK\r\n";

/// What a client reads in the place of a reply that does not fit into `client_backlog_max`.
pub const BACKLOG_ERROR: &[u8] =
    b"SERVER_ERROR reply dropped: it and the client's unread replies exceed client_backlog_max\r\n";

/// What a client reads instead of an emptied pool.
pub const FLUSH_REFUSED: &[u8] =
    b"CLIENT_ERROR flush_all is refused: the pool does not say allow_flush: true\r\n";

/// The bytes of a request's key; the parser has decoded those in base64 before.
pub fn key_bytes<'a>(one: &One<'a>, room: &'a mut KeyRoom) -> &'a [u8] {
    match one.encoding {
        KeyEncoding::Plain => one.key,
        KeyEncoding::Base64 => decode_key(one.key, room).expect("the parser decoded it"),
    }
}

/// Appends keys to `text` with a space before the first, as there is one before every other.
pub fn copy_keys(keys: &[u8], text: &mut Vec<u8>) {
    text.push(b' ');
    text.extend_from_slice(keys);
}

/// Appends a read of some keys, each of which has the space before it.
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
