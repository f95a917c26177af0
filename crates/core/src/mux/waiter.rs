//! For whom a reply is, and how it gets there.
//!
//! Every request to a server has one waiter, and [`Answers::complete`] is the one place where a waiter
//! learns how its request ended, be it by a reply or by a failure.

use super::Shared;
use super::clients::Clients;
use super::conn::Pending;
use super::id::ClientId;
use super::join::{Join, JoinId};
use super::journal::{Ending, NoteId};
use super::migrate::MoveId;
use super::reply::Reply;
use super::server::Answers;
use super::slots::{SlotId, State};
use crate::message::{Class, Outcome};
use crate::protocol::Refusal;

/// For whom a server's reply is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiter {
    /// A client's request.
    Slot(SlotId),
    /// A fragment of a request that several servers answer, by its number.
    Fragment(JoinId, u32),
    /// A request for a key that moves, of which this is one step.
    Move(MoveId),
    /// A key that is removed from a server, because of one that was away.
    Note(NoteId),
    /// Nobody any longer: the reply is read, checked and dropped.
    Nobody,
}

impl Answers for Clients {
    /// In line with the reply's way to its client, as nearly every reply goes all of it in one go:
    /// that saves thirty instructions.
    #[inline(always)]
    fn complete(
        &mut self,
        shared: &mut Shared,
        pending: &Pending,
        outcome: Outcome,
        reply: impl Reply,
    ) {
        if let Waiter::Slot(slot) = pending.waiter {
            self.complete_slot(shared, slot, pending, (outcome, reply));
        } else {
            self.complete_other(shared, pending, outcome, reply.bytes());
        }
    }

    #[inline]
    fn fits(&mut self, shared: &Shared, pending: &Pending, reply: &[u8]) -> bool {
        match pending.waiter {
            Waiter::Fragment(join, number) => {
                self.joins.join(join).fits(shared.options.protocol, number, reply)
            }
            Waiter::Slot(_) | Waiter::Move(_) | Waiter::Note(_) | Waiter::Nobody => true,
        }
    }

    fn take_values(
        &mut self,
        shared: &mut Shared,
        (id, number): (JoinId, u32),
        bytes: &[u8],
    ) -> Option<usize> {
        let limits = shared.options.limits;
        let slot = self.joins.join(id).slot;
        let client = self.waiting_client(slot);
        let join = self.joins.join(id);
        let before = join.held();
        let taken = join.take_values(number, bytes, limits.item_size_max);
        self.note_held(shared, id, client, before);
        taken
    }

    fn observe(&mut self, owner: ClientId, pending: &Pending, reply: &[u8]) {
        self[owner].session.observe(pending.expect, reply);
    }

    fn push(&mut self, shared: &mut Shared, owner: ClientId, message: &[u8]) {
        self.push_message(shared, owner, message);
    }

    fn lose_dedicated(&mut self, shared: &mut Shared, owner: ClientId) {
        self.end_bound(shared, owner);
    }

    /// Makes the answer of the request an error.
    fn refuse_values(&mut self, shared: &mut Shared, id: JoinId) {
        let slot = self.joins.join(id).slot;
        let client = self.waiting_client(slot);
        let join = self.joins.join(id);
        if let Some(client) = client {
            self.list[client.index()].held_bytes -= join.held();
        }
        join.overflow(shared.options.protocol.refusal(Refusal::TooLarge));
    }
}

impl Clients {
    /// As [`Answers::complete`], for a waiter that is no slot.
    #[inline(never)]
    fn complete_other(
        &mut self,
        shared: &mut Shared,
        pending: &Pending,
        outcome: Outcome,
        reply: &[u8],
    ) {
        match pending.waiter {
            Waiter::Fragment(join, number) => {
                self.complete_fragment(shared, (join, number), pending.class, (outcome, reply));
            }
            Waiter::Move(id) => self.tasks.note(id, outcome, reply),
            Waiter::Note(id) => {
                let is_done = !outcome.is_error() || shared.options.protocol.is_out_of_reach(reply);
                let ending = match is_done {
                    true => Ending::Done,
                    false if reply.is_empty() => Ending::Lost,
                    false => Ending::Refused,
                };
                self.notes.end(id, ending);
            }
            Waiter::Slot(_) | Waiter::Nobody => {}
        }
    }

    #[inline(always)]
    pub(super) fn complete_slot(
        &mut self,
        shared: &mut Shared,
        slot: SlotId,
        pending: &Pending,
        (outcome, reply): (Outcome, impl Reply),
    ) {
        shared.stats.results.add(pending.class, outcome, 1);
        if pending.expect.hidden.contains(outcome) {
            self.answer(shared, slot, &b""[..]);
        } else {
            self.answer(shared, slot, reply);
        }
    }

    pub(super) fn complete_fragment(
        &mut self,
        shared: &mut Shared,
        (id, number): (JoinId, u32),
        class: Class,
        (outcome, reply): (Outcome, &[u8]),
    ) {
        let join = self.joins.join(id);
        if outcome.is_error() {
            join.fail(reply);
        } else if join.keeps_replies() {
            self.keep_reply(shared, (id, number), reply);
        }
        let join = self.joins.join(id);
        if join.finish_fragment() {
            let join = self.joins.remove(id);
            self.complete_join(shared, &join, class);
            self.joins.reuse(join);
        }
    }

    /// Keeps the reply to a fragment until those to the others are here.
    fn keep_reply(&mut self, shared: &mut Shared, (id, number): (JoinId, u32), reply: &[u8]) {
        let slot = self.joins.join(id).slot;
        let client = self.waiting_client(slot);
        let join = self.joins.join(id);
        let before = join.held();
        join.take_reply(number, reply);
        self.note_held(shared, id, client, before);
    }

    /// Counts what a join holds for its client; it held `before` bytes. Nothing more is kept if there
    /// is no client, or if it is too much.
    fn note_held(
        &mut self,
        shared: &mut Shared,
        id: JoinId,
        client: Option<ClientId>,
        before: usize,
    ) {
        let join = self.joins.join(id);
        let after = join.held();
        let refusal = shared.options.protocol.refusal(Refusal::Backlog);
        let Some(id) = client else { return join.overflow(refusal) };
        let client = &mut self.list[id.index()];
        client.held_bytes = client.held_bytes - before + after;
        if client.backlog() > shared.options.limits.client_backlog_max && after > 0 {
            client.held_bytes -= after;
            join.overflow(refusal);
            shared.stats.limit_client_backlog.add(1);
        }
        self.account(shared, id);
    }

    /// A request of several keys needs no server.
    #[cold]
    pub(super) fn end_join(&mut self, shared: &mut Shared, join: Join, class: Class) {
        self.complete_join(shared, &join, class);
        self.joins.reuse(join);
    }

    /// All fragments of a request have ended.
    fn complete_join(&mut self, shared: &mut Shared, join: &Join, class: Class) {
        if !join.has_failed() {
            let (asked, found) = join.hits();
            shared.stats.results.add(class, Outcome::Hit, found as u64);
            shared.stats.results.add(class, Outcome::Miss, (asked - found) as u64);
        }
        if let Some(client) = self.waiting_client(join.slot) {
            let client = &mut self.list[client.index()];
            client.held_bytes -= join.held();
            client.overhead -= join.table_bytes();
        }
        self.answer(shared, join.slot, join);
    }

    /// Nobody will get the answer of a request of several keys: only what its servers owe is kept.
    pub(super) fn abandon_join(&mut self, shared: &Shared, id: JoinId) {
        self.joins.join(id).abandon(shared.options.protocol.refusal(Refusal::Backlog));
    }

    /// The client that waits for a slot, if it is still there.
    fn waiting_client(&mut self, slot: SlotId) -> Option<ClientId> {
        let slot = self.slots.slot(slot);
        (slot.state == State::Waiting).then_some(slot.client)
    }
}
