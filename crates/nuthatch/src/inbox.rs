//! Messages from other threads to a worker: a short queue and an eventfd (the bell).
//!
//! A worker shares only its inbox, its counters and the choice of addresses with other threads. No
//! request passes through the inbox.

use crate::generation::Generation;
use crate::listener::Listener;
use crate::resolve::Resolved;
use crate::takeover::traveller::{Departures, Traveller};
use nuthatch_core::health::Decision;
use nuthatch_core::time::Instant;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io;
use std::collections::HashMap;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A message to a worker.
#[derive(Debug)]
pub(crate) enum Message {
    /// A server's name was looked up.
    Resolved(Resolved),
    /// Serve by another generation.
    Apply(Apply),
    /// Accept no new clients, and end when all requests are answered.
    Drain,
    /// Another process accepts the clients from now on, and gets those of this process.
    Retire(Departures),
    /// A client of the process that was taken over.
    Arrive(Box<Traveller>),
    /// What was decided about a server.
    Decision(Decision),
}

/// What a worker is told of another generation.
#[derive(Debug)]
pub(crate) struct Apply {
    pub(crate) generation: Arc<Generation>,
    /// When all workers were told, by the time that they share: what they do together counts from then on.
    pub(crate) announced: Instant,
    /// The wall clock at [`Instant`] zero, as the time since 1970: for pools that are new.
    pub(crate) epoch: Duration,
    /// The pool of each listener, by its number; a listener that is not here ends.
    pub(crate) pool_of: Arc<HashMap<u64, u64>>,
    /// Sockets that were opened for this worker.
    pub(crate) listeners: Vec<Listener>,
    /// The maximum number of clients of all pools.
    pub(crate) clients_max: usize,
    /// Dropped with this value: whoever has the other end learns that the worker has applied it.
    pub(crate) _applied: mpsc::Sender<()>,
}

/// A worker's queue of messages.
#[derive(Debug)]
pub(crate) struct Inbox {
    messages: Mutex<Vec<Message>>,
    bell: OwnedFd,
    /// How often the worker has read the inbox.
    looks: AtomicU64,
    is_closed: AtomicBool,
}

impl Inbox {
    pub(crate) fn new() -> io::Result<Self> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self {
            messages: Mutex::default(),
            bell,
            looks: AtomicU64::new(0),
            is_closed: AtomicBool::new(false),
        })
    }

    /// Adds a message and wakes the worker. A worker that has ended gets no message.
    pub(crate) fn send(&self, message: Message) {
        let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_closed() {
            return;
        }
        messages.push(message);
        drop(messages);
        self.ring();
    }

    /// Wakes the worker, to see whether it reads the inbox.
    pub(crate) fn ring(&self) {
        // If the counter is full, the worker is already woken.
        let _ = io::write(&self.bell, &1u64.to_ne_bytes());
    }

    /// How often the worker has read the inbox.
    pub(crate) fn looks(&self) -> u64 {
        self.looks.load(Ordering::Relaxed)
    }

    /// Whether the worker has read the inbox since there were so many `looks`. A worker that has ended
    /// need not.
    pub(crate) fn has_looked_since(&self, looks: u64) -> bool {
        self.is_closed() || self.looks() != looks
    }

    /// The worker has ended normally and will not read the inbox again.
    pub(crate) fn close(&self) {
        let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_closed.store(true, Ordering::Relaxed);
        // A message may hold what another thread waits for.
        messages.clear();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }

    /// Takes the messages and resets the eventfd.
    pub(crate) fn take(&self) -> Vec<Message> {
        self.looks.fetch_add(1, Ordering::Relaxed);
        let _ = io::read(&self.bell, &mut [0; 8]);
        mem::take(&mut *self.messages.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl AsFd for Inbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}
