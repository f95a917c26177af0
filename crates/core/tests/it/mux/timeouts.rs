//! Time: what is late is answered for, and its reply is swallowed when it comes after all.

use super::{TIMED_OUT, hit, value};
use crate::net::{Net, TIMEOUT_MS, engine, options};
use nuthatch_core::error::ServerError;
use nuthatch_core::health::Ejection;
use nuthatch_core::limits::Limits;
use nuthatch_core::mux::ConnState;
use std::time::Duration;

/// One server that one failure ejects.
fn strict() -> Net {
    let retry_timeout = Duration::from_millis(100 * TIMEOUT_MS);
    let ejection = Ejection { failure_limit: 1, retry_timeout, ..Ejection::default() };
    Net::with(engine(1, options(), Some(ejection)))
}

fn is_ejected(net: &Net) -> bool {
    net.mux.is_ejected(net.server(0))
}

#[test]
fn who_waits_for_a_full_queue_waits_no_longer_than_the_timeout() {
    let mut net = Net::with_limits(1, Limits { server_requests_max: 1, ..Limits::default() });
    let clients: Vec<_> = (0..10).map(|_| net.client()).collect();
    clients.iter().for_each(|&client| net.say(client, "get a\r\nget b c\r\n"));
    net.later(TIMEOUT_MS - 1);
    clients.iter().for_each(|&client| assert_eq!(net.got(client), ""));
    net.later(1);
    clients[1..].iter().for_each(|&client| assert_eq!(net.got(client), TIMED_OUT.repeat(2)));
    // The first one's second request has waited as long, and is told so.
    assert_eq!(net.got(clients[0]), TIMED_OUT.repeat(2));
    net.answer(0, "END\r\n");
    net.say(clients[3], "get a\r\n");
    net.answer(0, &hit("a", "1"));
    assert_eq!(net.got(clients[3]), hit("a", "1"));
    net.check_idle();
}

#[test]
fn a_client_that_is_called_in_vain_keeps_the_time_since_which_it_waits() {
    let mut net = Net::with_limits(1, Limits { server_requests_max: 1, ..Limits::default() });
    let (first, second) = (net.client(), net.client());
    net.say(first, &"get a\r\n".repeat(50));
    net.say(second, &"get b\r\n".repeat(50));
    // The server answers one request in half the timeout, each time.
    for _ in 0..4 {
        net.later(TIMEOUT_MS / 2);
        net.answer(0, "END\r\n");
    }
    for client in [first, second] {
        let replies = net.got(client);
        assert_eq!(replies.lines().count(), 50, "{replies}");
    }
}

#[test]
fn a_client_that_waited_and_was_served_has_its_whole_time_when_it_waits_again() {
    let mut net = Net::with_limits(1, Limits { server_requests_max: 1, ..Limits::default() });
    let (first, second) = (net.client(), net.client());
    for _ in 0..2 {
        net.say(first, "get a\r\n");
        net.say(second, "get b\r\n");
        net.later(TIMEOUT_MS * 2 / 3);
        net.answer(0, "END\r\n");
        net.answer(0, "END\r\n");
        assert_eq!(net.got(first) + &net.got(second), "END\r\n".repeat(2));
    }
    net.check_idle();
}

#[test]
fn the_end_of_a_wait_for_a_queue_is_a_timeout_to_wait_for() {
    let mut net = Net::with_limits(1, Limits { server_requests_max: 1, ..Limits::default() });
    let (first, second) = (net.client(), net.client());
    net.say(first, "get a\r\n");
    net.later(TIMEOUT_MS / 2);
    net.say(second, "get b\r\n");
    net.later(TIMEOUT_MS / 2);
    let next = net.mux.next_timeout().map(|at| at.as_nanos() / 1_000_000);
    assert_eq!(next, Some(TIMEOUT_MS * 3 / 2));
}

#[test]
fn a_server_whose_replies_flow_is_not_ejected_for_a_long_queue() {
    let mut net = strict();
    let client = net.client();
    net.say(client, &"get a\r\n".repeat(20));
    for _ in 0..20 {
        net.later(TIMEOUT_MS * 2 / 3);
        net.answer(0, "END\r\n");
    }
    assert!(!is_ejected(&net));
    assert_eq!(net.got(client).lines().count(), 20);
    assert_eq!(net.stats(0).more.connects.read(), 1);
    net.check_idle();
}

#[test]
fn a_server_that_always_answers_too_late_is_ejected() {
    let mut net = strict();
    let client = net.client();
    net.say(client, &"get a\r\n".repeat(20));
    net.later(TIMEOUT_MS - 1);
    assert!(!is_ejected(&net));
    net.later(1);
    assert!(is_ejected(&net));
}

#[test]
fn a_server_that_stands_still_after_some_replies_is_ejected_and_given_up() {
    let mut net = strict();
    let client = net.client();
    net.say(client, &"get a\r\n".repeat(20));
    net.later(TIMEOUT_MS * 2 / 3);
    net.answer(0, "END\r\n");
    net.later(TIMEOUT_MS - 1);
    assert!(!is_ejected(&net));
    net.later(1);
    assert!(is_ejected(&net) && net.is_connected(0));
    net.later(TIMEOUT_MS);
    assert!(!net.is_connected(0));
    net.check_idle();
}

#[test]
fn a_server_that_sends_one_reply_byte_by_byte_for_ever_is_ejected() {
    let mut net = strict();
    let client = net.client();
    net.say(client, "get a\r\nget b\r\n");
    net.answer(0, "VALUE a 0 1000\r\n");
    for _ in 0..8 {
        net.later(TIMEOUT_MS - 1);
        net.answer(0, "x");
    }
    assert!(!is_ejected(&net) && net.is_connected(0));
    for _ in 0..4 {
        net.later(TIMEOUT_MS - 1);
        net.answer(0, "x");
    }
    assert!(is_ejected(&net) && !net.is_connected(0));
    assert_eq!(net.got(client), TIMED_OUT.repeat(2));
}

#[test]
fn a_server_whose_large_reply_flows_is_not_ejected() {
    let mut net = strict();
    let client = net.client();
    net.say(client, "get a\r\n");
    net.answer(0, &format!("VALUE a 0 200000\r\n{}", "x".repeat(20_000)));
    for _ in 0..6 {
        net.later(TIMEOUT_MS - 1);
        net.answer(0, &"x".repeat(30_000));
    }
    assert!(!is_ejected(&net) && net.is_connected(0));
}

#[test]
fn a_server_that_takes_a_large_request_slowly_is_not_ejected() {
    let mut net = strict();
    let client = net.client();
    net.say(client, "get a\r\n");
    net.answer(0, "END\r\n");
    net.set_server_reading(0, false);
    net.say(client, &format!("set a 0 0 1000\r\n{}\r\n", "x".repeat(1000)));
    for _ in 0..7 {
        net.later(TIMEOUT_MS - 1);
        net.server_reads(0, 100);
    }
    assert!(!is_ejected(&net) && net.is_connected(0));
}

#[test]
fn a_server_that_closes_an_idle_connection_just_as_a_request_comes_is_not_ejected() {
    for (idle_ms, ejected) in [(1000, false), (900, true)] {
        let mut net = strict();
        let client = net.client();
        net.say(client, "get a\r\n");
        net.answer(0, "END\r\n");
        net.later(idle_ms);
        net.say(client, "get a\r\n");
        net.close_server(0, ServerError::Closed);
        assert_eq!(is_ejected(&net), ejected, "idle for {idle_ms} ms");
        assert_eq!(net.got(client), "END\r\nSERVER_ERROR unknown\r\n");
    }
}

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
    assert_eq!(net.stats(0).server_timedout.read(), 1);
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

#[test]
fn a_server_that_says_its_version_and_nothing_more_is_ejected_with_the_first_late_request() {
    let mut net = strict();
    net.greeting = None;
    let client = net.client();
    net.say(client, "get a\r\n");
    net.later(5);
    net.answer(0, "VERSION 1.6.18\r\n");
    assert_eq!(net.asked(0), "get a\r\n");
    net.later(TIMEOUT_MS - 5);
    assert_eq!(net.got(client), TIMED_OUT);
    assert!(is_ejected(&net));
}
