//! A client whose connection the proxy ends gets all its replies first.
//!
//! A socket that is closed with bytes unread, or that is sent more later, makes the kernel throw
//! away what it has not delivered yet. So the proxy says the end, reads on, and closes later.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::conn::{Conn, PATIENCE, show};
use crate::harness::{Memcached, Program, Proxy, TempDir, free_port, pool_on};

const VALUE_BYTES: usize = 1_000_000;
const FRAMING_ERROR: &str = "CLIENT_ERROR bad command line format\r\n";
const MIB: u64 = 1 << 20;

/// A proxy in front of a memcached that has a value of 1 MB under `k`.
fn large_value(settings: &str) -> (Memcached, Proxy, String) {
    let server = Memcached::start_with(free_port(), &["-I", "2m"]);
    let proxy = Proxy::with_pool(Program::UnderTest, settings, &[server.entry()]);
    let value = "v".repeat(VALUE_BYTES);
    proxy.conn().ask(format!("set k 0 0 {VALUE_BYTES}\r\n{value}\r\n"), "STORED\r\n");
    (server, proxy, format!("VALUE k 0 {VALUE_BYTES}\r\n{value}\r\nEND\r\n"))
}

/// Sends `rest` behind three large gets, waits, and panics unless all replies come, then `last`,
/// then the end.
#[track_caller]
fn assert_all_replies(proxy: &Proxy, reply: &str, rest: &[u8], last: &str) {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"get k\r\nget k\r\nget k\r\n").unwrap();
    stream.write_all(rest).unwrap();
    thread::sleep(Duration::from_millis(300));
    let mut got = Vec::new();
    let outcome = stream.read_to_end(&mut got);
    let wanted = reply.repeat(3) + last;
    assert!(
        got == wanted.as_bytes(),
        "{} of {} bytes, then {outcome:?}; the last are {}",
        got.len(),
        wanted.len(),
        show(&got[got.len().saturating_sub(100)..])
    );
    outcome.expect("the end, not a reset");
}

#[test]
#[ignore = "needs memcached: run make it"]
fn all_replies_come_before_quit_ends_the_connection_whatever_follows_it() {
    let (_server, proxy, reply) = large_value("");
    assert_all_replies(&proxy, &reply, b"quit\r\n", "");
    for extra in [70_000, 3_000_000] {
        assert_all_replies(&proxy, &reply, &[b"quit\r\n", &*vec![b'x'; extra]].concat(), "");
    }
}

#[test]
#[ignore = "needs memcached: run make it"]
fn all_replies_and_the_error_line_come_before_a_framing_error_ends_the_connection() {
    let (_server, proxy, reply) = large_value("");
    for extra in [0, 70_000, 3_000_000] {
        let rest = [b"set a 0 0 x\r\n", &*vec![b'x'; extra]].concat();
        assert_all_replies(&proxy, &reply, &rest, FRAMING_ERROR);
    }
}

#[test]
#[ignore = "needs memcached: run make it"]
fn all_replies_come_to_one_who_sends_on_until_it_has_read_them() {
    let (_server, proxy, reply) = large_value("");
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"get k\r\nget k\r\nget k\r\nquit\r\n").unwrap();
    let mut sender = stream.try_clone().unwrap();
    let sending = thread::spawn(move || {
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(1) {
            sender.write_all(&[b'x'; 1000]).expect("the proxy reads on");
            thread::sleep(Duration::from_millis(5));
        }
    });
    thread::sleep(Duration::from_millis(500));
    let mut got = Vec::new();
    stream.read_to_end(&mut got).expect("the end, not a reset");
    assert!(got == reply.repeat(3).as_bytes(), "{} bytes", got.len());
    sending.join().unwrap();
}

#[test]
#[ignore = "needs memcached: run make it"]
fn a_unix_client_gets_all_replies_too() {
    let server = Memcached::start_with(free_port(), &["-I", "2m"]);
    let dir = TempDir::new();
    let path = dir.join("nuthatch.sock");
    let port = free_port();
    let listen = format!("[\"127.0.0.1:{port}\", \"{}\"]", path.display());
    let config = pool_on("p", &listen, "", &[server.entry()]);
    let _proxy = Proxy::start(Program::UnderTest, &config, &[port]);
    let value = "v".repeat(VALUE_BYTES);
    let set = format!("set k 0 0 {VALUE_BYTES}\r\n{value}\r\n");
    Conn::unix(&path).ask(set, "STORED\r\n");
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"get k\r\nquit\r\n").unwrap();
    stream.write_all(&vec![b'x'; 70_000]).unwrap();
    thread::sleep(Duration::from_millis(300));
    let mut got = Vec::new();
    stream.read_to_end(&mut got).expect("the end, not a reset");
    assert_eq!(got.len(), VALUE_BYTES + "VALUE k 0 1000000\r\n\r\nEND\r\n".len());
}

#[test]
#[ignore = "needs memcached: run make it"]
fn a_client_that_is_one_too_many_reads_why_whatever_it_has_sent() {
    let server = Memcached::start();
    let proxy = Proxy::with_pool(Program::UnderTest, "client_connections: 1", &[server.entry()]);
    // The proxy may still have the connection that looked whether it listens.
    let is_served = |conn: &mut Conn| {
        conn.send("get k\r\n");
        conn.read_line().is_ok_and(|line| line == b"END\r\n")
    };
    let mut one = proxy.conn();
    while !is_served(&mut one) {
        one = proxy.conn();
    }
    // It is all here before the proxy accepts.
    proxy.process.stop();
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&b"get k\r\n".repeat(1000)).unwrap();
    proxy.process.signal(Signal::CONT);
    thread::sleep(Duration::from_millis(200));
    stream.write_all(b"get k\r\n").expect("the proxy reads on");
    let mut got = Vec::new();
    stream.read_to_end(&mut got).expect("the end, not a reset");
    assert_eq!(show(&got), "ERROR Too many open connections\\r\\n");
}

/// How many descriptors a process has.
fn descriptors(proxy: &Proxy) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", proxy.process.id())).unwrap().count()
}

#[test]
#[ignore = "needs memcached: run make it"]
fn clients_that_never_close_are_closed_and_cost_the_others_nothing() {
    const CLIENTS: usize = 1000;
    let server = Memcached::start();
    let mut proxy = Proxy::with_pool(Program::UnderTest, "", &[server.entry()]);
    let mut other = proxy.conn();
    other.ask("get k\r\n", "END\r\n");
    let before = descriptors(&proxy);
    let peak = proxy.process.memory_bytes("VmHWM");
    let staying: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let mut conn = proxy.conn();
            conn.send(if number % 2 == 0 { "quit\r\n" } else { "set a 0 0 x\r\n" });
            conn.send(vec![b'x'; 10_000]);
            if number % 100 == 0 {
                other.ask("get k\r\n", "END\r\n");
            }
            conn
        })
        .collect();
    other.ask("get k\r\n", "END\r\n");
    let grown = proxy.process.memory_bytes("VmHWM").saturating_sub(peak);
    assert!(grown < 16 * MIB, "{} MiB more", grown / MIB);
    let started = Instant::now();
    while descriptors(&proxy) > before {
        assert!(started.elapsed() < PATIENCE, "{} left of {before}", descriptors(&proxy));
        other.ask("get k\r\n", "END\r\n");
        thread::sleep(Duration::from_millis(50));
    }
    drop(staying);
    proxy.process.signal(Signal::TERM);
    assert!(proxy.process.wait(Duration::from_secs(2)).is_some());
}

#[test]
#[ignore = "needs memcached: run make it"]
fn a_client_that_sends_for_ever_behind_quit_is_closed_and_costs_no_memory() {
    let server = Memcached::start();
    let proxy = Proxy::with_pool(Program::UnderTest, "", &[server.entry()]);
    let mut other = proxy.conn();
    other.ask("get k\r\n", "END\r\n");
    let peak = proxy.process.memory_bytes("VmHWM");
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"quit\r\n").unwrap();
    let started = Instant::now();
    while stream.write_all(&[b'x'; 100_000]).is_ok() {
        assert!(started.elapsed() < PATIENCE, "never closed");
    }
    assert!(started.elapsed() > Duration::from_secs(1), "closed after {:?}", started.elapsed());
    let grown = proxy.process.memory_bytes("VmHWM").saturating_sub(peak);
    assert!(grown < 16 * MIB, "{} MiB more", grown / MIB);
    other.ask("get k\r\n", "END\r\n");
}

#[test]
#[ignore = "needs memcached: run make it"]
fn a_client_that_quits_and_stays_does_not_hold_up_a_drain_for_longer_than_its_time() {
    let server = Memcached::start();
    let mut proxy = Proxy::with_pool(Program::UnderTest, "", &[server.entry()]);
    let mut conn = proxy.conn();
    conn.ask("get k\r\n", "END\r\n");
    conn.send("quit\r\n");
    thread::sleep(Duration::from_millis(200));
    proxy.process.signal(Signal::TERM);
    let status = proxy.process.wait(Duration::from_millis(500));
    assert!(status.is_none(), "what it was sent may not be delivered yet");
    let status = proxy.process.wait(Duration::from_millis(4000));
    assert!(status.expect("it ends").success());
    conn.expect_closed();
}

#[test]
#[ignore = "needs memcached: run make it"]
fn a_drain_waits_for_replies_behind_quit() {
    let (_server, mut proxy, reply) = large_value("");
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"get k\r\nget k\r\nget k\r\nquit\r\n").unwrap();
    stream.write_all(&vec![b'x'; 70_000]).unwrap();
    thread::sleep(Duration::from_millis(200));
    proxy.process.signal(Signal::TERM);
    thread::sleep(Duration::from_millis(300));
    let mut got = Vec::new();
    stream.read_to_end(&mut got).expect("the end, not a reset");
    assert!(got == reply.repeat(3).as_bytes(), "{} bytes", got.len());
    drop(stream);
    assert!(proxy.process.wait(PATIENCE).is_some());
}

#[test]
#[ignore = "needs memcached: run make it"]
fn a_client_that_is_shed_for_memory_is_closed_at_once() {
    let (_server, proxy, _) =
        large_value("memory_max: 4m\nclient_buffer_max: 8m\nclient_backlog_max: 8m");
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"get none\r\n").unwrap();
    assert_eq!(stream.read(&mut [0; 16]).unwrap(), 5);
    // Nobody else's connection is about to go.
    thread::sleep(Duration::from_millis(200));
    let before = descriptors(&proxy);
    for _ in 0..64 {
        stream.write_all(b"get k\r\n").unwrap();
    }
    let started = Instant::now();
    while descriptors(&proxy) >= before {
        assert!(started.elapsed() < Duration::from_millis(1500), "not closed");
        thread::sleep(Duration::from_millis(10));
    }
    let _ = stream.shutdown(Shutdown::Both);
}
