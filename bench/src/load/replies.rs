//! What the replies of a run amount to. A wrong reply in good form is counted and the connection
//! goes on; one that is not of the protocol at all is [`Garbled`], and the connection is of no more
//! use.

use memchr::memchr;

use crate::latency::Histogram;

/// A line longer than this is of no protocol.
const LINE_LEN_MAX: usize = 2048;

/// What the replies of a run amounted to.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Requests answered, rightly or not.
    pub(crate) requests: u64,
    /// Values that are not what was stored, and replies of the wrong kind.
    pub(crate) bad: u64,
    /// Keys asked for and not found.
    pub(crate) miss: u64,
    /// Error replies, requests never answered and connections lost.
    pub(crate) errors: u64,
    pub(crate) latency: Histogram,
    /// From the start of the run to its last reply.
    pub(crate) elapsed_ns: u64,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self { requests: 0, bad: 0, miss: 0, errors: 0, latency: Histogram::new(), elapsed_ns: 0 }
    }
}

/// Bytes that can't be a reply to what was asked: where the next reply begins is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Garbled;

/// How far a check came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) used_bytes: usize,
    pub(crate) reply: Reply,
}

/// Whether the reply has been seen to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Partial,
    Complete,
}

/// The first line of `input` without its line end, or `None` if there is no whole one yet.
pub(crate) fn take_line(input: &[u8]) -> Result<Option<&[u8]>, Garbled> {
    match memchr(b'\n', input) {
        None if input.len() > LINE_LEN_MAX => Err(Garbled),
        None => Ok(None),
        Some(end) => input[..end].strip_suffix(b"\r").map(Some).ok_or(Garbled),
    }
}
