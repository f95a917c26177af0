//! Servers that behave badly on purpose.
//!
//! The rule: a fake server does what its script says for each connection and nothing else, so a
//! test states the whole world that the proxy sees.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

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
        let (socket, port) = bound_socket((Ipv4Addr::LOCALHOST, 0).into());
        Self { port, _socket: socket }
    }

    pub(crate) fn entry(&self) -> String {
        entry(self.port)
    }
}

/// A port where a connection is neither taken nor refused: its queue of new ones is full.
#[derive(Debug)]
pub(crate) struct UnansweringPort {
    pub(crate) port: u16,
    _socket: OwnedFd,
    /// They fill the queue.
    _queued: Vec<TcpStream>,
}

impl UnansweringPort {
    pub(crate) fn new() -> Self {
        Self::at((Ipv4Addr::LOCALHOST, 0).into())
    }

    /// One at an address of its own.
    pub(crate) fn at(address: SocketAddr) -> Self {
        let (socket, port) = bound_socket(address);
        rustix::net::listen(&socket, 0).unwrap();
        let address = SocketAddr::new(address.ip(), port);
        let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(100)).ok();
        let queued = std::iter::from_fn(connect).collect();
        Self { port, _socket: socket, _queued: queued }
    }

    pub(crate) fn entry(&self) -> String {
        entry(self.port)
    }
}

/// A server that follows a script, once per connection.
#[derive(Debug)]
pub(crate) struct FakeServer {
    pub(crate) port: u16,
    accepted: Arc<AtomicUsize>,
}

impl FakeServer {
    /// `script` is given each connection with its number, from 0, once the proxy's greeting is
    /// answered; the connection closes when the script returns. Accepts for as long as the test
    /// program runs.
    pub(crate) fn start(script: impl Fn(Conn, usize) + Send + Sync + 'static) -> Self {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), script)
    }

    /// As `start`, at an address of its own.
    pub(crate) fn start_at(
        address: SocketAddr,
        script: impl Fn(Conn, usize) + Send + Sync + 'static,
    ) -> Self {
        Self::serve(address, move |mut conn, nth| {
            if conn.read_line().is_ok_and(|line| line == b"version\r\n") {
                conn.send("VERSION 1.6.18\r\n");
                script(conn, nth);
            }
        })
    }

    /// As `start`, but the script answers the proxy's greeting.
    pub(crate) fn start_ungreeted(script: impl Fn(Conn, usize) + Send + Sync + 'static) -> Self {
        Self::serve((Ipv4Addr::LOCALHOST, 0).into(), script)
    }

    fn serve(address: SocketAddr, script: impl Fn(Conn, usize) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let port = listener.local_addr().unwrap().port();
        let accepted = Arc::new(AtomicUsize::new(0));
        let server = Self { port, accepted: Arc::clone(&accepted) };
        let script = Arc::new(script);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.expect("an open listener accepts");
                // Or what it says next may wait for 40 ms.
                stream.set_nodelay(true).unwrap();
                let conn = Conn::over(stream);
                let (script, nth) = (Arc::clone(&script), accepted.fetch_add(1, Ordering::SeqCst));
                thread::spawn(move || script(conn, nth));
            }
        });
        server
    }

    /// One that answers every line with the same bytes.
    pub(crate) fn answering(reply: &'static str) -> Self {
        Self::start(move |conn, _| answer_every_line(conn, reply))
    }

    pub(crate) fn entry(&self) -> String {
        entry(self.port)
    }

    /// How many connections it was given so far.
    pub(crate) fn connection_count(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

/// Sends `reply` for each line until the other side is gone.
pub(crate) fn answer_every_line(mut conn: Conn, reply: &str) {
    while conn.read_line().is_ok() {
        conn.send(reply);
    }
}

/// Ends a connection with a reset instead of an orderly close.
pub(crate) fn reset(conn: Conn) {
    sockopt::set_socket_linger(conn.socket(), Some(Duration::ZERO)).unwrap();
    drop(conn);
}

/// The server's line in a configuration, with weight 1 and no name.
fn entry(port: u16) -> String {
    format!("127.0.0.1:{port}:1")
}

fn bound_socket(address: SocketAddr) -> (OwnedFd, u16) {
    // A program started meanwhile must not inherit it, or the port stays taken.
    let flags = SocketFlags::CLOEXEC;
    let socket =
        rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).unwrap();
    rustix::net::bind(&socket, &address).unwrap();
    let address = SocketAddr::try_from(rustix::net::getsockname(&socket).unwrap()).unwrap();
    (socket, address.port())
}
