//! The figures of a pool and its servers, summed over the workers.
//!
//! The one rule: every reply to a client that has figures gets them here, so no two replies differ
//! in what they count.

use nuthatch_core::stats::{Counter, PoolStats, ServerStats};
use std::sync::Arc;

/// The gauges among a pool's counters.
pub(crate) const GAUGES: [&str; 3] =
    ["client_connections", "dedicated_connections", "bulk_clients"];

/// The counters that only a Redis pool moves.
pub(crate) const OF_REDIS: [&str; 2] = ["limit_dedicated", "dedicated_connections"];

/// The pool's counters by name, over all workers, in order.
pub(crate) struct Figures(Vec<(&'static str, u64)>);

impl Figures {
    pub(crate) fn of(workers: &[Arc<PoolStats>]) -> Self {
        let mut sums: Vec<(&str, u64)> = Vec::new();
        for pool in workers {
            let counters = pool.all().map(|(name, counter)| (name, counter.read()));
            for (index, (name, value)) in counters.chain(pool.results.all()).enumerate() {
                match sums.get_mut(index) {
                    Some((_, sum)) => *sum += value,
                    None => sums.push((name, value)),
                }
            }
        }
        Self(sums)
    }

    /// The sum of the counter of this name.
    pub(crate) fn named(&self, wanted: &str) -> u64 {
        self.all().find(|(name, _)| *name == wanted).map_or(0, |(_, value)| value)
    }

    /// All of them, in order.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().copied()
    }

    /// All of them, in order, to be changed.
    pub(crate) fn all_mut(&mut self) -> impl Iterator<Item = &mut (&'static str, u64)> {
        self.0.iter_mut()
    }
}

/// A counter of one server, summed over the workers.
pub(crate) fn of_server<'s>(
    workers: impl Iterator<Item = &'s ServerStats>,
    counter: fn(&ServerStats) -> &Counter,
) -> u64 {
    workers.map(|stats| counter(stats).read()).sum()
}

/// The state of one server: `up`, `down` (a connection failed and no reply came since, in one worker
/// at least), `ejected` (likewise), or `unused`.
pub(crate) fn state<'s>(workers: &(impl Iterator<Item = &'s ServerStats> + Clone)) -> &'static str {
    let sum = |counter| of_server(workers.clone(), counter);
    match () {
        () if sum(|stats| &stats.more.is_ejected) > 0 => "ejected",
        () if sum(|stats| &stats.more.is_down) > 0 => "down",
        () if sum(|stats| &stats.responses) > 0 => "up",
        () => "unused",
    }
}
