//! Clients that wait until it is decided who serves the keys of a server.

use super::steps::{get, give, obey, warming};
use super::warming::{ask_all, ejection};
use super::{TIMED_OUT, hit};
use crate::net::{Net, TIMEOUT_MS, options};
use nuthatch_core::error::ServerError;
use nuthatch_core::health::Order;
use nuthatch_core::limits::Limits;
use nuthatch_core::mux::{ClientId, Options};
use nuthatch_core::ring::{Distribution, Hash, Member, Ring};
use std::sync::Arc;

/// A pool of two servers, of which the first is about to get the second tenth of its keys.
struct Step {
    net: Net,
    client: ClientId,
    /// Keys of the first tenth.
    back: Vec<String>,
    /// Keys of the second tenth.
    next: Vec<String>,
}

fn step(limits: Limits) -> Step {
    let options = || Options { limits, ..options() };
    // Which keys belong to which tenth is always the same.
    let (mut other, client) = warming(options(), ejection());
    let (back, _) = ask_all(&mut other, client);
    obey(&mut other, &give(2));
    let (next, _) = ask_all(&mut other, client);
    let next = next.into_iter().filter(|key| !back.contains(key)).collect();
    let (mut net, client) = warming(options(), ejection());
    obey(&mut net, &give(2)[..1]);
    Step { net, client, back, next }
}

#[test]
fn who_waits_for_a_key_is_in_nobodys_way_and_goes_on_when_it_is_decided() {
    let Step { mut net, client, back, next } = step(Limits::default());
    let other = net.client();
    net.say(other, &(get(&back[0]) + &get(&next[0]) + &get(&back[1])));
    assert_eq!(net.asked(0), get(&back[0]));
    net.answer(0, &hit(&back[0], "1"));
    // The server is used for its share on and on.
    net.say(client, &get(&back[2]));
    assert_eq!(net.asked(0), get(&back[2]));
    net.answer(0, &hit(&back[2], "2"));
    assert_eq!(net.got(client), hit(&back[2], "2"));
    assert_eq!(net.asked(0) + &net.asked(1), "", "nobody knows who has the key");
    obey(&mut net, &give(2)[1..]);
    assert_eq!(net.asked(0), get(&next[0]) + &get(&back[1]));
    net.answer(0, &("END\r\n".to_owned() + &hit(&back[1], "3")));
    assert_eq!(net.got(other), hit(&back[0], "1") + "END\r\n" + &hit(&back[1], "3"));
    assert_eq!(net.mux.stats().limit_server_queue.read(), 0, "no queue was full");
    net.check_idle();
}

#[test]
fn who_waited_for_the_decision_does_not_overtake_who_waits_for_room() {
    let limits = Limits { server_requests_max: 4, ..Limits::default() };
    let Step { mut net, client, back, next } = step(limits);
    let (for_room, for_decision) = (net.client(), net.client());
    net.say(client, &get(&back[0]).repeat(4));
    net.say(for_room, &get(&back[1]));
    net.say(for_decision, &get(&next[0]));
    assert_eq!(net.asked(0), get(&back[0]).repeat(4));
    net.answer(0, "END\r\n");
    obey(&mut net, &give(2)[1..]);
    assert_eq!(net.asked(0), "", "half of the queue is not free yet");
    net.answer(0, "END\r\n");
    assert_eq!(net.asked(0), get(&back[1]) + &get(&next[0]));
}

#[test]
fn who_waits_for_the_decision_waits_no_longer_than_a_request() {
    let Step { mut net, client, next, .. } = step(Limits::default());
    net.say(client, &get(&next[0]));
    net.later(TIMEOUT_MS - 1);
    assert_eq!(net.got(client), "");
    net.later(1);
    assert_eq!(net.got(client), TIMED_OUT);
    net.check_idle();
}

#[test]
fn who_leaves_waits_for_no_decision() {
    let Step { mut net, client, next, .. } = step(Limits::default());
    let other = net.client();
    for client in [client, other] {
        net.say(client, &get(&next[0]));
    }
    net.leave(client);
    obey(&mut net, &give(2)[1..]);
    assert_eq!(net.asked(0), get(&next[0]), "it is the other's");
    net.answer(0, "END\r\n");
    assert_eq!(net.got(other), "END\r\n");
    net.check_idle();
}

#[test]
fn about_a_server_that_a_reload_removes_nobody_decides() {
    let Step { mut net, client, next, .. } = step(Limits::default());
    net.say(client, &get(&next[0]));
    let member = Member { name: b"server1"[..].into(), weight: 1 };
    let ring = Ring::new(Distribution::Modula, Hash::Fnv1a_64, None, vec![member], 1);
    net.mux.set_servers(ring, &[Arc::default()], |_| true);
    net.settle_now();
    assert_eq!((net.asked(0), net.asked(1)), (String::new(), get(&next[0])));
}

#[test]
fn what_goes_to_all_servers_waits_for_the_decision() {
    let Step { mut net, client, .. } = step(Limits::default());
    net.say(client, "flush_all\r\n");
    assert_eq!(net.asked(0) + &net.asked(1), "");
    obey(&mut net, &give(2)[1..]);
    for server in [0, 1] {
        assert_eq!(net.asked(server), "flush_all\r\n");
        net.answer(server, "OK\r\n");
    }
    assert_eq!(net.got(client), "OK\r\n");
}

#[test]
fn a_request_of_several_keys_waits_for_the_decision_about_one_of_them() {
    let Step { mut net, client, back, next } = step(Limits::default());
    let (back, next) = (&back[0], &next[0]);
    let both = format!("get {back} {next}\r\n");
    net.say(client, &both);
    assert_eq!(net.asked(0) + &net.asked(1), "");
    obey(&mut net, &give(2)[1..]);
    assert_eq!(net.asked(0), both);
}

#[test]
fn who_waits_for_a_server_that_is_kept_or_goes_away_goes_on() {
    let limits = Limits { server_requests_max: 1, ..Limits::default() };
    for (order, place) in [(Order::Keep, 0), (Order::GoAway, 1)] {
        let Step { mut net, client, back, .. } = step(limits);
        obey(&mut net, &[Order::Leave(ServerError::Reset)]);
        net.say(client, &get(&back[0]));
        assert_eq!(net.asked(0) + &net.asked(1), "");
        obey(&mut net, &[order]);
        let asked = net.asked(place);
        assert!(asked.ends_with(&get(&back[0])), "{order:?}: {asked}");
    }
}

/// Its queue may never have room again.
#[test]
fn who_waits_for_room_at_a_server_that_goes_away_has_another_way() {
    let limits = Limits { server_requests_max: 1, ..Limits::default() };
    let Step { mut net, client, back, .. } = step(limits);
    let other = net.client();
    net.say(client, &get(&back[0]));
    net.say(other, &get(&back[1]));
    assert_eq!(net.asked(0), get(&back[0]));
    obey(&mut net, &[Order::Leave(ServerError::Reset), Order::GoAway]);
    let asked = net.asked(1);
    assert!(asked.ends_with(&get(&back[1])), "{asked}");
}
