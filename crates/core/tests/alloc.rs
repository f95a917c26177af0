//! Steady traffic allocates nothing: what was taken while warming up is used again and again. And
//! what is accounted is all there is: a bound on the sum is a bound on the bytes allocated.
//!
//! The count is that of the thread that runs the test, so the tests do not disturb each other.
#![expect(unsafe_code, reason = "an allocator that counts is the only way to see allocations")]

use nuthatch_core::clocks::Clocks;
use nuthatch_core::limits::Limits;
use nuthatch_core::mux::{Bulk, ClientId, Mux, Options};
use nuthatch_core::protocol::Protocol;
use nuthatch_core::quota::{Quota, Quotas};
use nuthatch_core::redis::{Arguments, Settings, take_request};
use nuthatch_core::ring::{Distribution, Hash, Member, Ring};
use nuthatch_core::time::Instant;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    /// Bytes allocated and not given back.
    static LIVE: Cell<isize> = const { Cell::new(0) };
}

/// What a worker reads at once by way of its scratch buffer.
const SCRATCH_BYTES: usize = 64 * 1024;

struct Counting;

// SAFETY: every call goes to the system's allocator as it is; counting allocates nothing, for the
// count is a constant-initialised number without destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        LIVE.set(LIVE.get() + layout.size().cast_signed());
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        LIVE.set(LIVE.get() + size.cast_signed() - layout.size().cast_signed());
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        LIVE.set(LIVE.get() - layout.size().cast_signed());
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// An engine, a client, and what its servers answer to the one thing the client says.
struct Traffic {
    mux: Mux,
    client: ClientId,
    request: Vec<u8>,
    replies: Vec<Vec<u8>>,
    now: Instant,
    written: usize,
}

impl Traffic {
    fn new(servers: usize, request: &str) -> Self {
        Self::with_limits(servers, request, Limits::default())
    }

    fn with_limits(servers: usize, request: &str, limits: Limits) -> Self {
        Self::of(Protocol::Memcache, servers, request, limits)
    }

    /// Traffic of a Redis client that has said `first` before.
    fn redis(servers: usize, first: &str, request: &str) -> Self {
        let mut traffic = Self::of(Protocol::Redis, servers, request, Limits::default());
        traffic.mux.handle_client_bytes(traffic.client, first.as_bytes(), traffic.now);
        traffic.look_after_all();
        traffic
    }

    fn of(protocol: Protocol, servers: usize, request: &str, limits: Limits) -> Self {
        let name = |index| Member { name: format!("server{index}").into_bytes().into(), weight: 1 };
        let members = (0..servers).map(name).collect();
        let ring = Ring::new(Distribution::Ketama, Hash::Fnv1a_64, None, members, 1);
        let options = Options {
            protocol,
            ejection: None,
            timeout: Some(Duration::from_millis(400)),
            clocks: Clocks::default(),
            server_connections: 1,
            bulk: Bulk::NONE,
            allow_flush: false,
            redis: Arc::new(Settings { dedicated_max: 10, ..Settings::default() }),
            limits,
            epoch: Duration::ZERO,
        };
        let mut mux = Mux::new(
            ring,
            options,
            Arc::default(),
            &(0..servers).map(|_| Arc::default()).collect::<Vec<_>>(),
        );
        let client = mux.open_client();
        let request = request.as_bytes().to_vec();
        let replies = vec![Vec::new(); mux.conns().len()];
        Self { mux, client, request, replies, now: Instant::default(), written: 0 }
    }

    /// The client asks, the servers answer, the client reads.
    fn turn(&mut self) {
        self.now = self.now.after(Duration::from_micros(50));
        self.mux.handle_timeout(self.now);
        self.say();
        self.look_after_all();
        for conn in 0..self.replies.len() {
            self.answer(conn);
        }
        self.look_after_all();
    }

    /// As a socket is read: to where the engine wants it, or else to a scratch buffer.
    fn say(&mut self) {
        let mut rest = self.request.as_slice();
        while !rest.is_empty() {
            let count = match self.mux.client_input(self.client) {
                Some(input) => {
                    let count = rest.len().min(input.capacity() - input.len());
                    input.extend_from_slice(&rest[..count]);
                    self.mux.handle_client_filled(self.client, count, self.now);
                    count
                }
                None => {
                    let count = rest.len().min(SCRATCH_BYTES);
                    self.mux.handle_client_bytes(self.client, &rest[..count], self.now);
                    count
                }
            };
            rest = &rest[count..];
        }
    }

    fn answer(&mut self, conn: usize) {
        let id = self.mux.conns()[conn];
        let mut rest = self.replies[conn].as_slice();
        while !rest.is_empty() {
            let count = match self.mux.conn_input(id) {
                Some(input) => {
                    let count = rest.len().min(input.capacity() - input.len());
                    input.extend_from_slice(&rest[..count]);
                    self.mux.handle_server_filled(id, self.now);
                    count
                }
                None => {
                    let count = rest.len().min(SCRATCH_BYTES);
                    self.mux.handle_server_bytes(id, &rest[..count], self.now);
                    count
                }
            };
            rest = &rest[count..];
        }
    }

    fn look_after_all(&mut self) {
        while let Some(id) = self.mux.next_dirty_conn() {
            if self.mux.wants_open(id) {
                self.mux.handle_conn_opening(id, self.now);
                self.mux.handle_conn_open(id, self.now);
                let count = self.mux.conn_output(id).len();
                self.mux.handle_conn_written(id, count, self.now);
                let greeting = match self.mux.options().protocol {
                    Protocol::Memcache => &b"VERSION 1.6.18\r\n"[..],
                    Protocol::Redis => b"*0\r\n",
                };
                self.mux.handle_server_bytes(id, greeting, self.now);
            }
            if self.replies.len() <= id.index() {
                self.replies.resize(id.index() + 1, Vec::new());
            }
            let is_first = self.replies[id.index()].is_empty();
            while !self.mux.conn_output(id).is_empty() {
                let output = self.mux.conn_output(id);
                if is_first {
                    self.replies[id.index()].extend(match self.mux.options().protocol {
                        Protocol::Memcache => answers(output),
                        Protocol::Redis => redis_answers(output),
                    });
                }
                let count = output.len();
                self.mux.handle_conn_written(id, count, self.now);
            }
        }
        while let Some(id) = self.mux.next_dirty_client() {
            let count = self.mux.client_output(id).len();
            self.written += count;
            if count > 0 {
                self.mux.handle_client_written(id, count);
            }
        }
        self.mux.resume(self.now);
    }

    /// How many allocations `turns` turns take once all is warm. Every turn must give the client
    /// as many bytes as the first.
    fn allocations(&mut self, turns: usize) -> u64 {
        for _ in 0..200 {
            self.turn();
        }
        self.written = 0;
        self.turn();
        let expected = self.written;
        let before = ALLOCATIONS.get();
        for _ in 0..turns {
            self.written = 0;
            self.turn();
            assert_eq!(self.written, expected);
        }
        assert_eq!(self.mux.requests_in_flight(), 0);
        ALLOCATIONS.get() - before
    }
}

/// What a server answers to these requests.
fn answers(requests: &[u8]) -> Vec<u8> {
    let mut replies = String::new();
    for line in std::str::from_utf8(requests).expect("text").split_terminator("\r\n") {
        let words: Vec<&str> = line.split(' ').collect();
        match words[0] {
            "get" => {
                for key in &words[1..] {
                    if let Some(size) = key.strip_prefix("large:") {
                        let value = "x".repeat(size.parse().expect("a number"));
                        replies += &format!("VALUE {key} 0 {size}\r\n{value}\r\n");
                        continue;
                    }
                    replies += &format!("VALUE {key} 0 5\r\nhello\r\n");
                }
                replies += "END\r\n";
            }
            "set" => replies += "STORED\r\n",
            "delete" => replies += "NOT_FOUND\r\n",
            "mg" => replies += "VA 5\r\nhello\r\n",
            "ms" => replies += "HD\r\n",
            data => assert!(data == "hello" || data.bytes().all(|byte| byte == b'x')),
        }
    }
    replies.into_bytes()
}

/// What a Redis answers to these requests.
fn redis_answers(mut requests: &[u8]) -> Vec<u8> {
    let mut replies = Vec::new();
    while let Some(request) = take_request(&mut requests) {
        let mut words = Arguments::of(request);
        let name = words.next().expect("a name");
        let key = words.clone().next().unwrap_or_default();
        let value = match key.strip_prefix(b"large:") {
            Some(size) => {
                "x".repeat(std::str::from_utf8(size).expect("text").parse().expect("a size"))
            }
            None => "hello".to_owned(),
        };
        let value = format!("${}\r\n{value}\r\n", value.len());
        let header = format!("*{}\r\n", words.len());
        let values = if name == b"MGET" { header + &value.repeat(words.len()) } else { value };
        let reply = match name {
            b"GET" | b"MGET" => values.as_bytes(),
            b"SET" | b"MSET" | b"MULTI" => b"+OK\r\n",
            b"DEL" | b"DBSIZE" => b":1\r\n",
            b"HGETALL" => b"%1\r\n$1\r\na\r\n*2\r\n:1\r\n_\r\n",
            b"INCR" => b"+QUEUED\r\n",
            b"EXEC" => b"*1\r\n:1\r\n",
            b"BLPOP" => b"*-1\r\n",
            b"SCAN" => b"*2\r\n$1\r\n0\r\n*1\r\n$1\r\na\r\n",
            _ => panic!("{}", request.escape_ascii()),
        };
        replies.extend_from_slice(reply);
    }
    replies
}

/// Requests of a Redis client: lines of words.
fn redis(lines: &[&str]) -> String {
    let array = |line: &&str| {
        let words: Vec<&str> = line.split(' ').collect();
        let bulk = |word: &&str| format!("${}\r\n{word}\r\n", word.len());
        format!("*{}\r\n{}", words.len(), words.iter().map(bulk).collect::<String>())
    };
    lines.iter().map(array).collect()
}

const HELLO_3: &str = "HELLO 3\r\n";

#[test]
fn gets_and_sets_of_redis_allocate_nothing() {
    for line in ["GET key", "SET key hello", "DEL key", "MGET key", "HGETALL key"] {
        for first in ["", HELLO_3] {
            let mut traffic = Traffic::redis(2, first, &redis(&[line]));
            assert_eq!(traffic.allocations(20_000), 0, "{line} {first}");
        }
    }
}

#[test]
fn a_pipeline_of_redis_over_four_servers_allocates_nothing() {
    let line = |index: u32| match index % 4 {
        0 => format!("SET key:{index} hello"),
        1 => format!("DEL key:{index}"),
        2 => "PING".to_owned(),
        _ => format!("GET key:{index}"),
    };
    let lines: Vec<String> = (0..32).map(line).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let mut traffic = Traffic::redis(4, "", &redis(&lines));
    assert_eq!(traffic.allocations(3000), 0);
}

#[test]
fn split_requests_of_redis_allocate_nothing() {
    let keys: Vec<String> = (0..10).map(|index| format!("key:{index}")).collect();
    let pairs: Vec<String> = keys.iter().map(|key| format!("{key} hello")).collect();
    let (keys, pairs) = (keys.join(" "), pairs.join(" "));
    for line in [format!("MGET {keys}"), format!("MSET {pairs}"), format!("DEL {keys}")] {
        for first in ["", HELLO_3] {
            let mut traffic = Traffic::redis(4, first, &redis(&[&line]));
            assert_eq!(traffic.allocations(3000), 0, "{line} {first}");
        }
    }
}

#[test]
fn large_values_of_redis_allocate_nothing() {
    for size in LARGE_SIZES {
        let set = format!("SET key {}", "x".repeat(size));
        let get = format!("GET large:{size}");
        for lines in [&[get.as_str()][..], &[&set], &[&set, &get]] {
            let mut traffic = Traffic::redis(1, "", &redis(lines));
            assert_eq!(traffic.allocations(300), 0, "{size} bytes, {} requests", lines.len());
        }
    }
}

/// Requests that are rare, or that nobody sends in numbers: what they allocate is small.
#[test]
fn other_requests_of_redis_allocate_little() {
    for (request, most) in [
        (redis(&["MULTI", "INCR a", "EXEC"]), 4),
        (redis(&["BLPOP a 0"]), 0),
        (redis(&["SCAN 0"]), 3),
        (redis(&["DBSIZE"]), 0),
        (redis(&["FOO a"]), 0),
        ("GET a\r\n".to_owned(), 8),
    ] {
        let mut traffic = Traffic::redis(2, "", &request);
        let count = traffic.allocations(1000);
        assert!(count <= most * 1000, "{} per turn: {request:?}", count as f64 / 1000.0);
    }
}

#[test]
fn the_count_counts() {
    let before = ALLOCATIONS.get();
    let bytes = std::hint::black_box(Vec::<u8>::with_capacity(1000));
    assert_eq!(ALLOCATIONS.get() - before, 1);
    drop(bytes);
}

#[test]
fn gets_and_sets_allocate_nothing() {
    let mut traffic = Traffic::new(1, "get key\r\n");
    assert_eq!(traffic.allocations(100_000), 0);
    let mut traffic = Traffic::new(1, "set key 0 0 5\r\nhello\r\n");
    assert_eq!(traffic.allocations(100_000), 0);
}

#[test]
fn clients_with_quotas_allocate_nothing() {
    let mut traffic = Traffic::new(1, "get key\r\n");
    let quota = Quota { per_second: 100_000_000, in_flight: 100 };
    traffic.mux.set_quotas(Quotas { pool: quota, address: quota }, &Arc::default());
    traffic.mux.set_address(traffic.client, Arc::default);
    assert_eq!(traffic.allocations(100_000), 0);
}

/// Sizes of large values: some that one read takes whole, and some that take many.
const LARGE_SIZES: [usize; 5] = [10_000, 20_000, 100_000, 300_000, 1_000_000];

#[test]
fn reads_of_large_values_allocate_nothing() {
    for size in LARGE_SIZES {
        let mut traffic = Traffic::new(1, &format!("get large:{size}\r\n"));
        assert_eq!(traffic.allocations(300), 0, "{size} bytes");
    }
}

#[test]
fn stores_of_large_values_allocate_nothing() {
    for size in LARGE_SIZES {
        for head in ["set key 0 0", "set key 0 0 ", "ms key"] {
            let value = "x".repeat(size);
            let mut traffic = Traffic::new(1, &format!("{head} {size}\r\n{value}\r\n"));
            assert_eq!(traffic.allocations(300), 0, "{head:?}, {size} bytes");
        }
    }
}

#[test]
fn silent_stores_of_large_values_allocate_nothing() {
    for size in LARGE_SIZES {
        let value = "x".repeat(size);
        let request = format!("set key 0 0 {size} noreply\r\n{value}\r\nmn\r\n");
        assert_eq!(Traffic::new(1, &request).allocations(300), 0, "{size} bytes");
    }
}

#[test]
fn stores_and_reads_of_large_values_in_turn_allocate_nothing() {
    for size in LARGE_SIZES {
        let value = "x".repeat(size);
        let request = format!("set key 0 0 {size}\r\n{value}\r\nget large:{size}\r\n");
        assert_eq!(Traffic::new(1, &request).allocations(300), 0, "{size} bytes");
    }
}

#[test]
fn a_pipeline_over_four_servers_allocates_nothing() {
    let line = |index: u32| match index % 3 {
        0 => format!("set key:{index} 0 0 5\r\nhello\r\n"),
        1 => format!("delete key:{index}\r\n"),
        _ => format!("get key:{index}\r\n"),
    };
    let mut traffic = Traffic::new(4, &(0..16).map(line).collect::<String>());
    assert_eq!(traffic.allocations(100_000 / 16), 0);
}

#[test]
fn multi_gets_of_a_hundred_keys_allocate_nothing() {
    let keys: Vec<String> = (0..100).map(|index| format!("key:{index}")).collect();
    let mut traffic = Traffic::new(4, &format!("get {}\r\n", keys.join(" ")));
    assert_eq!(traffic.allocations(1000), 0);
}

#[test]
fn noreply_sets_allocate_nothing() {
    let mut traffic = Traffic::new(2, &"set key 0 0 5 noreply\r\nhello\r\n".repeat(10));
    assert_eq!(traffic.allocations(10_000), 0);
}

#[test]
fn meta_requests_allocate_nothing() {
    let lines = "mg key v\r\nmg a2V5 b v\r\nms key 5\r\nhello\r\nms other 5 q\r\nhello\r\nmn\r\n";
    let mut traffic = Traffic::new(2, lines);
    assert_eq!(traffic.allocations(25_000), 0);
}

#[test]
fn barriers_behind_noreply_allocate_nothing() {
    let mut traffic = Traffic::new(1, "set key 0 0 5 noreply\r\nhello\r\nmn\r\n");
    assert_eq!(traffic.allocations(10_000), 0);
}

/// What is accounted, in buffers that double, and emptied buffers that are kept.
const BOUND: isize = 2 * (1 << 20) + 2 * (4 << 20);

/// The most that is allocated while many clients ask in one turn and none of them reads, with the
/// limits of a small container. Nothing is answered by a server.
fn most_live_in_a_turn(request: &str) -> isize {
    let limits = Limits {
        client_buffer_max: 256 << 10,
        client_backlog_max: 4 << 20,
        server_buffer_max: 1 << 20,
        memory_max: 1 << 20,
        ..Limits::default()
    };
    let mut traffic = Traffic::with_limits(1, request, limits);
    let clients: Vec<_> = (0..200).map(|_| traffic.mux.open_client()).collect();
    for &client in &clients {
        // What it gets is small, so it may ask for much at once.
        for _ in 0..40 {
            traffic.mux.handle_client_bytes(client, b"stats\r\n", traffic.now);
            let question = traffic.mux.next_question().expect("it was asked");
            traffic.mux.answer_question(question, &[b'x'; 1000]);
            traffic.mux.handle_client_written(client, 1000);
        }
    }
    let before = LIVE.get();
    let mut most = 0;
    for client in clients {
        traffic.mux.handle_client_bytes(client, traffic.request.as_slice(), traffic.now);
        most = most.max(LIVE.get() - before);
    }
    while let Some(question) = traffic.mux.next_question() {
        traffic.mux.answer_question(question, &[b'x'; 8000]);
        most = most.max(LIVE.get() - before);
    }
    assert!(traffic.mux.stats().limit_memory.read() > 0, "the limit was not reached");
    most
}

#[test]
fn what_clients_pile_up_in_one_turn_has_the_bound_of_what_is_accounted() {
    // Half a request.
    let most = most_live_in_a_turn(&format!("get{}", " k".repeat(30_000)));
    assert!(most < BOUND, "{} KiB", most / 1024);
    // Both are answered with much more than was asked, before a stuck reply and without one.
    for behind in ["stats\r\n", "delete a 5\r\n"] {
        for first in ["get a\r\n", ""] {
            let most = most_live_in_a_turn(&(first.to_owned() + &behind.repeat(1500)));
            assert!(most < BOUND, "{} KiB for {first:?} and {behind:?}", most / 1024);
        }
    }
}

#[test]
fn what_a_client_that_went_away_has_asked_a_stuck_server_for_is_forgotten() {
    let request = format!("get{}\r\n", " a".repeat(10_000));
    let mut traffic = Traffic::new(1, &request);
    let before = LIVE.get();
    for _ in 0..50 {
        traffic.client = traffic.mux.open_client();
        traffic.say();
        traffic.mux.close_client(traffic.client);
    }
    assert_eq!(traffic.mux.requests_in_flight(), 50);
    // The requests themselves are a megabyte, in a buffer that doubles; their keys would be twenty.
    let live = LIVE.get() - before;
    assert!(live < 4 << 20, "{} KiB", live / 1024);
    traffic.replies[0] = b"VALUE a 0 1\r\nx\r\nEND\r\n".repeat(50 * 2);
    traffic.look_after_all();
    traffic.answer(0);
    traffic.look_after_all();
    assert_eq!(traffic.mux.requests_in_flight(), 0);
}
