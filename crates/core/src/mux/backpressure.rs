//! Who has to wait: clients with too much in flight, and clients that want a full server queue.
//!
//! A client that has to wait is *held*: its bytes wait, first in the engine, then in its socket, and
//! nobody else notices. The one rule: a held client is either in the queue of the connection that it
//! waits for, or is looked at again whenever what it waits for may have changed.

use super::Mux;
use super::client::Client;
use super::id::ClientId;
use super::id::ConnId;
use super::request::Intake;
use crate::limits::Limits;
use crate::time::Instant;

/// Why a client's next request has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// It does not.
    No,
    /// The client has too much in flight or unread.
    Own,
    /// A server that the request wants has a full queue.
    Server,
    /// The client asked for a barrier, and requests before it are on their way.
    Barrier,
    /// The client may go on, and stands in the list of those.
    Resumable,
    /// Likewise, and it is its turn at a server's queue.
    NextInLine,
}

impl Client {
    /// Whether it may have another request in flight.
    #[inline]
    pub(super) fn fits_window(&self, limits: &Limits) -> bool {
        let coming = self.keys.saturating_mul(self.reply_guess);
        let is_first = self.requests == 0 && self.out.len() < limits.client_buffer_max;
        let is_one_more = self.requests < limits.client_requests_max
            && self.backlog().saturating_add(coming) < limits.client_buffer_max;
        is_first || is_one_more
    }
}

impl Mux {
    /// Takes the requests of clients that were held and need not be any longer, first come first
    /// served. To be called while [`Mux::has_resumable`].
    pub fn resume(&mut self, now: Instant) {
        for _ in 0..self.resumable.len() {
            let Some(id) = self.resumable.pop_front() else { break };
            let Some(client) = self.clients.get_mut(id.index()) else { continue };
            if matches!(client.hold, Hold::Resumable | Hold::NextInLine) {
                self.is_next_in_line = client.hold == Hold::NextInLine;
                client.hold = Hold::No;
                self.take_input(id, now);
                self.mark_client(id);
                self.is_next_in_line = false;
            }
        }
        // A client that was called may not want the server any longer: then the next one is called.
        if self.waiting > 0 {
            (0..self.conn_ids.len()).for_each(|index| self.wake_waiters(self.conn_ids[index]));
        }
    }

    /// Whether [`Mux::resume`] has something to do.
    pub fn has_resumable(&self) -> bool {
        !self.resumable.is_empty()
    }

    pub(super) fn hold(&mut self, id: ClientId, why: Hold) {
        self.clients[id.index()].hold = why;
        self.mark_client(id);
    }

    /// Lets a client go on that was held for what it has in flight or unread, if it may now.
    pub(super) fn reconsider(&mut self, id: ClientId) {
        if self.clients[id.index()].fits_window(&self.options.limits) {
            self.make_resumable(id);
        }
    }

    pub(super) fn make_resumable(&mut self, id: ClientId) {
        self.clients[id.index()].hold = Hold::Resumable;
        self.resumable.push_back(id);
    }

    /// Lets a client wait for a connection's queue.
    pub(super) fn wait_for(&mut self, id: ClientId, conn: ConnId) -> Intake {
        self.stats.limit_server_queue.add(1);
        self.conns[conn.index()].waiters.push_back(id);
        self.waiting += 1;
        self.hold(id, Hold::Server);
        Intake::Blocked
    }

    /// Takes a client that goes away out of the queue in which it waits.
    pub(super) fn stop_waiting(&mut self, id: ClientId, hold: Hold) {
        if hold == Hold::Server {
            self.waiting -= 1;
            self.conns.iter_mut().for_each(|conn| conn.waiters.retain(|waiter| *waiter != id));
        }
    }

    /// Whether a client has to wait for a connection's queue: the queue is full, or others wait for
    /// it and it is not the client's turn.
    #[inline]
    pub(super) fn must_wait(&self, id: ConnId) -> bool {
        self.is_full(id) || !self.is_next_in_line && !self.conns[id.index()].waiters.is_empty()
    }

    #[inline]
    fn is_full(&self, id: ConnId) -> bool {
        let conn = &self.conns[id.index()];
        conn.pending.len() >= self.options.limits.server_requests_max
            || conn.out.len() >= self.options.limits.server_buffer_max
    }

    /// Calls clients that wait for a connection's queue, once half of it is free: as many as there
    /// is room for.
    #[inline]
    pub(super) fn wake_waiters(&mut self, id: ConnId) {
        if !self.conns[id.index()].waiters.is_empty() {
            self.call_waiters(id);
        }
    }

    fn call_waiters(&mut self, id: ConnId) {
        let limits = &self.options.limits;
        let (requests_max, buffer_max) = (limits.server_requests_max, limits.server_buffer_max);
        let conn = &mut self.conns[id.index()];
        if conn.pending.len() > requests_max / 2 || conn.out.len() > buffer_max / 2 {
            return;
        }
        for _ in conn.pending.len()..requests_max {
            let Some(client) = self.conns[id.index()].waiters.pop_front() else { break };
            self.waiting -= 1;
            if self.clients.get(client.index()).is_some_and(|client| client.hold == Hold::Server) {
                self.make_resumable(client);
                self.clients[client.index()].hold = Hold::NextInLine;
            }
        }
    }
}
