//! What a worker does in the steps in which a server gets its keys back, and what it reports.

use super::warming::{ask_all, ejection};
use super::{RESET, set};
use crate::net::{Net, engine, options};
use nuthatch_core::error::ServerError;
use nuthatch_core::health::{Ejection, OnOverflow, Order, Report, Share};
use nuthatch_core::limits::Limits;
use nuthatch_core::mux::{ClientId, Options};

/// The round of all orders.
const ROUND: u32 = 1;

/// What gives a server so many tenths of its keys.
pub(super) fn give(tenths: usize) -> [Order; 2] {
    let share = (0..tenths).fold(Share::NONE, |share, _| share.more());
    [Order::Close(share), Order::Warm(share)]
}

/// Carries out orders about the first server.
pub(super) fn obey(net: &mut Net, orders: &[Order]) {
    for order in orders {
        let (server, now) = (net.server(0), net.now());
        net.mux.obey(server, *order, ROUND, now);
        net.settle_now();
    }
}

/// A pool of two servers, of which the first has a tenth of its keys. Another engine has the arbiter.
pub(super) fn warming(options: Options, ejection: Ejection) -> (Net, ClientId) {
    let mut mux = engine(2, options, Some(ejection));
    mux.share_arbiter();
    let mut net = Net::with(mux);
    let client = net.client();
    obey(&mut net, &[Order::Leave(ServerError::Reset), Order::GoAway, Order::Replay]);
    obey(&mut net, &give(1));
    reports(&mut net);
    (net, client)
}

pub(super) fn get(key: &str) -> String {
    format!("get {key}\r\n")
}

/// What the worker has reported since this was asked last.
fn reports(net: &mut Net) -> Vec<Report> {
    std::iter::from_fn(|| net.mux.next_report()).map(|(_, report)| report).collect()
}

/// Changes a key that has not returned.
fn change(net: &mut Net, client: ClientId, key: &str) {
    net.say(client, &set(key, "1"));
    let removals = net.asked(1).matches("delete ").count();
    net.answer(1, &("NOT_FOUND\r\n".repeat(removals) + "STORED\r\n"));
    assert_eq!(net.got(client), "STORED\r\n");
}

/// Another worker could not carry out its part: the server keeps the share that it had.
fn stop_step(net: &mut Net) {
    obey(net, &give(1)[1..]);
}

#[test]
fn what_could_not_be_remembered_is_made_up_for_though_another_worker_stops_the_step() {
    let ejection = Ejection { on_overflow: OnOverflow::Flush, journal_max: 300, ..ejection() };
    let limits = Limits { server_requests_max: 1, ..Limits::default() };
    let (mut net, client) = warming(Options { limits, ..options() }, ejection);
    let (_, away) = ask_all(&mut net, client);
    for key in &away[..5] {
        change(&mut net, client, key);
    }
    assert_eq!(reports(&mut net), [Report::Overflowed], "it does not answer the first removal");
    stop_step(&mut net);
    obey(&mut net, &[Order::Replay]);
    net.asked(0);
    net.answer(0, "NOT_FOUND\r\n");
    assert_eq!(net.asked(0), "flush_all\r\n");
}

/// An overflow would empty the server, with the keys that have returned.
#[test]
fn a_journal_that_fills_up_is_relieved_by_a_server_that_is_there() {
    for (has_share, journal_max) in [(true, 600), (true, 6000), (false, 600)] {
        let ejection = Ejection { on_overflow: OnOverflow::Flush, journal_max, ..ejection() };
        let (mut net, client) = warming(options(), ejection);
        let (_, away) = ask_all(&mut net, client);
        obey(&mut net, &give(2));
        net.asked(0);
        if !has_share {
            obey(&mut net, &[Order::Leave(ServerError::Reset), Order::GoAway]);
        }
        reports(&mut net);
        let (back, _) = ask_all(&mut net, client);
        let away: Vec<_> = away.iter().filter(|key| !back.contains(key)).take(20).collect();
        let mut removed = Vec::new();
        for key in &away {
            change(&mut net, client, key);
            let asked = net.asked(0);
            net.answer(0, &"DELETED\r\n".repeat(asked.lines().count()));
            removed.extend(asked.lines().map(|line| line["delete ".len()..].to_owned()));
        }
        assert_eq!(reports(&mut net).is_empty(), has_share, "{journal_max}");
        assert_eq!(removed.is_empty(), !has_share, "{journal_max}");
        obey(&mut net, &[Order::Replay]);
        let asked = net.asked(0);
        if has_share {
            // What was removed already need not be removed again, and nothing is forgotten.
            removed.extend(asked.lines().map(|line| line["delete ".len()..].to_owned()));
            assert!(removed.iter().eq(away), "{removed:?}");
        } else {
            assert!(asked.starts_with("flush_all\r\n"));
        }
    }
}

#[test]
fn what_the_server_refuses_to_remove_is_tried_again_in_the_next_step_only() {
    let (mut net, client) = warming(options(), Ejection { journal_max: 300, ..ejection() });
    let (_, away) = ask_all(&mut net, client);
    change(&mut net, client, &away[0]);
    assert_eq!(net.asked(0), format!("delete {}\r\n", away[0]));
    net.answer(0, "SERVER_ERROR no\r\n");
    change(&mut net, client, &away[1]);
    assert_eq!(net.asked(0), "");
    obey(&mut net, &[Order::Replay]);
    assert_eq!(net.asked(0), format!("delete {}\r\ndelete {}\r\n", away[0], away[1]));
    net.answer(0, &"DELETED\r\n".repeat(2));
    // Once that is done and the server has more of its keys, the journal is relieved as before.
    obey(&mut net, &give(2)[1..]);
    let (back, _) = ask_all(&mut net, client);
    let key = away.iter().find(|key| !back.contains(key)).unwrap();
    change(&mut net, client, key);
    assert!(net.asked(0).contains(&format!("delete {key}\r\n")));
}

#[test]
fn the_figures_of_the_journal_are_without_the_keys_that_have_returned() {
    let (mut net, client) = warming(options(), ejection());
    let (_, away) = ask_all(&mut net, client);
    let bytes = |net: &Net| net.stats(0).more.journal_bytes.read();
    let before = bytes(&net);
    obey(&mut net, &give(2));
    let after = (bytes(&net), net.mux.memory());
    let (back, _) = ask_all(&mut net, client);
    let expected: usize =
        away.iter().filter(|key| !back.contains(key)).map(|key| 128 + key.len()).sum();
    assert_eq!(after, (expected as u64, expected), "nothing else is held");
    assert!(before > after.0);
}

/// Otherwise one lost connection would eject the server, as it does while keys are removed there.
#[test]
fn a_step_that_another_worker_stops_is_over() {
    let (mut net, client) = warming(options(), Ejection { failure_limit: 2, ..ejection() });
    let (back, away) = ask_all(&mut net, client);
    change(&mut net, client, &away[0]);
    obey(&mut net, &[Order::Replay]);
    assert_eq!(net.asked(0), format!("delete {}\r\n", away[0]));
    stop_step(&mut net);
    net.say(client, &get(&back[0]));
    assert_eq!(net.asked(0), get(&back[0]));
    net.close_server(0, ServerError::Reset);
    assert_eq!((net.got(client), reports(&mut net)), (RESET.to_owned(), Vec::new()));
    net.say(client, &get(&back[0]));
    assert_eq!(net.asked(0), get(&back[0]), "it is used for its share on");
    net.answer(0, "END\r\n");
    // The removal that was lost is for the next step.
    obey(&mut net, &[Order::Replay]);
    assert_eq!(net.asked(0), format!("delete {}\r\n", away[0]));
    net.answer(0, "DELETED\r\n");
    assert_eq!(reports(&mut net), [Report::Done(ROUND)]);
}

#[test]
fn a_removal_that_is_refused_or_lost_ends_the_step_whether_the_server_has_a_share_or_not() {
    for has_share in [true, false] {
        for (reply, reports_expected) in [
            ("SERVER_ERROR no\r\n", vec![Report::Failed(ROUND, ServerError::Unremoved)]),
            ("", vec![Report::Failing(ServerError::Reset)]),
        ] {
            let (mut net, client) = warming(options(), Ejection { failure_limit: 9, ..ejection() });
            let (_, away) = ask_all(&mut net, client);
            if !has_share {
                obey(&mut net, &[Order::Leave(ServerError::Reset), Order::GoAway]);
                reports(&mut net);
            }
            change(&mut net, client, &away[0]);
            change(&mut net, client, &away[1]);
            obey(&mut net, &[Order::Replay]);
            assert_eq!(net.asked(0).lines().count(), 2);
            match reply {
                "" => net.close_server(0, ServerError::Reset),
                _ => net.answer(0, &reply.repeat(2)),
            }
            assert_eq!(reports(&mut net), reports_expected, "{has_share} {reply}");
        }
    }
}

#[test]
fn a_server_that_is_lost_while_it_is_emptied_is_emptied_again() {
    let (mut net, client) = warming(options(), ejection());
    obey(&mut net, &[Order::Leave(ServerError::Reset), Order::GoAway]);
    net.say(client, "flush_all\r\n");
    assert_eq!((net.asked(0), net.asked(1)), (String::new(), "flush_all\r\n".to_owned()));
    net.answer(1, "OK\r\n");
    assert_eq!(net.got(client), "OK\r\n");
    for answers in [false, true] {
        obey(&mut net, &[Order::Replay]);
        assert_eq!(net.asked(0), "flush_all\r\n");
        match answers {
            false => net.close_server(0, ServerError::Reset),
            true => net.answer(0, "OK\r\n"),
        }
    }
    assert_eq!(reports(&mut net).last(), Some(&Report::Done(ROUND)));
}
