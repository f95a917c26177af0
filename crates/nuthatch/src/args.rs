//! The command line: twemproxy's flags, letter for letter, and a few commands before them.
//!
//! The one rule: a command line that nutcracker takes means the same here, and one that it refuses
//! is refused in its words. What is ours (the commands, `--workers`) begins with words or long
//! flags that nutcracker never had. The flags are data (`args/flag.rs`): reading, help and
//! documentation come from one table.

use std::ffi::OsString;
use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use lexopt::{Arg, Parser, ValueExt};

use crate::config::{self, Listen, cpus};
use crate::escape::escaped;
use crate::log::{self, Format};
use crate::suggest;

mod flag;
mod text;

pub use flag::{COMMANDS, CommandWord, FLAGS, Flag};
pub use text::{describe_stats, help, usage, version};

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Show the version, then all help.
    Help,
    /// Show the version.
    Version,
    /// Say what the statistics mean.
    DescribeStats,
    /// Check the configuration (of this file, if one is given).
    Test(Option<PathBuf>),
    /// Be the proxy.
    Serve(Options),
    /// Show the proxy at work, with servers and load of its own.
    Demo {
        /// End after one round instead of waiting for Ctrl-C.
        once: bool,
    },
    /// Be a small memcached server.
    Node {
        /// Where to listen, `host:port`.
        listen: String,
        /// Memory for items, in MiB.
        memory: usize,
    },
    /// Say which server has a key.
    Route(Route),
    /// Say which keys move between two configurations.
    Diff(Diff),
}

/// How the proxy runs; the flags of twemproxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The configuration file; `None` looks for the default one, then at the environment.
    pub file: Option<PathBuf>,
    /// The log file; `None` is standard error.
    pub output: Option<PathBuf>,
    /// The log level, 0 to 11.
    pub verbosity: u8,
    /// The port of the statistics, from 1.
    pub stats_port: u16,
    /// The address of the statistics, or the path of a unix socket.
    pub stats_addr: String,
    /// Accepted for twemproxy's sake, in milliseconds: statistics are always current.
    pub stats_interval: u32,
    /// Accepted for twemproxy's sake, in bytes: there are no mbufs.
    pub mbuf_size: Option<u32>,
    /// Where to write the process id.
    pub pid_file: Option<PathBuf>,
    /// Whether to go on in the background.
    pub daemonize: bool,
    /// Threads that serve clients.
    pub workers: NonZeroUsize,
    /// Where metrics and health are served by HTTP, if they are.
    pub admin: Option<Listen>,
    /// What a line of the log looks like; `None` goes by where it is written to.
    pub log_format: Option<Format>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            file: None,
            output: None,
            verbosity: 5,
            stats_port: 22222,
            stats_addr: "0.0.0.0".into(),
            stats_interval: 30_000,
            mbuf_size: None,
            pid_file: None,
            daemonize: false,
            workers: NonZeroUsize::MIN,
            admin: None,
            log_format: None,
        }
    }
}

/// What `nuthatch route` is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Route {
    /// The configuration file; `None` looks for the default one, then at the environment.
    pub file: Option<PathBuf>,
    /// The pool, if there are several.
    pub pool: Option<String>,
    /// Whether to answer with all there is to know, as JSON.
    pub json: bool,
    /// The keys; none means to read them from standard input.
    pub keys: Vec<OsString>,
}

/// What `nuthatch diff` is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diff {
    /// The configuration before.
    pub old: PathBuf,
    /// The configuration after.
    pub new: PathBuf,
    /// The pool, if not all that have the same name in both.
    pub pool: Option<String>,
    /// A file with one key a line; `None` takes generated keys.
    pub keys: Option<PathBuf>,
    /// Whether to answer as JSON.
    pub json: bool,
}

/// Why a command line is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageError(String);

impl fmt::Display for UsageError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", escaped(&self.0))
    }
}

impl std::error::Error for UsageError {}

impl From<lexopt::Error> for UsageError {
    fn from(error: lexopt::Error) -> Self {
        Self(error.to_string())
    }
}

/// Reads the arguments of the process, of which the first is its name. `variable` looks a variable
/// of the environment up; those that stand for flags of the proxy count only where these are not.
///
/// # Errors
/// The first argument, or variable, that has no meaning.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Command, UsageError> {
    let arguments: Vec<OsString> = arguments.into_iter().skip(1).collect();
    let word = arguments.first().and_then(|first| first.to_str());
    let command = COMMANDS.iter().find(|command| Some(command.name) == word);
    let rest = arguments.iter().skip(usize::from(command.is_some())).cloned();
    let flags = command.map_or(FLAGS, |command| command.flags);
    let mut line = Line { parser: Parser::from_args(rest), flags };
    match command.map(|command| command.name) {
        None => serve(&mut line, variable),
        Some("demo") => demo(&mut line),
        Some("node") => node(&mut line),
        Some("route") => route(&mut line),
        Some("diff") => diff(&mut line),
        Some(name) => unreachable!("the command {name} is in the table but is not read"),
    }
}

/// The proxy's own flags. As in twemproxy all of them are read before `-h`, `-V`, `-D` and `-t`
/// take effect, in this order.
fn serve(
    line: &mut Line,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Command, UsageError> {
    let mut options = Options::default();
    let (mut help, mut version, mut describe, mut test) = (false, false, false, false);
    let mut given = Vec::new();
    while let Some(token) = line.next()? {
        let flag = match token {
            Token::Flag(flag) => flag,
            Token::Word(word) => return Err(unknown_word(&word)),
        };
        given.push(flag.long);
        match flag.long {
            "help" => help = true,
            "version" => version = true,
            "describe-stats" => describe = true,
            "test-conf" => test = true,
            _ => set(&mut options, flag, line)?,
        }
    }
    match () {
        () if help => return Ok(Command::Help),
        () if version => return Ok(Command::Version),
        () if describe => return Ok(Command::DescribeStats),
        () => {}
    }
    for flag in FLAGS.iter().filter(|flag| !given.contains(&flag.long)) {
        set_by_variable(&mut options, flag, &variable)?;
    }
    Ok(if test { Command::Test(options.file) } else { Command::Serve(options) })
}

/// Reads a flag from the environment that the command line does not have; an empty variable is an
/// unset one.
fn set_by_variable(
    options: &mut Options,
    flag: &'static Flag,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<(), UsageError> {
    let Some(name) = flag.variable else { return Ok(()) };
    let Some(value) = variable(name).filter(|value| !value.is_empty()) else { return Ok(()) };
    // Containers know levels by their names.
    let level = value.to_str().and_then(log::level_of_name).filter(|_| flag.long == "verbose");
    if let Some(level) = level {
        options.verbosity = level;
        return Ok(());
    }
    let mut argument = OsString::from(format!("--{}=", flag.long));
    argument.push(&value);
    let mut line = Line { parser: Parser::from_args([argument]), flags: FLAGS };
    line.next()?;
    set(options, flag, &mut line)
        .map_err(|UsageError(error)| UsageError(format!("environment: {name}: {value:?}: {error}")))
}

/// Reads the value of a flag that says how the proxy runs.
fn set(options: &mut Options, flag: &Flag, line: &mut Line) -> Result<(), UsageError> {
    match flag.long {
        "daemonize" => options.daemonize = true,
        "verbose" => options.verbosity = line.number(flag)?.min(11).try_into().unwrap_or(11),
        "output" => options.output = Some(line.file(flag)?),
        "conf-file" => options.file = Some(line.file(flag)?),
        "stats-port" => options.stats_port = line.port(flag)?,
        "stats-addr" => options.stats_addr = line.string(flag)?,
        "stats-interval" => options.stats_interval = line.number(flag)?,
        "pid-file" => options.pid_file = Some(line.file(flag)?),
        "mbuf-size" => options.mbuf_size = Some(line.mbuf_size(flag)?),
        "workers" => options.workers = line.workers()?,
        "admin" => options.admin = Some(line.host_port(flag)?),
        "log-format" => options.log_format = line.log_format(flag)?,
        name => unreachable!("the flag {name} is in the table but is not read"),
    }
    Ok(())
}

fn demo(line: &mut Line) -> Result<Command, UsageError> {
    let mut once = false;
    while let Some(token) = line.next()? {
        match token {
            Token::Flag(flag) if flag.long == "help" => return Ok(Command::Help),
            Token::Flag(_) => once = true,
            Token::Word(word) => return Err(unexpected(&word)),
        }
    }
    Ok(Command::Demo { once })
}

fn node(line: &mut Line) -> Result<Command, UsageError> {
    let (mut listen, mut memory) = (String::from("127.0.0.1:11211"), 64);
    while let Some(token) = line.next()? {
        match token {
            Token::Flag(flag) => match flag.long {
                "help" => return Ok(Command::Help),
                "listen" => listen = line.string(flag)?,
                _ => memory = usize::try_from(line.number(flag)?.max(1)).unwrap_or(usize::MAX),
            },
            Token::Word(word) => return Err(unexpected(&word)),
        }
    }
    Ok(Command::Node { listen, memory })
}

fn route(line: &mut Line) -> Result<Command, UsageError> {
    let mut route = Route::default();
    while let Some(token) = line.next()? {
        match token {
            Token::Flag(flag) => match flag.long {
                "help" => return Ok(Command::Help),
                "conf-file" => route.file = Some(line.file(flag)?),
                "pool" => route.pool = Some(line.string(flag)?),
                _ => route.json = true,
            },
            Token::Word(key) => route.keys.push(key),
        }
    }
    Ok(Command::Route(route))
}

fn diff(line: &mut Line) -> Result<Command, UsageError> {
    let mut diff = Diff::default();
    let mut files = Vec::new();
    while let Some(token) = line.next()? {
        match token {
            Token::Flag(flag) => match flag.long {
                "help" => return Ok(Command::Help),
                "pool" => diff.pool = Some(line.string(flag)?),
                "keys" => diff.keys = Some(line.file(flag)?),
                _ => diff.json = true,
            },
            Token::Word(file) => files.push(PathBuf::from(file)),
        }
    }
    let [old, new] = <[PathBuf; 2]>::try_from(files)
        .map_err(|_| UsageError("diff compares two files: nuthatch diff OLD NEW".into()))?;
    Ok(Command::Diff(Diff { old, new, ..diff }))
}

/// The arguments that are left, and the flags that may be among them.
struct Line {
    parser: Parser,
    flags: &'static [Flag],
}

enum Token {
    Flag(&'static Flag),
    Word(OsString),
}

impl Line {
    fn next(&mut self) -> Result<Option<Token>, UsageError> {
        let flags = self.flags;
        Ok(Some(match self.parser.next()? {
            None => return Ok(None),
            Some(Arg::Value(word)) => Token::Word(word),
            Some(Arg::Short(letter)) => {
                let found = flags.iter().find(|flag| flag.short.contains(letter));
                Token::Flag(found.ok_or_else(|| invalid_option(&letter.to_string(), flags))?)
            }
            Some(Arg::Long(name)) => {
                Token::Flag(long(name, flags).ok_or_else(|| invalid_option(name, flags))?)
            }
        }))
    }

    /// The argument of `flag`, which `needs` names in the message of its absence.
    fn value(&mut self, flag: &Flag, needs: &str) -> Result<OsString, UsageError> {
        self.parser.value().map_err(|_| flag.refuse(needs))
    }

    fn file(&mut self, flag: &Flag) -> Result<PathBuf, UsageError> {
        self.value(flag, "requires a file name").map(PathBuf::from)
    }

    fn string(&mut self, flag: &Flag) -> Result<String, UsageError> {
        let needs = "requires a string";
        self.value(flag, needs)?.string().map_err(|_| flag.refuse(needs))
    }

    /// Digits only, at most what twemproxy's signed 32 bits hold.
    fn number(&mut self, flag: &Flag) -> Result<u32, UsageError> {
        let needs = "requires a number";
        let text = self.value(flag, needs)?;
        let digits = text.to_str().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let number = digits.and_then(|digits| digits.parse().ok());
        number.filter(|number| i32::try_from(*number).is_ok()).ok_or_else(|| flag.refuse(needs))
    }

    fn port(&mut self, flag: &Flag) -> Result<u16, UsageError> {
        let number = self.number(flag)?;
        let port = u16::try_from(number).ok().filter(|port| *port > 0);
        port.ok_or_else(|| flag.refuse(&format!("value {number} is not a valid port")))
    }

    fn mbuf_size(&mut self, flag: &Flag) -> Result<u32, UsageError> {
        let needs = || flag.refuse("requires a non-zero number");
        match self.number(flag).map_err(|_| needs())? {
            0 => Err(needs()),
            size @ 512..=16_777_216 => Ok(size),
            _ => {
                let wrong = "mbuf chunk size must be between 512 and 16777216 bytes";
                Err(UsageError(wrong.into()))
            }
        }
    }

    /// An address as `listen` takes it, but no unix socket.
    fn host_port(&mut self, flag: &Flag) -> Result<Listen, UsageError> {
        let needs = "requires host:port, such as 127.0.0.1:9600";
        let text = self.string(flag).map_err(|_| flag.refuse(needs))?;
        let address = config::parse_listen(&text);
        address.filter(|it| matches!(it, Listen::Tcp { .. })).ok_or_else(|| flag.refuse(needs))
    }

    fn log_format(&mut self, flag: &Flag) -> Result<Option<Format>, UsageError> {
        match self.value(flag, "").unwrap_or_default().to_str() {
            Some("auto") => Ok(None),
            Some("text") => Ok(Some(Format::Text)),
            Some("json") => Ok(Some(Format::Json)),
            _ => Err(flag.refuse("requires text, json or auto")),
        }
    }

    fn workers(&mut self) -> Result<NonZeroUsize, UsageError> {
        let text = self.parser.value().ok().and_then(|text| text.into_string().ok());
        let number = match text.as_deref() {
            Some("auto") => return Ok(cpus::granted()),
            Some(text) => text.parse().ok().filter(|workers| *workers <= WORKERS_MAX),
            None => None,
        };
        number.ok_or_else(|| {
            UsageError(format!(
                "option --workers requires a number from 1 to {WORKERS_MAX}, or auto"
            ))
        })
    }
}

impl Flag {
    fn refuse(&self, why: &str) -> UsageError {
        UsageError(match self.short.chars().next() {
            Some(letter) => format!("option -{letter} {why}"),
            None => format!("option --{} {why}", self.long),
        })
    }
}

/// The flag of that long name, or the only one that begins so (as `getopt_long` has it).
fn long(name: &str, flags: &'static [Flag]) -> Option<&'static Flag> {
    let exact = flags.iter().find(|flag| flag.long == name);
    exact.or_else(|| {
        let mut begun = flags.iter().filter(|flag| flag.long.starts_with(name));
        begun.next().filter(|_| begun.next().is_none())
    })
}

fn invalid_option(name: &str, flags: &[Flag]) -> UsageError {
    if name.chars().count() == 1 {
        return UsageError(format!("invalid option -- '{name}'"));
    }
    let meant = suggest::nearest(name, flags.iter().map(|flag| flag.long));
    let meant = meant.map_or_else(String::new, |known| format!("; did you mean '--{known}'?"));
    UsageError(format!("invalid option -- '--{name}'{meant}"))
}

fn unknown_word(word: &OsString) -> UsageError {
    let word = word.to_string_lossy();
    if let Some(command) = COMMANDS.iter().find(|command| command.name == word) {
        let name = command.name;
        return UsageError(format!("the command comes first: nuthatch {name} {}", command.usage));
    }
    let meant = suggest::nearest(&word, COMMANDS.iter().map(|command| command.name));
    let meant = meant.map_or_else(String::new, |known| format!("; did you mean '{known}'?"));
    UsageError(format!("unexpected argument '{word}'{meant}"))
}

fn unexpected(word: &OsString) -> UsageError {
    UsageError(format!("unexpected argument '{}'", word.to_string_lossy()))
}

/// More threads than any machine has use for.
const WORKERS_MAX: NonZeroUsize = NonZeroUsize::new(1024).expect("1024 is not 0");

#[cfg(test)]
mod tests;
