//! The proxy at work: starts the workers and waits for their end.

use std::io;

use crate::args::Options;
use crate::config::Config;
use crate::process::{Ready, Signals};

/// Serves the pools of `config` until a signal ends it; announces `ready` once it listens.
///
/// # Errors
/// When a pool can't listen.
pub fn run(
    _config: Config,
    _options: &Options,
    _signals: Signals,
    _ready: Ready,
) -> io::Result<()> {
    Err(io::Error::other("serving is not built into this binary yet"))
}
