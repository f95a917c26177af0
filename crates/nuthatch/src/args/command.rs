//! The commands, as data.
//!
//! The one rule: each command is defined here once: its flags and words, and the texts for the help, the
//! manual and the completions.

use super::flag::{FLAGS, Flag, HELP, Reads, file, flag, resolv_conf, switch};
use super::{Command, Given, UsageError, finish};

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
        self.flags.iter().map(|flag| flag.long).eq(FLAGS.iter().map(|flag| flag.long))
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
