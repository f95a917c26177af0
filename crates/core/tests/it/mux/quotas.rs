//! Clients that send more than their quota: what they are told, and what servers are asked.

use super::hit;
use crate::net::{Net, TIMEOUT_MS, options};
use nuthatch_core::limits::Limits;
use nuthatch_core::mux::ClientId;
use nuthatch_core::quota::{Quota, Quotas, Usage};
use std::sync::Arc;

const POOL_RATE: &str = "SERVER_ERROR too many requests per second in this pool: pool_rate_max\r\n";
const ADDRESS_RATE: &str =
    "SERVER_ERROR too many requests per second from this address: address_rate_max\r\n";
const ADDRESS_REQUESTS: &str =
    "SERVER_ERROR too many requests in flight from this address: address_requests_max\r\n";
const POOL_REQUESTS: &str =
    "SERVER_ERROR too many requests in flight in this pool: pool_requests_max\r\n";

const fn rate(per_second: u32) -> Quota {
    Quota { per_second, in_flight: 0 }
}

const fn in_flight(in_flight: u32) -> Quota {
    Quota { per_second: 0, in_flight }
}

fn limited(net: &mut Net, pool: Quota, address: Quota) -> Arc<Usage> {
    let usage = Arc::default();
    net.mux.set_quotas(Quotas { pool, address }, &usage);
    usage
}

fn client_of(net: &mut Net, address: &Arc<Usage>) -> ClientId {
    let client = net.client();
    net.mux.set_address(client, || Arc::clone(address));
    client
}

#[test]
fn an_address_has_its_own_rate_and_the_replies_stay_in_order() {
    let mut net = Net::new(1);
    limited(&mut net, Quota::default(), rate(3));
    let (loud, polite) = (Arc::default(), Arc::default());
    let clients = [&loud, &loud, &polite].map(|address| client_of(&mut net, address));
    net.say(clients[0], "get a\r\nget b\r\n");
    net.say(clients[1], "get c\r\nget d\r\nmn\r\nget e\r\n");
    net.say(clients[2], "get f\r\n");
    assert_eq!(net.asked(0), "get a\r\nget b\r\nget c\r\nget f\r\n");
    net.answer(0, &("END\r\n".repeat(2) + &hit("c", "1") + "END\r\n"));
    assert_eq!(net.got(clients[0]), "END\r\nEND\r\n");
    assert_eq!(net.got(clients[1]), hit("c", "1") + ADDRESS_RATE + "MN\r\n" + ADDRESS_RATE);
    assert_eq!(net.got(clients[2]), "END\r\n");
    assert_eq!(net.mux.stats().limit_address_rate.read(), 2);
    // A third of a second later there is room for one more.
    net.later(334);
    net.say(clients[0], "get a\r\nget b\r\n");
    assert_eq!(net.asked(0), "get a\r\n");
    net.answer(0, "END\r\n");
    assert_eq!(net.got(clients[0]), "END\r\n".to_owned() + ADDRESS_RATE);
    net.check_idle();
}

#[test]
fn a_pool_has_a_rate_for_all_addresses_and_silent_requests_stay_silent() {
    let mut net = Net::new(1);
    limited(&mut net, rate(2), Quota::default());
    let clients = [net.client(), net.client()];
    net.say(clients[0], "get a\r\nset a 0 0 1 noreply\r\nx\r\nset a 0 0 1 noreply\r\ny\r\n");
    net.say(clients[1], "mg a v q\r\nset b 0 0 1\r\nx\r\nmn\r\n");
    assert_eq!(net.asked(0), "get a\r\nset a 0 0 1\r\nx\r\n");
    net.answer(0, "END\r\nSTORED\r\n");
    assert_eq!(net.got(clients[0]), "END\r\n");
    assert_eq!(net.got(clients[1]), POOL_RATE.repeat(2) + "MN\r\n", "an error is shown");
    assert_eq!(net.mux.stats().limit_pool_rate.read(), 3);
    net.check_idle();
}

#[test]
fn requests_in_flight_are_those_of_all_clients_until_they_are_answered() {
    for (pool, address, error) in [
        (Quota::default(), in_flight(2), ADDRESS_REQUESTS),
        (in_flight(2), Quota::default(), POOL_REQUESTS),
    ] {
        let mut net = Net::new(1);
        let usage = limited(&mut net, pool, address);
        let own = Arc::default();
        let clients = [client_of(&mut net, &own), client_of(&mut net, &own)];
        net.say(clients[0], "get a\r\nset a 0 0 1 noreply\r\nx\r\nget b\r\n");
        net.say(clients[1], "get c\r\n");
        assert_eq!(net.got(clients[1]), error);
        assert_eq!((usage.in_flight(), own.in_flight()), (2, 2));
        net.answer(0, "END\r\nSTORED\r\n");
        assert_eq!(net.got(clients[0]), "END\r\n".to_owned() + error);
        assert_eq!((usage.in_flight(), own.in_flight()), (0, 0));
        net.check_idle();
    }
}

#[test]
fn a_request_that_waits_for_room_counts_once() {
    let limits = Limits { server_requests_max: 1, ..options().limits };
    let mut net = Net::with_limits(1, limits);
    limited(&mut net, rate(4), Quota::default());
    let client = net.client();
    net.say(client, "get a\r\nget b\r\nget c\r\nget d\r\n");
    for _ in 0..4 {
        net.answer(0, "END\r\n");
    }
    assert_eq!(net.got(client), "END\r\n".repeat(4));
    net.check_idle();
}

#[test]
fn quotas_that_change_hold_for_clients_that_are_there() {
    let mut net = Net::new(1);
    let client = net.client();
    let usage = limited(&mut net, in_flight(1), Quota::default());
    net.say(client, "get a\r\n");
    net.mux.set_quotas(Quotas::default(), &usage);
    net.say(client, "get b\r\nget c\r\n");
    assert_eq!(usage.in_flight(), 3);
    let own = Arc::<Usage>::default();
    net.mux.set_address(client, || Arc::clone(&own));
    assert_eq!(own.in_flight(), 3);
    net.mux.set_quotas(Quotas { address: in_flight(3), ..Quotas::default() }, &usage);
    net.say(client, "get d\r\n");
    net.answer(0, &"END\r\n".repeat(3));
    assert_eq!(net.got(client), "END\r\n".repeat(3) + ADDRESS_REQUESTS);
    assert_eq!((usage.in_flight(), own.in_flight()), (0, 0));
    net.check_idle();
}

/// Or a client that connects, asks and leaves again and again would have as many as it likes.
#[test]
fn requests_of_clients_that_have_left_count_until_they_are_answered() {
    for (pool, address, error) in [
        (Quota::default(), in_flight(5), ADDRESS_REQUESTS),
        (in_flight(5), Quota::default(), POOL_REQUESTS),
    ] {
        let mut net = Net::new(2);
        let usage = limited(&mut net, pool, address);
        let own = Arc::<Usage>::default();
        let used = || (usage.in_flight(), own.in_flight());
        let first = client_of(&mut net, &own);
        // The second reply waits for the first, and the last is for nobody.
        net.say(first, "get a\r\nget b\r\nset a 0 0 1 noreply\r\nx\r\n");
        net.answer(1, "END\r\n");
        assert_eq!(used(), (3, 3));
        net.leave(first);
        assert_eq!(used(), (2, 2));
        let second = client_of(&mut net, &own);
        net.say(second, "get a c b\r\n");
        net.leave(second);
        assert_eq!(used(), (3, 3), "of several keys, as one");
        // The proxy itself answers this.
        net.answers_questions = false;
        let third = client_of(&mut net, &own);
        net.say(third, "get a\r\nstats\r\n");
        net.leave(third);
        let last = client_of(&mut net, &own);
        assert_eq!(used(), (5, 5));
        net.say(last, "get a\r\n");
        assert_eq!(net.got(last), error);
        for (server, reply, left) in [
            (0, "END\r\n", 4),
            (0, "STORED\r\n", 3),
            (0, "END\r\n", 3),
            (1, "END\r\n", 2),
            (0, "END\r\n", 1),
        ] {
            net.answer(server, reply);
            assert_eq!(used(), (left, left));
        }
        net.answers_questions = true;
        net.settle_now();
        assert_eq!(used(), (0, 0));
        // Or when their time is over.
        net.say(last, "get a\r\n");
        net.leave(last);
        assert_eq!(used(), (1, 1));
        net.later(TIMEOUT_MS);
        assert_eq!(used(), (0, 0));
        net.answer(0, "END\r\n");
        net.check_idle();
    }
}
