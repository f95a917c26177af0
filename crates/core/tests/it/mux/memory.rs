//! What counts as a client's memory, and what happens when there is too much of it.

use super::{BACKLOG, DESYNC, hit, value};
use crate::net::Net;
use nuthatch_core::limits::Limits;
use nuthatch_core::mux::ClientId;
use nuthatch_core::time::Instant;

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
        // The entry of the second request may be counted late.
        assert!(net.mux.memory() <= table + 100 + 100);
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
fn a_client_that_is_given_up_gets_nothing_more() {
    let mut net = Net::with_limits(1, Limits { memory_max: 10_000, ..Limits::default() });
    let client = net.client();
    let bytes = "foo\r\n".repeat(5000);
    net.mux.handle_client_bytes(client, bytes.as_bytes(), Instant::default());
    assert!(net.mux.is_shed(client));
    assert_eq!((net.mux.client_output(client).len(), net.mux.memory()), (0, 0));
    net.settle_now();
    assert!(!net.is_open(client));
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
fn answers_that_wait_behind_a_stuck_request_count_with_all_that_they_take() {
    let mut net = Net::new(2);
    let client = net.client();
    net.say(client, &("get a\r\n".to_owned() + &"x\r\n".repeat(1000)));
    let held = net.mux.memory();
    assert!((7000..20_000).contains(&held), "1000 answers of 7 bytes, one entry: {held}");
    net.say(client, &"get b\r\n".repeat(10));
    for _ in 0..10 {
        net.answer(1, "END\r\n");
    }
    let grown = net.mux.memory() - held;
    assert!(grown > 10 * 200, "an answer of 5 bytes has memory and an entry of its own: {grown}");
    net.answer(0, "END\r\n");
    let expected = "END\r\n".to_owned() + &"ERROR\r\n".repeat(1000) + &"END\r\n".repeat(10);
    assert!(net.got(client) == expected, "every answer in its turn");
    net.check_idle();
}

#[test]
fn requests_in_flight_count_before_they_are_answered() {
    for request in ["get a\r\n", "set a 0 0 1 noreply\r\n1\r\n", "mg a q\r\n"] {
        let limits = Limits { memory_max: 20_000, ..Limits::default() };
        let mut net = Net::with_limits(1, limits);
        let clients: Vec<ClientId> = (0..30).map(|_| net.client()).collect();
        for (count, client) in clients.into_iter().enumerate() {
            net.say(client, &request.repeat(12));
            let memory = net.mux.memory();
            assert!(memory <= 20_000 && memory > 700 * count.min(15), "{request}: {memory}");
        }
        assert!(net.mux.stats().limit_memory.read() > 0, "{request}");
    }
}
