//! Keys that move to another server, step by step.

use super::{TIMED_OUT, hit, set};
use crate::net::{Net, TIMEOUT_MS, engine, options};
use nuthatch_core::error::ServerError;
use nuthatch_core::limits::Limits;
use nuthatch_core::mux::{Bulk, ConnState, Event, Migrate, Migrating, Options, Phase};
use nuthatch_core::ring::{Distribution, Hash, Member, Ring};
use nuthatch_core::stats::ServerStats;
use std::sync::Arc;
use std::time::Duration;

const MIGRATE: Migrate = Migrate {
    announced: None,
    settle: Duration::from_secs(1),
    window: Duration::from_secs(10),
    moves_max: 4,
    pause: Duration::ZERO,
    seed: 1,
};

/// From the change until values move, with the time that a request may take.
pub(super) const SETTLED_MS: u64 = 1000 + TIMEOUT_MS;

pub(super) fn ring_of(names: &[&str]) -> (Ring, Vec<Arc<ServerStats>>) {
    let member = |name: &&str| Member { name: name.as_bytes().into(), weight: 1 };
    let members = names.iter().map(member).collect();
    let ring = Ring::new(Distribution::Modula, Hash::Fnv1a_64, None, members, 1);
    (ring, names.iter().map(|_| Arc::default()).collect())
}

pub(super) fn migrate(net: &mut Net, names: &[&str]) -> Result<(), Migrating> {
    let (ring, stats) = ring_of(names);
    let now = net.now();
    let result = net.mux.migrate_servers(ring, &stats, |_| true, (MIGRATE, now));
    net.settle_now();
    result
}

/// A net in which all keys have moved from the server on connection 0 to the one on connection 1, whose
/// values have numbers from 11 on.
pub(super) fn settling() -> Net {
    let mut net = Net::new(1);
    migrate(&mut net, &["new"]).expect("no keys move yet");
    assert_eq!(net.asked(1), "ms nuthatch-migration 0 T1 c\r\n\r\n");
    net.answer(1, "HD c10\r\n");
    net
}

pub(super) fn moving() -> Net {
    let mut net = settling();
    net.later(SETTLED_MS);
    net
}

pub(super) const LOOK: &str = "mg a c f t v N5\r\n";
pub(super) const PLAIN_LOOK: &str = "mg a c f t v\r\n";

/// Changes so long after the change was announced.
fn late(after_ms: u64) -> Net {
    let mut net = Net::new(1);
    let announced = Some(net.now());
    net.later(after_ms);
    let ((ring, stats), now) = (ring_of(&["new"]), net.now());
    let how = (Migrate { announced, ..MIGRATE }, now);
    net.mux.migrate_servers(ring, &stats, |_| true, how).expect("no keys move yet");
    net.settle_now();
    net
}

#[test]
fn phases_count_from_the_announcement_and_what_a_server_is_asked_from_the_change() {
    let mut net = late(900);
    assert_eq!(net.asked(1), "ms nuthatch-migration 0 T1 c\r\n\r\n");
    net.later(TIMEOUT_MS - 1);
    assert_eq!(net.mux.conn_state(net.conn(1)), ConnState::Open, "its time is not over");
    net.answer(1, "HD c10\r\n");
    let phase = |net: &Net| net.mux.migration(net.now()).unwrap().phase;
    assert_eq!(phase(&net), Phase::Settling);
    net.later(SETTLED_MS - 900 - (TIMEOUT_MS - 1));
    assert_eq!(phase(&net), Phase::Moving);
    let mut in_time = settling();
    in_time.later(SETTLED_MS);
    let left = |net: &Net| net.mux.migration(net.now()).unwrap().left;
    assert_eq!(left(&net), left(&in_time));
}

#[test]
fn who_changes_when_a_phase_is_over_begins_with_the_next_one() {
    for (after_ms, expected) in [
        (SETTLED_MS - 1, Some(Phase::Settling)),
        (SETTLED_MS, Some(Phase::Moving)),
        (SETTLED_MS + 10_000, Some(Phase::Closing)),
        (SETTLED_MS + 100_000, None),
    ] {
        let mut net = late(after_ms);
        net.answer(1, "HD c10\r\n");
        net.later(0);
        let migration = net.mux.migration(net.now());
        assert_eq!(migration.map(|migration| migration.phase), expected, "{after_ms}");
    }
}

#[test]
fn while_others_settle_the_old_server_is_read_and_both_are_written() {
    let mut net = settling();
    let client = net.client();
    net.say(client, "get a\r\n");
    assert_eq!(net.asked(0), "get a\r\n");
    net.answer(0, &hit("a", "1"));
    assert_eq!(net.got(client), hit("a", "1"));
    net.say(client, &set("a", "2"));
    assert_eq!((net.asked(0), net.asked(1)), (set("a", "2"), String::new()));
    net.answer(0, "STORED\r\n");
    assert_eq!((net.asked(1), net.got(client)), ("delete a\r\n".into(), String::new()));
    net.answer(1, "NOT_FOUND\r\n");
    assert_eq!(net.got(client), "STORED\r\n");
    net.check_idle();
}

#[test]
fn a_miss_brings_the_value_with_its_flags_and_its_time() {
    let mut net = moving();
    let client = net.client();
    net.say(client, "get a\r\n");
    assert_eq!(net.asked(1), LOOK);
    net.answer(1, "VA 0 c11 f0 t-1 W\r\n\r\n");
    assert_eq!(net.asked(0), PLAIN_LOOK);
    net.answer(0, "VA 3 c7 f42 t90 \r\nnut\r\n");
    assert_eq!(net.got(client), "VALUE a 42 3\r\nnut\r\nEND\r\n");
    assert_eq!(net.asked(1), "ms a 3 c C11 F42 T90\r\nnut\r\n");
    net.answer(1, "HD c12\r\n");
    assert_eq!(net.mux.stats().migration.keys_moved.read(), 1);
    net.check_idle();
}

#[test]
fn a_time_beyond_a_month_is_sent_as_a_date_and_the_last_second_as_one() {
    for (ttl, sent) in [("2592001", "T2592002"), ("2592000", "T2592000"), ("0", "T1"), ("-1", "T0")]
    {
        let mut net = moving();
        let client = net.client();
        net.say(client, "get a\r\n");
        net.answer(1, "VA 0 c11 f0 t-1 W\r\n\r\n");
        net.asked(1);
        net.answer(0, &format!("VA 1 c7 f0 t{ttl}\r\nx\r\n"));
        assert_eq!(net.asked(1), format!("ms a 1 c C11 F0 {sent}\r\nx\r\n"));
    }
}

#[test]
fn many_who_ask_for_a_key_make_one_copy() {
    let mut net = moving();
    let clients: Vec<_> = (0..3).map(|_| net.client()).collect();
    clients.iter().for_each(|&client| net.say(client, "get a\r\n"));
    assert_eq!(net.asked(1), LOOK);
    net.answer(1, "VA 0 c11 f0 t-1 W\r\n\r\n");
    assert_eq!(net.asked(0), PLAIN_LOOK);
    net.answer(0, "VA 1 c7 f0 t-1\r\n1\r\n");
    assert_eq!(net.asked(1), "ms a 1 c C11 F0 T0\r\n1\r\n");
    assert_eq!(net.got(clients[0]), hit("a", "1"));
    net.answer(1, "HD c12\r\n");
    assert_eq!(net.asked(1), PLAIN_LOOK.repeat(2));
    net.answer(1, "VA 1 c12 f0 t-1\r\n1\r\n");
    net.answer(1, "EN\r\n");
    assert_eq!(net.got(clients[1]), hit("a", "1"));
    // It is gone again, but the old server may have it, and nothing is copied.
    assert_eq!(net.asked(0), PLAIN_LOOK);
    net.answer(0, "VA 1 c7 f0 t-1\r\n1\r\n");
    assert_eq!(net.got(clients[2]), hit("a", "1"));
    net.check_idle();
}

#[test]
fn a_value_from_before_the_change_is_dropped_and_an_empty_one_is_a_value() {
    let mut net = moving();
    let client = net.client();
    net.say(client, "gets a\r\n");
    net.asked(1);
    net.answer(1, "VA 1 c9 f0 t-1\r\n1\r\n");
    assert_eq!(net.asked(1), "md a C9\r\n");
    net.answer(1, "HD\r\n");
    assert_eq!(net.asked(1), LOOK);
    net.answer(1, "VA 0 c12 f0 t-1\r\n\r\n");
    // The id of the new server is told from those of the old one.
    assert_eq!(net.got(client), format!("VALUE a 0 0 {}\r\n\r\nEND\r\n", (1u64 << 63) + 12));
    net.check_idle();
}

#[test]
fn an_id_of_the_old_server_never_matches_and_one_of_the_new_server_does() {
    for (id, sent) in [((1u64 << 63) + 12, 12), (12, u64::MAX), ((1 << 63) + 9, u64::MAX)] {
        let mut net = moving();
        let client = net.client();
        net.say(client, &format!("cas a 0 0 1 {id}\r\n2\r\n"));
        net.asked(1);
        net.answer(1, "VA 1 c12 f0 t-1\r\n1\r\n");
        assert_eq!(net.asked(0), PLAIN_LOOK);
        net.answer(0, "VA 1 c7 f0 t-1\r\n1\r\n");
        assert_eq!(net.asked(0), "md a C7\r\n");
        net.answer(0, "HD\r\n");
        assert_eq!(net.asked(1), format!("cas a 0 0 1 {sent}\r\n2\r\n"));
        net.answer(1, "EXISTS\r\n");
        assert_eq!(net.got(client), "EXISTS\r\n");
        net.check_idle();
    }
}

#[test]
fn a_write_takes_the_value_away_from_the_old_server_first() {
    let mut net = moving();
    let client = net.client();
    // The client's next request for a key that moves must not overtake the write.
    net.say(client, &(set("a", "2") + "get a\r\n"));
    assert_eq!((net.asked(0), net.asked(1)), ("delete a\r\n".into(), String::new()));
    net.answer(0, "DELETED\r\n");
    assert_eq!((net.asked(1), net.got(client)), (set("a", "2"), String::new()));
    net.answer(1, "STORED\r\n");
    assert_eq!((net.asked(1), net.got(client)), (LOOK.into(), "STORED\r\n".into()));
    net.answer(1, "VA 1 c12 f0 t-1\r\n2\r\n");
    assert_eq!(net.got(client), hit("a", "2"));
    net.check_idle();
}

#[test]
fn an_increment_moves_the_value_and_is_carried_out_on_no_other() {
    let mut net = moving();
    let client = net.client();
    net.say(client, "incr a 5\r\n");
    net.answer(1, "VA 0 c11 f0 t-1 W\r\n\r\n");
    net.answer(0, "VA 2 c7 f0 t-1\r\n10\r\n");
    net.asked(0);
    net.asked(1);
    net.answer(1, "HD c12\r\n");
    assert_eq!(net.asked(0), "md a C7\r\n");
    net.answer(0, "HD\r\n");
    assert_eq!(net.asked(1), "ma a C12 D5 v\r\n");
    net.answer(1, "VA 2\r\n15\r\n");
    assert_eq!(net.got(client), "15\r\n");
    net.check_idle();
}

#[test]
fn a_copy_does_not_count_if_the_old_value_is_gone_before_it_is_taken_away() {
    let mut net = moving();
    let client = net.client();
    net.say(client, "incr a 5\r\n");
    net.answer(1, "VA 0 c11 f0 t-1 W\r\n\r\n");
    net.answer(0, "VA 2 c7 f0 t-1\r\n10\r\n");
    net.answer(1, "HD c12\r\n");
    net.asked(1);
    // Another client may have counted there before it was removed.
    net.answer(0, "NF\r\n");
    assert_eq!(net.asked(1), "md a C12\r\n");
    net.answer(1, "HD\r\n");
    assert_eq!(net.asked(1), LOOK);
}

#[test]
fn what_meets_a_value_that_it_did_not_expect_takes_all_steps_again() {
    let mut net = moving();
    let client = net.client();
    net.say(client, "incr a 5\r\n");
    net.answer(1, "VA 0 c11 f0 t-1 W\r\n\r\n");
    net.answer(0, "EN\r\n");
    net.answer(1, "HD\r\n");
    net.asked(0);
    net.asked(1);
    net.answer(1, "EX\r\n");
    assert_eq!(net.asked(1), LOOK);
    net.answer(1, "VA 2 c13 f0 t-1\r\n10\r\n");
    assert_eq!(net.asked(0), PLAIN_LOOK, "it may have the value, too, by now");
    net.answer(0, "VA 2 c9 f0 t-1\r\n10\r\n");
    net.answer(0, "HD\r\n");
    assert_eq!(net.asked(1), "ma a C13 D5 v\r\n");
    net.answer(1, "VA 2\r\n15\r\n");
    assert_eq!(net.got(client), "15\r\n");
    net.check_idle();
}

#[test]
fn a_key_of_many_moves_alone_and_comes_in_its_place() {
    let mut net = Net::new(1);
    migrate(&mut net, &["server0", "new"]).unwrap();
    net.asked(0);
    net.answer(0, "HD c1\r\n");
    net.asked(1);
    net.answer(1, "HD c10\r\n");
    net.later(SETTLED_MS);
    let client = net.client();
    net.say(client, "get a b c\r\n");
    assert_eq!((net.asked(0), net.asked(1)), ("get a c\r\n".into(), "mg b c f t v N5\r\n".into()));
    net.answer(1, "VA 1 c12 f0 t-1\r\n2\r\n");
    net.answer(0, "VALUE a 0 1\r\n1\r\nVALUE c 0 1\r\n3\r\nEND\r\n");
    let all = "VALUE a 0 1\r\n1\r\nVALUE b 0 1\r\n2\r\nVALUE c 0 1\r\n3\r\nEND\r\n";
    assert_eq!(net.got(client), all);
    net.check_idle();
}

#[test]
fn a_meta_reply_is_the_servers_but_for_the_id() {
    for (asked, sent, reply, got) in [
        ("mg a v k Oq\r\n", "mg a c v k Oq\r\n", "VA 1 c12 ka Oq\r\n1\r\n", "VA 1 ka Oq\r\n1\r\n"),
        ("mg a t c\r\n", "mg a c t\r\n", "HD c12 t5\r\n", "HD c9223372036854775820 t5\r\n"),
        ("mg a k\r\n", "mg a c k\r\n", "EN ka\r\n", "EN ka\r\n"),
    ] {
        let mut net = moving();
        let client = net.client();
        net.say(client, asked);
        net.asked(1);
        net.answer(1, "VA 1 c12 f0 t-1\r\n1\r\n");
        assert_eq!(net.asked(1), sent);
        net.answer(1, reply);
        assert_eq!(net.got(client), got);
        net.check_idle();
    }
}

#[test]
fn the_servers_can_t_change_again_before_the_keys_have_moved() {
    let mut net = settling();
    let Err(Migrating(progress)) = migrate(&mut net, &["newer"]) else { panic!("it changed") };
    assert_eq!((progress.phase, progress.keys_per_mille), (Phase::Settling, 1000));
    net.later(SETTLED_MS);
    assert_eq!(net.mux.migration(net.now()).map(|progress| progress.phase), Some(Phase::Moving));
    net.later(10_000);
    let progress = net.mux.migration(net.now()).expect("others may still copy");
    assert_eq!(progress.phase, Phase::Closing);
    assert!(net.is_connected(1));
    let left = u64::try_from(progress.left.as_millis()).unwrap();
    net.later(left - 1);
    assert!(net.mux.migration(net.now()).is_some() && !net.events.contains(&Event::Migrated));
    net.later(1);
    assert!(net.mux.migration(net.now()).is_none() && net.events.contains(&Event::Migrated));
    assert_eq!(net.mux.conns().len(), 1, "the old server has left");
    migrate(&mut net, &["newer"]).expect("no keys move any longer");
}

#[test]
fn too_many_requests_for_keys_that_move_are_refused() {
    let mut net = moving();
    let clients: Vec<_> = (0..5).map(|_| net.client()).collect();
    clients.iter().for_each(|&client| net.say(client, "get a\r\n"));
    let refusal = "SERVER_ERROR too many requests for keys that move: moves_max\r\n";
    assert_eq!(net.got(clients[4]), refusal);
    assert_eq!(net.mux.stats().migration.limit_moves.read(), 1);
    net.say(clients[4], &set("b", "1").replace("1\r\n1", "1 noreply\r\n1"));
    assert_eq!(net.got(clients[4]), "");
}

#[test]
fn a_request_has_its_time_for_all_its_steps_and_its_client_goes_on() {
    let mut net = moving();
    let client = net.client();
    net.say(client, &(set("a", "1") + &set("a", "2")));
    net.later(TIMEOUT_MS / 2);
    net.asked(0);
    net.answer(0, "DELETED\r\n");
    net.later(TIMEOUT_MS / 2);
    assert_eq!(net.got(client), "SERVER_ERROR Connection timed out\r\n");
    assert_eq!(net.asked(0), "delete a\r\n", "the second one is on its way");
    net.answer(1, "STORED\r\n");
    net.answer(0, "NOT_FOUND\r\n");
    net.answer(1, "STORED\r\n");
    assert_eq!(net.got(client), "STORED\r\n");
    net.check_idle();
}

#[test]
fn a_client_does_not_change_connections_while_a_step_is_on_its_way() {
    const OLD: usize = 0;
    const OLD_BULK: usize = 1;
    const NEW: usize = 2;
    const NEW_BULK: usize = 3;
    let bulk = Bulk { connections: 1, ..Bulk::NONE };
    let mut net = Net::with(engine(1, Options { bulk, ..options() }, None));
    migrate(&mut net, &["new"]).expect("no keys move yet");
    net.asked(NEW);
    net.answer(NEW, "HD c10\r\n");
    net.later(SETTLED_MS);
    let client = net.client();
    net.say(client, &set("a", "1"));
    assert_eq!(net.asked(OLD), "delete a\r\n");
    net.later(TIMEOUT_MS / 2);
    net.answer(OLD, "DELETED\r\n");
    assert_eq!(net.asked(NEW), set("a", "1"));
    net.later(TIMEOUT_MS / 2);
    assert_eq!(net.got(client), "SERVER_ERROR Connection timed out\r\n");
    // The new server may still carry it out, and must do so before what follows.
    let value = set("a", &"x".repeat(100_000));
    net.say(client, &value[..1000]);
    net.say(client, &value[1000..]);
    assert_eq!((net.asked(OLD), net.asked(OLD_BULK)), ("delete a\r\n".into(), String::new()));
    net.answer(OLD, "NOT_FOUND\r\n");
    assert_eq!(net.asked(NEW), value);
    net.answer(NEW, "STORED\r\nSTORED\r\n");
    assert_eq!(net.got(client), "STORED\r\n");
    net.say(client, &set("a", "2"));
    assert_eq!((net.asked(OLD), net.asked(OLD_BULK)), (String::new(), "delete a\r\n".into()));
    net.answer(OLD_BULK, "NOT_FOUND\r\n");
    net.answer(NEW_BULK, "STORED\r\n");
    net.check_idle();
}

#[test]
fn an_old_server_that_is_no_more_is_given_up() {
    let mut net = moving();
    let client = net.client();
    net.accepts = false;
    for _ in 0..2 {
        net.say(client, &set("a", "1"));
        net.close_server(0, ServerError::Refused);
        assert_eq!(net.got(client), "SERVER_ERROR Connection refused\r\n");
        net.later(SETTLED_MS);
    }
    assert_eq!(net.mux.stats().migration.servers_given_up.read(), 1);
    assert!(matches!(net.events.last(), Some(Event::GivenUp { .. })));
    net.asked(1);
    net.say(client, &set("a", "1"));
    assert_eq!(net.asked(1), set("a", "1"));
    net.answer(1, "STORED\r\n");
    net.say(client, "get a\r\n");
    assert_eq!(net.asked(1), PLAIN_LOOK);
    net.answer(1, "EN\r\n");
    assert_eq!(net.got(client), "STORED\r\nEND\r\n");
    net.check_idle();
}

#[test]
fn a_change_without_a_migration_ends_one() {
    let mut net = moving();
    let client = net.client();
    net.say(client, "get a\r\nversion\r\n");
    let (ring, stats) = ring_of(&["newer"]);
    net.mux.set_servers(ring, &stats, |_| true);
    net.settle_now();
    assert!(net.mux.migration(net.now()).is_none());
    assert!(net.got(client).starts_with("SERVER_ERROR "));
    net.answer(1, "VA 0 c11 f0 t-1 W\r\n\r\n");
    net.answer(1, "VERSION 1.6.18\r\n");
    assert_eq!(net.got(client), "VERSION 1.6.18\r\n");
    net.check_idle();
}

#[test]
fn a_change_without_a_migration_lets_those_go_on_who_wait_for_the_next_phase() {
    let mut net = Net::new(1);
    let pause = Duration::from_millis(100);
    let ((ring, stats), now) = (ring_of(&["new"]), net.now());
    let how = (Migrate { pause, ..MIGRATE }, now);
    net.mux.migrate_servers(ring, &stats, |_| true, how).expect("no keys move yet");
    net.settle_now();
    net.answer(1, "HD c10\r\n");
    net.later(SETTLED_MS - 50);
    let client = net.client();
    net.say(client, &set("a", "1"));
    assert_eq!(net.asked(0), "");
    let (ring, stats) = ring_of(&["new"]);
    net.mux.set_servers(ring, &stats, |_| true);
    net.settle_now();
    assert!(net.asked(1).ends_with(&set("a", "1")));
    net.answer(1, "STORED\r\n");
    assert_eq!(net.got(client), "STORED\r\n");
    net.check_idle();
}

#[test]
fn nothing_is_copied_to_a_server_whose_queue_is_full() {
    let limits = Limits { server_buffer_max: 200_000, ..Limits::default() };
    let mut net = Net::with_limits(1, limits);
    let ((ring, stats), now) = (ring_of(&["new"]), net.now());
    let how = (Migrate { moves_max: 100, ..MIGRATE }, now);
    net.mux.migrate_servers(ring, &stats, |_| true, how).expect("no keys move yet");
    net.settle_now();
    net.answer(1, "HD c10\r\n");
    net.later(SETTLED_MS);
    let clients: Vec<_> = (0..4).map(|_| net.client()).collect();
    for (number, client) in clients.iter().enumerate() {
        let verb = if number == 3 { "incr" } else { "get" };
        let amount = if number == 3 { " 1" } else { "" };
        net.say(*client, &format!("{verb} k{number}{amount}\r\n"));
        net.answer(1, &format!("VA 0 c{} f0 t-1 W\r\n\r\n", 11 + number));
    }
    net.set_server_reading(1, false);
    let value = "1".repeat(150_000);
    net.answer(0, &format!("VA {} c7 f0 t-1\r\n{value}\r\n", value.len()).repeat(4));
    let queued = net.mux.conn_output(net.conn(1)).len();
    assert!(queued < 400_000, "{queued} bytes");
    assert_eq!(net.got(clients[2]), hit("k2", &value));
    assert_eq!(net.got(clients[3]), "SERVER_ERROR Connection timed out\r\n");
}

#[test]
fn what_is_kept_while_keys_move_is_counted_and_freed_with_its_client() {
    let mut net = moving();
    let client = net.client();
    net.say(client, &set("a", &"x".repeat(10_000)));
    assert!(net.mux.memory() > 10_000);
    net.leave(client);
    assert_eq!(net.mux.memory(), 0);
    net.answer(0, "DELETED\r\n");
    net.answer(1, "STORED\r\n");
    net.check_idle();
}

#[test]
fn all_servers_are_emptied_twice() {
    let mut net = moving();
    let client = net.client();
    net.say(client, "flush_all\r\nget a\r\n");
    for _ in 0..2 {
        assert_eq!((net.asked(0), net.asked(1)), ("flush_all\r\n".into(), "flush_all\r\n".into()));
        net.answer(1, "OK\r\n");
        net.answer(0, "OK\r\n");
    }
    assert_eq!((net.got(client), net.asked(1)), ("OK\r\n".into(), LOOK.into()));
}

#[test]
fn what_comes_after_a_flush_that_waited_for_room_has_all_its_time() {
    let limits = Limits { server_requests_max: 2, ..Limits::default() };
    let mut net = Net::with_limits(1, limits);
    migrate(&mut net, &["new"]).expect("no keys move yet");
    net.answer(1, "HD c10\r\n");
    net.later(SETTLED_MS);
    let (other, client) = (net.client(), net.client());
    net.say(other, "get b\r\nget c\r\n");
    net.asked(1);
    net.say(client, "flush_all\r\nget a\r\n");
    net.later(300);
    assert_eq!(net.asked(0), "");
    net.answer(1, &"VA 1 c12 f0 t-1\r\n1\r\n".repeat(2));
    for _ in 0..2 {
        net.answer(1, "OK\r\n");
        net.answer(0, "OK\r\n");
    }
    assert_eq!(net.got(client), "OK\r\n");
    net.later(TIMEOUT_MS - 1);
    assert_eq!(net.got(client), "");
    net.later(1);
    assert_eq!(net.got(client), TIMED_OUT);
}

/// Changes from one ring to another, and looks whether keys move.
fn changes(before: (&[&str], Distribution), after: (&[&str], Distribution)) -> (Net, bool) {
    let ring = |(names, distribution): (&[&str], Distribution)| {
        let member = |name: &&str| Member { name: name.as_bytes().into(), weight: 1 };
        let members = names.iter().map(member).collect();
        let ring = Ring::new(distribution, Hash::Fnv1a_64, None, members, 1);
        (ring, names.iter().map(|_| Arc::default()).collect::<Vec<Arc<ServerStats>>>())
    };
    let mut net = Net::new(1);
    let (first, stats) = ring(before);
    net.mux.set_servers(first, &stats, |_| true);
    let ((second, stats), now) = (ring(after), net.now());
    net.mux.migrate_servers(second, &stats, |_| true, (MIGRATE, now)).expect("no keys move yet");
    net.settle_now();
    let moves = net.mux.migration(net.now()).is_some();
    (net, moves)
}

#[test]
fn no_keys_move_from_no_servers_or_to_none_or_where_a_server_is_drawn() {
    let (none, one, two): (&[&str], &[&str], &[&str]) = (&[], &["a"], &["a", "b"]);
    for (before, after) in [
        ((none, Distribution::Modula), (two, Distribution::Modula)),
        ((one, Distribution::Modula), (none, Distribution::Modula)),
        ((one, Distribution::Random), (two, Distribution::Random)),
        ((one, Distribution::Modula), (two, Distribution::Random)),
    ] {
        let (mut net, moves) = changes(before, after);
        assert!(!moves, "{before:?} {after:?}");
        let client = net.client();
        net.say(client, "flush_all\r\nget a b c d e f\r\n");
    }
    let (_, moves) = changes((one, Distribution::Modula), (two, Distribution::Modula));
    assert!(moves);
}
