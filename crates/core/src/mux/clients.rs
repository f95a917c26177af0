//! The clients of a pool and their requests in flight: what is there, and who needs a look.
//!
//! The one rule: a request belongs to its client until the client has its reply or is gone; then it
//! belongs to the servers that still owe for it.

use super::Shared;
use super::backpressure::Lines;
use super::client::Client;
use super::dirty::Dirty;
use super::id::{ClientId, ConnId};
use super::joins::Joins;
use super::journal::Notes;
use super::memory::ENTRY_BYTES;
use super::migrate::Moves;
use super::quota::Gone;
use super::slots::{SlotId, Slots, State};
use crate::message::Expect;
use crate::spares::{SMALL_MAX, Spares};
use crate::time::Instant;
use alloc::collections::VecDeque;
use core::ops::{Index, IndexMut};

/// The clients of a pool and their requests.
#[derive(Debug)]
pub(super) struct Clients {
    pub(super) list: slab::Slab<Client>,
    pub(super) dirty: Dirty<ClientId>,
    pub(super) slots: Slots,
    pub(super) joins: Joins,
    /// Apart from the others, as there are many and they are small.
    pub(super) reply_spares: Spares,
    /// Questions that the embedder has not seen.
    pub(super) questions: VecDeque<SlotId>,
    /// Those whose waiting requests may be taken now.
    pub(super) resumable: VecDeque<ClientId>,
    pub(super) lines: Lines,
    /// Requests for keys that move.
    pub(super) tasks: Moves,
    /// Keys that are removed because of servers that were away.
    pub(super) notes: Notes,
    /// Those that have gone.
    pub(super) gone: Gone,
    /// How many of them have requests on the way over a connection of their own, or had last.
    pub(super) on_dedicated: usize,
    /// How many use the connections of bulky clients.
    pub(super) bulky: usize,
    /// When another one has asked last.
    pub(super) asked_for_little: Instant,
    /// Counts up: tells a request of several keys from another.
    pub(super) next_request: u64,
    /// Bytes held for them.
    pub(super) memory: usize,
    /// A request of at least so many bytes may leave with the memory that it was read to.
    pub(super) move_min: usize,
    /// The connection that gets the request just taken in this way.
    pub(super) moves: Option<ConnId>,
}

impl Default for Clients {
    fn default() -> Self {
        Self {
            list: slab::Slab::new(),
            dirty: Dirty::new(),
            slots: Slots::default(),
            joins: Joins::default(),
            reply_spares: Spares::default(),
            questions: VecDeque::new(),
            resumable: VecDeque::new(),
            lines: Lines::default(),
            tasks: Moves::default(),
            notes: Notes::default(),
            gone: Gone::default(),
            on_dedicated: 0,
            bulky: 0,
            asked_for_little: Instant::default(),
            next_request: 0,
            memory: 0,
            move_min: usize::MAX,
            moves: None,
        }
    }
}

impl Index<ClientId> for Clients {
    type Output = Client;

    #[inline(always)]
    fn index(&self, id: ClientId) -> &Client {
        &self.list[id.index()]
    }
}

impl IndexMut<ClientId> for Clients {
    #[inline(always)]
    fn index_mut(&mut self, id: ClientId) -> &mut Client {
        &mut self.list[id.index()]
    }
}

impl Clients {
    /// The next client that needs its socket looked after.
    pub(super) fn next_dirty(&mut self, shared: &mut Shared) -> Option<ClientId> {
        loop {
            let id = self.dirty.pop()?;
            if let Some(client) = self.list.get_mut(id.index()).filter(|client| client.id == id) {
                client.dirty = false;
                if shared.has_quotas {
                    client.publish_in_flight(&shared.usage);
                }
                self.account(shared, id);
                return Some(id);
            }
        }
    }

    #[inline]
    pub(super) fn mark(&mut self, id: ClientId) {
        self.list[id.index()].mark(id, &mut self.dirty);
    }

    /// As [`super::Mux::close_client`].
    pub(super) fn close(&mut self, shared: &mut Shared, id: ClientId) {
        let mut client = self.list.remove(id.index());
        let mut unanswered = client.silent;
        while let Some(slot) = self.slots.pop(&mut client.queue) {
            match self.slots.slot(slot).state {
                State::Waiting => {
                    unanswered += 1;
                    self.orphan(shared, slot);
                }
                _ => {
                    let reply = self.slots.remove(slot).reply;
                    let is_large = reply.capacity() > SMALL_MAX;
                    if is_large { &mut shared.spares } else { &mut self.reply_spares }.give(reply);
                }
            }
        }
        self.note_gone(shared, &mut client, unanswered);
        self.stop_waiting(id, client.hold);
        self.on_dedicated -= usize::from(client.is_on_dedicated);
        self.bulky -= usize::from(client.is_bulk);
        shared.stats.bulk_clients.sub(u64::from(client.is_bulk));
        self.tasks.forget_client(id);
        client.input.clear(&mut shared.spares);
        client.out.clear(&mut shared.spares);
        self.memory -= client.accounted;
        shared.stats.client_connections.sub(1);
    }

    /// A request whose client is gone: a server still owes for it, but nothing is kept.
    fn orphan(&mut self, shared: &Shared, id: SlotId) {
        let slot = self.slots.slot(id);
        slot.state = State::Orphan;
        if let Some(join) = slot.join {
            self.abandon_join(shared, join);
        }
    }

    /// No more requests from this client.
    pub(super) fn end_input(&mut self, shared: &mut Shared, id: ClientId) {
        self[id].end_input(&mut shared.spares);
        self.mark(id);
    }

    /// A slot for a request of `keys` keys, at the end of its client's queue unless the client
    /// wants no reply.
    #[inline(always)]
    pub(super) fn new_slot(
        &mut self,
        shared: &mut Shared,
        id: ClientId,
        keys: usize,
        expect: Expect,
    ) -> SlotId {
        let state = if expect.is_silent() { State::Silent } else { State::Waiting };
        self.insert_slot(shared, id, keys, state)
    }

    /// In line, or every request costs thirty instructions more.
    #[inline(always)]
    pub(super) fn insert_slot(
        &mut self,
        shared: &mut Shared,
        id: ClientId,
        keys: usize,
        state: State,
    ) -> SlotId {
        let client = &mut self.list[id.index()];
        let slot = self.slots.insert(id, keys, state);
        client.overhead += ENTRY_BYTES;
        let has_grown = client.has_grown();
        if state == State::Silent {
            client.silent += 1;
        } else {
            client.requests += 1;
            client.keys += keys;
            self.slots.push(&mut client.queue, slot);
        }
        if has_grown {
            self.account_now(shared, id);
        }
        slot
    }
}
