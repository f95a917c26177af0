//! Large multigets: every value once per key asked for, in the order of the request, in time that
//! grows with the number of keys and not with its square.

use std::time::{Duration, Instant};

use crate::conn::Conn;
use crate::fake::RefusingPort;
use crate::harness::{Memcached, Program, Proxy};

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

/// Sets every second key to its number.
fn fill(client: &mut Conn) {
    let set = |i: usize| format!("set key{i} 0 0 {}\r\n{i}\r\n", digits(i));
    client.send((0..KEYS).step_by(2).map(set).collect::<String>());
    client.expect("STORED\r\n".repeat(KEYS / 2));
}

fn digits(i: usize) -> usize {
    i.to_string().len()
}
