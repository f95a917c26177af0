//! What is held for clients, in bytes, and what happens when it is too much.
//!
//! Everything that grows with what a client does counts: its unfinished request (with the memory
//! reserved for it, if that is much), the replies that it
//! has not taken, with the memory around them, and an entry for each request in flight. The one
//! rule: `Clients::memory` is the sum of what is accounted for each client.

use super::client::Client;
use super::clients::Clients;
use super::conn::Pending;
use super::id::ClientId;
use super::slots::{Slot, State};
use super::{Mux, Shared};
use alloc::vec::Vec;

/// What a request in flight costs besides its bytes: its slot, and its place in a server's queue.
pub(super) const ENTRY_BYTES: usize = size_of::<Slot>() + size_of::<Pending>();

/// What a client may hold beyond what is counted, until its next reply: a few requests in flight are
/// not worth the count.
const UNCOUNTED_MAX: usize = 8 * ENTRY_BYTES;

impl Client {
    /// Bytes of replies kept for it.
    pub(super) fn backlog(&self) -> usize {
        self.out.len() + self.held_bytes
    }

    /// Whether much has come to what it takes besides bytes since it was counted.
    #[inline]
    pub(super) fn has_grown(&self) -> bool {
        self.overhead > self.counted_overhead + UNCOUNTED_MAX
    }

    /// Notes what of the memory around its unfinished request holds no byte of it. Apart from the sum,
    /// which is taken for every reply.
    pub(super) fn note_reserved(&mut self) {
        let reserved = self.input.footprint() - self.input.len();
        self.overhead = self.overhead - self.reserved + reserved;
        self.reserved = reserved;
    }

    /// Bytes kept for it, whichever way they go.
    fn held(&self) -> usize {
        self.backlog() + self.overhead + self.input.len()
    }

    /// As [`Clients::account`], when it can only hold less than before.
    #[inline]
    pub(super) fn account_less(&mut self, memory: &mut usize) {
        let held = self.held().min(self.accounted);
        *memory = *memory - self.accounted + held;
        self.accounted = held;
    }
}

impl Mux {
    /// Bytes held for clients: their unfinished requests, replies that they have not taken, and an
    /// entry for each of their requests in flight.
    pub fn memory(&self) -> usize {
        self.clients.memory
    }
}

impl Clients {
    /// Brings [`Mux::memory`] up to date with one client; sheds the greediest if it is too much.
    ///
    /// In line, as it is asked for every reply and mostly has nothing to do.
    #[inline(always)]
    pub(super) fn account(&mut self, shared: &mut Shared, id: ClientId) {
        let client = &mut self.list[id.index()];
        if client.must_close {
            return;
        }
        let held = client.held();
        self.memory = self.memory - client.accounted + held;
        client.accounted = held;
        client.counted_overhead = client.overhead;
        if self.memory > shared.options.limits.memory_max {
            self.shed(shared);
        }
    }

    #[inline(never)]
    pub(super) fn account_now(&mut self, shared: &mut Shared, id: ClientId) {
        self.account(shared, id);
    }

    /// Closes the client that holds most: it alone has to bear it. What it holds is free at once,
    /// though its socket is closed at the end of the turn only, and it gets nothing more.
    #[cold]
    fn shed(&mut self, shared: &mut Shared) {
        let greediest = self.list.iter().max_by_key(|(_, client)| client.accounted);
        let Some((_, client)) = greediest else { return };
        let id = client.id;
        shared.stats.limit_memory.add(1);
        self.give_up(shared, id);
    }

    /// Closes a client, and frees at once what is held for it.
    #[cold]
    pub(super) fn give_up(&mut self, shared: &mut Shared, id: ClientId) {
        let client = &mut self.list[id.index()];
        client.must_close = true;
        client.end_input(&mut shared.spares);
        client.out.clear(&mut shared.spares);
        client.held_bytes = 0;
        self.memory -= client.accounted;
        client.accounted = 0;
        let mut next = client.queue.head();
        self.mark(id);
        while let Some(id) = next {
            next = self.slots.next(id);
            let slot = self.slots.slot(id);
            match (slot.state, slot.join) {
                // Its memory goes back to the system: there is a lot of it.
                (State::Ready, _) => slot.reply = Vec::new(),
                (State::Waiting, Some(join)) => self.abandon_join(shared, join),
                _ => {}
            }
        }
    }
}
