//! Servers that behave badly on purpose.
//!
//! The rule: a fake server does what its script says for each connection and nothing else, so a
//! test states the whole world that the proxy sees.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use rustix::net::{AddressFamily, SocketType};

use crate::conn::Conn;

/// A port that refuses connections for as long as this is held.
#[derive(Debug)]
pub(crate) struct RefusingPort {
    pub(crate) port: u16,
    /// Bound, so that the port is nobody else's, but not listening.
    _socket: OwnedFd,
}

impl RefusingPort {
    pub(crate) fn new() -> Self {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        rustix::net::bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = SocketAddr::try_from(rustix::net::getsockname(&socket).unwrap()).unwrap();
        Self { port: address.port(), _socket: socket }
    }

    /// The server's line in a configuration, with weight 1 and no name.
    pub(crate) fn entry(&self) -> String {
        format!("127.0.0.1:{}:1", self.port)
    }
}
