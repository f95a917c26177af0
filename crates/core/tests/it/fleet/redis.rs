//! A fleet of proxies over Redis servers.
//!
//! Redis creates a value where there is none (`INCR`), so a value that a proxy misses would be one that
//! begins again. Two properties are checked. No answer is older than what was acknowledged before, whatever
//! fails and whenever proxies change. And where the proxies are workers of one process, which change within
//! milliseconds, nothing is lost: no key is missed, and no counter begins again.

mod client;
mod real;
mod server;
mod steps;

use super::kind::Kind;
use super::record::{Act, Record, Result, check};
use super::{FAULTY, GROWS, Plan, World, run_kind};
use client::{Client, all_keys};
use nuthatch_core::protocol::Protocol;
use nuthatch_core::ring::HashTag;
use server::Redis;

pub(super) struct Pool;

impl Kind for Pool {
    const PROTOCOL: Protocol = Protocol::Redis;
    /// Those that speak RESP2, and those that speak RESP3.
    const LANES: usize = 2;
    const CAPS_AT_ONCE: bool = false;
    const FILLS: bool = true;
    type Server = Redis;
    type Client = Client;

    fn tag() -> Option<HashTag> {
        Some(HashTag::new(b'{', b'}'))
    }

    fn fill(records: &mut Vec<Record>, mut fill: impl FnMut(&str, u64)) {
        // No request writes one of these.
        for (value, key) in (900_000..).zip(all_keys()) {
            fill(&key, value);
            records.push(Record {
                key,
                act: Act::Set(value),
                client: 0,
                place: value,
                begun: 0,
                ended: 0,
                result: Result::Done,
                text: "at first".to_owned(),
            });
        }
    }

    fn check(records: &[Record], plan: &Plan) {
        if plan.keeps_all() {
            records.iter().for_each(check_kept);
        }
        // A counter that began at nothing has no write that its value is of: where a value may be lost,
        // nothing is known of it.
        let known: Vec<Record> = records
            .iter()
            .map(|record| match &record.result {
                Result::Value(0, _) => Record { result: Result::Unknown, ..record.clone() },
                _ => record.clone(),
            })
            .collect();
        check(&known, false, !plan.keeps_all());
    }
}

/// The key was there.
fn check_kept(record: &Record) {
    let is_lost = match (record.act, &record.result) {
        (Act::Incr, Result::Value(0, _)) => true,
        // There is nothing to do where there is no time to live, and to add where there is a value.
        (Act::Touch, _) if record.text.starts_with("PERSIST") => false,
        (Act::Add(_), Result::Done) => true,
        (Act::Add(_), _) => false,
        (_, result) => *result == Result::Not,
    };
    assert!(!is_lost, "lost: {record:?}");
}

fn run(plan: Plan, count: u64) -> Vec<World<Pool>> {
    run_kind(plan, count)
}

fn sums(worlds: &[World<Pool>], names: &[&str]) {
    for name in names {
        let sum: u64 = worlds.iter().map(|world| world.sum(name)).sum();
        assert!(sum > 10, "{name} {sum}");
    }
}

const PROCESS: Plan = Plan { is_one_process: true, ..GROWS };

#[test]
fn servers_come_and_go_and_nothing_is_stale() {
    let worlds = run(GROWS, 8);
    let names = ["keys_moved", "moves_empty", "moves_lost", "old_reads", "other_deletes"];
    sums(&worlds, &names);
    run(Plan { expires: true, ..GROWS }, 8);
}

#[test]
fn in_one_process_nothing_is_lost() {
    let worlds = run(PROCESS, 24);
    sums(&worlds, &["keys_moved", "old_reads", "other_deletes"]);
    run(Plan { proxies: 5, people: 3, server_connections: 2, ..PROCESS }, 4);
}

#[test]
fn servers_come_back_empty_of_what_has_moved_and_nothing_is_stale() {
    let rings: &[&[usize]] = &[&[0, 1, 2], &[0, 3, 4], &[0, 1, 2]];
    run(Plan { rings, is_one_process: true, ..GROWS }, 6);
}

#[test]
fn connections_fail_and_values_go_and_nothing_is_stale() {
    run(FAULTY, 6);
    run(Plan { restarts: 30, expires: true, ..FAULTY }, 6);
}

#[test]
fn servers_are_emptied_and_nothing_is_stale() {
    run(Plan { flushes: true, ..GROWS }, 6);
}

#[test]
fn servers_without_scripts_move_nothing_and_nothing_is_stale() {
    run(Plan { old: &[0, 1, 2, 3, 4], ..GROWS }, 3);
    run(Plan { old: &[0, 1], ..GROWS }, 3);
}

/// Proves that these tests would notice a stale answer.
#[test]
#[should_panic(expected = "stale")]
fn without_a_migration_a_stale_answer_is_noticed() {
    run(Plan { migrates: false, ..GROWS }, 10);
}

/// Proves that these tests would notice a key that is lost.
#[test]
#[should_panic(expected = "lost")]
fn without_a_migration_a_lost_key_is_noticed() {
    run(Plan { migrates: false, ..PROCESS }, 3);
}

/// Proves that no phase may meet another one than its neighbour.
#[test]
#[should_panic(expected = "stale")]
fn if_proxies_change_later_than_they_should_a_stale_answer_is_noticed() {
    run(Plan { settle: 0, ..GROWS }, 10);
}
