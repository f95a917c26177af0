//! A non-blocking stream socket with its two buffers, for the generator and the mock alike.
//!
//! Bytes in the inbox are received and not yet used; bytes in the outbox are to be sent. Neither
//! direction ever waits: what can't be sent now is sent when epoll says so.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::io::Errno;

/// Room made for each receive.
const RECEIVE_LEN: usize = 64 * 1024;
/// How long a peer may take to accept, and to answer before the run proper.
const SETUP_TIMEOUT: Duration = Duration::from_secs(5);

/// Where the generator connects to.
#[derive(Debug)]
pub(crate) enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Address {
    /// Parses `host:port` or the path of a unix socket, which has a `/`.
    pub(crate) fn parse(text: &str) -> io::Result<Self> {
        if text.contains('/') {
            return Ok(Self::Unix(text.into()));
        }
        let address = text.to_socket_addrs()?.next();
        address.map(Self::Tcp).ok_or_else(|| io::Error::other("the name has no address"))
    }

    /// Connects. The socket blocks, for a few seconds at most, until it becomes a [`Channel`]'s
    /// business to wait.
    pub(crate) fn connect(&self) -> io::Result<OwnedFd> {
        match self {
            Self::Tcp(address) => {
                let stream = TcpStream::connect_timeout(address, SETUP_TIMEOUT)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(SETUP_TIMEOUT))?;
                stream.set_write_timeout(Some(SETUP_TIMEOUT))?;
                Ok(stream.into())
            }
            Self::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(SETUP_TIMEOUT))?;
                stream.set_write_timeout(Some(SETUP_TIMEOUT))?;
                Ok(stream.into())
            }
        }
    }
}

/// What became of an attempt to receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    Bytes,
    Nothing,
    Closed,
}

/// What became of an attempt to send the outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flushed {
    All,
    Blocked,
}

/// A socket, what was received from it and what is to be sent.
#[derive(Debug)]
pub(crate) struct Channel {
    socket: OwnedFd,
    pub(crate) inbox: Vec<u8>,
    pub(crate) outbox: Vec<u8>,
    sent_bytes: usize,
}

impl Channel {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self { socket, inbox: Vec::new(), outbox: Vec::new(), sent_bytes: 0 }
    }

    pub(crate) fn stop_blocking(&self) -> io::Result<()> {
        Ok(rustix::io::ioctl_fionbio(&self.socket, true)?)
    }

    /// Receives once. A reset counts as closed.
    pub(crate) fn receive(&mut self) -> io::Result<Received> {
        self.inbox.reserve(RECEIVE_LEN);
        match rustix::io::read(&self.socket, spare_capacity(&mut self.inbox)) {
            Ok(0) | Err(Errno::CONNRESET) => Ok(Received::Closed),
            Ok(_) => Ok(Received::Bytes),
            Err(Errno::WOULDBLOCK | Errno::INTR) => Ok(Received::Nothing),
            Err(error) => Err(error.into()),
        }
    }

    /// Forgets the first `used_bytes` of the inbox.
    pub(crate) fn consume(&mut self, used_bytes: usize) {
        if used_bytes == self.inbox.len() {
            self.inbox.clear();
        } else if used_bytes > 0 {
            self.inbox.drain(..used_bytes);
        }
    }

    /// Sends as much of the outbox as the socket takes.
    pub(crate) fn flush(&mut self) -> io::Result<Flushed> {
        while self.sent_bytes < self.outbox.len() {
            match rustix::io::write(&self.socket, &self.outbox[self.sent_bytes..]) {
                Ok(len) => self.sent_bytes += len,
                Err(Errno::WOULDBLOCK) => return Ok(Flushed::Blocked),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.outbox.clear();
        self.sent_bytes = 0;
        Ok(Flushed::All)
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
