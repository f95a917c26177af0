//! The clocks of the parts of a request's way: to connect, to be written, to be answered.

use super::{TIMED_OUT, hit, set};
use crate::net::{Net, TIMEOUT_MS, engine, options, redis_options};
use nuthatch_core::clocks::{Clock, Clocks};
use nuthatch_core::error::ServerError;
use nuthatch_core::health::Ejection;
use nuthatch_core::limits::Limits;
use nuthatch_core::mux::{ConnState, Event, Options};
use std::time::Duration;

const CONNECT_MS: u64 = 100;
const QUEUE_MS: u64 = 60;
const RESPONSE_MS: u64 = 80;

fn ms(ms: u64) -> Option<Duration> {
    Some(Duration::from_millis(ms))
}

fn connect() -> Clocks {
    Clocks { connect: ms(CONNECT_MS), ..Clocks::default() }
}

fn queue() -> Clocks {
    Clocks { queue: ms(QUEUE_MS), ..Clocks::default() }
}

fn response() -> Clocks {
    Clocks { response: ms(RESPONSE_MS), ..Clocks::default() }
}

/// Options with these clocks, with the tests' `timeout` or without one.
fn with(clocks: Clocks, has_timeout: bool) -> Options {
    let timeout = options().timeout.filter(|_| has_timeout);
    Options { clocks, timeout, ..options() }
}

fn net(clocks: Clocks, has_timeout: bool) -> Net {
    Net::with(engine(1, with(clocks, has_timeout), None))
}

/// One server that one failure ejects.
fn strict(clocks: Clocks) -> Net {
    let retry_timeout = Duration::from_millis(100 * TIMEOUT_MS);
    let ejection = Ejection { failure_limit: 1, retry_timeout, ..Ejection::default() };
    Net::with(engine(1, with(clocks, false), Some(ejection)))
}

fn is_ejected(net: &Net) -> bool {
    net.mux.is_ejected(net.server(0))
}

/// How often each clock has run out, in the order of [`Clock::ALL`].
fn ran_out(net: &Net) -> [u64; 4] {
    Clock::ALL.map(|clock| net.stats(0).more.timeouts[clock as usize].read())
}

/// The next time to look, in milliseconds.
fn next(net: &Net) -> Option<u64> {
    net.mux.next_timeout().map(|at| at.as_nanos() / 1_000_000)
}

/// Where a request is when its server does no more.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Opening,
    Greeting,
    Unwritten,
    Written,
}

/// A client that has asked for `a`, which is at this stage since time 0.
fn stuck(mut net: Net, stage: Stage) -> (Net, nuthatch_core::mux::ClientId) {
    let client = net.client();
    match stage {
        Stage::Opening => net.accepts = false,
        Stage::Greeting => net.greeting = None,
        Stage::Unwritten => {
            net.say(client, "get z\r\n");
            net.answer(0, "END\r\n");
            assert_eq!(net.got(client), "END\r\n");
            net.set_server_reading(0, false);
        }
        Stage::Written => {}
    }
    net.say(client, "get a\r\n");
    (net, client)
}

#[test]
fn each_stage_of_a_request_ends_by_the_clock_that_is_first_there() {
    use Stage::{Greeting, Opening, Unwritten, Written};
    let (c, q, r) = (connect(), queue(), response());
    let all = Clocks { connect: c.connect, queue: q.queue, response: r.response };
    let slow_queue = Clocks { queue: ms(CONNECT_MS + 1), ..all };
    let long = |wait| Clocks { connect: ms(wait), queue: ms(wait), response: ms(wait) };
    // The stage, the clocks, the time of the end, the clock that ended it.
    for (stage, clocks, end, clock) in [
        (Opening, c, CONNECT_MS, Clock::Connect),
        (Greeting, c, CONNECT_MS, Clock::Connect),
        (Unwritten, c, TIMEOUT_MS, Clock::Total),
        (Written, c, TIMEOUT_MS, Clock::Total),
        (Opening, q, QUEUE_MS, Clock::Queue),
        (Greeting, q, QUEUE_MS, Clock::Queue),
        (Unwritten, q, QUEUE_MS, Clock::Queue),
        (Written, q, TIMEOUT_MS, Clock::Total),
        (Opening, r, TIMEOUT_MS, Clock::Total),
        (Greeting, r, TIMEOUT_MS, Clock::Total),
        (Unwritten, r, TIMEOUT_MS, Clock::Total),
        (Written, r, RESPONSE_MS, Clock::Response),
        (Opening, all, QUEUE_MS, Clock::Queue),
        (Unwritten, all, QUEUE_MS, Clock::Queue),
        (Written, all, RESPONSE_MS, Clock::Response),
        (Opening, slow_queue, CONNECT_MS, Clock::Connect),
        (Unwritten, slow_queue, CONNECT_MS + 1, Clock::Queue),
        // What is longer than the whole never runs out.
        (Opening, long(TIMEOUT_MS + 1), TIMEOUT_MS, Clock::Total),
        (Unwritten, long(TIMEOUT_MS + 1), TIMEOUT_MS, Clock::Total),
        (Written, long(TIMEOUT_MS + 1), TIMEOUT_MS, Clock::Total),
        (Written, Clocks::default(), TIMEOUT_MS, Clock::Total),
    ] {
        for has_timeout in [true, false] {
            if !has_timeout && clock == Clock::Total {
                continue;
            }
            let case = format!("{stage:?} {clocks:?} {has_timeout}");
            let (mut net, client) = stuck(net(clocks, has_timeout), stage);
            assert!(next(&net).is_some_and(|at| at <= end), "{case}");
            net.later(end - 1);
            assert_eq!(net.got(client), "", "{case}");
            assert!(next(&net).is_some_and(|at| at <= end), "{case}");
            net.later(1);
            assert_eq!(net.got(client), TIMED_OUT, "{case}");
            let expected = Clock::ALL.map(|other| u64::from(other == clock));
            assert_eq!(ran_out(&net), expected, "{case}");
            assert_eq!(net.stats(0).server_timedout.read(), 1, "{case}");
        }
    }
}

#[test]
fn a_stage_has_no_end_without_a_clock_of_its_own() {
    use Stage::{Greeting, Opening, Unwritten, Written};
    for (stage, clocks) in [
        (Opening, response()),
        (Greeting, response()),
        (Unwritten, Clocks { connect: ms(CONNECT_MS), ..response() }),
        (Written, Clocks { connect: ms(CONNECT_MS), ..queue() }),
    ] {
        let (mut net, client) = stuck(net(clocks, false), stage);
        for _ in 0..20 {
            net.later(TIMEOUT_MS);
        }
        assert_eq!((net.got(client).as_str(), ran_out(&net)), ("", [0; 4]), "{stage:?} {clocks:?}");
        assert!(next(&net).is_none_or(|at| at >= 20 * TIMEOUT_MS), "it would turn for ever");
    }
}

#[test]
fn an_attempt_to_connect_that_takes_too_long_is_one_failure_and_ends_what_waits_for_it() {
    for accepts in [false, true] {
        let mut net = strict(connect());
        (net.accepts, net.greeting) = (accepts, None);
        let (one, two) = (net.client(), net.client());
        net.say(one, "get a\r\nget b\r\n");
        net.later(CONNECT_MS - 1);
        net.say(two, "get c\r\n");
        assert!(!is_ejected(&net));
        net.later(1);
        assert!(is_ejected(&net));
        assert_eq!(net.got(one) + &net.got(two), TIMED_OUT.repeat(3));
        assert_eq!(net.mux.conn_state(net.conn(0)), ConnState::Closed);
        let (error, clock) = (ServerError::TimedOut, Some(Clock::Connect));
        let lost = Event::ConnLost { server: net.server(0), error, clock, requests: 3 };
        assert!(net.events.contains(&lost), "{:?}", net.events);
        let errors = &net.stats(0).more.errors;
        assert_eq!(errors[ServerError::TimedOut as usize].read(), 1);
        net.check_idle();
    }
}

#[test]
fn each_attempt_to_connect_has_its_own_time_also_without_requests() {
    let mut net = net(connect(), false);
    net.accepts = false;
    net.mux.preconnect();
    for _ in 0..3 {
        net.settle_now();
        net.later(CONNECT_MS - 1);
        assert_eq!(net.mux.conn_state(net.conn(0)), ConnState::Opening);
        net.later(1);
        assert_eq!(net.mux.conn_state(net.conn(0)), ConnState::Closed);
        net.mux.preconnect();
    }
    assert_eq!(ran_out(&net), [3, 0, 0, 0]);
}

#[test]
fn an_attempt_to_connect_ends_also_when_nobody_waits_for_it_any_longer() {
    let mut net = net(Clocks { connect: ms(CONNECT_MS), ..queue() }, false);
    net.accepts = false;
    let client = net.client();
    net.say(client, "get a\r\n");
    net.later(QUEUE_MS);
    assert_eq!((net.got(client).as_str(), next(&net)), (TIMED_OUT, Some(CONNECT_MS)));
    net.later(CONNECT_MS - QUEUE_MS);
    assert_eq!(net.mux.conn_state(net.conn(0)), ConnState::Closed);
    assert_eq!(ran_out(&net), [1, 1, 0, 0]);
}

#[test]
fn the_clock_that_ended_a_connection_is_not_that_of_the_next_end() {
    let mut net = net(connect(), false);
    net.accepts = false;
    let client = net.client();
    net.say(client, "get a\r\n");
    net.later(CONNECT_MS);
    net.accepts = true;
    net.say(client, "get a\r\n");
    net.close_server(0, ServerError::Reset);
    let clock = |event: &Event| match event {
        Event::ConnLost { clock, .. } => Some(*clock),
        _ => None,
    };
    let clocks: Vec<_> = net.events.iter().filter_map(clock).collect();
    assert_eq!(clocks, [Some(Clock::Connect), None]);
}

#[test]
fn what_was_late_before_the_connection_opened_is_never_sent() {
    for (clocks, wait) in [(queue(), QUEUE_MS), (Clocks::default(), TIMEOUT_MS)] {
        let mut net = net(clocks, true);
        net.accepts = false;
        let (one, two) = (net.client(), net.client());
        net.say(one, &(set("a", "old") + "get a b\r\n"));
        net.later(wait / 2);
        net.say(two, &set("c", "new"));
        net.later(wait - wait / 2);
        net.accepts = true;
        net.open_server(0);
        assert_eq!(net.asked(0), set("c", "new"));
        net.answer(0, "STORED\r\n");
        assert_eq!(net.got(one), TIMED_OUT.repeat(2));
        assert_eq!(net.got(two), "STORED\r\n");
        net.say(one, "get a\r\n");
        net.answer(0, &hit("a", "1"));
        assert_eq!(net.got(one), hit("a", "1"));
        net.check_idle();
    }
}

#[test]
fn a_server_that_leaves_goes_when_all_that_waited_for_it_was_late() {
    let mut net = Net::with(engine(2, with(queue(), true), None));
    net.accepts = false;
    let client = net.client();
    net.say(client, "get b\r\n");
    let conn = net.conn(1);
    let ring = net.mux.ring().clone();
    let stats: Vec<_> = (0..2).map(|_| std::sync::Arc::default()).collect();
    let leaving = net.server(1);
    net.mux.set_servers(ring, &stats, |id| id != leaving);
    net.later(QUEUE_MS);
    assert_eq!(net.got(client), TIMED_OUT);
    net.open_server(1);
    assert!(!net.mux.has_conn(conn));
}

#[test]
fn only_what_could_not_be_written_in_time_fails_and_its_late_reply_is_swallowed() {
    let mut net = net(queue(), true);
    let (one, two) = (net.client(), net.client());
    net.say(one, "get a\r\n");
    net.set_server_reading(0, false);
    net.later(10);
    net.say(two, &(set("b", "1") + "get c\r\n"));
    net.later(10);
    net.say(one, "get d\r\n");
    // The start of the first of them is written: it may still be late.
    net.server_reads(0, 5);
    net.later(QUEUE_MS - 10);
    assert_eq!((net.got(one), net.got(two)), (String::new(), TIMED_OUT.repeat(2)));
    assert_eq!(ran_out(&net), [0, 2, 0, 0]);
    net.set_server_reading(0, true);
    assert_eq!(net.asked(0), format!("get a\r\n{}get c\r\nget d\r\n", set("b", "1")));
    net.answer(0, &(hit("a", "1") + "STORED\r\n" + &hit("c", "late") + &hit("d", "4")));
    assert_eq!((net.got(one), net.got(two)), (hit("a", "1") + &hit("d", "4"), String::new()));
    assert!(net.is_connected(0));
    net.check_idle();
}

#[test]
fn only_what_is_not_answered_in_time_fails_and_its_late_reply_is_swallowed() {
    let mut net = net(response(), true);
    let (one, two) = (net.client(), net.client());
    net.say(one, "get a\r\n");
    net.later(RESPONSE_MS / 2);
    net.say(two, "get b\r\n");
    net.later(RESPONSE_MS / 2);
    assert_eq!((net.got(one), net.got(two)), (TIMED_OUT.into(), String::new()));
    net.answer(0, &(hit("a", "late") + &hit("b", "2")));
    assert_eq!((net.got(one), net.got(two)), (String::new(), hit("b", "2")));
    assert_eq!(ran_out(&net), [0, 0, 1, 0]);
    net.check_idle();
}

#[test]
fn the_time_of_a_response_begins_when_all_of_the_request_is_written() {
    let mut net = net(response(), true);
    let client = net.client();
    net.say(client, "get z\r\n");
    net.answer(0, "END\r\n");
    net.set_server_reading(0, false);
    net.say(client, &set("a", "1"));
    for _ in 0..3 {
        net.later(RESPONSE_MS);
        net.server_reads(0, 1);
    }
    net.set_server_reading(0, true);
    net.later(RESPONSE_MS - 1);
    assert_eq!(net.got(client), "END\r\n");
    net.later(1);
    assert_eq!(net.got(client), TIMED_OUT);
}

#[test]
fn the_whole_is_over_when_its_parts_are_not() {
    let clocks = Clocks { connect: None, queue: ms(300), response: ms(300) };
    let mut net = net(clocks, true);
    net.accepts = false;
    let client = net.client();
    net.say(client, "get a\r\n");
    net.later(200);
    net.accepts = true;
    net.open_server(0);
    net.later(TIMEOUT_MS - 200 - 1);
    assert_eq!(net.got(client), "");
    net.later(1);
    assert_eq!((net.got(client).as_str(), ran_out(&net)), (TIMED_OUT, [0, 0, 0, 1]));
}

#[test]
fn what_was_late_to_be_written_is_not_late_again() {
    // Abandoned in its place, then written, then not answered: it counts once.
    let clocks = Clocks { response: ms(RESPONSE_MS), ..queue() };
    let mut net = net(clocks, true);
    let client = net.client();
    net.say(client, "get a\r\n");
    net.set_server_reading(0, false);
    net.say(client, "get b\r\n");
    net.later(QUEUE_MS);
    assert_eq!(ran_out(&net), [0, 1, 0, 0]);
    net.set_server_reading(0, true);
    net.later(RESPONSE_MS - QUEUE_MS);
    assert_eq!((net.got(client), ran_out(&net)), (TIMED_OUT.repeat(2), [0, 1, 1, 0]));
    net.answer(0, "END\r\n");
    net.later(RESPONSE_MS);
    assert_eq!((net.got(client).as_str(), ran_out(&net)), ("", [0, 1, 1, 0]));
    net.answer(0, "END\r\n");
    net.check_idle();
}

#[test]
fn a_server_that_stands_still_is_failing_after_one_response_timeout_and_given_up_after_two() {
    let mut net = strict(response());
    let client = net.client();
    net.say(client, "get a\r\nget b\r\n");
    net.later(RESPONSE_MS - 1);
    assert!(!is_ejected(&net));
    net.later(1);
    assert_eq!(net.got(client), TIMED_OUT.repeat(2));
    assert!(is_ejected(&net) && net.is_connected(0));
    net.later(RESPONSE_MS - 1);
    assert!(net.is_connected(0));
    net.later(1);
    assert!(!net.is_connected(0));
    let clock = Some(Clock::Response);
    let is_lost =
        |event: &&Event| matches!(event, Event::ConnLost { clock: by, .. } if *by == clock);
    assert_eq!(net.events.iter().filter(is_lost).count(), 1, "{:?}", net.events);
    net.check_idle();
}

#[test]
fn a_server_may_stand_still_from_when_all_of_the_request_is_written() {
    let mut net = strict(response());
    let client = net.client();
    net.say(client, "get z\r\n");
    net.answer(0, "END\r\n");
    net.set_server_reading(0, false);
    net.say(client, "get a\r\n");
    net.later(3 * RESPONSE_MS);
    assert_eq!(net.got(client), "END\r\n");
    net.set_server_reading(0, true);
    net.later(2 * RESPONSE_MS - 1);
    assert_eq!(net.got(client), TIMED_OUT);
    assert!(net.is_connected(0), "it has had the request for less than twice the time");
    net.later(1);
    assert!(!net.is_connected(0));
}

#[test]
fn what_is_queued_behind_late_requests_is_looked_at_when_those_are_written() {
    let mut net = net(queue(), false);
    let (one, two) = (net.client(), net.client());
    net.say(one, "get a\r\n");
    net.set_server_reading(0, false);
    net.say(one, "get b\r\nget c\r\n");
    net.later(QUEUE_MS);
    assert_eq!(ran_out(&net), [0, 2, 0, 0]);
    net.say(two, "get d\r\n");
    net.server_reads(0, "get b\r\nget c\r\n".len());
    net.later(QUEUE_MS - 1);
    assert_eq!(net.got(two), "");
    net.later(1);
    assert_eq!((net.got(two).as_str(), ran_out(&net)), (TIMED_OUT, [0, 3, 0, 0]));
}

#[test]
fn nobody_gets_a_connection_for_one_client_on_which_a_late_request_waits() {
    let mut net = Net::with(engine(2, Options { clocks: queue(), ..redis_options() }, None));
    let client = net.client();
    net.say(client, "WATCH a\r\n");
    let own = net.mux.conns().iter().map(|id| id.index()).max().expect("there is one");
    assert!(net.asked(own).contains("WATCH"));
    net.set_server_reading(own, false);
    net.say(client, "UNWATCH\r\n");
    net.later(QUEUE_MS);
    net.answer(own, "+OK\r\n");
    net.later(0);
    assert_eq!(net.got(client), "+OK\r\n-ERR Connection timed out\r\n");
    let late = net.conn(own);
    net.say(client, "BLPOP b 0\r\n");
    assert!(!net.mux.has_conn(late), "the next client would wait for what is not sent");
}

#[test]
fn a_server_that_takes_no_bytes_stands_still() {
    let clocks = Clocks { response: ms(RESPONSE_MS), ..queue() };
    let mut net = strict(clocks);
    let client = net.client();
    net.say(client, "get z\r\n");
    net.answer(0, "END\r\n");
    net.set_server_reading(0, false);
    net.say(client, "get a\r\n");
    net.later(QUEUE_MS);
    assert!(!is_ejected(&net), "it may take its time until the response is late");
    net.later(RESPONSE_MS - QUEUE_MS);
    assert!(is_ejected(&net) && net.is_connected(0));
    net.later(RESPONSE_MS);
    assert!(!net.is_connected(0));
}

#[test]
fn a_long_look_up_is_no_standstill_of_the_server() {
    // What was late before the connection opened says nothing of the server that is asked now.
    let clocks = Clocks { response: ms(RESPONSE_MS), ..queue() };
    let mut net = strict(clocks);
    net.accepts = false;
    let client = net.client();
    net.say(client, "get a\r\n");
    net.later(10 * RESPONSE_MS);
    assert_eq!(net.got(client), TIMED_OUT);
    net.accepts = true;
    net.open_server(0);
    net.later(1);
    assert!(!is_ejected(&net) && net.is_connected(0));
    net.say(client, "get b\r\n");
    net.later(RESPONSE_MS - 1);
    assert!(!is_ejected(&net));
    net.answer(0, "END\r\n");
    assert_eq!(net.got(client), "END\r\n");
}

#[test]
fn a_server_that_took_long_to_open_and_then_stands_still_fails_twice() {
    let retry_timeout = Duration::from_millis(100 * TIMEOUT_MS);
    let ejection = Ejection { failure_limit: 2, retry_timeout, ..Ejection::default() };
    let mut net = Net::with(engine(1, options(), Some(ejection)));
    net.accepts = false;
    let client = net.client();
    net.say(client, "get a\r\n");
    net.later(TIMEOUT_MS);
    net.say(client, "get b\r\n");
    net.later(10);
    net.accepts = true;
    net.open_server(0);
    assert_eq!(net.asked(0), "get b\r\n");
    net.later(TIMEOUT_MS - 10 - 1);
    assert!(!is_ejected(&net));
    net.later(1);
    assert!(is_ejected(&net), "with the second late request");
}

#[test]
fn a_server_whose_replies_flow_is_not_ejected_for_a_short_response_timeout() {
    let mut net = strict(response());
    let client = net.client();
    net.say(client, &"get a\r\n".repeat(20));
    for _ in 0..20 {
        net.later(RESPONSE_MS * 2 / 3);
        net.answer(0, "END\r\n");
    }
    assert!(!is_ejected(&net) && net.is_connected(0));
    assert_eq!(net.got(client).lines().count(), 20);
    net.check_idle();
}

#[test]
fn who_waits_for_a_full_queue_waits_no_longer_than_the_queue_timeout() {
    let limits = Limits { server_requests_max: 1, ..Limits::default() };
    let options = Options { limits, ..with(queue(), true) };
    let mut net = Net::with(engine(1, options, None));
    let (one, two) = (net.client(), net.client());
    net.say(one, "get a\r\n");
    net.say(two, "get b\r\n");
    assert!(next(&net).is_some_and(|at| at <= QUEUE_MS));
    net.later(QUEUE_MS - 1);
    assert_eq!(net.got(two), "");
    net.later(1);
    assert_eq!((net.got(one).as_str(), net.got(two).as_str()), ("", TIMED_OUT));
    assert_eq!(ran_out(&net), [0, 1, 0, 0]);
    net.answer(0, &hit("a", "1"));
    assert_eq!(net.got(one), hit("a", "1"));
    net.check_idle();
}

#[test]
fn the_next_time_to_look_is_never_later_than_that_of_a_request_that_comes_after() {
    // A response that is due late must not hide the end of a wait that begins later.
    let clocks = Clocks { connect: ms(5000), queue: ms(QUEUE_MS), response: ms(5000) };
    let mut net = Net::with(engine(2, with(clocks, false), None));
    let (one, two) = (net.client(), net.client());
    net.say(one, "get a\r\n");
    net.later(QUEUE_MS);
    net.accepts = false;
    net.say(two, "get b\r\n");
    assert!(next(&net).is_some_and(|at| at <= 2 * QUEUE_MS));
    net.later(QUEUE_MS);
    assert_eq!((net.got(one).as_str(), net.got(two).as_str()), ("", TIMED_OUT));
}

#[test]
fn a_shorter_clock_counts_at_once_for_what_waits_already() {
    let (mut net, client) = stuck(net(Clocks::default(), false), Stage::Written);
    net.later(10 * RESPONSE_MS);
    net.mux.set_options(with(response(), false));
    net.later(0);
    assert_eq!((net.got(client).as_str(), ran_out(&net)), (TIMED_OUT, [0, 0, 1, 0]));
    let (mut net, client) = stuck(self::net(Clocks::default(), false), Stage::Opening);
    net.later(10 * CONNECT_MS);
    net.mux.set_options(with(connect(), false));
    net.later(0);
    assert_eq!((net.got(client).as_str(), ran_out(&net)), (TIMED_OUT, [1, 0, 0, 0]));
}

#[test]
fn no_clock_ends_a_command_that_may_wait() {
    let clocks = Clocks { response: ms(RESPONSE_MS), ..queue() };
    for has_timeout in [true, false] {
        let timeout = options().timeout.filter(|_| has_timeout);
        let mut net = Net::with(engine(1, Options { clocks, timeout, ..redis_options() }, None));
        let client = net.client();
        net.say(client, "BLPOP a 1\r\n");
        net.answer(2, "*-1\r\n");
        assert_eq!(net.got(client), "*-1\r\n");
        net.set_server_reading(2, false);
        net.say(client, "BLPOP a 0\r\n");
        for _ in 0..10 {
            net.later(TIMEOUT_MS);
            assert!(next(&net).is_none_or(|at| at > net.now().as_nanos() / 1_000_000));
        }
        net.set_server_reading(2, true);
        for _ in 0..10 {
            net.later(TIMEOUT_MS);
        }
        assert_eq!((net.got(client).as_str(), ran_out(&net)), ("", [0; 4]));
        net.answer(2, "*2\r\n$1\r\na\r\n$1\r\nx\r\n");
        assert_eq!(net.got(client), "*2\r\n$1\r\na\r\n$1\r\nx\r\n");
        net.check_idle();
    }
}

#[test]
fn a_transaction_is_sent_whole_however_late_its_start_is() {
    let mut net = Net::with(engine(1, Options { clocks: queue(), ..redis_options() }, None));
    net.accepts = false;
    let client = net.client();
    net.say(client, "MULTI\r\nSET a 1\r\n");
    net.later(QUEUE_MS);
    net.say(client, "SET a 2\r\nEXEC\r\n");
    net.accepts = true;
    net.open_server(2);
    let set = |value| format!("*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n{value}\r\n");
    let whole = ["*1\r\n$5\r\nMULTI\r\n", &set(1), &set(2), "*1\r\n$4\r\nEXEC\r\n"].concat();
    assert_eq!(net.asked(2), whole);
}

#[test]
fn a_client_of_its_own_connection_is_told_in_order_and_nothing_turns_for_ever() {
    let mut net =
        Net::with(engine(1, Options { clocks: queue(), timeout: None, ..redis_options() }, None));
    let client = net.client();
    net.say(client, "WATCH a\r\n");
    net.answer(2, "+OK\r\n");
    net.say(client, "MULTI\r\n");
    net.set_server_reading(2, false);
    net.say(client, "GET a\r\n");
    for _ in 0..10 {
        net.later(QUEUE_MS);
        assert!(next(&net).is_none_or(|at| at > net.now().as_nanos() / 1_000_000));
    }
    net.answer(2, "+OK\r\n");
    net.later(1);
    assert_eq!(net.got(client), "+OK\r\n+OK\r\n-ERR Connection timed out\r\n");
}
