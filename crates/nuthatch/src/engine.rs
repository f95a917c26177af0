//! What a pool's engine is told: the configuration in the engine's words.

use crate::config::Pool;
use crate::generation::{APPLY_MAX, SharedPool, SharedServer};
use nuthatch_core::mux::{Migrate, Mux, Options, ServerId};
use nuthatch_core::protocol::Protocol;
use nuthatch_core::time::Instant;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

/// The engine of a pool in the worker of this number. `epoch` is the wall clock at the start of the process, since
/// which times count, even if the pool comes later.
pub(crate) fn new(shared: &SharedPool, worker: usize, epoch: Duration) -> Mux {
    let ring = shared.ring(seed(epoch, worker));
    let stats = Arc::clone(&shared.workers[worker]);
    let [servers, gutter] = shared.server_stats(worker);
    let mut mux = Mux::new(ring, options(shared, epoch), stats, &servers);
    mux.set_gutter(shared.gutter_ring(), &gutter, |_| true);
    mux.share_arbiter();
    mux.set_quotas(shared.pool.quotas(), &shared.usages.pool);
    mux.set_slow(shared.pool.slow_after.filter(|after| !after.is_zero()));
    mux
}

/// Tells an engine what another generation of its pool says, if its servers stay the same.
pub(crate) fn apply_settings(mux: &mut Mux, shared: &SharedPool) {
    mux.set_options(options(shared, mux.options().epoch));
    mux.set_quotas(shared.pool.quotas(), &shared.usages.pool);
    mux.set_slow(shared.pool.slow_after.filter(|after| !after.is_zero()));
}

/// Tells an engine which servers another generation of its pool has. `is_same` says whether a server of
/// the engine is the one that the pool has under its name now. Workers count the phases of a migration from the time
/// at which the generation was announced, as they get to it at times of their own.
pub(crate) fn apply_servers(
    mux: &mut Mux,
    shared: &SharedPool,
    worker: usize,
    is_same: impl Fn(ServerId, &SharedServer) -> bool,
    (announced, now): (Instant, Instant),
) {
    let ring = shared.ring(seed(mux.options().epoch, worker));
    let [stats, _] = shared.server_stats(worker);
    let is_same = |id| shared.servers.iter().any(|server| is_same(id, server));
    let migrate = migrate(&shared.pool, announced);
    // A change that comes while keys still move is one that was forced.
    if migrate.window.is_zero() || mux.migration(now).is_some() {
        mux.set_servers(ring, &stats, is_same);
    } else {
        let begun = mux.migrate_servers(ring, &stats, is_same, (migrate, now));
        begun.expect("no keys move any longer");
    }
}

/// Tells an engine which servers the gutter of its pool has.
pub(crate) fn apply_gutter(
    mux: &mut Mux,
    shared: &SharedPool,
    worker: usize,
    is_same: impl Fn(ServerId, &SharedServer) -> bool,
) {
    let [_, stats] = shared.server_stats(worker);
    let is_same = |id| shared.servers.iter().any(|server| is_same(id, server));
    mux.set_gutter(shared.gutter_ring(), &stats, is_same);
}

/// How keys of a pool move.
fn migrate(config: &Pool, announced: Instant) -> Migrate {
    Migrate {
        announced: Some(announced),
        settle: config.migrate_settle.max(SETTLE_MIN),
        window: config.migrate_window,
        moves_max: config.migrate_moves_max,
        pause: PAUSE,
        // Its keys are random.
        seed: RandomState::new().build_hasher().finish(),
    }
}

/// The workers of one process change one after the other, too: so much later than the first, at most.
const SETTLE_MIN: Duration = Duration::from_secs(2);
const _: () = assert!(SETTLE_MIN.as_millis() > APPLY_MAX.as_millis(), "else a change may be late");

/// Longer than workers take to change phase one after the other.
const PAUSE: Duration = Duration::from_millis(100);

/// Workers draw different servers where a server is drawn at random.
fn seed(epoch: Duration, worker: usize) -> u64 {
    epoch.as_secs() ^ (worker as u64) << 32
}

fn options(shared: &SharedPool, epoch: Duration) -> Options {
    let config = &shared.pool;
    Options {
        protocol: if config.redis { Protocol::Redis } else { Protocol::Memcache },
        ejection: config.ejection(),
        timeout: config.timeout,
        clocks: config.clocks,
        server_connections: config.server_connections,
        bulk: config.bulk,
        allow_flush: config.allow_flush,
        redis: Arc::new(config.redis_settings()),
        limits: config.limits,
        epoch,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use std::path::Path;

    fn settle(text: &str) -> Duration {
        let text = format!(
            "p: {{listen: \"h:1\", timeout: 400, migrate: {text}, servers: [\"a:1:1\"]}}\n"
        );
        let config = Config::parse(Path::new("a.yml"), text.as_bytes());
        let config = config.unwrap_or_else(|errors| panic!("{errors}"));
        migrate(&config.pools[0], Instant::default()).settle
    }

    #[test]
    fn a_value_moves_only_when_all_workers_of_the_process_know_of_the_change() {
        assert_eq!(settle("{window: 1m, settle: 0s}"), Duration::from_secs(2));
        assert_eq!(settle("{window: 1m, settle: 3s}"), Duration::from_secs(3));
    }
}
