//! The server connections: what waits on each, and the way there and back.
//!
//! The one rule: what is queued for a server is queued in both places, bytes in `out` and a
//! [`Pending`] behind the others, so that the order of one is the order of the other.

use super::dirty::Dirty;
use super::failure::Blame;
use super::id::{ClientId, ConnId, ServerId};
use super::server::{Answers, Servers};
use super::waiter::Waiter;
use super::{Mux, Shared, next_guess};
use crate::buffer::Buffer;
use crate::chain::Chain;
use crate::clocks::Clock;
use crate::error::ServerError;
use crate::memcache::Needs;
use crate::message::{Class, Expect, Scan};
use crate::time::Instant;
use crate::version::Version;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::mem;
use core::time::Duration;

/// How far a server connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnState {
    /// There is none.
    Closed,
    /// Its socket is being opened.
    Opening,
    /// The server is asked for its version; requests wait.
    Greeting,
    /// Requests and replies go both ways.
    Open,
}

impl ConnState {
    /// Whether bytes can go both ways.
    pub fn is_connected(self) -> bool {
        matches!(self, Self::Greeting | Self::Open)
    }
}

/// A connection on which nothing was said for so long may be closed by its server for that: the
/// shortest `idle_timeout` of memcached.
const IDLE_MIN: Duration = Duration::from_secs(1);

/// A request that waits for the reply of one server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    /// For whom the reply is.
    pub(super) waiter: Waiter,
    pub(super) expect: Expect,
    pub(super) class: Class,
    /// What its server must be able to do.
    pub(super) needs: Needs,
    /// How many bytes of `Conn::echo` are its key, and its opaque token: at most 250 and 32.
    pub(super) echo: (u8, u8),
    /// Its own size, for the figures.
    pub(super) bytes: u32,
    /// When its client's turn came: before it was queued, if it had to wait for that.
    pub(super) begun: Instant,
    /// Whether it removes a key for what comes behind it, and so is sent also if it is late.
    pub(super) is_removal: bool,
    /// When it was queued.
    pub(super) queued: Instant,
    /// When the last of it was written.
    pub(super) written: Instant,
}

#[derive(Debug)]
pub(super) struct Conn {
    pub(super) id: ConnId,
    pub(super) server: ServerId,
    /// Whether it speaks RESP3.
    pub(super) is_resp3: bool,
    /// Whether its clients get RESP3, and its server is too old for that.
    pub(super) is_translated: bool,
    /// Whether it is for one client alone.
    pub(super) is_dedicated: bool,
    /// The client that alone uses it now.
    pub(super) owner: Option<ClientId>,
    pub(super) state: ConnState,
    /// Since when it is being opened.
    pub(super) opening: Instant,
    /// How many bytes of the greeting are still to be written.
    pub(super) greeting_left: usize,
    /// The server's version, as the greeting told.
    pub(super) version: Version,
    /// Requests without their reply, oldest first.
    pub(super) pending: VecDeque<Pending>,
    /// Bytes of these requests.
    pub(super) pending_bytes: usize,
    /// How many of the oldest have run out of time.
    pub(super) expired: usize,
    /// Likewise, of those that are not wholly written.
    pub(super) overdue: usize,
    /// When to look for late requests behind others that have more time; none if there are no such requests.
    pub(super) next_hurried: Option<Instant>,
    /// When the last reply was whole, that to the greeting at first.
    pub(super) answered: Instant,
    /// When the server last sent something, or took a part of the oldest request.
    pub(super) heard: Instant,
    /// Whether it counts as a failure that the server has stood still since.
    pub(super) is_blamed: bool,
    /// Keys and opaque tokens of the pending requests, as a reply may repeat them.
    pub(super) echo: Buffer,
    /// Requests to be written.
    pub(super) out: Chain,
    /// How many of the newest pending requests are not wholly written, and their bytes.
    pub(super) unsent: usize,
    pub(super) unsent_bytes: usize,
    /// The start of a reply.
    pub(super) input: Buffer,
    pub(super) need: usize,
    /// How much of it was scanned.
    pub(super) scan: Scan,
    /// The estimated size of the next reply.
    pub(super) reply_guess: usize,
    /// Bytes of a refused value that are still to come.
    pub(super) skip: usize,
    /// Whether it should be open although nothing is pending.
    pub(super) wanted: bool,
    /// The clock that ran out, if it is given up for that.
    pub(super) late_by: Option<Clock>,
    /// Whether its socket has to be closed.
    pub(super) must_close: bool,
    /// Whether it goes once its socket is closed.
    pub(super) is_retired: bool,
    /// Whether its socket is to be replaced once nothing waits on it.
    pub(super) is_outdated: bool,
    pub(super) dirty: bool,
    /// The last request that has a fragment here, and that fragment's number.
    pub(super) fragment: (u64, usize),
    /// What the figures say of its queues.
    published: Queues,
}

/// How much waits on a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Queues {
    unsent: usize,
    unsent_bytes: usize,
    unanswered: usize,
    unanswered_bytes: usize,
}

impl Pending {
    pub(super) fn new(waiter: Waiter, expect: Expect, class: Class, queued: Instant) -> Self {
        let (needs, written) = (Needs::NOTHING, Instant::default());
        let (begun, echo, is_removal) = (queued, (0, 0), false);
        Self { waiter, expect, class, needs, echo, bytes: 0, is_removal, begun, queued, written }
    }

    /// Whether it is not the first reply of its request: the request's bytes belong to the first.
    pub(super) fn is_further(&self) -> bool {
        self.bytes == 0
    }

    /// How many bytes of `Conn::echo` are its own.
    pub(super) fn echo_len(&self) -> usize {
        usize::from(self.echo.0) + usize::from(self.echo.1)
    }

    /// Nobody waits any longer. Says who did.
    pub(super) fn abandon(&mut self) -> Self {
        let before = *self;
        self.waiter = Waiter::Nobody;
        before
    }
}

impl Conn {
    pub(super) fn new(id: ConnId, server: ServerId, is_resp3: bool) -> Self {
        Self {
            id,
            server,
            is_resp3,
            is_translated: false,
            is_dedicated: false,
            owner: None,
            state: ConnState::Closed,
            opening: Instant::default(),
            greeting_left: 0,
            version: Version::default(),
            pending: VecDeque::new(),
            pending_bytes: 0,
            expired: 0,
            overdue: 0,
            next_hurried: None,
            answered: Instant::default(),
            heard: Instant::default(),
            is_blamed: false,
            echo: Buffer::default(),
            out: Chain::default(),
            unsent: 0,
            unsent_bytes: 0,
            input: Buffer::default(),
            need: 0,
            scan: Scan::default(),
            reply_guess: 0,
            skip: 0,
            wanted: false,
            late_by: None,
            must_close: false,
            is_retired: false,
            is_outdated: false,
            dirty: false,
            fragment: (0, 0),
            published: Queues::default(),
        }
    }

    fn queues(&self) -> Queues {
        Queues {
            unsent: self.unsent,
            unsent_bytes: self.unsent_bytes,
            unanswered: self.pending.len() - self.unsent,
            unanswered_bytes: self.pending_bytes - self.unsent_bytes,
        }
    }

    /// The request that the next reply answers: one of which at least a part was written.
    #[inline]
    pub(super) fn oldest_asked(&self) -> Option<Pending> {
        let none_written = self.unsent == self.pending.len() && self.unsent_bytes <= self.out.len();
        self.pending.front().filter(|_| !none_written).copied()
    }

    /// Notes that the server is at work.
    #[inline]
    pub(super) fn note_heard(&mut self, now: Instant) {
        self.heard = now;
        self.is_blamed = false;
    }

    /// Whether the server has closed an idle connection while a request was on its way there: nothing
    /// was heard for long before the oldest request, nor since.
    pub(super) fn was_idle(&self) -> bool {
        let heard = self.heard.max(self.answered);
        self.pending.front().is_some_and(|oldest| heard.after(IDLE_MIN) <= oldest.queued)
    }

    /// Adjusts the estimated size of a reply: at once to a larger one, by 1/8 to a smaller one.
    #[inline]
    pub(super) fn learn(&mut self, reply_bytes: usize) {
        self.reply_guess = next_guess(self.reply_guess, reply_bytes);
    }

    /// Puts it on the list of those that need their socket looked after.
    #[inline]
    pub(super) fn mark(&mut self, id: ConnId, list: &mut Dirty<ConnId>) {
        if !self.dirty {
            self.dirty = true;
            list.push(id);
        }
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
        self.servers[id].state
    }

    /// All server connections, in the order of the servers at first.
    pub fn conns(&self) -> &[ConnId] {
        &self.servers.conn_ids
    }

    /// Whether there is such a connection; not if its server has left the pool.
    pub fn has_conn(&self, id: ConnId) -> bool {
        self.servers.conns.get(id.index()).is_some_and(|conn| conn.id == id)
    }

    /// Which server a connection leads to.
    pub fn server_of(&self, id: ConnId) -> ServerId {
        self.servers[id].server
    }

    /// Whether a closed connection should be opened.
    pub fn wants_open(&self, id: ConnId) -> bool {
        let conn = &self.servers[id];
        conn.state == ConnState::Closed && (conn.wanted || !conn.pending.is_empty())
    }

    /// Whether the connection's socket, if there is one, has to be closed; says so once. A connection
    /// of a server that has left the pool is gone then.
    pub fn take_must_close(&mut self, id: ConnId) -> bool {
        let conn = &mut self.servers[id];
        let must_close = mem::take(&mut conn.must_close);
        if must_close && conn.is_retired {
            self.servers.remove_conn(&mut self.shared, id);
        }
        must_close
    }

    /// Wants the first connection of every server open (`preconnect`).
    pub fn preconnect(&mut self) {
        let servers: Vec<ServerId> = self.servers.pool().collect();
        for server in servers {
            let id = self.servers.conns[self.servers.conns_of(&self.shared, server).start].id;
            self.servers[id].wanted = true;
            self.servers.mark(id);
        }
    }

    /// Closes the connection's socket as soon as nothing waits on it, and opens it again: the server has
    /// another address. No request fails. Nothing happens if the connection is not open.
    pub fn reconnect_when_idle(&mut self, id: ConnId) {
        self.servers.note_outdated(&mut self.shared, id);
    }

    /// The connection's socket is being opened.
    pub fn handle_conn_opening(&mut self, id: ConnId, now: Instant) {
        self.servers.note_opening(&self.shared, id, now);
    }

    /// The bytes to be written to the server next; when they are, others may follow.
    pub fn conn_output(&self, id: ConnId) -> &[u8] {
        self.servers.output(&self.shared, id)
    }

    /// Notes that `count` bytes of the output were written.
    pub fn handle_conn_written(&mut self, id: ConnId, count: usize, now: Instant) {
        self.servers.note_written(&mut self.shared, id, count, now);
        self.wake_waiters(id);
    }

    /// Puts a connection on the list of those that need their socket looked after.
    pub fn mark_conn(&mut self, id: ConnId) {
        self.servers.mark(id);
    }
}

impl Servers {
    pub(super) fn note_opening(&mut self, shared: &Shared, id: ConnId, now: Instant) {
        let conn = &mut self.conns[id.index()];
        conn.state = ConnState::Opening;
        conn.opening = now;
        conn.wanted = false;
        shared.stats.server_connects.add(1);
        let stats = &self.all[conn.server.index()].stats;
        stats.more.connects.add(1);
        stats.server_connections.add(1);
        if let Some(wait) = shared.options.clocks.connect {
            self.look_at(shared, now.after(wait), now);
        }
    }

    /// The bytes to be written next.
    pub(super) fn output<'a>(&'a self, shared: &'a Shared, id: ConnId) -> &'a [u8] {
        let conn = &self[id];
        if conn.greeting_left > 0 {
            let greeting = &shared.greetings[usize::from(conn.is_resp3)];
            return &greeting[greeting.len() - conn.greeting_left..];
        }
        if conn.state == ConnState::Open { conn.out.as_slice() } else { b"" }
    }

    pub(super) fn note_written(
        &mut self,
        shared: &mut Shared,
        id: ConnId,
        count: usize,
        now: Instant,
    ) {
        let conn = &mut self.conns[id.index()];
        if conn.state == ConnState::Greeting {
            conn.greeting_left -= count;
            return;
        }
        conn.out.advance(count, &mut shared.spares);
        let left = conn.out.len();
        let (mut unsent, mut unsent_bytes) = (conn.unsent, conn.unsent_bytes);
        let times = &self.all[conn.server.index()].stats.more.queue_time;
        for pending in conn.pending.range_mut(conn.pending.len() - unsent..) {
            if unsent_bytes - (pending.bytes as usize) < left {
                break;
            }
            unsent -= 1;
            unsent_bytes -= pending.bytes as usize;
            pending.written = now;
            times[pending.class.label()].record(now.nanos_since(pending.queued));
        }
        let sent = conn.unsent - unsent;
        (conn.unsent, conn.unsent_bytes) = (unsent, unsent_bytes);
        conn.overdue = conn.overdue.saturating_sub(sent);
        if unsent == conn.pending.len() {
            conn.note_heard(now);
        }
        if let Some(wait) = shared.options.clocks.response {
            self.look_at(shared, now.after(wait), now);
        }
        self.publish(id);
    }

    /// Brings the figures up to date with a connection's queues. Once a turn and connection, not
    /// once a request.
    pub(super) fn publish(&mut self, id: ConnId) {
        let conn = &mut self.conns[id.index()];
        let now = conn.queues();
        let before = mem::replace(&mut conn.published, now);
        let stats = &self.all[conn.server.index()].stats;
        for (gauge, before, now) in [
            (&stats.in_queue, before.unsent, now.unsent),
            (&stats.in_queue_bytes, before.unsent_bytes, now.unsent_bytes),
            (&stats.out_queue, before.unanswered, now.unanswered),
            (&stats.out_queue_bytes, before.unanswered_bytes, now.unanswered_bytes),
        ] {
            gauge.add((now as u64).wrapping_sub(before as u64));
        }
    }

    /// Queues a request. `write` appends it; `echo` is what its reply may repeat. In line,
    /// or a request of the most frequent kind costs forty instructions more.
    #[inline(always)]
    pub(super) fn send(
        &mut self,
        shared: &mut Shared,
        id: ConnId,
        mut pending: Pending,
        (key, opaque): (&[u8], &[u8]),
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        if let Some(begun) = shared.begun {
            self.note_begun(shared, id, &mut pending, begun);
        }
        let conn = &mut self.conns[id.index()];
        let bytes = conn.out.append(&mut shared.spares, write);
        pending.bytes = u32::try_from(bytes).expect("the limits of a request are below 2^32");
        if let (None, Some(wait)) = (self.next_expiry, shared.queue_max) {
            self.next_expiry = Some(pending.queued.after(wait));
        }
        if !key.is_empty() {
            let short = |len| u8::try_from(len).expect("the parser bounds keys and opaque tokens");
            pending.echo = (short(key.len()), short(opaque.len()));
            let echo = conn.echo.tail(&mut shared.spares);
            echo.extend_from_slice(key);
            if !opaque.is_empty() {
                echo.extend_from_slice(opaque);
            }
        }
        let stats = &self.all[conn.server.index()].stats;
        stats.requests.add(1);
        stats.request_bytes.add(bytes as u64);
        conn.unsent += 1;
        conn.unsent_bytes += bytes;
        conn.pending_bytes += bytes;
        conn.pending.push_back(pending);
        conn.mark(id, &mut self.dirty);
    }

    /// Closes a connection from this side.
    pub(super) fn abort_conn(
        &mut self,
        (shared, answers): (&mut Shared, &mut impl Answers),
        id: ConnId,
        (error, blame): (ServerError, Blame),
        now: Instant,
    ) {
        self.conns[id.index()].must_close = true;
        self.all[self.conns[id.index()].server.index()].stats.server_err.add(1);
        self.lose_conn((shared, answers), id, (error, blame), now);
    }

    /// Forgets all bytes and figures of a connection that is gone.
    pub(super) fn clear_conn(&mut self, shared: &mut Shared, id: ConnId) {
        let conn = &mut self.conns[id.index()];
        let stats = &self.all[conn.server.index()].stats;
        stats.server_connections.sub(u64::from(conn.state != ConnState::Closed));
        conn.state = ConnState::Closed;
        self.leaving -= usize::from(mem::take(&mut conn.is_outdated));
        conn.pending.clear();
        conn.pending_bytes = 0;
        (conn.expired, conn.overdue, conn.next_hurried) = (0, 0, None);
        (conn.late_by, conn.is_blamed) = (None, false);
        conn.heard = Instant::default();
        conn.unsent = 0;
        conn.unsent_bytes = 0;
        conn.need = 0;
        conn.scan = Scan::default();
        conn.greeting_left = 0;
        conn.reply_guess = 0;
        conn.skip = 0;
        conn.echo.clear(&mut shared.spares);
        conn.out.clear(&mut shared.spares);
        conn.input.clear(&mut shared.spares);
        self.publish(id);
    }
}
