//! Requests without reply, and the barriers that wait for them.

use super::hit;
use crate::net::Net;
use nuthatch_core::error::ServerError;

#[test]
fn noreply_requests_are_asked_aloud_and_not_answered() {
    let mut net = Net::new(1);
    let client = net.client();
    net.say(client, "set k 0 0 1 noreply\r\n1\r\nincr k 1 noreply\r\nget k\r\n");
    assert_eq!(net.asked(0), "set k 0 0 1\r\n1\r\nincr k 1\r\nget k\r\n");
    net.answer(0, &("STORED\r\nSERVER_ERROR what\r\n".to_owned() + &hit("k", "2")));
    assert_eq!(net.got(client), hit("k", "2"));
    net.check_idle();
}

#[test]
fn quiet_meta_requests_hide_what_is_expected() {
    let mut net = Net::new(1);
    let client = net.client();
    net.say(client, "mg a v q k\r\nmg b v q k\r\nms c 1 q\r\n1\r\nmd d q\r\nmd e q\r\nmn\r\n");
    assert_eq!(net.asked(0), "mg a v k\r\nmg b v k\r\nms c 1\r\n1\r\nmd d\r\nmd e\r\n");
    net.answer(0, "EN ka\r\nVA 2 kb\r\nhi\r\nHD\r\nHD\r\nNF\r\n");
    assert_eq!(net.got(client), "VA 2 kb\r\nhi\r\nNF\r\nMN\r\n");
    net.check_idle();
}

#[test]
fn a_barrier_waits_for_the_silent_requests_before_it_and_not_for_those_after() {
    let mut net = Net::new(2);
    let client = net.client();
    net.say(client, "set a 0 0 1 noreply\r\n1\r\nmn\r\nset b 0 0 1 noreply\r\n2\r\nget c\r\n");
    assert_eq!(net.asked(1), "", "what follows a barrier waits for it");
    net.answer(0, "STORED\r\n");
    assert_eq!(net.got(client), "MN\r\n");
    assert_eq!(net.asked(1), "set b 0 0 1\r\n2\r\n");
    net.answer(0, "END\r\n");
    assert_eq!(net.got(client), "END\r\n");
    net.answer(1, "STORED\r\n");
    net.check_idle();
}

#[test]
fn a_barrier_waits_for_silent_requests_to_all_servers() {
    let mut net = Net::new(2);
    let client = net.client();
    net.say(client, "delete a noreply\r\ndelete b noreply\r\ndelete c noreply\r\nmn\r\n");
    net.answer(0, "DELETED\r\nNOT_FOUND\r\n");
    assert_eq!(net.got(client), "");
    net.answer(1, "DELETED\r\n");
    assert_eq!(net.got(client), "MN\r\n");
    net.check_idle();
}

#[test]
fn a_barrier_behind_a_slow_read_is_not_kept_by_later_silent_requests() {
    let mut net = Net::new(2);
    let client = net.client();
    net.say(client, "get b\r\nset a 0 0 1 noreply\r\n1\r\nmn\r\nset c 0 0 1 noreply\r\n2\r\n");
    net.answer(0, "STORED\r\n");
    assert_eq!(net.got(client), "");
    net.answer(1, "END\r\n");
    assert_eq!(net.got(client), "END\r\nMN\r\n");
    net.answer(0, "STORED\r\n");
    net.check_idle();
}

#[test]
fn a_barrier_also_passes_when_the_silent_requests_fail() {
    let mut net = Net::new(1);
    let client = net.client();
    net.say(client, "set a 0 0 1 noreply\r\n1\r\nmn\r\nget b\r\n");
    net.close_server(0, ServerError::Reset);
    assert_eq!(net.got(client), "MN\r\n");
    net.answer(0, "END\r\n");
    assert_eq!(net.got(client), "END\r\n");
    net.check_idle();
}

#[test]
fn a_barrier_waits_for_quiet_meta_requests_too_and_holds_what_comes_after_it() {
    let mut net = Net::new(2);
    let client = net.client();
    net.say(client, "ms a 1 q\r\n1\r\nmn\r\nmg b v\r\n");
    assert_eq!((net.asked(0), net.asked(1)), ("ms a 1\r\n1\r\n".into(), String::new()));
    assert_eq!(net.got(client), "");
    net.answer(0, "HD\r\n");
    assert_eq!((net.got(client), net.asked(1)), ("MN\r\n".into(), "mg b v\r\n".into()));
    net.answer(1, "EN\r\n");
    assert_eq!(net.got(client), "EN\r\n");
    net.check_idle();
}

#[test]
fn several_barriers_in_a_row_are_each_answered_once() {
    let mut net = Net::new(2);
    let client = net.client();
    net.say(client, "get a\r\nmn\r\nmn\r\nget b\r\nmn\r\nfoo\r\nmn\r\n");
    net.answer(0, "END\r\n");
    assert_eq!(net.got(client), "END\r\nMN\r\nMN\r\n");
    net.answer(1, "END\r\n");
    assert_eq!(net.got(client), "END\r\nMN\r\nERROR\r\nMN\r\n");
    net.check_idle();
}
