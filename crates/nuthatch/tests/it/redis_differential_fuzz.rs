//! As `differential_fuzz.rs`, with Redis: no input of a client changes another client's answer, costs a
//! connection to a server, or ejects one; and every client is answered as one Redis would answer, but for the
//! rules of `differential_fuzz/redis/compare.rs`.
//!
//! The rule: two plain servers are compared, too, so that a difference that is found through the proxy is one of
//! the proxy.

use crate::differential_fuzz::{
    Front, Plan, Protocol, Shape, expect_no_victims, expect_none, faults_of, faults_of_batch, find,
    hunt,
};

const FEW: Shape = Shape::few(Protocol::Redis);
const MANY: Shape = Shape::many(Protocol::Redis);
const PLAIN: Shape = Shape { protocol: Protocol::Redis, front: Front::Plain };
const CARELESS: Shape = Shape { protocol: Protocol::Redis, front: Front::Careless };

#[test]
#[ignore = "needs redis-server: run make it"]
fn one_worker_of_redis_answers_innocent_clients_beside_any_others_as_one_redis_does() {
    expect_no_victims(hunt(FEW, Plan::from_environment(32, 20)));
}

#[test]
#[ignore = "takes minutes"]
fn a_long_run_of_several_workers_of_redis_answers_innocent_clients_as_one_redis_does() {
    expect_no_victims(hunt(MANY, Plan::from_environment(32, 20)));
}

#[test]
#[ignore = "needs redis-server: run make it"]
fn two_plain_servers_of_redis_answer_any_client_in_the_same_way() {
    expect_none(&hunt(PLAIN, Plan::from_environment(16, 20)));
}

#[test]
#[ignore = "needs redis-server: run make it"]
fn an_answer_that_is_not_that_of_redis_is_found_and_made_small() {
    let (signature, small) = find(CARELESS, "ECHO a\r\n", "ECHO b c\r\n");
    let wanted = "ECHO: plain -ERR wrong number of arguments for  Open, ours $ Open";
    assert_eq!(signature, wanted);
    assert_eq!(small, "    ECHO a\\r\\n\n    -- in one write\n");
}

#[test]
#[ignore = "needs redis-server: run make it"]
fn harm_to_an_innocent_client_is_found() {
    let faults = faults_of(CARELESS, "CONFIG SET maxmemory 1\r\n", "PING instead\r\n");
    let is_harm = |fault: &String| fault.starts_with("innocent client: ") && fault.contains("-OOM");
    assert!(faults.iter().any(is_harm), "{faults:#?}");
}

#[test]
#[ignore = "needs redis-server: run make it"]
fn a_request_that_takes_what_follows_for_its_rest_takes_the_same_on_both_sides() {
    let mut requests = vec!["*2\r\n$4\r\nECHO\r\n$300\r\n"];
    requests.extend(["PING\r\n"; 10]);
    expect_none(&faults_of_batch(FEW, &requests));
}

/// As long as one likes: `make fuzz-differential`.
#[test]
#[ignore = "takes minutes"]
fn a_long_run_answers_any_client_as_one_redis_does() {
    let plan = Plan::from_environment(4000, 20);
    let found: Vec<_> = [FEW, MANY].iter().flat_map(|&shape| hunt(shape, plan)).collect();
    Protocol::Redis.tell_uses();
    expect_none(&found);
}
