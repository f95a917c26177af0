//! Large values: read to where they are kept, handed on as they are, refused past the limit.

use super::{DESYNC, hit, set, value};
use crate::net::{Net, engine, options};
use nuthatch_core::error::ServerError;
use nuthatch_core::health::Ejection;
use nuthatch_core::limits::Limits;
use nuthatch_core::mux::{ClientId, Options};
use nuthatch_core::time::Instant;
use std::time::Duration;

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
    net.mux.handle_server_bytes(net.conn(0), next.as_bytes(), Instant::default());
    assert!(net.mux.conn_input(net.conn(0)).is_some());
    net.answer(0, rest);
    assert_eq!(net.got(client), "STORED\r\n".to_owned() + &reply);
    net.check_idle();
}

/// Says what is too long for one read.
fn say_in_parts(net: &mut Net, client: ClientId, text: &str) {
    let (start, rest) = text.split_at(60_000);
    net.say(client, start);
    net.say(client, rest);
}

#[test]
fn a_large_request_is_passed_on_in_the_memory_it_was_read_to() {
    let mut net = Net::new(1);
    let conn = net.mux.conns()[0];
    let client = net.client();
    let request = set("k", &"x".repeat(100_000));
    say_in_parts(&mut net, client, &request);
    assert_eq!(net.asked(0), request);
    net.set_server_reading(0, false);

    let mut memory = Vec::new();
    for _ in 0..3 {
        let input = net.mux.client_input(client).expect("the next request may be as large");
        assert_eq!(input.capacity(), request.len());
        input.extend_from_slice(request.as_bytes());
        memory.push(input.as_ptr());
        net.mux.handle_client_filled(client, request.len(), Instant::default());
    }
    net.say(client, "get k\r\n");
    for at in memory {
        assert_eq!(net.mux.conn_output(conn), request.as_bytes());
        assert_eq!(net.mux.conn_output(conn).as_ptr(), at);
        net.server_reads(0, request.len());
    }
    assert_eq!(net.mux.conn_output(conn), b"get k\r\n");
    net.server_reads(0, 7);
    net.answer(0, &("STORED\r\n".repeat(4) + "END\r\n"));
    assert_eq!(net.got(client), "STORED\r\n".repeat(4) + "END\r\n");
    net.check_idle();
}

#[test]
fn a_large_request_that_is_not_as_the_server_gets_it_is_rewritten() {
    let mut net = Net::new(1);
    let client = net.client();
    let data = "x".repeat(100_000);
    for _ in 0..3 {
        let request = format!("set  k 0 0 100000 noreply\r\n{data}\r\nget k\r\n");
        say_in_parts(&mut net, client, &request);
        assert_eq!(net.asked(0), set("k", &data) + "get k\r\n");
        net.answer(0, "STORED\r\nEND\r\n");
        assert_eq!(net.got(client), "END\r\n");
    }
    net.check_idle();
}

#[test]
fn a_large_request_waits_for_a_full_queue_like_any_other() {
    let limits = Limits { server_requests_max: 1, ..Limits::default() };
    let mut net = Net::with_limits(1, limits);
    let (first, second) = (net.client(), net.client());
    let request = set("k", &"x".repeat(100_000));
    for _ in 0..2 {
        net.say(first, "get a\r\n");
        say_in_parts(&mut net, second, &request);
        assert!(!net.mux.wants_read(second));
        assert_eq!(net.asked(0), "get a\r\n");
        net.answer(0, "END\r\n");
        assert_eq!(net.asked(0), request);
        net.answer(0, "STORED\r\n");
        assert_eq!(net.got(first) + &net.got(second), "END\r\nSTORED\r\n");
    }
    net.check_idle();
}

#[test]
fn large_requests_are_no_longer_expected_when_small_ones_come() {
    let mut net = Net::new(1);
    let client = net.client();
    let request = set("k", &"x".repeat(1_000_000));
    say_in_parts(&mut net, client, &request);
    net.answer(0, "STORED\r\n");
    assert!(net.mux.client_input(client).is_some_and(|input| input.capacity() == request.len()));
    net.mux.handle_client_filled(client, 0, Instant::default());
    for _ in 0..30 {
        net.say(client, "get k\r\n");
        net.answer(0, "END\r\n");
    }
    assert!(net.mux.client_input(client).is_none());
    net.check_idle();
}

#[test]
fn memory_that_waits_for_the_rest_of_a_large_request_counts() {
    let mut net = Net::new(1);
    let client = net.client();
    let request = set("k", &"x".repeat(1_000_000));
    say_in_parts(&mut net, client, &request);
    net.answer(0, "STORED\r\n");
    net.say(client, &request[..100_000]);
    assert!(net.mux.memory() >= request.len(), "{} bytes", net.mux.memory());
    net.say(client, &request[100_000..]);
    net.answer(0, "STORED\r\n");
    net.say(client, "set");
    assert_eq!(net.mux.memory(), 3, "that may be the start of anything");
    net.leave(client);
    net.check_idle();
}

#[test]
fn large_memory_that_lies_idle_goes_back_to_the_system() {
    let mut net = Net::new(1);
    let client = net.client();
    say_in_parts(&mut net, client, &set("k", &"x".repeat(1_000_000)));
    net.answer(0, "STORED\r\n");
    assert!(net.mux.next_timeout().is_some(), "somebody has to look after it");
    for _ in 0..4 {
        net.later(1000);
    }
    assert_eq!(net.mux.next_timeout(), None, "there is nothing left to look after");
    net.check_idle();
}

#[test]
fn a_large_reply_is_passed_on_in_the_memory_it_was_read_to() {
    let mut net = Net::new(1);
    let conn = net.conn(0);
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
    let ejection = Ejection {
        failure_limit: 2,
        retry_timeout: Duration::from_millis(1500),
        ..Ejection::default()
    };
    let mut net = Net::with(engine(2, options(), Some(ejection)));
    let (conn, now) = (net.conn(0), Instant::default());
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
    let conn = net.conn(0);
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
    let conn = net.conn(0);
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
