//! Hop 6 of the walk: which server has this key *now*?
//!
//! A pool sees keys and verdicts on servers, never a byte of a message. Without [`Ejection`] a
//! failing server keeps its keys. With it, as in twemproxy (`server_failure`,
//! `server_pool_update`):
//!
//! ```text
//!            failure_limit failures in a row
//!     live ────────────────────────────────────► ejected (its keys go to the others)
//!       ▲                                           │
//!       └───────── after retry_timeout ─────────────┘
//! ```
//!
//! One answer forwarded sets the count of failures back to zero. If all are ejected, requests
//! fail until the first may return.

use crate::ring::Ring;
use crate::time::Instant;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

/// When a failing server leaves the ring and when it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// Failures in a row after which a server is ejected (`server_failure_limit`), at least 1.
    pub failure_limit: u32,
    /// How long it stays away (`server_retry_timeout`).
    pub retry_timeout: Duration,
}

/// The servers of one pool as keys see them.
#[derive(Debug)]
pub struct Pool {
    ring: Ring,
    ejection: Option<Ejection>,
    failures: Vec<u32>,
    away_until: Vec<Option<Instant>>,
    /// The earliest of `away_until`.
    next_return: Option<Instant>,
    all_away: bool,
    /// Servers whose return nobody was told of yet.
    returned: Vec<usize>,
}

impl Pool {
    /// A pool of `servers` servers, all live, whose keys `ring` spreads.
    pub fn new(ring: Ring, servers: usize, ejection: Option<Ejection>) -> Self {
        Self {
            ring,
            ejection,
            failures: vec![0; servers],
            away_until: vec![None; servers],
            next_return: None,
            all_away: false,
            returned: Vec::new(),
        }
    }

    /// How many servers the pool has, live or not.
    pub fn servers(&self) -> usize {
        self.failures.len()
    }

    /// The ring as it is now.
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Whether a server is ejected.
    pub fn is_ejected(&self, server: usize) -> bool {
        self.away_until[server].is_some()
    }

    /// The server that has `key`; none while all are ejected.
    #[inline(always)]
    pub fn route(&mut self, key: &[u8], now: Instant) -> Option<usize> {
        match self.next_return {
            None => Some(self.ring.route(key)),
            Some(_) => self.route_without_ejected(key, now),
        }
    }

    fn route_without_ejected(&mut self, key: &[u8], now: Instant) -> Option<usize> {
        self.return_due(now);
        if self.all_away { None } else { Some(self.ring.route(key)) }
    }

    /// Notes that a server answered.
    pub fn success(&mut self, server: usize) {
        self.failures[server] = 0;
    }

    /// Notes that a server failed. Says whether it was ejected for it.
    pub fn failure(&mut self, server: usize, now: Instant) -> bool {
        let Some(ejection) = self.ejection.filter(|_| !self.is_ejected(server)) else {
            return false;
        };
        self.failures[server] += 1;
        if self.failures[server] < ejection.failure_limit {
            return false;
        }
        self.failures[server] = 0;
        self.away_until[server] = Some(now.after(ejection.retry_timeout));
        self.rebuild();
        true
    }

    /// When the next server returns; none while all are live.
    pub fn next_return(&self) -> Option<Instant> {
        self.next_return
    }

    /// Lets the servers return whose time is over.
    pub fn return_due(&mut self, now: Instant) {
        if self.next_return.is_none_or(|at| now < at) {
            return;
        }
        for (server, until) in self.away_until.iter_mut().enumerate() {
            if until.is_some_and(|at| at <= now) {
                *until = None;
                self.returned.push(server);
            }
        }
        self.rebuild();
    }

    /// A server that returned since this was asked last.
    pub fn next_returned(&mut self) -> Option<usize> {
        self.returned.pop()
    }

    fn rebuild(&mut self) {
        let live: Vec<bool> = self.away_until.iter().map(Option::is_none).collect();
        self.next_return = self.away_until.iter().flatten().min().copied();
        self.all_away = live.iter().all(|live| !live);
        self.ring.set_live(&live);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::{Distribution, Hash, Member};

    const RETRY: Duration = Duration::from_millis(1500);

    fn pool(failure_limit: u32) -> Pool {
        let members = [&b"alpha"[..], b"gamma", b"delta"];
        let members = members.map(|name| Member { name: name.into(), weight: 1 }).to_vec();
        let ring = Ring::new(Distribution::Ketama, Hash::Fnv1a_64, None, members, 1);
        Pool::new(ring, 3, Some(Ejection { failure_limit, retry_timeout: RETRY }))
    }

    fn at_ms(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn a_server_is_ejected_after_the_limit_and_returns_after_its_time() {
        let mut pool = pool(2);
        let home = pool.route(b"key", at_ms(0)).unwrap();
        assert!(!pool.failure(home, at_ms(10)));
        assert!(pool.failure(home, at_ms(20)));
        assert_ne!(pool.route(b"key", at_ms(30)), Some(home));
        assert_ne!(pool.route(b"key", at_ms(1519)), Some(home));
        assert_eq!(pool.route(b"key", at_ms(1520)), Some(home));
        assert!(!pool.is_ejected(home));
    }

    #[test]
    fn an_answer_sets_the_count_back() {
        let mut pool = pool(2);
        assert!(!pool.failure(0, at_ms(0)));
        pool.success(0);
        assert!(!pool.failure(0, at_ms(1)));
        assert!(pool.failure(0, at_ms(2)));
    }

    #[test]
    fn an_ejected_server_is_not_ejected_again_by_its_last_connections() {
        let mut pool = pool(1);
        assert!(pool.failure(0, at_ms(0)));
        assert!(!pool.failure(0, at_ms(100)));
        pool.route(b"x", at_ms(1500));
        assert!(!pool.is_ejected(0), "the later failure must not keep it away longer");
    }

    #[test]
    fn what_fails_while_a_server_is_away_does_not_count_when_it_is_back() {
        let mut pool = pool(2);
        for ms in 0..9 {
            pool.failure(0, at_ms(ms));
        }
        pool.route(b"x", at_ms(1501));
        assert!(!pool.failure(0, at_ms(1502)));
        assert!(pool.failure(0, at_ms(1503)));
    }

    #[test]
    fn with_all_away_nothing_is_routed_until_the_first_returns() {
        let mut pool = pool(1);
        for server in 0..3 {
            pool.failure(server, at_ms(server as u64 * 100));
        }
        assert_eq!(pool.route(b"key", at_ms(1499)), None);
        assert_eq!(pool.route(b"key", at_ms(1500)), Some(0));
    }

    #[test]
    fn without_ejection_a_failing_server_keeps_its_keys() {
        let mut pool = pool(1);
        pool.ejection = None;
        let home = pool.route(b"key", at_ms(0)).unwrap();
        for _ in 0..100 {
            assert!(!pool.failure(home, at_ms(1)));
        }
        assert_eq!(pool.route(b"key", at_ms(2)), Some(home));
    }
}
