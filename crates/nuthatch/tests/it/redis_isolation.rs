//! No client of a pool of Redis servers gets an answer that belongs to another request, waits for another
//! client, or loses a request, whatever its neighbours send.
//!
//! The rule: innocent clients own their keys, and every value names its owner, key and version, so each reply
//! is known to the byte before it comes. Beside them, on the same server connections, attackers send what
//! makes a server close a connection, and one failure ejects a server. The same attack run on nutcracker costs
//! innocent clients their requests, and on one plain Redis nothing: that shows that the test can fail, and
//! that the clients know what is right.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nuthatch_harness::redis::{bulk, command};

use crate::attack::{self, Tally};
use crate::conn::{Conn, show};
use crate::harness::{Program, Proxy, Redis};
use crate::random::Random;

const INNOCENTS: usize = 4;
const ATTACKERS: usize = 2;

/// One failure ejects a server, and it comes back when the test is over.
const STRICT: &str = "hash: md5\ntimeout: 3000\nauto_eject_hosts: true\nserver_failure_limit: 1\n\
                      server_retry_timeout: 60000";

#[test]
#[ignore = "needs redis-server: run make it"]
fn nobody_gets_anothers_answer_over_one_shared_connection_to_redis() {
    expect_no_harm(Program::UnderTest, 1);
}

#[test]
#[ignore = "needs redis-server: run make it"]
fn nobody_gets_anothers_answer_over_four_connections_to_redis() {
    expect_no_harm(Program::UnderTest, 4);
}

#[test]
#[ignore = "needs redis-server and nutcracker: run make it"]
fn the_same_attack_costs_requests_through_nutcracker() {
    let servers = Redis::start_many(2);
    let proxy = Proxy::with_redis(Program::Nutcracker, STRICT, &servers);
    let tally = attack(proxy.port, Malice::FOR_NUTCRACKER, 20_000);
    assert!(tally.wrong + tally.errors + tally.broken > 0, "{tally:#?}");
}

#[test]
#[ignore = "needs redis-server: run make it"]
fn the_same_attack_hurts_nobody_on_one_redis() {
    let server = Redis::start();
    let tally = attack(server.port, Malice::FOR_REDIS, 20_000);
    assert_eq!((tally.wrong, tally.errors, tally.broken), (0, 0, 0), "{tally:#?}");
}

#[test]
#[ignore = "needs redis-server: run make it"]
fn a_request_or_reply_nested_however_deep_is_answered_as_by_redis() {
    let servers = Redis::start_many(1);
    let proxy = Proxy::with_redis(Program::UnderTest, STRICT, &servers);
    let mut innocent = proxy.conn();
    innocent.ask(command(["SET", "a", "1"]), "+OK\r\n");
    let request = "*1\r\n".repeat(100_000);
    let mut attacker = proxy.conn();
    attacker.send(&request);
    attacker.expect("-ERR Protocol error: expected '$', got '*'\r\n");
    attacker.expect_closed();
    for depth in [10, 100, 1000, 5000] {
        let script = format!("local t = {{}} for i = 1, {depth} do t = {{t}} end return t");
        let question = ["EVAL", &script, "1", "a"];
        let [through, direct] =
            [proxy.conn(), servers[0].conn()].map(|mut conn| conn.call(question).unwrap());
        assert_eq!(direct, ["*1\r\n".repeat(depth), "*0\r\n".to_owned()].concat().as_bytes());
        assert!(through == direct, "depth {depth}: {}", show(&through));
        innocent.ask(command(["GET", "a"]), "$1\r\n1\r\n");
    }
    assert_eq!(proxy.server_failures(), 0);
}

#[test]
#[ignore = "needs redis-server: run make it"]
fn a_request_that_breaks_off_costs_nobody_else_anything() {
    let servers = Redis::start_many(1);
    let proxy = Proxy::with_redis(Program::UnderTest, STRICT, &servers);
    let mut innocent = proxy.conn();
    let whole = command(["SET", "half", &"x".repeat(300_000)]);
    for end in [1, 4, 20, 40, 1000, 200_000, whole.len() - 1] {
        let mut leaver = proxy.conn();
        leaver.send(&whole[..end]);
        innocent.ask(command(["SET", "a", &end.to_string()]), "+OK\r\n");
        drop(leaver);
        innocent.ask(command(["GET", "a"]), bulk(end.to_string()));
    }
    innocent.ask(command(["EXISTS", "half"]), ":0\r\n");
    assert_eq!(proxy.server_failures(), 0);
}

#[test]
#[ignore = "needs redis-server: run make it"]
fn a_client_that_does_not_read_delays_nobody_and_gets_everything_in_the_end() {
    const LEN: usize = 1_000_000;
    const COUNT: usize = 60;
    let servers = Redis::start_many(1);
    let proxy = Proxy::with_redis(Program::UnderTest, STRICT, &servers);
    let (mut slow, mut innocent) = (proxy.conn(), proxy.conn());
    let value = "x".repeat(LEN);
    slow.ask(command(["SET", "large", &value]), "+OK\r\n");
    slow.send(command(["GET", "large"]).repeat(COUNT));
    let mut worst = Duration::ZERO;
    for nth in 0..200 {
        let asked = Instant::now();
        innocent.ask(command(["SET", "a", &nth.to_string()]), "+OK\r\n");
        innocent.ask(command(["GET", "a"]), bulk(nth.to_string()));
        worst = worst.max(asked.elapsed());
        thread::sleep(Duration::from_millis(2));
    }
    assert!(worst < Duration::from_secs(1), "{worst:?} for two requests");
    for nth in 0..COUNT {
        let reply = slow.read_resp().unwrap();
        assert!(reply == bulk(&value), "reply {nth}: {}", show(&reply));
    }
    slow.ask(command(["PING"]), "+PONG\r\n");
    assert_eq!(proxy.server_failures(), 0);
}

#[test]
#[ignore = "needs redis-server: run make it"]
fn a_read_sees_the_write_ahead_of_it_however_many_connections_a_server_has() {
    let servers = Redis::start_many(1);
    let settings = "server_connections: 8";
    let proxy = Proxy::with_redis(Program::UnderTest, settings, &servers);
    // Others use the connections, too.
    let mut others: Vec<_> = (0..8).map(|_| proxy.conn()).collect();
    let mut client = proxy.conn();
    for nth in 10_000..11_500 {
        let version = nth.to_string();
        others[nth % 8].send(command(["GET", "other"]));
        let set = command(["SET", "k", &version.repeat(4_000)]);
        client.send([set, command(["GETRANGE", "k", "0", "4"])].concat());
        client.expect([b"+OK\r\n", &bulk(&version)[..]].concat());
        others[nth % 8].expect("$-1\r\n");
    }
}

fn expect_no_harm(program: Program, server_connections: usize) {
    let servers = Redis::start_many(2);
    let settings = format!("{STRICT}\nserver_connections: {server_connections}");
    let proxy = Proxy::with_redis(program, &settings, &servers);
    let tally = attack(proxy.port, Malice::FOR_PROXY, 50_000);
    assert_eq!((tally.wrong, tally.errors, tally.broken), (0, 0, 0), "{tally:#?}");
    assert_eq!(proxy.server_failures(), 0);
}

/// Runs innocents and attackers until `quota` innocent requests were answered.
fn attack(port: u16, malice: Malice, quota: usize) -> Tally {
    let attacker = |random: Random, over: &AtomicBool| Attacker { port, malice, random }.run(over);
    let tally = attack::run(quota, (ATTACKERS, INNOCENTS), attacker, |nth, random, goes_on| {
        // The last one lets its replies pile up.
        let most = if nth + 1 == INNOCENTS { 200 } else { 24 };
        let mut innocent = Innocent::new(nth, port, random);
        let mut count = 0;
        while goes_on(count) {
            count = innocent.converse(most);
        }
        innocent.tally
    });
    eprintln!("{} requests, {} wrong, {} errors", tally.asked, tally.wrong, tally.errors);
    tally
}

fn connect(port: u16) -> Conn {
    Conn::tcp((Ipv4Addr::LOCALHOST, port)).patient_for(Duration::from_secs(4))
}

/// A client that knows what every answer must be.
struct Innocent {
    id: usize,
    port: u16,
    conn: Conn,
    random: Random,
    /// Part of every key: after an answer that leaves the state open, all keys are new ones.
    generation: usize,
    version: usize,
    /// What the servers hold for each of our keys.
    values: [Option<String>; 24],
    counter: i64,
    tally: Tally,
}

impl Innocent {
    fn new(id: usize, port: u16, random: Random) -> Self {
        let (values, tally) = Default::default();
        let conn = connect(port);
        Self { id, port, conn, random, generation: 0, version: 0, values, counter: 0, tally }
    }

    /// One batch of requests and its answers; returns how many requests that were.
    fn converse(&mut self, most: usize) -> usize {
        let questions: Vec<_> = (0..=self.random.below(most)).map(|_| self.question()).collect();
        let requests = questions.iter().map(|(request, _)| &request[..]);
        self.conn.send(requests.collect::<Vec<_>>().concat());
        if most > 100 {
            thread::sleep(Duration::from_millis(20));
        }
        self.tally.asked += questions.len();
        let mut is_known = true;
        for (request, wanted) in &questions {
            let Ok(reply) = self.conn.read_resp() else {
                self.tally.broken += 1;
                self.conn = connect(self.port);
                is_known = false;
                break;
            };
            if reply.starts_with(b"-") {
                self.tally.errors += 1;
                is_known = false;
            } else if is_known && reply != *wanted {
                self.tally.wrong += 1;
            } else {
                continue;
            }
            if self.tally.examples.len() < 3 {
                let [request, wanted, reply] = [request, wanted, &reply].map(|bytes| show(bytes));
                self.tally.examples.push(format!("{request}\n  wanted {wanted}\n  got {reply}"));
            }
        }
        if !is_known {
            self.generation += 1;
            self.values = Default::default();
            self.counter = 0;
        }
        questions.len()
    }

    fn key(&self, nth: usize) -> String {
        format!("owner{}-{}-key{nth}", self.id, self.generation)
    }

    /// A request and its reply.
    fn question(&mut self) -> (Vec<u8>, Vec<u8>) {
        let nth = self.random.below(self.values.len());
        let key = self.key(nth);
        match self.random.below(9) {
            0 | 1 => {
                let value = self.new_value(nth);
                (command(["SET", &key, &value]), b"+OK\r\n".to_vec())
            }
            2 => (command(["GET", &key]), nullable(self.values[nth].as_deref())),
            3 => self.get_many(),
            4 => self.set_many(),
            5 => self.delete_many(),
            6 => {
                let len = self.values[nth].as_ref().map_or(0, String::len);
                (command(["STRLEN", &key]), format!(":{len}\r\n").into_bytes())
            }
            7 => {
                let start: String =
                    self.values[nth].iter().flat_map(|value| value.chars().take(20)).collect();
                (command(["GETRANGE", &key, "0", "19"]), bulk(start))
            }
            _ => {
                self.counter += 7;
                let key = self.key(100);
                (command(["INCRBY", &key, "7"]), format!(":{}\r\n", self.counter).into_bytes())
            }
        }
    }

    fn new_value(&mut self, nth: usize) -> String {
        self.version += 1;
        let padding = if self.random.one_in(50) { 20_000 } else { self.random.below(300) };
        let value = format!("{}/version{}/{}", self.key(nth), self.version, "x".repeat(padding));
        self.values[nth] = Some(value.clone());
        value
    }

    /// Numbers of keys, none of them twice.
    fn some(&mut self) -> Vec<usize> {
        let first = self.random.below(12);
        (first..=first + self.random.below(11)).collect()
    }

    fn get_many(&mut self) -> (Vec<u8>, Vec<u8>) {
        let chosen = self.some();
        let keys = chosen.iter().map(|&nth| self.key(nth));
        let request = command([vec!["MGET".to_owned()], keys.collect()].concat());
        let values = chosen.iter().flat_map(|&nth| nullable(self.values[nth].as_deref()));
        let head = format!("*{}\r\n", chosen.len()).into_bytes();
        (request, head.into_iter().chain(values).collect())
    }

    fn set_many(&mut self) -> (Vec<u8>, Vec<u8>) {
        let mut words = vec!["MSET".to_owned()];
        for nth in self.some() {
            words.extend([self.key(nth), self.new_value(nth)]);
        }
        (command(words), b"+OK\r\n".to_vec())
    }

    fn delete_many(&mut self) -> (Vec<u8>, Vec<u8>) {
        let chosen = self.some();
        let verb = *self.random.pick(&["DEL", "UNLINK", "EXISTS", "TOUCH"]);
        let keys = chosen.iter().map(|&nth| self.key(nth));
        let request = command([vec![verb.to_owned()], keys.collect()].concat());
        let count = chosen.iter().filter(|&&nth| self.values[nth].is_some()).count();
        if ["DEL", "UNLINK"].contains(&verb) {
            chosen.iter().for_each(|&nth| self.values[nth] = None);
        }
        (request, format!(":{count}\r\n").into_bytes())
    }
}

fn nullable(value: Option<&str>) -> Vec<u8> {
    value.map_or_else(|| b"$-1\r\n".to_vec(), bulk)
}

/// What attackers send.
#[derive(Clone, Copy)]
struct Malice(&'static [&'static [&'static str]]);

impl Malice {
    const FOR_PROXY: Self = Self(&[CONNECTIONS, HARMFUL]);
    /// Frames are enough.
    const FOR_NUTCRACKER: Self = Self(&[&["PING"]]);
    /// It does what is harmful.
    const FOR_REDIS: Self = Self(&[CONNECTIONS]);
}

/// Sends what should not be sent, and goes away when it should stay.
struct Attacker {
    port: u16,
    malice: Malice,
    random: Random,
}

impl Attacker {
    fn run(&mut self, over: &AtomicBool) {
        while !over.load(Ordering::Relaxed) {
            let mut conn = connect(self.port);
            for _ in 0..self.random.below(4) {
                conn.send(self.malice());
            }
            match self.random.below(3) {
                // Dropping a socket with unread replies resets it.
                0 => conn.send(command(["MGET", "owner0-0-key0", "owner1-0-key1"]).repeat(20)),
                1 => conn.send("*3\r\n$3\r\nSET\r\n$4\r\nhalf\r\n$100\r\nhal"),
                _ => drop(conn.read_until_quiet(Duration::from_millis(2))),
            }
        }
    }

    fn malice(&mut self) -> Vec<u8> {
        if self.random.one_in(100) {
            return command(["SET", "big", &"x".repeat(1_100_000)]);
        }
        if self.random.one_in(3) {
            let commands = *self.random.pick(self.malice.0);
            let words: Vec<_> = self.random.pick(commands).split(' ').collect();
            return command(words);
        }
        self.random.pick(FRAMES).to_vec()
    }
}

const FRAMES: &[&[u8]] = &[
    // A number that 32 bits do not hold is small to a careless reader, and an error to the server.
    b"*4294967298\r\n$3\r\nGET\r\n$1\r\na\r\n",
    b"*2\r\n$4294967299\r\nGET\r\n$1\r\na\r\n",
    b"*2\r\n$3\r\nGET\r\n$4294967297\r\na\r\n",
    b"*18446744073709551618\r\n$3\r\nGET\r\n$1\r\na\r\n",
    // Lengths that lie, or that one reads and the other does not.
    b"*2\r\n$003\r\nGET\r\n$1\r\na\r\n",
    b"*2\r\n$+3\r\nGET\r\n$1\r\na\r\n",
    b"*2\r\n$3\r\nGET\r\n$-1\r\n",
    b"*2\r\n$3\r\nGET\r\n$-5\r\n",
    b"*02\r\n$3\r\nGET\r\n$1\r\na\r\n",
    b"*-1\r\n",
    b"*0\r\n",
    b"*1\r\n$1x\r\n",
    b"*2\r\n$3\r\nGET\r\n$1\r\nabc\r\n",
    b"*3\r\n$3\r\nGET\r\n$1\r\na\r\n",
    b"*1\r\n$3\r\nGET\r\n$1\r\na\r\n",
    b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$536870913\r\n",
    b"*1048577\r\n$3\r\nGET\r\n",
    b"*1\r\n*1\r\n*1\r\n*1\r\n$4\r\nPING\r\n",
    b"*2\r\n$3\r\nGET\r\n:1\r\n",
    // One request to a careless reader, two to the next one.
    b"*2\r\n$3\r\nGET\r\n$27\r\na\r\n*2\r\n$3\r\nGET\r\n$1\r\nb\r\n\r\n",
    b"GET a\nGET owner0-0-key1\r\n",
    b"GET \"a\\r\\nGET b\"\r\n",
    b"GET \"a\r\n",
    b"GET 'a'b\r\n",
    b"*1\n$4\nPING\n",
    // What servers say.
    b"+OK\r\n",
    b"$-1\r\n:1\r\n",
    b">1\r\n+x\r\n",
    // Browsers.
    b"POST / HTTP/1.1\r\nHost: x\r\n\r\nGET a\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    // Wrong in itself.
    b"*1\r\n$3\r\nGET\r\n",
    b"*2\r\n$4\r\nMSET\r\n$1\r\na\r\n",
    b"*4\r\n$4\r\nEVAL\r\n$8\r\nreturn 1\r\n$10\r\n4294967297\r\n$1\r\na\r\n",
    b"*3\r\n$6\r\nZUNION\r\n$20\r\n18446744073709551617\r\n$1\r\na\r\n",
    b"*1\r\n$0\r\n\r\n",
];

/// What changes a connection, or makes it wait.
const CONNECTIONS: &[&str] = &[
    "MULTI",
    "SUBSCRIBE c",
    "PSUBSCRIBE *",
    "MONITOR",
    "BLPOP nothing 0",
    "BZPOPMIN nothing 0",
    "XREAD BLOCK 0 STREAMS nothing $",
    "CLIENT REPLY OFF",
    "CLIENT REPLY SKIP",
    "HELLO 3",
    "SELECT 7",
    "RESET",
    "QUIT",
];

/// What would harm every client of a server.
const HARMFUL: &[&str] = &[
    "CLIENT KILL TYPE normal",
    "CLIENT PAUSE 5000",
    "CLIENT TRACKING on BCAST",
    "AUTH x",
    "FLUSHALL",
    "FLUSHDB",
    "SWAPDB 0 1",
    "CONFIG SET maxmemory 1",
    "CONFIG SET requirepass x",
    "ACL SETUSER default off",
    "DEBUG SLEEP 5",
    "SHUTDOWN NOSAVE",
    "REPLICAOF 127.0.0.1 1",
    "SYNC",
    "PSYNC ? -1",
    "MIGRATE 127.0.0.1 1 owner0-0-key1 0 5000",
    "MOVE owner0-0-key1 5",
];
