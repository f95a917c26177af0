//! The protocol of memcached: classic and meta commands, with the replies of memcached 1.6.18.
//!
//! The one rule: all clients share one store, whose clock is set to the current second each time
//! the store is locked.

use std::io;
use std::net::TcpStream;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::{Figures, Service};

mod classic;
mod flags;
mod item;
mod meta;
mod session;
mod store;

use item::Seconds;
use store::Store;

/// The data that all clients of a node share.
#[derive(Debug)]
pub(crate) struct Shared {
    store: Mutex<Store>,
    start: Seconds,
}

impl Shared {
    pub(crate) fn new(memory: usize) -> Self {
        Self { store: Mutex::new(Store::new(memory)), start: seconds() }
    }

    /// The store, with its clock set to the current second.
    fn lock(&self) -> MutexGuard<'_, Store> {
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        store.set_now(seconds());
        store
    }
}

impl Service for Shared {
    fn serve(&self, stream: &TcpStream) -> io::Result<()> {
        session::serve(stream, self)
    }

    fn figures(&self) -> Figures {
        let store = self.lock();
        Figures { requests: store.counts.requests, items: store.len() }
    }

    fn too_many_clients(&self) -> &'static [u8] {
        b"ERROR Too many open connections\r\n"
    }
}

fn seconds() -> Seconds {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs().try_into().unwrap_or(Seconds::MAX)
}
