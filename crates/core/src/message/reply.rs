//! What a server replies: what is expected, and the result of parsing its bytes.

use crate::error::ServerError;
use crate::version::Version;
use core::ops::Range;

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
}

impl Expect {
    /// Any reply.
    pub const ANY: Self = Self { kind: 0, hidden: Outcomes::NONE };

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
