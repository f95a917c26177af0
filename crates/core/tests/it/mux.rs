//! What clients and servers see of each other through the engine, one behaviour a test.

use crate::net::{Net, TIMEOUT_MS, engine, options};
use nuthatch_core::mux::{ClientId, ConnId, ConnState, Event, Options};
use nuthatch_core::pool::Ejection;
use nuthatch_core::protocol::{Limits, ServerError};
use nuthatch_core::stats::Counter;
use nuthatch_core::time::Instant;
use std::time::Duration;

const TIMED_OUT: &str = "SERVER_ERROR Connection timed out\r\n";
const REFUSED: &str = "SERVER_ERROR Connection refused\r\n";
const DESYNC: &str = "SERVER_ERROR Invalid argument\r\n";
const BACKLOG: &str =
    "SERVER_ERROR reply dropped: client_backlog_max bytes wait for this client already\r\n";

fn value(key: &str, data: &str) -> String {
    format!("VALUE {key} 0 {}\r\n{data}\r\n", data.len())
}

fn hit(key: &str, data: &str) -> String {
    value(key, data) + "END\r\n"
}

fn set(key: &str, data: &str) -> String {
    format!("set {key} 0 0 {}\r\n{data}\r\n", data.len())
}

// Order.

#[test]
fn replies_leave_in_the_order_of_their_requests() {
    let mut net = Net::new(2);
    let client = net.client();
    net.say(client, "get a\r\nget b\r\nget c\r\n");
    assert_eq!(net.asked(0), "get a\r\nget c\r\n");
    assert_eq!(net.asked(1), "get b\r\n");
    net.answer(1, &hit("b", "2"));
    assert_eq!(net.got(client), "");
    net.answer(0, &hit("a", "1"));
    assert_eq!(net.got(client), hit("a", "1") + &hit("b", "2"));
    net.answer(0, "END\r\n");
    assert_eq!(net.got(client), "END\r\n");
    net.check_idle();
}

#[test]
fn every_client_gets_its_own_replies_over_one_connection() {
    let mut net = Net::new(1);
    let clients = [0; 3].map(|_| net.client());
    for (client, key) in clients.into_iter().zip(["x", "y", "z"]) {
        net.say(client, &format!("get {key}\r\n"));
    }
    assert_eq!(net.asked(0), "get x\r\nget y\r\nget z\r\n");
    net.answer(0, &(hit("x", "1") + &hit("y", "2") + &hit("z", "3")));
    assert_eq!(
        clients.map(|client| net.got(client)),
        [hit("x", "1"), hit("y", "2"), hit("z", "3")]
    );
    net.check_idle();
}

#[test]
fn what_is_answered_here_keeps_its_place() {
    let mut net = Net::new(1);
    let client = net.client();
    net.say(client, "get a\r\nfoo\r\nverbosity 1\r\nget b\r\nmn\r\nset k x 0 1\r\nz\r\n");
    assert_eq!(net.got(client), "");
    net.answer(0, "END\r\nEND\r\n");
    assert_eq!(
        net.got(client),
        "END\r\nERROR\r\nOK\r\nEND\r\nMN\r\nCLIENT_ERROR bad command line format\r\n"
    );
    net.say(client, "foo\r\n");
    assert_eq!(net.got(client), "ERROR\r\n");
    net.check_idle();
}

#[test]
fn a_request_may_come_byte_by_byte() {
    let mut net = Net::new(1);
    let client = net.client();
    for byte in "set k 0 0 3\r\nabc\r\nget k\r\n".split("").filter(|byte| !byte.is_empty()) {
        net.say(client, byte);
    }
    assert_eq!(net.asked(0), "set k 0 0 3\r\nabc\r\nget k\r\n");
    for byte in ("STORED\r\n".to_owned() + &hit("k", "abc")).split("").filter(|b| !b.is_empty()) {
        net.answer(0, byte);
    }
    assert_eq!(net.got(client), "STORED\r\n".to_owned() + &hit("k", "abc"));
    net.check_idle();
}

// Reads of several keys.

#[test]
fn a_multi_get_is_split_and_merged_in_the_order_of_its_keys() {
    let mut net = Net::new(2);
    let client = net.client();
    net.say(client, "gets  a b c d a \r\n");
    assert_eq!(net.asked(0), "gets a c a\r\n");
    assert_eq!(net.asked(1), "gets b d\r\n");
    net.answer(1, "VALUE b 0 1 7\r\n2\r\nEND\r\n");
    assert_eq!(net.got(client), "");
    net.answer(0, "VALUE a 0 1 8\r\n1\r\nVALUE a 0 1 8\r\n1\r\nEND\r\n");
    assert_eq!(
        net.got(client),
        "VALUE a 0 1 8\r\n1\r\nVALUE b 0 1 7\r\n2\r\nVALUE a 0 1 8\r\n1\r\nEND\r\n"
    );
    let stats = net.mux.stats();
    assert_eq!((stats.get_hits.read(), stats.get_misses.read()), (3, 2));
    assert_eq!((stats.cmd_get.read(), stats.requests.read(), stats.fragments.read()), (5, 1, 2));
    net.check_idle();
}

#[test]
fn one_word_that_is_no_key_refuses_a_whole_multi_get() {
    let mut net = Net::new(2);
    let client = net.client();
    let long = "k".repeat(251);
    for keys in [format!("a {long} b"), format!("{long} a"), "a b\x01 c".into(), "a b\x7f".into()] {
        net.say(client, &format!("get {keys}\r\n"));
        assert_eq!(net.got(client), "CLIENT_ERROR bad command line format\r\n");
    }
    assert_eq!(net.asked(0) + &net.asked(1), "", "nothing was sent for the keys before it");
    net.check_idle();
}

#[test]
fn more_keys_than_the_limit_are_refused() {
    let limits = Limits { keys_max: 2, ..Limits::default() };
    let mut net = Net::with(engine(2, Options { limits, ..options() }, None));
    let client = net.client();
    net.say(client, "get a b c\r\n");
    let error = "CLIENT_ERROR too many keys in one request: keys_max\r\n";
    assert_eq!(net.got(client), error);
    net.say(client, "get a b\r\n");
    assert_eq!(net.asked(0) + &net.asked(1), "get a\r\nget b\r\n");
    assert_eq!(net.mux.stats().limit_keys.read(), 1);
}

#[test]
fn values_of_a_fragment_may_come_in_any_order() {
    let mut net = Net::new(1);
    let client = net.client();
    net.say(client, "get a b c\r\n");
    net.answer(0, &(value("c", "3") + &value("a", "1")));
    net.answer(0, "END\r\n");
    assert_eq!(net.got(client), value("a", "1") + &value("c", "3") + "END\r\n");
    net.check_idle();
}

#[test]
fn one_failed_fragment_fails_a_multi_get() {
    let mut net = Net::new(2);
    let client = net.client();
    net.say(client, "get a b\r\nget c\r\n");
    net.answer(1, &(value("b", "2") + "SERVER_ERROR out of memory\r\n"));
    net.answer(0, &(value("a", "1") + "END\r\n" + &hit("c", "3")));
    assert_eq!(net.got(client), "SERVER_ERROR out of memory\r\n".to_owned() + &hit("c", "3"));
    net.check_idle();
}

#[test]
fn a_value_nobody_asked_for_is_a_desync() {
    for stray in ["z", "b"] {
        let mut net = Net::new(2);
        let client = net.client();
        net.say(client, "get a b c\r\nget d\r\n");
        net.answer(0, &(value("a", "1") + &value(stray, "2") + "END\r\n"));
        assert!(net.events.contains(&Event::Desync { server: 0 }));
        net.answer(1, &(value("b", "2") + "END\r\n" + &hit("d", "4")));
        assert_eq!(net.got(client), DESYNC.to_owned() + &hit("d", "4"));
        net.check_idle();
    }
}

#[test]
fn a_value_comes_as_often_as_it_was_asked_for_and_not_more_often() {
    let mut net = Net::new(1);
    let client = net.client();
    net.say(client, "get a b\r\n");
    net.answer(0, &(value("a", "1") + &value("a", "1") + "END\r\n"));
    assert_eq!(net.got(client), DESYNC);
    assert_eq!(net.mux.stats().desync_total.read(), 1);
    net.check_idle();
}

// Requests without reply.

#[test]
fn noreply_requests_are_asked_aloud_and_not_answered() {
    let mut net = Net::new(1);
    let client = net.client();
    net.say(client, "set k 0 0 1 noreply\r\n1\r\nincr k 1 noreply\r\nget k\r\n");
    assert_eq!(net.asked(0), "set k 0 0 1\r\n1\r\nincr k 1\r\nget k\r\n");
    net.answer(0, &("STORED\r\nSERVER_ERROR what\r\n".to_owned() + &hit("k", "2")));
    assert_eq!(net.got(client), hit("k", "2"));
    net.check_idle();
}

#[test]
fn quiet_meta_requests_hide_what_is_expected() {
    let mut net = Net::new(1);
    let client = net.client();
    net.say(client, "mg a v q k\r\nmg b v q k\r\nms c 1 q\r\n1\r\nmd d q\r\nmd e q\r\nmn\r\n");
    assert_eq!(net.asked(0), "mg a v k\r\nmg b v k\r\nms c 1\r\n1\r\nmd d\r\nmd e\r\n");
    net.answer(0, "EN ka\r\nVA 2 kb\r\nhi\r\nHD\r\nHD\r\nNF\r\n");
    assert_eq!(net.got(client), "VA 2 kb\r\nhi\r\nNF\r\nMN\r\n");
    net.check_idle();
}

#[test]
fn a_barrier_waits_for_the_silent_requests_before_it_and_not_for_those_after() {
    let mut net = Net::new(2);
    let client = net.client();
    net.say(client, "set a 0 0 1 noreply\r\n1\r\nmn\r\nset b 0 0 1 noreply\r\n2\r\nget c\r\n");
    assert_eq!(net.asked(1), "", "what follows a barrier waits for it");
    net.answer(0, "STORED\r\n");
    assert_eq!(net.got(client), "MN\r\n");
    assert_eq!(net.asked(1), "set b 0 0 1\r\n2\r\n");
    net.answer(0, "END\r\n");
    assert_eq!(net.got(client), "END\r\n");
    net.answer(1, "STORED\r\n");
    net.check_idle();
}

#[test]
fn a_barrier_waits_for_silent_requests_to_all_servers() {
    let mut net = Net::new(2);
    let client = net.client();
    net.say(client, "delete a noreply\r\ndelete b noreply\r\ndelete c noreply\r\nmn\r\n");
    net.answer(0, "DELETED\r\nNOT_FOUND\r\n");
    assert_eq!(net.got(client), "");
    net.answer(1, "DELETED\r\n");
    assert_eq!(net.got(client), "MN\r\n");
    net.check_idle();
}

#[test]
fn a_barrier_behind_a_slow_read_is_not_kept_by_later_silent_requests() {
    let mut net = Net::new(2);
    let client = net.client();
    net.say(client, "get b\r\nset a 0 0 1 noreply\r\n1\r\nmn\r\nset c 0 0 1 noreply\r\n2\r\n");
    net.answer(0, "STORED\r\n");
    assert_eq!(net.got(client), "");
    net.answer(1, "END\r\n");
    assert_eq!(net.got(client), "END\r\nMN\r\n");
    net.answer(0, "STORED\r\n");
    net.check_idle();
}

#[test]
fn a_barrier_also_passes_when_the_silent_requests_fail() {
    let mut net = Net::new(1);
    let client = net.client();
    net.say(client, "set a 0 0 1 noreply\r\n1\r\nmn\r\nget b\r\n");
    net.close_server(0, ServerError::Reset);
    assert_eq!(net.got(client), "MN\r\n");
    net.answer(0, "END\r\n");
    assert_eq!(net.got(client), "END\r\n");
    net.check_idle();
}

// Requests to all servers.

#[test]
fn flush_all_is_ok_when_all_servers_say_so() {
    let mut net = Net::new(2);
    let client = net.client();
    net.say(client, "flush_all 10\r\nflush_all noreply\r\nget a\r\n");
    assert_eq!(net.asked(0), "flush_all 10\r\nflush_all\r\nget a\r\n");
    assert_eq!(net.asked(1), "flush_all 10\r\nflush_all\r\n");
    net.answer(0, "OK\r\nOK\r\nEND\r\n");
    assert_eq!(net.got(client), "");
    net.answer(1, "OK\r\nOK\r\n");
    assert_eq!(net.got(client), "OK\r\nEND\r\n");
    assert_eq!(net.mux.stats().cmd_flush.read(), 2);
    net.check_idle();
}

#[test]
fn flush_all_is_refused_unless_allowed() {
    let mut net = Net::with(engine(2, Options { allow_flush: false, ..options() }, None));
    let client = net.client();
    net.say(client, "flush_all\r\nflush_all noreply\r\n");
    assert_eq!(
        net.got(client),
        "CLIENT_ERROR flush_all is refused: the pool does not say allow_flush: true\r\n"
    );
    assert_eq!(net.asked(0) + &net.asked(1), "");
    net.check_idle();
}

#[test]
fn version_is_asked_of_one_server() {
    let mut net = Net::new(2);
    let client = net.client();
    net.say(client, "version\r\n");
    assert_eq!(net.asked(0), "version\r\n");
    net.answer(0, "VERSION 1.6.18\r\n");
    assert_eq!(net.got(client), "VERSION 1.6.18\r\n");
    net.check_idle();
}

// Time.

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
    assert_eq!(net.mux.conn_state(ConnId::new(0)), ConnState::Opening);
    net.later(TIMEOUT_MS);
    assert_eq!(net.got(client), TIMED_OUT);
    net.later(TIMEOUT_MS);
    assert_eq!(net.mux.conn_state(ConnId::new(0)), ConnState::Closed);
    net.check_idle();
}

// Servers that fail.

#[test]
fn a_lost_server_answers_every_waiting_request_with_the_reason() {
    let mut net = Net::new(2);
    let client = net.client();
    net.say(client, "get a\r\nget b\r\nset c 0 0 1\r\nx\r\nget d\r\nget a b\r\n");
    net.close_server(0, ServerError::Reset);
    net.answer(1, &(hit("b", "2") + "END\r\nEND\r\n"));
    const RESET: &str = "SERVER_ERROR Connection reset by peer\r\n";
    assert_eq!(net.got(client), RESET.to_owned() + &hit("b", "2") + RESET + "END\r\n" + RESET);
    let lost = Event::ConnLost { server: 0, error: ServerError::Reset, requests: 3 };
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
        let server = &net.mux.stats().servers[0];
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
    let ejection = Ejection { failure_limit: 1, retry_timeout: Duration::from_secs(1) };
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
    let ejection = Ejection { failure_limit: 2, retry_timeout: Duration::from_millis(1500) };
    let mut net = Net::with(engine(2, options(), Some(ejection)));
    let client = net.client();
    net.accepts = false;
    for _ in 0..2 {
        net.say(client, "get a\r\n");
        net.close_server(0, ServerError::Refused);
    }
    assert_eq!(net.got(client), REFUSED.repeat(2));
    assert!(net.events.contains(&Event::Ejected { server: 0, error: ServerError::Refused }));
    net.accepts = true;
    net.say(client, "get a c\r\n");
    assert_eq!((net.asked(0), net.asked(1)), (String::new(), "get a c\r\n".to_owned()));
    net.answer(1, "END\r\n");
    net.later(1500);
    net.say(client, "get a\r\n");
    assert!(net.events.contains(&Event::Returned { server: 0 }));
    assert_eq!(net.asked(0), "get a\r\n");
    net.answer(0, "END\r\n");
    assert_eq!(net.mux.stats().server_ejects.read(), 1);
    net.check_idle();
}

#[test]
fn requests_that_time_out_on_one_connection_are_one_failure() {
    let ejection = Ejection { failure_limit: 2, retry_timeout: Duration::from_secs(1) };
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
    assert!(net.events.contains(&Event::Ejected { server: 0, error: ServerError::TimedOut }));
}

#[test]
fn a_connection_that_is_given_up_while_others_wait_for_it_is_another_failure() {
    let ejection = Ejection { failure_limit: 2, retry_timeout: Duration::from_secs(1) };
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
    let ejection = Ejection { failure_limit: 1, retry_timeout: Duration::from_secs(1) };
    let mut net = Net::with(engine(1, options(), Some(ejection)));
    let client = net.client();
    net.accepts = false;
    net.say(client, "get a\r\n");
    net.close_server(0, ServerError::Refused);
    net.say(client, "get a\r\nget a b\r\nset a 0 0 1 noreply\r\n1\r\nmg a q\r\nmn\r\n");
    assert_eq!(net.got(client), REFUSED.repeat(4) + "MN\r\n");
    net.check_idle();
}

// Servers that lie.

#[test]
fn a_reply_that_does_not_fit_fails_its_connection_and_no_other() {
    for lie in [
        hit("b", "not yours"),
        "STORED\r\n".to_owned(),
        "VALUE a 0 1\r\ntoo long\r\n".to_owned(),
        "HD\r\n".to_owned(),
        "garbage\r\n".to_owned(),
        "x".repeat(5000),
        "VALUE a 0 2000000000\r\n".to_owned(),
    ] {
        let mut net = Net::new(2);
        let (one, two) = (net.client(), net.client());
        net.say(one, "get a\r\nget b\r\n");
        net.say(two, "get c\r\nget d\r\n");
        net.answer(0, &lie);
        assert_eq!(net.got(one), DESYNC, "{lie}");
        net.answer(1, &(hit("b", "2") + &hit("d", "4")));
        assert_eq!(net.got(one), hit("b", "2"));
        assert_eq!(net.got(two), DESYNC.to_owned() + &hit("d", "4"));
        assert!(!net.is_connected(0) && net.is_connected(1));
        assert_eq!(net.mux.stats().desync_total.read(), 1);
        net.check_idle();
    }
}

#[test]
fn two_swapped_replies_are_never_believed() {
    let mut net = Net::new(1);
    let (one, two) = (net.client(), net.client());
    net.say(one, "get a\r\n");
    net.say(two, "get b\r\n");
    net.answer(0, &(hit("b", "2") + &hit("a", "1")));
    assert_eq!((net.got(one), net.got(two)), (DESYNC.to_owned(), DESYNC.to_owned()));
    net.check_idle();
}

#[test]
fn a_surplus_reply_is_nobodys() {
    let mut net = Net::new(1);
    let client = net.client();
    net.say(client, "set a 0 0 1\r\n1\r\n");
    net.answer(0, "STORED\r\nSTORED\r\n");
    assert_eq!(net.got(client), "STORED\r\n");
    assert!(!net.is_connected(0));
    assert_eq!(net.events, [Event::Desync { server: 0 }]);
    net.say(client, "set b 0 0 1\r\n2\r\n");
    net.answer(0, "STORED\r\n");
    assert_eq!(net.got(client), "STORED\r\n");
    net.check_idle();
}

#[test]
fn a_meta_reply_with_another_key_or_token_is_a_desync() {
    for lie in ["VA 1 kb\r\nx\r\n", "HD O2\r\n", "EN kb O1\r\n"] {
        let mut net = Net::new(1);
        let client = net.client();
        net.say(client, "mg a k O1 v\r\n");
        net.answer(0, lie);
        assert_eq!(net.got(client), DESYNC, "{lie}");
        net.check_idle();
    }
}

#[test]
fn a_base64_key_lives_where_its_bytes_live() {
    let mut net = Net::new(2);
    let client = net.client();
    net.say(client, "mg YQ== b k v\r\nmg Yg== b k v\r\n");
    assert_eq!(net.asked(0), "mg YQ== b k v\r\n");
    assert_eq!(net.asked(1), "mg Yg== b k v\r\n");
    net.answer(0, "VA 1 kYQ== b\r\n1\r\n");
    net.answer(1, "VA 1 kb\r\n2\r\n");
    assert_eq!(net.got(client), "VA 1 kYQ== b\r\n1\r\nVA 1 kb\r\n2\r\n");
    net.check_idle();
}

// Lanes.

#[test]
fn a_value_grown_past_the_limit_is_refused_and_its_connection_goes_on() {
    let limits = Limits { item_size_max: 1000, ..Limits::default() };
    let mut net = Net::with(engine(1, Options { limits, ..options() }, None));
    let client = net.client();
    let huge = "x".repeat(1001);
    let too_large = "SERVER_ERROR object too large for cache\r\n";
    net.say(client, "get a\r\nget b c\r\nget d\r\n");
    net.answer(0, &hit("a", &huge));
    assert_eq!(net.got(client), too_large);
    net.answer(0, &(value("b", "2") + &value("c", &huge) + "END\r\n" + &hit("d", "4")));
    assert_eq!(net.got(client), too_large.to_owned() + &hit("d", "4"));
    let stats = net.mux.stats();
    assert_eq!((stats.limit_item_size.read(), stats.desync_total.read()), (2, 0));
    net.check_idle();
}

#[test]
fn a_value_past_the_limit_is_skipped_however_it_is_cut() {
    let limits = Limits { item_size_max: 1000, ..Limits::default() };
    let reply = hit("a", &"x".repeat(5000)) + &hit("b", "2");
    for cut in [1, 7, 10, 13, 14, 15, 600, 4999, 5014, 5016, 5021, 5022] {
        let mut net = Net::with(engine(1, Options { limits, ..options() }, None));
        let client = net.client();
        net.say(client, "get a\r\nget b\r\n");
        net.answer(0, &reply[..cut]);
        net.answer(0, &reply[cut..]);
        let expected = "SERVER_ERROR object too large for cache\r\n".to_owned() + &hit("b", "2");
        assert_eq!(net.got(client), expected, "cut at {cut}");
        net.check_idle();
    }
}

#[test]
fn values_that_were_kept_are_forgotten_with_their_connection() {
    let mut net = Net::new(1);
    let client = net.client();
    net.say(client, "get a b\r\n");
    net.answer(0, &(value("a", &"x".repeat(2000)) + &value("zzz", "1")));
    assert_eq!(net.got(client), DESYNC);
    net.check_idle();
}

#[test]
fn a_reply_that_came_before_its_request_was_written_is_nobodys() {
    let mut net = Net::new(1);
    let (one, two) = (net.client(), net.client());
    net.say(one, "get a\r\n");
    net.answer(0, &hit("a", "1"));
    assert_eq!(net.got(one), hit("a", "1"));
    net.set_server_reading(0, false);
    net.say(two, "set b 0 0 1\r\n2\r\n");
    net.answer(0, "STORED\r\n");
    assert_eq!(net.got(two), DESYNC, "the server has not seen the request");
    assert_eq!(net.mux.stats().desync_total.read(), 1);
}

#[test]
fn clients_that_wait_for_a_server_are_served_in_turn() {
    let limits = Limits { server_requests_max: 4, ..Limits::default() };
    let mut net = Net::with(engine(1, Options { limits, ..options() }, None));
    let clients: Vec<ClientId> = (0..20).map(|_| net.client()).collect();
    let mut served = vec![0; clients.len()];
    clients.iter().for_each(|client| net.say(*client, "get a\r\n"));
    for _ in 0..200 {
        net.answer(0, &(hit("a", "1") + &hit("a", "1")));
        for (client, served) in clients.iter().zip(&mut served) {
            if !net.got(*client).is_empty() {
                *served += 1;
                net.say(*client, "get a\r\n");
            }
        }
    }
    assert!(served.iter().all(|served| (18..=22).contains(served)), "{served:?}");
}

#[test]
fn a_server_that_always_answers_late_is_ejected() {
    let ejection = Ejection { failure_limit: 2, retry_timeout: Duration::from_secs(3600) };
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

#[test]
fn a_client_keeps_to_one_of_several_connections_of_a_server() {
    let options = Options { server_connections: 4, ..options() };
    let mut net = Net::with(engine(2, options, None));
    let clients: Vec<ClientId> = (0..5).map(|_| net.client()).collect();
    for &client in &clients {
        net.say(client, "get a\r\n");
        net.say(client, "get b c d\r\n");
    }
    for lane in 0..4 {
        let clients_here = if lane == 0 { 2 } else { 1 };
        assert_eq!(net.asked(lane), "get a\r\nget c\r\n".repeat(clients_here));
        assert_eq!(net.asked(4 + lane), "get b d\r\n".repeat(clients_here));
    }
    net.answer(1, "garbage\r\n");
    net.answer(5, "END\r\n");
    assert_eq!(net.got(clients[1]), DESYNC.repeat(2));
    net.answer(2, &(hit("a", "1") + "END\r\n"));
    net.answer(6, "END\r\n");
    assert_eq!(net.got(clients[2]), hit("a", "1") + "END\r\n", "in the other lane all is well");
}

// Limits.

#[test]
fn a_client_has_only_so_many_requests_in_flight() {
    let mut net = Net::with_limits(1, Limits { client_requests_max: 3, ..Limits::default() });
    let client = net.client();
    net.say(client, &"get a\r\n".repeat(5));
    assert_eq!(net.asked(0), "get a\r\n".repeat(3));
    assert!(!net.mux.wants_read(client));
    net.answer(0, "END\r\n");
    assert_eq!(net.asked(0), "get a\r\n");
    net.answer(0, &"END\r\n".repeat(3));
    assert_eq!(net.asked(0), "get a\r\n");
    assert!(net.mux.wants_read(client));
    net.answer(0, "END\r\n");
    assert_eq!(net.got(client), "END\r\n".repeat(5));
    assert!(net.mux.stats().limit_client_paused.read() > 0);
    net.check_idle();
}

#[test]
fn a_new_client_gets_few_in_flight_until_its_replies_are_seen_to_be_small() {
    let mut net = Net::new(1);
    let client = net.client();
    let mut most = 0;
    net.say(client, &"get a\r\n".repeat(1000));
    let mut left = 1000;
    while left > 0 {
        let asked = net.asked(0).len() / "get a\r\n".len();
        most = most.max(asked);
        assert!(most > 16 || asked <= 16, "64 KiB are guessed for each");
        net.answer(0, &"END\r\n".repeat(asked));
        left -= asked;
    }
    assert!(most > 100, "{most}");
    assert_eq!(net.got(client), "END\r\n".repeat(1000));
    net.check_idle();
}

#[test]
fn a_client_that_does_not_read_is_not_read_from() {
    let mut net = Net::new(1);
    let client = net.client();
    net.set_reading(client, false);
    let reply = hit("a", &"x".repeat(100_000));
    let mut asked = 0;
    net.say(client, &"get a\r\n".repeat(1000));
    loop {
        let requests = net.asked(0).len() / "get a\r\n".len();
        if requests == 0 {
            break;
        }
        asked += requests;
        net.answer(0, &reply.repeat(requests));
    }
    let kept = net.mux.client_output(client).len();
    assert!(kept < (1 << 20) + 17 * reply.len(), "{kept} bytes are kept");
    assert!(!net.mux.wants_read(client));
    net.set_reading(client, true);
    while asked < 1000 {
        let requests = net.asked(0).len() / "get a\r\n".len();
        assert!(requests > 0, "it goes on once it reads");
        asked += requests;
        net.answer(0, &reply.repeat(requests));
    }
    assert_eq!(net.got(client).len(), 1000 * reply.len());
    net.check_idle();
}

#[test]
fn a_reply_beyond_the_backlog_is_replaced_by_an_error() {
    let mut net = Net::with_limits(2, Limits { client_backlog_max: 100, ..Limits::default() });
    let client = net.client();
    net.set_reading(client, false);
    net.say(client, "get a\r\nget b\r\nget c\r\nget d\r\n");
    net.answer(1, &hit("b", &"y".repeat(60)));
    net.answer(0, &hit("a", &"x".repeat(60)));
    net.answer(0, &hit("c", "z"));
    net.answer(1, "END\r\n");
    net.set_reading(client, true);
    assert_eq!(
        net.got(client),
        BACKLOG.to_owned() + &hit("b", &"y".repeat(60)) + BACKLOG + BACKLOG
    );
    assert_eq!(net.mux.stats().limit_client_backlog.read(), 3);
    net.check_idle();
}

#[test]
fn a_lone_reply_may_be_larger_than_the_backlog() {
    let mut net = Net::with_limits(1, Limits { client_backlog_max: 100, ..Limits::default() });
    let client = net.client();
    net.say(client, "get a\r\n");
    net.answer(0, &hit("a", &"x".repeat(1000)));
    assert_eq!(net.got(client), hit("a", &"x".repeat(1000)));
    net.check_idle();
}

#[test]
fn a_multi_get_beyond_the_backlog_is_an_error_and_keeps_no_value() {
    let mut net = Net::with_limits(2, Limits { client_backlog_max: 100, ..Limits::default() });
    let client = net.client();
    net.say(client, "get a b c e g i\r\nget a\r\n");
    let table = net.mux.memory();
    for key in ["a", "c", "e", "g"] {
        net.answer(0, &value(key, &"x".repeat(60)));
        assert!(net.mux.memory() <= table + 100);
    }
    net.answer(0, &(value("i", "1") + "END\r\n"));
    net.answer(1, "END\r\n");
    net.answer(0, &hit("a", "1"));
    assert_eq!(net.got(client), BACKLOG.to_owned() + &hit("a", "1"));
    assert_eq!(net.mux.stats().limit_client_backlog.read(), 1);
    net.check_idle();
}

#[test]
fn a_multi_get_that_failed_still_knows_what_it_asked_for() {
    let mut net = Net::with_limits(1, Limits { client_backlog_max: 150, ..Limits::default() });
    let client = net.client();
    net.say(client, "get a b\r\nget c\r\n");
    net.answer(0, &value("a", &"x".repeat(200)));
    net.answer(0, &value("z", "1"));
    assert_eq!(net.got(client), BACKLOG.to_owned() + DESYNC);
    net.check_idle();
}

#[test]
fn the_greediest_client_goes_when_memory_is_short() {
    let mut net = Net::with_limits(2, Limits { memory_max: 1000, ..Limits::default() });
    let (small, large) = (net.client(), net.client());
    net.set_reading(small, false);
    net.set_reading(large, false);
    net.say(small, "get b\r\nget a\r\n");
    net.say(large, "get d\r\nget a\r\n");
    net.answer(0, &hit("a", &"x".repeat(300)));
    assert!(net.mux.memory() > 300, "what waits for its turn counts");
    net.answer(0, &hit("a", &"x".repeat(900)));
    assert!(net.is_open(small) && !net.is_open(large));
    assert_eq!(net.mux.stats().limit_memory.read(), 1);
    net.answer(1, "END\r\nEND\r\n");
    net.set_reading(small, true);
    assert_eq!(net.got(small), "END\r\n".to_owned() + &hit("a", &"x".repeat(300)));
    net.check_idle();
}

#[test]
fn unfinished_requests_count_as_memory() {
    let mut net = Net::with_limits(1, Limits { memory_max: 100_000, ..Limits::default() });
    let (one, two) = (net.client(), net.client());
    for client in [one, two] {
        net.say(client, "set k 0 0 90000\r\n");
    }
    net.say(one, &"x".repeat(30_000));
    net.say(two, &"x".repeat(60_000));
    net.say(one, &"x".repeat(30_000));
    assert!(net.is_open(one) && !net.is_open(two));
    assert!(net.mux.memory() < 100_000);
    net.leave(one);
    net.check_idle();
}

#[test]
fn the_keys_of_multi_gets_in_flight_count_as_memory() {
    let mut net = Net::with_limits(1, Limits { memory_max: 20_000, ..Limits::default() });
    let (small, large) = (net.client(), net.client());
    let keys = |count: usize| format!("get{}\r\n", " k".repeat(count));
    net.say(small, &keys(10));
    assert!((400..600).contains(&net.mux.memory()), "{}", net.mux.memory());
    net.say(large, &keys(1000));
    assert!(net.is_open(small) && !net.is_open(large));
    assert!(net.mux.memory() < 600);
    net.answer(0, "END\r\nEND\r\n");
    assert_eq!(net.got(small), "END\r\n");
    net.check_idle();
}

#[test]
fn what_a_client_has_taken_counts_no_longer() {
    let mut net = Net::new(1);
    let client = net.client();
    net.say(client, "get a\r\n");
    net.answer(0, &hit("a", &"x".repeat(100_000)));
    assert_eq!(net.mux.memory(), 0);
}

#[test]
fn a_full_server_queue_holds_clients_and_lets_them_go_on() {
    let mut net = Net::with_limits(2, Limits { server_requests_max: 4, ..Limits::default() });
    let (one, two) = (net.client(), net.client());
    net.say(one, &"get a\r\n".repeat(6));
    net.say(two, "get b\r\nget c\r\nget d\r\n");
    assert_eq!((net.asked(0), net.asked(1)), ("get a\r\n".repeat(4), "get b\r\n".to_owned()));
    assert!(!net.mux.wants_read(one) && !net.mux.wants_read(two));
    net.answer(1, "END\r\n");
    assert_eq!(net.got(two), "END\r\n", "what it asked for before comes");
    net.answer(0, "END\r\n");
    assert_eq!(net.asked(0), "", "not for every single place");
    net.answer(0, "END\r\n");
    let asked = net.asked(0);
    assert_eq!(asked.len(), "get a\r\n".len() * 2, "half of it was free: {asked}");
    net.answer(0, &"END\r\n".repeat(4));
    net.answer(0, "END\r\n");
    net.answer(1, "END\r\n");
    assert_eq!(net.got(one), "END\r\n".repeat(6));
    assert_eq!(net.got(two), "END\r\n".repeat(2));
    net.check_idle();
}

#[test]
fn a_request_of_many_servers_is_queued_whole_or_not_at_all() {
    let mut net = Net::with_limits(2, Limits { server_requests_max: 1, ..Limits::default() });
    let (one, two) = (net.client(), net.client());
    net.say(one, "get b\r\n");
    net.say(two, "get a b\r\n");
    assert_eq!((net.asked(0), net.asked(1)), (String::new(), "get b\r\n".to_owned()));
    net.answer(1, "END\r\n");
    assert_eq!((net.asked(0), net.asked(1)), ("get a\r\n".to_owned(), "get b\r\n".to_owned()));
    net.answer(0, "END\r\n");
    net.answer(1, "END\r\n");
    net.say(one, "get b\r\n");
    net.say(two, "flush_all\r\n");
    assert_eq!((net.asked(0), net.asked(1)), (String::new(), "get b\r\n".to_owned()));
    net.answer(1, "END\r\n");
    net.answer(0, "OK\r\n");
    net.answer(1, "OK\r\n");
    assert_eq!(net.got(two), "END\r\nOK\r\n");
    net.check_idle();
}

#[test]
fn a_full_queue_of_bytes_holds_clients_too() {
    let mut net = Net::with_limits(1, Limits { server_buffer_max: 100, ..Limits::default() });
    net.set_server_reading(0, false);
    let client = net.client();
    net.say(client, &(set("a", &"x".repeat(100)) + "get a\r\n"));
    assert!(!net.mux.wants_read(client));
    net.set_server_reading(0, true);
    assert!(net.mux.wants_read(client));
    net.answer(0, "STORED\r\nEND\r\n");
    assert_eq!(net.got(client), "STORED\r\nEND\r\n");
    net.check_idle();
}

#[test]
fn whoever_waits_for_a_lost_server_goes_on() {
    let mut net = Net::with_limits(1, Limits { server_requests_max: 1, ..Limits::default() });
    let (one, two) = (net.client(), net.client());
    net.say(one, "get a\r\n");
    net.say(two, "get b\r\n");
    net.close_server(0, ServerError::Closed);
    assert_eq!(net.got(one), "SERVER_ERROR unknown\r\n");
    assert_eq!(net.asked(0), "get a\r\nget b\r\n");
    net.answer(0, "END\r\n");
    assert_eq!(net.got(two), "END\r\n");
    net.check_idle();
}

// Clients that leave.

#[test]
fn replies_for_a_client_that_left_are_thrown_away() {
    let mut net = Net::new(2);
    let gone = net.client();
    net.say(gone, "get a\r\nget b\r\nget a b\r\nset a 0 0 1 noreply\r\n1\r\nflush_all\r\n");
    net.answer(1, &hit("b", "ready, not its turn"));
    net.leave(gone);
    let next = net.client();
    assert_eq!(next, gone, "the id is used again");
    net.say(next, "get c\r\nset a 0 0 1 noreply\r\n1\r\nmn\r\n");
    net.answer(0, &(hit("a", "1") + &value("a", &"1".repeat(1000)) + "END\r\nSTORED\r\nOK\r\n"));
    net.answer(1, &(hit("b", "2") + "OK\r\n"));
    assert_eq!(net.got(next), "");
    net.answer(0, &hit("c", "3"));
    assert_eq!(net.got(next), hit("c", "3"));
    net.answer(0, "STORED\r\n");
    assert_eq!(net.got(next), "MN\r\n");
    net.check_idle();
}

#[test]
fn whoever_leaves_while_held_is_forgotten() {
    let mut net = Net::with_limits(1, Limits { server_requests_max: 1, ..Limits::default() });
    let (one, two) = (net.client(), net.client());
    net.say(one, "get a\r\n");
    net.say(two, "get b\r\nget c\r\n");
    net.leave(two);
    let three = net.client();
    net.answer(0, "END\r\n");
    assert_eq!(net.asked(0), "get a\r\n");
    net.say(three, "get d\r\n");
    net.answer(0, "END\r\n");
    assert_eq!(net.got(three), "END\r\n");
    net.check_idle();
}

#[test]
fn a_half_closed_client_gets_what_it_asked_for() {
    let mut net = Net::new(2);
    let client = net.client();
    net.say(client, "get a\r\nget b\r\nget c");
    net.half_close(client);
    assert!(net.is_open(client) && !net.mux.wants_read(client));
    net.answer(1, "END\r\n");
    net.answer(0, "END\r\n");
    assert_eq!(net.got(client), "END\r\nEND\r\n");
    assert!(!net.is_open(client));
    assert_eq!(net.mux.client_count(), 0);
    assert_eq!(net.asked(0), "get a\r\n");
    net.check_idle();
}

#[test]
fn quit_ends_after_the_replies_that_are_due() {
    let mut net = Net::new(1);
    let client = net.client();
    net.say(client, "get a\r\nquit\r\nget b\r\n");
    assert_eq!(net.asked(0), "get a\r\n");
    assert!(net.is_open(client));
    net.answer(0, "END\r\n");
    assert_eq!(net.got(client), "END\r\n");
    assert!(!net.is_open(client));
    net.check_idle();
}

#[test]
fn lost_framing_ends_after_the_replies_that_are_due_and_an_error() {
    let mut net = Net::new(1);
    let client = net.client();
    net.say(client, "get a\r\nset k 0 0 x\r\nget b\r\n");
    net.answer(0, "END\r\n");
    assert_eq!(net.got(client), "END\r\nCLIENT_ERROR bad command line format\r\n");
    assert!(!net.is_open(client));
    let browser = net.client();
    net.say(browser, "POST / HTTP/1.1\r\nset k 0 0 1\r\n1\r\n");
    assert_eq!(net.got(browser), "");
    assert!(!net.is_open(browser));
    assert_eq!(net.asked(0), "get a\r\n");
    assert_eq!(net.mux.stats().client_framing_lost.read(), 2);
    net.check_idle();
}

#[test]
fn the_data_of_a_refused_request_is_skipped_however_it_comes() {
    let mut net = Net::with_limits(1, Limits { item_size_max: 10, ..Limits::default() });
    let client = net.client();
    net.say(client, "set k 0 0 11\r\n");
    assert_eq!(net.got(client), "SERVER_ERROR object too large for cache\r\n");
    net.say(client, "get a");
    net.say(client, "\r\nget ");
    net.say(client, "\r\nfoo\r\nset k x 0 6\r\nquit\r\n\r\nget k\r\n");
    assert_eq!(net.got(client), "ERROR\r\nCLIENT_ERROR bad command line format\r\n");
    assert_eq!(net.asked(0), "get k\r\n");
    net.answer(0, "END\r\n");
    assert_eq!(net.got(client), "END\r\n");
    net.check_idle();
}

// Large values.

#[test]
fn large_values_are_read_to_where_they_are_kept() {
    let mut net = Net::new(1);
    let client = net.client();
    let data = "x".repeat(1 << 20);
    let request = set("k", &data);
    let (start, rest) = request.split_at(1000);
    net.say(client, start);
    assert!(net.mux.client_input(client).is_some());
    net.say(client, &(rest.to_owned() + "get k\r\n"));
    assert_eq!(net.asked(0), request + "get k\r\n");
    let reply = hit("k", &data);
    let (start, rest) = reply.split_at(1000);
    let (next, rest) = rest.split_at(1000);
    net.answer(0, &("STORED\r\n".to_owned() + start));
    net.mux.handle_server_bytes(ConnId::new(0), next.as_bytes(), Instant::default());
    assert!(net.mux.conn_input(ConnId::new(0)).is_some());
    net.answer(0, rest);
    assert_eq!(net.got(client), "STORED\r\n".to_owned() + &reply);
    assert!(net.mux.client_input(client).is_none());
    net.check_idle();
}

#[test]
fn a_large_reply_is_passed_on_in_the_memory_it_was_read_to() {
    let mut net = Net::new(1);
    let conn = ConnId::new(0);
    let client = net.client();
    let reply = hit("k", &"x".repeat(100_000));
    net.say(client, "get k\r\n");
    net.answer(0, &reply);
    assert_eq!(net.got(client), reply);

    net.say(client, "get k\r\nget k\r\n");
    let input = net.mux.conn_input(conn).expect("the next reply may be as large");
    input.extend_from_slice(reply.as_bytes());
    let memory = input.as_ptr();
    net.mux.handle_server_filled(conn, Instant::default());
    assert_eq!(net.mux.client_output(client).as_ptr(), memory);
    let input = net.mux.conn_input(conn).expect("and the one after it");
    assert_eq!(input.capacity(), reply.len() + 1, "of the last one the end is seen");
    input.extend_from_slice(reply.as_bytes());
    let memory = input.as_ptr();
    net.mux.handle_client_written(client, reply.len());
    net.mux.handle_server_filled(conn, Instant::default());
    assert_eq!(net.mux.client_output(client).as_ptr(), memory);
    net.later(0);
    assert_eq!(net.got(client), reply);
    net.check_idle();
}

#[test]
fn a_connection_that_was_given_up_is_not_lost_again() {
    let ejection = Ejection { failure_limit: 2, retry_timeout: Duration::from_millis(1500) };
    let mut net = Net::with(engine(2, options(), Some(ejection)));
    let (conn, now) = (ConnId::new(0), Instant::default());
    let client = net.client();
    net.say(client, "get a\r\n");
    net.answer(0, &hit("a", &"x".repeat(100_000)));
    net.got(client);
    net.say(client, "get a\r\n");
    let wrong = hit("c", &"x".repeat(100_000));
    for _ in 0..3 {
        // As a socket that is read on in the same turn, and then found closed.
        match net.mux.conn_input(conn) {
            Some(input) => {
                input.extend_from_slice(wrong.as_bytes());
                net.mux.handle_server_filled(conn, now);
            }
            None => net.mux.handle_server_bytes(conn, wrong.as_bytes(), now),
        }
    }
    net.mux.handle_conn_closed(conn, ServerError::Closed, now);
    net.later(0);
    assert_eq!(net.mux.stats().desync_total.read(), 1);
    assert_eq!(net.mux.stats().server_ejects.read(), 0, "one fault is not two");
    assert_eq!(net.got(client), DESYNC);
}

#[test]
fn what_was_reserved_and_not_filled_is_given_back() {
    let mut net = Net::new(1);
    let conn = ConnId::new(0);
    let client = net.client();
    net.say(client, "get k\r\n");
    net.answer(0, &hit("k", &"x".repeat(100_000)));
    assert!(net.mux.conn_input(conn).is_some_and(|input| input.capacity() > 100_000));
    net.mux.handle_server_filled(conn, Instant::default());
    for _ in 0..20 {
        net.say(client, "get k\r\n");
        net.answer(0, "END\r\n");
    }
    assert!(net.mux.conn_input(conn).is_none());
    net.check_idle();
}

#[test]
fn large_replies_are_no_longer_expected_when_small_ones_come() {
    let mut net = Net::new(1);
    let conn = ConnId::new(0);
    let client = net.client();
    net.say(client, "get k\r\n");
    net.answer(0, &hit("k", &"x".repeat(100_000)));
    assert!(net.mux.conn_input(conn).is_some());
    for _ in 0..20 {
        net.say(client, "get k\r\n");
        net.answer(0, "END\r\n");
    }
    assert!(net.mux.conn_input(conn).is_none());
    net.check_idle();
}

// Connections.

#[test]
fn a_connection_is_opened_by_the_first_request_or_beforehand() {
    let mut net = Net::with(engine(2, Options { server_connections: 2, ..options() }, None));
    let client = net.client();
    assert!((0..4).all(|conn| !net.is_connected(conn)));
    net.mux.preconnect();
    net.say(client, "verbosity 1\r\n");
    assert_eq!([0, 1, 2, 3].map(|conn| net.is_connected(conn)), [true, false, true, false]);
    let open = net.mux.stats().servers.iter().map(|server| server.server_connections.read());
    assert_eq!(open.collect::<Vec<_>>(), [1, 1]);
    net.close_server(0, ServerError::Closed);
    assert!(!net.is_connected(0), "who is not needed is not opened again");
    net.say(client, "get a\r\n");
    assert!(net.is_connected(0));
    net.answer(0, "END\r\n");
    net.check_idle();
}

#[test]
fn requests_wait_while_their_connection_opens() {
    let mut net = Net::new(1);
    net.accepts = false;
    let client = net.client();
    net.say(client, "get a\r\n");
    net.say(client, "get b\r\n");
    assert_eq!(net.asked(0), "");
    net.open_server(0);
    assert_eq!(net.asked(0), "get a\r\nget b\r\n");
    net.answer(0, "END\r\nEND\r\n");
    assert_eq!(net.got(client), "END\r\nEND\r\n");
    net.check_idle();
}
