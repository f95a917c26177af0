//! Resident memory of proxies that were started for it, as none gives back what it once had.

use std::time::Duration;

use crate::args::{MEMORY, Options};
use crate::fleet::{Candidate, Proxy, Servers, Supervision, Workshop};
use crate::generator::{self, Aim};
use crate::protocol::Protocol;
use crate::results::{Comparison, Results};
use crate::workloads::{WEIGHED, Weighed};

/// What a run may take: opening thousands of connections, storing values, two seconds of load.
const LIMIT: Duration = Duration::from_secs(60);

/// Weighs every proxy in every such workload, if that part was chosen.
pub(crate) fn run(
    options: &Options,
    workshop: &Workshop,
    results: &mut Results,
) -> Result<(), String> {
    let chosen = |protocol: &Protocol| options.includes(MEMORY, *protocol);
    for protocol in Protocol::ALL.into_iter().filter(chosen) {
        run_protocol(protocol, options, workshop, results)?;
    }
    Ok(())
}

fn run_protocol(
    protocol: Protocol,
    options: &Options,
    workshop: &Workshop,
    results: &mut Results,
) -> Result<(), String> {
    let servers = Servers::start(protocol, workshop)?;
    for weighed in WEIGHED.iter().filter(|weighed| weighed.protocol == protocol) {
        eprintln!("{}", weighed.title);
        let weigh = |candidate| weigh(candidate, weighed, &servers, workshop);
        let reference = weigh(&options.reference);
        for candidate in &options.candidates {
            let own = weigh(candidate);
            results.comparisons.push(Comparison {
                what: weighed.title.to_owned(),
                unit: "MiB",
                candidate: candidate.name.clone(),
                target: Some(weighed.target),
                pairs: reference.clone().and_then(|reference| Ok(vec![(reference, own?)])),
            });
        }
    }
    Ok(())
}

/// The memory, in MiB, of a new proxy after two seconds of the workload.
fn weigh(
    candidate: &Candidate,
    weighed: &Weighed,
    servers: &Servers,
    workshop: &Workshop,
) -> Result<f64, String> {
    let proxy = Proxy::start(candidate, servers, workshop, Supervision::Plain)?;
    let (target, others) = (proxy.tcp_target(), servers.pids());
    let aim =
        Aim { protocol: servers.protocol, target: &target, subject: proxy.pid(), others: &others };
    let flags = [&["--preload", "--seconds", "2"], weighed.requests].concat();
    let sample = generator::run(&aim, &flags, workshop, LIMIT);
    let sample = sample.map_err(|why| format!("{}: {why}", candidate.name))?;
    if let Some(fault) = sample.fault() {
        return Err(format!("{}: {fault}", candidate.name));
    }
    let rss_mib = sample.rss_kib / 1024.0;
    eprintln!("  {:<12} {rss_mib:>8.1} MiB", candidate.name);
    Ok(rss_mib)
}
