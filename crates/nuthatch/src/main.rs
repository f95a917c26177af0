//! The `nuthatch` command: from the command line to an exit code.
//!
//! All words for the operator go to standard error, as in twemproxy; standard output has only the
//! answers of `route` and `diff`, and what `demo` shows. The exit code is 0, or 1 with a reason.

use std::env;
use std::error::Error;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::ExitCode;

use nuthatch::args::{self, Command, Options};
use nuthatch::config::{Config, ConfigErrors, lint};
use nuthatch::process::{self, Daemon, PidFile, Ready, Signals};
use nuthatch::verdict::{self, Colour};
use nuthatch::{demo, diff, log, node, route};

type Outcome = Result<ExitCode, Box<dyn Error>>;

fn main() -> ExitCode {
    let command = match args::parse(env::args_os(), |name| env::var_os(name)) {
        Ok(command) => command,
        Err(error) => {
            eprint!("nuthatch: {error}\n{}", args::usage());
            return ExitCode::FAILURE;
        }
    };
    let outcome = execute(command);
    log::flush();
    outcome.unwrap_or_else(|error| {
        if let Some(errors) = error.downcast_ref::<ConfigErrors>() {
            eprint!("{}", verdict::refused(errors, colour(&io::stderr())));
            return ExitCode::FAILURE;
        }
        // Who closes our output early, as `head` does, has seen enough.
        let is_closed = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
        if error.downcast_ref().is_some_and(is_closed) {
            return ExitCode::SUCCESS;
        }
        log::tell(&format!("nuthatch: {error}\n"));
        ExitCode::FAILURE
    })
}

fn execute(command: Command) -> Outcome {
    match command {
        Command::Help => eprint!("{}{}", args::version(), args::help()),
        Command::Version => eprint!("{}", args::version()),
        Command::DescribeStats => eprint!("{}{}", args::version(), args::describe_stats()),
        Command::Test(file) => {
            eprint!("{}", verdict::accepted(&find(file.as_deref())?, colour(&io::stderr())));
        }
        Command::Serve(options) => return serve(&options),
        Command::Demo { once } => {
            return Ok(demo::run(once, &mut io::stdout().lock(), colour(&io::stdout()))?);
        }
        Command::Node { listen, memory } => {
            log::init(Options::default().verbosity, None, None)?;
            process::raise_open_files()?;
            node::run(&listen, memory, Signals::catch()?)?;
        }
        Command::Route(question) => {
            let config = find(question.file.as_deref())?;
            let pool = config.choose(question.pool.as_deref())?;
            route::run(&question, pool, io::stdin().lock(), io::stdout().lock())?;
        }
        Command::Diff(question) => {
            let (old, new) = (Config::load(&question.old)?, Config::load(&question.new)?);
            diff::run(&question, &old, &new, io::stdout().lock())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn serve(options: &Options) -> Outcome {
    let config = find(options.file.as_deref())?;
    let ready = if options.daemonize {
        match process::daemonize()? {
            Daemon::Parent(code) => return Ok(code),
            Daemon::Child(ready) => ready,
        }
    } else {
        Ready::in_foreground()
    };
    log::init(options.verbosity, options.output.as_deref(), options.log_format)?;
    let signals = Signals::catch()?;
    let _pid_file = options.pid_file.as_deref().map(PidFile::write).transpose()?;
    process::raise_open_files()?;
    if let Some(bytes) = options.mbuf_size {
        ::log::debug!("option -m {bytes} has no effect, there are no mbufs");
    }
    let traps = lint::warnings(&config).len() + config.notes.len();
    if traps > 0 {
        ::log::warn!(traps; "the configuration has traps, nuthatch -t tells which");
    }
    nuthatch::run(config, options, signals, ready).inspect_err(|error| ::log::error!("{error}"))?;
    Ok(ExitCode::SUCCESS)
}

fn find(file: Option<&Path>) -> Result<Config, ConfigErrors> {
    let variable = |name: &str| env::var_os(name).map(|text| text.to_string_lossy().into_owned());
    Config::find(file, variable)
}

fn colour(stream: &impl IsTerminal) -> Colour {
    let is_wanted = stream.is_terminal() && env::var_os("NO_COLOR").is_none();
    if is_wanted { Colour::Ansi } else { Colour::Plain }
}
