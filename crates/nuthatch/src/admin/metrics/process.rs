//! The metrics that every program has, under the names that everybody knows.
//!
//! What the system does not tell is left out, not guessed.

use super::text::{Kind, Text};
use crate::usage;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};
use std::fmt::Display;
use std::fs;

pub(super) fn write(text: &mut Text) {
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    let cpu = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
    write_one(
        text,
        "process_cpu_seconds_total",
        Kind::Counter,
        "User and system CPU time, in seconds.",
        Some(cpu),
    );
    let max = getrlimit(Resource::Nofile).current;
    write_one(text, "process_max_fds", Kind::Gauge, "Limit of open file descriptors.", max);
    let open = fs::read_dir("/proc/self/fd").ok().map(Iterator::count);
    write_one(text, "process_open_fds", Kind::Gauge, "Open file descriptors.", open);
    let name = "process_resident_memory_bytes";
    write_one(text, name, Kind::Gauge, "Resident memory, in bytes.", usage::resident_bytes());
    let name = "process_start_time_seconds";
    write_one(
        text,
        name,
        Kind::Gauge,
        "Start time of the process, in seconds since 1970.",
        start_time(),
    );
}

fn write_one(text: &mut Text, name: &str, kind: Kind, help: &str, value: Option<impl Display>) {
    if let Some(value) = value {
        text.head(name, kind, help);
        text.sample(name, &[], value);
    }
}

/// proc(5): when the system started, and how long after that the process did.
fn start_time() -> Option<f64> {
    let boot = fs::read_to_string("/proc/stat").ok()?;
    let boot = boot.lines().find_map(|line| line.strip_prefix("btime "))?;
    Some(boot.parse::<f64>().ok()? + usage::start_after_boot()?.as_secs_f64())
}
