//! The order of replies: every client gets its own, in the order in which it asked.

use super::hit;
use crate::net::Net;

#[test]
fn replies_leave_in_the_order_of_their_requests() {
    let mut net = Net::new(2);
    let client = net.client();
    net.say(client, "get a\r\nget b\r\nget c\r\n");
    assert_eq!(net.asked(0), "get a\r\nget c\r\n");
    assert_eq!(net.asked(1), "get b\r\n");
    net.answer(1, &hit("b", "2"));
    assert_eq!(net.got(client), "");
    net.answer(0, &hit("a", "1"));
    assert_eq!(net.got(client), hit("a", "1") + &hit("b", "2"));
    net.answer(0, "END\r\n");
    assert_eq!(net.got(client), "END\r\n");
    net.check_idle();
}

#[test]
fn every_client_gets_its_own_replies_over_one_connection() {
    let mut net = Net::new(1);
    let clients = [0; 3].map(|_| net.client());
    for (client, key) in clients.into_iter().zip(["x", "y", "z"]) {
        net.say(client, &format!("get {key}\r\n"));
    }
    assert_eq!(net.asked(0), "get x\r\nget y\r\nget z\r\n");
    net.answer(0, &(hit("x", "1") + &hit("y", "2") + &hit("z", "3")));
    assert_eq!(
        clients.map(|client| net.got(client)),
        [hit("x", "1"), hit("y", "2"), hit("z", "3")]
    );
    net.check_idle();
}

#[test]
fn what_is_answered_here_keeps_its_place() {
    let mut net = Net::new(1);
    let client = net.client();
    net.say(client, "get a\r\nfoo\r\nverbosity 1\r\nget b\r\nmn\r\nset k x 0 1\r\nz\r\n");
    assert_eq!(net.got(client), "");
    net.answer(0, "END\r\nEND\r\n");
    assert_eq!(
        net.got(client),
        "END\r\nERROR\r\nOK\r\nEND\r\nMN\r\nCLIENT_ERROR bad command line format\r\n"
    );
    net.say(client, "foo\r\n");
    assert_eq!(net.got(client), "ERROR\r\n");
    net.check_idle();
}

#[test]
fn a_request_may_come_byte_by_byte() {
    let mut net = Net::new(1);
    let client = net.client();
    for byte in "set k 0 0 3\r\nabc\r\nget k\r\n".split("").filter(|byte| !byte.is_empty()) {
        net.say(client, byte);
    }
    assert_eq!(net.asked(0), "set k 0 0 3\r\nabc\r\nget k\r\n");
    for byte in ("STORED\r\n".to_owned() + &hit("k", "abc")).split("").filter(|b| !b.is_empty()) {
        net.answer(0, byte);
    }
    assert_eq!(net.got(client), "STORED\r\n".to_owned() + &hit("k", "abc"));
    net.check_idle();
}
