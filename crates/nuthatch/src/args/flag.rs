//! The flags and commands, as data.
//!
//! The one rule: each flag and command is defined here once: the field that it sets, and the texts
//! for the help, the manual and the completions.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use super::{Command, Given, UsageError, finish};
use crate::config::Listen;
use crate::log::Format;

/// A flag.
#[derive(Debug)]
pub struct Flag {
    /// Its letters; most flags have one.
    pub short: &'static str,
    /// Its long name, without dashes.
    pub long: &'static str,
    /// The name of its argument; empty if it takes none.
    pub argument: &'static str,
    /// What it does.
    pub doc: &'static str,
    /// The environment variable that applies if the command line does not have the flag.
    pub variable: Option<&'static str>,
    /// What it takes, and the field that it sets.
    pub(super) reads: Reads,
}

/// What a flag takes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Reads {
    /// Nothing: the flag is given or not.
    Switch(Slot<bool>),
    /// A log level.
    Level(Slot<u8>),
    /// A whole number.
    Number(Slot<u32>),
    /// A number from 1.
    Size(Slot<usize>),
    /// A port.
    Port(Slot<u16>),
    /// The name of a file.
    File(Slot<Option<PathBuf>>),
    /// The name of a file that is always needed.
    Path(Slot<PathBuf>),
    /// Seconds from 1 to a day.
    Seconds(Slot<Duration>),
    /// Any text.
    Text(Slot<String>),
    /// The name of something.
    Name(Slot<Option<String>>),
    /// An address to listen on without its port, or the path of a unix socket.
    Address(Slot<String>),
    /// The size of twemproxy's mbufs.
    MbufSize(Slot<Option<u32>>),
    /// A number of threads, or `auto`.
    Workers(Slot<NonZeroUsize>),
    /// An address to listen on with its port.
    HostPort(Slot<Option<Listen>>),
    /// The format of the log.
    LogFormat(Slot<Option<Format>>),
}

/// The field that a flag sets.
pub(super) type Slot<T> = fn(&mut Given) -> &mut T;

const fn flag(
    short: &'static str,
    long: &'static str,
    argument: &'static str,
    doc: &'static str,
    reads: Reads,
) -> Flag {
    Flag { short, long, argument, doc, variable: None, reads }
}

const fn switch(
    short: &'static str,
    long: &'static str,
    doc: &'static str,
    slot: Slot<bool>,
) -> Flag {
    flag(short, long, "", doc, Reads::Switch(slot))
}

const fn file(
    short: &'static str,
    long: &'static str,
    doc: &'static str,
    slot: Slot<Option<PathBuf>>,
) -> Flag {
    flag(short, long, "FILE", doc, Reads::File(slot))
}

const fn resolv_conf(slot: Slot<PathBuf>) -> Flag {
    let doc = "name servers and search list (default: /etc/resolv.conf)";
    flag("", "resolv-conf", "FILE", doc, Reads::Path(slot))
}

impl Flag {
    const fn or_variable(self, name: &'static str) -> Self {
        Self { variable: Some(name), ..self }
    }

    /// What its argument can be, where that is a choice.
    pub(super) fn choices(&self) -> &'static [&'static str] {
        match self.reads {
            Reads::Workers(_) => &["auto"],
            Reads::LogFormat(_) => &["text", "json", "auto"],
            _ => &[],
        }
    }

    /// Whether its argument is the name of a file.
    pub(super) fn takes_file(&self) -> bool {
        matches!(self.reads, Reads::File(_) | Reads::Path(_))
    }
}

const HELP: Flag = switch("h?", "help", "show this help", |given| &mut given.help);

/// The flags of the proxy: twemproxy's, in its order, then ours.
pub static FLAGS: &[Flag] = &[
    HELP,
    switch("V", "version", "show the version", |given| &mut given.version),
    switch(
        "t",
        "test-conf",
        "check the configuration, print errors and warnings, and exit",
        |given| &mut given.test,
    ),
    switch("d", "daemonize", "run in the background", |given| &mut given.options.daemonize),
    switch("D", "describe-stats", "describe the statistics and exit", |given| {
        &mut given.describe_stats
    }),
    flag(
        "v",
        "verbose",
        "N",
        "log level, 0 to 11 (default: 5)",
        Reads::Level(|given| &mut given.options.verbosity),
    )
    .or_variable("LOG_LEVEL"),
    file("o", "output", "log to this file (default: standard error)", |given| {
        &mut given.options.output
    }),
    file(
        "c",
        "conf-file",
        "configuration file (default: conf/nutcracker.yml, else the environment)",
        |given| &mut given.options.file,
    ),
    flag(
        "s",
        "stats-port",
        "PORT",
        "statistics port (default: 22222)",
        Reads::Port(|given| &mut given.options.stats_port),
    ),
    flag(
        "a",
        "stats-addr",
        "ADDR",
        "statistics address, * for all, or a unix socket's path (default: 0.0.0.0)",
        Reads::Address(|given| &mut given.options.stats_addr),
    ),
    flag(
        "i",
        "stats-interval",
        "MS",
        "accepted for twemproxy's sake, no effect: statistics are always current",
        Reads::Number(|given| &mut given.options.stats_interval),
    ),
    file("p", "pid-file", "write the process id to this file (default: no file)", |given| {
        &mut given.options.pid_file
    }),
    flag(
        "m",
        "mbuf-size",
        "BYTES",
        "accepted for twemproxy's sake, no effect: there are no mbufs",
        Reads::MbufSize(|given| &mut given.options.mbuf_size),
    ),
    switch("", "bind", "with -t: also open every listener, and close it", |given| &mut given.binds),
    flag(
        "",
        "workers",
        "N|auto",
        "number of worker threads; auto: one per available CPU (default: 1)",
        Reads::Workers(|given| &mut given.options.workers),
    )
    .or_variable("WORKERS"),
    flag(
        "",
        "admin",
        "HOST:PORT",
        "serve metrics and health checks over HTTP on this address (default: off)",
        Reads::HostPort(|given| &mut given.options.admin),
    )
    .or_variable("ADMIN_LISTEN"),
    switch(
        "",
        "no-watch",
        "reload a changed configuration file only on SIGHUP and POST /reload",
        |given| &mut given.options.ignores_changes,
    ),
    file(
        "",
        "control",
        "unix socket on which the next process can take over (default: off)",
        |given| &mut given.options.control,
    ),
    flag(
        "",
        "log-format",
        "FORMAT",
        "text, json, or auto: text on a terminal (default: auto)",
        Reads::LogFormat(|given| &mut given.options.log_format),
    )
    .or_variable("LOG_FORMAT"),
    resolv_conf(|given| &mut given.options.dns.resolv_conf).or_variable("RESOLV_CONF"),
    flag(
        "",
        "dns-ttl-min",
        "SEC",
        "shortest use of a DNS answer, whatever its TTL is (default: 1)",
        Reads::Seconds(|given| &mut given.options.dns.ttl_min),
    )
    .or_variable("DNS_TTL_MIN"),
    flag(
        "",
        "dns-ttl-max",
        "SEC",
        "longest use of a DNS answer, whatever its TTL is (default: 30)",
        Reads::Seconds(|given| &mut given.options.dns.ttl_max),
    )
    .or_variable("DNS_TTL_MAX"),
    flag(
        "",
        "discovery-wait",
        "SEC",
        "longest wait at the start for discovered servers (default: 5)",
        Reads::Seconds(|given| &mut given.options.discovery_wait),
    )
    .or_variable("DISCOVERY_WAIT"),
    flag(
        "",
        "discovery-hold",
        "SEC",
        "time that a pod or target that is away stays (default: 30)",
        Reads::Seconds(|given| &mut given.options.dns.hold),
    )
    .or_variable("DISCOVERY_HOLD"),
    flag(
        "",
        "service-account",
        "DIR",
        "folder of the credentials for k8s+ (default: Kubernetes' own)",
        Reads::Path(|given| &mut given.options.dns.service_account),
    ),
];

/// A command: the first argument.
#[derive(Debug)]
pub struct CommandWord {
    /// The word.
    pub name: &'static str,
    /// What may follow it.
    pub usage: &'static str,
    /// What it does, in one line.
    pub doc: &'static str,
    /// More about it, in lines of at most 79 characters.
    pub about: &'static str,
    /// Its flags.
    pub flags: &'static [Flag],
    /// The words that it takes.
    pub words: Words,
    /// Examples.
    pub examples: &'static [&'static str],
    /// What its exit codes mean.
    pub exit: &'static str,
    /// Makes the command of the parsed arguments.
    pub(super) finish: fn(Given) -> Result<Command, UsageError>,
}

/// The words that a command takes besides its flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Words {
    /// None.
    None,
    /// Words that cannot be completed.
    Any,
    /// URLs.
    Urls,
    /// Names of files.
    Files,
    /// One of these.
    OneOf(&'static [&'static str]),
}

impl CommandWord {
    /// Whether its flags are those of the proxy, and not its own.
    pub(super) fn has_flags_of_proxy(&self) -> bool {
        std::ptr::eq(self.flags, FLAGS)
    }
}

/// There are no two commands of one name.
impl PartialEq for CommandWord {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for CommandWord {}

const EXIT: &str = "0, or 1 with the reason on standard error.";

/// The shells that there are completions for.
pub(super) const SHELLS: &[&str] = &["bash", "zsh", "fish"];

/// The commands.
pub static COMMANDS: &[CommandWord] = &[
    CommandWord {
        name: "demo",
        usage: "[--once] [--redis]",
        doc: "run the proxy with three test servers and a test load",
        about: "\
Starts three small memcached or Redis servers and a proxy in front of them, on
ports of 127.0.0.1, sends requests, verifies every reply, and prints how the
keys are distributed. The proxy then keeps running until Ctrl-C, so that you can
send requests yourself.
",
        flags: &[
            HELP,
            switch("", "once", "exit after one round", |given| &mut given.once),
            switch("", "redis", "use Redis instead of memcached", |given| &mut given.demo_redis),
        ],
        words: Words::None,
        examples: &["nuthatch demo", "nuthatch demo --once", "nuthatch demo --redis"],
        exit: "0, or 1 if a reply was wrong or a server or the proxy could not start.",
        finish: finish::demo,
    },
    CommandWord {
        name: "node",
        usage: "[-l ADDR] [-m MB]",
        doc: "run a small memcached server for tests",
        about: "\
Serves memcached's classic and meta commands from memory until SIGTERM or
Ctrl-C. It is for tests and demonstrations, not for traffic.
",
        flags: &[
            HELP,
            flag(
                "l",
                "listen",
                "ADDR",
                "address to listen on (default: 127.0.0.1:11211)",
                Reads::Text(|given| &mut given.node_listen),
            ),
            flag(
                "m",
                "memory",
                "MB",
                "memory for items, in MiB (default: 64)",
                Reads::Size(|given| &mut given.node_memory),
            ),
        ],
        words: Words::None,
        examples: &["nuthatch node", "nuthatch node -l 127.0.0.1:11212 -m 128"],
        exit: EXIT,
        finish: finish::node,
    },
    CommandWord {
        name: "upgrade",
        usage: "--control FILE [OPTION...]",
        doc: "start as the next process: take over from the running one",
        about: "\
Starts a proxy that takes over the listening sockets and the clients of the
running proxy whose control socket is FILE. Give it the options that a start
would need, with the same --control. If the new proxy cannot serve, the running
one continues as before. Otherwise it ends when its clients have passed.
",
        flags: FLAGS,
        words: Words::None,
        examples: &[
            "nuthatch --control /run/nuthatch/control -c cache.yml",
            "nuthatch upgrade --control /run/nuthatch/control -c cache.yml",
        ],
        exit: EXIT,
        finish: finish::upgrade,
    },
    CommandWord {
        name: "route",
        usage: "[-c FILE] [-p POOL] [--json] [KEY...]",
        doc: "print the server of each key; without KEY, read keys from standard input",
        about: "\
Reads the configuration as the proxy does and prints one line for each key: the
key, the hash of the key, and the name of the server that owns the key while no
server is ejected. The command sends nothing to the servers; servers of dns+ and
dnssrv+ are looked up. Without keys on the command line, each line of standard
input is a key.
",
        flags: &[
            HELP,
            file(
                "c",
                "conf-file",
                "configuration file (default: the same as for the proxy)",
                |given| &mut given.route.file,
            ),
            flag(
                "p",
                "pool",
                "POOL",
                "the pool; required if the configuration has several",
                Reads::Name(|given| &mut given.route.pool),
            ),
            switch("", "json", "print the result as JSON", |given| &mut given.route.json),
            resolv_conf(|given| &mut given.route.dns.resolv_conf),
        ],
        words: Words::Any,
        examples: &[
            "nuthatch route -c cache.yml user:42",
            "nuthatch route -c cache.yml -p alpha --json user:42",
            "nuthatch route -c cache.yml < keys.txt",
        ],
        exit: EXIT,
        finish: finish::route,
    },
    CommandWord {
        name: "diff",
        usage: "OLD NEW [-p POOL] [--keys FILE] [--json]",
        doc: "count the keys that move from one configuration to another",
        about: "\
Routes 100,000 generated keys, or the keys of a file, with both configurations,
and counts the keys whose server address differs. Compares pools with the same
name; if each configuration has only one pool, compares these two, whatever
their names. The command sends nothing to the servers; servers of dns+ and
dnssrv+ are looked up. http://HOST:PORT in the place of a file is the admin port
of a running proxy.
",
        flags: &[
            HELP,
            flag(
                "p",
                "pool",
                "POOL",
                "the pool (default: all pools)",
                Reads::Name(|given| &mut given.diff.pool),
            ),
            file("", "keys", "file with the keys to compare, one per line", |given| {
                &mut given.diff.keys
            }),
            switch("", "json", "print the result as JSON", |given| &mut given.diff.json),
            resolv_conf(|given| &mut given.diff.dns.resolv_conf),
        ],
        words: Words::Files,
        examples: &[
            "nuthatch diff old.yml new.yml",
            "nuthatch diff old.yml new.yml --keys keys.txt",
        ],
        exit: EXIT,
        finish: finish::diff,
    },
    CommandWord {
        name: "ping",
        usage: "[URL...] [--timeout=SEC] [--password-file=FILE]",
        doc: "ask servers, proxies and admin ports for a sign of life",
        about: "\
Asks all URLs at once and prints one line for each: what answered, or why none
did and what to do. The URLs are memcached://HOST:PORT, which is asked for its
version, redis://[USER:PASSWORD@]HOST:PORT, asked for PONG, and
http://HOST:PORT/PATH, asked for status 200. Without a URL, asks /ready of the
admin port; *, 0.0.0.0 and [::] are this machine. So it is a health check for an
image without a shell.
",
        flags: &[
            HELP,
            flag(
                "",
                "admin",
                "HOST:PORT",
                "the admin port that is asked without a URL",
                Reads::HostPort(|given| &mut given.options.admin),
            )
            .or_variable("ADMIN_LISTEN"),
            flag(
                "",
                "timeout",
                "SEC",
                "how long all of it may take (default: 3)",
                Reads::Seconds(|given| &mut given.ping.timeout),
            ),
            file("", "password-file", "file with the password for redis:// URLs", |given| {
                &mut given.ping.password_file
            }),
            resolv_conf(|given| &mut given.ping.dns.resolv_conf),
        ],
        words: Words::Urls,
        examples: &[
            "nuthatch ping memcached://127.0.0.1:11211 http://127.0.0.1:9600/ready",
            "nuthatch ping redis://cache-0:6379 --password-file /run/secrets/redis",
            "ADMIN_LISTEN=*:9600 nuthatch ping",
        ],
        exit: "0 if all answered as they should, else 1 with the reasons on standard error.",
        finish: finish::ping,
    },
    CommandWord {
        name: "completions",
        usage: "bash|zsh|fish",
        doc: "print a completion script for a shell",
        about: "\
Prints a script to standard output. Save the script where the shell looks for
completions.
",
        flags: &[HELP],
        words: Words::OneOf(SHELLS),
        examples: &[
            "nuthatch completions bash > /usr/share/bash-completion/completions/nuthatch",
            "nuthatch completions zsh > /usr/share/zsh/vendor-completions/_nuthatch",
            "nuthatch completions fish > /usr/share/fish/vendor_completions.d/nuthatch.fish",
        ],
        exit: EXIT,
        finish: finish::completions,
    },
    CommandWord {
        name: "man",
        usage: "",
        doc: "print the manual page",
        about: "\
Prints the manual page to standard output, as source for man.
",
        flags: &[HELP],
        words: Words::None,
        examples: &["nuthatch man > nuthatch.1 && man -l nuthatch.1"],
        exit: EXIT,
        finish: finish::man,
    },
];
