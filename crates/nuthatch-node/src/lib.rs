//! A small memcached or Redis server for tests: `nuthatch demo` uses three of them, and
//! `nuthatch node` runs one that speaks memcached's protocol.
//!
//! Either protocol is a few hundred lines: one thread for each client, one store with a lock and
//! limited memory. A node is for demonstrations and tests, not for production. So it is a separate
//! package, which is not part of the shipped program.
//!
//! ```text
//! node ─ memcache ─ session (bytes in, answers out) ─ classic, meta ─ store ─ item
//!      └ redis ─ session (bytes in, replies out) ─ command ─ keys, strings, … ─ store ─ value
//! ```

use std::fmt;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

mod memcache;
mod redis;

/// The protocol that a node speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// memcached's classic and meta commands.
    Memcache,
    /// The common commands of Redis, in RESP2 and RESP3.
    Redis,
}

/// A running node. Its threads end with the process.
#[derive(Debug)]
pub struct Node {
    address: SocketAddr,
    service: Arc<dyn Service>,
}

/// The figures of a node: requests and items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// Requests of all kinds; with Redis, only commands that use the store.
    pub requests: u64,
    /// Items now.
    pub items: usize,
}

impl Node {
    /// Listens, with `memory` bytes for items.
    ///
    /// # Errors
    /// When it cannot listen, or cannot start a thread.
    pub fn start(
        protocol: Protocol,
        listen: impl ToSocketAddrs,
        memory: usize,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(listen)?;
        let address = listener.local_addr()?;
        let service: Arc<dyn Service> = match protocol {
            Protocol::Memcache => Arc::new(memcache::Shared::new(memory)),
            Protocol::Redis => Arc::new(redis::Shared::new(memory)),
        };
        let for_thread = Arc::clone(&service);
        let thread = thread::Builder::new().name("node".into()).stack_size(STACK_BYTES);
        thread.spawn(move || accept(&listener, &for_thread))?;
        Ok(Self { address, service })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its figures.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.service.figures()
    }
}

/// A protocol and the data behind it.
trait Service: fmt::Debug + Send + Sync {
    /// Serves one client until it leaves.
    fn serve(&self, stream: &TcpStream) -> io::Result<()>;

    fn figures(&self) -> Figures;

    /// The error for a client above the limit.
    fn too_many_clients(&self) -> &'static [u8];
}

fn accept(listener: &TcpListener, service: &Arc<dyn Service>) {
    let clients = Arc::new(AtomicUsize::new(0));
    loop {
        let accepted = listener.accept();
        let accepted = accepted.and_then(|(stream, _)| start_client(stream, service, &clients));
        if let Err(error) = accepted {
            log::error!(error:%; "node failed to accept a client");
            // The usual reason is too many open files, which lasts for a while.
            thread::sleep(Duration::from_millis(100));
        }
    }
}

fn start_client(
    mut stream: TcpStream,
    service: &Arc<dyn Service>,
    clients: &Arc<AtomicUsize>,
) -> io::Result<()> {
    if clients.load(Ordering::Relaxed) >= CLIENTS_MAX {
        // The client may already be gone.
        let _ = stream.write_all(service.too_many_clients());
        return Ok(());
    }
    stream.set_nodelay(true)?;
    let (service, clients) = (Arc::clone(service), Arc::clone(clients));
    let thread = thread::Builder::new().name("node client".into()).stack_size(STACK_BYTES);
    thread.spawn(move || {
        clients.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = service.serve(&stream) {
            log::debug!(error:%; "connection of a node's client failed");
        }
        clients.fetch_sub(1, Ordering::Relaxed);
    })?;
    Ok(())
}

/// Maximum number of clients; memcached's default.
const CLIENTS_MAX: usize = 1024;

/// Enough stack for a client's thread.
const STACK_BYTES: usize = 256 << 10;
