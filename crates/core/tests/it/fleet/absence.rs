//! Servers that are away for a while: they refuse, or stand still and go on later with what they have got
//! meanwhile. They keep their values, so whatever they missed is stale.
//!
//! The proxies are workers of one process with one arbiter, whose orders take their time.

use super::kind::{Kind, Memcache};
use super::redis::Pool as Redis;
use super::world::Event;
use super::{GROWS, MS, Plan, World, run_from, run_kind};
use nuthatch_core::error::ServerError;
use nuthatch_core::health::{Arbiter, Decision, Ejection, OnFailure, OnOverflow, Order, To};
use nuthatch_core::mux::ServerId;
use std::collections::BTreeSet;
use std::time::Duration;

/// When clients ask no more.
pub(super) const END: u64 = 4000 * MS;

/// So long before the end, no server goes away any longer.
const CALM: u64 = 1000 * MS;

pub(super) struct Absence {
    arbiter: Arbiter,
    /// Until when each server refuses, and until when it stands still.
    refuses: [u64; 5],
    /// The worker that alone can't reach the server, if it is only one.
    refused: [Option<usize>; 5],
    stands: [u64; 5],
    decisions: Vec<Decision>,
    next_tick: Option<u64>,
    pub(super) now: u64,
    /// Connections of which bytes were lost.
    lost: BTreeSet<(usize, usize, u64)>,
    /// How often servers went away.
    pub(super) begun: u64,
}

impl Absence {
    pub(super) fn new(plan: &Plan) -> Self {
        let mut arbiter = Arbiter::new(plan.proxies);
        announce(&mut arbiter, plan, 0);
        Self {
            arbiter,
            refuses: [0; 5],
            refused: [None; 5],
            stands: [0; 5],
            decisions: Vec::new(),
            next_tick: None,
            now: 0,
            lost: BTreeSet::new(),
            begun: 0,
        }
    }

    pub(super) fn refuses(&self, proxy: usize, server: usize) -> bool {
        self.now < self.refuses[server] && self.refused[server].is_none_or(|it| it == proxy)
    }

    /// Whether bytes to a server are lost, as are those that follow them on the same connection.
    pub(super) fn loses(&mut self, conn: (usize, usize, u64), server: usize) -> bool {
        if self.refuses(conn.0, server) {
            self.lost.insert(conn);
        }
        self.lost.contains(&conn)
    }

    pub(super) fn stands_still_until(&self, server: usize) -> Option<u64> {
        (self.now < self.stands[server]).then_some(self.stands[server])
    }
}

/// Tells the arbiter which servers there are.
fn announce(arbiter: &mut Arbiter, plan: &Plan, ring: usize) {
    let Some(ejection) = plan.ejection else { return };
    let [servers, gutter] = [plan.rings[ring], plan.gutter]
        .map(|servers| -> Vec<u64> { servers.iter().map(|server| *server as u64).collect() });
    arbiter.set_servers(0, (&servers, &gutter), ejection);
}

impl<K: Kind> World<K> {
    /// The arbiter learns of other servers before any worker.
    pub(super) fn announce(&mut self, ring: usize) {
        announce(&mut self.absence.arbiter, &self.plan, ring);
    }

    fn note_moving(&mut self) {
        let now = self.instant();
        let is_moving = self.proxies.iter().any(|proxy| proxy.mux.migration(now).is_some());
        self.absence.arbiter.set_moving(is_moving.then_some(0).into_iter().collect());
    }

    /// Lets a server go away now and then.
    pub(super) fn begin_absence(&mut self) {
        let is_calm = self.now > self.end - CALM;
        if self.plan.ejection.is_none() || is_calm || !self.random.chance(12) {
            return;
        }
        let servers = [self.plan.rings.concat(), self.plan.gutter.to_vec()].concat();
        let server = servers[self.random.index(servers.len())];
        let until = self.now + 20 * MS + self.random.below(900 * MS);
        self.absence.begun += 1;
        if self.random.chance(500) {
            // What waits for the end of an earlier one would otherwise be overtaken.
            if self.now >= self.absence.stands[server] {
                self.absence.stands[server] = until;
            }
            return;
        }
        if self.now < self.absence.refuses[server] {
            return;
        }
        self.absence.refuses[server] = until;
        let only = self.random.index(self.proxies.len());
        self.absence.refused[server] = self.random.chance(500).then_some(only);
        for proxy in 0..self.proxies.len() {
            if !self.absence.refuses(proxy, server) {
                continue;
            }
            for conn in 0..self.proxies[proxy].wires.len() {
                let this = &self.proxies[proxy];
                let Some(id) = this.wires[conn].id.filter(|id| this.mux.has_conn(*id)) else {
                    continue;
                };
                if this.wires[conn].is_open && this.server_of[&this.mux.server_of(id)] == server {
                    self.drop_wire(proxy, conn);
                    let now = self.instant();
                    self.proxies[proxy].mux.handle_conn_closed(id, ServerError::Reset, now);
                    self.settle(proxy);
                }
            }
        }
    }

    /// Passes what a proxy reports to the arbiter.
    pub(super) fn pass_reports(&mut self, proxy: usize) {
        self.note_moving();
        let now = self.instant();
        while let Some((id, report)) = self.proxies[proxy].mux.next_report() {
            let server = self.proxies[proxy].server_of[&id] as u64;
            self.absence.arbiter.report(server, report, now);
        }
        self.send_decisions();
    }

    pub(super) fn tick(&mut self) {
        self.absence.next_tick = None;
        self.note_moving();
        let now = self.instant();
        self.absence.arbiter.tick(now);
        self.send_decisions();
    }

    /// Orders arrive at each worker at a time of its own, in their order.
    fn send_decisions(&mut self) {
        while let Some(decision) = self.absence.arbiter.next_decision() {
            let number = self.absence.decisions.len();
            self.absence.decisions.push(decision);
            for proxy in 0..self.proxies.len() {
                if matches!(decision.to, To::All) || decision.to == To::One(proxy) {
                    // A worker may be in the middle of a long turn.
                    let most = self.random.pick(&[1, 1, 1, 40]);
                    let at = self.now + self.random.below(most * MS);
                    let last = &mut self.proxies[proxy].ordered_at;
                    *last = at.max(*last);
                    let at = *last;
                    self.push(at, Event::Decision(proxy, number));
                }
            }
        }
        let next = self.absence.arbiter.next_tick().map(|at| at.as_nanos().max(self.now));
        if let Some(next) = next.filter(|next| self.absence.next_tick.is_none_or(|at| *next < at)) {
            self.absence.next_tick = Some(next);
            self.push(next, Event::Tick);
        }
    }

    pub(super) fn obey(&mut self, proxy: usize, number: usize) -> usize {
        let Decision { server, order, round, .. } = self.absence.decisions[number];
        let now = self.instant();
        let this = &mut self.proxies[proxy];
        let id = this.server_of.iter().find(|(_, place)| **place as u64 == server);
        // The worker may not know the new servers yet.
        if let Some((id, _)) = id {
            let id: ServerId = *id;
            this.mux.obey(id, order, round, now);
        }
        proxy
    }

    fn figure(&self, read: impl Fn(&nuthatch_core::stats::MoreServerStats) -> u64) -> u64 {
        let muxes = self.proxies.iter().map(|proxy| &proxy.mux);
        let servers = muxes.flat_map(|mux| {
            let ids = mux.servers().iter().chain(mux.gutter_servers());
            ids.map(|id| mux.server_stats(*id))
        });
        servers.map(|stats| read(&stats.more)).sum()
    }
}

pub(super) const EJECTION: Ejection = Ejection {
    failure_limit: 2,
    failure_rate: None,
    retry_timeout: Duration::from_millis(150),
    probes: 2,
    probe_timeout: Duration::from_millis(80),
    slow_start: Duration::ZERO,
    ejected_max: 100,
    on_failure: OnFailure::Rehash,
    journal_max: 1 << 20,
    on_overflow: OnOverflow::Return,
    gutter_ttl: Duration::from_secs(1),
};

pub(super) const AWAY: Plan = Plan {
    proxies: 3,
    people: 4,
    rings: &[&[0, 1, 2]],
    migrates: false,
    is_one_process: true,
    ejection: Some(EJECTION),
    ..GROWS
};

fn with(ejection: Ejection) -> Plan {
    Plan { ejection: Some(ejection), ..AWAY }
}

/// Runs a plan; checks that servers were ejected and returned.
fn runs<K: Kind>(plan: Plan, count: u64) -> Vec<World<K>> {
    let worlds = run_kind::<K>(plan, count);
    let ejections: u64 =
        worlds.iter().map(|world| world.figure(|more| more.ejections.read())).sum();
    let probes: u64 = worlds.iter().map(|world| world.figure(|more| more.probes.read())).sum();
    assert!(ejections > 10 && probes > 10, "{ejections} {probes}");
    worlds
}

#[test]
fn servers_are_away_and_come_back_and_nothing_is_stale() {
    for on_failure in [OnFailure::Rehash, OnFailure::Miss, OnFailure::Error] {
        let worlds = runs::<Memcache>(with(Ejection { on_failure, ..EJECTION }), 3);
        let replayed: u64 = worlds.iter().map(|it| it.figure(|more| more.replayed.read())).sum();
        assert!(replayed > 10, "{on_failure:?}: {replayed}");
    }
    runs::<Memcache>(Plan { server_connections: 2, flushes: true, ..AWAY }, 3);
    super::check_moves(&runs::<Memcache>(Plan { bulk: super::BULK, ..AWAY }, 3));
}

/// With steps that last for a tenth of this, servers fail again in each of them.
const SLOW: Duration = Duration::from_millis(400);

#[test]
fn servers_that_get_their_keys_back_slowly_have_nothing_stale() {
    let slowly = |plan: Plan| Plan {
        ejection: plan.ejection.map(|it| Ejection { slow_start: SLOW, ..it }),
        ..plan
    };
    let mut failed_again = 0;
    // With journals that are full at once, keys are removed as they are changed.
    let small = Ejection { journal_max: 280, on_overflow: OnOverflow::Flush, ..EJECTION };
    let worlds = runs::<Memcache>(slowly(with(small)), 8);
    failed_again += check_steps(&worlds);
    let overflows = |world: &World<_>| world.figure(|more| more.journal_overflows.read());
    let overflows: u64 = worlds.iter().map(overflows).sum();
    assert!(overflows > 10, "{overflows}");
    let replayed: u64 = worlds.iter().map(|it| it.figure(|more| more.replayed.read())).sum();
    assert!(replayed > 20 * overflows, "{replayed} {overflows}: no journal was relieved in time");
    for plan in [AWAY, Plan { server_connections: 2, flushes: true, ..AWAY }] {
        failed_again += check_steps(&runs::<Memcache>(slowly(plan), 8));
        failed_again += check_steps(&runs::<Redis>(slowly(plan), 8));
    }
    for plan in [GUTTER, Plan { server_connections: 2, flushes: true, ..GUTTER }] {
        let expires = plan.server_connections == 2;
        failed_again += check_steps(&runs::<Memcache>(slowly(Plan { expires, ..plan }), 4));
        failed_again += check_steps(&runs::<Redis>(slowly(plan), 4));
    }
    assert!(failed_again > 10, "{failed_again}");
}

/// So few keys are remembered that more are changed in each absence.
const FORGETFUL: Ejection =
    Ejection { journal_max: 500, on_overflow: OnOverflow::Flush, slow_start: SLOW, ..EJECTION };

#[test]
fn servers_of_which_not_all_is_remembered_are_emptied_and_nothing_is_stale() {
    for slow_start in [SLOW, Duration::ZERO] {
        let plan = with(Ejection { slow_start, ..FORGETFUL });
        check_overflows(&runs::<Memcache>(plan, 4));
        check_overflows(&runs::<Redis>(plan, 4));
    }
}

fn check_overflows<K: Kind>(worlds: &[World<K>]) {
    let overflows: u64 =
        worlds.iter().map(|it| it.figure(|more| more.journal_overflows.read())).sum();
    assert!(overflows > 10, "{overflows}");
}

/// Proves that the test above would notice a stale answer.
#[test]
#[should_panic(expected = "stale")]
fn if_servers_are_not_emptied_a_stale_answer_is_noticed() {
    run_kind::<Memcache>(with(Ejection { on_overflow: OnOverflow::Return, ..FORGETFUL }), 20);
}

/// Checks that servers got their keys in steps. Says how many failed before they had all.
fn check_steps<K: Kind>(worlds: &[World<K>]) -> usize {
    let (mut steps, mut returns, mut failed_again) = (0, 0, 0);
    for world in worlds {
        let mut warming = BTreeSet::new();
        for Decision { server, order, .. } in &world.absence.decisions {
            match order {
                Order::Warm(_) => {
                    warming.insert(server);
                    steps += 1;
                }
                Order::Return => returns += usize::from(warming.remove(server)),
                Order::Leave(_) => failed_again += usize::from(warming.remove(server)),
                _ => {}
            }
        }
    }
    assert!(returns > 0 && steps > 4 * returns, "{steps} {returns} {failed_again}");
    failed_again
}

const GUTTER: Plan = Plan {
    gutter: &[3, 4],
    ejection: Some(Ejection { on_failure: OnFailure::Gutter, ..EJECTION }),
    ..AWAY
};

#[test]
fn with_a_gutter_nothing_is_stale_and_nothing_stays_there() {
    let worlds = runs::<Memcache>(GUTTER, 8);
    let replayed: u64 = worlds.iter().map(|it| it.figure(|more| more.replayed.read())).sum();
    assert!(replayed > 10, "{replayed}");
    runs::<Memcache>(Plan { server_connections: 2, flushes: true, expires: true, ..GUTTER }, 6);
    super::check_moves(&runs::<Memcache>(Plan { bulk: super::BULK, ..GUTTER }, 3));
    runs::<Redis>(GUTTER, 8);
    runs::<Redis>(Plan { bulk: super::BULK, ..GUTTER }, 3);
    runs::<Redis>(Plan { server_connections: 2, flushes: true, ..GUTTER }, 6);
}

#[test]
fn redis_servers_are_away_and_come_back_and_nothing_is_stale() {
    for on_failure in [OnFailure::Rehash, OnFailure::Miss, OnFailure::Error] {
        runs::<Redis>(with(Ejection { on_failure, ..EJECTION }), 3);
    }
}

/// Proves that these tests would notice a stale answer.
#[test]
#[should_panic(expected = "stale")]
fn without_a_journal_a_stale_answer_is_noticed() {
    run_kind::<Memcache>(with(Ejection { journal_max: 0, ..EJECTION }), 20);
}

/// Keys move to other servers while servers, old ones and new ones, are away.
#[test]
fn servers_are_away_while_keys_move_and_nothing_is_stale() {
    let moving = |plan: Plan| Plan { rings: GROWS.rings, migrates: true, ..plan };
    // One worker can't reach an old server, and another one can; or it is away for some when they change.
    for seed in [48, 218] {
        let worlds = run_from::<Memcache>(moving(AWAY), seed, 1);
        assert!(worlds.iter().any(|world| world.sum("servers_given_up") > 0), "{seed}");
    }
    let slow = Ejection { slow_start: SLOW, ..EJECTION };
    let error = Ejection { on_failure: OnFailure::Error, ..EJECTION };
    let forgetful = Ejection { on_failure: OnFailure::Miss, ..FORGETFUL };
    for plan in [with(slow), with(forgetful), with(error)] {
        runs::<Memcache>(moving(plan), 2);
        runs::<Redis>(moving(plan), 2);
    }
    let plan = Plan { server_connections: 2, flushes: true, bulk: super::BULK, ..AWAY };
    runs::<Memcache>(moving(plan), 2);
    runs::<Redis>(moving(plan), 2);
}
