//! Requests that took long, for people to look at.
//!
//! The one rule: of a burst of slow requests only the first are kept, and all are counted.

use super::conn::Pending;
use super::id::{ConnId, ServerId};
use super::server::Servers;
use super::waiter::Waiter;
use super::{Mux, Shared};
use crate::error::ServerError;
use crate::message::{Class, Outcome};
use crate::time::Instant;
use alloc::collections::VecDeque;
use core::time::Duration;

/// So many wait at most until the embedder takes them; further ones are only counted.
const WAITING_MAX: usize = 64;

/// So many bytes of a key are kept until the reply.
pub(super) const KEY_KEPT: usize = 255;

/// So many bytes of a key are shown.
pub const KEY_SHOWN: usize = 64;

/// A request that took long.
#[derive(Clone, Copy, Debug)]
pub struct Slow {
    /// Whom it was for.
    pub server: ServerId,
    /// Its kind.
    pub class: Class,
    /// When it ended.
    pub ended: Instant,
    /// How long it took: since its turn came, until its reply was there.
    pub took: Duration,
    /// How long of that it waited until it was written; none if it was not.
    pub waited: Option<Duration>,
    /// Its bytes, and those of its reply.
    pub bytes: (u32, usize),
    /// Why it failed; none if there was a reply.
    pub failed: Option<ServerError>,
    /// Whether the reply is an error.
    pub is_error: bool,
    /// The hash of its key; none if it has several keys or none, or a key of 255 bytes or more.
    pub hash: Option<u32>,
    key: [u8; KEY_SHOWN],
    key_len: u8,
}

/// Which requests are slow, and those that were.
#[derive(Debug)]
pub(super) struct SlowLog {
    /// Nanoseconds from which on a request is slow.
    pub(super) min: u64,
    waiting: VecDeque<Slow>,
}

impl Default for SlowLog {
    fn default() -> Self {
        Self { min: u64::MAX, waiting: VecDeque::new() }
    }
}

impl SlowLog {
    /// Whether requests are looked at.
    #[inline]
    pub(super) fn is_on(&self) -> bool {
        self.min != u64::MAX
    }
}

impl Slow {
    /// The first [`KEY_SHOWN`] bytes of the key; none if it has several keys, or none.
    pub fn key(&self) -> &[u8] {
        &self.key[..usize::from(self.key_len)]
    }
}

impl Mux {
    /// Requests that take so long are slow; none if nobody wants to know.
    pub fn set_slow(&mut self, min: Option<Duration>) {
        let log = &mut self.shared.slow;
        log.min = min.map_or(u64::MAX, |min| u64::try_from(min.as_nanos()).unwrap_or(u64::MAX - 1));
        if min.is_some() {
            log.waiting.reserve(WAITING_MAX);
        }
    }

    /// Whether a request was slow.
    pub fn has_slow(&self) -> bool {
        !self.shared.slow.waiting.is_empty()
    }

    /// The next request that was slow.
    pub fn next_slow(&mut self) -> Option<Slow> {
        self.shared.slow.waiting.pop_front()
    }
}

impl Servers {
    /// Notes the request at this place of a connection, if it was slow: it has its reply of so many bytes, or has
    /// failed.
    #[cold]
    pub(super) fn note_slow(
        &self,
        shared: &mut Shared,
        id: ConnId,
        (pending, place): (&Pending, usize),
        end: Result<(Outcome, usize), ServerError>,
        now: Instant,
    ) {
        let took = now.nanos_since(pending.begun);
        let is_client = matches!(pending.waiter, Waiter::Slot(_) | Waiter::Fragment(..));
        if took < shared.slow.min || !is_client {
            return;
        }
        shared.stats.slow_requests.add(1);
        if shared.slow.waiting.len() == WAITING_MAX {
            return;
        }
        let conn = &self.conns[id.index()];
        let before: usize = conn.pending.iter().take(place).map(Pending::echo_len).sum();
        let echo = conn.echo.as_slice().get(before..).unwrap_or_default();
        let key = &echo[..usize::from(pending.echo.0).min(echo.len())];
        let shown = &key[..key.len().min(KEY_SHOWN)];
        let mut slow = Slow {
            server: conn.server,
            class: pending.class,
            ended: now,
            took: Duration::from_nanos(took),
            waited: (pending.written >= pending.queued)
                .then(|| pending.written.since(pending.begun)),
            bytes: (pending.bytes, end.map_or(0, |(_, reply)| reply)),
            failed: end.err(),
            is_error: end.is_ok_and(|(outcome, _)| outcome.is_error()),
            // Of a longer key not all is known.
            hash: (1..KEY_KEPT).contains(&key.len()).then(|| self.routes.ring().key_hash(key)),
            key: [0; KEY_SHOWN],
            key_len: u8::try_from(shown.len()).unwrap_or(0),
        };
        slow.key[..shown.len()].copy_from_slice(shown);
        shared.slow.waiting.push_back(slow);
    }
}
