//! Old servers that can't be reached, or have missed changes while they were away: their values are missed.
//!
//! The one rule: all workers of a process give an old server up together, each when no other one asks it any longer.
//! Otherwise one of them could bring back a value that another one has replaced or removed. Meanwhile requests for
//! its keys wait.

use super::carry::Part;
use super::task::{MoveId, Owner, Stage, Task};
use super::{OldServer, Phase};
use crate::error::ServerError;
use crate::health::Report;
use crate::mux::id::ServerId;
use crate::mux::{Event, Mux};
use crate::time::Instant;
use alloc::vec::Vec;

/// So many replies in a row must be late: a single one may be so because its request had to wait before.
const LATES: u32 = 3;

impl Task {
    /// The old server of which it waits for a reply.
    fn old_asked(&self) -> Option<ServerId> {
        let stages = [Stage::RunOld, Stage::Fetch, Stage::Clear, Stage::ReadOld];
        self.old.filter(|_| stages.contains(&self.stage))
    }

    /// Likewise, if the request does not run there: it may take long, and so say nothing.
    fn old_asked_for_value(&self) -> Option<ServerId> {
        self.old_asked().filter(|_| self.stage != Stage::RunOld)
    }

    /// Whether one of its keys has this old server.
    fn has_old(&self, old: ServerId) -> bool {
        let rest = self.carried.rest.iter().filter_map(|part| part.old);
        self.old.into_iter().chain(self.carried.target).chain(rest).any(|it| it == old)
    }
}

impl Mux {
    /// An old server that is away has not been told what it has missed: its values count for nothing.
    pub(super) fn give_up_absent(&mut self) {
        let Some(migration) = &self.migration else { return };
        let is_absent = |id: &ServerId| !self.servers.all[id.index()].health.is_live();
        let absent: Vec<ServerId> =
            migration.before.members().iter().copied().filter(is_absent).collect();
        for id in absent {
            self.want_to_give_up(id);
        }
    }

    /// Notes how an old server answered. One that can't be reached for `settle` is given up.
    pub(super) fn note_old(&mut self, server: ServerId, is_error: bool, now: Instant) {
        let is_down = self.servers.all[server.index()].is_down;
        if is_error && is_down {
            self.note_unreachable(server, now);
        } else if let Some(migration) = &mut self.migration {
            let peer = migration.peer(server);
            (peer.fails_since, peer.lates) = (None, 0);
        }
    }

    /// Notes that a task's old server has answered.
    pub(super) fn note_answer_of_old(&mut self, task: &Task, now: Instant) {
        if let Some(old) = task.old_asked() {
            self.note_old(old, false, now);
        }
    }

    /// An old server has not answered a task in time: one that stands still lets the proxy connect.
    pub(super) fn note_late(&mut self, id: MoveId, now: Instant) {
        let Some(task) = self.clients.tasks.take(id) else { return };
        let old = task.old_asked_for_value();
        self.clients.tasks.put_back(id, task);
        let (Some(old), Some(migration)) = (old, &mut self.migration) else { return };
        let peer = migration.peer(old);
        peer.fails_since.get_or_insert(now);
        peer.lates += 1;
        if peer.lates >= LATES {
            self.note_unreachable(old, now);
        }
    }

    fn note_unreachable(&mut self, server: ServerId, now: Instant) {
        let Some(migration) = &mut self.migration else { return };
        let patience = migration.settle;
        let peer = migration.peer(server);
        let since = *peer.fails_since.get_or_insert(now);
        if since.after(patience) <= now && peer.old == OldServer::Asked {
            self.want_to_give_up(server);
        }
    }

    /// Gives an old server up, at once if there are no other workers.
    fn want_to_give_up(&mut self, server: ServerId) {
        if !self.shared.has_other_arbiter {
            return self.give_up(server);
        }
        if let Some(migration) = &mut self.migration {
            migration.peer(server).old = OldServer::Held;
        }
        self.report(server, Report::GivingUp);
    }

    /// Asks an old server no more, as all workers do that confirm it.
    pub(in crate::mux) fn hold_moves(&mut self, server: ServerId, round: u32, now: Instant) {
        let migration = self.migration.as_mut();
        // A worker that does not know the new servers yet still asks the old ones.
        let Some(migration) = migration.filter(|it| it.before.members().contains(&server)) else {
            return;
        };
        let is_settling = migration.phase == Phase::Settling;
        let peer = migration.peer(server);
        if peer.old != OldServer::GivenUp {
            peer.old = OldServer::Held;
        }
        let asks = |task: &Task| task.owner != Owner::Nobody && task.has_old(server);
        let tasks = self.clients.tasks.all().filter(|(_, task)| asks(task));
        for id in tasks.map(|(id, _)| id).collect::<Vec<MoveId>>() {
            self.fail_move(id, ServerError::TimedOut);
        }
        self.take_steps(now);
        if is_settling {
            // Transactions of keys that move are still carried out there.
            self.close_conns(server, (ServerError::TimedOut, |conn| conn.is_dedicated), now);
        }
        self.report(server, Report::Done(round));
    }

    /// No worker asks an old server any longer: its values are missed.
    pub(in crate::mux) fn give_up(&mut self, server: ServerId) {
        let Some(migration) = &mut self.migration else { return };
        let peer = migration.peer(server);
        if peer.old != OldServer::GivenUp {
            peer.old = OldServer::GivenUp;
            self.shared.stats.migration.servers_given_up.add(1);
            self.shared.events.push_back(Event::GivenUp { server });
            self.clients.call_decided(server);
        }
    }

    /// Whether requests for keys of an old server wait until it is given up.
    pub(in crate::mux) fn is_held(&self, server: ServerId) -> bool {
        let migration = self.migration.as_ref();
        migration.is_some_and(|migration| migration.old_server(server) == OldServer::Held)
    }

    /// An old server of these keys for which requests wait.
    pub(super) fn held_of(&self, parts: &[Part]) -> Option<ServerId> {
        parts.iter().filter_map(|part| part.old).find(|old| self.is_held(*old))
    }

    /// Whether one of these keys has its value from an old server no longer.
    pub(super) fn has_lost_old(&self, parts: &[Part]) -> bool {
        parts.iter().filter_map(|part| part.old).any(|old| !self.asks_old(old))
    }

    pub(super) fn asks_old(&self, server: ServerId) -> bool {
        let migration = self.migration.as_ref();
        migration.is_none_or(|it| it.old_server(server) == OldServer::Asked)
    }
}
