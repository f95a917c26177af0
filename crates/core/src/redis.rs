//! The protocol of Redis and Valkey: RESP2 and RESP3.
//!
//! [`parse_request`] parses what clients send, [`parse_reply`] what servers reply; both see only bytes.
//! Source: the RESP2 and RESP3 specifications, and where these say nothing, Redis 7 itself.
//!
//! The one rule: a server gets only complete arrays in the plain form. Where Redis loses the framing of
//! a connection, the proxy closes the client before a server sees a byte; a request that Redis
//! understands in another form (inline, or with odd line ends) is rewritten.

mod absent;
mod arguments;
mod array;
mod binding;
mod cap;
pub mod command;
mod dedicated;
mod fragment;
mod frame;
mod greeting;
mod inline;
mod keys;
mod merge;
pub mod moving;
mod request;
mod resp3;
mod response;
mod session;
mod settings;

pub use absent::{
    NULL, is_out_of_reach, names_channel, write_absent, write_flush, write_missed_flush,
    write_removal,
};
pub use arguments::{Arguments, split_first, take_request};
pub use cap::write_cap;
pub use fragment::{next_key, write_cursor, write_fragment};
pub use frame::{integer, is_null};
pub use greeting::{parse_greeting, write_greeting};
pub use keys::KeyList;
pub use merge::{Elements, Merged, fits};
pub use request::{Room, parse_request};
pub use resp3::translate_message;
pub use response::{parse_reply, parse_unasked, translate, waits};
pub use session::{Said, Session, VERSION};
pub use settings::{ModuleCommand, Settings};

use crate::decimal;
use crate::error::ServerError;
use alloc::vec::Vec;

/// The key whose server gets a command without keys that any server can answer: twemproxy's choice
/// (`redis_parse_req`).
pub const PLACEHOLDER: &[u8] = b"placeholder";

/// The error for a request of more keys than `keys_max`.
pub const TOO_MANY_KEYS: &[u8] = b"-ERR too many keys: keys_max of this pool is lower\r\n";

/// The error that replaces a reply of more than `item_size_max` bytes.
pub const TOO_LARGE: &[u8] = b"-ERR the reply is larger than item_size_max of this pool\r\n";

/// The error that replaces a reply that does not fit into `client_backlog_max`.
pub const BACKLOG_ERROR: &[u8] =
    b"-ERR reply dropped: it and the client's unread replies exceed client_backlog_max\r\n";

/// The error for `FLUSHALL` and `FLUSHDB` if the pool does not allow them.
pub const FLUSH_REFUSED: &[u8] =
    b"-ERR flushing is not allowed: set allow_flush: true for this pool\r\n";

/// The error for `KEYS` if the pool does not allow it.
pub const KEYS_REFUSED: &[u8] =
    b"-ERR KEYS is not allowed, as it scans every server: set allow_keys: true for this pool, or use \
      SCAN\r\n";

/// The error for keys of different servers where the replies can't be merged.
pub const CROSS_SHARD: &[u8] =
    b"-CROSSSLOT Keys in request don't hash to the same server: use a hash_tag for keys that belong \
      together\r\n";

/// The error for a fragment whose key can't be found in the request; the parser finds it first.
pub const BAD_KEY: &[u8] = b"-ERR syntax error\r\n";

/// The error for a transaction of which a command was refused.
pub const ABORTED: &[u8] = b"-EXECABORT Transaction discarded because of previous errors.\r\n";

/// The error for a command without keys that has no server.
pub const NO_KEY: &[u8] =
    b"-ERR no key says which server this is for: in a pool of several servers, the first command of a \
      transaction needs a key\r\n";

/// The error if there are `dedicated_connections_max` connections for clients' own use.
pub const NO_DEDICATED: &[u8] =
    b"-ERR no server connection is free for this client alone: dedicated_connections_max of this pool \
      is reached\r\n";

/// The error if `moves_max` requests are on their way for keys that move.
pub const TOO_MANY_MOVES: &[u8] = b"-ERR too many requests for keys that move: moves_max\r\n";

/// The answer to a request beyond `pool_rate_max`.
pub const POOL_RATE: &[u8] = b"-ERR too many requests per second in this pool: pool_rate_max\r\n";

/// The answer to a request beyond `pool_requests_max`.
pub const POOL_REQUESTS: &[u8] =
    b"-ERR too many requests in flight in this pool: pool_requests_max\r\n";

/// The answer to a request beyond `address_rate_max`.
pub const ADDRESS_RATE: &[u8] =
    b"-ERR too many requests per second from this address: address_rate_max\r\n";

/// The answer to a request beyond `address_requests_max`.
pub const ADDRESS_REQUESTS: &[u8] =
    b"-ERR too many requests in flight from this address: address_requests_max\r\n";

/// The error for a request whose key moves and is changed by others all the time.
pub const BUSY_MOVE: &[u8] = b"-ERR the key moves, and other clients change it all the time\r\n";

/// The error for a command of a transaction that began, or for one that waits, when its keys were to be used at
/// another server.
pub const MOVES_YET: &[u8] =
    b"-TRYAGAIN keys of this request move to another server: try again\r\n";

/// The reply to a command of a transaction.
pub const QUEUED: &[u8] = b"+QUEUED\r\n";

/// The request that begins a transaction.
pub const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";

/// The request that ends a transaction without carrying it out.
pub const DISCARD: &[u8] = b"*1\r\n$7\r\nDISCARD\r\n";

const LINE_END: &[u8] = b"\r\n";

/// Appends the error for a request that its server could not answer.
pub fn write_server_error(error: ServerError, out: &mut Vec<u8>) {
    let text = match error {
        ServerError::Login => "-NOAUTH ",
        ServerError::Loading => "-LOADING ",
        _ => "-ERR ",
    };
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(error.text().as_bytes());
    out.extend_from_slice(LINE_END);
}

/// Appends the header of an aggregate or a bulk string, or a whole integer: its kind and a number.
pub fn write_header(kind: u8, number: usize, out: &mut Vec<u8>) {
    out.push(kind);
    write_number(number as u64, out);
    out.extend_from_slice(LINE_END);
}

/// Appends a bulk string.
pub fn write_bulk(text: &[u8], out: &mut Vec<u8>) {
    write_header(b'$', text.len(), out);
    out.extend_from_slice(text);
    out.extend_from_slice(LINE_END);
}

/// Appends a command of these words.
pub fn write_command(words: &[&[u8]], out: &mut Vec<u8>) {
    write_header(b'*', words.len(), out);
    words.iter().for_each(|word| write_bulk(word, out));
}

/// Appends a bulk string of a number's digits.
pub(crate) fn write_bulk_number(number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let at = decimal::fill(number, &mut digits);
    write_bulk(&digits[at..], out);
}

/// Appends an integer reply.
pub fn write_integer(number: i64, out: &mut Vec<u8>) {
    out.push(b':');
    if number < 0 {
        out.push(b'-');
    }
    write_number(number.unsigned_abs(), out);
    out.extend_from_slice(LINE_END);
}

/// Appends the digits of a number.
pub(crate) fn write_number(number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let at = decimal::fill(number, &mut digits);
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_errors_are_twemproxys_lines() {
        let mut out = Vec::new();
        write_server_error(ServerError::Refused, &mut out);
        assert_eq!(out, b"-ERR Connection refused\r\n");
    }

    #[test]
    fn numbers_are_written_in_their_plain_form() {
        let mut out = Vec::new();
        for number in [0, 7, -10, i64::MIN] {
            write_integer(number, &mut out);
        }
        assert_eq!(out, b":0\r\n:7\r\n:-10\r\n:-9223372036854775808\r\n");
    }
}
