//! The protocol of Redis: the common commands of its strings, hashes, lists, sets and sorted sets,
//! with the replies of Redis 7.0 in RESP2 and RESP3.
//!
//! The one rule: all clients share one store, which is locked for one command at a time and never
//! while a reply is written, so a client that does not read does not block others.

use std::io;
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::{Figures, Service};

mod command;
mod connection;
mod expiry;
mod fault;
mod glob;
mod hashes;
mod keys;
mod lists;
mod number;
mod reply;
mod request;
mod session;
mod sets;
mod sorted;
mod store;
mod strings;
mod value;

use store::{Millis, Store};

/// The data that all clients of a node share.
#[derive(Debug)]
pub(crate) struct Shared {
    store: Mutex<Store>,
    /// The number of the last client.
    clients: AtomicU64,
    start: Millis,
}

impl Shared {
    pub(crate) fn new(memory: usize) -> Self {
        let store = Mutex::new(Store::new(memory));
        Self { store, clients: AtomicU64::new(0), start: millis() }
    }

    /// The store, with its clock set to the current millisecond.
    fn lock(&self) -> MutexGuard<'_, Store> {
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        store.set_now(millis());
        store
    }

    fn next_client(&self) -> u64 {
        self.clients.fetch_add(1, Ordering::Relaxed) + 1
    }
}

impl Service for Shared {
    fn serve(&self, stream: &TcpStream) -> io::Result<()> {
        session::serve(stream, self)
    }

    fn figures(&self) -> Figures {
        let mut store = self.lock();
        Figures { requests: store.requests, items: store.len() }
    }

    fn too_many_clients(&self) -> &'static [u8] {
        b"-ERR max number of clients reached\r\n"
    }
}

fn millis() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis().try_into().unwrap_or(Millis::MAX)
}
