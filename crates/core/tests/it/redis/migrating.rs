//! Keys of a Redis pool that move to another server: what its clients are told, step by step.

use super::{ABORTED, OK, QUEUED, TIMED_OUT, array, bulk, requests};
use crate::net::{Net, TIMEOUT_MS, engine, redis_options};
use nuthatch_core::clocks::Clocks;
use nuthatch_core::health::Order;
use nuthatch_core::limits::Limits;
use nuthatch_core::mux::{ClientId, Migrate, Options};
use nuthatch_core::ring::{Distribution, Hash, Member, Ring};
use nuthatch_core::stats::ServerStats;
use std::sync::Arc;
use std::time::Duration;

/// The connections to the server that all keys leave, to the one where they go, and the first one for a
/// client alone.
const OLD: usize = 0;
const NEW: usize = 2;
const OWN: usize = 4;

const MIGRATE: Migrate = Migrate {
    announced: None,
    settle: Duration::from_secs(1),
    window: Duration::from_secs(10),
    moves_max: 100,
    pause: Duration::ZERO,
    seed: 1,
};

/// From the change until values move, with the time that a request may take.
const SETTLED_MS: u64 = 1000 + TIMEOUT_MS;

const TRY_AGAIN: &str = "-TRYAGAIN keys of this request move to another server: try again\r\n";
const TOO_MANY: &str = "-ERR too many requests for keys that move: moves_max\r\n";

fn ring_of(names: &[&str]) -> (Ring, Vec<Arc<ServerStats>>) {
    let member = |name: &&str| Member { name: name.as_bytes().into(), weight: 1 };
    let members = names.iter().map(member).collect();
    let ring = Ring::new(Distribution::Modula, Hash::Fnv1a_64, None, members, 1);
    (ring, names.iter().map(|_| Arc::default()).collect())
}

/// All keys get another server.
fn change(net: &mut Net, migrate: Migrate) {
    let ((ring, stats), now) = (ring_of(&["new"]), net.now());
    net.mux.migrate_servers(ring, &stats, |_| true, (migrate, now)).expect("no keys move yet");
    net.settle_now();
}

/// The servers change, and nobody waits for keys that still move.
fn force(net: &mut Net, names: &[&str]) {
    let (ring, stats) = ring_of(names);
    net.mux.set_servers(ring, &stats, |_| true);
    net.settle_now();
}

/// A pool in which proxies may still ask the old server only.
fn settling(migrate: Migrate) -> Net {
    let mut net = Net::redis(1);
    change(&mut net, migrate);
    net
}

/// A pool in which keys move.
fn moving(migrate: Migrate) -> Net {
    let mut net = settling(migrate);
    net.later(SETTLED_MS);
    net
}

/// A key that no server has is brought to its new server.
fn bring_nothing(net: &mut Net) {
    net.answer(NEW, ":1\r\n");
    net.answer(OLD, ":0\r\n");
    net.answer(NEW, ":0\r\n:1\r\n");
}

/// A client in a transaction of one command, which its server has queued.
fn in_transaction(net: &mut Net) -> ClientId {
    let client = net.client();
    net.say(client, &requests("MULTI;SET a 1"));
    bring_nothing(net);
    assert_eq!(net.asked(OWN), requests("MULTI;SET a 1"));
    net.answer(OWN, &(OK.to_owned() + QUEUED));
    assert_eq!(net.got(client), OK.to_owned() + QUEUED);
    client
}

/// Another client has as many requests for keys that move as there may be.
fn fill(net: &mut Net) {
    let other = net.client();
    let reads: String = (0..MOVES_MAX).map(|key| array(&format!("GET {key}"))).collect();
    net.say(other, &reads);
    net.asked(NEW);
}

/// The requests of [`fill`] are answered.
fn empty(net: &mut Net) {
    net.answer(NEW, &":1\r\n$1\r\n1\r\n".repeat(MOVES_MAX));
}

const MOVES_MAX: usize = 2;
const FEW: Migrate = Migrate { moves_max: MOVES_MAX, ..MIGRATE };

#[test]
fn a_transaction_with_a_command_that_was_one_too_many_is_not_carried_out() {
    let mut net = moving(FEW);
    let client = in_transaction(&mut net);
    fill(&mut net);
    net.say(client, &requests("SET b 2"));
    assert_eq!(net.got(client), TOO_MANY);
    empty(&mut net);
    net.say(client, &requests("EXEC"));
    assert_eq!((net.asked(OWN), net.got(client)), (requests("DISCARD"), ABORTED.to_owned()));
    net.answer(OWN, OK);
    net.check_idle();
}

#[test]
fn a_transaction_whose_end_is_one_too_many_is_over() {
    let mut net = moving(FEW);
    let client = in_transaction(&mut net);
    fill(&mut net);
    net.say(client, &requests("EXEC"));
    assert_eq!((net.asked(OWN), net.got(client)), (requests("DISCARD"), ABORTED.to_owned()));
    net.answer(OWN, OK);
    empty(&mut net);
    net.asked(NEW);
    net.say(client, &requests("GET a"));
    assert_eq!(net.asked(NEW), requests("EXISTS a;GET a"), "it is no part of a transaction");
    net.answer(NEW, ":1\r\n$1\r\n1\r\n");
    net.check_idle();
}

/// Its keys may have been replaced by other workers, which do not know of the transaction.
#[test]
fn a_transaction_is_not_carried_out_once_the_old_server_of_its_keys_is_asked_no_more() {
    let mut net = moving(MIGRATE);
    net.mux.share_arbiter();
    let old = net.mux.server_of(net.conn(OLD));
    let client = in_transaction(&mut net);
    net.mux.obey(old, Order::HoldMoves, 1, net.now());
    net.say(client, &requests("EXEC"));
    assert_eq!((net.asked(OWN), net.got(client)), (requests("DISCARD"), ABORTED.to_owned()));
    net.answer(OWN, OK);
    net.check_idle();

    let mut net = settling(MIGRATE);
    net.mux.share_arbiter();
    let old = net.mux.server_of(net.conn(OLD));
    let client = net.client();
    net.say(client, &requests("MULTI;SET a 1"));
    assert_eq!(net.asked(OWN), requests("MULTI;SET a 1"));
    net.answer(OWN, &(OK.to_owned() + QUEUED));
    net.mux.obey(old, Order::HoldMoves, 1, net.now());
    net.settle_now();
    assert!(!net.is_connected(OWN), "the old server forgets it");
    assert!(!net.is_open(client), "as when a server is lost");
}

#[test]
fn what_the_old_server_answers_when_it_is_asked_no_more_takes_nothing_away_from_the_new_one() {
    let mut net = settling(MIGRATE);
    net.mux.share_arbiter();
    let old = net.mux.server_of(net.conn(OLD));
    let client = net.client();
    net.say(client, &requests("SET a 1"));
    assert_eq!(net.asked(OLD), requests("SET a 1"));
    for order in [Order::HoldMoves, Order::GiveUp] {
        net.mux.obey(old, order, 1, net.now());
    }
    net.settle_now();
    assert_eq!(net.got(client), TIMED_OUT);
    net.answer(OLD, OK);
    let asked = net.asked(NEW);
    assert_eq!(asked, requests("DEL a:nuthatch-moving"), "its value stays");
}

#[test]
fn what_is_known_of_the_keys_of_a_request_that_waited_too_long_is_not_for_the_next_one() {
    let mut net = moving(MIGRATE);
    net.mux.share_arbiter();
    let old = net.mux.server_of(net.conn(OLD));
    let client = net.client();
    net.say(client, &requests("MULTI;SET a 1"));
    assert_ne!(net.asked(NEW), "", "the key is brought");
    net.mux.obey(old, Order::HoldMoves, 1, net.now());
    net.settle_now();
    assert_eq!(net.got(client), OK, "it waits for the other workers");
    net.later(TIMEOUT_MS);
    assert_eq!(net.got(client), TIMED_OUT);
    net.mux.obey(old, Order::GiveUp, 1, net.now());
    net.say(client, &requests("EXEC;MULTI;SET b 2"));
    assert_eq!(net.got(client), ABORTED.to_owned() + OK);
}

/// A pool whose queues take few requests. The one of the new server is full until the time of the requests
/// in it is over.
fn with_full_queue() -> (Net, ClientId) {
    let limits = Limits { server_requests_max: 4, ..Limits::default() };
    let mut net = Net::with(engine(1, Options { limits, ..redis_options() }, None));
    change(&mut net, MIGRATE);
    net.later(SETTLED_MS);
    let client = in_transaction(&mut net);
    let other = net.client();
    net.say(other, &requests("GET x;GET y"));
    net.asked(NEW);
    (net, client)
}

#[test]
fn a_transaction_with_a_command_that_has_waited_too_long_is_not_carried_out() {
    let (mut net, client) = with_full_queue();
    net.say(client, &requests("SET b 2"));
    net.later(TIMEOUT_MS);
    assert_eq!(net.got(client), TIMED_OUT);
    net.say(client, &requests("EXEC"));
    assert_eq!((net.asked(OWN), net.got(client)), (requests("DISCARD"), ABORTED.to_owned()));
}

#[test]
fn a_transaction_whose_end_has_waited_too_long_is_over() {
    let (mut net, client) = with_full_queue();
    net.say(client, &requests("EXEC"));
    net.later(TIMEOUT_MS);
    assert_eq!((net.asked(OWN), net.got(client)), (requests("DISCARD"), ABORTED.to_owned()));
}

fn with_keys(command: &str, count: usize) -> String {
    let keys: String = (0..count).map(|key| bulk(&format!("{key:05}"))).collect();
    format!("*{}\r\n{}{keys}", count + 1, bulk(command))
}

#[test]
fn a_request_of_many_keys_that_move_counts_once_for_each() {
    let mut net = moving(Migrate { moves_max: 3, ..MIGRATE });
    let client = net.client();
    for command in ["SINTER", "WATCH"] {
        net.say(client, &with_keys(command, 4));
        assert_eq!((net.got(client), net.mux.conns().len()), (TOO_MANY.to_owned(), OWN));
    }
    net.say(client, &requests("SINTER a b c"));
    assert_eq!(net.asked(NEW), requests("EXISTS a"));
}

#[test]
fn a_request_of_more_keys_that_move_than_a_request_may_have_is_refused() {
    let limits = Limits { keys_max: 3, ..Limits::default() };
    let mut net = Net::with(engine(1, Options { limits, ..redis_options() }, None));
    change(&mut net, MIGRATE);
    net.later(SETTLED_MS);
    let client = net.client();
    for command in ["SINTER", "WATCH"] {
        net.say(client, &with_keys(command, 4));
        assert_eq!(net.got(client), "-ERR too many keys: keys_max of this pool is lower\r\n");
    }
    net.check_idle();
}

#[test]
fn the_keys_of_a_request_that_move_count_until_it_is_answered() {
    let mut net = moving(Migrate { moves_max: 1000, ..MIGRATE });
    let client = net.client();
    let request = with_keys("SINTER", 1000);
    net.say(client, &request);
    assert!(net.mux.memory() > 3 * request.len(), "{}", net.mux.memory());
    net.later(TIMEOUT_MS);
    assert_eq!(net.got(client), TIMED_OUT);
    net.answer(NEW, ":1\r\n");
    net.check_idle();
}

/// Work that grew with the square of the number of keys would take a minute.
#[test]
fn the_work_for_a_request_grows_with_its_keys_and_no_faster() {
    for command in ["SINTER", "WATCH"] {
        let mut net = settling(Migrate { moves_max: 1 << 20, ..MIGRATE });
        let client = net.client();
        let begun = std::time::Instant::now();
        net.say(client, &with_keys(command, 100_000));
        assert!(begun.elapsed() < Duration::from_secs(10), "{command}: {:?}", begun.elapsed());
    }
}

/// A client waits at the old server for an element of a list, behind a reply that is still to come.
fn waiting_behind_a_reply() -> (Net, ClientId) {
    let mut net = settling(MIGRATE);
    net.later(SETTLED_MS - 100);
    let client = net.client();
    net.say(client, &requests("WATCH w;BLPOP q 0"));
    assert_eq!(net.asked(OWN), requests("WATCH w;BLPOP q 0"));
    net.later(100);
    (net, client)
}

/// Another client adds an element at the new server, as keys move, and is told so.
fn push(net: &mut Net) {
    let other = net.client();
    net.say(other, &requests("LPUSH q x"));
    bring_nothing(net);
    assert_eq!(net.got(other), ":1\r\n");
    net.asked(NEW);
}

#[test]
fn the_end_of_a_wait_takes_nothing_away_from_the_new_server() {
    let (mut net, client) = waiting_behind_a_reply();
    push(&mut net);
    net.answer(OWN, OK);
    net.later(1);
    assert_eq!(net.got(client), OK.to_owned() + TRY_AGAIN);
    assert_eq!(net.asked(NEW), requests("DEL q:nuthatch-moving"), "the list stays");
    assert!(!net.is_open(client), "its watched keys are gone with its connection to the server");
    net.answer(NEW, ":0\r\n");
    net.check_idle();
}

#[test]
fn what_a_wait_brings_after_its_phase_takes_nothing_away_from_the_new_server() {
    let (mut net, client) = waiting_behind_a_reply();
    push(&mut net);
    net.answer(OWN, &(OK.to_owned() + &array("q y")));
    assert_eq!(net.got(client), OK.to_owned() + TIMED_OUT);
    assert_eq!(net.asked(NEW), requests("DEL q:nuthatch-moving"), "the list stays");
}

/// Another worker may have moved the key by then, and acknowledged what was written after it.
#[test]
fn a_write_at_the_old_server_that_ends_after_its_phase_is_not_acknowledged() {
    for (reply, got) in
        [(":1\r\n", TIMED_OUT), ("-WRONGTYPE no number\r\n", "-WRONGTYPE no number\r\n")]
    {
        let mut net = settling(MIGRATE);
        net.later(SETTLED_MS - 100);
        let client = net.client();
        net.say(client, &requests("INCR k"));
        assert_eq!(net.asked(OLD), requests("INCR k"));
        net.later(100);
        net.answer(OLD, reply);
        assert_eq!(net.got(client), got);
        assert_eq!(net.asked(NEW), requests("DEL k:nuthatch-moving"), "the value stays");
        net.answer(NEW, ":0\r\n");
        net.check_idle();
    }
}

#[test]
fn a_write_at_the_old_server_that_nobody_waits_for_any_longer_takes_nothing_away_either() {
    let mut net = settling(MIGRATE);
    net.later(SETTLED_MS - 100);
    let client = net.client();
    net.say(client, &requests("INCR k"));
    net.later(TIMEOUT_MS);
    assert_eq!(net.got(client), TIMED_OUT);
    net.asked(OLD);
    net.answer(OLD, ":1\r\n");
    assert_eq!(net.asked(NEW), requests("DEL k:nuthatch-moving"));
    net.answer(NEW, ":0\r\n");
    net.check_idle();
}

#[test]
fn a_forced_change_closes_the_connection_of_a_client_that_waits_at_an_old_server() {
    let mut net = settling(MIGRATE);
    let client = net.client();
    net.say(client, &requests("BLPOP q 0"));
    force(&mut net, &["newer"]);
    assert!(net.got(client).starts_with("-ERR "));
    assert!(!net.is_connected(OWN), "the server would pop an element for nobody");
    assert!(net.is_open(client));
    net.check_idle();
}

#[test]
fn a_forced_change_lets_those_go_on_who_wait_for_the_next_phase() {
    let pause = Duration::from_millis(100);
    let mut net = settling(Migrate { pause, ..MIGRATE });
    net.later(SETTLED_MS - 50);
    let client = net.client();
    net.say(client, &requests("SET a 1"));
    assert_eq!(net.asked(OLD), "");
    force(&mut net, &["new"]);
    assert_eq!(net.asked(NEW), requests("SET a 1"));
    net.answer(NEW, OK);
    assert_eq!(net.got(client), OK);
    net.check_idle();
}

#[test]
fn a_forced_change_frees_what_was_known_of_transactions() {
    let mut net = moving(MIGRATE);
    let client = in_transaction(&mut net);
    assert!(net.mux.memory() > 0);
    force(&mut net, &["newer"]);
    net.say(client, &requests("DISCARD"));
    net.answer(OWN, OK);
    net.check_idle();
}

const PAUSE_MS: u64 = 100;
const WITH_PAUSE: Migrate = Migrate { pause: Duration::from_millis(PAUSE_MS), ..MIGRATE };

/// Other workers of the process may still be in the first phase, and read at the old server only: there the
/// value must stay.
#[test]
fn nothing_is_taken_away_from_the_old_server_before_all_workers_are_in_the_second_phase() {
    for request in ["INCR k", "SET k 1", "DEL k", "MSET k 1", "RENAME k j", "BLPOP k 0", "WATCH k"]
    {
        let mut net = moving(WITH_PAUSE);
        let client = net.client();
        net.say(client, &requests(request));
        net.later(PAUSE_MS - 1);
        let begun = |net: &Net| net.mux.stats().migration.in_flight.read();
        assert_eq!(begun(&net), 0, "{request} waits");
        net.later(1);
        assert_eq!(begun(&net), 1, "{request} goes on");
    }
}

/// One time for all: to wait for the other workers, for the key to come, for the reply.
#[test]
fn a_request_for_a_key_that_moves_has_one_time_for_all_that_it_waits_for() {
    for request in ["INCR k", "MSET k 1", "RENAME k j", "WATCH k"] {
        let mut net = moving(WITH_PAUSE);
        let client = net.client();
        net.say(client, &requests(request));
        net.later(PAUSE_MS);
        net.asked(NEW);
        net.later(TIMEOUT_MS - PAUSE_MS - 1);
        assert_eq!(net.got(client), "", "{request}");
        net.later(1);
        assert_eq!(net.got(client), TIMED_OUT, "{request}");
    }
}

#[test]
fn a_request_whose_key_was_brought_has_the_rest_of_its_time() {
    let mut net = moving(MIGRATE);
    let client = net.client();
    net.say(client, &requests("WATCH k"));
    net.later(300);
    bring_nothing(&mut net);
    assert_eq!(net.asked(OWN), requests("WATCH k"));
    net.later(TIMEOUT_MS - 300 - 1);
    assert_eq!(net.got(client), "");
    net.later(1);
    assert_eq!(net.got(client), TIMED_OUT);
}

#[test]
fn a_transaction_whose_key_was_brought_has_the_rest_of_its_time() {
    let mut net = moving(MIGRATE);
    let client = net.client();
    net.say(client, &requests("MULTI;SET k 1"));
    net.later(TIMEOUT_MS - 2);
    bring_nothing(&mut net);
    assert_eq!(net.asked(OWN), requests("MULTI;SET k 1"));
    assert_eq!(net.got(client), OK);
    net.later(1);
    assert_eq!(net.got(client), "");
    net.later(1);
    assert_eq!(net.got(client), TIMED_OUT);
}

#[test]
fn a_request_that_waited_for_room_before_its_key_was_brought_has_the_rest_of_its_time() {
    let limits = Limits { server_requests_max: 1, ..Limits::default() };
    let mut net = Net::with(engine(1, Options { limits, ..redis_options() }, None));
    change(&mut net, MIGRATE);
    net.later(SETTLED_MS);
    let (other, client) = (net.client(), net.client());
    net.say(other, &requests("RANDOMKEY"));
    net.asked(NEW);
    net.say(client, &requests("WATCH k"));
    net.later(100);
    assert_eq!(net.asked(NEW), "");
    net.answer(NEW, "$-1\r\n");
    net.later(200);
    bring_nothing(&mut net);
    assert_eq!(net.asked(OWN), requests("WATCH k"));
    net.later(TIMEOUT_MS - 300 - 1);
    assert_eq!(net.got(client), "");
    net.later(1);
    assert_eq!(net.got(client), TIMED_OUT);
}

#[test]
fn a_transaction_with_a_command_that_waited_too_long_for_the_other_workers_is_not_carried_out() {
    let mut net = Net::redis(1);
    let clocks = Clocks { queue: Some(Duration::from_millis(30)), ..Clocks::default() };
    net.mux.set_options(Options { clocks, ..net.mux.options().clone() });
    change(&mut net, WITH_PAUSE);
    net.later(SETTLED_MS);
    let client = net.client();
    net.say(client, &requests("MULTI;SET k 1"));
    assert_eq!(net.got(client), OK);
    let next = net.mux.next_timeout().map(|at| at.since(net.now()).as_millis());
    assert_eq!(next, Some(30));
    net.later(29);
    assert_eq!(net.got(client), "");
    net.later(1);
    assert_eq!(net.got(client), TIMED_OUT);
    net.later(PAUSE_MS);
    net.say(client, &requests("EXEC"));
    assert_eq!(net.got(client), ABORTED);
}

#[test]
fn a_request_that_waits_for_the_other_workers_ends_with_its_time() {
    // It has waited for room before.
    let limits = Limits { server_requests_max: 1, ..Limits::default() };
    let mut net = Net::with(engine(1, Options { limits, ..redis_options() }, None));
    change(&mut net, WITH_PAUSE);
    net.later(SETTLED_MS - PAUSE_MS - 310);
    let (other, client) = (net.client(), net.client());
    net.say(other, &requests("GET k"));
    net.say(client, &requests("SET k 1"));
    net.later(320);
    net.answer(OLD, "$-1\r\n");
    assert_eq!(net.asked(OLD), requests("GET k"), "the pause has begun");
    net.later(TIMEOUT_MS - 320 - 1);
    assert_eq!(net.got(client), "");
    let next = net.mux.next_timeout().map(|at| at.since(net.now()).as_millis());
    assert_eq!(next, Some(1));
    net.later(1);
    assert_eq!(net.got(client), TIMED_OUT);
    net.later(PAUSE_MS);
    assert_eq!(net.asked(OLD), "", "it is not carried out");
}

#[test]
fn a_request_that_waits_for_an_earlier_one_of_its_client_has_no_more_time_than_others() {
    let mut net = moving(MIGRATE);
    let client = net.client();
    net.say(client, &requests("INCR k"));
    net.later(300);
    net.say(client, &requests("INCR j"));
    net.later(100);
    assert_eq!(net.got(client), TIMED_OUT);
    net.later(299);
    assert_eq!(net.got(client), "");
    net.later(1);
    assert_eq!(net.got(client), TIMED_OUT);
}

#[test]
fn reads_do_not_wait_for_the_other_workers() {
    let mut net = moving(WITH_PAUSE);
    let client = net.client();
    net.say(client, &requests("GET k"));
    net.answer(NEW, ":0\r\n$-1\r\n");
    net.asked(NEW);
    net.answer(OLD, "$1\r\n7\r\n:1\r\n");
    assert_eq!((net.got(client), net.asked(NEW)), (bulk("7"), String::new()));
    net.check_idle();
}

const VALUE_LEN: usize = 100_000;

/// A reply of the old server with the dump of a large value.
fn large_dump() -> String {
    format!("*3\r\n{}{}:-1\r\n", bulk(&"x".repeat(VALUE_LEN)), bulk("digest"))
}

/// The mark that the new server was asked to make last.
fn mark(asked: &str) -> String {
    let words: Vec<&str> = asked.split("\r\n").collect();
    let place = words.iter().rposition(|word| word.ends_with(":nuthatch-lock")).expect("a look");
    words[place + 2].to_owned()
}

/// A pool in which reads copy, and so many clients whose keys the old server is asked for, with a new
/// server that reads no more.
fn copying(count: usize, request: &str) -> (Net, Vec<ClientId>) {
    let limits = Limits { server_buffer_max: 2 * VALUE_LEN, ..Limits::default() };
    let mut net = Net::with(engine(1, Options { limits, ..redis_options() }, None));
    change(&mut net, MIGRATE);
    net.later(2 * SETTLED_MS);
    let clients: Vec<ClientId> = (0..count).map(|_| net.client()).collect();
    for (number, client) in clients.iter().enumerate() {
        net.say(*client, &requests(&format!("{request} k{number}")));
        let is_read = request == "GET";
        let miss = if is_read { "$-1\r\n" } else { "" };
        net.answer(NEW, &format!(":0\r\n{miss}"));
        let mark = mark(&net.asked(NEW));
        net.answer(NEW, &(bulk(&mark) + miss));
    }
    net.asked(OLD);
    net.set_server_reading(NEW, false);
    (net, clients)
}

#[test]
fn nothing_is_copied_to_a_server_whose_queue_is_full_and_reads_get_the_old_value() {
    let (mut net, clients) = copying(8, "GET");
    net.answer(OLD, &large_dump().repeat(8));
    let queued = net.mux.conn_output(net.conn(NEW)).len();
    assert!(queued < 4 * VALUE_LEN, "{queued} bytes");
    assert!(net.mux.memory() < VALUE_LEN, "what is not kept does not count");
    assert_eq!(net.mux.stats().migration.in_flight.read(), 8);
    assert_eq!(net.asked(OLD), (2..8).map(read_and_look).collect::<String>());
    net.answer(OLD, &(bulk("value") + ":1\r\n").repeat(6));
    for client in &clients[2..] {
        assert_eq!(net.got(*client), bulk("value"));
    }
}

fn read_and_look(number: usize) -> String {
    requests(&format!("GET k{number};EXISTS k{number}"))
}

#[test]
fn a_command_that_needs_a_value_for_whose_copy_there_is_no_room_is_not_carried_out() {
    let (mut net, clients) = copying(4, "INCR");
    net.answer(OLD, &large_dump().repeat(4));
    assert_eq!((net.got(clients[2]), net.got(clients[1])), (TIMED_OUT.to_owned(), String::new()));
    assert_eq!(net.asked(OLD), "", "the value stays where it is");
}

#[test]
fn a_reply_that_is_kept_until_the_other_server_has_done_its_part_counts() {
    let mut net = settling(MIGRATE);
    let client = net.client();
    net.say(client, &requests("GETDEL k"));
    let value = bulk(&"x".repeat(VALUE_LEN));
    net.answer(OLD, &value);
    assert!(net.mux.memory() > VALUE_LEN, "{}", net.mux.memory());
    net.answer(NEW, ":0\r\n");
    assert_eq!(net.got(client), value);
    net.check_idle();
}
