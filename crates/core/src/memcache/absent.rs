//! Keys that are not there: how one is removed, and what is answered in the place of a server that is away.

use super::words::Words;
use super::{KEY_LEN_MAX, LINE_END, Shape, VALUES_END, base64};
use crate::message::{Class, Expect, One, Outcome, Outcomes};
use alloc::vec::Vec;

/// Appends a request that removes a key. Returns the expected reply.
pub fn write_removal(key: &[u8], out: &mut Vec<u8>) -> Expect {
    let shape = if is_plain_key(key) {
        out.extend_from_slice(b"delete ");
        out.extend_from_slice(key);
        // The server would take the key for a flag.
        if key == b"noreply" {
            out.extend_from_slice(b" 0");
        }
        Shape::Deleted
    } else {
        out.extend_from_slice(b"md ");
        base64::encode_key(key, out);
        out.extend_from_slice(b" b");
        Shape::MetaStored
    };
    out.extend_from_slice(LINE_END);
    shape.expect(Outcomes::NONE)
}

/// Whether a key may stand in a classic request.
pub fn is_plain_key(key: &[u8]) -> bool {
    let ends_a_word = |byte: &u8| matches!(byte, 0 | b'\r' | b'\n' | b' ');
    key.len() <= KEY_LEN_MAX && !key.iter().any(ends_a_word)
}

/// Appends a request that removes all keys. Returns the expected reply.
pub fn write_flush(out: &mut Vec<u8>) -> Expect {
    out.extend_from_slice(b"flush_all\r\n");
    Shape::Ok.expect(Outcomes::NONE)
}

/// Appends the reply to a request as if there were no such item, and no room for one.
pub fn write_absent(one: &One<'_>, out: &mut Vec<u8>) -> Outcome {
    let is_storage = one.class == Class::Set;
    let (line, outcome): (&[u8], _) = match Shape::of(one.expect) {
        Shape::Value | Shape::Values => {
            out.extend_from_slice(VALUES_END);
            return Outcome::Miss;
        }
        Shape::MetaGet | Shape::MetaGetKey | Shape::MetaDebug => (b"EN", Outcome::Miss),
        Shape::MetaStored if is_storage => (b"NS", Outcome::NotStored),
        Shape::MetaStored => (b"NF", Outcome::NotFound),
        Shape::Stored => (b"NOT_STORED", Outcome::NotStored),
        _ => (b"NOT_FOUND", Outcome::NotFound),
    };
    out.extend_from_slice(line);
    if matches!(Shape::of(one.expect), Shape::MetaGet | Shape::MetaGetKey | Shape::MetaStored) {
        write_repeated(one, out);
    }
    out.extend_from_slice(LINE_END);
    outcome
}

/// Appends what a reply to a meta request repeats of it: `O` and `k` in the order of the request, and `b` behind the
/// key (memcached 1.6.18, `META_KEY` in `proto_text.c`).
fn write_repeated(one: &One<'_>, out: &mut Vec<u8>) {
    let mut request = Vec::new();
    one.wire.write(&mut request);
    let end = memchr::memchr(b'\r', &request).unwrap_or(request.len());
    let mut words = Words::new(&request[..end]);
    let before = if words.next() == Some(b"ms") { 2 } else { 1 };
    let flags = words.skip(before);
    let is_coded = flags.clone().any(|word| word[0] == b'b');
    for word in flags {
        match word[0] {
            b'O' => {
                out.push(b' ');
                out.extend_from_slice(word);
            }
            b'k' => {
                out.extend_from_slice(b" k");
                out.extend_from_slice(one.key);
                out.extend_from_slice(if is_coded { b" b" } else { b"" });
            }
            _ => {}
        }
    }
}
