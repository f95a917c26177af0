//! A request for one server, made of the parts of a larger request that are for this server.

use super::arguments::split_first;
use super::{write_bulk_number, write_header};
use alloc::vec::Vec;

/// The first key of the arguments `keys`, and what follows the `step` arguments that are its part.
#[inline(never)]
pub fn next_key(keys: &[u8], step: usize) -> Option<(&[u8], &[u8])> {
    let (_, key, mut rest) = split_first(keys)?;
    for _ in 1..step {
        (_, _, rest) = split_first(rest)?;
    }
    Some((key, rest))
}

/// Appends a request for some parts of a larger one. `name` is its first argument, with its header.
pub fn write_fragment<'p>(
    name: &[u8],
    step: usize,
    parts: impl Iterator<Item = &'p [u8]> + Clone,
    out: &mut Vec<u8>,
) {
    write_header(b'*', 1 + step * parts.clone().count(), out);
    out.extend_from_slice(name);
    parts.for_each(|part| out.extend_from_slice(part));
}

/// Appends a request with another cursor between what comes before and behind it.
pub fn write_cursor((before, after): (&[u8], &[u8]), cursor: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(before);
    write_bulk_number(cursor, out);
    out.extend_from_slice(after);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fragment_has_the_name_and_its_parts() {
        let arguments = b"$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$1\r\n2\r\n";
        let (first, others) = arguments.split_at(14);
        assert_eq!(next_key(arguments, 2), Some((&b"a"[..], others)));
        assert_eq!(next_key(others, 2), Some((&b"b"[..], &b""[..])));
        let mut out = Vec::new();
        let parts = [others, first];
        write_fragment(b"$4\r\nMSET\r\n", 2, parts.into_iter(), &mut out);
        let expected = b"*5\r\n$4\r\nMSET\r\n$1\r\nb\r\n$1\r\n2\r\n$1\r\na\r\n$1\r\n1\r\n";
        assert_eq!(out, expected);
    }

    #[test]
    fn a_cursor_takes_the_place_of_another() {
        let mut out = Vec::new();
        write_cursor((b"*2\r\n$4\r\nSCAN\r\n", b""), 17, &mut out);
        assert_eq!(out, b"*2\r\n$4\r\nSCAN\r\n$2\r\n17\r\n");
    }
}
