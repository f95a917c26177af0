//! The flags, as data.
//!
//! The one rule: each flag of the proxy is defined here once: the field that it sets, and the texts for
//! the help, the manual and the completions.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use super::Given;
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

pub(super) const fn flag(
    short: &'static str,
    long: &'static str,
    argument: &'static str,
    doc: &'static str,
    reads: Reads,
) -> Flag {
    Flag { short, long, argument, doc, variable: None, reads }
}

pub(super) const fn switch(
    short: &'static str,
    long: &'static str,
    doc: &'static str,
    slot: Slot<bool>,
) -> Flag {
    flag(short, long, "", doc, Reads::Switch(slot))
}

pub(super) const fn file(
    short: &'static str,
    long: &'static str,
    doc: &'static str,
    slot: Slot<Option<PathBuf>>,
) -> Flag {
    flag(short, long, "FILE", doc, Reads::File(slot))
}

pub(super) const fn resolv_conf(slot: Slot<PathBuf>) -> Flag {
    let doc = "name servers and search list (default: /etc/resolv.conf)";
    flag("", "resolv-conf", "FILE", doc, Reads::Path(slot))
}

impl Flag {
    pub(super) const fn or_variable(self, name: &'static str) -> Self {
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

pub(super) const HELP: Flag = switch("h?", "help", "show this help", |given| &mut given.help);

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
