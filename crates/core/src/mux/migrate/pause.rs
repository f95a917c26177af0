//! Writes wait while the workers of one process go from the first phase to the second.
//!
//! Workers do so one after the other, within milliseconds. The one rule: a write in one phase never meets a
//! write in the other one, so no worker misses a value that another one has just moved.

use crate::error::ServerError;
use crate::message::{Expect, Many};
use crate::mux::Mux;
use crate::mux::backpressure::Hold;
use crate::mux::id::ClientId;
use crate::mux::request::Intake;
use crate::time::Instant;

impl Mux {
    /// Whether writes wait, as other workers may be in another phase.
    pub(super) fn must_pause(&self, now: Instant) -> bool {
        let pause = self.migration.as_ref().map(|migration| migration.pause);
        pause.is_some_and(|[from, to]| from <= now && now < to)
    }

    /// Lets a client wait until all workers are in the second phase, or answers its request if it has waited
    /// too long.
    pub(super) fn pause(&mut self, id: ClientId, expect: Expect, now: Instant) -> Intake {
        if self.has_waited_too_long() {
            // Nor is a transaction carried out without one of its commands.
            self.clients[id].session.note_refused();
            self.fail_here(id, expect, ServerError::TimedOut);
            return Intake::Accepted;
        }
        let begun = self.begun(now);
        self.clients[id].waits_since = Some(begun);
        self.clients.tasks.note_paused(id, self.shared.queue_max.map(|wait| begun.after(wait)));
        self.clients.hold(id, Hold::Moves);
        Intake::Blocked
    }

    /// Lets clients go on that have waited so for as long as a request may wait until it is written.
    pub(super) fn end_long_pauses(&mut self, now: Instant) {
        for id in self.clients.tasks.take_paused_until(now) {
            let client = self.clients.list.get_mut(id.index()).filter(|client| client.id == id);
            if let Some(client) = client.filter(|client| client.hold == Hold::Moves) {
                client.hold = Hold::TooLate;
                self.clients.resumable.push_back(id);
            }
        }
    }

    /// All workers are in the second phase: who waited for that goes on.
    pub(super) fn end_pause(&mut self) {
        for id in self.clients.tasks.take_paused() {
            let client = self.clients.list.get(id.index());
            if client.is_some_and(|client| client.id == id && client.hold == Hold::Moves) {
                self.clients.make_resumable(id);
            }
        }
    }

    /// A request of several keys, some of which move.
    pub(super) fn take_many_or_pause(
        &mut self,
        id: ClientId,
        many: &Many<'_>,
        now: Instant,
    ) -> Intake {
        let only_reads = self.shared.options.protocol.only_reads(many);
        if !only_reads && self.must_pause(now) {
            return self.pause(id, many.expect, now);
        }
        self.take_many_moving(id, many, now)
    }
}
