//! Servers that lie: a reply that fits no request fails its connection and is never believed.

use super::{DESYNC, hit, value};
use crate::net::Net;
use nuthatch_core::mux::Event;

#[test]
fn a_reply_that_does_not_fit_fails_its_connection_and_no_other() {
    for lie in [
        hit("b", "not yours"),
        "STORED\r\n".to_owned(),
        "VALUE a 0 1\r\ntoo long\r\n".to_owned(),
        "HD\r\n".to_owned(),
        "garbage\r\n".to_owned(),
        "x".repeat(5000),
        "VALUE a 0 2000000000\r\n".to_owned(),
    ] {
        let mut net = Net::new(2);
        let (one, two) = (net.client(), net.client());
        net.say(one, "get a\r\nget b\r\n");
        net.say(two, "get c\r\nget d\r\n");
        net.answer(0, &lie);
        assert_eq!(net.got(one), DESYNC, "{lie}");
        net.answer(1, &(hit("b", "2") + &hit("d", "4")));
        assert_eq!(net.got(one), hit("b", "2"));
        assert_eq!(net.got(two), DESYNC.to_owned() + &hit("d", "4"));
        assert!(!net.is_connected(0) && net.is_connected(1));
        assert_eq!(net.mux.stats().desync_total.read(), 1);
        net.check_idle();
    }
}

#[test]
fn two_swapped_replies_are_never_believed() {
    let mut net = Net::new(1);
    let (one, two) = (net.client(), net.client());
    net.say(one, "get a\r\n");
    net.say(two, "get b\r\n");
    net.answer(0, &(hit("b", "2") + &hit("a", "1")));
    assert_eq!((net.got(one), net.got(two)), (DESYNC.to_owned(), DESYNC.to_owned()));
    net.check_idle();
}

#[test]
fn a_surplus_reply_is_nobodys() {
    let mut net = Net::new(1);
    let client = net.client();
    net.say(client, "set a 0 0 1\r\n1\r\n");
    net.answer(0, "STORED\r\nSTORED\r\n");
    assert_eq!(net.got(client), "STORED\r\n");
    assert!(!net.is_connected(0));
    assert_eq!(net.events, [Event::Desync { server: net.server(0), requests: 0 }]);
    net.say(client, "set b 0 0 1\r\n2\r\n");
    net.answer(0, "STORED\r\n");
    assert_eq!(net.got(client), "STORED\r\n");
    net.check_idle();
}

#[test]
fn a_meta_reply_with_another_key_or_token_is_a_desync() {
    for lie in ["VA 1 kb\r\nx\r\n", "HD O2\r\n", "EN kb O1\r\n"] {
        let mut net = Net::new(1);
        let client = net.client();
        net.say(client, "mg a k O1 v\r\n");
        net.answer(0, lie);
        assert_eq!(net.got(client), DESYNC, "{lie}");
        net.check_idle();
    }
}

#[test]
fn a_base64_key_lives_where_its_bytes_live() {
    let mut net = Net::new(2);
    let client = net.client();
    net.say(client, "mg YQ== b k v\r\nmg Yg== b k v\r\n");
    assert_eq!(net.asked(0), "mg YQ== b k v\r\n");
    assert_eq!(net.asked(1), "mg Yg== b k v\r\n");
    net.answer(0, "VA 1 kYQ== b\r\n1\r\n");
    net.answer(1, "VA 1 kb\r\n2\r\n");
    assert_eq!(net.got(client), "VA 1 kYQ== b\r\n1\r\nVA 1 kb\r\n2\r\n");
    net.check_idle();
}

#[test]
fn values_that_were_kept_are_forgotten_with_their_connection() {
    let mut net = Net::new(1);
    let client = net.client();
    net.say(client, "get a b\r\n");
    net.answer(0, &(value("a", &"x".repeat(2000)) + &value("zzz", "1")));
    assert_eq!(net.got(client), DESYNC);
    net.check_idle();
}

#[test]
fn a_reply_that_came_before_its_request_was_written_is_nobodys() {
    let mut net = Net::new(1);
    let (one, two) = (net.client(), net.client());
    net.say(one, "get a\r\n");
    net.answer(0, &hit("a", "1"));
    assert_eq!(net.got(one), hit("a", "1"));
    net.set_server_reading(0, false);
    net.say(two, "set b 0 0 1\r\n2\r\n");
    net.answer(0, "STORED\r\n");
    assert_eq!(net.got(two), DESYNC, "the server has not seen the request");
    assert_eq!(net.mux.stats().desync_total.read(), 1);
}
