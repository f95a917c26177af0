//! What a task that carries values of any type sends (Redis).
//!
//! The one rule: what is to be in order at a server goes over one connection, the client's own lane, one
//! after the other; a step is over when all replies that it waits for are there.

use super::task::{MoveId, Task};
use crate::message::{Class, Expect};
use crate::mux::Mux;
use crate::mux::conn::Pending;
use crate::mux::id::ServerId;
use crate::mux::waiter::Waiter;
use crate::redis::moving::{self, Carry};
use crate::time::Instant;
use alloc::vec::Vec;
use core::mem;

impl Mux {
    /// Sends something to a server. Its reply is one of this step, or for nobody.
    fn post_bytes(
        &mut self,
        (task, server): (&Task, ServerId),
        (waiter, expect, class): (Waiter, Expect, Class),
        bytes: &[u8],
        now: Instant,
    ) {
        let conn = self.servers.lane(task.lane, server);
        let pending = Pending::new(waiter, expect, class, now);
        self.servers.send(&mut self.shared, conn, pending, (b"", b""), |out| {
            out.extend_from_slice(bytes);
        });
    }

    pub(super) fn post(
        &mut self,
        id: MoveId,
        task: &mut Task,
        (carry, server): (Carry<'_>, ServerId),
        now: Instant,
    ) {
        let mut bytes = Vec::new();
        let expect = moving::write_carry(&carry, task.kept.plain_key(), &mut bytes);
        let class = if matches!(carry, Carry::Fetch) { Class::Get } else { Class::Other };
        task.carried.due += 1;
        self.post_bytes((task, server), (Waiter::Move(id), expect, class), &bytes, now);
    }

    pub(super) fn post_for_nobody(
        &mut self,
        task: &Task,
        (carry, server): (Carry<'_>, ServerId),
        now: Instant,
    ) {
        let mut bytes = Vec::new();
        let expect = moving::write_carry(&carry, task.kept.plain_key(), &mut bytes);
        self.post_bytes((task, server), (Waiter::Nobody, expect, Class::Other), &bytes, now);
    }

    /// Sends the request itself.
    pub(super) fn post_request(
        &mut self,
        id: MoveId,
        task: &mut Task,
        server: ServerId,
        now: Instant,
    ) {
        task.carried.due += 1;
        let how = (Waiter::Move(id), task.kept.expect, task.kept.class);
        let bytes = mem::take(&mut task.kept.bytes);
        self.post_bytes((task, server), how, &bytes, now);
        task.kept.bytes = bytes;
    }

    /// Lets nobody who copies one of these keys now go on.
    pub(super) fn unmark<'k>(
        &mut self,
        (task, server): (&Task, ServerId),
        keys: impl ExactSizeIterator<Item = &'k [u8]>,
        now: Instant,
    ) {
        let mut bytes = Vec::new();
        moving::write_unmark(keys, &mut bytes);
        let how = (Waiter::Nobody, Expect::ANY, Class::Other);
        self.post_bytes((task, server), how, &bytes, now);
    }

    /// A number that no other mark has.
    pub(super) fn next_token(&mut self) -> u64 {
        let Some(migration) = &mut self.migration else { return 1 };
        // The step and the mixing of SplitMix64: all tokens of a seed differ.
        migration.token = migration.token.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (migration.token ^ migration.token >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31).max(1)
    }
}
