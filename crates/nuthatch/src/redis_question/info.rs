//! `INFO [section…]`: figures of the proxy under the names that Redis has for them.
//!
//! The one rule: the names are those of Redis where the proxy has such a figure; what only the proxy
//! has is in the section `Nuthatch`. The figures are those of the pool, summed over all workers.

use crate::escape::escaped;
use crate::figures::{self, Figures};
use crate::question::About;
use crate::usage;
use nuthatch_core::redis::{Arguments, VERSION};
use nuthatch_core::time::Instant;
use std::fmt::{Display, Write as _};
use std::process;

/// A section: its name, and what writes its lines.
type Section = (&'static str, fn(&mut Text, &Source<'_>));

const SECTIONS: &[Section] = &[
    ("Server", server),
    ("Clients", clients),
    ("Memory", memory),
    ("Persistence", persistence),
    ("Stats", stats),
    ("Replication", replication),
    ("CPU", cpu),
    ("Cluster", cluster),
    ("Keyspace", |_, _| {}),
    ("Nuthatch", nuthatch),
];

/// What stands for all sections.
const ALL: [&[u8]; 3] = [b"default", b"all", b"everything"];

/// Where the figures come from.
struct Source<'a> {
    about: About<'a>,
    figures: Figures,
    now: Instant,
}

/// The sections that were asked for, in order; a section that the proxy does not have is left out.
pub(super) fn text(asked: Arguments<'_>, about: About<'_>, now: Instant) -> String {
    let source = Source { about, figures: Figures::of(about.workers), now };
    let is_asked = |name: &str| {
        let mut words = asked;
        asked.len() == 0
            || words.any(|word| {
                word.eq_ignore_ascii_case(name.as_bytes())
                    || ALL.iter().any(|all| word.eq_ignore_ascii_case(all))
            })
    };
    let mut text = Text(String::new());
    for (name, write) in SECTIONS.iter().filter(|(name, _)| is_asked(name)) {
        text.head(name);
        write(&mut text, &source);
    }
    text.0
}

/// Lines of a name and a value each.
struct Text(String);

impl Text {
    fn head(&mut self, section: &str) {
        let gap = if self.0.is_empty() { "" } else { "\r\n" };
        write!(self.0, "{gap}# {section}\r\n").expect("a string takes all");
    }

    fn line(&mut self, name: &str, value: impl Display) {
        write!(self.0, "{name}:{value}\r\n").expect("a string takes all");
    }
}

fn server(text: &mut Text, source: &Source<'_>) {
    let uptime = source.now.since(Instant::default());
    text.line("redis_version", String::from_utf8_lossy(VERSION));
    text.line("redis_mode", "standalone");
    text.line("nuthatch_version", env!("CARGO_PKG_VERSION"));
    text.line("arch_bits", usize::BITS);
    text.line("multiplexing_api", "epoll");
    text.line("process_id", process::id());
    text.line("tcp_port", super::port(source.about.pool));
    text.line("server_time_usec", (source.about.epoch + uptime).as_micros());
    text.line("uptime_in_seconds", uptime.as_secs());
    text.line("uptime_in_days", uptime.as_secs() / (24 * 60 * 60));
}

fn clients(text: &mut Text, source: &Source<'_>) {
    text.line("connected_clients", source.figures.named("client_connections"));
    text.line("maxclients", source.about.pool.client_connections);
    text.line("blocked_clients", 0);
}

fn memory(text: &mut Text, _: &Source<'_>) {
    if let Some(bytes) = usage::resident_bytes() {
        text.line("used_memory", bytes);
        text.line("used_memory_rss", bytes);
    }
    text.line("maxmemory", 0);
    text.line("maxmemory_policy", "noeviction");
}

fn persistence(text: &mut Text, _: &Source<'_>) {
    for name in ["loading", "rdb_bgsave_in_progress", "aof_enabled", "aof_rewrite_in_progress"] {
        text.line(name, 0);
    }
}

fn stats(text: &mut Text, source: &Source<'_>) {
    for (name, counter) in [
        ("total_connections_received", "client_accepts"),
        ("total_commands_processed", "requests"),
        ("total_net_input_bytes", "request_bytes"),
        ("total_net_output_bytes", "response_bytes"),
        ("rejected_connections", "client_rejects"),
        ("keyspace_hits", "get_hits"),
        ("keyspace_misses", "get_misses"),
    ] {
        text.line(name, source.figures.named(counter));
    }
    text.line("expired_keys", 0);
    text.line("evicted_keys", 0);
}

fn replication(text: &mut Text, _: &Source<'_>) {
    text.line("role", "master");
    text.line("connected_slaves", 0);
}

fn cpu(text: &mut Text, _: &Source<'_>) {
    if let Some(times) = usage::cpu_times() {
        text.line("used_cpu_sys", format_args!("{:.6}", times.system.as_secs_f64()));
        text.line("used_cpu_user", format_args!("{:.6}", times.user.as_secs_f64()));
    }
}

fn cluster(text: &mut Text, _: &Source<'_>) {
    text.line("cluster_enabled", 0);
}

/// The pool, its servers, and every counter of `docs/protocol.md`.
fn nuthatch(text: &mut Text, source: &Source<'_>) {
    let About { pool, workers, servers, accepts, .. } = source.about;
    text.line("pool", escaped(&pool.name));
    text.line("workers", workers.len());
    text.line("accepting_clients", u8::from(accepts));
    let (of_ring, gutter): (Vec<_>, Vec<_>) = servers.iter().partition(|it| !it.is_gutter);
    text.line("servers", of_ring.len());
    let named = of_ring.into_iter().enumerate().map(|(number, it)| (it, format!("server{number}")));
    let gutter = gutter.into_iter().enumerate().map(|(number, it)| (it, format!("gutter{number}")));
    for (shared, name) in named.chain(gutter) {
        let (server, stats) = (&shared.server, shared.stats());
        let sum = |counter| figures::of_server(stats.clone(), counter);
        let line = format!(
            "name={},address={},state={},connections={},requests={},in_queue={},out_queue={}",
            escaped(&server.name),
            escaped(&server.address.to_string()),
            figures::state(&stats),
            sum(|stats| &stats.server_connections),
            sum(|stats| &stats.requests),
            sum(|stats| &stats.in_queue),
            sum(|stats| &stats.out_queue),
        );
        text.line(&name, line);
    }
    for (name, value) in source.figures.all() {
        text.line(name, value);
    }
}
