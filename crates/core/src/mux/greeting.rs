//! What is said on a new server connection before any request of a client.
//!
//! The connection asks for the server's version, and requests wait in its queue until the answer is
//! here: then it is known what may be sent. What the server can't do is answered with an error and
//! never sent. The one rule: nothing of a client's request is written before.

use super::conn::{ConnState, Pending};
use super::failure::{Blame, complete_with};
use super::id::ConnId;
use super::server::{Answers, Servers};
use super::{Mux, Options, Shared};
use crate::error::ServerError;
use crate::health::Report;
use crate::memcache::Needs;
use crate::message::{Greeting, Outcome};
use crate::time::Instant;
use crate::version::Version;
use core::mem;

impl Mux {
    /// The connection is open, and the server is greeted.
    pub fn handle_conn_open(&mut self, id: ConnId, now: Instant) {
        self.servers.greet(&self.shared, id, now);
    }
}

impl Servers {
    /// Greets a server whose connection is open.
    pub(super) fn greet(&mut self, shared: &Shared, id: ConnId, now: Instant) {
        let conn = &mut self.conns[id.index()];
        conn.state = ConnState::Greeting;
        conn.greeting_left = shared.greetings[usize::from(conn.is_resp3)].len();
        let took = now.nanos_since(conn.opening);
        self.all[conn.server.index()].stats.more.connect_time.record(took);
        self.mark(id);
    }

    /// A part of the answer to the greeting.
    pub(super) fn take_greeting(
        &mut self,
        (shared, answers): (&mut Shared, &mut impl Answers),
        id: ConnId,
        bytes: &[u8],
        now: Instant,
    ) {
        let conn = &mut self.conns[id.index()];
        conn.input.tail(&mut shared.spares).extend_from_slice(bytes);
        let Options { protocol, redis, .. } = &shared.options;
        match protocol.parse_greeting(conn.input.as_slice(), redis) {
            Greeting::Partial => {}
            Greeting::Full => {
                let why = (ServerError::Full, Blame::Server);
                self.abort_conn((shared, answers), id, why, now);
            }
            Greeting::Refused(error) => {
                let why = (error, Blame::Server);
                self.abort_conn((shared, answers), id, why, now);
            }
            Greeting::Mismatch => self.give_up((shared, answers), id, Blame::Server, now),
            Greeting::Answer { len, version } => {
                // What comes before the whole question, or behind the answer, nobody asked for.
                let is_asked_for = conn.greeting_left == 0 && len == conn.input.len();
                conn.input.clear(&mut shared.spares);
                if is_asked_for {
                    self.end_greeting((shared, answers), id, version, now);
                } else {
                    self.give_up((shared, answers), id, Blame::Nobody, now);
                }
            }
        }
    }

    fn end_greeting(
        &mut self,
        (shared, answers): (&mut Shared, &mut impl Answers),
        id: ConnId,
        version: Version,
        now: Instant,
    ) {
        let conn = &mut self.conns[id.index()];
        conn.state = ConnState::Open;
        conn.version = version;
        conn.is_translated = conn.is_resp3 && version == Version::default();
        conn.answered = now;
        self.all[conn.server.index()].stats.more.version.set(version.to_bits());
        self.refuse_unsupported((shared, answers), id, version);
        self.end_probe(id, Ok(()));
        self.mark(id);
        if self.leaving > 0 {
            self.retire_if_idle(shared, id);
        }
    }

    /// Reports what became of a probe, if the connection was opened for one.
    pub(super) fn end_probe(&mut self, id: ConnId, outcome: Result<(), ServerError>) {
        let server = self.conns[id.index()].server;
        let of_server = &mut self.all[server.index()];
        if of_server.is_probed && of_server.first == id.index() {
            of_server.is_probed = false;
            of_server.stats.more.probe_failures.add(u64::from(outcome.is_err()));
            self.reports.push_back((server, Report::Probed(outcome)));
        }
    }

    /// What a client is told if its request may not be sent on a connection, as far as that is known.
    #[inline]
    pub(super) fn lacking(&self, id: ConnId, needs: Needs) -> Option<&'static [u8]> {
        if needs == Needs::NOTHING {
            return None;
        }
        let conn = &self.conns[id.index()];
        if conn.state == ConnState::Open { needs.lacking(conn.version) } else { None }
    }

    /// Takes the requests out of the queue that the server can't serve, and answers them, and those that have
    /// run out of time. None of the queue has been written.
    fn refuse_unsupported(
        &mut self,
        (shared, answers): (&mut Shared, &mut impl Answers),
        id: ConnId,
        version: Version,
    ) {
        let conn = &mut self.conns[id.index()];
        // A client's own connection gets all of a transaction, or commands of it would be carried out alone.
        let late = if conn.is_dedicated { 0 } else { conn.expired.max(conn.overdue) };
        let is_shared = !conn.is_dedicated;
        let is_late = |index, it: &Pending| {
            !it.is_removal && (index < late || is_shared && it.is_late_behind_others())
        };
        let has_late = conn.pending.iter().enumerate().any(|(index, it)| is_late(index, it));
        if !has_late && !conn.pending.iter().any(|it| it.needs.lacking(version).is_some()) {
            return;
        }
        let all = mem::take(&mut conn.pending);
        let out = mem::take(&mut conn.out).joined();
        let echo = mem::take(&mut conn.echo);
        let (mut out, mut echo) = (out.as_slice(), echo.as_slice());
        let expired = mem::take(&mut conn.expired);
        conn.is_blamed &= late == 0;
        (conn.unsent, conn.unsent_bytes, conn.pending_bytes, conn.overdue) = (0, 0, 0, 0);
        for (index, pending) in all.into_iter().enumerate() {
            let (request, rest) = out.split_at(pending.bytes as usize);
            let (repeated, others) = echo.split_at(pending.echo_len());
            (out, echo) = (rest, others);
            if is_late(index, &pending) {
                continue;
            }
            if let Some(error) = pending.needs.lacking(version) {
                complete_with((shared, answers), &pending, (Outcome::Error, error));
                continue;
            }
            self.requeue(shared, id, pending, (request, repeated));
            self.conns[id.index()].expired += usize::from(index < expired);
        }
        self.publish(id);
    }

    fn requeue(
        &mut self,
        shared: &mut Shared,
        id: ConnId,
        pending: Pending,
        (request, echo): (&[u8], &[u8]),
    ) {
        let conn = &mut self.conns[id.index()];
        conn.out.append(&mut shared.spares, |out| out.extend_from_slice(request));
        if !echo.is_empty() {
            conn.echo.tail(&mut shared.spares).extend_from_slice(echo);
        }
        conn.unsent += 1;
        conn.unsent_bytes += request.len();
        conn.pending_bytes += request.len();
        conn.pending.push_back(pending);
    }
}
