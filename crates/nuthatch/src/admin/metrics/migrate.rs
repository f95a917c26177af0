//! The metrics of keys that move to another server.

use super::text::{Kind, Text};
use crate::generation::Generation;
use nuthatch_core::stats::{Counter, MigrationStats};

type Figure = fn(&MigrationStats) -> &Counter;

/// How requests and copies for keys that move ended.
const RESULTS: &[(&str, Figure)] = &[
    ("copied", |stats| &stats.keys_moved),
    ("empty", |stats| &stats.moves_empty),
    ("lost", |stats| &stats.moves_lost),
    ("failed", |stats| &stats.moves_failed),
];

const COUNTERS: &[(&str, &str, Figure)] = &[
    (
        "migrate_old_reads_total",
        "Reads answered with the value of the key's old server.",
        |stats| &stats.old_reads,
    ),
    (
        "migrate_other_deletes_total",
        "Writes that removed the value at the key's other server.",
        |stats| &stats.other_deletes,
    ),
    (
        "migrate_leftovers_total",
        "Values older than the change that were removed at the key's new server.",
        |stats| &stats.leftovers_dropped,
    ),
    (
        "migrate_servers_given_up_total",
        "Old servers given up because they could not be reached, or were away.",
        |stats| &stats.servers_given_up,
    ),
    ("migrate_limit_total", "Requests refused because of migrate.moves_max.", |stats| {
        &stats.limit_moves
    }),
];

pub(super) fn write(text: &mut Text, generation: &Generation) {
    write_progress(text, generation);
    let name = "migrate_moves_total";
    text.head(name, Kind::Counter, "Keys looked for at their old server, by what became of them.");
    for shared in &generation.pools {
        for (result, figure) in RESULTS {
            let sum: u64 = shared.workers.iter().map(|it| figure(&it.migration).read()).sum();
            text.sample(name, &[("pool", &shared.pool.name), ("result", result)], sum);
        }
    }
    for (name, help, figure) in COUNTERS {
        text.head(name, Kind::Counter, help);
        for shared in &generation.pools {
            let sum: u64 = shared.workers.iter().map(|it| figure(&it.migration).read()).sum();
            text.sample(name, &[("pool", &shared.pool.name)], sum);
        }
    }
}

/// How far it is, in the worker that is furthest behind.
fn write_progress(text: &mut Text, generation: &Generation) {
    let name = "migrate_phase";
    let help = "How far keys have moved: 0 if none move, 1 settling, 2 moving, 3 closing.";
    text.head(name, Kind::Gauge, help);
    for shared in &generation.pools {
        let phases = shared.workers.iter().map(|stats| stats.migration.phase.read());
        let phase = phases.filter(|phase| *phase > 0).min().unwrap_or(0);
        text.sample(name, &[("pool", &shared.pool.name)], phase);
    }
    let name = "migrate_ends_at_seconds";
    text.head(
        name,
        Kind::Gauge,
        "When keys no longer move, in seconds since 1970; 0 if none move.",
    );
    for shared in &generation.pools {
        let micros = shared.moves_until().unwrap_or(0);
        text.sample(name, &[("pool", &shared.pool.name)], micros / 1_000_000);
    }
}
