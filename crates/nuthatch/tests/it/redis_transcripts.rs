//! Replays what clients of Redis say to the proxy over three servers, and compares every byte with what
//! one Redis answered.
//!
//! The rule: our answer is that of Redis. Where it isn't, the case stands in
//! `data/redis/differences.jsonl` with our answer and the reason, and nowhere else.

use std::collections::BTreeMap;

use crate::harness::{Program, Proxy, Redis, free_port};
use crate::transcripts::{Case, Lane, differ, parse, replay};

const CASES: &str = include_str!("../data/redis/transcripts.jsonl");
const DIFFERENCES: &str = include_str!("../data/redis/differences.jsonl");

/// The password of the cases that need one.
const PASSWORD: &str = "secret";

#[test]
#[ignore = "needs redis-server: run make it"]
fn every_answer_is_that_of_redis_or_a_difference_with_a_reason() {
    let (mut open, mut locked) = cases("direct");
    let (of_locked, of_open) = DIFFERENCES.lines().partition::<Vec<_>, _>(|line| {
        parse(line).next().is_some_and(|(id, _)| locked.contains_key(&id))
    });
    differ(&mut open, &of_open.join("\n"));
    differ(&mut locked, &of_locked.join("\n"));
    replay(&open, || Servers::through(Program::UnderTest, None));
    replay(&locked, || Servers::through(Program::UnderTest, Some(PASSWORD)));
}

#[test]
#[ignore = "needs redis-server and nutcracker: run make it"]
fn nutcracker_still_answers_as_recorded() {
    let (mut open, locked) = cases("nutcracker");
    // It costs nutcracker its connection to the server, and the next case its answer.
    assert!(open.remove("count-2e32").is_some());
    replay(&open, || Servers::through(Program::Nutcracker, None));
    replay(&locked, || Servers::through(Program::Nutcracker, Some(PASSWORD)));
}

#[test]
#[ignore = "needs redis-server: run make it"]
fn redis_still_answers_as_recorded() {
    let (open, locked) = cases("direct");
    replay(&open, || Servers::one(None));
    replay(&locked, || Servers::one(Some(PASSWORD)));
}

/// The cases without and with a password.
fn cases(whose: &str) -> (BTreeMap<String, Case>, BTreeMap<String, Case>) {
    let (mut open, mut locked) = (BTreeMap::new(), BTreeMap::new());
    for (id, case) in parse(CASES) {
        let cases = if case["auth"] == true { &mut locked } else { &mut open };
        cases.insert(id, Case::parse(&case, whose));
    }
    assert_eq!((open.len(), locked.len()), (119, 7));
    (open, locked)
}

struct Servers {
    port: u16,
    servers: Vec<Redis>,
    password: Option<&'static str>,
    /// Held for its life.
    #[expect(dead_code, reason = "a guard: dropping it ends the proxy")]
    proxy: Option<Proxy>,
}

impl Servers {
    fn one(password: Option<&'static str>) -> Self {
        let server = start(password);
        Self { port: server.port, servers: vec![server], password, proxy: None }
    }

    fn through(program: Program, password: Option<&'static str>) -> Self {
        let servers: Vec<_> = (0..3).map(|_| start(password)).collect();
        let auth = password.map(|password| format!("redis_auth: {password}"));
        let settings = format!("timeout: 2000\n{}", auth.unwrap_or_default());
        let proxy = Proxy::with_redis(program, &settings, &servers);
        Self { port: proxy.port, servers, password, proxy: Some(proxy) }
    }
}

fn start(password: Option<&str>) -> Redis {
    match password {
        None => Redis::start(),
        Some(password) => Redis::start_with(free_port(), &["--requirepass", password]),
    }
}

impl Lane for Servers {
    fn port(&self) -> u16 {
        self.port
    }

    fn empty(&self) {
        for server in &self.servers {
            let mut conn = server.conn();
            if let Some(password) = self.password {
                assert_eq!(conn.call(["AUTH", password]).unwrap(), b"+OK\r\n");
            }
            assert_eq!(conn.call(["FLUSHALL"]).unwrap(), b"+OK\r\n");
        }
    }
}
