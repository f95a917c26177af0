//! The command line: twemproxy's flags, letter for letter, and a few commands before them.
//!
//! The one rule: a command line that nutcracker accepts has the same meaning here, and one that
//! nutcracker refuses is refused with the same text. Additions (the commands, `--workers`) start
//! with words or long flags that nutcracker never had. The flags are data (`args/flag.rs`):
//! reading, help and documentation come from one table.

use std::ffi::OsString;
use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::Listen;
use crate::escape::escaped;
use crate::log::Format;
use crate::resolve;
use crate::suggest;

mod command;
mod completions;
mod finish;
mod flag;
mod line;
mod man;
mod text;
mod url;

use command::SHELLS;
pub use command::{COMMANDS, CommandWord, Words};
pub use completions::{Shell, completions};
pub use flag::{FLAGS, Flag};
use line::{Line, Token};
pub use man::man;
pub use text::{describe_stats, help, help_of, usage, usage_of, version};
pub use url::Url;
pub(crate) use url::What;

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Show the version, then all help.
    Help,
    /// Show the help of a command.
    HelpOf(&'static CommandWord),
    /// Show the version.
    Version,
    /// Describe the statistics.
    DescribeStats,
    /// Check the configuration, and whether it can be served with these options.
    Test {
        /// Those of the proxy.
        options: Options,
        /// Whether to open the listeners, too.
        binds: bool,
    },
    /// Run the proxy.
    Serve(Options),
    /// Run the proxy with test servers and a test load.
    Demo {
        /// Exit after one round instead of waiting for Ctrl-C.
        once: bool,
        /// Whether the servers and the load speak Redis's protocol.
        redis: bool,
    },
    /// Run a small memcached server.
    Node {
        /// Where to listen, `host:port`.
        listen: String,
        /// Memory for items, in MiB.
        memory: usize,
    },
    /// Print the server of each key.
    Route(Route),
    /// Count the keys that move between two configurations.
    Diff(Diff),
    /// Ask servers for a sign of life.
    Ping(Ping),
    /// Print the completions for a shell.
    Completions(Shell),
    /// Print the manual page.
    Man,
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
    /// Whether to run in the background.
    pub daemonize: bool,
    /// Threads that serve clients.
    pub workers: NonZeroUsize,
    /// The address of the admin port, if there is one.
    pub admin: Option<Listen>,
    /// Whether a changed configuration file is left alone until a signal or a request comes.
    pub ignores_changes: bool,
    /// The format of the log; `None` chooses by the destination.
    pub log_format: Option<Format>,
    /// How names are resolved.
    pub dns: resolve::Options,
    /// How long the start waits for servers that DNS tells of.
    pub discovery_wait: Duration,
    /// The unix socket on which the next process can take over.
    pub control: Option<PathBuf>,
    /// Whether this is the next process.
    pub upgrade: bool,
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
            ignores_changes: false,
            log_format: None,
            dns: resolve::Options::default(),
            discovery_wait: Duration::from_secs(5),
            control: None,
            upgrade: false,
        }
    }
}

/// The arguments of `nuthatch route`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Route {
    /// The configuration file; `None` looks for the default one, then at the environment.
    pub file: Option<PathBuf>,
    /// The pool, if there are several.
    pub pool: Option<String>,
    /// Whether to print all details as JSON.
    pub json: bool,
    /// The keys; none means to read them from standard input.
    pub keys: Vec<OsString>,
    /// How names are resolved.
    pub dns: resolve::Options,
}

/// The arguments of `nuthatch diff`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diff {
    /// The configuration before.
    pub old: PathBuf,
    /// The configuration after.
    pub new: PathBuf,
    /// The only pool to compare; `None` compares all.
    pub pool: Option<String>,
    /// A file with one key a line; `None` takes generated keys.
    pub keys: Option<PathBuf>,
    /// Whether to print the result as JSON.
    pub json: bool,
    /// How names are resolved.
    pub dns: resolve::Options,
}

/// The arguments of `nuthatch ping`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ping {
    /// What to ask; at least one.
    pub urls: Vec<Url>,
    /// How long all of it may take.
    pub timeout: Duration,
    /// A file with the password for Redis.
    pub password_file: Option<PathBuf>,
    /// How names are resolved.
    pub dns: resolve::Options,
}

impl Default for Ping {
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            timeout: Duration::from_secs(3),
            password_file: None,
            dns: resolve::Options::default(),
        }
    }
}

/// Why a command line is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageError {
    text: String,
    /// The command whose line it is; `None` is the proxy.
    command: Option<&'static CommandWord>,
}

impl UsageError {
    fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), command: None }
    }

    /// The usage of the command that was called wrongly.
    #[must_use]
    pub fn usage(&self) -> String {
        self.command.map_or_else(usage, usage_of)
    }
}

impl fmt::Display for UsageError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", escaped(&self.text))
    }
}

impl std::error::Error for UsageError {}

impl From<lexopt::Error> for UsageError {
    fn from(error: lexopt::Error) -> Self {
        Self::new(error.to_string())
    }
}

/// All that a command line may give: each flag has its field.
#[derive(Debug)]
struct Given {
    help: bool,
    version: bool,
    describe_stats: bool,
    test: bool,
    binds: bool,
    options: Options,
    once: bool,
    demo_redis: bool,
    node_listen: String,
    node_memory: usize,
    route: Route,
    diff: Diff,
    ping: Ping,
    /// The arguments that are not flags.
    words: Vec<OsString>,
}

impl Default for Given {
    fn default() -> Self {
        Self {
            help: false,
            version: false,
            describe_stats: false,
            test: false,
            binds: false,
            options: Options::default(),
            once: false,
            demo_redis: false,
            node_listen: "127.0.0.1:11211".into(),
            node_memory: 64,
            route: Route::default(),
            diff: Diff::default(),
            ping: Ping::default(),
            words: Vec::new(),
        }
    }
}

/// Parses the arguments of the process; the first is its name. `variable` returns a variable of the
/// environment; a variable in place of a flag applies only if the flag is not given.
///
/// # Errors
/// The first invalid argument or variable.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Command, UsageError> {
    let mut arguments: Vec<OsString> = arguments.into_iter().skip(1).collect();
    let word = arguments.first().and_then(|first| first.to_str());
    let command = COMMANDS.iter().find(|command| Some(command.name) == word);
    match command {
        None => given_of(arguments, variable).and_then(finish::serve),
        Some(word) => {
            arguments.remove(0);
            let parsed = if word.has_flags_of_proxy() {
                given_of(arguments, variable).and_then(word.finish)
            } else {
                command_of(word, arguments, variable)
            };
            parsed.map_err(|error| UsageError { command, ..error })
        }
    }
}

fn command_of(
    word: &'static CommandWord,
    rest: Vec<OsString>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Command, UsageError> {
    let (mut given, mut seen) = (Given::default(), Vec::new());
    let mut line = Line::new(rest, word.flags);
    while let Some(token) = line.next()? {
        match token {
            Token::Flag(flag) => {
                line.read(flag, &mut given)?;
                seen.push(flag.long);
            }
            Token::Word(word) => given.words.push(word),
        }
    }
    if given.help {
        return Ok(Command::HelpOf(word));
    }
    // A variable that does not matter can't be wrong.
    if given.words.is_empty() {
        for flag in word.flags.iter().filter(|flag| !seen.contains(&flag.long)) {
            flag.read_variable(&mut given, &variable)?;
        }
    }
    (word.finish)(given)
}

/// The flags of the proxy itself; its variables are read only if the proxy is to run.
fn given_of(
    arguments: Vec<OsString>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Given, UsageError> {
    let (mut given, mut seen) = (Given::default(), Vec::new());
    let mut line = Line::new(arguments, FLAGS);
    while let Some(token) = line.next()? {
        match token {
            Token::Flag(flag) => {
                line.read(flag, &mut given)?;
                seen.push(flag.long);
            }
            Token::Word(word) => return Err(unknown_word(&word)),
        }
    }
    if !(given.help || given.version || given.describe_stats) {
        for flag in FLAGS.iter().filter(|flag| !seen.contains(&flag.long)) {
            flag.read_variable(&mut given, &variable)?;
        }
    }
    if given.options.dns.ttl_min > given.options.dns.ttl_max {
        let text = "option --dns-ttl-min must not be greater than --dns-ttl-max";
        return Err(UsageError::new(text));
    }
    Ok(given)
}

fn unknown_word(word: &OsString) -> UsageError {
    let word = word.to_string_lossy();
    if let Some(command) = COMMANDS.iter().find(|command| command.name == word) {
        let call = text::call(command);
        return UsageError::new(format!("write the command before its options: {call}"));
    }
    let meant = suggest::nearest(&word, COMMANDS.iter().map(|command| command.name));
    let meant = meant.map_or_else(String::new, |known| format!("; did you mean '{known}'?"));
    UsageError::new(format!("unexpected argument '{word}'{meant}"))
}

#[cfg(test)]
mod tests;
