//! What the arbiter decides, report by report.

mod warming;

use super::*;
use crate::health::Command;
use alloc::vec::Vec;

const POOL: u64 = 7;
const RETRY: Duration = Duration::from_secs(1);

fn at_ms(ms: u64) -> Instant {
    Instant::from_nanos(ms * 1_000_000)
}

fn arbiter(workers: usize, servers: u64, ejection: Ejection) -> Arbiter {
    let mut arbiter = Arbiter::new(workers);
    arbiter.set_servers(POOL, (&(0..servers).collect::<Vec<_>>(), &[]), ejection);
    arbiter
}

fn ejection() -> Ejection {
    Ejection { retry_timeout: RETRY, probes: 2, ..Ejection::default() }
}

/// The orders since the last call, with the server of each.
fn orders(arbiter: &mut Arbiter) -> Vec<(u64, To, Order)> {
    let next = || arbiter.next_decision();
    core::iter::from_fn(next).map(|it| (it.server, it.to, it.order)).collect()
}

fn round(arbiter: &Arbiter, server: u64) -> u32 {
    arbiter.seats[&server].round
}

/// Every worker confirms the last order.
fn confirm(arbiter: &mut Arbiter, server: u64, now: Instant) {
    let round = round(arbiter, server);
    for _ in 0..arbiter.workers {
        arbiter.report(server, Report::Done(round), now);
    }
}

const FAILING: Report = Report::Failing(ServerError::Reset);
const DISCONNECT: (u64, To, Order) = (0, To::All, Order::Disconnect);
const LEAVE: Order = Order::Leave(ServerError::Reset);

/// Ejects server 0 at 0 ms.
fn ejected(workers: usize) -> Arbiter {
    let mut arbiter = arbiter(workers, 4, ejection());
    arbiter.report(0, FAILING, at_ms(0));
    confirm(&mut arbiter, 0, at_ms(0));
    assert_eq!(orders(&mut arbiter), [(0, To::All, LEAVE), (0, To::All, Order::GoAway)]);
    arbiter
}

#[test]
fn nobody_stands_in_for_a_server_before_every_worker_has_left_it() {
    let mut arbiter = arbiter(3, 4, ejection());
    arbiter.report(0, FAILING, at_ms(0));
    // Another worker has seen it, too.
    arbiter.report(0, FAILING, at_ms(0));
    assert_eq!(orders(&mut arbiter), [(0, To::All, LEAVE)]);
    for _ in 0..2 {
        arbiter.report(0, Report::Done(1), at_ms(1));
        assert_eq!(orders(&mut arbiter), []);
    }
    arbiter.report(0, Report::Done(1), at_ms(1));
    assert_eq!(orders(&mut arbiter), [(0, To::All, Order::GoAway)]);
    assert_eq!(arbiter.next_tick(), Some(at_ms(1001)));
}

#[test]
fn a_server_returns_after_probes_and_when_every_worker_is_done() {
    let mut arbiter = ejected(2);
    arbiter.tick(at_ms(999));
    assert_eq!(orders(&mut arbiter), []);
    // Workers take turns, so that one that hangs delays the return only.
    arbiter.tick(at_ms(1000));
    assert_eq!(orders(&mut arbiter), [DISCONNECT, (0, To::One(0), Order::Probe)]);
    arbiter.report(0, Report::Probed(Ok(())), at_ms(1010));
    arbiter.tick(at_ms(1109));
    assert_eq!(orders(&mut arbiter), []);
    arbiter.tick(at_ms(1110));
    assert_eq!(orders(&mut arbiter), [(0, To::One(1), Order::Probe)]);
    arbiter.report(0, Report::Probed(Ok(())), at_ms(1120));
    arbiter.tick(at_ms(1220));
    assert_eq!(orders(&mut arbiter), [(0, To::All, Order::Replay)]);
    confirm(&mut arbiter, 0, at_ms(1230));
    assert_eq!(orders(&mut arbiter), [(0, To::All, Order::Close(Share::ALL))]);
    arbiter.report(0, Report::Done(round(&arbiter, 0)), at_ms(1231));
    assert_eq!(orders(&mut arbiter), [], "one worker still lets others stand in");
    arbiter.report(0, Report::Done(round(&arbiter, 0)), at_ms(1231));
    assert_eq!(orders(&mut arbiter), [(0, To::All, Order::Return)]);
    assert_eq!(arbiter.next_tick(), None);
}

#[test]
fn a_probe_that_fails_or_hangs_begins_the_wait_anew() {
    for answer in [Some(Err(ServerError::Refused)), None] {
        let mut arbiter = ejected(1);
        arbiter.tick(at_ms(1000));
        arbiter.report(0, Report::Probed(Ok(())), at_ms(1000));
        arbiter.tick(at_ms(1100));
        let probe = (0, To::One(0), Order::Probe);
        assert_eq!(orders(&mut arbiter), [DISCONNECT, probe, probe]);
        let failed_at = match answer {
            Some(outcome) => {
                arbiter.report(0, Report::Probed(outcome), at_ms(1100));
                1100
            }
            None => {
                arbiter.tick(at_ms(2100));
                // Its answer comes too late.
                arbiter.report(0, Report::Probed(Ok(())), at_ms(2101));
                2100
            }
        };
        assert_eq!(arbiter.next_tick(), Some(at_ms(failed_at + 1000)));
        arbiter.tick(at_ms(failed_at + 1000));
        arbiter.report(0, Report::Probed(Ok(())), at_ms(failed_at + 1000));
        arbiter.tick(at_ms(failed_at + 1100));
        let probes = [(0, To::One(0), Order::Probe), (0, To::One(0), Order::Probe)];
        assert_eq!(orders(&mut arbiter), probes, "the first one does not count any longer");
    }
}

/// Two workers and a server that has answered its probes: the workers remove what it has missed, or close it if
/// they have confirmed that once.
fn returning(steps: usize) -> Arbiter {
    let mut arbiter = ejected(2);
    for ms in [1000, 1100] {
        arbiter.tick(at_ms(ms));
        arbiter.report(0, Report::Probed(Ok(())), at_ms(ms));
    }
    arbiter.tick(at_ms(1200));
    for _ in 0..steps {
        confirm(&mut arbiter, 0, at_ms(1200));
    }
    orders(&mut arbiter);
    arbiter
}

#[test]
fn a_server_that_fails_while_it_returns_is_away_again() {
    let failures: [fn(u32) -> Report; 2] =
        [|round| Report::Failed(round, ServerError::Closed), |_| FAILING];
    for (failure, steps) in failures.iter().flat_map(|it| [(it, 0), (it, 1)]) {
        let mut arbiter = returning(steps);
        let before = round(&arbiter, 0);
        arbiter.report(0, failure(before), at_ms(1200));
        assert_eq!(orders(&mut arbiter), [(0, To::All, Order::GoAway)]);
        // What other workers say of that round is of no use.
        arbiter.report(0, Report::Done(before), at_ms(1201));
        arbiter.report(0, Report::Done(before), at_ms(1201));
        arbiter.report(0, Report::Failed(before, ServerError::Closed), at_ms(1201));
        assert_eq!((orders(&mut arbiter), arbiter.next_tick()), (Vec::new(), Some(at_ms(2200))));
    }
}

#[test]
fn a_server_that_fails_while_it_returns_is_not_tried_in_every_turn() {
    let untested = Ejection { retry_timeout: Duration::ZERO, probes: 0, ..ejection() };
    let mut arbiter = arbiter(1, 4, untested);
    arbiter.report(0, FAILING, at_ms(0));
    confirm(&mut arbiter, 0, at_ms(0));
    arbiter.tick(at_ms(0));
    let replay = round(&arbiter, 0);
    arbiter.report(0, Report::Failed(replay, ServerError::Other), at_ms(1));
    assert_eq!(arbiter.next_tick(), Some(at_ms(101)));
}

#[test]
fn a_worker_that_does_not_finish_keeps_the_server_away() {
    let mut arbiter = ejected(2);
    for ms in [1000, 1100] {
        arbiter.tick(at_ms(ms));
        arbiter.report(0, Report::Probed(Ok(())), at_ms(ms));
    }
    arbiter.tick(at_ms(1200));
    arbiter.report(0, Report::Done(round(&arbiter, 0)), at_ms(1300));
    orders(&mut arbiter);
    arbiter.tick(at_ms(11_200));
    assert_eq!(orders(&mut arbiter), [(0, To::All, Order::GoAway)]);
}

#[test]
fn not_more_servers_are_away_than_may_be() {
    for (ejected_max, may) in [(100, 4), (99, 3), (50, 2), (49, 1), (25, 1), (24, 0), (0, 0)] {
        let mut arbiter = arbiter(1, 4, Ejection { ejected_max, ..ejection() });
        for server in 0..4 {
            arbiter.report(server, FAILING, at_ms(0));
        }
        let all = orders(&mut arbiter);
        let left = all.iter().filter(|order| order.2 == LEAVE).count();
        let kept = all.iter().filter(|order| order.2 == Order::Keep).count();
        assert_eq!((left, kept), (may, 4 - may), "{ejected_max}");
    }
}

#[test]
fn other_pools_do_not_count() {
    let half = Ejection { ejected_max: 50, ..ejection() };
    let mut arbiter = arbiter(1, 2, half);
    arbiter.set_servers(POOL + 1, (&[10, 11], &[]), half);
    arbiter.report(10, FAILING, at_ms(0));
    arbiter.report(0, FAILING, at_ms(0));
    assert_eq!(orders(&mut arbiter), [(10, To::All, LEAVE), (0, To::All, LEAVE)]);
    arbiter.remove_pool(POOL);
    orders(&mut arbiter);
    arbiter.report(1, FAILING, at_ms(0));
    assert_eq!(orders(&mut arbiter), [(1, To::All, Order::Keep)]);
}

/// A worker that does not know a server yet drops what it is ordered. So it may be ordered nothing that counts, but
/// to leave the server, which it is told again: a drain ends without it, and what is kept was not left.
#[test]
fn nothing_else_is_ordered_before_every_worker_has_left_a_server() {
    let mut seed = 1_u64;
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % below
    };
    for _ in 0..200 {
        let mut arbiter = arbiter(2, 2, ejection());
        let mut confirmed = 0;
        for ms in 0..200 {
            let now = at_ms(ms * 100);
            let round = round(&arbiter, 0);
            match random(9) {
                0 => arbiter.report(0, FAILING, now),
                1 => arbiter.report(0, Report::Overflowed, now),
                2 => arbiter.report(0, Report::Failed(round, ServerError::Reset), now),
                3 => arbiter.report(0, Report::Probed(Ok(())), now),
                // The other worker says nothing.
                4 if confirmed < round => {
                    confirmed = round;
                    arbiter.report(0, Report::Done(round), now);
                }
                5 => drop(arbiter.command(0, Command::Drain, now)),
                6 => drop(arbiter.command(0, Command::Eject, now)),
                7 => drop(arbiter.command(0, Command::Return, now)),
                _ => arbiter.tick(now),
            }
            let is_other = |order| !matches!(order, Order::Leave(_) | Order::Drain | Order::Keep);
            let others: Vec<_> =
                orders(&mut arbiter).into_iter().filter(|it| is_other(it.2)).collect();
            assert_eq!(others, []);
        }
    }
}

/// An order may come before its worker knows the server, or be for a worker that ends.
#[test]
fn a_worker_that_does_not_leave_a_server_is_told_again() {
    let mut arbiter = arbiter(2, 4, ejection());
    arbiter.report(0, FAILING, at_ms(0));
    let first = round(&arbiter, 0);
    let mut told = Vec::new();
    for ms in 0..60_000 {
        arbiter.tick(at_ms(ms));
        if orders(&mut arbiter).contains(&(0, To::All, LEAVE)) {
            told.push(ms);
            // Of two workers, only one ever answers.
            arbiter.report(0, Report::Done(round(&arbiter, 0)), at_ms(ms));
            assert_eq!(orders(&mut arbiter), [], "the other one may use the server");
            assert_eq!(arbiter.standing(0).unwrap().stage, Stage::Leaving);
        }
        assert!(arbiter.next_tick().is_some_and(|at| at > at_ms(ms)));
    }
    assert_eq!(
        told[..6],
        [0, 100, 300, 700, 1500, 3100],
        "a worker that is slow is not told more and more"
    );
    assert!(told.windows(2).all(|two| two[1] - two[0] <= 10_000), "{told:?}");
    // What was said of an earlier order does not count for this one.
    arbiter.report(0, Report::Done(first), at_ms(60_000));
    assert_eq!(orders(&mut arbiter), []);
    arbiter.report(0, Report::Done(round(&arbiter, 0)), at_ms(60_000));
    assert_eq!(orders(&mut arbiter), [(0, To::All, Order::GoAway)]);
}

/// What it has in its sockets is carried out before what it has missed is removed, as `PROBE_GAP` is between.
#[test]
fn before_a_server_is_tried_every_worker_stops_waiting_for_it() {
    for (probes, first) in [(2, (0, To::One(0), Order::Probe)), (0, (0, To::All, Order::Replay))] {
        let mut arbiter = arbiter(2, 4, Ejection { probes, ..ejection() });
        arbiter.report(0, FAILING, at_ms(0));
        confirm(&mut arbiter, 0, at_ms(0));
        orders(&mut arbiter);
        arbiter.tick(at_ms(1000));
        assert_eq!(orders(&mut arbiter), [DISCONNECT, first]);
        // A worker that has only begun to remove keys when the server fails has connections again.
        if probes == 0 {
            arbiter.report(0, FAILING, at_ms(1000));
            orders(&mut arbiter);
            arbiter.tick(at_ms(2000));
            assert_eq!(orders(&mut arbiter), [DISCONNECT, first]);
            continue;
        }
        // Nobody has asked it anything since.
        arbiter.report(0, Report::Probed(Err(ServerError::Refused)), at_ms(1000));
        arbiter.tick(at_ms(2000));
        assert_eq!(orders(&mut arbiter), [(0, To::One(1), Order::Probe)]);
    }
}

/// The worker has stopped to use it, and waits for what becomes of it.
#[test]
fn a_worker_goes_on_using_a_server_about_which_nobody_decides() {
    let mut arbiter = arbiter(2, 4, ejection());
    arbiter.report(9, FAILING, at_ms(0));
    assert_eq!(orders(&mut arbiter), [(9, To::All, Order::Keep)]);
    for report in [Report::Done(1), Report::Overflowed, Report::Probed(Ok(()))] {
        arbiter.report(9, report, at_ms(0));
        assert_eq!(orders(&mut arbiter), [], "{report:?}");
    }
}

#[test]
fn a_server_that_fails_again_soon_stays_away_longer() {
    let untested = Ejection { probes: 0, ..ejection() };
    let mut arbiter = arbiter(1, 4, untested);
    let (mut now, mut stays) = (0, Vec::new());
    for pause in [0, 10, 10, 10, 10, 10, 10, 100_000] {
        now += pause;
        arbiter.report(0, FAILING, at_ms(now));
        confirm(&mut arbiter, 0, at_ms(now));
        let back = arbiter.next_tick().unwrap();
        stays.push(back.since(at_ms(now)).as_secs());
        now += stays[stays.len() - 1] * 1000;
        arbiter.tick(at_ms(now));
        confirm(&mut arbiter, 0, at_ms(now));
        confirm(&mut arbiter, 0, at_ms(now));
        assert_eq!(orders(&mut arbiter).last().unwrap().2, Order::Return);
    }
    assert_eq!(stays, [1, 2, 4, 8, 16, 16, 16, 1]);
}

#[test]
fn the_operator_ejects_a_server_and_lets_it_return() {
    let mut arbiter = arbiter(1, 4, ejection());
    assert!(arbiter.command(0, Command::Eject, at_ms(0)));
    confirm(&mut arbiter, 0, at_ms(0));
    assert_eq!(orders(&mut arbiter).len(), 2);
    assert_eq!(arbiter.next_tick(), None, "it stays away");
    arbiter.tick(at_ms(100_000));
    assert_eq!(orders(&mut arbiter), []);
    assert!(arbiter.command(0, Command::Return, at_ms(100_000)));
    arbiter.tick(at_ms(100_000));
    let wanted = [(0, To::All, Order::Forgive), DISCONNECT, (0, To::One(0), Order::Probe)];
    assert_eq!(orders(&mut arbiter), wanted, "it is tested, too");
    assert!(!arbiter.command(9, Command::Return, at_ms(0)), "there is no such server");
}

#[test]
fn a_server_that_fails_its_probe_is_not_away_because_of_the_operator_who_let_it_return() {
    let refused = || Report::Probed(Err(ServerError::Refused));
    let reason = |arbiter: &Arbiter| arbiter.standing(0).unwrap().error;
    for (is_held_again, wanted) in [(false, ServerError::Refused), (true, ServerError::Ejected)] {
        let mut arbiter = arbiter(2, 4, ejection());
        arbiter.command(0, Command::Eject, at_ms(0));
        confirm(&mut arbiter, 0, at_ms(0));
        arbiter.command(0, Command::Return, at_ms(10));
        arbiter.tick(at_ms(10));
        assert_eq!(reason(&arbiter), Some(ServerError::Ejected), "nothing else is known");
        if is_held_again {
            arbiter.command(0, Command::Eject, at_ms(11));
        }
        orders(&mut arbiter);
        arbiter.report(0, refused(), at_ms(12));
        assert_eq!(reason(&arbiter), Some(wanted));
        let told = [(0, To::All, Order::StayAway(ServerError::Refused))];
        assert_eq!(orders(&mut arbiter), if is_held_again { &[][..] } else { &told });
    }

    let mut arbiter = ejected(2);
    arbiter.tick(at_ms(1000));
    orders(&mut arbiter);
    arbiter.report(0, refused(), at_ms(1001));
    assert_eq!(orders(&mut arbiter), [], "why a server was ejected does not change");
}

/// Server 9 is no longer in the pool.
#[test]
fn an_old_server_is_given_up_when_no_worker_asks_it_any_longer() {
    let hold = (9, To::All, Order::HoldMoves);
    let mut arbiter = arbiter(2, 4, ejection());
    arbiter.set_moving([0].into());
    let last_round = |arbiter: &Arbiter| arbiter.decisions.back().map(|it| it.round);
    for _ in 0..2 {
        arbiter.report(9, Report::GivingUp, at_ms(0));
    }
    let first = last_round(&arbiter).unwrap();
    assert_eq!(orders(&mut arbiter), [hold], "once is enough");
    arbiter.report(9, Report::Done(first), at_ms(10));
    arbiter.tick(at_ms(99));
    assert_eq!((orders(&mut arbiter), arbiter.next_tick()), (Vec::new(), Some(at_ms(100))));
    arbiter.tick(at_ms(100));
    let second = last_round(&arbiter).unwrap();
    assert_eq!(orders(&mut arbiter), [hold], "one has not confirmed: all are told again");
    assert_eq!(arbiter.next_tick(), Some(at_ms(300)));
    for round in [first, second] {
        arbiter.report(9, Report::Done(round), at_ms(110));
        assert_eq!(orders(&mut arbiter), [], "one has confirmed this round");
    }
    arbiter.report(9, Report::Done(second), at_ms(120));
    assert_eq!(orders(&mut arbiter), [(9, To::All, Order::GiveUp)]);
    assert_eq!(arbiter.next_tick(), None);

    arbiter.report(9, Report::GivingUp, at_ms(200));
    arbiter.set_moving(BTreeSet::new());
    assert_eq!(arbiter.next_tick(), None, "keys move no longer");
}

#[test]
fn what_is_confirmed_of_an_old_server_is_no_other_order() {
    let mut arbiter = arbiter(1, 4, ejection());
    arbiter.set_moving([0].into());
    arbiter.report(0, FAILING, at_ms(0));
    let left = round(&arbiter, 0);
    arbiter.report(0, Report::GivingUp, at_ms(0));
    let held = arbiter.decisions.back().unwrap().round;
    assert_ne!(left, held);
    orders(&mut arbiter);
    arbiter.report(0, Report::Done(held), at_ms(1));
    assert_eq!(orders(&mut arbiter), [(0, To::All, Order::GiveUp)]);
    arbiter.report(0, Report::Done(left), at_ms(1));
    assert_eq!(orders(&mut arbiter), [(0, To::All, Order::GoAway)]);
}

#[test]
fn a_server_is_drained_once_no_worker_has_a_client_there_or_it_takes_too_long() {
    let leave = (0, To::All, Order::Leave(ServerError::Ejected));
    let drained = || {
        let mut arbiter = arbiter(2, 4, ejection());
        assert!(arbiter.command(0, Command::Drain, at_ms(0)));
        assert!(arbiter.command(0, Command::Drain, at_ms(1)), "once is enough");
        assert_eq!(orders(&mut arbiter), [(0, To::All, Order::Drain)]);
        let seen = arbiter.standing(0).unwrap();
        let draining = (Stage::Draining, Some(ServerError::Ejected), true);
        assert_eq!((seen.stage, seen.error, seen.by_operator), draining);
        arbiter
    };
    let mut arbiter = drained();
    let first = round(&arbiter, 0);
    arbiter.report(0, Report::Done(first), at_ms(5));
    assert_eq!(orders(&mut arbiter), []);
    arbiter.report(0, Report::Done(first), at_ms(6));
    assert_eq!(orders(&mut arbiter), [leave]);
    confirm(&mut arbiter, 0, at_ms(7));
    assert_eq!(arbiter.standing(0).unwrap().stage, Stage::Held);

    let mut arbiter = drained();
    assert_eq!(arbiter.next_tick(), Some(at_ms(10_000)));
    arbiter.tick(at_ms(10_000));
    assert_eq!(orders(&mut arbiter), [leave], "after ten seconds");

    let mut arbiter = drained();
    arbiter.report(0, FAILING, at_ms(5));
    assert_eq!(orders(&mut arbiter), [(0, To::All, LEAVE)], "it fails");

    let mut arbiter = drained();
    arbiter.command(0, Command::Eject, at_ms(5));
    assert_eq!(orders(&mut arbiter), [leave], "at once");

    let mut arbiter = drained();
    arbiter.command(0, Command::Return, at_ms(5));
    assert_eq!(orders(&mut arbiter), [(0, To::All, Order::Keep)]);
    confirm(&mut arbiter, 0, at_ms(6));
    arbiter.tick(at_ms(20_000));
    assert_eq!((orders(&mut arbiter), arbiter.next_tick()), (Vec::new(), None));
}

#[test]
fn a_server_that_the_operator_wants_back_is_tried_at_once() {
    let mut arbiter = ejected(1);
    arbiter.command(0, Command::Return, at_ms(10));
    assert!(arbiter.next_tick().unwrap() <= at_ms(10));
    arbiter.tick(at_ms(10));
    let wanted = [(0, To::All, Order::Forgive), DISCONNECT, (0, To::One(0), Order::Probe)];
    assert_eq!(orders(&mut arbiter), wanted);
}

#[test]
fn a_server_that_is_left_already_is_not_left_anew_for_the_operator() {
    for command in [Command::Drain, Command::Eject] {
        let mut arbiter = arbiter(2, 4, ejection());
        arbiter.report(0, FAILING, at_ms(0));
        arbiter.report(0, Report::Done(round(&arbiter, 0)), at_ms(1));
        orders(&mut arbiter);
        arbiter.command(0, command, at_ms(1));
        assert_eq!(orders(&mut arbiter), [], "{command:?}");
        arbiter.report(0, Report::Done(round(&arbiter, 0)), at_ms(2));
        assert_eq!(orders(&mut arbiter), [(0, To::All, Order::GoAway)]);
        assert_eq!(arbiter.standing(0).unwrap().stage, Stage::Held);
    }
}

/// Others stand in for it: nobody has to leave it.
#[test]
fn a_server_that_the_operator_wants_out_while_it_returns_stays_away() {
    for (command, steps) in
        [Command::Drain, Command::Eject].into_iter().flat_map(|it| [(it, 0), (it, 1)])
    {
        let mut arbiter = returning(steps);
        assert_eq!(arbiter.standing(0).unwrap().stage, Stage::Returning);
        assert!(arbiter.command(0, command, at_ms(1200)));
        assert_eq!(orders(&mut arbiter), [(0, To::All, Order::GoAway)], "{command:?}");
        confirm(&mut arbiter, 0, at_ms(1201));
        arbiter.tick(at_ms(60_000));
        assert_eq!((orders(&mut arbiter), arbiter.next_tick()), (Vec::new(), None));
        assert_eq!(arbiter.standing(0).unwrap().stage, Stage::Held);
    }
}

#[test]
fn a_server_of_which_not_all_is_known_stays_away_if_the_pool_wants_that() {
    for (on_overflow, tries) in
        [(OnOverflow::Stay, 0), (OnOverflow::Return, 1), (OnOverflow::Flush, 1)]
    {
        let mut arbiter = arbiter(1, 4, Ejection { on_overflow, ..ejection() });
        arbiter.report(0, FAILING, at_ms(0));
        confirm(&mut arbiter, 0, at_ms(0));
        arbiter.report(0, Report::Overflowed, at_ms(10));
        orders(&mut arbiter);
        arbiter.tick(at_ms(1000));
        assert_eq!(orders(&mut arbiter).len(), 2 * tries, "{on_overflow:?}");
        arbiter.command(0, Command::Return, at_ms(1000));
        arbiter.tick(at_ms(1000));
        assert_eq!(orders(&mut arbiter).len(), 3 - 2 * tries);
    }
}

#[test]
fn nobody_waits_for_a_decision_about_a_server_of_a_pool_that_is_gone() {
    for (confirmed, last) in
        [(&[][..], Order::Keep), (&[0], Order::GoAway), (&[0, 1300], Order::GoAway)]
    {
        let mut arbiter = arbiter(2, 4, Ejection { probes: 0, ..ejection() });
        arbiter.report(0, FAILING, at_ms(0));
        for ms in confirmed {
            confirm(&mut arbiter, 0, at_ms(*ms));
            arbiter.tick(at_ms(ms + 1200));
        }
        arbiter.remove_pool(POOL);
        assert_eq!(orders(&mut arbiter).last(), Some(&(0, To::All, last)), "{confirmed:?}");
        assert_eq!(arbiter.next_tick(), None);
    }
}

#[test]
fn a_server_that_a_reload_brings_is_live_and_one_that_stays_is_as_it_was() {
    let mut arbiter = ejected(1);
    arbiter.set_servers(POOL, (&[0, 9], &[]), ejection());
    assert_eq!(arbiter.standing(0).unwrap().next_try, Some(at_ms(1000)));
    assert_eq!(arbiter.standing(9).unwrap().stage, Stage::Live);
    arbiter.report(1, FAILING, at_ms(1));
    assert_eq!(orders(&mut arbiter), [(1, To::All, Order::Keep)], "it has left the pool");
}
