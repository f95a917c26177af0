//! Requests for every server: `SCAN` one after the other, `KEYS` and the like all at once.

use super::{DESYNC, array, bulk, requests};
use crate::net::{Net, engine, redis_options};
use nuthatch_core::mux::Options;
use nuthatch_core::redis::Settings;
use std::sync::Arc;

fn page(cursor: &str, keys: &str) -> String {
    format!("*2\r\n{}{}", bulk(cursor), array(keys))
}

#[test]
fn scan_goes_through_one_server_after_the_other() {
    let mut net = Net::redis(2);
    let client = net.client();
    for (said, conn, asked, reply, expected) in [
        ("SCAN 0 COUNT 2", 0, "SCAN 0 COUNT 2", page("17", "a c"), page("34", "a c")),
        ("SCAN 34 COUNT 2", 0, "SCAN 17 COUNT 2", page("0", "e"), page("1", "e")),
        ("SCAN 1 MATCH x*", 2, "SCAN 0 MATCH x*", page("5", ""), page("11", "")),
        ("SCAN 11", 2, "SCAN 5", page("0", "b"), page("0", "b")),
    ] {
        net.say(client, &requests(said));
        assert_eq!(net.asked(conn), requests(asked));
        net.answer(conn, &reply);
        assert_eq!(net.got(client), expected, "{said}");
    }
    net.check_idle();
}

#[test]
fn a_cursor_is_a_number() {
    let mut net = Net::redis(2);
    let client = net.client();
    net.say(client, &requests("SCAN x;SCAN -1;SCAN 18446744073709551616"));
    assert_eq!(net.got(client), "-ERR invalid cursor\r\n".repeat(3));
    net.say(client, &requests("SCAN 0"));
    net.answer(0, &page("18446744073709551615", "a"));
    assert_eq!(net.got(client), "-ERR the cursor of a server is too large\r\n");
    net.check_idle();
}

#[test]
fn a_reply_to_scan_that_is_no_page_closes_its_connection() {
    for reply in [
        "*0\r\n",
        "*1\r\n$1\r\n0\r\n",
        "*3\r\n$1\r\n0\r\n*0\r\n*0\r\n",
        "*-1\r\n",
        "*2\r\n:0\r\n*0\r\n",
        "*2\r\n$-1\r\n*0\r\n",
        "*2\r\n+\r\n*0\r\n",
        "*2\r\n*1\r\n:1\r\n*0\r\n",
        "~1\r\n$1\r\n0\r\n",
        "+OK\r\n",
    ] {
        let mut net = Net::redis(2);
        let client = net.client();
        net.say(client, &requests("SCAN 0"));
        net.answer(0, reply);
        assert_eq!(net.got(client), DESYNC, "{reply}");
        assert!(!net.is_connected(0));
        net.check_idle();
    }
}

#[test]
fn keys_and_flushes_need_a_permission() {
    const NO_FLUSH: &str = "-ERR flushing is not allowed: set allow_flush: true for this pool\r\n";
    const NO_KEYS: &str = "-ERR KEYS is not allowed, as it scans every server: set allow_keys: true \
        for this pool, or use SCAN\r\n";
    let mut net = Net::redis(2);
    let client = net.client();
    net.say(client, &requests("KEYS *;FLUSHALL;FLUSHDB ASYNC"));
    assert_eq!(net.got(client), NO_KEYS.to_owned() + NO_FLUSH + NO_FLUSH);
    assert_eq!([net.asked(0), net.asked(2)], ["", ""]);
    let settings = Settings { allow_keys: true, ..Settings::default() };
    let options = Options { redis: Arc::new(settings), allow_flush: true, ..redis_options() };
    let mut net = Net::with(engine(2, options, None));
    let client = net.client();
    net.say(client, &requests("KEYS *;FLUSHALL"));
    for conn in [0, 2] {
        assert_eq!(net.asked(conn), requests("KEYS *;FLUSHALL"));
    }
    net.answer(2, &(array("b") + "+OK\r\n"));
    net.answer(0, &(array("a c") + "+OK\r\n"));
    assert_eq!(net.got(client), array("b a c") + "+OK\r\n");
    assert_eq!(net.mux.stats().cmd_flush.read(), 1);
    net.check_idle();
}

#[test]
fn replies_of_all_servers_become_one() {
    for (request, replies, expected) in [
        ("DBSIZE", [":3\r\n", ":4\r\n"], ":7\r\n"),
        ("SCRIPT LOAD x", ["$1\r\nh\r\n", "$1\r\nh\r\n"], "$1\r\nh\r\n"),
        ("SCRIPT EXISTS h", ["*1\r\n:1\r\n", "*1\r\n:0\r\n"], "*1\r\n:0\r\n"),
        ("PUBSUB CHANNELS", ["*1\r\n$1\r\na\r\n", "*0\r\n"], "*1\r\n$1\r\na\r\n"),
    ] {
        let mut net = Net::redis(2);
        let client = net.client();
        net.say(client, &requests(request));
        assert_eq!([net.asked(0), net.asked(2)], [requests(request), requests(request)]);
        net.answer(0, replies[0]);
        net.answer(2, replies[1]);
        assert_eq!(net.got(client), expected, "{request}");
        net.check_idle();
    }
}
