//! Channels: confirmations, messages between replies, and how a subscription ends.

use super::{CROSS_SHARD, OK, TIMED_OUT, confirmation, message, requests};
use crate::net::{Net, TIMEOUT_MS, engine, redis_options};
use nuthatch_core::error::ServerError;
use nuthatch_core::limits::Limits;
use nuthatch_core::mux::{ClientId, Options};
use nuthatch_core::redis::Settings;
use std::sync::Arc;

const OWN: usize = 4;

/// A client of two servers that has subscribed to `a`.
fn subscribed() -> (Net, ClientId) {
    let mut net = Net::redis(2);
    let client = net.client();
    net.say(client, &requests("SUBSCRIBE a"));
    assert_eq!(net.asked(OWN), requests("SUBSCRIBE a"));
    net.answer(OWN, &confirmation("subscribe", "a", 1));
    assert_eq!(net.got(client), confirmation("subscribe", "a", 1));
    (net, client)
}

#[test]
fn each_channel_is_confirmed_and_messages_come_between() {
    for pieces in [1, 5, 1000] {
        let (mut net, client) = subscribed();
        net.say(client, &requests("SUBSCRIBE c e;PING;PING x"));
        let confirmed = confirmation("subscribe", "c", 2) + &confirmation("subscribe", "e", 3);
        let all = message("a", "1") + &message("a", "2") + &confirmed;
        for piece in all.as_bytes().chunks(pieces) {
            net.answer(OWN, std::str::from_utf8(piece).expect("text"));
        }
        let pong = |text| format!("*2\r\n$4\r\npong\r\n{}", super::bulk(text));
        let expected = message("a", "1") + &message("a", "2") + &confirmed + &pong("") + &pong("x");
        assert_eq!(net.got(client), expected, "pieces of {pieces}");
        net.answer(OWN, &message("e", "3"));
        assert_eq!(net.got(client), message("e", "3"));
        net.check_idle();
    }
}

#[test]
fn a_subscriber_of_resp2_may_ask_for_nothing_else() {
    let (mut net, client) = subscribed();
    net.say(client, &requests("GET a"));
    let expected = "-ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / \
        RESET are allowed in this context\r\n";
    assert_eq!(net.got(client), expected);
    assert_eq!(net.asked(0), "");
}

#[test]
fn a_subscriber_of_resp3_asks_over_the_shared_connections() {
    let mut net = Net::redis(2);
    let client = net.client();
    net.say(client, &requests("HELLO 3;SUBSCRIBE a"));
    net.got(client);
    let push = |text: String| text.replacen('*', ">", 1);
    let confirmed = push(confirmation("subscribe", "a", 1));
    net.answer(OWN, &(confirmed.clone() + &push(message("a", "1"))));
    net.say(client, &requests("GET a;GET b"));
    assert_eq!([net.asked(1), net.asked(3)], [requests("GET a"), requests("GET b")]);
    net.answer(OWN, &push(message("a", "2")));
    net.answer(3, "+b\r\n");
    net.answer(OWN, &push(message("a", "3")));
    net.answer(1, "+a\r\n");
    let messages: String = ["1", "2", "3"].map(|text| push(message("a", text))).concat();
    assert_eq!(net.got(client), confirmed + &messages + "+a\r\n+b\r\n");
    net.check_idle();
}

#[test]
fn unsubscribing_from_all_channels_frees_the_connection() {
    let (mut net, client) = subscribed();
    net.say(client, &requests("SUBSCRIBE c;UNSUBSCRIBE"));
    assert_eq!(net.asked(OWN), requests("SUBSCRIBE c"), "how many there are is not known yet");
    net.answer(OWN, &confirmation("subscribe", "c", 2));
    assert_eq!(net.asked(OWN), requests("UNSUBSCRIBE"));
    let ended = confirmation("unsubscribe", "a", 1) + &confirmation("unsubscribe", "c", 0);
    net.answer(OWN, &ended);
    assert_eq!(net.got(client), confirmation("subscribe", "c", 2) + &ended);
    net.say(client, &requests("GET a"));
    assert_eq!(net.asked(0), requests("GET a"));
    net.answer(0, "$-1\r\n");
    let other = net.client();
    net.say(other, &requests("BLPOP a 0"));
    assert_eq!(net.asked(OWN), requests("BLPOP a 0"), "the connection is used again");
}

#[test]
fn what_depends_on_the_subscriptions_waits_until_they_are_known() {
    for (behind, conn) in [("GET c", 0), ("BLPOP b 0", OWN + 1)] {
        let (mut net, client) = subscribed();
        net.say(client, &requests(&format!("UNSUBSCRIBE a;PING;{behind}")));
        net.answer(OWN, &confirmation("unsubscribe", "a", 0));
        assert_eq!(net.got(client), confirmation("unsubscribe", "a", 0) + "+PONG\r\n");
        assert_eq!(net.asked(conn), requests(behind));
    }
    let (mut net, client) = subscribed();
    net.say(client, &requests("UNSUBSCRIBE a;HELLO 3;UNSUBSCRIBE a"));
    net.answer(OWN, &confirmation("unsubscribe", "a", 0));
    let got = net.got(client);
    assert!(got.contains(":0\r\n%7\r\n") && got.contains(">3\r\n"), "{got}");
    net.check_idle();
}

#[test]
fn a_resp3_client_may_be_bound_to_another_server_once_its_last_channel_ends() {
    let mut net = Net::redis(2);
    let client = net.client();
    net.say(client, &requests("HELLO 3;SUBSCRIBE a;UNSUBSCRIBE a;BLPOP b 0"));
    net.got(client);
    net.answer(OWN, &confirmation("subscribe", "a", 1).replace('*', ">"));
    net.answer(OWN, &confirmation("unsubscribe", "a", 0).replace('*', ">"));
    assert_eq!(net.asked(OWN + 1), requests("BLPOP b 0"));
}

#[test]
fn unsubscribing_from_one_channel_leaves_the_others() {
    let (mut net, client) = subscribed();
    net.say(client, &requests("UNSUBSCRIBE b"));
    assert_eq!(net.asked(OWN), requests("UNSUBSCRIBE b"), "where the client's channels are");
    net.answer(OWN, &confirmation("unsubscribe", "b", 1));
    net.answer(OWN, &message("a", "1"));
    assert_eq!(net.got(client), confirmation("unsubscribe", "b", 1) + &message("a", "1"));
}

#[test]
fn a_client_without_channels_is_told_so() {
    let mut net = Net::redis(2);
    let client = net.client();
    net.say(client, &requests("UNSUBSCRIBE;UNSUBSCRIBE a b;PUNSUBSCRIBE"));
    let expected = "*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n".to_owned()
        + &confirmation("unsubscribe", "a", 0)
        + &confirmation("unsubscribe", "b", 0)
        + "*3\r\n$12\r\npunsubscribe\r\n$-1\r\n:0\r\n";
    assert_eq!(net.got(client), expected);
    assert_eq!(net.mux.conns().len(), 4);
}

#[test]
fn a_reset_closes_the_connection_and_the_client_is_a_new_one() {
    for said in ["SUBSCRIBE a", "WATCH a", "MULTI;SET a 1"] {
        let mut net = Net::redis(2);
        let client = net.client();
        net.say(client, &requests(said));
        let conn = net.conn(OWN);
        net.say(client, &requests("RESET;GET a"));
        assert!(net.mux.has_conn(conn), "{said}: it waits for the replies before it");
        let replies = match said {
            "SUBSCRIBE a" => confirmation("subscribe", "a", 1),
            "WATCH a" => OK.to_owned(),
            _ => "+OK\r\n+QUEUED\r\n".to_owned(),
        };
        net.answer(OWN, &replies);
        assert!(!net.mux.has_conn(conn) && !net.is_connected(OWN), "{said}");
        assert_eq!(net.asked(0), requests("GET a"));
        net.answer(0, "$-1\r\n");
        assert_eq!(net.got(client), replies + "+RESET\r\n$-1\r\n");
        net.check_idle();
    }
}

#[test]
fn channels_of_different_servers_are_refused() {
    let (mut net, client) = subscribed();
    net.say(client, &requests("SUBSCRIBE b;SUBSCRIBE c d"));
    assert_eq!(net.got(client), CROSS_SHARD.repeat(2));
    let other = net.client();
    net.say(other, &requests("SUBSCRIBE a b;SUBSCRIBE b"));
    assert_eq!(net.got(other), CROSS_SHARD);
    assert_eq!(net.asked(OWN + 1), requests("SUBSCRIBE b"));
}

#[test]
fn patterns_need_a_pool_of_one_server() {
    let mut net = Net::redis(2);
    let client = net.client();
    net.say(client, &requests("PSUBSCRIBE *"));
    assert!(net.got(client).starts_with("-ERR PSUBSCRIBE needs a pool of one server"));
    let mut net = Net::redis(1);
    let client = net.client();
    net.say(client, &requests("PSUBSCRIBE *"));
    let confirmed = confirmation("psubscribe", "*", 1);
    let message = super::array("pmessage * a 1");
    net.answer(2, &(confirmed.clone() + &message));
    assert_eq!(net.got(client), confirmed + &message);
}

#[test]
fn there_are_no_more_connections_for_one_client_alone_than_the_pool_allows() {
    let settings = Settings { dedicated_max: 1, ..Settings::default() };
    let options = Options { redis: Arc::new(settings), ..redis_options() };
    let mut net = Net::with(engine(2, options, None));
    let (one, two) = (net.client(), net.client());
    net.say(one, &requests("SUBSCRIBE a"));
    net.say(two, &requests("BLPOP a 0;MULTI;SET a 1;EXEC"));
    const FULL: &str = "-ERR no server connection is free for this client alone: \
        dedicated_connections_max of this pool is reached\r\n";
    assert_eq!(net.got(two), [FULL, OK, FULL, super::ABORTED].concat());
    assert_eq!(net.mux.stats().limit_dedicated.read(), 2);
    net.answer(OWN, &confirmation("subscribe", "a", 1));
    net.say(one, &requests("UNSUBSCRIBE a"));
    net.answer(OWN, &confirmation("unsubscribe", "a", 0));
    let idle = net.conn(OWN);
    net.say(two, &requests("BLPOP b 0"));
    assert!(!net.mux.has_conn(idle), "an idle connection to another server makes room");
    assert_eq!(net.mux.conns().len(), OWN + 1);
    assert_eq!(net.asked(OWN + 1), requests("BLPOP b 0"));
}

#[test]
fn a_subscriber_whose_connection_is_lost_is_closed() {
    let (mut net, client) = subscribed();
    net.close_server(OWN, ServerError::Closed);
    assert!(!net.is_open(client));
    net.check_idle();
}

#[test]
fn a_subscriber_that_does_not_read_is_closed_and_no_one_else() {
    let limits = Limits { client_backlog_max: 10_000, ..Limits::default() };
    let mut net = Net::with(engine(2, Options { limits, ..redis_options() }, None));
    let (client, other) = (net.client(), net.client());
    net.say(client, &requests("SUBSCRIBE a"));
    net.answer(OWN, &confirmation("subscribe", "a", 1));
    net.set_reading(client, false);
    let text = "x".repeat(1000);
    for _ in 0..20 {
        if net.is_connected(OWN) {
            net.answer(OWN, &message("a", &text));
        }
    }
    assert!(!net.is_open(client) && net.is_open(other));
    assert_eq!(net.mux.stats().limit_client_backlog.read(), 1);
    net.check_idle();
}

#[test]
fn a_client_that_no_longer_knows_its_channels_can_still_end_them() {
    let mut net = Net::redis(2);
    let client = net.client();
    net.say(client, &requests("SUBSCRIBE a"));
    net.later(TIMEOUT_MS);
    assert_eq!(net.got(client), TIMED_OUT);
    net.say(client, &requests("UNSUBSCRIBE"));
    assert_eq!(net.got(client), TIMED_OUT, "how many there are is not known");
    net.answer(OWN, &confirmation("subscribe", "a", 1));
    net.say(client, &requests("UNSUBSCRIBE"));
    net.answer(OWN, &confirmation("unsubscribe", "a", 0));
    assert_eq!(net.got(client), confirmation("unsubscribe", "a", 0));
    net.check_idle();
}

/// A second error would be taken for the reply to the client's next request.
#[test]
fn a_request_of_several_replies_gets_one_error_for_those_that_do_not_come() {
    let confirmed = [1, 2, 3].map(|count| confirmation("subscribe", "c", count));
    for came in 0..3 {
        let came = confirmed[..came].concat();
        let (mut net, client) = subscribed();
        net.say(client, &requests("SUBSCRIBE c c c;SUBSCRIBE e e"));
        net.answer(OWN, &came);
        net.later(TIMEOUT_MS);
        assert_eq!(net.got(client), came.clone() + &TIMED_OUT.repeat(2));
        net.answer(OWN, &confirmed.concat()[came.len()..]);
        net.answer(OWN, &confirmation("subscribe", "e", 4).repeat(2));
        net.say(client, &requests("SUBSCRIBE a"));
        net.answer(OWN, &confirmation("subscribe", "a", 4));
        assert_eq!(net.got(client), confirmation("subscribe", "a", 4), "late replies are dropped");
        net.check_idle();

        let (mut net, client) = subscribed();
        net.say(client, &requests("SUBSCRIBE c c c;SUBSCRIBE e e"));
        net.answer(OWN, &came);
        net.close_server(OWN, ServerError::Reset);
        let reset = "-ERR Connection reset by peer\r\n";
        assert_eq!(net.got(client), came + &reset.repeat(2));
        net.check_idle();
    }
}

#[test]
fn a_client_may_say_no_more_and_still_gets_what_it_asked_for() {
    let (mut net, client) = subscribed();
    net.say(client, &requests("UNSUBSCRIBE a"));
    net.half_close(client);
    assert!(net.is_open(client));
    net.answer(OWN, &confirmation("unsubscribe", "a", 0));
    assert_eq!(net.got(client), confirmation("unsubscribe", "a", 0));
    assert!(!net.is_open(client));
    net.check_idle();
}
