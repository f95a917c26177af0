//! The TCP sockets that the program listens with, and what `*` is to the kernel.
//!
//! The one rule: `*` is one socket for IPv6 and IPv4, whatever the system's default is for such
//! sockets; only where the kernel has no IPv6 it is a socket for IPv4. A pod then needs no setting for
//! the versions that its cluster has.

use crate::config::EVERY_HOST;
use rustix::fd::OwnedFd;
use rustix::io::{self as sys, Errno};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

/// Which clients a socket for all addresses of IPv6 takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// As the system has it, and twemproxy: also those of IPv4, unless somebody has changed that.
    AsTheSystem,
    /// Only its own: another socket has those of IPv4.
    SixOnly,
    /// Those of IPv4, too.
    Both,
}

/// What a host to listen on turns out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ListenAddresses {
    /// The addresses of a name, or one address.
    Named(Vec<SocketAddr>),
    /// All of this machine: the address of the socket that has them.
    Every(SocketAddr),
}

impl ListenAddresses {
    /// Resolves a host of the configuration.
    ///
    /// # Errors
    /// When the resolver of the system has no answer.
    pub(crate) fn of(host: &str, port: u16) -> io::Result<Self> {
        if host == EVERY_HOST {
            return Ok(Self::Every(every(port, has_ipv6())));
        }
        Ok(Self::Named((host, port).to_socket_addrs()?.collect()))
    }

    /// The first one.
    pub(crate) fn first(&self) -> Option<SocketAddr> {
        match self {
            Self::Named(all) => all.first().copied(),
            Self::Every(address) => Some(*address),
        }
    }
}

/// Both addresses that a socket of `*` may have; another process may have opened it.
pub(crate) fn both(port: u16) -> [SocketAddr; 2] {
    [every(port, true), every(port, false)]
}

fn every(port: u16, has_ipv6: bool) -> SocketAddr {
    match has_ipv6 {
        true => (Ipv6Addr::UNSPECIFIED, port).into(),
        false => (Ipv4Addr::UNSPECIFIED, port).into(),
    }
}

/// Whether a socket can be bound to all addresses of IPv6, by an attempt with a port of the kernel's
/// choice. So an error of the attempt with the configured port is about this port.
fn has_ipv6() -> bool {
    let outcome = open(every(0, true), Version::Both, false);
    !matches!(outcome, Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL))
}

/// A socket with the address; it does not listen yet. With `is_shared`, other sockets of this user may
/// have the same address.
pub(crate) fn open(address: SocketAddr, version: Version, is_shared: bool) -> sys::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let fd = socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&fd, true)?;
    if is_shared {
        sockopt::set_socket_reuseport(&fd, true)?;
    }
    if address.is_ipv6() && version != Version::AsTheSystem {
        sockopt::set_ipv6_v6only(&fd, version == Version::SixOnly)?;
    }
    bind(&fd, &address)?;
    Ok(fd)
}

/// Which versions a socket for all addresses takes: IPv6, and IPv4.
pub(crate) fn versions(socket: &OwnedFd, address: SocketAddr) -> sys::Result<(bool, bool)> {
    match address.is_ipv4() {
        true => Ok((false, true)),
        false => Ok((true, !sockopt::ipv6_v6only(socket)?)),
    }
}

/// The address of a socket as the log shows it: `*:11211` if the host is `*` and the socket takes both
/// versions, so that it is told from one for IPv6 only.
pub(crate) fn shown(host: &str, bound: SocketAddr) -> String {
    match host == EVERY_HOST && bound.is_ipv6() {
        true => format!("{EVERY_HOST}:{}", bound.port()),
        false => bound.to_string(),
    }
}

/// The address without the form `::ffff:192.0.2.1` that a client of IPv4 has on a socket for both
/// versions.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip if ip.is_ipv4() => SocketAddr::new(ip, address.port()),
        // With its zone.
        _ => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_of_ipv4_is_shown_as_one() {
        for (given, shown) in [
            ("[::ffff:192.0.2.1]:5", "192.0.2.1:5"),
            ("192.0.2.1:5", "192.0.2.1:5"),
            ("[::1]:5", "[::1]:5"),
            ("[fe80::1%3]:5", "[fe80::1%3]:5"),
        ] {
            assert_eq!(canonical(given.parse().unwrap()).to_string(), shown);
        }
    }

    #[test]
    fn the_log_tells_both_versions_from_one() {
        for (host, bound, at) in [
            ("*", "[::]:5", "*:5"),
            ("*", "0.0.0.0:5", "0.0.0.0:5"),
            ("::", "[::]:5", "[::]:5"),
            ("localhost", "127.0.0.1:5", "127.0.0.1:5"),
        ] {
            assert_eq!(shown(host, bound.parse().unwrap()), at);
        }
    }

    #[test]
    fn a_socket_for_both_versions_takes_both() {
        let at = ListenAddresses::of("*", 0).unwrap().first().unwrap();
        assert!(at.ip().is_unspecified());
        let socket = open(at, Version::Both, false).unwrap();
        assert_eq!(versions(&socket, at).unwrap(), (at.is_ipv6(), true));
        let six_only = open(every(0, true), Version::SixOnly, false).unwrap();
        assert_eq!(versions(&six_only, every(0, true)).unwrap(), (true, false));
    }
}
