//! User instructions per request, counted by valgrind's callgrind: a figure that doesn't depend
//! on what else the machine does.
//!
//! A proxy runs twice, with few requests and with many. Start, connections, storing the values
//! and the end are the same in both, so the difference is that of the requests alone.

use std::fs;
use std::time::Duration;

use crate::args::{Effort, INSTRUCTIONS, Options};
use crate::fleet::{Candidate, Proxy, Servers, Supervision, Workshop};
use crate::generator::{self, Aim};
use crate::results::{Comparison, Results};
use crate::workloads::{COUNTED, Counted};

/// What a run under callgrind, some fifty times slower than without, may take.
const LOAD_LIMIT: Duration = Duration::from_secs(300);
/// How long a proxy may take to end and callgrind to write its counts.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// Counts the instructions of every proxy in every such workload, if that part was chosen.
pub(crate) fn run(
    options: &Options,
    workshop: &Workshop,
    results: &mut Results,
) -> Result<(), String> {
    let chosen = |counted: &&Counted| options.includes(INSTRUCTIONS, counted.protocol);
    for counted in COUNTED.iter().filter(chosen) {
        eprintln!("{}", counted.title);
        let count = |candidate| per_request(candidate, counted, options.effort, workshop);
        let reference = count(&options.reference);
        for candidate in &options.candidates {
            let own = count(candidate);
            results.comparisons.push(Comparison {
                what: counted.title.to_owned(),
                unit: "instructions",
                candidate: candidate.name.clone(),
                target: counted.target,
                pairs: reference.clone().and_then(|reference| Ok(vec![(reference, own?)])),
            });
        }
    }
    Ok(())
}

fn per_request(
    candidate: &Candidate,
    counted: &Counted,
    effort: Effort,
    workshop: &Workshop,
) -> Result<f64, String> {
    let more = match effort {
        Effort::Quick => (counted.long_run - counted.short_run) / 5,
        Effort::Full => counted.long_run - counted.short_run,
    };
    let count = |requests| count_instructions(candidate, counted, requests, workshop);
    let counts =
        count(counted.short_run).and_then(|few| Ok((few, count(counted.short_run + more)?)));
    let (few, many) = counts.map_err(|why| format!("{}: {why}", candidate.name))?;
    let per_request = (many - few) / more as f64;
    eprintln!("  {:<12} {per_request:>8.0} instructions/request", candidate.name);
    Ok(per_request)
}

/// All user instructions of a proxy that lives for this many requests.
fn count_instructions(
    candidate: &Candidate,
    counted: &Counted,
    requests: u64,
    workshop: &Workshop,
) -> Result<f64, String> {
    let servers = Servers::start_mock(counted.protocol, &generator::path()?, workshop)?;
    let counts = workshop.dir.join("callgrind.out");
    let proxy =
        Proxy::start(candidate, &servers, workshop, Supervision::Callgrind { counts: &counts })?;
    let (target, others) = (proxy.tcp_target(), servers.pids());
    let aim =
        Aim { protocol: servers.protocol, target: &target, subject: proxy.pid(), others: &others };
    let requests = requests.to_string();
    let flags = ["--preload", "--keys", "1000", "--requests", &requests];
    let flags = [&flags, counted.requests].concat();
    let sample = generator::run(&aim, &flags, workshop, LOAD_LIMIT)?;
    if let Some(fault) = sample.fault() {
        return Err(fault);
    }
    proxy.stop(STOP_LIMIT)?;
    let text = fs::read_to_string(&counts).map_err(|error| format!("callgrind: {error}"))?;
    let _ = fs::remove_file(&counts);
    parse_total(&text).ok_or_else(|| "callgrind wrote no total".to_owned())
}

/// The `totals:` line of callgrind's output: the sum over all threads.
fn parse_total(text: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix("totals: "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_found() {
        assert_eq!(parse_total("summary: 7\nfn=(1) main\n1 7\ntotals: 42\n"), Some(42.0));
        assert_eq!(parse_total("fn=(1) main\n1 7\n"), None);
    }
}
