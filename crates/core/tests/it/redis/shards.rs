//! Requests of several keys that one server must have all of.

use super::{CROSS_SHARD, requests};
use crate::net::{Net, engine, redis_options};
use nuthatch_core::mux::Options;
use nuthatch_core::redis::Settings;
use std::sync::Arc;

const ACROSS: [&str; 6] = [
    "SINTER a b",
    "SINTERSTORE a c b",
    "RENAME a b",
    "EVAL return 2 a b",
    "ZUNIONSTORE b 2 a c",
    "XREAD STREAMS a b 0 0",
];

#[test]
fn keys_of_different_servers_are_refused() {
    let mut net = Net::redis(2);
    let client = net.client();
    for request in ACROSS {
        net.say(client, &requests(request));
        assert_eq!(net.got(client), CROSS_SHARD, "{request}");
    }
    assert_eq!([net.asked(0), net.asked(2)], ["", ""]);
    assert_eq!(net.mux.stats().client_request_errors.read(), 6);
    net.check_idle();
}

#[test]
fn keys_of_one_server_are_not() {
    let mut net = Net::redis(2);
    let client = net.client();
    for (request, conn) in [("SINTER a c", 0), ("RENAME b d", 2), ("EVAL x 2 a c b", 0)] {
        net.say(client, &requests(request));
        assert_eq!(net.asked(conn), requests(request));
        net.answer(conn, ":1\r\n");
        assert_eq!(net.got(client), ":1\r\n");
    }
    net.check_idle();
}

#[test]
fn in_a_pool_of_one_server_all_keys_are_together() {
    let mut net = Net::redis(1);
    let client = net.client();
    for request in ACROSS {
        net.say(client, &requests(request));
        assert_eq!(net.asked(0), requests(request));
        net.answer(0, ":1\r\n");
    }
    assert_eq!(net.got(client), ":1\r\n".repeat(6));
    net.check_idle();
}

#[test]
fn with_first_key_the_server_of_the_first_key_gets_the_request() {
    let settings = Settings { first_key: true, ..Settings::default() };
    let options = Options { redis: Arc::new(settings), ..redis_options() };
    let mut net = Net::with(engine(2, options, None));
    let client = net.client();
    net.say(client, &requests("SINTER a b;SINTER b a"));
    assert_eq!(net.asked(0), requests("SINTER a b"));
    assert_eq!(net.asked(2), requests("SINTER b a"));
}

#[test]
fn a_request_that_needs_a_key_to_have_a_server_is_refused_without_one() {
    let mut net = Net::redis(2);
    let client = net.client();
    net.say(client, &requests("EVAL x 0"));
    let got = net.got(client);
    assert!(got.starts_with("-ERR a command without keys has no server"), "{got}");
    assert_eq!([net.asked(0), net.asked(2)], ["", ""]);
}

#[test]
fn some_server_answers_what_all_answer_alike() {
    for request in ["TIME", "ACL CAT", "ACL GENPASS", "ACL WHOAMI", "FUNCTION LIST"] {
        let mut net = Net::redis(2);
        let client = net.client();
        net.say(client, &requests(request));
        assert_eq!([net.asked(0), net.asked(2)].concat(), requests(request));
    }
    let mut net = Net::redis(2);
    let client = net.client();
    for request in ["ACL LIST", "LASTSAVE", "CONFIG SET a b"] {
        net.say(client, &requests(request));
        let got = net.got(client);
        assert!(got.ends_with("' is about one server, and this pool has several\r\n"), "{got}");
    }
    assert_eq!([net.asked(0), net.asked(2)], ["", ""]);
}

#[test]
fn config_get_tells_what_config_set_has_set() {
    let mut net = Net::redis(1);
    let client = net.client();
    net.say(client, &requests("CONFIG SET maxmemory 100;CONFIG GET maxmemory;GET a"));
    assert_eq!(net.asked(0), requests("CONFIG SET maxmemory 100;CONFIG GET maxmemory;GET a"));
    let replies = super::OK.to_owned() + &super::array("maxmemory 100") + "$-1\r\n";
    net.answer(0, &replies);
    assert_eq!(net.got(client), replies);
    net.check_idle();
}

#[test]
fn with_several_servers_config_get_is_about_the_proxy() {
    let mut net = Net::redis(2);
    let client = net.client();
    net.say(client, &requests("CONFIG GET maxmemory"));
    assert_eq!([net.asked(0), net.asked(2)], ["", ""]);
    let answer = format!("asked: {}\r\n", requests("CONFIG GET maxmemory"));
    assert_eq!(net.got(client), answer);
    net.check_idle();
}

#[test]
fn a_server_refuses_what_has_no_keys_but_must_have_some() {
    const NO_KEYS: &str = "-ERR numkeys should be greater than 0\r\n";
    for wrong in ["LMPOP 0 a LEFT", "ZUNION 0 a", "SINTERCARD 0 a", "ZINTER 2 a", "MSETEX 0 a 1"] {
        let mut net = Net::redis(2);
        let client = net.client();
        net.say(client, &requests(wrong));
        assert_eq!([net.asked(0), net.asked(2)].concat(), requests(wrong), "{wrong}");
        let asked = if net.is_connected(0) { 0 } else { 2 };
        net.answer(asked, NO_KEYS);
        assert_eq!(net.got(client), NO_KEYS, "{wrong}");
        net.check_idle();
    }
}

#[test]
fn a_request_of_a_client_never_overtakes_another_to_the_same_server() {
    let options = Options { server_connections: 8, ..redis_options() };
    let mut net = Net::with(engine(2, options, None));
    for _ in 0..10 {
        let client = net.client();
        net.say(client, &requests("SET a 1;GET a;MGET a b;DEL a;GET a"));
        let asked: Vec<String> = (0..8).map(|conn| net.asked(conn)).collect();
        let asked: Vec<&String> = asked.iter().filter(|asked| !asked.is_empty()).collect();
        assert_eq!(asked, [&requests("SET a 1;GET a;MGET a;DEL a;GET a")]);
    }
}
