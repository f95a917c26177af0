//! The protocols of a pool: one `match` for each function that the multiplexer calls.
//!
//! A protocol parses and writes bytes and has no knowledge of servers, queues or time. A new
//! protocol needs a variant here and an arm in each `match`.

mod away;
mod gutter;
mod moving;

pub use moving::MOVE_NEEDS;

use crate::error::ServerError;
use crate::limits::Limits;
use crate::memcache::{self, Head, KeyRoom};
use crate::message::{Expect, Greeting, KeyEncoding, Merge, One, Parsed, Response, Scan, Step};
use crate::redis::{self, Settings};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;

/// The protocol of a pool's clients and servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// memcached's text protocol, classic and meta.
    #[default]
    Memcache,
    /// The protocol of Redis and Valkey: RESP2 and RESP3.
    Redis,
}

/// What a client has said about its connection.
#[derive(Debug)]
pub enum Session {
    /// Nothing.
    Memcache,
    /// A name, a version of the protocol, and the like.
    Redis(redis::Session),
}

impl Session {
    /// Whether the client's replies have another form than those of the other clients, so that its
    /// requests need other server connections.
    #[inline]
    pub fn is_resp3(&self) -> bool {
        match self {
            Self::Memcache => false,
            Self::Redis(session) => session.is_resp3(),
        }
    }

    /// What a client of a Redis pool has said.
    pub fn redis(&self) -> Option<&redis::Session> {
        match self {
            Self::Memcache => None,
            Self::Redis(session) => Some(session),
        }
    }

    /// Changes what a Redis pool is told.
    pub fn set_settings(&mut self, settings: &Arc<Settings>) {
        match self {
            Self::Memcache => {}
            Self::Redis(session) => session.set_settings(settings),
        }
    }

    /// Whether the client has something on a server connection of its own.
    pub fn is_bound(&self) -> bool {
        match self {
            Self::Memcache => false,
            Self::Redis(session) => session.is_bound(),
        }
    }

    /// Whether it is known only with the next reply what the client has on that connection.
    pub fn is_changing(&self) -> bool {
        match self {
            Self::Memcache => false,
            Self::Redis(session) => session.is_changing(),
        }
    }

    /// Whether the client is in a transaction of which no server knows.
    pub fn begins(&self) -> bool {
        match self {
            Self::Memcache => false,
            Self::Redis(session) => session.begins(),
        }
    }

    /// Keeps a request of a transaction of which no server knows, as it names no key. False if that is
    /// not possible.
    pub fn keep(&mut self, request: &[u8]) -> bool {
        match self {
            Self::Memcache => false,
            Self::Redis(session) => session.keep(request),
        }
    }

    /// Takes the first of the requests that were kept off `kept`, at first [`Session::kept`].
    pub fn next_kept<'a>(&self, kept: &mut &'a [u8]) -> Option<&'a [u8]> {
        match self {
            Self::Memcache => None,
            Self::Redis(_) => redis::take_request(kept),
        }
    }

    /// The requests that were kept.
    pub fn kept(&self) -> &[u8] {
        match self {
            Self::Memcache => b"",
            Self::Redis(session) => session.kept(),
        }
    }

    /// Notes that a request was sent over a connection of the client's own.
    pub fn note_step(&mut self, step: Step, replies: u16) {
        if let Self::Redis(session) = self {
            session.note_step(step, replies);
        }
    }

    /// Notes that a request was refused.
    pub fn note_refused(&mut self) {
        if let Self::Redis(session) = self {
            session.note_refused();
        }
    }

    /// Sees a reply on a connection of the client's own.
    pub fn observe(&mut self, expect: Expect, reply: &[u8]) {
        if let Self::Redis(session) = self {
            session.observe(expect, reply);
        }
    }

    /// Makes the session that of a client which has said this to another process.
    pub fn continue_with(&mut self, said: redis::Said) {
        if let Self::Redis(session) = self {
            session.continue_with(said);
        }
    }

    /// Makes the session that of a new client.
    pub fn reset(&mut self) {
        if let Self::Redis(session) = self {
            session.reset();
        }
    }
}

/// Memory for what a parser writes instead of taking it from the client's bytes.
#[derive(Debug, Default)]
pub struct Room(Option<Box<redis::Room>>);

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
    /// The request would scan every server, and the pool does not allow that.
    Keys,
    /// The keys of the request have different servers.
    CrossShard,
    /// The request has no key, and the pool several servers.
    NoKey,
    /// A command of the transaction was refused.
    Aborted,
    /// No connection is free for the client alone.
    Dedicated,
    /// `moves_max` requests are on their way for keys that move.
    TooManyMoves,
    /// The key moves, and others change it all the time.
    BusyMove,
    /// The pool's clients sent more than `pool_rate_max` requests in a second.
    PoolRate,
    /// `pool_requests_max` requests of the pool's clients are in flight.
    PoolRequests,
    /// The clients of the address sent more than `address_rate_max` requests in a second.
    AddressRate,
    /// `address_requests_max` requests of the clients of the address are in flight.
    AddressRequests,
    /// The transaction began when its keys were to be used at another server.
    MovesYet,
}

impl Protocol {
    /// What a new client has said so far. `id` is a number that no other client has.
    pub fn open_session(self, settings: &Arc<Settings>, id: u64) -> Session {
        match self {
            Self::Memcache => Session::Memcache,
            Self::Redis => Session::Redis(redis::Session::new(settings, id)),
        }
    }

    /// Parses the request at the start of a client's bytes; there is at least one byte.
    ///
    /// `scan` says how much of it was scanned before; it is brought up to date, except for a
    /// [`Parsed::PartialLine`].
    #[inline(always)]
    pub fn parse_request<'a>(
        self,
        input: &'a [u8],
        scan: &mut Scan,
        session: &mut Session,
        limits: &Limits,
        room: &'a mut Room,
    ) -> Parsed<'a> {
        match session {
            Session::Memcache => memcache::parse_request(input, mem::take(&mut scan.at), limits),
            Session::Redis(session) => {
                let room = room.0.get_or_insert_default();
                redis::parse_request(input, scan, session, limits, room)
            }
        }
    }

    /// The bytes of a request's key, if the request has the key unencoded.
    #[inline]
    pub fn plain_key<'a>(self, one: &One<'a>) -> Option<&'a [u8]> {
        match self {
            Self::Memcache => (one.encoding == KeyEncoding::Plain).then_some(one.key),
            Self::Redis => Some(one.key),
        }
    }

    /// The bytes of a request's key, decoded if necessary.
    pub fn key_bytes<'a>(self, one: &One<'a>, room: &'a mut KeyRoom) -> &'a [u8] {
        match self {
            Self::Memcache => memcache::key_bytes(one, room),
            Self::Redis => one.key,
        }
    }

    /// Appends the keys of a request to `text`, as [`Protocol::next_key`] reads them.
    pub fn copy_keys(self, keys: &[u8], text: &mut Vec<u8>) {
        match self {
            Self::Memcache => memcache::copy_keys(keys, text),
            Self::Redis => text.extend_from_slice(keys),
        }
    }

    /// The first key of `keys`, and what follows it and the `step - 1` arguments that belong to it;
    /// `None` if the first word is not a valid key.
    #[inline(always)]
    pub fn next_key(self, keys: &[u8], step: usize) -> Option<(&[u8], &[u8])> {
        match self {
            Self::Memcache => memcache::next_key(keys),
            Self::Redis => redis::next_key(keys, step),
        }
    }

    /// Appends a request for some keys of a larger request. Each key has its separator in front.
    pub fn write_fragment<'k>(
        self,
        head: Head<'_>,
        step: usize,
        parts: impl Iterator<Item = &'k [u8]> + Clone,
        out: &mut Vec<u8>,
    ) {
        match self {
            Self::Memcache => memcache::write_fragment(head, parts, out),
            Self::Redis => redis::write_fragment(head.text, step, parts, out),
        }
    }

    /// The number of bytes that a key takes in a fragment's request in addition to its own bytes.
    pub const fn separator_len(self) -> usize {
        match self {
            Self::Memcache => 1,
            Self::Redis => 0,
        }
    }

    /// Parses the reply at the start of a server's bytes, which must match `expect`, the key and
    /// the opaque token of its request. `scan` says how much of it was scanned before.
    #[inline]
    pub fn parse_reply(
        self,
        input: &[u8],
        expect: Expect,
        echo: (&[u8], &[u8]),
        scan: &mut Scan,
        item_size_max: usize,
    ) -> Response {
        match self {
            Self::Memcache => {
                memcache::parse_response(input, memcache::Shape::of(expect), echo, item_size_max)
            }
            Self::Redis => redis::parse_reply(input, expect, scan, item_size_max),
        }
    }

    /// Parses what a server sends although nothing was asked.
    /// `has_owner` says that the connection is for one client alone.
    pub fn parse_unasked(
        self,
        input: &[u8],
        scan: &mut Scan,
        item_size_max: usize,
        has_owner: bool,
    ) -> Response {
        match self {
            Self::Memcache => Response::Mismatch,
            Self::Redis => redis::parse_unasked(input, scan, item_size_max, has_owner),
        }
    }

    /// Appends a reply that is not in RESP3 as one in RESP3.
    pub fn translate(self, expect: Expect, reply: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Memcache => out.extend_from_slice(reply),
            Self::Redis => redis::translate(expect, reply, out),
        }
    }

    /// As [`Protocol::translate`], for what a server sends on its own account.
    pub fn translate_message(self, message: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Memcache => out.extend_from_slice(message),
            Self::Redis => redis::translate_message(message, out),
        }
    }

    /// Whether the server may wait before it replies, so that there is no timeout.
    pub fn waits(self, expect: Expect) -> bool {
        match self {
            Self::Memcache => false,
            Self::Redis => redis::waits(expect),
        }
    }

    /// Whether the reply consists of values and an end.
    #[inline]
    pub fn has_values(self, expect: Expect) -> bool {
        match self {
            Self::Memcache => expect.kind == memcache::Shape::Values as u8,
            Self::Redis => false,
        }
    }

    /// Parses one of these values at the start of `input`, probably that of `likely_key`.
    #[inline(always)]
    pub fn parse_value(self, input: &[u8], likely_key: &[u8], item_size_max: usize) -> Response {
        match self {
            Self::Memcache => memcache::parse_value(input, likely_key, item_size_max),
            Self::Redis => Response::Mismatch,
        }
    }

    /// Whether a reply can be merged with others: that to a fragment of so many keys.
    pub fn fits(self, merge: Merge, reply: &[u8], keys: usize) -> bool {
        match self {
            Self::Memcache => true,
            Self::Redis => redis::fits(merge, reply, keys),
        }
    }

    /// Appends what comes before the values of a reply that was merged key by key.
    pub fn write_start(self, merge: Merge, values: usize, out: &mut Vec<u8>) {
        if (self, merge) == (Self::Redis, Merge::InOrder) {
            redis::write_header(b'*', values, out);
        }
    }

    /// Appends what comes behind these values, or a reply that was merged as a whole.
    pub fn write_end(self, merge: Merge, merged: &redis::Merged, out: &mut Vec<u8>) {
        match (self, merge) {
            (Self::Memcache, Merge::ByKey) => out.extend_from_slice(memcache::VALUES_END),
            (Self::Memcache, _) => out.extend_from_slice(memcache::ALL_OK),
            (Self::Redis, _) => merged.write(merge, out),
        }
    }

    /// Appends the request of a fragment that goes on from a server's cursor.
    pub fn write_cursor(self, (before, after): (&[u8], &[u8]), cursor: u64, out: &mut Vec<u8>) {
        if self == Self::Redis {
            redis::write_cursor((before, after), cursor, out);
        }
    }

    /// The reply to a request of a transaction.
    pub const fn queued(self) -> &'static [u8] {
        match self {
            Self::Memcache => b"",
            Self::Redis => redis::QUEUED,
        }
    }

    /// The requests that begin a transaction, and that end one without carrying it out.
    pub const fn transaction(self) -> (&'static [u8], &'static [u8]) {
        match self {
            Self::Memcache => (b"", b""),
            Self::Redis => (redis::MULTI, redis::DISCARD),
        }
    }

    /// Appends the greeting: the first requests on each server connection.
    pub fn write_greeting(self, settings: &Settings, is_resp3: bool, out: &mut Vec<u8>) {
        match self {
            Self::Memcache => out.extend_from_slice(memcache::GREETING),
            Self::Redis => redis::write_greeting(settings, is_resp3, out),
        }
    }

    /// Parses the reply to the greeting at the start of a server's bytes.
    pub fn parse_greeting(self, input: &[u8], settings: &Settings) -> Greeting {
        match self {
            Self::Memcache => memcache::parse_greeting(input),
            Self::Redis => redis::parse_greeting(input, settings),
        }
    }

    /// Appends the error for a request that its server could not answer.
    pub fn write_server_error(self, error: ServerError, out: &mut Vec<u8>) {
        match self {
            Self::Memcache => memcache::write_server_error(error, out),
            Self::Redis => redis::write_server_error(error, out),
        }
    }

    /// The error for a request that the multiplexer refuses.
    pub const fn refusal(self, refusal: Refusal) -> &'static [u8] {
        match (self, refusal) {
            (
                Self::Memcache,
                Refusal::BadKey
                | Refusal::Keys
                | Refusal::CrossShard
                | Refusal::NoKey
                | Refusal::Aborted
                | Refusal::Dedicated
                | Refusal::MovesYet,
            ) => memcache::BAD_LINE,
            (Self::Memcache, Refusal::TooManyMoves) => memcache::TOO_MANY_MOVES,
            (Self::Memcache, Refusal::BusyMove) => memcache::BUSY_MOVE,
            (Self::Memcache, Refusal::TooManyKeys) => memcache::TOO_MANY_KEYS,
            (Self::Memcache, Refusal::TooLarge) => memcache::TOO_LARGE,
            (Self::Memcache, Refusal::Backlog) => memcache::BACKLOG_ERROR,
            (Self::Memcache, Refusal::Flush) => memcache::FLUSH_REFUSED,
            (Self::Memcache, Refusal::PoolRate) => memcache::POOL_RATE,
            (Self::Memcache, Refusal::PoolRequests) => memcache::POOL_REQUESTS,
            (Self::Memcache, Refusal::AddressRate) => memcache::ADDRESS_RATE,
            (Self::Memcache, Refusal::AddressRequests) => memcache::ADDRESS_REQUESTS,
            (Self::Redis, Refusal::PoolRate) => redis::POOL_RATE,
            (Self::Redis, Refusal::PoolRequests) => redis::POOL_REQUESTS,
            (Self::Redis, Refusal::AddressRate) => redis::ADDRESS_RATE,
            (Self::Redis, Refusal::AddressRequests) => redis::ADDRESS_REQUESTS,
            (Self::Redis, Refusal::BadKey) => redis::BAD_KEY,
            (Self::Redis, Refusal::TooManyKeys) => redis::TOO_MANY_KEYS,
            (Self::Redis, Refusal::TooLarge) => redis::TOO_LARGE,
            (Self::Redis, Refusal::Backlog) => redis::BACKLOG_ERROR,
            (Self::Redis, Refusal::Flush) => redis::FLUSH_REFUSED,
            (Self::Redis, Refusal::Keys) => redis::KEYS_REFUSED,
            (Self::Redis, Refusal::CrossShard) => redis::CROSS_SHARD,
            (Self::Redis, Refusal::NoKey) => redis::NO_KEY,
            (Self::Redis, Refusal::Aborted) => redis::ABORTED,
            (Self::Redis, Refusal::Dedicated) => redis::NO_DEDICATED,
            (Self::Redis, Refusal::TooManyMoves) => redis::TOO_MANY_MOVES,
            (Self::Redis, Refusal::BusyMove) => redis::BUSY_MOVE,
            (Self::Redis, Refusal::MovesYet) => redis::MOVES_YET,
        }
    }
}
