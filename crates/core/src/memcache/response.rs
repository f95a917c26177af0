//! Checks whether a reply matches its request.
//!
//! There are two rules. A reply is used only when it is complete, so that no client gets a part of
//! a reply. And it must match its request: a reply of another kind, of another key, or with an
//! invalid end is a [`Response::Mismatch`]; then the proxy closes the connection.

use super::KeyRoom;
use super::Shape;
use super::words::{key_run, number, number_in_block, same_word};
use crate::message::{Outcome, Response};
use crate::near;

/// No memcached stores a larger item: the maximum of `-I` is 1 GiB.
const ITEM_SIZE_END: usize = 1 << 30;

/// The longest line that a server sends: a key, numbers, sixteen flags; or an error with its text.
const LINE_MAX: usize = 4096;

/// Parses the reply at the start of `input` to a request for `key` whose reply must have the shape
/// `shape`.
///
/// `key` is the request's key, decoded; for [`Shape::Values`] it is the key whose value probably
/// comes next, and the caller handles other keys. `opaque` is the opaque token that a meta reply
/// may repeat.
#[inline(never)]
pub fn parse_response(
    input: &[u8],
    shape: Shape,
    (key, opaque): (&[u8], &[u8]),
    item_size_max: usize,
) -> Response {
    if shape.is_meta()
        && let Some(response) = meta(input, shape, (key, opaque), item_size_max)
    {
        return response;
    }
    if matches!(shape, Shape::Value | Shape::Values) && input.starts_with(VALUE) {
        return if shape == Shape::Values {
            parse_value(input, key, item_size_max)
        } else {
            only_value(input, key, item_size_max)
        };
    }
    let window = &input[..input.len().min(LINE_MAX)];
    let Some(end) = near::find(b'\n', window) else {
        return unfinished(input);
    };
    let Some(line) = input[..end].strip_suffix(b"\r") else { return Response::Mismatch };
    let len = end + 1;
    let outcome = match shape {
        Shape::Value | Shape::Values => (line == b"END").then_some(Outcome::Miss),
        Shape::Stored => stored(line),
        Shape::Swapped => stored(line).or_else(|| swapped(line)),
        Shape::Number if line == b"NOT_FOUND" => Some(Outcome::NotFound),
        Shape::Number => number(line).map(|_| Outcome::Success),
        Shape::Deleted => done(line, b"DELETED"),
        Shape::Touched => done(line, b"TOUCHED"),
        Shape::Ok => (line == b"OK").then_some(Outcome::Success),
        Shape::Version => line.starts_with(b"VERSION ").then_some(Outcome::Success),
        Shape::MetaGet | Shape::MetaGetKey | Shape::MetaStored | Shape::MetaDebug => None,
    };
    match outcome {
        Some(outcome) => Response::Whole { len, outcome },
        None if is_error(line) => Response::Whole { len, outcome: Outcome::Error },
        None => Response::Mismatch,
    }
}

/// protocol.txt, "Error strings".
pub(super) fn is_error(line: &[u8]) -> bool {
    line == b"ERROR"
        || line.starts_with(b"ERROR ")
        || line.starts_with(b"CLIENT_ERROR ")
        || line.starts_with(b"SERVER_ERROR ")
}

fn stored(line: &[u8]) -> Option<Outcome> {
    match line {
        b"STORED" => Some(Outcome::Success),
        b"NOT_STORED" => Some(Outcome::NotStored),
        _ => None,
    }
}

fn swapped(line: &[u8]) -> Option<Outcome> {
    match line {
        b"EXISTS" => Some(Outcome::Exists),
        b"NOT_FOUND" => Some(Outcome::NotFound),
        _ => None,
    }
}

fn done(line: &[u8], word: &[u8]) -> Option<Outcome> {
    match line {
        b"NOT_FOUND" => Some(Outcome::NotFound),
        line => (line == word).then_some(Outcome::Success),
    }
}

const VALUE: &[u8] = b"VALUE ";

/// A `VALUE` line.
struct Header {
    /// Whether its key is the expected one.
    is_likely: bool,
    /// The end of its key, which starts after [`VALUE`].
    key_end: usize,
    /// The start of its data.
    data: usize,
    /// The length of its data.
    length: usize,
}

/// Why bytes are not a `VALUE` line.
enum Unfit {
    /// They are incomplete.
    Short,
    /// They are something else.
    Bad,
}

impl Unfit {
    #[cold]
    fn response(self, input: &[u8]) -> Response {
        match self {
            Self::Short => unfinished(input),
            Self::Bad => Response::Mismatch,
        }
    }
}

/// Parses `VALUE key flags length [cas]`, byte after byte.
///
/// Comparing a key with the expected key is faster than searching for its end.
#[inline(always)]
fn header(input: &[u8], likely_key: &[u8]) -> Result<Header, Unfit> {
    let likely_end = VALUE.len() + likely_key.len();
    let is_likely = input.get(likely_end) == Some(&b' ')
        && same_word(&input[VALUE.len()..likely_end], likely_key)
        && !likely_key.is_empty();
    let key_end = if is_likely { likely_end } else { VALUE.len() + key_run(&input[VALUE.len()..]) };
    if key_end == VALUE.len() && key_end < input.len() {
        return Err(Unfit::Bad);
    }
    let (_, flags_end) = spaced_number(input, key_end)?;
    let (length, mut end) = spaced_number(input, flags_end)?;
    let fits = end - flags_end <= "2147483647".len() + 1 && length <= ITEM_SIZE_END;
    if input[end] == b' ' {
        (_, end) = spaced_number(input, end)?;
    }
    match input[end..] {
        [b'\r', b'\n', ..] if fits => Ok(Header { is_likely, key_end, data: end + 2, length }),
        [b'\r'] if fits => Err(Unfit::Short),
        _ => Err(Unfit::Bad),
    }
}

/// The number of up to twenty digits after the space at `at`, and its end, which is a byte that has
/// arrived. The number is correct if it has fewer than twenty digits.
#[inline(always)]
fn spaced_number(input: &[u8], at: usize) -> Result<(usize, usize), Unfit> {
    match input.get(at) {
        Some(b' ') => {}
        Some(_) => return Err(Unfit::Bad),
        None => return Err(Unfit::Short),
    }
    let digits = &input[at + 1..];
    if let Some(block) = digits.first_chunk::<8>()
        && let Some((number, count)) = number_in_block(u64::from_le_bytes(*block))
    {
        let number = usize::try_from(number).map_err(|_| Unfit::Bad)?;
        return if count > 0 { Ok((number, at + 1 + count)) } else { Err(Unfit::Bad) };
    }
    long_number(input, at)
}

/// As [`spaced_number`], for numbers of eight digits or at the end of the bytes.
#[inline(never)]
fn long_number(input: &[u8], at: usize) -> Result<(usize, usize), Unfit> {
    let (mut number, mut end) = (0usize, at + 1);
    while let Some(&byte) = input.get(end) {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            let fits = (1..=20).contains(&(end - at - 1));
            return if fits { Ok((number, end)) } else { Err(Unfit::Bad) };
        }
        number = number.wrapping_mul(10).wrapping_add(usize::from(digit));
        end += 1;
    }
    Err(Unfit::Short)
}

/// A line whose end has not arrived: incomplete, or a mismatch if the line is already too long.
fn unfinished(input: &[u8]) -> Response {
    if input.len() < LINE_MAX { Response::Partial(input.len() + 1) } else { Response::Mismatch }
}

/// The only requested value, and the end after it.
fn only_value(input: &[u8], key: &[u8], item_size_max: usize) -> Response {
    const END: &[u8] = b"\r\nEND\r\n";
    let header = match header(input, key) {
        Ok(header) if header.is_likely => header,
        Ok(_) => return Response::Mismatch,
        Err(unfit) => return unfit.response(input),
    };
    let end = header.data + header.length;
    let len = end + END.len();
    if header.length > item_size_max {
        return Response::TooLarge(len);
    }
    match input.get(end..len) {
        Some(END) => Response::Whole { len, outcome: Outcome::Hit },
        Some(_) => Response::Mismatch,
        None => Response::Partial(len),
    }
}

/// Parses one value of several at the start of `input`, probably that of `likely_key`.
#[inline(always)]
pub fn parse_value(input: &[u8], likely_key: &[u8], item_size_max: usize) -> Response {
    if !input.starts_with(VALUE) {
        return Response::Mismatch;
    }
    let header = match header(input, likely_key) {
        Ok(header) => header,
        Err(unfit) => return unfit.response(input),
    };
    let end = header.data + header.length;
    if header.length > item_size_max {
        return Response::TooLarge(end + 2);
    }
    match input.get(end..end + 2) {
        Some(b"\r\n") => {
            let key = (!header.is_likely).then_some(VALUE.len()..header.key_end);
            Response::Value { len: end + 2, key }
        }
        Some(_) => Response::Mismatch,
        None => Response::Partial(end + 2),
    }
}

/// Parses a meta reply: two letters, for `VA` the length of the data, then flags. `None` if the
/// letters are not those of a reply to this request; it may be an error.
///
/// memcached prints the decoded key of an item if it created or rewrote the item itself, because it
/// then loses the information that the key was in base64. Such a key may contain any bytes,
/// including line ends. So the reply is parsed flag by flag, and the request's key is skipped as a
/// whole.
fn meta(
    input: &[u8],
    shape: Shape,
    echo: (&[u8], &[u8]),
    item_size_max: usize,
) -> Option<Response> {
    let outcome = match (input.first_chunk::<2>()?, shape) {
        (b"ME", Shape::MetaDebug) => return Some(debug(input, echo.0)),
        // `OK` for `HD`: memcached up to 1.6.17 with `-o meta_response_old`.
        (b"HD" | b"OK" | b"VA", Shape::MetaGet | Shape::MetaGetKey) => Outcome::Hit,
        (b"EN", Shape::MetaGet | Shape::MetaGetKey | Shape::MetaDebug) => Outcome::Miss,
        (b"HD" | b"OK" | b"VA", Shape::MetaStored) => Outcome::Success,
        (b"NF", Shape::MetaStored) => Outcome::NotFound,
        (b"EX", Shape::MetaStored) => Outcome::Exists,
        (b"NS", Shape::MetaStored) => Outcome::NotStored,
        _ => return None,
    };
    let read = || -> Result<_, Unfit> {
        let (data, flags) = if input.starts_with(b"VA") { data_len(input)? } else { (0, 2) };
        let (line_len, repeated) = flags_end(input, flags, echo)?;
        let must_repeat = outcome == Outcome::Hit && !repeated.holds(shape, echo.1);
        if must_repeat { Err(Unfit::Bad) } else { Ok((data, line_len)) }
    };
    let (data, line_len) = match read() {
        Ok(lengths) => lengths,
        Err(unfit) => return Some(unfit.response(input)),
    };
    let len = line_len + data;
    Some(match input.get(..len) {
        _ if data > item_size_max + 2 => Response::TooLarge(len),
        None => Response::Partial(len),
        Some(reply) if reply.ends_with(b"\r\n") => Response::Whole { len, outcome },
        Some(_) => Response::Mismatch,
    })
}

/// The length of the data after a `VA` line, including its line end, and the start of the flags.
fn data_len(input: &[u8]) -> Result<(usize, usize), Unfit> {
    let (length, end) = spaced_number(input, 2)?;
    let fits = length <= ITEM_SIZE_END && end <= "VA 2147483647".len();
    if fits { Ok((length + 2, end)) } else { Err(Unfit::Bad) }
}

/// What a meta reply repeats of its request.
#[derive(Clone, Copy, Default)]
struct Repeated {
    key: bool,
    opaque: bool,
}

impl Repeated {
    /// Whether all is there that the request wants to be repeated.
    fn holds(self, shape: Shape, opaque: &[u8]) -> bool {
        (self.key || shape != Shape::MetaGetKey) && (self.opaque || opaque.is_empty())
    }
}

/// The end of the line whose flags start at `at`, and what they repeat. A key and an opaque token must be those
/// of the request.
fn flags_end(
    input: &[u8],
    mut at: usize,
    (key, opaque): (&[u8], &[u8]),
) -> Result<(usize, Repeated), Unfit> {
    let mut repeated = Repeated::default();
    while next_byte(input, at)? == b' ' {
        let word = at + 1;
        at = match next_byte(input, word)? {
            b'k' => {
                repeated.key = true;
                key_end(input, word + 1, key)?
            }
            b'O' => {
                repeated.opaque = true;
                let end = word_end(input, word)?;
                if &input[word..end] != opaque {
                    return Err(Unfit::Bad);
                }
                end
            }
            _ => word_end(input, word)?,
        };
    }
    match (input[at], next_byte(input, at + 1)?) {
        (b'\r', b'\n') => Ok((at + 2, repeated)),
        _ => Err(Unfit::Bad),
    }
}

/// The byte at `at`, which is at most the first byte that has not arrived.
fn next_byte(input: &[u8], at: usize) -> Result<u8, Unfit> {
    input.get(at).copied().ok_or(Unfit::Short)
}

/// The end of the word that starts at `at`.
fn word_end(input: &[u8], at: usize) -> Result<usize, Unfit> {
    let len = memchr::memchr2(b' ', b'\r', &input[at..]).ok_or(Unfit::Short)?;
    Ok(at + len)
}

/// The end of the request's key at `at`, decoded or in base64.
///
/// Base64 contains no byte that may follow a key, and is longer than the key, so the two forms
/// cannot be confused.
fn key_end(input: &[u8], at: usize, key: &[u8]) -> Result<usize, Unfit> {
    let rest = &input[at..];
    if let Some(behind) = rest.strip_prefix(key) {
        match behind.first() {
            Some(b' ' | b'\r') => return Ok(at + key.len()),
            Some(_) => {}
            None => return Err(Unfit::Short),
        }
    } else if key.starts_with(rest) {
        return Err(Unfit::Short);
    }
    let end = word_end(input, at)?;
    let mut room: KeyRoom = [0; 192];
    let is_same = super::decode_key(&input[at..end], &mut room) == Some(key);
    if is_same { Ok(end) } else { Err(Unfit::Bad) }
}

/// The reply to `me`: the key and some figures.
fn debug(input: &[u8], key: &[u8]) -> Response {
    const ME: &[u8] = b"ME ";
    if input.len() > ME.len() && !input.starts_with(ME) {
        return Response::Mismatch;
    }
    let read = || -> Result<_, Unfit> {
        next_byte(input, ME.len())?;
        let key_end = key_end(input, ME.len(), key)?;
        let figures = memchr::memchr(b'\n', &input[key_end..]).ok_or(Unfit::Short)?;
        Ok(key_end + figures + 1)
    };
    match read() {
        Ok(len) if input[..len].ends_with(b"\r\n") => {
            Response::Whole { len, outcome: Outcome::Hit }
        }
        Ok(_) => Response::Mismatch,
        Err(unfit) => unfit.response(input),
    }
}

#[cfg(test)]
mod tests;
