//! Requests of many keys: each server gets its part, and the replies become one.

use super::{DESYNC, OK, array, requests};
use crate::net::Net;
use nuthatch_core::error::ServerError;

#[test]
fn a_request_with_one_key_goes_to_the_server_of_the_key_as_it_is() {
    let mut net = Net::redis(2);
    let client = net.client();
    for (request, conn, reply) in [
        ("GET a", 0, "$1\r\n1\r\n"),
        ("SET b 2", 2, OK),
        ("MGET a", 0, "*1\r\n$1\r\n1\r\n"),
        ("MSET b 2", 2, OK),
        ("DEL a", 0, ":1\r\n"),
        ("HSET b field 1", 2, ":1\r\n"),
        ("LRANGE a 0 -1", 0, "*2\r\n$1\r\nx\r\n$-1\r\n"),
        ("OBJECT ENCODING b", 2, "$3\r\nint\r\n"),
    ] {
        net.say(client, &requests(request));
        assert_eq!(net.asked(conn), requests(request));
        net.answer(conn, reply);
        assert_eq!(net.got(client), reply, "{request}");
    }
    net.check_idle();
}

/// What a client says, what servers 0 and 1 are asked and answer, and what the client gets.
type Row<'a> = (&'a str, [&'a str; 2], [&'a str; 2], &'a str);

#[test]
fn a_request_with_many_keys_is_split_and_its_replies_are_merged() {
    let rows: [Row<'_>; 9] = [
        (
            "MGET a b c a",
            ["MGET a c a", "MGET b"],
            ["*3\r\n$1\r\n1\r\n$-1\r\n$1\r\n1\r\n", "*1\r\n$1\r\n2\r\n"],
            "*4\r\n$1\r\n1\r\n$1\r\n2\r\n$-1\r\n$1\r\n1\r\n",
        ),
        (
            "MGET b d a",
            ["MGET a", "MGET b d"],
            ["*1\r\n$1\r\n1\r\n", "*2\r\n$0\r\n\r\n$2\r\n\r\n\r\n"],
            "*3\r\n$0\r\n\r\n$2\r\n\r\n\r\n$1\r\n1\r\n",
        ),
        ("MSET a 1 b 2 c 3 a 4", ["MSET a 1 c 3 a 4", "MSET b 2"], [OK, OK], OK),
        ("DEL a b c", ["DEL a c", "DEL b"], [":2\r\n", ":1\r\n"], ":3\r\n"),
        ("UNLINK b a", ["UNLINK a", "UNLINK b"], [":0\r\n", ":0\r\n"], ":0\r\n"),
        ("EXISTS a a b", ["EXISTS a a", "EXISTS b"], [":2\r\n", ":0\r\n"], ":2\r\n"),
        ("TOUCH a b", ["TOUCH a", "TOUCH b"], [":1\r\n", ":1\r\n"], ":2\r\n"),
        ("DEL a b", ["DEL a", "DEL b"], ["-READONLY no\r\n", ":1\r\n"], "-READONLY no\r\n"),
        (
            "MSET a 1 b 2",
            ["MSET a 1", "MSET b 2"],
            [OK, "-OOM command not allowed\r\n"],
            "-OOM command not allowed\r\n",
        ),
    ];
    for (request, asked, replies, expected) in rows {
        for first in [0, 1] {
            let mut net = Net::redis(2);
            let client = net.client();
            net.say(client, &requests(request));
            assert_eq!([net.asked(0), net.asked(2)], asked.map(requests), "{request}");
            net.answer(2 * first, replies[first]);
            assert_eq!(net.got(client), "", "{request}: a part of the replies is no reply");
            net.answer(2 - 2 * first, replies[1 - first]);
            assert_eq!(net.got(client), expected, "{request}");
            net.check_idle();
        }
    }
}

#[test]
fn a_request_whose_keys_have_one_server_is_one_request() {
    for (servers, request) in [(1, "MGET a b c d"), (2, "MGET a c e"), (2, "DEL a c a")] {
        let mut net = Net::redis(servers);
        let client = net.client();
        net.say(client, &requests(request));
        assert_eq!(net.asked(0), requests(request));
        let reply = if request.starts_with("DEL") { ":2\r\n".to_owned() } else { array("1 2 3") };
        let reply = if servers == 1 { array("1 2 3 4") } else { reply };
        net.answer(0, &reply);
        assert_eq!(net.got(client), reply);
        net.check_idle();
    }
}

#[test]
fn of_several_errors_the_client_gets_the_first_that_came() {
    for first in [0, 1] {
        let mut net = Net::redis(2);
        let client = net.client();
        net.say(client, &requests("MGET a b"));
        net.answer(2 * first, &format!("-ERR of server {first}\r\n"));
        net.answer(2 - 2 * first, "-ERR of the other one\r\n");
        assert_eq!(net.got(client), format!("-ERR of server {first}\r\n"));
        net.check_idle();
    }
}

#[test]
fn if_a_server_is_lost_the_whole_request_fails() {
    let mut net = Net::redis(2);
    let client = net.client();
    net.say(client, &requests("MGET a b;GET b"));
    net.answer(2, "*1\r\n$1\r\n2\r\n$1\r\n2\r\n");
    net.close_server(0, ServerError::Reset);
    assert_eq!(net.got(client), super::RESET.to_owned() + "$1\r\n2\r\n");
    net.check_idle();
}

#[test]
fn an_array_of_another_length_than_was_asked_for_closes_its_connection() {
    for reply in
        ["*1\r\n$1\r\n1\r\n", "*3\r\n:1\r\n:2\r\n:3\r\n", "*0\r\n", "*-1\r\n", "~1\r\n:1\r\n"]
    {
        let mut net = Net::redis(2);
        let client = net.client();
        net.say(client, &requests("MGET a b c;GET a;GET b"));
        net.answer(0, reply);
        net.answer(2, "*1\r\n$1\r\n2\r\n$1\r\n2\r\n");
        assert_eq!(net.got(client), DESYNC.repeat(2) + "$1\r\n2\r\n", "{reply}");
        assert!(!net.is_connected(0) && net.is_connected(2), "{reply}");
        assert_eq!(net.mux.stats().desync_total.read(), 1);
        net.check_idle();
    }
}

#[test]
fn a_reply_of_another_type_than_can_be_merged_closes_its_connection() {
    for (request, reply) in [
        ("MGET a b", "+OK\r\n"),
        ("MGET a b", ":1\r\n"),
        ("DEL a b", "+OK\r\n"),
        ("DEL a b", "$1\r\n1\r\n"),
        ("MSET a 1 b 2", ":1\r\n"),
    ] {
        let mut net = Net::redis(2);
        let client = net.client();
        net.say(client, &requests(request));
        net.answer(0, reply);
        net.answer(2, "-ERR no\r\n");
        assert_eq!(net.got(client), DESYNC, "{request} {reply}");
        net.check_idle();
    }
}

#[test]
fn values_without_a_key_are_not_stored() {
    let mut net = Net::redis(2);
    let client = net.client();
    net.say(client, &requests("MSET a 1 b"));
    assert_eq!(net.got(client), "-ERR wrong number of arguments for 'mset' command\r\n");
    assert_eq!([net.asked(0), net.asked(2)], ["", ""]);
}
