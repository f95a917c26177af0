//! Servers that are away, with a journal: what other servers are asked meanwhile, and what the server is asked
//! before it returns.

use super::{REFUSED, TIMED_OUT, hit, set};
use crate::net::{MIGRATE, Net, TIMEOUT_MS, engine, options};
use nuthatch_core::error::ServerError;
use nuthatch_core::health::{Arbiter, Command, Ejection, OnFailure, OnOverflow, Order, Report};
use nuthatch_core::limits::Limits;
use nuthatch_core::mux::{ClientId, Event, Options, ServerId};
use nuthatch_core::ring::{Distribution, Hash, Member, Ring};
use std::sync::Arc;
use std::time::Duration;

const RETRY_MS: u64 = 1000;

fn ejection(on_failure: OnFailure) -> Ejection {
    Ejection {
        failure_limit: 1,
        retry_timeout: Duration::from_millis(RETRY_MS),
        probes: 2,
        on_failure,
        journal_max: 1 << 20,
        on_overflow: OnOverflow::Stay,
        ..Ejection::default()
    }
}

/// A pool of two servers, of which the first is away.
fn away(ejection: Ejection) -> (Net, ClientId) {
    away_with(ejection, options())
}

fn away_with(ejection: Ejection, options: Options) -> (Net, ClientId) {
    let mut net = Net::with(engine(2, options, Some(ejection)));
    let client = net.client();
    net.accepts = false;
    net.say(client, "get a\r\n");
    net.close_server(0, ServerError::Refused);
    assert_eq!(net.got(client), REFUSED);
    net.accepts = true;
    (net, client)
}

/// Lets the first server be probed until what it has missed is to be removed.
fn probed(net: &mut Net) {
    for ms in [RETRY_MS, 100, 100] {
        net.later(ms);
    }
}

#[test]
fn a_key_is_removed_where_it_is_used_first_and_later_at_its_own_server() {
    let (mut net, client) = away(ejection(OnFailure::Rehash));
    net.say(client, &set("a", "1"));
    assert_eq!(net.asked(1), "delete a\r\n".to_owned() + &set("a", "1"));
    net.answer(1, "NOT_FOUND\r\nSTORED\r\n");
    net.say(client, "get a\r\nget c\r\nget b\r\n");
    assert_eq!(net.asked(1), "get a\r\ndelete c\r\nget c\r\nget b\r\n");
    net.answer(1, &(hit("a", "1") + "NOT_FOUND\r\nEND\r\n" + &hit("b", "2")));
    assert_eq!(
        net.got(client),
        "STORED\r\n".to_owned() + &hit("a", "1") + "END\r\n" + &hit("b", "2")
    );
    assert_eq!(net.stats(0).more.journal_keys.read(), 1, "c was only read");
    probed(&mut net);
    // Nobody uses it before the key is removed.
    net.say(client, "get e\r\n");
    assert_eq!(net.asked(0), "delete a\r\n");
    assert_eq!(net.asked(1), "delete e\r\nget e\r\n");
    net.answer(1, "NOT_FOUND\r\nEND\r\n");
    net.answer(0, "DELETED\r\n");
    assert!(net.events.contains(&Event::Returned { server: net.server(0) }));
    net.say(client, "get a\r\n");
    assert_eq!((net.asked(0), net.asked(1)), ("get a\r\n".to_owned(), String::new()));
    net.answer(0, "END\r\n");
    assert_eq!(net.got(client), "END\r\n".repeat(2));
    net.check_idle();
}

#[test]
fn a_server_that_fails_while_keys_are_removed_stays_away_with_them() {
    let (mut net, client) = away(ejection(OnFailure::Error));
    net.say(client, &(set("a", "1") + "delete c\r\n"));
    assert_eq!(net.got(client), REFUSED.repeat(2));
    for failure in [None, Some("ERROR\r\nERROR\r\n")] {
        probed(&mut net);
        assert_eq!(net.asked(0), "delete a\r\ndelete c\r\n");
        match failure {
            None => net.close_server(0, ServerError::Reset),
            Some(refused) => net.answer(0, refused),
        }
        net.say(client, "get a\r\n");
        assert_eq!(net.got(client), REFUSED);
    }
    let refused = Event::RemovalRefused { server: net.server(0) };
    assert_eq!(net.events.iter().filter(|event| **event == refused).count(), 1);
    probed(&mut net);
    net.answer(0, "DELETED\r\nNOT_FOUND\r\n");
    assert!(!net.mux.is_ejected(net.server(0)));
    net.check_idle();
}

#[test]
fn a_key_that_was_forgotten_to_make_room_counts_as_held_again_if_its_removal_fails() {
    // Room for two keys, of which each takes 129 bytes.
    let small = Ejection { journal_max: 300, ..ejection(OnFailure::Error) };
    let (mut net, client) = away(small);
    net.say(client, "delete a\r\n");
    probed(&mut net);
    assert_eq!(net.asked(0), "delete a\r\n");
    net.say(client, "delete c\r\ndelete e\r\n");
    net.close_server(0, ServerError::Reset);
    probed(&mut net);
    assert_eq!(net.asked(0), "delete c\r\ndelete e\r\ndelete a\r\n");
    net.answer(0, &"NOT_FOUND\r\n".repeat(3));
    assert!(!net.mux.is_ejected(net.server(0)));
    net.got(client);
    net.check_idle();
}

/// The read behind a removal on the same connection needs none of its own.
#[test]
fn a_removal_is_sent_also_if_it_is_late_when_the_connection_opens() {
    let (mut net, one) =
        away(Ejection { retry_timeout: Duration::from_secs(100), ..ejection(OnFailure::Rehash) });
    let two = net.client();
    net.accepts = false;
    net.say(one, "get a\r\n");
    net.later(TIMEOUT_MS - 1);
    net.say(two, "get a\r\n");
    net.later(1);
    net.open_server(1);
    assert_eq!(net.asked(1), "delete a\r\nget a\r\n");
    net.answer(1, "DELETED\r\nEND\r\n");
    assert_eq!(net.got(two), "END\r\n");
}

#[test]
fn a_server_that_refuses_to_remove_keys_returns_when_the_operator_wants_it() {
    let (mut net, client) = away(ejection(OnFailure::Error));
    net.say(client, &(set("a", "1") + "delete c\r\n"));
    assert_eq!(net.got(client), REFUSED.repeat(2));
    probed(&mut net);
    net.answer(0, "DELETED\r\nSERVER_ERROR no\r\n");
    assert!(net.mux.is_ejected(net.server(0)));
    net.mux.obey(net.server(0), Order::Forgive, 0, net.now());
    probed(&mut net);
    assert_eq!(net.asked(0), "delete a\r\ndelete c\r\ndelete c\r\n");
    net.answer(0, "SERVER_ERROR no\r\n");
    assert!(!net.mux.is_ejected(net.server(0)));
    assert_eq!(net.stats(0).more.removals_refused.read(), 2);
    net.check_idle();
}

#[test]
fn a_key_that_is_changed_while_keys_are_removed_is_removed_again() {
    let (mut net, client) = away(ejection(OnFailure::Rehash));
    net.say(client, &set("a", "1"));
    net.answer(1, "NOT_FOUND\r\nSTORED\r\n");
    probed(&mut net);
    assert_eq!(net.asked(0), "delete a\r\n");
    net.asked(1);
    net.say(client, &set("a", "2"));
    assert_eq!(net.asked(1), set("a", "2"), "nothing old is there");
    net.answer(1, "STORED\r\n");
    net.answer(0, "DELETED\r\n");
    assert!(net.mux.is_ejected(net.server(0)));
    assert_eq!(net.asked(0), "delete a\r\n");
    net.answer(0, "NOT_FOUND\r\n");
    net.say(client, "get a\r\n");
    assert_eq!((net.asked(0), net.asked(1)), ("get a\r\n".to_owned(), String::new()));
    net.answer(0, "END\r\n");
    assert_eq!(net.got(client), "STORED\r\nSTORED\r\nEND\r\n");
    net.check_idle();
}

#[test]
fn a_full_journal_keeps_the_server_away_or_empties_it() {
    for (on_overflow, asked) in [
        (OnOverflow::Stay, None),
        (OnOverflow::Return, Some("")),
        (OnOverflow::Flush, Some("flush_all\r\n")),
    ] {
        let small = Ejection { journal_max: 10, on_overflow, ..ejection(OnFailure::Miss) };
        let (mut net, client) = away(small);
        net.say(client, "delete a\r\n");
        assert_eq!(net.got(client), "NOT_FOUND\r\n");
        assert!(net.events.contains(&Event::JournalFull { server: net.server(0) }));
        probed(&mut net);
        assert_eq!(net.asked(0), asked.unwrap_or_default(), "{on_overflow:?}");
        if on_overflow == OnOverflow::Flush {
            // Once more, when nobody writes any longer.
            net.say(client, "delete a\r\n");
            net.answer(0, "OK\r\n");
            assert_eq!(net.asked(0), "flush_all\r\n");
            net.answer(0, "OK\r\n");
        }
        assert_eq!(net.mux.is_ejected(net.server(0)), asked.is_none(), "{on_overflow:?}");
    }
}

/// What the operator wants holds for one return. A server that fails on its way back still has what could not be
/// remembered, so it stays away until the operator wants it again.
#[test]
fn a_server_with_old_values_stays_away_again_if_its_return_fails() {
    // Room for two keys, of which each takes 129 bytes.
    let small = Ejection { journal_max: 300, ..ejection(OnFailure::Error) };
    let (mut net, client) = away(small);
    let server = net.server(0).to_bits();
    let mut arbiter = Arbiter::new(1);
    net.mux.share_arbiter();
    arbiter.set_servers(0, (&[server, net.server(1).to_bits()], &[]), small);
    arbiter.report(server, Report::Failing(ServerError::Refused), net.now());
    decided(&mut net, &mut arbiter);
    net.say(client, "delete a\r\ndelete c\r\ndelete e\r\n");
    for _ in 0..2 {
        decided_later(&mut net, &mut arbiter);
        assert_eq!(net.asked(0), "", "the operator has not wanted it");
        assert!(arbiter.command(server, Command::Return, net.now()));
        decided_later(&mut net, &mut arbiter);
        assert_eq!(net.asked(0), "delete a\r\ndelete c\r\n");
        net.close_server(0, ServerError::Reset);
        decided(&mut net, &mut arbiter);
    }
    arbiter.command(server, Command::Return, net.now());
    decided_later(&mut net, &mut arbiter);
    net.answer(0, "DELETED\r\nNOT_FOUND\r\n");
    decided(&mut net, &mut arbiter);
    assert!(!net.mux.is_ejected(net.server(0)));
}

/// An operator who has let a server return wants to know what keeps it away.
#[test]
fn clients_are_told_why_a_server_that_the_operator_let_return_stays_away() {
    let error = ejection(OnFailure::Error);
    let mut net = Net::with(engine(2, options(), Some(error)));
    let client = net.client();
    let server = net.server(0).to_bits();
    let mut arbiter = Arbiter::new(1);
    net.mux.share_arbiter();
    arbiter.set_servers(0, (&[server, net.server(1).to_bits()], &[]), error);
    arbiter.command(server, Command::Eject, net.now());
    decided(&mut net, &mut arbiter);
    net.say(client, "get a\r\n");
    assert_eq!(net.got(client), "SERVER_ERROR the server is ejected by the operator\r\n");
    net.accepts = false;
    arbiter.command(server, Command::Return, net.now());
    decided_later(&mut net, &mut arbiter);
    net.close_server(0, ServerError::Refused);
    decided(&mut net, &mut arbiter);
    net.say(client, "get a\r\n");
    assert_eq!(net.got(client), REFUSED);
}

/// Passes on what the engine and its arbiter say of each other.
fn decided(net: &mut Net, arbiter: &mut Arbiter) {
    loop {
        while let Some((id, report)) = net.mux.next_report() {
            arbiter.report(id.to_bits(), report, net.now());
        }
        let Some(decision) = arbiter.next_decision() else { return };
        let (id, now) = (ServerId::from_bits(decision.server), net.now());
        net.mux.obey(id, decision.order, decision.round, now);
        net.settle_now();
    }
}

/// Gives a server that is probed the time to return.
fn decided_later(net: &mut Net, arbiter: &mut Arbiter) {
    for ms in [RETRY_MS, 100, 100] {
        net.later(ms);
        arbiter.tick(net.now());
        decided(net, arbiter);
    }
}

/// The removals go with the request, or each would take the other's room for ever.
#[test]
fn with_a_full_journal_and_room_for_one_request_every_request_is_sent() {
    let small =
        Ejection { journal_max: 10, on_overflow: OnOverflow::Flush, ..ejection(OnFailure::Rehash) };
    let limits = Limits { server_requests_max: 1, ..options().limits };
    let (mut net, client) = away_with(small, Options { limits, ..options() });
    for (request, sent) in [
        ("get a\r\n", "delete a\r\nget a\r\n"),
        ("get a c e\r\n", "delete a\r\ndelete c\r\ndelete e\r\nget a c e\r\n"),
    ] {
        net.say(client, request);
        net.say(client, request);
        for _ in 0..2 {
            assert_eq!(net.asked(1), sent);
            net.answer(1, &("NOT_FOUND\r\n".repeat(sent.matches("delete").count()) + "END\r\n"));
            assert_eq!(net.got(client), "END\r\n");
        }
    }
}

#[test]
fn a_client_that_empties_all_servers_empties_the_absent_one_later() {
    let (mut net, client) = away(ejection(OnFailure::Miss));
    net.say(client, "flush_all\r\n");
    assert_eq!((net.asked(0), net.asked(1)), (String::new(), "flush_all\r\n".to_owned()));
    net.answer(1, "OK\r\n");
    assert_eq!(net.got(client), "OK\r\n");
    probed(&mut net);
    assert_eq!(net.asked(0), "flush_all\r\n");
}

#[test]
fn without_a_journal_nothing_is_remembered() {
    let none = Ejection { journal_max: 0, ..ejection(OnFailure::Miss) };
    let (mut net, client) = away(none);
    net.say(client, "delete a\r\nset a 0 0 1 noreply\r\n1\r\n");
    assert_eq!(net.got(client), "NOT_FOUND\r\n");
    probed(&mut net);
    assert_eq!(net.asked(0), "");
    assert!(!net.mux.is_ejected(net.server(0)));
}

#[test]
fn the_journal_counts_as_held_until_its_server_returns_or_leaves() {
    for returns in [true, false] {
        let (mut net, client) = away(ejection(OnFailure::Miss));
        net.say(client, "delete a\r\n");
        assert!(net.mux.memory() > 100, "{}", net.mux.memory());
        if returns {
            probed(&mut net);
            net.answer(0, "NOT_FOUND\r\n");
            assert!(!net.mux.is_ejected(net.server(0)));
        } else {
            let member = Member { name: b"server1"[..].into(), weight: 1 };
            let ring = Ring::new(Distribution::Modula, Hash::Fnv1a_64, None, vec![member], 1);
            net.mux.set_servers(ring, &[Arc::default()], |_| true);
            net.settle_now();
        }
        net.got(client);
        net.leave(client);
        assert_eq!(net.mux.memory(), 0, "{returns}");
    }
}

#[test]
fn a_pool_that_ejects_no_longer_uses_all_servers_at_once() {
    let (mut net, client) = away(ejection(OnFailure::Error));
    net.mux.set_options(Options { ejection: None, ..options() });
    net.say(client, "get a\r\n");
    assert_eq!(net.asked(0), "get a\r\n");
    net.answer(0, "END\r\n");
}

#[test]
fn with_too_many_away_a_failing_server_is_used_on() {
    let half = Ejection { ejected_max: 50, ..ejection(OnFailure::Error) };
    let (mut net, client) = away(half);
    net.accepts = false;
    for _ in 0..2 {
        net.say(client, "get b\r\n");
        net.close_server(1, ServerError::Refused);
    }
    let kept = Event::Kept { server: net.server(1), error: ServerError::Refused };
    assert_eq!(net.events.iter().filter(|event| **event == kept).count(), 2);
    net.accepts = true;
    net.say(client, "get b\r\n");
    assert_eq!(net.asked(1), "get b\r\n");
    net.answer(1, "END\r\n");
    assert_eq!(net.got(client), REFUSED.repeat(2) + "END\r\n");
}

/// Nobody decides about a server that has left the pool.
#[test]
fn what_waits_for_a_server_that_was_left_goes_on_when_the_server_leaves_the_pool() {
    for migrates in [true, false] {
        let pool = engine(1, Options { timeout: None, ..options() }, Some(Ejection::default()));
        let mut net = Net::with(pool);
        net.mux.share_arbiter();
        let (client, old) = (net.client(), net.server(0));
        net.mux.obey(old, Order::Leave(ServerError::Ejected), 1, net.now());
        net.say(client, "get a\r\n");
        let member = Member { name: b"new"[..].into(), weight: 1 };
        let ring = Ring::new(Distribution::Modula, Hash::Fnv1a_64, None, vec![member], 1);
        let (stats, now) = ([Arc::default()], net.now());
        match migrates {
            true => net.mux.migrate_servers(ring, &stats, |_| true, (MIGRATE, now)).unwrap(),
            false => net.mux.set_servers(ring, &stats, |_| true),
        }
        net.settle_now();
        assert_eq!(net.asked(0), "");
        if migrates {
            for order in [Order::HoldMoves, Order::GiveUp] {
                net.mux.obey(old, order, 2, net.now());
            }
            net.settle_now();
            // The new server is asked for its numbers first.
            assert!(net.asked(1).starts_with("ms nuthatch-migration "));
            net.answer(1, &"HD c10\r\n".repeat(2));
        }
        let asked = net.asked(1);
        assert!(asked.ends_with(" a c f t v\r\n") || asked == "get a\r\n", "{migrates}: {asked}");
    }
}

/// Or what a server that stood still was asked before could be carried out after it has returned.
#[test]
fn nobody_waits_for_what_a_server_was_asked_before_it_is_probed() {
    let options = Options { timeout: None, server_connections: 2, ..options() };
    let mut net = Net::with(engine(1, options, Some(Ejection::default())));
    net.mux.share_arbiter();
    let clients = [net.client(), net.client()];
    for client in clients {
        net.say(client, &set("a", "1"));
    }
    net.mux.obey(net.server(0), Order::Leave(ServerError::Ejected), 1, net.now());
    net.mux.obey(net.server(0), Order::GoAway, 1, net.now());
    net.settle_now();
    assert!(net.is_connected(0) && net.is_connected(1));
    net.mux.obey(net.server(0), Order::Disconnect, 1, net.now());
    net.settle_now();
    assert!(!net.is_connected(0) && !net.is_connected(1));
    assert_eq!(clients.map(|client| net.got(client)), [TIMED_OUT, TIMED_OUT]);
    net.check_idle();
}
