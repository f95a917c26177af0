//! A pool without servers, as before any was discovered.

use super::{REFUSED, hit};
use crate::net::{Net, engine, redis_options};
use nuthatch_core::mux::Options;
use nuthatch_core::redis::Settings;
use std::sync::Arc;

#[test]
fn every_request_gets_an_error_and_the_client_stays() {
    let mut net = Net::new(0);
    let client = net.client();
    for request in
        ["get a\r\n", "get a b\r\n", "set a 0 0 1\r\n1\r\n", "flush_all\r\n", "mg a v\r\n"]
    {
        net.say(client, request);
        assert_eq!(net.got(client), REFUSED, "{request:?}");
    }
    net.say(client, "set a 0 0 1 noreply\r\n1\r\nflush_all noreply\r\nversion\r\nget a\r\n");
    let replies = net.got(client);
    assert!(replies.ends_with(REFUSED) && replies.matches("refused").count() <= 2, "{replies}");
    net.check_idle();
}

#[test]
fn redis_requests_of_all_kinds_get_an_error() {
    let settings = Settings { allow_keys: true, dedicated_max: 1, ..Settings::default() };
    let options = Options { redis: Arc::new(settings), allow_flush: true, ..redis_options() };
    let mut net = Net::with(engine(0, options, None));
    let client = net.client();
    for request in [
        "GET a",
        "MGET a b",
        "MSET a 1 b 2",
        "SCAN 0",
        "KEYS *",
        "DBSIZE",
        "FLUSHALL",
        "SINTER a b",
        "BLPOP a 0",
        "SUBSCRIBE a",
        "WATCH a",
        "EVAL x 0",
        "TIME",
        "RANDOMKEY",
    ] {
        net.say(client, &format!("{request}\r\n"));
        let reply = net.got(client);
        assert!(reply.starts_with('-') && reply.matches('\n').count() == 1, "{request}: {reply}");
    }
    net.check_idle();
}

#[test]
fn the_first_server_serves_those_who_waited_for_it() {
    let mut net = Net::new(0);
    let client = net.client();
    net.say(client, "get a\r\n");
    assert_eq!(net.got(client), REFUSED);
    super::membership::change(&mut net, &["server0"]);
    net.say(client, "get a\r\n");
    net.answer(0, &hit("a", "1"));
    assert_eq!(net.got(client), hit("a", "1"));
    super::membership::change(&mut net, &[]);
    net.say(client, "get a\r\nflush_all\r\n");
    assert_eq!(net.got(client), REFUSED.repeat(2));
    net.check_idle();
}
