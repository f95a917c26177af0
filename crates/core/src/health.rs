//! The health of servers: when a server is ejected, and when it is used again.
//!
//! Each worker sees failures of its own (`Health`), and one [`Arbiter`] decides for all workers of a
//! process, so that no worker uses a server that another one has left. Without [`Ejection`] a failing
//! server keeps its keys and gets its requests.
//!
//! ```text
//!         failure_limit in a row, or too many of all          all workers have left it
//!    live ──────────────────────────────────────────► leaving ────────────────────────► away
//!      ▲                                                                                  │ retry_timeout,
//!      │ all workers have removed           what was missed is removed there              │ then probes
//!      └──────────────────────── closing ◄──────────────────────────────── replaying ◄────┘
//! ```
//!
//! With `slow_start`, closing ends with a tenth of the server's keys ([`Share`]), and others go on standing in for the
//! rest. Each further tenth takes another round of replaying and closing, until the server is live.
//!
//! While a server is away, what happens to the requests for its keys is the pool's choice ([`OnFailure`]).
//! Writes of that time are remembered by key, in a journal, and their keys are removed from the server
//! before it gets requests again. twemproxy (`server_failure`, `server_pool_update`) has the first arrow,
//! and goes back to live after `retry_timeout`, untested.

mod arbiter;
mod order;
mod share;

pub use arbiter::Arbiter;
pub use order::{Command, Decision, Order, Report, Seen, Stage, To};
pub use share::Share;
pub(crate) use share::tenth_of;

use crate::error::ServerError;
use crate::time::Instant;
use core::time::Duration;

/// When a failing server leaves the pool, what happens meanwhile, and when it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// Failures in a row after which a server is ejected (`server_failure_limit`), at least 1.
    pub failure_limit: u32,
    /// The share of its requests whose failure ejects a server; none if only failures in a row count.
    pub failure_rate: Option<FailureRate>,
    /// How long an ejected server stays away at least (`server_retry_timeout`).
    pub retry_timeout: Duration,
    /// Probes that must succeed, one after the other, before a server returns; 0 to let it return untested,
    /// as twemproxy does.
    pub probes: u32,
    /// How long a probe may take.
    pub probe_timeout: Duration,
    /// In which time a server that returns gets its keys back, where others stand in for it; zero for at once.
    pub slow_start: Duration,
    /// The share of a pool's servers that may be away at the same time, in percent.
    pub ejected_max: u32,
    /// What happens to the requests for the keys of a server that is away.
    pub on_failure: OnFailure,
    /// Bytes of keys that are remembered for each server that is away; 0 to remember none.
    pub journal_max: usize,
    /// What happens when more keys were changed than could be remembered.
    pub on_overflow: OnOverflow,
    /// How long a value may stay in a gutter server; at least a second, and at most what memcached takes for
    /// a relative time, thirty days.
    pub gutter_ttl: Duration,
}

impl Default for Ejection {
    /// As twemproxy ejects.
    fn default() -> Self {
        Self {
            failure_limit: 2,
            failure_rate: None,
            retry_timeout: Duration::from_secs(30),
            probes: 0,
            probe_timeout: Duration::from_secs(1),
            slow_start: Duration::ZERO,
            ejected_max: 100,
            on_failure: OnFailure::Rehash,
            journal_max: 0,
            on_overflow: OnOverflow::Return,
            gutter_ttl: Duration::from_secs(60),
        }
    }
}

impl Ejection {
    /// Whether others stand in for a server, and may go on with a part of its keys while it returns. Where the
    /// ring is that of the other servers (twemproxy), more keys than its own move when it returns, all at once.
    #[must_use]
    pub fn starts_slowly(&self) -> bool {
        let stand_in = match self.on_failure {
            OnFailure::Rehash => self.journal_max > 0,
            OnFailure::Gutter => true,
            OnFailure::Error | OnFailure::Miss => false,
        };
        stand_in && !self.slow_start.is_zero()
    }
}

/// A share of failed requests that ejects a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailureRate {
    /// The share, in percent of the requests that have ended.
    pub percent: u32,
    /// Requests that must have ended before the share counts.
    pub requests_min: u64,
    /// The time in which requests are counted.
    pub window: Duration,
}

/// What happens to the requests for the keys of a server that is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// Other servers of the ring have its keys (twemproxy `auto_eject_hosts`).
    Rehash,
    /// They fail at once.
    Error,
    /// Reads find nothing; writes are dropped, and say so where the protocol can.
    Miss,
    /// The gutter has its keys: servers that are there only for this, and keep a value for `gutter_ttl` at most.
    Gutter,
}

/// What happens to a server when more of its keys were changed than could be remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnOverflow {
    /// It returns with what it has, as with twemproxy: values may be stale.
    Return,
    /// It is emptied before it returns.
    Flush,
    /// It stays away until the operator lets it return.
    Stay,
}

/// What one worker knows of a server.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// Whether the worker uses the server.
    pub(crate) standing: Standing,
    /// Of which keys it is used, unless it is left. One that is live has all of them.
    pub(crate) share: Share,
    /// Whether it will be live when it is closed no longer.
    pub(crate) is_last_close: bool,
    /// Why the server was ejected.
    pub(crate) error: Option<ServerError>,
    /// Whether it is drained.
    pub(crate) drain: Drain,
    /// Failures since the last success.
    in_a_row: u32,
    /// Requests that have failed since `counts_from`, when the server had answered so many.
    failed: u64,
    answered: u64,
    counts_from: Instant,
}

/// How a worker stands to a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It sends requests there.
    #[default]
    Live,
    /// It sends none; another worker still may.
    Left,
    /// Nobody does, but for its share of the keys: others may stand in for the server.
    Away,
    /// Likewise; what the server has missed is removed there.
    Replaying,
    /// Nobody stands in for it any more; requests wait until it has more keys, or is live.
    Closing,
}

/// How far a server is drained by a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Drain {
    /// It is not.
    #[default]
    No,
    /// Clients have begun something there, and none begins anything more; the round of the order.
    Begun(u32),
    /// None has anything there.
    Done,
}

impl Health {
    /// That of a server that has got this share of its keys back; the error is why it was ejected.
    pub(crate) fn warm(share: Share, error: Option<ServerError>) -> Self {
        Self { standing: Standing::Away, share, error, ..Self::default() }
    }

    /// Whether the worker sends requests for all of its keys to the server.
    pub(crate) fn is_live(&self) -> bool {
        self.standing == Standing::Live
    }

    /// Whether others stand in for the server.
    pub(crate) fn is_away(&self) -> bool {
        matches!(self.standing, Standing::Away | Standing::Replaying)
    }

    /// Whether it is not decided who serves the server's keys: requests for them wait.
    pub(crate) fn is_undecided(&self) -> bool {
        matches!(self.standing, Standing::Left | Standing::Closing)
    }

    /// Whether others stand in for the server, or will again although they do not now.
    pub(crate) fn stays_away(&self) -> bool {
        self.is_away() || self.standing == Standing::Closing && !self.is_last_close
    }

    /// Whether the server has been found well, and is to have all of its keys soon.
    pub(crate) fn is_returning(&self) -> bool {
        match self.standing {
            Standing::Live | Standing::Left => false,
            Standing::Away => self.is_warming(),
            Standing::Replaying | Standing::Closing => true,
        }
    }

    /// Whether others stand in for the server, but for a share of its keys.
    pub(crate) fn is_warming(&self) -> bool {
        self.is_away() && self.share != Share::NONE
    }

    /// Of which keys the worker sends requests there.
    pub(crate) fn share_asked(&self) -> Share {
        if self.standing == Standing::Left { Share::NONE } else { self.share }
    }

    /// Notes that the server answered.
    #[inline]
    pub(crate) fn note_success(&mut self) {
        self.in_a_row = 0;
    }

    /// Notes that the server failed, and so many of its requests, of which it has answered so many since its
    /// first. Returns whether the server should be ejected.
    pub(crate) fn note_failure(
        &mut self,
        ejection: &Ejection,
        counts: (usize, u64),
        now: Instant,
    ) -> bool {
        if self.share_asked() == Share::NONE {
            return false;
        }
        self.in_a_row += 1;
        if self.in_a_row >= ejection.failure_limit {
            self.forget_failures();
            return true;
        }
        self.note_failed_requests(ejection, counts, now)
    }

    /// Notes that requests failed although the server did not. Returns whether it should be ejected.
    pub(crate) fn note_failed_requests(
        &mut self,
        ejection: &Ejection,
        (requests, answered): (usize, u64),
        now: Instant,
    ) -> bool {
        let is_failing = self.share_asked() != Share::NONE
            && ejection
                .failure_rate
                .is_some_and(|rate| self.exceeds(rate, requests, answered, now));
        if is_failing {
            self.forget_failures();
        }
        is_failing
    }

    fn exceeds(&mut self, rate: FailureRate, requests: usize, answered: u64, now: Instant) -> bool {
        if self.failed == 0 || self.counts_from.after(rate.window) <= now {
            (self.counts_from, self.failed, self.answered) = (now, 0, answered);
        }
        self.failed += requests.max(1) as u64;
        let ended = self.failed + answered.wrapping_sub(self.answered);
        ended >= rate.requests_min.max(1) && self.failed * 100 >= ended * u64::from(rate.percent)
    }

    fn forget_failures(&mut self) {
        (self.in_a_row, self.failed) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_ms(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    fn limit(failure_limit: u32) -> Ejection {
        Ejection { failure_limit, ..Ejection::default() }
    }

    #[test]
    fn failures_in_a_row_eject_and_a_success_begins_anew() {
        let mut health = Health::default();
        assert!(!health.note_failure(&limit(2), (1, 0), at_ms(0)));
        health.note_success();
        assert!(!health.note_failure(&limit(2), (1, 0), at_ms(1)));
        assert!(health.note_failure(&limit(2), (1, 0), at_ms(2)));
        assert!(!health.note_failure(&limit(2), (1, 0), at_ms(3)), "the count begins anew");
    }

    #[test]
    fn what_fails_while_a_server_is_not_used_does_not_count() {
        let mut health = Health { standing: Standing::Left, ..Health::default() };
        assert!((0..9).all(|ms| !health.note_failure(&limit(1), (1, 0), at_ms(ms))));
        health.standing = Standing::Live;
        assert!(!health.note_failure(&limit(2), (1, 0), at_ms(10)));
    }

    #[test]
    fn requests_that_are_late_while_a_server_is_not_used_do_not_count() {
        let rate = FailureRate { percent: 50, requests_min: 2, window: Duration::from_secs(1) };
        let ejection = Ejection { failure_rate: Some(rate), ..limit(1) };
        for (standing, share) in [
            (Standing::Left, Share::ALL),
            (Standing::Left, Share::NONE.more()),
            (Standing::Away, Share::NONE),
        ] {
            let mut health = Health { standing, share, ..Health::default() };
            assert!(!health.note_failed_requests(&ejection, (9, 0), at_ms(0)), "{standing:?}");
        }
        let mut health = Health::warm(Share::NONE.more(), None);
        assert!(health.note_failed_requests(&ejection, (9, 0), at_ms(0)));
    }

    #[test]
    fn a_share_of_failed_requests_ejects_whatever_succeeds_between_them() {
        let window = Duration::from_secs(10);
        let rate = FailureRate { percent: 50, requests_min: 20, window };
        let ejection = Ejection { failure_rate: Some(rate), ..limit(100) };
        // Of what fails and is answered at these times, the failure that ejects.
        for (failures, expected) in [
            (&[(0, 9, 0), (1, 1, 9), (2, 1, 9)][..], Some(2)),
            (&[(0, 9, 0), (1, 10, 20)], None),
            (&[(0, 19, 0)], None),
            (&[(0, 20, 7)], Some(0)),
            // The first ten are too long ago.
            (&[(0, 10, 0), (10_000, 10, 0), (10_001, 10, 0)], Some(2)),
        ] {
            let mut health = Health::default();
            let ejects = failures.iter().position(|&(ms, requests, answered)| {
                health.note_success();
                health.note_failure(&ejection, (requests, answered), at_ms(ms))
            });
            assert_eq!(ejects, expected, "{failures:?}");
        }
    }

    #[test]
    fn requests_that_fail_alone_count_for_the_share_only() {
        let rate = FailureRate { percent: 50, requests_min: 2, window: Duration::from_secs(1) };
        let with_rate = Ejection { failure_rate: Some(rate), ..limit(1) };
        let mut health = Health::default();
        assert!(!health.note_failed_requests(&limit(1), (9, 0), at_ms(0)));
        assert!(!health.note_failed_requests(&with_rate, (1, 0), at_ms(0)));
        assert!(health.note_failed_requests(&with_rate, (1, 0), at_ms(0)));
    }
}
