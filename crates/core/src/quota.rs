//! How many requests clients may send: in a second, and at the same time.
//!
//! A token bucket that holds a second's worth of requests. It is kept as one time, that at which the bucket
//! will be full again (the generic cell rate algorithm, ITU-T I.371), so that workers share it without a lock.

use crate::time::Instant;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

const SECOND: u64 = 1_000_000_000;

/// What a pool, or the clients of one address, may send; 0 for as much as they like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Requests in a second, at most a billion.
    pub per_second: u32,
    /// Requests in flight.
    pub in_flight: u32,
}

/// The quotas of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quotas {
    /// For all its clients together.
    pub pool: Quota,
    /// For the clients of each address.
    pub address: Quota,
}

/// What was used of a quota. Workers share it.
#[derive(Debug, Default)]
pub struct Usage {
    /// When the bucket is full again, in nanoseconds of [`Instant`].
    full_at: AtomicU64,
    in_flight: AtomicU64,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reached {
    /// The quota's requests per second.
    PerSecond,
    /// The quota's requests in flight.
    InFlight,
}

impl Quota {
    /// Whether it limits anything.
    pub fn is_set(self) -> bool {
        self != Self::default()
    }

    /// Nanoseconds for each request.
    fn interval(self) -> u64 {
        SECOND.checked_div(u64::from(self.per_second)).unwrap_or(0)
    }
}

impl Quotas {
    /// Whether they limit anything.
    pub fn are_set(self) -> bool {
        self.pool.is_set() || self.address.is_set()
    }
}

impl Usage {
    /// Whether another request is too much.
    pub(crate) fn reached(&self, quota: Quota, now: Instant) -> Option<Reached> {
        if quota.in_flight > 0 && self.in_flight.load(Relaxed) >= u64::from(quota.in_flight) {
            return Some(Reached::InFlight);
        }
        let full_in = self.full_at.load(Relaxed).saturating_sub(now.as_nanos());
        (quota.per_second > 0 && full_in + quota.interval() > SECOND).then_some(Reached::PerSecond)
    }

    /// A request was taken.
    pub(crate) fn take(&self, quota: Quota, now: Instant) {
        if quota.per_second == 0 {
            return;
        }
        // What is taken in any case makes no debt: nobody is refused for longer than a second because of it.
        let most = now.as_nanos() + SECOND;
        let next = |full_at: u64| (full_at.max(now.as_nanos()) + quota.interval()).min(most);
        let _ = self.full_at.fetch_update(Relaxed, Relaxed, |full_at| Some(next(full_at)));
    }

    /// Brings the requests in flight up to date: a client has `now`, and had `before`.
    pub(crate) fn note(&self, before: u32, now: u32) {
        // It wraps around and back.
        self.in_flight.fetch_add(u64::from(now).wrapping_sub(u64::from(before)), Relaxed);
    }

    /// Whether nothing is used, so that it may be forgotten.
    pub fn is_unused(&self, now: Instant) -> bool {
        self.full_at.load(Relaxed) <= now.as_nanos() && self.in_flight() == 0
    }

    /// Requests in flight.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_ms(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    fn taken(usage: &Usage, quota: Quota, now: Instant) -> usize {
        let takes = |_: &usize| {
            let may = usage.reached(quota, now).is_none();
            if may {
                usage.take(quota, now);
            }
            may
        };
        (0..10_000).take_while(takes).count()
    }

    #[test]
    fn a_bucket_holds_a_second_and_fills_at_its_rate() {
        for per_second in [1, 3, 10, 1000] {
            let (usage, quota) = (Usage::default(), Quota { per_second, in_flight: 0 });
            let all = per_second as usize;
            assert_eq!(taken(&usage, quota, at_ms(5000)), all);
            assert_eq!(taken(&usage, quota, at_ms(5000)), 0);
            assert_eq!(taken(&usage, quota, at_ms(5500)), all / 2);
            assert_eq!(taken(&usage, quota, at_ms(60_000)), all, "no more than a second's worth");
        }
    }

    #[test]
    fn what_is_taken_above_the_quota_makes_no_debt() {
        let (usage, quota) = (Usage::default(), Quota { per_second: 10, in_flight: 0 });
        (0..1000).for_each(|_| usage.take(quota, at_ms(0)));
        assert!(usage.reached(quota, at_ms(50)).is_some() && !usage.is_unused(at_ms(999)));
        assert!(usage.reached(quota, at_ms(100)).is_none() && usage.is_unused(at_ms(1000)));
    }

    #[test]
    fn nothing_is_limited_without_a_quota() {
        let usage = Usage::default();
        usage.note(0, u32::MAX);
        assert_eq!(taken(&usage, Quota::default(), at_ms(0)), 10_000);
    }

    #[test]
    fn requests_in_flight_are_counted_over_all_clients() {
        let (usage, quota) = (Usage::default(), Quota { per_second: 0, in_flight: 5 });
        usage.note(0, 3);
        assert_eq!(usage.reached(quota, at_ms(0)), None);
        usage.note(0, 2);
        assert_eq!(usage.reached(quota, at_ms(0)), Some(Reached::InFlight));
        usage.note(3, 1);
        assert_eq!((usage.in_flight(), usage.reached(quota, at_ms(0))), (3, None));
        usage.note(1, 0);
        usage.note(2, 0);
        assert_eq!(usage.in_flight(), 0);
    }
}
