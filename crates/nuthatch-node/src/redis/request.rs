//! Requests: arrays of strings, or lines of words.
//!
//! The one rule: the parser takes and refuses what Redis takes and refuses, within limits of the
//! node's own: a request is never larger than [`REQUEST_MAX`].

use super::fault::Fault;
use super::number::integer;

/// What the first bytes are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// More bytes are needed.
    Partial,
    /// A request of `len` bytes. Without words it has no reply.
    Request { words: Vec<Word>, len: usize },
    /// Not a request: the error, after which the connection is closed.
    Broken(Fault),
}

/// The bytes of one word: a part of the input, or new bytes of a quoted word.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Word {
    At(usize, usize),
    Own(Vec<u8>),
}

impl Word {
    pub(crate) fn of<'a>(&'a self, input: &'a [u8]) -> &'a [u8] {
        match self {
            Self::At(start, end) => &input[*start..*end],
            Self::Own(bytes) => bytes,
        }
    }
}

/// Parses the request at the start of `input`, which is not empty.
pub(crate) fn parse(input: &[u8]) -> Parsed {
    if input[0] == b'*' { array(input) } else { inline(input) }
}

/// Maximum bytes of a string: Redis's `proto-max-bulk-len`, smaller because memory is.
pub(crate) const STRING_MAX: usize = 16 << 20;

/// Maximum bytes of a request; a client with a longer one loses its connection.
pub(crate) const REQUEST_MAX: usize = 64 << 20;

/// Maximum bytes of a line.
const LINE_MAX: usize = 64 << 10;

fn array(input: &[u8]) -> Parsed {
    let (count, mut at) = match header(input, 0, "too big mbulk count string") {
        Ok(header) => header,
        Err(parsed) => return parsed,
    };
    let Some(count) = count.filter(|count| *count <= i64::from(i32::MAX)) else {
        return broken("invalid multibulk length");
    };
    let mut words = Vec::new();
    for _ in 0..count {
        let (len, start) = match header(input, at, "too big bulk count string") {
            Ok(header) => header,
            Err(parsed) => return parsed,
        };
        if input[at] != b'$' {
            let text = [b"ERR Protocol error: expected '$', got '", &input[at..=at], b"'"];
            return Parsed::Broken(Fault(text.concat().into()));
        }
        let len = len.and_then(|len| usize::try_from(len).ok()).filter(|len| *len <= STRING_MAX);
        let Some(len) = len else { return broken("invalid bulk length") };
        // Redis does not look at the two bytes of the line end.
        if input.len() < start + len + 2 {
            return Parsed::Partial;
        }
        words.push(Word::At(start, start + len));
        at = start + len + 2;
    }
    Parsed::Request { words, len: at }
}

fn broken(text: &str) -> Parsed {
    Parsed::Broken(format!("ERR Protocol error: {text}").into())
}

/// The number of a line such as `*3`, if it is one, and where the bytes behind the line are.
fn header(input: &[u8], at: usize, too_long: &str) -> Result<(Option<i64>, usize), Parsed> {
    let Some(len) = input[at..].iter().position(|byte| *byte == b'\r') else {
        let is_too_long = input.len() - at > LINE_MAX;
        return Err(if is_too_long { broken(too_long) } else { Parsed::Partial });
    };
    let end = at + len;
    if input.len() < end + 2 {
        return Err(Parsed::Partial);
    }
    Ok((integer(&input[at + 1..end]).ok(), end + 2))
}

/// A line of words, for people with `telnet`.
fn inline(input: &[u8]) -> Parsed {
    let Some(end) = input.iter().position(|byte| *byte == b'\n') else {
        if input.len() > LINE_MAX {
            return broken("too big inline request");
        }
        return Parsed::Partial;
    };
    let line = input[..end].strip_suffix(b"\r").unwrap_or(&input[..end]);
    match split(line) {
        Some(words) => Parsed::Request { words, len: end + 1 },
        None => broken("unbalanced quotes in request"),
    }
}

/// The words of a line, or `None` if a quote has no end, or no space behind its end.
fn split(line: &[u8]) -> Option<Vec<Word>> {
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        rest = rest.trim_ascii_start();
        if rest.is_empty() {
            return Some(words);
        }
        let mut word = Vec::new();
        while let Some((first, behind)) = rest.split_first() {
            match first {
                b'"' | b'\'' => {
                    rest = quoted(behind, *first, &mut word)?;
                    if rest.first().is_some_and(|byte| !byte.is_ascii_whitespace()) {
                        return None;
                    }
                    break;
                }
                _ if first.is_ascii_whitespace() => break,
                _ => word.push(*first),
            }
            rest = behind;
        }
        words.push(Word::Own(word));
    }
}

/// Appends the text of a quote to `word`; returns what is behind its end.
fn quoted<'a>(mut rest: &'a [u8], quote: u8, word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        rest = match rest {
            [byte, behind @ ..] if *byte == quote => return Some(behind),
            [b'\\', b'x', high, low, behind @ ..] if quote == b'"' && is_hex(*high, *low) => {
                let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or_default();
                word.extend(u8::try_from(digit(*high) * 16 + digit(*low)));
                behind
            }
            [b'\\', letter, behind @ ..] if quote == b'"' => {
                word.push(match letter {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => *other,
                });
                behind
            }
            [b'\\', b'\'', behind @ ..] => {
                word.push(b'\'');
                behind
            }
            [byte, behind @ ..] => {
                word.push(*byte);
                behind
            }
            [] => return None,
        };
    }
}

fn is_hex(high: u8, low: u8) -> bool {
    high.is_ascii_hexdigit() && low.is_ascii_hexdigit()
}
