//! The types of parsed requests and replies, which protocols produce and the multiplexer uses.
//!
//! A protocol parses bytes into these values without any knowledge of servers, queues or time; the
//! multiplexer does not parse. The values borrow from the bytes that they were parsed from, so
//! nothing is copied or allocated between a client's bytes and a server's queue.

use crate::error::ServerError;
use crate::memcache::{self, Head, Keep, Needs};
use crate::redis::KeyList;
use crate::redis::command::Permission;
use crate::version::Version;
use alloc::vec::Vec;
use core::ops::Range;

/// The result of parsing the start of a client's bytes.
#[derive(Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "it is looked at where it is made, and kept nowhere")]
pub enum Parsed<'a> {
    /// A request in the first `len` bytes.
    Request(Request<'a>, usize),
    /// The start of a line: none of these bytes ends it.
    PartialLine,
    /// Not complete: parse again when there are at least this many bytes.
    Partial(usize),
}

/// A request.
#[derive(Debug, PartialEq)]
pub enum Request<'a> {
    /// A request with one key, for one server.
    One(One<'a>),
    /// A request with several keys, or none, for one server.
    Group(Group<'a>),
    /// A request with several keys for their servers.
    Many(Many<'a>),
    /// A request for one server after the other.
    Cursor(Cursor<'a>),
    /// A request for every server of the pool.
    All(All<'a>),
    /// A request over a server connection for this client alone.
    Dedicated(Dedicate<'a>),
    /// A request that is answered after all earlier requests are complete.
    Barrier(&'a [u8]),
    /// The proxy answers with these bytes; if there are none, there is no reply.
    Answer(&'a [u8]),
    /// A request about the proxy itself, which only the embedder can answer: the line without its
    /// end.
    Question(&'a [u8]),
    /// Refused with this error (empty if the client wants no replies); the next request begins
    /// after `skip` more bytes.
    Refused {
        /// The error's bytes.
        error: &'a [u8],
        /// Bytes of data that follow the request's line.
        skip: u64,
        /// Which limit bit.
        limit: Limit,
    },
    /// The start of the next request is not known: the client gets this error, then the connection
    /// closes.
    Lost {
        /// The error's bytes; empty to close without an error.
        error: &'a [u8],
        /// Which limit bit.
        limit: Limit,
    },
    /// The client closes its connection (`quit`), and gets these bytes before.
    Quit(&'a [u8]),
}

/// Why a request was refused, for the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// It broke the protocol.
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
    /// `memory_max`.
    Memory,
}

/// A request with one key.
#[derive(Debug, PartialEq)]
pub struct One<'a> {
    /// The key as written in the request.
    pub key: &'a [u8],
    /// How the key is encoded.
    pub encoding: KeyEncoding,
    /// The opaque token, if the request has one that the reply must repeat.
    pub opaque: &'a [u8],
    /// Whether the reply may repeat the key and the opaque token.
    pub echoes: bool,
    /// What the server gets.
    pub wire: Wire<'a>,
    /// The expected reply.
    pub expect: Expect,
    /// The features that the server must support.
    pub needs: Needs,
    /// Its kind, for the counters.
    pub class: Class,
}

/// How a key is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyEncoding {
    /// Not encoded.
    Plain,
    /// In base64 (a meta request's `b` flag); checked by the parser.
    Base64,
}

/// A request of several keys, or of none, that one server answers.
#[derive(Debug, PartialEq)]
pub struct Group<'a> {
    /// The request, with its first key.
    pub one: One<'a>,
    /// Its other keys, which must have the same server.
    pub others: KeyList<'a>,
    /// The error in a pool of several servers, if only a pool of one server can answer.
    pub alone: Option<&'a [u8]>,
}

/// What a server gets for a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Wire<'a> {
    /// The client's own bytes, which are already normalized.
    Verbatim(&'a [u8]),
    /// Bytes that the proxy has written in their place.
    Rewritten(&'a [u8]),
    /// The kept words of the client's line, and the data after it.
    Words {
        /// The line.
        line: Head<'a>,
        /// Which of its words.
        keep: Keep,
        /// The data block with its line end, or nothing.
        data: &'a [u8],
    },
}

impl Wire<'_> {
    /// The approximate number of bytes: those of the client's words.
    #[inline]
    pub fn size_hint(&self) -> usize {
        match *self {
            Wire::Verbatim(bytes) | Wire::Rewritten(bytes) => bytes.len(),
            Wire::Words { line, data, .. } => {
                line.text.len() + memcache::LINE_END.len() + data.len()
            }
        }
    }

    /// Appends what the server gets.
    #[inline]
    pub fn write(&self, out: &mut Vec<u8>) {
        match *self {
            Wire::Verbatim(bytes) | Wire::Rewritten(bytes) => out.extend_from_slice(bytes),
            Wire::Words { line, keep, data } => line.write_whole(keep, data, out),
        }
    }
}

/// A request over a server connection for its client alone.
#[derive(Debug, PartialEq)]
pub struct Dedicate<'a> {
    /// The request, with its first key. For [`Step::Reset`], the key is the answer.
    pub one: One<'a>,
    /// Its other keys, which must have the same server.
    pub others: KeyList<'a>,
    /// Whether it has a key.
    pub has_key: bool,
    /// The error in a pool of several servers, if only a pool of one server can answer.
    pub alone: Option<&'a [u8]>,
    /// What it does to the connection.
    pub step: Step,
}

impl Dedicate<'_> {
    /// The expected reply.
    pub fn expect(&self) -> Expect {
        self.one.expect
    }
}

/// What a request does to the connection that its client alone uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Keys are watched (`WATCH`).
    Watch,
    /// No keys are watched any more (`UNWATCH`).
    Unwatch,
    /// A command of a transaction.
    Queue,
    /// The transaction ends (`EXEC`, `DISCARD`).
    End,
    /// The transaction ends without being carried out, because a command of it was refused.
    Abort,
    /// The server may wait before it answers.
    Block,
    /// Channels are subscribed to, or no longer.
    Subscribe,
    /// The client's connection becomes as a new one (`RESET`).
    Reset,
}

/// A request that goes through the servers, one after the other, by a cursor.
#[derive(Debug, PartialEq)]
pub struct Cursor<'a> {
    /// The client's cursor: the server's own, and which server it is.
    pub cursor: u64,
    /// What a server gets before the cursor.
    pub before: &'a [u8],
    /// What it gets behind the cursor.
    pub after: &'a [u8],
    /// The expected reply.
    pub expect: Expect,
    /// Its kind, for the counters.
    pub class: Class,
}

/// A request of several keys, of which each server gets its part.
#[derive(Debug, PartialEq)]
pub struct Many<'a> {
    /// The start of each fragment: command and arguments before the keys.
    pub head: Head<'a>,
    /// Bytes of the longest line that servers accept for this command, including its end.
    pub line_max: usize,
    /// The keys, as words or arguments that are not yet checked.
    pub keys: &'a [u8],
    /// Words or arguments for each key: the key itself, and what belongs to it.
    pub step: usize,
    /// How the replies to the fragments become one.
    pub merge: Merge,
    /// The expected reply to each fragment.
    pub expect: Expect,
    /// Their kind, for the counters.
    pub class: Class,
}

/// A request for every server.
#[derive(Debug, PartialEq)]
pub struct All<'a> {
    /// What each server gets.
    pub wire: Wire<'a>,
    /// The expected reply of each server.
    pub expect: Expect,
    /// How the replies become one.
    pub merge: Merge,
    /// What the pool must allow for it.
    pub permission: Permission,
}

/// How the replies of several servers are merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// Values in the order of the request's keys.
    ByKey,
    /// One success, if all are successes.
    AllOk,
    /// The elements of arrays, in the order of the request's keys (`MGET`).
    InOrder,
    /// The sum of integers (`DEL`, `DBSIZE`).
    Sum,
    /// The elements of arrays, one array after the other (`KEYS`).
    Concat,
    /// The first reply, because all are the same (`SCRIPT LOAD`).
    Same,
    /// For each place in arrays of integers, the least (`SCRIPT EXISTS`).
    Least,
    /// The first reply that is not null (`RANDOMKEY`).
    First,
    /// The reply of one server, with a cursor that says which server is next (`SCAN`).
    Cursor {
        /// The place of this server.
        server: usize,
        /// How many servers there are.
        servers: usize,
    },
}

/// The expected reply to a request. The multiplexer keeps it and passes it to the protocol to check
/// the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expect {
    /// Which replies match: a number that only the protocol understands.
    pub kind: u8,
    /// Outcomes that are not sent to the client.
    pub hidden: Outcomes,
    /// Whether the server may wait before it answers, so that there is no timeout.
    pub waits: bool,
    /// How many values the reply has, one after the other; 0 if that is not known yet.
    pub values: u16,
}

impl Expect {
    /// Any reply.
    pub const ANY: Self = Self { kind: 0, hidden: Outcomes::NONE, waits: false, values: 1 };

    /// Whether no outcome is sent to the client.
    pub fn is_silent(self) -> bool {
        self.hidden == Outcomes::ALL
    }
}

/// The result of parsing the start of a server's bytes.
#[derive(Debug, PartialEq)]
pub enum Response {
    /// The complete reply: the first `len` bytes.
    Whole {
        /// Its bytes.
        len: usize,
        /// What it says.
        outcome: Outcome,
    },
    /// One value of the reply to a fragment; more follows.
    Value {
        /// The bytes of the value with its header.
        len: usize,
        /// The position of its key in these bytes; `None` if it is the expected key.
        key: Option<Range<usize>>,
    },
    /// A value of more than `item_size_max` bytes: its length with its header, in bytes.
    TooLarge(usize),
    /// The reply is too large to be kept: the next `len` bytes of it can be dropped.
    Excess {
        /// How many.
        len: usize,
        /// Whether the reply ends with them.
        is_last: bool,
    },
    /// Something that nobody asked for, and that is no reply: the first `len` bytes.
    Unasked(usize),
    /// Not complete yet: parse again when there are at least this many bytes.
    Partial(usize),
    /// Not a reply to this request.
    Mismatch,
}

/// How much of an incomplete message was scanned, so that nothing is scanned twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// So many bytes are scanned.
    pub at: usize,
    /// So many elements are still to come, a part of which may be here.
    pub left: u64,
    /// So many bytes of a string and its end follow.
    pub body: usize,
    /// Whether the bytes are in the middle of a line.
    pub is_in_line: bool,
    /// Whether the message has another form than the proxy's own.
    pub is_odd: bool,
    /// Whether bytes at its start were dropped.
    pub is_cut: bool,
}

impl Scan {
    /// One element is to come, and nothing is scanned.
    pub const fn one() -> Self {
        Self { at: 0, left: 1, body: 0, is_in_line: false, is_odd: false, is_cut: false }
    }
}

/// A server's reply to the greeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Greeting {
    /// The reply is the first `len` bytes. The version is zero if the reply has none.
    Answer {
        /// Its bytes.
        len: usize,
        /// The server's version.
        version: Version,
    },
    /// The server has reached its connection limit and closes the connection.
    Full,
    /// The server does not serve the proxy.
    Refused(ServerError),
    /// Not whole yet.
    Partial,
    /// Not a reply to a greeting.
    Mismatch,
}

/// The result that a reply reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A value was found.
    Hit,
    /// A read found nothing, or the fragment's values have ended.
    Miss,
    /// The request was executed.
    Success,
    /// Not executed, because there is no such item (`NOT_FOUND`).
    NotFound,
    /// Not executed, because the item has another cas id (`EXISTS`).
    Exists,
    /// Not executed for another reason (`NOT_STORED`).
    NotStored,
    /// An error line.
    Error,
    /// An error: the server has not loaded its data yet.
    Loading,
}

impl Outcome {
    /// How many there are.
    pub const COUNT: usize = Self::Loading as usize + 1;

    /// Whether the request failed.
    #[inline]
    pub const fn is_error(self) -> bool {
        matches!(self, Self::Error | Self::Loading)
    }
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

/// Kinds of requests, for the counters; classic and meta requests count alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Reads.
    Get,
    /// Reads that also set the expiry.
    GetAndTouch,
    /// Storage.
    Set,
    /// Storage if the item has the given cas id.
    Cas,
    /// Deletion.
    Delete,
    /// Addition.
    Incr,
    /// Subtraction.
    Decr,
    /// A new expiry.
    Touch,
    /// The rest.
    Other,
}

impl Class {
    /// How many there are.
    pub const COUNT: usize = Self::Other as usize + 1;

    /// Whether such a request reads a value, and so is a hit or a miss.
    #[inline]
    pub const fn is_read(self) -> bool {
        matches!(self, Self::Get | Self::GetAndTouch)
    }

    /// The class labels of the metrics.
    pub const LABELS: [&str; 6] = ["get", "set", "delete", "arith", "touch", "other"];

    /// The index of its label in [`Class::LABELS`].
    pub const fn label(self) -> usize {
        match self {
            Self::Get | Self::GetAndTouch => 0,
            Self::Set | Self::Cas => 1,
            Self::Delete => 2,
            Self::Incr | Self::Decr => 3,
            Self::Touch => 4,
            Self::Other => 5,
        }
    }
}
