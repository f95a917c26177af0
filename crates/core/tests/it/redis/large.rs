//! Replies of more than `item_size_max` bytes: an error takes their place, and the connection goes on.

use super::{OK, TOO_LARGE, bulk, confirmation, message, requests};
use crate::net::{Net, engine, redis_options};
use nuthatch_core::limits::Limits;
use nuthatch_core::mux::Options;

fn net(servers: usize, item_size_max: usize) -> Net {
    let limits = Limits { item_size_max, ..Limits::default() };
    Net::with(engine(servers, Options { limits, ..redis_options() }, None))
}

/// Replies of more than 100 bytes.
fn large_replies() -> Vec<String> {
    let nested = "*1\r\n".repeat(30) + ":1\r\n";
    let elements = format!("*50\r\n{}", ":1\r\n".repeat(50));
    vec![
        bulk(&"x".repeat(100)),
        bulk(&"x".repeat(10_000)),
        nested,
        elements,
        format!("-ERR {}\r\n", "x".repeat(200)),
        format!("+{}\r\n", "x".repeat(200)),
        format!("*2\r\n{}:1\r\n", bulk(&"\r\n".repeat(100))),
        format!("%1\r\n+key\r\n{}", bulk(&"x".repeat(100))),
        "*1000\r\n".to_owned() + &":1\r\n".repeat(1000),
    ]
}

#[test]
fn an_error_takes_the_place_of_a_large_reply() {
    for reply in large_replies() {
        for pieces in [1, 3, 64, 1000, 100_000] {
            let mut net = net(1, 100);
            let client = net.client();
            net.say(client, &requests("GET a;GET b;GET c"));
            let replies = format!("+1\r\n{reply}+3\r\n");
            for piece in replies.as_bytes().chunks(pieces) {
                net.answer(0, std::str::from_utf8(piece).expect("text"));
            }
            let name = &reply[..reply.len().min(20)];
            assert_eq!(
                net.got(client),
                format!("+1\r\n{TOO_LARGE}+3\r\n"),
                "{name:?} in pieces of {pieces}"
            );
            assert_eq!(net.mux.stats().limit_item_size.read(), 1);
            assert_eq!(net.mux.stats().desync_total.read(), 0);
            net.check_idle();
        }
    }
}

#[test]
fn a_large_part_of_a_merged_reply_fails_all_of_it() {
    let mut net = net(2, 100);
    let client = net.client();
    net.say(client, &requests("MGET a b;GET a"));
    net.answer(0, &format!("*1\r\n{}+1\r\n", bulk(&"x".repeat(200))));
    net.answer(2, "*1\r\n$1\r\n2\r\n");
    assert_eq!(net.got(client), TOO_LARGE.to_owned() + "+1\r\n");
    net.check_idle();
}

#[test]
fn a_reply_of_a_million_elements_is_not_kept() {
    let mut net = net(1, 1 << 20);
    let client = net.client();
    net.say(client, &requests("LRANGE a 0 -1;GET b"));
    net.answer(0, "*1000000\r\n");
    let piece = ":1\r\n".repeat(10_000);
    for _ in 0..100 {
        net.answer(0, &piece);
        assert!(net.mux.memory() < 1 << 16, "{} bytes are kept", net.mux.memory());
    }
    net.answer(0, "+2\r\n");
    assert_eq!(net.got(client), TOO_LARGE.to_owned() + "+2\r\n");
    net.check_idle();
}

#[test]
fn a_reply_to_a_client_that_has_gone_may_be_large_as_well() {
    let mut net = net(1, 100);
    let (gone, client) = (net.client(), net.client());
    net.say(gone, &requests("GET a"));
    net.say(client, &requests("GET b"));
    let reply = bulk(&"x".repeat(1000));
    net.answer(0, &reply[..500]);
    net.leave(gone);
    net.answer(0, &reply[500..]);
    net.answer(0, OK);
    assert_eq!(net.got(client), OK);
    net.check_idle();
}

#[test]
fn confirmations_of_many_channels_are_not_too_large() {
    for pieces in [1, 10, 100, 1000] {
        let mut net = net(1, 100);
        let client = net.client();
        net.say(client, &requests("SUBSCRIBE a b c d"));
        let replies: String = (1..)
            .zip(["a", "b", "c", "d"])
            .map(|(n, name)| confirmation("subscribe", name, n))
            .collect();
        for piece in replies.as_bytes().chunks(pieces) {
            net.answer(2, std::str::from_utf8(piece).expect("text"));
        }
        assert_eq!(net.got(client), replies, "pieces of {pieces}");
        net.say(client, &requests("GET a"));
        assert!(net.got(client).starts_with("-ERR Can't execute 'get'"), "it is subscribed");
    }
}

/// What a client may publish is no reason to close a subscriber; more than that is, however it comes.
#[test]
fn a_message_may_be_as_large_as_its_parts_may_be() {
    for (size, is_open) in [(100, true), (1000, false)] {
        for pieces in [7, 10_000] {
            let mut net = net(1, 100);
            let client = net.client();
            net.say(client, &requests("SUBSCRIBE a"));
            net.answer(2, &confirmation("subscribe", "a", 1));
            net.got(client);
            let large = message("a", &"x".repeat(size));
            for piece in large.as_bytes().chunks(pieces) {
                if net.is_connected(2) {
                    net.answer(2, std::str::from_utf8(piece).expect("text"));
                }
            }
            let expected = if is_open { large } else { String::new() };
            assert_eq!((net.got(client), net.is_open(client)), (expected, is_open), "{size}");
        }
    }
}

#[test]
fn a_request_with_a_large_argument_loses_its_client_only() {
    let mut net = net(1, 100);
    let (client, other) = (net.client(), net.client());
    net.say(client, &format!("*3\r\n{}{}$101\r\n", bulk("SET"), bulk("a")));
    assert_eq!(net.got(client), "-ERR Protocol error: invalid bulk length\r\n");
    assert!(!net.is_open(client) && net.is_open(other));
    net.check_idle();
}
