//! Clients that pass from one process to the next in an upgrade: those that leave, and those that come.
//!
//! The one rule: a client of a pool that the next process has is not closed. It passes as soon as it has
//! its replies, and is served here until then, for at most the time of a retirement.

use super::Worker;
use crate::drain::{Drain, RETIREMENT_MAX};
use crate::takeover::traveller::{Departures, Traveller};
use nuthatch_core::mux::ClientId;
use nuthatch_core::time::Instant;
use std::mem;

impl Worker {
    /// Accepts no new clients from now on, and passes the existing clients to another process, each as
    /// soon as it has its replies. Clients in the queues of the listeners are for the other process.
    pub(super) fn retire(&mut self, departures: Departures, now: Instant) {
        if self.drain_by.is_some() {
            return;
        }
        self.drain_by = Some(now.after(RETIREMENT_MAX));
        for (listener, _) in mem::take(&mut self.listeners) {
            self.unwatch(&listener);
        }
        self.accept_again = None;
        for pool in self.pools.iter_mut().filter(|pool| !pool.is_gone) {
            pool.drain.get_or_insert_with(|| Drain::of_retirement(now));
        }
        self.departures = Some(departures);
    }

    /// Whether the clients of a pool pass to another process.
    pub(super) fn passes(&self, index: usize) -> bool {
        let id = self.pools[index].shared.id;
        self.departures.as_ref().is_some_and(|next| next.has(id))
    }

    /// Passes a client to the process that has taken over, if it has its replies.
    pub(super) fn pass(&mut self, index: usize, id: ClientId) {
        let pool = &mut self.pools[index];
        let Some(takes) = pool.mux.pass(id) else { return };
        if let (Some(socket), Some(next)) = (pool.clients[id.index()].take(), &self.departures) {
            next.send(pool.shared.id, socket.into_fd(&self.poll), takes);
        }
    }

    /// Takes a client of the process that was taken over. If a reload has removed its pool in the
    /// meantime, it is closed.
    pub(super) fn arrive(&mut self, traveller: Traveller, now: Instant) {
        let Traveller { pool, socket, takes } = traveller;
        let place = self.place_of(pool).filter(|&place| !self.pools[place].is_gone);
        if let Some(place) = place {
            self.admit(place, socket, Some(takes), now);
        }
    }
}
