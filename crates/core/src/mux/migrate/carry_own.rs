//! Requests over a connection for a client alone, while keys with values of any type move (Redis).
//!
//! A server carries out a transaction when it gets `EXEC`, and a request that waits when there is something
//! to wait for. The one rule: when that happens, the keys are where the phase says. While others settle, this is
//! the old server, and the new one forgets the keys before the client gets the reply. Later it is the new
//! server, to which the keys are brought before the first command and again before `EXEC`. A transaction
//! that began in another phase is not carried out: its client tries again.

use super::Phase;
use super::carry::Part;
use super::intake::Obstacle;
use super::task::{MoveId, Owner, Stage};
use crate::message::{Dedicate, Effect, Limit, One, Outcome, Step, Wire};
use crate::mux::Mux;
use crate::mux::backpressure::Hold;
use crate::mux::id::ClientId;
use crate::mux::request::Intake;
use crate::mux::slots::SlotId;
use crate::mux::waiter::Waiter;
use crate::protocol::Refusal;
use crate::redis::{KeyList, moving};
use crate::route::Plan;
use crate::time::Instant;
use alloc::vec::Vec;

impl Mux {
    /// Takes a request over a connection for its client alone; none if it goes its usual way.
    pub(super) fn take_own(
        &mut self,
        id: ClientId,
        request: &Dedicate<'_>,
        now: Instant,
    ) -> Option<Intake> {
        self.clients.tasks.take_forgets(id);
        match request.step {
            Step::Watch | Step::Queue | Step::Block if request.has_key => {
                self.take_keyed(id, request, now)
            }
            Step::End => self.take_end(id, request, now),
            Step::Abort | Step::Unwatch | Step::Reset => {
                self.end_transaction(id);
                None
            }
            Step::Watch | Step::Queue | Step::Block | Step::Subscribe => None,
        }
    }

    /// The keys of a request that move, and their phase; none if there are none.
    fn parts_of_own(&mut self, request: &Dedicate<'_>) -> Option<(Vec<Part>, Phase)> {
        let (Wire::Verbatim(bytes) | Wire::Rewritten(bytes)) = request.one.wire else {
            return None;
        };
        if moving::effect(bytes) == Effect::Apart {
            return None;
        }
        let parts = self.parts(request.one.key, request.others);
        let phase = self.phase_of(&parts)?;
        Some((parts, phase))
    }

    /// Where a request with keys goes over a connection for its client alone; none if its keys have
    /// different servers.
    pub(in crate::mux) fn plan_own(&mut self, request: &Dedicate<'_>) -> Option<Plan> {
        let (first, others) = (request.one.key, request.others);
        let is_channel = request.step == Step::Subscribe;
        if self.migration.is_some() && self.shared.options.protocol.carries() && !is_channel {
            let parts = self.parts_of_own(request);
            if parts.is_some_and(|(_, phase)| phase == Phase::Settling) {
                return self.plan_before(first, others);
            }
        }
        self.plan_together(first, others)
    }

    fn take_keyed(&mut self, id: ClientId, request: &Dedicate<'_>, now: Instant) -> Option<Intake> {
        let (parts, phase) = self.parts_of_own(request)?;
        if let Some(held) = self.held_of(&parts) {
            return Some(self.wait_for_decision(id, held, request.one.expect, now));
        }
        let pass = self.clients.tasks.take_pass(id);
        if let Some(error) = pass.as_ref().filter(|error| !error.is_empty()) {
            return Some(self.refuse_own(id, error));
        }
        if pass.is_none() && self.must_switch(id, true) {
            return Some(Intake::Blocked);
        }
        let is_old = phase == Phase::Settling;
        if !self.clients[id].session.is_bound() {
            // No server has heard of the transaction: what is known is of an earlier one, or of a command
            // that was not sent.
            self.end_transaction(id);
        }
        if request.step != Step::Block {
            let transaction = self.clients.tasks.transaction(id);
            if transaction.is_some_and(|known| known.is_unknown || known.is_old != is_old) {
                let error = self.shared.options.protocol.refusal(Refusal::MovesYet);
                return Some(self.refuse_own(id, error));
            }
        }
        if pass.is_none() && phase != Phase::Closing && self.must_pause(now) {
            return Some(self.pause(id, request.one.expect, now));
        }
        if is_old {
            match request.step {
                Step::Block => self.clients.tasks.note_forgets(id, parts),
                _ => return self.note_keys(id, parts, true),
            }
            return None;
        }
        if pass.is_none() {
            let keys = (request.one.key, request.others);
            let brought = self.bring(id, keys, parts, now);
            return brought.unwrap_or_else(|error| Some(self.refuse_own(id, &error)));
        }
        if request.step == Step::Block { None } else { self.note_keys(id, parts, false) }
    }

    /// Notes keys of a transaction. The request is refused if they are too many.
    fn note_keys(&mut self, id: ClientId, parts: Vec<Part>, is_old: bool) -> Option<Intake> {
        let known = self.clients.tasks.transaction(id).map_or(0, |known| known.parts.len());
        if self.has_too_many(known + parts.len()) {
            let error = self.shared.options.protocol.refusal(Refusal::TooManyMoves);
            return Some(self.refuse_own(id, error));
        }
        let transaction = self.clients.tasks.transaction_mut(id);
        transaction.is_old = is_old;
        let before = transaction.bytes;
        for part in parts {
            let bytes = size_of::<Part>() + part.key.len();
            if transaction.parts.insert(part.key, (part.old, part.new)).is_none() {
                transaction.bytes += bytes;
            }
        }
        let more = transaction.bytes - before;
        self.clients[id].overhead += more;
        self.clients.account_now(&mut self.shared, id);
        None
    }

    /// Forgets what is known of a client's transaction.
    pub(in crate::mux) fn end_transaction(&mut self, id: ClientId) {
        let bytes = self.clients.tasks.end_transaction(id);
        if bytes > 0 {
            self.clients[id].overhead -= bytes;
            self.clients.account_now(&mut self.shared, id);
        }
    }

    /// Keys no longer move.
    pub(super) fn end_transactions(&mut self) {
        for id in self.clients.tasks.with_transaction() {
            self.end_transaction(id);
        }
    }

    /// Lets a client wait until the keys of its request are at the new server; an error if they can't be
    /// brought there. Who calls it answers, as a transaction must not be carried out without one of its
    /// requests, nor stay open.
    fn bring(
        &mut self,
        id: ClientId,
        (first, others): (&[u8], KeyList<'_>),
        parts: Vec<Part>,
        now: Instant,
    ) -> Result<Option<Intake>, Vec<u8>> {
        if self.clients.tasks.must_follow(id, false) {
            return Ok(Some(self.wait_for_own(id, now)));
        }
        let Some(phase) = self.phase_of(&parts) else { return Ok(None) };
        let Some(Plan::To(target)) = self.plan_together(first, others) else { return Ok(None) };
        let kept = moving::keep_key(first);
        match self.room_for_parts(id, &parts) {
            Ok(()) => {}
            Err(Obstacle::Full(conn)) if !self.has_waited_too_long() => {
                return Ok(Some(self.wait_for(id, conn, kept.expect, now)));
            }
            Err(obstacle) => return Err(self.why(obstacle)),
        }
        // First, as the task may end at once.
        self.clients[id].waits_since = Some(self.begun(now));
        self.clients.hold(id, Hold::Moves);
        self.begin_parts((id, Owner::Next), kept, (parts, target, phase), now);
        Ok(Some(Intake::Blocked))
    }

    /// The end of a transaction.
    fn take_end(&mut self, id: ClientId, request: &Dedicate<'_>, now: Instant) -> Option<Intake> {
        let transaction = self.clients.tasks.transaction(id)?;
        let (is_old, is_unknown) = (transaction.is_old, transaction.is_unknown);
        let parts = transaction.parts();
        let (Wire::Verbatim(bytes) | Wire::Rewritten(bytes)) = request.one.wire else {
            return None;
        };
        if !moving::is_exec(bytes) {
            return None;
        }
        let is_settling = self.phase_of(&parts) == Some(Phase::Settling);
        let is_lost = self.has_lost_old(&parts);
        if is_unknown || is_lost || is_old && (!is_settling || self.must_pause(now)) {
            return Some(self.abort(id, request, now));
        }
        if is_old {
            self.clients.tasks.note_forgets(id, parts);
            return None;
        }
        match self.clients.tasks.take_pass(id) {
            Some(error) if error.is_empty() => None,
            Some(_) => Some(self.abort(id, request, now)),
            None => {
                let first = parts.first()?.key.clone();
                let brought = self.bring(id, (&first, KeyList::default()), parts, now);
                brought.unwrap_or_else(|_| Some(self.abort(id, request, now)))
            }
        }
    }

    /// Ends a transaction without carrying it out.
    fn abort(&mut self, id: ClientId, request: &Dedicate<'_>, now: Instant) -> Intake {
        let one = One { key: b"", ..copy_of(&request.one) };
        let others = KeyList::default();
        let aborted = Dedicate { one, others, has_key: false, step: Step::Abort, ..*request };
        self.take_dedicated(id, &aborted, now)
    }

    /// Refuses a request over a connection for its client alone. A transaction that it is part of is not
    /// carried out.
    fn refuse_own(&mut self, id: ClientId, error: &[u8]) -> Intake {
        self.clients[id].session.note_refused();
        self.refuse(id, error, Limit::Grammar);
        Intake::Accepted
    }

    /// Who gets the reply to a request over a connection for its client alone: a task if the new servers of
    /// its keys must forget them first.
    pub(in crate::mux) fn waiter_of_own(
        &mut self,
        id: ClientId,
        slot: SlotId,
        request: &Dedicate<'_>,
        now: Instant,
    ) -> Waiter {
        if request.step == Step::End {
            self.end_transaction(id);
        }
        let Some(mut parts) = self.clients.tasks.take_forgets(id) else {
            return Waiter::Slot(slot);
        };
        let Some(first) = parts.pop() else { return Waiter::Slot(slot) };
        let mut kept = moving::keep_key(&first.key);
        (kept.expect, kept.class) = (request.one.expect, request.one.class);
        let servers = (first.old, first.new);
        let mut task = self.task_for((id, Owner::Slot(slot)), kept, servers, now);
        let waits = self.shared.options.protocol.waits(request.one.expect);
        if waits {
            task.deadline = None;
        }
        task.stage = Stage::RunOld;
        task.carried.rest = parts;
        task.carried.due = 1;
        let task = self.clients.tasks.add(&self.shared, task);
        if waits {
            self.clients.tasks.note_waiting(task);
        }
        Waiter::Move(task)
    }

    /// Others settle no longer: what waits at an old server would wait in vain.
    pub(super) fn end_waits(&mut self) {
        for id in self.clients.tasks.take_waiting() {
            if !self.end_wait(id) {
                self.clients.tasks.note_waiting(id);
            }
        }
    }

    /// Ends a request that waits. Not as long as earlier replies to its client are still to come over the
    /// same connection, which is closed.
    fn end_wait(&mut self, id: MoveId) -> bool {
        let Some(mut task) = self.clients.tasks.take(id) else { return true };
        let client = self.clients.list.get(task.client.index());
        let client = client.filter(|client| client.id == task.client);
        let is_first = match (client, task.owner) {
            (Some(client), Owner::Slot(slot)) if task.stage == Stage::RunOld => {
                Some(client.queue.has_head(slot))
            }
            _ => None,
        };
        if is_first == Some(true) {
            let error = self.shared.options.protocol.refusal(Refusal::MovesYet);
            self.answer_task(&mut task, Outcome::Error, error);
            self.lose_own(task.client);
        }
        self.clients.tasks.put_back(id, task);
        is_first != Some(false)
    }

    /// Closes the connection that only this client uses, as a request waits there that was answered. The
    /// client is closed, too, if it has watched keys or subscriptions there.
    pub(super) fn lose_own(&mut self, id: ClientId) {
        self.drop_dedicated(id);
        self.clients.end_bound(&mut self.shared, id);
    }

    /// Keys begin to move: transactions that are open have keys of which nothing is known.
    pub(super) fn note_transactions(&mut self) {
        let bound = self.clients.list.iter().filter(|(_, client)| client.session.is_bound());
        for id in bound.map(|(_, client)| client.id).collect::<Vec<ClientId>>() {
            self.clients.tasks.transaction_mut(id).is_unknown = true;
        }
    }
}

/// The same request.
fn copy_of<'a>(one: &One<'a>) -> One<'a> {
    One {
        key: one.key,
        encoding: one.encoding,
        opaque: one.opaque,
        echoes: one.echoes,
        wire: one.wire,
        expect: one.expect,
        needs: one.needs,
        class: one.class,
    }
}
