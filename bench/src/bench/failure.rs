//! What a server that stands still costs: the other three answer as before, requests to it fail in time,
//! and once it is ejected they fail or go elsewhere at once.
//!
//! Clients ask at a fixed rate, each for keys of one server, and the time of a request counts from when
//! it was to be sent. One of four servers is stopped (`SIGSTOP`), so it takes bytes and answers nothing.
//! Every repetition starts all proxies anew, one after the other.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::args::{FAILURE, Options};
use crate::fleet::{Candidate, FAILING_TIMEOUT, Proxy, Servers, Supervision, Workshop};
use crate::protocol::Protocol;
use crate::results::{Comparison, Results};

/// The 99th percentile at the other servers, of before.
const OTHERS_TARGET: f64 = 1.5;
/// The slowest request to the stopped server, of the timeout.
const LATE_TARGET: f64 = 1.2;

/// Clients of each server that is well, and of the one that is stopped.
const CLIENTS: usize = 4;
const KEYS: usize = 400;
const PAUSE: Duration = Duration::from_millis(2);
/// How long before and after the server is stopped, and how long nothing counts at first.
const BEFORE: Duration = Duration::from_millis(1500);
const AFTER: Duration = Duration::from_millis(2500);
const WARM_UP: Duration = Duration::from_millis(300);
/// A request that took longer waited for the stopped server.
const SLOW: Duration = FAILING_TIMEOUT.checked_div(2).expect("not by zero");

/// What one proxy did in one repetition; times in microseconds.
#[derive(Clone, Copy, Debug)]
struct Outcome {
    before_us: f64,
    during_us: f64,
    /// The slowest request to the stopped server.
    slowest_us: f64,
    /// From the stop until no request waits for the server any longer.
    ejected_us: f64,
    /// The 99th percentile at the keys of the stopped server after that.
    ejected_p99_us: f64,
}

/// Stops a server of four and compares each proxy with itself before.
pub(crate) fn run(
    options: &Options,
    workshop: &Workshop,
    results: &mut Results,
) -> Result<(), String> {
    if !options.includes(FAILURE, Protocol::Memcached) {
        return Ok(());
    }
    eprintln!("{FAILURE}: one of four servers stands still");
    let servers = Servers::start(Protocol::Memcached, workshop)?;
    let subjects: Vec<_> = [&options.reference].into_iter().chain(&options.candidates).collect();
    let mut outcomes: Vec<Result<Vec<Outcome>, String>> = vec![Ok(Vec::new()); subjects.len()];
    for _ in 0..options.reps {
        for (subject, outcomes) in subjects.iter().zip(&mut outcomes) {
            let outcome = measure(subject, &servers, workshop);
            eprintln!("  {:<12} {outcome:?}", subject.name);
            match (&mut *outcomes, outcome) {
                (Ok(all), Ok(outcome)) => all.push(outcome),
                (_, Err(why)) => *outcomes = Err(why),
                (Err(_), Ok(_)) => {}
            }
        }
    }
    let timeout = FAILING_TIMEOUT.as_secs_f64() * 1e6;
    type Pair = fn(&Outcome, f64) -> (f64, f64);
    let rows: [(&str, Option<f64>, Pair); 4] = [
        ("p99 at the other servers, to before", Some(OTHERS_TARGET), |it, _| {
            (it.before_us, it.during_us)
        }),
        ("slowest request to it, to the timeout", Some(LATE_TARGET), |it, timeout| {
            (timeout, it.slowest_us)
        }),
        ("until it is ejected, to the timeout", None, |it, timeout| (timeout, it.ejected_us)),
        ("p99 at its keys then, to before", None, |it, _| (it.before_us, it.ejected_p99_us)),
    ];
    for (what, target, pair) in rows {
        for (subject, outcomes) in subjects.iter().zip(&outcomes) {
            let pairs =
                outcomes.clone().map(|all| all.iter().map(|it| pair(it, timeout)).collect());
            results.comparisons.push(Comparison {
                what: format!("a server stands still: {what}"),
                unit: "us",
                candidate: subject.name.clone(),
                target,
                pairs,
            });
        }
    }
    Ok(())
}

fn measure(
    candidate: &Candidate,
    servers: &Servers,
    workshop: &Workshop,
) -> Result<Outcome, String> {
    let proxy = Proxy::start(candidate, servers, workshop, Supervision::Failing)?;
    let target = proxy.tcp_target();
    let keys = keys_of_servers(&target, &servers.ports).map_err(|error| error.to_string())?;
    let started = Instant::now();
    let (stop, end) = (started + WARM_UP + BEFORE, started + WARM_UP + BEFORE + AFTER);
    let plan = Plan { target: &target, cpu: workshop.cpu, started, end };
    let (own, others) = thread::scope(|scope| {
        let mut clients: Vec<_> = keys.iter().map(|_| Vec::new()).collect();
        for number in 0..CLIENTS * keys.len() {
            let server = number % keys.len();
            let keys = &keys[server];
            clients[server].push(scope.spawn(move || plan.ask(keys, number)));
        }
        thread::sleep(stop.saturating_duration_since(Instant::now()));
        let stopped = Stopped::stop(servers.pids()[0]);
        let asked = clients.into_iter().map(|of_server| {
            let all: Result<Vec<Vec<Asked>>, String> = of_server
                .into_iter()
                .map(|client| client.join().map_err(|_| "a client panicked".to_owned()))
                .collect();
            all.map(|all| all.concat())
        });
        let asked: Result<Vec<_>, String> = asked.collect();
        drop(stopped);
        let mut asked = asked?;
        let own = asked.remove(0);
        Ok::<_, String>((own, asked.concat()))
    })?;
    if let Some(failed) = others.iter().find(|asked| !asked.is_hit) {
        return Err(format!("{}: a request to another server failed: {failed:?}", candidate.name));
    }
    judge(&own, &others, started + WARM_UP, stop)
}

fn judge(
    own: &[Asked],
    others: &[Asked],
    first: Instant,
    stop: Instant,
) -> Result<Outcome, String> {
    let is_after = |asked: &&Asked| asked.at >= stop;
    let before = others.iter().filter(|asked| asked.at >= first && asked.at < stop);
    let slow = || own.iter().filter(|asked| asked.took >= SLOW);
    let (Some(last), Some(slowest)) =
        (slow().map(|asked| asked.at + asked.took).max(), slow().map(|asked| asked.took).max())
    else {
        return Err("no request waited for the stopped server".to_owned());
    };
    let ejected = own.iter().filter(|asked| asked.at >= last);
    Ok(Outcome {
        before_us: p99(before),
        during_us: p99(others.iter().filter(is_after)),
        slowest_us: slowest.as_secs_f64() * 1e6,
        ejected_us: last.duration_since(stop).as_secs_f64() * 1e6,
        ejected_p99_us: p99(ejected),
    })
}

fn p99<'a>(asked: impl Iterator<Item = &'a Asked>) -> f64 {
    let mut all: Vec<_> = asked.map(|asked| asked.took).collect();
    all.sort();
    let rank = (all.len() * 99).div_ceil(100);
    rank.checked_sub(1).map_or(f64::NAN, |rank| all[rank].as_secs_f64() * 1e6)
}

/// A server that is stopped, and goes on when this is dropped.
struct Stopped(Option<Pid>);

impl Stopped {
    fn stop(pid: u32) -> Self {
        let stopped = Self(i32::try_from(pid).ok().and_then(Pid::from_raw));
        stopped.send(Signal::STOP);
        stopped
    }

    fn send(&self, signal: Signal) {
        if let Some(pid) = self.0 {
            let _ = rustix::process::kill_process(pid, signal);
        }
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        self.send(Signal::CONT);
    }
}

/// One request and what became of it.
#[derive(Clone, Copy, Debug)]
struct Asked {
    /// When it was to be sent.
    at: Instant,
    took: Duration,
    /// Whether its value came.
    is_hit: bool,
}

/// What all clients do.
#[derive(Clone, Copy)]
struct Plan<'a> {
    target: &'a str,
    cpu: u32,
    started: Instant,
    end: Instant,
}

impl Plan<'_> {
    /// Asks for one of these keys after the other until the end. What could not be sent in time is sent at
    /// once, and counts from when it was to be sent; only who has waited for the stopped server begins anew.
    fn ask(self, keys: &[String], number: usize) -> Vec<Asked> {
        let mut cpus = CpuSet::new();
        cpus.set(self.cpu as usize);
        let _ = sched_setaffinity(None, &cpus);
        let mut asked = Vec::new();
        let mut stream = None;
        // They do not ask all at the same time.
        let mut at = self.started + PAUSE * u32::try_from(number).unwrap_or(0) / 16;
        for key in keys.iter().cycle() {
            thread::sleep(at.saturating_duration_since(Instant::now()));
            if at >= self.end {
                break;
            }
            let reply = exchange(&mut stream, self.target, &format!("get {key}\r\n"));
            if reply.is_err() {
                stream = None;
            }
            let is_hit = reply.is_ok_and(|reply| reply.starts_with(b"VALUE "));
            let took = at.elapsed();
            asked.push(Asked { at, took, is_hit });
            at += PAUSE;
            if took >= SLOW {
                at = at.max(Instant::now());
            }
        }
        asked
    }
}

/// Says something, over a new connection if there is none, and waits for all of the reply.
fn exchange(stream: &mut Option<TcpStream>, target: &str, request: &str) -> io::Result<Vec<u8>> {
    if stream.is_none() {
        let fresh = TcpStream::connect(target)?;
        fresh.set_nodelay(true)?;
        fresh.set_read_timeout(Some(20 * FAILING_TIMEOUT))?;
        *stream = Some(fresh);
    }
    let stream = stream.as_mut().expect("it was opened");
    stream.write_all(request.as_bytes())?;
    let (mut reply, mut bytes) = (Vec::new(), [0; 4096]);
    while !is_whole(&reply) {
        let count = stream.read(&mut bytes)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        reply.extend_from_slice(&bytes[..count]);
    }
    Ok(reply)
}

fn is_whole(reply: &[u8]) -> bool {
    let is_line = !reply.starts_with(b"VALUE ") && reply.ends_with(b"\r\n");
    is_line || reply.ends_with(b"END\r\n")
}

/// Stores keys, and finds out which server each of them has.
fn keys_of_servers(target: &str, ports: &[u16]) -> io::Result<Vec<Vec<String>>> {
    let mut proxy = None;
    let mut direct: Vec<_> = ports.iter().map(|port| (None, format!("127.0.0.1:{port}"))).collect();
    let mut keys = vec![Vec::new(); ports.len()];
    for number in 0..KEYS {
        let (key, value) = (format!("failure_{number:08}"), "x".repeat(100));
        let set = format!("set {key} 0 0 {}\r\n{value}\r\n", value.len());
        if exchange(&mut proxy, target, &set)? != b"STORED\r\n" {
            return Err(io::Error::other(format!("{key} was not stored")));
        }
        for (keys, (stream, address)) in keys.iter_mut().zip(&mut direct) {
            if exchange(stream, address, &format!("get {key}\r\n"))?.starts_with(b"VALUE ") {
                keys.push(key.clone());
            }
        }
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(start: Instant, at_ms: u64, took_ms: u64) -> Asked {
        let ms = Duration::from_millis;
        Asked { at: start + ms(at_ms), took: ms(took_ms), is_hit: true }
    }

    #[test]
    fn what_is_before_and_after_the_stop_is_told_apart() {
        let start = Instant::now();
        let stop = start + Duration::from_millis(100);
        let others = [(0, 9), (50, 1), (99, 2), (100, 3), (150, 4)];
        let others = others.map(|(at, took)| asked(start, at, took));
        let own = [(50, 1), (110, 200), (310, 210), (520, 1), (530, 2)];
        let own = own.map(|(at, took)| asked(start, at, took));
        let first = start + Duration::from_millis(10);
        let outcome = judge(&own, &others, first, stop).unwrap();
        assert_eq!((outcome.before_us, outcome.during_us), (2000.0, 4000.0));
        assert_eq!((outcome.slowest_us, outcome.ejected_us), (210_000.0, 420_000.0));
        assert_eq!(outcome.ejected_p99_us, 2000.0);
        assert!(judge(&own[..1], &others, first, stop).is_err());
    }

    #[test]
    fn one_in_a_hundred_is_beyond_the_percentile() {
        let start = Instant::now();
        let all: Vec<_> = (1..=200).map(|took| asked(start, 0, took)).collect();
        assert_eq!(p99(all.iter()), 198_000.0);
        assert!(p99([].iter()).is_nan());
    }

    #[test]
    fn a_reply_is_a_line_or_values_and_an_end() {
        for (reply, expected) in [
            ("", false),
            ("EN", false),
            ("END\r\n", true),
            ("STORED\r\n", true),
            ("SERVER_ERROR Connection timed out\r\n", true),
            ("VALUE a 0 1\r\n", false),
            ("VALUE a 0 1\r\nx\r\nEND\r\n", true),
        ] {
            assert_eq!(is_whole(reply.as_bytes()), expected, "{reply:?}");
        }
    }
}
