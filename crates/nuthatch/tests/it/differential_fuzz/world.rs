//! The two sides: the proxy over three servers, and one server alone.
//!
//! The rule: any blame that the proxy lays on a server shows. One failure ejects, all connections
//! are made before the first script, and every one that is made later replaces one that was lost.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::protocol::Protocol;
use crate::conn::Conn;
use crate::harness::{Memcached, Program, Proxy, Redis, free_port, pool};
use crate::http;

/// Who speaks with whom.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) protocol: Protocol,
    pub(crate) front: Front,
}

/// What stands on our side.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Front {
    /// The proxy with so many threads and connections.
    Proxy { workers: usize, server_connections: usize },
    /// Another plain server: then no difference is the proxy's. It is asked what the plain server is.
    Plain,
    /// A Redis that is asked what the proxy would be: a proxy that lets everything through.
    Careless,
}

impl Shape {
    pub(crate) const fn few(protocol: Protocol) -> Self {
        Self { protocol, front: Front::Proxy { workers: 1, server_connections: 1 } }
    }

    pub(crate) const fn many(protocol: Protocol) -> Self {
        Self { protocol, front: Front::Proxy { workers: 2, server_connections: 4 } }
    }
}

/// Servers and the proxy, ended with it.
pub(super) struct World {
    shape: Shape,
    ours: Ours,
    plain: Server,
}

enum Ours {
    Proxy { proxy: Proxy, admin: u16, _servers: Vec<Server> },
    Plain(Server),
}

enum Server {
    Memcached(Memcached),
    Redis(Redis),
}

impl Server {
    fn start(protocol: Protocol) -> Self {
        match protocol {
            // Nobody may empty a server, and nothing may be evicted from any.
            Protocol::Memcache => {
                Self::Memcached(Memcached::start_with(free_port(), &["-F", "-m", "1024"]))
            }
            Protocol::Redis => Self::Redis(Redis::start()),
        }
    }

    fn entry(&self) -> String {
        match self {
            Self::Memcached(server) => server.entry(),
            Self::Redis(server) => server.entry(),
        }
    }

    fn conn(&self) -> Conn {
        match self {
            Self::Memcached(server) => server.conn(),
            Self::Redis(server) => server.conn(),
        }
    }
}

/// What must stay as it is, whatever clients send.
const BLAME: [&str; 4] =
    ["desync_total", "forward_errors_total", "server_ejections_total", "server_connects_total"];

/// The figures of `BLAME`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Blame([u64; 4]);

impl World {
    pub(super) fn start(shape: Shape) -> Self {
        let plain = Server::start(shape.protocol);
        let (workers, server_connections) = match shape.front {
            Front::Proxy { workers, server_connections } => (workers, server_connections),
            Front::Plain => {
                let ours = Ours::Plain(Server::start(shape.protocol));
                return Self { shape, ours, plain };
            }
            Front::Careless => {
                // Without it, nothing would be left to be harmed.
                let settings = ["--rename-command", "SHUTDOWN", ""];
                let ours = Server::Redis(Redis::start_with(free_port(), &settings));
                return Self { shape, ours: Ours::Plain(ours), plain };
            }
        };
        let servers: Vec<_> = (0..3).map(|_| Server::start(shape.protocol)).collect();
        let entries: Vec<_> = servers.iter().map(Server::entry).collect();
        let (port, admin) = (free_port(), free_port());
        let settings = format!(
            "auto_eject_hosts: true\nserver_failure_limit: 1\nserver_retry_timeout: 100\n\
             timeout: 5000\npreconnect: true\nserver_connections: {server_connections}\n{}",
            shape.protocol.settings()
        );
        let config = pool(port, &settings, &entries);
        let flags = [format!("--workers={workers}"), format!("--admin=127.0.0.1:{admin}")];
        let flags: Vec<_> = flags.iter().map(String::as_str).collect();
        let proxy = Proxy::start_with(Program::UnderTest, &config, &[port, admin], &flags);
        let world = Self { shape, ours: Ours::Proxy { proxy, admin, _servers: servers }, plain };
        let mut connections = 0;
        for greeting in shape.protocol.greetings() {
            // One of them is for bulk.
            connections += (workers * (server_connections + 1) * 3) as u64;
            world.connect_all(connections, greeting);
        }
        world
    }

    /// Makes the proxy open all its connections: a worker opens one when a client first needs it.
    fn connect_all(&self, connections: u64, greeting: &[u8]) {
        let begun = Instant::now();
        // FNV-1a puts keys that differ in their last byte beside each other, often on one server.
        // So many that their clients get the connections for bulk from their second request on.
        let keys: Vec<_> = (0..300).map(|nth| format!("{nth}warm")).collect();
        let request = self.shape.protocol.get(&keys);
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
            for client in clients[first..].iter_mut().filter(|_| !greeting.is_empty()) {
                client.send(greeting);
                self.shape.protocol.read_greeting(client);
            }
            for _ in 0..2 {
                clients[first..].iter_mut().for_each(|client| client.send(&request));
                for client in &mut clients[first..] {
                    self.shape.protocol.read_values(client);
                }
            }
        }
    }

    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    pub(super) fn protocol(&self) -> Protocol {
        self.shape.protocol
    }

    pub(super) fn ours(&self) -> Conn {
        match &self.ours {
            Ours::Proxy { proxy, .. } => proxy.conn(),
            Ours::Plain(server) => server.conn(),
        }
    }

    pub(super) fn plain(&self) -> Conn {
        self.plain.conn()
    }

    pub(super) fn blame(&self) -> Blame {
        let Ours::Proxy { admin, .. } = self.ours else { return Blame([0; 4]) };
        let request = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let text = http::ask(admin, request).body;
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
