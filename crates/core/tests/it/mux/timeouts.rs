//! Time: what is late is answered for, and its reply is swallowed when it comes after all.

use super::{TIMED_OUT, hit, value};
use crate::net::{Net, TIMEOUT_MS};
use nuthatch_core::mux::ConnState;

#[test]
fn only_the_late_request_times_out_and_its_reply_is_swallowed() {
    let mut net = Net::new(1);
    let client = net.client();
    net.say(client, "get a\r\n");
    net.later(TIMEOUT_MS / 2);
    net.say(client, "get b\r\n");
    net.later(TIMEOUT_MS / 2);
    assert_eq!(net.got(client), TIMED_OUT);
    net.answer(0, &(hit("a", "late") + &hit("b", "2")));
    assert_eq!(net.got(client), hit("b", "2"));
    assert!(net.is_connected(0));
    assert_eq!(net.mux.stats().servers[0].server_timedout.read(), 1);
    net.check_idle();
}

#[test]
fn the_late_fragments_of_a_multi_get_are_swallowed_too() {
    let mut net = Net::new(2);
    let client = net.client();
    net.say(client, "get a b c\r\n");
    net.answer(0, &value("a", "1"));
    net.answer(1, &(value("b", "2") + "END\r\n"));
    net.later(TIMEOUT_MS);
    assert_eq!(net.got(client), TIMED_OUT);
    net.say(client, "get c d\r\n");
    net.answer(0, &(value("c", "3") + "END\r\n" + &value("c", "3") + "END\r\n"));
    net.answer(1, "END\r\n");
    assert_eq!(net.got(client), value("c", "3") + "END\r\n");
    net.check_idle();
}

#[test]
fn a_silent_request_that_times_out_is_silent() {
    let mut net = Net::new(1);
    let client = net.client();
    net.say(client, "delete k noreply\r\nmn\r\n");
    net.later(TIMEOUT_MS);
    assert_eq!(net.got(client), "MN\r\n");
    net.answer(0, "DELETED\r\n");
    net.check_idle();
}

#[test]
fn a_connection_is_given_up_after_twice_the_time() {
    let mut net = Net::new(1);
    let client = net.client();
    net.say(client, "get a\r\n");
    net.later(TIMEOUT_MS);
    net.say(client, "get b\r\n");
    net.later(TIMEOUT_MS - 1);
    assert_eq!(net.got(client), TIMED_OUT);
    assert!(net.is_connected(0));
    net.later(1);
    assert_eq!(net.got(client), TIMED_OUT);
    assert!(!net.is_connected(0));
    net.check_idle();
    net.say(client, "get c\r\n");
    net.answer(0, "END\r\n");
    assert_eq!(net.got(client), "END\r\n", "over a new connection");
    net.check_idle();
    net.say(client, "get d\r\n");
    net.later(TIMEOUT_MS);
    assert_eq!(net.got(client), TIMED_OUT, "which has its own times");
}

#[test]
fn after_a_late_reply_the_next_request_has_its_own_time() {
    let mut net = Net::new(1);
    let client = net.client();
    net.say(client, "get a\r\n");
    net.later(TIMEOUT_MS);
    net.answer(0, "END\r\n");
    net.say(client, "get b\r\n");
    net.later(TIMEOUT_MS - 1);
    assert_eq!(net.got(client), TIMED_OUT);
    net.later(1);
    assert_eq!(net.got(client), TIMED_OUT);
}

#[test]
fn the_next_timeout_is_never_later_than_the_next_deadline() {
    let mut net = Net::new(2);
    let client = net.client();
    assert_eq!(net.mux.next_timeout(), None);
    net.say(client, "get a\r\n");
    net.later(100);
    net.say(client, "get b\r\n");
    let nanos = |net: &Net| net.mux.next_timeout().map(|at| at.as_nanos() / 1_000_000);
    assert_eq!(nanos(&net), Some(TIMEOUT_MS));
    net.later(TIMEOUT_MS - 100);
    assert_eq!(nanos(&net), Some(TIMEOUT_MS + 100));
    net.answer(1, "END\r\n");
    net.later(100);
    assert_eq!(nanos(&net), Some(2 * TIMEOUT_MS), "the end of the first connection's grace");
    net.answer(0, "END\r\n");
    net.later(TIMEOUT_MS);
    assert_eq!(nanos(&net), None);
}

#[test]
fn a_connection_that_does_not_open_times_out() {
    let mut net = Net::new(1);
    net.accepts = false;
    let client = net.client();
    net.say(client, "get a\r\n");
    assert_eq!(net.mux.conn_state(net.conn(0)), ConnState::Opening);
    net.later(TIMEOUT_MS);
    assert_eq!(net.got(client), TIMED_OUT);
    net.later(TIMEOUT_MS);
    assert_eq!(net.mux.conn_state(net.conn(0)), ConnState::Closed);
    net.check_idle();
}
