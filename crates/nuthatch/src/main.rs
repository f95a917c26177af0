//! The `nuthatch` command: from the command line to an exit code.
//!
//! All messages for the operator go to standard error, as in twemproxy; standard output has only
//! the results of `route`, `diff`, `ping`, `demo`, `man` and `completions`. The exit code is 0, or 1 with a
//! reason.

use std::env;
use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use nuthatch::args::{self, Command, Options};
use nuthatch::config::{Config, ConfigErrors, lint};
#[cfg(feature = "demo")]
use nuthatch::demo::{self, Protocol};
use nuthatch::escape::escaped;
use nuthatch::preflight::{self, Obstacles};
use nuthatch::process::{self, Daemon, Ready, Signals};
use nuthatch::systemd::Inherited;
use nuthatch::verdict::{self, Colour};
use nuthatch::{bind_check, diff, discover, log, own_files, ping, route, running};

type Outcome = Result<ExitCode, Box<dyn Error>>;

fn main() -> ExitCode {
    let command = match args::parse(env::args_os(), |name| env::var_os(name)) {
        Ok(command) => command,
        Err(error) => {
            eprint!("nuthatch: {error}\n{}", error.usage());
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
        if let Some(Obstacles(all)) = error.downcast_ref() {
            all.iter().for_each(|one| log::tell(&format!("nuthatch: {}\n", escaped(one))));
            return ExitCode::FAILURE;
        }
        // A program that closes our output early, such as `head`, is not an error.
        let is_closed = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
        if error.downcast_ref().is_some_and(is_closed) {
            return ExitCode::SUCCESS;
        }
        log::tell(&format!("nuthatch: {}\n", escaped(&error.to_string())));
        ExitCode::FAILURE
    })
}

fn execute(command: Command) -> Outcome {
    match command {
        Command::Help => eprint!("{}{}", args::version(), args::help()),
        Command::Version => eprint!("{}", args::version()),
        Command::DescribeStats => eprint!("{}{}", args::version(), args::describe_stats()),
        Command::HelpOf(command) => eprint!("{}", args::help_of(command)),
        Command::Completions(shell) => print(&args::completions(shell))?,
        Command::Man => print(&args::man())?,
        Command::Test { options, binds } => {
            let mut config = find(options.file.as_deref())?;
            let found = discover::look(&mut config, &options.dns, options.discovery_wait);
            let warnings = preflight::check(&config, &options)?;
            if binds {
                process::raise_open_files()?;
                bind_check::check(&config, &options, Inherited::take()?)?;
            }
            let colour = colour(&io::stderr());
            eprint!("{}", verdict::accepted(&config, &warnings, &found, colour));
            if binds {
                eprintln!("nuthatch: every listener can be opened");
            }
        }
        Command::Serve(options) => return serve(&options),
        #[cfg(feature = "demo")]
        Command::Demo { once, redis } => {
            let protocol = if redis { Protocol::Redis } else { Protocol::Memcache };
            let colour = colour(&io::stdout());
            return Ok(demo::run(protocol, once, &mut io::stdout().lock(), colour)?);
        }
        #[cfg(feature = "demo")]
        Command::Node { listen, memory } => {
            log::init(Options::default().verbosity, None, None)?;
            process::raise_open_files()?;
            demo::run_node(&listen, memory, Signals::catch()?)?;
        }
        #[cfg(not(feature = "demo"))]
        Command::Demo { .. } | Command::Node { .. } => return Err(NO_DEMO.into()),
        Command::Route(question) => {
            let mut config = find(question.file.as_deref())?;
            config.choose(question.pool.as_deref())?;
            discover::look(&mut config, &question.dns, Options::default().discovery_wait);
            let pool = config.choose(question.pool.as_deref())?;
            discover::require(pool)?;
            route::run(&question, pool, io::stdin().lock(), io::stdout().lock())?;
        }
        Command::Ping(question) => {
            let (told, wrong): (Vec<_>, Vec<_>) =
                ping::run(&question)?.into_iter().partition(Result::is_ok);
            for line in told.into_iter().flatten() {
                print(&format!("{}\n", escaped(&line)))?;
            }
            if !wrong.is_empty() {
                return Err(Obstacles(wrong.into_iter().filter_map(Result::err).collect()).into());
            }
        }
        Command::Diff(question) => {
            let (mut old, mut new) = (load(&question.old)?, load(&question.new)?);
            for config in [&mut old, &mut new] {
                discover::look(config, &question.dns, Options::default().discovery_wait);
                config.pools.iter().try_for_each(discover::require)?;
            }
            diff::run(&question, &old, &new, io::stdout().lock())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The error of the shipped program, which is built without the feature `demo`.
#[cfg(not(feature = "demo"))]
const NO_DEMO: &str = "this program is built without the commands demo and node; to use them, \
                       run \"cargo run --release -- demo\" in a clone of the source";

fn serve(options: &Options) -> Outcome {
    let config = find(options.file.as_deref())?;
    let warnings = preflight::check(&config, options)?.len();
    let inherited = Inherited::take()?;
    if options.daemonize && !inherited.is_empty() {
        return Err("sockets from systemd are for a process in the foreground: leave out -d".into());
    }
    let ready = if options.daemonize {
        match process::daemonize()? {
            Daemon::Parent(code) => return Ok(code),
            Daemon::Child(ready) => ready,
        }
    } else {
        Ready::in_foreground()
    };
    log::init(options.verbosity, options.output.as_deref(), options.log_format)?;
    match serve_with_log(config, warnings, options, (inherited, ready)) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) if log::tells_the_end(&error) => Ok(ExitCode::FAILURE),
        Err(error) => Err(error.into()),
    }
}

/// Serves; logs the reason if it can't.
fn serve_with_log(
    config: Config,
    warnings: usize,
    options: &Options,
    (inherited, ready): (Inherited, Ready),
) -> io::Result<()> {
    if options.daemonize {
        process::clear_umask();
    }
    if let Some(path) = options.pid_file.as_ref().filter(|_| !options.upgrade) {
        own_files::check_pid_file_is_free(path)?;
    }
    let signals = Signals::catch()?;
    process::raise_open_files()?;
    if let Some(bytes) = options.mbuf_size {
        ::log::debug!("option -m {bytes} has no effect: nuthatch has no mbufs");
    }
    let warnings = lint::warnings(&config).len() + config.notes.len() + warnings;
    if warnings > 0 {
        ::log::warn!(warnings; "configuration has warnings; run `nuthatch -t` to list them");
    }
    nuthatch::run(config, options, inherited, signals, ready)
}

fn print(text: &str) -> io::Result<()> {
    io::stdout().write_all(text.as_bytes())
}

fn find(file: Option<&Path>) -> Result<Config, ConfigErrors> {
    let variable = |name: &str| env::var_os(name).map(|text| text.to_string_lossy().into_owned());
    Config::find(file, variable)
}

/// A configuration of a file, or that of the running proxy with this admin port.
fn load(path: &Path) -> Result<Config, Box<dyn Error>> {
    match running::admin_port(path) {
        Some(address) => Ok(running::load(path, address)??),
        None => Ok(Config::load(path)?),
    }
}

fn colour(stream: &impl IsTerminal) -> Colour {
    let is_wanted = stream.is_terminal() && env::var_os("NO_COLOR").is_none();
    if is_wanted { Colour::Ansi } else { Colour::Plain }
}
