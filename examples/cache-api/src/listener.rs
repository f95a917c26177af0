//! The socket that clients connect to.
//!
//! The rule: `*` is one socket for IPv6 and IPv4, whatever the system's default for such sockets is;
//! only where the kernel has no IPv6 it is a socket for IPv4. So a pod needs no setting in any cluster.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use socket2::{Domain, Socket, Type};

/// Clients that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// Where to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listen {
    /// `*:PORT`: on all addresses of this machine.
    Everywhere(u16),
    /// On one address.
    At(SocketAddr),
}

impl Listen {
    /// Reads `ADDRESS:PORT` or `*:PORT`.
    pub fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix("*:") {
            Some(port) => port.parse().ok().map(Self::Everywhere),
            None => text.parse().ok().map(Self::At),
        }
    }

    /// Opens the socket.
    ///
    /// # Errors
    /// When the system does not let this program listen there.
    pub fn open(self) -> io::Result<TcpListener> {
        let port = match self {
            Self::At(address) => return open(address),
            Self::Everywhere(port) => port,
        };
        match open((Ipv6Addr::UNSPECIFIED, port).into()) {
            Err(error) if has_no_ipv6(&error) => open((Ipv4Addr::UNSPECIFIED, port).into()),
            outcome => outcome,
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everywhere(port) => write!(f, "*:{port}"),
            Self::At(address) => write!(f, "{address}"),
        }
    }
}

fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.ip() == Ipv6Addr::UNSPECIFIED {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn has_no_ipv6(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::AddrNotAvailable)
        || error.raw_os_error() == Some(EAFNOSUPPORT)
}

/// The kernel has no such kind of address.
const EAFNOSUPPORT: i32 = 97;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[test]
    fn a_star_is_both_families() {
        let listener = Listen::parse("*:0").unwrap().open().unwrap();
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect(("127.0.0.1", port)).unwrap();
        if TcpListener::bind("[::1]:0").is_ok() {
            TcpStream::connect(("::1", port)).unwrap();
        }
    }

    #[test]
    fn other_words_are_refused() {
        for text in ["*", "*:", "*:x", "8000", "localhost:8000", ":8000"] {
            assert_eq!(Listen::parse(text), None, "{text}");
        }
        assert_eq!(Listen::parse("*:80").unwrap().to_string(), "*:80");
        assert_eq!(Listen::parse("[::1]:80").unwrap().to_string(), "[::1]:80");
    }
}
