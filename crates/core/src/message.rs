//! What a protocol reads from bytes, and the multiplexer moves: requests and replies.
//!
//! A protocol turns bytes into these values and knows nothing of servers, queues or time; the
//! multiplexer knows nothing of grammar. The values borrow from the bytes they were read from, so
//! nothing is copied or allocated between a client's bytes and a server's queue.

use crate::memcache::{Head, Needs, Wire};
use crate::stats::Class;
use core::ops::Range;

/// What stands at the head of a client's bytes.
#[derive(Debug, PartialEq)]
pub enum Parsed<'a> {
    /// A request that takes up the first `len` bytes.
    Request(Request<'a>, usize),
    /// The start of a line: none of these bytes ends it.
    PartialLine,
    /// A line whose data is not whole: there must be so many bytes for another look to be worth it.
    Partial(usize),
}

/// What a client wants.
#[derive(Debug, PartialEq)]
pub enum Request<'a> {
    /// A request with one key, so for one server.
    One(One<'a>),
    /// Reads of several keys, each of its own server, merged by key.
    Many(Many<'a>),
    /// A request for every server of the pool.
    All(All<'a>),
    /// Answered once everything before it is.
    Barrier(&'static [u8]),
    /// Answered here with these bytes; with none, there is no reply.
    Answer(&'static [u8]),
    /// About the proxy itself, which only the embedder can answer: the line without its end.
    Question(&'a [u8]),
    /// Refused with this error (none, if the client wants no replies); the framing is certain,
    /// and the next request begins after `skip` more bytes.
    Refused {
        /// The error's bytes.
        error: &'static [u8],
        /// Bytes of data that follow the request's line.
        skip: u64,
        /// Which limit bit.
        limit: Limit,
    },
    /// Where the next request begins is not certain: this error, then the end of the connection.
    Lost {
        /// The error's bytes; none to close without a word.
        error: &'static [u8],
        /// Which limit bit.
        limit: Limit,
    },
    /// The client takes its leave.
    Quit,
}

/// Why a request was refused, for the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// It broke the grammar.
    Grammar,
    /// It is of memcached's binary protocol.
    Binary,
    /// It is of HTTP.
    Http,
    /// `item_size_max`.
    ItemSize,
    /// `keys_max`.
    Keys,
    /// `line_max`.
    Line,
}

/// A request with one key.
#[derive(Debug, PartialEq)]
pub struct One<'a> {
    /// The key as it stands in the request.
    pub key: &'a [u8],
    /// What the key's bytes are.
    pub encoding: KeyEncoding,
    /// The opaque token, if the client gave one that the reply repeats.
    pub opaque: &'a [u8],
    /// Whether the reply may repeat the key and the opaque token.
    pub echoes: bool,
    /// What the server gets.
    pub wire: Wire<'a>,
    /// What it owes for that.
    pub expect: Expect,
    /// What it must be able to do.
    pub needs: Needs,
    /// Its kind, for the counters.
    pub class: Class,
}

/// How a key is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyEncoding {
    /// As itself.
    Plain,
    /// In base64 (a meta request's `b` flag); checked by the parser.
    Base64,
}

/// Reads of several keys.
#[derive(Debug, PartialEq)]
pub struct Many<'a> {
    /// What each fragment begins with: command and arguments before the keys.
    pub head: Head<'a>,
    /// Bytes of the longest line that servers take of this command, its end included.
    pub line_max: usize,
    /// The keys, as words that may turn out not to be keys.
    pub keys: &'a [u8],
    /// What each server owes for its fragment.
    pub expect: Expect,
    /// Their kind, for the counters.
    pub class: Class,
}

/// A request for every server.
#[derive(Debug, PartialEq)]
pub struct All<'a> {
    /// What each server gets.
    pub wire: Wire<'a>,
    /// What each owes for it.
    pub expect: Expect,
}

/// How the answers of several servers become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// Values in the order of the request's keys.
    ByKey,
    /// One success, if all are successes.
    AllOk,
}

/// What a server owes for a request. The multiplexer keeps it, and asks the protocol what fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expect {
    /// Which replies fit: a number of the protocol's own.
    pub kind: u8,
    /// Outcomes of which the client is not told.
    pub hidden: Outcomes,
}

impl Expect {
    /// Whether the client is told nothing, whatever comes.
    pub fn is_silent(self) -> bool {
        self.hidden == Outcomes::ALL
    }
}

/// What stands at the head of a server's bytes.
#[derive(Debug, PartialEq)]
pub enum Response {
    /// The answer, whole: the first `len` bytes.
    Whole {
        /// Its bytes.
        len: usize,
        /// What it says.
        outcome: Outcome,
    },
    /// One value of a fragment's answer; more follows.
    Value {
        /// The bytes of the value with its header.
        len: usize,
        /// Where among them its key stands; none if it is the one that was looked for.
        key: Option<Range<usize>>,
    },
    /// A value of more than `item_size_max` bytes; so many bytes with its header, here or to come.
    TooLarge(usize),
    /// Not whole yet: there must be at least this many bytes for another look to be worth it.
    Partial(usize),
    /// No answer to this request.
    Mismatch,
}

/// What an answer says, as far as the proxy cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A value was found.
    Hit,
    /// A read found nothing, or the fragment's values have ended.
    Miss,
    /// It was done.
    Success,
    /// It was not done, as there is no such item (`NOT_FOUND`).
    NotFound,
    /// It was not done, as the item has another cas id (`EXISTS`).
    Exists,
    /// It was not done, for another good reason (`NOT_STORED`).
    NotStored,
    /// An error line.
    Error,
}

impl Outcome {
    /// How many there are.
    pub const COUNT: usize = Self::Error as usize + 1;
}

/// A set of outcomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcomes(u8);

impl Outcomes {
    /// No outcome.
    pub const NONE: Self = Self(0);
    /// Every outcome.
    pub const ALL: Self = Self(u8::MAX);
    /// Only [`Outcome::Miss`].
    pub const MISS: Self = Self::of(Outcome::Miss);
    /// Only [`Outcome::Success`].
    pub const SUCCESS: Self = Self::of(Outcome::Success);

    const fn of(outcome: Outcome) -> Self {
        Self(1 << outcome as u8)
    }

    /// Whether `outcome` is one of them.
    #[inline]
    pub const fn contains(self, outcome: Outcome) -> bool {
        self.0 & Self::of(outcome).0 != 0
    }
}
