//! Replies leave in the order their client asked.
//!
//! A reply whose turn it is goes straight to the client's output, and with it those behind it that
//! are here already. Any other waits in its slot. The one rule: a slot is answered exactly once.

use super::backpressure::Hold;
use super::client::Client;
use super::clients::Clients;
use super::join::Join;
use super::memory::ENTRY_BYTES;
use super::slots::{SlotId, Slots, State};
use super::{ClientId, Shared};
use crate::protocol::Refusal;
use crate::spares::{SMALL_MAX, Spares};
use alloc::vec::Vec;
use core::mem;

/// What a client gets, and how it comes to its output. Generic, as nearly all are small.
pub(super) trait Reply {
    fn len(&self) -> usize;

    /// The bytes, if they are those of one server.
    fn bytes(&self) -> &[u8];

    fn append_to(self, out: &mut Vec<u8>, spares: &mut Spares);
}

/// A copy of these bytes.
impl Reply for &[u8] {
    fn len(&self) -> usize {
        (**self).len()
    }

    fn bytes(&self) -> &[u8] {
        self
    }

    /// In line, or each reply costs thirty instructions more.
    #[inline(always)]
    fn append_to(self, out: &mut Vec<u8>, _: &mut Spares) {
        out.extend_from_slice(self);
    }
}

/// This memory itself, unless something is before it.
impl Reply for Vec<u8> {
    fn len(&self) -> usize {
        self.len()
    }

    fn bytes(&self) -> &[u8] {
        self
    }

    fn append_to(self, out: &mut Self, spares: &mut Spares) {
        if out.is_empty() {
            spares.give(mem::replace(out, self));
        } else {
            let len = out.len() + self.len();
            if len > SMALL_MAX.max(out.capacity()) {
                let mut bytes = spares.take_for(len);
                bytes.extend_from_slice(out);
                spares.give(mem::replace(out, bytes));
            }
            out.extend_from_slice(&self);
            spares.give(self);
        }
    }
}

/// The values of a multiget.
impl Reply for &Join {
    fn len(&self) -> usize {
        self.held()
    }

    fn bytes(&self) -> &[u8] {
        b""
    }

    fn append_to(self, out: &mut Vec<u8>, _: &mut Spares) {
        self.write_answer(out);
    }
}

impl Clients {
    /// Answers a request.
    #[inline(always)]
    pub(super) fn answer(&mut self, shared: &mut Shared, id: SlotId, reply: impl Reply) {
        let slot = self.slots.slot(id);
        match slot.state {
            State::Silent => return self.end_silence(shared, id),
            State::Orphan => {
                let client = self.slots.remove(id).client;
                return self.end_gone(shared, client);
            }
            State::Waiting | State::Ready | State::Barrier => {}
        }
        let client_id = slot.client;
        let client = &mut self.list[client_id.index()];
        let at_head = client.queue.has_head(id);
        let backlog = client.backlog();
        let out = if at_head {
            client.out.tail(&mut shared.spares)
        } else {
            slot.state = State::Ready;
            slot.reply = self.reply_spares.take();
            &mut slot.reply
        };
        let before = out.len();
        if backlog > 0 && backlog + reply.len() > shared.options.limits.client_backlog_max {
            shared.stats.limit_client_backlog.add(1);
            out.extend_from_slice(shared.options.protocol.refusal(Refusal::Backlog));
        } else {
            reply.append_to(out, &mut shared.spares);
        }
        let written = out.len() - before;
        client.learn(if slot.keys < 2 { written } else { written / slot.keys });
        if written >= shared.signs.min {
            client.note_bulk(&shared.signs);
        }
        if at_head {
            client.leave_queue(&mut self.slots, id);
            client.mark(client_id, &mut self.dirty);
            let hold = client.hold;
            if client.queue.head().is_some() {
                self.release(shared, client_id);
            }
            if hold != Hold::No {
                self.let_go_on(shared, client_id, hold);
            }
        } else {
            client.held_bytes += written;
            client.overhead += slot.reply.capacity() - written;
            self.account(shared, client_id);
        }
    }

    /// Lets a held client go on, if it was held for a reply that has left now.
    #[inline(never)]
    fn let_go_on(&mut self, shared: &mut Shared, id: ClientId, hold: Hold) {
        match hold {
            Hold::Own => self.reconsider(shared, id),
            Hold::Barrier => self.pass_barrier(shared, id),
            Hold::Replies => self.pass_switch(id),
            Hold::No
            | Hold::Server
            | Hold::Resumable
            | Hold::NextInLine
            | Hold::TooLate
            | Hold::Moves
            | Hold::Passing => {}
        }
    }

    /// Answers a request that needs no server, in its turn.
    pub(super) fn answer_here(&mut self, shared: &mut Shared, id: ClientId, reply: &[u8]) {
        let client = &mut self.list[id.index()];
        if client.must_close {
            return;
        }
        let Some(tail) = client.queue.tail() else {
            client.out.tail(&mut shared.spares).extend_from_slice(reply);
            self.mark(id);
            return self.account(shared, id);
        };
        let last = self.slots.slot(tail);
        if last.state == State::Ready {
            // Many answers that wait for the same reply are one entry, not one each.
            client.overhead -= last.reply.capacity() - last.reply.len();
            last.reply.extend_from_slice(reply);
            client.held_bytes += reply.len();
            client.overhead += last.reply.capacity() - last.reply.len();
            self.account(shared, id);
        } else if !reply.is_empty() {
            let slot = self.insert_slot(shared, id, 0, State::Waiting);
            self.answer(shared, slot, reply);
        }
    }

    /// A request without reply is done.
    fn end_silence(&mut self, shared: &mut Shared, id: SlotId) {
        let slot = self.slots.remove(id);
        let client = self.list.get_mut(slot.client.index());
        if let Some(client) = client.filter(|client| client.id == slot.client) {
            client.silent -= 1;
            client.overhead -= ENTRY_BYTES;
            client.account_less(&mut self.memory);
            if shared.has_quotas {
                client.publish_in_flight(&shared.usage);
            }
            match client.hold {
                Hold::Barrier => self.pass_barrier(shared, slot.client),
                Hold::Replies => self.pass_switch(slot.client),
                _ => {}
            }
        } else {
            self.end_gone(shared, slot.client);
        }
    }

    /// Answers a client's barrier if it is the last thing on its way. It is the client's last request
    /// as long as the client is held for it.
    fn pass_barrier(&mut self, shared: &mut Shared, id: ClientId) {
        let client = &mut self.list[id.index()];
        let Some(head) = client.queue.head().filter(|_| client.silent == 0) else { return };
        if self.slots.slot(head).state == State::Barrier {
            let answer = mem::take(&mut self.slots.slot(head).reply);
            self.answer(shared, head, answer.as_slice());
            shared.spares.give(answer);
            self.make_resumable(id);
        }
    }

    /// Lets a client go on whose next request must not overtake those before it.
    fn pass_switch(&mut self, id: ClientId) {
        if self[id].queue.head().is_none() {
            self.make_resumable(id);
        }
    }

    /// Lets the replies leave that are here and whose turn it is now.
    fn release(&mut self, shared: &mut Shared, id: ClientId) {
        let client = &mut self.list[id.index()];
        while let Some(head) = client.queue.head() {
            let slot = self.slots.slot(head);
            if slot.state != State::Ready {
                break;
            }
            let reply = mem::take(&mut slot.reply);
            client.held_bytes -= reply.len();
            client.overhead -= reply.capacity() - reply.len();
            let out = client.out.tail(&mut shared.spares);
            if reply.capacity() > SMALL_MAX {
                reply.append_to(out, &mut shared.spares);
            } else {
                out.extend_from_slice(&reply);
                self.reply_spares.give(reply);
            }
            client.leave_queue(&mut self.slots, head);
        }
    }
}

impl Client {
    /// Removes the answered request at the head of its queue. In line, or each costs ten instructions
    /// more.
    #[inline(always)]
    fn leave_queue(&mut self, slots: &mut Slots, head: SlotId) {
        let slot = slots.remove_head(&mut self.queue, head);
        self.requests -= 1;
        self.overhead -= ENTRY_BYTES;
        self.keys -= slot.keys;
    }
}
