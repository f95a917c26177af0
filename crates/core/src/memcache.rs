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
mod stats;
mod version;
mod wire;
mod words;

pub use base64::{KeyRoom, decode_key};
pub use command::{COMMANDS, Command};
pub use number::{Number, Numbers};
pub use request::{BAD_LINE, TOO_LARGE, TOO_MANY_KEYS, parse_request};
pub use response::{parse_response, parse_value};
pub use stats::write_stats;
pub(crate) use version::GREETING;
pub use version::{Greeting, Needs, Version, parse_greeting};
pub use wire::{Head, Keep, Wire};
pub use words::{KEY_LEN_MAX, Words, next_key};

use crate::protocol::ServerError;
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
