//! Keys of a Redis pool that move to another server: what its clients are told, step by step.

use super::{ABORTED, OK, QUEUED, TIMED_OUT, array, requests};
use crate::net::{Net, TIMEOUT_MS, engine, redis_options};
use nuthatch_core::limits::Limits;
use nuthatch_core::mux::{ClientId, Migrate, Options};
use nuthatch_core::ring::{Distribution, Hash, Member, Ring};
use nuthatch_core::stats::ServerStats;
use std::sync::Arc;
use std::time::Duration;

/// The connections to the server that all keys leave, to the one where they go, and the first one for a
/// client alone.
const OLD: usize = 0;
const NEW: usize = 2;
const OWN: usize = 4;

const MIGRATE: Migrate = Migrate {
    settle: Duration::from_secs(1),
    window: Duration::from_secs(10),
    moves_max: 100,
    pause: Duration::ZERO,
    seed: 1,
};

/// From the change until values move, with the time that a request may take.
const SETTLED_MS: u64 = 1000 + TIMEOUT_MS;

const TOO_MANY: &str = "-ERR too many requests for keys that move: moves_max\r\n";

fn ring_of(names: &[&str]) -> (Ring, Vec<Arc<ServerStats>>) {
    let member = |name: &&str| Member { name: name.as_bytes().into(), weight: 1 };
    let members = names.iter().map(member).collect();
    let ring = Ring::new(Distribution::Modula, Hash::Fnv1a_64, None, members, 1);
    (ring, names.iter().map(|_| Arc::default()).collect())
}

/// All keys get another server.
fn change(net: &mut Net, migrate: Migrate) {
    let ((ring, stats), now) = (ring_of(&["new"]), net.now());
    net.mux.migrate_servers(ring, &stats, |_| true, (migrate, now)).expect("no keys move yet");
    net.settle_now();
}

/// A pool in which proxies may still ask the old server only.
fn settling(migrate: Migrate) -> Net {
    let mut net = Net::redis(1);
    change(&mut net, migrate);
    net
}

/// A pool in which keys move.
fn moving(migrate: Migrate) -> Net {
    let mut net = settling(migrate);
    net.later(SETTLED_MS);
    net
}

/// A key that no server has is brought to its new server.
fn bring_nothing(net: &mut Net) {
    net.answer(NEW, ":1\r\n");
    net.answer(OLD, ":0\r\n");
    net.answer(NEW, ":0\r\n:1\r\n");
}

/// A client in a transaction of one command, which its server has queued.
fn in_transaction(net: &mut Net) -> ClientId {
    let client = net.client();
    net.say(client, &requests("MULTI;SET a 1"));
    bring_nothing(net);
    assert_eq!(net.asked(OWN), requests("MULTI;SET a 1"));
    net.answer(OWN, &(OK.to_owned() + QUEUED));
    assert_eq!(net.got(client), OK.to_owned() + QUEUED);
    client
}

/// Another client has as many requests for keys that move as there may be.
fn fill(net: &mut Net) {
    let other = net.client();
    let reads: String = (0..MOVES_MAX).map(|key| array(&format!("GET {key}"))).collect();
    net.say(other, &reads);
    net.asked(NEW);
}

/// The requests of [`fill`] are answered.
fn empty(net: &mut Net) {
    net.answer(NEW, &":1\r\n$1\r\n1\r\n".repeat(MOVES_MAX));
}

const MOVES_MAX: usize = 2;
const FEW: Migrate = Migrate { moves_max: MOVES_MAX, ..MIGRATE };

#[test]
fn a_transaction_with_a_command_that_was_one_too_many_is_not_carried_out() {
    let mut net = moving(FEW);
    let client = in_transaction(&mut net);
    fill(&mut net);
    net.say(client, &requests("SET b 2"));
    assert_eq!(net.got(client), TOO_MANY);
    empty(&mut net);
    net.say(client, &requests("EXEC"));
    assert_eq!((net.asked(OWN), net.got(client)), (requests("DISCARD"), ABORTED.to_owned()));
    net.answer(OWN, OK);
    net.check_idle();
}

#[test]
fn a_transaction_whose_end_is_one_too_many_is_over() {
    let mut net = moving(FEW);
    let client = in_transaction(&mut net);
    fill(&mut net);
    net.say(client, &requests("EXEC"));
    assert_eq!((net.asked(OWN), net.got(client)), (requests("DISCARD"), ABORTED.to_owned()));
    net.answer(OWN, OK);
    empty(&mut net);
    net.asked(NEW);
    net.say(client, &requests("GET a"));
    assert_eq!(net.asked(NEW), requests("EXISTS a;GET a"), "it is no part of a transaction");
    net.answer(NEW, ":1\r\n$1\r\n1\r\n");
    net.check_idle();
}

/// A pool whose queues take few requests. The one of the new server is full until the time of the requests
/// in it is over.
fn with_full_queue() -> (Net, ClientId) {
    let limits = Limits { server_requests_max: 4, ..Limits::default() };
    let mut net = Net::with(engine(1, Options { limits, ..redis_options() }, None));
    change(&mut net, MIGRATE);
    net.later(SETTLED_MS);
    let client = in_transaction(&mut net);
    let other = net.client();
    net.say(other, &requests("GET x;GET y"));
    net.asked(NEW);
    (net, client)
}

#[test]
fn a_transaction_with_a_command_that_has_waited_too_long_is_not_carried_out() {
    let (mut net, client) = with_full_queue();
    net.say(client, &requests("SET b 2"));
    net.later(TIMEOUT_MS);
    assert_eq!(net.got(client), TIMED_OUT);
    net.say(client, &requests("EXEC"));
    assert_eq!((net.asked(OWN), net.got(client)), (requests("DISCARD"), ABORTED.to_owned()));
}

#[test]
fn a_transaction_whose_end_has_waited_too_long_is_over() {
    let (mut net, client) = with_full_queue();
    net.say(client, &requests("EXEC"));
    net.later(TIMEOUT_MS);
    assert_eq!((net.asked(OWN), net.got(client)), (requests("DISCARD"), ABORTED.to_owned()));
}
