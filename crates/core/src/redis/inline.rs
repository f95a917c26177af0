//! Inline requests: a line of words instead of an array, as a person types it.
//!
//! The one rule: a server gets the array. Words are separated by white space; a word in double
//! quotes may have escapes, a word in single quotes only `\'` (`sdssplitargs` of Redis).

use super::write_bulk;
use alloc::vec::Vec;

/// A quote has no end, or something follows it without a space.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unbalanced;

/// Writes the words of a line as an array to `out`, which is empty. Says how many there are.
pub(super) fn write_array(line: &[u8], out: &mut Vec<u8>) -> Result<usize, Unbalanced> {
    let (mut rest, mut word, mut words, mut count) = (line, Vec::new(), Vec::new(), 0);
    while let Some(start) = rest.iter().position(|byte| !is_space(*byte)) {
        rest = &rest[start..];
        word.clear();
        rest = take_word(rest, &mut word)?;
        write_bulk(&word, &mut words);
        count += 1;
    }
    super::write_header(b'*', count, out);
    out.extend_from_slice(&words);
    Ok(count)
}

/// Takes a word off the start of `rest`, which is not empty.
fn take_word<'a>(rest: &'a [u8], word: &mut Vec<u8>) -> Result<&'a [u8], Unbalanced> {
    let mut rest = rest;
    while let Some((&byte, more)) = rest.split_first() {
        match byte {
            b'"' | b'\'' => {
                rest = take_quoted(byte, more, word)?;
                return match rest.first() {
                    Some(next) if !is_space(*next) => Err(Unbalanced),
                    _ => Ok(rest),
                };
            }
            _ if is_space(byte) => break,
            _ => word.push(byte),
        }
        rest = more;
    }
    Ok(rest)
}

/// Takes the rest of a quoted part, behind its first quote.
fn take_quoted<'a>(quote: u8, rest: &'a [u8], word: &mut Vec<u8>) -> Result<&'a [u8], Unbalanced> {
    let mut rest = rest;
    loop {
        rest = match (rest, quote) {
            ([b'\\', b'x', high, low, more @ ..], b'"')
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                word.push(hex(*high) << 4 | hex(*low));
                more
            }
            ([b'\\', escaped, more @ ..], b'"') => {
                word.push(unescaped(*escaped));
                more
            }
            ([b'\\', b'\'', more @ ..], b'\'') => {
                word.push(b'\'');
                more
            }
            ([byte, more @ ..], _) if *byte == quote => return Ok(more),
            ([byte, more @ ..], _) => {
                word.push(*byte);
                more
            }
            ([], _) => return Err(Unbalanced),
        };
    }
}

fn unescaped(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'a' => 7,
        other => other,
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

/// White space as `isspace` of C has it.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | 9..=13)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(line: &[u8]) -> Result<Vec<u8>, Unbalanced> {
        let mut out = Vec::new();
        write_array(line, &mut out).map(|_| out)
    }

    #[test]
    fn a_line_becomes_an_array_of_its_words() {
        for (line, expected) in [
            (&b"PING"[..], &b"*1\r\n$4\r\nPING\r\n"[..]),
            (b"  GET \t\x0b k  ", b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"),
            (b"SET k \"a b\\x41\\n\\q\"", b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$6\r\na bA\nq\r\n"),
            (b"SET k 'a \\' \\n'", b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$6\r\na ' \\n\r\n"),
            (b"SET k pre\"fix\"", b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$6\r\nprefix\r\n"),
            (b"ECHO \"\"", b"*2\r\n$4\r\nECHO\r\n$0\r\n\r\n"),
            (b"ECHO \"\\x4\"", b"*2\r\n$4\r\nECHO\r\n$2\r\nx4\r\n"),
            (b"", b"*0\r\n"),
        ] {
            assert_eq!(array(line).unwrap(), expected, "{line:?}");
        }
    }

    #[test]
    fn a_quote_without_end_is_unbalanced() {
        for line in [&b"GET \"k"[..], b"GET 'k", b"GET \"k\"x", b"GET 'k'\"x\"", b"GET \"k\\\""] {
            assert_eq!(array(line), Err(Unbalanced), "{line:?}");
        }
    }
}
