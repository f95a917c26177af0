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
        let connections = config.pools.iter().map(connections).fold(0, usize::saturating_add);
        let connections = connections.saturating_mul(workers);
        if connections > CONNECTIONS_MAX {
            return Err(format!(
                "{workers} workers have {connections} connections to servers, more than \
                 {CONNECTIONS_MAX}; lower server_connections or --workers"
            ));
        }
        let Some(files_max) = files_max.and_then(|max| usize::try_from(max).ok()) else {
            return Ok(None);
        };
        let listeners: usize = config.pools.iter().map(|pool| pool.listen.len()).sum();
        let needed = (listeners + FILES_OF_WORKER).saturating_mul(workers) + FILES_OF_PROCESS;
        if needed > files_max {
            return Err(format!(
                "{workers} workers with {listeners} listeners each need {needed} open files, and \
                 the limit is {files_max}; raise the limit (ulimit -n) or lower --workers"
            ));
        }
        let with_servers = needed.saturating_add(connections);
        Ok((with_servers > files_max).then(|| {
            format!(
                "The connections to servers (servers × server_connections × workers) are \
                 {connections} and may need {with_servers} open files, but the limit is \
                 {files_max}: hardly any client could connect. Raise the limit (ulimit -n), or lower \
                 server_connections or --workers."
            )
        }))
    }
}

/// How many connections one worker may have to the servers of a pool.
pub(super) fn connections(pool: &Pool) -> usize {
    pool.servers.len().saturating_mul(pool.server_connections)
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
             servers: [a:1:1, b:1:1]}}\n"
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
        assert_eq!(check(4, Some(4 * (4 + 2 * 50) + 16), 50), Ok(None));
        assert_eq!(check(8, None, 65535), Ok(None));
    }

    #[test]
    fn more_server_connections_than_files_are_warned_of() {
        let warning = check(4, Some(4 * (4 + 2 * 50) + 15), 50).unwrap().unwrap();
        assert!(warning.contains(" are 400 and may need 432 open files"), "{warning}");
        assert!(warning.contains("the limit is 431"), "{warning}");
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
             server_connections or --workers"
        );
    }
}
