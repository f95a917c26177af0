//! For whom a reply is, and how it gets there.
//!
//! Every request to a server has one waiter, and [`Mux::complete`] is the one place where a waiter
//! learns how its request ended, be it by a reply or by a failure.

use super::Mux;
use super::conn::Pending;
use super::id::ClientId;
use super::join::{Join, JoinId};
use super::reply::Reply;
use super::slots::{SlotId, State};
use crate::message::Outcome;
use crate::protocol::Refusal;

/// For whom a server's reply is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiter {
    /// A client's request.
    Slot(SlotId),
    /// A fragment of a request that several servers answer, by its number.
    Fragment(JoinId, u32),
    /// Nobody any longer: the reply is read, checked and dropped.
    Nobody,
}

impl Mux {
    /// A request to a server has ended. In line with the reply's way to its client, as nearly every
    /// reply goes all of it in one go: that saves thirty instructions.
    #[inline(always)]
    pub(super) fn complete(&mut self, pending: &Pending, outcome: Outcome, reply: impl Reply) {
        match pending.waiter {
            Waiter::Slot(slot) => self.complete_slot(slot, pending, outcome, reply),
            Waiter::Fragment(join, _) => self.complete_fragment(join, outcome, reply.bytes()),
            Waiter::Nobody => {}
        }
    }

    #[inline(always)]
    fn complete_slot(
        &mut self,
        slot: SlotId,
        pending: &Pending,
        outcome: Outcome,
        reply: impl Reply,
    ) {
        if pending.class.is_read() {
            match outcome {
                Outcome::Hit => self.stats.get_hits.add(1),
                Outcome::Miss => self.stats.get_misses.add(1),
                _ => {}
            }
        }
        if pending.expect.hidden.contains(outcome) {
            self.answer(slot, &b""[..]);
        } else {
            self.answer(slot, reply);
        }
    }

    fn complete_fragment(&mut self, id: JoinId, outcome: Outcome, reply: &[u8]) {
        let join = self.joins.join(id);
        if outcome == Outcome::Error {
            join.fail(reply);
        }
        if join.finish_fragment() {
            let join = self.joins.remove(id);
            self.complete_join(&join);
            self.joins.reuse(join);
        }
    }

    /// All fragments of a request have ended.
    fn complete_join(&mut self, join: &Join) {
        if !join.has_failed() {
            let (asked, found) = join.hits();
            self.stats.get_hits.add(found as u64);
            self.stats.get_misses.add((asked - found) as u64);
        }
        if let Some(client) = self.waiting_client(join.slot) {
            let client = &mut self.clients[client.index()];
            client.held_bytes -= join.held();
            client.overhead -= join.table_bytes();
        }
        self.answer(join.slot, join);
    }

    /// Files the values of a fragment at the head of `bytes`. Says how many bytes they were; none
    /// if the fragment did not ask for one of them.
    pub(super) fn file_values(&mut self, id: JoinId, number: u32, bytes: &[u8]) -> Option<usize> {
        let limits = self.options.limits;
        let slot = self.joins.join(id).slot;
        let client = self.waiting_client(slot);
        let join = self.joins.join(id);
        let before = join.held();
        let taken = join.take_values(number, bytes, limits.item_size_max);
        let after = join.held();
        let refusal = self.options.protocol.refusal(Refusal::Backlog);
        let Some(id_of_client) = client else {
            join.overflow(refusal);
            return taken;
        };
        let client = &mut self.clients[id_of_client.index()];
        client.held_bytes = client.held_bytes - before + after;
        if client.backlog() > limits.client_backlog_max && after > 0 {
            client.held_bytes -= after;
            join.overflow(refusal);
            self.stats.limit_client_backlog.add(1);
        }
        self.account(id_of_client);
        taken
    }

    /// Makes the answer of a request an error, as one of its values is too large.
    pub(super) fn refuse_values(&mut self, id: JoinId) {
        let slot = self.joins.join(id).slot;
        let client = self.waiting_client(slot);
        let join = self.joins.join(id);
        if let Some(client) = client {
            self.clients[client.index()].held_bytes -= join.held();
        }
        join.overflow(self.options.protocol.refusal(Refusal::TooLarge));
    }

    /// Nobody will get the answer of a request of several keys: only what its servers owe is kept.
    pub(super) fn abandon_join(&mut self, id: JoinId) {
        self.joins.join(id).abandon(self.options.protocol.refusal(Refusal::Backlog));
    }

    /// The client that waits for a slot, if it is still there.
    fn waiting_client(&mut self, slot: SlotId) -> Option<ClientId> {
        let slot = self.slots.slot(slot);
        (slot.state == State::Waiting).then_some(slot.client)
    }
}
