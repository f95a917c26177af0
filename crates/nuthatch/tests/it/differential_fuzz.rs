//! No input of a client changes another client's answer, costs a connection to a server, or ejects
//! one; and every client is answered as one server would answer, but for the differences that the
//! documents list. Here memcached, in `redis_differential_fuzz.rs` Redis.
//!
//! Fuzzing clients send right and wrong requests from a seed, innocent ones right requests only, all
//! at once, to the proxy over three servers and to one server alone. The rule: a difference is
//! a fault unless a rule of `compare.rs` accepts it, and whoever lets a rule in names its row.
//!
//! A fault is told with the smallest script that shows it and the command that plays it again.
//! `make fuzz-differential` is the long run; `FUZZ_SEEDS`, `FUZZ_REQUESTS` (of one seed) and
//! `FUZZ_FAULTS` (kinds of faults after which it ends) set the length of any run, `FUZZ_SEED` plays one
//! seed, or some together. With `FUZZ_VICTIMS=1` only harm to others is a fault: so another version of
//! memcached in the path, which answers many requests otherwise, can be hunted through in seconds.

use std::collections::BTreeMap;
use std::ops::Range;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{env, thread};

use play::{Fault, Player, transcript};
pub(crate) use protocol::Protocol;
use script::{Batch, Cutting, Kind, Request};
use shrink::{ROUNDS, innocent, shrink, trial};
use world::World;
pub(crate) use world::{Front, Shape};

mod compare;
mod meta_request;
mod play;
mod protocol;
mod redis;
mod request;
mod script;
mod shrink;
mod verdict;
mod world;

const FEW: Shape = Shape::few(Protocol::Memcache);
const MANY: Shape = Shape::many(Protocol::Memcache);

/// Servers are started anew before they are full, and before keys come again.
const SEEDS_OF_A_WORLD: u64 = 300;

/// Fuzzing clients that are at work at once.
const CLIENTS: usize = 8;

#[test]
#[ignore = "needs memcached: run make it"]
fn one_worker_answers_innocent_clients_beside_any_others_as_one_memcached_does() {
    expect_no_victims(hunt(FEW, Plan::from_environment(21, 20)));
}

#[test]
#[ignore = "takes minutes"]
fn a_long_run_of_several_workers_answers_innocent_clients_as_one_memcached_does() {
    expect_no_victims(hunt(MANY, Plan::from_environment(21, 20)));
}

#[test]
fn an_answer_that_is_not_the_plain_servers_is_found_and_made_small() {
    let (signature, small) = find(FEW, "mn\r\n", "bogus\r\n");
    assert_eq!(signature, "mn: plain ERROR Open, ours MN Open");
    assert_eq!(small, "    mn\\r\\n\n    -- in one write\n");
}

/// What is told of a script in which the plain server is asked something else once, as if our side had
/// answered wrongly: the kind of the fault, and the smallest script.
pub(crate) fn find(shape: Shape, request: &str, reference: &str) -> (String, String) {
    let mut script = shape.protocol.script(Kind::Innocent, 1, 10);
    script.batches[0].requests.push(Request::raw_but(request, reference));
    let fault = trial(shape, &script).swap_remove(0);
    let signature = fault.signature.clone();
    let (small, _) = shrink(shape, &script, fault);
    (signature, transcript(shape.protocol, &small))
}

/// As long as one likes: `make fuzz-differential`.
#[test]
#[ignore = "takes minutes"]
fn a_long_run_answers_any_client_as_one_memcached_does() {
    let plan = Plan::from_environment(4000, 20);
    let found: Vec<_> = [FEW, MANY].iter().flat_map(|&shape| hunt(shape, plan)).collect();
    Protocol::Memcache.tell_uses();
    expect_none(&found);
}

/// The kinds of faults of a client that sends this, while the plain server is asked something else.
pub(crate) fn faults_of(shape: Shape, request: &str, reference: &str) -> Vec<String> {
    let mut script = shape.protocol.script(Kind::Innocent, 1, 200);
    script.batches[0].requests.insert(0, Request::raw_but(request, reference));
    trial(shape, &script).into_iter().map(|fault| fault.signature).collect()
}

/// The kinds of faults of a client that sends these in one batch.
pub(crate) fn faults_of_batch(shape: Shape, requests: &[&str]) -> Vec<String> {
    let mut script = shape.protocol.script(Kind::Innocent, 1, 1);
    let requests = requests.iter().map(|request| Request::raw(*request)).collect();
    script.batches = vec![Batch { requests, cutting: Cutting::Whole }];
    trial(shape, &script).into_iter().map(|fault| fault.signature).collect()
}

/// How much is tried.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    seeds: u64,
    requests: usize,
    /// Kinds of faults after which it is enough.
    faults: usize,
}

impl Plan {
    pub(crate) fn from_environment(seeds: u64, faults: usize) -> Self {
        let number = |name, usual| env::var(name).map_or(usual, |text| text.parse().unwrap());
        let count = |name, usual| usize::try_from(number(name, usual)).unwrap();
        Self {
            seeds: number("FUZZ_SEEDS", seeds),
            requests: count("FUZZ_REQUESTS", 125),
            faults: count("FUZZ_FAULTS", faults as u64),
        }
    }
}

/// The seeds to play again: `7`, or `7-9` for those that were at work together.
fn replayed() -> Option<Range<u64>> {
    let text = env::var("FUZZ_SEED").ok()?;
    let (first, last) = text.split_once('-').unwrap_or((&text, &text));
    Some(first.parse().unwrap()..last.parse::<u64>().unwrap() + 1)
}

/// Plays all seeds of a plan; tells every kind of fault that was found.
pub(crate) fn hunt(shape: Shape, plan: Plan) -> Vec<String> {
    let seeds = replayed().unwrap_or(1..1 + plan.seeds);
    let (begun, mut world, mut played, mut passed_over) =
        (Instant::now(), World::start(shape), 0, 0);
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    let mut told = Instant::now();
    for first in seeds.clone().step_by(CLIENTS) {
        let round: Vec<_> = (first..seeds.end.min(first + CLIENTS as u64)).collect();
        let outcome = play(&world, &round, plan.requests);
        played += round.len();
        passed_over += outcome.passed_over;
        let is_old = (first / SEEDS_OF_A_WORLD) != (first + CLIENTS as u64) / SEEDS_OF_A_WORLD;
        if !outcome.faults.is_empty() || is_old {
            world = World::start(shape);
        }
        if outcome.faults.iter().any(|fault| !found.contains_key(&fault.signature)) {
            explain(shape, plan, &round, &outcome.faults, &mut found);
        }
        if found.len() >= plan.faults {
            break;
        }
        if told.elapsed() > Duration::from_secs(20) {
            told = Instant::now();
            eprintln!("{shape:?}: {played} seeds, {} kinds of faults", found.len());
        }
    }
    let requests = played * plan.requests;
    let rate = requests as f64 / begun.elapsed().as_secs_f64();
    eprintln!(
        "{shape:?}: {played} seeds, {requests} requests, {rate:.0} a second, {passed_over} passed over"
    );
    found.into_values().collect()
}

/// Nobody has been done harm by others, and no server: what a fuzzing client itself gets is for the
/// long run.
pub(crate) fn expect_no_victims(mut found: Vec<String>) {
    found.retain(|story| story.starts_with("innocent client") || !story.contains(": plain "));
    expect_none(&found);
}

pub(crate) fn expect_none(found: &[String]) {
    assert!(found.is_empty(), "{} kinds of faults:\n\n{}", found.len(), found.join("\n"));
}

fn is_wanted(fault: &Fault) -> bool {
    let is_harm = ["innocent client: ", "blame: "].iter().any(|it| fault.signature.starts_with(it));
    is_harm || env::var_os("FUZZ_VICTIMS").is_none()
}

struct Outcome {
    faults: Vec<Fault>,
    passed_over: usize,
}

/// One fuzzing client for each seed, and two innocent ones, at once.
fn play(world: &World, seeds: &[u64], requests: usize) -> Outcome {
    let before = world.blame();
    let over = AtomicBool::new(false);
    let mut outcome = thread::scope(|scope| {
        let innocents = [0, SEEDS_OF_A_WORLD].map(|more| {
            let (over, seed) = (&over, (seeds[0] % SEEDS_OF_A_WORLD + more) * ROUNDS);
            scope.spawn(move || innocent(world, seed, over))
        });
        let fuzzing = seeds.iter().map(|&seed| {
            scope.spawn(move || {
                let script = world.protocol().script(Kind::Fuzzing, seed, requests);
                let mut player = Player::new(world, &script, Kind::Fuzzing);
                for batch in &script.batches {
                    player.play(batch);
                }
                (player.faults, player.passed_over)
            })
        });
        let fuzzing: Vec<_> = fuzzing.collect();
        let mut outcome = Outcome { faults: vec![], passed_over: 0 };
        for client in fuzzing {
            let (faults, passed_over) = client.join().unwrap();
            outcome.faults.extend(faults);
            outcome.passed_over += passed_over;
        }
        over.store(true, Ordering::Relaxed);
        for client in innocents {
            outcome.faults.extend(client.join().unwrap());
        }
        outcome
    });
    outcome.faults.retain(is_wanted);
    if let Some(grown) = world.blame().since(before) {
        let signature = format!("blame: {}", grown.split(' ').next().unwrap());
        outcome.faults.push(Fault { signature, story: format!("  counters {grown}"), batch: 0 });
    }
    outcome
}

/// Plays the seeds of a round one by one and makes what is found small.
fn explain(
    shape: Shape,
    plan: Plan,
    seeds: &[u64],
    seen: &[Fault],
    found: &mut BTreeMap<String, String>,
) {
    let before = found.len();
    for &seed in seeds {
        let script = shape.protocol.script(Kind::Fuzzing, seed, plan.requests);
        let mut signatures = Vec::new();
        for fault in trial(shape, &script).into_iter().filter(is_wanted) {
            let is_new = !found.contains_key(&fault.signature);
            if !is_new || signatures.contains(&fault.signature) || found.len() >= plan.faults {
                continue;
            }
            signatures.push(fault.signature.clone());
            let (small, fault) = shrink(shape, &script, fault);
            let signature = fault.signature.clone();
            let story = format!(
                "{signature}\n{}\n  of the script\n{}  {}",
                fault.story,
                transcript(shape.protocol, &small),
                replay(shape, plan, &seed.to_string())
            );
            eprintln!("{story}");
            found.insert(signature, story);
        }
    }
    let missed = seen.iter().find(|fault| !found.contains_key(&fault.signature));
    if let Some(fault) = missed.filter(|_| before == found.len()) {
        let story = format!(
            "{} (only with others at work: seeds {seeds:?})\n{}\n  {}",
            fault.signature,
            fault.story,
            replay(shape, plan, &format!("{}-{}", seeds[0], seeds[seeds.len() - 1]))
        );
        eprintln!("{story}");
        found.insert(fault.signature.clone(), story);
    }
}

/// The command that plays these seeds again and tells every kind of fault.
fn replay(shape: Shape, plan: Plan, seeds: &str) -> String {
    let test = match (shape.protocol, shape.front) {
        (Protocol::Memcache, _) => "a_long_run_answers_any_client_as_one_memcached_does",
        (Protocol::Redis, Front::Proxy { .. }) => "a_long_run_answers_any_client_as_one_redis_does",
        (Protocol::Redis, _) => "two_plain_servers_of_redis_answer_any_client_in_the_same_way",
    };
    let requests = plan.requests;
    format!(
        "FUZZ_SEED={seeds} FUZZ_REQUESTS={requests} cargo test -p nuthatch --test it {test} -- --ignored\n"
    )
}

#[test]
fn the_command_that_is_told_plays_one_test() {
    let plan = Plan { seeds: 1, requests: 125, faults: 1 };
    let plain = Shape { protocol: Protocol::Redis, front: Front::Plain };
    for shape in [FEW, MANY, Shape::few(Protocol::Redis), Shape::many(Protocol::Redis), plain] {
        let command = replay(shape, plan, "7-9");
        let (_, arguments) = command.trim_end().split_once(" --test it ").unwrap();
        let arguments = arguments.split(' ').filter(|&word| word != "--");
        let mut listing = Command::new(env::current_exe().unwrap());
        let listed = listing.args(arguments).arg("--list").output().unwrap().stdout;
        let listed = String::from_utf8(listed).unwrap();
        assert!(command.contains(" -- --ignored"), "{command}");
        assert_eq!(listed.matches(": test").count(), 1, "{command}{listed}");
    }
}
