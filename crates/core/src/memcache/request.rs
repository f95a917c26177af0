//! Parses a request.
//!
//! A request is a line and, for storage, a data block after it. The line is split into words, the
//! first word is looked up in the [`COMMANDS`](super::COMMANDS), and one short function parses the
//! rest. There are three kinds of problems:
//!
//! - *incomplete*: [`Parsed::PartialLine`] or [`Parsed::Partial`];
//! - *invalid, and the start of the next request is known*: [`Request::Refused`] with memcached's
//!   error text; the data block is skipped, and the connection stays open;
//! - *invalid, and the start of the next request is not known* (a length that cannot be parsed, a
//!   data block without its end): [`Request::Lost`], one error line, then the connection closes.

use super::command::{Command, Grammar, find};
use super::meta;
use super::number::{self, Numbers, Rewrite};
use super::words::{KEY_LEN_MAX, Words, is_key, key_run, next_key};
use super::{Head, Keep, LINE_END, Needs, Shape, VALUES_END, VERSION_KEY, version};
use crate::limits::Limits;
use crate::message::{
    All, Class, Expect, KeyEncoding, Limit, Many, Merge, One, Outcomes, Parsed, Request, Wire,
};
use crate::redis::command::Permission;

pub(super) const ERROR: &[u8] = b"ERROR\r\n";
/// The error for an invalid line or an invalid key.
pub const BAD_LINE: &[u8] = b"CLIENT_ERROR bad command line format\r\n";
const BAD_EXPTIME: &[u8] = b"CLIENT_ERROR invalid exptime argument\r\n";
const BAD_DELTA: &[u8] = b"CLIENT_ERROR invalid numeric delta argument\r\n";
const BAD_DELETE: &[u8] =
    b"CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\n";
pub(super) const BAD_DATA: &[u8] = b"CLIENT_ERROR bad data chunk\r\n";
/// The error for a value of more than `item_size_max` bytes, from a client or from a server.
pub const TOO_LARGE: &[u8] = b"SERVER_ERROR object too large for cache\r\n";
/// The error for a request with more than `keys_max` keys.
pub const TOO_MANY_KEYS: &[u8] = b"CLIENT_ERROR too many keys in one request: keys_max\r\n";
const LINE_TOO_LONG: &[u8] = b"CLIENT_ERROR line too long\r\n";

/// The longest line, without its end, of a command other than `get` and `gets`. memcached closes a
/// connection that receives more than 2048 bytes without a line end (`try_read_command_ascii`), and
/// one of these is the carriage return.
const SHORT_LINE_MAX: usize = 2047;

/// The longest line of a `get` that a server is sent, its end included. memcached takes longer ones,
/// but reads into 16 KiB (`READ_BUFFER_SIZE`), and for more it makes a larger buffer and looks for the
/// line's end from its start after each read: 300,000 keys in one line cost it sixteen times the time
/// of as many in lines of this length, and the whole pool waits meanwhile.
const GET_LINE_MAX: usize = 16_000;

/// The first byte of a request of memcached's binary protocol, which the proxy does not support.
const BINARY_MAGIC: u8 = 0x80;

/// A line and its bytes.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    /// All bytes of the client that are not yet used, from the start of the line.
    pub(super) input: &'a [u8],
    /// The line without its end.
    pub(super) text: &'a [u8],
    /// Its length with its end.
    pub(super) len: usize,
}

impl<'a> Line<'a> {
    /// Whether the line ends with CRLF; a bare line feed is accepted but not forwarded.
    fn ends_well(&self) -> bool {
        self.len == self.text.len() + LINE_END.len()
    }

    /// The line without the first letter of its first word: `bget` is an old name of `get`.
    fn without_first(self) -> Self {
        let first = self.text.iter().position(|byte| *byte != b' ').map_or(0, |at| at + 1);
        let (input, text) = (&self.input[first..], &self.text[first..]);
        Self { input, text, len: self.len - first }
    }
}

/// Parses the request at the start of `input`, which is not empty.
///
/// The first `searched` bytes are known to have no line end (from the last
/// [`Parsed::PartialLine`]), so a long line that arrives in small parts is searched only once.
#[inline(always)]
pub fn parse_request<'a>(input: &'a [u8], searched: usize, limits: &Limits) -> Parsed<'a> {
    if searched == 0
        && let Some((one, len)) = plain_get(input, limits)
    {
        return Parsed::Request(Request::One(one), len);
    }
    parse_line(input, searched, limits)
}

/// A `get` of one key with single spaces, the most frequent request, if all of it is here. The end of its key is
/// also that of its line, so nothing is looked at twice: that saves a hundred instructions.
#[inline(always)]
fn plain_get<'a>(input: &'a [u8], limits: &Limits) -> Option<(One<'a>, usize)> {
    let rest = input.strip_prefix(b"get ")?;
    let end = key_run(rest);
    let (key, [b'\r', b'\n', ..]) = rest.split_at(end) else { return None };
    let line_len = "get ".len() + end;
    if key.is_empty() || end > KEY_LEN_MAX || line_len > limits.line_max {
        return None;
    }
    let len = line_len + LINE_END.len();
    let expect = Shape::Value.expect(Outcomes::NONE);
    Some((one(key, Wire::Verbatim(&input[..len]), expect, Class::Get), len))
}

/// As [`parse_request`], for any request.
#[inline(always)]
fn parse_line<'a>(input: &'a [u8], searched: usize, limits: &Limits) -> Parsed<'a> {
    if input[0] == BINARY_MAGIC {
        return lost(b"", Limit::Binary, input.len());
    }
    let Some(end) = memchr::memchr(b'\n', &input[searched..]).map(|at| at + searched) else {
        // The last byte may be the carriage return.
        let is_too_long = is_too_long(&input[..input.len() - 1], limits);
        return if is_too_long { line_too_long(input) } else { Parsed::PartialLine };
    };
    let text = match &input[..end] {
        [text @ .., b'\r'] => text,
        text => text,
    };
    if is_too_long(text, limits) {
        return line_too_long(input);
    }
    let line = Line { input, text, len: end + 1 };
    let mut words = Words::new(text);
    let Some(command) = words.next().and_then(find) else { return unknown(line) };
    match command.grammar {
        Grammar::Get => get(line, command.class, words),
        Grammar::Set => storage(line, words, (command.class, Needs::NOTHING), limits),
        Grammar::Append | Grammar::Cas => {
            storage(line, words, (command.class, Needs::APPEND), limits)
        }
        Grammar::Meta(shape, quiet) => meta::with_key(line, words, (command.class, shape, quiet)),
        Grammar::MetaSet => meta::set(line, words, limits),
        Grammar::MetaDebug => meta::debug(line, words),
        Grammar::OldGet => old_get(line, command.class),
        Grammar::GetAndTouch => get_and_touch(line, command.class, words),
        _ => Parsed::Request(short(line, command, words), line.len),
    }
}

/// The commands with a line of few words.
fn short<'a>(line: Line<'a>, command: &Command, words: Words<'a>) -> Request<'a> {
    match command.grammar {
        Grammar::Delete => delete(line, words),
        Grammar::Arith => keyed(line, words, Shape::Number, command.class, &DELTA),
        Grammar::Touch => keyed(line, words, Shape::Touched, command.class, &EXPTIME),
        Grammar::FlushAll => flush_all(line, words),
        Grammar::Verbosity => verbosity(words),
        Grammar::Version => ask_version(),
        Grammar::Stats => Request::Question(line.text),
        Grammar::Noop => Request::Barrier(b"MN\r\n"),
        Grammar::Never(answer) => Request::Answer(answer),
        _ => Request::Quit(b""),
    }
}

/// Whether a line is too long, whether or not its end has arrived: the reply must not depend on how
/// the network splits the bytes.
#[inline(always)]
fn is_too_long(line: &[u8], limits: &Limits) -> bool {
    line.len() > limits.line_max || line.len() > SHORT_LINE_MAX && !takes_many_keys(line)
}

/// Whether a long line has a command that reads many keys, which is forwarded in several lines.
fn takes_many_keys(line: &[u8]) -> bool {
    let command = Words::new(&line[..SHORT_LINE_MAX]).next().and_then(find);
    let grammar = command.map(|command| command.grammar);
    matches!(grammar, Some(Grammar::Get | Grammar::OldGet | Grammar::GetAndTouch))
}

fn line_too_long(input: &[u8]) -> Parsed<'_> {
    lost(LINE_TOO_LONG, Limit::Line, input.len())
}

/// An unknown command. A malicious web page must not be able to use a browser to send commands.
/// The request line of a browser ends in a word such as `HTTP/1.1`.
fn unknown(line: Line<'_>) -> Parsed<'_> {
    if Words::new(line.text).last().is_some_and(|word| word.starts_with(b"HTTP/")) {
        return lost(b"", Limit::Http, line.len);
    }
    refused(line, ERROR)
}

pub(super) fn lost(error: &'static [u8], limit: Limit, len: usize) -> Parsed<'static> {
    Parsed::Request(Request::Lost { error, limit }, len)
}

/// The errors that a client with `noreply` gets: only `ERROR`, as with memcached. The client would
/// take any other line for the reply to its next request.
fn told(error: &'static [u8], quiet: Outcomes) -> &'static [u8] {
    if quiet == Outcomes::ALL { b"" } else { error }
}

/// Whether the last word is `noreply`.
fn noreply(last: Option<&[u8]>) -> Outcomes {
    if last == Some(b"noreply") { Outcomes::ALL } else { Outcomes::NONE }
}

pub(super) fn refused<'a>(line: Line<'a>, error: &'static [u8]) -> Parsed<'a> {
    Parsed::Request(refusal(error), line.len)
}

fn refusal(error: &'static [u8]) -> Request<'static> {
    Request::Refused { error, skip: 0, limit: Limit::Grammar }
}

/// The line that a server gets, after all `words` are taken: the client's own bytes if they are
/// already normalized (single spaces, plain numbers, CRLF).
#[inline(always)]
pub(super) fn wire<'a>(
    line: Line<'a>,
    words: &Words<'a>,
    numbers: Numbers,
    data: &'a [u8],
    keep: Keep,
) -> Wire<'a> {
    let all_kept = keep == Keep::All || keep == Keep::First(words.count_taken());
    if all_kept && line.ends_well() && numbers.are_plain() && words.are_all_of(line.text) {
        return Wire::Verbatim(&line.input[..line.len + data.len()]);
    }
    rewritten(line, numbers, data, keep)
}

/// Out of the way of what is not rewritten, or its many fields are filled for that, too.
#[inline(never)]
fn rewritten<'a>(line: Line<'a>, numbers: Numbers, data: &'a [u8], keep: Keep) -> Wire<'a> {
    Wire::Words { line: Head { text: line.text, numbers }, keep, data }
}

/// `get`, `gets`.
///
/// Of several keys only the first is parsed here. The others are parsed once, when their servers
/// are selected.
#[inline(always)]
fn get<'a>(line: Line<'a>, class: Class, mut words: Words<'a>) -> Parsed<'a> {
    let keys = words.rest();
    if keys.is_empty() {
        return refused(line, ERROR);
    }
    read(line, class, words, Numbers::NONE, GET_LINE_MAX)
}

/// `bget`, which servers get as `get`, because they accept long lines only for `get`.
fn old_get(line: Line<'_>, class: Class) -> Parsed<'_> {
    let new = line.without_first();
    // The words of the new line, because their lengths show whether the line is normalized.
    let mut words = Words::new(new.text);
    words.next();
    match get(new, class, words) {
        Parsed::Request(request, _) => Parsed::Request(request, line.len),
        other => other,
    }
}

/// `gat`, `gats`: an expiry time before the keys.
fn get_and_touch<'a>(line: Line<'a>, class: Class, mut words: Words<'a>) -> Parsed<'a> {
    let Some(exptime) = words.next() else { return refused(line, ERROR) };
    let Some(exptime) = number::exptime(exptime) else { return refused(line, BAD_EXPTIME) };
    if words.rest().is_empty() {
        return Parsed::Request(Request::Answer(VALUES_END), line.len);
    }
    read(line, class, words, Numbers::one(1, exptime), version::LINE_MAX)
}

/// A read of the remaining keys in `words`; there is at least one.
#[inline(always)]
fn read<'a>(
    line: Line<'a>,
    class: Class,
    mut words: Words<'a>,
    numbers: Numbers,
    line_max: usize,
) -> Parsed<'a> {
    let keys = words.rest();
    let Some((first, others)) = next_key(keys) else { return refused(line, BAD_LINE) };
    let quiet = Outcomes::NONE;
    if others.is_empty() {
        let wire = wire(line, &words.with_last(first), numbers, b"", Keep::All);
        let expect = Shape::Value.expect(quiet);
        return Parsed::Request(Request::One(one(first, wire, expect, class)), line.len);
    }
    let head = Head { text: &line.text[..line.text.len() - keys.len()], numbers };
    let expect = Shape::Values.expect(quiet);
    let (step, merge) = (1, Merge::ByKey);
    let many = Many { head, line_max, keys, step, merge, expect, class };
    Parsed::Request(Request::Many(many), line.len)
}

/// A request with one unencoded key and no opaque token.
fn one<'a>(key: &'a [u8], wire: Wire<'a>, expect: Expect, class: Class) -> One<'a> {
    let (encoding, needs) = (KeyEncoding::Plain, Needs::NOTHING);
    One { key, encoding, opaque: b"", echoes: class.is_read(), wire, expect, needs, class }
}

/// `set`, `add`, `replace`, `append`, `prepend`, `cas`: the line has five words, six with a cas id,
/// then perhaps `noreply`, or one word that memcached ignores.
fn storage<'a>(
    line: Line<'a>,
    mut words: Words<'a>,
    (class, needs): (Class, Needs),
    limits: &Limits,
) -> Parsed<'a> {
    let arity = if class == Class::Cas { 6 } else { 5 };
    let [key, flags, exptime, length] = core::array::from_fn(|_| words.next());
    let (Some(key), Some(flags), Some(exptime), Some(length)) = (key, flags, exptime, length)
    else {
        return lost(ERROR, Limit::Grammar, line.len);
    };
    let Some((length, length_word)) = number::data_len(length) else {
        return lost(BAD_LINE, Limit::Grammar, line.len);
    };
    let cas = if arity == 6 { words.next() } else { Some(&b"0"[..]) };
    let last = words.next();
    let Some(cas) = cas.filter(|_| words.next().is_none()) else {
        return refused_with_data(line, length, ERROR, Limit::Grammar);
    };
    let quiet = noreply(last.or(Some(cas)));
    let numbers = || {
        let rewrites = [number::flags(flags)?, number::exptime(exptime)?, length_word];
        let [flags, exptime, length] = rewrites;
        is_key(key).then_some(Numbers::new(2, [flags, exptime, length, number::long(cas)?]))
    };
    let Some(numbers) = numbers() else {
        return refused_with_data(line, length, told(BAD_LINE, quiet), Limit::Grammar);
    };
    if length > limits.item_size_max {
        return refused_with_data(line, length, told(TOO_LARGE, quiet), Limit::ItemSize);
    }
    let data = match data(line, length) {
        Ok(data) => data,
        Err(unready) => return unready.parsed(line),
    };
    let wire = wire(line, &words, numbers, data, Keep::First(arity));
    let shape = if class == Class::Cas { Shape::Swapped } else { Shape::Stored };
    let expect = shape.expect(quiet);
    let one = One { needs, ..one(key, wire, expect, class) };
    Parsed::Request(Request::One(one), line.len + data.len())
}

/// Why there is no data block after a line.
pub(super) enum NoData {
    /// The number of bytes that are needed, from the start of the line.
    Partial(usize),
    /// The block does not end where its length says.
    BadEnd,
}

impl NoData {
    pub(super) fn parsed(self, line: Line<'_>) -> Parsed<'_> {
        match self {
            Self::Partial(need) => Parsed::Partial(need),
            Self::BadEnd => lost(BAD_DATA, Limit::Grammar, line.len),
        }
    }
}

/// The data block after a line, including its line end.
pub(super) fn data(line: Line<'_>, length: usize) -> Result<&[u8], NoData> {
    let whole = line.len + length + 2;
    let Some(data) = line.input.get(line.len..whole) else { return Err(NoData::Partial(whole)) };
    if data.ends_with(b"\r\n") { Ok(data) } else { Err(NoData::BadEnd) }
}

pub(super) fn refused_with_data<'a>(
    line: Line<'a>,
    length: usize,
    error: &'static [u8],
    limit: Limit,
) -> Parsed<'a> {
    let skip = length as u64 + 2;
    Parsed::Request(Request::Refused { error, skip, limit }, line.len)
}

/// The number in a word, or `error` if the word is not a number.
struct Check {
    read: fn(&[u8]) -> Option<Rewrite>,
    error: &'static [u8],
}

const DELTA: Check = Check { read: number::long, error: BAD_DELTA };
const EXPTIME: Check = Check { read: number::exptime, error: BAD_EXPTIME };

/// `incr`, `decr`, `touch`: a key, a number, perhaps `noreply`.
fn keyed<'a>(
    line: Line<'a>,
    mut words: Words<'a>,
    shape: Shape,
    class: Class,
    second: &Check,
) -> Request<'a> {
    let (Some(key), Some(word)) = (words.next(), words.next()) else { return refusal(ERROR) };
    let last = words.next();
    if words.next().is_some() {
        return refusal(ERROR);
    }
    let quiet = noreply(last.or(Some(word)));
    if !is_key(key) {
        return refusal(told(BAD_LINE, quiet));
    }
    let Some(number) = (second.read)(word) else { return refusal(told(second.error, quiet)) };
    let wire = wire(line, &words, Numbers::one(2, number), b"", Keep::First(3));
    Request::One(one(key, wire, shape.expect(quiet), class))
}

/// `delete`: a key, perhaps the `0` of old clients, perhaps `noreply`.
fn delete<'a>(line: Line<'a>, mut words: Words<'a>) -> Request<'a> {
    let [key, second, third, fourth] = core::array::from_fn(|_| words.next());
    let Some(key) = key else { return refusal(ERROR) };
    if fourth.is_some() {
        return refusal(ERROR);
    }
    let quiet = noreply(third.or(second));
    let is_usual = match (second, third) {
        (second, None) => matches!(second, None | Some(b"0" | b"noreply")),
        (second, third) => second == Some(b"0") && third == Some(b"noreply"),
    };
    if !is_usual {
        return refusal(told(BAD_DELETE, quiet));
    }
    if !is_key(key) {
        return refusal(told(BAD_LINE, quiet));
    }
    let wire = match key {
        b"noreply" => Wire::Verbatim(DELETE_NOREPLY),
        _ => wire(line, &words, Numbers::NONE, b"", Keep::First(2)),
    };
    let expect = Shape::Deleted.expect(quiet);
    Request::One(one(key, wire, expect, Class::Delete))
}

/// memcached 1.6.40 treats a last word `noreply` as the option, even if it is the key. An
/// additional `0`, as old clients send it, has no effect in any memcached version and prevents
/// this.
const DELETE_NOREPLY: &[u8] = b"delete noreply 0\r\n";

/// `flush_all`, whose delay may be left out.
fn flush_all<'a>(line: Line<'a>, mut words: Words<'a>) -> Request<'a> {
    let [first, second, third] = core::array::from_fn(|_| words.next());
    if third.is_some() {
        return refusal(ERROR);
    }
    let (delay, last) = match (first, second) {
        (None | Some(b"noreply"), None) => (None, first),
        (delay, last) => (delay, last),
    };
    let quiet = noreply(last);
    let Some(number) = delay.map_or(Some(None), number::exptime) else {
        return refusal(told(BAD_EXPTIME, quiet));
    };
    let keep = Keep::First(if delay.is_some() { 2 } else { 1 });
    let expect = Shape::Ok.expect(quiet);
    let wire = wire(line, &words, Numbers::one(1, number), b"", keep);
    Request::All(All { wire, expect, merge: Merge::AllOk, permission: Permission::Flush })
}

/// `verbosity` sets the log level of a server; the proxy accepts it without effect.
fn verbosity(mut words: Words<'_>) -> Request<'static> {
    let [level, second, third] = core::array::from_fn(|_| words.next());
    match (level, second, third) {
        (None, ..) | (.., Some(_)) => refusal(ERROR),
        (Some(b"noreply"), None, _) | (_, Some(b"noreply"), _) => Request::Answer(b""),
        (Some(level), ..) if number::long(level).is_none() => refusal(BAD_LINE),
        _ => Request::Answer(b"OK\r\n"),
    }
}

/// `version` is sent to a server, so that clients know what the servers support.
fn ask_version() -> Request<'static> {
    let expect = Shape::Version.expect(Outcomes::NONE);
    Request::One(one(VERSION_KEY, Wire::Verbatim(b"version\r\n"), expect, Class::Other))
}

#[cfg(test)]
mod tests;
