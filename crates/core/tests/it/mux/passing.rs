//! Clients that pass from one multiplexer to another, as at an upgrade.

use super::{hit, set};
use crate::net::Net;
use nuthatch_core::limits::Limits;
use nuthatch_core::mux::{ClientId, PASSING_MAX};

/// The client as the next multiplexer knows it.
fn passed(from: &mut Net, client: ClientId, to: &mut Net) -> Option<ClientId> {
    let passing = from.mux.pass(client);
    from.settle_now();
    passing.map(|passing| to.arrive(passing))
}

#[test]
fn a_client_passes_when_all_is_answered_and_continues_in_the_middle_of_a_request() {
    let (mut old, mut new) = (Net::new(2), Net::new(2));
    let client = old.client();
    old.say(client, "get a\r\nget b\r\nget c");
    assert_eq!(passed(&mut old, client, &mut new), None);
    assert!(!old.mux.wants_read(client), "what it sends now is for the next one");
    old.answer(1, &hit("b", "2"));
    assert_eq!(passed(&mut old, client, &mut new), None);
    old.answer(0, &hit("a", "1"));
    assert_eq!(old.got(client), hit("a", "1") + &hit("b", "2"));
    let client = passed(&mut old, client, &mut new).expect("it has all its replies");
    assert_eq!((old.mux.client_count(), new.asked(0)), (0, String::new()));
    new.say(client, "\r\nget e\r\n");
    assert_eq!(new.asked(0), "get c\r\nget e\r\n");
    new.answer(0, &(hit("c", "3") + "END\r\n"));
    assert_eq!(new.got(client), hit("c", "3") + "END\r\n");
    old.check_idle();
    new.check_idle();
}

#[test]
fn a_client_that_reads_slowly_passes_after_its_replies() {
    let (mut old, mut new) = (Net::new(1), Net::new(1));
    let client = old.client();
    old.set_reading(client, false);
    old.say(client, "get a\r\n");
    old.answer(0, "END\r\n");
    assert_eq!(passed(&mut old, client, &mut new), None);
    old.set_reading(client, true);
    assert!(passed(&mut old, client, &mut new).is_some());
    old.check_idle();
}

#[test]
fn a_write_without_reply_is_carried_out_before_its_client_passes() {
    let (mut old, mut new) = (Net::new(1), Net::new(1));
    let client = old.client();
    old.say(client, "set a 0 0 1 noreply\r\nx\r\n");
    assert_eq!(passed(&mut old, client, &mut new), None, "its next get would overtake it");
    old.answer(0, "STORED\r\n");
    assert!(passed(&mut old, client, &mut new).is_some());
    old.check_idle();
}

#[test]
fn requests_that_wait_for_the_window_pass_unanswered() {
    let limits = Limits { client_requests_max: 1, ..Limits::default() };
    let (mut old, mut new) = (Net::with_limits(1, limits), Net::new(1));
    let client = old.client();
    old.say(client, "get a\r\nget b\r\nget c\r\n");
    assert_eq!(old.asked(0), "get a\r\n");
    assert_eq!(passed(&mut old, client, &mut new), None);
    old.answer(0, "END\r\n");
    assert_eq!(old.asked(0), "", "no more is taken here");
    let client = passed(&mut old, client, &mut new).expect("it has all its replies");
    assert_eq!(new.asked(0), "get b\r\nget c\r\n");
    new.answer(0, "END\r\nEND\r\n");
    assert_eq!(new.got(client), "END\r\nEND\r\n");
    old.check_idle();
}

#[test]
fn who_waits_for_a_server_is_answered_first() {
    let limits = Limits { server_requests_max: 1, ..Limits::default() };
    let (mut old, mut new) = (Net::with_limits(1, limits), Net::new(1));
    let (one, two) = (old.client(), old.client());
    old.say(one, "get a\r\n");
    old.say(two, "get b\r\n");
    assert_eq!(passed(&mut old, two, &mut new), None);
    old.answer(0, "END\r\n");
    assert_eq!(old.asked(0), "get a\r\nget b\r\n");
    old.answer(0, "END\r\n");
    assert!(passed(&mut old, two, &mut new).is_some());
    assert!(passed(&mut old, one, &mut new).is_some());
    old.check_idle();
}

#[test]
fn a_long_request_is_read_to_its_end_first() {
    let (mut old, mut new) = (Net::new(1), Net::new(1));
    let (client, data) = (old.client(), "x".repeat(4 * PASSING_MAX));
    let request = set("a", &data);
    let (begin, end) = request.split_at(PASSING_MAX + 100);
    old.say(client, begin);
    assert_eq!(passed(&mut old, client, &mut new), None);
    assert!(old.mux.wants_read(client));
    old.say(client, end);
    assert_eq!(passed(&mut old, client, &mut new), None);
    old.answer(0, "STORED\r\n");
    assert!(passed(&mut old, client, &mut new).is_some());

    // A data block that is refused is read to its end, too.
    let client = old.client();
    old.say(client, &format!("set {} 0 0 1000\r\n{}", "k".repeat(300), "x".repeat(100)));
    assert_eq!(passed(&mut old, client, &mut new), None);
    old.say(client, &("x".repeat(900) + "\r\n"));
    assert!(passed(&mut old, client, &mut new).is_some());
    old.check_idle();
}

#[test]
fn who_sends_no_more_is_answered_and_stays() {
    let (mut old, mut new) = (Net::new(1), Net::new(1));
    let client = old.client();
    old.say(client, "get a\r\n");
    old.half_close(client);
    assert_eq!(passed(&mut old, client, &mut new), None);
    old.answer(0, "END\r\n");
    assert!(!old.is_open(client));
    old.check_idle();
}

#[test]
fn who_is_closed_for_its_memory_while_it_is_to_pass_stays() {
    let limits = Limits { memory_max: 2000, ..Limits::default() };
    let (mut old, mut new) = (Net::with_limits(1, limits), Net::new(1));
    let client = old.client();
    old.set_reading(client, false);
    old.say(client, "get a\r\n");
    assert_eq!(passed(&mut old, client, &mut new), None);
    old.answer(0, &hit("a", &"x".repeat(3000)));
    assert!(!old.is_open(client));
    old.check_idle();
}
