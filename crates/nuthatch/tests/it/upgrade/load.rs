//! An upgrade under load: no client is refused, and no request is lost.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::conn::Broken;
use crate::harness::Memcached;
use crate::random::Random;

use super::*;

/// What happened to the clients of a load.
#[derive(Default)]
struct Tally {
    ends: AtomicBool,
    connections: AtomicU64,
    requests: AtomicU64,
    refused: AtomicU64,
    lost: AtomicU64,
    /// Connections that the proxy closed.
    closed: AtomicU64,
}

/// Ends the load, also if the test fails.
struct EndOfLoad<'t>(&'t Tally);

impl Drop for EndOfLoad<'_> {
    fn drop(&mut self) {
        self.0.ends.store(true, Ordering::Relaxed);
    }
}

/// A client that sends pipelines of writes and reads of its own key, in pieces, and checks every reply.
/// Every fourth client keeps its connection; the others connect anew now and then.
fn load(number: usize, tcp: u16, unix: &Path, tally: &Tally) {
    let mut random = Random::new(u64::try_from(number).unwrap() + 1);
    let open = || match number % 3 {
        0 => UnixStream::connect(unix).map(|stream| TcpStream::from(OwnedFd::from(stream))),
        _ => TcpStream::connect((Ipv4Addr::LOCALHOST, tcp)),
    };
    let (mut conn, mut count) = (None, 0_u64);
    while !tally.ends.load(Ordering::Relaxed) {
        if !number.is_multiple_of(4) && random.one_in(5) {
            conn = None;
        }
        let open_one = || match open() {
            Ok(stream) => {
                tally.connections.fetch_add(1, Ordering::Relaxed);
                Some(Conn::over(stream))
            }
            Err(error) => {
                eprintln!("client {number}: {error}");
                tally.refused.fetch_add(1, Ordering::Relaxed);
                None
            }
        };
        let Some(mut open) = conn.take().or_else(open_one) else {
            thread::sleep(Duration::from_millis(1));
            continue;
        };
        let (mut requests, mut replies) = (String::new(), String::new());
        let few = 1 + random.below(8);
        for _ in 0..few {
            count += 1;
            let silent = random.one_in(3);
            let noreply = if silent { " noreply" } else { "" };
            requests += &format!("set c{number} 0 0 8{noreply}\r\n{count:08}\r\nget c{number}\r\n");
            replies += if silent { "" } else { "STORED\r\n" };
            replies += &format!("VALUE c{number} 0 8\r\n{count:08}\r\nEND\r\n");
        }
        let (first, second) = requests.split_at(random.below(requests.len()));
        open.send(first);
        if random.one_in(3) {
            thread::sleep(Duration::from_millis(u64::try_from(random.below(30)).unwrap()));
        }
        open.send(second);
        match open.read_exact(replies.len()) {
            Ok(got) if got == replies.as_bytes() => {
                tally.requests.fetch_add(u64::try_from(few).unwrap(), Ordering::Relaxed);
                conn = Some(open);
            }
            wrong => {
                let (Ok(got) | Err(Broken::Closed(got) | Broken::TimedOut(got))) = wrong;
                eprintln!("client {number} sent {requests:?}, got {}", show(&got));
                tally.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
        if random.one_in(20) {
            thread::sleep(Duration::from_millis(20));
        }
        // A connection that was closed while nothing was asked.
        if conn.as_ref().is_some_and(is_at_end) {
            tally.closed.fetch_add(1, Ordering::Relaxed);
            conn = None;
        }
    }
}

fn is_at_end(conn: &Conn) -> bool {
    let socket = conn.socket();
    socket.set_nonblocking(true).unwrap();
    let seen = socket.peek(&mut [0]);
    socket.set_nonblocking(false).unwrap();
    seen.map_or_else(|error| error.kind() != ErrorKind::WouldBlock, |count| count == 0)
}

#[test]
#[ignore = "needs memcached: run make it"]
fn under_load_no_client_is_refused_and_no_request_is_lost() {
    let servers = Memcached::start_many(2);
    let site = Site::with_servers("", &servers.iter().map(Memcached::entry).collect::<Vec<_>>());
    let mut process = site.start(&["--workers", "1"]);
    let tally = Tally::default();
    thread::scope(|scope| {
        let _end = EndOfLoad(&tally);
        for number in 0..20 {
            let (tally, socket) = (&tally, site.socket());
            scope.spawn(move || load(number, site.port, &socket, tally));
        }
        for workers in ["1", "2", "2", "1", "3", "1", "2"] {
            thread::sleep(Duration::from_millis(400));
            process = site.upgrade(&mut process, &["--workers", workers]);
        }
        thread::sleep(Duration::from_millis(400));
    });
    let figure = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
    let counts = [&tally.refused, &tally.lost, &tally.closed].map(figure);
    assert_eq!(counts, [0, 0, 0], "refused, lost, closed");
    let (connections, requests) = (figure(&tally.connections), figure(&tally.requests));
    assert!(connections > 200 && requests > 2000, "{connections} connections, {requests} requests");
    // What the last process has is what it removes.
    process.signal(Signal::TERM);
    assert!(process.wait(PATIENCE).expect("it ends").success());
    for file in ["p.sock", "control", "pid"] {
        assert!(!site.dir.join(file).exists(), "{file}");
    }
}
