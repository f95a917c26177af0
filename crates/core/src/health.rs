//! The health of servers: when a server is ejected, and when it returns.
//!
//! Without [`Ejection`] a failing server keeps its keys. With [`Ejection`], as in twemproxy
//! (`server_failure`, `server_pool_update`):
//!
//! ```text
//!            failure_limit failures in a row
//!     live ────────────────────────────────────► ejected (its keys go to the others)
//!       ▲                                           │
//!       └───────── after retry_timeout ─────────────┘
//! ```
//!
//! One forwarded reply sets the count of failures to zero. If all servers are ejected, requests
//! fail until the first server returns.

use crate::time::Instant;
use core::time::Duration;

/// When a failing server leaves the ring and when it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// Failures in a row after which a server is ejected (`server_failure_limit`), at least 1.
    pub failure_limit: u32,
    /// How long an ejected server stays off the ring (`server_retry_timeout`).
    pub retry_timeout: Duration,
}

/// The health of one server.
#[derive(Debug, Default)]
pub(crate) struct Health {
    failures: u32,
    away_until: Option<Instant>,
}

impl Health {
    /// Whether the server is on the ring.
    pub(crate) fn is_live(&self) -> bool {
        self.away_until.is_none()
    }

    /// When an ejected server returns.
    pub(crate) fn away_until(&self) -> Option<Instant> {
        self.away_until
    }

    /// Notes that the server answered.
    #[inline]
    pub(crate) fn note_success(&mut self) {
        self.failures = 0;
    }

    /// Notes that the server failed. Returns whether the server is now ejected.
    pub(crate) fn note_failure(&mut self, ejection: Option<Ejection>, now: Instant) -> bool {
        let Some(ejection) = ejection.filter(|_| self.is_live()) else { return false };
        self.failures += 1;
        if self.failures < ejection.failure_limit {
            return false;
        }
        self.failures = 0;
        self.away_until = Some(now.after(ejection.retry_timeout));
        true
    }

    /// Returns an ejected server to the ring if its time is over. Returns whether it did so.
    pub(crate) fn return_if_due(&mut self, now: Instant) -> bool {
        let is_due = self.away_until.is_some_and(|at| at <= now);
        if is_due {
            self.away_until = None;
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY: Duration = Duration::from_millis(1500);

    fn ejection(failure_limit: u32) -> Option<Ejection> {
        Some(Ejection { failure_limit, retry_timeout: RETRY })
    }

    fn at_ms(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn a_server_is_ejected_after_the_limit_and_returns_after_its_time() {
        let mut health = Health::default();
        assert!(!health.note_failure(ejection(2), at_ms(10)));
        assert!(health.note_failure(ejection(2), at_ms(20)));
        assert!(!health.is_live() && !health.return_if_due(at_ms(1519)));
        assert!(health.return_if_due(at_ms(1520)) && health.is_live());
        assert!(!health.return_if_due(at_ms(1521)), "it has returned already");
    }

    #[test]
    fn an_answer_sets_the_count_back() {
        let mut health = Health::default();
        assert!(!health.note_failure(ejection(2), at_ms(0)));
        health.note_success();
        assert!(!health.note_failure(ejection(2), at_ms(1)));
        assert!(health.note_failure(ejection(2), at_ms(2)));
    }

    #[test]
    fn an_ejected_server_is_not_ejected_again_by_its_last_connections() {
        let mut health = Health::default();
        assert!(health.note_failure(ejection(1), at_ms(0)));
        assert!(!health.note_failure(ejection(1), at_ms(100)));
        assert!(health.return_if_due(at_ms(1500)), "the later failure keeps it away no longer");
    }

    #[test]
    fn what_fails_while_a_server_is_away_does_not_count_when_it_is_back() {
        let mut health = Health::default();
        for ms in 0..9 {
            health.note_failure(ejection(2), at_ms(ms));
        }
        assert!(health.return_if_due(at_ms(1501)));
        assert!(!health.note_failure(ejection(2), at_ms(1502)));
        assert!(health.note_failure(ejection(2), at_ms(1503)));
    }

    #[test]
    fn without_ejection_a_failing_server_stays() {
        let mut health = Health::default();
        assert!((0..100).all(|ms| !health.note_failure(None, at_ms(ms))));
        assert!(health.is_live());
    }
}
