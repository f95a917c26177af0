//! Writes wait while the workers of one process go from the first phase to the second.
//!
//! Workers do so one after the other, within milliseconds. The one rule: a write in one phase never meets a
//! write in the other one, so no worker misses a value that another one has just moved.

use crate::message::Many;
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

    pub(super) fn pause(&mut self, id: ClientId) -> Intake {
        self.clients.tasks.note_paused(id);
        self.wait_for_own(id)
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
            return self.pause(id);
        }
        self.take_many_moving(id, many, now)
    }
}
