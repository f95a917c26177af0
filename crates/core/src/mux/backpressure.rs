//! Who has to wait: clients with too much in flight, and clients that want a full server queue.
//!
//! A client that has to wait is *held*: its bytes wait, first in the engine, then in its socket, and
//! nobody else notices. The one rule: a held client is either in the line of the connection or of the
//! decision that it waits for, or is looked at again whenever what it waits for may have changed.

use super::client::Client;
use super::clients::Clients;
use super::id::{ClientId, ConnId, ServerId};
use super::request::Intake;
use super::server::Servers;
use super::{Mux, Shared};
use crate::error::ServerError;
use crate::limits::Limits;
use crate::message::Expect;
use crate::time::Instant;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::mem;

/// Why a client's next request has to wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Hold {
    /// It does not.
    #[default]
    No,
    /// The client has too much in flight or unread.
    Own,
    /// A server that the request wants has a full queue, or it is not decided whether the server is used.
    Server,
    /// The client asked for a barrier, and requests before it are on their way.
    Barrier,
    /// The next request goes over another connection, and must not overtake those before it.
    Replies,
    /// The next request is for a key that moves, and must not overtake those before it.
    Moves,
    /// The client may go on, and stands in the list of those.
    Resumable,
    /// Likewise, and it is its turn at a server's queue.
    NextInLine,
    /// Likewise, and it has waited too long for one: requests that still have to are answered.
    TooLate,
    /// The client is to pass to another multiplexer when it has all its replies.
    Passing,
}

impl Client {
    /// Whether it may have another request in flight.
    #[inline]
    pub(super) fn fits_window(&self, limits: &Limits) -> bool {
        if self.requests == 0 && self.out.len() < limits.client_buffer_max {
            return true;
        }
        let coming = self.keys.saturating_mul(self.reply_guess);
        (self.requests as usize) < limits.client_requests_max
            && self.backlog().saturating_add(coming) < limits.client_buffer_max
    }
}

/// Clients that wait for a server.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// Those that wait for room in the queue of a connection, by its place; first come, first served.
    by_conn: Vec<VecDeque<ClientId>>,
    /// Those that wait for the decision who serves the keys of a server. These clients stand apart: a server that
    /// is used for a share of its keys gets requests for this share meanwhile. No line is empty.
    by_decision: BTreeMap<ServerId, VecDeque<ClientId>>,
    /// How many clients wait in all lines.
    waiting: usize,
    /// None of them has waited too long before this.
    next_end: Option<Instant>,
    /// Why the client that resumes now was held.
    resumes: Hold,
}

impl Lines {
    fn push(&mut self, conn: ConnId, id: ClientId) {
        if self.by_conn.len() <= conn.index() {
            self.by_conn.resize_with(conn.index() + 1, VecDeque::new);
        }
        self.by_conn[conn.index()].push_back(id);
        self.waiting += 1;
    }

    fn pop(&mut self, conn: ConnId) -> Option<ClientId> {
        let id = self.by_conn.get_mut(conn.index())?.pop_front()?;
        self.waiting -= 1;
        Some(id)
    }

    fn remove(&mut self, id: ClientId) {
        self.waiting -= 1;
        self.all().for_each(|line| line.retain(|other| *other != id));
        self.forget_empty();
    }

    /// As many servers as ever were away may have had a line.
    fn forget_empty(&mut self) {
        self.by_decision.retain(|_, line| !line.is_empty());
    }

    fn all(&mut self) -> impl Iterator<Item = &mut VecDeque<ClientId>> {
        self.by_conn.iter_mut().chain(self.by_decision.values_mut())
    }

    fn has(&self, conn: ConnId) -> bool {
        self.by_conn.get(conn.index()).is_some_and(|line| !line.is_empty())
    }
}

impl Mux {
    /// Takes the requests of clients that were held and need not be any longer, first come first
    /// served. To be called while [`Mux::has_resumable`].
    pub fn resume(&mut self, now: Instant) {
        for _ in 0..self.clients.resumable.len() {
            let Some(id) = self.clients.resumable.pop_front() else { break };
            let Some(client) = self.clients.list.get_mut(id.index()) else { continue };
            if matches!(client.hold, Hold::Resumable | Hold::NextInLine | Hold::TooLate) {
                self.clients.lines.resumes = mem::take(&mut client.hold);
                self.shared.begun = client.waits_since;
                self.take_input(id, now);
                self.clients.mark(id);
                self.clients.lines.resumes = Hold::No;
                self.shared.begun = None;
            }
        }
        // A client that was called may not want the server any longer: then the next one is called.
        self.wake_all();
    }

    /// Whether [`Mux::resume`] has something to do.
    pub fn has_resumable(&self) -> bool {
        !self.clients.resumable.is_empty()
    }

    /// Whether a client has to wait for a connection's queue: the queue is full, or others wait for
    /// it and it is not the client's turn.
    #[inline]
    pub(super) fn must_wait(&self, id: ConnId) -> bool {
        let lines = &self.clients.lines;
        self.servers.is_full(&self.shared, id)
            || lines.waiting > 0 && lines.resumes != Hold::NextInLine && lines.has(id)
    }

    /// Whether the client whose requests are taken now has waited too long for a server.
    pub(super) fn has_waited_too_long(&self) -> bool {
        self.clients.lines.resumes == Hold::TooLate
    }

    /// Lets a client wait for a connection's queue, or answers its request if it has waited too long.
    pub(super) fn wait_for(
        &mut self,
        id: ClientId,
        conn: ConnId,
        expect: Expect,
        now: Instant,
    ) -> Intake {
        if self.has_waited_too_long() {
            return self.end_wait_for(id, self.servers[conn].server, expect);
        }
        self.shared.stats.limit_server_queue.add(1);
        self.clients.lines.push(conn, id);
        self.hold_in_line(id, now)
    }

    /// Lets a client wait until it is decided who serves the keys of a server, or answers its request if it has
    /// waited too long.
    #[cold]
    pub(super) fn wait_for_decision(
        &mut self,
        id: ClientId,
        server: ServerId,
        expect: Expect,
        now: Instant,
    ) -> Intake {
        if self.has_waited_too_long() {
            return self.end_wait_for(id, server, expect);
        }
        let lines = &mut self.clients.lines;
        lines.by_decision.entry(server).or_default().push_back(id);
        lines.waiting += 1;
        self.hold_in_line(id, now)
    }

    /// Answers a request that has waited too long for a server.
    fn end_wait_for(&mut self, id: ClientId, server: ServerId, expect: Expect) -> Intake {
        // Nor is a transaction carried out without one of its commands.
        self.clients[id].session.note_refused();
        // What is known of the keys of this request says nothing about the next one.
        self.clients.tasks.take_pass(id);
        if let Some((_, clock)) = self.shared.options.queue_max() {
            self.servers.count_timeouts(server, clock, 1);
        }
        self.fail_here(id, expect, ServerError::TimedOut);
        Intake::Accepted
    }

    fn hold_in_line(&mut self, id: ClientId, now: Instant) -> Intake {
        let since = *self.clients[id].waits_since.get_or_insert(now);
        if let Some(wait) = self.shared.queue_max {
            let end = since.after(wait);
            let lines = &mut self.clients.lines;
            lines.next_end = Some(lines.next_end.map_or(end, |next| next.min(end)));
        }
        self.clients.hold(id, Hold::Server);
        Intake::Blocked
    }

    /// Calls clients that wait for a connection's queue, once half of it is free: as many as there
    /// is room for.
    #[inline]
    pub(super) fn wake_waiters(&mut self, id: ConnId) {
        if self.clients.lines.waiting > 0 {
            let room = self.servers.room(&self.shared, id);
            self.clients.call_waiters(id, room);
        }
    }

    /// As [`Mux::wake_waiters`], for all connections; and calls those that wait for a decision which is there, or
    /// which nobody takes any more, as the server has left the pool.
    pub(super) fn wake_all(&mut self) {
        if self.clients.lines.waiting > 0 {
            for index in 0..self.servers.conn_ids.len() {
                self.wake_waiters(self.servers.conn_ids[index]);
            }
            let servers = &self.servers;
            let is_undecided =
                |id: ServerId| servers.has(id) && servers.all[id.index()].health.is_undecided();
            let is_decided = |id: &ServerId| !is_undecided(*id) && !self.is_held(*id);
            let lines = self.clients.lines.by_decision.keys();
            let decided: Vec<ServerId> = lines.copied().filter(is_decided).collect();
            for id in decided {
                self.clients.call_decided(id);
            }
        }
    }
}

impl Servers {
    #[inline]
    pub(super) fn is_full(&self, shared: &Shared, id: ConnId) -> bool {
        let (conn, limits) = (&self[id], &shared.options.limits);
        conn.pending.len() >= limits.server_requests_max
            || conn.out.len() >= limits.server_buffer_max
    }

    /// How many clients may be called that wait for a connection: as many as its queue has room for,
    /// once half of it is free; all, if nothing is queued for it any more.
    fn room(&self, shared: &Shared, id: ConnId) -> usize {
        let (conn, limits) = (&self[id], &shared.options.limits);
        if conn.is_retired {
            return usize::MAX;
        }
        let (requests_max, buffer_max) = (limits.server_requests_max, limits.server_buffer_max);
        let is_half_free =
            conn.pending.len() <= requests_max / 2 && conn.out.len() <= buffer_max / 2;
        if is_half_free { requests_max - conn.pending.len() } else { 0 }
    }
}

impl Clients {
    pub(super) fn hold(&mut self, id: ClientId, why: Hold) {
        self[id].hold = why;
        self.mark(id);
    }

    /// Lets a client go on that was held for what it has in flight or unread, if it may now.
    pub(super) fn reconsider(&mut self, shared: &Shared, id: ClientId) {
        if self[id].fits_window(&shared.options.limits) {
            self.make_resumable(id);
        }
    }

    pub(super) fn make_resumable(&mut self, id: ClientId) {
        self[id].hold = Hold::Resumable;
        self.resumable.push_back(id);
    }

    /// Takes a client that goes away out of the line in which it waits.
    pub(super) fn stop_waiting(&mut self, id: ClientId, hold: Hold) {
        if hold == Hold::Server {
            self.lines.remove(id);
        }
    }

    /// When [`Clients::end_long_waits`] has something to do.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.lines.next_end
    }

    /// The timeout is another one: [`Clients::end_long_waits`] must look at all who wait.
    pub(super) fn look_at_long_waits(&mut self) {
        self.lines.next_end = Some(Instant::default());
    }

    /// Lets clients go on that have waited for a server as long as a request may wait until it is
    /// written.
    pub(super) fn end_long_waits(&mut self, shared: &Shared, now: Instant) {
        if self.lines.next_end.is_none_or(|at| now < at) {
            return;
        }
        self.lines.next_end = None;
        let Some(wait) = shared.queue_max else { return };
        let list = &mut self.list;
        let (mut waiting, mut next_end) = (0, None);
        for line in self.lines.all() {
            line.retain(|id| {
                let client = &mut list[id.index()];
                let end = client.waits_since.unwrap_or(now).after(wait);
                let waits = now < end;
                if waits {
                    waiting += 1;
                    next_end = Some(next_end.map_or(end, |next: Instant| next.min(end)));
                } else {
                    client.hold = Hold::TooLate;
                    self.resumable.push_back(*id);
                }
                waits
            });
        }
        (self.lines.waiting, self.lines.next_end) = (waiting, next_end);
        self.lines.forget_empty();
    }

    pub(super) fn call_waiters(&mut self, conn: ConnId, room: usize) {
        for _ in 0..room {
            let Some(client) = self.lines.pop(conn) else { break };
            self.call(client, Hold::NextInLine);
        }
    }

    /// Calls those that wait for the decision about a server. They are not the next in line of a connection.
    pub(super) fn call_decided(&mut self, server: ServerId) {
        let Some(line) = self.lines.by_decision.remove(&server) else { return };
        self.lines.waiting -= line.len();
        for client in line {
            self.call(client, Hold::Resumable);
        }
    }

    fn call(&mut self, client: ClientId, how: Hold) {
        if self.list.get(client.index()).is_some_and(|client| client.hold == Hold::Server) {
            self.make_resumable(client);
            self[client].hold = how;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_of_a_line_once_its_last_client_has_gone() {
        let [one, two] = [0, 1].map(|index| ClientId::new(index, 7));
        let servers = [3, 4].map(|index| ServerId::new(index, 7));
        let mut lines = Lines::default();
        for (server, id) in servers.into_iter().zip([one, two]) {
            lines.by_decision.entry(server).or_default().push_back(id);
            lines.waiting += 1;
        }
        lines.remove(one);
        assert_eq!(lines.by_decision.keys().collect::<Vec<_>>(), [&servers[1]]);
        lines.remove(two);
        assert_eq!((lines.by_decision.len(), lines.waiting), (0, 0));
    }
}
