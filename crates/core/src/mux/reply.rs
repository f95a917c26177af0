//! Hop 13 of the walk: replies leave in the order their client asked.
//!
//! A reply whose turn it is goes straight to the client's output, and with it those behind it that
//! are here already. Any other waits in its slot. The one rule: a slot is answered exactly once.

use super::client::Hold;
use super::gather::{Gather, GatherId};
use super::server::Pending;
use super::slots::{SlotId, State};
use super::{ClientId, Mux};
use crate::buffer::Spares;
use crate::memcache;
use crate::protocol::{Outcome, Shape};
use alloc::vec::Vec;
use core::mem;

/// What a client gets, and how it comes to its output.
pub(super) enum Reply<'a> {
    /// These bytes, copied.
    Copied(&'a [u8]),
    /// This memory itself, where nothing is in the way.
    Moved(Vec<u8>),
    /// The values of a multiget.
    Gathered(&'a Gather),
}

impl Reply<'_> {
    #[inline]
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Copied(bytes) => bytes.len(),
            Self::Moved(bytes) => bytes.len(),
            Self::Gathered(gather) => gather.held(),
        }
    }

    /// The bytes, if they are not those of many servers.
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Copied(bytes) => bytes,
            Self::Moved(bytes) => bytes,
            Self::Gathered(_) => b"",
        }
    }

    #[inline]
    fn append_to(self, out: &mut Vec<u8>, spares: &mut Spares) {
        match self {
            Self::Copied(bytes) => out.extend_from_slice(bytes),
            Self::Moved(bytes) if out.is_empty() => spares.give(mem::replace(out, bytes)),
            Self::Moved(bytes) => out.extend_from_slice(&bytes),
            Self::Gathered(gather) => gather.write_answer(out),
        }
    }
}

impl Mux {
    /// Hop 12 ends here: what a server owed is known.
    #[inline]
    pub(super) fn settle(&mut self, pending: &Pending, outcome: Outcome, reply: Reply<'_>) {
        let Some(slot) = pending.slot else { return };
        if let Some((gather, _)) = pending.fragment {
            return self.settle_fragment(slot, gather, outcome, reply.bytes());
        }
        let expect = pending.expect;
        if matches!(expect.shape, Shape::Value | Shape::MetaGet) {
            match outcome {
                Outcome::Hit => self.stats.get_hits.add(1),
                Outcome::Miss => self.stats.get_misses.add(1),
                _ => {}
            }
        }
        let is_hidden = expect.quiet.hides(outcome);
        self.answer(slot, if is_hidden { Reply::Copied(b"") } else { reply });
    }

    fn settle_fragment(&mut self, slot: SlotId, id: GatherId, outcome: Outcome, reply: &[u8]) {
        let gather = self.gathers.gather(id);
        if outcome == Outcome::Error {
            gather.fail(reply);
        }
        if gather.finish_fragment() {
            let gather = self.gathers.remove(id);
            self.answer_gather(slot, &gather);
            self.gathers.reuse(gather);
        }
    }

    fn answer_gather(&mut self, slot: SlotId, gather: &Gather) {
        if !gather.has_failed() {
            let (asked, found) = gather.hits();
            self.stats.get_hits.add(found as u64);
            self.stats.get_misses.add((asked - found) as u64);
        }
        if let Some(client) = self.waiting_client(slot) {
            self.clients[client.index()].held_bytes -= gather.held();
        }
        self.answer(slot, Reply::Gathered(gather));
    }

    /// Files the values of a fragment at the head of `bytes`. Says how many bytes they were; none
    /// if the fragment did not ask for one of them.
    pub(super) fn gather(
        &mut self,
        slot: SlotId,
        id: GatherId,
        number: usize,
        bytes: &[u8],
    ) -> Option<usize> {
        let max = self.options.limits.client_backlog_max;
        let client = self.waiting_client(slot);
        let gather = self.gathers.gather(id);
        let before = gather.held();
        let item_size_max = self.options.limits.item_size_max;
        let taken = gather.take_values(number, bytes, item_size_max);
        let after = gather.held();
        let Some(id_of_client) = client else {
            gather.overflow(memcache::BACKLOG_ERROR);
            return taken;
        };
        let client = &mut self.clients[id_of_client.index()];
        client.held_bytes = client.held_bytes - before + after;
        if client.backlog() > max && after > 0 {
            client.held_bytes -= after;
            gather.overflow(memcache::BACKLOG_ERROR);
            self.stats.limit_client_backlog.add(1);
        }
        self.account(id_of_client);
        taken
    }

    /// Makes the answer of a request an error, as one of its values is too large.
    pub(super) fn refuse_values(&mut self, slot: SlotId, id: GatherId) {
        let client = self.waiting_client(slot);
        let gather = self.gathers.gather(id);
        if let Some(client) = client {
            self.clients[client.index()].held_bytes -= gather.held();
        }
        gather.overflow(memcache::TOO_LARGE);
    }

    /// The client that waits for a slot, if it is still there.
    fn waiting_client(&mut self, slot: SlotId) -> Option<ClientId> {
        let slot = self.slots.slot(slot);
        (slot.state == State::Waiting).then_some(slot.owner.client)
    }

    /// Answers a request.
    pub(super) fn answer(&mut self, id: SlotId, reply: Reply<'_>) {
        let slot = self.slots.slot(id);
        match slot.state {
            State::Silent => return self.end_silence(id),
            State::Orphan => {
                self.slots.remove(id);
                return;
            }
            State::Waiting | State::Ready | State::Barrier => {}
        }
        let client_id = slot.owner.client;
        let client = &mut self.clients[client_id.index()];
        let at_head = client.queue.head() == Some(id);
        let backlog = client.backlog();
        let out = if at_head {
            client.out.tail(&mut self.spares)
        } else {
            slot.state = State::Ready;
            slot.reply = self.reply_spares.take();
            &mut slot.reply
        };
        let before = out.len();
        if backlog > 0 && backlog + reply.len() > self.options.limits.client_backlog_max {
            self.stats.limit_client_backlog.add(1);
            out.extend_from_slice(memcache::BACKLOG_ERROR);
        } else {
            reply.append_to(out, &mut self.spares);
        }
        let written = out.len() - before;
        client.learn(written / slot.keys.max(1));
        if at_head {
            self.leave_queue(client_id);
            self.release(client_id);
        } else {
            client.held_bytes += written;
            self.account(client_id);
        }
    }

    /// Answers a request that needs no server, in its turn.
    pub(super) fn answer_here(&mut self, id: ClientId, reply: &[u8]) {
        let client = &mut self.clients[id.index()];
        if client.queue.head().is_none() {
            client.out.tail(&mut self.spares).extend_from_slice(reply);
            self.mark_client(id);
        } else if !reply.is_empty() {
            let slot = self.insert_slot(id, 0, State::Waiting);
            self.answer(slot, Reply::Copied(reply));
        }
    }

    /// A request without reply is done.
    fn end_silence(&mut self, id: SlotId) {
        let slot = self.slots.remove(id);
        let Some(client) = self.clients.get_mut(slot.owner.client.index()) else { return };
        if client.serial == slot.owner.serial {
            client.silent -= 1;
            if client.silent == 0 && client.hold == Hold::Barrier {
                self.pass_barrier(slot.owner.client);
            }
        }
    }

    /// Answers a client's barrier, which is its last request as long as it is held for it.
    fn pass_barrier(&mut self, id: ClientId) {
        let barrier = self.clients[id.index()].queue.tail().expect("a barrier is in the queue");
        let answer = mem::take(&mut self.slots.slot(barrier).reply);
        self.answer(barrier, Reply::Copied(&answer));
        self.spares.give(answer);
        self.make_resumable(id);
    }

    /// Lets the replies leave whose turn it is.
    fn release(&mut self, id: ClientId) {
        while let Some(head) = self.clients[id.index()].queue.head() {
            let client = &mut self.clients[id.index()];
            let slot = self.slots.slot(head);
            if slot.state != State::Ready {
                break;
            }
            let reply = mem::take(&mut slot.reply);
            client.out.tail(&mut self.spares).extend_from_slice(&reply);
            client.held_bytes -= reply.len();
            self.reply_spares.give(reply);
            self.leave_queue(id);
        }
        self.mark_client(id);
        if self.clients[id.index()].hold == Hold::Own {
            self.reconsider(id);
        }
    }

    /// Takes the head of a client's queue, which is answered, out of the world.
    #[inline]
    fn leave_queue(&mut self, id: ClientId) {
        let client = &mut self.clients[id.index()];
        let head = self.slots.pop(&mut client.queue).expect("the answered request is the head");
        let slot = self.slots.remove(head);
        client.requests -= 1;
        client.keys -= slot.keys;
    }
}
