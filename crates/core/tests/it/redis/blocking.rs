//! Commands for which a server may wait: only their own client waits with it.

use super::{CROSS_SHARD, array, requests};
use crate::net::{Net, TIMEOUT_MS};
use nuthatch_core::error::ServerError;

const OWN: usize = 4;

#[test]
fn a_blocking_command_has_no_timeout_and_only_its_client_waits() {
    let mut net = Net::redis(2);
    let (one, two) = (net.client(), net.client());
    net.say(one, &requests("BLPOP a 0;GET c;GET b"));
    assert_eq!(net.asked(OWN), requests("BLPOP a 0"));
    for _ in 0..10 {
        net.later(TIMEOUT_MS);
    }
    assert_eq!((net.got(one), net.asked(0), net.asked(2)), Default::default());
    net.say(two, &requests("GET a;GET b"));
    assert_eq!([net.asked(0), net.asked(2)], [requests("GET a"), requests("GET b")]);
    net.answer(0, "$1\r\n1\r\n");
    net.answer(2, "$1\r\n2\r\n");
    assert_eq!(net.got(two), "$1\r\n1\r\n$1\r\n2\r\n");
    net.answer(OWN, &array("a x"));
    assert_eq!(net.got(one), array("a x"));
    assert_eq!([net.asked(0), net.asked(2)], [requests("GET c"), requests("GET b")]);
    net.answer(0, "$-1\r\n");
    net.answer(2, "$-1\r\n");
    assert_eq!(net.got(one), "$-1\r\n".repeat(2));
    net.check_idle();
}

#[test]
fn requests_before_a_blocking_command_are_answered_before_it_is_sent() {
    let mut net = Net::redis(2);
    let client = net.client();
    net.say(client, &requests("RPUSH a x;BLPOP a 0"));
    assert_eq!(net.asked(0), requests("RPUSH a x"));
    assert_eq!(net.mux.conns().len(), 4, "it must not overtake the push");
    net.answer(0, ":1\r\n");
    assert_eq!(net.asked(OWN), requests("BLPOP a 0"));
}

#[test]
fn connections_of_blocking_commands_are_used_again() {
    let mut net = Net::redis(2);
    for _ in 0..5 {
        let client = net.client();
        net.say(client, &requests("BLPOP a 1"));
        net.answer(OWN, "*-1\r\n");
        assert_eq!((net.got(client), net.mux.conns().len()), ("*-1\r\n".to_owned(), OWN + 1));
        net.leave(client);
        assert!(net.is_connected(OWN), "nothing of the client's was left there");
    }
    net.check_idle();
}

#[test]
fn a_lost_connection_is_an_error_and_the_client_goes_on() {
    let mut net = Net::redis(2);
    let client = net.client();
    net.say(client, &requests("BLPOP a 0;GET b"));
    net.close_server(OWN, ServerError::Reset);
    assert_eq!((net.got(client), net.asked(2)), (super::RESET.to_owned(), requests("GET b")));
    net.answer(2, "$-1\r\n");
    assert!(net.is_open(client));
    net.say(client, &requests("BLPOP a 0"));
    assert_eq!(net.asked(OWN).matches("BLPOP").count(), 2);
}

#[test]
fn the_word_block_makes_a_stream_command_block() {
    let mut net = Net::redis(2);
    let client = net.client();
    net.say(client, &requests("XREAD COUNT 1 STREAMS a 0"));
    assert_eq!(net.asked(0), requests("XREAD COUNT 1 STREAMS a 0"));
    net.answer(0, "*-1\r\n");
    net.say(client, &requests("XREAD BLOCK 0 STREAMS a $"));
    assert_eq!(net.asked(OWN), requests("XREAD BLOCK 0 STREAMS a $"));
    net.later(10 * TIMEOUT_MS);
    net.answer(OWN, "*-1\r\n");
    assert_eq!(net.got(client), "*-1\r\n".repeat(2));
    net.check_idle();
}

#[test]
fn a_command_that_ends_a_script_does_not_wait_behind_it() {
    let mut net = Net::redis(1);
    let (one, two) = (net.client(), net.client());
    net.say(one, &requests("EVAL long 0"));
    net.say(two, &requests("SCRIPT KILL"));
    assert_eq!([net.asked(0), net.asked(2)], [requests("EVAL long 0"), requests("SCRIPT KILL")]);
    net.answer(2, super::OK);
    net.answer(0, "-ERR killed\r\n");
    assert_eq!([net.got(one), net.got(two)], ["-ERR killed\r\n", super::OK]);
    net.say(two, &requests("FUNCTION KILL"));
    net.later(TIMEOUT_MS);
    assert_eq!(net.got(two), super::TIMED_OUT, "it has a timeout");
    net.answer(2, super::OK);
    net.check_idle();

    let mut net = Net::redis(2);
    let client = net.client();
    net.say(client, &requests("SCRIPT KILL"));
    let error = "-ERR 'script|kill' is about one server, and this pool has several\r\n";
    assert_eq!(net.got(client), error);
    net.check_idle();
}

#[test]
fn a_server_refuses_what_names_no_key_to_wait_for() {
    const NO_KEYS: &str = "-ERR numkeys should be greater than 0\r\n";
    for wrong in ["BLMPOP 0 0 a LEFT", "BZMPOP 0 x a MIN", "XREAD BLOCK 0 STREAMS a"] {
        let mut net = Net::redis(2);
        let client = net.client();
        net.say(client, &requests(wrong));
        assert_eq!(net.asked(OWN), requests(wrong));
        net.answer(OWN, NO_KEYS);
        assert_eq!(net.got(client), NO_KEYS, "{wrong}");
        assert!(net.is_connected(OWN));
        net.check_idle();
    }
}

#[test]
fn keys_of_different_servers_cannot_be_waited_for() {
    let mut net = Net::redis(2);
    let client = net.client();
    net.say(client, &requests("BLPOP a b 0;BLMOVE a b LEFT LEFT 0"));
    assert_eq!(net.got(client), CROSS_SHARD.repeat(2));
    net.say(client, &requests("BLPOP a c 0"));
    assert_eq!(net.asked(OWN), requests("BLPOP a c 0"));
}
