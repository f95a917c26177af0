//! Starts and ends the proxies that the tests talk to: nutcracker, and the one that is tested.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::process::Command;
use std::{env, fs, iter};

use serde_json::Value;

pub(crate) use nuthatch_harness::{
    Memcached, Process, Redis, TempDir, accepts, free_port, wait_until,
};

use crate::conn::Conn;

/// Which proxy to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    /// Ours, or what `NUTHATCH_UNDER_TEST` puts in its place.
    UnderTest,
    /// The proxy we are measured against.
    Nutcracker,
}

impl Program {
    pub(crate) fn command(self) -> Command {
        match self {
            Self::Nutcracker => Command::new("nutcracker"),
            Self::UnderTest => match env::var_os("NUTHATCH_UNDER_TEST") {
                Some(path) => Command::new(path),
                None => Command::new(env!("CARGO_BIN_EXE_nuthatch")),
            },
        }
    }
}

/// A running proxy with its configuration, log and statistics.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) process: Process,
    pub(crate) stats_port: u16,
    /// Where the first pool listens.
    pub(crate) port: u16,
    /// Holds `nutcracker.yml` and `log`.
    pub(crate) dir: TempDir,
}

impl Proxy {
    /// Starts a proxy with one pool; `settings` are lines such as `timeout: 400`.
    pub(crate) fn with_pool(program: Program, settings: &str, servers: &[String]) -> Self {
        let port = free_port();
        Self::start(program, &pool(port, settings, servers), &[port])
    }

    /// Starts a proxy with one pool of Redis servers, named `r1`, `r2` and so on.
    pub(crate) fn with_redis(program: Program, settings: &str, servers: &[Redis]) -> Self {
        Self::with_pool(program, &format!("redis: true\n{settings}"), &named(servers))
    }

    /// Starts a proxy with a whole configuration and waits until it accepts on all of `ports` and
    /// on the port of its statistics.
    pub(crate) fn start(program: Program, config: &str, ports: &[u16]) -> Self {
        Self::start_with(program, config, ports, &[])
    }

    /// As `start`, with more arguments on the command line.
    pub(crate) fn start_with(
        program: Program,
        config: &str,
        ports: &[u16],
        arguments: &[&str],
    ) -> Self {
        Self::start_command(program.command(), config, ports, arguments)
    }

    /// As `start_with`, with a command that runs the proxy with the arguments it is given.
    pub(crate) fn start_command(
        mut command: Command,
        config: &str,
        ports: &[u16],
        arguments: &[&str],
    ) -> Self {
        let dir = TempDir::new();
        let stats_port = free_port();
        fs::write(dir.join("nutcracker.yml"), config).unwrap();
        let process = Process::spawn(
            command
                .current_dir(dir.join(""))
                .args(["-c", "nutcracker.yml", "-o", "log", "-a", "127.0.0.1"])
                .args(["-s", &stats_port.to_string()])
                .args(arguments),
        );
        let mut proxy = Self { process, stats_port, port: ports[0], dir };
        let log = proxy.dir.join("log");
        let story = || {
            let log = fs::read_to_string(&log).unwrap_or_default();
            format!("{command:?} with the configuration\n{config}\nlogged\n{log}")
        };
        for &port in ports.iter().chain([&stats_port]) {
            wait_until(&mut proxy.process, story, || accepts(port));
        }
        proxy
    }

    pub(crate) fn conn(&self) -> Conn {
        Conn::tcp((Ipv4Addr::LOCALHOST, self.port))
    }

    /// How many connections to servers were lost, requests failed and servers were ejected so far.
    pub(crate) fn server_failures(&self) -> u64 {
        const FAILURES: [&str; 5] =
            ["server_eof", "server_err", "server_timedout", "server_ejects", "forward_error"];
        let text = Conn::tcp((Ipv4Addr::LOCALHOST, self.stats_port)).read_to_end();
        let stats: Value = serde_json::from_slice(&text).unwrap();
        let pools: Vec<_> =
            stats.as_object().unwrap().values().filter_map(Value::as_object).collect();
        let servers = pools.iter().flat_map(|pool| pool.values().filter_map(Value::as_object));
        let objects = pools.iter().copied().chain(servers);
        let counts: Vec<_> = objects
            .flat_map(|object| FAILURES.iter().filter_map(|name| object.get(*name)?.as_u64()))
            .collect();
        assert!(counts.len() >= FAILURES.len(), "{stats}");
        counts.into_iter().sum()
    }
}

/// The lines of Redis servers in a configuration, with the names `r1`, `r2` and so on.
pub(crate) fn named(servers: &[Redis]) -> Vec<String> {
    iter::zip(servers, 1..).map(|(server, nth)| format!("{} r{nth}", server.entry())).collect()
}

/// The text of one pool that listens on 127.0.0.1, named after its port.
pub(crate) fn pool(port: u16, settings: &str, servers: &[String]) -> String {
    pool_on(&format!("pool{port}"), &format!("127.0.0.1:{port}"), settings, servers)
}

/// The text of one pool that listens wherever it is told to.
pub(crate) fn pool_on(name: &str, listen: &str, settings: &str, servers: &[String]) -> String {
    let mut text = format!("{name}:\n  listen: {listen}\n");
    for line in settings.lines().map(str::trim).filter(|line| !line.is_empty()) {
        writeln!(text, "  {line}").unwrap();
    }
    text.push_str("  servers:\n");
    for server in servers {
        writeln!(text, "   - {server}").unwrap();
    }
    text
}
