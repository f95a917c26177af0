//! The resources that the process needs from the start: open files, and memory for server
//! connections.
//!
//! The one rule: a certain shortage is an error before the start, and a shortage that is possible
//! under load is a warning. Both depend on the number of workers; only the number of a pool's own
//! connections is checked with the file alone.

use super::{Config, Pool};

/// The maximum number of server connections: by default, Linux lets a process open at most this
/// many files (`fs.nr_open`), and each connection needs memory.
pub const CONNECTIONS_MAX: usize = 1 << 20;

/// The maximum of `server_connections`: there are no more ports between two addresses.
pub(super) const SERVER_CONNECTIONS_MAX: u64 = 65535;

/// The maximum of `bulk_connections`: a server that sends large values over so many has no more to give.
pub(super) const BULK_CONNECTIONS_MAX: u64 = 64;

/// The maximum of `dedicated_connections_max`: as many as clients of one address.
pub(super) const DEDICATED_CONNECTIONS_MAX: u64 = 65535;

/// The limits and options of the process.
#[derive(Debug, Clone, Copy)]
pub struct Capacity {
    /// The number of workers.
    pub workers: usize,
    /// The limit of open files, if there is one.
    pub files_max: Option<u64>,
}

impl Capacity {
    /// Checks whether the pools fit into the limits.
    ///
    /// # Errors
    /// Why the process can't start, and what to do about it.
    pub fn check(self, config: &Config) -> Result<Option<String>, String> {
        let Self { workers, files_max } = self;
        let Config { pools, .. } = config;
        let connections = pools.iter().map(connections).fold(0, usize::saturating_add);
        let connections = connections.saturating_mul(workers);
        let (count, remedies) = if pools.iter().any(|pool| pool.redis) {
            (
                "servers × (server_connections + bulk_connections) × workers, doubled in a redis \
                 pool, plus dedicated_connections_max × workers there",
                "server_connections, bulk_connections, dedicated_connections_max or --workers",
            )
        } else {
            (
                "servers × (server_connections + bulk_connections) × workers",
                "server_connections, bulk_connections or --workers",
            )
        };
        if connections > CONNECTIONS_MAX {
            return Err(format!(
                "{workers} workers have {connections} connections to servers, more than \
                 {CONNECTIONS_MAX}; lower {remedies}"
            ));
        }
        let Some(files_max) = files_max.and_then(|max| usize::try_from(max).ok()) else {
            return Ok(None);
        };
        let listeners: usize = pools.iter().map(|pool| pool.listen.len()).sum();
        let needed = (listeners + FILES_OF_WORKER).saturating_mul(workers) + FILES_OF_PROCESS;
        if needed > files_max {
            return Err(format!(
                "{workers} workers with {listeners} listeners each need {needed} open files, and \
                 the limit is {files_max}; raise the limit (ulimit -n) or lower --workers"
            ));
        }
        let with_servers = needed.saturating_add(connections);
        let left = files_max.saturating_sub(with_servers);
        let is_short = with_servers > files_max
            || connections > files_max / 2 && clients_max(pools).is_none_or(|max| max > left);
        Ok(is_short.then(|| {
            let room = match left {
                0 | 1 => "hardly any client could connect".to_owned(),
                left => format!("at most {left} clients could connect"),
            };
            format!(
                "The connections to servers ({count}) are {connections} and may need \
                 {with_servers} open files, but the limit is {files_max}: {room}. Raise the limit \
                 (ulimit -n), or lower {remedies}."
            )
        }))
    }
}

/// The maximum number of clients of all pools; none if one of them has none.
fn clients_max(pools: &[Pool]) -> Option<usize> {
    pools.iter().try_fold(0, |all: usize, pool| {
        let max = Some(pool.client_connections).filter(|max| *max > 0)?;
        Some(all.saturating_add(max))
    })
}

/// How many connections one worker may have to the servers of a pool.
pub(crate) fn connections(pool: &Pool) -> usize {
    let each = pool.server_connections + pool.bulk.connections;
    let shared = pool.all_servers().count().saturating_mul(each);
    shared.saturating_mul(versions(pool)).saturating_add(dedicated(pool))
}

/// What [`connections`] computes, in the words of the configuration.
pub(super) fn formula(pool: &Pool) -> &'static str {
    match (pool.redis, pool.gutter().is_empty()) {
        (true, true) => {
            "2 × servers × (server_connections + bulk_connections) + dedicated_connections_max"
        }
        (true, false) => {
            "2 × (servers + gutter_servers) × (server_connections + bulk_connections) + \
             dedicated_connections_max"
        }
        (false, true) => "servers × (server_connections + bulk_connections)",
        (false, false) => "(servers + gutter_servers) × (server_connections + bulk_connections)",
    }
}

/// The greatest `server_connections` with which [`connections`] is not above [`CONNECTIONS_MAX`].
pub(super) fn server_connections_max(pool: &Pool) -> usize {
    let servers = pool.all_servers().count();
    let each = (CONNECTIONS_MAX - dedicated(pool)) / (servers * versions(pool)).max(1);
    each.saturating_sub(pool.bulk.connections)
}

/// Clients that speak RESP2 and clients that speak RESP3 use different connections.
fn versions(pool: &Pool) -> usize {
    if pool.redis { 2 } else { 1 }
}

fn dedicated(pool: &Pool) -> usize {
    if pool.redis { pool.dedicated_connections_max } else { 0 }
}

/// What a worker opens besides its listeners: its epoll and its inbox.
const FILES_OF_WORKER: usize = 2;

/// Standard input, output and error, signals, the log, the statistics, the admin port.
const FILES_OF_PROCESS: usize = 16;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config(server_connections: usize) -> Config {
        let text = format!(
            "p: {{listen: [\"h:1\", \"h:2\"], server_connections: {server_connections}, \
             bulk_connections: 0, servers: [a:1:1, b:1:1]}}\n"
        );
        Config::parse(Path::new("a.yml"), text.as_bytes()).unwrap_or_else(|e| panic!("{e}"))
    }

    fn check(
        workers: usize,
        files_max: Option<u64>,
        server_connections: usize,
    ) -> Result<Option<String>, String> {
        Capacity { workers, files_max }.check(&config(server_connections))
    }

    #[test]
    fn what_fits_is_told_nothing() {
        assert_eq!(check(1, Some(1024), 1), Ok(None));
        assert_eq!(check(4, Some(2 * 4 * 2 * 50), 50), Ok(None));
        assert_eq!(check(8, None, 65535), Ok(None));
    }

    #[test]
    fn more_server_connections_than_files_are_warned_of() {
        let warning = check(4, Some(4 * (4 + 2 * 50) + 15), 50).unwrap().unwrap();
        assert!(warning.contains(" are 400 and may need 432 open files"), "{warning}");
        assert!(warning.contains("the limit is 431: hardly any client could"), "{warning}");
    }

    #[test]
    fn server_connections_that_leave_few_files_for_clients_are_warned_of() {
        for (files_max, clients) in [
            (4 * (4 + 2 * 50) + 16, Some("hardly any client")),
            (4 * (4 + 2 * 50) + 18, Some("at most 2 clients")),
            (799, Some("at most 367 clients")),
            (800, None),
        ] {
            let warning = check(4, Some(files_max), 50).unwrap();
            let room = clients.map(|clients| format!("limit is {files_max}: {clients} could"));
            let tells = |room: String| warning.as_ref().is_some_and(|it| it.contains(&room));
            assert!(room.map_or_else(|| warning.is_none(), tells), "{files_max}: {warning:?}");
        }
    }

    #[test]
    fn a_pool_that_takes_as_few_clients_is_told_nothing() {
        for (one, two, warns) in [(100, 259, false), (100, 260, true), (0, 1, true), (1, 0, true)] {
            let mut config = config(50);
            let mut other = config.pools[0].clone();
            other.servers.clear();
            config.pools.push(other);
            for (pool, max) in config.pools.iter_mut().zip([one, two]) {
                pool.client_connections = max;
            }
            // Two more listeners for each worker.
            let capacity = Capacity { workers: 4, files_max: Some(799) };
            assert_eq!(capacity.check(&config).unwrap().is_some(), warns, "{one} {two}");
        }
    }

    #[test]
    fn a_redis_pool_needs_twice_the_connections_and_the_dedicated_ones() {
        let pool = |text: &str| {
            let text = format!("p: {{listen: \"h:1\", servers: [a:1:1, b:1:1], {text}}}\n");
            Config::parse(Path::new("a.yml"), text.as_bytes()).unwrap_or_else(|e| panic!("{e}"))
        };
        let count = |text| connections(&pool(text).pools[0]);
        assert_eq!(count("server_connections: 3, bulk_connections: 0"), 6);
        assert_eq!(count("server_connections: 3"), 8);
        assert_eq!(count("server_connections: 3, redis: true"), 16 + 256);
        assert_eq!(count("redis: true, dedicated_connections_max: 0"), 8);
        let gutter = "on_server_failure: gutter, gutter_servers: [g:1:1]";
        assert_eq!(count(&format!("server_connections: 3, {gutter}")), 12);
        let files_max = Some(2 * (3 + 8 + 256) + 15);
        let config = pool("redis: true");
        assert_eq!(
            Capacity { workers: 2, files_max }.check(&config).unwrap().unwrap(),
            "The connections to servers (servers × (server_connections + bulk_connections) × workers, \
             doubled in a redis pool, plus dedicated_connections_max × workers there) are 528 and may \
             need 550 open files, but the limit is 549: hardly any client could connect. Raise the \
             limit (ulimit -n), or lower server_connections, bulk_connections, \
             dedicated_connections_max or --workers."
        );
    }

    #[test]
    fn what_cannot_start_is_refused_with_the_numbers() {
        assert_eq!(
            check(1024, Some(1024), 1).unwrap_err(),
            "1024 workers with 2 listeners each need 4112 open files, and the limit is 1024; raise \
             the limit (ulimit -n) or lower --workers"
        );
        assert_eq!(
            check(9, None, 65535).unwrap_err(),
            "9 workers have 1179630 connections to servers, more than 1048576; lower \
             server_connections, bulk_connections or --workers"
        );
    }
}
