//! Servers that get their keys back one tenth after the other.

use super::*;
use crate::health::OnFailure;
use alloc::vec;

fn slow() -> Ejection {
    Ejection {
        probes: 0,
        slow_start: Duration::from_secs(10),
        on_failure: OnFailure::Rehash,
        journal_max: 1,
        on_overflow: OnOverflow::Stay,
        ..ejection()
    }
}

/// Server 0 of `servers`, which failed at 0 ms, has a tenth of its keys at 1000 ms.
fn warming(servers: u64, ejection: Ejection) -> Arbiter {
    let mut arbiter = arbiter(2, servers, ejection);
    arbiter.report(0, FAILING, at_ms(0));
    confirm(&mut arbiter, 0, at_ms(0));
    step(&mut arbiter, 1000);
    assert_eq!(orders(&mut arbiter)[3..], step_to(Share::NONE.more()));
    arbiter
}

/// At 2000 ms, server 0 waits for its next keys (0), or all workers replay (1), or they close it (2).
fn in_stage(stage: usize) -> Arbiter {
    let mut arbiter = warming(4, slow());
    if stage > 0 {
        arbiter.tick(at_ms(2000));
    }
    if stage > 1 {
        confirm(&mut arbiter, 0, at_ms(2000));
    }
    orders(&mut arbiter);
    arbiter
}

/// What tells workers in such a stage that server 0 has the keys that it had, and no more.
fn back_to_its_share(stage: usize) -> Vec<(u64, To, Order)> {
    if stage > 0 { vec![(0, To::All, Order::Warm(Share::NONE.more()))] } else { vec![] }
}

/// All workers do what is to be done at this time.
fn step(arbiter: &mut Arbiter, ms: u64) {
    arbiter.tick(at_ms(ms));
    confirm(arbiter, 0, at_ms(ms));
    confirm(arbiter, 0, at_ms(ms));
}

fn step_to(share: Share) -> [(u64, To, Order); 3] {
    let last = if share == Share::ALL { Order::Return } else { Order::Warm(share) };
    [Order::Replay, Order::Close(share), last].map(|order| (0, To::All, order))
}

#[test]
fn a_server_gets_a_tenth_of_its_keys_after_the_other() {
    let mut arbiter = warming(4, slow());
    let mut share = Share::NONE.more();
    for ms in (2000..=10_000).step_by(1000) {
        let seen = arbiter.standing(0).unwrap();
        assert_eq!((seen.stage, seen.share), (Stage::Warming, share));
        assert_eq!(arbiter.next_tick(), Some(at_ms(ms)));
        arbiter.tick(at_ms(ms - 1));
        assert_eq!(orders(&mut arbiter), []);
        share = share.more();
        step(&mut arbiter, ms);
        assert_eq!(orders(&mut arbiter), step_to(share));
    }
    assert_eq!((share, arbiter.next_tick()), (Share::ALL, None));
    assert_eq!(arbiter.standing(0).unwrap().stage, Stage::Live);
}

#[test]
fn a_server_gets_its_keys_at_once_if_nobody_can_go_on_with_them() {
    let all = step_to(Share::ALL);
    for ejection in [
        Ejection { on_failure: OnFailure::Miss, ..slow() },
        Ejection { on_failure: OnFailure::Error, ..slow() },
        Ejection { journal_max: 0, ..slow() },
        Ejection { slow_start: Duration::ZERO, ..slow() },
    ] {
        let mut arbiter = arbiter(1, 4, ejection);
        arbiter.report(0, FAILING, at_ms(0));
        confirm(&mut arbiter, 0, at_ms(0));
        step(&mut arbiter, 1000);
        assert_eq!(orders(&mut arbiter)[3..], all);
    }
    // Servers of the gutter stand in for each other.
    let mut arbiter = Arbiter::new(1);
    let gutter = Ejection { on_failure: OnFailure::Gutter, ..slow() };
    arbiter.set_servers(POOL, (&[9], &[0, 1, 2, 3]), gutter);
    arbiter.report(0, FAILING, at_ms(0));
    confirm(&mut arbiter, 0, at_ms(0));
    step(&mut arbiter, 1000);
    assert_eq!(orders(&mut arbiter)[3..], all);
    // The only other one of the pool fails, and comes back after it.
    let mut arbiter = warming(2, slow());
    arbiter.set_servers(POOL + 1, (&[20, 21], &[]), slow());
    arbiter.report(1, FAILING, at_ms(1500));
    confirm(&mut arbiter, 1, at_ms(1500));
    orders(&mut arbiter);
    assert!(arbiter.next_tick().unwrap() <= at_ms(1500));
    step(&mut arbiter, 1500);
    assert_eq!(orders(&mut arbiter), all);
}

/// Nobody stands in for a server while keys move.
#[test]
fn a_server_gets_its_keys_at_once_while_keys_of_its_pool_move() {
    let all = step_to(Share::ALL);
    let begin = |arbiter: &mut Arbiter| arbiter.set_moving([POOL].into());
    // They move when it returns.
    let mut arbiter = arbiter(2, 4, slow());
    begin(&mut arbiter);
    arbiter.report(0, FAILING, at_ms(0));
    confirm(&mut arbiter, 0, at_ms(0));
    step(&mut arbiter, 1000);
    assert_eq!(orders(&mut arbiter)[3..], all);
    // They begin to move while it waits for more, while workers replay, and while they close it.
    let mut waits = warming(4, slow());
    begin(&mut waits);
    assert!(waits.next_tick().unwrap() <= at_ms(1500));
    step(&mut waits, 1500);
    assert_eq!(orders(&mut waits), all);
    let mut replays = in_stage(1);
    begin(&mut replays);
    confirm(&mut replays, 0, at_ms(2000));
    confirm(&mut replays, 0, at_ms(2000));
    assert_eq!(orders(&mut replays), all[1..]);
    let mut closes = in_stage(2);
    begin(&mut closes);
    confirm(&mut closes, 0, at_ms(2000));
    orders(&mut closes);
    assert!(closes.next_tick().unwrap() <= at_ms(2000));
    step(&mut closes, 2000);
    assert_eq!(orders(&mut closes), all);
}

#[test]
fn a_server_starts_slowly_while_keys_of_another_pool_move_and_when_its_own_move_no_longer() {
    let mut arbiter = arbiter(2, 4, slow());
    arbiter.set_moving([POOL, POOL + 1].into());
    arbiter.set_moving([POOL + 1].into());
    arbiter.report(0, FAILING, at_ms(0));
    confirm(&mut arbiter, 0, at_ms(0));
    step(&mut arbiter, 1000);
    assert_eq!(orders(&mut arbiter)[3..], step_to(Share::NONE.more()));
    assert_eq!(arbiter.next_tick(), Some(at_ms(2000)));
}

/// What is not known of it does not become known.
#[test]
fn a_server_of_which_not_all_is_known_gets_no_more_keys_although_keys_move() {
    let mut arbiter = warming(4, slow());
    arbiter.report(0, Report::Overflowed, at_ms(1500));
    arbiter.set_moving([POOL].into());
    assert_eq!(arbiter.next_tick(), None);
    arbiter.tick(at_ms(9000));
    assert_eq!(orders(&mut arbiter), []);
}

#[test]
fn a_gutter_goes_on_with_a_part_of_the_keys_of_any_server_but_the_only_one() {
    let ejection = Ejection { on_failure: OnFailure::Gutter, ..slow() };
    for (servers, gutter, share) in [
        (&[0, 1][..], &[5][..], Share::NONE.more()),
        (&[0], &[5], Share::ALL),
        (&[0, 1], &[], Share::ALL),
    ] {
        let mut arbiter = Arbiter::new(1);
        arbiter.set_servers(POOL, (servers, gutter), ejection);
        arbiter.report(0, FAILING, at_ms(0));
        confirm(&mut arbiter, 0, at_ms(0));
        step(&mut arbiter, 1000);
        assert_eq!(orders(&mut arbiter)[3..], step_to(share), "{servers:?} {gutter:?}");
    }
}

#[test]
fn every_worker_leaves_a_server_that_fails_with_a_share_of_its_keys() {
    // While it waits for more, and in each stage of a step.
    for stage in 0..3 {
        let (mut arbiter, now) = (in_stage(stage), at_ms(2000));
        let ends = [
            (FAILING, ServerError::Reset),
            (Report::Failed(round(&arbiter, 0), ServerError::Closed), ServerError::Closed),
        ];
        let (report, error) = ends[stage % 2];
        arbiter.report(0, report, now);
        assert_eq!(orders(&mut arbiter), [(0, To::All, Order::Leave(error))], "{stage}");
        arbiter.report(0, Report::Done(round(&arbiter, 0)), now);
        assert_eq!(orders(&mut arbiter), [], "another worker still uses it");
        arbiter.report(0, Report::Done(round(&arbiter, 0)), now);
        assert_eq!(orders(&mut arbiter), [(0, To::All, Order::GoAway)]);
        assert_eq!(arbiter.next_tick(), Some(at_ms(4000)), "it failed again soon");
    }
}

#[test]
fn the_operator_ejects_and_drains_a_server_that_has_a_share_of_its_keys() {
    let leave = (0, To::All, Order::Leave(ServerError::Ejected));
    let mut arbiter = warming(4, slow());
    arbiter.command(0, Command::Eject, at_ms(1500));
    assert_eq!(orders(&mut arbiter), [leave]);

    let mut arbiter = warming(4, slow());
    arbiter.command(0, Command::Drain, at_ms(1500));
    arbiter.command(0, Command::Return, at_ms(1600));
    let both = [Order::Drain, Order::Keep].map(|order| (0, To::All, order));
    assert_eq!(orders(&mut arbiter), both);
    assert_eq!(arbiter.standing(0).unwrap().stage, Stage::Warming, "it has a share as before");
    step(&mut arbiter, 2600);
    assert_eq!(orders(&mut arbiter), step_to(Share::NONE.more().more()));

    arbiter.command(0, Command::Drain, at_ms(2700));
    confirm(&mut arbiter, 0, at_ms(2700));
    assert_eq!(orders(&mut arbiter), [(0, To::All, Order::Drain), leave]);
}

/// Its clients end what they have begun there, whatever was to be done next.
#[test]
fn a_server_that_is_drained_in_a_step_goes_on_with_its_share_until_clients_are_done() {
    for stage in 0..3 {
        let mut arbiter = in_stage(stage);
        let before = round(&arbiter, 0);
        arbiter.command(0, Command::Drain, at_ms(2000));
        let mut wanted = back_to_its_share(stage);
        wanted.push((0, To::All, Order::Drain));
        assert_eq!(orders(&mut arbiter), wanted);
        let seen = arbiter.standing(0).unwrap();
        assert_eq!((seen.stage, seen.share), (Stage::Draining, Share::NONE.more()));
        // What was said of the step is not said of the drain.
        arbiter.report(0, Report::Done(before), at_ms(2001));
        arbiter.report(0, Report::Done(before), at_ms(2001));
        assert_eq!((orders(&mut arbiter), arbiter.next_tick()), (vec![], Some(at_ms(12_000))));
        confirm(&mut arbiter, 0, at_ms(2002));
        assert_eq!(orders(&mut arbiter), [(0, To::All, Order::Leave(ServerError::Ejected))]);
        assert_eq!(arbiter.standing(0).unwrap().share, Share::NONE);
        confirm(&mut arbiter, 0, at_ms(2003));
        assert_eq!(arbiter.standing(0).unwrap().stage, Stage::Held);
    }
}

#[test]
fn the_operator_begins_the_next_step_at_once() {
    let mut arbiter = warming(4, slow());
    arbiter.command(0, Command::Return, at_ms(1500));
    assert!(arbiter.next_tick().unwrap() <= at_ms(1500));
    step(&mut arbiter, 1500);
    assert_eq!(orders(&mut arbiter), step_to(Share::NONE.more().more()));
    assert_eq!(arbiter.next_tick(), Some(at_ms(2500)));
}

/// It was used for its first keys for long enough.
#[test]
fn a_server_that_fails_soon_after_its_last_keys_have_returned_stays_away_no_longer() {
    let mut arbiter = warming(4, slow());
    for ms in (2000..=10_000).step_by(1000) {
        step(&mut arbiter, ms);
    }
    assert_eq!(arbiter.standing(0).unwrap().stage, Stage::Live);
    arbiter.report(0, FAILING, at_ms(10_001));
    confirm(&mut arbiter, 0, at_ms(10_001));
    assert_eq!(arbiter.next_tick(), Some(at_ms(11_001)));
}

/// What workers say of a step that has ended says nothing of the next one.
#[test]
fn a_step_that_was_stopped_is_done_anew_by_all_workers() {
    for stage in 1..3 {
        let mut arbiter = in_stage(stage);
        let before = round(&arbiter, 0);
        arbiter.report(0, Report::Done(before), at_ms(2000));
        arbiter.report(0, Report::Overflowed, at_ms(2000));
        let late = |arbiter: &mut Arbiter| {
            arbiter.report(0, Report::Done(before), at_ms(2001));
            arbiter.report(0, Report::Failed(before, ServerError::Closed), at_ms(2001));
        };
        late(&mut arbiter);
        assert_eq!(orders(&mut arbiter), back_to_its_share(stage));
        arbiter.command(0, Command::Return, at_ms(3000));
        arbiter.tick(at_ms(3000));
        late(&mut arbiter);
        arbiter.report(0, Report::Done(round(&arbiter, 0)), at_ms(3000));
        assert_eq!(orders(&mut arbiter), [(0, To::All, Order::Replay)]);
    }
}

/// It stays away no longer when it fails the next time.
#[test]
fn a_server_that_the_operator_ejects_while_it_warms_has_not_failed() {
    for stage in 0..3 {
        let mut arbiter = in_stage(stage);
        let before = round(&arbiter, 0);
        arbiter.command(0, Command::Eject, at_ms(2000));
        let leave = (0, To::All, Order::Leave(ServerError::Ejected));
        assert_eq!(orders(&mut arbiter), [leave]);
        arbiter.report(0, Report::Done(before), at_ms(2000));
        arbiter.report(0, Report::Done(before), at_ms(2000));
        assert_eq!(orders(&mut arbiter), [], "it is not left yet");
        confirm(&mut arbiter, 0, at_ms(2000));
        assert_eq!(arbiter.standing(0).unwrap().stage, Stage::Held);
        arbiter.command(0, Command::Return, at_ms(3000));
        step(&mut arbiter, 3000);
        arbiter.report(0, FAILING, at_ms(3500));
        confirm(&mut arbiter, 0, at_ms(3500));
        assert_eq!(arbiter.next_tick(), Some(at_ms(5500)), "{stage}");
    }
}

#[test]
fn a_server_of_which_not_all_is_known_gets_no_more_keys_before_the_operator_wants_it() {
    for stage in 0..3 {
        let mut arbiter = in_stage(stage);
        arbiter.report(0, Report::Overflowed, at_ms(2000));
        assert_eq!(orders(&mut arbiter), back_to_its_share(stage));
        assert_eq!(arbiter.next_tick(), None);
        arbiter.tick(at_ms(9000));
        assert_eq!(orders(&mut arbiter), []);
        let held = (Stage::Held, Share::NONE.more(), false);
        let seen = arbiter.standing(0).unwrap();
        assert_eq!((seen.stage, seen.share, seen.by_operator), held);
        arbiter.command(0, Command::Return, at_ms(9000));
        assert_eq!(arbiter.standing(0).unwrap().stage, Stage::Warming);
        step(&mut arbiter, 9000);
        assert_eq!(orders(&mut arbiter), step_to(Share::NONE.more().more()));
    }
}

/// A server that is emptied in a step has no old value of any key. One that returns with what it has may have old
/// values of the keys that it has not got back yet.
#[test]
fn what_could_not_be_remembered_counts_until_the_server_is_emptied_or_has_all_of_its_keys() {
    let servers = &[0, 1, 2, 3];
    for overflows_in in 0..3 {
        for (on_overflow, next) in
            [(OnOverflow::Flush, Some(at_ms(2000))), (OnOverflow::Return, None)]
        {
            let mut arbiter = arbiter(2, 4, Ejection { on_overflow, ..slow() });
            arbiter.report(0, FAILING, at_ms(0));
            confirm(&mut arbiter, 0, at_ms(0));
            // While it is away, while workers replay, and while they close it.
            for part in 0..3 {
                if part == overflows_in {
                    arbiter.report(0, Report::Overflowed, at_ms(1000));
                }
                match part {
                    0 => arbiter.tick(at_ms(1000)),
                    _ => confirm(&mut arbiter, 0, at_ms(1000)),
                }
            }
            let first = Share::NONE.more();
            assert_eq!(arbiter.standing(0).unwrap().share, first);
            arbiter.set_servers(POOL, (servers, &[]), slow());
            assert_eq!(arbiter.next_tick(), next, "{overflows_in}");
        }
    }
    let at_once = Ejection { slow_start: Duration::ZERO, ..slow() };
    for on_overflow in [OnOverflow::Flush, OnOverflow::Return] {
        let mut arbiter = arbiter(2, 4, Ejection { on_overflow, ..at_once });
        arbiter.report(0, FAILING, at_ms(0));
        confirm(&mut arbiter, 0, at_ms(0));
        arbiter.report(0, Report::Overflowed, at_ms(10));
        step(&mut arbiter, 1000);
        assert_eq!(arbiter.standing(0).unwrap().stage, Stage::Live);
        arbiter.set_servers(POOL, (servers, &[]), at_once);
        arbiter.report(0, FAILING, at_ms(5000));
        confirm(&mut arbiter, 0, at_ms(5000));
        assert_eq!(arbiter.next_tick(), Some(at_ms(6000)), "it is about another absence");
    }
}

#[test]
fn a_server_of_which_not_all_is_known_gets_no_keys_before_the_operator_wants_it() {
    for stage in 1..3 {
        let mut arbiter = arbiter(2, 4, slow());
        arbiter.report(0, FAILING, at_ms(0));
        confirm(&mut arbiter, 0, at_ms(0));
        arbiter.tick(at_ms(1000));
        if stage > 1 {
            confirm(&mut arbiter, 0, at_ms(1000));
        }
        orders(&mut arbiter);
        arbiter.report(0, Report::Overflowed, at_ms(1000));
        assert_eq!(orders(&mut arbiter), [(0, To::All, Order::GoAway)]);
        let seen = arbiter.standing(0).unwrap();
        assert_eq!((seen.stage, seen.share), (Stage::Held, Share::NONE));
        assert_eq!(arbiter.next_tick(), None);
    }
}

#[test]
fn a_pool_that_is_gone_leaves_a_server_its_share() {
    for stage in 0..3 {
        let mut arbiter = in_stage(stage);
        arbiter.remove_pool(POOL);
        assert_eq!(orders(&mut arbiter), back_to_its_share(stage));
    }
}
