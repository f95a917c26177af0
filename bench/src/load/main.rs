//! `load`: a load generator for memcached, Redis and their proxies that never believes a reply.
//!
//! It shares one CPU with the proxy it measures, so it is one thread on epoll and does little per
//! request: keys and values are computed, not stored, and a read's replies are answered by one
//! write. Every reply is compared byte for byte with what was stored; a wrong one is counted as
//! `bad`, and a run with `bad`, `miss` or `errors` above zero measures nothing.
//!
//! `load mock` is the other end: a small memcached or Redis that keeps what it is given.

use std::io::{self, Write};
use std::process::ExitCode;

mod args;
mod channel;
mod conn;
mod dataset;
mod latency;
mod memcached;
mod meter;
mod mock;
mod protocol;
mod redis;
mod replies;
mod report;
mod run;
mod workload;

use args::{Command, Options, Output};
use conn::Connection;
use dataset::Dataset;
use meter::Meter;
use report::Report;
use run::Finished;

fn main() -> ExitCode {
    let outcome = match args::parse(lexopt::Parser::from_env()) {
        Ok(Command::Help) => io::stdout().write_all(args::USAGE.as_bytes()),
        Ok(Command::Mock { protocol, port_count }) => mock::serve(protocol, port_count).map(|_| ()),
        Ok(Command::Load(options)) => load(&options),
        Err(error) => {
            eprintln!("load: {error} (see load --help)");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Stores the values if asked to, opens the connections, runs the workload and reports.
fn load(options: &Options) -> io::Result<()> {
    let dataset = Dataset::new(options.key_count, options.value_len);
    if options.preload {
        run::preload(&options.target, &dataset)?;
    }
    let idle = run::open_greeted(&options.target, &dataset, options.idle_count)?;
    let active = run::open_greeted(&options.target, &dataset, options.connection_count)?;

    let meter = Meter::start(&options.watch)?;
    let Finished { mut tally, connections } = run::run(active, &dataset, &options.plan)?;
    let usage = meter.stop()?;
    drop(connections);

    let kept = idle.into_iter().map(Connection::ends_quietly);
    tally.errors += kept.filter(|kept| !kept).count() as u64;
    let report = Report { tally, usage };
    match options.output {
        Output::Table => print!("{}", report.table()),
        Output::Json => println!("{}", report.json()),
    }
    Ok(())
}
