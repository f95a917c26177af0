//! Proxies with their clients and servers, and what happens to them, one event after the other.

mod checks;
mod people;
mod wires;

use super::absence::Absence;
use super::kind::{Asker, Server};
use super::record::Record;
use super::*;
use crate::sim::random::Random;
use nuthatch_core::clocks::Clocks;
use nuthatch_core::error::ServerError;
use nuthatch_core::limits::Limits;
use nuthatch_core::mux::{ClientId, ConnId, Mux, Options, Phase, ServerId};
use nuthatch_core::redis::Settings;
use nuthatch_core::ring::{Distribution, Hash, HashTag, Member, Ring};
use nuthatch_core::stats::ServerStats;
use nuthatch_core::time::Instant;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    Ask(usize),
    Change(usize, usize),
    Timeout(usize),
    Fault,
    Open(usize, usize, u64),
    /// Bytes arrive at a server, on a connection that may be no more.
    Arrive(usize, usize, u64, usize, Vec<u8>),
    /// Bytes arrive at a proxy.
    Return(usize, usize, u64, Vec<u8>),
    /// A decision about servers arrives at a proxy, by its number.
    Decision(usize, usize),
    /// The arbiter has something to do.
    Tick,
}

#[derive(Debug, Default)]
pub(super) struct Wire {
    pub(super) id: Option<ConnId>,
    pub(super) epoch: u64,
    pub(super) is_open: bool,
    /// When the last bytes arrive there, and here.
    pub(super) there: u64,
    pub(super) here: u64,
}

pub(super) struct Proxy {
    pub(super) mux: Mux,
    pub(super) wires: Vec<Wire>,
    pub(super) server_of: BTreeMap<ServerId, usize>,
    pub(super) person_of: BTreeMap<ClientId, usize>,
    pub(super) next_timeout: Option<u64>,
    /// When the last decision arrives here.
    pub(super) ordered_at: u64,
}

pub(super) struct Person<C> {
    pub(super) proxy: usize,
    pub(super) id: ClientId,
    pub(super) client: C,
    pub(super) is_closed: bool,
    /// When it asked for the one thing that it waits for.
    pub(super) asked: Option<u64>,
}

pub(super) struct World<K: Kind> {
    pub(super) plan: Plan,
    pub(super) random: Random,
    pub(super) now: u64,
    pub(super) count: u64,
    pub(super) end: u64,
    pub(super) events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    pub(super) proxies: Vec<Proxy>,
    pub(super) people: Vec<Person<K::Client>>,
    pub(super) servers: Vec<K::Server>,
    /// What arrived at servers and is not a whole request.
    pub(super) inboxes: BTreeMap<(usize, usize, u64), Vec<u8>>,
    pub(super) slow_until: Vec<u64>,
    pub(super) records: Vec<Record>,
    pub(super) clients: usize,
    /// When the first proxy changes to each ring but the first.
    pub(super) changes: Vec<u64>,
    pub(super) asked: BTreeMap<Phase, u64>,
    pub(super) traced: Option<String>,
    pub(super) absence: Absence,
    /// How long each request took of those of which it is known.
    pub(super) waits: Vec<Duration>,
}

pub(super) fn ring_of(servers: &[usize]) -> Ring {
    tagged_ring_of(servers, None)
}

pub(super) fn tagged_ring_of(servers: &[usize], tag: Option<HashTag>) -> Ring {
    let name = |index| Member { name: format!("server{index}").into_bytes().into(), weight: 1 };
    let members = servers.iter().map(name).collect();
    Ring::new(Distribution::Rendezvous, Hash::Fnv1a_64, tag, members, 1)
}

pub(super) fn stats_of(servers: &[usize]) -> Vec<Arc<ServerStats>> {
    servers.iter().map(|_| Arc::default()).collect()
}

impl<K: Kind> World<K> {
    pub(super) fn new(plan: Plan, seed: u64) -> Self {
        let options = Options {
            protocol: K::PROTOCOL,
            clocks: Clocks::default(),
            timeout: (plan.faults > 0 || plan.ejection.is_some()).then_some(TIMEOUT),
            ejection: plan.ejection,
            server_connections: plan.server_connections,
            bulk: plan.bulk,
            allow_flush: true,
            redis: Arc::new(Settings { dedicated_max: 100, ..Settings::default() }),
            limits: if plan.is_crowded { deadline::LIMITS } else { Limits::default() },
            epoch: Duration::from_secs(1_700_000_000),
        };
        let proxy = |_| {
            let ring = tagged_ring_of(plan.rings[0], K::tag());
            let stats = stats_of(plan.rings[0]);
            let mut mux = Mux::new(ring, options.clone(), Arc::default(), &stats);
            mux.set_gutter(ring_of(plan.gutter), &stats_of(plan.gutter), |_| true);
            mux.share_arbiter();
            let ids = mux.servers().iter().chain(mux.gutter_servers()).copied();
            let server_of = ids.zip([plan.rings[0], plan.gutter].concat()).collect();
            let (wires, person_of) = (Vec::new(), BTreeMap::new());
            Proxy { mux, wires, server_of, person_of, next_timeout: None, ordered_at: 0 }
        };
        let mut servers: Vec<K::Server> = (0..5).map(|_| K::Server::default()).collect();
        plan.old.iter().for_each(|old| servers[*old].make_old());
        if plan.ejection.is_some() {
            // Where another server stands in, an id of one may be that of another value.
            (0..).zip(&mut servers).for_each(|(place, it)| it.number_from(place * 1_000_000));
        }
        let mut records = Vec::new();
        if K::FILLS {
            let mut ring = tagged_ring_of(plan.rings[0], K::tag());
            K::fill(&mut records, |key, value| {
                servers[plan.rings[0][ring.route(key.as_bytes())]].fill(key, value);
            });
        }
        let changes: Vec<u64> =
            (0..plan.rings.len() as u64 - 1).map(|change| 400 * MS + change * WHOLE).collect();
        let last = changes.last().copied().unwrap_or_default();
        let rest = if plan.ends_early { 2 * SETTLE + WINDOW } else { WHOLE };
        let mut world = Self {
            random: Random(seed),
            now: 0,
            count: 0,
            end: last + rest,
            events: BinaryHeap::new(),
            proxies: (0..plan.proxies).map(proxy).collect(),
            people: Vec::new(),
            servers,
            inboxes: BTreeMap::new(),
            slow_until: vec![0; 5],
            records,
            clients: 0,
            changes,
            asked: BTreeMap::new(),
            traced: std::env::var("FLEET_TRACE").ok(),
            absence: Absence::new(&plan),
            waits: Vec::new(),
            plan,
        };
        if world.changes.is_empty() {
            world.end = absence::END;
        }
        world.enter_all();
        world.plan_changes();
        world.push(0, Event::Fault);
        world
    }

    pub(super) fn enter_all(&mut self) {
        for person in 0..self.plan.people * self.plan.proxies {
            self.enter(person % self.plan.proxies);
        }
    }

    /// Each proxy changes to the next ring at a time of its own.
    pub(super) fn plan_changes(&mut self) {
        // Without a timeout, a request on its way at the last change takes some of the time.
        let spread = match self.plan.faults {
            _ if self.plan.ejection.is_some() => 5 * MS,
            0 => SETTLE - 100 * MS,
            _ => SETTLE,
        };
        for (change, at) in self.changes.clone().into_iter().enumerate() {
            for proxy in 0..self.plan.proxies {
                // The first and the last are as far from each other as can be.
                let later = match proxy {
                    0 => 0,
                    1 => spread - 1,
                    _ => self.random.below(spread),
                };
                self.push(at + later, Event::Change(proxy, change + 1));
            }
        }
    }

    pub(super) fn push(&mut self, at: u64, event: Event) {
        self.count += 1;
        self.events.push(Reverse((at, self.count, event)));
    }

    pub(super) fn instant(&self) -> Instant {
        Instant::from_nanos(self.now)
    }

    pub(super) fn enter(&mut self, proxy: usize) {
        let id = self.proxies[proxy].mux.open_client();
        self.clients += 1;
        let client = K::Client::new(self.clients, &self.plan);
        self.proxies[proxy].person_of.insert(id, self.people.len());
        self.people.push(Person { proxy, id, client, is_closed: false, asked: None });
        let person = self.people.len() - 1;
        let at = self.now + self.random.below(20 * MS);
        self.push(at, Event::Ask(person));
    }

    pub(super) fn run(&mut self) {
        while let Some(Reverse((at, _, event))) = self.events.pop() {
            (self.now, self.absence.now) = (at, at);
            let proxy = match event {
                Event::Ask(person) => self.ask(person),
                Event::Change(proxy, ring) => self.change(proxy, ring),
                Event::Timeout(proxy) => {
                    let now = self.instant();
                    self.proxies[proxy].next_timeout = None;
                    self.proxies[proxy].mux.handle_timeout(now);
                    proxy
                }
                Event::Fault => {
                    self.fault();
                    self.begin_absence();
                    0
                }
                Event::Decision(proxy, number) => self.obey(proxy, number),
                Event::Tick => {
                    self.tick();
                    0
                }
                Event::Open(proxy, conn, epoch) => {
                    self.open(proxy, conn, epoch);
                    proxy
                }
                Event::Arrive(proxy, conn, epoch, server, bytes) => {
                    self.arrive((proxy, conn, epoch), server, &bytes);
                    proxy
                }
                Event::Return(proxy, conn, epoch, bytes) => {
                    let wire = &self.proxies[proxy].wires[conn];
                    if let Some(id) = wire.id.filter(|_| wire.epoch == epoch && wire.is_open) {
                        let now = self.instant();
                        self.proxies[proxy].mux.handle_server_bytes(id, &bytes, now);
                    }
                    proxy
                }
            };
            self.settle(proxy);
        }
        self.check();
    }

    /// How long something takes.
    pub(super) fn delay(&mut self, server: usize) -> u64 {
        let most = match self.random.below(20) {
            // The requests of a process end within milliseconds.
            _ if self.plan.is_one_process => 8 * MS,
            0 => 25 * MS,
            1..4 => 5 * MS,
            _ => MS,
        };
        let delay = 10_000 + self.random.below(most);
        if self.now < self.slow_until[server] { delay * 20 } else { delay }
    }

    pub(super) fn change(&mut self, proxy: usize, ring: usize) -> usize {
        let members = self.plan.rings[ring];
        if proxy == 0 {
            self.announce(ring);
        }
        let (now, stats) = (self.instant(), stats_of(members));
        let this = &mut self.proxies[proxy];
        if self.plan.migrates {
            let settle = Duration::from_nanos(self.plan.settle);
            // What proxies of other processes do is not to be rare.
            let pause = if self.plan.is_one_process { MIGRATE.pause } else { MIGRATE.pause / 10 };
            let announced = Instant::from_nanos(self.changes[ring - 1]);
            let announced = self.plan.is_one_process.then_some(announced);
            let seed = proxy as u64 + 1;
            let migrate = Migrate { announced, settle, pause, seed, ..MIGRATE };
            let (ring, how) = (tagged_ring_of(members, K::tag()), (migrate, now));
            let changed = this.mux.migrate_servers(ring, &stats, |_| true, how);
            changed.expect("no keys move any longer");
        } else {
            this.mux.set_servers(tagged_ring_of(members, K::tag()), &stats, |_| true);
        }
        this.server_of.extend(this.mux.servers().iter().copied().zip(members.to_vec()));
        proxy
    }

    pub(super) fn fault(&mut self) {
        if self.now > self.end {
            return;
        }
        let server = self.random.index(self.servers.len());
        if self.random.chance(self.plan.evictions) {
            let place = self.random.index(20);
            self.servers[server].evict(place);
        }
        let restarts = self.random.chance(self.plan.restarts);
        if restarts {
            self.servers[server].restart();
        }
        if self.random.chance(self.plan.faults) {
            self.slow_until[server] = self.now + self.random.below(200 * MS);
        }
        for proxy in 0..self.proxies.len() {
            for conn in 0..self.proxies[proxy].wires.len() {
                let Some(id) = self.proxies[proxy].wires[conn].id else { continue };
                let leads_there = self.proxies[proxy].mux.has_conn(id)
                    && self.proxies[proxy].server_of[&self.proxies[proxy].mux.server_of(id)]
                        == server;
                let is_open = self.proxies[proxy].wires[conn].is_open;
                let is_lost = restarts || self.random.chance(self.plan.faults / 4);
                if leads_there && is_open && is_lost {
                    self.drop_wire(proxy, conn);
                    let now = self.instant();
                    self.proxies[proxy].mux.handle_conn_closed(id, ServerError::Reset, now);
                    self.settle(proxy);
                }
            }
        }
        let at = self.now + 10 * MS;
        self.push(at, Event::Fault);
    }

    pub(super) fn settle(&mut self, proxy: usize) {
        loop {
            while let Some(id) = self.proxies[proxy].mux.next_dirty_client() {
                self.look_after_client(proxy, id);
            }
            while let Some(id) = self.proxies[proxy].mux.next_dirty_conn() {
                self.look_after_conn(proxy, id);
            }
            if !self.proxies[proxy].mux.has_resumable() {
                break;
            }
            let now = self.instant();
            self.proxies[proxy].mux.resume(now);
        }
        let this = &mut self.proxies[proxy];
        while this.mux.next_event().is_some() {}
        self.pass_reports(proxy);
        let this = &mut self.proxies[proxy];
        let due = this.mux.next_timeout().map(|at| at.as_nanos().max(self.now));
        if let Some(due) = due.filter(|due| this.next_timeout.is_none_or(|at| *due < at)) {
            this.next_timeout = Some(due);
            self.push(due, Event::Timeout(proxy));
        }
    }
}
