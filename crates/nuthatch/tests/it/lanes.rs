//! What a client asks stays in order while it changes between the connections for all and those for bulk.
//!
//! The rule: every client owns its keys and knows the reply to each of its requests to the byte before it
//! comes, as a request sees all that its client has asked before. It asks in pipelines of all lengths for values
//! of all sizes, around `bulk_min`, so that it changes connections again and again, with writes before reads and
//! reads before writes of the same key on both. Neighbours keep now the one and now the other connection busy,
//! so that what is sent over it is carried out late.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nuthatch_harness::redis::{bulk, command};

use crate::attack::{self, Tally};
use crate::conn::{Conn, show};
use crate::harness::{Memcached, Program, Proxy, Redis, free_port, named, pool};
use crate::http;
use crate::random::Random;

const CLIENTS: usize = 4;
const NEIGHBOURS: usize = 3;
const KEYS: usize = 12;
/// From where on a client is bulky in these tests.
const BULK_MIN: usize = 16 << 10;
/// So many small requests end a client's being bulky: several are read at once.
const LITTLE: usize = 1000;
/// No batch is longer, or has longer replies: a client writes all of one before it reads.
const BATCH_MAX: usize = 400_000;

#[test]
#[ignore = "needs memcached: run make it"]
fn a_memcached_client_reads_what_it_wrote_over_whichever_connection() {
    let servers: Vec<_> =
        (0..2).map(|_| Memcached::start_with(free_port(), &["-t", "4"])).collect();
    let entries: Vec<_> = servers.iter().map(Memcached::entry).collect();
    for (server_connections, bulk_connections) in [(1, 1), (3, 2)] {
        let settings = format!(
            "server_connections: {server_connections}\nbulk_connections: {bulk_connections}"
        );
        expect_order(Protocol::Memcache, &settings, &entries);
    }
}

#[test]
#[ignore = "needs redis-server: run make it"]
fn a_redis_client_reads_what_it_wrote_over_whichever_connection() {
    let servers = Redis::start_many(2);
    for (server_connections, bulk_connections) in [(1, 1), (3, 2)] {
        let settings = format!(
            "redis: true\nserver_connections: {server_connections}\nbulk_connections: {bulk_connections}"
        );
        expect_order(Protocol::Redis, &settings, &named(&servers));
    }
}

fn expect_order(protocol: Protocol, settings: &str, entries: &[String]) {
    let [port, admin] = [free_port(), free_port()];
    let settings = format!("{settings}\nhash: md5\ntimeout: 5000\nbulk_min: {BULK_MIN}");
    let address = format!("127.0.0.1:{admin}");
    let arguments = ["--admin", &address[..]];
    let config = pool(port, &settings, entries);
    let proxy = Proxy::start_with(Program::UnderTest, &config, &[port, admin], &arguments);
    let neighbour = |random: Random, over: &AtomicBool| neighbour(protocol, port, random, over);
    let tally = attack::run(40_000, (NEIGHBOURS, CLIENTS), neighbour, |nth, random, goes_on| {
        let mut client = Client::new(nth, protocol, port, random);
        let mut count = 0;
        while goes_on(count) {
            count = client.converse();
        }
        client.tally
    });
    assert_eq!((tally.wrong, tally.errors, tally.broken), (0, 0, 0), "{tally:#?}");
    let metrics =
        http::ask(admin, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").body;
    let line = metrics.lines().find(|line| line.starts_with("nuthatch_bulk_moves_total"));
    let moves: f64 = line.and_then(|line| line.rsplit(' ').next()).unwrap().parse().unwrap();
    eprintln!(
        "{protocol:?}: {} requests, {moves} changes to the connections for bulk",
        tally.asked
    );
    assert!(moves > 40.0, "{moves}");
    assert_eq!(proxy.server_failures(), 0);
}

/// Keeps one of the connections busy until all is over, now this one, now that.
fn neighbour(protocol: Protocol, port: u16, mut random: Random, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        let mut conn = connect(port);
        let (len, most) = *random.pick(&[(BULK_MIN - 1000, 25), (6 * BULK_MIN, 4)]);
        let value = "n".repeat(len);
        for _ in 0..20 {
            let key = format!("neighbour{len}-{}", random.below(20));
            let (set, stored) = protocol.set(&key, &value, Speech::Plain);
            let (get, got) = protocol.get(&[key], &[Some(&value)]);
            let count = 1 + random.below(most);
            conn.send([set, get.repeat(count)].concat());
            let Ok(_) = conn.read_exact(stored.len() + count * got.len()) else { break };
        }
    }
}

fn connect(port: u16) -> Conn {
    Conn::tcp((Ipv4Addr::LOCALHOST, port)).patient_for(Duration::from_secs(8))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Memcache,
    Redis,
}

/// Whether a request gets a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speech {
    Plain,
    Silent,
}

/// A request and its reply.
type Question = (Vec<u8>, Vec<u8>);

impl Protocol {
    fn set(self, key: &str, value: &str, speech: Speech) -> Question {
        match (self, speech) {
            (Self::Memcache, Speech::Plain) => (
                format!("set {key} 0 0 {}\r\n{value}\r\n", value.len()).into(),
                b"STORED\r\n".into(),
            ),
            (Self::Memcache, Speech::Silent) => {
                (format!("set {key} 0 0 {} noreply\r\n{value}\r\n", value.len()).into(), Vec::new())
            }
            (Self::Redis, _) => (command(["SET", key, value]), b"+OK\r\n".into()),
        }
    }

    fn append(self, key: &str, value: &str, before: Option<&str>) -> Question {
        match self {
            Self::Memcache => {
                let reply = if before.is_some() { "STORED\r\n" } else { "NOT_STORED\r\n" };
                (format!("append {key} 0 0 {}\r\n{value}\r\n", value.len()).into(), reply.into())
            }
            Self::Redis => {
                let len = before.map_or(0, str::len) + value.len();
                (command(["APPEND", key, value]), format!(":{len}\r\n").into())
            }
        }
    }

    fn delete(self, key: &str, before: Option<&str>) -> Question {
        match self {
            Self::Memcache => {
                let reply = if before.is_some() { "DELETED\r\n" } else { "NOT_FOUND\r\n" };
                (format!("delete {key}\r\n").into(), reply.into())
            }
            Self::Redis => {
                let count = i32::from(before.is_some());
                (command(["DEL", key]), format!(":{count}\r\n").into())
            }
        }
    }

    fn get(self, keys: &[String], values: &[Option<&str>]) -> Question {
        match self {
            Self::Memcache => {
                let mut reply = String::new();
                for (key, value) in keys.iter().zip(values) {
                    if let Some(value) = value {
                        reply += &format!("VALUE {key} 0 {}\r\n{value}\r\n", value.len());
                    }
                }
                (format!("get {}\r\n", keys.join(" ")).into(), (reply + "END\r\n").into())
            }
            Self::Redis => {
                let values = values.iter().map(|value| value.map_or(b"$-1\r\n".to_vec(), bulk));
                let (verb, head) = match keys.len() {
                    1 => ("GET", String::new()),
                    count => ("MGET", format!("*{count}\r\n")),
                };
                let words: Vec<&str> =
                    [verb].into_iter().chain(keys.iter().map(String::as_str)).collect();
                (command(words), [vec![head.into_bytes()], values.collect()].concat().concat())
            }
        }
    }
}

/// A client that knows what every reply must be.
struct Client {
    id: usize,
    protocol: Protocol,
    port: u16,
    conn: Conn,
    random: Random,
    /// Part of every key: after a wrong reply, all keys are new ones.
    generation: usize,
    version: usize,
    values: [Option<String>; KEYS],
    tally: Tally,
}

impl Client {
    fn new(id: usize, protocol: Protocol, port: u16, random: Random) -> Self {
        let (values, tally) = Default::default();
        let conn = connect(port);
        Self { id, protocol, port, conn, random, generation: 0, version: 0, values, tally }
    }

    /// Some batches and their replies; returns how many requests they were.
    fn converse(&mut self) -> usize {
        if self.random.one_in(2) {
            self.come_again();
        }
        match self.random.below(8) {
            0 => self.ask_for_little(),
            1 => self.batch(100, 0..300),
            2..=4 => self.batch(12, 0..3000),
            _ => self.batch(24, 0..2 * BULK_MIN),
        }
    }

    /// So little for so long that a bulky client is one no longer, and changes back in the middle of it.
    fn ask_for_little(&mut self) -> usize {
        let values: Vec<String> = (0..KEYS).map(|_| self.new_value(&(0..200), false)).collect();
        let all = values.iter().enumerate();
        let sets = all.map(|(nth, value)| self.protocol.set(&self.key(nth), value, Speech::Plain));
        let sets: Vec<Question> = sets.collect();
        self.values = values.into_iter().map(Some).collect::<Vec<_>>().try_into().unwrap();
        self.ask(&sets);
        let mut asked: VecDeque<Question> = VecDeque::new();
        for _ in 0..LITTLE {
            let question = self.question(&(0..200));
            self.conn.send(&question.0);
            asked.push_back(question);
            // Something is always on its way, and each request is read by itself.
            while asked.len() > 3 {
                let oldest = asked.pop_front().unwrap();
                if !self.judge(&oldest) {
                    return KEYS;
                }
            }
        }
        for question in &asked {
            if !self.judge(question) {
                break;
            }
        }
        self.tally.asked += LITTLE;
        LITTLE + KEYS
    }

    /// A batch of at most `most` requests, whose values are nearly all of such sizes.
    fn batch(&mut self, most: usize, sizes: Range<usize>) -> usize {
        let mut questions = Vec::new();
        let mut bytes = 0;
        let count = 1 + self.random.below(most);
        while questions.len() < count && bytes < BATCH_MAX {
            let question = self.question(&sizes);
            bytes += question.0.len().max(question.1.len());
            questions.push(question);
        }
        self.ask(&questions);
        questions.len()
    }

    fn ask(&mut self, questions: &[Question]) {
        self.send(&questions.iter().map(|(request, _)| &request[..]).collect::<Vec<_>>().concat());
        self.tally.asked += questions.len();
        for question in questions {
            if !self.judge(question) {
                break;
            }
        }
    }

    /// Reads a reply. If it is wrong, what follows would be compared at the wrong places.
    fn judge(&mut self, (request, wanted): &Question) -> bool {
        let Ok(reply) = self.conn.read_exact(wanted.len()) else {
            self.tally.broken += 1;
            self.start_anew();
            return false;
        };
        if reply == *wanted {
            return true;
        }
        self.tally.wrong += 1;
        if self.tally.examples.len() < 3 {
            let [request, wanted, reply] = [request, wanted, &reply].map(|part| show(part));
            self.tally.examples.push(format!("{request}\n  wanted {wanted}\n  got {reply}"));
        }
        self.start_anew();
        false
    }

    /// Goes on over a new connection, for which nothing is known of the client. Silent requests have been
    /// carried out before: each server answers a later one.
    fn come_again(&mut self) {
        let all: Vec<usize> = (0..KEYS).collect();
        let question = self.get(&all);
        self.ask(&[question]);
        self.conn = connect(self.port);
    }

    fn start_anew(&mut self) {
        self.conn = connect(self.port);
        self.generation += 1;
        self.values = Default::default();
    }

    /// Sends the requests as a network might: in pieces of any length.
    fn send(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let most = *self.random.pick(&[200, 5000, BATCH_MAX]);
            let (piece, rest) = bytes.split_at((1 + self.random.below(most)).min(bytes.len()));
            self.conn.send(piece);
            bytes = rest;
        }
    }

    fn question(&mut self, sizes: &Range<usize>) -> Question {
        let nth = self.random.below(KEYS);
        let key = self.key(nth);
        let before = self.values[nth].clone();
        match self.random.below(10) {
            0..=2 => {
                let value = self.new_value(sizes, sizes.end > 200);
                let is_silent = self.protocol == Protocol::Memcache && self.random.one_in(4);
                let speech = if is_silent { Speech::Silent } else { Speech::Plain };
                self.values[nth] = Some(value.clone());
                self.protocol.set(&key, &value, speech)
            }
            3 => {
                let value = self.new_value(&(0..20), false);
                let question = self.protocol.append(&key, &value, before.as_deref());
                if before.is_some() || self.protocol == Protocol::Redis {
                    self.values[nth] = Some(before.unwrap_or_default() + &value);
                }
                question
            }
            4 => {
                self.values[nth] = None;
                self.protocol.delete(&key, before.as_deref())
            }
            5 => {
                let chosen: Vec<usize> = (nth..KEYS.min(nth + 3)).collect();
                self.get(&chosen)
            }
            _ => self.get(&[nth]),
        }
    }

    fn get(&self, chosen: &[usize]) -> Question {
        let keys: Vec<String> = chosen.iter().map(|&nth| self.key(nth)).collect();
        let values: Vec<_> = chosen.iter().map(|&nth| self.values[nth].as_deref()).collect();
        self.protocol.get(&keys, &values)
    }

    fn key(&self, nth: usize) -> String {
        format!("owner{}-{}-{}-key{nth}", self.id, self.port, self.generation)
    }

    fn new_value(&mut self, sizes: &Range<usize>, may_be_large: bool) -> String {
        self.version += 1;
        let is_large = may_be_large && self.random.one_in(12);
        let end = if is_large { 10 * BULK_MIN } else { sizes.end };
        let padding = sizes.start + self.random.below(end - sizes.start);
        format!("{}/version{}/{}", self.id, self.version, "x".repeat(padding))
    }
}
