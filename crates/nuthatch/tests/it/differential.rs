//! The same random requests through nutcracker and through ours, in front of equal servers, give
//! the same bytes to the client and leave the same keys in the same servers.
//!
//! Every request is one that nutcracker understands and answers rightly. Where the two are meant
//! to differ:
//!
//! - A multiget over several servers in which some keys miss: nutcracker lets the values of one
//!   server slip behind those of another, ours stand in the order of the request.
//! - cas ids are the server's own count and are compared as such only by what a `cas` with them
//!   does.
//!
//! `NUTHATCH_SEED` replays a run.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use crate::conn::{Conn, show};
use crate::harness::{Memcached, Program, Proxy};
use crate::random::Random;

const ROUNDS: usize = 400;
const KEYS: usize = 60;

#[test]
#[ignore = "needs memcached and nutcracker: run make it"]
fn ketama_answers_and_places_as_nutcracker_does() {
    compare("hash: md5\ndistribution: ketama", ["one", "two", "three"].map(Some));
}

#[test]
#[ignore = "needs memcached and nutcracker: run make it"]
fn modula_answers_and_places_as_nutcracker_does() {
    compare("hash: murmur\ndistribution: modula", ["b", "ccc", "aa"].map(Some));
}

#[test]
#[ignore = "needs memcached and nutcracker: run make it"]
fn hash_tags_and_preconnected_servers_answer_and_place_as_nutcracker_does() {
    let settings = "hash: fnv1a_32\nhash_tag: \"{}\"\npreconnect: true";
    compare(settings, ["x:1", "x:2", "x:10"].map(Some));
}

#[test]
#[ignore = "needs memcached and nutcracker: run make it"]
fn a_pool_of_one_server_answers_as_nutcracker_does() {
    compare("distribution: ketama", [None]);
}

/// Each entry of the list is written as no sample has it; what stands for the port is replaced.
#[test]
#[ignore = "needs memcached and nutcracker: run make it"]
fn servers_in_odd_forms_are_named_and_placed_as_by_nutcracker() {
    let forms = [
        "127.0.0.1:0PORT:1",
        "127.0.0.1:PORT:02",
        "\"127.0.0.1:PORT:1 \"",
        "\"127.0.0.1:PORT:1 \\tx\\x01\\Ny\"",
        "|\n     127.0.0.1:PORT:1 z",
    ];
    for settings in ["hash: md5\nhash_tag: \"\\x65y\"", "distribution: modula"] {
        let servers = Memcached::start_many(forms.len());
        let entries = servers.iter().zip(forms).map(|(server, form)| {
            let entry = server.entry();
            form.replace("PORT", entry.split(':').nth(1).unwrap())
        });
        let entries: Vec<_> = entries.collect();
        let theirs = Proxy::with_pool(Program::Nutcracker, settings, &entries);
        let ours = Proxy::with_pool(Program::UnderTest, settings, &entries);
        let (mut theirs, mut ours) = (theirs.conn(), ours.conn());
        for i in 0..200 {
            theirs.ask(format!("set key{i} 0 0 1\r\nv\r\n"), "STORED\r\n");
            let hit = format!("VALUE key{i} 0 1\r\nv\r\nEND\r\n");
            ours.ask(format!("get key{i}\r\n"), hit);
        }
    }
}

fn compare<const N: usize>(settings: &str, names: [Option<&str>; N]) {
    let mut random = Random::new(Random::seed());
    let mut theirs = Side::start(Program::Nutcracker, settings, &names);
    let mut ours = Side::start(Program::UnderTest, settings, &names);
    for round in 0..ROUNDS {
        let batch: Vec<_> = (0..=random.below(20)).map(|_| Request::random(&mut random)).collect();
        let cuts: Vec<_> = (0..random.below(4)).map(|_| random.below(2000)).collect();
        for side in [&mut theirs, &mut ours] {
            let bytes: Vec<_> = batch.iter().map(|request| request.bytes(&side.cas_ids)).collect();
            side.send(&bytes.concat(), &cuts);
        }
        for request in batch.iter().filter(|request| request.is_answered()) {
            let (their, our) = (theirs.reply(request), ours.reply(request));
            let (their, our) = (request.comparable(&their), request.comparable(&our));
            assert!(
                their == our,
                "round {round}: {request:?}\n  nutcracker {}\n  ours {}",
                show(&their.concat()),
                show(&our.concat())
            );
        }
    }
    theirs.conn.expect_silence(Duration::from_millis(100));
    ours.conn.expect_silence(Duration::from_millis(100));
    let (their, our) = (theirs.contents(), ours.contents());
    assert_eq!(their, our);
    assert!(their.iter().all(|server| !server.is_empty()), "a server got no key: {their:?}");
}

/// One proxy with its servers and a client.
struct Side {
    conn: Conn,
    servers: Vec<Memcached>,
    /// The one seen last for each key.
    cas_ids: BTreeMap<String, String>,
    _proxy: Proxy,
}

impl Side {
    fn start(program: Program, settings: &str, names: &[Option<&str>]) -> Self {
        let servers = Memcached::start_many(names.len());
        let entries = servers.iter().zip(names).map(|(server, name)| match name {
            Some(name) => format!("{} {name}", server.entry()),
            None => server.entry(),
        });
        let proxy = Proxy::with_pool(program, settings, &entries.collect::<Vec<_>>());
        Self { conn: proxy.conn(), servers, cas_ids: BTreeMap::new(), _proxy: proxy }
    }

    /// Sends in pieces, cut at the places in `cuts` that lie within.
    fn send(&mut self, bytes: &[u8], cuts: &[usize]) {
        let mut cuts: Vec<_> = cuts.iter().copied().filter(|&cut| cut < bytes.len()).collect();
        cuts.sort_unstable();
        let mut sent = 0;
        for cut in cuts {
            self.conn.send(&bytes[sent..cut]);
            sent = cut;
            // Long enough to be read as a piece of its own.
            thread::sleep(Duration::from_micros(300));
        }
        self.conn.send(&bytes[sent..]);
    }

    fn reply(&mut self, request: &Request) -> Vec<u8> {
        let reply =
            self.conn.read_reply().unwrap_or_else(|broken| panic!("{request:?}: {broken:?}"));
        for value in blocks(&reply) {
            self.cas_ids.extend(value.cas_id.map(|id| (value.key, id)));
        }
        reply
    }

    /// What each server holds, by key.
    fn contents(&self) -> Vec<BTreeMap<String, Vec<u8>>> {
        let contents = self.servers.iter().map(|server| {
            let mut conn = server.conn();
            let keys = (0..KEYS).map(key).filter_map(|key| {
                conn.send(format!("get {key}\r\n"));
                let reply = conn.read_reply().unwrap();
                (reply != b"END\r\n").then_some((key, reply))
            });
            keys.collect()
        });
        contents.collect()
    }
}

/// Keys of many lengths, some with a hash tag.
fn key(i: usize) -> String {
    match i % 5 {
        0 => format!("user:{{{}}}:name{i}", i % 10),
        1 => format!("k{i}"),
        2 => format!("a-longer-key/{i}/{}", "z".repeat(i)),
        3 => format!("{i}{}", "\u{e9}".repeat(i % 7 + 1)),
        _ => format!("number{i}"),
    }
}

/// A request that nutcracker understands.
#[derive(Debug)]
struct Request {
    /// `CAS` stands for the id seen last.
    text: String,
    keys: Vec<String>,
    noreply: bool,
}

impl Request {
    fn random(random: &mut Random) -> Self {
        let mut key = || key(random.below(KEYS));
        let one = key();
        let mut keys = vec![one.clone()];
        let several = [key(), key(), key(), key(), key(), key()];
        let noreply = random.one_in(5);
        let tail = if noreply { " noreply" } else { "" };
        let flags = random.pick(&[0_u32, 1, 65_535, u32::MAX]);
        let value = match random.below(12) {
            0 => random.below(100_000).to_string(),
            1 => "END\r\nVALUE x 0 1\r\n".to_owned(),
            2 => String::new(),
            3 => "big".repeat(random.below(20_000)),
            _ => format!("value{}", "v".repeat(random.below(100))),
        };
        let len = value.len();
        let text = match random.below(16) {
            0..=3 => format!("set {one} {flags} 0 {len}{tail}\r\n{value}\r\n"),
            4 => format!("add {one} {flags} 0 {len}{tail}\r\n{value}\r\n"),
            5 => format!("replace {one} {flags} 100 {len}{tail}\r\n{value}\r\n"),
            6 => format!("append {one} 0 0 {len}{tail}\r\n{value}\r\n"),
            7 => format!("prepend {one} 0 0 {len}{tail}\r\n{value}\r\n"),
            8 => format!("cas {one} {flags} 0 {len} CAS{tail}\r\n{value}\r\n"),
            9 => format!("incr {one} {}{tail}\r\n", random.below(1000)),
            10 => format!("decr {one} {}{tail}\r\n", random.below(1000)),
            11 => format!("delete {one}{tail}\r\n"),
            12 => format!("touch {one} 1000{tail}\r\n"),
            13 => return Self { text: format!("get {one}\r\n"), keys, noreply: false },
            14 => return Self { text: format!("gets {one}\r\n"), keys, noreply: false },
            _ => {
                keys.extend_from_slice(&several[..random.below(several.len())]);
                let verb = random.pick(&["get", "gets"]);
                return Self {
                    text: format!("{verb} {}\r\n", keys.join(" ")),
                    keys,
                    noreply: false,
                };
            }
        };
        Self { text, keys, noreply }
    }

    fn bytes(&self, cas_ids: &BTreeMap<String, String>) -> Vec<u8> {
        let id = cas_ids.get(&self.keys[0]).map_or("1", String::as_str);
        self.text.replacen(" CAS", &format!(" {id}"), 1).into_bytes()
    }

    fn is_answered(&self) -> bool {
        !self.noreply
    }

    /// The reply in pieces, without cas ids; the values of a multiget in the order of the request.
    fn comparable(&self, reply: &[u8]) -> Vec<Vec<u8>> {
        let mut values = blocks(reply);
        let place = |value: &Block| self.keys.iter().position(|key| *key == value.key);
        assert!(values.iter().all(|value| place(value).is_some()), "a key that nobody asked for");
        values.sort_by_key(place);
        let values = values.into_iter().map(|value| value.text);
        values.chain([last_line(reply).to_vec()]).collect()
    }
}

/// One value of a reply.
struct Block {
    key: String,
    cas_id: Option<String>,
    /// All of it but the cas id.
    text: Vec<u8>,
}

fn blocks(mut reply: &[u8]) -> Vec<Block> {
    let mut blocks = Vec::new();
    while reply.starts_with(b"VALUE ") {
        let end = reply.iter().position(|&byte| byte == b'\r').unwrap();
        let head: Vec<_> = str::from_utf8(&reply[..end]).unwrap().split(' ').collect();
        let len: usize = head[3].parse().unwrap();
        let (data, rest) = reply[end..].split_at(len + 4);
        blocks.push(Block {
            key: head[1].to_owned(),
            cas_id: head.get(4).map(|id| (*id).to_owned()),
            text: [head[..4].join(" ").as_bytes(), data].concat(),
        });
        reply = rest;
    }
    blocks
}

fn last_line(reply: &[u8]) -> &[u8] {
    let before = reply[..reply.len() - 2].iter().rposition(|&byte| byte == b'\n');
    &reply[before.map_or(0, |at| at + 1)..]
}
