//! What is asked and answered about a key that moves from one server to another.
//!
//! While a key moves, the multiplexer asks its old and its new server step by step; a protocol writes
//! each step and reads its reply. The one rule: a `cas` number is one that a server gave to a value, or
//! to the mark that holds the place of a value.

use super::{Class, Expect, Outcome};
use crate::memcache::Needs;
use alloc::vec::Vec;
use core::ops::Range;

/// How a request depends on the value of its key, and changes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It has no value to read or to change.
    Apart,
    /// It reads the value, and its answer can be made of what a look found.
    Read,
    /// It reads the value, and its answer is only the server's.
    ReadAsIs,
    /// It replaces or removes the value, whatever it is.
    Put,
    /// It removes the value, and its answer says whether there was one on any of the two servers.
    Remove,
    /// What it does depends on the value.
    Change,
}

impl Effect {
    /// Whether the value stays as it is.
    pub const fn is_read(self) -> bool {
        matches!(self, Self::Read | Self::ReadAsIs)
    }
}

/// A request that is kept while its key moves.
#[derive(Debug)]
pub struct Kept {
    /// What a server gets.
    pub bytes: Vec<u8>,
    /// The key in these bytes, as it is written there.
    pub key: Range<usize>,
    /// Whether the key is written in base64.
    pub is_encoded: bool,
    /// The key's bytes, and behind them the opaque token, of which the reply may repeat both.
    pub echo: Vec<u8>,
    /// How many bytes the key has.
    pub key_len: usize,
    /// Whether the reply repeats them.
    pub echoes: bool,
    /// What it does.
    pub effect: Effect,
    /// The expected reply.
    pub expect: Expect,
    /// Its kind, for the counters.
    pub class: Class,
    /// The features that its server must support.
    pub needs: Needs,
}

impl Kept {
    /// A request for all servers.
    pub fn for_all(bytes: Vec<u8>, expect: Expect) -> Self {
        Self {
            bytes,
            key: 0..0,
            is_encoded: false,
            echo: Vec::new(),
            key_len: 0,
            echoes: false,
            effect: Effect::Apart,
            expect,
            class: Class::Other,
            needs: Needs::NOTHING,
        }
    }

    /// The key's bytes.
    pub fn plain_key(&self) -> &[u8] {
        &self.echo[..self.key_len]
    }

    /// The opaque token.
    pub fn opaque(&self) -> &[u8] {
        &self.echo[self.key_len..]
    }

    /// Bytes that it takes.
    pub fn size(&self) -> usize {
        self.bytes.len() + self.echo.len()
    }
}

/// What is known of the value at the key's new server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Nothing, and nothing needs to be known.
    Nothing,
    /// There was none.
    Absent,
    /// There was this one.
    Present(u64),
}

/// A step on the way of a key.
#[derive(Clone, Copy, Debug)]
pub enum Ask<'a> {
    /// Asks for a cas number that is higher than those of all values that the server has.
    Mark,
    /// Asks for the value, and on a miss, if `lease` is true, for a mark in its place.
    Look {
        /// Whether to hold the place.
        lease: bool,
    },
    /// Asks the old server for the value.
    Fetch,
    /// Puts a fetched value into the place that the mark with this number holds.
    Copy {
        /// The reply to the fetch.
        fetched: &'a [u8],
        /// The number of the mark.
        cas: u64,
        /// The time, in seconds since 1970.
        seconds: u64,
    },
    /// Removes the value if it still has this number.
    Drop(u64),
    /// Removes the value.
    Delete,
    /// Carries out the request itself.
    Run(Known),
    /// Carries out the request itself just as it came.
    AsIs,
}

/// What a server said to a step other than [`Ask::Run`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// There is no value.
    Absent,
    /// There was no value, and now there is our mark with this number.
    Won(u64),
    /// There is a mark, ours or another's.
    Held(u64),
    /// There is a value with this number.
    Value(u64),
    /// It is done; a new value has this number.
    Done(u64),
    /// It is not done: the value has another number, or is gone.
    Refused,
    /// The server answered with an error.
    Error,
}

/// What a server's reply to [`Ask::Run`] is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the answer, rewritten for the client.
    Answer(Outcome),
    /// It is the answer only if there is a value, and not a mark.
    Doubt(Outcome),
    /// The request met a mark, or another value than was known: it was not carried out.
    Again,
}
