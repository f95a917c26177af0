//! Who asks the admin port or the statistics port is answered, whoever else is there.
//!
//! The rule: the crowd is made first, and only then does the test ask.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::conn::Conn;
use crate::harness::Process;
use crate::harness::{Program, Proxy, TempDir, accepts, free_port, pool, pool_on, wait_until};

/// What a kubelet gives a probe.
const PROBE_MAX: Duration = Duration::from_secs(1);

/// A request for a page, as a probe sends it.
fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
}

/// A proxy with as many servers as make a long answer, and its admin port.
fn start(servers: usize) -> (Proxy, u16) {
    let (port, admin) = (free_port(), free_port());
    let servers: Vec<_> = (0..servers).map(|n| format!("127.0.0.1:9:1 server-{n}")).collect();
    let config = pool(port, "timeout: 400\ndistribution: modula", &servers);
    let flag = format!("--admin=127.0.0.1:{admin}");
    (Proxy::start_with(Program::UnderTest, &config, &[port, admin], &[&flag]), admin)
}

/// Asks once. The first line of the answer, or what went wrong.
fn probe(admin: u16, request: &str) -> Result<String, String> {
    let started = Instant::now();
    let fault = |error: std::io::Error| format!("{error} after {:?}", started.elapsed());
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, admin));
    let mut stream = TcpStream::connect_timeout(&address, PROBE_MAX).map_err(fault)?;
    stream.set_read_timeout(Some(PROBE_MAX)).map_err(fault)?;
    stream.write_all(request.as_bytes()).map_err(fault)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(fault)?;
    Ok(answer.lines().next().unwrap_or("nothing").to_owned())
}

/// A kubelet acts when so many probes in a row have failed (`failureThreshold`).
const FAILURES: usize = 3;

/// Probes so many times, and says what was not answered with 200. A probe that has no answer in its time
/// is tried again, as a kubelet does: a busy machine is not the proxy. An answer must be the right one.
fn probe_often(admin: u16, path: &str, times: usize) -> Vec<String> {
    let ask = |_| {
        let mut answer = probe(admin, &request(path));
        for _ in 1..FAILURES {
            answer = answer.or_else(|_| probe(admin, &request(path)));
        }
        match answer {
            Ok(line) if line == "HTTP/1.1 200 OK" => None,
            Ok(line) => Some(line),
            Err(error) => Some(error),
        }
    };
    (0..times).filter_map(ask).collect()
}

const NONE: [String; 0] = [];

/// Runs `test` while `floods` threads connect, in bursts of 50, send `bytes` and keep
/// the last 100 connections.
fn under_a_flood(port: u16, bytes: &str, floods: usize, test: impl FnOnce()) {
    let (is_over, count) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..floods {
            scope.spawn(|| {
                let mut kept = Vec::new();
                while !is_over.load(Ordering::Relaxed) {
                    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
                    let patience = Duration::from_millis(100);
                    let Ok(mut stream) = TcpStream::connect_timeout(&address, patience) else {
                        continue;
                    };
                    let _ = stream.write_all(bytes.as_bytes());
                    if count.fetch_add(1, Ordering::Relaxed) % 50 == 0 {
                        thread::sleep(Duration::from_millis(20));
                    }
                    if kept.len() == 100 {
                        kept.remove(0);
                    }
                    kept.push(stream);
                }
            });
        }
        // A test that panics must end the flood too, or it would never be seen to fail.
        let _end = End(&is_over);
        while count.load(Ordering::Relaxed) < 500 {
            thread::sleep(Duration::from_millis(1));
        }
        test();
    });
}

/// Ends a flood when it goes.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn probes_are_answered_in_a_flood_of_half_requests() {
    let (_proxy, admin) = start(1);
    under_a_flood(admin, "GET /live HTTP/1.1\r\nHost:", 2, || {
        assert_eq!(probe_often(admin, "/live", 100), NONE);
    });
}

#[test]
fn probes_are_answered_in_a_flood_of_connections_that_say_nothing() {
    let (_proxy, admin) = start(1);
    under_a_flood(admin, "", 2, || assert_eq!(probe_often(admin, "/ready", 100), NONE));
}

#[test]
fn probes_are_answered_beside_thousands_of_half_requests() {
    let (_proxy, admin) = start(1);
    let half: Vec<_> = (0..2000)
        .map(|_| {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, admin)).unwrap();
            // It may have been closed already.
            let _ = stream.write_all(b"GET /live HTTP/1.1\r\nHost:");
            stream
        })
        .collect();
    assert_eq!(probe_often(admin, "/live", 100), NONE);
    drop(half);
}

#[test]
fn probes_are_answered_beside_readers_that_never_read_their_answer() {
    let (_proxy, admin) = start(2000);
    let deaf: Vec<_> = (0..60)
        .map(|_| {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, admin)).unwrap();
            stream.write_all(request("/metrics").repeat(3).as_bytes()).unwrap();
            stream
        })
        .collect();
    assert_eq!(probe_often(admin, "/live", 5), NONE);
    drop(deaf);
}

#[test]
fn a_slow_reader_that_reads_has_its_whole_answer_beside_those_that_never_do() {
    let (_proxy, admin) = start(2000);
    let ask = || {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, admin)).unwrap();
        stream.write_all(request("/metrics").as_bytes()).unwrap();
        stream
    };
    let mut slow = ask();
    slow.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut deaf = Vec::new();
    let (mut text, mut piece) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        let count = slow.read(&mut piece).unwrap();
        if count == 0 {
            break;
        }
        text.extend_from_slice(&piece[..count]);
        if deaf.len() < 40 {
            deaf.push(ask());
        }
    }
    let text = String::from_utf8(text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    assert_eq!(body.len(), length.parse::<usize>().unwrap());
}

#[test]
fn a_probe_that_has_said_all_and_says_so_is_answered() {
    let (_proxy, admin) = start(1);
    for _ in 0..20 {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, admin)).unwrap();
        stream.write_all(request("/live").as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer:?}");
    }
}

#[test]
fn a_reader_that_does_not_read_the_statistics_keeps_nobody_from_them() {
    let dir = TempDir::new();
    let (port, path) = (free_port(), dir.join("stats"));
    let servers: Vec<_> = (0..2000).map(|n| format!("127.0.0.1:9:1 server-{n}")).collect();
    let listen = format!("127.0.0.1:{port}");
    let config = pool_on("p", &listen, "distribution: modula", &servers);
    fs::write(dir.join("nutcracker.yml"), config).unwrap();
    let mut command = Program::UnderTest.command();
    command.current_dir(dir.join("")).args(["-c", "nutcracker.yml", "-o", "log", "-a"]).arg(&path);
    let mut process = Process::spawn(&mut command);
    wait_until(
        &mut process,
        || "the proxy".to_owned(),
        || accepts(port) && UnixStream::connect(&path).is_ok(),
    );
    let deaf: Vec<_> = (0..20).map(|_| UnixStream::connect(&path).unwrap()).collect();
    let started = Instant::now();
    for _ in 0..3 {
        let mut reader = UnixStream::connect(&path).unwrap();
        reader.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert!(text.starts_with("{\"service\":\"nutcracker\""));
        assert!(text.ends_with("}\n") && text.contains("server-1999"));
    }
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    drop(deaf);
}

#[test]
fn a_crowd_at_the_admin_port_holds_up_no_client() {
    let (proxy, admin) = start(1);
    let mut client: Conn = proxy.conn();
    under_a_flood(admin, "GET /live HTTP/1.1\r\nHost:", 1, || {
        for _ in 0..50 {
            client.ask("mn\r\n", "MN\r\n");
        }
    });
}
