//! Real servers, a relay in front of each, and a proxy in front of them.

use crate::harness::{Memcached, Process, Program, Proxy, Redis, free_port, pool};
use crate::http;
use crate::upgrade::Site;

use nuthatch_harness::Dnsmasq;
use nuthatch_harness::redis::command;
use rustix::process::Signal;

use super::fault::{Dns, Trouble};
use super::relay::{Fault, Relay};
use super::reply::Protocol;

/// The times in the configuration, in milliseconds: a reload changes from one to the other.
pub(super) const TIMEOUTS: [u64; 2] = [60, 90];

/// So many servers, and so many of a gutter, if the pool has one.
const SERVERS: usize = 3;
const GUTTER: usize = 2;

/// The memory of the first server, which is full.
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
                let server = Memcached::start_with(port, arguments);
                if is_small {
                    fill_memcached(&server);
                }
                Self::Memcached(server)
            }
            Protocol::Redis => {
                let arguments = if is_small { SMALL_REDIS } else { &[] };
                let server = Redis::start_with(port, arguments);
                if is_small {
                    fill_redis(&server);
                }
                Self::Redis(server)
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

/// Fills the memory for values of two lengths among those that clients write. One that does not fit makes room:
/// it takes the older value of its key away. So about half of them fit.
fn fill_memcached(server: &Memcached) {
    const BATCH: usize = 100;
    let mut conn = server.conn();
    for len in [230, 20_040] {
        let set = format!("set filler{len}-NTH 0 0 {len}\r\n{}\r\n", "x".repeat(len));
        let batch = |nth: usize| -> String {
            (nth..nth + BATCH).map(|nth| set.replace("NTH", &nth.to_string())).collect()
        };
        let mut is_full = false;
        for nth in (0..).step_by(BATCH).take_while(|&nth| nth < 100 * BATCH) {
            conn.send(batch(nth));
            for _ in 0..BATCH {
                is_full |= conn.read_line().unwrap() != b"STORED\r\n";
            }
            if is_full {
                break;
            }
        }
        assert!(is_full, "it has more memory than it was given");
    }
}

/// Leaves room for some values.
fn fill_redis(server: &Redis) {
    let (mut conn, value) = (server.conn(), "x".repeat(16_000));
    let mut nth = 0;
    while conn.call(["SET", &format!("filler{nth}"), &value]).unwrap() == b"+OK\r\n" {
        nth += 1;
        assert!(nth < 1000, "it has more memory than it was given");
    }
    conn.ask(command(["DEL", "filler0", "filler1"]), ":2\r\n");
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
    Nuthatch { site: Site, process: Process, admin: u16, dns: Dnsmasq },
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
        let gutter = if settings.contains(": gutter") { GUTTER } else { 0 };
        let places: Vec<_> = (0..SERVERS + gutter)
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
        let config = |host: &str| config(port, &settings, 0, (host, &places));
        let front = match program {
            Program::Nutcracker => {
                Front::Nutcracker { _proxy: Proxy::start(program, &config(ADDRESS), &[port]) }
            }
            Program::UnderTest => {
                let (site, admin) = (Site::new(port, &config(NAME)), free_port());
                let dns = Dnsmasq::start(RECORDS);
                let process = site.start(&arguments(&flags(admin, &dns)));
                Front::Nuthatch { site, process, admin, dns }
            }
        };
        Self { protocol, settings, timeout: 0, places, front, port }
    }

    pub(super) fn servers(&self) -> usize {
        self.places.len()
    }

    /// How many values of the gutter's Redis servers stay for ever.
    pub(super) fn uncapped(&self) -> u64 {
        let gutter = self.places.iter().skip(SERVERS).filter_map(|place| match &place.server {
            Server::Redis(server) => Some(server),
            Server::Memcached(_) => None,
        });
        let uncapped = gutter.map(|server| {
            let told = server.conn().call(["INFO", "keyspace"]).unwrap();
            let told = String::from_utf8(told).unwrap();
            let count = |name: &str| {
                let rest = told.split_once(name).map_or("0", |(_, rest)| rest);
                rest.split([',', '\r']).next().unwrap().parse::<u64>().unwrap()
            };
            count("keys=") - count("expires=")
        });
        uncapped.sum()
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
            Trouble::Dns(trouble) => self.trouble_dns(trouble),
            Trouble::Reload => self.reload(),
            Trouble::Upgrade => self.upgrade(),
        }
    }

    fn trouble_dns(&mut self, trouble: Dns) {
        let Front::Nuthatch { dns, .. } = &mut self.front else { return };
        match trouble {
            Dns::Silent => dns.process().expect("it runs").stop(),
            Dns::Gone => dns.stop(),
            Dns::Empty => dns.change(&[]),
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
            Trouble::Dns(Dns::Silent) => {
                if let Front::Nuthatch { dns, .. } = &mut self.front {
                    dns.process().expect("it is stopped").signal(Signal::CONT);
                }
            }
            Trouble::Dns(_) => {
                if let Front::Nuthatch { dns, .. } = &mut self.front {
                    dns.change(RECORDS);
                }
            }
            Trouble::Reload | Trouble::Upgrade => {}
        }
    }

    fn reload(&mut self) {
        let Front::Nuthatch { site, admin, .. } = &self.front else { return };
        self.timeout = 1 - self.timeout;
        site.configure(&config(self.port, &self.settings, self.timeout, (NAME, &self.places)));
        let request = "POST /reload HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
        let page = http::ask(*admin, request);
        assert!(page.status == 200 && page.body.contains("changed"), "{page:?}");
    }

    fn upgrade(&mut self) {
        let Front::Nuthatch { site, process, admin, dns } = &mut self.front else { return };
        *process = site.upgrade(process, &arguments(&flags(*admin, dns)));
    }
}

/// The host of all servers: by its address, as the whole process of nutcracker would wait for a name server, and
/// by its name.
const ADDRESS: &str = "127.0.0.1";
const NAME: &str = "cache.test";
const RECORDS: &[&str] = &["host-record=cache.test,127.0.0.1"];

fn config(port: u16, settings: &str, timeout: usize, (host, places): (&str, &[Place])) -> String {
    let entries: Vec<_> = (1..)
        .zip(places)
        .map(|(nth, place)| format!("{host}:{}:1 s{nth}", place.relay.port))
        .collect();
    let (servers, gutter) = entries.split_at(SERVERS);
    let gutter = match gutter {
        [] => String::new(),
        gutter => format!("gutter_servers: [{}]", gutter.join(", ")),
    };
    let settings = format!("{settings}\n{gutter}\ntimeout: {}", TIMEOUTS[timeout]);
    pool(port, &settings, servers)
}

fn flags(admin: u16, dns: &Dnsmasq) -> [String; 2] {
    [format!("--admin=127.0.0.1:{admin}"), format!("--resolv-conf={}", dns.resolv_conf().display())]
}

/// Two workers, so that two processes' worth of connections disagree if they can.
fn arguments([admin, resolv_conf]: &[String; 2]) -> [&str; 5] {
    ["--workers=2", "--no-watch", "--output=log", admin, resolv_conf]
}
