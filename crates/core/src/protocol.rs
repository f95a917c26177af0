//! The protocols of a pool: one `match` for each function that the multiplexer calls.
//!
//! A protocol parses and writes bytes and has no knowledge of servers, queues or time. A new
//! protocol needs a variant here and an arm in each `match`.

use crate::error::ServerError;
use crate::limits::Limits;
use crate::memcache::{self, Greeting, Head, KeyRoom};
use crate::message::{Expect, KeyEncoding, Merge, One, Parsed, Response};
use alloc::vec::Vec;

/// The protocol of a pool's clients and servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// memcached's text protocol, classic and meta.
    #[default]
    Memcache,
}

/// Why the multiplexer, and not a server, answers a request with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A word of the request is not a valid key.
    BadKey,
    /// The request has more keys than `keys_max`.
    TooManyKeys,
    /// The value is larger than `item_size_max`.
    TooLarge,
    /// The reply does not fit into `client_backlog_max`.
    Backlog,
    /// The request would empty every server, and the pool does not allow that.
    Flush,
}

impl Protocol {
    /// Parses the request at the start of a client's bytes; there is at least one byte.
    ///
    /// The first `searched` bytes are known to have no line end (the last [`Parsed::PartialLine`]
    /// said so).
    #[inline(always)]
    pub fn parse_request<'a>(
        self,
        input: &'a [u8],
        searched: usize,
        limits: &Limits,
    ) -> Parsed<'a> {
        match self {
            Self::Memcache => memcache::parse_request(input, searched, limits),
        }
    }

    /// The bytes of a request's key, if the request has the key unencoded.
    #[inline]
    pub fn plain_key<'a>(self, one: &One<'a>) -> Option<&'a [u8]> {
        match self {
            Self::Memcache => (one.encoding == KeyEncoding::Plain).then_some(one.key),
        }
    }

    /// The bytes of a request's key, decoded if necessary.
    pub fn key_bytes<'a>(self, one: &One<'a>, room: &'a mut KeyRoom) -> &'a [u8] {
        match self {
            Self::Memcache => memcache::key_bytes(one, room),
        }
    }

    /// Appends the keys of a request to `text`, as [`Protocol::next_key`] reads them.
    pub fn copy_keys(self, keys: &[u8], text: &mut Vec<u8>) {
        match self {
            Self::Memcache => memcache::copy_keys(keys, text),
        }
    }

    /// The first key of `keys`, and the rest; `None` if the first word is not a valid key.
    #[inline]
    pub fn next_key(self, keys: &[u8]) -> Option<(&[u8], &[u8])> {
        match self {
            Self::Memcache => memcache::next_key(keys),
        }
    }

    /// Appends a request for some keys of a larger request. Each key has its separator in front.
    pub fn write_fragment<'k>(
        self,
        head: Head<'_>,
        keys: impl Iterator<Item = &'k [u8]>,
        out: &mut Vec<u8>,
    ) {
        match self {
            Self::Memcache => memcache::write_fragment(head, keys, out),
        }
    }

    /// The number of bytes that a key takes in a fragment's request in addition to its own bytes.
    pub const fn separator_len(self) -> usize {
        match self {
            Self::Memcache => 1,
        }
    }

    /// Parses the reply at the start of a server's bytes, which must match `expect`, the key and
    /// the opaque token of its request.
    #[inline]
    pub fn parse_reply(
        self,
        input: &[u8],
        expect: Expect,
        echo: (&[u8], &[u8]),
        item_size_max: usize,
    ) -> Response {
        match self {
            Self::Memcache => {
                memcache::parse_response(input, memcache::Shape::of(expect), echo, item_size_max)
            }
        }
    }

    /// Whether the reply consists of values and an end.
    #[inline]
    pub fn has_values(self, expect: Expect) -> bool {
        match self {
            Self::Memcache => expect.kind == memcache::Shape::Values as u8,
        }
    }

    /// Parses one of these values at the start of `input`, probably that of `likely_key`.
    #[inline(always)]
    pub fn parse_value(self, input: &[u8], likely_key: &[u8], item_size_max: usize) -> Response {
        match self {
            Self::Memcache => memcache::parse_value(input, likely_key, item_size_max),
        }
    }

    /// The end of a reply that was merged without an error.
    pub const fn end_of(self, merge: Merge) -> &'static [u8] {
        match (self, merge) {
            (Self::Memcache, Merge::ByKey) => memcache::VALUES_END,
            (Self::Memcache, Merge::AllOk) => memcache::ALL_OK,
            (
                Self::Memcache,
                Merge::InOrder
                | Merge::Sum
                | Merge::Concat
                | Merge::Same
                | Merge::Least
                | Merge::First,
            ) => b"",
        }
    }

    /// The greeting: the first request on each server connection.
    pub const fn greeting(self) -> &'static [u8] {
        match self {
            Self::Memcache => memcache::GREETING,
        }
    }

    /// Parses the reply to the greeting at the start of a server's bytes.
    pub fn parse_greeting(self, input: &[u8]) -> Greeting {
        match self {
            Self::Memcache => memcache::parse_greeting(input),
        }
    }

    /// Appends the error for a request that its server could not answer.
    pub fn write_server_error(self, error: ServerError, out: &mut Vec<u8>) {
        match self {
            Self::Memcache => memcache::write_server_error(error, out),
        }
    }

    /// The error for a request that the multiplexer refuses.
    pub const fn refusal(self, refusal: Refusal) -> &'static [u8] {
        match (self, refusal) {
            (Self::Memcache, Refusal::BadKey) => memcache::BAD_LINE,
            (Self::Memcache, Refusal::TooManyKeys) => memcache::TOO_MANY_KEYS,
            (Self::Memcache, Refusal::TooLarge) => memcache::TOO_LARGE,
            (Self::Memcache, Refusal::Backlog) => memcache::BACKLOG_ERROR,
            (Self::Memcache, Refusal::Flush) => memcache::FLUSH_REFUSED,
        }
    }
}
