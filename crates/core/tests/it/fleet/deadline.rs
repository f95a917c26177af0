//! How long a request takes, whatever it waits for, one thing after the other: for room in a queue, for a
//! connection, for what becomes of a server, for its key to move, for the reply.

use super::absence::{AWAY, EJECTION};
use super::kind::{Asker, Kind, Memcache};
use super::redis::Pool as Redis;
use super::{FAULTY, Plan, TIMEOUT, World, run_kind};
use nuthatch_core::health::{Ejection, OnFailure};
use nuthatch_core::limits::Limits;
use std::time::Duration;

/// So few that people wait for room.
pub(super) const LIMITS: Limits = Limits { server_requests_max: 2, ..Limits::DEFAULT };

impl<K: Kind> World<K> {
    /// Notes how long somebody has waited, who has the reply now.
    pub(super) fn note_wait(&mut self, person: usize) {
        let this = &mut self.people[person];
        if this.client.awaits() > 0 {
            return;
        }
        if let Some(asked) = this.asked.take().filter(|_| self.plan.is_crowded) {
            let wait = Duration::from_nanos(self.now - asked);
            assert!(wait <= TIMEOUT + TIMEOUT / 5, "it took {wait:?}");
            self.waits.push(wait);
        }
    }
}

fn runs<K: Kind>(plan: Plan, count: u64) {
    let worlds = run_kind::<K>(Plan { is_crowded: true, people: 8, ..plan }, count);
    let waits: Vec<Duration> =
        worlds.iter().flat_map(|world| world.waits.iter().copied()).collect();
    let late = waits.iter().filter(|wait| **wait >= TIMEOUT).count();
    assert!(late > 20, "{late} of {} were late", waits.len());
    let muxes = worlds.iter().flat_map(|world| &world.proxies).map(|proxy| &proxy.mux);
    let held: u64 = muxes.map(|mux| mux.stats().limit_server_queue.read()).sum();
    assert!(held > 100, "{held} waited for room");
    let quick = waits.iter().filter(|wait| **wait < TIMEOUT / 5).count();
    assert!(quick > waits.len() / 2, "{quick} of {} were quick", waits.len());
}

#[test]
fn a_request_takes_no_longer_than_its_timeout_while_servers_are_away() {
    for on_failure in [OnFailure::Rehash, OnFailure::Miss, OnFailure::Error] {
        let ejection = Some(Ejection { on_failure, ..EJECTION });
        runs::<Memcache>(Plan { ejection, ..AWAY }, 4);
        runs::<Redis>(Plan { ejection, ..AWAY }, 4);
    }
}

#[test]
fn a_request_takes_no_longer_than_its_timeout_while_its_key_moves() {
    runs::<Memcache>(FAULTY, 2);
    runs::<Redis>(FAULTY, 2);
}
