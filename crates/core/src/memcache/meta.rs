//! The meta commands `mg`, `ms`, `md`, `ma`, `me`: a key and flags.
//!
//! protocol.txt, "Meta Commands". Flags go to the server as they are, known or not, but for the
//! quiet flag: its requests are asked aloud, so that each has exactly one reply, and the
//! multiplexer hides the replies that the client does not want. A server reads at most
//! [`FLAGS_MAX`] flags before it has the data block, so more are refused here.

use super::request::{
    BAD_LINE, ERROR, Line, TOO_LARGE, data, lost, refused, refused_with_data, wire,
};
use super::words::{Words, data_len, is_key};
use super::{KeyRoom, decode_key};
use crate::protocol::{
    Class, Expect, Keep, KeyEncoding, Limit, Limits, One, Parsed, Quiet, Request, Shape,
};

/// As many flags as memcached 1.6 takes on every meta command.
const FLAGS_MAX: usize = 16;

/// As long an opaque token, with its letter, as memcached takes.
const OPAQUE_MAX: usize = 32;

const TOO_MANY_FLAGS: &[u8] = b"CLIENT_ERROR options flags are too long\r\n";
const BAD_FLAG: &[u8] = b"CLIENT_ERROR invalid flag\r\n";
const BAD_KEY_ENCODING: &[u8] = b"CLIENT_ERROR error decoding key\r\n";
const LONG_OPAQUE: &[u8] = b"CLIENT_ERROR opaque token too long\r\n";

/// What the flags say that concerns us.
struct Flags<'a> {
    quiet: bool,
    encoding: KeyEncoding,
    opaque: &'a [u8],
    count: usize,
}

impl<'a> Flags<'a> {
    fn read(words: &mut Words<'a>) -> Result<Self, &'static [u8]> {
        let mut flags = Self { quiet: false, encoding: KeyEncoding::Plain, opaque: b"", count: 0 };
        for flag in words {
            flags.count += 1;
            match flag[0] {
                b'q' => flags.quiet = true,
                b'b' => flags.encoding = KeyEncoding::Base64,
                b'O' if flag.len() > OPAQUE_MAX => return Err(LONG_OPAQUE),
                b'O' => flags.opaque = flag,
                _ => {}
            }
            if !flag.iter().all(u8::is_ascii_graphic) {
                return Err(BAD_FLAG);
            }
        }
        if flags.count > FLAGS_MAX { Err(TOO_MANY_FLAGS) } else { Ok(flags) }
    }

    /// Whether the key is one. A base64 key must also be the base64 of something.
    fn check(&self, key: &[u8]) -> Result<(), &'static [u8]> {
        let mut room: KeyRoom = [0; 192];
        if !is_key(key) {
            Err(BAD_LINE)
        } else if self.encoding == KeyEncoding::Base64
            && decode_key(key, &mut room).is_none_or(<[u8]>::is_empty)
        {
            Err(BAD_KEY_ENCODING)
        } else {
            Ok(())
        }
    }
}

/// `mg`, `md`, `ma`, `me`.
pub(super) fn with_key<'a>(
    line: Line<'a>,
    mut words: Words<'a>,
    kind: (Class, Shape, Quiet),
) -> Parsed<'a> {
    let Some(key) = words.next() else { return refused(line, ERROR) };
    let flags = match Flags::read(&mut words).and_then(|flags| flags.check(key).map(|()| flags)) {
        Ok(flags) => flags,
        Err(error) => return refused(line, error),
    };
    let one = request((line, &words), key, &flags, b"", kind);
    Parsed::Request(Request::One(one), line.len)
}

/// `ms`.
pub(super) fn set<'a>(line: Line<'a>, mut words: Words<'a>, limits: &Limits) -> Parsed<'a> {
    let Some(key) = words.next() else { return lost(ERROR, Limit::Grammar, line.len) };
    let Some(length) = words.next().and_then(data_len) else {
        return lost(BAD_LINE, Limit::Grammar, line.len);
    };
    let flags = match Flags::read(&mut words).and_then(|flags| flags.check(key).map(|()| flags)) {
        Ok(flags) => flags,
        Err(error) => return refused_with_data(line, length, error, Limit::Grammar),
    };
    if length > limits.item_size_max {
        return refused_with_data(line, length, TOO_LARGE, Limit::ItemSize);
    }
    match data(line, length) {
        Ok(data) => {
            let kind = (Class::MetaSet, Shape::MetaStored, Quiet::Success);
            let one = request((line, &words), key, &flags, data, kind);
            Parsed::Request(Request::One(one), line.len + data.len())
        }
        Err(other) => other,
    }
}

fn request<'a>(
    (line, words): (Line<'a>, &Words<'a>),
    key: &'a [u8],
    flags: &Flags<'a>,
    data: &'a [u8],
    (class, shape, hides): (Class, Shape, Quiet),
) -> One<'a> {
    let keep = if flags.quiet { Keep::AllButQuiet } else { Keep::All };
    One {
        key,
        encoding: flags.encoding,
        opaque: flags.opaque,
        wire: wire(line, words, data, keep),
        expect: Expect { shape, quiet: if flags.quiet { hides } else { Quiet::No } },
        class,
    }
}
