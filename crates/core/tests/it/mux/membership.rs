//! Servers that come and go while clients ask.

use super::{hit, set};
use crate::net::{Net, engine, options};
use nuthatch_core::error::ServerError;
use nuthatch_core::health::Ejection;
use nuthatch_core::limits::Limits;
use nuthatch_core::mux::Options;
use nuthatch_core::ring::{Distribution, Hash, Member, Ring};
use nuthatch_core::stats::ServerStats;
use std::sync::Arc;
use std::time::Duration;

/// The ring of these servers, each with figures of its own.
fn members(names: &[&str]) -> (Ring, Vec<Arc<ServerStats>>) {
    let member = |name: &&str| Member { name: name.as_bytes().into(), weight: 1 };
    let members = names.iter().map(member).collect();
    let ring = Ring::new(Distribution::Modula, Hash::Fnv1a_64, None, members, 1);
    (ring, names.iter().map(|_| Arc::default()).collect())
}

pub(super) fn change(net: &mut Net, names: &[&str]) {
    let (ring, stats) = members(names);
    net.mux.set_servers(ring, &stats, |_| true);
    net.settle_now();
}

#[test]
fn a_server_that_stays_keeps_its_id_its_connection_and_its_requests() {
    let mut net = Net::new(2);
    let client = net.client();
    net.say(client, "get a\r\nget b\r\n");
    let (kept, conn) = (net.server(1), net.conn(1));
    change(&mut net, &["server1"]);
    assert_eq!(net.mux.servers(), [kept]);
    assert!(net.mux.has_conn(conn) && net.is_connected(1));
    net.answer(1, &hit("b", "2"));
    net.answer(0, &hit("a", "1"));
    assert_eq!(net.got(client), hit("a", "1") + &hit("b", "2"));
    net.check_idle();
}

#[test]
fn a_server_that_leaves_answers_what_it_has_and_gets_nothing_new() {
    let mut net = Net::new(2);
    let client = net.client();
    net.say(client, &set("a", "1"));
    net.asked(0);
    let (gone, conn) = (net.server(0), net.conn(0));
    change(&mut net, &["server1"]);
    net.say(client, "get a\r\n");
    assert_eq!((net.asked(0), net.asked(1)), (String::new(), "get a\r\n".into()));
    assert!(net.mux.has_conn(conn), "its request is not answered");
    net.answer(0, "STORED\r\n");
    assert!(!net.mux.has_conn(conn) && !net.is_connected(0));
    assert_eq!(net.mux.position_of(gone), None);
    net.answer(1, &hit("a", "0"));
    assert_eq!(net.got(client), "STORED\r\n".to_owned() + &hit("a", "0"));
    net.check_idle();
}

#[test]
fn clients_that_wait_for_a_server_that_leaves_go_to_another_however_many_they_are() {
    let mut net = Net::with_limits(2, Limits { server_requests_max: 1, ..Limits::default() });
    let clients: Vec<_> = (0..6).map(|_| net.client()).collect();
    clients.iter().for_each(|&client| net.say(client, "get a\r\n"));
    assert_eq!(net.asked(0), "get a\r\n");
    change(&mut net, &["server1"]);
    net.answer(0, "END\r\n");
    for _ in &clients[1..] {
        assert_eq!(net.asked(1), "get a\r\n");
        net.answer(1, &hit("a", "1"));
    }
    assert_eq!(net.got(clients[0]), "END\r\n");
    clients[1..].iter().for_each(|&client| assert_eq!(net.got(client), hit("a", "1")));
    net.check_idle();
}

#[test]
fn a_server_that_leaves_idle_is_gone_at_once() {
    let mut net = Net::new(2);
    let client = net.client();
    net.say(client, "get a\r\n");
    net.answer(0, "END\r\n");
    let conns = [net.conn(0), net.conn(1)];
    change(&mut net, &["server1"]);
    assert!(!net.mux.has_conn(conns[0]) && net.mux.has_conn(conns[1]));
    assert_eq!(net.mux.conns(), [conns[1]]);
    assert_eq!(net.got(client), "END\r\n");
}

#[test]
fn the_place_of_one_that_has_left_is_used_again_but_not_its_id() {
    let mut net = Net::new(2);
    let (server, conn) = (net.server(0), net.conn(0));
    change(&mut net, &["server1"]);
    change(&mut net, &["server1", "server2"]);
    let (next_server, next_conn) = (net.mux.servers()[1], *net.mux.conns().last().unwrap());
    assert_eq!((next_server.index(), next_conn.index()), (server.index(), conn.index()));
    assert!(next_server != server && next_conn != conn);
    assert!(!net.mux.has_conn(conn) && net.mux.has_conn(next_conn));
}

#[test]
fn a_server_that_fails_while_it_leaves_fails_its_requests_and_is_gone() {
    let ejection =
        Ejection { failure_limit: 1, retry_timeout: Duration::from_secs(1), ..Ejection::default() };
    let mut net = Net::with(engine(2, options(), Some(ejection)));
    let client = net.client();
    net.say(client, "get a\r\n");
    let conn = net.conn(0);
    change(&mut net, &["server1"]);
    net.close_server(0, ServerError::Reset);
    assert_eq!(net.got(client), "SERVER_ERROR Connection reset by peer\r\n");
    assert!(!net.mux.has_conn(conn));
    assert_eq!(net.mux.stats().server_ejects.read(), 0, "it is off the ring already");
    net.check_idle();
}

#[test]
fn an_ejected_server_stays_away_when_others_change() {
    let ejection =
        Ejection { failure_limit: 1, retry_timeout: Duration::from_secs(1), ..Ejection::default() };
    let mut net = Net::with(engine(2, options(), Some(ejection)));
    net.accepts = false;
    let client = net.client();
    net.say(client, "get a\r\n");
    net.close_server(0, ServerError::Refused);
    let ejected = net.server(0);
    change(&mut net, &["server0", "server1", "server2"]);
    assert!(net.mux.is_ejected(ejected));
    net.later(1000);
    assert!(!net.mux.is_ejected(ejected));
}

#[test]
fn a_name_that_is_another_server_now_begins_anew_and_the_old_one_answers_what_it_has() {
    let ejection =
        Ejection { failure_limit: 1, retry_timeout: Duration::from_secs(9), ..Ejection::default() };
    let mut net = Net::with(engine(2, options(), Some(ejection)));
    let client = net.client();
    net.say(client, "get a\r\n");
    let (old, kept) = (net.server(0), net.server(1));
    let (ring, stats) = members(&["server0", "server1"]);
    net.mux.set_servers(ring, &stats, |id| id != old);
    net.settle_now();
    assert!(net.server(0) != old && net.server(1) == kept);
    net.say(client, "get a\r\n");
    net.answer(0, &hit("a", "old"));
    assert!(!net.is_connected(0), "it has answered all that it was asked");
    let conn = net.mux.conns().last().copied().unwrap();
    assert_eq!(
        (net.mux.server_of(conn), net.asked(conn.index())),
        (net.server(0), "get a\r\n".into())
    );
    net.answer(conn.index(), &hit("a", "new"));
    assert_eq!(net.got(client), hit("a", "old") + &hit("a", "new"));
    net.check_idle();
}

#[test]
fn a_server_that_was_ejected_is_not_when_its_name_is_another_server() {
    let ejection =
        Ejection { failure_limit: 1, retry_timeout: Duration::from_secs(9), ..Ejection::default() };
    let mut net = Net::with(engine(2, options(), Some(ejection)));
    net.accepts = false;
    let client = net.client();
    net.say(client, "get a\r\n");
    net.close_server(0, ServerError::Refused);
    let old = net.server(0);
    assert!(net.mux.is_ejected(old));
    let (ring, stats) = members(&["server0", "server1"]);
    net.mux.set_servers(ring, &stats, |id| id != old);
    assert!(!net.mux.is_ejected(net.server(0)));
}

#[test]
fn a_new_timeout_is_that_of_requests_on_their_way_too() {
    for before in [None, Some(Duration::from_secs(60))] {
        let mut net = Net::with(engine(1, Options { timeout: before, ..options() }, None));
        let client = net.client();
        net.say(client, "get a\r\n");
        net.later(500);
        net.mux.set_options(Options { timeout: Some(Duration::from_millis(600)), ..options() });
        net.later(99);
        assert_eq!(net.got(client), "", "{before:?}");
        net.later(1);
        assert_eq!(net.got(client), "SERVER_ERROR Connection timed out\r\n", "{before:?}");
        net.mux.set_options(Options { timeout: None, ..options() });
        net.say(client, "get a\r\n");
        net.later(100_000);
        assert_eq!(net.got(client), "", "{before:?}");
    }
}

#[test]
fn a_new_timeout_is_that_of_clients_that_wait_for_room_too() {
    let limits = Limits { server_requests_max: 1, ..Limits::default() };
    for before in [None, Some(Duration::from_secs(60))] {
        let options = |timeout| Options { timeout, limits, ..options() };
        let mut net = Net::with(engine(1, options(before), None));
        let clients = [0; 3].map(|_| net.client());
        clients.iter().for_each(|&client| net.say(client, "get a\r\n"));
        net.later(400);
        net.answer(0, &hit("a", "1"));
        assert_eq!(net.asked(0), "get a\r\n".repeat(2), "{before:?}");
        net.later(100);
        net.mux.set_options(options(Some(Duration::from_millis(600))));
        net.later(99);
        assert_eq!(net.got(clients[2]), "", "{before:?}");
        net.later(1);
        for client in &clients[1..] {
            // One of them had room for its request.
            assert_eq!(net.got(*client), "SERVER_ERROR Connection timed out\r\n", "{before:?}");
        }
    }
}

#[test]
fn a_client_that_waits_for_room_goes_on_when_a_new_limit_leaves_some() {
    let few = Limits { server_requests_max: 1, ..Limits::default() };
    let mut net = Net::with_limits(1, few);
    let clients = [net.client(), net.client()];
    clients.iter().for_each(|&client| net.say(client, "get a\r\n"));
    assert_eq!(net.asked(0), "get a\r\n");
    net.mux.set_options(Options { limits: Limits::default(), ..net.mux.options().clone() });
    net.settle_now();
    assert_eq!(net.asked(0), "get a\r\n");
}
