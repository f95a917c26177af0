//! Where a request ends: an array of bulk strings, of which no length is believed before it is checked.
//!
//! The one rule: what Redis refuses ends the client's connection here, with Redis's words, before a
//! server sees a byte of it. Nothing is scanned twice, as in [`super::frame`].
//! Source: `processMultibulkBuffer` of Redis 7.

use super::frame::integer;
use crate::message::Scan;

/// The limits of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Arguments.
    pub(super) arguments: usize,
    /// Bytes of one of them.
    pub(super) argument_len: usize,
    /// Bytes of all.
    pub(super) len: usize,
}

/// The result of scanning the start of a client's bytes, which begin with `*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framed {
    /// A complete request: the first `len` bytes.
    Whole {
        /// Its bytes.
        len: usize,
        /// Whether it has the one form that the proxy itself writes.
        is_plain: bool,
    },
    /// A request without arguments, to which there is no reply: so many bytes.
    Empty(usize),
    /// The request is not complete: it has at least so many bytes.
    Partial(usize),
    /// The start of the next request is not known.
    Broken(Broken),
}

/// Why the start of the next request is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// The number of arguments is none, or too high.
    Count,
    /// Its line does not end.
    CountLine,
    /// The length of an argument is none, or too high.
    Length,
    /// Its line does not end.
    LengthLine,
    /// An argument does not begin with `$`, but with this.
    Kind(u8),
    /// The request is too long.
    TooLong,
}

/// The longest line of a number that can be right.
const LINE_MAX: usize = 64;

/// A line of a number: its text, and whether its end is plain.
struct NumberLine<'a> {
    text: &'a [u8],
    /// The place behind its end.
    next: usize,
    is_plain: bool,
}

/// Scans the request at the start of `input`, of which `scan` knows how much was scanned before.
pub(super) fn scan(input: &[u8], scan: &mut Scan, bounds: Bounds) -> Framed {
    if scan.at == 0 {
        let line = match number_line(input, 0) {
            Ok(Some(line)) => line,
            Ok(None) => return Framed::Partial(input.len() + 1),
            Err(()) => return Framed::Broken(Broken::CountLine),
        };
        let Some(count) = integer(line.text) else { return Framed::Broken(Broken::Count) };
        let Ok(count @ 1..) = u64::try_from(count) else { return Framed::Empty(line.next) };
        if count > bounds.arguments as u64 {
            return Framed::Broken(Broken::Count);
        }
        *scan = Scan { at: line.next, left: count, is_odd: !line.is_plain, ..Scan::default() };
    }
    while scan.left > 0 {
        if scan.body == 0 {
            match header(input, scan, bounds) {
                Ok(Some(())) => {}
                // A header that is refused may be all that comes, and it is shorter than an argument.
                Ok(None) => return Framed::Partial(input.len() + 1),
                Err(broken) => return Framed::Broken(broken),
            }
        }
        let end = scan.at + scan.body;
        if end > bounds.len {
            return Framed::Broken(Broken::TooLong);
        }
        if input.len() < end {
            return Framed::Partial(end);
        }
        scan.is_odd |= &input[end - 2..end] != b"\r\n";
        (scan.at, scan.body) = (end, 0);
        scan.left -= 1;
    }
    let Scan { at, is_odd, .. } = core::mem::take(scan);
    Framed::Whole { len: at, is_plain: !is_odd }
}

/// Scans the header of an argument. None if it is not complete.
#[inline]
fn header(input: &[u8], scan: &mut Scan, bounds: Bounds) -> Result<Option<()>, Broken> {
    let Some(line) = number_line(input, scan.at).map_err(|()| Broken::LengthLine)? else {
        return Ok(None);
    };
    let kind = input[scan.at];
    if kind != b'$' {
        return Err(Broken::Kind(kind));
    }
    let len = integer(line.text).and_then(|len| usize::try_from(len).ok());
    let len = len.filter(|len| *len <= bounds.argument_len).ok_or(Broken::Length)?;
    scan.is_odd |= !line.is_plain;
    (scan.at, scan.body) = (line.next, len + 2);
    Ok(Some(()))
}

/// The line at `at`, without its first byte. None if it is not complete, an error if it is too long.
///
/// Redis looks for a carriage return and goes past it and one byte more, whatever that is.
#[inline]
fn number_line(input: &[u8], at: usize) -> Result<Option<NumberLine<'_>>, ()> {
    let rest = &input[at..];
    let searched = &rest[..rest.len().min(LINE_MAX)];
    let Some(end) = searched.iter().position(|byte| *byte == b'\r') else {
        return if rest.len() < LINE_MAX { Ok(None) } else { Err(()) };
    };
    let Some(last) = rest.get(end + 1) else { return Ok(None) };
    // An empty line has no first byte.
    let text = rest.get(1..end).unwrap_or_default();
    Ok(Some(NumberLine { text, next: at + end + 2, is_plain: *last == b'\n' }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { arguments: 1 << 20, argument_len: 1000, len: 4000 };

    fn scanned(input: &[u8]) -> Framed {
        scan(input, &mut Scan::default(), BOUNDS)
    }

    #[test]
    fn a_request_ends_with_its_last_argument() {
        let request = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
        let all = [&request[..], b"*1"].concat();
        assert_eq!(scanned(&all), Framed::Whole { len: request.len(), is_plain: true });
        let mut state = Scan::default();
        for len in 1..request.len() {
            let framed = scan(&request[..len], &mut state, BOUNDS);
            assert!(
                matches!(framed, Framed::Partial(need) if need > len && need <= request.len()),
                "{framed:?} at {len}"
            );
        }
        let framed = scan(request, &mut state, BOUNDS);
        assert_eq!(framed, Framed::Whole { len: request.len(), is_plain: true });
        assert_eq!(state, Scan::default());
    }

    #[test]
    fn odd_line_ends_are_accepted_and_noted() {
        for request in [&b"*1\rx$1\r\nk\r\n"[..], b"*1\r\n$1\rxk\r\n", b"*1\r\n$1\r\nkxy"] {
            assert_eq!(scanned(request), Framed::Whole { len: request.len(), is_plain: false });
        }
    }

    #[test]
    fn no_arguments_are_no_request() {
        for request in [&b"*0\r\n"[..], b"*-1\r\n", b"*-9223372036854775808\r\n"] {
            assert_eq!(scanned(request), Framed::Empty(request.len()));
        }
    }

    #[test]
    fn a_length_that_redis_refuses_is_refused() {
        for (request, broken) in [
            (&b"*\r\n"[..], Broken::Count),
            (b"*x\r\n", Broken::Count),
            (b"*01\r\n", Broken::Count),
            (b"*1048577\r\n", Broken::Count),
            (b"*4294967298\r\n", Broken::Count),
            (b"*18446744073709551617\r\n", Broken::Count),
            (b"*1\r\n$\r\n", Broken::Length),
            (b"*1\r\n$-1\r\n", Broken::Length),
            (b"*1\r\n$003\r\n", Broken::Length),
            (b"*1\r\n$1001\r\n", Broken::Length),
            (b"*1\r\n$4294967297\r\n", Broken::Length),
            (b"*1\r\n$18446744073709551617\r\n", Broken::Length),
            (b"*1\r\n*1\r\n", Broken::Kind(b'*')),
            (b"*1\r\n\r\n", Broken::Kind(b'\r')),
            (&[b'*'; LINE_MAX], Broken::CountLine),
        ] {
            assert_eq!(scanned(request), Framed::Broken(broken), "{request:?}");
        }
        // The client waits for the answer, and sends no more.
        let mut state = Scan::default();
        assert_eq!(scan(b"*1\r\n$", &mut state, BOUNDS), Framed::Partial(6));
        assert_eq!(scan(b"*1\r\n$x\r\n", &mut state, BOUNDS), Framed::Broken(Broken::Length));
        let long = [b"*1\r\n", &[b'$'; LINE_MAX][..]].concat();
        assert_eq!(scanned(&long), Framed::Broken(Broken::LengthLine));
        let arguments = b"$1000\r\n".iter().chain(&[b'x'; 1002]).copied();
        let large: alloc::vec::Vec<u8> =
            b"*4\r\n".iter().copied().chain((0..4).flat_map(|_| arguments.clone())).collect();
        assert_eq!(scanned(&large), Framed::Broken(Broken::TooLong));
    }
}
