//! What the arbiter knows of one server.

use super::{Ejection, OnOverflow, Share};
use crate::error::ServerError;
use crate::health::OnFailure;
use crate::time::Instant;
use core::time::Duration;

/// What is known of a server.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) pool: u64,
    /// Whether it is a server of the pool's gutter.
    pub(super) is_gutter: bool,
    pub(super) ejection: Ejection,
    pub(super) state: State,
    /// Of which of its keys it is used: of none, once workers are told to leave it.
    pub(super) share: Share,
    /// Likewise, once it is closed no longer.
    pub(super) next_share: Share,
    /// Counts up with each order that is to be confirmed.
    pub(super) round: u32,
    pub(super) error: ServerError,
    /// Whether the operator has ejected it.
    pub(super) is_held: bool,
    /// Whether keys that it has not got back may have been changed without being remembered.
    pub(super) has_overflowed: bool,
    /// How long it stays away this time, and when it was used again last.
    pub(super) stay: Duration,
    pub(super) returned_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Live,
    /// On so many workers, clients have begun something there.
    Draining(usize, Instant),
    /// So many workers have not left it; when they are told again, and how long they had until then.
    Leaving(usize, Instant, Duration),
    Away(Probing),
    /// So many workers are not done.
    Replaying(usize, Instant),
    Closing(usize, Instant),
    /// It has a share of its keys, and gets more then.
    Warming(Instant),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Probing {
    /// When the next probe is sent.
    pub(super) next: Instant,
    /// When the one that is under way has failed.
    pub(super) ends: Option<Instant>,
    /// How many have succeeded in a row.
    pub(super) good: u32,
    /// How many were sent.
    pub(super) sent: usize,
}

impl Seat {
    /// Whether both are servers of the same pool, or of the same gutter.
    pub(super) fn is_beside(&self, other: &Self) -> bool {
        (self.pool, self.is_gutter) == (other.pool, other.is_gutter)
    }

    /// Whether it gets keys of the other server while that one is away.
    pub(super) fn stands_in_for(&self, other: &Self) -> bool {
        let by_gutter = other.ejection.on_failure == OnFailure::Gutter;
        self.pool == other.pool && self.is_gutter == by_gutter
    }

    /// How a server stands that is used for its share of the keys.
    pub(super) fn in_use(&self, now: Instant) -> State {
        match self.share {
            Share::ALL => State::Live,
            _ => State::Warming(now.after(self.ejection.slow_start / Share::STEPS)),
        }
    }

    /// Whether the server stays away until the operator lets it return.
    pub(super) fn stays(&self) -> bool {
        self.is_held || self.has_overflowed && self.ejection.on_overflow == OnOverflow::Stay
    }
}

impl Probing {
    pub(super) fn after(next: Instant) -> Self {
        Self { next, ends: None, good: 0, sent: 0 }
    }
}
