//! What a client asks: the result of parsing its bytes.

use super::{Class, Expect, Merge};
use crate::memcache::{self, Head, Keep, Needs};
use crate::redis::KeyList;
use crate::redis::command::Permission;
use alloc::vec::Vec;

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
    /// A question about the server of a pool of one server; with several servers, about the proxy.
    Setting(One<'a>),
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
    /// How many replies it has, one after the other; 0 if that is not known yet.
    pub replies: u16,
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

impl All<'_> {
    /// Whether it changes what each server has, or asks whether each server has it. Others collect what the servers
    /// of the pool hold.
    pub(crate) fn is_for_each(&self) -> bool {
        matches!(self.merge, Merge::AllOk | Merge::Same | Merge::Least)
    }
}
