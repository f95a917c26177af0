//! The requests in flight: a slab, and each client's queue as links through it.
//!
//! A slot is freed when both its sides are done with it: the client has its reply or is gone, and
//! no server owes anything for it. So an index kept in a server's queue is never somebody else's.

use super::id::ClientId;
use super::join::JoinId;
use alloc::vec::Vec;

/// A request in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SlotId(u32);

impl SlotId {
    /// No request.
    pub(super) const NONE: Self = Self(u32::MAX);

    fn index(self) -> usize {
        self.0 as usize
    }

    fn some(self) -> Option<Self> {
        (self != Self::NONE).then_some(self)
    }
}

#[derive(Debug)]
pub(super) struct Slot {
    /// Whose request it is.
    pub(super) client: ClientId,
    /// The client's next request.
    next: SlotId,
    /// How many keys it asks for; what it counts in its client's window.
    pub(super) keys: usize,
    pub(super) state: State,
    /// Where the answers of several servers come together, if it has several.
    pub(super) join: Option<JoinId>,
    /// The reply, if it is here before its turn. Its memory is of the spare replies.
    pub(super) reply: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Waits for its server or servers.
    Waiting,
    /// Has its reply, and waits for its turn.
    Ready,
    /// Waits for its client's silent requests; nobody else knows of it.
    Barrier,
    /// In no client's queue: the client wants no reply.
    Silent,
    /// Its client is gone, its server is not done.
    Orphan,
}

#[derive(Debug, Default)]
pub(super) struct Slots {
    slab: slab::Slab<Slot>,
}

/// A client's requests in order.
#[derive(Debug)]
pub(super) struct Queue {
    head: SlotId,
    tail: SlotId,
}

impl Default for Queue {
    fn default() -> Self {
        Self { head: SlotId::NONE, tail: SlotId::NONE }
    }
}

impl Queue {
    pub(super) fn head(&self) -> Option<SlotId> {
        self.head.some()
    }

    #[inline]
    pub(super) fn has_head(&self, id: SlotId) -> bool {
        self.head == id
    }

    pub(super) fn tail(&self) -> Option<SlotId> {
        self.tail.some()
    }

    fn skip_to(&mut self, next: SlotId) {
        self.head = next;
        if next == SlotId::NONE {
            self.tail = SlotId::NONE;
        }
    }
}

impl Slots {
    pub(super) fn len(&self) -> usize {
        self.slab.len()
    }

    #[inline]
    pub(super) fn insert(&mut self, client: ClientId, keys: usize, state: State) -> SlotId {
        let slot = Slot { client, next: SlotId::NONE, keys, state, join: None, reply: Vec::new() };
        let index = self.slab.insert(slot);
        SlotId(u32::try_from(index).expect("the limits keep requests in flight below 2^32"))
    }

    #[inline]
    pub(super) fn slot(&mut self, id: SlotId) -> &mut Slot {
        &mut self.slab[id.index()]
    }

    #[inline]
    pub(super) fn remove(&mut self, id: SlotId) -> Slot {
        self.slab.remove(id.index())
    }

    #[inline]
    pub(super) fn push(&mut self, queue: &mut Queue, id: SlotId) {
        match queue.tail.some() {
            Some(tail) => self.slab[tail.index()].next = id,
            None => queue.head = id,
        }
        queue.tail = id;
    }

    /// The request behind this one in its client's queue.
    pub(super) fn next(&self, id: SlotId) -> Option<SlotId> {
        self.slab[id.index()].next.some()
    }

    /// Takes the first slot out of the queue; it stays in the slab.
    pub(super) fn pop(&self, queue: &mut Queue) -> Option<SlotId> {
        let head = queue.head.some()?;
        queue.skip_to(self.slab[head.index()].next);
        Some(head)
    }

    /// Takes a slot that is the head of `queue` out of queue and slab.
    #[inline]
    pub(super) fn remove_head(&mut self, queue: &mut Queue, head: SlotId) -> Slot {
        debug_assert_eq!(queue.head(), Some(head));
        let slot = self.remove(head);
        queue.skip_to(slot.next);
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_first_in_first_out_and_can_be_filled_again() {
        let mut slots = Slots::default();
        let mut queue = Queue::default();
        let client = ClientId::new(0, 1);
        for _ in 0..2 {
            let ids = [0; 3].map(|_| slots.insert(client, 1, State::Waiting));
            for id in ids {
                slots.push(&mut queue, id);
            }
            for id in ids {
                assert_eq!(queue.head(), Some(id));
                assert_eq!(slots.pop(&mut queue), Some(id));
                slots.remove(id);
            }
            assert_eq!(slots.pop(&mut queue), None);
            assert_eq!(slots.len(), 0);
        }
    }
}
