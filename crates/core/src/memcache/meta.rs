//! The meta commands `mg`, `ms`, `md`, `ma`, `me`: a key and flags.
//!
//! protocol.txt, "Meta Commands". The proxy forwards flags unchanged, known or not, and the server
//! replies to invalid flags that begin with a letter or digit. Only the quiet flag is removed, so that each request has exactly one
//! reply; the multiplexer drops the replies that the client does not want. The one rule: a request
//! that a server would refuse before it has read the length of an `ms` is refused here, because the
//! server would otherwise parse the data as commands: memcached 1.6.40 (`_mcmc_tokenize_meta`) does so
//! for a flag that begins with another byte.

use super::number::{self, Numbers};
use super::request::{
    BAD_LINE, ERROR, Line, TOO_LARGE, data, lost, refused, refused_with_data, wire,
};
use super::version::LINE_MAX;
use super::words::{Words, is_key};
use super::{Keep, KeyRoom, LINE_END, Needs, Shape, decode_key};
use crate::limits::Limits;
use crate::message::{Class, KeyEncoding, Limit, One, Outcomes, Parsed, Request};

/// memcached accepts nineteen words in a meta line (`MFLAG_MAX_OPT_LENGTH`): command, key and this
/// many flags.
const FLAGS_MAX: usize = 17;

/// One flag less for `ms`, which has a length.
const SET_FLAGS_MAX: usize = 16;

/// The maximum length of an opaque token, including its letter, as in memcached.
const OPAQUE_MAX: usize = 32;

const BAD_FLAG: &[u8] = b"CLIENT_ERROR invalid flag\r\n";
const LONG_OPAQUE: &[u8] = b"CLIENT_ERROR opaque token too long\r\n";

/// memcached's errors for flags, which differ between the commands.
struct Errors {
    too_many: &'static [u8],
    duplicate: &'static [u8],
}

const GET_ERRORS: Errors = Errors {
    too_many: b"CLIENT_ERROR options flags are too long\r\n",
    duplicate: b"CLIENT_ERROR duplicate flag\r\n",
};
const SET_ERRORS: Errors = Errors {
    too_many: b"CLIENT_ERROR options flags too long\r\n",
    duplicate: b"CLIENT_ERROR duplicate flag\r\n",
};
const OTHER_ERRORS: Errors = Errors {
    too_many: b"CLIENT_ERROR options flags too long\r\n",
    duplicate: b"CLIENT_ERROR invalid or duplicate flag\r\n",
};

/// The flags that the proxy uses.
struct Flags<'a> {
    is_quiet: bool,
    encoding: KeyEncoding,
    opaque: &'a [u8],
    /// Whether the reply is to name the key (`k`).
    names_key: bool,
    /// Whether there is a new expiry (`T`).
    touches: bool,
    /// Whether a cas id is compared (`C`).
    compares: bool,
    /// The mode of the flag `M`, 0 without the flag.
    mode: u8,
}

impl<'a> Flags<'a> {
    fn none(encoding: KeyEncoding) -> Self {
        let (is_quiet, names_key, touches, compares) = (false, false, false, false);
        Self { is_quiet, encoding, opaque: b"", names_key, touches, compares, mode: 0 }
    }

    /// The class in which a request counts, because flags can change it (`process_mget_cmd`,
    /// `process_mset_cmd_start`, `process_marithmetic_cmd`).
    fn class(&self, class: Class) -> Class {
        match (class, self.mode) {
            (Class::Get, _) if self.touches => Class::GetAndTouch,
            (Class::Set, 0 | b'S' | b'R') if self.compares => Class::Cas,
            (Class::Incr, b'D' | b'-') => Class::Decr,
            (class, _) => class,
        }
    }

    /// Which words of the request a server gets.
    fn keep(&self) -> Keep {
        if self.is_quiet { Keep::AllButQuiet } else { Keep::All }
    }

    /// Parses the flags of a request for `key`, at most `max` flags.
    fn read(
        key: &[u8],
        words: &mut Words<'a>,
        max: usize,
        errors: &Errors,
    ) -> Result<Self, &'static [u8]> {
        if !is_key(key) {
            return Err(BAD_LINE);
        }
        let mut flags = Self::none(KeyEncoding::Plain);
        if words.clone().count() > max {
            words.by_ref().for_each(drop);
            return Err(errors.too_many);
        }
        for flag in words {
            match flag[0] {
                b'q' if flags.is_quiet => return Err(errors.duplicate),
                b'q' => flags.is_quiet = true,
                b'b' => flags.encoding = encoding_of(key),
                b'O' if flag.len() > OPAQUE_MAX => return Err(LONG_OPAQUE),
                b'O' => flags.opaque = flag,
                b'k' => flags.names_key = true,
                b'T' => flags.touches = true,
                b'C' => flags.compares = true,
                b'M' => flags.mode = flag.get(1).copied().unwrap_or_default(),
                first if !first.is_ascii_alphanumeric() => return Err(BAD_FLAG),
                _ => {}
            }
            if flag.iter().any(|byte| matches!(byte, 0 | b'\r')) {
                return Err(BAD_FLAG);
            }
        }
        Ok(flags)
    }
}

/// The encoding of a key with the flag `b`. A key that is not base64 is forwarded unchanged, and
/// the server replies with an error.
fn encoding_of(key: &[u8]) -> KeyEncoding {
    let mut room: KeyRoom = [0; 192];
    match decode_key(key, &mut room) {
        Some(_) => KeyEncoding::Base64,
        None => KeyEncoding::Plain,
    }
}

/// `mg`, `md`, `ma`.
pub(super) fn with_key<'a>(
    line: Line<'a>,
    mut words: Words<'a>,
    mut kind: (Class, Shape, Outcomes),
) -> Parsed<'a> {
    let Some(key) = words.next() else { return refused(line, ERROR) };
    let errors = if kind.1 == Shape::MetaGet { &GET_ERRORS } else { &OTHER_ERRORS };
    match Flags::read(key, &mut words, FLAGS_MAX, errors) {
        Ok(flags) => {
            if kind.1 == Shape::MetaGet && flags.names_key {
                kind.1 = Shape::MetaGetKey;
            }
            let rewrites = (Numbers::NONE, flags.keep());
            let one = request((line, &words), (key, &flags), rewrites, b"", kind);
            Parsed::Request(Request::One(one), line.len)
        }
        Err(error) => refused(line, error),
    }
}

/// `ms`.
pub(super) fn set<'a>(line: Line<'a>, mut words: Words<'a>, limits: &Limits) -> Parsed<'a> {
    let Some(key) = words.next() else { return lost(ERROR, Limit::Grammar, line.len) };
    let Some((length, length_word)) = words.next().and_then(number::data_len) else {
        return lost(BAD_LINE, Limit::Grammar, line.len);
    };
    let flags = match Flags::read(key, &mut words, SET_FLAGS_MAX, &SET_ERRORS) {
        Ok(flags) => flags,
        Err(error) => return refused_with_data(line, length, error, Limit::Grammar),
    };
    if length > limits.item_size_max {
        return refused_with_data(line, length, TOO_LARGE, Limit::ItemSize);
    }
    match data(line, length) {
        Ok(data) => {
            let kind = (Class::Set, Shape::MetaStored, Outcomes::SUCCESS);
            let rewrites = (Numbers::one(2, length_word), flags.keep());
            let one = request((line, &words), (key, &flags), rewrites, data, kind);
            Parsed::Request(Request::One(one), line.len + data.len())
        }
        Err(unready) => unready.parsed(line),
    }
}

/// `me`, which accepts only the flag `b`, as the first flag, and is never quiet.
///
/// memcached 1.6.40 (`process_meta_command`) ignores a `b` that is also the last word, and looks up the
/// base64 text itself. So a server gets one word more: no memcached reads a word behind the `b`.
pub(super) fn debug<'a>(line: Line<'a>, mut words: Words<'a>) -> Parsed<'a> {
    let Some(key) = words.next().filter(|key| is_key(key)) else { return refused(line, BAD_LINE) };
    if line.text.iter().any(|byte| matches!(byte, 0 | b'\r')) {
        return refused(line, BAD_LINE);
    }
    let is_coded = words.next() == Some(b"b");
    let keep = if is_coded && words.rest().is_empty() { Keep::LastTwice } else { Keep::All };
    words.by_ref().for_each(drop);
    let flags = Flags::none(if is_coded { encoding_of(key) } else { KeyEncoding::Plain });
    let kind = (Class::Other, Shape::MetaDebug, Outcomes::NONE);
    let one = request((line, &words), (key, &flags), (Numbers::NONE, keep), b"", kind);
    Parsed::Request(Request::One(one), line.len)
}

fn request<'a>(
    (line, words): (Line<'a>, &Words<'a>),
    (key, flags): (&'a [u8], &Flags<'a>),
    (numbers, keep): (Numbers, Keep),
    data: &'a [u8],
    (class, shape, hides): (Class, Shape, Outcomes),
) -> One<'a> {
    One {
        key,
        encoding: flags.encoding,
        opaque: flags.opaque,
        echoes: true,
        wire: wire(line, words, numbers, data, keep),
        expect: shape.expect(if flags.is_quiet { hides } else { Outcomes::NONE }),
        needs: Needs {
            meta: true,
            long_line: line.text.len() + LINE_END.len() > LINE_MAX,
            append: false,
        },
        class: flags.class(class),
    }
}
