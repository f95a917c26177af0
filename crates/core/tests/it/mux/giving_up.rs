//! Old servers of keys that move which all workers of a process give up together.

use super::migrating::{LOOK, PLAIN_LOOK, SETTLED_MS, moving, settling};
use super::{TIMED_OUT, hit, set};
use crate::net::{Net, TIMEOUT_MS};
use nuthatch_core::error::ServerError;
use nuthatch_core::health::{Order, Report};
use nuthatch_core::mux::{Event, ServerId};

/// The connections to the server that all keys leave, and to the one where they go.
const OLD: usize = 0;
const NEW: usize = 1;

/// A worker beside others. Its old server, too.
fn beside_others(mut net: Net) -> (Net, ServerId) {
    net.mux.share_arbiter();
    let old = net.mux.server_of(net.conn(OLD));
    (net, old)
}

fn obey(net: &mut Net, old: ServerId, order: Order) {
    net.mux.obey(old, order, 7, net.now());
    net.settle_now();
}

#[test]
fn requests_wait_from_when_a_worker_asks_an_old_server_no_more_until_none_does() {
    for net in [settling(), moving()] {
        let (mut net, old) = beside_others(net);
        let clients = [net.client(), net.client()];
        obey(&mut net, old, Order::HoldMoves);
        assert_eq!(net.mux.next_report(), Some((old, Report::Done(7))));
        net.say(clients[0], "get a\r\n");
        net.say(clients[1], "get a b\r\n");
        assert_eq!((net.asked(OLD), net.asked(NEW)), Default::default(), "they wait");
        obey(&mut net, old, Order::GiveUp);
        assert!(matches!(net.events.last(), Some(Event::GivenUp { .. })));
        assert_eq!(net.asked(OLD), "");
        assert_eq!(net.asked(NEW), PLAIN_LOOK.repeat(2) + &PLAIN_LOOK.replace(" a ", " b "));
        net.answer(NEW, "EN\r\nEN\r\nEN\r\n");
        for client in clients {
            assert_eq!(net.got(client), "END\r\n");
        }
        obey(&mut net, old, Order::HoldMoves);
        assert_eq!(net.mux.next_report(), Some((old, Report::Done(7))), "others are told again");
        net.say(clients[0], "get a\r\n");
        assert_eq!(net.asked(NEW), PLAIN_LOOK, "nobody waits once more");
        net.answer(NEW, "EN\r\n");
        net.check_idle();
    }
}

/// Its value would come to the new server after another worker has replaced it there.
#[test]
fn a_value_that_is_on_its_way_does_not_move_any_longer() {
    let (mut net, old) = beside_others(moving());
    let client = net.client();
    net.say(client, "get a\r\n");
    assert_eq!(net.asked(NEW), LOOK);
    net.answer(NEW, "VA 0 c11 f0 t-1 W\r\n\r\n");
    assert_eq!(net.asked(OLD), PLAIN_LOOK);
    obey(&mut net, old, Order::HoldMoves);
    assert_eq!(net.got(client), TIMED_OUT);
    net.answer(OLD, "VA 1 c7 f0 t-1\r\n1\r\n");
    assert_eq!((net.asked(NEW), net.got(client)), Default::default());
    net.check_idle();
}

/// It still asks the old servers for all that they have.
#[test]
fn a_worker_that_knows_no_new_servers_yet_confirms_nothing() {
    let (mut net, old) = beside_others(Net::new(1));
    let client = net.client();
    for order in [Order::HoldMoves, Order::GiveUp] {
        obey(&mut net, old, order);
        assert_eq!(net.mux.next_report(), None);
    }
    net.say(client, "get a\r\n");
    net.answer(OLD, &hit("a", "1"));
    assert_eq!(net.got(client), hit("a", "1"));
}

#[test]
fn a_worker_that_can_not_reach_an_old_server_asks_the_others_before_it_gives_it_up() {
    let (mut net, old) = beside_others(moving());
    let client = net.client();
    net.accepts = false;
    for _ in 0..2 {
        assert_eq!(net.mux.next_report(), None);
        net.say(client, &set("a", "1"));
        net.close_server(OLD, ServerError::Refused);
        assert_eq!(net.got(client), "SERVER_ERROR Connection refused\r\n");
        net.later(SETTLED_MS);
    }
    assert_eq!(net.mux.next_report(), Some((old, Report::GivingUp)));
    assert_eq!(net.mux.next_report(), None);
    net.say(client, &set("a", "1"));
    assert_eq!((net.asked(OLD), net.asked(NEW), net.got(client)), Default::default(), "it waits");
    obey(&mut net, old, Order::GiveUp);
    assert_eq!(net.asked(NEW), set("a", "1"));
    net.answer(NEW, "STORED\r\n");
    net.check_idle();
}

/// It lets the proxy connect, so it is not down.
#[test]
fn an_old_server_that_stands_still_is_given_up_and_one_that_answers_now_and_then_is_not() {
    for answers in [false, true] {
        let (mut net, old) = beside_others(moving());
        let client = net.client();
        for turn in 0..3 {
            net.say(client, &set("a", "1"));
            assert_eq!(net.asked(OLD), "delete a\r\n");
            if answers && turn == 1 {
                net.answer(OLD, "NOT_FOUND\r\n");
                net.answer(NEW, "STORED\r\n");
            } else {
                net.later(TIMEOUT_MS);
            }
            net.got(client);
            let is_over = turn == 2 && !answers;
            assert_eq!(net.mux.next_report(), is_over.then_some((old, Report::GivingUp)));
            net.later(SETTLED_MS);
        }
    }
}

/// A request may have waited for something else before, and have had no time left.
#[test]
fn two_late_answers_say_nothing_of_an_old_server() {
    let (mut net, _) = beside_others(moving());
    let client = net.client();
    for _ in 0..2 {
        net.say(client, &set("a", "1"));
        net.later(TIMEOUT_MS);
        net.later(SETTLED_MS);
    }
    assert_eq!(net.mux.next_report(), None);
}

#[test]
fn who_waits_for_the_other_workers_has_as_much_time_as_others() {
    let (mut net, old) = beside_others(moving());
    let client = net.client();
    obey(&mut net, old, Order::HoldMoves);
    net.say(client, "get a\r\n");
    net.later(TIMEOUT_MS);
    assert_eq!(net.got(client), TIMED_OUT);
    net.check_idle();
}

#[test]
fn nobody_waits_for_the_other_workers_once_keys_move_no_longer() {
    let (mut net, old) = beside_others(moving());
    let client = net.client();
    obey(&mut net, old, Order::HoldMoves);
    net.say(client, "get a\r\n");
    let (ring, stats) = super::migrating::ring_of(&["new"]);
    net.mux.set_servers(ring, &stats, |_| true);
    net.settle_now();
    assert_eq!(net.asked(NEW), "get a\r\n");
    net.answer(NEW, "END\r\n");
    net.check_idle();
}
