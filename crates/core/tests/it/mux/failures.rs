//! Servers that fail: what their clients are told, and when a server is ejected.

use super::{REFUSED, TIMED_OUT, hit, set};
use crate::net::{Net, TIMEOUT_MS, engine, options};
use nuthatch_core::error::ServerError;
use nuthatch_core::health::Ejection;
use nuthatch_core::mux::Event;
use nuthatch_core::stats::Counter;
use std::time::Duration;

#[test]
fn a_lost_server_answers_every_waiting_request_with_the_reason() {
    let mut net = Net::new(2);
    let client = net.client();
    net.say(client, "get a\r\nget b\r\nset c 0 0 1\r\nx\r\nget d\r\nget a b\r\n");
    net.close_server(0, ServerError::Reset);
    net.answer(1, &(hit("b", "2") + "END\r\nEND\r\n"));
    const RESET: &str = "SERVER_ERROR Connection reset by peer\r\n";
    assert_eq!(net.got(client), RESET.to_owned() + &hit("b", "2") + RESET + "END\r\n" + RESET);
    let lost = Event::ConnLost {
        server: net.server(0),
        error: ServerError::Reset,
        clock: None,
        requests: 3,
    };
    assert_eq!(net.events, [lost]);
    assert_eq!(net.mux.stats().forward_error.read(), 3);
    net.check_idle();
}

#[test]
fn a_server_that_dies_in_the_middle_of_a_reply_leaves_none_of_it() {
    let mut net = Net::new(1);
    let client = net.client();
    net.say(client, "get a\r\nget b\r\n");
    net.answer(0, "VALUE a 0 10\r\n01234");
    net.close_server(0, ServerError::Closed);
    assert_eq!(net.got(client), "SERVER_ERROR unknown\r\n".repeat(2));
    net.say(client, "get a\r\n");
    net.answer(0, &hit("a", "1"));
    assert_eq!(net.got(client), hit("a", "1"));
    net.check_idle();
}

#[test]
fn a_connection_may_be_lost_in_the_middle_of_a_pipeline() {
    let mut net = Net::new(1);
    let client = net.client();
    net.say(client, "get a\r\n");
    net.answer(0, "END\r\n");
    net.set_server_reading(0, false);
    net.say(client, "get a\r\nget b\r\nget c\r\n");
    net.server_reads(0, 18);
    let figures = |net: &Net| {
        let server = net.stats(0);
        [&server.in_queue, &server.in_queue_bytes, &server.out_queue, &server.out_queue_bytes]
            .map(Counter::read)
    };
    assert_eq!(figures(&net), [1, 7, 2, 14]);
    net.answer(0, "END\r\nEND\r\n");
    assert_eq!(figures(&net), [1, 7, 0, 0]);
    net.close_server(0, ServerError::Reset);
    net.check_idle();
}

#[test]
fn a_server_may_refuse_a_value_before_it_has_all_of_it() {
    let mut net = Net::new(1);
    let client = net.client();
    net.say(client, "get a\r\n");
    net.answer(0, "END\r\n");
    net.set_server_reading(0, false);
    net.say(client, &(set("k", &"x".repeat(1000)) + "get k\r\n"));
    net.server_reads(0, 100);
    net.answer(0, "SERVER_ERROR object too large for cache\r\n");
    net.set_server_reading(0, true);
    net.answer(0, "END\r\n");
    assert_eq!(net.got(client), "END\r\nSERVER_ERROR object too large for cache\r\nEND\r\n");
    net.check_idle();
}

#[test]
fn an_idle_connection_that_the_server_closes_is_no_failure() {
    let ejection =
        Ejection { failure_limit: 1, retry_timeout: Duration::from_secs(1), ..Ejection::default() };
    let mut net = Net::with(engine(2, options(), Some(ejection)));
    let client = net.client();
    net.say(client, "get a\r\n");
    net.answer(0, "END\r\n");
    net.close_server(0, ServerError::Closed);
    assert_eq!(net.events, []);
    net.say(client, "get a\r\n");
    net.answer(0, "END\r\n");
    assert_eq!(net.got(client), "END\r\nEND\r\n");
    net.check_idle();
}

#[test]
fn a_failing_server_is_ejected_and_returns() {
    let ejection = Ejection {
        failure_limit: 2,
        retry_timeout: Duration::from_millis(1500),
        ..Ejection::default()
    };
    let mut net = Net::with(engine(2, options(), Some(ejection)));
    let client = net.client();
    net.accepts = false;
    for _ in 0..2 {
        net.say(client, "get a\r\n");
        net.close_server(0, ServerError::Refused);
    }
    assert_eq!(net.got(client), REFUSED.repeat(2));
    assert!(
        net.events.contains(&Event::Ejected { server: net.server(0), error: ServerError::Refused })
    );
    net.accepts = true;
    net.say(client, "get a c\r\n");
    assert_eq!((net.asked(0), net.asked(1)), (String::new(), "get a c\r\n".to_owned()));
    net.answer(1, "END\r\n");
    net.later(1500);
    net.say(client, "get a\r\n");
    assert!(net.events.contains(&Event::Returned { server: net.server(0) }));
    assert_eq!(net.asked(0), "get a\r\n");
    net.answer(0, "END\r\n");
    assert_eq!(net.mux.stats().server_ejects.read(), 1);
    net.check_idle();
}

#[test]
fn requests_that_time_out_on_one_connection_are_one_failure() {
    let ejection =
        Ejection { failure_limit: 2, retry_timeout: Duration::from_secs(1), ..Ejection::default() };
    let mut net = Net::with(engine(2, options(), Some(ejection)));
    let client = net.client();
    net.say(client, "get a\r\n");
    net.later(100);
    net.say(client, "get c\r\n");
    net.later(TIMEOUT_MS - 100);
    net.later(100);
    assert_eq!(net.got(client), TIMED_OUT.repeat(2));
    assert_eq!(net.mux.stats().server_ejects.read(), 0);
    net.later(TIMEOUT_MS - 100);
    assert!(!net.is_connected(0), "it is given up, and nobody else was waiting for it");
    assert_eq!(net.mux.stats().server_ejects.read(), 0);
    net.say(client, "get a\r\n");
    net.later(TIMEOUT_MS);
    assert!(
        net.events
            .contains(&Event::Ejected { server: net.server(0), error: ServerError::TimedOut })
    );
}

#[test]
fn a_connection_that_is_given_up_while_others_wait_for_it_is_another_failure() {
    let ejection =
        Ejection { failure_limit: 2, retry_timeout: Duration::from_secs(1), ..Ejection::default() };
    let mut net = Net::with(engine(2, options(), Some(ejection)));
    let client = net.client();
    net.say(client, "get a\r\n");
    net.later(TIMEOUT_MS);
    net.later(100);
    net.say(client, "get c\r\n");
    net.later(TIMEOUT_MS - 100);
    assert_eq!(net.got(client), TIMED_OUT.repeat(2));
    assert_eq!(net.mux.stats().server_ejects.read(), 1);
    net.check_idle();
}

#[test]
fn with_all_servers_ejected_requests_fail_at_once() {
    let ejection =
        Ejection { failure_limit: 1, retry_timeout: Duration::from_secs(1), ..Ejection::default() };
    let mut net = Net::with(engine(1, options(), Some(ejection)));
    let client = net.client();
    net.accepts = false;
    net.say(client, "get a\r\n");
    net.close_server(0, ServerError::Refused);
    net.say(client, "get a\r\nget a b\r\nset a 0 0 1 noreply\r\n1\r\nmg a q\r\nmn\r\n");
    assert_eq!(net.got(client), REFUSED.repeat(4) + "MN\r\n");
    net.check_idle();
}

#[test]
fn a_server_that_always_answers_late_is_ejected() {
    let ejection = Ejection {
        failure_limit: 2,
        retry_timeout: Duration::from_secs(3600),
        ..Ejection::default()
    };
    let mut net = Net::with(engine(2, options(), Some(ejection)));
    let client = net.client();
    for _ in 0..2 {
        net.say(client, "get a\r\n");
        net.later(TIMEOUT_MS + 1);
        assert_eq!(net.got(client), TIMED_OUT);
        net.answer(0, &hit("a", "1"));
    }
    assert_eq!(net.mux.stats().server_ejects.read(), 1);
}
