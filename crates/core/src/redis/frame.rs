//! Where a RESP value ends: values are scanned, never built.
//!
//! The one rule: nothing is scanned twice. A value that is not complete leaves a [`Scan`], from which
//! the next call goes on, so a reply of a million elements that comes in small pieces costs its length
//! once. A scan has no stack: it counts the elements that are still to come, so the depth of a value
//! costs nothing. Source: the RESP2 and RESP3 specifications.

use crate::message::Scan;
use crate::near;

/// The header of a bulk string or an aggregate is not longer.
const HEADER_MAX: usize = 32;

/// The result of scanning the start of a server's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scanned {
    /// A complete value: the first `len` bytes.
    Whole(usize),
    /// The value is not complete: it has at least so many bytes.
    Partial(usize),
    /// Not RESP.
    Malformed,
}

/// The result of looking for the end of a line.
enum LineEnd {
    /// The line's text ends here; its end is two bytes.
    At(usize),
    /// The end is not here.
    Missing,
    /// A carriage return has no line feed.
    Malformed,
}

/// Scans the values at the start of `input`, of which `scan` knows how many there are, and how much was
/// scanned before.
pub(super) fn scan(input: &[u8], scan: &mut Scan) -> Scanned {
    while scan.left > 0 || scan.body > 0 {
        let scanned = if scan.body > 0 {
            skip_body(input, scan)
        } else if scan.is_in_line {
            skip_line(input, scan)
        } else {
            element(input, scan)
        };
        if let Some(scanned) = scanned {
            return scanned;
        }
    }
    let len = scan.at;
    *scan = Scan::default();
    Scanned::Whole(len)
}

/// Scans the start of an element. Says how the scan ends, if it can't go on.
fn element(input: &[u8], scan: &mut Scan) -> Option<Scanned> {
    let Some(&kind) = input.get(scan.at) else { return Some(Scanned::Partial(least(scan))) };
    match kind {
        b'+' | b'-' | b':' | b',' | b'#' | b'(' | b'_' => {
            scan.is_in_line = true;
            scan.at += 1;
            return None;
        }
        b'$' | b'=' | b'!' | b'*' | b'~' | b'>' | b'%' | b'|' => {}
        _ => return Some(Scanned::Malformed),
    }
    let start = scan.at + 1;
    let end = match line_end(input, start) {
        LineEnd::At(end) if end - start <= HEADER_MAX => end,
        LineEnd::Missing if input.len() - start <= HEADER_MAX => {
            return Some(Scanned::Partial(least(scan).max(input.len() + 1)));
        }
        _ => return Some(Scanned::Malformed),
    };
    let Some(len) = length(&input[start..end]) else { return Some(Scanned::Malformed) };
    scan.at = end + 2;
    scan.left -= 1;
    match (kind, len) {
        (_, None) => {}
        (b'$' | b'=' | b'!', Some(len)) => scan.body = len + 2,
        (b'%', Some(len)) => scan.left += 2 * len as u64,
        // What the attributes belong to is still to come.
        (b'|', Some(len)) => scan.left += 2 * len as u64 + 1,
        (_, Some(len)) => scan.left += len as u64,
    }
    (scan.left > LENGTH_MAX as u64).then_some(Scanned::Malformed)
}

/// Goes past the bytes of a bulk string and its end.
fn skip_body(input: &[u8], scan: &mut Scan) -> Option<Scanned> {
    let end = scan.at + scan.body;
    if input.len() < end {
        return Some(Scanned::Partial(end));
    }
    if &input[end - 2..end] != b"\r\n" {
        return Some(Scanned::Malformed);
    }
    (scan.at, scan.body) = (end, 0);
    None
}

/// Goes past the rest of a line, whose text may be anything.
fn skip_line(input: &[u8], scan: &mut Scan) -> Option<Scanned> {
    match line_end(input, scan.at) {
        LineEnd::At(end) => {
            (scan.at, scan.is_in_line) = (end + 2, false);
            scan.left -= 1;
            None
        }
        LineEnd::Missing => {
            let is_split = input.last() == Some(&b'\r');
            scan.at = input.len() - usize::from(is_split);
            Some(Scanned::Partial(input.len() + 1))
        }
        LineEnd::Malformed => Some(Scanned::Malformed),
    }
}

/// How many of the first bytes of an incomplete value are of no more use: they are scanned, and a
/// value that is too large is not kept. They are taken off the scan.
pub(super) fn drop_scanned(input: &[u8], scan: &mut Scan) -> usize {
    // The end of a bulk string is checked when all of it is here.
    let of_body = (input.len() - scan.at).min(scan.body.saturating_sub(2));
    scan.body -= of_body;
    let dropped = scan.at + of_body;
    scan.at = 0;
    dropped
}

/// Bytes of a bulk string and elements of an aggregate: no server sends more.
const LENGTH_MAX: usize = 1 << 32;

/// The shortest element, `_\r\n`.
const ELEMENT_MIN: usize = 3;

/// So many bytes the value has at least.
fn least(scan: &Scan) -> usize {
    scan.at + usize::try_from(scan.left).map_or(0, |left| left * ELEMENT_MIN)
}

/// The end of the line whose text begins at `start`.
#[inline]
fn line_end(input: &[u8], start: usize) -> LineEnd {
    let Some(found) = near::find(b'\r', &input[start..]) else { return LineEnd::Missing };
    match input.get(start + found + 1) {
        Some(b'\n') => LineEnd::At(start + found),
        Some(_) => LineEnd::Malformed,
        None => LineEnd::Missing,
    }
}

/// The text of a complete value; none if it is null, or not a string.
pub(super) fn text(value: &[u8]) -> Option<&[u8]> {
    let start = match value.first()? {
        b'+' => 1,
        b'$' => near::find(b'\n', value)? + 1,
        _ => return None,
    };
    value.get(start..value.len().checked_sub(2)?)
}

/// The length in the header of a bulk string or an aggregate; `Some(None)` is the null of RESP2, -1.
fn length(text: &[u8]) -> Option<Option<usize>> {
    if text == b"-1" {
        return Some(None);
    }
    let number = usize::try_from(integer(text)?).ok()?;
    (number <= LENGTH_MAX).then_some(Some(number))
}

/// Whether a value is null, in RESP2 or RESP3.
#[inline]
pub fn is_null(value: &[u8]) -> bool {
    matches!(value, b"$-1\r\n" | b"_\r\n" | b"*-1\r\n")
}

/// A number of 64 bits in its only form: digits without leading zeros, and a sign if it is negative
/// (`string2ll` of Redis).
#[inline]
pub fn integer(text: &[u8]) -> Option<i64> {
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let is_plain = match digits {
        [b'0'] => !is_negative,
        [first, ..] => *first != b'0' && digits.len() <= 19,
        [] => false,
    };
    if !is_plain {
        return None;
    }
    let mut number: u64 = 0;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        // Nineteen digits always fit.
        number = number * 10 + u64::from(digit);
    }
    if is_negative { 0_i64.checked_sub_unsigned(number) } else { i64::try_from(number).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn scan_whole(input: &[u8]) -> Scanned {
        scan(input, &mut Scan::one())
    }

    const VALUES: &[&[u8]] = &[
        b"+OK\r\n",
        b"-ERR no\r\n",
        b":-12\r\n",
        b"$5\r\nacorn\r\n",
        b"$0\r\n\r\n",
        b"$-1\r\n",
        b"*-1\r\n",
        b"*0\r\n",
        b"*2\r\n$1\r\na\r\n*1\r\n:1\r\n",
        b"%1\r\n+a\r\n*2\r\n_\r\n#t\r\n",
        b"~1\r\n,1.5\r\n",
        b">2\r\n+message\r\n+x\r\n",
        b"=7\r\ntxt:nut\r\n",
        b"!5\r\nERR x\r\n",
        b"(12345678901234567890\r\n",
        b"|1\r\n+ttl\r\n:3\r\n$1\r\na\r\n",
    ];

    #[test]
    fn a_value_of_each_type_ends_where_its_bytes_end() {
        for value in VALUES {
            let mut input = value.to_vec();
            input.extend_from_slice(b"+next\r\n");
            assert_eq!(scan_whole(&input), Scanned::Whole(value.len()), "{value:?}");
        }
    }

    #[test]
    fn a_value_that_comes_byte_by_byte_is_complete_with_its_last_byte() {
        for value in VALUES {
            let mut state = Scan::one();
            for len in 1..value.len() {
                let Scanned::Partial(need) = scan(&value[..len], &mut state) else {
                    panic!("{value:?} at {len}");
                };
                assert!(need > len && need <= value.len(), "{value:?} at {len}: {need}");
            }
            assert_eq!(scan(value, &mut state), Scanned::Whole(value.len()));
        }
    }

    #[test]
    fn what_is_not_resp_is_malformed() {
        for input in [
            &b"VALUE k 0 1\r\n"[..],
            b"*1x\r\n",
            b"$+1\r\na\r\n",
            b"$01\r\na\r\n",
            b"$-2\r\n",
            b"$1\r\nab\r\n",
            b"+a\rb\r\n",
            b"*4294967298\r\n",
            b"*18446744073709551617\r\n",
            b"%9223372036854775807\r\n",
            b"*2\r\n*4294967295\r\n*4294967295\r\n",
        ] {
            assert_eq!(scan_whole(input), Scanned::Malformed, "{input:?}");
        }
        let long = [b'*'; HEADER_MAX + 3];
        assert_eq!(scan_whole(&long), Scanned::Malformed);
    }

    #[test]
    fn a_value_is_scanned_to_its_end_although_its_bytes_are_dropped_as_they_come() {
        let text = b"x".repeat(100_000);
        let values = [
            [b"*2\r\n$100000\r\n", &text[..], b"\r\n:1\r\n"].concat(),
            [b"-ERR ", &text[..], b"\r\n"].concat(),
            b"*30000\r\n".iter().chain(b":1\r\n".repeat(30_000).iter()).copied().collect(),
        ];
        for value in values {
            let (mut state, mut kept, mut dropped) = (Scan::one(), Vec::new(), 0);
            for piece in value.chunks(997) {
                kept.extend_from_slice(piece);
                match scan(&kept, &mut state) {
                    Scanned::Partial(_) => {
                        let count = drop_scanned(&kept, &mut state);
                        kept.drain(..count);
                        dropped += count;
                        assert!(kept.len() < 16, "{} bytes are kept", kept.len());
                    }
                    scanned => {
                        assert_eq!(scanned, Scanned::Whole(kept.len()));
                        assert_eq!(dropped + kept.len(), value.len());
                    }
                }
            }
            assert_eq!(state, Scan::default(), "the value is whole");
        }
    }

    #[test]
    fn a_long_reply_in_small_pieces_is_scanned_once() {
        let mut reply = b"*100000\r\n".to_vec();
        (0..100_000).for_each(|_| reply.extend_from_slice(b"$1\r\nx\r\n"));
        let (mut state, mut before) = (Scan::one(), 0);
        for len in (1000..reply.len()).step_by(1000) {
            assert!(matches!(scan(&reply[..len], &mut state), Scanned::Partial(_)));
            assert!(state.at >= before && len - state.at < 16, "at {} of {len}", state.at);
            before = state.at;
        }
        assert_eq!(scan(&reply, &mut state), Scanned::Whole(reply.len()));
    }

    #[test]
    fn depth_costs_nothing() {
        let mut reply: Vec<u8> = b"*1\r\n".repeat(100_000);
        reply.extend_from_slice(b":1\r\n");
        assert_eq!(scan_whole(&reply), Scanned::Whole(reply.len()));
    }

    #[test]
    fn only_strings_have_a_text() {
        for (value, expected) in [
            (&b"+OK\r\n"[..], Some(&b"OK"[..])),
            (b"+\r\n", Some(b"")),
            (b"$5\r\nacorn\r\n", Some(b"acorn")),
            (b"$0\r\n\r\n", Some(b"")),
            (b"$-1\r\n", None),
            (b":7\r\n", None),
            (b":-1\r\n", None),
            (b"*1\r\n+a\r\n", None),
            (b"", None),
        ] {
            assert_eq!(text(value), expected, "{}", value.escape_ascii());
        }
    }

    #[test]
    fn a_number_has_one_form() {
        for (text, number) in [
            (&b"0"[..], Some(0)),
            (b"12", Some(12)),
            (b"-12", Some(-12)),
            (b"9223372036854775807", Some(i64::MAX)),
            (b"-9223372036854775808", Some(i64::MIN)),
            (b"9223372036854775808", None),
            (b"-9223372036854775809", None),
            (b"18446744073709551617", None),
            (b"", None),
            (b"-", None),
            (b"-0", None),
            (b"00", None),
            (b"01", None),
            (b"+1", None),
            (b" 1", None),
            (b"1a", None),
        ] {
            assert_eq!(integer(text), number, "{text:?}");
        }
    }
}
