//! What is said on a new connection before any request, and what follows from the answer.

use super::{DESYNC, TIMED_OUT, hit};
use crate::net::{Net, TIMEOUT_MS, engine, options};
use nuthatch_core::error::ServerError;
use nuthatch_core::health::Ejection;
use nuthatch_core::mux::Event;
use nuthatch_core::time::Instant;
use nuthatch_core::version::Version;
use std::time::Duration;

const NO_META: &str = "SERVER_ERROR the server of this key does not support meta commands: \
                       memcached 1.6.10 or later is required\r\n";

/// One server that does not answer the greeting by itself, and its version.
fn ungreeted() -> Net {
    let mut net = Net::new(1);
    net.greeting = None;
    net
}

#[test]
fn nothing_of_a_client_is_written_before_the_server_has_answered_the_greeting() {
    let mut net = ungreeted();
    let client = net.client();
    net.say(client, "get a\r\n");
    assert_eq!(net.asked(0), "");
    net.answer(0, "VERSION 1.6");
    assert_eq!(net.asked(0), "");
    net.answer(0, ".18\r\n");
    assert_eq!(net.asked(0), "get a\r\n");
    net.answer(0, &hit("a", "1"));
    assert_eq!(net.got(client), hit("a", "1"));
    let version = net.stats(0).more.version.read();
    assert_eq!(Version::from_bits(version).to_string(), "1.6.18");
    net.check_idle();
}

#[test]
fn an_old_server_gets_no_meta_request_and_nothing_of_its_data() {
    for version in ["1.6.9", "1.5.6", "1.4.4-14-g9c660c0", "mcrouter 41"] {
        let mut net = ungreeted();
        let (client, other) = (net.client(), net.client());
        net.say(client, "ms a 13\r\nincr evil 0\r\n\r\nget c\r\nmg a v q\r\nme a\r\n");
        net.say(other, "get e\r\n");
        net.answer(0, &format!("VERSION {version}\r\n"));
        assert_eq!(net.asked(0), "get c\r\nget e\r\n", "{version}");
        net.answer(0, &(hit("c", "1") + &hit("e", "2")));
        assert_eq!(net.got(client), NO_META.to_owned() + &hit("c", "1") + NO_META + NO_META);
        assert_eq!(net.got(other), hit("e", "2"));
        net.say(client, "ms a 13\r\nincr evil 0\r\n\r\nmd a\r\n");
        assert_eq!((net.asked(0), net.got(client)), (String::new(), NO_META.repeat(2)));
        net.check_idle();
    }
}

#[test]
fn a_server_that_closes_on_long_lines_gets_none() {
    let long = format!("mg a v k {}\r\n", "x".repeat(1200));
    let refused = "SERVER_ERROR the server of this key accepts lines of at most 1024 bytes: longer \
                   lines require memcached 1.6.14 or later\r\n";
    for (version, expected) in [("1.6.13", refused), ("1.6.14", "EN\r\n")] {
        let mut net = ungreeted();
        let client = net.client();
        net.say(client, &long);
        net.answer(0, &format!("VERSION {version}\r\n"));
        if !net.asked(0).is_empty() {
            net.answer(0, "EN\r\n");
        }
        assert_eq!(net.got(client), expected, "{version}");
        net.say(client, &long);
        assert_eq!(net.got(client).is_empty(), version == "1.6.14");
    }
}

#[test]
fn what_ran_out_of_time_before_the_greeting_is_answered_once_and_never_sent() {
    let mut net = ungreeted();
    let client = net.client();
    net.say(client, "get a\r\nms c 1\r\n1\r\n");
    net.later(TIMEOUT_MS);
    net.say(client, "get e\r\nms c 1\r\n1\r\n");
    assert_eq!(net.got(client), TIMED_OUT.repeat(2));
    net.answer(0, "VERSION 1.5.22\r\n");
    assert_eq!(net.asked(0), "get e\r\n");
    net.answer(0, &hit("e", "2"));
    assert_eq!(net.got(client), hit("e", "2") + NO_META);
    net.check_idle();
}

#[test]
fn a_server_that_tells_no_version_is_asked_for_nothing_that_needs_one() {
    for answer in ["ERROR\r\n", "VALUE ion 0 1\r\n7\r\nEND\r\n"] {
        let mut net = ungreeted();
        let client = net.client();
        net.say(client, "get a\r\nmg a\r\n");
        net.answer(0, answer);
        assert_eq!(net.asked(0), "get a\r\n", "{answer:?}");
        net.answer(0, "END\r\n");
        assert_eq!(net.got(client), "END\r\n".to_owned() + NO_META);
        net.check_idle();
    }
}

#[test]
fn a_full_server_fails_with_a_reason_of_its_own() {
    let ejection =
        Ejection { failure_limit: 1, retry_timeout: Duration::from_secs(1), ..Ejection::default() };
    let mut net = Net::with(engine(1, options(), Some(ejection)));
    net.greeting = Some("ERROR Too many open connections\r\n");
    let client = net.client();
    net.say(client, "get a\r\n");
    assert_eq!(net.got(client), "SERVER_ERROR Too many open connections\r\n");
    let error = ServerError::Full;
    assert_eq!(
        net.events,
        [
            Event::ConnLost { server: net.server(0), error, clock: None, requests: 1 },
            Event::Ejected { server: net.server(0), error }
        ]
    );
    let stats = net.mux.stats();
    assert_eq!(net.stats(0).more.errors[error as usize].read(), 1);
    assert_eq!((stats.server_ejects.read(), stats.desync_total.read()), (1, 0));
    net.check_idle();
}

#[test]
fn another_protocol_is_told_at_the_greeting() {
    let mut net = ungreeted();
    let client = net.client();
    net.say(client, "get a\r\n");
    net.answer(0, "-ERR unknown command 'version'\r\n");
    assert_eq!(net.got(client), DESYNC);
    assert!(!net.is_connected(0) || net.asked(0).is_empty());
    assert_eq!(net.events, [Event::Desync { server: net.server(0), requests: 1 }]);
}

#[test]
fn what_stands_behind_the_greeting_is_not_believed() {
    let mut net = ungreeted();
    let client = net.client();
    net.say(client, "get a\r\n");
    net.answer(0, &("VERSION 1.6.18\r\n".to_owned() + &hit("a", "1")));
    assert_eq!(net.got(client), DESYNC);
    assert_eq!(net.mux.stats().desync_total.read(), 1);
}

#[test]
fn a_greeting_that_is_never_answered_costs_the_requests_their_time() {
    let mut net = ungreeted();
    let client = net.client();
    net.say(client, "get a\r\n");
    net.later(TIMEOUT_MS);
    assert_eq!(net.got(client), TIMED_OUT);
    net.later(TIMEOUT_MS);
    assert!(!net.is_connected(0), "after twice the time the connection is given up");
    net.check_idle();
}

/// A server that says `bytes` as soon as it accepts, and what the client then gets.
fn told_before_it_is_asked(bytes: &str) -> (Net, String) {
    let mut net = ungreeted();
    net.accepts = false;
    let client = net.client();
    net.say(client, "get a\r\n");
    let conn = net.conn(0);
    net.mux.handle_conn_open(conn, Instant::default());
    for byte in bytes.bytes() {
        net.mux.handle_server_bytes(conn, &[byte], Instant::default());
    }
    net.settle_now();
    let got = net.got(client);
    (net, got)
}

#[test]
fn a_server_that_answers_before_it_is_asked_is_not_believed() {
    let (mut net, got) = told_before_it_is_asked("VERSION 1.6.18\r\n");
    assert_eq!((got.as_str(), net.asked(0).as_str()), (DESYNC, ""));
    let (_, got) = told_before_it_is_asked("ERROR Too many open connections\r\n");
    assert_eq!(got, "SERVER_ERROR Too many open connections\r\n");
}
