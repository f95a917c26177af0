//! What a client has on a connection of its own, while servers come and go, and after a timeout.

use super::{CROSS_SHARD, OK, TIMED_OUT, array, confirmation, message, requests};
use crate::net::{Net, TIMEOUT_MS, engine, redis_options};
use nuthatch_core::mux::Options;
use nuthatch_core::redis::Settings;
use nuthatch_core::ring::{Distribution, Hash, Member, Ring};
use nuthatch_core::stats::ServerStats;
use std::sync::Arc;

const OWN: usize = 4;

/// Makes these the servers of the pool.
fn change(net: &mut Net, names: &[&str]) {
    let member = |name: &&str| Member { name: name.as_bytes().into(), weight: 1 };
    let members = names.iter().map(member).collect();
    let ring = Ring::new(Distribution::Modula, Hash::Fnv1a_64, None, members, 1);
    let stats: Vec<Arc<ServerStats>> = names.iter().map(|_| Arc::default()).collect();
    net.mux.set_servers(ring, &stats, |_| true);
    net.settle_now();
}

#[test]
fn a_transaction_ends_at_a_server_that_has_left() {
    let mut net = Net::redis(2);
    let client = net.client();
    net.say(client, &requests("WATCH a"));
    let conn = net.conn(OWN);
    change(&mut net, &["server1"]);
    net.answer(OWN, OK);
    assert!(net.mux.has_conn(conn), "the client has a watched key there");
    net.say(client, &requests("MULTI;SET a 1;EXEC"));
    assert_eq!(net.asked(OWN), requests("WATCH a;MULTI;DISCARD"));
    net.answer(OWN, &OK.repeat(2));
    assert_eq!(net.got(client), [OK, OK, CROSS_SHARD, super::ABORTED].concat());
    assert!(!net.mux.has_conn(conn) && !net.is_connected(OWN), "it has nothing left to do");
    net.check_idle();
}

#[test]
fn a_subscriber_keeps_its_channels_at_a_server_that_has_left_until_it_ends_them() {
    let mut net = Net::redis(2);
    let client = net.client();
    net.say(client, &requests("SUBSCRIBE a"));
    let conn = net.conn(OWN);
    change(&mut net, &["server1"]);
    net.answer(OWN, &(confirmation("subscribe", "a", 1) + &message("a", "1")));
    assert_eq!(net.got(client), confirmation("subscribe", "a", 1) + &message("a", "1"));
    net.say(client, &requests("UNSUBSCRIBE"));
    net.answer(OWN, &confirmation("unsubscribe", "a", 0));
    assert_eq!(net.got(client), confirmation("unsubscribe", "a", 0));
    assert!(!net.mux.has_conn(conn));
    net.check_idle();
}

#[test]
fn an_idle_connection_goes_with_its_server() {
    let mut net = Net::redis(2);
    let client = net.client();
    net.say(client, &requests("BLPOP a 0"));
    net.answer(OWN, "*-1\r\n");
    let conn = net.conn(OWN);
    change(&mut net, &["server1"]);
    assert!(!net.mux.has_conn(conn) && !net.is_connected(OWN));
    net.check_idle();
}

#[test]
fn a_connection_with_nothing_on_it_is_not_kept_for_an_idle_client() {
    let mut net = Net::redis(2);
    let (one, two) = (net.client(), net.client());
    net.say(one, &requests("WATCH a"));
    net.answer(OWN, OK);
    net.say(one, &requests("UNWATCH;MULTI"));
    net.answer(OWN, OK);
    net.say(one, &requests("EXEC"));
    assert_eq!(net.got(one), [OK, OK, OK, "*0\r\n"].concat());
    net.asked(OWN);
    net.say(two, &requests("BLPOP a 0"));
    assert_eq!(net.asked(OWN), requests("BLPOP a 0"), "the connection is free");
}

#[test]
fn a_client_that_changes_the_version_gets_a_connection_of_that_version() {
    let mut net = Net::redis(2);
    let client = net.client();
    net.say(client, &requests("WATCH a"));
    net.answer(OWN, OK);
    net.say(client, &requests("UNWATCH"));
    net.later(TIMEOUT_MS);
    assert_eq!(net.got(client), OK.to_owned() + TIMED_OUT);
    net.say(client, &requests("HELLO 3;WATCH a"));
    assert_eq!(net.greeted(OWN + 1), requests("HELLO 3"));
    assert_eq!(net.asked(OWN + 1), requests("WATCH a"));
    assert!(!net.is_connected(OWN), "nobody wants the reply that is still to come there");
    net.answer(OWN + 1, OK);
    assert!(net.got(client).ends_with(OK));
    net.check_idle();
}

#[test]
fn a_connection_with_a_reply_still_to_come_is_not_given_to_another_client() {
    let mut net = Net::redis(2);
    let (one, two) = (net.client(), net.client());
    net.say(one, &requests("WATCH a;UNWATCH"));
    net.answer(OWN, OK);
    net.later(TIMEOUT_MS);
    assert_eq!(net.got(one), OK.to_owned() + TIMED_OUT);
    net.say(one, &requests("BLPOP b 0"));
    assert!(!net.is_connected(OWN));
    net.say(two, &requests("BLPOP a 0"));
    assert!(net.is_connected(OWN) && net.asked(OWN).ends_with(&requests("BLPOP a 0")));
    net.answer(OWN, &array("a x"));
    assert_eq!(net.got(two), array("a x"), "over a new connection in the same place");
}

#[test]
fn a_connection_that_is_not_used_again_makes_room_for_another() {
    let settings = Settings { dedicated_max: 1, ..Settings::default() };
    let options = Options { redis: Arc::new(settings), ..redis_options() };
    let mut net = Net::with(engine(2, options, None));
    let client = net.client();
    net.say(client, &requests("WATCH a;UNWATCH"));
    net.answer(OWN, OK);
    net.later(TIMEOUT_MS);
    assert_eq!(net.got(client), OK.to_owned() + TIMED_OUT);
    net.say(client, &requests("BLPOP b 0"));
    net.answer(OWN + 1, &array("b x"));
    assert_eq!(net.got(client), array("b x"));
}

#[test]
fn the_end_of_a_transaction_that_was_not_carried_out_closes_no_connection() {
    let mut net = Net::redis(2);
    let client = net.client();
    net.say(client, &requests("MULTI;SET a 1"));
    net.answer(OWN, "+OK\r\n+QUEUED\r\n");
    net.say(client, &requests("SET b 2;EXEC;BLPOP b 0"));
    assert!(net.asked(OWN).ends_with(&requests("DISCARD")));
    net.answer(OWN + 1, &array("b x"));
    assert!(net.is_connected(OWN) && net.got(client).ends_with(&array("b x")));
}
