//! How the replies of several servers become one.
//!
//! The one rule: a merged reply is what one server with all the keys would have said.

use super::frame::{self, Scanned, integer, is_null};
use super::{write_header, write_integer};
use crate::message::{Merge, Scan};
use alloc::vec::Vec;

/// What has come of the replies that are merged as a whole, not key by key.
#[derive(Debug, Default)]
pub struct Merged {
    /// Of integers.
    sum: i64,
    /// How many elements are in `bytes`.
    count: usize,
    /// For each place of an array, the least.
    least: Vec<i64>,
    /// Elements, or a reply.
    bytes: Vec<u8>,
}

impl Merged {
    /// Adds the reply of one server, which is no error.
    pub fn add(&mut self, merge: Merge, reply: &[u8]) {
        match merge {
            Merge::ByKey | Merge::InOrder | Merge::AllOk => {}
            Merge::Sum => self.sum = self.sum.saturating_add(number(reply)),
            Merge::Same if self.bytes.is_empty() => self.bytes.extend_from_slice(reply),
            Merge::First if self.bytes.is_empty() || is_null(&self.bytes) => {
                self.bytes.clear();
                self.bytes.extend_from_slice(reply);
            }
            Merge::Same | Merge::First => {}
            Merge::Concat => {
                let elements = Elements::of(reply);
                self.count += elements.left;
                self.bytes.extend_from_slice(elements.rest);
            }
            Merge::Least => {
                let elements = Elements::of(reply);
                self.least.resize(self.least.len().max(elements.left), i64::MAX);
                for (least, element) in self.least.iter_mut().zip(elements) {
                    *least = number(element).min(*least);
                }
            }
            Merge::Cursor { server, servers } => self.add_cursor(reply, server, servers),
        }
    }

    /// The reply to `SCAN`: a cursor and the elements. The client's cursor says also which server is
    /// next: the same one, or the one after it when this one has been through.
    fn add_cursor(&mut self, reply: &[u8], server: usize, servers: usize) {
        let mut elements = Elements::of(reply);
        let Some(cursor) = elements.next().and_then(cursor) else { return };
        let (servers, server) = (servers as u64, server as u64);
        let next = match cursor {
            0 if server + 1 == servers => Some(0),
            0 => Some(server + 1),
            cursor => cursor.checked_mul(servers).and_then(|cursor| cursor.checked_add(server)),
        };
        let Some(next) = next else {
            return self.bytes.extend_from_slice(b"-ERR the cursor of a server is too large\r\n");
        };
        write_header(b'*', 2, &mut self.bytes);
        super::write_bulk_number(next, &mut self.bytes);
        self.bytes.extend_from_slice(elements.rest);
    }

    /// Appends the merged reply.
    pub fn write(&self, merge: Merge, out: &mut Vec<u8>) {
        match merge {
            Merge::ByKey | Merge::InOrder => {}
            Merge::AllOk => out.extend_from_slice(b"+OK\r\n"),
            Merge::Sum => write_integer(self.sum, out),
            Merge::Same | Merge::First | Merge::Cursor { .. } => out.extend_from_slice(&self.bytes),
            Merge::Concat => {
                write_header(b'*', self.count, out);
                out.extend_from_slice(&self.bytes);
            }
            Merge::Least => {
                write_header(b'*', self.least.len(), out);
                self.least.iter().for_each(|least| write_integer(*least, out));
            }
        }
    }

    /// The sum of the integers so far; a negative one is 0.
    pub fn sum(&self) -> usize {
        usize::try_from(self.sum).unwrap_or(0)
    }

    /// Bytes held.
    pub fn held(&self) -> usize {
        self.bytes.len() + self.least.len() * size_of::<i64>()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        (self.sum, self.count) = (0, 0);
        self.least.clear();
        self.bytes.clear();
    }
}

/// Whether a reply to a fragment can be merged: one of `keys` keys, or of none.
pub fn fits(merge: Merge, reply: &[u8], keys: usize) -> bool {
    if matches!(reply[0], b'-' | b'!') {
        return true;
    }
    let mut elements = Elements::of(reply);
    match merge {
        Merge::InOrder => elements.left == keys,
        Merge::Cursor { .. } => elements.left == 2 && elements.next().and_then(cursor).is_some(),
        _ => true,
    }
}

/// The cursor in the reply of a server to `SCAN`.
fn cursor(element: &[u8]) -> Option<u64> {
    core::str::from_utf8(frame::text(element)?).ok()?.parse().ok()
}

/// The elements of an array, or of a set, as they stand in it.
#[derive(Debug)]
pub struct Elements<'a> {
    rest: &'a [u8],
    left: usize,
}

impl<'a> Elements<'a> {
    /// The elements of a complete array.
    pub fn of(reply: &'a [u8]) -> Self {
        let end = memchr::memchr(b'\n', reply).map_or(reply.len(), |end| end + 1);
        let text = reply.get(1..end.saturating_sub(2)).unwrap_or_default();
        let left = integer(text).and_then(|count| usize::try_from(count).ok()).unwrap_or(0);
        Self { rest: &reply[end..], left }
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        let Scanned::Whole(len) = frame::scan(self.rest, &mut Scan::one()) else { return None };
        let (element, rest) = self.rest.split_at(len);
        self.rest = rest;
        Some(element)
    }
}

/// The number of an integer reply.
pub(super) fn number(reply: &[u8]) -> i64 {
    let text = reply.get(1..reply.len().saturating_sub(2)).unwrap_or_default();
    integer(text).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(merge: Merge, replies: &[&[u8]]) -> Vec<u8> {
        let (mut merged, mut out) = (Merged::default(), Vec::new());
        replies.iter().for_each(|reply| merged.add(merge, reply));
        merged.write(merge, &mut out);
        out
    }

    #[test]
    fn replies_become_what_one_server_would_have_said() {
        for (merge, replies, expected) in [
            (Merge::Sum, &[&b":2\r\n"[..], b":3\r\n"][..], &b":5\r\n"[..]),
            (Merge::AllOk, &[b"+OK\r\n", b"+OK\r\n"], b"+OK\r\n"),
            (Merge::Same, &[b"$1\r\na\r\n", b"$1\r\na\r\n"], b"$1\r\na\r\n"),
            (Merge::First, &[b"$-1\r\n", b"$1\r\nk\r\n", b"$1\r\nl\r\n"], b"$1\r\nk\r\n"),
            (Merge::First, &[b"$-1\r\n", b"$-1\r\n"], b"$-1\r\n"),
            (
                Merge::Concat,
                &[b"*1\r\n$1\r\na\r\n", b"*0\r\n", b"*2\r\n$1\r\nb\r\n$1\r\nc\r\n"],
                b"*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n",
            ),
            (Merge::Least, &[b"*2\r\n:1\r\n:0\r\n", b"*2\r\n:1\r\n:1\r\n"], b"*2\r\n:1\r\n:0\r\n"),
        ] {
            assert_eq!(merged(merge, replies), expected, "{merge:?}");
        }
    }

    #[test]
    fn a_cursor_goes_through_one_server_after_the_other() {
        let at = |server| Merge::Cursor { server, servers: 3 };
        for (server, cursor, expected) in [
            (0, "17", "51"),
            (0, "0", "1"),
            (1, "17", "52"),
            (1, "0", "2"),
            (2, "17", "53"),
            (2, "0", "0"),
        ] {
            let reply = [b"*2\r\n", &bulk(cursor)[..], b"*0\r\n"].concat();
            let written = merged(at(server), &[&reply]);
            assert_eq!(written, [b"*2\r\n", &bulk(expected)[..], b"*0\r\n"].concat());
        }
        let reply = [b"*2\r\n", &bulk("18446744073709551615")[..], b"*0\r\n"].concat();
        assert!(merged(at(0), &[&reply]).starts_with(b"-ERR "));
    }

    fn bulk(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        crate::redis::write_bulk(text.as_bytes(), &mut out);
        out
    }

    #[test]
    fn an_array_of_another_length_does_not_fit() {
        assert!(fits(Merge::InOrder, b"*1\r\n$-1\r\n", 1));
        assert!(!fits(Merge::InOrder, b"*1\r\n$-1\r\n", 2));
        assert!(!fits(Merge::InOrder, b"~1\r\n$-1\r\n", 2));
        assert!(fits(Merge::InOrder, b"-ERR no\r\n", 2));
    }

    #[test]
    fn a_page_of_a_scan_is_a_cursor_and_the_elements() {
        let at = Merge::Cursor { server: 0, servers: 2 };
        for (reply, expected) in [
            (&b"*2\r\n$1\r\n0\r\n*0\r\n"[..], true),
            (b"-ERR no\r\n", true),
            (b"*2\r\n:0\r\n*0\r\n", false),
            (b"*2\r\n$-1\r\n*0\r\n", false),
            (b"*2\r\n$1\r\nx\r\n*0\r\n", false),
            (b"*2\r\n*0\r\n*0\r\n", false),
            (b"*1\r\n$1\r\n0\r\n", false),
            (b"*0\r\n", false),
        ] {
            assert_eq!(fits(at, reply, 0), expected, "{}", reply.escape_ascii());
        }
    }
}
