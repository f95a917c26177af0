//! The `stats` command, which the proxy itself answers, in memcached's format.
//!
//! protocol.txt, "Statistics". Figures that monitoring tools need have memcached's names; other
//! figures of the proxy follow. The figures are those of the pool, summed over all workers. The one
//! rule: a figure is counted, or it is 0 and `docs/protocol.md` says so.

use crate::config::Pool;
use crate::figures::{Figures, GAUGES, OF_REDIS};
use crate::generation::SharedServer;
use crate::usage;
use nuthatch_core::memcache::Words;
use nuthatch_core::stats::PoolStats;
use nuthatch_core::time::Instant;
use std::process;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The data for a reply.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// The configuration.
    pub pool: &'a Pool,
    /// The pool's counters, one block for each worker.
    pub workers: &'a [Arc<PoolStats>],
    /// Its servers with their counters.
    pub servers: &'a [Arc<SharedServer>],
    /// The values of the counters at the last `stats reset`.
    pub baseline: &'a Baseline,
    /// Whether new clients are accepted.
    pub accepts: bool,
    /// The wall clock at [`Instant`] zero, as the time since 1970.
    pub epoch: Duration,
}

/// The values of a pool's counters at the last `stats reset`, summed over the workers.
///
/// Only the replies to `stats` are reset. The counters themselves have one writer each and are not
/// changed, so a client cannot disturb the operator's monitoring.
#[derive(Debug, Default)]
pub struct Baseline(Mutex<Vec<u64>>);

impl Baseline {
    /// What was counted since then.
    fn applied_to(&self, mut figures: Figures) -> Figures {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for ((name, value), before) in figures.all_mut().zip(&*counts) {
            if !GAUGES.contains(name) {
                *value = value.saturating_sub(*before);
            }
        }
        figures
    }

    fn move_to(&self, figures: &Figures) {
        let counts = figures.all().map(|(_, value)| value).collect();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = counts;
    }
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

/// The answer to a request line: `stats settings`. Words that memcached ignores are ignored.
pub fn answer(line: &[u8], about: About<'_>, now: Instant) -> Vec<u8> {
    let mut out = Vec::new();
    let mut words = Words::new(line).skip(1);
    match (words.next(), words.next()) {
        (None, _) => general(about, now, &mut out),
        (Some(b"settings"), _) => settings(about, &mut out),
        (Some(b"reset"), _) => {
            about.baseline.move_to(&Figures::of(about.workers));
            return b"RESET\r\n".to_vec();
        }
        // The proxy does not count by key prefix, so there is nothing to switch on or off.
        (Some(b"detail"), Some(b"on" | b"off")) => return b"OK\r\n".to_vec(),
        (Some(b"detail"), Some(b"dump")) => {}
        (Some(b"detail"), _) => return DETAIL_USAGE.to_vec(),
        // A proxy has no items.
        (Some(b"items" | b"slabs" | b"sizes" | b"conns"), _) => {}
        (Some(b"cachedump"), Some(_)) if words.next().is_some() => {}
        (Some(b"cachedump"), _) => return b"CLIENT_ERROR bad command line\r\n".to_vec(),
        _ => return b"ERROR\r\n".to_vec(),
    }
    out.extend_from_slice(b"END\r\n");
    out
}

const DETAIL_USAGE: &[u8] = b"CLIENT_ERROR usage: stats detail on|off|dump\r\n";

/// The figures that memcached and the proxy count under the same name, in memcached's order.
const COUNTED: &[&str] = &[
    "cmd_get",
    "cmd_set",
    "cmd_flush",
    "cmd_touch",
    "cmd_meta",
    "get_hits",
    "get_misses",
    "delete_misses",
    "delete_hits",
    "incr_misses",
    "incr_hits",
    "decr_misses",
    "decr_hits",
    "cas_misses",
    "cas_hits",
    "cas_badval",
    "touch_hits",
    "touch_misses",
];

/// Figures that only a cache has. All memcached versions have them, and tools divide by them or
/// show a gap without them.
const OF_A_CACHE: &[&str] =
    &["limit_maxbytes", "bytes", "curr_items", "total_items", "evictions", "reclaimed"];

fn general(about: About<'_>, now: Instant, out: &mut Vec<u8>) {
    let figures = about.baseline.applied_to(Figures::of(about.workers));
    process(about, now, out);
    clients(about, &figures, out);
    for name in COUNTED {
        stat(out, name, figures.named(name));
    }
    stat(out, "bytes_read", figures.named("request_bytes"));
    stat(out, "bytes_written", figures.named("response_bytes"));
    for name in OF_A_CACHE {
        stat(out, name, 0);
    }
    let is_left = |name| !COUNTED.contains(&name) && !OF_REDIS.contains(&name);
    for (name, value) in figures.all().filter(|(name, _)| is_left(*name)) {
        stat(out, name, value);
    }
}

fn process(about: About<'_>, now: Instant, out: &mut Vec<u8>) {
    let uptime = now.since(Instant::default());
    stat(out, "pid", process::id().into());
    stat(out, "uptime", uptime.as_secs());
    stat(out, "time", (about.epoch + uptime).as_secs());
    text(out, "version", env!("CARGO_PKG_VERSION"));
    stat(out, "pointer_size", u64::from(usize::BITS));
    if let Some(times) = usage::cpu_times() {
        time(out, "rusage_user", times.user);
        time(out, "rusage_system", times.system);
    }
    stat(out, "threads", about.workers.len() as u64);
}

fn clients(about: About<'_>, figures: &Figures, out: &mut Vec<u8>) {
    if about.pool.client_connections > 0 {
        stat(out, "max_connections", about.pool.client_connections as u64);
    }
    stat(out, "curr_connections", figures.named("client_connections"));
    stat(out, "total_connections", figures.named("client_accepts"));
    stat(out, "rejected_connections", figures.named("client_rejects"));
    stat(out, "accepting_conns", about.accepts.into());
    // Clients above the limit are rejected and counted as rejected: the listener stays open.
    stat(out, "listen_disabled_num", 0);
}

fn settings(About { pool, workers, .. }: About<'_>, out: &mut Vec<u8>) {
    let limits = &pool.limits;
    if pool.client_connections > 0 {
        stat(out, "maxconns", pool.client_connections as u64);
    }
    stat(out, "num_threads", workers.len() as u64);
    let timeout = pool.timeout.map_or(0, |timeout| timeout.as_millis());
    stat(out, "timeout", u64::try_from(timeout).unwrap_or(u64::MAX));
    stat(out, "server_connections", pool.server_connections as u64);
    stat(out, "bulk_connections", pool.bulk.connections as u64);
    stat(out, "bulk_min", pool.bulk.min as u64);
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

/// Seconds, a point and six digits of microseconds, because readers parse the part after the point
/// as a whole number.
fn time(out: &mut Vec<u8>, name: &str, value: Duration) {
    text(out, name, &format!("{}.{:06}", value.as_secs(), value.subsec_micros()));
}

fn text(out: &mut Vec<u8>, name: &str, value: &str) {
    for part in ["STAT ", name, " ", value, "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use nuthatch_core::message::Class;
    use nuthatch_core::message::Outcome;
    use std::path::Path;

    /// collectd has so much room for an answer; of a longer one it reads nothing at all.
    const ANSWER_MAX: usize = 4096;

    #[test]
    fn the_answer_fits_into_the_room_that_collectd_has_however_large_the_figures() {
        let text = b"p: {listen: \"h:1\", servers: [\"a:1:1\"], client_connections: 2147483647}\n";
        let config = Config::parse(Path::new("a.yml"), text).unwrap();
        let stats = PoolStats::default();
        let large = u64::MAX / 4;
        stats.all().for_each(|(_, counter)| counter.set(large));
        for class in [Class::Get, Class::Delete, Class::Incr, Class::Decr, Class::Cas, Class::Touch]
        {
            for outcome in
                [Outcome::Hit, Outcome::Miss, Outcome::Success, Outcome::NotFound, Outcome::Exists]
            {
                stats.results.add(class, outcome, large);
            }
        }
        let workers = [Arc::new(stats)];
        let epoch = Duration::from_secs(1 << 33);
        let (pool, baseline) = (&config.pools[0], &Baseline::default());
        let about = About { pool, workers: &workers, servers: &[], baseline, accepts: true, epoch };
        let answer = answer(b"stats", about, Instant::default());
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.len() <= ANSWER_MAX, "{} bytes", answer.len());
        let count = answer.matches(&large.to_string()).count();
        assert!(count > 40, "{count} figures are that large in {answer}");
    }
}
