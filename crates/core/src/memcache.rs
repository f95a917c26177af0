//! The memcached text protocol: classic and meta commands.
//!
//! Hop 4 of the walk is [`parse_request`], hop 11 is [`parse_response`]; both only look at bytes.
//! Source: memcached's `doc/protocol.txt`, and memcached 1.6 itself where that is silent.
//!
//! The one rule: a server gets only lines that we would have written ourselves. What a server
//! might refuse *before* it has read the data block would make it take the data for a command and
//! answer twice, and the second answer would be somebody else's. So every number is checked, and
//! what does not pass is refused here.

mod command;
mod meta;
mod request;
mod response;
mod stats;
mod words;

pub use command::{COMMANDS, Command};
pub use request::{BAD_LINE, TOO_LARGE, TOO_MANY_KEYS, parse_request};
pub use response::{parse_response, parse_value};
pub use stats::write_stats;
pub use words::{KEY_LEN_MAX, Words, next_key};

use crate::protocol::{Keep, ServerError, Wire};
use alloc::vec::Vec;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The key whose server is asked for its `version`: twemproxy's choice (`memcache_parse_req`).
pub const VERSION_KEY: &[u8] = b"placeholder";

/// Where a fragment's keys stop.
pub const LINE_END: &[u8] = b"\r\n";

/// The end of a multi-key reply.
pub const VALUES_END: &[u8] = b"END\r\n";

/// The answer to a request for all servers when all agreed.
pub const ALL_OK: &[u8] = b"OK\r\n";

/// What a client reads instead of a reply that it left unread for too long.
pub const BACKLOG_ERROR: &[u8] =
    b"SERVER_ERROR reply dropped: client_backlog_max bytes wait for this client already\r\n";

/// Room for any decoded key: 250 base64 letters hold less.
pub type KeyRoom = [u8; 192];

/// The bytes of a base64 key. It was checked when the request was parsed.
///
/// Requests are routed by these, so that a key has one home however it is written.
pub fn decode_key<'a>(key: &[u8], room: &'a mut KeyRoom) -> Option<&'a [u8]> {
    let len = STANDARD.decode_slice(key, room).ok()?;
    Some(&room[..len])
}

/// Appends what a server gets for a request.
#[inline]
pub fn write_wire(wire: &Wire<'_>, out: &mut Vec<u8>) {
    match *wire {
        Wire::Verbatim(bytes) => out.extend_from_slice(bytes),
        Wire::Words { line, keep, data } => {
            write_words(line, keep, out);
            out.extend_from_slice(LINE_END);
            out.extend_from_slice(data);
        }
    }
}

fn write_words(line: &[u8], keep: Keep, out: &mut Vec<u8>) {
    for (index, word) in Words::new(line).enumerate() {
        let kept = match keep {
            Keep::All => true,
            Keep::First(count) => index < count,
            Keep::AllButQuiet => index < 2 || word[0] != b'q',
        };
        if kept {
            if index > 0 {
                out.push(b' ');
            }
            out.extend_from_slice(word);
        }
    }
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

    fn written(wire: Wire<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        write_wire(&wire, &mut out);
        out
    }

    #[test]
    fn kept_words_are_written_with_single_spaces() {
        let line = b"  set  k 1 2   3 noreply ";
        let wire = Wire::Words { line, keep: Keep::First(5), data: b"abc\r\n" };
        assert_eq!(written(wire), b"set k 1 2 3\r\nabc\r\n");
    }

    #[test]
    fn only_the_quiet_flag_of_a_meta_request_is_left_out() {
        let line = b"mg quiet v q Oq1 t";
        let wire = Wire::Words { line, keep: Keep::AllButQuiet, data: b"" };
        assert_eq!(written(wire), b"mg quiet v Oq1 t\r\n");
    }

    #[test]
    fn a_base64_key_is_its_bytes() {
        let mut room: KeyRoom = [0; 192];
        assert_eq!(decode_key(b"YWJj", &mut room), Some(&b"abc"[..]));
        assert_eq!(decode_key(b"YWI", &mut room), None);
        assert_eq!(decode_key(b"!!", &mut room), None);
    }

    #[test]
    fn server_errors_are_twemproxys_lines() {
        let mut out = Vec::new();
        write_server_error(ServerError::Refused, &mut out);
        assert_eq!(out, b"SERVER_ERROR Connection refused\r\n");
    }
}
