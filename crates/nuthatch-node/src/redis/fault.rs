//! The errors of commands, with Redis's texts.

use std::borrow::Cow;

/// Why a command has no effect: the error line without its `-` and its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault(pub(crate) Cow<'static, [u8]>);

impl Fault {
    const fn new(text: &'static str) -> Self {
        Self(Cow::Borrowed(text.as_bytes()))
    }

    pub(crate) fn arity(command: &str) -> Self {
        format!("ERR wrong number of arguments for '{command}' command").into()
    }

    pub(crate) fn expire_time(command: &str) -> Self {
        format!("ERR invalid expire time in '{command}' command").into()
    }

    /// An unknown command, with the first of its arguments.
    pub(crate) fn unknown(words: &[&[u8]]) -> Self {
        let mut arguments = Vec::new();
        for word in &words[1..] {
            if arguments.len() >= EXCERPT_MAX {
                break;
            }
            let room = EXCERPT_MAX - arguments.len();
            arguments.extend([b"'", excerpt(word, room), b"' "].concat());
        }
        let name = excerpt(words[0], EXCERPT_MAX);
        let text = [b"ERR unknown command '", name, b"', with args beginning with: ", &arguments];
        Self(text.concat().into())
    }

    pub(crate) fn unknown_subcommand(command: &str, word: &[u8]) -> Self {
        let try_help = format!("'. Try {} HELP.", command.to_uppercase());
        let text = [b"ERR unknown subcommand '", excerpt(word, EXCERPT_MAX), try_help.as_bytes()];
        Self(text.concat().into())
    }
}

/// At most `len` bytes of a word; a NUL ends it, as in Redis.
fn excerpt(word: &[u8], len: usize) -> &[u8] {
    let word = word.split(|byte| *byte == 0).next().unwrap_or_default();
    &word[..word.len().min(len)]
}

/// Maximum bytes of a request that an error repeats.
const EXCERPT_MAX: usize = 128;

impl From<String> for Fault {
    fn from(text: String) -> Self {
        Self(text.into_bytes().into())
    }
}

pub(crate) const WRONG_TYPE: Fault =
    Fault::new("WRONGTYPE Operation against a key holding the wrong kind of value");
pub(crate) const SYNTAX: Fault = Fault::new("ERR syntax error");
pub(crate) const NOT_AN_INTEGER: Fault = Fault::new("ERR value is not an integer or out of range");
pub(crate) const NOT_A_FLOAT: Fault = Fault::new("ERR value is not a valid float");
pub(crate) const HASH_NOT_AN_INTEGER: Fault = Fault::new("ERR hash value is not an integer");
pub(crate) const OVERFLOW: Fault = Fault::new("ERR increment or decrement would overflow");
pub(crate) const DECREMENT_OVERFLOW: Fault = Fault::new("ERR decrement would overflow");
pub(crate) const NOT_POSITIVE: Fault = Fault::new("ERR value is out of range, must be positive");
pub(crate) const OFFSET: Fault = Fault::new("ERR offset is out of range");
pub(crate) const TOO_LONG: Fault =
    Fault::new("ERR string exceeds maximum allowed size (proto-max-bulk-len)");
pub(crate) const NO_SUCH_KEY: Fault = Fault::new("ERR no such key");
pub(crate) const CURSOR: Fault = Fault::new("ERR invalid cursor");
pub(crate) const NAN: Fault = Fault::new("ERR resulting score is not a number (NaN)");
pub(crate) const NX_AND_OTHERS: Fault =
    Fault::new("ERR NX and XX, GT or LT options at the same time are not compatible");
pub(crate) const GT_AND_LT: Fault =
    Fault::new("ERR GT and LT options at the same time are not compatible");
pub(crate) const DATABASE: Fault = Fault::new("ERR DB index is out of range");
pub(crate) const NO_PROTOCOL: Fault = Fault::new("NOPROTO unsupported protocol version");
pub(crate) const PROTOCOL_NUMBER: Fault =
    Fault::new("ERR Protocol version is not an integer or out of range");
pub(crate) const NO_PASSWORD: Fault = Fault::new(
    "ERR AUTH <password> called without any password configured for the default user. \
     Are you sure your configuration is correct?",
);
pub(crate) const WRONG_PASSWORD: Fault =
    Fault::new("WRONGPASS invalid username-password pair or user is disabled.");
pub(crate) const CLIENT_NAME: Fault =
    Fault::new("ERR Client names cannot contain spaces, newlines or special characters.");
