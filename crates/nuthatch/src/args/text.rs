//! The texts of usage, help, version, and the description of the statistics.

use std::fmt::Write as _;

use super::{COMMANDS, CommandWord, FLAGS, Flag};
use crate::config::environment::VARIABLES;

/// The version, in the two lines that twemproxy has for it.
#[must_use]
pub fn version() -> String {
    concat!("This is nuthatch-", env!("CARGO_PKG_VERSION"), "\nasync event backend: epoll\n\n")
        .into()
}

/// How to call the program, in a few lines.
#[must_use]
pub fn usage() -> String {
    let mut text = String::from(
        "\
Usage: nuthatch [-?hVdDt] [-v verbosity level] [-o output file]
                [-c conf file] [-s stats port] [-a stats addr]
                [-i stats interval] [-p pid file] [-m mbuf size]
                [--workers N|auto] [--admin host:port]
                [--log-format text|json|auto]
",
    );
    for command in COMMANDS {
        let _ = writeln!(text, "       {}", call(command));
    }
    text
}

/// How to call a command, in one line.
#[must_use]
pub fn usage_of(command: &CommandWord) -> String {
    format!("Usage: {}\n", call(command))
}

pub(super) fn call(command: &CommandWord) -> String {
    format!("nuthatch {} {}", command.name, command.usage).trim_end().into()
}

/// The help of a command.
#[must_use]
pub fn help_of(command: &CommandWord) -> String {
    let mut text = usage_of(command);
    let _ = write!(text, "\n{}\nOptions:\n", command.about);
    command.flags.iter().for_each(|flag| describe(&mut text, flag));
    text.push_str("\nExamples:\n");
    for example in command.examples {
        let _ = writeln!(text, "  {example}");
    }
    let _ = writeln!(text, "\nExit code: {}", command.exit);
    text
}

/// All help.
#[must_use]
pub fn help() -> String {
    let mut text = usage();
    text.push_str(
        "
Nuthatch is a sharding proxy for memcached and Redis. It listens where clients
expect one server, and sends the request for each key to the server that owns
the key: the same server that twemproxy (nutcracker) chooses. Nuthatch reads
twemproxy's configuration and accepts twemproxy's flags.

Options:
",
    );
    FLAGS.iter().for_each(|flag| describe(&mut text, flag));
    text.push_str("\nCommands:\n");
    for command in COMMANDS {
        let _ = writeln!(text, "  {:<23}: {}", command.name, command.doc);
        let own = if command.has_flags_of_proxy() { &[] } else { command.flags };
        for flag in own.iter().filter(|flag| flag.long != "help") {
            describe(&mut text, flag);
        }
    }
    text.push_str("\nEnvironment, in place of flags:\n");
    for flag in FLAGS {
        if let Some(name) = flag.variable {
            let _ = writeln!(text, "  {name:<23}: as --{}", flag.long);
        }
    }
    text.push_str(
        "
Environment, in place of a configuration file, for one pool:
",
    );
    for variable in VARIABLES {
        let default = variable.default.map_or(String::new(), |text| format!(" [{text}]"));
        let _ = writeln!(text, "  {:<23}: {}{default}", variable.name, variable.doc);
    }
    text.push_str(
        "
Examples:
  nuthatch -c cache.yml                 serve the pools of cache.yml
  nuthatch -t -c cache.yml              check cache.yml for errors and warnings
  SERVERS=a:11211:1,b:11211:1 nuthatch  serve two servers on 127.0.0.1:11211
  nuthatch route -c cache.yml user:42   which server owns this key?
  nuthatch diff old.yml new.yml         how many keys would move?
  nuthatch demo                         see the proxy work
  nuthatch route --help                 more about one command

docs/config.md explains every directive, flag and variable.
",
    );
    text
}

fn describe(text: &mut String, flag: &Flag) {
    let short = match flag.short.chars().next() {
        Some(letter) => format!("-{letter}, "),
        None => "    ".into(),
    };
    let argument = if flag.argument.is_empty() { "" } else { "=" };
    let names = format!("{short}--{}{argument}{}", flag.long, flag.argument);
    let _ = writeln!(text, "  {names:<23}: {}", flag.doc);
}

/// What the statistics mean, laid out as twemproxy's `-D`.
#[must_use]
pub fn describe_stats() -> String {
    let mut text = String::from("pool stats:\n");
    for (name, meaning) in POOL_STATS {
        let _ = writeln!(text, "  {name:<19} \"{meaning}\"");
    }
    text.push_str("\nserver stats:\n");
    for (name, meaning) in SERVER_STATS {
        let _ = writeln!(text, "  {name:<19} \"{meaning}\"");
    }
    text
}

const POOL_STATS: &[(&str, &str)] = &[
    ("client_eof", "clients that closed their connection"),
    ("client_err", "client connections that ended with an error"),
    ("client_connections", "clients connected now"),
    ("server_ejects", "how often a server was ejected from the ring"),
    ("forward_error", "requests and fragments that the proxy answered with an error"),
    ("fragments", "fragments made by splitting requests for several servers"),
];

const SERVER_STATS: &[(&str, &str)] = &[
    ("server_eof", "connections that the server closed"),
    ("server_err", "server connections that ended with an error"),
    ("server_timedout", "requests that took longer than the timeout"),
    ("server_connections", "connections to the server now"),
    ("server_ejected_at", "when the server was last ejected, in microseconds since 1970"),
    ("requests", "requests sent"),
    ("request_bytes", "bytes of requests sent"),
    ("responses", "responses received"),
    ("response_bytes", "bytes of responses received"),
    ("in_queue", "requests waiting to be sent"),
    ("in_queue_bytes", "bytes of requests waiting to be sent"),
    ("out_queue", "requests sent and not yet answered"),
    ("out_queue_bytes", "bytes of requests sent and not yet answered"),
];
