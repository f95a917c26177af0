//! The `stats` command: the proxy's own figures in memcached's form.
//!
//! protocol.txt, "Statistics". What monitoring tools look for has memcached's name; what a proxy
//! has besides comes after it. The figures are those of the pool over all workers.

use crate::mux::Options;
use crate::stats::PoolStats;
use crate::time::Instant;
use alloc::vec::Vec;

/// Appends the answer to `stats` with these arguments.
pub fn write_stats(what: &[u8], options: &Options, now: Instant, out: &mut Vec<u8>) {
    match what.trim_ascii() {
        b"" => general(options, now, out),
        b"settings" => settings(options, out),
        b"reset" => return out.extend_from_slice(b"RESET\r\n"),
        // A proxy keeps no items, so there are none to tell of.
        b"items" | b"slabs" | b"sizes" | b"conns" => {}
        _ => return out.extend_from_slice(b"ERROR\r\n"),
    }
    out.extend_from_slice(b"END\r\n");
}

fn general(options: &Options, now: Instant, out: &mut Vec<u8>) {
    let identity = &options.identity;
    let uptime = now.as_nanos() / 1_000_000_000;
    stat(out, "pid", identity.pid.into());
    stat(out, "uptime", uptime);
    stat(out, "time", identity.epoch_seconds + uptime);
    text(out, "version", identity.version);
    stat(out, "pointer_size", u64::from(usize::BITS));
    stat(out, "threads", identity.workers.len() as u64);
    let sum = |read: fn(&PoolStats) -> u64| identity.workers.iter().map(|pool| read(pool)).sum();
    stat(out, "curr_connections", sum(|pool| pool.client_connections.read()));
    stat(out, "total_connections", sum(|pool| pool.client_accepts.read()));
    stat(out, "rejected_connections", sum(|pool| pool.client_rejects.read()));
    stat(out, "bytes_read", sum(|pool| pool.request_bytes.read()));
    stat(out, "bytes_written", sum(|pool| pool.response_bytes.read()));
    let Some(first) = identity.workers.first() else { return };
    for (index, (name, _)) in first.all().enumerate() {
        let values = identity.workers.iter().map(|pool| {
            let (_, counter) = pool.all().nth(index).expect("every block has the same counters");
            counter.read()
        });
        stat(out, name, values.sum());
    }
}

fn settings(options: &Options, out: &mut Vec<u8>) {
    let limits = &options.limits;
    let timeout = options.timeout.map_or(0, |timeout| timeout.as_millis());
    stat(out, "timeout", u64::try_from(timeout).unwrap_or(u64::MAX));
    stat(out, "server_connections", options.server_connections as u64);
    text(out, "flush_enabled", if options.allow_flush { "yes" } else { "no" });
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
    text(out, name, &alloc::format!("{value}"));
}

fn text(out: &mut Vec<u8>, name: &str, value: &str) {
    for part in ["STAT ", name, " ", value, "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}
