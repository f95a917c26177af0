//! `bench`: what Nuthatch costs, next to nutcracker, on this machine and in the same minutes.
//!
//! Proxies, four real servers and the generator share one CPU, so nothing is idle and nothing
//! wakes another CPU; what counts is the proxy's CPU time per request, as a ratio to nutcracker's
//! in the same repetition. Absolute times do not carry over to another machine, ratios do.
//!
//! A run with a wrong reply is void and shown as such: a proxy that fails fast looks quick.
//! Runs in which other programs took much of the CPU are repeated, as they flatter proxies, which
//! then wake up to larger batches. Everything started is stopped, however this program ends.

use std::process::ExitCode;

mod args;
mod callgrind;
mod failure;
mod fleet;
mod generator;
mod machine;
mod measure;
mod memory;
mod process;
mod protocol;
mod report;
mod results;
mod scrape;
mod workloads;

use args::{Command, Options};
use fleet::Workshop;
use results::Results;

fn main() -> ExitCode {
    let options = match args::parse(lexopt::Parser::from_env()) {
        Ok(Command::Help) => {
            print!("{}", args::USAGE);
            return ExitCode::SUCCESS;
        }
        Ok(Command::Bench(options)) => options,
        Err(error) => {
            eprintln!("bench: {error} (see bench --help)");
            return ExitCode::from(2);
        }
    };
    match bench(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs everything chosen, prints the summary and writes the results if asked to.
fn bench(options: &Options) -> Result<(), String> {
    process::raise_open_files_limit();
    let workshop = Workshop::open(options.cpu)?;
    let mut results = Results::default();
    measure::run(options, &workshop, &mut results)?;
    scrape::run(options, &workshop, &mut results)?;
    memory::run(options, &workshop, &mut results)?;
    failure::run(options, &workshop, &mut results)?;
    callgrind::run(options, &workshop, &mut results)?;
    print!("{}", report::summary(&results));
    if let Some(dir) = &options.out {
        let place = report::write(dir, options, &results).map_err(|error| error.to_string())?;
        println!("\nwritten to {}", place.display());
    }
    Ok(())
}
