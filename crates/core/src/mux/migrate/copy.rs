//! A value comes from the old server to the new one.
//!
//! ```text
//!   look at the new server ──► there is a value ─────────────────────────► go on with it
//!     │ a mark, or an old value: drop it and look again
//!     ▼ nothing: our mark is there now
//!   fetch from the old one ──► there is none ──► release the mark ───────► go on without
//!     │ a value
//!     ▼
//!   copy to the new one, if the mark is still there ──► go on with the value
//! ```
//!
//! A read that does not get to hold its key, or meets another's mark, asks the old server and copies
//! nothing. The one rule: the mark is there before the old server is asked.

use super::step::Next;
use super::task::{MoveId, Owner, Stage, Task};
use crate::message::{Ask, Effect, Known, Outcome, Told};
use crate::mux::Mux;
use crate::time::Instant;
use alloc::vec::Vec;

impl Mux {
    /// Asks the new server for the value; holds its place if the value can come from the old server.
    pub(super) fn look(&mut self, id: MoveId, task: &mut Task) -> Next<'static> {
        if self.floor(task.new).is_none() {
            return Next::Ask(Stage::Mark, Ask::Mark, task.new);
        }
        let lease = task.source().is_some() && !task.is_clear && !task.is_plain;
        if lease && !task.holds_key {
            task.holds_key = self.clients.tasks.hold_key(id, task.kept.plain_key());
            if !task.holds_key {
                task.stage = Stage::Waiting;
                return Next::Wait;
            }
        }
        task.opened = self.opened(task);
        (task.mark, task.old_cas) = (0, 0);
        Next::Ask(Stage::Look, Ask::Look { lease }, task.new)
    }

    /// Drops at the new server what is no value, or an old one, and looks again.
    pub(super) fn drop_and_look(&mut self, task: &mut Task, cas: u64) -> Next<'static> {
        if self.again(task) { Next::Ask(Stage::Drop, Ask::Drop(cas), task.new) } else { Next::End }
    }

    pub(super) fn on_look(
        &mut self,
        id: MoveId,
        task: &mut Task,
        (outcome, reply): (Outcome, &[u8]),
    ) -> Next<'static> {
        let lease = task.holds_key && !task.is_clear;
        let told = self.shared.options.protocol.read_told(&Ask::Look { lease }, outcome, reply);
        if let Told::Value(cas) | Told::Held(cas) = told
            && cas <= self.floor(task.new).unwrap_or(0)
        {
            return self.drop_leftover(task, cas);
        }
        match told {
            Told::Won(cas) => {
                task.mark = cas;
                self.fetch_or_miss(id, task)
            }
            Told::Value(cas) => self.on_value(id, task, cas, reply),
            Told::Held(cas) if task.kept.effect != Effect::Read => self.drop_and_look(task, cas),
            Told::Held(_) | Told::Absent => {
                task.known = Known::Absent;
                self.fetch_or_miss(id, task)
            }
            Told::Done(_) | Told::Refused | Told::Error => self.finish(task, outcome, reply),
        }
    }

    /// The new server has a value from before the change, or it has lost all values since, and its numbers
    /// began again.
    fn drop_leftover(&mut self, task: &mut Task, cas: u64) -> Next<'static> {
        let opened = self.opened(task);
        let heard = self.migration.as_mut().map(|migration| migration.peer(task.new).heard);
        if heard.is_some_and(|heard| opened > heard) {
            let next = Next::Ask(Stage::Mark, Ask::Mark, task.new);
            return if self.again(task) { next } else { Next::End };
        }
        self.shared.stats.migration.leftovers_dropped.add(1);
        self.drop_and_look(task, cas)
    }

    /// The new server has the value.
    fn on_value(&mut self, id: MoveId, task: &mut Task, cas: u64, reply: &[u8]) -> Next<'static> {
        task.known = Known::Present(cas);
        match (task.kept.effect, task.source()) {
            (Effect::Read, _) => self.answer_found(task, reply, Some(cas)),
            (Effect::Change, Some(old)) if !task.is_clear => {
                self.count_kept(task, reply.len());
                task.seen = reply.to_vec();
                Next::Ask(Stage::Fetch, Ask::Fetch, old)
            }
            (Effect::Change, _) if !task.is_clear => self.clear_old(id, task),
            _ => self.run(id, task),
        }
    }

    /// Answers a read from what a server said.
    fn answer_found(&mut self, task: &mut Task, reply: &[u8], cas: Option<u64>) -> Next<'static> {
        let mut answer = Vec::new();
        let outcome = self.shared.options.protocol.write_found(&task.kept, reply, cas, &mut answer);
        self.finish(task, outcome, &answer)
    }

    /// The new server has no value: the old one is asked, if it counts.
    fn fetch_or_miss(&mut self, id: MoveId, task: &mut Task) -> Next<'static> {
        match (task.source().filter(|_| !task.is_clear), task.kept.effect) {
            (Some(old), _) => Next::Ask(Stage::Fetch, Ask::Fetch, old),
            (None, Effect::Read) => self.answer_found(task, b"", None),
            (None, Effect::Change) => self.clear_old(id, task),
            (None, _) => self.run(id, task),
        }
    }

    pub(super) fn on_fetch<'a>(
        &mut self,
        id: MoveId,
        task: &mut Task,
        (outcome, reply): (Outcome, &'a [u8]),
        now: Instant,
    ) -> Next<'a> {
        self.heard_of_old(task, outcome, now);
        let told = self.shared.options.protocol.read_told(&Ask::Fetch, outcome, reply);
        if let Told::Value(cas) | Told::Held(cas) = told {
            task.old_cas = cas;
        }
        match (told, task.kept.effect) {
            (Told::Error, _) => self.finish(task, outcome, reply),
            (Told::Value(_), _) if task.mark > 0 && !self.may_queue_copy(task) => {
                self.leave_there_as_is(task, reply)
            }
            (Told::Value(_), _) if task.mark > 0 => self.copy(id, task, reply, now),
            (_, effect) if task.mark > 0 => {
                self.shared.stats.migration.moves_empty.add(1);
                if effect == Effect::Read {
                    self.answer_found(task, b"", None);
                }
                let mark = core::mem::take(&mut task.mark);
                Next::Ask(Stage::Release, Ask::Drop(mark), task.new)
            }
            (Told::Value(_), Effect::Change) => {
                if self.shared.options.protocol.is_same_value(&task.seen, reply) {
                    return self.clear_old(id, task);
                }
                // A write at the old server is on its way to the new one.
                match task.known {
                    Known::Present(cas) => self.drop_and_look(task, cas),
                    _ => self.clear_old(id, task),
                }
            }
            (_, Effect::Change) => {
                task.is_clear = task.old_cas == 0;
                self.clear_old(id, task)
            }
            (Told::Value(_), Effect::Read) => {
                self.shared.stats.migration.old_reads.add(1);
                self.answer_found(task, reply, None)
            }
            (Told::Value(_), _) => match task.old {
                Some(old) => Next::Ask(Stage::ReadOld, Ask::AsIs, old),
                None => self.run(id, task),
            },
            (_, Effect::Read) => self.answer_found(task, b"", None),
            _ => self.run(id, task),
        }
    }

    /// The value does not move, as there is no room for a copy: reads get it, other requests an error.
    fn leave_there_as_is(&mut self, task: &mut Task, reply: &[u8]) -> Next<'static> {
        self.shared.stats.migration.moves_failed.add(1);
        let mark = core::mem::take(&mut task.mark);
        match (task.kept.effect, task.old) {
            // The mark goes by itself.
            (Effect::ReadAsIs, Some(old)) => return Next::Ask(Stage::ReadOld, Ask::AsIs, old),
            (Effect::Read, _) => {
                self.shared.stats.migration.old_reads.add(1);
                self.answer_found(task, reply, None);
            }
            _ => {
                self.finish_unknown(task);
            }
        }
        Next::Ask(Stage::Release, Ask::Drop(mark), task.new)
    }

    /// Copies a value that the old server has.
    fn copy<'a>(&mut self, id: MoveId, task: &mut Task, reply: &'a [u8], now: Instant) -> Next<'a> {
        let is_read = task.kept.effect == Effect::Read;
        let shows_cas = self.shared.options.protocol.shows_cas(&task.kept);
        if is_read && !shows_cas {
            self.shared.stats.migration.old_reads.add(1);
            self.answer_found(task, reply, None);
        } else if is_read {
            self.count_kept(task, reply.len());
            task.seen = reply.to_vec();
        }
        if self.opened(task) != task.opened {
            // The mark was made over a connection that is no more: its number may be another's by now.
            task.mark = 0;
            let goes_on = task.owner != Owner::Nobody && self.again(task);
            return if goes_on { self.look(id, task) } else { Next::End };
        }
        let wall = self.shared.options.epoch + now.since(Instant::default());
        let ask = Ask::Copy { fetched: reply, cas: task.mark, seconds: wall.as_secs() };
        Next::Ask(Stage::Copy, ask, task.new)
    }

    pub(super) fn on_copy(
        &mut self,
        id: MoveId,
        task: &mut Task,
        (outcome, reply): (Outcome, &[u8]),
    ) -> Next<'static> {
        task.mark = 0;
        let ask = Ask::Copy { fetched: b"", cas: 0, seconds: 0 };
        let told = self.shared.options.protocol.read_told(&ask, outcome, reply);
        let stats = &self.shared.stats.migration;
        match told {
            Told::Done(_) => stats.keys_moved.add(1),
            Told::Error => stats.moves_failed.add(1),
            _ => stats.moves_lost.add(1),
        }
        if task.owner == Owner::Nobody {
            return Next::End;
        }
        let seen = core::mem::take(&mut task.seen);
        match (told, task.kept.effect) {
            (Told::Done(cas), Effect::Read) => self.answer_found(task, &seen, Some(cas)),
            (_, Effect::Read) => self.answer_found(task, &seen, None),
            (Told::Done(cas), Effect::Change) => {
                task.known = Known::Present(cas);
                self.clear_old(id, task)
            }
            (Told::Done(_), _) => self.run(id, task),
            (Told::Error, Effect::ReadAsIs) if let Some(old) = task.old => {
                Next::Ask(Stage::ReadOld, Ask::AsIs, old)
            }
            (Told::Error, _) => self.finish(task, outcome, reply),
            _ if self.again(task) => self.look(id, task),
            _ => Next::End,
        }
    }

    /// The mark of a value that the old server does not have is gone.
    pub(super) fn on_release(&mut self, id: MoveId, task: &mut Task) -> Next<'static> {
        task.known = Known::Absent;
        match task.kept.effect {
            Effect::Read => Next::End,
            Effect::Change => {
                task.is_clear = task.old_cas == 0;
                self.clear_old(id, task)
            }
            _ => self.run(id, task),
        }
    }
}
