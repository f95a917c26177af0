//! Servers that say what was not asked, on connections for one client alone.

use super::{DESYNC, OK, requests};
use crate::net::Net;

#[test]
fn a_stray_reply_on_a_connection_of_one_client_closes_both() {
    for stray in [OK, "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n", ":1\r\n"] {
        let mut net = Net::redis(2);
        let client = net.client();
        net.say(client, &requests("WATCH a"));
        net.answer(4, &(OK.to_owned() + stray));
        assert_eq!(net.got(client), OK);
        assert!(!net.is_open(client), "{stray}");
        assert!(!net.is_connected(4));
        net.check_idle();
    }
}

#[test]
fn a_confirmation_of_another_type_closes_the_connection_and_its_client() {
    for lie in ["+OK\r\n", ":1\r\n", "$5\r\nhello\r\n"] {
        let mut net = Net::redis(2);
        let client = net.client();
        net.say(client, &requests("SUBSCRIBE a"));
        net.answer(4, &lie.repeat(10));
        assert_eq!(net.got(client), DESYNC, "{lie}");
        assert!(!net.is_open(client) && !net.is_connected(4));
        net.check_idle();
    }
}

#[test]
fn a_message_on_an_idle_connection_closes_it() {
    let mut net = Net::redis(2);
    let client = net.client();
    net.say(client, &requests("BLPOP a 0"));
    net.answer(4, "*-1\r\n");
    assert_eq!(net.got(client), "*-1\r\n");
    net.answer(4, "*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r\n");
    assert!(!net.is_connected(4) && net.is_open(client));
    net.say(client, &requests("BLPOP a 0"));
    net.answer(4, "*-1\r\n");
    assert_eq!(net.got(client), "*-1\r\n");
    net.check_idle();
}

#[test]
fn a_confirmation_that_is_none_ends_no_subscription_and_harms_nobody() {
    for lie in ["*3\r\n:1\r\n:2\r\n:3\r\n", "*1\r\n*-1\r\n", "*0\r\n", "*2\r\n$-1\r\n+x\r\n"] {
        let mut net = Net::redis(2);
        let (client, other) = (net.client(), net.client());
        net.say(client, &requests("SUBSCRIBE a"));
        net.answer(4, &(lie.to_owned() + &" ".repeat(21)));
        assert!(net.got(client).starts_with(lie), "{lie}");
        assert!(!net.is_connected(4) && net.is_open(other), "{lie}");
        net.leave(other);
    }
}
