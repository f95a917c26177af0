//! Which listeners can't be there together.
//!
//! The one rule: two texts are compared as what they mean, as far as that can be told without
//! asking a name server. `127.1`, `localhost` and `0.0.0.0` all take the clients of `127.0.0.1`,
//! `*` all clients of its port, and the path of a unix socket may have a slash too many. Other names
//! are compared as texts; the start compares what they turn out to be.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use super::{Listen, address};

/// What a listener takes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Claim {
    /// An address, where it is known.
    Tcp(SocketAddr),
    /// A host that only a name server may know.
    Name(String, u16),
    /// All addresses of this machine, at a port.
    Every(u16),
    /// The path of a unix socket.
    Unix(PathBuf),
}

impl Claim {
    /// What `listen` takes; `None` for a port that the system chooses.
    pub(crate) fn of(listen: &Listen) -> Option<Self> {
        match listen {
            Listen::Tcp { port: 0, .. } => None,
            Listen::Tcp { host, port } if host == address::EVERY_HOST => Some(Self::Every(*port)),
            Listen::Tcp { host, port } => Some(match known(host, *port) {
                Some(address) => Self::Tcp(address),
                None => Self::Name(host.to_lowercase(), *port),
            }),
            Listen::Unix { path, .. } => Some(Self::Unix(path.components().collect())),
        }
    }

    /// Whether clients of one could come to the other.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tcp(a), Self::Tcp(b)) => overlap(*a, *b),
            (Self::Every(port), it) | (it, Self::Every(port)) => it.port() == Some(*port),
            _ => self == other,
        }
    }

    fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp(address) => Some(address.port()),
            Self::Name(_, port) | Self::Every(port) => Some(*port),
            Self::Unix(_) => None,
        }
    }

    /// Whether one can't be there beside the other, of the same pool or of another.
    pub(crate) fn excludes(&self, other: &Self, is_same_pool: bool) -> bool {
        self.overlaps(other) && !(is_same_pool && self.is_other_version(other))
    }

    /// Whether one is all addresses of version 6 and the other has version 4: inside a pool they
    /// are there together, and each takes its own version.
    fn is_other_version(&self, other: &Self) -> bool {
        let version = |claim: &Self| match claim {
            Self::Tcp(address) => Some(address.ip().to_canonical().is_ipv4()),
            _ => None,
        };
        version(self).zip(version(other)).is_some_and(|(a, b)| a != b)
    }
}

/// The address of a host that is one, or is this one: what a listener would get.
fn known(host: &str, port: u16) -> Option<SocketAddr> {
    let is_known = address::is_ip(host) || host.eq_ignore_ascii_case("localhost");
    is_known.then(|| (host, port).to_socket_addrs().ok()?.next())?
}

/// Whether one has the address of the other, or is all addresses of its version; all of version 6
/// are those of version 4, too.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let covers =
        |all: IpAddr, one: IpAddr| all.is_unspecified() && (all.is_ipv6() || one.is_ipv4());
    let (one, other) = (a.ip().to_canonical(), b.ip().to_canonical());
    let same_zone = match (a, b) {
        (SocketAddr::V6(a), SocketAddr::V6(b)) => a.scope_id() == b.scope_id(),
        _ => true,
    };
    a.port() == b.port() && (one == other && same_zone || covers(one, other) || covers(other, one))
}

/// The listeners of the pools so far.
#[derive(Default)]
pub(super) struct Listeners {
    /// Those with a port, by it.
    by_port: HashMap<u16, Vec<Holder>>,
    /// Unix sockets, which clash only with their equals.
    unix: HashMap<Claim, Holder>,
}

#[derive(Clone)]
struct Holder {
    pool: String,
    listen: String,
    claim: Claim,
}

/// Two listeners that can't be there together.
pub(super) struct Clash {
    first: Holder,
    second: Holder,
}

impl Listeners {
    /// Adds one, if nothing of what it takes is taken.
    pub(super) fn add(&mut self, pool: &str, listen: &Listen) -> Option<Clash> {
        let claim = Claim::of(listen)?;
        let second = Holder { pool: pool.into(), listen: listen.to_string(), claim: claim.clone() };
        if let Some(port) = claim.port() {
            let holders = self.by_port.entry(port).or_default();
            let first = holders.iter().find(|first| first.excludes(&second)).cloned();
            holders.push(second.clone());
            return first.map(|first| Clash { first, second });
        }
        let first = self.unix.get(&claim).cloned();
        self.unix.entry(claim).or_insert_with(|| second.clone());
        first.map(|first| Clash { first, second })
    }
}

impl Holder {
    fn excludes(&self, other: &Self) -> bool {
        self.claim.excludes(&other.claim, self.pool == other.pool)
    }
}

impl fmt::Display for Clash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, second } = self;
        let (a, b) = (&first.listen, &second.listen);
        match (first.pool == second.pool, a == b) {
            (true, true) => write!(out, "conf: pool '{}' lists '{a}' twice", first.pool),
            (true, false) => {
                write!(out, "conf: pool '{}' lists '{a}' and '{b}', which overlap", first.pool)
            }
            (false, true) => write!(
                out,
                "conf: pools '{}' and '{}' have the same listen address '{a}'",
                first.pool, second.pool
            ),
            (false, false) => write!(
                out,
                "conf: pools '{}' and '{}' have listen addresses that overlap, '{a}' and '{b}'",
                first.pool, second.pool
            ),
        }
    }
}

impl Clash {
    /// What would be right.
    pub(super) fn right(&self) -> &'static str {
        if self.first.pool == self.second.pool {
            "remove one of them"
        } else {
            "give each its own port or path"
        }
    }
}
