//! However the bytes of clients and servers are cut on their way, the same bytes arrive.

use crate::net::{engine, options, redis_options};
use crate::property::cases;
use crate::sim::Server;
use crate::sim::memcached::Memcached;
use crate::sim::redis::Redis;
use crate::sim::resp::array;
use nuthatch_core::limits::Limits;
use nuthatch_core::mux::{Mux, Options};
use nuthatch_core::time::Instant;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use std::collections::BTreeMap;

/// What there is to say. What is wrong is here as well as what is right.
fn requests() -> Vec<Vec<u8>> {
    let large = [&b"set a 0 0 40000\r\n"[..], &[b'x'; 40_000], b"\r\n"].concat();
    let long_read = [&b"get a b "[..], &[b' '; 3000], b"c\r\n"].concat();
    let refused = [&b"set a 0 0 50001\r\n"[..], b"get b\r\n", &[b'y'; 49_994], b"\r\n"].concat();
    let mut requests = vec![large, long_read, refused];
    requests.extend(
        [
            "get a\r\n",
            "gets a b c d a\r\n",
            "gat 0 b\r\n",
            " get  b\n",
            "set a 0 0 3\r\none\r\n",
            "set b 7 0 12\r\nEND\r\nSTORED\n\r\n",
            "set c 0 0 2 noreply\r\n17\r\n",
            "append b 0 0 2\r\n\r\n\r\n",
            "incr c 5\r\n",
            "incr c 5 noreply\r\n",
            "delete a\r\n",
            "delete d noreply\r\n",
            "mg a v k O1\r\n",
            "mg Yg== b v q k\r\n",
            "ms d 4 q\r\n\r\r\n\n\r\n",
            "md d q\r\n",
            "mn\r\n",
            "flush_all\r\n",
            "version\r\n",
            "verbosity 1\r\n",
            "stats x\r\n",
            "foo\r\n",
            "set b x 0 8\r\nquit\r\n\r\n\r\n",
            "get a b\x01\r\n",
            "incr c x noreply\r\n",
        ]
        .map(|request| request.as_bytes().to_vec()),
    );
    requests
}

/// What ends a client's connection, and what is not looked at any more.
fn ends() -> Vec<Vec<u8>> {
    let long_line = [&b"delete a"[..], &[b' '; 3000], b"\r\n"].concat();
    let ends = [
        &b""[..],
        &long_line,
        b"quit\r\n",
        b"set a 0 0 x\r\n",
        b"set a 0 0 3\r\nabcdef\r\n",
        b"POST / HTTP/1.1\r\n",
        b"\x80binary\r\n",
    ];
    ends.map(|end| [end, b"get a\r\n"].concat()).to_vec()
}

/// Sizes of pieces, again and again from the first on; none for all at once.
struct Cuts<'a> {
    sizes: &'a [usize],
    next: usize,
}

impl Cuts<'_> {
    fn of(&mut self, available: usize) -> usize {
        let Some(&size) = self.sizes.get(self.next % self.sizes.len().max(1)) else {
            return available;
        };
        self.next += 1;
        size.min(available)
    }
}

/// Requests of a Redis client, right and wrong.
fn redis_requests() -> Vec<Vec<u8>> {
    let large = "x".repeat(40_000);
    let lines = [
        "GET a",
        "GET b",
        "SET a 1",
        "SET b 2",
        "MGET a b c a",
        "MSET a 1 b 2 c 3",
        "DEL a b d",
        "EXISTS a b a",
        "HGET a f",
        "PING",
        "ECHO x",
        "SELECT 0",
        "SELECT 7",
        "HELLO 2",
        "HELLO 3",
        "RESET",
        "CLIENT SETNAME nut",
        "CLIENT GETNAME",
        "FOO a b",
        "GET",
        "SCAN 0",
        "SCAN x",
        "DBSIZE",
        "FLUSHALL",
        "INFO",
        "SINTER a b",
        "MULTI",
        "EXEC",
        "DISCARD",
        "WATCH a",
        "WATCH b",
        "UNWATCH",
        "RPUSH a x",
        "BLPOP a 0",
        "BLPOP a b 0",
        "SUBSCRIBE a c",
        "SUBSCRIBE b",
        "UNSUBSCRIBE",
        "UNSUBSCRIBE a",
        "PUBLISH nobody x",
        "PSUBSCRIBE *",
    ];
    let mut requests: Vec<Vec<u8>> =
        lines.iter().map(|line| array(&line.split(' ').collect::<Vec<_>>())).collect();
    requests.push(array(&["SET", "a", &large]));
    requests.push(array(&["MSET", "a", &large, "b", &large]));
    requests.push(array(&["SET", "b", "two\r\nlines\r\n"]));
    requests.push([array(&["MULTI"]), array(&["SET", "a", "5"]), array(&["EXEC"])].concat());
    let odd =
        ["GET a\r\n", "set b 'a b'\n", "\r\n", "*0\r\n", "*-1\r\n", "*2\rx$3\r\nGETxx$1\rxaxx"];
    requests.extend(odd.map(|request| request.as_bytes().to_vec()));
    requests
}

/// What ends a Redis client's connection, and what is not looked at any more.
fn redis_ends() -> Vec<Vec<u8>> {
    let long_line = [b'x'; 70_000];
    let ends = [
        &b""[..],
        &long_line,
        b"*1\r\n$4\r\nQUIT\r\n",
        b"*x\r\n",
        b"*2\r\n$3\r\nGET\r\n$50001\r\n",
        b"*1\r\nGET\r\n",
        b"GET \"a\r\n",
        b"POST / HTTP/1.1\r\n",
    ];
    ends.map(|end| [end, b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n"].concat()).to_vec()
}

/// What a client gets that says `script`, and what servers get on each connection.
fn run<S: Server>(
    script: &[u8],
    sizes: &[usize],
    options: Options,
) -> (Vec<u8>, BTreeMap<usize, Vec<u8>>) {
    let mut cuts = Cuts { sizes, next: 0 };
    let mut mux = engine(2, options, None);
    let mut servers = [S::default(), S::default()];
    let (mut inboxes, mut outboxes) = (BTreeMap::new(), BTreeMap::<usize, Vec<u8>>::new());
    let (mut received, mut asked) = (Vec::new(), BTreeMap::<usize, Vec<u8>>::new());
    let now = Instant::default();
    let client = mux.open_client();
    let mut left = script;
    loop {
        let mut moved = 0;
        if mux.wants_read(client) && !left.is_empty() {
            let (piece, rest) = left.split_at(cuts.of(left.len()));
            mux.handle_client_bytes(client, piece, now);
            (left, moved) = (rest, piece.len());
        }
        while let Some(id) = mux.next_dirty_conn() {
            if mux.take_must_close(id) {
                inboxes.remove(&id.index());
                outboxes.remove(&id.index());
                servers.iter_mut().for_each(|server| server.disconnect(id.index()));
            }
        }
        for id in mux.conns().to_vec() {
            if mux.wants_open(id) {
                mux.handle_conn_opening(id, now);
                mux.handle_conn_open(id, now);
            }
            let server = &mut servers[mux.server_of(id).index()];
            let piece = &mux.conn_output(id)[..cuts.of(mux.conn_output(id).len())];
            let inbox: &mut Vec<u8> = inboxes.entry(id.index()).or_default();
            inbox.extend_from_slice(piece);
            asked.entry(id.index()).or_default().extend_from_slice(piece);
            moved += piece.len();
            mux.handle_conn_written(id, piece.len(), now);
            while let Some(reply) = server.serve(id.index(), inbox) {
                outboxes.entry(id.index()).or_default().extend_from_slice(&reply.bytes);
            }
            let outbox = outboxes.entry(id.index()).or_default();
            let count = cuts.of(outbox.len());
            if count > 0 {
                mux.handle_server_bytes(id, &outbox[..count], now);
            }
            outbox.drain(..count);
            moved += count;
        }
        while let Some(question) = mux.next_question() {
            let answer = [question.what(), b"\r\n"].concat();
            mux.answer_question(question, &answer);
        }
        let output = mux.client_output(client);
        let count = cuts.of(output.len());
        received.extend_from_slice(&output[..count]);
        mux.handle_client_written(client, count);
        let resumed = mux.has_resumable();
        mux.resume(now);
        if moved + count > 0 || resumed {
            continue;
        }
        let late = late_replies(&mux, &mut servers);
        if late.is_empty() {
            break;
        }
        for (conn, bytes) in late {
            outboxes.entry(conn).or_default().extend_from_slice(&bytes);
        }
    }
    assert_eq!(mux.requests_in_flight(), 0, "all is answered");
    asked.retain(|_, bytes| !bytes.is_empty());
    (received, asked)
}

/// What connections get that have waited for a list long enough.
fn late_replies<S: Server>(mux: &Mux, servers: &mut [S]) -> Vec<(usize, Vec<u8>)> {
    for id in mux.conns() {
        servers[mux.server_of(*id).index()].give_up(id.index());
    }
    servers.iter_mut().flat_map(Server::take_sent).collect()
}

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn the_same_bytes_arrive_however_they_are_cut(
        script in vec(select(requests()), 1..30),
        end in select(ends()),
        sizes in vec(prop_oneof![1usize..10, 1usize..2000, Just(16_384)], 1..20),
    ) {
        let limits = Limits { item_size_max: 50_000, ..Limits::default() };
        let script = [script.concat(), end].concat();
        let options = Options { limits, ..options() };
        let whole = run::<Memcached>(&script, &[], options.clone());
        prop_assert!(run::<Memcached>(&script, &sizes, options.clone()) == whole);
        let tight = Limits { client_requests_max: 1, server_requests_max: 1, ..limits };
        let options = Options { limits: tight, ..options };
        prop_assert!(run::<Memcached>(&script, &sizes, options) == whole);
    }

    #[test]
    fn the_same_bytes_of_redis_arrive_however_they_are_cut(
        script in vec(select(redis_requests()), 1..30),
        end in select(redis_ends()),
        sizes in vec(prop_oneof![1usize..10, 1usize..2000, Just(16_384)], 1..20),
    ) {
        let limits = Limits { item_size_max: 50_000, ..Limits::default() };
        let script = [script.concat(), end].concat();
        let options = Options { limits, allow_flush: true, ..redis_options() };
        let whole = run::<Redis>(&script, &[], options.clone());
        prop_assert!(run::<Redis>(&script, &sizes, options.clone()) == whole);
        let tight = Limits { client_requests_max: 1, server_requests_max: 1, ..limits };
        let options = Options { limits: tight, ..options };
        prop_assert!(run::<Redis>(&script, &sizes, options) == whole);
    }
}
