//! Hops 10 to 12 of the walk: a server's bytes become answers to the requests that wait for them.
//!
//! A server answers in the order it was asked, so the first [`Pending`] of a connection owns the
//! next reply. The one rule: a reply that does not fit its request, or that nobody asked for, is
//! the last thing believed of its connection. The connection is given up with all that waits on
//! it, and other connections, even to the same server, go on.

use super::failure::Blame;
use super::gather::{GatherId, values_len};
use super::slots::SlotId;
use super::{ClientId, Event, Mux};
use crate::buffer::Buffer;
use crate::memcache;
use crate::protocol::{Expect, Outcome, Response, ServerError, Shape};
use crate::time::Instant;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::mem;

/// A server connection of one [`Mux`]: there are `server_connections` to each server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnId(u32);

impl ConnId {
    /// The connection with this number.
    ///
    /// # Panics
    /// If the number is not below [`Mux::conn_count`].
    pub fn new(index: usize) -> Self {
        Self(u32::try_from(index).expect("a pool has fewer than 2^32 connections"))
    }

    /// Its number: small, dense, for tables beside the engine's.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// How far a server connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnState {
    /// There is none.
    Closed,
    /// Its socket is being opened.
    Opening,
    /// Bytes can go both ways.
    Open,
}

/// A request that waits for the reply of one server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    /// None once nobody waits any longer: the reply is thrown away when it comes.
    slot: Option<SlotId>,
    expect: Expect,
    /// The fragment it is, of a request for several servers.
    fragment: Option<(GatherId, usize)>,
    /// How many bytes of `Conn::echo` are its key, and its opaque token.
    echo: (usize, usize),
    /// Its own size, for the figures.
    bytes: usize,
    deadline: Instant,
}

#[derive(Debug)]
pub(super) struct Conn {
    server: usize,
    pub(super) state: ConnState,
    /// Requests without their reply, oldest first.
    pub(super) pending: VecDeque<Pending>,
    /// How many of the oldest have run out of time.
    pub(super) expired: usize,
    /// Keys and opaque tokens of the pending requests, as a reply may repeat them.
    pub(super) echo: Buffer,
    /// Requests to be written.
    pub(super) out: Buffer,
    /// How many of the newest pending requests are not wholly written, and their bytes.
    unsent: usize,
    unsent_bytes: usize,
    /// The start of a reply.
    pub(super) input: Buffer,
    need: usize,
    /// Bytes of a refused value that are still to come.
    skip: usize,
    /// Whether it was lost and has not answered since.
    pub(super) lost: bool,
    /// Whether it should be open although nothing is pending.
    wanted: bool,
    /// Whether its socket has to be closed.
    doomed: bool,
    pub(super) dirty: bool,
    /// Clients held because of this connection's full queue.
    pub(super) waiters: Vec<ClientId>,
    /// The last request that has a fragment here, and that fragment's number.
    fragment: (u64, usize),
}

impl Pending {
    pub(super) fn one(slot: SlotId, expect: Expect) -> Self {
        let deadline = Instant::default();
        Self { slot: Some(slot), expect, fragment: None, echo: (0, 0), bytes: 0, deadline }
    }

    pub(super) fn fragment(slot: SlotId, expect: Expect, gather: GatherId, number: usize) -> Self {
        Self { fragment: Some((gather, number)), ..Self::one(slot, expect) }
    }

    /// Nobody waits any longer. Says who did.
    pub(super) fn abandon(&mut self) -> Self {
        let before = *self;
        self.slot = None;
        before
    }

    pub(super) fn slot(&self) -> Option<SlotId> {
        self.slot
    }

    pub(super) fn expect(&self) -> Expect {
        self.expect
    }

    pub(super) fn gather(&self) -> Option<(GatherId, usize)> {
        self.fragment
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }
}

impl Conn {
    pub(super) fn new(server: usize) -> Self {
        Self {
            server,
            state: ConnState::Closed,
            pending: VecDeque::new(),
            expired: 0,
            echo: Buffer::default(),
            out: Buffer::default(),
            unsent: 0,
            unsent_bytes: 0,
            input: Buffer::default(),
            need: 0,
            skip: 0,
            lost: false,
            wanted: false,
            doomed: false,
            dirty: false,
            waiters: Vec::new(),
            fragment: (0, 0),
        }
    }

    pub(super) fn server(&self) -> usize {
        self.server
    }

    /// The number of this connection's fragment in a request; `next` if it has none yet.
    pub(super) fn fragment_in(&mut self, request: u64, next: usize) -> usize {
        if self.fragment.0 != request {
            self.fragment = (request, next);
        }
        self.fragment.1
    }
}

impl Mux {
    /// How far a connection is.
    pub fn conn_state(&self, id: ConnId) -> ConnState {
        self.conns[id.index()].state
    }

    /// Which server a connection leads to, in the pool's order.
    pub fn server_of(&self, id: ConnId) -> usize {
        self.conns[id.index()].server
    }

    /// Whether a closed connection should be opened.
    pub fn wants_open(&self, id: ConnId) -> bool {
        let conn = &self.conns[id.index()];
        conn.state == ConnState::Closed && (conn.wanted || !conn.pending.is_empty())
    }

    /// Whether the connection's socket, if there is one, has to be closed; says so once.
    pub fn take_doomed(&mut self, id: ConnId) -> bool {
        mem::take(&mut self.conns[id.index()].doomed)
    }

    /// Wants the first connection of every server open (`preconnect`).
    pub fn preconnect(&mut self) {
        for index in (0..self.conns.len()).step_by(self.options.server_connections) {
            self.conns[index].wanted = true;
            self.mark_conn(ConnId::new(index));
        }
    }

    /// The connection's socket is being opened.
    pub fn handle_conn_opening(&mut self, id: ConnId) {
        let conn = &mut self.conns[id.index()];
        conn.state = ConnState::Opening;
        conn.wanted = false;
        self.stats.server_connects.add(1);
        self.stats.servers[conn.server].server_connections.add(1);
    }

    /// The connection is open.
    pub fn handle_conn_open(&mut self, id: ConnId) {
        self.conns[id.index()].state = ConnState::Open;
        self.mark_conn(id);
    }

    /// The bytes to be written to the server.
    pub fn conn_output(&self, id: ConnId) -> &[u8] {
        self.conns[id.index()].out.as_slice()
    }

    /// Notes that `count` bytes of the output were written.
    pub fn handle_conn_written(&mut self, id: ConnId, count: usize) {
        let conn = &mut self.conns[id.index()];
        conn.out.advance(count);
        let stats = &self.stats.servers[conn.server];
        while conn.unsent > 0 {
            let oldest = conn.pending[conn.pending.len() - conn.unsent].bytes;
            if conn.unsent_bytes - oldest < conn.out.len() {
                break;
            }
            conn.unsent -= 1;
            conn.unsent_bytes -= oldest;
            stats.in_queue.sub(1);
            stats.in_queue_bytes.sub(oldest as u64);
            stats.out_queue.add(1);
            stats.out_queue_bytes.add(oldest as u64);
        }
        self.wake_waiters(id);
    }

    /// Hop 7 (b): queues a request. `write` appends it; `echo` is what its reply may repeat.
    pub(super) fn send(
        &mut self,
        id: ConnId,
        mut pending: Pending,
        (key, opaque): (&[u8], &[u8]),
        now: Instant,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let conn = &mut self.conns[id.index()];
        let out = conn.out.tail(&mut self.spares);
        let before = out.len();
        write(out);
        pending.bytes = out.len() - before;
        pending.echo = (key.len(), opaque.len());
        if let Some(timeout) = self.options.timeout {
            pending.deadline = now.after(timeout);
            self.next_expiry.get_or_insert(pending.deadline);
        }
        if pending.echo != (0, 0) {
            let echo = conn.echo.tail(&mut self.spares);
            echo.extend_from_slice(key);
            echo.extend_from_slice(opaque);
        }
        let stats = &self.stats.servers[conn.server];
        stats.requests.add(1);
        stats.request_bytes.add(pending.bytes as u64);
        stats.in_queue.add(1);
        stats.in_queue_bytes.add(pending.bytes as u64);
        conn.unsent += 1;
        conn.unsent_bytes += pending.bytes;
        conn.pending.push_back(pending);
        self.mark_conn(id);
    }

    /// Where the rest of a large reply may be read to, past what is there: it has room for the
    /// whole. None if the connection is not in the middle of one.
    pub fn conn_input(&mut self, id: ConnId) -> Option<&mut Vec<u8>> {
        let conn = &mut self.conns[id.index()];
        let missing = conn.need.saturating_sub(conn.input.len());
        if conn.input.is_empty() || missing < super::LARGE {
            return None;
        }
        conn.input.reserve(missing);
        Some(conn.input.tail(&mut self.spares))
    }

    /// Hop 10 (c): a server's bytes.
    pub fn handle_server_bytes(&mut self, id: ConnId, bytes: &[u8], now: Instant) {
        if self.conns[id.index()].state != ConnState::Open {
            return;
        }
        let conn = &mut self.conns[id.index()];
        let skipped = conn.skip.min(bytes.len());
        conn.skip -= skipped;
        let mut rest = &bytes[skipped..];
        while !rest.is_empty() && !self.conns[id.index()].input.is_empty() {
            let conn = &mut self.conns[id.index()];
            let count = conn.input.top_up(rest, conn.need, &mut self.spares);
            self.handle_server_filled(id, now);
            let conn = &mut self.conns[id.index()];
            if conn.state != ConnState::Open {
                return;
            }
            rest = &rest[count - conn.input.give_back(count, &mut self.spares)..];
        }
        if rest.is_empty() {
            return;
        }
        let used = self.take_responses(id, rest, now);
        if used < rest.len() {
            let input = &mut self.conns[id.index()].input;
            input.tail(&mut self.spares).extend_from_slice(&rest[used..]);
        }
    }

    /// Hop 10 (c), when the bytes were read into [`Mux::conn_input`].
    pub fn handle_server_filled(&mut self, id: ConnId, now: Instant) {
        let conn = &mut self.conns[id.index()];
        if conn.input.len() < conn.need {
            return;
        }
        let mut input = mem::take(&mut conn.input);
        let used = self.take_responses(id, input.as_slice(), now);
        input.consume(used, &mut self.spares);
        self.conns[id.index()].input = input;
    }

    /// Takes the replies at the head of `bytes`. Says how many bytes they were, or all if the
    /// connection was given up.
    fn take_responses(&mut self, id: ConnId, bytes: &[u8], now: Instant) -> usize {
        let mut used = 0;
        self.conns[id.index()].need = 0;
        while used < bytes.len() {
            let Some(&pending) = self.conns[id.index()].pending.front() else {
                self.quarantine(id, Blame::Nobody, now);
                return bytes.len();
            };
            if pending.expect.shape == Shape::Values {
                let Some(len) = self.take_values(id, &pending, &bytes[used..]) else {
                    self.quarantine(id, Blame::Server, now);
                    return bytes.len();
                };
                used += len;
            }
            let rest = &bytes[used..];
            let (key, opaque) = self.conns[id.index()].echo.as_slice().split_at(pending.echo.0);
            let opaque = &opaque[..pending.echo.1];
            match memcache::parse_response(rest, pending.expect.shape, key, opaque) {
                Response::Whole { len, outcome } => {
                    self.finish(id, &pending, outcome, &rest[..len]);
                    used += len;
                }
                Response::Partial(need) if need > self.reply_max() => {
                    self.skip_value(id, &pending, need - rest.len());
                    return bytes.len();
                }
                Response::Partial(need) => {
                    self.conns[id.index()].need = need;
                    break;
                }
                Response::Value { .. } | Response::Mismatch => {
                    self.quarantine(id, Blame::Server, now);
                    return bytes.len();
                }
            }
        }
        used
    }

    /// Refuses a value that is larger than `item_size_max` (clients may have grown it with
    /// `append`), of which `missing` bytes are still to come; they are thrown away.
    fn skip_value(&mut self, id: ConnId, pending: &Pending, missing: usize) {
        self.stats.limit_item_size.add(1);
        self.conns[id.index()].skip = missing;
        match (pending.slot, pending.fragment) {
            (Some(slot), Some((gather, _))) => self.refuse_values(slot, gather),
            (None, Some(_)) => {}
            (_, None) => self.finish(id, pending, Outcome::Error, memcache::TOO_LARGE),
        }
    }

    /// No reply is longer that is kept: a value and its header.
    fn reply_max(&self) -> usize {
        self.options.limits.item_size_max + 8 * 1024
    }

    /// Hop 12: a whole reply meets its request.
    fn finish(&mut self, id: ConnId, pending: &Pending, outcome: Outcome, reply: &[u8]) {
        let conn = &mut self.conns[id.index()];
        conn.pending.pop_front();
        conn.expired = conn.expired.saturating_sub(1);
        if pending.echo != (0, 0) {
            conn.echo.advance(pending.echo.0 + pending.echo.1);
        }
        if mem::take(&mut conn.lost) {
            self.events.push_back(Event::Answers { server: conn.server });
        }
        let stats = &self.stats.servers[conn.server];
        stats.responses.add(1);
        stats.response_bytes.add(reply.len() as u64);
        // A server may refuse a large value before it has all of it.
        if conn.unsent > conn.pending.len() {
            conn.unsent -= 1;
            conn.unsent_bytes -= pending.bytes;
            stats.in_queue.sub(1);
            stats.in_queue_bytes.sub(pending.bytes as u64);
        } else {
            stats.out_queue.sub(1);
            stats.out_queue_bytes.sub(pending.bytes as u64);
        }
        self.pool.success(conn.server);
        self.settle(pending, outcome, reply);
        self.wake_waiters(id);
    }

    /// Hop 12 for the values of a fragment. None if it did not ask for one of them.
    fn take_values(&mut self, id: ConnId, pending: &Pending, bytes: &[u8]) -> Option<usize> {
        let taken = match (pending.slot, pending.fragment) {
            (Some(slot), Some((gather, number))) => self.gather(slot, gather, number, bytes),
            _ => Some(values_len(bytes)),
        };
        let server = self.conns[id.index()].server;
        self.stats.servers[server].response_bytes.add(taken.unwrap_or(0) as u64);
        taken
    }

    /// Gives up a connection whose bytes can't be trusted any longer.
    fn quarantine(&mut self, id: ConnId, blame: Blame, now: Instant) {
        self.stats.desync_total.add(1);
        let server = self.conns[id.index()].server;
        self.events.push_back(Event::Desync { server });
        self.abort_conn(id, ServerError::Desync, blame, now);
    }

    /// Closes a connection from this side.
    pub(super) fn abort_conn(
        &mut self,
        id: ConnId,
        error: ServerError,
        blame: Blame,
        now: Instant,
    ) {
        self.conns[id.index()].doomed = true;
        self.stats.servers[self.conns[id.index()].server].server_err.add(1);
        self.lose_conn(id, error, blame, now);
    }

    /// Whether a connection's queue takes no more requests.
    pub(super) fn is_full(&self, id: ConnId) -> bool {
        let conn = &self.conns[id.index()];
        conn.pending.len() >= self.options.limits.server_requests_max
            || conn.out.len() >= self.options.limits.server_buffer_max
    }

    /// Lets clients go on that waited for this queue, once half of it is free.
    #[inline]
    fn wake_waiters(&mut self, id: ConnId) {
        let conn = &mut self.conns[id.index()];
        if conn.waiters.is_empty() {
            return;
        }
        let limits = &self.options.limits;
        if conn.pending.len() > limits.server_requests_max / 2
            || conn.out.len() > limits.server_buffer_max / 2
        {
            return;
        }
        for client in mem::take(&mut conn.waiters) {
            self.end_wait(client);
        }
    }

    /// Forgets all bytes and figures of a connection that is gone.
    pub(super) fn clear_conn(&mut self, id: ConnId) {
        let conn = &mut self.conns[id.index()];
        let stats = &self.stats.servers[conn.server];
        let pending: usize = conn.pending.iter().map(|pending| pending.bytes).sum();
        stats.in_queue.sub(conn.unsent as u64);
        stats.in_queue_bytes.sub(conn.unsent_bytes as u64);
        stats.out_queue.sub((conn.pending.len() - conn.unsent) as u64);
        stats.out_queue_bytes.sub((pending - conn.unsent_bytes) as u64);
        stats.server_connections.sub(u64::from(conn.state != ConnState::Closed));
        conn.state = ConnState::Closed;
        conn.pending.clear();
        conn.expired = 0;
        conn.unsent = 0;
        conn.unsent_bytes = 0;
        conn.need = 0;
        conn.skip = 0;
        conn.echo.clear(&mut self.spares);
        conn.out.clear(&mut self.spares);
        conn.input.clear(&mut self.spares);
    }

    /// Puts a connection on the list of those that need their socket looked after.
    pub fn mark_conn(&mut self, id: ConnId) {
        let conn = &mut self.conns[id.index()];
        if !conn.dirty {
            conn.dirty = true;
            self.dirty_conns.push(id);
        }
    }
}
