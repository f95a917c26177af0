//! Connections that are replaced because their server has another address.

use super::{RESET, hit};
use crate::net::{Net, engine, options};
use nuthatch_core::error::ServerError;
use nuthatch_core::health::Ejection;
use std::time::Duration;

/// A pool of one server whose connection is open and idle.
fn open() -> Net {
    let ejection =
        Ejection { failure_limit: 1, retry_timeout: Duration::from_secs(1), ..Ejection::default() };
    let mut net = Net::with(engine(1, options(), Some(ejection)));
    let client = net.client();
    net.say(client, "get a\r\n");
    net.answer(0, "END\r\n");
    net.asked(0);
    net.leave(client);
    net
}

fn connects(net: &Net) -> u64 {
    net.stats(0).more.connects.read()
}

fn reconnect(net: &mut Net, conn: usize) {
    let id = net.conn(conn);
    net.mux.reconnect_when_idle(id);
    net.settle_now();
}

#[test]
fn an_idle_connection_is_replaced_at_once_and_that_is_no_failure() {
    let mut net = open();
    reconnect(&mut net, 0);
    assert_eq!((connects(&net), net.is_connected(0)), (2, true));
    let client = net.client();
    net.say(client, "get a\r\n");
    net.answer(0, &hit("a", "1"));
    assert_eq!(net.got(client), hit("a", "1"));
    assert_eq!(connects(&net), 2, "once");
    assert_eq!(net.mux.stats().server_ejects.read(), 0);
    assert_eq!((net.events.len(), net.stats(0).server_err.read()), (0, 0));
    net.check_idle();
}

#[test]
fn a_busy_connection_is_replaced_when_its_last_request_is_answered() {
    let mut net = open();
    let client = net.client();
    net.say(client, "get a\r\nget b\r\n");
    reconnect(&mut net, 0);
    reconnect(&mut net, 0);
    net.say(client, "get c\r\n");
    for (key, connections) in [("a", 1), ("b", 1), ("c", 2)] {
        net.answer(0, &hit(key, "1"));
        assert_eq!(net.got(client), hit(key, "1"));
        assert_eq!(connects(&net), connections, "{key}");
    }
    net.say(client, "get d\r\n");
    net.answer(0, "END\r\n");
    assert_eq!((net.got(client), connects(&net)), ("END\r\n".to_owned(), 2));
    net.check_idle();
}

#[test]
fn a_connection_that_is_lost_first_needs_no_replacement() {
    let mut net = open();
    let client = net.client();
    net.say(client, "get a\r\n");
    reconnect(&mut net, 0);
    net.close_server(0, ServerError::Reset);
    assert_eq!(net.got(client), RESET);
    net.later(2000);
    for _ in 0..3 {
        net.say(client, "get a\r\n");
        net.answer(0, "END\r\n");
    }
    assert_eq!(connects(&net), 2);
    net.check_idle();
}

#[test]
fn a_connection_that_is_not_open_is_left_alone() {
    let mut net = Net::new(1);
    reconnect(&mut net, 0);
    assert_eq!(connects(&net), 0);
    net.accepts = false;
    let client = net.client();
    net.say(client, "get a\r\n");
    reconnect(&mut net, 0);
    net.open_server(0);
    net.answer(0, "END\r\n");
    assert_eq!((net.got(client), connects(&net)), ("END\r\n".to_owned(), 1));
}
