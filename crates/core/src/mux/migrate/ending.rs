//! Tasks that end before they have done all.
//!
//! The one rule: their owners are answered, and replies that still come are for nobody.

use super::task::{MoveId, Stage};
use crate::error::ServerError;
use crate::message::Outcome;
use crate::mux::Mux;
use crate::time::Instant;
use alloc::vec::Vec;

impl Mux {
    /// Answers the owners of tasks whose time is over.
    pub(super) fn expire_moves(&mut self, now: Instant) {
        if self.clients.tasks.next_deadline().is_some_and(|at| at <= now) {
            for id in self.clients.tasks.late(Some(now)) {
                self.note_late(id, now);
                self.fail_move(id, ServerError::TimedOut);
            }
        }
        self.take_steps(now);
    }

    /// Ends all tasks.
    pub(super) fn fail_moves(&mut self) {
        for id in self.clients.tasks.late(None) {
            self.fail_move(id, ServerError::Closed);
        }
        self.shared.stats.migration.in_flight.set(0);
        self.clients.tasks.clear();
    }

    pub(super) fn fail_move(&mut self, id: MoveId, error: ServerError) {
        let Some(mut task) = self.clients.tasks.take(id) else { return };
        let waits = task.stage == Stage::RunOld
            && self.shared.options.protocol.waits(task.kept.expect)
            && self.clients.list.get(task.client.index()).is_some_and(|it| it.id == task.client);
        let mut line = Vec::new();
        self.shared.options.protocol.write_server_error(error, &mut line);
        self.answer_task(&mut task, Outcome::Error, &line);
        if waits {
            self.lose_own(task.client);
        }
        self.clients.tasks.put_back(id, task);
    }
}
