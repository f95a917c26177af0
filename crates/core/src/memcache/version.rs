//! The features of a server, known from its `version` when a connection opens.
//!
//! A server without `ms` answers `ERROR` and then runs the data as commands, and a server with the
//! early meta commands parses the line differently; the oldest servers do not have `append`, `prepend` and
//! `cas`. An older server also closes the connection for
//! long lines that a newer server accepts. So each request lists its required features, and is sent
//! only to servers that are known to support them.

use super::parse_value;
use crate::message::{Greeting, Response};
use crate::version::Version;

/// The first memcached version with today's meta commands: the length of `ms` is a separate word,
/// keys may be in base64, success is `HD`.
const META_SINCE: Version = Version::new(1, 6, 10);

/// The first memcached version with `append`, `prepend` and `cas`.
const APPEND_SINCE: Version = Version::new(1, 2, 4);

/// The first memcached version that accepts lines of 2048 bytes instead of 1024.
const LONG_LINES_SINCE: Version = Version::new(1, 6, 14);

/// The longest line that every memcached version accepts, including its end.
pub(super) const LINE_MAX: usize = 1024;

/// The features that a request needs and that not every server has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Today's meta commands.
    pub meta: bool,
    /// A line of more than 1024 bytes.
    pub long_line: bool,
    /// The storage commands that came after `set`, `add` and `replace`.
    pub append: bool,
}

impl Needs {
    /// No special features.
    pub const NOTHING: Self = Self { meta: false, long_line: false, append: false };

    /// `append`, `prepend`, `cas`.
    pub const APPEND: Self = Self { append: true, ..Self::NOTHING };

    /// The error for the client if a server of this version does not support the request.
    #[inline]
    pub fn lacking(self, version: Version) -> Option<&'static [u8]> {
        if self == Self::NOTHING { None } else { self.find_lacking(version) }
    }

    fn find_lacking(self, version: Version) -> Option<&'static [u8]> {
        if self.meta && version < META_SINCE {
            Some(NO_META)
        } else if self.long_line && version < LONG_LINES_SINCE {
            Some(NO_LONG_LINE)
        } else if self.append && version < APPEND_SINCE && version != Version::default() {
            Some(NO_APPEND)
        } else {
            None
        }
    }
}

const NO_META: &[u8] =
    b"SERVER_ERROR the server of this key does not support meta commands: memcached 1.6.10 or later \
      is required\r\n";
const NO_LONG_LINE: &[u8] =
    b"SERVER_ERROR the server of this key accepts lines of at most 1024 bytes: longer lines require \
      memcached 1.6.14 or later\r\n";
const NO_APPEND: &[u8] =
    b"SERVER_ERROR the server of this key does not support append, prepend and cas: memcached 1.2.4 \
      or later is required\r\n";

/// The first request on each server connection.
pub const GREETING: &[u8] = b"version\r\n";

/// The longest reply to the greeting.
const GREETING_MAX: usize = 1024;

/// Parses the reply to [`GREETING`] at the start of `input`.
///
/// A server that replies with an error, or as if `version` were a read, is still used, but not for
/// requests that require a known version.
pub fn parse_greeting(input: &[u8]) -> Greeting {
    let Some(end) = memchr::memchr(b'\n', &input[..input.len().min(GREETING_MAX)]) else {
        return if input.len() < GREETING_MAX { Greeting::Partial } else { Greeting::Mismatch };
    };
    let Some(line) = input[..end].strip_suffix(b"\r") else { return Greeting::Mismatch };
    let unknown = |len| Greeting::Answer { len, version: Version::default() };
    match line {
        [b'V', b'A', b'L', b'U', b'E', b' ', ..] => {
            read_value(input).map_or_else(|other| other, unknown)
        }
        b"END" => unknown(end + 1),
        b"ERROR Too many open connections" => Greeting::Full,
        line if super::response::is_error(line) => unknown(end + 1),
        line => match line.strip_prefix(b"VERSION ") {
            Some(text) => {
                Greeting::Answer { len: end + 1, version: Version::parse(text).unwrap_or_default() }
            }
            None => Greeting::Mismatch,
        },
    }
}

/// The length of a value with the `END` after it.
fn read_value(input: &[u8]) -> Result<usize, Greeting> {
    const END: &[u8] = b"END\r\n";

    match parse_value(input, b"", GREETING_MAX) {
        Response::Value { len, .. } => match input.get(len..len + END.len()) {
            Some(END) => Ok(len + END.len()),
            Some(_) => Err(Greeting::Mismatch),
            None => Err(Greeting::Partial),
        },
        Response::Partial(_) => Err(Greeting::Partial),
        _ => Err(Greeting::Mismatch),
    }
}

#[cfg(test)]
mod tests {
    use super::super::LINE_END;
    use super::*;
    use alloc::string::ToString;

    fn version(text: &str) -> Version {
        let line = [b"VERSION ", text.as_bytes(), LINE_END].concat();
        match parse_greeting(&line) {
            Greeting::Answer { len, version } if len == line.len() => version,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn meta_commands_have_their_form_since_1_6_10() {
        for (text, speaks) in [
            ("1.6.10", true),
            ("1.6.45", true),
            ("1.7.0", true),
            ("2.0.0-rc1", true),
            ("1.6.18_1", true),
            ("1.6.9", false),
            ("1.5.22", false),
            ("1.4.4-14-g9c660c0", false),
            ("mcrouter 1.0", false),
            ("1.6", false),
            ("", false),
            ("1.6.99999999", false),
        ] {
            let needs = Needs { meta: true, ..Needs::NOTHING };
            assert_eq!(needs.lacking(version(text)).is_none(), speaks, "{text:?}");
        }
        assert_eq!(version("1.6.18").to_string(), "1.6.18");
    }

    #[test]
    fn lines_may_be_long_since_1_6_14() {
        let needs = Needs { meta: true, long_line: true, append: false };
        assert_eq!(needs.lacking(version("1.6.13")), Some(NO_LONG_LINE));
        assert_eq!(needs.lacking(version("1.6.9")), Some(NO_META));
        assert_eq!(needs.lacking(version("1.6.14")), None);
        assert_eq!(Needs::NOTHING.lacking(Version::default()), None);
    }

    #[test]
    fn what_comes_after_a_value_is_known_since_1_2_4() {
        for text in ["1.1.12", "1.2.0", "1.2.3"] {
            assert_eq!(Needs::APPEND.lacking(version(text)), Some(NO_APPEND), "{text}");
        }
        for text in ["1.2.4", "1.4.5", "1.6.18", "2.0.0"] {
            assert_eq!(Needs::APPEND.lacking(version(text)), None, "{text}");
        }
        // Who tells no version is an imitation, and younger than these.
        assert_eq!(Needs::APPEND.lacking(Version::default()), None);
    }

    #[test]
    fn a_server_that_tells_no_version_is_still_one() {
        for answer in
            [&b"ERROR\r\n"[..], b"CLIENT_ERROR x\r\n", b"END\r\n", b"VALUE ion 0 1\r\n7\r\nEND\r\n"]
        {
            let expected = Greeting::Answer { len: answer.len(), version: Version::default() };
            assert_eq!(parse_greeting(answer), expected, "{}", answer.escape_ascii());
            for cut in 0..answer.len() {
                assert_eq!(parse_greeting(&answer[..cut]), Greeting::Partial);
            }
        }
    }

    #[test]
    fn a_full_server_says_so() {
        assert_eq!(parse_greeting(b"ERROR Too many open connections\r\n"), Greeting::Full);
    }

    #[test]
    fn another_protocol_is_no_greeting() {
        for answer in
            [&b"-NOAUTH Authentication required.\r\n"[..], b"VERSION 1.6.18\n", &[b'x'; 1024]]
        {
            assert_eq!(parse_greeting(answer), Greeting::Mismatch);
        }
    }
}
