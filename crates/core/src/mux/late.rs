//! Requests that run out of time, and servers that stand still.
//!
//! A request that runs out of time is answered on its own; its neighbours keep their time. Its
//! reply is thrown away when it comes. It is a failure of the server only if the server has stood still
//! for as long: where replies flow, the queue is long. A connection on which the server has stood still
//! for twice the time is given up.
//!
//! The one rule: what has been queued stays in its place, or the next reply would be taken for that of
//! another request. The deadlines of requests that are written grow from the oldest to the newest, and so
//! do those of the others, but not across both: so late ones are counted from the start of each part. Only
//! a request that waited before it was queued may have less time than those before it.

use super::conn::{Conn, ConnState, Pending};
use super::failure::{Blame, fail};
use super::id::{ConnId, ServerId};
use super::server::{Answers, Servers};
use super::waiter::Waiter;
use super::{Mux, Options, Shared};
use crate::clocks::Clock;
use crate::error::ServerError;
use crate::time::Instant;
use core::time::Duration;

/// So many times as long as it may stand still, the answer to one request may flow: a server that sends it
/// byte by byte would otherwise hold the connection for ever.
const FLOW_MAX: u32 = 8;

/// Late requests behind others that have more time are looked for so many times in the time that a request
/// has: to find them, all that wait on the connection are looked at.
const LOOKS: u32 = 16;

impl Mux {
    /// How long opening a connection may still take; none if there is no `connect` of [`Clocks`].
    ///
    /// [`Clocks`]: crate::clocks::Clocks
    pub fn time_to_open(&self, id: ConnId, now: Instant) -> Option<Duration> {
        self.servers[id].opens_by(&self.shared).map(|at| at.since(now))
    }
}

impl Options {
    /// How long a request may wait until it is written.
    pub(super) fn queue_max(&self) -> Option<(Duration, Clock)> {
        sooner((self.clocks.queue, Clock::Queue), (self.timeout, Clock::Total))
    }

    /// How long a server that is open may stand still while a request waits.
    fn standstill_max(&self) -> Option<(Duration, Clock)> {
        sooner((self.clocks.response, Clock::Response), (self.timeout, Clock::Total))
    }
}

type Wait = (Option<Duration>, Clock);

fn sooner(part: Wait, whole: Wait) -> Option<(Duration, Clock)> {
    let waits =
        [part, whole].into_iter().filter_map(|(wait, clock)| wait.map(|wait| (wait, clock)));
    waits.min_by_key(|(wait, _)| *wait)
}

impl Pending {
    /// Whether it has run out of time behind others that have more.
    pub(super) fn is_late_behind_others(&self) -> bool {
        self.waiter == Waiter::Nobody && self.begun < self.queued
    }
}

impl Conn {
    /// How many of the pending requests are wholly written.
    fn sent(&self) -> usize {
        self.pending.len() - self.unsent
    }

    /// Whether all that wait have run out of time.
    pub(super) fn is_abandoned(&self) -> bool {
        let sent = self.sent();
        self.expired >= sent && self.expired.max(sent + self.overdue) == self.pending.len()
    }

    /// When the request at this place runs out of time; never if there is none, or if its server may wait.
    fn deadline_at(&self, shared: &Shared, place: usize) -> Option<(Instant, Clock)> {
        let waits = |pending: &&Pending| shared.options.protocol.waits(pending.expect);
        let pending = self.pending.get(place).filter(|pending| !waits(pending))?;
        deadline(&shared.options, pending, place < self.sent())
    }

    /// The place of the first request to be written that has not run out of time, if it may before older
    /// ones.
    fn first_unsent_in_time(&self, shared: &Shared) -> Option<usize> {
        let is_apart = shared.options.clocks.queue.is_some();
        is_apart.then(|| self.expired.max(self.sent() + self.overdue))
    }

    /// Until when the connection must be open, if it is not.
    fn opens_by(&self, shared: &Shared) -> Option<Instant> {
        let is_opening = matches!(self.state, ConnState::Opening | ConnState::Greeting);
        shared.options.clocks.connect.filter(|_| is_opening).map(|wait| self.opening.after(wait))
    }

    /// When its server has stood still so many times as long as it may, and by which clock: nothing has come
    /// from there, and nothing of the oldest request has gone. Never if that one is not late.
    fn standstill(&self, shared: &Shared, times: u32) -> Option<(Instant, Clock)> {
        let late = self.pending.front().filter(|_| self.expired > 0)?;
        let (wait, clock) = match self.state {
            ConnState::Open => shared.options.standstill_max()?,
            // The server has not been asked for anything.
            _ => (shared.options.timeout?, Clock::Total),
        };
        let since = match clock {
            Clock::Response if self.sent() > 0 => late.written,
            Clock::Response => late.queued.max(self.answered),
            _ => late.queued,
        };
        let begun = self.answered.max(since);
        let heard = self.heard.min(begun.after(wait * FLOW_MAX));
        Some((heard.max(since).after(wait * times), clock))
    }
}

fn deadline(options: &Options, pending: &Pending, is_written: bool) -> Option<(Instant, Clock)> {
    let total = options.timeout.map(|wait| (pending.begun.after(wait), Clock::Total));
    let part = match is_written {
        true => options.clocks.response.map(|wait| (pending.written.after(wait), Clock::Response)),
        false => options.clocks.queue.map(|wait| (pending.begun.after(wait), Clock::Queue)),
    };
    part.into_iter().chain(total).min_by_key(|(at, _)| *at)
}

impl Servers {
    /// Something runs out of time at this moment. A request that is queued later sets a time to look only
    /// where there is none, so there is none that is later than the first one's end.
    pub(super) fn look_at(&mut self, shared: &Shared, at: Instant, now: Instant) {
        let first = shared.queue_max.map(|wait| now.after(wait));
        self.next_expiry = [self.next_expiry, Some(at), first].into_iter().flatten().min();
    }

    /// A request that is about to be queued had to wait for that since `begun`: its time runs since then. What
    /// the proxy asks a server on its own account has a time of its own.
    #[cold]
    pub(super) fn note_begun(
        &mut self,
        shared: &Shared,
        id: ConnId,
        pending: &mut Pending,
        begun: Instant,
    ) {
        let conn = &mut self.conns[id.index()];
        let is_own = match pending.waiter {
            Waiter::Slot(_) | Waiter::Fragment(..) => true,
            // What a transaction begins with.
            Waiter::Nobody => conn.is_dedicated,
            Waiter::Move(_) | Waiter::Note(_) => false,
        };
        if !is_own {
            return;
        }
        let now = pending.queued;
        pending.begun = begun;
        let Some(wait) = shared.queue_max else { return };
        let is_hurried = conn.pending.back().is_some_and(|last| last.begun > begun);
        let mut end = begun.after(wait);
        if is_hurried {
            end = end.max(now.after(wait / LOOKS));
            conn.next_hurried = Some(conn.next_hurried.map_or(end, |at| at.min(end)));
        }
        self.look_at(shared, end, now);
    }

    /// The times that requests have are others.
    pub(super) fn look_at_all(&mut self) {
        self.next_expiry = Some(Instant::default());
        for conn in &mut self.conns {
            conn.next_hurried = conn.next_hurried.map(|_| Instant::default());
        }
    }

    /// Answers what has run out of time on any connection.
    pub(super) fn expire_all(
        &mut self,
        (shared, answers): (&mut Shared, &mut impl Answers),
        now: Instant,
    ) {
        self.next_expiry = None;
        for index in 0..self.conn_ids.len() {
            let id = self.conn_ids[index];
            self.expire((shared, answers), id, now);
            if let Some(at) = self.next_look(shared, id) {
                self.look_at(shared, at, now);
            }
        }
    }

    fn next_look(&self, shared: &Shared, id: ConnId) -> Option<Instant> {
        let conn = &self.conns[id.index()];
        let oldest = conn.deadline_at(shared, conn.expired);
        let unsent = conn.first_unsent_in_time(shared);
        let unsent = unsent.and_then(|place| conn.deadline_at(shared, place));
        let failure = conn.standstill(shared, 1).filter(|_| !conn.is_blamed);
        let end = conn.standstill(shared, 2);
        let times = [oldest, unsent, failure, end].into_iter().flatten().map(|(at, _)| at);
        times.chain(conn.opens_by(shared)).chain(conn.next_hurried).min()
    }

    fn expire(
        &mut self,
        (shared, answers): (&mut Shared, &mut impl Answers),
        id: ConnId,
        now: Instant,
    ) {
        let is_over = |end: Option<(Instant, Clock)>| end.is_some_and(|(at, _)| at <= now);
        if self.conns[id.index()].opens_by(shared).is_some_and(|at| at <= now) {
            let conn = &self.conns[id.index()];
            let is_awaited = u64::from(!conn.pending.is_empty());
            self.all[conn.server.index()].stats.server_timedout.add(is_awaited);
            self.count_timeouts(conn.server, Clock::Connect, 1);
            return self.give_up_late((shared, answers), id, Clock::Connect, now);
        }
        let failed = self.expire_oldest((shared, answers), id, now)
            + self.expire_unsent((shared, answers), id, now)
            + self.expire_hurried((shared, answers), id, now);
        let conn = &mut self.conns[id.index()];
        let (server, error) = (conn.server, ServerError::TimedOut);
        let is_failure = !conn.is_blamed && is_over(conn.standstill(shared, 1));
        conn.is_blamed |= is_failure;
        if failed > 0 {
            self.all[server.index()].stats.server_timedout.add(1);
            self.count_error(server, error);
        }
        if is_failure {
            self.count_failure(shared, server, (error, 1), now);
        } else {
            self.count_failed_requests(shared, server, (error, failed), now);
        }
        let end = self.conns[id.index()].standstill(shared, 2);
        if let Some((_, clock)) = end.filter(|(at, _)| *at <= now) {
            self.give_up_late((shared, answers), id, clock, now);
        }
    }

    /// Gives up a connection whose server has taken too long.
    fn give_up_late(
        &mut self,
        (shared, answers): (&mut Shared, &mut impl Answers),
        id: ConnId,
        clock: Clock,
        now: Instant,
    ) {
        self.conns[id.index()].late_by = Some(clock);
        let why = (ServerError::TimedOut, Blame::Server);
        self.abort_conn((shared, answers), id, why, now);
    }

    /// Answers the oldest requests that have run out of time. Says how many somebody waited for.
    fn expire_oldest(
        &mut self,
        (shared, answers): (&mut Shared, &mut impl Answers),
        id: ConnId,
        now: Instant,
    ) -> usize {
        let mut failed = 0;
        loop {
            let conn = &mut self.conns[id.index()];
            let place = conn.expired;
            match conn.deadline_at(shared, place) {
                Some((at, clock)) if at <= now => {
                    conn.expired += 1;
                    failed += self.abandon((shared, answers), id, (place, clock), now);
                }
                _ => return failed,
            }
        }
    }

    /// Answers the requests that could not be written in time, although requests before them are in time.
    fn expire_unsent(
        &mut self,
        (shared, answers): (&mut Shared, &mut impl Answers),
        id: ConnId,
        now: Instant,
    ) -> usize {
        let mut failed = 0;
        loop {
            let conn = &mut self.conns[id.index()];
            let Some(place) = conn.first_unsent_in_time(shared) else { return failed };
            conn.overdue = place.saturating_sub(conn.sent());
            match conn.deadline_at(shared, place) {
                Some((at, clock)) if at <= now => {
                    conn.overdue += 1;
                    failed += self.abandon((shared, answers), id, (place, clock), now);
                }
                _ => return failed,
            }
        }
    }

    /// Answers the late requests behind others that have more time.
    fn expire_hurried(
        &mut self,
        (shared, answers): (&mut Shared, &mut impl Answers),
        id: ConnId,
        now: Instant,
    ) -> usize {
        let conn = &mut self.conns[id.index()];
        if conn.next_hurried.is_none_or(|at| now < at) {
            return 0;
        }
        conn.next_hurried = None;
        let (mut failed, mut latest, mut next) = (0, Instant::default(), None::<Instant>);
        for place in conn.expired..conn.pending.len() {
            let conn = &self.conns[id.index()];
            let begun = conn.pending[place].begun;
            let is_hurried = begun < latest && conn.pending[place].waiter != Waiter::Nobody;
            latest = latest.max(begun);
            match conn.deadline_at(shared, place).filter(|_| is_hurried) {
                Some((at, clock)) if at <= now => {
                    failed += self.abandon((shared, answers), id, (place, clock), now);
                }
                Some((at, _)) => next = Some(next.map_or(at, |next| next.min(at))),
                None => {}
            }
        }
        let pause = shared.queue_max.unwrap_or_default() / LOOKS;
        self.conns[id.index()].next_hurried = next.map(|at| at.max(now.after(pause)));
        failed
    }

    /// Answers a request whose time is over. Says how many somebody waited for: one or none.
    fn abandon(
        &mut self,
        (shared, answers): (&mut Shared, &mut impl Answers),
        id: ConnId,
        (place, clock): (usize, Clock),
        now: Instant,
    ) -> usize {
        let late = self.conns[id.index()].pending[place].abandon();
        if late.waiter == Waiter::Nobody {
            return 0;
        }
        if shared.slow.is_on() {
            self.note_slow(shared, id, (&late, place), Err(ServerError::TimedOut), now);
        }
        self.count_timeouts(self.conns[id.index()].server, clock, 1);
        fail((shared, answers), &late, place, ServerError::TimedOut);
        1
    }

    /// Counts what a clock has ended at a server.
    pub(super) fn count_timeouts(&self, id: ServerId, clock: Clock, count: u64) {
        self.all[id.index()].stats.more.timeouts[clock as usize].add(count);
    }
}
