//! `/metrics`: all figures in the text format of Prometheus.
//!
//! The one rule: each metric is defined once, with its help, in a table if possible, and a test
//! checks that `docs/metrics.md` has it. Counters end in `_total`, times are in seconds, sizes in
//! bytes; figures are current and summed over the workers.

use super::{Admin, pages};
use crate::generation::{Generation, SharedPool, SharedServer};
use crate::log;
use crate::reload::{Reloads, Tally};
use nuthatch_core::clocks::Clock;
use nuthatch_core::error::ServerError;
use nuthatch_core::message::Class;
use nuthatch_core::stats::{Histogram, PoolStats, ServerStats};
use std::fmt::Display;
use std::sync::atomic::Ordering;
use std::time::UNIX_EPOCH;

mod dns;
mod migrate;
mod process;
mod text;

use text::{Kind, Sum, Text};

/// A metric of each pool or of each server; its counters have the type `F`.
struct Family<F: 'static> {
    name: &'static str,
    kind: Kind,
    help: &'static str,
    figures: Figures<F>,
}

enum Figures<F: 'static> {
    One(Figure<F>),
    /// The name of the label that tells them apart, and each with its value of that label.
    By(&'static str, &'static [(&'static str, Figure<F>)]),
}

type Figure<F> = fn(&F) -> u64;

const fn counter<F>(name: &'static str, help: &'static str, figure: Figure<F>) -> Family<F> {
    Family { name, kind: Kind::Counter, help, figures: Figures::One(figure) }
}

const fn gauge<F>(name: &'static str, help: &'static str, figure: Figure<F>) -> Family<F> {
    Family { name, kind: Kind::Gauge, help, figures: Figures::One(figure) }
}

const fn counters<F>(
    name: &'static str,
    help: &'static str,
    label: &'static str,
    figures: &'static [(&'static str, Figure<F>)],
) -> Family<F> {
    Family { name, kind: Kind::Counter, help, figures: Figures::By(label, figures) }
}

const POOL: &[Family<PoolStats>] = &[
    gauge("client_connections", "Clients connected now.", |pool| pool.client_connections.read()),
    counter("client_accepts_total", "Clients accepted.", |pool| pool.client_accepts.read()),
    counter(
        "client_rejects_total",
        "Clients rejected because a limit of connections was reached.",
        |pool| pool.client_rejects.read(),
    ),
    counter("client_eof_total", "Clients that closed their connection.", |pool| {
        pool.client_eof.read()
    }),
    counter("client_err_total", "Client connections that ended with an error.", |pool| {
        pool.client_err.read()
    }),
    counter(
        "requests_total",
        "Requests read from clients; a request with several keys counts once.",
        |pool| pool.requests.read(),
    ),
    counter("request_bytes_total", "Bytes read from clients.", |pool| pool.request_bytes.read()),
    counter("response_bytes_total", "Bytes written to clients.", |pool| pool.response_bytes.read()),
    counter(
        "fragments_total",
        "Fragments made by splitting requests with several keys by server.",
        |pool| pool.fragments.read(),
    ),
    counters(
        "commands_total",
        "Requests by class; a request that can be split counts keys.",
        "class",
        &[
            ("get", |pool| pool.cmd_get.read()),
            ("set", |pool| pool.cmd_set.read()),
            ("delete", |pool| pool.cmd_delete.read()),
            ("arith", |pool| pool.cmd_arith.read()),
            ("touch", |pool| pool.cmd_touch.read()),
            ("flush", |pool| pool.cmd_flush.read()),
        ],
    ),
    counter("slow_requests_total", "Requests that took slow_after or longer.", |pool| {
        pool.slow_requests.read()
    }),
    counter("meta_requests_total", "Meta requests; commands_total counts them too.", |pool| {
        pool.cmd_meta.read()
    }),
    counter("get_hits_total", "Keys requested and found.", |pool| pool.results.get_hits()),
    counter("get_misses_total", "Keys requested and not found.", |pool| pool.results.get_misses()),
    counters(
        "write_hits_total",
        "Keys that delete, incr, decr, cas and touch found.",
        "command",
        &[
            ("delete", |pool| pool.results.delete_hits()),
            ("incr", |pool| pool.results.incr_hits()),
            ("decr", |pool| pool.results.decr_hits()),
            ("cas", |pool| pool.results.cas_hits()),
            ("touch", |pool| pool.results.touch_hits()),
        ],
    ),
    counters(
        "write_misses_total",
        "Keys that delete, incr, decr, cas and touch did not find.",
        "command",
        &[
            ("delete", |pool| pool.results.delete_misses()),
            ("incr", |pool| pool.results.incr_misses()),
            ("decr", |pool| pool.results.decr_misses()),
            ("cas", |pool| pool.results.cas_misses()),
            ("touch", |pool| pool.results.touch_misses()),
        ],
    ),
    counter(
        "cas_mismatches_total",
        "Requests of cas refused because the item had changed.",
        |pool| pool.results.cas_badval(),
    ),
    counter(
        "forward_errors_total",
        "Requests and fragments that failed because a server could not answer.",
        |pool| pool.forward_error.read(),
    ),
    counters(
        "client_errors_total",
        "Requests that broke the protocol: bad_request got an error, framing_lost closed the client.",
        "reason",
        &[
            ("bad_request", |pool| pool.client_request_errors.read()),
            ("framing_lost", |pool| pool.client_framing_lost.read()),
        ],
    ),
    counters(
        "limit_reached_total",
        "Times that requests, replies or clients reached a configured limit.",
        "limit",
        &[
            ("item_size_max", |pool| pool.limit_item_size.read()),
            ("keys_max", |pool| pool.limit_keys.read()),
            ("pool_rate_max", |pool| pool.limit_pool_rate.read()),
            ("pool_requests_max", |pool| pool.limit_pool_requests.read()),
            ("address_rate_max", |pool| pool.limit_address_rate.read()),
            ("address_requests_max", |pool| pool.limit_address_requests.read()),
            ("line_max", |pool| pool.limit_line.read()),
            ("client_backlog_max", |pool| pool.limit_client_backlog.read()),
            ("client_buffer_max", |pool| pool.limit_client_paused.read()),
            ("server_requests_max", |pool| pool.limit_server_queue.read()),
            ("memory_max", |pool| pool.limit_memory.read()),
            ("dedicated_connections_max", |pool| pool.limit_dedicated.read()),
        ],
    ),
    gauge(
        "dedicated_connections",
        "Server connections that one client of a Redis pool alone uses now.",
        |pool| pool.dedicated_connections.read(),
    ),
    gauge("bulk_clients", "Clients that use the connections for bulk now.", |pool| {
        pool.bulk_clients.read()
    }),
    counter("bulk_moves_total", "Times a client changed to the connections for bulk.", |pool| {
        pool.bulk_moves.read()
    }),
    counter(
        "desync_total",
        "Server connections closed because a reply did not match its request.",
        |pool| pool.desync_total.read(),
    ),
];

const SERVER: &[Family<ServerStats>] = &[
    gauge(
        "server_down",
        "Workers that received no reply from the server since a connection to it failed.",
        |server| server.more.is_down.read(),
    ),
    gauge("server_ejected", "Workers that have ejected the server from their ring.", |server| {
        server.more.is_ejected.read()
    }),
    counter(
        "server_ejections_total",
        "Times that a worker ejected the server from its ring.",
        |server| server.more.ejections.read(),
    ),
    counter("server_probes_total", "Probes of the server while it was ejected.", |server| {
        server.more.probes.read()
    }),
    counter(
        "server_probe_failures_total",
        "Probes that the server did not answer, but for those that ran out of time.",
        |server| server.more.probe_failures.read(),
    ),
    gauge(
        "server_journal_keys",
        "Keys to be removed from the server before it returns.",
        |server| server.more.journal_keys.read(),
    ),
    gauge("server_journal_bytes", "Bytes of the keys kept while the server is away.", |server| {
        server.more.journal_bytes.read()
    }),
    counter(
        "server_replayed_total",
        "Keys removed from the server before it returned.",
        |server| server.more.replayed.read(),
    ),
    counter(
        "server_removals_refused_total",
        "Removals of missed keys that the server refused.",
        |server| server.more.removals_refused.read(),
    ),
    counter(
        "server_journal_overflows_total",
        "Times that the server missed more keys than journal_max holds.",
        |server| server.more.journal_overflows.read(),
    ),
    counter(
        "server_caps_refused_total",
        "Values whose time the gutter server refused to bound; they are removed there.",
        |server| server.more.caps_refused.read(),
    ),
    counters(
        "server_timeouts_total",
        "Requests that were not answered in time, and attempts to connect, by the clock that ran out.",
        "clock",
        &[
            (Clock::Connect.name(), |server| timeouts(server, Clock::Connect)),
            (Clock::Queue.name(), |server| timeouts(server, Clock::Queue)),
            (Clock::Response.name(), |server| timeouts(server, Clock::Response)),
            (Clock::Total.name(), |server| timeouts(server, Clock::Total)),
        ],
    ),
    gauge("server_connections", "Connections to the server that are open now.", |server| {
        server.server_connections.read()
    }),
    counter("server_connects_total", "Attempts to connect to the server.", |server| {
        server.more.connects.read()
    }),
    counter("server_requests_total", "Requests and fragments queued for the server.", |server| {
        server.requests.read()
    }),
    counter("server_request_bytes_total", "Bytes of requests queued for the server.", |server| {
        server.request_bytes.read()
    }),
    counter("server_responses_total", "Replies received from the server.", |server| {
        server.responses.read()
    }),
    counter(
        "server_response_bytes_total",
        "Bytes of replies received from the server.",
        |server| server.response_bytes.read(),
    ),
    gauge("server_in_queue", "Requests queued for the server and not yet sent.", |server| {
        server.in_queue.read()
    }),
    gauge("server_in_queue_bytes", "Bytes of requests not yet sent to the server.", |server| {
        server.in_queue_bytes.read()
    }),
    gauge("server_out_queue", "Requests sent to the server and not yet answered.", |server| {
        server.out_queue.read()
    }),
    gauge("server_out_queue_bytes", "Bytes of requests sent and not yet answered.", |server| {
        server.out_queue_bytes.read()
    }),
];

fn timeouts(server: &ServerStats, clock: Clock) -> u64 {
    server.more.timeouts[clock as usize].read()
}

/// A histogram of each server, for each class of requests if there are several.
struct Times {
    name: &'static str,
    help: &'static str,
    of: fn(&ServerStats) -> &[Histogram],
}

const TIMES: &[Times] = &[
    Times {
        name: "queue_seconds",
        help: "Time from reading a request to sending it to the server.",
        of: |server| &server.more.queue_time,
    },
    Times {
        name: "server_seconds",
        help: "Time from sending a request to the server to receiving its reply.",
        of: |server| &server.more.server_time,
    },
    Times {
        name: "connect_seconds",
        help: "Time to open a connection to the server, including the name look-up.",
        of: |server| std::slice::from_ref(&server.more.connect_time),
    },
];

/// All metrics.
pub(super) fn write(admin: &Admin) -> String {
    let mut text = Text::default();
    let generation = admin.generation();
    write_proxy(&mut text, admin, &generation);
    for family in POOL {
        text.head(family.name, family.kind, family.help);
        for shared in &generation.pools {
            let labels = [("pool", shared.pool.name.as_str())];
            let sum = |figure: Figure<PoolStats>| shared.workers.iter().map(|w| figure(w)).sum();
            write_figures(&mut text, family, &labels, sum);
        }
    }
    for family in SERVER {
        text.head(family.name, family.kind, family.help);
        for (shared, server) in each_server(&generation) {
            let sum = |figure: Figure<ServerStats>| server.stats().map(figure).sum();
            write_figures(&mut text, family, &server_labels(shared, server), sum);
        }
    }
    write_servers(&mut text, &generation);
    for times in TIMES {
        text.head(times.name, Kind::Histogram, times.help);
        for (shared, server) in each_server(&generation) {
            write_times(&mut text, times, shared, server);
        }
    }
    migrate::write(&mut text, &generation);
    dns::write(&mut text, &generation);
    process::write(&mut text);
    text.into_string()
}

fn write_proxy(text: &mut Text, admin: &Admin, generation: &Generation) {
    text.head("build_info", Kind::Gauge, "The version of the proxy, as a label; the value is 1.");
    text.sample("build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    let start = admin.start.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let ready = u8::from(admin.is_ready());
    let workers = admin.inboxes.len();
    for (name, help, value) in [
        (
            "start_time_seconds",
            "Start time of the proxy, in seconds since 1970.",
            &start as &dyn Display,
        ),
        ("workers", "Worker threads.", &workers),
        ("ready", "1 while the proxy accepts clients, 0 while it drains.", &ready),
        ("config_generation", "Configurations loaded since the start.", &generation.number),
    ] {
        text.head(name, Kind::Gauge, help);
        text.sample(name, &[], value);
    }
    let name = "log_lines_dropped_total";
    text.head(
        name,
        Kind::Counter,
        "Log lines dropped because the log could not be written fast enough.",
    );
    text.sample(name, &[], log::dropped());
    text.head(
        "ring_hash",
        Kind::Gauge,
        "Fingerprint of the configured ring; proxies with the same value route keys alike.",
    );
    for shared in &generation.pools {
        text.sample("ring_hash", &[("pool", &shared.pool.name)], pages::ring_hash(&shared.ring));
    }
    write_reloads(text, admin.reloads());
}

/// The metrics that are not sums over the workers.
fn write_servers(text: &mut Text, generation: &Generation) {
    text.head(
        "server_ring_share",
        Kind::Gauge,
        "Share of the configured ring that the server owns, 0 to 1.",
    );
    for shared in &generation.pools {
        for (ring, number, server) in shared.numbered() {
            let labels = server_labels(shared, server);
            text.sample("server_ring_share", &labels, ring.share_of(number));
        }
    }
    let help = "1 if the server is one of the gutter, else 0; its ring is that of the gutter.";
    text.head("server_gutter", Kind::Gauge, help);
    for (shared, server) in each_server(generation) {
        let labels = server_labels(shared, server);
        text.sample("server_gutter", &labels, u8::from(server.is_gutter));
    }
    let help = "Share of its keys for which the server is used, 0 to 1.";
    text.head("server_keys_share", Kind::Gauge, help);
    for (shared, server) in each_server(generation) {
        let percent = server.verdict().map_or(100, |verdict| verdict.seen.share.percent());
        text.sample(
            "server_keys_share",
            &server_labels(shared, server),
            f64::from(percent) / 100.0,
        );
    }
    text.head(
        "server_errors_total",
        Kind::Counter,
        "Failed connections that had requests queued, and timeouts of requests, by reason.",
    );
    for (shared, server) in each_server(generation) {
        for error in ServerError::OF_SERVERS {
            let count = |stats: &ServerStats| stats.more.errors[error as usize].read();
            let sum: u64 = server.stats().map(count).sum();
            let [pool, server] = server_labels(shared, server);
            text.sample("server_errors_total", &[pool, server, ("reason", error.name())], sum);
        }
    }
}

/// The metrics of reloads, and of changes of the servers that DNS or Kubernetes tells of.
fn write_reloads(text: &mut Text, reloads: &Reloads) {
    let name = "config_reloads_total";
    text.head(name, Kind::Counter, "Times the configuration was read again, by result.");
    write_tally(text, name, &reloads.of_file, &["changed", "unchanged", "waits", "refused"]);
    let name = "config_last_reload_refused";
    text.head(name, Kind::Gauge, "1 if the last configuration that was read was refused, else 0.");
    text.sample(name, &[], u8::from(reloads.of_file.is_refused()));
    let name = "config_last_success_time_seconds";
    text.head(
        name,
        Kind::Gauge,
        "When a right configuration was read last, in seconds since 1970.",
    );
    text.sample(name, &[], reloads.taken_at.load(Ordering::Relaxed));
    let name = "discovery_changes_total";
    text.head(name, Kind::Counter, "Changes of the discovered servers, by result.");
    write_tally(text, name, &reloads.of_discovery, &["changed", "waits", "refused"]);
    let name = "discovery_last_change_refused";
    text.head(name, Kind::Gauge, "1 if the last change of discovered servers was refused, else 0.");
    text.sample(name, &[], u8::from(reloads.of_discovery.is_refused()));
}

fn write_tally(text: &mut Text, name: &str, tally: &Tally, results: &[&str]) {
    for &result in results {
        text.sample(name, &[("result", result)], tally.count(result));
    }
}

fn each_server(generation: &Generation) -> impl Iterator<Item = (&SharedPool, &SharedServer)> {
    generation
        .pools
        .iter()
        .flat_map(move |shared| shared.servers.iter().map(move |server| (shared, &**server)))
}

fn server_labels<'a>(shared: &'a SharedPool, server: &'a SharedServer) -> [(&'a str, &'a str); 2] {
    [("pool", &shared.pool.name), ("server", &server.server.name)]
}

/// The figures of one pool or server; `sum` adds up one of them over the workers.
fn write_figures<F>(
    text: &mut Text,
    family: &Family<F>,
    labels: &[(&str, &str)],
    sum: impl Fn(Figure<F>) -> u64,
) {
    match family.figures {
        Figures::One(figure) => text.sample(family.name, labels, sum(figure)),
        Figures::By(label, figures) => {
            for &(value, figure) in figures {
                text.sample(family.name, &[labels, &[(label, value)]].concat(), sum(figure));
            }
        }
    }
}

/// The histograms of one server; classes without requests are left out.
fn write_times(text: &mut Text, times: &Times, shared: &SharedPool, server: &SharedServer) {
    let classes = (times.of)(&server.workers[0]).len();
    for class in 0..classes {
        let of_worker = |stats: &ServerStats| Sum::of(&(times.of)(stats)[class]);
        let sum = server.stats().map(of_worker).fold(Sum::default(), Sum::add);
        let mut labels = server_labels(shared, server).to_vec();
        if classes > 1 {
            if sum.count() == 0 {
                continue;
            }
            labels.push(("class", Class::LABELS[class]));
        }
        text.histogram(times.name, &labels, &sum);
    }
}
