//! The two sides: the proxy over three memcacheds, and one memcached alone.
//!
//! The rule: any blame that the proxy lays on a server shows. One failure ejects, all connections
//! are made before the first script, and every one that is made later replaces one that was lost.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::conn::Conn;
use crate::harness::{Memcached, Program, Proxy, free_port, pool};
use crate::http;

/// How many threads and connections the proxy has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) workers: usize,
    pub(super) server_connections: usize,
}

/// Servers and the proxy, ended with it.
pub(super) struct World {
    proxy: Proxy,
    admin: u16,
    plain: Memcached,
    _servers: Vec<Memcached>,
}

/// What must stay as it is, whatever clients send.
const BLAME: [&str; 4] =
    ["desync_total", "forward_errors_total", "server_ejections_total", "server_connects_total"];

/// The figures of `BLAME`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Blame([u64; 4]);

impl World {
    pub(super) fn start(shape: Shape) -> Self {
        // Nobody may empty the plain server, and nothing may be evicted from any.
        let start = || Memcached::start_with(free_port(), &["-F", "-m", "1024"]);
        let servers: Vec<_> = (0..3).map(|_| start()).collect();
        let entries: Vec<_> = servers.iter().map(Memcached::entry).collect();
        let (port, admin) = (free_port(), free_port());
        let settings = format!(
            "auto_eject_hosts: true\nserver_failure_limit: 1\nserver_retry_timeout: 100\n\
             timeout: 5000\npreconnect: true\nserver_connections: {}",
            shape.server_connections
        );
        let config = pool(port, &settings, &entries);
        let flags = [format!("--workers={}", shape.workers), format!("--admin=127.0.0.1:{admin}")];
        let flags: Vec<_> = flags.iter().map(String::as_str).collect();
        let proxy = Proxy::start_with(Program::UnderTest, &config, &[port, admin], &flags);
        let world = Self { proxy, admin, plain: start(), _servers: servers };
        world.connect_all((shape.workers * shape.server_connections * 3) as u64);
        world
    }

    /// Makes the proxy open all its connections: a worker opens one when a client first needs it.
    fn connect_all(&self, connections: u64) {
        let begun = Instant::now();
        // FNV-1a puts keys that differ in their last byte beside each other, often on one server.
        let keys: Vec<_> = (0..50).map(|nth| format!(" {nth}warm")).collect();
        let request = format!("get{}\r\n", keys.concat());
        let mut clients = Vec::new();
        loop {
            let made = self.blame().0[3];
            if made >= connections {
                return;
            }
            let in_time = begun.elapsed() < Duration::from_secs(10);
            assert!(in_time, "{made} connections, not {connections}");
            let first = clients.len();
            clients.extend((0..16).map(|_| self.ours()));
            clients[first..].iter_mut().for_each(|client| client.send(&request));
            for client in &mut clients[first..] {
                client.read_until(b"END\r\n").unwrap();
            }
        }
    }

    pub(super) fn ours(&self) -> Conn {
        self.proxy.conn()
    }

    pub(super) fn plain(&self) -> Conn {
        self.plain.conn()
    }

    pub(super) fn blame(&self) -> Blame {
        let request = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let text = http::ask(self.admin, request).body;
        Blame(BLAME.map(|name| {
            let samples = text.lines().filter(|line| !line.starts_with('#'));
            let samples: Vec<_> = samples.filter(|line| line.contains(name)).collect();
            assert!(!samples.is_empty(), "{name} is not in\n{text}");
            let value = |line: &str| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap();
            samples.into_iter().map(value).sum()
        }))
    }
}

impl Blame {
    /// What has grown since, as one reads it.
    pub(super) fn since(self, before: Self) -> Option<String> {
        let mut story = String::new();
        for (name, (now, then)) in BLAME.iter().zip(self.0.into_iter().zip(before.0)) {
            if now != then {
                write!(story, "{name} +{} ", now - then).unwrap();
            }
        }
        (!story.is_empty()).then_some(story)
    }
}
