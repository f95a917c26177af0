//! What is remembered for a Redis server that is away, and what is not.

use super::warming::{STEP_MS, command, redis_away};
use crate::net::{Net, redis_options};
use nuthatch_core::mux::{ClientId, Options};

/// A pool of two servers that may be emptied, of which the first is away.
fn away() -> (Net, ClientId) {
    redis_away(Options { allow_flush: true, ..redis_options() })
}

/// What the first server is asked before it returns; it does all of that.
fn missed(net: &mut Net) -> String {
    net.later(STEP_MS);
    let asked = net.asked(0);
    net.answer(0, "+OK\r\n");
    asked
}

/// Has a client empty all servers, and says what it is told. The second server does all that it is asked.
fn empty(net: &mut Net, client: ClientId, words: &[&str]) -> String {
    net.say(client, &command(words));
    if !net.asked(2).is_empty() {
        net.answer(2, "+OK\r\n");
    }
    net.got(client)
}

const REFUSED: &str = "-ERR Connection refused\r\n";

/// Emptied of functions, a server still has its keys.
#[test]
fn functions_are_removed_from_no_server_that_is_away_and_keys_are() {
    let (mut net, client) = away();
    assert_eq!(empty(&mut net, client, &["FLUSHALL"]), "+OK\r\n");
    assert_eq!(empty(&mut net, client, &["FUNCTION", "FLUSH"]), REFUSED);
    assert_eq!(missed(&mut net), command(&["FLUSHALL"]));
}

#[test]
fn the_request_that_empties_most_is_remembered() {
    for (first, second, kept) in
        [("FLUSHALL", "FLUSHDB", 0), ("FLUSHDB", "FLUSHALL", 1), ("FLUSHDB", "FLUSHDB", 0)]
    {
        let requests = [[first, "ASYNC"], [second, "sync"]];
        let (mut net, client) = away();
        for words in requests {
            assert_eq!(empty(&mut net, client, &words), "+OK\r\n");
        }
        assert_eq!(missed(&mut net), command(&requests[kept]));
    }
}

/// Or the server would refuse it at each return, and stay away.
#[test]
fn what_a_server_would_refuse_is_not_remembered() {
    let (mut net, client) = away();
    for words in [&["FLUSHALL", "bogus"][..], &["FLUSHDB", "ASYNC", "SYNC"]] {
        assert_eq!(empty(&mut net, client, words), REFUSED);
    }
    assert_eq!(missed(&mut net), "");
}

/// A key of the same name is another thing than a channel.
#[test]
fn a_message_to_a_channel_removes_no_key() {
    let (mut net, client) = away();
    for words in [["PUBLISH", "a", "1"], ["spublish", "a", "1"]] {
        net.say(client, &command(&words));
        assert_eq!((net.asked(2), net.got(client)), (String::new(), REFUSED.to_owned()));
    }
    assert_eq!(missed(&mut net), "");
    let (mut net, client) = away();
    net.say(client, &command(&["SET", "a", "1"]));
    net.answer(2, ":0\r\n+OK\r\n");
    assert_eq!(missed(&mut net), command(&["DEL", "a"]), "a key is removed");
}
