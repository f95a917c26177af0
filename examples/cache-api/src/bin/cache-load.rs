//! `cache-load`: one part of a load on the API, as a job of Kubernetes.
//!
//! The rule: the exit code is 0 only if every key was stored and came back with its value.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use cache_api::load;
use cache_api::settings::{LoadSettings, variable};
use signal_hook::consts::{SIGINT, SIGTERM};

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("cache-load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode, String> {
    let settings = LoadSettings::read(variable).map_err(|faults| faults.to_string())?;
    end_on_signals().map_err(|error| format!("can't listen for signals: {error}"))?;
    let outcome = load::run(&settings)?;
    for failure in &outcome.failures {
        eprintln!("cache-load: {failure}");
    }
    println!("cache-load: {outcome}");
    Ok(if outcome.failed() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// As process 1 of a container, SIGTERM would have no effect without a handler.
fn end_on_signals() -> std::io::Result<()> {
    for signal in [SIGTERM, SIGINT] {
        let now = Arc::new(AtomicBool::new(true));
        signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, now)?;
    }
    Ok(())
}
