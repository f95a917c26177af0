//! Servers that get their keys back one tenth after the other.

use super::{REFUSED, hit, migrating, set};
use crate::net::{Net, TIMEOUT_MS, engine, options, redis_options};
use nuthatch_core::error::ServerError;
use nuthatch_core::health::{Ejection, OnFailure, OnOverflow, Order, Report, Share};
use nuthatch_core::mux::{ClientId, Event, Options};
use nuthatch_core::redis::Settings;
use nuthatch_core::ring::{Distribution, Hash, Member, Ring};
use std::sync::Arc;
use std::time::Duration;

const RETRY_MS: u64 = 1000;
pub(super) const STEP_MS: u64 = 1000;

pub(super) const RETURNING: &str =
    "-ERR the server is returning and does not have all of its keys yet: try again later\r\n";

pub(super) fn ejection() -> Ejection {
    Ejection {
        failure_limit: 1,
        retry_timeout: Duration::from_millis(RETRY_MS),
        probes: 0,
        slow_start: 10 * Duration::from_millis(STEP_MS),
        on_failure: OnFailure::Rehash,
        journal_max: 1 << 20,
        ..Ejection::default()
    }
}

/// A pool of two servers, of which the first has a tenth of its keys.
fn warming(options: Options) -> (Net, ClientId) {
    warming_of(2, options)
}

fn warming_of(servers: usize, options: Options) -> (Net, ClientId) {
    let (mut net, client) = ejected(servers, options, ejection());
    net.later(RETRY_MS);
    assert_eq!(net.events.last(), Some(&Event::Warming { server: net.server(0) }));
    (net, client)
}

/// A pool of which the first server has refused a client's connection.
fn ejected(servers: usize, options: Options, ejection: Ejection) -> (Net, ClientId) {
    let mut net = Net::with(engine(servers, options, Some(ejection)));
    net.accepts = false;
    let client = net.client();
    let key = key_of(&net, 0);
    net.say(client, &format!("get {key}\r\n"));
    net.close_server(0, ServerError::Refused);
    assert_eq!(net.got(client), REFUSED);
    net.accepts = true;
    (net, client)
}

/// Many keys, of all servers.
pub(super) fn keys() -> impl Iterator<Item = String> {
    (0..700).map(|nth| format!("key{nth}"))
}

/// A key of a server.
pub(super) fn key_of(net: &Net, server: usize) -> String {
    let is_its = |key: &String| net.mux.ring().explain(key.as_bytes(), 0).member == server;
    keys().find(is_its).expect("each server has some")
}

/// Asks for all keys. Says which ones the first server is asked for, and which of the others were asked for the
/// first time since it has failed.
pub(super) fn ask_all(net: &mut Net, client: ClientId) -> (Vec<String>, Vec<String>) {
    let (mut back, mut away) = (Vec::new(), Vec::new());
    for key in keys() {
        net.say(client, &format!("get {key}\r\n"));
        let other = net.asked(1);
        let removal = if other.starts_with("delete ") { "NOT_FOUND\r\n" } else { "" };
        if !other.is_empty() {
            net.answer(1, &format!("{removal}END\r\n"));
        } else {
            net.asked(0);
            net.answer(0, "END\r\n");
            back.push(key);
            continue;
        }
        if !removal.is_empty() {
            away.push(key);
        }
    }
    net.got(client);
    (back, away)
}

#[test]
fn each_step_brings_a_tenth_of_the_keys_back_and_keeps_those_before() {
    let (mut net, client) = warming(options());
    let mut before: Vec<String> = Vec::new();
    let mut counts = Vec::new();
    for _ in 0..10 {
        let (now, _) = ask_all(&mut net, client);
        assert!(before.iter().all(|key| now.contains(key)));
        counts.push(now.len() - before.len());
        before = now;
        net.later(STEP_MS);
    }
    assert_eq!(net.events.last(), Some(&Event::Returned { server: net.server(0) }));
    // About half of the 700 keys are those of the first server.
    assert!((300..380).contains(&before.len()), "{before:?}");
    assert!(counts.iter().all(|count| (15..60).contains(count)), "{counts:?}");
    net.check_idle();
}

/// A key that has returned, and one that has not.
fn one_of_each(net: &mut Net, client: ClientId) -> (String, String) {
    let (back, away) = ask_all(net, client);
    (back[0].clone(), away[0].clone())
}

#[test]
fn what_is_changed_elsewhere_is_removed_before_the_key_returns_and_what_has_returned_is_not() {
    let (mut net, client) = warming(options());
    let (back, away) = one_of_each(&mut net, client);
    net.say(client, &format!("delete {away}\r\n"));
    net.answer(1, "NOT_FOUND\r\n");
    assert_eq!(net.got(client), "NOT_FOUND\r\n");
    net.say(client, &set(&back, "1"));
    assert_eq!(net.asked(0), set(&back, "1"));
    net.answer(0, "STORED\r\n");
    net.later(STEP_MS);
    assert_eq!(net.asked(0), format!("delete {away}\r\n"));
    // Meanwhile, the key that has returned does not wait.
    net.say(client, &format!("get {back}\r\n"));
    assert_eq!(net.asked(0), format!("get {back}\r\n"));
    net.answer(0, &("DELETED\r\n".to_owned() + &hit(&back, "1")));
    assert_eq!(net.got(client), "STORED\r\n".to_owned() + &hit(&back, "1"));
}

#[test]
fn a_server_that_fails_with_a_share_of_its_keys_is_left_with_all_of_them() {
    let (mut net, client) = warming(options());
    let (back, _) = one_of_each(&mut net, client);
    net.say(client, &format!("get {back}\r\n"));
    assert_eq!(net.asked(0), format!("get {back}\r\n"));
    net.close_server(0, ServerError::Reset);
    net.got(client);
    net.say(client, &format!("get {back}\r\n"));
    // What the other one has of it is of the absence before.
    assert_eq!(net.asked(1), format!("delete {back}\r\nget {back}\r\n"));
    assert_eq!(net.asked(0), "");
    let ejected = |event: &&Event| matches!(event, Event::Ejected { .. });
    assert_eq!(net.events.iter().filter(ejected).count(), 2);
}

#[test]
fn a_request_for_all_servers_goes_to_one_with_a_share_of_its_keys() {
    let (mut net, client) = warming(options());
    net.say(client, "flush_all\r\n");
    for server in [0, 1] {
        assert_eq!(net.asked(server), "flush_all\r\n");
        net.answer(server, "OK\r\n");
    }
    assert_eq!(net.got(client), "OK\r\n");
    net.later(STEP_MS);
    assert_eq!(net.asked(0), "", "it has not missed it");
}

#[test]
fn what_a_server_with_a_share_of_its_keys_has_of_the_others_moves_nowhere() {
    let (mut net, client) = warming(options());
    let (_, away) = one_of_each(&mut net, client);
    net.say(client, &format!("delete {away}\r\n"));
    net.answer(1, "NOT_FOUND\r\n");
    assert_eq!(net.got(client), "NOT_FOUND\r\n");
    migrating::migrate(&mut net, &["new"]).expect("no keys move yet");
    assert_eq!(net.asked(2), "ms nuthatch-migration 0 T1 c\r\n\r\n");
    net.answer(2, "HD c10\r\n");
    // The old server still has the value that was deleted.
    net.say(client, &format!("get {away}\r\n"));
    assert_eq!(net.asked(0), "");
    net.asked(2);
    net.answer(2, "EN\r\n");
    assert_eq!((net.asked(0), net.got(client)), (String::new(), "END\r\n".to_owned()));
}

/// Nobody stands in for a server while keys move.
#[test]
fn a_server_gets_all_of_its_keys_at_once_while_keys_move() {
    let names = ["server0", "server1", "server2"];
    let has_returned =
        |net: &Net| net.events.last() == Some(&Event::Returned { server: net.server(0) });
    // It has a tenth of them when they begin to move.
    let (mut net, _) = warming(Options { timeout: None, ..options() });
    migrating::migrate(&mut net, &names).expect("no keys move yet");
    net.later(0);
    assert!(has_returned(&net), "{:?}", net.events);
    assert!(!net.mux.is_ejected(net.server(0)));
    // It fails and comes back meanwhile.
    let fail = |net: &mut Net| {
        // Long enough after its return: it stays away no longer than the first time.
        net.later(2 * RETRY_MS);
        let client = net.client();
        let key = key_of(net, 0);
        net.say(client, &format!("get {key}\r\n"));
        net.close_server(0, ServerError::Reset);
        assert!(net.mux.is_ejected(net.server(0)));
        net.later(RETRY_MS);
    };
    fail(&mut net);
    assert!(has_returned(&net), "{:?}", net.events);
    // They move no longer.
    let (ring, stats) = migrating::ring_of(&names);
    net.mux.set_servers(ring, &stats, |_| true);
    fail(&mut net);
    assert_eq!(net.events.last(), Some(&Event::Warming { server: net.server(0) }));
}

/// A pool that begins to eject servers while keys move knows of that.
#[test]
fn a_server_gets_all_of_its_keys_at_once_if_it_is_ejected_only_since_keys_move() {
    let options = Options { timeout: None, ..options() };
    let mut net = Net::with(engine(2, options.clone(), None));
    migrating::migrate(&mut net, &["server0", "server1", "server2"]).expect("no keys move yet");
    net.mux.set_options(Options { ejection: Some(ejection()), ..options });
    let client = net.client();
    let key = key_of(&net, 0);
    net.say(client, &format!("get {key}\r\n"));
    net.close_server(0, ServerError::Reset);
    assert!(net.mux.is_ejected(net.server(0)));
    net.later(RETRY_MS);
    assert_eq!(net.events.last(), Some(&Event::Returned { server: net.server(0) }));
}

#[test]
fn a_server_that_is_kept_has_the_share_that_it_had() {
    let (mut net, client) = warming(options());
    let (_, away) = one_of_each(&mut net, client);
    let now = net.now();
    for order in [Order::Leave(ServerError::Reset), Order::Keep] {
        net.mux.obey(net.server(0), order, 1, now);
    }
    net.say(client, &format!("get {away}\r\n"));
    assert_eq!(net.asked(0), "");
    assert!(net.asked(1).ends_with(&format!("get {away}\r\n")));
}

#[test]
fn the_steps_of_one_server_do_not_remove_the_keys_of_another_that_is_away() {
    let (mut net, client) = warming_of(3, options());
    let now = net.now();
    let key = key_of(&net, 1);
    for order in [Order::Leave(ServerError::Reset), Order::GoAway] {
        net.mux.obey(net.server(1), order, 1, now);
    }
    let get = format!("get {key}\r\n");
    net.say(client, &get);
    assert_eq!(net.asked(2), format!("delete {key}\r\n{get}"));
    net.answer(2, "NOT_FOUND\r\nEND\r\n");
    for _ in 0..3 {
        net.later(STEP_MS);
        net.say(client, &get);
        assert_eq!(net.asked(2), get);
        net.answer(2, "END\r\n");
    }
    assert!(net.mux.is_ejected(net.server(0)));
}

/// A server that is away, of which nothing can be remembered, and a change of one of its keys.
fn forgetful(on_overflow: OnOverflow) -> (Net, ClientId) {
    let forgets = Ejection { journal_max: 10, on_overflow, ..ejection() };
    let (mut net, client) = ejected(2, options(), forgets);
    change_unnoted(&mut net, client);
    (net, client)
}

/// A key of the first server that is not among those that return first.
fn late_key() -> String {
    let (mut net, client) = warming(options());
    (0..4).for_each(|_| net.later(STEP_MS));
    let (back, mut away) = ask_all(&mut net, client);
    assert!(back.len() > 100, "{back:?}");
    away.remove(0)
}

/// Changes a key of the first server, for which the other one stands in.
fn change_unnoted(net: &mut Net, client: ClientId) {
    net.say(client, &format!("delete {}\r\n", late_key()));
    let asked = net.asked(1);
    assert!(asked.contains("delete"), "{asked:?}");
    net.answer(1, &"DELETED\r\n".repeat(asked.matches("delete").count()));
    assert_eq!(net.got(client), "DELETED\r\n");
}

#[test]
fn a_server_is_emptied_once_in_each_step_before_which_a_key_was_not_remembered() {
    let (mut net, client) = forgetful(OnOverflow::Flush);
    let server = net.server(0);
    net.later(RETRY_MS);
    assert_eq!(net.asked(0), "flush_all\r\n");
    net.answer(0, "OK\r\n");
    assert_eq!(net.events.last(), Some(&Event::Warming { server }));
    net.later(STEP_MS);
    assert_eq!(net.asked(0), "", "all is known since");
    change_unnoted(&mut net, client);
    net.later(STEP_MS);
    assert_eq!(net.asked(0), "flush_all\r\n");
    // What is changed before it is carried out is not made up for by it.
    change_unnoted(&mut net, client);
    net.answer(0, "OK\r\n");
    assert_eq!(net.asked(0), "flush_all\r\n");
    net.answer(0, "OK\r\n");
    net.later(STEP_MS);
    assert_eq!(net.asked(0), "");
}

#[test]
fn a_server_that_was_to_return_with_what_it_has_is_emptied_once_the_pool_wants_that() {
    let (mut net, _) = forgetful(OnOverflow::Return);
    net.later(RETRY_MS);
    net.later(STEP_MS);
    assert_eq!(net.asked(0), "");
    let empties =
        Ejection { on_overflow: OnOverflow::Flush, ..net.mux.options().ejection.unwrap() };
    net.mux.set_options(Options { ejection: Some(empties), ..options() });
    net.later(STEP_MS);
    assert_eq!(net.asked(0), "flush_all\r\n");
}

/// The operator has seen what was not remembered before, and nothing else.
#[test]
fn what_is_not_remembered_after_a_step_that_the_operator_wanted_is_reported_again() {
    let (mut net, client) = forgetful(OnOverflow::Stay);
    let overflows = |net: &Net| {
        let is_full = |event: &&Event| matches!(event, Event::JournalFull { .. });
        net.events.iter().filter(is_full).count()
    };
    change_unnoted(&mut net, client);
    assert_eq!(overflows(&net), 1);
    let (now, first) = (net.now(), Share::NONE.more());
    for order in [Order::Replay, Order::Close(first), Order::Warm(first)] {
        net.mux.obey(net.server(0), order, 7, now);
        net.settle_now();
    }
    change_unnoted(&mut net, client);
    assert_eq!(overflows(&net), 2);
    // That it has the same share as before is no step.
    net.mux.obey(net.server(0), Order::Warm(first), 7, now);
    change_unnoted(&mut net, client);
    assert_eq!(overflows(&net), 2);
    // Nor is it one if this worker has left the server meanwhile.
    net.mux.obey(net.server(0), Order::Leave(ServerError::Reset), 7, now);
    net.mux.obey(net.server(0), Order::Warm(first), 7, now);
    change_unnoted(&mut net, client);
    assert_eq!(overflows(&net), 2);
}

/// The reply to a removal of the absence before, which is late, says nothing of what the gutter has got since.
#[test]
fn a_removal_from_before_a_key_returned_does_not_count_in_the_next_absence() {
    let ejection = Ejection { on_failure: OnFailure::Gutter, ..ejection() };
    let options = Options { timeout: None, server_connections: 2, ..options() };
    let mut mux = engine(2, options, Some(ejection));
    let member = Member { name: b"gutter"[..].into(), weight: 1 };
    let ring = Ring::new(Distribution::Modula, Hash::Fnv1a_64, None, vec![member], 1);
    mux.set_gutter(ring, &[Arc::default()], |_| true);
    mux.share_arbiter();
    let mut net = Net::with(mux);
    let first = Share::NONE.more();
    let (now, server) = (net.now(), net.server(0));
    let obey = |net: &mut Net, orders: &[Order]| {
        for order in orders {
            net.mux.obey(server, *order, 1, now);
            net.settle_now();
        }
    };
    let leave = [Order::Leave(ServerError::Reset), Order::GoAway];
    let (one, two) = (net.client(), net.client());
    // Connections 4 and 5 lead to the gutter; the clients use one each.
    let asks = |net: &mut Net, (client, conn), key: &str| {
        net.say(client, &format!("get {key}\r\n"));
        net.asked(conn)
    };
    obey(&mut net, &[Order::Replay, Order::Close(first), Order::Warm(first)]);
    let key = keys().find(|key| {
        net.say(one, &format!("get {key}\r\n"));
        !net.asked(0).is_empty()
    });
    let key = key.expect("one of the first tenth");
    net.answer(0, "END\r\n");
    obey(&mut net, &leave);
    let with_removal = format!("delete {key}\r\nget {key}\r\n");
    assert_eq!(asks(&mut net, (one, 4), &key), with_removal);
    obey(&mut net, &[Order::Replay, Order::Close(first), Order::Warm(first)]);
    obey(&mut net, &leave);
    assert_eq!(asks(&mut net, (two, 5), &key), with_removal);
    net.answer(4, "NOT_FOUND\r\nEND\r\n");
    assert_eq!(asks(&mut net, (one, 4), &key), with_removal, "the other removal is on its way");
}

/// A command of Redis.
pub(super) fn command(words: &[&str]) -> String {
    let words: Vec<String> =
        words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
    format!("*{}\r\n{}", words.len(), words.concat())
}

/// Begins a transaction with a key. Says at which server it is, over which connection; none if it is refused.
fn begin(net: &mut Net, client: ClientId, key: &str) -> Option<(usize, usize)> {
    net.say(client, &(command(&["MULTI"]) + &command(&["SET", key, "1"])));
    let own = (4..net.mux.conns().len()).find(|conn| !net.asked(*conn).is_empty());
    if let Some(conn) = own {
        net.answer(conn, "+OK\r\n+QUEUED\r\n");
    }
    assert_eq!(net.got(client).contains(RETURNING), own.is_none());
    own.map(|conn| (usize::from(net.mux.server_of(net.conn(conn)) != net.server(0)), conn))
}

/// A pool of two Redis servers, of which the first is away.
pub(super) fn redis_away(options: Options) -> (Net, ClientId) {
    let mut net = Net::with(engine(2, options, Some(ejection())));
    net.accepts = false;
    let client = net.client();
    net.say(client, &command(&["GET", "a"]));
    net.close_server(0, ServerError::Refused);
    assert_eq!(net.got(client), "-ERR Connection refused\r\n");
    net.accepts = true;
    (net, client)
}

/// Likewise, but it has a tenth of its keys.
pub(super) fn redis_warming(options: Options) -> (Net, ClientId) {
    let (mut net, client) = redis_away(options);
    net.later(RETRY_MS);
    assert_eq!(net.events.last(), Some(&Event::Warming { server: net.server(0) }));
    (net, client)
}

/// Of the keys that have not returned, the first server may hold what was deleted elsewhere, and lacks what others
/// hold. Each server has two connections, one for each version of the protocol.
#[test]
fn what_collects_keys_of_all_servers_is_refused_until_each_has_all_of_its_keys() {
    let settings = Settings { allow_keys: true, ..Settings::default() };
    let (mut net, client) = redis_away(Options { redis: Arc::new(settings), ..redis_options() });
    let collects = [&["KEYS", "*"][..], &["DBSIZE"], &["RANDOMKEY"], &["SCAN", "0"]];
    for (stage, error) in [("away", "-ERR Connection refused\r\n"), ("warming", RETURNING)] {
        for words in collects {
            net.say(client, &command(words));
            assert_eq!(
                (net.asked(0) + &net.asked(2), net.got(client)),
                (String::new(), error.to_owned()),
                "{words:?} {stage}"
            );
        }
        // The other server shows its own keys, as it always does.
        net.say(client, &command(&["SCAN", "1"]));
        assert_eq!(net.asked(2), command(&["SCAN", "0"]));
        net.answer(2, "*2\r\n$1\r\n0\r\n*0\r\n");
        assert_eq!(net.got(client), "*2\r\n$1\r\n0\r\n*0\r\n");
        net.later(RETRY_MS);
    }
    for _ in 0..8 {
        net.later(STEP_MS);
    }
    assert_eq!(net.events.last(), Some(&Event::Returned { server: net.server(0) }));
    net.say(client, &command(&["DBSIZE"]));
    assert_eq!((net.asked(0), net.asked(2)), (command(&["DBSIZE"]), command(&["DBSIZE"])));
}

/// Two connections to each server are shared; the next one is its client's own.
#[test]
fn a_cursor_and_a_transaction_wait_while_it_is_decided_whether_their_server_is_used() {
    let scan = || (0, command(&["SCAN", "0"]), command(&["SCAN", "0"]));
    let set =
        || (4, command(&["SET", "a", "1"]), command(&["MULTI"]) + &command(&["SET", "a", "1"]));
    let refused = "-ERR Connection refused\r\n";
    for (order, is_used) in [(Order::Keep, true), (Order::GoAway, false)] {
        for (conn, said, asked) in [scan(), set()] {
            let mut net = Net::with(engine(2, redis_options(), Some(ejection())));
            net.mux.share_arbiter();
            let (client, server) = (net.client(), net.server(0));
            if conn == 4 {
                net.say(client, &command(&["MULTI"]));
                assert_eq!(net.got(client), "+OK\r\n");
            }
            net.mux.obey(server, Order::Leave(ServerError::Refused), 1, net.now());
            net.say(client, &said);
            assert_eq!(net.got(client), "", "it waits");
            net.mux.obey(server, order, 1, net.now());
            net.settle_now();
            assert_eq!(net.got(client), if is_used { "" } else { refused });
            if is_used {
                assert_eq!(net.asked(conn), asked);
            }
        }
    }
}

#[test]
fn a_transaction_with_a_command_that_waited_too_long_for_a_decision_is_not_carried_out() {
    let mut net = Net::with(engine(1, redis_options(), Some(ejection())));
    net.mux.share_arbiter();
    let client = net.client();
    net.mux.obey(net.server(0), Order::Leave(ServerError::Refused), 1, net.now());
    net.say(client, &(command(&["MULTI"]) + &command(&["PING"]) + &command(&["EXEC"])));
    assert_eq!(net.got(client), "+OK\r\n", "the command waits");
    net.later(TIMEOUT_MS);
    assert_eq!(
        net.got(client),
        "-ERR Connection timed out\r\n-EXECABORT Transaction discarded because of previous errors.\r\n"
    );
    net.say(client, &command(&["PING"]));
    assert_eq!(net.got(client), "+PONG\r\n", "the transaction is over");
}

#[test]
fn what_each_server_has_to_do_is_done_by_one_with_a_share_of_its_keys() {
    let (mut net, client) = redis_warming(Options { allow_flush: true, ..redis_options() });
    for (words, reply) in [
        (&["FLUSHALL"][..], "+OK\r\n"),
        (&["SCRIPT", "LOAD", "return 1"], "$1\r\nx\r\n"),
        (&["SCRIPT", "EXISTS", "x"], "*1\r\n:1\r\n"),
        (&["FUNCTION", "LOAD", "x"], "$1\r\nx\r\n"),
    ] {
        net.say(client, &command(words));
        for conn in [0, 2] {
            assert_eq!(net.asked(conn), command(words));
            net.answer(conn, reply);
        }
        assert_eq!(net.got(client), reply);
    }
}

#[test]
fn a_transaction_is_only_about_keys_that_have_returned() {
    let (mut net, client) = redis_warming(redis_options());
    let (mut back, mut away) = (Vec::new(), Vec::new());
    for key in keys() {
        let begun = begin(&mut net, client, &key);
        net.say(client, &command(&["DISCARD"]));
        match begun {
            Some((server, conn)) => {
                net.asked(conn);
                net.answer(conn, "+OK\r\n");
                if server == 0 {
                    back.push(key);
                }
            }
            None => away.push(key),
        }
        net.got(client);
    }
    assert!((15..60).contains(&back.len()), "{back:?}");
    assert!((250..350).contains(&away.len()), "{}", away.len());
    // Nor does a transaction at the server bring a key there that has not returned.
    let (_, conn) = begin(&mut net, client, &back[0]).expect("it has returned");
    net.say(client, &command(&["SET", &away[0], "1"]));
    assert_eq!((net.asked(conn), net.got(client)), (String::new(), RETURNING.to_owned()));
}

#[test]
fn a_server_that_is_drained_in_a_step_lets_a_transaction_end() {
    let mut net = Net::with(engine(2, redis_options(), Some(ejection())));
    net.mux.share_arbiter();
    let (now, server, first) = (net.now(), net.server(0), Share::NONE.more());
    let obey = |net: &mut Net, orders: &[Order]| {
        for order in orders {
            net.mux.obey(server, *order, 7, now);
            net.settle_now();
        }
    };
    let leave = [Order::Leave(ServerError::Refused), Order::GoAway];
    obey(
        &mut net,
        &[&leave[..], &[Order::Replay, Order::Close(first), Order::Warm(first)]].concat(),
    );
    let (client, other) = (net.client(), net.client());
    let begun = keys().find_map(|key| {
        let begun = begin(&mut net, client, &key).filter(|(server, _)| *server == 0);
        if begun.is_none() {
            net.say(client, &command(&["DISCARD"]));
            (4..net.mux.conns().len()).for_each(|conn| {
                if !net.asked(conn).is_empty() {
                    net.answer(conn, "+OK\r\n");
                }
            });
            net.got(client);
        }
        begun.map(|(_, conn)| (conn, key))
    });
    let (conn, key) = begun.expect("a key that has returned");
    while net.mux.next_report().is_some() {}
    obey(&mut net, &[Order::Replay, Order::Close(first.more())]);
    while net.mux.next_report().is_some() {}
    // Instead of more keys, this is what the arbiter orders.
    obey(&mut net, &[Order::Warm(first), Order::Drain]);
    net.later(1);
    assert_eq!(net.mux.next_report(), None, "a transaction is open");
    let begins = command(&["MULTI"]) + &command(&["SET", &key, "2"]);
    net.say(other, &begins);
    assert_eq!(net.got(other), "+OK\r\n-ERR the server is ejected by the operator\r\n");
    net.say(client, &command(&["EXEC"]));
    assert_eq!(net.asked(conn), command(&["EXEC"]));
    net.answer(conn, "*1\r\n+OK\r\n");
    assert_eq!(net.got(client), "*1\r\n+OK\r\n");
    net.later(1);
    assert_eq!(net.mux.next_report(), Some((server, Report::Done(7))));
}
