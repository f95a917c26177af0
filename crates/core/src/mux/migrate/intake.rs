//! Requests of clients while keys move.
//!
//! Requests for keys that stay where they are take their usual way. The one rule: a client's request for
//! a key that moves waits until its earlier ones are answered, unless all of them only read.

use super::task::Owner;
use super::{Phase, Task};
use crate::error::ServerError;
use crate::memcache::KeyRoom;
use crate::message::{All, Effect, Expect, Kept, Many, Merge, One, Request};
use crate::mux::backpressure::Hold;
use crate::mux::conn::Pending;
use crate::mux::id::{ClientId, ConnId, ServerId};
use crate::mux::join::{Join, SplitError};
use crate::mux::request::Intake;
use crate::mux::waiter::Waiter;
use crate::mux::{Mux, Options};
use crate::protocol::Refusal;
use crate::redis::command::Permission;
use crate::time::Instant;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// No connection: the fragment is a task of its own.
const NO_CONN: ConnId = ConnId::from_bits(u64::MAX);

/// Why a request for keys that move can't begin now.
#[derive(Clone, Copy, Debug)]
pub(super) enum Obstacle {
    /// The queue of this connection is full.
    Full(ConnId),
    /// There would be more requests for keys that move than there may be.
    TooMany,
    /// More of its keys move than a request may have keys.
    TooManyKeys,
}

impl From<Obstacle> for SplitError {
    fn from(obstacle: Obstacle) -> Self {
        match obstacle {
            Obstacle::Full(conn) => Self::Full(conn),
            Obstacle::TooMany => Self::TooManyMoves,
            Obstacle::TooManyKeys => Self::TooManyKeys,
        }
    }
}

impl Mux {
    /// As [`Mux::take`], while keys move.
    #[cold]
    pub(in crate::mux) fn take_while_moving(
        &mut self,
        id: ClientId,
        request: &Request<'_>,
        now: Instant,
    ) -> Intake {
        self.advance_migration(now);
        let carries = self.shared.options.protocol.carries();
        if carries && let Some(taken) = self.take_carried(id, request, now) {
            return taken;
        }
        match request {
            Request::One(one) if !carries => self.take_one_moving(id, one, now),
            Request::Many(many) if many.merge == Merge::ByKey && self.has_moved(many) => {
                self.take_many_or_pause(id, many, now)
            }
            Request::All(all)
                if all.permission == Permission::Flush && self.shared.options.allow_flush =>
            {
                self.take_flush(id, all, now)
            }
            _ => self.take_other(id, request, now),
        }
    }

    /// Lets a client wait for its earlier requests for keys that move.
    pub(super) fn wait_for_own(&mut self, id: ClientId, now: Instant) -> Intake {
        self.clients[id].waits_since = Some(self.begun(now));
        self.clients.hold(id, Hold::Moves);
        Intake::Blocked
    }

    /// When the turn of the request came that is taken now.
    pub(super) fn begun(&self, now: Instant) -> Instant {
        self.shared.begun.unwrap_or(now)
    }

    fn take_one_moving(&mut self, id: ClientId, one: &One<'_>, now: Instant) -> Intake {
        let mut room: KeyRoom = [0; 192];
        let key = self.shared.options.protocol.key_bytes(one, &mut room);
        let Some((old, new)) = self.moved(key) else { return self.take_one(id, one, now) };
        if let Some(held) = old.filter(|old| self.is_held(*old)) {
            return self.wait_for_decision(id, held, one.expect, now);
        }
        let phase = self.phase_for(old);
        let kept = self.shared.options.protocol.keep(one, key);
        let is_read = kept.effect.is_read();
        if kept.effect != Effect::Apart && self.clients.tasks.must_follow(id, is_read) {
            return self.wait_for_own(id, now);
        }
        let is_write = kept.effect != Effect::Apart && !is_read;
        if is_write && old.is_some() && self.must_pause(now) {
            return self.pause(id, one.expect, now);
        }
        let lane = self.lane(id);
        if kept.effect == Effect::Apart || is_read && phase == Phase::Settling {
            let server = if phase == Phase::Settling { old.unwrap_or(new) } else { new };
            let conn = self.servers.lane(lane, server);
            return self.send_plainly(id, conn, (one, key), now);
        }
        let servers = old.into_iter().chain([new]);
        match self.room_for(1, lane, servers.clone()) {
            Ok(()) => {}
            Err(Obstacle::Full(conn)) => return self.wait_for(id, conn, one.expect, now),
            Err(obstacle) => {
                let error = self.why(obstacle);
                return self.answer_unless_silent(id, one.expect, &error);
            }
        }
        for server in servers {
            let conn = self.servers.lane(lane, server);
            if let Some(error) = self.servers.lacking(conn, one.needs) {
                return self.answer_unless_silent(id, one.expect, error);
            }
        }
        self.count_one(one);
        let slot = self.clients.new_slot(&mut self.shared, id, 1, one.expect);
        self.begin((id, Owner::Slot(slot)), kept, (old, new), now);
        Intake::Accepted
    }

    #[inline(never)]
    pub(super) fn send_plainly(
        &mut self,
        id: ClientId,
        conn: ConnId,
        request: (&One<'_>, &[u8]),
        now: Instant,
    ) -> Intake {
        self.send_over(id, conn, request, now)
    }

    /// The phase for a key with this old server: where it was given up, there is nothing to move.
    pub(super) fn phase_for(&self, old: Option<ServerId>) -> Phase {
        match &self.migration {
            Some(migration) if old.is_some() => migration.phase,
            _ => Phase::Closing,
        }
    }

    /// Whether so many tasks more can begin, which ask these servers.
    pub(super) fn room_for(
        &self,
        tasks: usize,
        lane: usize,
        servers: impl Iterator<Item = ServerId>,
    ) -> Result<(), Obstacle> {
        let mut conns = servers.map(|server| self.servers.lane(lane, server));
        match conns.find(|conn| self.must_wait(*conn)) {
            Some(conn) => Err(Obstacle::Full(conn)),
            None if tasks > 0 && self.has_too_many(tasks) => Err(Obstacle::TooMany),
            None => Ok(()),
        }
    }

    /// What a client is told whose request can't begin, and waits no longer.
    pub(super) fn why(&self, obstacle: Obstacle) -> Vec<u8> {
        let protocol = self.shared.options.protocol;
        match obstacle {
            Obstacle::TooMany => protocol.refusal(Refusal::TooManyMoves).to_vec(),
            Obstacle::TooManyKeys => {
                self.shared.stats.limit_keys.add(1);
                protocol.refusal(Refusal::TooManyKeys).to_vec()
            }
            Obstacle::Full(_) => {
                self.shared.stats.forward_error.add(1);
                let mut line = Vec::new();
                protocol.write_server_error(ServerError::TimedOut, &mut line);
                line
            }
        }
    }

    pub(super) fn has_too_many(&self, more: usize) -> bool {
        let max = self.migration.as_ref().map_or(0, |migration| migration.moves_max);
        let has = self.clients.tasks.len() + more > max;
        if has {
            self.shared.stats.migration.limit_moves.add(1);
        }
        has
    }

    /// Begins a task.
    fn begin(
        &mut self,
        who: (ClientId, Owner),
        kept: Kept,
        servers: (Option<ServerId>, ServerId),
        now: Instant,
    ) {
        let task = self.task_for(who, kept, servers, now);
        self.begin_task(task, now);
    }

    /// A task that has not begun.
    pub(super) fn task_for(
        &mut self,
        (client, owner): (ClientId, Owner),
        kept: Kept,
        servers: (Option<ServerId>, ServerId),
        now: Instant,
    ) -> Box<Task> {
        let phase = self.phase_for(servers.0);
        let bytes = size_of::<Task>() + kept.size();
        self.clients.tasks.note_begun(client, kept.effect.is_read());
        self.clients[client].overhead += bytes;
        let lane = self.lane(client);
        let mut task = Box::new(Task::new(owner, (client, lane), kept, servers, phase));
        let begun = self.begun(now);
        task.deadline = self.shared.options.timeout.map(|timeout| begun.after(timeout));
        task.bytes = bytes;
        self.clients.account_now(&mut self.shared, client);
        task
    }

    /// Asks a server up to which number its values are old.
    pub(super) fn probe(&mut self, server: ServerId, now: Instant) {
        let kept = Kept::for_all(Vec::new(), Expect::ANY);
        let nobody = (ClientId::from_bits(u64::MAX), 0);
        let task = Task::new(Owner::Nobody, nobody, kept, (None, server), Phase::Settling);
        self.begin_task(Box::new(task), now);
    }

    pub(super) fn has_moved(&mut self, many: &Many<'_>) -> bool {
        let protocol = self.shared.options.protocol;
        let mut rest = many.keys;
        while let Some((key, others)) = protocol.next_key(rest, many.step) {
            if self.moved(key).is_some() {
                return true;
            }
            rest = others;
        }
        false
    }

    /// A request of several keys, some of which move: each of those is a fragment and a task of its own.
    pub(super) fn take_many_moving(
        &mut self,
        id: ClientId,
        many: &Many<'_>,
        now: Instant,
    ) -> Intake {
        let Options { protocol, limits, .. } = self.shared.options;
        let is_read = protocol.only_reads(many);
        if self.clients.tasks.must_follow(id, is_read) {
            return self.wait_for_own(id, now);
        }
        let mut join = self.clients.joins.begin(many.merge, protocol);
        self.clients.next_request += 1;
        let place = (self.lane(id), self.clients.next_request);
        // The servers of the keys that become tasks.
        let mut moves = Vec::new();
        let split = join.split(protocol, many, limits.keys_max, |key, next| {
            let Some((old, new)) = self.moved(key) else {
                return self.place_key(place, key, next, (is_read, now));
            };
            if let Some(held) = old.filter(|old| self.is_held(*old)) {
                return Err(SplitError::Undecided(held));
            }
            let phase = self.phase_for(old);
            let read_at = old.filter(|_| is_read && phase == Phase::Settling);
            let is_closed = is_read && phase == Phase::Closing && protocol.carries();
            let is_plain = read_at.is_some() || is_closed;
            let tasks = if is_plain { 0 } else { moves.len() + 1 };
            self.room_for(tasks, place.0, old.into_iter().chain([new]))?;
            if let Some(old) = read_at {
                let conn = self.servers.lane(place.0, old);
                return Ok((conn, self.servers[conn].fragment_in(place.1, next)));
            }
            if is_closed {
                return self.place_key(place, key, next, (is_read, now));
            }
            moves.push((old, new));
            Ok((NO_CONN, next))
        });
        if let Err(error) = split {
            self.clients.joins.reuse(join);
            return self.refuse_split(id, many, &error, now);
        }
        self.count_request(many.class, join.key_count());
        let slot = self.clients.new_slot(&mut self.shared, id, join.key_count(), many.expect);
        self.clients[id].overhead += join.table_bytes();
        join.slot = slot;
        self.begin_fragments(id, many, (join, moves), now);
        self.clients.account_now(&mut self.shared, id);
        Intake::Accepted
    }

    /// Sends the fragments of a request; those without a connection become tasks, in the order of `moves`.
    fn begin_fragments(
        &mut self,
        id: ClientId,
        many: &Many<'_>,
        (join, moves): (Join, Vec<(Option<ServerId>, ServerId)>),
        now: Instant,
    ) {
        let join_id = self.begin_join(&join);
        let mut tasks = Vec::new();
        for (number, fragment) in (0..).zip(&join.fragments) {
            if fragment.conn == NO_CONN {
                let mut bytes = Vec::new();
                join.write_fragment(number, (many.head, many.step), &mut bytes);
                let key = join.first_key(number);
                let kept = self.shared.options.protocol.keep_part(bytes, key, many);
                tasks.push((number, kept));
                continue;
            }
            let waiter = Waiter::Fragment(join_id, number);
            let pending = Pending::new(waiter, many.expect, many.class, now);
            self.servers.send(&mut self.shared, fragment.conn, pending, (b"", b""), |out| {
                join.write_fragment(number, (many.head, many.step), out);
            });
        }
        self.clients.joins.insert(join);
        for ((number, kept), servers) in tasks.into_iter().zip(moves) {
            self.begin((id, Owner::Fragment(join_id, number)), kept, servers, now);
        }
    }

    /// Empties the servers of both rings. They are emptied twice: what is copied meanwhile from a server
    /// that is still full comes to one that is empty already.
    fn take_flush(&mut self, id: ClientId, all: &All<'_>, now: Instant) -> Intake {
        if self.clients.tasks.must_follow(id, false) {
            return self.wait_for_own(id, now);
        }
        let lane = self.lane(id);
        // It is not one of those that there may be so many of.
        let servers = self.servers_of_both();
        if let Err(Obstacle::Full(conn)) = self.room_for(0, lane, servers.into_iter()) {
            return self.wait_for(id, conn, all.expect, now);
        }
        self.shared.stats.cmd_flush.add(1);
        let mut bytes = Vec::new();
        all.wire.write(&mut bytes);
        let slot = self.clients.new_slot(&mut self.shared, id, 1, all.expect);
        let kept = Kept::for_all(bytes, all.expect);
        let new = self.servers.routes.members()[0];
        self.begin((id, Owner::Slot(slot)), kept, (None, new), now);
        // What comes next must not be lost to the second time.
        self.clients[id].waits_since = None;
        self.clients.hold(id, Hold::Moves);
        Intake::Accepted
    }

    /// The servers of the new ring, and those of the old one that are no longer in the pool.
    pub(super) fn servers_of_both(&self) -> Vec<ServerId> {
        let leaving = self.migration.iter().flat_map(|migration| &migration.leaving);
        self.servers.routes.members().iter().chain(leaving).copied().collect()
    }
}
