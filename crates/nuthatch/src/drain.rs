//! The drain of a worker: when the worker checks for clients to close, and when the drain must end.
//!
//! The one rule: a drain costs the clients that are still served little time. All clients are
//! checked at most once in [`DRAIN_TURN`], and at most [`LOOKS_MAX`] clients in a turn.

use nuthatch_core::time::Instant;
use std::ops::Range;
use std::time::Duration;

/// How long a drain may take.
pub(crate) const DRAIN_MAX: Duration = Duration::from_secs(5);

/// How long a worker serves the clients that cannot pass to the process that has taken over. Then
/// it drains.
pub(crate) const RETIREMENT_MAX: Duration = Duration::from_secs(60);

/// The time from one check of all clients to the next.
const DRAIN_TURN: Duration = Duration::from_millis(20);

/// The number of clients that are checked in a turn.
const LOOKS_MAX: usize = 512;

/// A drain that has begun.
#[derive(Debug)]
pub(crate) struct Drain {
    by: Instant,
    /// When the next round over all clients begins.
    next_round: Instant,
    /// The next client of the current round.
    next_client: Option<usize>,
}

impl Drain {
    pub(crate) fn new(now: Instant) -> Self {
        Self { by: now.after(DRAIN_MAX), next_round: now, next_client: None }
    }

    /// A drain in which clients pass to another process.
    pub(crate) fn of_retirement(now: Instant) -> Self {
        Self { by: now.after(RETIREMENT_MAX), ..Self::new(now) }
    }

    /// Whether there is no time left.
    pub(crate) fn is_out_of_time(&self, now: Instant) -> bool {
        self.by <= now
    }

    /// When the next turn is due at the latest.
    pub(crate) fn next_turn(&self, now: Instant) -> Instant {
        if self.next_client.is_some() { now } else { self.next_round.min(self.by) }
    }

    /// Which of `clients` are looked at in this turn.
    pub(crate) fn looks(&mut self, clients: usize, now: Instant) -> Range<usize> {
        let from = match self.next_client {
            Some(next) => next.min(clients),
            None if now < self.next_round => return 0..0,
            None => {
                self.next_round = now.after(DRAIN_TURN);
                0
            }
        };
        let to = clients.min(from + LOOKS_MAX);
        self.next_client = Some(to).filter(|&to| to < clients);
        from..to
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is looked at in turns that are a millisecond apart.
    fn looks(clients: usize, turns: u32) -> Vec<Range<usize>> {
        let start = Instant::from_nanos(7);
        let mut drain = Drain::new(start);
        (0..turns)
            .map(|turn| drain.looks(clients, start.after(Duration::from_millis(turn.into()))))
            .filter(|range| !range.is_empty())
            .collect()
    }

    #[test]
    fn all_clients_are_looked_at_once_in_a_drain_turn_and_a_part_of_them_in_a_turn() {
        assert_eq!(looks(1100, 20), [0..512, 512..1024, 1024..1100]);
        assert_eq!(looks(1100, 40).len(), 6);
        assert_eq!(looks(10, 100), [0..10, 0..10, 0..10, 0..10, 0..10]);
        assert_eq!(looks(512, 21), [0..512, 0..512]);
        assert!(looks(0, 100).is_empty());
    }

    #[test]
    fn a_round_that_takes_longer_than_its_time_is_followed_by_the_next() {
        let rounds = looks(50 * LOOKS_MAX, 100);
        assert_eq!(rounds.len(), 100);
        assert_eq!(rounds[49], 49 * LOOKS_MAX..50 * LOOKS_MAX);
        assert_eq!(rounds[50], 0..LOOKS_MAX);
    }

    #[test]
    fn a_round_under_way_goes_on_at_once_and_else_the_worker_may_wait() {
        let start = Instant::from_nanos(7);
        let mut drain = Drain::new(start);
        assert_eq!(drain.next_turn(start), start);
        drain.looks(LOOKS_MAX + 1, start);
        assert_eq!(drain.next_turn(start), start);
        drain.looks(LOOKS_MAX + 1, start);
        assert_eq!(drain.next_turn(start), start.after(DRAIN_TURN));
        assert!(!drain.is_out_of_time(start.after(DRAIN_MAX - DRAIN_TURN)));
        assert!(drain.is_out_of_time(start.after(DRAIN_MAX)));
        drain.looks(1, start.after(DRAIN_MAX - DRAIN_TURN / 2));
        assert_eq!(drain.next_turn(start), start.after(DRAIN_MAX));
    }
}
