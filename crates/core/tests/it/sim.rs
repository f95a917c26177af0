//! A pool, its clients and its servers in one random but repeatable world.
//!
//! Clients ask for anything, right or wrong, in pieces, and read slowly or not; servers answer in
//! pieces and late, hang, die, lie. Time is a number. Whatever happens, every client gets its own
//! replies in its own order or an error in the place of one, nothing that is read was never
//! written, nothing is older than what its reader has seen or written before, and in the end
//! nothing is left of it all.

mod client;
pub(crate) mod memcached;
pub(crate) mod random;
pub(crate) mod redis;
mod redis_client;
pub(crate) mod resp;
mod seen;
mod world;

use memcached::Memcached;
use nuthatch_core::clocks::Clock;
use nuthatch_core::limits::Limits;
use nuthatch_core::mux::Bulk;
use nuthatch_core::protocol::Protocol;
use random::Random;
use redis::Redis;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::time::{Duration, SystemTime};
use world::World;

/// What each key was set to, in order; None where it was deleted.
pub(crate) type History = BTreeMap<String, Vec<Option<Vec<u8>>>>;

/// A whole answer, and the key if it is a value of a read of one key.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    pub(crate) bytes: Vec<u8>,
    pub(crate) hit: Option<String>,
}

/// A server in a few lines, of which tests know what it says.
pub(crate) trait Server: Debug + Default {
    /// Clients who speak its protocol.
    type Client: Customer;

    const PROTOCOL: Protocol;

    /// A reply that nobody asked for.
    const SURPLUS: &'static [u8];

    /// Answers the first request in the `input` of a connection and takes it away; None if it is not
    /// whole, or if its answer comes later.
    fn serve(&mut self, conn: usize, input: &mut Vec<u8>) -> Option<Reply>;

    /// What a connection gets if this server says that the key has the value of another one.
    fn lie(key: &str) -> Vec<u8>;

    /// Forgets everything, as by a restart.
    fn flush(&mut self);

    /// A connection is no more.
    fn disconnect(&mut self, _conn: usize) {}

    /// A connection that waits has waited long enough.
    fn give_up(&mut self, _conn: usize) {}

    /// What connections get besides replies.
    fn take_sent(&mut self) -> Vec<(usize, Vec<u8>)> {
        Vec::new()
    }

    fn history(&self) -> &History;
}

/// A client that asks for anything and believes nothing.
pub(crate) trait Customer: Debug {
    /// `may_be_quiet`: whether it asks for no reply now and then. Where any reply may be replaced by an
    /// error, it could not tell whose error it is.
    fn new(may_be_quiet: bool) -> Self;

    /// Asks for something. `number` is new; values are up to `size_max` bytes.
    fn ask_anything(&mut self, random: &mut Random, number: u64, size_max: usize);

    /// Takes what came from the proxy, and checks it.
    fn receive(&mut self, bytes: &[u8], truth: &Truth<'_>);

    /// What it has still to send.
    fn outbox(&mut self) -> &mut VecDeque<u8>;

    /// Whether it asks for nothing more.
    fn has_ended(&self) -> bool;

    /// Whether it has all its replies.
    fn is_satisfied(&self) -> bool;

    /// Whether all that is left is the end of the connection.
    fn expects_end(&self) -> bool;
}

/// What the simulation knows and a client may ask.
pub(crate) struct Truth<'a> {
    pub(crate) histories: Vec<&'a History>,
    /// The server of a key, unless it ever failed.
    pub(crate) home: &'a dyn Fn(&str) -> Option<usize>,
    /// Whether an error may come in the place of any reply.
    pub(crate) errors: bool,
}

/// How often a server does what it should not, in 1000 replies or turns.
#[derive(Clone, Copy, Debug, Default)]
struct Faults {
    hang: u64,
    die: u64,
    garbage: u64,
    surplus: u64,
    /// Two replies change places.
    swap: u64,
    /// A value is that of another key: no proxy can see that.
    lie: u64,
}

#[derive(Clone, Copy, Debug)]
struct Plan {
    clients: usize,
    servers: usize,
    server_connections: usize,
    bulk: Bulk,
    requests: u32,
    size_max: usize,
    limits: Limits,
    ejects: bool,
    /// Connections for one client alone.
    dedicated_max: usize,
    /// Whether servers leave the pool and come back.
    changes: bool,
    faults: Faults,
    /// Whether an error may come in the place of a reply.
    errors: bool,
    /// Whether the parts of a request's way have times of their own, at random.
    clocks: bool,
}

const CALM: Plan = Plan {
    clients: 6,
    servers: 3,
    server_connections: 1,
    bulk: Bulk::NONE,
    requests: 250,
    size_max: 40_000,
    limits: Limits::DEFAULT,
    ejects: false,
    dedicated_max: 100,
    changes: false,
    faults: Faults { hang: 0, die: 0, garbage: 0, surplus: 0, swap: 0, lie: 0 },
    errors: false,
    clocks: false,
};

const STORMY: Plan = Plan {
    ejects: true,
    faults: Faults { hang: 150, die: 150, garbage: 3, surplus: 3, swap: 20, lie: 0 },
    errors: true,
    ..CALM
};

const TINY: Limits = Limits {
    item_size_max: 3000,
    keys_max: 16,
    line_max: 4096,
    client_requests_max: 2,
    client_buffer_max: 100,
    client_backlog_max: 3000,
    server_requests_max: 2,
    server_buffer_max: 100,
    memory_max: 8000,
};

const TIMEOUT_MS: u64 = 50;
const TIMEOUT: Duration = Duration::from_millis(TIMEOUT_MS);

/// Says how to repeat a run that failed.
struct Replay {
    test: &'static str,
    seed: u64,
}

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { test, seed } = self;
            eprintln!("replay: SIM_SEED={seed} cargo test -p nuthatch-core --test it {test}");
        }
    }
}

/// The number that a variable of the environment has.
fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|number| number.parse().expect("a number"))
}

/// `SIM_SEED`, or `SIM_FRESH` new ones; else the first `count`, the same ones in every run.
fn seeds(count: u64) -> Vec<u64> {
    if let Some(seed) = variable("SIM_SEED") {
        return vec![seed];
    }
    let Some(fresh) = variable("SIM_FRESH") else { return (1..=count).collect() };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    let first = now.as_secs() * 1000 + u64::from(now.subsec_millis());
    (first..first + fresh).collect()
}

/// Runs a plan with `count` seeds, or with those of the environment.
fn run<S: Server>(test: &'static str, plan: Plan, count: u64) -> Vec<World<S>> {
    let run = |seed| {
        let _replay = Replay { test, seed };
        println!("{test}: seed {seed}");
        let mut world = World::new(plan, seed);
        world.run();
        world
    };
    seeds(count).into_iter().map(run).collect()
}

/// Checks that enough of something happened. Chance decides that, so it is checked for the seeds that
/// are the same in every run, and for no others.
fn check_sum<S: Server>(worlds: &[World<S>], least: u64, read: fn(&World<S>) -> u64) {
    let sum: u64 = worlds.iter().map(read).sum();
    let are_fixed = variable("SIM_SEED").is_none() && variable("SIM_FRESH").is_none();
    assert!(!are_fixed || sum >= least, "{sum}");
}

fn timeouts<S: Server>(world: &World<S>) -> u64 {
    world.stats.iter().map(|server| server.server_timedout.read()).sum()
}

#[test]
fn in_calm_weather_everything_is_answered_and_nothing_is_stale() {
    for world in run::<Memcached>("sim::in_calm", CALM, 6) {
        let stats = world.mux.stats();
        assert_eq!(stats.forward_error.read() + stats.desync_total.read(), 0);
        assert!(stats.results.get_hits() > 100);
    }
}

#[test]
fn several_connections_to_a_server_change_nothing() {
    let plan = Plan { server_connections: 3, clients: 8, ..CALM };
    for world in run::<Memcached>("sim::several", plan, 4) {
        assert_eq!(world.mux.stats().forward_error.read(), 0);
    }
}

/// Clients are bulky after little, and soon no longer.
const BULK: Bulk = Bulk { connections: 2, min: 2000, keys: 4, requests: 8, reads: 3 };

#[test]
fn clients_change_to_the_connections_for_bulk_and_back_and_nothing_is_stale() {
    let plan = Plan { bulk: BULK, server_connections: 2, clients: 8, ..CALM };
    let worlds = run::<Memcached>("sim::clients_change", plan, 6);
    for world in &worlds {
        assert_eq!(world.mux.stats().forward_error.read(), 0);
        assert_eq!(world.mux.stats().bulk_clients.read(), 0);
    }
    check_sum(&worlds, 500, |world| world.mux.stats().bulk_moves.read());
    let tiny = Plan { limits: TINY, size_max: 2000, errors: true, ..plan };
    let tiny = Plan { bulk: Bulk { min: 500, requests: 2, ..BULK }, ..tiny };
    let worlds = run::<Memcached>("sim::clients_change", tiny, 4);
    check_sum(&worlds, 100, |world| world.mux.stats().bulk_moves.read());
}

#[test]
fn clients_change_connections_in_a_storm() {
    let plan = Plan { bulk: BULK, ..STORMY };
    let worlds = run::<Memcached>("sim::clients_change_connections", plan, 10);
    check_sum(&worlds, 100, |world| world.mux.stats().bulk_moves.read());
    check_sum(&worlds, 10, timeouts);
    let plan = Plan { bulk: BULK, changes: true, ..STORMY };
    let worlds = run::<Memcached>("sim::clients_change_connections", plan, 4);
    check_sum(&worlds, 100, |world| world.mux.stats().bulk_moves.read());
}

#[test]
fn redis_clients_change_connections_in_any_weather() {
    for plan in [REDIS, REDIS_STORMY, Plan { changes: true, ..REDIS_STORMY }] {
        let plan = Plan { bulk: Bulk { min: 500, ..BULK }, ..plan };
        let worlds = run::<Redis>("sim::redis_clients_change", plan, 4);
        check_sum(&worlds, 100, |world| world.mux.stats().bulk_moves.read());
    }
}

#[test]
fn in_stormy_weather_every_reply_is_right_or_an_error() {
    let worlds = run::<Memcached>("sim::in_stormy", STORMY, 10);
    check_sum(&worlds, 10, |world| world.mux.stats().server_ejects.read());
    check_sum(&worlds, 10, |world| world.mux.stats().desync_total.read());
    check_sum(&worlds, 10, timeouts);
    check_sum(&worlds, 1000, |world| world.mux.stats().results.get_hits());
}

#[test]
fn under_the_tiniest_limits_everything_still_moves() {
    let plan = Plan { limits: TINY, size_max: 2000, errors: true, ..CALM };
    let worlds = run::<Memcached>("sim::under_the_tiniest_limits_everything_still", plan, 6);
    check_sum(&worlds, 10, |world| world.mux.stats().limit_server_queue.read());
    check_sum(&worlds, 10, |world| world.mux.stats().limit_client_paused.read());
    check_sum(&worlds, 10, |world| world.mux.stats().limit_memory.read());
}

#[test]
fn under_the_tiniest_limits_a_storm_passes_too() {
    let limits = Plan { limits: TINY, size_max: 2000, server_connections: 2, ..STORMY };
    let worlds = run::<Memcached>("sim::under_the_tiniest_limits_a_storm", limits, 4);
    check_sum(&worlds, 1, timeouts);
}

#[test]
fn swapped_replies_are_found_out_and_never_believed() {
    let faults = Faults { swap: 500, ..Faults::default() };
    let worlds = run::<Memcached>("sim::swapped", Plan { faults, errors: true, ..CALM }, 4);
    check_sum(&worlds, 10, |world| world.mux.stats().desync_total.read());
}

/// How often a clock ran out.
fn ran_out<S: Server>(world: &World<S>, clock: Clock) -> u64 {
    world.stats.iter().map(|server| server.more.timeouts[clock as usize].read()).sum()
}

/// The three clocks at random values: no wrong answer, no late one, and all of them run out.
fn run_clocks<S: Server>(test: &'static str, plan: Plan, count: u64) {
    let worlds = run::<S>(test, Plan { clocks: true, ..plan }, count);
    check_sum(&worlds, 10, |world| ran_out(world, Clock::Connect));
    check_sum(&worlds, 10, |world| ran_out(world, Clock::Queue));
    check_sum(&worlds, 10, |world| ran_out(world, Clock::Response));
    check_sum(&worlds, 10, |world| ran_out(world, Clock::Total));
    check_sum(&worlds, 100, |world| world.mux.stats().results.get_hits());
    check_sum(&worlds, 10, timeouts);
}

#[test]
fn whatever_the_clocks_are_every_request_is_answered_in_its_time() {
    run_clocks::<Memcached>("sim::whatever_the_clocks", STORMY, 20);
}

#[test]
fn with_slow_servers_and_short_clocks_only_what_is_late_fails() {
    let faults = Faults { hang: 300, ..Faults::default() };
    let plan = Plan { faults, errors: true, server_connections: 2, ..CALM };
    run_clocks::<Memcached>("sim::with_slow_servers", plan, 20);
}

/// Proves that these tests would notice a wrong answer.
#[test]
#[should_panic(expected = "is not of")]
fn a_value_of_another_key_is_noticed() {
    let faults = Faults { lie: 100, ..Faults::default() };
    run::<Memcached>("sim::a_value", Plan { faults, ..CALM }, 2);
}

/// Values are smaller than memcached's, as the replies of a transaction are parsed from their start
/// whenever a piece comes.
const REDIS: Plan = Plan { size_max: 8000, requests: 200, ..CALM };

/// What can be noticed in RESP: a swapped or surplus reply can't.
const REDIS_STORM: Faults = Faults { hang: 150, die: 150, garbage: 3, surplus: 0, swap: 0, lie: 0 };

const REDIS_STORMY: Plan = Plan { faults: REDIS_STORM, ejects: true, errors: true, ..REDIS };

#[test]
fn redis_answers_everything_in_calm_weather_and_nothing_is_stale() {
    for lanes in [1, 3] {
        let plan = Plan { server_connections: lanes, ..REDIS };
        let worlds = run::<Redis>("sim::redis_answers", plan, 3);
        for world in &worlds {
            let stats = world.mux.stats();
            assert_eq!(stats.forward_error.read() + stats.desync_total.read(), 0);
            assert_eq!(stats.limit_dedicated.read(), 0);
        }
        check_sum(&worlds, 500, |world| world.mux.stats().results.get_hits());
    }
}

#[test]
fn redis_in_stormy_weather_is_right_or_an_error() {
    let plan = Plan { server_connections: 2, ..REDIS_STORMY };
    let worlds = run::<Redis>("sim::redis_in_stormy", plan, 10);
    check_sum(&worlds, 10, |world| world.mux.stats().server_ejects.read());
    check_sum(&worlds, 10, timeouts);
    check_sum(&worlds, 1000, |world| world.mux.stats().results.get_hits());
}

#[test]
fn redis_servers_come_and_go_in_a_storm() {
    let plan = Plan { changes: true, ..REDIS_STORMY };
    let worlds = run::<Redis>("sim::redis_servers_come", plan, 10);
    check_sum(&worlds, 1000, |world| world.mux.stats().results.get_hits());
}

#[test]
fn memcached_servers_come_and_go_in_a_storm() {
    let plan = Plan { changes: true, ..STORMY };
    let worlds = run::<Memcached>("sim::memcached_servers_come", plan, 5);
    check_sum(&worlds, 500, |world| world.mux.stats().results.get_hits());
}

#[test]
fn redis_moves_under_the_tiniest_limits() {
    let tiny = Plan { limits: TINY, size_max: 2000, dedicated_max: 2, errors: true, ..REDIS };
    let worlds = run::<Redis>("sim::redis_moves", tiny, 6);
    check_sum(&worlds, 10, |world| world.mux.stats().limit_server_queue.read());
    check_sum(&worlds, 10, |world| world.mux.stats().limit_dedicated.read());
    let storm = Plan { faults: REDIS_STORM, ejects: true, ..tiny };
    check_sum(&run::<Redis>("sim::redis_moves", storm, 6), 1, timeouts);
}

#[test]
fn redis_is_right_or_an_error_whatever_the_clocks_are() {
    run_clocks::<Redis>("sim::redis_is_right", REDIS_STORMY, 20);
}

/// Proves that these tests would notice a wrong answer of Redis.
#[test]
#[should_panic(expected = "is not of")]
fn a_value_of_another_key_of_redis_is_noticed() {
    let faults = Faults { lie: 100, ..Faults::default() };
    run::<Redis>("sim::a_value_of_another_key_of_redis", Plan { faults, ..CALM }, 2);
}
