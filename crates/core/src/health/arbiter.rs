//! Decides for all workers of a process whether a server is used.
//!
//! Workers report, and get orders. The one rule: others stand in for a server only when every worker has left
//! it, and a worker uses it again only when no worker lets others stand in for it. Otherwise one worker
//! could read at the server what another one has replaced elsewhere.

mod giving_up;
mod operator;
mod seat;

use self::giving_up::GivingUp;
use self::seat::{Probing, Seat, State};
use super::order::{Decision, Order, Report, Seen, Stage, To};
use super::{Ejection, OnOverflow, Share};
use crate::error::ServerError;
use crate::time::Instant;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

/// The time between two probes that succeed. What a server that stood still had in its sockets is carried
/// out by then, so that nothing old comes after what is removed there.
const PROBE_GAP: Duration = Duration::from_millis(100);

/// How long the workers may take to remove what a server has missed.
const REPLAY_MAX: Duration = Duration::from_secs(10);

/// When workers that have not left a server are told again, for the first time; each further time, the wait is
/// twice as long, up to the maximum. So a worker that is slow gets to the last order before the next one comes.
const LEAVE_AGAIN: Duration = Duration::from_millis(100);
const LEAVE_AGAIN_MAX: Duration = Duration::from_secs(10);

/// A server that fails again soon stays away twice as long each time, up to so many times `retry_timeout`.
const STAY_MAX: u32 = 16;

/// Decides for the workers of a process.
#[derive(Debug)]
pub struct Arbiter {
    workers: usize,
    seats: BTreeMap<u64, Seat>,
    /// The pools whose keys move.
    moving: BTreeSet<u64>,
    /// Old servers of keys that move, from the first report until no worker asks them.
    giving_up: BTreeMap<u64, GivingUp>,
    /// The last round, of whatever server.
    round: u32,
    decisions: VecDeque<Decision>,
}

impl Arbiter {
    /// An arbiter for so many workers.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self {
            workers,
            seats: BTreeMap::new(),
            moving: BTreeSet::new(),
            giving_up: BTreeMap::new(),
            round: 0,
            decisions: VecDeque::new(),
        }
    }

    /// These are the servers of a pool and of its gutter now, and this is when they are ejected. A server that is
    /// new is live. The share of servers that may be away is one of the pool, and another one of its gutter.
    pub fn set_servers(
        &mut self,
        pool: u64,
        (servers, gutter): (&[u64], &[u64]),
        ejection: Ejection,
    ) {
        let part_of = |is_gutter: bool| if is_gutter { gutter } else { servers };
        self.seats
            .retain(|server, seat| seat.pool != pool || part_of(seat.is_gutter).contains(server));
        let parts = [false, true].map(|part| part_of(part).iter().map(move |it| (*it, part)));
        for (server, is_gutter) in parts.into_iter().flatten() {
            let seat = self.seats.entry(server).or_insert(Seat {
                pool,
                is_gutter,
                ejection,
                state: State::Live,
                share: Share::ALL,
                next_share: Share::ALL,
                round: 0,
                error: ServerError::Refused,
                is_held: false,
                has_overflowed: false,
                stay: ejection.retry_timeout,
                returned_at: None,
            });
            seat.ejection = ejection;
        }
    }

    /// In a worker at least, keys of these pools move to other servers, and of no other pool. Nobody stands in for
    /// a server meanwhile, so one that comes back gets all of its keys at once.
    pub fn set_moving(&mut self, pools: BTreeSet<u64>) {
        if pools.is_empty() {
            self.giving_up.clear();
        }
        self.moving = pools;
    }

    /// Forgets a pool. Its workers may have clients still, which then wait for no decision any longer.
    pub fn remove_pool(&mut self, pool: u64) {
        let servers = self.seats.iter().filter(|(_, seat)| seat.pool == pool);
        let servers: Vec<u64> = servers.map(|(server, _)| *server).collect();
        for server in servers {
            let seat = &self.seats[&server];
            match seat.state {
                State::Draining(..) | State::Leaving(..) => {
                    self.decide(server, To::All, Order::Keep);
                }
                // Workers use the server for these keys: nobody may stand in for them.
                State::Replaying(..) | State::Closing(..) if seat.share != Share::NONE => {
                    self.decide(server, To::All, Order::Warm(seat.share));
                }
                State::Replaying(..) | State::Closing(..) => {
                    self.decide(server, To::All, Order::GoAway);
                }
                State::Live | State::Away(_) | State::Warming(_) => {}
            }
            self.seats.remove(&server);
        }
    }

    /// The next order for workers.
    pub fn next_decision(&mut self) -> Option<Decision> {
        self.decisions.pop_front()
    }

    /// When [`Arbiter::tick`] has something to do.
    #[must_use]
    pub fn next_tick(&self) -> Option<Instant> {
        let next = |seat: &Seat| match seat.state {
            State::Away(Probing { ends: Some(at), .. }) => Some(at),
            State::Away(Probing { next, .. }) => (!seat.stays()).then_some(next),
            State::Warming(next) => (!seat.stays()).then(|| self.next_share_at(seat, next)),
            State::Draining(_, at)
            | State::Leaving(_, at, _)
            | State::Replaying(_, at)
            | State::Closing(_, at) => Some(at),
            State::Live => None,
        };
        let again = self.giving_up.values().map(GivingUp::next);
        self.seats.values().filter_map(next).chain(again).min()
    }

    /// How a server stands.
    #[must_use]
    pub fn standing(&self, server: u64) -> Option<Seen> {
        let seat = self.seats.get(&server)?;
        let (stage, next_try) = match seat.state {
            State::Live => (Stage::Live, None),
            State::Draining(..) => (Stage::Draining, None),
            State::Leaving(..) => (Stage::Leaving, None),
            // It may have a share of its keys, and gets no more.
            State::Away(_) | State::Warming(_) if seat.stays() => (Stage::Held, None),
            State::Away(probing) => (Stage::Away, Some(probing.next)),
            _ if seat.share != Share::NONE => (Stage::Warming, None),
            State::Replaying(..) | State::Closing(..) | State::Warming(_) => {
                (Stage::Returning, None)
            }
        };
        let error = (stage != Stage::Live).then_some(seat.error);
        Some(Seen { stage, error, next_try, share: seat.share, by_operator: seat.is_held })
    }

    /// Takes what a worker says.
    pub fn report(&mut self, server: u64, report: Report, now: Instant) {
        match report {
            // The server may be no longer in the pool.
            Report::GivingUp => return self.begin_giving_up(server, now),
            Report::Done(round) if self.confirm_held(server, round) => return,
            _ => {}
        }
        let Some(seat) = self.seats.get(&server) else {
            if matches!(report, Report::Failing(_)) {
                // The worker's pool is about to end, or it is told of other servers: it waits in vain for others.
                let (to, order) = (To::All, Order::Keep);
                self.decisions.push_back(Decision { server, to, order, round: 0 });
            }
            return;
        };
        match (report, seat.state) {
            (Report::Failing(error), State::Live) => self.eject(server, error, now),
            (Report::Failing(error), State::Draining(..)) => self.leave(server, error, now),
            (Report::Failing(error), State::Warming(_)) => self.fall_back(server, error, now),
            (Report::Failing(error), State::Replaying(..) | State::Closing(..)) => {
                self.fall_back(server, error, now);
            }
            (Report::Failed(round, error), State::Replaying(..) | State::Closing(..))
                if round == seat.round =>
            {
                self.fall_back(server, error, now);
            }
            (Report::Done(round), _) if round == seat.round => self.confirm(server, now),
            (Report::Overflowed, state) => {
                let seat = self.seat(server);
                seat.has_overflowed = true;
                // It is on the way back with what could not be remembered.
                if seat.stays() && matches!(state, State::Replaying(..) | State::Closing(..)) {
                    self.stop_return(server, now);
                }
            }
            (Report::Probed(outcome), State::Away(probing)) if probing.ends.is_some() => {
                self.note_probe(server, probing, outcome, now);
            }
            _ => {}
        }
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Instant) {
        self.tell_again_to_hold(now);
        let servers: Vec<u64> = self.seats.keys().copied().collect();
        for server in servers {
            let seat = &self.seats[&server];
            match seat.state {
                State::Away(probing) if probing.ends.is_some_and(|at| at <= now) => {
                    self.note_probe(server, probing, Err(ServerError::TimedOut), now);
                }
                State::Away(probing)
                    if probing.ends.is_none() && probing.next <= now && !seat.stays() =>
                {
                    self.try_server(server, probing, now);
                }
                State::Warming(next) if self.next_share_at(seat, next) <= now && !seat.stays() => {
                    self.replay(server, now);
                }
                State::Draining(_, at) if at <= now => {
                    self.leave(server, ServerError::Ejected, now);
                }
                State::Leaving(_, at, wait) if at <= now => {
                    self.tell_to_leave(server, (wait * 2).min(LEAVE_AGAIN_MAX), now);
                }
                State::Replaying(_, at) | State::Closing(_, at) if at <= now => {
                    self.fall_back(server, ServerError::TimedOut, now);
                }
                _ => {}
            }
        }
    }

    fn seat(&mut self, server: u64) -> &mut Seat {
        self.seats.get_mut(&server).expect("the caller has seen it")
    }

    fn decide(&mut self, server: u64, to: To, order: Order) {
        let round = self.seat(server).round;
        self.decisions.push_back(Decision { server, to, order, round });
    }

    /// An order that all workers confirm.
    fn decide_together(&mut self, server: u64, state: State, order: Order) {
        let round = self.next_round();
        let seat = self.seat(server);
        (seat.round, seat.state) = (round, state);
        self.decide(server, To::All, order);
    }

    fn next_round(&mut self) -> u32 {
        self.round = self.round.wrapping_add(1);
        self.round
    }

    fn eject(&mut self, server: u64, error: ServerError, now: Instant) {
        let seat = &self.seats[&server];
        let ejected_max = seat.ejection.ejected_max as usize;
        let of_pool = || self.seats.values().filter(|it| it.is_beside(seat));
        let away = of_pool().filter(|seat| seat.state != State::Live).count();
        if (away + 1) * 100 > of_pool().count() * ejected_max {
            return self.decide(server, To::All, Order::Keep);
        }
        self.leave_for_long(server, error, now);
    }

    /// The server stays away for longer each time that it fails again soon.
    fn leave_for_long(&mut self, server: u64, error: ServerError, now: Instant) {
        let seat = self.seat(server);
        let retry = seat.ejection.retry_timeout;
        let is_returning = seat.state != State::Live;
        let is_soon = seat.returned_at.is_some_and(|at| now < at.after(seat.stay));
        let is_flapping = is_returning || is_soon;
        let longer = (seat.stay * 2).min(retry * STAY_MAX);
        seat.stay = if is_flapping { longer } else { retry };
        self.leave(server, error, now);
    }

    fn leave(&mut self, server: u64, error: ServerError, now: Instant) {
        self.seat(server).error = error;
        self.tell_to_leave(server, LEAVE_AGAIN, now);
    }

    /// Tells all workers, also those that have left, to leave a server. Until all have, nobody stands in for it,
    /// however long that takes.
    fn tell_to_leave(&mut self, server: u64, wait: Duration, now: Instant) {
        let seat = self.seat(server);
        seat.share = Share::NONE;
        let error = seat.error;
        let state = State::Leaving(self.workers, now.after(wait), wait);
        self.decide_together(server, state, Order::Leave(error));
    }

    /// The server stays away, or is away again.
    fn fall_back(&mut self, server: u64, error: ServerError, now: Instant) {
        let seat = self.seat(server);
        if seat.share != Share::NONE {
            // Workers use it for a share of its keys.
            return self.leave_for_long(server, error, now);
        }
        seat.error = error;
        // Without a wait, a server that refuses what it has missed would be asked in every turn.
        let wait = seat.ejection.retry_timeout.max(PROBE_GAP);
        seat.state = State::Away(Probing::after(now.after(wait)));
        self.decide(server, To::All, Order::GoAway);
    }

    fn confirm(&mut self, server: u64, now: Instant) {
        let seat = self.seat(server);
        match &mut seat.state {
            State::Draining(left, _)
            | State::Leaving(left, ..)
            | State::Replaying(left, _)
            | State::Closing(left, _)
                if *left > 1 =>
            {
                *left -= 1;
            }
            State::Draining(..) => self.leave(server, ServerError::Ejected, now),
            State::Leaving(..) => {
                seat.state = State::Away(Probing::after(now.after(seat.stay)));
                self.decide(server, To::All, Order::GoAway);
            }
            State::Replaying(..) => self.close(server, now),
            State::Closing(..) => self.give_keys(server, now),
            State::Live | State::Away(_) | State::Warming(_) => {}
        }
    }

    /// Lets workers remove from a server what it has missed.
    fn replay(&mut self, server: u64, now: Instant) {
        let state = State::Replaying(self.workers, now.after(REPLAY_MAX));
        self.decide_together(server, state, Order::Replay);
    }

    fn close(&mut self, server: u64, now: Instant) {
        let seat = &self.seats[&server];
        // A server of the gutter has no keys of its own that could return one after the other.
        let is_slow = !seat.is_gutter && seat.ejection.starts_slowly() && self.has_stand_in(seat);
        let next_share = if is_slow { seat.share.more() } else { Share::ALL };
        self.seat(server).next_share = next_share;
        let state = State::Closing(self.workers, now.after(REPLAY_MAX));
        self.decide_together(server, state, Order::Close(next_share));
    }

    /// A server that gets its keys back gets no more for now; one that has none stays away.
    fn stop_return(&mut self, server: u64, now: Instant) {
        let seat = self.seat(server);
        if seat.share == Share::NONE {
            let error = seat.error;
            return self.fall_back(server, error, now);
        }
        seat.state = seat.in_use(now);
        let share = seat.share;
        self.decide(server, To::All, Order::Warm(share));
    }

    /// When a server gets more of its keys: at once, if nobody is left who stands in for it.
    fn next_share_at(&self, seat: &Seat, next: Instant) -> Instant {
        if self.has_stand_in(seat) { next } else { Instant::default() }
    }

    /// Whether another server can have a part of the keys. While keys move, none can. In a pool of one server,
    /// requests may name any keys together, which a gutter would have to refuse.
    fn has_stand_in(&self, seat: &Seat) -> bool {
        let seats = || self.seats.values();
        let is_alone = seats().filter(|it| it.is_beside(seat)).count() == 1;
        let may = !is_alone && !self.moving.contains(&seat.pool);
        may && seats().any(|it| it.stands_in_for(seat) && it.state == State::Live)
    }

    /// What a server has missed is removed: it is used for more of its keys.
    fn give_keys(&mut self, server: u64, now: Instant) {
        let seat = self.seat(server);
        if seat.share == Share::NONE {
            seat.returned_at = Some(now);
        }
        seat.share = seat.next_share;
        seat.state = seat.in_use(now);
        let is_live = seat.state == State::Live;
        // What could not be remembered went with all the rest, or the last key has returned although it did not.
        let is_settled = is_live || seat.ejection.on_overflow == OnOverflow::Flush;
        seat.has_overflowed &= !is_settled;
        let order = if is_live { Order::Return } else { Order::Warm(seat.share) };
        self.decide(server, To::All, order);
    }

    /// Probes a server, or lets it return if it need not be.
    fn try_server(&mut self, server: u64, probing: Probing, now: Instant) {
        let workers = self.workers;
        if probing.sent == 0 {
            self.decide(server, To::All, Order::Disconnect);
        }
        let seat = self.seat(server);
        if probing.good >= seat.ejection.probes {
            return self.replay(server, now);
        }
        let ends = Some(now.after(seat.ejection.probe_timeout));
        seat.state = State::Away(Probing { ends, sent: probing.sent + 1, ..probing });
        self.decide(server, To::One(probing.sent % workers), Order::Probe);
    }

    fn note_probe(
        &mut self,
        server: u64,
        probing: Probing,
        outcome: Result<(), ServerError>,
        now: Instant,
    ) {
        let seat = self.seat(server);
        let (good, wait) = match outcome {
            Ok(()) => (probing.good + 1, PROBE_GAP),
            Err(_) => (0, seat.ejection.retry_timeout.max(PROBE_GAP)),
        };
        seat.state = State::Away(Probing { next: now.after(wait), ends: None, good, ..probing });
        // The operator, who ejected the server, let it return: the operator is no longer the reason.
        let has_new_reason = seat.error == ServerError::Ejected && !seat.is_held;
        if let Some(error) = outcome.err().filter(|_| has_new_reason) {
            seat.error = error;
            self.decide(server, To::All, Order::StayAway(error));
        }
    }
}

#[cfg(test)]
mod tests;
