//! A small memcached server for tests: `nuthatch demo` uses three of them, and `nuthatch node` runs
//! one.
//!
//! It has classic and meta commands, expiry, CAS and limited memory, with the replies of memcached
//! 1.6.18, in a few hundred lines: one thread for each client, one store with a lock. It is for
//! demonstrations and tests, not for production. So it is a separate package, which is not part of
//! the shipped program.
//!
//! ```text
//! node ─ session (bytes in, answers out) ─ classic, meta ─ store ─ item
//! ```

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

mod classic;
mod flags;
mod item;
mod meta;
mod session;
mod store;

use item::Seconds;
use store::Store;

/// A running node. Its threads end with the process.
#[derive(Debug)]
pub struct Node {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// The figures of a node: requests and items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// Requests of all kinds.
    pub requests: u64,
    /// Items now.
    pub items: usize,
}

impl Node {
    /// Listens, with `memory` bytes for items.
    ///
    /// # Errors
    /// When it cannot listen, or cannot start a thread.
    pub fn start(listen: impl ToSocketAddrs, memory: usize) -> io::Result<Self> {
        let listener = TcpListener::bind(listen)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::new(memory));
        let for_thread = Arc::clone(&shared);
        let thread = thread::Builder::new().name("node".into()).stack_size(STACK_BYTES);
        thread.spawn(move || accept(&listener, &for_thread))?;
        Ok(Self { address, shared })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its figures.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let store = self.shared.lock();
        Figures { requests: store.counts.requests, items: store.len() }
    }
}

/// The data that all clients of a node share.
#[derive(Debug)]
struct Shared {
    store: Mutex<Store>,
    clients: AtomicUsize,
    start: Seconds,
}

impl Shared {
    fn new(memory: usize) -> Self {
        let store = Mutex::new(Store::new(memory));
        Self { store, clients: AtomicUsize::new(0), start: seconds() }
    }

    /// The store, with its clock set to the current second.
    fn lock(&self) -> MutexGuard<'_, Store> {
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        store.set_now(seconds());
        store
    }
}

fn seconds() -> Seconds {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs().try_into().unwrap_or(Seconds::MAX)
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    loop {
        let accepted = listener.accept().and_then(|(stream, _)| start_client(stream, shared));
        if let Err(error) = accepted {
            log::error!(error:%; "node failed to accept a client");
            // The usual reason is too many open files, which lasts for a while.
            thread::sleep(Duration::from_millis(100));
        }
    }
}

fn start_client(mut stream: TcpStream, shared: &Arc<Shared>) -> io::Result<()> {
    if shared.clients.load(Ordering::Relaxed) >= CLIENTS_MAX {
        // The client may already be gone.
        let _ = stream.write_all(TOO_MANY_CLIENTS);
        return Ok(());
    }
    stream.set_nodelay(true)?;
    let shared = Arc::clone(shared);
    let thread = thread::Builder::new().name("node client".into()).stack_size(STACK_BYTES);
    thread.spawn(move || {
        shared.clients.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = session::serve(&stream, &shared) {
            log::debug!(error:%; "connection of a node's client failed");
        }
        shared.clients.fetch_sub(1, Ordering::Relaxed);
    })?;
    Ok(())
}

/// memcached's error for a client above the limit.
const TOO_MANY_CLIENTS: &[u8] = b"ERROR Too many open connections\r\n";

/// Maximum number of clients; memcached's default.
const CLIENTS_MAX: usize = 1024;

/// Enough stack for a client's thread.
const STACK_BYTES: usize = 256 << 10;
