//! The gutter: servers that have the keys of a server that is away, and keep no value longer than they may.

use super::{REFUSED, hit};
use crate::net::{Net, engine, options, redis_options};
use nuthatch_core::error::ServerError;
use nuthatch_core::health::{Ejection, OnFailure, OnOverflow, Order, Report, Share};
use nuthatch_core::limits::Limits;
use nuthatch_core::mux::{ClientId, Event, Options, ServerId};
use nuthatch_core::ring::{Distribution, Hash, Member, Ring};
use nuthatch_core::stats::ServerStats;
use std::sync::Arc;
use std::time::Duration;

const RETRY_MS: u64 = 1000;

const NO_GUTTER: &str = "SERVER_ERROR the server is away, and so are all gutter servers\r\n";

fn ejection() -> Ejection {
    Ejection {
        failure_limit: 1,
        retry_timeout: Duration::from_millis(RETRY_MS),
        probes: 2,
        on_failure: OnFailure::Gutter,
        journal_max: 1 << 20,
        on_overflow: OnOverflow::Stay,
        gutter_ttl: Duration::from_secs(60),
        ..Ejection::default()
    }
}

fn gutter_ring(names: &[&str]) -> (Ring, Vec<Arc<ServerStats>>) {
    let member = |name: &&str| Member { name: name.as_bytes().into(), weight: 1 };
    let members: Vec<_> = names.iter().map(member).collect();
    let stats = members.iter().map(|_| Arc::default()).collect();
    (Ring::new(Distribution::Modula, Hash::Fnv1a_64, None, members, 1), stats)
}

fn set_gutter(net: &mut Net, names: &[&str]) {
    let (ring, stats) = gutter_ring(names);
    net.mux.set_gutter(ring, &stats, |_| true);
    net.settle_now();
}

/// A pool of two servers and one of the gutter.
fn pool(ejection: Ejection, options: Options) -> Net {
    let mut mux = engine(2, options, Some(ejection));
    let (ring, stats) = gutter_ring(&["gutter0"]);
    mux.set_gutter(ring, &stats, |_| true);
    Net::with(mux)
}

/// The pool without its first server. The connections to the gutter have place 2 in a memcached pool.
fn away(ejection: Ejection) -> (Net, ClientId) {
    let mut net = pool(ejection, options());
    let client = net.client();
    net.accepts = false;
    net.say(client, "get a\r\n");
    net.close_server(0, ServerError::Refused);
    assert_eq!(net.got(client), REFUSED);
    net.accepts = true;
    (net, client)
}

/// Likewise of a Redis pool: a server has two connections, so the one to the gutter has place 4.
fn redis_away(hello: &'static str) -> (Net, ClientId) {
    let options = Options { allow_flush: true, ..redis_options() };
    let mut net = pool(ejection(), options);
    net.greeting = Some(hello);
    let client = net.client();
    net.accepts = false;
    net.say(client, "GET a\r\n");
    net.close_server(0, ServerError::Refused);
    assert_eq!(net.got(client), "-ERR Connection refused\r\n");
    net.accepts = true;
    (net, client)
}

const HELLO_7: &str = crate::net::HELLO;
const HELLO_6: &str = "*2\r\n$7\r\nversion\r\n$6\r\n6.2.14\r\n";

fn probed(net: &mut Net) {
    for ms in [RETRY_MS, 100, 100] {
        net.later(ms);
    }
}

fn words(request: &[&str]) -> String {
    let head = format!("*{}\r\n", request.len());
    head + &request.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect::<String>()
}

fn cap(key: &str) -> String {
    words(&["PEXPIRE", key, "60000", "LT"])
}

fn set(key: &str, time: u32, data: &str) -> String {
    format!("set {key} 0 {time} {}\r\n{data}\r\n", data.len())
}

#[test]
fn the_gutter_has_the_keys_of_a_server_that_is_away_and_no_others() {
    let (mut net, client) = away(ejection());
    net.say(client, &set("a", 0, "1"));
    assert_eq!(net.asked(2), "delete a\r\n".to_owned() + &set("a", 60, "1"));
    net.answer(2, "NOT_FOUND\r\nSTORED\r\n");
    net.say(client, "get a\r\nget c\r\nget b\r\n");
    assert_eq!(net.asked(2), "get a\r\ndelete c\r\nget c\r\n");
    assert_eq!(net.asked(1), "get b\r\n");
    net.answer(2, &(hit("a", "1") + "NOT_FOUND\r\nEND\r\n"));
    net.answer(1, "END\r\n");
    assert_eq!(net.got(client), "STORED\r\n".to_owned() + &hit("a", "1") + &"END\r\n".repeat(2));
    probed(&mut net);
    assert_eq!(net.asked(0), "delete a\r\n");
    net.answer(0, "DELETED\r\n");
    assert!(!net.mux.is_ejected(net.server(0)));
    net.say(client, "get a\r\n");
    assert_eq!((net.asked(0), net.asked(2)), ("get a\r\n".to_owned(), String::new()));
    net.answer(0, "END\r\n");
    net.got(client);
    net.check_idle();
}

#[test]
fn in_the_next_absence_the_gutter_begins_without_what_it_has() {
    let (mut net, client) = away(ejection());
    net.say(client, &set("a", 5, "1"));
    assert_eq!(net.asked(2), "delete a\r\n".to_owned() + &set("a", 5, "1"));
    net.answer(2, "NOT_FOUND\r\nSTORED\r\n");
    probed(&mut net);
    net.asked(0);
    net.answer(0, "DELETED\r\n");
    net.say(client, "get c\r\n");
    net.close_server(0, ServerError::Reset);
    net.say(client, "get a\r\n");
    assert_eq!(net.asked(2), "delete a\r\nget a\r\n");
}

#[test]
fn requests_of_several_keys_are_split_over_servers_and_gutter() {
    let (mut net, client) = away(ejection());
    net.say(client, "gat 0 a b c\r\n");
    assert_eq!(net.asked(1), "gat 0 b\r\n");
    assert_eq!(net.asked(2), "delete a\r\ndelete c\r\ngat 60 a c\r\n");
    net.answer(1, "END\r\n");
    net.answer(2, &("NOT_FOUND\r\n".repeat(2) + &hit("c", "3")));
    assert_eq!(net.got(client), hit("c", "3"));
    assert_eq!(net.mux.requests_in_flight(), 0);
}

#[test]
fn a_time_of_the_wall_clock_is_one_from_now_in_the_gutter() {
    let (mut net, client) = away(ejection());
    let epoch = Duration::from_secs(1_700_000_000);
    net.mux.set_options(Options { epoch, ejection: Some(ejection()), ..options() });
    net.say(client, &(set("a", 1_700_000_007, "1") + &set("a", 1_800_000_000, "2")));
    assert_eq!(net.asked(2), "delete a\r\n".to_owned() + &set("a", 7, "1") + &set("a", 60, "2"));
    net.later(300);
    net.answer(2, "NOT_FOUND\r\nSTORED\r\nSTORED\r\n");
    net.later(4000);
    net.say(client, &set("a", 1_700_000_007, "1"));
    assert_eq!(net.asked(2), set("a", 3, "1"));
}

#[test]
fn a_large_value_is_capped_too() {
    let (mut net, client) = away(ejection());
    let data = "x".repeat(300_000);
    net.say(client, &set("a", 0, &data));
    assert_eq!(net.asked(2), "delete a\r\n".to_owned() + &set("a", 60, &data));
    net.answer(2, "NOT_FOUND\r\nSTORED\r\n");
    assert_eq!(net.got(client), "STORED\r\n");
}

#[test]
fn while_one_of_the_gutter_is_away_another_one_has_its_keys_and_begins_without_old_ones() {
    let (mut net, client) = away(ejection());
    set_gutter(&mut net, &["gutter0", "gutter1"]);
    net.say(client, &set("a", 9, "1"));
    assert_eq!(net.asked(2), "delete a\r\n".to_owned() + &set("a", 9, "1"));
    net.answer(2, "NOT_FOUND\r\nSTORED\r\n");
    net.accepts = false;
    net.close_server(2, ServerError::Reset);
    net.say(client, "get a\r\n");
    net.close_server(2, ServerError::Refused);
    net.accepts = true;
    net.say(client, &set("a", 9, "2"));
    assert_eq!(net.asked(3), "delete a\r\n".to_owned() + &set("a", 9, "2"));
    net.answer(3, "NOT_FOUND\r\nSTORED\r\n");
    // Both are probed; the server of the pool stays away, as it is not asked for.
    net.later(RETRY_MS);
    net.greeting = None;
    net.later(100);
    net.answer(2, crate::net::GREETING);
    net.later(100);
    assert!(!net.mux.is_ejected(net.mux.gutter_servers()[0]), "it has nothing to be removed");
    net.say(client, "get a\r\n");
    assert_eq!(net.asked(2), "delete a\r\nget a\r\n");
}

#[test]
fn without_a_gutter_server_that_is_used_the_client_is_told_so() {
    let (mut net, client) = away(ejection());
    net.accepts = false;
    net.say(client, "get a\r\n");
    net.close_server(2, ServerError::Refused);
    net.say(client, &("get a\r\n".to_owned() + &set("a", 0, "1")));
    assert_eq!(net.got(client), REFUSED.to_owned() + &NO_GUTTER.repeat(2));
    set_gutter(&mut net, &[]);
    net.say(client, "get a\r\n");
    assert_eq!(net.got(client), NO_GUTTER);
}

/// Another worker may use it still, or again.
#[test]
fn while_it_is_decided_about_a_gutter_server_its_requests_wait() {
    let mut net = pool(ejection(), options());
    net.mux.share_arbiter();
    let (client, server, gutter) = (net.client(), net.server(0), net.mux.gutter_servers()[0]);
    for order in [Order::Leave(ServerError::Refused), Order::GoAway] {
        net.mux.obey(server, order, 1, net.now());
    }
    net.mux.obey(gutter, Order::Leave(ServerError::Reset), 1, net.now());
    net.say(client, "get a\r\n");
    assert_eq!((net.asked(2), net.got(client)), (String::new(), String::new()));
    net.mux.obey(gutter, Order::GoAway, 1, net.now());
    net.settle_now();
    assert_eq!(net.got(client), NO_GUTTER);
    net.mux.obey(gutter, Order::Close(Share::ALL), 2, net.now());
    net.say(client, "get a\r\n");
    assert_eq!((net.asked(2), net.got(client)), (String::new(), String::new()));
    net.mux.obey(gutter, Order::Return, 2, net.now());
    net.settle_now();
    assert_eq!(net.asked(2), "delete a\r\nget a\r\n");
}

/// No client begins anything there that would have to end first.
#[test]
fn a_gutter_server_is_drained_at_once() {
    let mut net = pool(ejection(), options());
    net.mux.share_arbiter();
    let gutter = net.mux.gutter_servers()[0];
    net.mux.obey(gutter, Order::Drain, 3, net.now());
    net.settle_now();
    net.later(1);
    assert_eq!(net.mux.next_report(), Some((gutter, Report::Done(3))));
}

#[test]
fn a_share_of_servers_that_may_be_away_is_of_the_pool_or_of_the_gutter() {
    let half = Ejection { ejected_max: 50, ..ejection() };
    let (mut net, client) = away(half);
    net.accepts = false;
    net.say(client, "get a\r\n");
    net.close_server(2, ServerError::Refused);
    let kept = Event::Kept { server: net.mux.gutter_servers()[0], error: ServerError::Refused };
    assert!(net.events.contains(&kept), "one of one is too many: {:?}", net.events);
    set_gutter(&mut net, &["gutter0", "gutter1"]);
    net.say(client, "get a\r\n");
    net.close_server(2, ServerError::Refused);
    assert!(net.mux.is_ejected(net.mux.gutter_servers()[0]), "one of two is not");
}

#[test]
fn a_gutter_that_changes_while_a_server_is_away_begins_without_old_values() {
    let (mut net, client) = away(ejection());
    net.say(client, &set("a", 9, "1"));
    net.answer(2, "NOT_FOUND\r\nSTORED\r\n");
    net.asked(2);
    set_gutter(&mut net, &["gutter0", "other"]);
    net.say(client, "get a\r\n");
    assert_eq!(net.asked(2), "delete a\r\nget a\r\n");
    net.answer(2, "DELETED\r\nEND\r\n");
    set_gutter(&mut net, &["other"]);
    assert!(!net.is_connected(2), "nothing waits there");
    set_gutter(&mut net, &["gutter0"]);
    net.say(client, "get a\r\n");
    let new: Vec<ServerId> = net.mux.gutter_servers().to_vec();
    assert_eq!(new.len(), 1);
    assert_eq!(net.asked(2), "delete a\r\nget a\r\n");
}

#[test]
fn a_client_that_empties_all_servers_empties_the_gutter_too() {
    let (mut net, client) = away(ejection());
    net.say(client, "flush_all\r\n");
    for place in [1, 2] {
        assert_eq!(net.asked(place), "flush_all\r\n");
        net.answer(place, "OK\r\n");
    }
    assert_eq!(net.got(client), "OK\r\n");
    probed(&mut net);
    assert_eq!(net.asked(0), "flush_all\r\n");
}

#[test]
fn a_full_journal_keeps_nothing_old_and_room_for_one_request_suffices() {
    let small = Ejection { journal_max: 10, on_overflow: OnOverflow::Flush, ..ejection() };
    let limits = Limits { server_requests_max: 1, ..options().limits };
    let mut net = pool(small, Options { limits, ..options() });
    let client = net.client();
    net.accepts = false;
    net.say(client, "get a\r\n");
    net.close_server(0, ServerError::Refused);
    net.accepts = true;
    net.got(client);
    for _ in 0..2 {
        net.say(client, "get a c\r\n");
        assert_eq!(net.asked(2), "delete a\r\ndelete c\r\nget a c\r\n");
        net.answer(2, &("NOT_FOUND\r\n".repeat(2) + "END\r\n"));
        assert_eq!(net.got(client), "END\r\n");
    }
}

#[test]
fn a_write_of_redis_is_followed_by_its_cap() {
    let (mut net, client) = redis_away(HELLO_7);
    net.say(client, "SET a 1\r\nGET a\r\nDEL a\r\nHSET a f 1\r\n");
    let del = words(&["DEL", "a"]);
    assert_eq!(
        net.asked(4),
        del.clone()
            + &words(&["SET", "a", "1"])
            + &eval("a")
            + &words(&["GET", "a"])
            + &del
            + &words(&["HSET", "a", "f", "1"])
            + &eval("a"),
        "the version is not known yet"
    );
    net.answer(4, ":0\r\n+OK\r\n:1\r\n$1\r\n1\r\n:1\r\n:1\r\n:1\r\n");
    assert_eq!(net.got(client), "+OK\r\n$1\r\n1\r\n:1\r\n:1\r\n");
    net.say(client, "GETEX a PERSIST\r\n");
    assert_eq!(net.asked(4), words(&["GETEX", "a", "PERSIST"]) + &cap("a"));
    net.answer(4, "$1\r\n1\r\n:1\r\n");
    net.say(client, "MSET a 1 b 2 c 3\r\n");
    assert_eq!(net.asked(2), words(&["MSET", "b", "2"]));
    assert_eq!(
        net.asked(4),
        words(&["DEL", "c"]) + &words(&["MSET", "a", "1", "c", "3"]) + &cap("a") + &cap("c")
    );
    net.answer(2, "+OK\r\n");
    net.answer(4, ":0\r\n+OK\r\n:1\r\n:1\r\n");
    net.say(client, "RENAME a c\r\nEVAL s 2 a c\r\n");
    assert_eq!(
        net.asked(4),
        words(&["RENAME", "a", "c"])
            + &cap("a")
            + &cap("c")
            + &words(&["EVAL", "s", "2", "a", "c"])
            + &cap("a")
            + &cap("c")
    );
    net.answer(4, "+OK\r\n:0\r\n:1\r\n$1\r\ns\r\n:0\r\n:1\r\n");
    assert_eq!(net.got(client), "$1\r\n1\r\n+OK\r\n+OK\r\n$1\r\ns\r\n");
    assert_eq!(net.mux.requests_in_flight(), 0);
}

/// A request that moved with its memory would come behind its cap.
#[test]
fn a_large_write_of_redis_comes_before_its_cap() {
    let (mut net, client) = redis_away(HELLO_7);
    net.say(client, "GET a\r\n");
    net.answer(4, ":0\r\n$-1\r\n");
    net.asked(4);
    for len in [300_000, 300_001, 300_002] {
        let set = words(&["SET", "a", &"x".repeat(len)]);
        net.say(client, &set);
        let sent = net.asked(4);
        assert!(sent == set + &cap("a"), "{}", &sent[..sent.len().min(200)]);
        net.answer(4, "+OK\r\n:1\r\n");
    }
}

fn eval(key: &str) -> String {
    let script = "local t=redis.call('PTTL',KEYS[1]) if t<0 or t>tonumber(ARGV[1]) then \
        return redis.call('PEXPIRE',KEYS[1],ARGV[1]) end return 0";
    words(&["EVAL", script, "1", key, "60000"])
}

#[test]
fn a_redis_that_can_not_compare_gets_a_script() {
    let (mut net, client) = redis_away(HELLO_6);
    net.say(client, "GET a\r\n");
    net.answer(4, ":0\r\n$-1\r\n");
    net.asked(4);
    net.say(client, "SET a 1\r\n");
    assert_eq!(net.asked(4), words(&["SET", "a", "1"]) + &eval("a"));
}

#[test]
fn what_may_be_without_its_cap_is_removed() {
    let (mut net, client) = redis_away(HELLO_7);
    net.say(client, "GET a\r\n");
    net.answer(4, ":0\r\n$-1\r\n");
    for _ in 0..2 {
        net.asked(4);
        net.say(client, "SET a 1\r\n");
        assert_eq!(net.asked(4), words(&["SET", "a", "1"]) + &cap("a"));
        net.answer(4, "+OK\r\n-NOPERM no\r\n");
        assert_eq!(net.asked(4), words(&["DEL", "a"]));
        net.answer(4, ":1\r\n");
    }
    let gutter = net.mux.gutter_servers()[0];
    let refused = Event::CapRefused { server: gutter };
    assert_eq!(net.events.iter().filter(|event| **event == refused).count(), 1, "once");
    assert_eq!(net.mux.server_stats(gutter).more.caps_refused.read(), 2);
    // The connection is lost behind the write: the server is ejected, and returns without the key.
    net.say(client, "SET a 1\r\n");
    net.asked(4);
    net.close_server(4, ServerError::Reset);
    assert!(net.mux.is_ejected(gutter));
    probed(&mut net);
    assert_eq!(net.asked(4), words(&["DEL", "a"]));
    net.answer(4, ":1\r\n");
    assert!(!net.mux.is_ejected(gutter));
}

#[test]
fn what_lost_its_cap_is_removed_before_its_server_returns_though_nothing_else_happens() {
    let (mut net, client) = redis_away(crate::net::HELLO);
    net.mux.share_arbiter();
    net.say(client, &words(&["SET", "a", "1"]));
    net.asked(4);
    net.answer(4, ":0\r\n+OK\r\n");
    assert_eq!(net.got(client), "+OK\r\n", "the cap is on its way");
    while net.mux.next_report().is_some() {}
    let (gutter, now) = (net.mux.gutter_servers()[0], net.now());
    let leave = Order::Leave(ServerError::TimedOut);
    for order in [leave, Order::GoAway, Order::Disconnect, Order::Replay] {
        net.mux.obey(gutter, order, 9, now);
    }
    net.settle_now();
    assert_eq!(net.asked(4), words(&["DEL", "a"]));
    assert_eq!(net.mux.next_report(), Some((gutter, Report::Done(9))), "it was left");
    assert_eq!(net.mux.next_report(), None, "the key is not removed yet");
    net.answer(4, ":1\r\n");
    assert_eq!(net.mux.next_report(), Some((gutter, Report::Done(9))));
}

#[test]
fn what_lost_its_cap_at_a_server_that_is_used_on_is_removed_at_once() {
    let mut net = pool(Ejection { failure_limit: 3, ..ejection() }, redis_options());
    let client = net.client();
    net.accepts = false;
    for _ in 0..3 {
        net.say(client, "GET a\r\n");
        net.close_server(0, ServerError::Refused);
    }
    net.accepts = true;
    net.got(client);
    net.say(client, "SET a 1\r\n");
    net.asked(4);
    net.close_server(4, ServerError::Reset);
    assert_eq!(net.asked(4), words(&["DEL", "a"]));
    net.answer(4, ":1\r\n");
    assert!(!net.mux.is_ejected(net.mux.gutter_servers()[0]));
}

/// It is slow, which alone is no failure.
#[test]
fn a_server_that_does_not_remove_in_time_what_lost_its_cap_is_ejected_and_returns_without_it() {
    let (mut net, client) = redis_away(HELLO_7);
    net.say(client, "GET a\r\n");
    net.answer(4, ":0\r\n$-1\r\n");
    net.say(client, "SET a 1\r\n");
    net.asked(4);
    // The reply of the write comes, and nothing else in time.
    net.later(390);
    net.answer(4, "+OK\r\n");
    net.later(10);
    assert_eq!(net.asked(4), words(&["DEL", "a"]));
    net.later(190);
    net.answer(4, ":1\r\n");
    let gutter = net.mux.gutter_servers()[0];
    assert!(!net.mux.is_ejected(gutter));
    net.later(210);
    assert!(net.mux.is_ejected(gutter));
    for ms in [RETRY_MS, 100, 100] {
        net.later(ms);
    }
    assert_eq!(net.asked(4), words(&["DEL", "a"]));
    net.answer(4, ":1\r\n");
    assert!(!net.mux.is_ejected(gutter));
    net.leave(client);
    assert!(net.mux.memory() < 300, "only the journal of the server that is away is left");
}

#[test]
fn a_server_that_is_used_on_is_cleaned_when_it_answers_again() {
    let half = Ejection { ejected_max: 50, ..ejection() };
    let mut mux = engine(2, redis_options(), Some(half));
    let (ring, stats) = gutter_ring(&["gutter0"]);
    mux.set_gutter(ring, &stats, |_| true);
    let mut net = Net::with(mux);
    let client = net.client();
    net.accepts = false;
    net.say(client, "GET a\r\n");
    net.close_server(0, ServerError::Refused);
    net.accepts = true;
    for key in ["a", "c"] {
        net.say(client, &format!("SET {key} 1\r\n"));
        net.asked(4);
        net.close_server(4, ServerError::Reset);
    }
    let gutter = net.mux.gutter_servers()[0];
    assert!(!net.mux.is_ejected(gutter), "one of one is too many");
    net.say(client, "SET e 1\r\n");
    let first = net.asked(4);
    assert!(first.ends_with(&eval("e")), "{first}");
    net.answer(4, ":0\r\n+OK\r\n:1\r\n");
    for key in ["a", "c"] {
        assert_eq!(net.asked(4), words(&["DEL", key]));
        net.answer(4, ":1\r\n");
    }
    assert_eq!(net.asked(4), "");
    assert_eq!(net.mux.server_stats(gutter).more.journal_bytes.read(), 0);
}

#[test]
fn what_names_no_key_is_refused_while_the_only_server_is_away() {
    let mut mux = engine(1, redis_options(), Some(ejection()));
    let (ring, stats) = gutter_ring(&["gutter0"]);
    mux.set_gutter(ring, &stats, |_| true);
    let mut net = Net::with(mux);
    let client = net.client();
    net.accepts = false;
    net.say(client, "GET a\r\n");
    net.close_server(0, ServerError::Refused);
    net.accepts = true;
    net.got(client);
    net.say(client, "EVAL s 0\r\n");
    assert!(net.got(client).starts_with("-"), "a script may write any key");
    assert_eq!(net.asked(2), "");
}

#[test]
fn scripts_are_loaded_in_the_gutter_and_its_keys_are_not_counted() {
    let mut net = pool(ejection(), redis_options());
    let client = net.client();
    net.say(client, "SCRIPT LOAD s\r\n");
    for place in [0, 2, 4] {
        assert_eq!(net.asked(place), words(&["SCRIPT", "LOAD", "s"]));
        net.answer(place, "$1\r\nh\r\n");
    }
    net.say(client, "DBSIZE\r\n");
    for place in [0, 2] {
        assert_eq!(net.asked(place), words(&["DBSIZE"]));
        net.answer(place, ":2\r\n");
    }
    assert_eq!((net.asked(4), net.got(client)), (String::new(), "$1\r\nh\r\n:4\r\n".to_owned()));
}
