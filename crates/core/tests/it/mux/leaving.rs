//! Clients that leave, in order or not, with requests in flight or held.

use super::{hit, value};
use crate::net::Net;
use nuthatch_core::limits::Limits;

#[test]
fn replies_for_a_client_that_left_are_thrown_away() {
    let mut net = Net::new(2);
    let gone = net.client();
    net.say(gone, "get a\r\nget b\r\nget a b\r\nset a 0 0 1 noreply\r\n1\r\nflush_all\r\n");
    net.answer(1, &hit("b", "ready, not its turn"));
    net.leave(gone);
    let next = net.client();
    assert_eq!(next.index(), gone.index(), "the place is used again");
    assert_ne!(next, gone, "but not the id");
    net.say(next, "get c\r\nset a 0 0 1 noreply\r\n1\r\nmn\r\n");
    net.answer(0, &(hit("a", "1") + &value("a", &"1".repeat(1000)) + "END\r\nSTORED\r\nOK\r\n"));
    net.answer(1, &(hit("b", "2") + "OK\r\n"));
    assert_eq!(net.got(next), "");
    net.answer(0, &hit("c", "3"));
    assert_eq!(net.got(next), hit("c", "3"));
    net.answer(0, "STORED\r\n");
    assert_eq!(net.got(next), "MN\r\n");
    net.check_idle();
}

#[test]
fn whoever_leaves_while_held_is_forgotten() {
    let mut net = Net::with_limits(1, Limits { server_requests_max: 1, ..Limits::default() });
    let (one, two) = (net.client(), net.client());
    net.say(one, "get a\r\n");
    net.say(two, "get b\r\nget c\r\n");
    net.leave(two);
    let three = net.client();
    net.answer(0, "END\r\n");
    assert_eq!(net.asked(0), "get a\r\n");
    net.say(three, "get d\r\n");
    net.answer(0, "END\r\n");
    assert_eq!(net.got(three), "END\r\n");
    net.check_idle();
}

#[test]
fn a_half_closed_client_gets_what_it_asked_for() {
    let mut net = Net::new(2);
    let client = net.client();
    net.say(client, "get a\r\nget b\r\nget c");
    net.half_close(client);
    assert!(net.is_open(client) && !net.mux.wants_read(client));
    net.answer(1, "END\r\n");
    net.answer(0, "END\r\n");
    assert_eq!(net.got(client), "END\r\nEND\r\n");
    assert!(!net.is_open(client));
    assert_eq!(net.mux.client_count(), 0);
    assert_eq!(net.asked(0), "get a\r\n");
    net.check_idle();
}

#[test]
fn quit_ends_after_the_replies_that_are_due() {
    let mut net = Net::new(1);
    let client = net.client();
    net.say(client, "get a\r\nquit\r\nget b\r\n");
    assert_eq!(net.asked(0), "get a\r\n");
    assert!(net.is_open(client));
    net.answer(0, "END\r\n");
    assert_eq!(net.got(client), "END\r\n");
    assert!(!net.is_open(client));
    net.check_idle();
}

#[test]
fn lost_framing_ends_after_the_replies_that_are_due_and_an_error() {
    let mut net = Net::new(1);
    let client = net.client();
    net.say(client, "get a\r\nset k 0 0 x\r\nget b\r\n");
    net.answer(0, "END\r\n");
    assert_eq!(net.got(client), "END\r\nCLIENT_ERROR bad command line format\r\n");
    assert!(!net.is_open(client));
    let browser = net.client();
    net.say(browser, "POST / HTTP/1.1\r\nset k 0 0 1\r\n1\r\n");
    assert_eq!(net.got(browser), "");
    assert!(!net.is_open(browser));
    assert_eq!(net.asked(0), "get a\r\n");
    assert_eq!(net.mux.stats().client_framing_lost.read(), 2);
    net.check_idle();
}

#[test]
fn the_data_of_a_refused_request_is_skipped_however_it_comes() {
    let mut net = Net::with_limits(1, Limits { item_size_max: 10, ..Limits::default() });
    let client = net.client();
    net.say(client, "set k 0 0 11\r\n");
    assert_eq!(net.got(client), "SERVER_ERROR object too large for cache\r\n");
    net.say(client, "get a");
    net.say(client, "\r\nget ");
    net.say(client, "\r\nfoo\r\nset k x 0 6\r\nquit\r\n\r\nget k\r\n");
    assert_eq!(net.got(client), "ERROR\r\nCLIENT_ERROR bad command line format\r\n");
    assert_eq!(net.asked(0), "get k\r\n");
    net.answer(0, "END\r\n");
    assert_eq!(net.got(client), "END\r\n");
    net.check_idle();
}
