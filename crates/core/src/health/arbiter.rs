//! Decides for all workers of a process whether a server is used.
//!
//! Workers report, and get orders. The one rule: others stand in for a server only when every worker has left
//! it, and a worker uses it again only when no worker lets others stand in for it. Otherwise one worker
//! could read at the server what another one has replaced elsewhere.

use super::{Ejection, OnOverflow};
use crate::error::ServerError;
use crate::time::Instant;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

/// The time between two probes that succeed. What a server that stood still had in its sockets is carried
/// out by then, so that nothing old comes after what is removed there.
const PROBE_GAP: Duration = Duration::from_millis(100);

/// How long the workers may take to remove what a server has missed.
const REPLAY_MAX: Duration = Duration::from_secs(10);

/// How long clients may take to end what they have begun on a server that is drained.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// A server that fails again soon stays away twice as long each time, up to so many times `retry_timeout`.
const STAY_MAX: u32 = 16;

/// What a worker is to do about a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Let clients end what they have begun there; once none has anything there, let none begin. To be confirmed.
    Drain,
    /// Send it no more requests, for this reason. To be confirmed by [`Report::Done`].
    Leave(ServerError),
    /// Nobody sends it requests: do what the pool wants for a server that is away.
    GoAway,
    /// Open a new connection to it, and report [`Report::Probed`].
    Probe,
    /// Remove there what it has missed. To be confirmed.
    Replay,
    /// Let requests for its keys wait, and remove there what it has missed since. To be confirmed.
    Close,
    /// Use it.
    Return,
    /// The operator wants it back: what it has refused to remove may stay there.
    Forgive,
    /// Go on using it: too many servers are away.
    Keep,
}

/// Who gets an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// Every worker.
    All,
    /// The worker with this number.
    One(usize),
}

/// What a worker says of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// It should be ejected.
    Failing(ServerError),
    /// The order of this round is carried out.
    Done(u32),
    /// The order of this round can't be carried out, because the server failed.
    Failed(u32, ServerError),
    /// What the server has missed is not all known: what is removed there does not suffice.
    Overflowed,
    /// What became of a probe.
    Probed(Result<(), ServerError>),
}

/// What an operator wants of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Eject it, until [`Command::Return`].
    Eject,
    /// Likewise, when the clients have ended what they have begun there: transactions, blocking commands and
    /// subscriptions.
    Drain,
    /// Use it again, once it answers.
    Return,
}

/// How a server stands, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// How far it is from being used.
    pub stage: Stage,
    /// Why it is not used.
    pub error: Option<ServerError>,
    /// When it is tried next.
    pub next_try: Option<Instant>,
    /// Whether the operator has ejected it.
    pub by_operator: bool,
}

/// How far a server is from being used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It is used.
    Live,
    /// It is used until clients have ended what they have begun there.
    Draining,
    /// Workers leave it.
    Leaving,
    /// It is probed now and then.
    Away,
    /// It stays away until the operator lets it return.
    Held,
    /// What it has missed is removed there.
    Returning,
}

/// An order, with whom and what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The server's number.
    pub server: u64,
    /// Who is to carry it out.
    pub to: To,
    /// What is to be done.
    pub order: Order,
    /// The round that the worker names when it is done.
    pub round: u32,
}

/// What is known of a server.
#[derive(Debug)]
struct Seat {
    pool: u64,
    ejection: Ejection,
    state: State,
    /// Counts up with each order that is to be confirmed.
    round: u32,
    error: ServerError,
    /// Whether the operator has ejected it.
    is_held: bool,
    has_overflowed: bool,
    /// How long it stays away this time, and when it was used again last.
    stay: Duration,
    returned_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Live,
    /// On so many workers, clients have begun something there.
    Draining(usize, Instant),
    /// So many workers have not left it.
    Leaving(usize),
    Away(Probing),
    /// So many workers are not done.
    Replaying(usize, Instant),
    Closing(usize, Instant),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Probing {
    /// When the next probe is sent.
    next: Instant,
    /// When the one that is under way has failed.
    ends: Option<Instant>,
    /// How many have succeeded in a row.
    good: u32,
    /// How many were sent.
    sent: usize,
}

/// Decides for the workers of a process.
#[derive(Debug)]
pub struct Arbiter {
    workers: usize,
    seats: BTreeMap<u64, Seat>,
    decisions: VecDeque<Decision>,
}

impl Arbiter {
    /// An arbiter for so many workers.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self { workers, seats: BTreeMap::new(), decisions: VecDeque::new() }
    }

    /// These are the servers of a pool now, and this is when they are ejected. A server that is new is live.
    pub fn set_servers(&mut self, pool: u64, servers: &[u64], ejection: Ejection) {
        self.seats.retain(|server, seat| seat.pool != pool || servers.contains(server));
        for &server in servers {
            let seat = self.seats.entry(server).or_insert(Seat {
                pool,
                ejection,
                state: State::Live,
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

    /// Forgets a pool. Its workers may have clients still, which then wait for no decision any longer.
    pub fn remove_pool(&mut self, pool: u64) {
        let servers = self.seats.iter().filter(|(_, seat)| seat.pool == pool);
        let servers: Vec<u64> = servers.map(|(server, _)| *server).collect();
        for server in servers {
            match self.seats[&server].state {
                State::Draining(..) | State::Leaving(_) => {
                    self.decide(server, To::All, Order::Keep);
                }
                State::Replaying(..) | State::Closing(..) => {
                    self.decide(server, To::All, Order::GoAway);
                }
                State::Live | State::Away(_) => {}
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
            State::Draining(_, at) | State::Replaying(_, at) | State::Closing(_, at) => Some(at),
            State::Live | State::Leaving(_) => None,
        };
        self.seats.values().filter_map(next).min()
    }

    /// How a server stands.
    #[must_use]
    pub fn standing(&self, server: u64) -> Option<Seen> {
        let seat = self.seats.get(&server)?;
        let (stage, next_try) = match seat.state {
            State::Live => (Stage::Live, None),
            State::Draining(..) => (Stage::Draining, None),
            State::Leaving(_) => (Stage::Leaving, None),
            State::Away(probing) if seat.stays() => (Stage::Held, Some(probing.next)),
            State::Away(probing) => (Stage::Away, Some(probing.next)),
            State::Replaying(..) | State::Closing(..) => (Stage::Returning, None),
        };
        let error = (stage != Stage::Live).then_some(seat.error);
        let next_try = next_try.filter(|_| stage == Stage::Away);
        Some(Seen { stage, error, next_try, by_operator: seat.is_held })
    }

    /// Takes what a worker says.
    pub fn report(&mut self, server: u64, report: Report, now: Instant) {
        let Some(seat) = self.seats.get(&server) else { return };
        match (report, seat.state) {
            (Report::Failing(error), State::Live) => self.eject(server, error, now),
            (Report::Failing(error), State::Draining(..)) => self.leave(server, error),
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
                    let error = seat.error;
                    self.fall_back(server, error, now);
                }
            }
            (Report::Probed(outcome), State::Away(probing)) if probing.ends.is_some() => {
                self.note_probe(server, probing, outcome, now);
            }
            _ => {}
        }
    }

    /// Does what the operator wants. Returns whether it can be done.
    pub fn command(&mut self, server: u64, command: Command, now: Instant) -> bool {
        let Some(seat) = self.seats.get_mut(&server) else { return false };
        match command {
            Command::Drain => {
                seat.is_held = true;
                match seat.state {
                    State::Live => {
                        seat.error = ServerError::Ejected;
                        let state = State::Draining(self.workers, now.after(DRAIN_MAX));
                        self.decide_together(server, state, Order::Drain);
                    }
                    State::Replaying(..) | State::Closing(..) => {
                        self.fall_back(server, ServerError::Ejected, now);
                    }
                    State::Draining(..) | State::Leaving(_) | State::Away(_) => {}
                }
            }
            Command::Eject => {
                seat.is_held = true;
                match seat.state {
                    State::Live | State::Draining(..) => self.leave(server, ServerError::Ejected),
                    State::Replaying(..) | State::Closing(..) => {
                        self.fall_back(server, ServerError::Ejected, now);
                    }
                    State::Leaving(_) | State::Away(_) => {}
                }
            }
            Command::Return => {
                (seat.is_held, seat.has_overflowed) = (false, false);
                match &mut seat.state {
                    State::Away(probing) => {
                        probing.next = now;
                        self.decide(server, To::All, Order::Forgive);
                    }
                    State::Draining(..) => {
                        seat.state = State::Live;
                        self.decide(server, To::All, Order::Keep);
                    }
                    _ => {}
                }
            }
        }
        true
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Instant) {
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
                State::Draining(_, at) if at <= now => self.leave(server, ServerError::Ejected),
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
        let seat = self.seat(server);
        seat.round = seat.round.wrapping_add(1);
        seat.state = state;
        self.decide(server, To::All, order);
    }

    fn eject(&mut self, server: u64, error: ServerError, now: Instant) {
        let seat = &self.seats[&server];
        let (pool, ejected_max) = (seat.pool, seat.ejection.ejected_max as usize);
        let of_pool = || self.seats.values().filter(|seat| seat.pool == pool);
        let away = of_pool().filter(|seat| seat.state != State::Live).count();
        if (away + 1) * 100 > of_pool().count() * ejected_max {
            return self.decide(server, To::All, Order::Keep);
        }
        let seat = self.seat(server);
        let retry = seat.ejection.retry_timeout;
        let is_flapping = seat.returned_at.is_some_and(|at| now < at.after(seat.stay));
        let longer = (seat.stay * 2).min(retry * STAY_MAX);
        seat.stay = if is_flapping { longer } else { retry };
        self.leave(server, error);
    }

    fn leave(&mut self, server: u64, error: ServerError) {
        self.seat(server).error = error;
        self.decide_together(server, State::Leaving(self.workers), Order::Leave(error));
    }

    /// The server stays away, or is away again.
    fn fall_back(&mut self, server: u64, error: ServerError, now: Instant) {
        let seat = self.seat(server);
        seat.error = error;
        seat.state = State::Away(Probing::after(now.after(seat.ejection.retry_timeout)));
        seat.round = seat.round.wrapping_add(1);
        self.decide(server, To::All, Order::GoAway);
    }

    fn confirm(&mut self, server: u64, now: Instant) {
        let seat = self.seat(server);
        match &mut seat.state {
            State::Draining(left, _)
            | State::Leaving(left)
            | State::Replaying(left, _)
            | State::Closing(left, _)
                if *left > 1 =>
            {
                *left -= 1;
            }
            State::Draining(..) => self.leave(server, ServerError::Ejected),
            State::Leaving(_) => {
                seat.state = State::Away(Probing::after(now.after(seat.stay)));
                self.decide(server, To::All, Order::GoAway);
            }
            State::Replaying(..) => {
                let state = State::Closing(self.workers, now.after(REPLAY_MAX));
                self.decide_together(server, state, Order::Close);
            }
            State::Closing(..) => {
                (seat.state, seat.returned_at) = (State::Live, Some(now));
                seat.has_overflowed = false;
                self.decide(server, To::All, Order::Return);
            }
            State::Live | State::Away(_) => {}
        }
    }

    /// Probes a server, or lets it return if it need not be.
    fn try_server(&mut self, server: u64, probing: Probing, now: Instant) {
        let workers = self.workers;
        let seat = self.seat(server);
        if probing.good >= seat.ejection.probes {
            let state = State::Replaying(workers, now.after(REPLAY_MAX));
            return self.decide_together(server, state, Order::Replay);
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
    }
}

impl Seat {
    /// Whether the server stays away until the operator lets it return.
    fn stays(&self) -> bool {
        self.is_held || self.has_overflowed && self.ejection.on_overflow == OnOverflow::Stay
    }
}

impl Probing {
    fn after(next: Instant) -> Self {
        Self { next, ends: None, good: 0, sent: 0 }
    }
}

#[cfg(test)]
mod tests;
