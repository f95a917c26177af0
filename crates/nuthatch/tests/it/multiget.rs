//! Large multigets: every value once per key asked for, in the order of the request, in time that
//! grows with the number of keys and not with its square.

use std::time::{Duration, Instant};

use crate::conn::{Conn, show};
use crate::fake::RefusingPort;
use crate::harness::{Memcached, Program, Proxy, free_port};

const KEYS: usize = 10_000;

#[test]
#[ignore = "needs memcached: run make it"]
fn ten_thousand_keys_with_misses_and_repeats_come_back_in_their_order() {
    let servers = Memcached::start_many(3);
    let entries: Vec<_> = servers.iter().map(Memcached::entry).collect();
    let proxy = Proxy::with_pool(Program::UnderTest, "hash: md5", &entries);
    let mut client = proxy.conn();
    fill(&mut client);
    // Every second key is there, and every fifth is asked for once more behind its neighbour.
    let repeat = |i: usize| i.is_multiple_of(5).then_some(i / 2);
    let asked: Vec<_> = (0..KEYS).flat_map(|i| [Some(i), repeat(i)]).flatten().collect();
    let request: String = asked.iter().map(|i| format!(" key{i}")).collect();
    let hits = asked.iter().filter(|i| i.is_multiple_of(2));
    let reply: String = hits.map(|i| format!("VALUE key{i} 0 {}\r\n{i}\r\n", digits(*i))).collect();
    let started = Instant::now();
    client.ask(format!("get{request}\r\n"), format!("{reply}END\r\n"));
    let took = started.elapsed();
    assert!(took < Duration::from_secs(2), "took {took:?}");
}

#[test]
#[ignore = "needs memcached: run make it"]
fn ten_thousand_keys_of_which_some_are_on_a_dead_server_get_one_error() {
    let server = Memcached::start();
    let entries = [server.entry(), RefusingPort::new().entry()];
    let proxy = Proxy::with_pool(Program::UnderTest, "hash: md5", &entries);
    let mut client = proxy.conn();
    let request: String = (0..KEYS).map(|i| format!(" key{i}")).collect();
    for _ in 0..3 {
        client.ask(format!("get{request}\r\n"), "SERVER_ERROR Connection refused\r\n");
    }
    client.expect_silence(Duration::from_millis(100));
}

#[test]
#[ignore = "needs memcached: run make it"]
fn seventy_thousand_keys_are_answered_as_by_one_memcached_without_a_setting() {
    // Keys of the length that memcached takes, and of a few bytes.
    for padding in [0, 240] {
        let world = World::start();
        let key = |i: usize| format!("{i:0>padding$}");
        let stored = (0..MANY_KEYS).step_by(2);
        let sets = stored.map(|i| format!("set {} 0 0 1 noreply\r\n1\r\n", key(i)));
        world.store(sets.collect::<String>().as_bytes());
        let request: String = (0..MANY_KEYS).map(|i| format!(" {}", key(i))).collect();
        let reply = world.compare(format!("get{request}\r\n").as_bytes());
        let value = key(2).len() + "VALUE  0 1\r\n1\r\n".len();
        assert!(reply.len() >= MANY_KEYS / 2 * value - MANY_KEYS * 5, "{} bytes", reply.len());
    }
}

#[test]
#[ignore = "needs memcached: run make it"]
fn eighty_values_of_a_megabyte_are_answered_as_by_one_memcached_without_a_setting() {
    let world = World::start();
    let value = |i: usize| format!("{i:02}").repeat(500_000);
    for i in 0..80 {
        let value = value(i);
        world.store(format!("set large{i} 0 0 {} noreply\r\n{value}\r\n", value.len()).as_bytes());
    }
    let request: String = (0..80).map(|i| format!(" large{i}")).collect();
    let reply = world.compare(format!("get{request}\r\n").as_bytes());
    assert!(reply.len() > 80_000_000, "{} bytes", reply.len());
}

const MANY_KEYS: usize = 70_000;

/// A proxy that has only its servers set, and a plain memcached beside it.
struct World {
    proxy: Proxy,
    plain: Memcached,
    _servers: Vec<Memcached>,
}

impl World {
    fn start() -> Self {
        let start = |_| Memcached::start_with(free_port(), &["-I", "2m", "-m", "512"]);
        let servers: Vec<_> = (0..3).map(start).collect();
        let entries: Vec<_> = servers.iter().map(Memcached::entry).collect();
        let proxy = Proxy::with_pool(Program::UnderTest, "", &entries);
        Self { proxy, plain: start(3), _servers: servers }
    }

    /// Has both carry out storage requests that are not answered.
    fn store(&self, requests: &[u8]) {
        for mut conn in [self.proxy.conn(), self.plain.conn()] {
            conn.ask([requests, b"mn\r\n"].concat(), "MN\r\n");
        }
    }

    /// The reply of both to one request.
    fn compare(&self, request: &[u8]) -> Vec<u8> {
        let [through, direct] = [self.proxy.conn(), self.plain.conn()].map(|mut conn| {
            conn.send(request);
            conn.read_reply().unwrap()
        });
        assert!(through == direct, "{} instead of {}", show(&through), show(&direct));
        through
    }
}

/// Sets every second key to its number.
fn fill(client: &mut Conn) {
    let set = |i: usize| format!("set key{i} 0 0 {}\r\n{i}\r\n", digits(i));
    client.send((0..KEYS).step_by(2).map(set).collect::<String>());
    client.expect("STORED\r\n".repeat(KEYS / 2));
}

fn digits(i: usize) -> usize {
    i.to_string().len()
}
