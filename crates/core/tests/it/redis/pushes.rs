//! RESP2 and RESP3 side by side, and what servers send although nobody asked.

use super::{DESYNC, OK, requests};
use crate::net::{Net, TIMEOUT_MS};
use nuthatch_core::mux::Event;

const PUSH: &str = ">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n";

#[test]
fn clients_of_both_versions_have_different_connections() {
    let mut net = Net::redis(2);
    let (old, new) = (net.client(), net.client());
    net.say(new, &requests("HELLO 3"));
    assert!(net.got(new).starts_with("%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n"));
    net.say(old, &requests("GET a"));
    net.say(new, &requests("GET a;MGET a b"));
    assert_eq!([net.greeted(0), net.greeted(1)], [requests("HELLO 2"), requests("HELLO 3")]);
    assert_eq!([net.asked(0), net.asked(1)], [requests("GET a"), requests("GET a;MGET a")]);
    assert_eq!([net.asked(2), net.asked(3)], [String::new(), requests("MGET b")]);
    net.answer(0, "$-1\r\n");
    net.answer(1, "_\r\n*1\r\n_\r\n");
    net.answer(3, "*1\r\n,1.5\r\n");
    assert_eq!(net.got(old), "$-1\r\n");
    assert_eq!(net.got(new), "_\r\n*2\r\n_\r\n,1.5\r\n");
    net.check_idle();
}

#[test]
fn a_change_of_the_version_waits_for_the_replies_before_it() {
    let mut net = Net::redis(2);
    let client = net.client();
    net.say(client, &requests("GET a;GET b;HELLO 3;GET a"));
    assert_eq!([net.asked(0), net.asked(1)], [requests("GET a"), String::new()]);
    net.answer(0, "$-1\r\n");
    assert_eq!((net.got(client), net.asked(1)), ("$-1\r\n".to_owned(), String::new()));
    net.answer(2, "$-1\r\n");
    assert!(net.got(client).starts_with("$-1\r\n%7\r\n"));
    assert_eq!([net.asked(0), net.asked(1)], [String::new(), requests("GET a")]);
    net.answer(1, "_\r\n");
    assert_eq!(net.got(client), "_\r\n");
    net.check_idle();
}

#[test]
fn hello_without_another_version_is_answered_at_once_and_in_order() {
    let mut net = Net::redis(1);
    let client = net.client();
    net.say(client, &requests("GET a;HELLO 2;HELLO 4;GET b"));
    assert_eq!(net.asked(0), requests("GET a;GET b"));
    net.answer(0, "$-1\r\n$1\r\n2\r\n");
    let got = net.got(client);
    assert!(got.starts_with("$-1\r\n*14\r\n"), "{got}");
    assert!(got.ends_with("-NOPROTO unsupported protocol version\r\n$1\r\n2\r\n"), "{got}");
    net.check_idle();
}

#[test]
fn a_push_that_nobody_asked_for_is_dropped() {
    for pieces in [1, 2, 7, 100] {
        let mut net = Net::redis(1);
        let client = net.client();
        net.say(client, &requests("HELLO 3;GET a;GET b"));
        net.got(client);
        let replies = [PUSH, "+1\r\n", PUSH, PUSH, "+2\r\n", PUSH].concat();
        for piece in replies.as_bytes().chunks(pieces) {
            net.answer(1, std::str::from_utf8(piece).expect("text"));
        }
        assert_eq!(net.got(client), "+1\r\n+2\r\n", "pieces of {pieces}");
        net.say(client, &requests("GET c"));
        net.answer(1, &(PUSH.to_owned() + "+3\r\n"));
        assert_eq!(net.got(client), "+3\r\n");
        assert!(net.is_connected(1));
        net.check_idle();
    }
}

#[test]
fn a_push_may_be_cut_by_the_request_that_follows_it() {
    let mut net = Net::redis(1);
    let client = net.client();
    net.say(client, &requests("GET a"));
    net.answer(0, OK);
    for cut in 1..PUSH.len() {
        net.answer(0, &PUSH[..cut]);
        net.say(client, &requests("GET a"));
        net.answer(0, &(PUSH[cut..].to_owned() + "+1\r\n"));
        let got = net.got(client);
        assert!(got.ends_with("+1\r\n") && net.is_connected(0), "{got:?} at {cut}");
    }
    net.check_idle();
}

#[test]
fn a_reply_that_nobody_asked_for_closes_its_connection() {
    for stray in [OK, ":1\r\n", "*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r\n", "-ERR bye\r\n"] {
        let mut net = Net::redis(1);
        let client = net.client();
        net.say(client, &requests("SET a 1"));
        net.answer(0, &(OK.to_owned() + stray));
        assert_eq!(net.got(client), OK);
        assert!(!net.is_connected(0), "{stray}");
        assert_eq!(net.events, [Event::Desync { server: net.server(0), requests: 0 }]);
        net.say(client, &requests("GET a"));
        net.answer(0, "$1\r\n1\r\n");
        assert_eq!(net.got(client), "$1\r\n1\r\n");
        net.check_idle();
    }
}

#[test]
fn a_late_reply_is_dropped_and_those_behind_it_are_right() {
    let mut net = Net::redis(1);
    let client = net.client();
    net.say(client, &requests("GET a"));
    net.later(TIMEOUT_MS);
    assert_eq!(net.got(client), super::TIMED_OUT);
    net.say(client, &requests("GET b"));
    net.answer(0, "$1\r\n1\r\n");
    assert_eq!(net.got(client), "");
    net.answer(0, "$1\r\n2\r\n");
    assert_eq!(net.got(client), "$1\r\n2\r\n");
    net.check_idle();
}

#[test]
fn bytes_that_are_not_resp_close_their_connection() {
    for lie in ["VALUE a 0 1\r\n", "$-2\r\n", "$1\r\nab\r\n", "+a\rb\r\n", "*1x\r\n", "\r\n"] {
        let mut net = Net::redis(2);
        let client = net.client();
        net.say(client, &requests("GET a;GET b"));
        net.answer(0, lie);
        net.answer(2, "$1\r\n2\r\n");
        assert_eq!(net.got(client), DESYNC.to_owned() + "$1\r\n2\r\n", "{lie}");
        assert!(!net.is_connected(0) && net.is_connected(2));
        net.check_idle();
    }
}
