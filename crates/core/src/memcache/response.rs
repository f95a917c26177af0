//! Hop 11 of the walk: is this the answer to that request?
//!
//! Two rules. A reply is used only when all of it is here, so that a client never has half of one.
//! And it must fit its request: a reply of another kind, of another key, or with another end than
//! the grammar has, is a [`Response::Mismatch`], after which nothing more from this connection is
//! believed.

use super::KeyRoom;
use super::words::{Words, data_len, number};
use crate::protocol::{Outcome, Response, Shape};

/// The longest line that a server sends: a key, numbers, sixteen flags; or an error with its text.
const LINE_MAX: usize = 4096;

/// Reads the answer at the head of `input` to a request that owes `shape` for `key`.
///
/// `key` is the request's key, decoded; for [`Shape::Values`] it is not looked at, as the caller
/// compares each value's key. `opaque` is the opaque token that a meta reply may repeat.
pub fn parse_response(input: &[u8], shape: Shape, key: &[u8], opaque: &[u8]) -> Response {
    let window = &input[..input.len().min(LINE_MAX)];
    let Some(end) = memchr::memchr(b'\n', window) else {
        let whole = input.len() < LINE_MAX;
        return if whole { Response::Partial(input.len() + 1) } else { Response::Mismatch };
    };
    let Some(line) = input[..end].strip_suffix(b"\r") else { return Response::Mismatch };
    let len = end + 1;
    let outcome = match shape {
        Shape::Value => match line.strip_prefix(b"VALUE ") {
            Some(header) => return value(input, header, len, key),
            None => (line == b"END").then_some(Outcome::Miss),
        },
        Shape::Values => match line.strip_prefix(b"VALUE ") {
            Some(header) => return values(input, header, len),
            None => (line == b"END").then_some(Outcome::Miss),
        },
        Shape::Stored => stored(line),
        Shape::Number if line == b"NOT_FOUND" => Some(Outcome::Failure),
        Shape::Number => number(line).map(|_| Outcome::Success),
        Shape::Deleted => done(line, b"DELETED"),
        Shape::Touched => done(line, b"TOUCHED"),
        Shape::Ok => (line == b"OK").then_some(Outcome::Success),
        Shape::Version => line.starts_with(b"VERSION ").then_some(Outcome::Success),
        Shape::MetaGet | Shape::MetaStored | Shape::MetaDebug if !is_error(line) => {
            return meta(input, line, shape, key, opaque);
        }
        Shape::MetaGet | Shape::MetaStored | Shape::MetaDebug => None,
    };
    match outcome {
        Some(outcome) => Response::Whole { len, outcome },
        None if is_error(line) => Response::Whole { len, outcome: Outcome::Error },
        None => Response::Mismatch,
    }
}

/// protocol.txt, "Error strings".
fn is_error(line: &[u8]) -> bool {
    line == b"ERROR" || line.starts_with(b"CLIENT_ERROR ") || line.starts_with(b"SERVER_ERROR ")
}

fn stored(line: &[u8]) -> Option<Outcome> {
    match line {
        b"STORED" => Some(Outcome::Success),
        b"NOT_STORED" | b"EXISTS" | b"NOT_FOUND" => Some(Outcome::Failure),
        _ => None,
    }
}

fn done(line: &[u8], word: &[u8]) -> Option<Outcome> {
    match line {
        b"NOT_FOUND" => Some(Outcome::Failure),
        line => (line == word).then_some(Outcome::Success),
    }
}

/// The key's length and the data's length of a `VALUE` line, whose first word has been taken off.
fn header(header: &[u8]) -> Option<(usize, usize)> {
    let key_len = memchr::memchr(b' ', header)?;
    let mut words = Words::new(&header[key_len..]);
    number(words.next()?)?;
    let length = data_len(words.next()?)?;
    let cas_is_fine = words.next().is_none_or(|cas| number(cas).is_some());
    (cas_is_fine && words.next().is_none()).then_some((key_len, length))
}

/// The one value that was asked for, and the end behind it.
fn value(input: &[u8], line: &[u8], line_len: usize, key: &[u8]) -> Response {
    const END: &[u8] = b"\r\nEND\r\n";
    let Some((key_len, length)) = header(line) else { return Response::Mismatch };
    if &line[..key_len] != key {
        return Response::Mismatch;
    }
    let len = line_len + length + END.len();
    match input.get(line_len + length..len) {
        Some(END) => Response::Whole { len, outcome: Outcome::Hit },
        Some(_) => Response::Mismatch,
        None => Response::Partial(len),
    }
}

/// One value of several.
fn values(input: &[u8], line: &[u8], line_len: usize) -> Response {
    let Some((key_len, length)) = header(line) else { return Response::Mismatch };
    let len = line_len + length + 2;
    let key_start = "VALUE ".len();
    match input.get(line_len + length..len) {
        Some(b"\r\n") => Response::Value { len, key: key_start..key_start + key_len },
        Some(_) => Response::Mismatch,
        None => Response::Partial(len),
    }
}

/// A meta reply: two letters, for `VA` the data's length, then flags.
fn meta(input: &[u8], line: &[u8], shape: Shape, key: &[u8], opaque: &[u8]) -> Response {
    let mut words = Words::new(line);
    let outcome = match (words.next(), shape) {
        (Some(b"HD" | b"VA"), Shape::MetaGet) | (Some(b"ME"), Shape::MetaDebug) => Outcome::Hit,
        (Some(b"EN"), Shape::MetaGet | Shape::MetaDebug) => Outcome::Miss,
        (Some(b"HD" | b"VA"), Shape::MetaStored) => Outcome::Success,
        (Some(b"NS" | b"EX" | b"NF"), Shape::MetaStored) => Outcome::Failure,
        _ => return Response::Mismatch,
    };
    let line_len = line.len() + 2;
    if shape == Shape::MetaDebug {
        let fits = words.next().is_none_or(|word| same_key(word, key, true));
        return if fits { Response::Whole { len: line_len, outcome } } else { Response::Mismatch };
    }
    let data = if line.starts_with(b"VA") {
        let Some(length) = words.next().and_then(data_len) else { return Response::Mismatch };
        length + 2
    } else {
        0
    };
    if !repeats(words, key, opaque) {
        return Response::Mismatch;
    }
    let len = line_len + data;
    match input.get(..len) {
        None => Response::Partial(len),
        Some(reply) if reply.ends_with(b"\r\n") => Response::Whole { len, outcome },
        Some(_) => Response::Mismatch,
    }
}

/// Whether a meta reply repeats the key and the opaque token of its request, where it has any.
fn repeats(flags: Words<'_>, key: &[u8], opaque: &[u8]) -> bool {
    let encoded = || flags.clone().any(|flag| flag == b"b");
    flags.clone().all(|flag| match flag[0] {
        b'k' => same_key(&flag[1..], key, encoded()),
        b'O' => flag == opaque,
        _ => true,
    })
}

/// Whether a key in a reply is the one asked for. A key that was ever stored as base64 comes back
/// as base64, also to who asked for it plainly.
fn same_key(replied: &[u8], key: &[u8], maybe_encoded: bool) -> bool {
    let mut room: KeyRoom = [0; 192];
    replied == key || maybe_encoded && super::decode_key(replied, &mut room) == Some(key)
}

#[cfg(test)]
mod tests;
