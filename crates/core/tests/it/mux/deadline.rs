//! A request has one time for all that it waits for: before it is queued, and after.

use super::{TIMED_OUT, hit, set};
use crate::net::{Net, TIMEOUT_MS, engine, options};
use nuthatch_core::clocks::Clocks;
use nuthatch_core::error::ServerError;
use nuthatch_core::health::{Ejection, OnFailure, Order};
use nuthatch_core::limits::Limits;
use nuthatch_core::mux::{Bulk, ClientId, Options};
use std::time::Duration;

const MOST: usize = 2;

/// So many servers with room for two requests each.
fn narrow(servers: usize, timeout: Option<u64>) -> Net {
    let limits = Limits { server_requests_max: MOST, ..Limits::default() };
    let timeout = timeout.map(Duration::from_millis);
    Net::with(engine(servers, Options { limits, timeout, ..options() }, None))
}

/// Somebody else, whose requests leave no room in the queue for the first server.
fn fill(net: &mut Net) -> ClientId {
    let other = net.client();
    net.say(other, &"get c\r\n".repeat(MOST));
    other
}

#[test]
fn what_has_waited_for_room_has_the_rest_of_its_time() {
    for left in [1, 100, TIMEOUT_MS - 1] {
        let mut net = narrow(1, Some(TIMEOUT_MS));
        fill(&mut net);
        let client = net.client();
        net.say(client, "get a\r\n");
        net.later(TIMEOUT_MS - left);
        net.answer(0, &"END\r\n".repeat(MOST));
        net.later(left - 1);
        assert_eq!(net.got(client), "", "{left}");
        let at = net.mux.next_timeout().expect("it ends");
        assert_eq!(at.as_nanos(), TIMEOUT_MS * 1_000_000, "{left}");
        net.later(1);
        assert_eq!(net.got(client), TIMED_OUT, "{left}");
        net.answer(0, "END\r\n");
        net.check_idle();
    }
}

#[test]
fn what_has_waited_for_room_must_be_written_in_the_rest_of_that_time() {
    let clocks = Clocks { queue: Some(Duration::from_millis(60)), ..Clocks::default() };
    let limits = Limits { server_requests_max: MOST, ..Limits::default() };
    let mut net = Net::with(engine(1, Options { limits, clocks, ..options() }, None));
    fill(&mut net);
    let client = net.client();
    net.say(client, "get a\r\n");
    net.later(40);
    net.set_server_reading(0, false);
    net.answer(0, &"END\r\n".repeat(MOST));
    net.later(19);
    assert_eq!(net.got(client), "");
    net.later(1);
    assert_eq!(net.got(client), TIMED_OUT);
}

#[test]
fn what_did_not_wait_itself_has_all_its_time() {
    let mut net = narrow(2, Some(TIMEOUT_MS));
    fill(&mut net);
    let client = net.client();
    net.say(client, "get a\r\nget b\r\n");
    net.later(300);
    net.answer(0, &"END\r\n".repeat(MOST));
    net.answer(0, "END\r\n");
    assert_eq!((net.got(client).as_str(), net.asked(1).as_str()), ("END\r\n", "get b\r\n"));
    net.later(TIMEOUT_MS - 1);
    assert_eq!(net.got(client), "");
    net.later(1);
    assert_eq!(net.got(client), TIMED_OUT);
}

#[test]
fn what_comes_behind_a_large_request_that_waited_has_all_its_time() {
    let mut net = narrow(2, Some(TIMEOUT_MS));
    fill(&mut net);
    let client = net.client();
    // The next one may be as large, and moves with the memory that it was read to.
    let (start, rest) = (set("b", &"x".repeat(100_000)), set("a", &"x".repeat(90_000)));
    let (start, end) = start.split_at(60_000);
    net.say(client, start);
    net.say(client, end);
    net.answer(1, "STORED\r\n");
    net.asked(1);
    net.say(client, &(rest + "get b\r\n"));
    net.later(300);
    net.answer(0, &"END\r\n".repeat(MOST));
    net.answer(0, "STORED\r\n");
    let (got, asked) = (net.got(client), net.asked(1));
    assert_eq!((got, asked), ("STORED\r\n".repeat(2), "get b\r\n".to_owned()));
    net.later(TIMEOUT_MS - 1);
    assert_eq!(net.got(client), "");
    net.later(1);
    assert_eq!(net.got(client), TIMED_OUT);
}

#[test]
fn what_comes_next_has_all_its_time() {
    let mut net = narrow(2, Some(TIMEOUT_MS));
    fill(&mut net);
    let client = net.client();
    net.say(client, "get a\r\n");
    net.later(300);
    net.answer(0, &"END\r\n".repeat(MOST));
    net.answer(0, "END\r\n");
    assert_eq!(net.got(client), "END\r\n");
    net.say(client, "get a\r\n");
    net.later(TIMEOUT_MS - 1);
    assert_eq!(net.got(client), "");
    net.later(1);
    assert_eq!(net.got(client), TIMED_OUT);
}

#[test]
fn what_others_ask_for_has_all_its_time() {
    let mut net = narrow(2, Some(TIMEOUT_MS));
    let filler = fill(&mut net);
    net.say(filler, &"get d\r\n".repeat(MOST));
    let (late, other) = (net.client(), net.client());
    net.say(late, "get a b\r\n");
    net.later(200);
    // There is room at the first server now, and none at the second one.
    net.answer(0, &"END\r\n".repeat(MOST));
    net.say(other, "get a\r\n");
    assert_eq!(net.asked(0), "get c\r\n".repeat(MOST) + "get a\r\n");
    net.later(TIMEOUT_MS - 1);
    assert_eq!(net.got(other), "");
    net.later(1);
    assert_eq!(net.got(other), TIMED_OUT);
}

/// A client whose `get a b` has waited for room at the first server until the time `at`, and another one whose
/// `get d` stands before it at the second server, with more time.
fn overtaken(mut net: Net, at: u64) -> (Net, ClientId, ClientId) {
    fill(&mut net);
    let (late, other) = (net.client(), net.client());
    net.say(late, "get a b\r\n");
    net.later(at);
    net.say(other, "get d\r\n");
    net.answer(0, &"END\r\n".repeat(MOST));
    net.answer(0, "END\r\n");
    (net, late, other)
}

/// How much later than its time a request may be answered that stands behind others with more time.
const LATER_MS: u64 = TIMEOUT_MS / 16;

#[test]
fn what_has_less_time_than_a_request_before_it_is_answered_first_and_its_late_reply_is_swallowed() {
    let (mut net, late, other) = overtaken(narrow(2, Some(TIMEOUT_MS)), TIMEOUT_MS - 100);
    assert_eq!(net.asked(1), "get d\r\nget b\r\n");
    net.later(99);
    assert_eq!(net.got(late), "");
    net.later(1 + LATER_MS);
    assert_eq!((net.got(late).as_str(), net.got(other).as_str()), (TIMED_OUT, ""));
    let stats = net.stats(1);
    assert_eq!((stats.server_timedout.read(), stats.more.timeouts[3].read()), (1, 1));
    net.answer(1, &(hit("d", "4") + &hit("b", "late")));
    assert_eq!((net.got(late), net.got(other)), (String::new(), hit("d", "4")));
    net.say(late, "get b\r\n");
    net.answer(1, &hit("b", "2"));
    assert_eq!(net.got(late), hit("b", "2"));
    net.check_idle();
}

#[test]
fn a_client_keeps_its_connection_while_a_late_request_is_behind_others() {
    let limits = Limits { server_requests_max: MOST, ..Limits::default() };
    let bulk = Bulk { connections: 1, ..Bulk::NONE };
    let net = Net::with(engine(2, Options { limits, bulk, ..options() }, None));
    let (mut net, late, other) = overtaken(net, TIMEOUT_MS - 100);
    // Each server has two connections.
    assert_eq!(net.asked(2), "get d\r\nget b\r\n");
    net.later(100 + LATER_MS);
    assert_eq!((net.got(late).as_str(), net.got(other).as_str()), (TIMED_OUT, ""));
    let value = set("b", &"x".repeat(100_000));
    net.say(late, &value[..1000]);
    net.say(late, &value[1000..]);
    assert_eq!(net.mux.stats().bulk_moves.read(), 0);
    net.answer(2, &hit("d", "4"));
    assert_eq!(net.asked(2), value);
    net.answer(2, &(hit("b", "late") + "STORED\r\n"));
    net.say(late, "get b\r\n");
    assert_eq!(net.mux.stats().bulk_moves.read(), 1);
    net.answer(3, "END\r\n");
    net.check_idle();
}

#[test]
fn all_that_have_less_time_are_answered_and_nothing_turns_for_ever() {
    let limits = Limits { server_requests_max: 16, ..Limits::default() };
    let mut net = Net::with(engine(2, Options { limits, ..options() }, None));
    let filler = net.client();
    net.say(filler, &"get c\r\n".repeat(16));
    let late: Vec<_> = (0..12).map(|_| net.client()).collect();
    for client in &late {
        net.say(*client, "get a b\r\n");
        net.later(10);
    }
    assert_eq!(net.asked(1), "", "they wait");
    net.later(100);
    let other = net.client();
    net.say(other, "get d\r\n");
    net.answer(0, &"END\r\n".repeat(16));
    net.answer(0, &"END\r\n".repeat(12));
    let (mut looks, mut answered) = (0, 0);
    while answered < late.len() {
        let next = net.mux.next_timeout().expect("somebody waits").as_nanos();
        let wait = next.saturating_sub(net.now().as_nanos()).div_ceil(1_000_000);
        assert!(wait > 0, "it would turn for ever");
        net.later(wait);
        looks += 1;
        let now = net.now().as_nanos() / 1_000_000;
        for (number, client) in (0..).zip(&late) {
            let is_late = net.got(*client) == TIMED_OUT;
            answered += usize::from(is_late);
            let end = number * 10 + TIMEOUT_MS;
            assert!(!is_late || (end..=end + LATER_MS).contains(&now), "{number} at {now}");
        }
    }
    assert!(looks <= 6, "a look costs as much as there are requests: {looks}");
    assert_eq!(net.got(other), "");
    net.answer(1, &hit("d", "4"));
    net.answer(1, &"END\r\n".repeat(12));
    assert_eq!(net.got(other), hit("d", "4"));
    net.check_idle();
}

#[test]
fn what_was_late_behind_others_before_the_connection_opened_is_never_sent() {
    let mut net = narrow(2, Some(TIMEOUT_MS));
    fill(&mut net);
    net.accepts = false;
    let (mut net, late, other) = overtaken_by(net);
    net.later(100 + LATER_MS);
    assert_eq!((net.got(late).as_str(), net.got(other).as_str()), (TIMED_OUT, ""));
    net.accepts = true;
    net.open_server(1);
    assert_eq!(net.asked(1), set("d", "1"));
    net.answer(1, "STORED\r\n");
    assert_eq!(net.got(other), "STORED\r\n");
    net.check_idle();
}

/// As [`overtaken`], where the first server has no room already.
fn overtaken_by(mut net: Net) -> (Net, ClientId, ClientId) {
    let (late, other) = (net.client(), net.client());
    net.say(late, "get a b\r\n");
    net.later(TIMEOUT_MS - 100);
    net.say(other, &set("d", "1"));
    net.answer(0, &"END\r\n".repeat(MOST));
    net.answer(0, "END\r\n");
    (net, late, other)
}

#[test]
fn a_shorter_timeout_counts_at_once_for_what_stands_behind_others() {
    let (mut net, late, other) = overtaken(narrow(2, Some(100 * TIMEOUT_MS)), TIMEOUT_MS - 100);
    let limits = Limits { server_requests_max: MOST, ..Limits::default() };
    net.later(100);
    assert_eq!(net.got(late), "");
    net.mux.set_options(Options { limits, ..options() });
    net.later(0);
    assert_eq!((net.got(late).as_str(), net.got(other).as_str()), (TIMED_OUT, ""));
}

#[test]
fn a_server_is_not_blamed_for_what_waited_elsewhere() {
    let limits = Limits { server_requests_max: MOST, ..Limits::default() };
    let ejection = Ejection { failure_limit: 1, ..Ejection::default() };
    let mut net = Net::with(engine(2, Options { limits, ..options() }, Some(ejection)));
    fill(&mut net);
    let client = net.client();
    net.say(client, "get a b\r\n");
    net.later(TIMEOUT_MS - 1);
    net.answer(0, &"END\r\n".repeat(MOST));
    net.answer(0, "END\r\n");
    net.later(1);
    assert_eq!(net.got(client), TIMED_OUT);
    net.later(TIMEOUT_MS - 2);
    assert!(!net.mux.is_ejected(net.server(1)), "it had one millisecond");
    net.later(1);
    assert!(net.mux.is_ejected(net.server(1)), "it has stood still for the whole time");
}

#[test]
fn without_a_timeout_nothing_ends() {
    let (mut net, late, other) = overtaken(narrow(2, None), TIMEOUT_MS);
    for _ in 0..10 {
        net.later(100 * TIMEOUT_MS);
    }
    assert_eq!((net.got(late).as_str(), net.got(other).as_str()), ("", ""));
    assert_eq!(net.mux.next_timeout(), None);
    net.answer(1, &(hit("d", "4") + &hit("b", "2")));
    assert_eq!((net.got(late), net.got(other)), (hit("b", "2"), hit("d", "4")));
    net.check_idle();
}

#[test]
fn what_the_proxy_asks_on_its_own_account_has_a_time_of_its_own() {
    let ejection = Ejection {
        failure_limit: 1,
        on_failure: OnFailure::Rehash,
        journal_max: 1 << 20,
        ..Ejection::default()
    };
    let limits = Limits { server_requests_max: MOST, ..Limits::default() };
    let mut net = Net::with(engine(2, Options { limits, ..options() }, Some(ejection)));
    let (client, other) = (net.client(), net.client());
    net.accepts = false;
    net.say(client, "get a\r\n");
    net.close_server(0, ServerError::Refused);
    net.got(client);
    net.accepts = true;
    net.say(other, &"get b\r\n".repeat(MOST));
    net.asked(1);
    net.say(client, &set("a", "1"));
    net.later(300);
    net.answer(1, &"END\r\n".repeat(MOST));
    // The key is removed before it is used here for the first time.
    assert_eq!(net.asked(1), "delete a\r\n".to_owned() + &set("a", "1"));
    net.later(TIMEOUT_MS - 300 + LATER_MS);
    assert_eq!(net.got(client), TIMED_OUT);
    net.answer(1, "NOT_FOUND\r\nSTORED\r\n");
    net.say(client, "get a\r\n");
    assert_eq!(net.asked(1), "get a\r\n", "the removal was done in time");
}

/// A pool of two servers, of which the first is about to be ejected; others decide.
fn undecided() -> (Net, ClientId, u32) {
    let ejection =
        Ejection { failure_limit: 1, on_failure: OnFailure::Rehash, ..Ejection::default() };
    let mut net = Net::with(engine(2, options(), Some(ejection)));
    net.mux.share_arbiter();
    net.accepts = false;
    let client = net.client();
    net.say(client, "get a\r\n");
    net.close_server(0, ServerError::Refused);
    net.got(client);
    net.accepts = true;
    // Nothing is to be looked at any longer.
    net.later(TIMEOUT_MS);
    assert_eq!(net.mux.next_timeout(), None);
    let server = net.server(0);
    net.mux.obey(server, Order::Leave(ServerError::Refused), 1, net.now());
    net.settle_now();
    (net, client, 1)
}

#[test]
fn what_waits_for_what_becomes_of_a_server_has_no_more_time_than_others() {
    for request in ["get a\r\n", "get a b\r\n", "flush_all\r\n"] {
        let (mut net, client, _) = undecided();
        net.say(client, request);
        net.later(TIMEOUT_MS - 1);
        assert_eq!(net.got(client), "", "{request}");
        net.later(1);
        assert_eq!(net.got(client), TIMED_OUT, "{request}");
        assert_eq!((net.asked(0), net.asked(1)), (String::new(), String::new()));
    }
}

#[test]
fn what_has_waited_for_what_becomes_of_a_server_has_the_rest_of_its_time() {
    let (mut net, client, round) = undecided();
    net.say(client, "get a\r\n");
    net.later(300);
    let server = net.server(0);
    net.mux.obey(server, Order::GoAway, round, net.now());
    net.settle_now();
    assert_eq!(net.asked(1), "get a\r\n");
    let next = net.mux.next_timeout().map(|at| at.since(net.now()).as_millis());
    assert_eq!(next, Some(u128::from(TIMEOUT_MS - 300)));
    net.later(TIMEOUT_MS - 300 - 1);
    assert_eq!(net.got(client), "");
    net.later(1);
    assert_eq!(net.got(client), TIMED_OUT);
}
