//! A pool with its clients and servers, and what happens in it, one event after the other.

mod checks;
mod people;
mod servers;

use super::*;
use nuthatch_core::clocks::Clocks;
use nuthatch_core::error::ServerError;
use nuthatch_core::health::Ejection;
use nuthatch_core::mux::{ClientId, ConnId, Mux, Options, ServerId};
use nuthatch_core::redis::Settings;
use nuthatch_core::ring::{Distribution, Hash, HashTag, Member, Ring};
use nuthatch_core::stats::ServerStats;
use nuthatch_core::time::Instant;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

/// What happens next. A connection's events are of one epoch of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    Timeout,
    Fault,
    /// A person thinks of something to ask.
    Ask(usize),
    /// A person's bytes arrive.
    Say(usize),
    /// A person reads.
    Listen(usize),
    Open(usize, u64),
    /// A server's socket takes bytes.
    Write(usize, u64),
    Serve(usize, u64),
    /// A server's bytes arrive.
    Read(usize, u64),
    /// A server no longer lets a connection wait.
    GiveUp(usize, u64),
}

/// Who is a client, and when it has gone another.
#[derive(Debug)]
pub(super) struct Person<C> {
    pub(super) client: C,
    pub(super) id: Option<ClientId>,
    /// Requests that it will still think of.
    pub(super) left: u32,
    /// Microseconds that it may take to read.
    pub(super) slowness: u64,
    pub(super) says: bool,
    pub(super) listens: bool,
    pub(super) said_all: bool,
    /// Since when it waits for a reply, and nothing has happened for it.
    pub(super) waits_since: u64,
}

/// A connection as its server sees it.
#[derive(Debug, Default)]
pub(super) struct Wire {
    pub(super) id: Option<ConnId>,
    pub(super) epoch: u64,
    pub(super) open: bool,
    pub(super) inbox: Vec<u8>,
    pub(super) replies: Vec<Reply>,
    pub(super) outbox: Vec<u8>,
    pub(super) writes: bool,
    pub(super) reads: bool,
}

pub(super) struct World<S: Server> {
    pub(super) plan: Plan,
    pub(super) random: Random,
    pub(super) mux: Mux,
    pub(super) ring: Ring,
    pub(super) now: u64,
    pub(super) events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    pub(super) count: u64,
    pub(super) next_timeout: Option<u64>,
    pub(super) people: Vec<Person<S::Client>>,
    /// The person of each client id.
    pub(super) person_of: Vec<usize>,
    pub(super) wires: Vec<Wire>,
    pub(super) servers: Vec<S>,
    /// Which of them each server of the pool is.
    pub(super) server_of: BTreeMap<ServerId, usize>,
    pub(super) stats: Vec<Arc<ServerStats>>,
    pub(super) failed: Vec<bool>,
    pub(super) hung_until: Vec<u64>,
    pub(super) down_until: Vec<u64>,
}

/// How long requests and their parts may take: at least as much is set that every request ends.
pub(super) fn clocks(random: &mut Random) -> (Option<Duration>, Clocks) {
    let mut wait = |is_set: bool, most| {
        let wait = Duration::from_micros(200 + random.below(most));
        (is_set || random.chance(600)).then_some(wait)
    };
    let timeout = wait(false, 60_000);
    let is_set = timeout.is_none();
    let queue = wait(is_set, 5000);
    (timeout, Clocks { connect: wait(false, 2000), queue, response: wait(is_set, 20_000) })
}

/// The ring of these servers.
pub(super) fn ring_of(servers: &[usize]) -> Ring {
    let name = |index| Member { name: format!("server{index}").into_bytes().into(), weight: 1 };
    let members = servers.iter().map(name).collect();
    let tag = HashTag::new(b'{', b'}');
    Ring::new(Distribution::Rendezvous, Hash::Fnv1a_64, Some(tag), members, 1)
}

impl<S: Server> World<S> {
    pub(super) fn new(plan: Plan, seed: u64) -> Self {
        let all: Vec<usize> = (0..plan.servers).collect();
        let ring = ring_of(&all);
        let ejection =
            Ejection { failure_limit: 2, retry_timeout: 2 * TIMEOUT, ..Ejection::default() };
        let mut random = Random(seed);
        let (timeout, clocks) = if plan.clocks { clocks(&mut random) } else { Default::default() };
        let options = Options {
            protocol: S::PROTOCOL,
            ejection: plan.ejects.then_some(ejection),
            timeout: if plan.clocks { timeout } else { plan.errors.then_some(TIMEOUT) },
            clocks,
            server_connections: plan.server_connections,
            bulk: plan.bulk,
            allow_flush: true,
            redis: Arc::new(Settings { dedicated_max: plan.dedicated_max, ..Settings::default() }),
            limits: plan.limits,
            epoch: Duration::ZERO,
        };
        let stats: Vec<_> = (0..plan.servers).map(|_| Arc::default()).collect();
        let mux = Mux::new(ring.clone(), options, Arc::default(), &stats);
        let mut world = Self {
            random,
            ring,
            now: 0,
            events: BinaryHeap::new(),
            count: 0,
            next_timeout: None,
            people: Vec::new(),
            person_of: Vec::new(),
            wires: Vec::new(),
            servers: all.iter().map(|_| S::default()).collect(),
            server_of: mux.servers().iter().copied().zip(all).collect(),
            stats,
            // Whoever is slow for a short clock may be ejected, and its keys go elsewhere.
            failed: vec![plan.clocks && plan.ejects; plan.servers],
            hung_until: vec![0; plan.servers],
            down_until: vec![0; plan.servers],
            mux,
            plan,
        };
        for person in 0..plan.clients {
            world.enter(person);
        }
        world.at(1000, Event::Fault);
        world
    }

    /// A new person comes.
    pub(super) fn enter(&mut self, person: usize) {
        let slowness = self.random.pick(&[10, 100, 5000]);
        self.people.push(Person {
            client: S::Client::new(false),
            id: None,
            left: self.plan.requests,
            slowness,
            says: false,
            listens: false,
            said_all: false,
            waits_since: 0,
        });
        self.connect(person);
    }

    /// Lets `event` happen within `within` microseconds.
    pub(super) fn at(&mut self, within: u64, event: Event) {
        let time = self.now + 1000 * self.random.below(within);
        self.count += 1;
        assert!(self.count < 5_000_000, "this never ends");
        self.events.push(Reverse((time, self.count, event)));
    }

    pub(super) fn run(&mut self) {
        while let Some(Reverse((time, _, event))) = self.events.pop() {
            self.now = time;
            match event {
                Event::Timeout => {
                    self.next_timeout = None;
                    self.mux.handle_timeout(Instant::from_nanos(time));
                }
                Event::Fault => self.fault(),
                Event::Ask(person) => self.ask(person),
                Event::Say(person) => self.say(person),
                Event::Listen(person) => self.listen(person),
                Event::Open(conn, epoch) => self.open(conn, epoch),
                Event::Write(conn, epoch) => self.write(conn, epoch),
                Event::Serve(conn, epoch) => self.serve(conn, epoch),
                Event::Read(conn, epoch) => self.read(conn, epoch),
                Event::GiveUp(conn, epoch) => self.give_up(conn, epoch),
            }
            self.settle();
        }
        self.check_idle();
    }

    pub(super) fn now(&self) -> Instant {
        Instant::from_nanos(self.now)
    }

    pub(super) fn settle(&mut self) {
        loop {
            self.answer_questions();
            while let Some(id) = self.mux.next_dirty_client() {
                self.look_after_client(id);
            }
            while let Some(id) = self.mux.next_dirty_conn() {
                self.look_after_conn(id);
            }
            if !self.mux.has_resumable() {
                break;
            }
            self.mux.resume(self.now());
        }
        while self.mux.next_event().is_some() {}
        let due = self.mux.next_timeout().map(|at| at.as_nanos().max(self.now));
        if let Some(due) = due.filter(|&due| self.next_timeout.is_none_or(|at| due < at)) {
            self.next_timeout = Some(due);
            self.count += 1;
            self.events.push(Reverse((due, self.count, Event::Timeout)));
        }
        self.check_bounds();
        // Redis clients also ask for what may take any time.
        if self.plan.clocks && S::PROTOCOL == Protocol::Memcache {
            self.check_deadlines();
        }
    }

    pub(super) fn answer_questions(&mut self) {
        while let Some(question) = self.mux.next_question() {
            assert_eq!(question.what(), b"stats");
            self.mux.answer_question(question, b"STAT pid 1\r\nEND\r\n");
        }
    }
}
