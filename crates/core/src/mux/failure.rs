//! The end of a request without a reply: a server refuses, hangs, closes or lies.
//!
//! Every request that waits on a lost connection is answered with the reason. Whether the server is
//! to blame is asked apart: an idle connection that it closes, or a stray byte, is no failure of
//! it, or a healthy server would be ejected for it.

use super::conn::{ConnState, Pending};
use super::id::{ConnId, ServerId};
use super::server::{Answers, Servers};
use super::waiter::Waiter;
use super::{Event, Mux, Shared};
use crate::error::ServerError;
use crate::message::Outcome;
use crate::time::Instant;
use core::mem;

/// Whether a failure counts against the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blame {
    Server,
    Nobody,
}

impl Mux {
    /// The connection is closed, or could not be opened. One that was given up already is not lost
    /// a second time.
    pub fn handle_conn_closed(&mut self, id: ConnId, error: ServerError, now: Instant) {
        self.servers.note_closed((&mut self.shared, &mut self.clients), id, error, now);
        self.arbitrate(now);
        self.take_steps(now);
        self.wake_waiters(id);
    }

    /// Answers the requests that have run out of time, and lets servers return whose time is over.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.tick_arbiter(now);
        if self.servers.has_drains {
            self.look_after_drains(now);
        }
        self.shared.spares.age(now);
        self.clients.end_long_waits(&self.shared, now);
        if self.servers.next_expiry.is_some_and(|at| at <= now) {
            self.servers.expire_all((&mut self.shared, &mut self.clients), now);
            self.arbitrate(now);
            self.wake_all();
        }
        if self.migration.is_some() {
            self.tick_migration(now);
        }
    }
}

impl Servers {
    fn note_closed(
        &mut self,
        (shared, answers): (&mut Shared, &mut impl Answers),
        id: ConnId,
        error: ServerError,
        now: Instant,
    ) {
        let conn = &self[id];
        if conn.state == ConnState::Closed {
            return;
        }
        let stats = &self.all[conn.server.index()].stats;
        let is_idle = conn.state.is_connected() && conn.pending.is_empty();
        let was_idle = conn.state == ConnState::Open && conn.was_idle();
        let is_blameless = match error {
            ServerError::Local => true,
            ServerError::Closed | ServerError::Reset => is_idle || was_idle,
            _ => is_idle,
        };
        match error {
            ServerError::Closed => stats.server_eof.add(1),
            _ => stats.server_err.add(1),
        }
        let blame = if is_blameless { Blame::Nobody } else { Blame::Server };
        self.lose_conn((shared, answers), id, (error, blame), now);
    }

    /// Answers what waits on a connection that is no more.
    pub(super) fn lose_conn(
        &mut self,
        (shared, answers): (&mut Shared, &mut impl Answers),
        id: ConnId,
        (error, blame): (ServerError, Blame),
        now: Instant,
    ) {
        let conn = &self.conns[id.index()];
        let (server, requests) = (conn.server, conn.pending.len());
        // Requests that ran out of time are counted already; only others are a failure anew.
        let is_counted = conn.is_blamed && conn.is_abandoned();
        let blame = if is_counted { Blame::Nobody } else { blame };
        if (requests > 0 || blame == Blame::Server) && !is_counted {
            self.count_error(server, error);
        }
        if error == ServerError::Desync {
            shared.events.push_back(Event::Desync { server, requests });
        } else if requests > 0 || blame == Blame::Server {
            if error != ServerError::Local {
                let server = &mut self.all[server.index()];
                server.is_down = true;
                server.stats.more.is_down.set(1);
            }
            let clock = self.conns[id.index()].late_by;
            shared.events.push_back(Event::ConnLost { server, error, clock, requests });
        }
        if blame == Blame::Server {
            self.count_failure(shared, server, (error, requests), now);
        }
        self.end_probe(id, Err(error));
        if shared.slow.is_on() {
            for (place, pending) in self.conns[id.index()].pending.iter().enumerate() {
                self.note_slow(shared, id, (pending, place), Err(error), now);
            }
        }
        let pending = mem::take(&mut self.conns[id.index()].pending);
        for (place, pending) in pending.iter().enumerate() {
            fail((shared, answers), pending, place, error);
        }
        self.conns[id.index()].pending = pending;
        self.clear_conn(shared, id);
        self.lose_dedicated((shared, answers), id);
        self.mark(id);
        self.retire_if_idle(shared, id);
    }

    pub(super) fn count_error(&self, server: ServerId, error: ServerError) {
        if let Some(counter) = self.all[server.index()].stats.more.errors.get(error as usize) {
            counter.add(1);
        }
    }
}

/// Completes a request. Out of the way of nearly all replies, which are completed in line.
#[inline(never)]
pub(super) fn complete_with(
    (shared, answers): (&mut Shared, &mut impl Answers),
    pending: &Pending,
    (outcome, reply): (Outcome, &[u8]),
) {
    answers.complete(shared, pending, outcome, reply);
}

/// Answers a request with an error of its server; `place` is its place in the queue of its connection.
/// A request that expects several replies gets one error for all that are still to come: the client
/// would take a second error for the reply to its next request.
pub(super) fn fail(
    (shared, answers): (&mut Shared, &mut impl Answers),
    pending: &Pending,
    place: usize,
    error: ServerError,
) {
    if pending.waiter == Waiter::Nobody {
        return;
    }
    // No client waits for a removal. What is before a further reply is of the same request, and failed before.
    let is_removal = matches!(pending.waiter, Waiter::Note(_));
    if is_removal || pending.is_further() && place > 0 {
        return complete_with((shared, answers), pending, (Outcome::Error, b""));
    }
    shared.stats.forward_error.add(1);
    let mut line = mem::take(&mut shared.line);
    line.clear();
    shared.options.protocol.write_server_error(error, &mut line);
    complete_with((shared, answers), pending, (Outcome::Error, &line));
    shared.line = line;
}
