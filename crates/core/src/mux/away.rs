//! Servers that are away, and how they leave and return: the orders of the arbiter.
//!
//! The one rule: a worker does what it is ordered, in the order of the orders, and reports when it is done;
//! so no two workers of a process disagree about who has a key.

use super::conn::{Conn, ConnState};
use super::failure::Blame;
use super::id::ServerId;
use super::standing::POOL;
use super::{Event, Mux};
use crate::error::ServerError;
use crate::health::{Decision, Drain, Health, OnOverflow, Order, Report, Share, Standing, To};
use crate::time::Instant;
use alloc::vec::Vec;

impl Mux {
    /// What another worker or the operator should know; the embedder passes it to the process' arbiter. There is
    /// nothing if the engine has an arbiter of its own.
    pub fn next_report(&mut self) -> Option<(ServerId, Report)> {
        if self.servers.arbiter.is_some() { None } else { self.servers.reports.pop_front() }
    }

    /// Leaves decisions to an arbiter outside, as other workers serve by the same servers.
    pub fn share_arbiter(&mut self) {
        self.shared.has_other_arbiter = true;
        self.servers.set_arbiter(&self.shared);
    }

    /// Does what the arbiter has decided about a server. Nothing happens if the server has left the pool.
    pub fn obey(&mut self, id: ServerId, order: Order, round: u32, now: Instant) {
        // What was decided before the pool was told not to eject comes too late. Old servers of keys that move may have
        // left the pool.
        let is_about_moves = matches!(order, Order::HoldMoves | Order::GiveUp);
        let ejects = self.shared.options.ejection.is_some();
        if !is_about_moves && (!ejects || !self.servers.has(id)) {
            return;
        }
        match order {
            Order::Drain => {
                self.servers.all[id.index()].health.drain = Drain::Begun(round);
                self.servers.has_drains = true;
            }
            Order::Leave(error) => self.leave(id, (error, round), now),
            Order::GoAway => self.go_away(id, now),
            Order::StayAway(error) => self.servers.all[id.index()].health.error = Some(error),
            Order::Disconnect => self.close_conns(id, (ServerError::TimedOut, |_| true), now),
            Order::Probe => self.probe_server(id, now),
            Order::Replay => self.begin_replay(id, Standing::Replaying, round, now),
            Order::Close(share) => {
                self.servers.all[id.index()].health.is_last_close = share == Share::ALL;
                self.begin_replay(id, Standing::Closing, round, now);
            }
            Order::Warm(share) => self.warm(id, share),
            Order::Return => self.return_server(id),
            Order::HoldMoves => self.hold_moves(id, round, now),
            Order::GiveUp => self.give_up(id),
            Order::Forgive => {
                if let Some(journal) = &mut self.servers.all[id.index()].journal {
                    // An operator who has not seen a refusal does not mean it.
                    journal.forgives = journal.was_refused;
                }
            }
            Order::Keep => {
                let health = &mut self.servers.all[id.index()].health;
                health.drain = Drain::No;
                if health.standing == Standing::Left {
                    let is_whole = health.share == Share::ALL;
                    health.standing = if is_whole { Standing::Live } else { Standing::Away };
                    let error = health.error.take().unwrap_or(ServerError::Other);
                    self.shared.events.push_back(Event::Kept { server: id, error });
                    self.servers.note_standings(&self.shared);
                    self.clients.call_decided(id);
                }
            }
        }
        if self.clients.notes.has_ended() {
            // A removal that was lost with its connection stands in the journal before the next order.
            self.take_notes(now);
        }
    }

    /// Lets the engine's own arbiter decide about what was reported.
    #[inline]
    pub(super) fn arbitrate(&mut self, now: Instant) {
        if self.clients.notes.has_ended() {
            self.take_notes(now);
        }
        if !self.servers.reports.is_empty() {
            self.decide(now);
        }
    }

    /// Lets the own arbiter do what is due.
    pub(super) fn tick_arbiter(&mut self, now: Instant) {
        if let Some(arbiter) = &mut self.servers.arbiter {
            arbiter.tick(now);
            self.decide(now);
        }
    }

    /// Tells the own arbiter whether keys move.
    pub(super) fn note_moving(&mut self) {
        if let Some(arbiter) = &mut self.servers.arbiter {
            arbiter.set_moving(self.migration.iter().map(|_| POOL).collect());
        }
    }

    fn decide(&mut self, now: Instant) {
        loop {
            let Some(arbiter) = &mut self.servers.arbiter else { return };
            if let Some(Decision { server, to: To::All | To::One(_), order, round }) =
                arbiter.next_decision()
            {
                self.obey(ServerId::from_bits(server), order, round, now);
            } else if let Some((id, report)) = self.servers.reports.pop_front() {
                arbiter.report(id.to_bits(), report, now);
            } else {
                return;
            }
        }
    }

    pub(super) fn report(&mut self, id: ServerId, report: Report) {
        self.servers.reports.push_back((id, report));
    }

    /// Reports the servers that are to be drained and on which no client has begun anything.
    #[cold]
    pub(super) fn look_after_drains(&mut self, now: Instant) {
        self.servers.has_drains = false;
        let servers: Vec<ServerId> = self.servers.pool().collect();
        for id in servers {
            let Drain::Begun(round) = self.servers.all[id.index()].health.drain else { continue };
            if self.servers.conns.iter().any(|conn| conn.server == id && conn.owner.is_some()) {
                self.servers.has_drains = true;
            } else {
                self.servers.all[id.index()].health.drain = Drain::Done;
                self.report(id, Report::Done(round));
            }
        }
        self.arbitrate(now);
    }

    fn leave(&mut self, id: ServerId, (error, round): (ServerError, u32), now: Instant) {
        // What its client has there, such as a transaction, would go on after others stand in.
        self.close_conns(id, (error, |conn| conn.is_dedicated), now);
        let health = &mut self.servers.all[id.index()].health;
        (health.standing, health.error, health.drain) = (Standing::Left, Some(error), Drain::No);
        self.servers.note_standings(&self.shared);
        self.report(id, Report::Done(round));
    }

    fn go_away(&mut self, id: ServerId, now: Instant) {
        let server = &mut self.servers.all[id.index()];
        let was_left = server.health.standing == Standing::Left;
        (server.health.standing, server.health.share) = (Standing::Away, Share::NONE);
        // What the operator wants holds for one return.
        let journal = server.journal.as_mut();
        let has_overflowed = journal.is_some_and(|journal| {
            journal.forgives = false;
            journal.has_overflowed()
        });
        server.replay_round = None;
        let error = server.health.error.unwrap_or(ServerError::Other);
        if was_left {
            self.servers.note_ejected(&self.shared, id, now);
            self.shared.events.push_back(Event::Ejected { server: id, error });
        }
        if has_overflowed {
            self.report(id, Report::Overflowed);
        }
        self.servers.note_standings(&self.shared);
        self.clients.call_decided(id);
        // Who waits for the server's queue has another way now.
        for place in self.servers.conns_of(&self.shared, id) {
            let conn = self.servers.conns[place].id;
            self.clients.call_waiters(conn, usize::MAX);
        }
    }

    /// Uses a server for a share of its keys; others stand in for the rest.
    fn warm(&mut self, id: ServerId, share: Share) {
        // The operator wants the server back, with what could not be remembered.
        let ejection = self.shared.options.ejection.unwrap_or_default();
        let is_wanted = ejection.on_overflow == OnOverflow::Stay;
        let server = &mut self.servers.all[id.index()];
        // A worker that has left the server of its own accord still has its share.
        let (before, error) = (server.health.share, server.health.error);
        server.health = Health::warm(share, error);
        server.replay_round = None;
        if let Some(journal) = server.journal.as_mut().filter(|_| before != share) {
            let bytes = journal.bytes();
            if is_wanted {
                journal.forgive_overflow();
            }
            // What the server has refused before is removed by now, unless the operator wants it to stay.
            journal.was_refused &= journal.forgives;
            journal.end_absence(share);
            self.clients.memory -= bytes - journal.bytes();
        }
        if before == Share::NONE {
            self.shared.events.push_back(Event::Warming { server: id });
        }
        self.servers.publish_journal(id);
        self.servers.note_standings(&self.shared);
        self.clients.call_decided(id);
    }

    fn return_server(&mut self, id: ServerId) {
        let server = &mut self.servers.all[id.index()];
        server.health = Health::default();
        server.has_refused_cap = false;
        server.stats.more.is_ejected.set(0);
        self.forget_journal(id);
        self.shared.events.push_back(Event::Returned { server: id });
        self.servers.note_standings(&self.shared);
        self.clients.call_decided(id);
    }

    pub(super) fn forget_journal(&mut self, id: ServerId) {
        let server = &mut self.servers.all[id.index()];
        server.stats.more.journal_keys.set(0);
        server.stats.more.journal_bytes.set(0);
        let bytes = server.journal.take().map_or(0, |journal| journal.bytes());
        self.clients.memory -= bytes;
    }

    /// Uses every server: the pool does not eject any longer.
    pub(super) fn return_all(&mut self) {
        let servers: Vec<ServerId> = self.servers.pool().collect();
        for id in servers {
            match self.servers.all[id.index()].health.standing {
                Standing::Live => {
                    self.servers.all[id.index()].health.drain = Drain::No;
                    self.forget_journal(id);
                }
                _ => self.return_server(id),
            }
        }
    }

    /// Opens a new connection to a server: whether it opens, and the greeting is answered, is the probe. What
    /// was sent before must not be carried out later, so its other connections are closed.
    fn probe_server(&mut self, id: ServerId, now: Instant) {
        // An earlier probe may be under way.
        self.servers.all[id.index()].is_probed = false;
        self.close_conns(id, (ServerError::TimedOut, |_| true), now);
        let conn = self.servers.lane(0, id);
        let server = &mut self.servers.all[id.index()];
        server.is_probed = true;
        server.stats.more.probes.add(1);
        self.servers[conn].wanted = true;
        self.servers.mark(conn);
    }

    /// Closes connections to a server. One that is not open yet has the requests that came in this turn.
    pub(super) fn close_conns(
        &mut self,
        id: ServerId,
        (error, which): (ServerError, fn(&Conn) -> bool),
        now: Instant,
    ) {
        for index in (0..self.servers.conns.len()).rev() {
            let conn = &self.servers.conns[index];
            let is_used = conn.state != ConnState::Closed || !conn.pending.is_empty();
            if conn.server == id && is_used && which(conn) {
                let (conn, why) = (conn.id, (error, Blame::Nobody));
                self.servers.abort_conn((&mut self.shared, &mut self.clients), conn, why, now);
            }
        }
    }
}
