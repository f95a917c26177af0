//! What is said on a new server connection, and what becomes of requests if the server refuses it.

use super::{OK, requests};
use crate::net::{HELLO, Net, engine, redis_options};
use nuthatch_core::error::ServerError;
use nuthatch_core::mux::{Event, Options};
use nuthatch_core::redis::Settings;
use std::sync::Arc;

/// A pool with a user, a password and a database, and a client that has given the password.
fn guarded() -> (Net, nuthatch_core::mux::ClientId) {
    let settings = Settings {
        user: Some(b"oak"[..].into()),
        password: Some(b"acorn"[..].into()),
        db: 3,
        ..Settings::default()
    };
    let options = Options { redis: Arc::new(settings), ..redis_options() };
    let mut net = Net::with(engine(2, options, None));
    net.greeting = None;
    let client = net.client();
    net.say(client, &requests("AUTH oak acorn"));
    assert_eq!(net.got(client), OK);
    (net, client)
}

#[test]
fn a_request_waits_until_the_server_has_let_the_proxy_in() {
    let (mut net, client) = guarded();
    net.say(client, &requests("GET a"));
    assert_eq!(net.greeted(0), requests("AUTH oak acorn;HELLO 2;SELECT 3"));
    for part in [OK, HELLO] {
        net.answer(0, part);
        assert_eq!(net.asked(0), "");
    }
    net.answer(0, OK);
    assert_eq!(net.asked(0), requests("GET a"));
    net.answer(0, "$-1\r\n");
    assert_eq!(net.got(client), "$-1\r\n");
    net.check_idle();
}

#[test]
fn a_server_that_needs_no_password_is_asked_for_its_protocol_alone() {
    let mut net = Net::redis(2);
    let client = net.client();
    net.say(client, &requests("GET a"));
    assert_eq!(net.greeted(0), requests("HELLO 2"));
    assert_eq!(net.asked(0), requests("GET a"));
}

#[test]
fn a_server_is_used_whatever_it_says_about_its_version() {
    for answer in [
        "-ERR unknown command `HELLO`, with args beginning with: `2`, \r\n",
        "*0\r\n",
        "*2\r\n$7\r\nversion\r\n+7.0.15\r\n",
        "*2\r\n$7\r\nversion\r\n:7\r\n",
        "*2\r\n$7\r\nversion\r\n$-1\r\n",
        "*1\r\n$7\r\nversion\r\n",
    ] {
        let mut net = Net::redis(1);
        net.greeting = Some(answer);
        let client = net.client();
        net.say(client, &requests("GET a"));
        assert_eq!(net.asked(0), requests("GET a"), "{answer}");
    }
}

#[test]
fn a_refused_greeting_fails_the_requests_that_wait_for_it() {
    let hello_and = |rest: &str| format!("{OK}{HELLO}{rest}");
    for (answer, error, text) in [
        (
            "-WRONGPASS invalid username-password pair\r\n".to_owned(),
            ServerError::Login,
            "-NOAUTH the server wants another password than the proxy has\r\n",
        ),
        (
            format!("{OK}-NOAUTH HELLO must be called with the client already authenticated\r\n"),
            ServerError::Login,
            "-NOAUTH the server wants another password than the proxy has\r\n",
        ),
        (
            hello_and("-ERR DB index is out of range\r\n"),
            ServerError::Database,
            "-ERR the server refused the pool's database\r\n",
        ),
        (
            "-ERR max number of clients reached\r\n".to_owned(),
            ServerError::Full,
            "-ERR Too many open connections\r\n",
        ),
    ] {
        let (mut net, client) = guarded();
        net.say(client, &requests("GET a;GET b;MGET a b;GET c"));
        net.answer(2, &hello_and(OK));
        net.answer(2, "$1\r\n2\r\n*1\r\n$1\r\n2\r\n");
        net.answer(0, &answer);
        assert_eq!(net.got(client), format!("{text}$1\r\n2\r\n{text}{text}"), "{answer}");
        let lost = Event::ConnLost { server: net.server(0), error, clock: None, requests: 3 };
        assert_eq!(net.events, [lost], "{answer}");
        let stats = net.mux.stats();
        assert_eq!(stats.forward_error.read(), 3);
        assert_eq!(net.stats(0).more.errors[error as usize].read(), 1);
        assert!(net.is_open(client) && !net.is_connected(0) && net.is_connected(2));
        net.check_idle();
    }
}

#[test]
fn an_answer_that_is_no_reply_to_the_greeting_closes_the_connection() {
    for answer in ["VERSION 1.6.18\r\n", "HTTP/1.1 400 Bad Request\r\n", "*1\r\n$x\r\n"] {
        let mut net = Net::redis(1);
        net.greeting = None;
        let client = net.client();
        net.say(client, &requests("GET a"));
        net.answer(0, answer);
        assert_eq!(net.got(client), super::DESYNC, "{answer}");
        net.check_idle();
    }
}
