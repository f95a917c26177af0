//! However the bytes of clients and servers are cut on their way, the same bytes arrive.

use crate::net::{engine, options};
use crate::property::cases;
use crate::sim::memcached::Memcached;
use nuthatch_core::limits::Limits;
use nuthatch_core::mux::Options;
use nuthatch_core::time::Instant;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

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

/// What a client, and each of two servers, get when the client says `script`.
fn run(script: &[u8], sizes: &[usize], limits: Limits) -> (Vec<u8>, [Vec<u8>; 2]) {
    let mut cuts = Cuts { sizes, next: 0 };
    let mut mux = engine(2, Options { limits, ..options() }, None);
    let mut servers = [(); 2].map(|()| Memcached::default());
    let (mut inboxes, mut outboxes) = ([const { Vec::new() }; 2], [const { Vec::new() }; 2]);
    let (mut received, mut asked) = (Vec::new(), [const { Vec::new() }; 2]);
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
        for conn in 0..2 {
            let id = mux.conns()[conn];
            if mux.wants_open(id) {
                mux.handle_conn_opening(id, now);
                mux.handle_conn_open(id, now);
            }
            let piece = &mux.conn_output(id)[..cuts.of(mux.conn_output(id).len())];
            inboxes[conn].extend_from_slice(piece);
            asked[conn].extend_from_slice(piece);
            moved += piece.len();
            mux.handle_conn_written(id, piece.len(), now);
            while let Some(reply) = servers[conn].serve(&mut inboxes[conn]) {
                outboxes[conn].extend_from_slice(&reply.bytes);
            }
            let count = cuts.of(outboxes[conn].len());
            mux.handle_server_bytes(id, &outboxes[conn][..count], now);
            outboxes[conn].drain(..count);
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
        if moved + count == 0 && !resumed {
            break;
        }
    }
    assert_eq!(mux.requests_in_flight(), 0, "all is answered");
    (received, asked)
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
        let whole = run(&script, &[], limits);
        prop_assert!(run(&script, &sizes, limits) == whole);
        let tight = Limits { client_requests_max: 1, server_requests_max: 1, ..limits };
        prop_assert!(run(&script, &sizes, tight) == whole);
    }
}
