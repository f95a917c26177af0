//! What being watched costs: the same load with and without somebody who reads `/metrics` every
//! second, one after the other.
//!
//! The admin port has a thread of its own, and its CPU time counts as the proxy's.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::args::{Options, SCRAPE};
use crate::fleet::{Proxy, Servers, Supervision, Workshop};
use crate::generator::{self, Aim};
use crate::protocol::Protocol;
use crate::results::{Comparison, Results};

/// Of CPU time per request, watched and not.
const TARGET: f64 = 1.02;
const INTERVAL: Duration = Duration::from_secs(1);
/// Long enough for some scrapes.
const SECONDS: &str = "3";
const LIMIT: Duration = Duration::from_secs(60);

/// Compares each candidate with itself.
pub(crate) fn run(
    options: &Options,
    workshop: &Workshop,
    results: &mut Results,
) -> Result<(), String> {
    if !options.includes(SCRAPE, Protocol::Memcached) {
        return Ok(());
    }
    let servers = Servers::start(Protocol::Memcached, workshop)?;
    for candidate in &options.candidates {
        eprintln!("{SCRAPE}: {} watched every second", candidate.name);
        let proxy = Proxy::start(candidate, &servers, workshop, Supervision::Watched)?;
        let load = |flags: &[&str]| {
            let mut pids = servers.pids();
            pids.push(proxy.pid());
            let target = proxy.tcp_target();
            let aim = Aim {
                protocol: servers.protocol,
                target: &target,
                subject: proxy.pid(),
                others: &pids,
            };
            generator::run(&aim, flags, workshop, LIMIT)
        };
        load(&["--preload", "--requests", "0", "--connections", "1"])?;
        let cpu = || {
            let sample = load(&["--seconds", SECONDS])?;
            sample.fault().map_or(Ok(sample.cpu_us), Err)
        };
        let pair = |_| {
            let alone = cpu()?;
            let watched = while_scraped(proxy.admin_port(), cpu)?;
            eprintln!("  alone {alone:>8.2} us/request  watched {watched:>8.2} us/request");
            Ok((alone, watched))
        };
        results.comparisons.push(Comparison {
            what: "(a) read by Prometheus every second, to itself unread: CPU".to_owned(),
            unit: "us",
            candidate: candidate.name.clone(),
            target: Some(TARGET),
            pairs: (0..options.reps).map(pair).collect(),
        });
    }
    Ok(())
}

/// Reads `/metrics` at once and then every second until `work` is done.
fn while_scraped<T>(port: u16, work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    let (done, is_done) = mpsc::channel::<()>();
    let reader = thread::spawn(move || -> Result<(), String> {
        loop {
            scrape(port).map_err(|error| format!("/metrics: {error}"))?;
            if is_done.recv_timeout(INTERVAL) != Err(RecvTimeoutError::Timeout) {
                return Ok(());
            }
        }
    });
    let outcome = work();
    drop(done);
    reader.join().map_err(|_| "the reader of /metrics panicked".to_owned())??;
    outcome
}

fn scrape(port: u16) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let is_whole = answer.starts_with("HTTP/1.1 200") && answer.contains("server_seconds_bucket");
    is_whole.then_some(()).ok_or_else(|| std::io::Error::other("it has no figures"))
}
