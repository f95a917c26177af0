//! A write that does not depend on the value of its key, while the key moves (Redis).
//!
//! It runs at the new server first, so that there is a value all the time, and the old value is removed then. The
//! one rule: meanwhile there is a lock at the new server. If the new value goes, as it expires or others
//! have it forgotten, nobody may copy the old one.

use super::carry::Replies;
use super::step::Next;
use super::task::{MoveId, Stage, Task};
use crate::error::ServerError;
use crate::message::Outcome;
use crate::mux::Mux;
use crate::redis::moving::{Carry, LEASE_MILLIS};
use crate::time::Instant;
use alloc::vec::Vec;
use core::time::Duration;

impl Mux {
    /// Runs a write that does not depend on the value at the new server, under a lock.
    pub(super) fn place(&mut self, id: MoveId, task: &mut Task, now: Instant) -> Next<'static> {
        task.mark = self.next_token();
        task.carried.asked = now;
        self.post(id, task, (Carry::Lock(task.mark), task.new), now);
        self.unmark(
            (task, task.carried.target.unwrap_or(task.new)),
            [task.kept.plain_key()].into_iter(),
            now,
        );
        self.post_request(id, task, task.new, now);
        self.wait(task, Stage::Place)
    }

    pub(super) fn on_place(
        &mut self,
        id: MoveId,
        task: &mut Task,
        mut replies: Replies,
        now: Instant,
    ) -> Next<'static> {
        let failed = replies.iter().find(|(outcome, _)| outcome.is_error());
        if let Some((outcome, reply)) = failed {
            self.post_for_nobody(task, (Carry::Unlock(task.mark), task.new), now);
            return self.finish(task, *outcome, reply);
        }
        task.answer = replies.pop();
        self.clear(id, task, false, now)
    }

    /// The request may have been carried out or not.
    pub(super) fn finish_unknown(&mut self, task: &mut Task) -> Next<'static> {
        let mut line = Vec::new();
        self.shared.options.protocol.write_server_error(ServerError::TimedOut, &mut line);
        self.finish(task, Outcome::Error, &line)
    }

    /// The old value is gone: others may copy again.
    pub(super) fn unlock(&mut self, task: &mut Task, now: Instant) -> Next<'static> {
        self.post_for_nobody(task, (Carry::Unlock(task.mark), task.new), now);
        let is_late = task.carried.asked.after(Duration::from_millis(LEASE_MILLIS)) <= now;
        match task.answer.take() {
            Some(answer) if !is_late => self.finish_with(task, &answer),
            // Without the lock, somebody may have copied the old value.
            _ => self.finish_unknown(task),
        }
    }
}
