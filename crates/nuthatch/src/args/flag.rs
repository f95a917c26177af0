//! The flags and commands, as data.
//!
//! The one rule: what can be written on the command line stands here once, with the sentence that
//! the help prints.

/// A flag.
#[derive(Debug)]
pub struct Flag {
    /// Its letters; most flags have one.
    pub short: &'static str,
    /// Its long name, without dashes.
    pub long: &'static str,
    /// What its argument is called; empty if it takes none.
    pub argument: &'static str,
    /// What it does.
    pub doc: &'static str,
    /// The environment variable that stands for it where the command line does not have it.
    pub variable: Option<&'static str>,
}

const fn flag(
    short: &'static str,
    long: &'static str,
    argument: &'static str,
    doc: &'static str,
) -> Flag {
    Flag { short, long, argument, doc, variable: None }
}

impl Flag {
    const fn or_variable(self, name: &'static str) -> Self {
        Self { variable: Some(name), ..self }
    }
}

/// The flags of the proxy: twemproxy's, in its order, then ours.
pub static FLAGS: &[Flag] = &[
    flag("h?", "help", "", "show this help"),
    flag("V", "version", "", "show the version"),
    flag("t", "test-conf", "", "check the configuration, warn of traps, and end"),
    flag("d", "daemonize", "", "go on in the background"),
    flag("D", "describe-stats", "", "say what the statistics mean"),
    flag("v", "verbose", "N", "log level, 0 to 11 (default: 5)").or_variable("LOG_LEVEL"),
    flag("o", "output", "FILE", "log to this file (default: standard error)"),
    flag("c", "conf-file", "FILE", "configuration (default: conf/nutcracker.yml)"),
    flag("s", "stats-port", "PORT", "port of the statistics (default: 22222)"),
    flag("a", "stats-addr", "ADDR", "address of the statistics (default: 0.0.0.0)"),
    flag("i", "stats-interval", "MS", "taken for twemproxy's sake: statistics are always current"),
    flag("p", "pid-file", "FILE", "write the process id there (default: nowhere)"),
    flag("m", "mbuf-size", "BYTES", "taken for twemproxy's sake: there are no mbufs"),
    flag("", "workers", "N|auto", "threads; auto is one for each CPU granted (default: 1)")
        .or_variable("WORKERS"),
    flag("", "admin", "HOST:PORT", "serve metrics and health by HTTP there (default: nowhere)")
        .or_variable("ADMIN_LISTEN"),
    flag("", "log-format", "FORMAT", "text, json, or auto: text on a terminal (default: auto)")
        .or_variable("LOG_FORMAT"),
];

/// A word in the place of the first argument.
#[derive(Debug)]
pub struct CommandWord {
    /// The word.
    pub name: &'static str,
    /// What may follow it.
    pub usage: &'static str,
    /// What it does.
    pub doc: &'static str,
    /// Its flags.
    pub flags: &'static [Flag],
}

const HELP: Flag = flag("h?", "help", "", "show this help");
const POOL: Flag = flag("p", "pool", "POOL", "the pool, where there are several");
const JSON: Flag = flag("", "json", "", "answer as JSON");

/// The commands.
pub static COMMANDS: &[CommandWord] = &[
    CommandWord {
        name: "demo",
        usage: "[--once]",
        doc: "show the proxy at work, with three servers and a load of its own",
        flags: &[HELP, flag("", "once", "", "end after one round")],
    },
    CommandWord {
        name: "node",
        usage: "[-l ADDR] [-m MB]",
        doc: "be a small memcached server, to try things with",
        flags: &[
            HELP,
            flag("l", "listen", "ADDR", "where to listen (default: 127.0.0.1:11211)"),
            flag("m", "memory", "MB", "memory for items (default: 64)"),
        ],
    },
    CommandWord {
        name: "route",
        usage: "[-c FILE] [-p POOL] [--json] [KEY...]",
        doc: "say which server has a key; keys also come as lines of standard input",
        flags: &[
            HELP,
            flag("c", "conf-file", "FILE", "configuration (default: as the proxy's)"),
            POOL,
            JSON,
        ],
    },
    CommandWord {
        name: "diff",
        usage: "OLD NEW [-p POOL] [--keys FILE] [--json]",
        doc: "say which keys would move from one configuration to the other",
        flags: &[HELP, POOL, flag("", "keys", "FILE", "the keys to compare, one a line"), JSON],
    },
];
