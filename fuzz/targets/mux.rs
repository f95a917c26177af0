//! Any script of clients and servers against a whole engine under tight limits: nothing panics, no
//! figure goes below zero, memory stays within its limit, and once all is answered nothing is left.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nuthatch_core::clocks::Clocks;
use nuthatch_core::error::ServerError;
use nuthatch_core::health::{Ejection, OnFailure, OnOverflow};
use nuthatch_core::limits::Limits;
use nuthatch_core::mux::{Bulk, ClientId, ConnId, ConnState, Mux, Options};
use nuthatch_core::protocol::Protocol;
use nuthatch_core::redis::{Arguments, Settings, write_bulk, write_header, write_integer};
use nuthatch_core::ring::{Distribution, Hash, Member, Ring};
use nuthatch_core::stats::ServerStats;
use nuthatch_core::time::Instant;
use std::sync::Arc;
use std::time::Duration;

const SERVERS: usize = 2;
const CLIENTS: usize = 3;
const TIMEOUT: Duration = Duration::from_millis(100);

/// Each is shorter than the whole, and none is a multiple of another one.
const CLOCKS: Clocks = Clocks {
    connect: Some(Duration::from_millis(70)),
    queue: Some(Duration::from_millis(30)),
    response: Some(Duration::from_millis(80)),
};

const LIMITS: Limits = Limits {
    item_size_max: 500,
    keys_max: 8,
    line_max: 2500,
    client_requests_max: 4,
    client_buffer_max: 300,
    client_backlog_max: 600,
    server_requests_max: 4,
    server_buffer_max: 300,
    memory_max: 2000,
};

const REQUESTS: [&[u8]; 16] = [
    b"get a\r\n",
    b"get a b c d a\r\n",
    b"gets b c\r\n",
    b"gat 0 a b\r\n",
    b"set a 0 0 3\r\nabc\r\n",
    b"set b 0 0 3 noreply\r\nabc\r\n",
    b"set b x 0 3\r\nabc\r\n",
    b"delete a noreply\r\n",
    b"incr b 1\r\n",
    b"mg a v k O1 q\r\n",
    b"ms YQ== 3 b q\r\nabc\r\n",
    b"mn\r\n",
    b"flush_all\r\n",
    b"flush_all noreply\r\n",
    b"stats\r\n",
    b"quit\r\n",
];

/// Requests of a Redis client.
const REDIS_REQUESTS: [&str; 32] = [
    "GET a",
    "MGET a b c a",
    "SET a 1",
    "MSET a 1 b 2 c 3",
    "DEL a b",
    "SINTER a b",
    "SINTER a c",
    "SCAN 0",
    "SCAN 5",
    "KEYS *",
    "FLUSHALL",
    "SCRIPT EXISTS x",
    "RANDOMKEY",
    "MULTI",
    "EXEC",
    "DISCARD",
    "WATCH a",
    "UNWATCH",
    "PING",
    "BLPOP a 0",
    "BLPOP b 0",
    "SUBSCRIBE a c",
    "SUBSCRIBE b",
    "UNSUBSCRIBE",
    "UNSUBSCRIBE a",
    "HELLO 3",
    "HELLO 2",
    "RESET",
    "QUIT",
    "INFO",
    "FOO",
    "GET",
];

struct World {
    mux: Mux,
    protocol: Protocol,
    now: Instant,
    clients: [Option<ClientId>; CLIENTS],
    /// What each server has received and not answered.
    inboxes: Vec<Vec<u8>>,
}

fuzz_target!(|script: &[u8]| {
    let Some((&options, mut script)) = script.split_first() else { return };
    let mut world = World::new(options);
    while let [step, argument, rest @ ..] = script {
        script = rest;
        let (who, what) = (usize::from(step / 16), usize::from(*argument));
        match step % 16 {
            0..=3 => world.ask(who, what),
            4 => {
                let (bytes, rest) = script.split_at(what.min(script.len()));
                script = rest;
                world.say(who, bytes);
            }
            5 => world.ask_half(who, what),
            6..=8 => world.answer(who, what),
            9 => {
                let (bytes, rest) = script.split_at((what % 64).min(script.len()));
                script = rest;
                world.hear(who, bytes);
            }
            10 => world.lose(who),
            11 => world.read(who, what),
            12 => world.leave(who),
            13 => world.end_input(who),
            14 => world.write(who, what),
            _ => world.wait(what as u64),
        }
        world.settle();
    }
    world.finish();
});

impl World {
    /// A world whose pool has the options that the bits of a byte choose.
    fn new(bits: u8) -> Self {
        let bit = |number: u8| bits >> number & 1;
        let protocol = if bit(1) == 0 { Protocol::Memcache } else { Protocol::Redis };
        let name = |index| Member { name: format!("server{index}").into_bytes().into(), weight: 1 };
        let members = (0..SERVERS).map(name).collect();
        let ring = Ring::new(Distribution::Modula, Hash::Fnv1a_64, None, members, 1);
        let ejection = Ejection {
            failure_limit: 2,
            retry_timeout: 2 * TIMEOUT,
            on_failure: [OnFailure::Rehash, OnFailure::Error, OnFailure::Miss, OnFailure::Gutter]
                [usize::from(bits >> 2 & 3)],
            probes: 2 * u32::from(bit(4)),
            slow_start: 5 * TIMEOUT * u32::from(bit(4)),
            journal_max: if bit(5) == 0 { 0 } else { 200 },
            on_overflow: if bit(6) == 0 { OnOverflow::Return } else { OnOverflow::Flush },
            ..Ejection::default()
        };
        let options = Options {
            protocol,
            ejection: Some(ejection),
            timeout: Some(TIMEOUT),
            server_connections: 1 + usize::from(bit(0)),
            clocks: CLOCKS,
            bulk: Bulk {
                connections: usize::from(bit(7)),
                min: 1000,
                keys: 4,
                requests: 8,
                reads: 4,
            },
            allow_flush: true,
            redis: Arc::new(Settings { dedicated_max: 2, allow_keys: true, ..Settings::default() }),
            limits: LIMITS,
            epoch: Duration::ZERO,
        };
        let mut mux = Mux::new(
            ring,
            options,
            Arc::default(),
            &(0..SERVERS).map(|_| Arc::default()).collect::<Vec<_>>(),
        );
        let members = vec![Member { name: b"gutter"[..].into(), weight: 1 }];
        let gutter = Ring::new(Distribution::Modula, Hash::Fnv1a_64, None, members, 1);
        mux.set_gutter(gutter, &[Arc::default()], |_| true);
        let inboxes = vec![Vec::new(); mux.conns().len()];
        Self { mux, protocol, now: Instant::default(), clients: [None; CLIENTS], inboxes }
    }

    /// Says a whole request.
    fn ask(&mut self, who: usize, what: usize) {
        match self.protocol {
            Protocol::Memcache => self.say(who, REQUESTS[what % REQUESTS.len()]),
            Protocol::Redis => {
                let request = redis_request(REDIS_REQUESTS[what % REDIS_REQUESTS.len()]);
                self.say(who, &request);
            }
        }
    }

    /// Says the first half of a request, or a bit more or less.
    fn ask_half(&mut self, who: usize, what: usize) {
        let data = "x".repeat(what);
        let request = match self.protocol {
            Protocol::Memcache => format!("set c 0 0 {}\r\n{data}", what * 2),
            Protocol::Redis => {
                format!("*3\r\n$3\r\nSET\r\n$1\r\nc\r\n${}\r\n{data}", what * 2)
            }
        };
        self.say(who, request.as_bytes());
    }

    fn say(&mut self, who: usize, bytes: &[u8]) {
        let client = &mut self.clients[who % CLIENTS];
        let id = *client.get_or_insert_with(|| self.mux.open_client());
        if self.mux.wants_read(id) {
            self.mux.handle_client_bytes(id, bytes, self.now);
        }
    }

    fn read(&mut self, who: usize, count: usize) {
        let Some(id) = self.clients[who % CLIENTS] else { return };
        let count = count.min(self.mux.client_output(id).len());
        self.mux.handle_client_written(id, count);
    }

    fn leave(&mut self, who: usize) {
        if let Some(id) = self.clients[who % CLIENTS].take() {
            self.mux.close_client(id);
        }
    }

    fn end_input(&mut self, who: usize) {
        if let Some(id) = self.clients[who % CLIENTS].filter(|&id| self.mux.wants_read(id)) {
            self.mux.handle_client_eof(id);
        }
    }

    fn conn(&self, who: usize) -> ConnId {
        self.mux.conns()[who % self.mux.conns().len()]
    }

    /// What the server of a connection has received and not answered.
    fn inbox(&mut self, id: ConnId) -> &mut Vec<u8> {
        if self.inboxes.len() <= id.index() {
            self.inboxes.resize(id.index() + 1, Vec::new());
        }
        &mut self.inboxes[id.index()]
    }

    fn write(&mut self, who: usize, count: usize) {
        let id = self.conn(who);
        if self.mux.conn_state(id).is_connected() {
            let output = self.mux.conn_output(id);
            let count = count.min(output.len());
            let bytes = output[..count].to_vec();
            self.inbox(id).extend_from_slice(&bytes);
            self.mux.handle_conn_written(id, count, self.now);
        }
    }

    fn answer(&mut self, who: usize, kind: usize) {
        let id = self.conn(who);
        let reply = match self.protocol {
            Protocol::Memcache => answer(self.inbox(id), kind),
            Protocol::Redis => redis_answer(self.inbox(id), kind),
        };
        if let Some(reply) = reply {
            self.hear(who, &reply);
        }
    }

    fn hear(&mut self, who: usize, bytes: &[u8]) {
        let id = self.conn(who);
        if !bytes.is_empty() {
            self.mux.handle_server_bytes(id, bytes, self.now);
        }
    }

    fn lose(&mut self, who: usize) {
        let id = self.conn(who);
        if self.mux.conn_state(id) != ConnState::Closed {
            self.inbox(id).clear();
            self.mux.handle_conn_closed(id, ServerError::Reset, self.now);
        }
    }

    fn wait(&mut self, ms: u64) {
        self.now = self.now.after(Duration::from_millis(ms));
        self.mux.handle_timeout(self.now);
        assert!(self.mux.next_timeout().is_none_or(|at| at > self.now), "it was looked after");
    }

    fn settle(&mut self) {
        loop {
            while let Some(question) = self.mux.next_question() {
                self.mux.answer_question(question, b"END\r\n");
            }
            while let Some(id) = self.mux.next_dirty_client() {
                if self.mux.is_done(id) {
                    let client = self.clients.iter_mut().find(|client| **client == Some(id));
                    *client.expect("only open clients are dirty") = None;
                    self.mux.close_client(id);
                }
            }
            while let Some(id) = self.mux.next_dirty_conn() {
                if self.mux.take_must_close(id) {
                    self.inbox(id).clear();
                }
                if !self.mux.has_conn(id) {
                    continue;
                }
                if self.mux.wants_open(id) {
                    self.mux.handle_conn_opening(id, self.now);
                    self.mux.handle_conn_open(id, self.now);
                }
            }
            if !self.mux.has_resumable() {
                break;
            }
            self.mux.resume(self.now);
        }
        while self.mux.next_event().is_some() {}
        assert!(self.mux.memory() <= LIMITS.memory_max);
        let stats = self.mux.stats();
        let servers = self.server_stats().into_iter().flat_map(ServerStats::all);
        for (name, counter) in stats.all().chain(servers) {
            assert!(counter.read() < 1 << 60, "{name} is below zero");
        }
    }

    /// The figures of each server.
    fn server_stats(&self) -> Vec<&ServerStats> {
        let ids = self.mux.servers().iter().chain(self.mux.gutter_servers());
        ids.map(|server| self.mux.server_stats(*server)).collect()
    }

    fn is_any_away(&self) -> bool {
        let mut ids = self.mux.servers().iter().chain(self.mux.gutter_servers());
        ids.any(|id| self.mux.is_ejected(*id))
    }

    /// Everything is written, answered and read, servers that are away return, and then nothing is left.
    fn finish(&mut self) {
        for _ in 0..10_000 {
            for who in 0..self.mux.conns().len() {
                self.write(who, usize::MAX);
                self.answer(who, 0);
            }
            for who in 0..CLIENTS {
                self.read(who, usize::MAX);
            }
            self.settle();
            let is_owed =
                |server: &ServerStats| server.in_queue.read() + server.out_queue.read() > 0;
            let is_any_owed = self.server_stats().into_iter().any(is_owed);
            let is_any_away = self.is_any_away();
            if self.mux.requests_in_flight() == 0 && !is_any_owed && !is_any_away {
                break;
            }
            self.wait(1);
        }
        assert_eq!(self.mux.requests_in_flight(), 0, "all is answered");
        assert!(!self.is_any_away(), "all return");
        for who in 0..CLIENTS {
            self.read(who, usize::MAX);
            self.leave(who);
        }
        self.settle();
        assert_eq!((self.mux.memory(), self.mux.client_count()), (0, 0));
        for server in self.server_stats() {
            assert_eq!(server.in_queue.read() + server.out_queue.read(), 0);
            assert_eq!(server.in_queue_bytes.read() + server.out_queue_bytes.read(), 0);
        }
    }
}

/// The answer to the first whole request of `inbox`, which is taken away. A `kind` of 0 is a miss
/// or a success, others are hits, failures and errors.
fn answer(inbox: &mut Vec<u8>, kind: usize) -> Option<Vec<u8>> {
    let end = inbox.iter().position(|&byte| byte == b'\n')?;
    let line = inbox[..end - 1].to_vec();
    let words: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
    let number =
        |word: &[u8]| -> usize { String::from_utf8_lossy(word).parse().expect("a number") };
    let data = match words[0] {
        b"set" | b"add" | b"replace" | b"append" | b"prepend" | b"cas" => number(words[4]) + 2,
        b"ms" => number(words[2]) + 2,
        _ => 0,
    };
    if inbox.len() < end + 1 + data {
        return None;
    }
    inbox.drain(..end + 1 + data);
    if kind % 16 == 15 {
        return Some(b"SERVER_ERROR out of memory\r\n".to_vec());
    }
    let keys = match words[0] {
        b"get" | b"gets" | b"bget" => &words[1..],
        b"gat" | b"gats" => &words[2..],
        _ => &[],
    };
    let mut reply = Vec::new();
    for key in keys.iter().filter(|_| kind > 0) {
        let data = vec![b'x'; kind];
        let header = format!(" 0 {kind}\r\n");
        reply.extend_from_slice(&[b"VALUE ", *key, header.as_bytes(), &data, b"\r\n"].concat());
    }
    reply.extend_from_slice(match (words[0], kind % 2) {
        (b"get" | b"gets" | b"bget" | b"gat" | b"gats", _) => b"END\r\n",
        (b"delete", 0) => b"DELETED\r\n",
        (b"touch", 0) => b"TOUCHED\r\n",
        (b"incr" | b"decr", 0) => b"17\r\n",
        (b"delete" | b"touch" | b"incr" | b"decr", _) => b"NOT_FOUND\r\n",
        (b"flush_all", _) => b"OK\r\n",
        (b"version", 0) => b"VERSION 1.6.18\r\n",
        (b"version", _) => b"VERSION 1\r\n",
        (b"mg", 0) | (b"me", _) => b"EN\r\n",
        (b"mg", _) => b"VA 2\r\nhi\r\n",
        (b"ms" | b"md" | b"ma", 0) => b"HD\r\n",
        (b"ms" | b"md" | b"ma", _) => b"NF\r\n",
        (_, 0) => b"STORED\r\n",
        (_, _) => b"NOT_STORED\r\n",
    });
    Some(reply)
}

fn redis_request(line: &str) -> Vec<u8> {
    let words: Vec<&str> = line.split(' ').collect();
    let mut request = Vec::new();
    write_header(b'*', words.len(), &mut request);
    words.iter().for_each(|word| write_bulk(word.as_bytes(), &mut request));
    request
}

/// How long the first request of `inbox` is, if it is whole.
fn redis_request_len(inbox: &[u8]) -> Option<usize> {
    let mut at = 0;
    let number = |kind: u8, at: &mut usize| -> Option<usize> {
        let end = *at + inbox.get(*at..)?.iter().position(|&byte| byte == b'\n')?;
        assert_eq!(inbox[*at], kind, "requests have the plain form");
        let text = std::str::from_utf8(&inbox[*at + 1..end - 1]).expect("digits");
        *at = end + 1;
        Some(text.parse().expect("a number"))
    };
    for _ in 0..number(b'*', &mut at)? {
        at += number(b'$', &mut at)? + 2;
    }
    (at <= inbox.len()).then_some(at)
}

/// As [`answer`], for Redis. Some messages come before their reply.
fn redis_answer(inbox: &mut Vec<u8>, kind: usize) -> Option<Vec<u8>> {
    let len = redis_request_len(inbox)?;
    let request: Vec<u8> = inbox.drain(..len).collect();
    let words: Vec<&[u8]> = Arguments::of(&request).collect();
    let mut reply = Vec::new();
    match (words[0], kind % 16) {
        (b"HELLO", 0..8) => return Some(b"*0\r\n".to_vec()),
        (_, 15) => return Some(b"-ERR out of memory\r\n".to_vec()),
        (_, 14) => return Some(b"-LOADING wait\r\n".to_vec()),
        (b"HELLO", _) => reply.extend_from_slice(b"%1\r\n$7\r\nversion\r\n$5\r\n7.2.0\r\n"),
        (
            b"SET" | b"MSET" | b"MULTI" | b"DISCARD" | b"WATCH" | b"UNWATCH" | b"FLUSHALL"
            | b"FLUSHDB",
            _,
        ) => {
            reply.extend_from_slice(b"+OK\r\n");
        }
        (b"MGET", kind) => {
            write_header(b'*', words.len() - 1, &mut reply);
            words[1..].iter().for_each(|_| write_bulk(&vec![b'x'; kind * 30], &mut reply));
        }
        (b"DEL", kind) => write_integer(kind as i64, &mut reply),
        (b"SCAN", kind) => {
            reply.extend_from_slice(b"*2\r\n");
            write_bulk(kind.to_string().as_bytes(), &mut reply);
            reply.extend_from_slice(b"*0\r\n");
        }
        (b"KEYS" | b"EXEC", kind) => {
            write_header(b'*', kind, &mut reply);
            (0..kind).for_each(|_| write_bulk(&[b'k'; 40], &mut reply));
        }
        (b"SCRIPT", kind) => reply.extend(format!("*1\r\n:{}\r\n", kind % 2).bytes()),
        (b"SUBSCRIBE" | b"UNSUBSCRIBE", kind) => {
            if kind % 2 == 1 {
                reply.extend_from_slice(b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r\n");
            }
            for index in 0..words.len().max(2) - 1 {
                reply.extend_from_slice(b"*3\r\n");
                write_bulk(&words[0].to_ascii_lowercase(), &mut reply);
                write_bulk(words.get(1 + index).unwrap_or(&&b"a"[..]), &mut reply);
                write_integer((kind / 2) as i64, &mut reply);
            }
        }
        (_, kind) if kind % 3 == 0 => reply.extend_from_slice(b"$-1\r\n"),
        (_, kind) => write_bulk(&vec![b'x'; kind * 50], &mut reply),
    }
    Some(reply)
}
