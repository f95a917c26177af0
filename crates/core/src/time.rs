//! Points in time, passed in as numbers.
//!
//! The engine never reads a clock: every call that needs the time gets `now`. So a simulation can
//! set the time freely, and a worker reads the clock once per turn of its loop.

use core::num::NonZeroU64;
use core::time::Duration;

/// Nanoseconds since a start that the embedder chose. Time never goes backwards.
///
/// One nanosecond more is kept than is meant, so that an `Option<Instant>` is as small as an `Instant`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Instant(NonZeroU64);

impl Default for Instant {
    fn default() -> Self {
        Self::from_nanos(0)
    }
}

impl Instant {
    /// The moment `nanos` nanoseconds after the embedder's start.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(NonZeroU64::MIN.saturating_add(nanos))
    }

    /// Nanoseconds since the embedder's start.
    pub const fn as_nanos(self) -> u64 {
        self.0.get() - 1
    }

    /// The time from `earlier` to `self`; zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.nanos_since(earlier))
    }

    /// The same in nanoseconds, without the division that a [`Duration`] needs.
    pub const fn nanos_since(self, earlier: Self) -> u64 {
        self.0.get().saturating_sub(earlier.0.get())
    }

    /// This moment plus `wait`, at most 584 years after the start.
    pub fn after(self, wait: Duration) -> Self {
        let nanos = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}
