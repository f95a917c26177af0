//! What a client asks of the proxy itself, which is the `stats` command, and the answer in memcached's
//! form.
//!
//! protocol.txt, "Statistics". What monitoring tools look for has memcached's name; what a proxy
//! has besides comes after it. The figures are those of the pool over all workers.

use crate::config::Pool;
use nuthatch_core::memcache::Words;
use nuthatch_core::stats::PoolStats;
use nuthatch_core::time::Instant;
use std::process;
use std::sync::Arc;
use std::time::Duration;

/// What an answer is about.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// The configuration.
    pub pool: &'a Pool,
    /// The pool's figures, one block a worker.
    pub workers: &'a [Arc<PoolStats>],
    /// The wall clock at [`Instant`] zero, as the time since 1970.
    pub epoch: Duration,
}

/// The answers of one turn. A turn is one moment, so who asks the same a thousand times gets one
/// answer as often: the others would wait while a thousand are made.
#[derive(Debug)]
pub struct Answers<'a> {
    about: About<'a>,
    now: Instant,
    /// What was asked last, and its answer.
    asked: Vec<u8>,
    answer: Vec<u8>,
}

impl<'a> Answers<'a> {
    /// None yet.
    pub fn new(about: About<'a>, now: Instant) -> Self {
        Self { about, now, asked: Vec::new(), answer: Vec::new() }
    }

    /// The answer to a request line.
    pub fn to(&mut self, line: &[u8]) -> &[u8] {
        if self.asked != line {
            self.answer = answer(line, self.about, self.now);
            self.asked = line.to_vec();
        }
        &self.answer
    }
}

/// The answer to a request line: `stats settings`.
pub fn answer(line: &[u8], about: About<'_>, now: Instant) -> Vec<u8> {
    let mut out = Vec::new();
    let mut words = Words::new(line).skip(1);
    match (words.next(), words.next()) {
        (None, None) => general(about, now, &mut out),
        (Some(b"settings"), None) => settings(about.pool, &mut out),
        (Some(b"reset"), None) => return b"RESET\r\n".to_vec(),
        // A proxy keeps no items, so there are none to tell of.
        (Some(b"items" | b"slabs" | b"sizes" | b"conns"), None) | (Some(b"cachedump"), _) => {}
        _ => return b"ERROR\r\n".to_vec(),
    }
    out.extend_from_slice(b"END\r\n");
    out
}

fn general(About { workers, epoch, .. }: About<'_>, now: Instant, out: &mut Vec<u8>) {
    let uptime = now.since(Instant::default());
    stat(out, "pid", process::id().into());
    stat(out, "uptime", uptime.as_secs());
    stat(out, "time", (epoch + uptime).as_secs());
    text(out, "version", env!("CARGO_PKG_VERSION"));
    stat(out, "pointer_size", u64::from(usize::BITS));
    stat(out, "threads", workers.len() as u64);
    let sum = |read: fn(&PoolStats) -> u64| workers.iter().map(|pool| read(pool)).sum();
    stat(out, "curr_connections", sum(|pool| pool.client_connections.read()));
    stat(out, "total_connections", sum(|pool| pool.client_accepts.read()));
    stat(out, "rejected_connections", sum(|pool| pool.client_rejects.read()));
    stat(out, "bytes_read", sum(|pool| pool.request_bytes.read()));
    stat(out, "bytes_written", sum(|pool| pool.response_bytes.read()));
    let Some(first) = workers.first() else { return };
    for (index, (name, _)) in first.all().enumerate() {
        let values = workers.iter().map(|pool| {
            let (_, counter) = pool.all().nth(index).expect("every block has the same counters");
            counter.read()
        });
        stat(out, name, values.sum());
    }
}

fn settings(pool: &Pool, out: &mut Vec<u8>) {
    let limits = &pool.limits;
    let timeout = pool.timeout.map_or(0, |timeout| timeout.as_millis());
    stat(out, "timeout", u64::try_from(timeout).unwrap_or(u64::MAX));
    stat(out, "server_connections", pool.server_connections as u64);
    text(out, "flush_enabled", if pool.allow_flush { "yes" } else { "no" });
    for (name, limit) in [
        ("item_size_max", limits.item_size_max),
        ("keys_max", limits.keys_max),
        ("line_max", limits.line_max),
        ("client_requests_max", limits.client_requests_max),
        ("client_buffer_max", limits.client_buffer_max),
        ("client_backlog_max", limits.client_backlog_max),
        ("server_requests_max", limits.server_requests_max),
        ("server_buffer_max", limits.server_buffer_max),
        ("memory_max", limits.memory_max),
    ] {
        stat(out, name, limit as u64);
    }
}

fn stat(out: &mut Vec<u8>, name: &str, value: u64) {
    text(out, name, &format!("{value}"));
}

fn text(out: &mut Vec<u8>, name: &str, value: &str) {
    for part in ["STAT ", name, " ", value, "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}
