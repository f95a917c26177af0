//! A value of any type comes from the old server to the new one (Redis).
//!
//! ```text
//!   look at the new server ──► there is a value ──────────────────► run there
//!     ▼ nothing: there is a mark now, ours or that of another copy
//!   fetch from the old one ──► there is none ─────────────────────► run at the new one
//!     │ a value
//!     ▼
//!   copy to the new one, if the mark is still there ──► drop the old one, if it is what was fetched ──► run
//! ```
//!
//! A read is sent together with each look and each copy, so that it costs no turn more. One that may not
//! copy runs at the old server. Redis creates a value where there is none, so a request that changes one
//! runs only at a server that has it, if there is one. The one rule: a key is either at the old server, or
//! it has come to the new one before it was removed there, so whoever finds nothing at the old server
//! and then nothing at the new one has not missed it.

use super::Phase;
use super::step::Next;
use super::task::{MoveId, Owner, Stage, Task};
use crate::message::{Effect, Outcome};
use crate::mux::Mux;
use crate::mux::id::ServerId;
use crate::protocol::Refusal;
use crate::redis::moving::{self, Carry, Fetched, Looked};
use crate::redis::{is_null, write_integer};
use crate::time::Instant;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem;

/// The old server drops a value so much later than it is asked to, at most, in milliseconds; a time to live
/// that was changed by less than that is not noticed.
const DROP_MILLIS: u64 = 1000;

/// A key that moves, and its servers.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) key: Box<[u8]>,
    pub(super) old: Option<ServerId>,
    pub(super) new: ServerId,
}

/// What a task knows that carries values of any type.
#[derive(Debug, Default)]
pub(super) struct Carried {
    /// Where the request runs: at the key's own server if there is none.
    pub(super) target: Option<ServerId>,
    /// The keys that are to be moved after this one.
    pub(super) rest: Vec<Part>,
    /// The keys that have been moved.
    brought: Vec<Box<[u8]>>,
    /// How many replies this step takes, and those that have come.
    pub(super) due: usize,
    replies: Vec<(Outcome, Vec<u8>)>,
    /// What the old server said of what it had, without the value.
    fetched: Vec<u8>,
    /// When it was asked for that, or the lock was asked for.
    pub(super) asked: Instant,
}

/// The reply to the step itself, and to what was sent with it.
pub(super) type Replies = Vec<(Outcome, Vec<u8>)>;

impl Task {
    fn reads(&self) -> bool {
        self.kept.effect.is_read()
    }
}

impl Mux {
    /// What a task does first.
    pub(super) fn first_carried(
        &mut self,
        id: MoveId,
        task: &mut Task,
        now: Instant,
    ) -> Next<'static> {
        match (task.phase, task.kept.effect) {
            (Phase::Settling, _) => {
                let server = task.carried.target.or(task.old).unwrap_or(task.new);
                self.post_request(id, task, server, now);
                self.wait(task, Stage::RunOld)
            }
            (_, Effect::Put) if task.old.is_some() => self.place(id, task, now),
            _ => self.begin_key(id, task, now),
        }
    }

    /// Begins with a key.
    fn begin_key(&mut self, id: MoveId, task: &mut Task, now: Instant) -> Next<'static> {
        match task.source() {
            Some(_) if task.kept.effect != Effect::Remove => self.look_at_new(id, task, now),
            _ => self.clear(id, task, false, now),
        }
    }

    /// What a task does next that has waited for another one.
    pub(super) fn next_of_woken_carried(
        &mut self,
        id: MoveId,
        task: &mut Task,
        now: Instant,
    ) -> Next<'static> {
        // Many may have waited: they ask at the same time, and leave no marks.
        task.is_plain = task.reads();
        self.look_at_new(id, task, now)
    }

    /// Takes a reply. What comes next is decided when all replies of the step are there.
    pub(super) fn next_carried(
        &mut self,
        id: MoveId,
        task: &mut Task,
        (outcome, reply): (Outcome, &[u8]),
        now: Instant,
    ) -> Next<'static> {
        task.carried.replies.push((outcome, reply.to_vec()));
        if task.carried.replies.len() < task.carried.due {
            self.count_kept(task, reply.len());
            return Next::Wait;
        }
        task.carried.due = 0;
        let replies = mem::take(&mut task.carried.replies);
        // What has changed one server changes the other one, even if nobody waits any longer.
        let has_begun =
            matches!(task.stage, Stage::RunOld | Stage::Copy | Stage::Clear | Stage::Place);
        if task.owner == Owner::Nobody && !has_begun {
            return Next::End;
        }
        match task.stage {
            Stage::RunOld => self.forget(id, task, replies, now),
            Stage::Forget => self.on_forget(task, replies),
            Stage::Look => self.on_look_carried(id, task, &replies, now),
            Stage::Fetch => self.on_fetch_carried(id, task, replies, now),
            Stage::Copy => self.on_copy_carried(id, task, &replies, now),
            Stage::Clear => self.on_clear_carried(id, task, &replies[0], now),
            Stage::Place => self.on_place(id, task, replies, now),
            Stage::ReadOld => self.on_read_old(id, task, &replies, now),
            Stage::Run => self.on_run_carried(task, &replies[0]),
            _ => self.finish_with(task, &replies[0]),
        }
    }

    pub(super) fn finish_with(
        &mut self,
        task: &mut Task,
        (outcome, reply): &(Outcome, Vec<u8>),
    ) -> Next<'static> {
        self.finish(task, *outcome, reply)
    }

    /// The replies to what was sent are those to this step.
    pub(super) fn wait(&self, task: &mut Task, stage: Stage) -> Next<'static> {
        task.stage = stage;
        Next::Wait
    }

    /// The request was carried out at the old server: the new one forgets the values of all keys.
    fn forget(
        &mut self,
        id: MoveId,
        task: &mut Task,
        mut replies: Replies,
        now: Instant,
    ) -> Next<'static> {
        task.answer = replies.pop();
        self.count_kept(task, task.answer.as_ref().map_or(0, |(_, reply)| reply.len()));
        // A transaction that was not carried out, or a request that has waited in vain.
        let is_nothing = task.answer.as_ref().is_some_and(|(_, reply)| is_null(reply));
        if task.kept.bytes.is_empty() && is_nothing {
            return self.on_forget(task, Vec::new());
        }
        // Or the other workers may go on without the old server by now.
        if self.has_moved_on(now) || task.old.is_some_and(|old| !self.asks_old(old)) {
            return self.answer_late(task, now);
        }
        self.post(id, task, (Carry::Forget, task.new), now);
        for part in mem::take(&mut task.carried.rest) {
            task.set_key(&part);
            self.post(id, task, (Carry::Forget, part.new), now);
        }
        self.wait(task, Stage::Forget)
    }

    /// Whether this worker is no longer in the first phase.
    fn has_moved_on(&self, now: Instant) -> bool {
        let migration = self.migration.as_ref();
        migration.is_some_and(|migration| migration.phase_at(now) != Phase::Settling)
    }

    /// The request was carried out at the old server, and its phase is over: another worker may have moved
    /// the keys since, and what the new server has may be newer. So the value stays there, and the
    /// request is not acknowledged. Nobody who copies one of the keys now may go on, as he may have
    /// fetched what was there before the request.
    fn answer_late(&mut self, task: &mut Task, now: Instant) -> Next<'static> {
        let rest = mem::take(&mut task.carried.rest);
        let keys = rest.iter().map(|part| (&*part.key, part.new));
        for (key, server) in keys.chain([(task.kept.plain_key(), task.new)]) {
            self.unmark((task, server), [key].into_iter(), now);
        }
        match task.answer.take() {
            Some(answer) if answer.0.is_error() => self.finish_with(task, &answer),
            _ => self.finish_unknown(task),
        }
    }

    fn on_forget(&mut self, task: &mut Task, replies: Replies) -> Next<'static> {
        self.shared.stats.migration.other_deletes.add(replies.len() as u64);
        let failed = replies.into_iter().find(|(outcome, _)| outcome.is_error());
        match failed.or_else(|| task.answer.take()) {
            Some(answer) => self.finish_with(task, &answer),
            None => Next::End,
        }
    }

    /// Asks the new server whether it has the value, and for the answer if it is a read.
    fn look_at_new(&mut self, id: MoveId, task: &mut Task, now: Instant) -> Next<'static> {
        task.mark = 0;
        self.post(id, task, (Carry::Exists, task.new), now);
        if task.reads() {
            self.post_request(id, task, task.new, now);
        }
        self.wait(task, Stage::Look)
    }

    /// As [`Mux::look_at_new`], and holds the place of the value if there is none.
    fn look_with_lease(&mut self, id: MoveId, task: &mut Task, now: Instant) -> Next<'static> {
        if !task.holds_key {
            task.holds_key = self.clients.tasks.hold_key(id, task.kept.plain_key());
            if !task.holds_key {
                return self.wait(task, Stage::Waiting);
            }
        }
        let token = self.next_token();
        self.post(id, task, (Carry::Look(token), task.new), now);
        if task.reads() {
            self.post_request(id, task, task.new, now);
        }
        self.wait(task, Stage::Look)
    }

    fn on_look_carried(
        &mut self,
        id: MoveId,
        task: &mut Task,
        replies: &[(Outcome, Vec<u8>)],
        now: Instant,
    ) -> Next<'static> {
        let (outcome, reply) = &replies[0];
        let looked = moving::read_look(*outcome, reply);
        match (looked, task.reads()) {
            (Looked::Present, true) => self.finish_with(task, &replies[1]),
            (Looked::Present, false) => self.clear(id, task, false, now),
            (Looked::Absent, reads) if !reads || self.may_copy(task, now) => {
                self.look_with_lease(id, task, now)
            }
            (Looked::Marked(token), _) => {
                task.mark = token;
                let old = task.source().unwrap_or(task.new);
                task.carried.asked = now;
                self.post(id, task, (Carry::Fetch, old), now);
                self.wait(task, Stage::Fetch)
            }
            (Looked::Locked, false) if self.again(task) => self.look_with_lease(id, task, now),
            (Looked::Locked, false) => Next::End,
            (Looked::Error, true) if !replies[1].0.is_error() => {
                self.shared.stats.migration.moves_failed.add(1);
                self.read_old(id, task, now)
            }
            (Looked::Error, _) => self.finish_with(task, &replies[0]),
            (Looked::Absent | Looked::Locked, _) => self.read_old(id, task, now),
        }
    }

    /// Whether a read may copy: not as long as other proxies read at the old server.
    fn may_copy(&self, task: &Task, now: Instant) -> bool {
        let copies_at = self.migration.as_ref().map(|migration| migration.copies_at);
        !task.is_plain && copies_at.is_some_and(|at| at <= now)
    }

    /// Reads at the old server, and asks afterwards whether the value was there.
    fn read_old(&mut self, id: MoveId, task: &mut Task, now: Instant) -> Next<'static> {
        let Some(old) = task.source() else { return self.read_new(id, task, now) };
        self.post_request(id, task, old, now);
        self.post(id, task, (Carry::Exists, old), now);
        self.wait(task, Stage::ReadOld)
    }

    fn on_read_old(
        &mut self,
        id: MoveId,
        task: &mut Task,
        replies: &[(Outcome, Vec<u8>)],
        now: Instant,
    ) -> Next<'static> {
        let (outcome, reply) = &replies[1];
        self.heard_of_old(task, *outcome, now);
        match moving::read_look(*outcome, reply) {
            Looked::Error => self.finish_with(task, &replies[1]),
            Looked::Absent => self.read_new(id, task, now),
            _ => {
                self.shared.stats.migration.old_reads.add(1);
                self.finish_with(task, &replies[0])
            }
        }
    }

    /// Reads at the new server, whatever there is: the old one has nothing.
    fn read_new(&mut self, id: MoveId, task: &mut Task, now: Instant) -> Next<'static> {
        self.post_request(id, task, task.new, now);
        self.wait(task, Stage::ReadNew)
    }

    fn on_fetch_carried(
        &mut self,
        id: MoveId,
        task: &mut Task,
        mut replies: Replies,
        now: Instant,
    ) -> Next<'static> {
        let (outcome, reply) = replies.swap_remove(0);
        self.heard_of_old(task, outcome, now);
        let fetched = moving::read_fetch(outcome, &reply);
        if fetched == Fetched::Value && !self.may_queue_copy(task) {
            return self.leave_there(id, task, now);
        }
        if fetched == Fetched::Value {
            let carry = Carry::Copy { fetched: &reply, token: task.mark };
            self.post(id, task, (carry, task.new), now);
            moving::write_without_value(&reply, &mut task.carried.fetched);
            if task.reads() {
                self.post_request(id, task, task.new, now);
            }
            return self.wait(task, Stage::Copy);
        }
        let mark = mem::take(&mut task.mark);
        self.post_for_nobody(task, (Carry::Release(mark), task.new), now);
        let stats = &self.shared.stats.migration;
        match (fetched, task.reads()) {
            (Fetched::Error, reads) => {
                stats.moves_failed.add(1);
                match reads {
                    true => self.read_old(id, task, now),
                    false => self.finish(task, outcome, &reply),
                }
            }
            (_, true) => {
                stats.moves_empty.add(1);
                self.read_new(id, task, now)
            }
            (_, false) => {
                stats.moves_empty.add(1);
                self.next_key(id, task, now)
            }
        }
    }

    /// The value does not move, as there is no room for a copy.
    fn leave_there(&mut self, id: MoveId, task: &mut Task, now: Instant) -> Next<'static> {
        self.shared.stats.migration.moves_failed.add(1);
        let mark = mem::take(&mut task.mark);
        self.post_for_nobody(task, (Carry::Release(mark), task.new), now);
        match task.reads() {
            true => self.read_old(id, task, now),
            false => self.finish_unknown(task),
        }
    }

    fn on_copy_carried(
        &mut self,
        id: MoveId,
        task: &mut Task,
        replies: &[(Outcome, Vec<u8>)],
        now: Instant,
    ) -> Next<'static> {
        let (outcome, reply) = &replies[0];
        task.mark = 0;
        let stats = &self.shared.stats.migration;
        match moving::read_number(*outcome, reply) {
            Some(1..) => {
                stats.keys_moved.add(1);
                if task.reads() {
                    stats.old_reads.add(1);
                    self.answer_task(task, replies[1].0, &replies[1].1);
                }
                self.clear(id, task, true, now)
            }
            Some(_) => {
                stats.moves_lost.add(1);
                let goes_on = task.owner != Owner::Nobody && self.again(task);
                if goes_on { self.look_at_new(id, task, now) } else { Next::End }
            }
            None => {
                stats.moves_failed.add(1);
                match task.reads() && task.owner != Owner::Nobody {
                    true => self.read_old(id, task, now),
                    false => self.finish_with(task, &replies[0]),
                }
            }
        }
    }

    /// Removes the value at the old server; with `is_drop`, only if it is the one that was fetched.
    pub(super) fn clear(
        &mut self,
        id: MoveId,
        task: &mut Task,
        is_drop: bool,
        now: Instant,
    ) -> Next<'static> {
        let Some(old) = task.old else { return self.next_key(id, task, now) };
        let fetched = mem::take(&mut task.carried.fetched);
        let passed = now.nanos_since(task.carried.asked) / 1_000_000;
        let carry = match is_drop {
            true => Carry::Drop { fetched: &fetched, millis: passed + DROP_MILLIS },
            false => Carry::Delete,
        };
        self.post(id, task, (carry, old), now);
        self.wait(task, Stage::Clear)
    }

    fn on_clear_carried(
        &mut self,
        id: MoveId,
        task: &mut Task,
        answer: &(Outcome, Vec<u8>),
        now: Instant,
    ) -> Next<'static> {
        self.heard_of_old(task, answer.0, now);
        let removed = moving::read_number(answer.0, &answer.1);
        if removed.is_some_and(|removed| removed >= 0) {
            self.shared.stats.migration.other_deletes.add(1);
        }
        match (removed, task.kept.effect) {
            (None, _) => self.finish_with(task, answer),
            (_, Effect::Put) => self.unlock(task, now),
            _ if task.owner == Owner::Nobody => Next::End,
            // It has another value than was copied.
            (Some(..0), _) if self.again(task) => self.look_at_new(id, task, now),
            (Some(..0), _) => Next::End,
            (_, Effect::Remove) => {
                task.answer = Some(answer.clone());
                self.next_key(id, task, now)
            }
            _ => self.next_key(id, task, now),
        }
    }

    /// A key is at the new server, or nowhere: the next one follows, or the request runs.
    fn next_key(&mut self, id: MoveId, task: &mut Task, now: Instant) -> Next<'static> {
        task.carried.brought.push(task.kept.plain_key().into());
        if mem::take(&mut task.holds_key) {
            self.clients.tasks.free_key(task.kept.plain_key());
        }
        if let Some(part) = task.carried.rest.pop() {
            task.set_key(&part);
            return self.begin_key(id, task, now);
        }
        let target = task.carried.target.unwrap_or(task.new);
        self.unmark((task, target), task.carried.brought.iter().map(|key| &key[..]), now);
        if task.kept.bytes.is_empty() {
            // The client's request follows over another connection.
            self.post(id, task, (Carry::Exists, target), now);
        } else {
            self.post_request(id, task, target, now);
        }
        self.wait(task, Stage::Run)
    }

    fn on_run_carried(&mut self, task: &mut Task, answer: &(Outcome, Vec<u8>)) -> Next<'static> {
        let was_there = task.answer.take().is_some_and(|(outcome, reply)| {
            moving::read_number(outcome, &reply).is_some_and(|removed| removed > 0)
        });
        if task.kept.effect == Effect::Remove && was_there && !answer.0.is_error() {
            let mut one = Vec::new();
            write_integer(1, &mut one);
            return self.finish(task, Outcome::Hit, &one);
        }
        self.finish_with(task, answer)
    }

    /// Whether a task may begin again; its owner is told if it may not.
    pub(super) fn again(&mut self, task: &mut Task) -> bool {
        task.tries += 1;
        self.shared.stats.migration.retries.add(1);
        let may = task.tries <= super::step::TRIES_MAX;
        if !may {
            let busy = self.shared.options.protocol.refusal(Refusal::BusyMove);
            self.answer_task(task, Outcome::Error, busy);
        }
        may
    }
}
