//! A fleet of proxies over the same servers, of which the ring changes: at every proxy at another time.
//!
//! Time is a number, and everything that takes time takes a random time: a request on its way may
//! arrive after requests that other proxies have sent later. Servers and connections fail. At the end it is
//! checked that nobody was told anything older than what was acknowledged before (`record.rs`).

mod absence;
mod client;
mod deadline;
mod kind;
mod real;
mod record;
mod redis;
mod server;

use crate::sim::random::Random;
use absence::Absence;
use kind::{Asker, Kind, Memcache, Server};
use nuthatch_core::clocks::Clocks;
use nuthatch_core::error::ServerError;
use nuthatch_core::health::Ejection;
use nuthatch_core::limits::Limits;
use nuthatch_core::mux::{Bulk, ClientId, ConnId, Migrate, Mux, Options, Phase, ServerId};
use nuthatch_core::redis::Settings;
use nuthatch_core::ring::{Distribution, Hash, HashTag, Member, Ring};
use nuthatch_core::stats::ServerStats;
use nuthatch_core::time::Instant;
use record::Record;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

const MS: u64 = 1_000_000;
const SETTLE: u64 = 300 * MS;
const WINDOW: u64 = 1500 * MS;

/// What every request may take where anything fails.
const TIMEOUT: Duration = Duration::from_millis(100);

/// What happens in a run.
#[derive(Clone, Copy, Debug)]
struct Plan {
    proxies: usize,
    people: usize,
    server_connections: usize,
    bulk: Bulk,
    /// The servers at first, and after each change.
    rings: &'static [&'static [usize]],
    /// The servers of the gutter.
    gutter: &'static [usize],
    migrates: bool,
    /// How long other proxies are waited for, in nanoseconds.
    settle: u64,
    /// How often of 1000 times connections are lost, servers restart or are slow, or drop a value.
    faults: u64,
    evictions: u64,
    restarts: u64,
    /// Servers that are too old for meta commands.
    old: &'static [usize],
    /// Whether all is over before the last change is.
    ends_early: bool,
    flushes: bool,
    /// Whether the proxies are workers of one process, which change together apart from milliseconds, and
    /// nothing may be lost.
    is_one_process: bool,
    /// Whether values that expire at once are written.
    expires: bool,
    /// When servers are ejected, which are away for a while; then the proxies are workers of one process.
    ejection: Option<Ejection>,
    /// Whether the queues of servers are short, and everybody asks for one thing at a time.
    is_crowded: bool,
}

impl Plan {
    /// Whether no value may be lost.
    fn keeps_all(&self) -> bool {
        self.is_one_process && self.ejection.is_none()
    }
}

const GROWS: Plan = Plan {
    proxies: 3,
    people: 4,
    server_connections: 1,
    bulk: Bulk::NONE,
    rings: &[&[0, 1, 2], &[0, 3, 4]],
    gutter: &[],
    migrates: true,
    settle: SETTLE,
    faults: 0,
    evictions: 0,
    restarts: 0,
    old: &[],
    ends_early: false,
    flushes: false,
    is_one_process: false,
    expires: false,
    ejection: None,
    is_crowded: false,
};

/// Clients are bulky after little, and soon no longer.
const BULK: Bulk = Bulk { connections: 1, min: 30, keys: 2, requests: 4, reads: 3 };

const FAULTY: Plan = Plan { faults: 100, evictions: 100, server_connections: 2, ..GROWS };

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
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
struct Wire {
    id: Option<ConnId>,
    epoch: u64,
    is_open: bool,
    /// When the last bytes arrive there, and here.
    there: u64,
    here: u64,
}

struct Proxy {
    mux: Mux,
    wires: Vec<Wire>,
    server_of: BTreeMap<ServerId, usize>,
    person_of: BTreeMap<ClientId, usize>,
    next_timeout: Option<u64>,
    /// When the last decision arrives here.
    ordered_at: u64,
}

struct Person<C> {
    proxy: usize,
    id: ClientId,
    client: C,
    is_closed: bool,
    /// When it asked for the one thing that it waits for.
    asked: Option<u64>,
}

struct World<K: Kind> {
    plan: Plan,
    random: Random,
    now: u64,
    count: u64,
    end: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    proxies: Vec<Proxy>,
    people: Vec<Person<K::Client>>,
    servers: Vec<K::Server>,
    /// What arrived at servers and is not a whole request.
    inboxes: BTreeMap<(usize, usize, u64), Vec<u8>>,
    slow_until: Vec<u64>,
    records: Vec<Record>,
    clients: usize,
    /// When the first proxy changes to each ring but the first.
    changes: Vec<u64>,
    asked: BTreeMap<Phase, u64>,
    traced: Option<String>,
    absence: Absence,
    /// How long each request took of those of which it is known.
    waits: Vec<Duration>,
}

fn ring_of(servers: &[usize]) -> Ring {
    tagged_ring_of(servers, None)
}

fn tagged_ring_of(servers: &[usize], tag: Option<HashTag>) -> Ring {
    let name = |index| Member { name: format!("server{index}").into_bytes().into(), weight: 1 };
    let members = servers.iter().map(name).collect();
    Ring::new(Distribution::Rendezvous, Hash::Fnv1a_64, tag, members, 1)
}

fn stats_of(servers: &[usize]) -> Vec<Arc<ServerStats>> {
    servers.iter().map(|_| Arc::default()).collect()
}

const MIGRATE: Migrate = Migrate {
    settle: Duration::from_nanos(SETTLE),
    window: Duration::from_nanos(WINDOW),
    moves_max: 1000,
    pause: Duration::from_millis(100),
    seed: 1,
};

/// The time from the first change of a proxy until keys move nowhere any longer.
const WHOLE: u64 = 8 * SETTLE + WINDOW + 11_000 * MS;

impl<K: Kind> World<K> {
    fn new(plan: Plan, seed: u64) -> Self {
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
        if plan.ejection.is_some() {
            world.end = absence::END;
        }
        world.enter_all();
        world.plan_changes();
        world.push(0, Event::Fault);
        world
    }

    fn enter_all(&mut self) {
        for person in 0..self.plan.people * self.plan.proxies {
            self.enter(person % self.plan.proxies);
        }
    }

    /// Each proxy changes to the next ring at a time of its own.
    fn plan_changes(&mut self) {
        // Without a timeout, a request on its way at the last change takes some of the time.
        let spread = match self.plan.faults {
            _ if self.plan.is_one_process => 5 * MS,
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

    fn push(&mut self, at: u64, event: Event) {
        self.count += 1;
        self.events.push(Reverse((at, self.count, event)));
    }

    fn instant(&self) -> Instant {
        Instant::from_nanos(self.now)
    }

    fn enter(&mut self, proxy: usize) {
        let id = self.proxies[proxy].mux.open_client();
        self.clients += 1;
        let client = K::Client::new(self.clients, &self.plan);
        self.proxies[proxy].person_of.insert(id, self.people.len());
        self.people.push(Person { proxy, id, client, is_closed: false, asked: None });
        let person = self.people.len() - 1;
        let at = self.now + self.random.below(20 * MS);
        self.push(at, Event::Ask(person));
    }

    fn run(&mut self) {
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
    fn delay(&mut self, server: usize) -> u64 {
        let most = match self.random.below(20) {
            // A process changes within milliseconds, and so do its requests end.
            _ if self.plan.is_one_process => 8 * MS,
            0 => 25 * MS,
            1..4 => 5 * MS,
            _ => MS,
        };
        let delay = 10_000 + self.random.below(most);
        if self.now < self.slow_until[server] { delay * 20 } else { delay }
    }

    fn ask(&mut self, person: usize) -> usize {
        let this = &mut self.people[person];
        let proxy = this.proxy;
        if this.is_closed {
            return proxy;
        }
        if self.now >= self.end {
            if this.client.awaits() == 0 {
                self.proxies[proxy].mux.handle_client_eof(this.id);
            } else {
                let at = self.now + 20 * MS;
                self.push(at, Event::Ask(person));
            }
            return proxy;
        }
        if self.plan.faults > 0 && self.random.chance(5) {
            let (id, now) = (this.id, self.now);
            this.client.leave();
            self.proxies[proxy].mux.close_client(id);
            self.proxies[proxy].person_of.remove(&id);
            let proxy = self.random.index(self.plan.proxies);
            self.enter(proxy);
            self.now = now;
            return proxy;
        }
        // So that old servers keep some values that are replaced later.
        let spares_some = self.plan.ends_early
            && self.changes.iter().enumerate().any(|(number, change)| {
                let spared = match number {
                    0 => change + SETTLE..change + WHOLE - 1500 * MS,
                    _ => change - 100 * MS..change + 2 * SETTLE,
                };
                spared.contains(&self.now)
            });
        let asks = !self.plan.is_crowded || this.client.awaits() == 0;
        if asks && self.proxies[proxy].mux.wants_read(this.id) {
            let mut bytes = String::new();
            let many = if self.plan.is_crowded { 1 } else { self.random.pick(&[1, 1, 1, 2, 4]) };
            for _ in 0..many {
                self.count += 1;
                if self.plan.flushes && self.random.chance(10) {
                    bytes += &this.client.flush(&mut self.records, self.now);
                }
                let value = (&mut self.random, self.count);
                let records = (&mut self.records, spares_some);
                bytes += &this.client.ask(value, records, self.now);
                if let Some(progress) =
                    self.proxies[proxy].mux.migration(Instant::from_nanos(self.now))
                {
                    *self.asked.entry(progress.phase).or_default() += 1;
                }
            }
            this.asked = (this.client.awaits() == 1).then_some(self.now);
            let now = Instant::from_nanos(self.now);
            self.proxies[proxy].mux.handle_client_bytes(this.id, bytes.as_bytes(), now);
        }
        let is_hot = self.changes.iter().any(|change| {
            (change.saturating_sub(300 * MS)..change + 3 * SETTLE + WINDOW).contains(&self.now)
        });
        let is_hot = is_hot || self.plan.ejection.is_some();
        let pause = if is_hot { 20 * MS } else { 600 * MS };
        let at = self.now + self.random.below(pause);
        self.push(at, Event::Ask(person));
        proxy
    }

    fn change(&mut self, proxy: usize, ring: usize) -> usize {
        let members = self.plan.rings[ring];
        let (now, stats) = (self.instant(), stats_of(members));
        let this = &mut self.proxies[proxy];
        if self.plan.migrates {
            let settle = Duration::from_nanos(self.plan.settle);
            // What proxies of other processes do is not to be rare.
            let pause = if self.plan.is_one_process { MIGRATE.pause } else { MIGRATE.pause / 10 };
            let migrate = Migrate { settle, pause, seed: proxy as u64 + 1, ..MIGRATE };
            let (ring, how) = (tagged_ring_of(members, K::tag()), (migrate, now));
            let changed = this.mux.migrate_servers(ring, &stats, |_| true, how);
            changed.expect("no keys move any longer");
        } else {
            this.mux.set_servers(tagged_ring_of(members, K::tag()), &stats, |_| true);
        }
        this.server_of.extend(this.mux.servers().iter().copied().zip(members.to_vec()));
        proxy
    }

    fn fault(&mut self) {
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

    fn drop_wire(&mut self, proxy: usize, conn: usize) {
        let wire = &mut self.proxies[proxy].wires[conn];
        *wire = Wire { epoch: wire.epoch + 1, ..Wire::default() };
    }

    fn open(&mut self, proxy: usize, conn: usize, epoch: u64) {
        let now = self.instant();
        let this = &mut self.proxies[proxy];
        let wire = &mut this.wires[conn];
        if let Some(id) = wire.id.filter(|_| wire.epoch == epoch) {
            if self.absence.refuses(proxy, this.server_of[&this.mux.server_of(id)]) {
                *wire = Wire { epoch: wire.epoch + 1, ..Wire::default() };
                return this.mux.handle_conn_closed(id, ServerError::Refused, now);
            }
            wire.is_open = true;
            this.mux.handle_conn_open(id, now);
        }
    }

    /// A server gets bytes, though perhaps nobody will hear the answer.
    fn arrive(&mut self, (proxy, conn, epoch): (usize, usize, u64), server: usize, bytes: &[u8]) {
        if self.absence.loses((proxy, conn, epoch), server) {
            return;
        }
        if let Some(at) = self.absence.stands_still_until(server) {
            return self.push(at, Event::Arrive(proxy, conn, epoch, server, bytes.to_vec()));
        }
        let mut inbox = self.inboxes.remove(&(proxy, conn, epoch)).unwrap_or_default();
        inbox.extend_from_slice(bytes);
        let mut replies = Vec::new();
        let mut rest = inbox.clone();
        let number = (proxy as u64) << 48 | (conn as u64) << 32 | epoch;
        while let Some(reply) = self.servers[server].serve(number, &mut inbox, self.now) {
            let asked = &rest[..rest.len() - inbox.len()];
            self.trace((proxy, conn, server), asked, &reply);
            rest.clone_from(&inbox);
            replies.extend_from_slice(&reply);
            if K::CAPS_AT_ONCE {
                self.check_cap(server);
            }
        }
        if !inbox.is_empty() {
            self.inboxes.insert((proxy, conn, epoch), inbox);
        }
        let is_heard = self.proxies[proxy].wires[conn].epoch == epoch;
        if is_heard && !replies.is_empty() {
            let at = self.now + self.delay(server);
            let wire = &mut self.proxies[proxy].wires[conn];
            wire.here = wire.here.max(at);
            let at = wire.here;
            self.push(at, Event::Return(proxy, conn, epoch, replies));
        }
    }

    /// Tells what a server is asked about the key that `FLEET_TRACE` names.
    fn trace(&self, place: (usize, usize, usize), asked: &[u8], reply: &[u8]) {
        let Some(key) = &self.traced else { return };
        let (asked, reply) = (String::from_utf8_lossy(asked), String::from_utf8_lossy(reply));
        if asked.contains(key) {
            let (proxy, conn, server) = place;
            eprintln!(
                "{} us: proxy {proxy} conn {conn} server {server}: {asked:?} {reply:?}",
                self.now / 1000
            );
        }
    }

    fn settle(&mut self, proxy: usize) {
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

    fn look_after_client(&mut self, proxy: usize, id: ClientId) {
        let this = &mut self.proxies[proxy];
        let output = this.mux.client_output(id).to_vec();
        let person = this.person_of[&id];
        if !output.is_empty() {
            this.mux.handle_client_written(id, output.len());
            self.people[person].client.receive(&output, &mut self.records, self.now);
            self.note_wait(person);
        }
        let this = &mut self.proxies[proxy];
        if this.mux.is_done(id) {
            this.mux.close_client(id);
            this.person_of.remove(&id);
            let person = &mut self.people[person];
            // The proxy closes a client whose transaction is lost with its connection.
            person.client.leave();
            person.is_closed = true;
            if self.now < self.end {
                self.enter(proxy);
            }
        }
    }

    fn look_after_conn(&mut self, proxy: usize, id: ConnId) {
        let conn = id.index();
        let places = self.proxies[proxy].wires.len().max(conn + 1);
        self.proxies[proxy].wires.resize_with(places, Wire::default);
        if self.proxies[proxy].mux.take_must_close(id) {
            self.drop_wire(proxy, conn);
        }
        if !self.proxies[proxy].mux.has_conn(id) {
            return;
        }
        let now = self.instant();
        let this = &mut self.proxies[proxy];
        let server = this.server_of[&this.mux.server_of(id)];
        this.wires[conn].id = Some(id);
        let epoch = this.wires[conn].epoch;
        if this.mux.wants_open(id) {
            this.mux.handle_conn_opening(id, now);
            let at = self.now + self.delay(server);
            return self.push(at, Event::Open(proxy, conn, epoch));
        }
        while self.proxies[proxy].mux.conn_state(id).is_connected()
            && !self.proxies[proxy].mux.conn_output(id).is_empty()
        {
            let delay = self.delay(server);
            let this = &mut self.proxies[proxy];
            let mut output = this.mux.conn_output(id).to_vec();
            // What is sent together may arrive in two pieces, with requests of others between them.
            if self.random.chance(200) {
                output.truncate(1 + self.random.index(output.len()));
            }
            this.mux.handle_conn_written(id, output.len(), now);
            let wire = &mut this.wires[conn];
            wire.there = wire.there.max(self.now + delay);
            let at = wire.there;
            self.push(at, Event::Arrive(proxy, conn, epoch, server, output));
        }
    }

    fn check(&mut self) {
        for proxy in &self.proxies {
            assert_eq!(proxy.mux.requests_in_flight(), 0);
            assert_eq!(proxy.mux.memory(), 0);
            assert_eq!(proxy.mux.client_count(), 0);
            let migration = proxy.mux.migration(Instant::from_nanos(self.now));
            assert_eq!(migration, None, "keys move for ever");
            assert_eq!(proxy.mux.stats().migration.in_flight.read(), 0);
            if let Some(last) = self.plan.rings.last() {
                let lanes = (self.plan.server_connections + self.plan.bulk.connections) * K::LANES;
                let servers = last.len() + self.plan.gutter.len();
                let own = proxy.mux.conns().len() - servers * lanes;
                assert!(own == 0 || K::FILLS, "connections are left");
            }
        }
        // Where a mark can't be released, it goes by itself.
        let is_sure = self.plan.old.is_empty() && self.plan.faults == 0;
        let lease = if is_sure { 0 } else { 5000 * MS };
        let marks = self.servers.iter_mut().any(|server| server.has_marks(self.now + lease));
        assert!(!marks, "a mark is left");
        for server in self.plan.gutter {
            self.check_cap(*server);
        }
        K::check(&self.records, &self.plan);
    }

    /// Checks that no value stays longer in the gutter than it may.
    fn check_cap(&mut self, server: usize) {
        let Some(ejection) = self.plan.ejection else { return };
        if self.plan.gutter.contains(&server) {
            let stay = self.servers[server].longest_stay(self.now);
            let ttl = ejection.gutter_ttl;
            assert!(Duration::from_nanos(stay) <= ttl, "uncapped: {stay} ns at server {server}");
        }
    }

    fn sum(&self, name: &str) -> u64 {
        let stats = self.proxies.iter().map(|proxy| &proxy.mux.stats().migration);
        let read = |(found, counter): (&str, &nuthatch_core::stats::Counter)| {
            (found == name).then(|| counter.read())
        };
        stats.flat_map(|stats| stats.all().filter_map(read).collect::<Vec<_>>()).sum()
    }
}

/// Says how to repeat a run that failed.
struct Replay(u64);

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("replay: FLEET_SEED={} FLEET_RUNS=1", self.0);
        }
    }
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|number| number.parse().expect("a number"))
}

/// Runs a plan with memcacheds.
fn run(plan: Plan, count: u64) -> Vec<World<Memcache>> {
    run_kind(plan, count)
}

/// Runs a plan with so many seeds, or those of the environment.
fn run_kind<K: Kind>(plan: Plan, count: u64) -> Vec<World<K>> {
    let first = variable("FLEET_SEED").unwrap_or(1);
    let count = variable("FLEET_RUNS").unwrap_or(count);
    let run = |seed| {
        let _replay = Replay(seed);
        let mut world = World::new(plan, seed);
        world.run();
        if variable("FLEET_TELL").is_some() {
            world.tell();
        }
        world
    };
    (first..first + count).map(run).collect()
}

impl<K: Kind> World<K> {
    fn tell(&self) {
        let stats = &self.proxies[0].mux.stats().migration;
        let names: Vec<&str> = stats.all().map(|(name, _)| name).collect();
        let sums: Vec<String> =
            names.into_iter().map(|name| format!("{name} {}", self.sum(name))).collect();
        let known = self.records.iter().filter(|record| record.result != record::Result::Unknown);
        println!(
            "{} records, {} known, asked {:?}: {}",
            self.records.len(),
            known.count(),
            self.asked,
            sums.join(", ")
        );
    }
}

#[test]
fn servers_come_and_go_and_nothing_is_stale() {
    let worlds = run(GROWS, 6);
    for name in ["keys_moved", "moves_empty", "moves_lost", "old_reads", "other_deletes"] {
        let sum: u64 = worlds.iter().map(|world| world.sum(name)).sum();
        assert!(sum > 10, "{name} {sum}");
    }
}

/// Proves that these tests would notice a stale answer.
#[test]
#[should_panic(expected = "stale")]
fn without_a_migration_a_stale_answer_is_noticed() {
    run(Plan { migrates: false, ..GROWS }, 10);
}

/// Proves that no phase may meet another one than its neighbour.
#[test]
#[should_panic(expected = "stale")]
fn if_proxies_change_later_than_they_should_a_stale_answer_is_noticed() {
    run(Plan { settle: 0, ..GROWS }, 10);
}

#[test]
fn servers_come_back_with_what_they_had_and_nothing_is_stale() {
    let rings: &[&[usize]] = &[&[0, 1, 2], &[0, 3, 4], &[0, 1, 2]];
    let worlds = run(Plan { rings, ends_early: true, ..GROWS }, 12);
    let dropped: u64 = worlds.iter().map(|world| world.sum("leftovers_dropped")).sum();
    assert!(dropped > 5, "{dropped}");
}

#[test]
fn connections_fail_and_values_go_and_nothing_is_stale() {
    run(FAULTY, 4);
    run(Plan { restarts: 30, ..FAULTY }, 4);
}

#[test]
fn clients_change_connections_meanwhile_and_nothing_is_stale() {
    let worlds = run(Plan { bulk: BULK, ..FAULTY }, 6);
    check_moves(&worlds);
}

fn check_moves<K: Kind>(worlds: &[World<K>]) {
    let proxies = worlds.iter().flat_map(|world| &world.proxies);
    let moves: u64 = proxies.map(|proxy| proxy.mux.stats().bulk_moves.read()).sum();
    assert!(moves > 100, "{moves}");
}

#[test]
fn servers_are_emptied_and_nothing_is_stale() {
    run(Plan { flushes: true, ..GROWS }, 4);
}

#[test]
fn old_servers_move_nothing_and_nothing_is_stale() {
    run(Plan { old: &[0, 1, 2, 3, 4], ..GROWS }, 3);
    run(Plan { old: &[0, 1], ..GROWS }, 3);
}
