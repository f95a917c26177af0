//! Replays what clients say and compares every byte with what the server answered; here memcached,
//! in `redis_transcripts.rs` Redis.
//!
//! The rule: our answer is the plain server's. Where it isn't, the case stands in
//! a file of differences with our answer and the reason, and nowhere else.
//!
//! nutcracker and memcached themselves are replayed too: that keeps the recordings and this
//! checker honest.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use std::{iter, thread};

use serde_json::Value;

use crate::conn::{Conn, PATIENCE, show};
use crate::harness::{Memcached, Program, Proxy};

const CASES: &str = include_str!("../data/transcripts/memcached.jsonl");
const DIFFERENCES: &str = include_str!("../data/differences.jsonl");

/// How many cases run side by side, each lane with servers of its own.
const LANES: usize = 4;

/// How long a surplus answer is waited for.
const QUIET: Duration = Duration::from_millis(60);

#[test]
#[ignore = "needs memcached: run make it"]
fn every_answer_is_memcacheds_or_a_difference_with_a_reason() {
    let mut cases = cases("direct");
    differ(&mut cases, DIFFERENCES);
    // A hash that spreads even neighbouring keys: all the harder for multigets.
    replay(&cases, || Memcacheds::through(Program::UnderTest, "hash: md5"));
}

#[test]
#[ignore = "needs memcached and nutcracker: run make it"]
fn nutcracker_still_answers_as_recorded() {
    replay(&cases("nutcracker"), || Memcacheds::through(Program::Nutcracker, "hash: fnv1a_64"));
}

#[test]
#[ignore = "needs memcached: run make it"]
fn memcached_still_answers_as_recorded() {
    let mut cases = cases("direct");
    // The list of its items depends on what the server ever held.
    assert!(cases.remove("stats-items").is_some());
    replay(&cases, || {
        let server = Memcached::start();
        Memcacheds { port: server.port, servers: vec![server], proxy: None }
    });
}

/// One conversation and the answer that is wanted.
pub(crate) struct Case {
    steps: Vec<Step>,
    /// Whether cas ids are written `{CAS}`.
    cas: bool,
    answer: Answer,
}

struct Step {
    action: Action,
    quiet: Duration,
}

enum Action {
    Send(Vec<u8>),
    /// Byte by byte.
    Drib(Vec<u8>),
    ShutSending,
}

#[derive(Debug, PartialEq)]
struct Answer {
    /// Per step.
    replies: Vec<Vec<u8>>,
    closed: bool,
    /// Only the beginning of each reply is known.
    prefix: bool,
}

impl Case {
    pub(crate) fn parse(case: &Value, whose: &str) -> Self {
        let steps = case["steps"].as_array().unwrap().iter().map(Step::parse).collect();
        Self { steps, cas: case["cas"] == true, answer: Answer::parse(&case[whose]) }
    }

    /// Plays the case; the error says what differed.
    fn play(&self, mut conn: Conn) -> Result<(), String> {
        let mut cas = None;
        for (i, step) in self.steps.iter().enumerate() {
            step.act(&mut conn, cas.as_deref());
            let wanted = &self.answer.replies[i];
            let mut reply = self.read(&mut conn, wanted, step.quiet);
            if self.cas {
                cas = hide_cas_ids(&mut reply).or(cas);
            }
            reply.truncate(if self.answer.prefix { wanted.len() } else { usize::MAX });
            if hide_version(&reply) != hide_version(wanted) {
                return Err(format!(
                    "step {i}\n  wanted {}\n     got {}",
                    show(wanted),
                    show(&reply)
                ));
            }
        }
        if self.answer.closed && !conn.is_closed() {
            conn.read_until_quiet(PATIENCE);
        }
        if conn.is_closed() == self.answer.closed {
            return Ok(());
        }
        Err(format!("the end: wanted closed = {}", self.answer.closed))
    }

    /// Waits as long as it takes for an answer as long as the wanted one, then a little longer
    /// for what must not come.
    fn read(&self, conn: &mut Conn, wanted: &[u8], quiet: Duration) -> Vec<u8> {
        let deadline = Instant::now() + PATIENCE;
        let mut reply = Vec::new();
        loop {
            reply.extend(conn.read_until_quiet(quiet));
            let mut seen = hide_version(&reply);
            if self.cas {
                hide_cas_ids(&mut seen);
            }
            let complete = seen.len() >= hide_version(wanted).len();
            if complete || conn.is_closed() || Instant::now() > deadline {
                return reply;
            }
        }
    }
}

impl Step {
    fn parse(step: &Value) -> Self {
        let quiet = step["quiet"].as_u64().map_or(QUIET, Duration::from_millis);
        let action = match step {
            _ if !step["send"].is_null() => Action::Send(bytes(&step["send"])),
            _ if !step["drib"].is_null() => Action::Drib(bytes(&step["drib"])),
            _ if !step["shut"].is_null() => Action::ShutSending,
            _ => panic!("unknown step {step}"),
        };
        Self { action, quiet }
    }

    /// Sends what the step says, with the last cas id seen in its place.
    fn act(&self, conn: &mut Conn, cas: Option<&[u8]>) {
        match &self.action {
            _ if conn.is_closed() => {}
            Action::ShutSending => conn.shut_sending(),
            Action::Send(bytes) => conn.send(match cas {
                Some(id) => replace(bytes, b"{CAS}", id),
                None => bytes.clone(),
            }),
            Action::Drib(bytes) => {
                for byte in bytes {
                    conn.send([*byte]);
                    thread::sleep(Duration::from_millis(2));
                }
            }
        }
    }
}

impl Answer {
    fn parse(answer: &Value) -> Self {
        Self {
            replies: answer["recv"].as_array().unwrap().iter().map(bytes).collect(),
            closed: !answer["closed"].is_null(),
            prefix: answer["prefix"] == true,
        }
    }
}

/// Something to talk to.
pub(crate) trait Lane {
    /// Where it listens.
    fn port(&self) -> u16;
    /// Empties its servers; called before each case.
    fn empty(&self);
}

struct Memcacheds {
    port: u16,
    servers: Vec<Memcached>,
    /// Held for its life.
    #[expect(dead_code, reason = "a guard: dropping it ends the proxy")]
    proxy: Option<Proxy>,
}

impl Memcacheds {
    fn through(program: Program, hash: &str) -> Self {
        let servers = Memcached::start_many(3);
        let entries: Vec<_> =
            iter::zip(&servers, 1..).map(|(s, i)| format!("{} mc{i}", s.entry())).collect();
        let proxy = Proxy::with_pool(program, &format!("{hash}\ntimeout: 2000"), &entries);
        Self { port: proxy.port, servers, proxy: Some(proxy) }
    }
}

impl Lane for Memcacheds {
    fn port(&self) -> u16 {
        self.port
    }

    fn empty(&self) {
        for server in &self.servers {
            server.conn().ask("flush_all\r\n", "OK\r\n");
        }
    }
}

/// Puts our own answers in the place of those of the server; each must have a reason.
pub(crate) fn differ(cases: &mut BTreeMap<String, Case>, differences: &str) {
    for (id, difference) in parse(differences) {
        assert!(difference["reason"].as_str().is_some_and(|text| !text.is_empty()), "{id}: why?");
        let case = cases.get_mut(&id).unwrap_or_else(|| panic!("{id}: there is no such case"));
        let answer = Answer::parse(&difference);
        assert_ne!(case.answer, answer, "{id}: this is the server's answer, no difference");
        case.answer = answer;
    }
}

/// Plays all cases, several at once, each of these on a lane of its own.
pub(crate) fn replay<L: Lane>(cases: &BTreeMap<String, Case>, lane: impl Fn() -> L + Sync) {
    let queue = Mutex::new(cases.iter());
    let failed = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| {
                let lane = lane();
                loop {
                    let Some((id, case)) = queue.lock().unwrap().next() else { break };
                    lane.empty();
                    if let Err(what) = case.play(Conn::tcp((Ipv4Addr::LOCALHOST, lane.port()))) {
                        failed.lock().unwrap().push(format!("{id}: {what}"));
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().unwrap();
    failed.sort();
    let (bad, all) = (failed.len(), cases.len());
    assert!(failed.is_empty(), "{bad} of {all} cases differ\n{}", failed.join("\n"));
}

fn cases(whose: &str) -> BTreeMap<String, Case> {
    let cases: BTreeMap<_, _> =
        parse(CASES).map(|(id, case)| (id, Case::parse(&case, whose))).collect();
    assert_eq!(cases.len(), 125);
    cases
}

/// The values of a file and their ids.
pub(crate) fn parse(lines: &str) -> impl Iterator<Item = (String, Value)> {
    lines.lines().map(|line| {
        let value: Value = serde_json::from_str(line).unwrap();
        (value["id"].as_str().unwrap().to_owned(), value)
    })
}

/// A list of strings, in which a character is a byte, and of `[character, count]`.
fn bytes(parts: &Value) -> Vec<u8> {
    let text = |value: &Value| -> Vec<u8> {
        value.as_str().unwrap().chars().map(|c| u8::try_from(c).unwrap()).collect()
    };
    let parts = parts.as_array().unwrap().iter().map(|part| match part.as_array() {
        None => text(part),
        Some(run) => text(&run[0]).repeat(run[1].as_u64().unwrap().try_into().unwrap()),
    });
    parts.flatten().collect()
}

/// Which version it is says nothing about the proxy.
fn hide_version(reply: &[u8]) -> Vec<u8> {
    edit_lines(reply, |line| line.starts_with(b"VERSION ").then(|| b"VERSION\r\n".to_vec()))
}

/// Writes `{CAS}` for the cas ids in VALUE lines and returns the first of them.
fn hide_cas_ids(reply: &mut Vec<u8>) -> Option<Vec<u8>> {
    let mut first = None;
    *reply = edit_lines(reply, |line| {
        let words: Vec<_> = line.trim_ascii_end().split(|&b| b == b' ').collect();
        let [b"VALUE", _, _, _, id] = words[..] else { return None };
        first.get_or_insert_with(|| id.to_vec());
        Some([words[..4].join(&b' '), b" {CAS}\r\n".to_vec()].concat())
    });
    first
}

fn edit_lines(text: &[u8], mut edit: impl FnMut(&[u8]) -> Option<Vec<u8>>) -> Vec<u8> {
    let lines = text.split_inclusive(|&byte| byte == b'\n');
    lines.flat_map(|line| edit(line).unwrap_or_else(|| line.to_vec())).collect()
}

fn replace(text: &[u8], what: &[u8], with: &[u8]) -> Vec<u8> {
    match text.windows(what.len()).position(|window| window == what) {
        Some(at) => [&text[..at], with, &text[at + what.len()..]].concat(),
        None => text.to_vec(),
    }
}
