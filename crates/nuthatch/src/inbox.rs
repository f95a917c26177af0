//! What other threads tell a worker: a short queue and a bell.
//!
//! The only thing that a worker shares with anybody but its figures. Nothing of a request passes
//! here.

use crate::resolve::Resolved;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// A message to a worker.
#[derive(Debug)]
pub(crate) enum Message {
    /// A server's name was looked up.
    Resolved(Resolved),
    /// Take nothing new and end when all is answered.
    Drain,
}

/// A worker's queue of messages.
#[derive(Debug)]
pub(crate) struct Inbox {
    messages: Mutex<Vec<Message>>,
    bell: OwnedFd,
    /// How often the worker looked.
    looks: AtomicU64,
}

impl Inbox {
    pub(crate) fn new() -> io::Result<Self> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { messages: Mutex::default(), bell, looks: AtomicU64::new(0) })
    }

    /// Leaves a message and rings.
    pub(crate) fn send(&self, message: Message) {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).push(message);
        self.ring();
    }

    /// Rings, to see the worker look.
    pub(crate) fn ring(&self) {
        // A full counter has rung already.
        let _ = io::write(&self.bell, &1u64.to_ne_bytes());
    }

    /// How often the worker has looked who rang.
    pub(crate) fn looks(&self) -> u64 {
        self.looks.load(Ordering::Relaxed)
    }

    /// Takes the messages and silences the bell.
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
