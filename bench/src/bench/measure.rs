//! The workloads: each repetition runs every proxy once, one after the other, so that whatever
//! the machine does meanwhile happens to all of them.

use std::time::Duration;

use crate::args::Options;
use crate::fleet::{Candidate, Proxy, Servers, Supervision, Workshop};
use crate::generator::{self, Aim, Sample};
use crate::protocol::Protocol;
use crate::results::{Comparison, Figure, Measurement, Results};
use crate::workloads::{self, Direct, Link, Workload};

/// A run is repeated if other programs had more of the CPU than this.
const FOREIGN_MAX: f64 = 0.12;
/// How often a run is tried; of the tries, the one with the fewest foreigners counts.
const TRIES_MAX: usize = 4;
/// What a run may take beyond its length: opening connections, storing values, stalling.
const GRACE: Duration = Duration::from_secs(60);

/// A proxy, or the bare server, and how it is reached in a workload.
struct Subject {
    name: String,
    target: String,
    pid: u32,
}

impl Subject {
    fn candidate(candidate: &Candidate, proxy: &Proxy, link: Link) -> Self {
        let target = match link {
            Link::Tcp => proxy.tcp_target(),
            Link::Unix => proxy.unix_target(),
        };
        Self { name: candidate.name.clone(), target, pid: proxy.pid() }
    }
}

/// Runs the chosen workloads.
pub(crate) fn run(
    options: &Options,
    workshop: &Workshop,
    results: &mut Results,
) -> Result<(), String> {
    for protocol in Protocol::ALL {
        let chosen = |w: &&Workload| w.protocol == protocol && options.includes(w.name, protocol);
        let workloads: Vec<_> = workloads::ALL.iter().filter(chosen).collect();
        if !workloads.is_empty() {
            run_all(&workloads, &Servers::start(protocol, workshop)?, options, workshop, results)?;
        }
    }
    Ok(())
}

/// Runs workloads of one protocol. Those of a candidate that doesn't start are void: a build that
/// lacks the protocol can still be compared in the others.
fn run_all(
    workloads: &[&Workload],
    servers: &Servers,
    options: &Options,
    workshop: &Workshop,
    results: &mut Results,
) -> Result<(), String> {
    let start = |candidate| Proxy::start(candidate, servers, workshop, Supervision::Plain);
    let reference = start(&options.reference)?;
    let candidates: Vec<_> = options.candidates.iter().map(start).collect();

    let mut pids = servers.pids();
    pids.push(reference.pid());
    pids.extend(candidates.iter().flatten().map(Proxy::pid));
    for &workload in workloads {
        eprintln!("{}: {}", workload.name, workload.title);
        let mut subjects = vec![Subject {
            name: options.reference.name.clone(),
            target: reference.tcp_target(),
            pid: reference.pid(),
        }];
        for (candidate, proxy) in options.candidates.iter().zip(&candidates) {
            match proxy {
                Ok(proxy) => subjects.push(Subject::candidate(candidate, proxy, workload.link)),
                Err(why) => results.push_void(workload.name, &candidate.name, why),
            }
        }
        if workload.direct == Direct::Measured {
            let target = format!("127.0.0.1:{}", servers.ports[0]);
            subjects.push(Subject { name: "direct".to_owned(), target, pid: servers.pids()[0] });
        }
        let bench = Bench { options, workshop, workload, pids: &pids };
        bench.preload(&subjects)?;
        bench.measure(&subjects, results);
        bench.compare(results);
    }
    Ok(())
}

/// One workload and what it runs on.
struct Bench<'a> {
    options: &'a Options,
    workshop: &'a Workshop,
    workload: &'a Workload,
    pids: &'a [u32],
}

impl Bench<'_> {
    /// Stores all values through the reference, which the candidates must then find, and in the
    /// bare server.
    fn preload(&self, subjects: &[Subject]) -> Result<(), String> {
        let flags = ["--preload", "--requests", "0", "--connections", "1"];
        let flags = [&flags, self.workload.dataset].concat();
        let bare = subjects.iter().filter(|subject| subject.name == "direct");
        for subject in subjects.first().into_iter().chain(bare) {
            self.load(subject, &flags)?;
        }
        Ok(())
    }

    fn measure(&self, subjects: &[Subject], results: &mut Results) {
        let seconds = self.options.seconds.to_string();
        let flags =
            [&["--seconds", &seconds], self.workload.dataset, self.workload.requests].concat();
        for rep in 0..self.options.reps {
            for subject in subjects {
                let outcome = self.load_undisturbed(subject, &flags);
                match &outcome {
                    Ok(sample) => eprintln!(
                        "  {:<12} {:>8.2} us/request {:>9.0} requests/s {:>6.2} faults/request \
                         {:>5.1} % foreign {}",
                        subject.name,
                        sample.cpu_us,
                        sample.rps,
                        sample.faults,
                        sample.foreign * 100.0,
                        sample.fault().unwrap_or_default()
                    ),
                    Err(why) => eprintln!("  {:<12} {why}", subject.name),
                }
                let (workload, subject) = (self.workload.name, subject.name.clone());
                results.measurements.push(Measurement { workload, subject, rep, outcome });
            }
        }
    }

    /// Loads until a run is not disturbed, or has been tried often enough.
    fn load_undisturbed(&self, subject: &Subject, flags: &[&str]) -> Result<Sample, String> {
        let mut best = self.load(subject, flags)?;
        for _ in 1..TRIES_MAX {
            if best.foreign <= FOREIGN_MAX || best.fault().is_some() {
                break;
            }
            let again = self.load(subject, flags)?;
            if again.foreign < best.foreign || again.fault().is_some() {
                best = again;
            }
        }
        Ok(best)
    }

    fn load(&self, subject: &Subject, flags: &[&str]) -> Result<Sample, String> {
        let aim = Aim {
            protocol: self.workload.protocol,
            target: &subject.target,
            subject: subject.pid,
            others: self.pids,
        };
        let limit = GRACE + Duration::from_secs_f64(self.options.seconds);
        generator::run(&aim, flags, self.workshop, limit)
    }

    fn compare(&self, results: &mut Results) {
        let latency = Some(workloads::LATENCY_TARGET);
        let figures: [(_, _, Figure); 3] = [
            ("CPU", self.workload.cpu_target, |sample| sample.cpu_us),
            ("p50", latency, |sample| sample.p50_us),
            ("p99", latency, |sample| sample.p99_us),
        ];
        for (name, target, figure) in figures {
            let figures_of = |subject| results.figures(self.workload.name, subject, figure);
            let reference = figures_of(&self.options.reference.name);
            let mut comparisons = Vec::new();
            for candidate in &self.options.candidates {
                let pairs = reference.clone().and_then(|reference| {
                    Ok(reference.into_iter().zip(figures_of(&candidate.name)?).collect())
                });
                comparisons.push(Comparison {
                    what: format!("({}) {}: {name}", self.workload.name, self.workload.title),
                    unit: "us",
                    candidate: candidate.name.clone(),
                    target,
                    pairs,
                });
            }
            results.comparisons.extend(comparisons);
        }
    }
}
