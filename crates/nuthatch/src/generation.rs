//! The pools as one configuration has them, and what a pool and a server keep when the next one comes.
//!
//! The one rule: whoever reads a generation sees all of it. The next generation is another value; a
//! pool and a server that stay are in both, with the same figures.

use crate::addresses::Addresses;
use crate::config::{Pool, Server};
use crate::question::Baseline;
use crate::resolve::Resolver;
use crate::slow::SlowLog;
use crate::usages::Usages;
use nuthatch_core::health::Seen;
use nuthatch_core::ring::{Distribution, Ring};
use nuthatch_core::stats::{PoolStats, ServerStats};
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The data of one pool that all workers share.
#[derive(Debug, Clone)]
pub(crate) struct SharedPool {
    /// The number that no other pool of this process has had.
    pub(crate) id: u64,
    pub(crate) pool: Arc<Pool>,
    /// The ring with all servers on it.
    pub(crate) ring: Arc<Ring>,
    /// The ring of the gutter, perhaps without members.
    pub(crate) gutter_ring: Arc<Ring>,
    /// Its figures, one block a worker.
    pub(crate) workers: Arc<[Arc<PoolStats>]>,
    /// Its servers, in the order of the pool, and after them those of the gutter.
    pub(crate) servers: Arc<[Arc<SharedServer>]>,
    /// The values that `stats` subtracts.
    pub(crate) baseline: Arc<Baseline>,
    /// What its clients have used of their quotas.
    pub(crate) usages: Arc<Usages>,
    /// Its last slow requests.
    pub(crate) slow: Arc<SlowLog>,
    /// The resolver of the process.
    pub(crate) resolver: Resolver,
}

/// The data of one server of a pool that all workers share.
#[derive(Debug)]
pub struct SharedServer {
    pub(crate) server: Server,
    /// Whether it is one of the gutter.
    pub(crate) is_gutter: bool,
    /// Its figures, one block a worker.
    pub(crate) workers: Arc<[Arc<ServerStats>]>,
    /// Which of its addresses is used.
    pub(crate) addresses: Arc<Addresses>,
    /// The number that no other server of this process has had.
    pub(crate) number: u64,
    /// Whether it is used, and why not.
    pub(crate) verdict: Arc<Mutex<Option<Verdict>>>,
}

/// What was decided about a server for all workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) seen: Seen,
    /// Since when, and when it is tried next: as the time since 1970.
    pub(crate) since: Duration,
    pub(crate) next_try: Option<Duration>,
}

/// The number of the next server.
static NEXT_SERVER: AtomicU64 = AtomicU64::new(0);

/// The pools of a configuration.
#[derive(Debug)]
pub(crate) struct Generation {
    /// Counts the configurations of this process, from 1.
    pub(crate) number: u64,
    pub(crate) pools: Vec<SharedPool>,
    /// Sockets that listen for clients, over all workers.
    pub(crate) listeners: usize,
    /// The next pool's id.
    next_id: u64,
    /// The resolver of the process.
    pub(crate) resolver: Resolver,
}

/// How long a change waits until all workers serve the next generation.
pub(crate) const APPLY_MAX: Duration = Duration::from_secs(1);

/// The keys of a pool still move.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moving {
    /// Until when, as the time since 1970.
    pub(crate) until: Duration,
    pool: String,
}

impl fmt::Display for Moving {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.until.saturating_sub(since_epoch()).as_secs();
        let pool = &self.pool;
        write!(out, "pool {pool}: the keys of the last change still move, for {seconds} seconds")
    }
}

/// The time since 1970.
pub(crate) fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl SharedServer {
    /// A server without figures.
    pub(crate) fn new(server: Server, is_gutter: bool, workers: usize) -> Self {
        let workers = (0..workers).map(|_| Arc::default()).collect();
        Self::with(server, is_gutter, workers)
    }

    fn with(server: Server, is_gutter: bool, workers: Arc<[Arc<ServerStats>]>) -> Self {
        let number = NEXT_SERVER.fetch_add(1, Ordering::Relaxed);
        let (addresses, verdict) = (Arc::default(), Arc::default());
        Self { server, is_gutter, workers, addresses, number, verdict }
    }

    /// The same server as `before`, unless its address is another: then only the figures go on.
    fn after(before: &Arc<Self>, server: Server, is_same_data: bool) -> Arc<Self> {
        let (workers, is_gutter) = (Arc::clone(&before.workers), before.is_gutter);
        if !is_same_data || before.server.address != server.address {
            return Arc::new(Self::with(server, is_gutter, workers));
        }
        let (addresses, verdict) = (Arc::clone(&before.addresses), Arc::clone(&before.verdict));
        Arc::new(Self { server, is_gutter, workers, addresses, number: before.number, verdict })
    }

    /// Whether `other` is the same server, perhaps with another weight.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.addresses, &other.addresses)
    }

    /// What was decided about it; none if it is used for all of its keys.
    pub(crate) fn verdict(&self) -> Option<Verdict> {
        *self.verdict.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its figures in each worker.
    pub(crate) fn stats(&self) -> impl Iterator<Item = &ServerStats> + Clone {
        self.workers.iter().map(|stats| &**stats)
    }
}

impl SharedPool {
    fn new(id: u64, pool: Pool, workers: usize, resolver: &Resolver) -> Self {
        let new = |(server, is_gutter): (&Server, bool)| {
            Arc::new(SharedServer::new(server.clone(), is_gutter, workers))
        };
        Self {
            id,
            ring: Arc::new(pool.ring(0)),
            gutter_ring: Arc::new(pool.gutter_ring(0)),
            workers: (0..workers).map(|_| Arc::default()).collect(),
            servers: listed(&pool).map(new).collect(),
            baseline: Arc::default(),
            usages: Arc::default(),
            slow: Arc::default(),
            pool: Arc::new(pool),
            resolver: resolver.clone(),
        }
    }

    /// The pool with other settings. A server is known by its name, as one of the pool or of the gutter.
    fn after(&self, pool: Pool) -> Self {
        let mut known: HashMap<(&str, bool), Vec<&Arc<SharedServer>>> = HashMap::new();
        for server in self.servers.iter().rev() {
            known.entry((&server.server.name, server.is_gutter)).or_default().push(server);
        }
        let is_same_data = self.pool.redis_db == pool.redis_db;
        let servers = listed(&pool).map(|(server, is_gutter)| {
            let before = known.get_mut(&(server.name.as_str(), is_gutter)).and_then(Vec::pop);
            match before {
                Some(before) => SharedServer::after(before, server.clone(), is_same_data),
                None => Arc::new(SharedServer::new(server.clone(), is_gutter, self.workers.len())),
            }
        });
        Self {
            ring: Arc::new(pool.ring(0)),
            gutter_ring: Arc::new(pool.gutter_ring(0)),
            servers: servers.collect(),
            pool: Arc::new(pool),
            ..self.clone()
        }
    }

    /// The servers of the ring, and those of the gutter.
    fn parts(&self) -> (&[Arc<SharedServer>], &[Arc<SharedServer>]) {
        self.servers.split_at(self.pool.servers.len())
    }

    /// Whether a later generation of the pool has the same servers in the same places of the ring.
    pub(crate) fn has_servers_of(&self, later: &Self) -> bool {
        are_same(self.parts().0, later.parts().0)
            && self.ring.fingerprint() == later.ring.fingerprint()
    }

    /// Whether a later generation of the pool has the same gutter.
    pub(crate) fn has_gutter_of(&self, later: &Self) -> bool {
        are_same(self.parts().1, later.parts().1)
            && self.gutter_ring.fingerprint() == later.gutter_ring.fingerprint()
    }

    /// Until when keys still move after the last change: microseconds since 1970. None if no keys move.
    pub(crate) fn moves_until(&self) -> Option<u64> {
        let of_worker = self.workers.iter().map(|stats| stats.migration.ends_at.read());
        of_worker.max().filter(|at| *at > 0)
    }

    /// That keys still move after the last change, if they do.
    pub(crate) fn moving(&self) -> Option<Moving> {
        let until = Duration::from_micros(self.moves_until()?);
        Some(Moving { until, pool: self.pool.name.clone() })
    }

    /// Whether a pool of the next configuration is this one.
    fn becomes(&self, next: &Pool) -> bool {
        self.pool.name == next.name && self.pool.redis == next.redis
    }

    /// The ring for one worker; `seed` is for the distribution `random` only.
    pub(crate) fn ring(&self, seed: u64) -> Ring {
        match self.pool.distribution {
            Distribution::Random => self.pool.ring(seed),
            _ => Ring::clone(&self.ring),
        }
    }

    /// The ring of the gutter for one worker.
    pub(crate) fn gutter_ring(&self) -> Ring {
        Ring::clone(&self.gutter_ring)
    }

    /// The figures of its servers in one worker: of those on the ring, and of those in the gutter.
    pub(crate) fn server_stats(&self, worker: usize) -> [Vec<Arc<ServerStats>>; 2] {
        let (servers, gutter) = self.parts();
        [servers, gutter]
            .map(|part| part.iter().map(|server| Arc::clone(&server.workers[worker])).collect())
    }

    /// Each server with its ring and its number there.
    pub(crate) fn numbered(&self) -> impl Iterator<Item = (&Ring, usize, &Arc<SharedServer>)> {
        let (servers, gutter) = self.parts();
        let of_ring = servers.iter().enumerate().map(|(number, it)| (&*self.ring, number, it));
        let of_gutter =
            gutter.iter().enumerate().map(|(number, it)| (&*self.gutter_ring, number, it));
        of_ring.chain(of_gutter)
    }
}

/// The servers of a pool, and after them those of its gutter.
fn listed(pool: &Pool) -> impl Iterator<Item = (&Server, bool)> {
    let gutter = pool.gutter().iter().map(|server| (server, true));
    pool.servers.iter().map(|server| (server, false)).chain(gutter)
}

fn are_same(now: &[Arc<SharedServer>], then: &[Arc<SharedServer>]) -> bool {
    now.len() == then.len() && now.iter().zip(then).all(|(now, then)| now.is(then))
}

impl Generation {
    /// The pools at the start of the process.
    pub(crate) fn first(pools: Vec<Pool>, workers: usize, resolver: &Resolver) -> Self {
        let (number, pools_before, listeners, next_id) = (0, Vec::new(), 0, 0);
        let resolver = resolver.clone();
        let none = Self { number, pools: pools_before, listeners, next_id, resolver };
        none.next(pools, workers)
    }

    /// The pools of the next configuration. A pool that stays has its name and its protocol.
    pub(crate) fn next(&self, pools: Vec<Pool>, workers: usize) -> Self {
        let mut next_id = self.next_id;
        let shared = pools.into_iter().map(|mut pool| {
            if let Some(before) = self.pools.iter().find(|before| before.becomes(&pool)) {
                // With another number a client's requests could overtake each other.
                pool.server_connections = before.pool.server_connections;
                pool.bulk.connections = before.pool.bulk.connections;
                return before.after(pool);
            }
            next_id += 1;
            SharedPool::new(next_id, pool, workers, &self.resolver)
        });
        let pools = shared.collect();
        let (number, listeners, resolver) =
            (self.number + 1, self.listeners, self.resolver.clone());
        Self { number, pools, listeners, next_id, resolver }
    }

    /// The pool whose keys move longest, if those of one do.
    pub(crate) fn moving(&self) -> Option<Moving> {
        self.pools.iter().filter_map(SharedPool::moving).max()
    }

    /// The configurations of the pools.
    pub(crate) fn configs(&self) -> Vec<Arc<Pool>> {
        self.pools.iter().map(|shared| Arc::clone(&shared.pool)).collect()
    }

    /// The pool that was this one in an earlier generation.
    pub(crate) fn pool(&self, id: u64) -> Option<&SharedPool> {
        self.pools.iter().find(|shared| shared.id == id)
    }
}

/// The generation that is served, for threads that are no workers.
#[derive(Debug, Clone)]
pub(crate) struct Published(Arc<RwLock<Arc<Generation>>>);

impl Published {
    pub(crate) fn new(generation: Arc<Generation>) -> Self {
        Self(Arc::new(RwLock::new(generation)))
    }

    /// The generation of this moment.
    pub(crate) fn get(&self) -> Arc<Generation> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set(&self, generation: Arc<Generation>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = generation;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::resolve;
    use std::path::Path;

    fn first(pools: Vec<Pool>, workers: usize) -> Generation {
        Generation::first(pools, workers, &Resolver::new(resolve::Options::default()))
    }

    fn pools(text: &str) -> Vec<Pool> {
        let config = Config::parse(Path::new("a.yml"), text.as_bytes());
        config.unwrap_or_else(|errors| panic!("{errors}")).pools
    }

    fn pool(more: &str, servers: &str) -> String {
        format!("p: {{listen: \"h:1\", {more} servers: [{servers}]}}\n")
    }

    /// For each server after a change, whether it is the one of that name before, and whether its
    /// figures go on.
    fn kept(before: &str, after: &str) -> Vec<(bool, bool)> {
        let before = first(pools(before), 2);
        let after = before.next(pools(after), 2);
        let servers = after.pools[0].servers.iter().map(|server| {
            let old =
                before.pools[0].servers.iter().find(|old| old.server.name == server.server.name);
            let goes_on = |old: &&Arc<SharedServer>| Arc::ptr_eq(&old.workers, &server.workers);
            (old.is_some_and(|old| old.is(server)), old.is_some_and(|old| goes_on(&old)))
        });
        servers.collect()
    }

    #[test]
    fn a_server_stays_as_long_as_its_name_and_its_address_do() {
        let two = pool("", "\"a:1:1 x\", \"b:1:1 y\"");
        for (after, expected) in [
            (pool("", "\"b:1:1 y\", \"a:1:1 x\""), [(true, true), (true, true)]),
            (pool("timeout: 5,", "\"a:1:7 x\", \"b:1:1 y\""), [(true, true), (true, true)]),
            (pool("", "\"a:2:1 x\", \"b:1:1 y\""), [(false, true), (true, true)]),
            (pool("", "\"a:1:1 x\", \"b:1:1 z\""), [(true, true), (false, false)]),
        ] {
            assert_eq!(kept(&two, &after), expected, "{after}");
        }
    }

    #[test]
    fn another_database_is_another_server() {
        let with_db = |db| pool(&format!("redis: true, redis_db: {db},"), "\"a:1:1 x\"");
        assert_eq!(kept(&with_db(1), &with_db(1)), [(true, true)]);
        assert_eq!(kept(&with_db(1), &with_db(2)), [(false, true)]);
    }

    #[test]
    fn a_pool_stays_as_long_as_its_name_and_its_protocol_do() {
        let start = first(pools(&pool("", "\"a:1:1\"")), 1);
        let id = start.pools[0].id;
        let second = start.next(pools(&pool("hash: md5,", "\"b:1:1\"")), 1);
        assert_eq!((second.pools[0].id, second.number), (id, 2));
        assert!(Arc::ptr_eq(&second.pools[0].workers, &start.pools[0].workers));
        let third = second.next(pools(&pool("redis: true,", "\"b:1:1\"")), 1);
        assert_ne!(third.pools[0].id, id);
        assert!(third.pool(id).is_none() && second.pool(id).is_some());
    }

    #[test]
    fn a_pool_keeps_its_number_of_connections_to_each_server() {
        let with = |count| {
            let text = format!("server_connections: {count}, bulk_connections: {count},");
            pools(&pool(&text, "\"a:1:1\""))
        };
        let next = first(with(2), 1).next(with(5), 1);
        let now = &next.pools[0].pool;
        assert_eq!((now.server_connections, now.bulk.connections), (2, 2));
    }
}
