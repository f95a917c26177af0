//! What the engine counts and times.

use crate::net::{Net, TIMEOUT_MS, engine, options};
use nuthatch_core::error::ServerError;
use nuthatch_core::health::Ejection;
use nuthatch_core::message::Class;
use nuthatch_core::mux::Event;
use nuthatch_core::stats::{Counter, Histogram, MoreServerStats};
use nuthatch_core::time::Instant;
use std::time::Duration;

#[test]
fn every_request_is_counted_once() {
    let mut net = Net::new(2);
    let client = net.client();
    net.say(
        client,
        "get a\r\nget a b c\r\nset a 0 0 1\r\n1\r\ndelete a noreply\r\nincr a 1\r\ntouch a 1\r\n\
         gat 1 a\r\nmg a\r\nms a 1\r\n1\r\nmd a\r\nma a\r\nme a\r\nfoo\r\nmn\r\n",
    );
    let stats = net.mux.stats();
    let counted = [
        &stats.requests,
        &stats.cmd_get,
        &stats.cmd_set,
        &stats.cmd_delete,
        &stats.cmd_arith,
        &stats.cmd_touch,
        &stats.cmd_meta,
        &stats.client_request_errors,
    ]
    .map(Counter::read);
    assert_eq!(counted, [14, 5, 2, 2, 2, 2, 5, 1]);
}

/// What is counted for a request of a client and the reply to it.
fn result_of(request: &str, reply: &str) -> Vec<(&'static str, u64)> {
    let mut net = Net::new(1);
    let client = net.client();
    net.say(client, request);
    net.answer(0, reply);
    net.check_idle();
    net.mux.stats().results.all().filter(|(_, count)| *count > 0).collect()
}

#[test]
fn what_a_reply_says_is_counted_under_memcacheds_names() {
    for (request, reply, name) in [
        ("get k\r\n", "VALUE k 0 1\r\n1\r\nEND\r\n", "get_hits"),
        ("gets k\r\n", "END\r\n", "get_misses"),
        ("gat 0 k\r\n", "VALUE k 0 1\r\n1\r\nEND\r\n", "touch_hits"),
        ("gats 0 k\r\n", "END\r\n", "touch_misses"),
        ("touch k 0\r\n", "TOUCHED\r\n", "touch_hits"),
        ("touch k 0 noreply\r\n", "NOT_FOUND\r\n", "touch_misses"),
        ("delete k noreply\r\n", "DELETED\r\n", "delete_hits"),
        ("delete k\r\n", "NOT_FOUND\r\n", "delete_misses"),
        ("incr k 1\r\n", "7\r\n", "incr_hits"),
        ("incr k 1\r\n", "NOT_FOUND\r\n", "incr_misses"),
        ("decr k 1\r\n", "7\r\n", "decr_hits"),
        ("decr k 1\r\n", "NOT_FOUND\r\n", "decr_misses"),
        ("cas k 0 0 1 7\r\n1\r\n", "STORED\r\n", "cas_hits"),
        ("cas k 0 0 1 7\r\n1\r\n", "EXISTS\r\n", "cas_badval"),
        ("cas k 0 0 1 7\r\n1\r\n", "NOT_FOUND\r\n", "cas_misses"),
        ("mg k v\r\n", "VA 1\r\n1\r\n", "get_hits"),
        ("mg k q\r\n", "EN\r\n", "get_misses"),
        ("mg k T0\r\n", "HD\r\n", "touch_hits"),
        ("mg k T0\r\n", "EN\r\n", "touch_misses"),
        ("ms k 1 C7\r\n1\r\n", "HD\r\n", "cas_hits"),
        ("ms k 1 C7\r\n1\r\n", "EX\r\n", "cas_badval"),
        ("ms k 1 C7\r\n1\r\n", "NF\r\n", "cas_misses"),
        ("md k q\r\n", "HD\r\n", "delete_hits"),
        ("md k\r\n", "NF\r\n", "delete_misses"),
        ("md k C7\r\n", "EX\r\n", "delete_misses"),
        ("ma k\r\n", "HD\r\n", "incr_hits"),
        ("ma k v\r\n", "VA 1\r\n7\r\n", "incr_hits"),
        ("ma k\r\n", "NF\r\n", "incr_misses"),
        ("ma k MD\r\n", "HD\r\n", "decr_hits"),
        ("ma k MD\r\n", "NF\r\n", "decr_misses"),
    ] {
        assert_eq!(result_of(request, reply), [(name, 1)], "{request}{reply}");
    }
}

#[test]
fn what_is_neither_hit_nor_miss_is_not_counted() {
    for (request, reply) in [
        ("get k\r\n", "SERVER_ERROR out of memory\r\n"),
        ("set k 0 0 1\r\n1\r\n", "STORED\r\n"),
        ("add k 0 0 1\r\n1\r\n", "NOT_STORED\r\n"),
        ("cas k 0 0 1 7\r\n1\r\n", "SERVER_ERROR out of memory\r\n"),
        ("incr k 1\r\n", "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"),
        ("ms k 1\r\n1\r\n", "HD\r\n"),
        ("ms k 1 MA C7\r\n1\r\n", "EX\r\n"),
        ("ma k C7\r\n", "EX\r\n"),
        ("me k\r\n", "EN\r\n"),
        ("version\r\n", "VERSION 1.6.18\r\n"),
    ] {
        assert_eq!(result_of(request, reply), [], "{request}{reply}");
    }
}

#[test]
fn the_keys_of_a_multiget_that_sets_an_expiry_are_touched_or_not() {
    let mut net = Net::new(1);
    let client = net.client();
    net.say(client, "gat 0 a b c\r\nget a b\r\n");
    net.answer(0, "VALUE b 0 1\r\n1\r\nEND\r\nVALUE a 0 1\r\n1\r\nEND\r\n");
    let results = &net.mux.stats().results;
    assert_eq!((results.touch_hits(), results.touch_misses()), (1, 2));
    assert_eq!((results.get_hits(), results.get_misses()), (1, 1));
    net.check_idle();
}

/// How many were timed and how many milliseconds they took, by class.
fn times(histograms: &[Histogram]) -> Vec<(&'static str, u64, u64)> {
    let of = |histogram: &Histogram| (histogram.counts().sum(), histogram.nanos() / 1_000_000);
    let all = Class::LABELS.into_iter().zip(histograms.iter().map(of));
    all.filter(|(_, (count, _))| *count > 0).map(|(label, (n, ms))| (label, n, ms)).collect()
}

fn figures(net: &Net) -> &MoreServerStats {
    &net.stats(0).more
}

#[test]
fn requests_are_timed_until_written_and_from_there_until_answered() {
    let mut net = Net::new(1);
    let client = net.client();
    net.accepts = false;
    net.say(client, "get a\r\nset b 0 0 1\r\n1\r\n");
    net.later(30);
    net.accepts = true;
    net.open_server(0);
    assert_eq!(times(&figures(&net).queue_time), [("get", 1, 30), ("set", 1, 30)]);
    assert_eq!(times(&figures(&net).server_time), []);
    net.later(10);
    net.answer(0, "END\r\n");
    net.later(5);
    net.answer(0, "STORED\r\n");
    assert_eq!(times(&figures(&net).server_time), [("get", 1, 10), ("set", 1, 15)]);
    let connect = &figures(&net).connect_time;
    assert_eq!((connect.counts().sum::<u64>(), connect.nanos()), (1, 30_000_000));
    net.check_idle();
}

#[test]
fn what_is_written_in_pieces_is_timed_by_its_last_piece() {
    let mut net = Net::new(1);
    let client = net.client();
    net.say(client, "mn\r\n");
    net.set_server_reading(0, false);
    net.say(client, "touch k 1\r\n");
    net.server_reads(0, 4);
    assert_eq!(times(&figures(&net).queue_time), []);
    net.later(20);
    net.set_server_reading(0, true);
    assert_eq!(times(&figures(&net).queue_time), [("touch", 1, 20)]);
    net.answer(0, "TOUCHED\r\n");
    net.check_idle();
}

#[test]
fn a_late_reply_is_timed_and_its_lateness_is_an_error_of_the_server() {
    let mut net = Net::new(1);
    let client = net.client();
    net.say(client, "md a\r\n");
    net.later(TIMEOUT_MS);
    assert_eq!(figures(&net).errors[ServerError::TimedOut as usize].read(), 1);
    net.later(TIMEOUT_MS / 2);
    net.answer(0, "HD\r\n");
    assert_eq!(times(&figures(&net).server_time), [("delete", 1, TIMEOUT_MS * 3 / 2)]);
    net.check_idle();
}

#[test]
fn queues_are_figures_while_they_are_there() {
    let mut net = Net::new(1);
    let client = net.client();
    net.say(client, "get a\r\n");
    net.set_server_reading(0, false);
    net.say(client, "get bc\r\nget d\r\n");
    let queues = |net: &Net| {
        let server = net.stats(0);
        [&server.in_queue, &server.in_queue_bytes, &server.out_queue, &server.out_queue_bytes]
            .map(Counter::read)
    };
    assert_eq!(queues(&net), [2, 15, 1, 7]);
    net.server_reads(0, 10);
    assert_eq!(queues(&net), [1, 7, 2, 15]);
    net.close_server(0, ServerError::Reset);
    assert_eq!(queues(&net), [0, 0, 0, 0]);
    net.check_idle();
}

#[test]
fn a_server_is_down_from_its_failure_until_it_answers() {
    let mut net = Net::new(1);
    let client = net.client();
    net.say(client, "get a\r\n");
    net.close_server(0, ServerError::Reset);
    assert_eq!(figures(&net).is_down.read(), 1);
    assert_eq!(figures(&net).errors[ServerError::Reset as usize].read(), 1);
    net.say(client, "get a\r\n");
    assert_eq!(figures(&net).is_down.read(), 1, "that it can be connected to says little");
    net.answer(0, "END\r\n");
    assert_eq!(figures(&net).is_down.read(), 0);
    net.close_server(0, ServerError::Closed);
    assert_eq!(figures(&net).is_down.read(), 0, "an idle connection may be closed");
    assert_eq!(figures(&net).errors[ServerError::Closed as usize].read(), 0);
    assert_eq!(figures(&net).connects.read(), 2);
    net.check_idle();
}

#[test]
fn an_ejected_server_shows_until_it_is_back_on_the_ring() {
    let ejection = Ejection {
        failure_limit: 1,
        retry_timeout: Duration::from_millis(1500),
        ..Ejection::default()
    };
    let mut net = Net::with(engine(2, options(), Some(ejection)));
    let client = net.client();
    net.say(client, "get a\r\n");
    net.close_server(0, ServerError::Reset);
    assert_eq!((figures(&net).is_ejected.read(), figures(&net).ejections.read()), (1, 1));
    net.later(1500);
    net.say(client, "get a\r\n");
    assert_eq!((figures(&net).is_ejected.read(), figures(&net).ejections.read()), (0, 1));
    net.answer(0, "END\r\n");
    net.check_idle();
}

#[test]
fn a_server_returns_when_its_time_is_over_and_may_be_ejected_at_once() {
    let ejection = Ejection {
        failure_limit: 1,
        retry_timeout: Duration::from_millis(1500),
        ..Ejection::default()
    };
    let mut net = Net::with(engine(2, options(), Some(ejection)));
    let client = net.client();
    net.accepts = false;
    net.say(client, "get a\r\n");
    net.close_server(0, ServerError::Refused);
    assert_eq!(figures(&net).is_ejected.read(), 1);
    net.later(1500);
    assert_eq!(figures(&net).is_ejected.read(), 0, "nobody has to ask for it");
    net.say(client, "get a\r\n");
    net.close_server(0, ServerError::Refused);
    assert_eq!(figures(&net).is_ejected.read(), 1);
    let is_about = |event: &&Event| matches!(event, Event::Ejected { .. } | Event::Returned { .. });
    let events: Vec<_> = net.events.iter().filter(is_about).copied().collect();
    let ejected = Event::Ejected { server: net.server(0), error: ServerError::Refused };
    assert_eq!(events, [ejected, Event::Returned { server: net.server(0) }, ejected]);
}

#[test]
fn a_return_is_told_before_the_ejection_that_follows_it_in_the_same_turn() {
    let ejection = Ejection {
        failure_limit: 1,
        retry_timeout: Duration::from_millis(1500),
        ..Ejection::default()
    };
    let mut mux = engine(1, options(), Some(ejection));
    let at = |ms: u64| Instant::from_nanos(ms * 1_000_000);
    let client = mux.open_client();
    let mut events = Vec::new();
    for now in [at(0), at(1500)] {
        mux.handle_timeout(now);
        mux.handle_client_bytes(client, b"get a\r\n", now);
        while let Some(id) = mux.next_dirty_conn() {
            if mux.wants_open(id) {
                mux.handle_conn_opening(id, now);
                mux.handle_conn_closed(id, ServerError::NoSocket, now);
            }
        }
        events.extend(std::iter::from_fn(|| mux.next_event()));
        assert_eq!(mux.server_stats(mux.servers()[0]).more.is_ejected.read(), 1);
        assert!(mux.is_ejected(mux.servers()[0]));
    }
    events.retain(|event| matches!(event, Event::Ejected { .. } | Event::Returned { .. }));
    let ejected = Event::Ejected { server: mux.servers()[0], error: ServerError::NoSocket };
    assert_eq!(events, [ejected, Event::Returned { server: mux.servers()[0] }, ejected]);
}

#[test]
fn every_error_of_a_server_has_a_counter_and_a_name_of_its_own() {
    let names: Vec<&str> = ServerError::OF_SERVERS.iter().map(|error| error.name()).collect();
    for (index, error) in ServerError::OF_SERVERS.into_iter().enumerate() {
        assert_eq!(error as usize, index, "{error:?}");
        assert_eq!(names.iter().filter(|name| **name == error.name()).count(), 1, "{error:?}");
    }
}
