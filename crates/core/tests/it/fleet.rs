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
mod world;

use kind::{Kind, Memcache};
use nuthatch_core::health::Ejection;
use nuthatch_core::mux::{Bulk, Migrate};
use std::time::Duration;
use world::World;

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
    /// Whether the proxies are workers of one process, which count from one announcement however late they change,
    /// and nothing may be lost.
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

const MIGRATE: Migrate = Migrate {
    announced: None,
    settle: Duration::from_nanos(SETTLE),
    window: Duration::from_nanos(WINDOW),
    moves_max: 1000,
    pause: Duration::from_millis(100),
    seed: 1,
};

/// The time from the first change of a proxy until keys move nowhere any longer.
const WHOLE: u64 = 8 * SETTLE + WINDOW + 11_000 * MS;

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
    run_from(plan, 1, count)
}

fn run_from<K: Kind>(plan: Plan, first: u64, count: u64) -> Vec<World<K>> {
    let first = variable("FLEET_SEED").unwrap_or(first);
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
