//! What the proxy holds has a bound, however much a client asks and however little it reads.
//!
//! The bounds are on `VmHWM`, the most memory the process ever held, so a peak between two looks
//! counts too.

use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::conn::Conn;
use crate::fake::FakeServer;
use crate::harness::{Memcached, Program, Proxy, free_port};

const MIB: u64 = 1 << 20;

/// What a client on loopback may wait while others misbehave, for nearly all of its requests.
const PROMPT: Duration = Duration::from_millis(100);

#[test]
#[ignore = "needs memcached: run make it"]
fn a_client_that_does_not_read_costs_little_memory_and_nobody_elses_time() {
    const REPLIES: usize = 1000;
    let server = Memcached::start_with(free_port(), &["-I", "2m", "-m", "256"]);
    let proxy = Proxy::with_pool(Program::UnderTest, "server_connections: 1", &[server.entry()]);
    let replies: Vec<_> = (0..10).map(large_reply).collect();
    for (i, reply) in replies.iter().enumerate() {
        let value = &reply[reply.len() - VALUE_LEN - 7..reply.len() - 5];
        let head = format!("set large{i} 0 0 {VALUE_LEN}\r\n");
        proxy.conn().ask([head.as_bytes(), value].concat(), "STORED\r\n");
    }

    let mut greedy = proxy.conn();
    let requests = (0..REPLIES).map(|i| format!("get large{}\r\n", i % replies.len()));
    greedy.send(requests.collect::<String>());
    assert_prompt(&mut proxy.conn(), "small", 300);
    let peak = most_held(&proxy);
    assert!(peak < 128 * MIB, "held {} MiB for one who does not read", peak / MIB);

    for i in 0..REPLIES {
        let wanted = &replies[i % replies.len()];
        let got = greedy.read_exact(wanted.len()).unwrap();
        assert!(got == *wanted, "reply {i} is not the value of its key");
    }
    greedy.expect_silence(PROMPT);
    let peak = most_held(&proxy);
    assert!(peak < 128 * MIB, "held {} MiB while it was read", peak / MIB);
}

#[test]
#[ignore = "needs memcached: run make it"]
fn a_server_that_does_not_read_costs_little_memory_and_the_others_nothing() {
    const CLIENTS: usize = 64;
    let hanging = FakeServer::start(|_, _| thread::sleep(Duration::from_secs(20)));
    let healthy = Memcached::start();
    // With these names "plum" belongs to the server that hangs and "apple" to the other.
    let servers = [format!("{} good", healthy.entry()), format!("{} bad", hanging.entry())];
    let proxy = Proxy::with_pool(Program::UnderTest, "server_connections: 1", &servers);
    let stuck: Vec<_> = thread::scope(|scope| {
        let offers: Vec<_> =
            (0..CLIENTS).map(|_| scope.spawn(|| offer_large_sets(proxy.port))).collect();
        offers.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_prompt(&mut proxy.conn(), "apple", 300);
    drop(stuck);
    let peak = most_held(&proxy);
    assert!(peak < 256 * MIB, "held {} MiB for a server that does not read", peak / MIB);
}

fn most_held(proxy: &Proxy) -> u64 {
    let bytes = proxy.process.memory_bytes("VmHWM");
    eprintln!("{} MiB at most", bytes / MIB);
    bytes
}

const VALUE_LEN: usize = 1_000_000;

/// The reply to a get of `large{i}`; the value proves its key.
fn large_reply(i: usize) -> Vec<u8> {
    let mut value = format!("large{i}/").repeat(VALUE_LEN / 7 + 1);
    value.truncate(VALUE_LEN);
    format!("VALUE large{i} 0 {VALUE_LEN}\r\n{value}\r\nEND\r\n").into_bytes()
}

/// Writes up to 32 sets of 1 MB each, until the proxy has taken nothing for half a second.
fn offer_large_sets(port: u16) -> TcpStream {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let request = format!("set plum 0 0 {VALUE_LEN}\r\n{}\r\n", "x".repeat(VALUE_LEN));
    for _ in 0..32 {
        // An error is what is hoped for: the proxy has stopped reading.
        if stream.write_all(request.as_bytes()).is_err() {
            break;
        }
    }
    stream
}

/// Panics unless 99 of 100 requests, spread over some seconds, are answered promptly.
fn assert_prompt(conn: &mut Conn, key: &str, requests: usize) {
    let mut times: Vec<_> = (0..requests)
        .map(|i| {
            let started = Instant::now();
            let value = i.to_string();
            let set = format!("set {key} 0 0 {}\r\n{value}\r\n", value.len());
            conn.ask(set, "STORED\r\n");
            let reply = format!("VALUE {key} 0 {}\r\n{value}\r\nEND\r\n", value.len());
            conn.ask(format!("get {key}\r\n"), reply);
            thread::sleep(Duration::from_millis(5));
            started.elapsed()
        })
        .collect();
    times.sort_unstable();
    let (late, worst) = (times[requests * 99 / 100], times[requests - 1]);
    assert!(late < PROMPT, "1 of 100 took {late:?} or more, the worst {worst:?}");
}
