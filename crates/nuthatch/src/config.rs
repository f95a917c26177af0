//! The configuration: which pools there are, and how each one listens, spreads keys and fails.
//!
//! The one rule: every [`Config`] is valid. Only this module can construct one; both sources (a
//! twemproxy file, the environment) go through the same checks, and the checks find all errors at
//! once, so that an operator must correct a file only once.
//!
//! ```text
//! file ─ yaml ─┐
//!              ├─ raw (text and its place) ─ check (table of directives) ─ Config ─ lint
//! environment ─┘
//! ```

use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nuthatch_core::clocks::Clocks;
use nuthatch_core::health::{OnFailure, OnOverflow};
use nuthatch_core::mux::Bulk;
use nuthatch_core::quota::{Quota, Quotas};
use nuthatch_core::redis::Settings;
use nuthatch_core::ring::{Distribution, Hash, HashTag, Member, Ring};

mod address;
mod blank;
pub mod capacity;
mod check;
pub(crate) mod clash;
pub mod cpus;
pub mod directive;
mod discovered;
pub mod environment;
mod failure;
mod finding;
mod gutter;
mod kubernetes;
pub mod lint;
mod raw;
pub mod redis;
pub mod secret;
mod stamp;
mod value;
mod yaml;

pub(crate) use address::EVERY_HOST;
pub use discovered::{Discovered, Lookup};
pub use finding::{ConfigErrors, Finding, Mark};
#[cfg(feature = "kubernetes")]
pub(crate) use kubernetes::is_label;
pub use kubernetes::{PodPort, Service};
pub use nuthatch_core::limits::Limits;
pub use redis::{CrossShard, ModuleCommand};
pub use secret::Secret;
pub(crate) use stamp::Stamp;

/// The file that is read when `-c` names none, if it is there (twemproxy `NC_CONF_PATH`).
pub const DEFAULT_FILE: &str = "conf/nutcracker.yml";

/// A checked configuration with at least one pool.
#[derive(Debug, Clone)]
pub struct Config {
    /// The pools, shorter names first and then by bytes, as twemproxy's statistics list them.
    pub pools: Vec<Pool>,
    /// Where the configuration was read from.
    pub source: Source,
    /// Remarks about accepted settings, such as a directive without effect.
    pub notes: Vec<Finding>,
    /// Of the file, from right before it was read; none of what is no file.
    pub(crate) stamp: Option<Stamp>,
    _checked: Checked,
}

/// Proof that the checks ran: only this module and its parts can name a value of it.
#[derive(Debug, Clone, Copy)]
struct Checked;

impl Config {
    /// Finds the configuration as the command line asks for it: the chosen file, else
    /// [`DEFAULT_FILE`] if there is anything of that name, else the environment.
    ///
    /// # Errors
    /// All errors of the configuration, or that the chosen file cannot be read.
    pub fn find(
        chosen: Option<&Path>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigErrors> {
        let path = match chosen {
            Some(path) => path,
            None if is_absent(Path::new(DEFAULT_FILE)) => return Self::from_environment(variable),
            None => Path::new(DEFAULT_FILE),
        };
        Self::load_or(path, "give a readable file with -c, or no file to use the environment")
    }

    /// Reads a file.
    ///
    /// # Errors
    /// All errors of the file, or that it cannot be read.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        Self::load_or(path, "give a readable file")
    }

    fn load_or(path: &Path, right: &str) -> Result<Self, ConfigErrors> {
        let stamp = Stamp::of(path);
        let (text, is_public) =
            read(path).map_err(|error| ConfigErrors::unreadable(path, &error, right))?;
        let config = check::config(Source::File(path.to_owned()), |report| {
            report.is_public = is_public;
            raw::from_yaml(&text, report)
        });
        config.map(|config| Self { stamp, ..config })
    }

    /// Reads the text of a file; `path` is only the name that messages show.
    ///
    /// # Errors
    /// All errors of the text.
    pub fn parse(path: &Path, text: &[u8]) -> Result<Self, ConfigErrors> {
        check::config(Source::File(path.to_owned()), |report| raw::from_yaml(text, report))
    }

    /// Reads the one pool that the environment describes (see [`environment::VARIABLES`]).
    ///
    /// # Errors
    /// All errors of the variables.
    pub fn from_environment(
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigErrors> {
        check::config(Source::Environment, |_| vec![environment::pool(variable)])
    }

    /// The pool of that name.
    #[must_use]
    pub fn pool(&self, name: &str) -> Option<&Pool> {
        self.pools.iter().find(|pool| pool.name == name)
    }

    /// The pool of that name, or the only one if no name is given.
    ///
    /// # Errors
    /// The names of the pools, if there is no such pool, or if no name is given and there are
    /// several pools.
    pub fn choose(&self, name: Option<&str>) -> Result<&Pool, String> {
        let names = || {
            let names = self.pools.iter().map(|pool| pool.name.as_str());
            names.collect::<Vec<_>>().join(", ")
        };
        match (name, &self.pools[..]) {
            (None, [pool]) => Ok(pool),
            (None, _) => Err(format!("{}: choose a pool with -p: {}", self.source, names())),
            (Some(name), _) => self.pool(name).ok_or_else(|| {
                format!("{}: there is no pool '{name}'; the pools are {}", self.source, names())
            }),
        }
    }
}

/// The content of a file, and whether every user of this machine can read it.
fn read(path: &Path) -> io::Result<(Vec<u8>, bool)> {
    let mut file = fs::File::open(path)?;
    let is_public = file.metadata()?.mode() & 0o004 != 0;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok((bytes, is_public))
}

/// Whether there is nothing of that name: a link that leads nowhere is something.
fn is_absent(path: &Path) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound};
    fs::symlink_metadata(path).is_err_and(|e| matches!(e.kind(), NotFound | NotADirectory))
}

/// Where a configuration comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file, under the name it was given.
    File(PathBuf),
    /// The environment of the process.
    Environment,
}

impl fmt::Display for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(out, "{}", path.display()),
            Self::Environment => out.write_str("environment"),
        }
    }
}

/// A listener, its servers and how keys are spread over them.
///
/// The fields carry the names of the directives; [`directive::DIRECTIVES`] says what each does.
#[derive(Debug, Clone)]
pub struct Pool {
    /// The name of the pool in the file, its statistics and the log.
    pub name: String,
    /// Where clients connect; at least one.
    pub listen: Vec<Listen>,
    /// How a key becomes a number.
    pub hash: Hash,
    /// The part of a key that is hashed, if only a part is.
    pub hash_tag: Option<HashTag>,
    /// How a number becomes a server.
    pub distribution: Distribution,
    /// How long a request may take, whatever it waits for; `None` means no limit.
    pub timeout: Option<Duration>,
    /// How long a server may take for parts of that.
    pub clocks: Clocks,
    /// Connections that the kernel holds before they are accepted.
    pub backlog: usize,
    /// Maximum number of clients; 0 means only the limit of open files.
    pub client_connections: usize,
    /// Requests per second that servers are asked for all clients of the pool, with up to a second's worth at once; 0 means no limit.
    pub pool_rate_max: usize,
    /// Maximum number of requests in flight for all clients of the pool; 0 means no limit.
    pub pool_requests_max: usize,
    /// As `pool_rate_max`, for the clients of each address.
    pub address_rate_max: usize,
    /// As `pool_requests_max`, for the clients of each address.
    pub address_requests_max: usize,
    /// How long a request takes that is slow; none if no request is.
    pub slow_after: Option<Duration>,
    /// Whether the slow log has keys; if not, only their hashes.
    pub slow_keys: bool,
    /// Whether idle connections of clients and servers are probed (`SO_KEEPALIVE`).
    pub tcpkeepalive: bool,
    /// Whether several processes may listen on the same port (`SO_REUSEPORT`).
    pub reuseport: bool,
    /// Whether the proxy connects to the servers at the start, before the first request.
    pub preconnect: bool,
    /// Whether a failing server leaves the ring for a while.
    pub auto_eject_hosts: bool,
    /// Connections to each server, at least 1.
    pub server_connections: usize,
    /// What there is for clients that ask for much.
    pub bulk: Bulk,
    /// How long an ejected server stays off the ring.
    pub server_retry_timeout: Duration,
    /// Failures in a row that eject a server, at least 1.
    pub server_failure_limit: usize,
    /// What happens to the requests for the keys of a server that is away, if the pool says so.
    pub on_server_failure: Option<OnFailure>,
    /// How long a value may stay in a gutter server, at least a second.
    pub gutter_ttl: Duration,
    /// Bytes, in each worker, for the keys that a server misses; only with [`Self::on_server_failure`].
    pub journal_max: usize,
    /// What happens to a server that has missed more.
    pub on_journal_full: Option<OnOverflow>,
    /// The share of failed requests that ejects a server, in percent; 0 if there is none.
    pub server_failure_rate: u8,
    /// Probes that must succeed before an ejected server returns.
    pub server_probes: usize,
    /// How long a probe may take.
    pub server_probe_timeout: Duration,
    /// In which time a server that returns gets its keys back, where others go on with the rest.
    pub server_slow_start: Duration,
    /// How many of 100 servers may be ejected at the same time.
    pub max_ejected: u8,
    /// Whether the pool speaks Redis; if not, it speaks memcached.
    pub redis: bool,
    /// The ACL user for the servers; only with a password.
    pub redis_user: Option<String>,
    /// The password for the servers, and of the clients: from the configuration or from
    /// `redis_auth_file`.
    pub redis_auth: Option<Secret>,
    /// The file that `redis_auth` was read from.
    pub redis_auth_file: Option<PathBuf>,
    /// The database of a Redis pool, on every server.
    pub redis_db: usize,
    /// What happens to a command that needs keys of several servers at once.
    pub cross_shard: CrossShard,
    /// How long a key is looked for at the server that had it before a change; zero means never.
    pub migrate_window: Duration,
    /// The longest time between the change of the first proxy of a fleet and that of the last.
    pub migrate_settle: Duration,
    /// Maximum number of requests of one worker on their way for keys that move.
    pub migrate_moves_max: usize,
    /// How many of 100 keys may get another server by a reload, 0 to 100.
    pub max_move: u8,
    /// Whether clients may use `KEYS`.
    pub allow_keys: bool,
    /// Maximum number of server connections of one worker that serve one client each.
    pub dedicated_connections_max: usize,
    /// Commands of modules, each name once.
    pub module_commands: Vec<ModuleCommand>,
    /// The servers in the order of the ring: shorter names first, then by bytes. Without
    /// [`Self::discovered`], at least one.
    pub servers: Vec<Server>,
    /// The servers of the gutter, in the same order; only used with [`OnFailure::Gutter`].
    pub gutter_servers: Vec<Server>,
    /// The entries that DNS turns into further servers, in the order of the configuration.
    pub discovered: Vec<Discovered>,
    /// Maximum number of servers of one such entry.
    pub discovered_max: usize,
    /// Whether clients may empty all servers, such as with `flush_all` and `FLUSHALL`.
    pub allow_flush: bool,
    /// How much memory and how many requests the pool may hold.
    pub limits: Limits,
    _checked: Checked,
}

impl Pool {
    /// How many requests its clients may send.
    #[must_use]
    pub fn quotas(&self) -> Quotas {
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let quota = |per_second, in_flight| Quota {
            per_second: count(per_second),
            in_flight: count(in_flight),
        };
        Quotas {
            pool: quota(self.pool_rate_max, self.pool_requests_max),
            address: quota(self.address_rate_max, self.address_requests_max),
        }
    }

    /// The ring of this pool with every server on it; `seed` feeds the distribution `random` only.
    #[must_use]
    pub fn ring(&self, seed: u64) -> Ring {
        let members = self
            .servers
            .iter()
            .map(|server| Member { name: server.name.as_bytes().into(), weight: server.weight })
            .collect();
        Ring::new(self.distribution, self.hash, self.hash_tag, members, seed)
    }

    /// What the engine of a Redis pool needs.
    #[must_use]
    pub fn redis_settings(&self) -> Settings {
        let commands = self.module_commands.iter();
        Settings {
            user: self.redis_user.as_ref().map(|user| user.as_bytes().into()),
            password: self.redis_auth.as_ref().map(|password| password.expose().into()),
            db: u32::try_from(self.redis_db).expect("the directive has a bound"),
            first_key: self.cross_shard == CrossShard::FirstKey,
            allow_keys: self.allow_keys,
            dedicated_max: self.dedicated_connections_max,
            modules: commands.map(ModuleCommand::for_engine).collect(),
        }
    }

    /// The part of `key` that this pool hashes.
    #[must_use]
    pub fn hashed_part<'k>(&self, key: &'k [u8]) -> &'k [u8] {
        self.hash_tag.as_ref().map_or(key, |tag| tag.part(key))
    }
}

/// One server of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// The name on the ring and in the statistics: the given name, else `host:port`, else only
    /// `host` on port 11211, else `/path:` (twemproxy `conf_add_server`).
    pub name: String,
    /// Where it is connected to.
    pub address: Address,
    /// Its share of the keys in proportion to the other servers, at least 1.
    pub weight: u32,
    /// The text of the configuration without the name, such as `host:port:weight`.
    pub configured: String,
    /// Whether the name was given rather than derived from the address.
    pub named: bool,
    /// Whether DNS told of it: the configuration has only the entry with its index.
    pub discovered: bool,
    /// Its place in the list of the configuration, from 0.
    pub index: usize,
}

impl Server {
    /// Whether its name is the same as the name derived from its address.
    pub(crate) fn is_named_by_its_address(&self) -> bool {
        address::server(&self.configured).is_ok_and(|unnamed| unnamed.name == self.name)
    }
}

impl fmt::Display for Server {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.configured)?;
        if self.named { write!(out, " {}", self.name) } else { Ok(()) }
    }
}

/// The address of a server. A host name is resolved when the proxy connects, never here.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// A host name or IP address (IPv6 without brackets) and a port from 1.
    Tcp {
        /// The host.
        host: String,
        /// The port.
        port: u16,
    },
    /// The path of a unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => write_host_port(out, host, *port),
            Self::Unix(path) => write!(out, "{}", path.display()),
        }
    }
}

/// Whether a host is an IP address rather than a name.
pub(crate) fn is_ip(host: &str) -> bool {
    address::is_ip(host)
}

/// The address in a text, in the form of `listen`, if it is valid.
pub(crate) fn parse_listen(text: &str) -> Option<Listen> {
    address::listen(text).ok()
}

/// The host to listen on in a text, without brackets.
///
/// # Errors
/// What would be right.
pub(crate) fn parse_listen_host(text: &str) -> Result<String, String> {
    address::listen_host(text).map(Into::into).map_err(|fault| fault.right)
}

/// The path of a unix socket that a text names.
///
/// # Errors
/// What would be right.
pub(crate) fn parse_socket_path(text: &str) -> Result<PathBuf, String> {
    address::socket_path(text).map_err(|fault| fault.right)
}

/// Where clients connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// A host name, an IP address (IPv6 without brackets) or `*` for all addresses, and a port; the
    /// kernel chooses for port 0.
    Tcp {
        /// The host.
        host: String,
        /// The port.
        port: u16,
    },
    /// A unix socket.
    Unix {
        /// Its path.
        path: PathBuf,
        /// Its permissions, 1 to 0o777; `None` leaves them to the umask.
        mode: Option<u32>,
    },
}

impl Listen {
    /// Whether both are the same place, whoever may connect there.
    pub(crate) fn is_same_place(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Unix { path, .. }, Self::Unix { path: other, .. }) => path == other,
            _ => self == other,
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => write_host_port(out, host, *port),
            Self::Unix { path, .. } => write!(out, "{}", path.display()),
        }
    }
}

fn write_host_port(out: &mut fmt::Formatter<'_>, host: &str, port: u16) -> fmt::Result {
    if host.contains(':') { write!(out, "[{host}]:{port}") } else { write!(out, "{host}:{port}") }
}

#[cfg(test)]
mod tests;
