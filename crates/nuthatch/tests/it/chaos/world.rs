//! Real servers, a relay in front of each, and a proxy in front of them.

use crate::harness::{Memcached, Process, Program, Proxy, Redis, free_port, pool};
use crate::http;
use crate::upgrade::Site;

use rustix::process::Signal;

use super::fault::Trouble;
use super::relay::{Fault, Relay};
use super::reply::Protocol;

/// The times in the configuration, in milliseconds: a reload changes from one to the other.
pub(super) const TIMEOUTS: [u64; 2] = [60, 90];

/// So many servers.
const SERVERS: usize = 3;

/// The memory of the first server, which has not enough for all values.
const SMALL_MEMCACHED: &[&str] = &["-m", "1", "-M", "-I", "512k"];
const SMALL_REDIS: &[&str] = &["--maxmemory", "2500kb", "--maxmemory-policy", "noeviction"];

enum Server {
    Memcached(Memcached),
    Redis(Redis),
}

impl Server {
    fn start(protocol: Protocol, port: u16, is_small: bool) -> Self {
        match protocol {
            Protocol::Memcached => {
                let arguments = if is_small { SMALL_MEMCACHED } else { &[] };
                Self::Memcached(Memcached::start_with(port, arguments))
            }
            Protocol::Redis => {
                let arguments = if is_small { SMALL_REDIS } else { &[] };
                Self::Redis(Redis::start_with(port, arguments))
            }
        }
    }

    fn process(&mut self) -> &mut Process {
        match self {
            Self::Memcached(server) => &mut server.process,
            Self::Redis(server) => &mut server.process,
        }
    }
}

/// A server and the way to it.
struct Place {
    server: Server,
    port: u16,
    is_small: bool,
    relay: Relay,
}

enum Front {
    Nutcracker { _proxy: Proxy },
    Nuthatch { site: Site, process: Process, admin: u16 },
}

/// What is tested.
pub(super) struct World {
    protocol: Protocol,
    settings: String,
    /// Which of `TIMEOUTS` is in force.
    timeout: usize,
    places: Vec<Place>,
    front: Front,
    /// Where the proxy listens.
    pub(super) port: u16,
}

impl World {
    pub(super) fn start(program: Program, protocol: Protocol, settings: &str, seed: u64) -> Self {
        let places: Vec<_> = (0..SERVERS)
            .map(|nth| {
                let (port, is_small) = (free_port(), nth == 0);
                let server = Server::start(protocol, port, is_small);
                let relay = Relay::start(protocol, port, seed + nth as u64);
                Place { server, port, is_small, relay }
            })
            .collect();
        let kind = if protocol == Protocol::Redis { "redis: true\n" } else { "" };
        let settings = format!("{kind}hash: md5\n{settings}");
        let port = free_port();
        let config = config(port, &settings, 0, &places);
        let front = match program {
            Program::Nutcracker => {
                Front::Nutcracker { _proxy: Proxy::start(program, &config, &[port]) }
            }
            Program::UnderTest => {
                let (site, admin) = (Site::new(port, &config), free_port());
                let process = site.start(&arguments(&flag(admin)));
                Front::Nuthatch { site, process, admin }
            }
        };
        Self { protocol, settings, timeout: 0, places, front, port }
    }

    pub(super) fn servers(&self) -> usize {
        self.places.len()
    }

    pub(super) fn begin(&mut self, server: usize, trouble: Trouble) {
        let place = &mut self.places[server];
        match trouble {
            Trouble::Relay(fault) => place.relay.set(fault),
            Trouble::Kill => {
                place.relay.set(Fault::Refuse);
                place.server.process().kill();
            }
            Trouble::Stop => place.server.process().stop(),
            Trouble::Reload => self.reload(),
            Trouble::Upgrade => self.upgrade(),
        }
    }

    pub(super) fn end(&mut self, server: usize, trouble: Trouble) {
        let place = &mut self.places[server];
        match trouble {
            Trouble::Relay(_) => place.relay.set(Fault::Pass),
            Trouble::Kill => {
                place.server = Server::start(self.protocol, place.port, place.is_small);
                place.relay.set(Fault::Pass);
            }
            Trouble::Stop => place.server.process().signal(Signal::CONT),
            Trouble::Reload | Trouble::Upgrade => {}
        }
    }

    fn reload(&mut self) {
        let Front::Nuthatch { site, admin, .. } = &self.front else { return };
        self.timeout = 1 - self.timeout;
        site.configure(&config(self.port, &self.settings, self.timeout, &self.places));
        let request = "POST /reload HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
        let page = http::ask(*admin, request);
        assert!(page.status == 200 && page.body.contains("changed"), "{page:?}");
    }

    fn upgrade(&mut self) {
        let Front::Nuthatch { site, process, admin } = &mut self.front else { return };
        *process = site.upgrade(process, &arguments(&flag(*admin)));
    }
}

fn config(port: u16, settings: &str, timeout: usize, places: &[Place]) -> String {
    let entries: Vec<_> = (1..)
        .zip(places)
        .map(|(nth, place)| format!("127.0.0.1:{}:1 s{nth}", place.relay.port))
        .collect();
    pool(port, &format!("{settings}\ntimeout: {}", TIMEOUTS[timeout]), &entries)
}

fn flag(admin: u16) -> String {
    format!("--admin=127.0.0.1:{admin}")
}

/// Two workers, so that two processes' worth of connections disagree if they can.
fn arguments(admin: &str) -> [&str; 4] {
    ["--workers=2", "--no-watch", "--output=log", admin]
}
