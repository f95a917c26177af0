//! Requests of clients while keys with values of any type move (Redis).
//!
//! A request of several keys for one server runs where the phase says: at the old server of all of them,
//! or at the new one when all have come there. The one rule: a request with a key that moves becomes a task,
//! unless it only reads at a server that has all there is of the key.

use super::Phase;
use super::carry::Part;
use super::intake::Obstacle;
use super::task::Owner;
use crate::message::{Effect, Kept, Limit, One, Request, Wire};
use crate::mux::Mux;
use crate::mux::id::{ClientId, ServerId};
use crate::mux::request::Intake;
use crate::protocol::Refusal;
use crate::redis::KeyList;
use crate::redis::moving;
use crate::route::Plan;
use crate::time::Instant;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

impl Mux {
    /// Takes a request that may be for keys that move; none if it is not, and goes its usual way.
    pub(super) fn take_carried(
        &mut self,
        id: ClientId,
        request: &Request<'_>,
        now: Instant,
    ) -> Option<Intake> {
        match request {
            Request::One(one) => self.take_together(id, (one, KeyList::default()), now),
            Request::Group(group) => {
                let is_alone = self.servers.routes.members().len() == 1;
                let is_refused = group.alone.is_some() && !is_alone;
                if is_refused {
                    None
                } else {
                    self.take_together(id, (&group.one, group.others), now)
                }
            }
            Request::Many(many) if self.has_moved(many) => {
                Some(self.take_many_or_pause(id, many, now))
            }
            Request::Dedicated(request) => self.take_own(id, request, now),
            _ => None,
        }
    }

    /// The keys of a request that move.
    pub(super) fn parts(&mut self, first: &[u8], others: KeyList<'_>) -> Vec<Part> {
        let servers = self.moved(first);
        let part = |key: &[u8], (old, new)| Part { key: key.into(), old, new };
        let mut known = BTreeSet::from([first]);
        let mut parts: Vec<Part> =
            servers.map(|servers| part(first, servers)).into_iter().collect();
        for key in others {
            // Where the first key decides, the other ones are where that one is.
            let is_with_first = self.shared.options.redis.first_key;
            let servers = if is_with_first { servers } else { self.moved(key) };
            if let Some(servers) = servers
                && known.insert(key)
            {
                parts.push(part(key, servers));
            }
        }
        parts
    }

    /// Where a request of these keys went before the change.
    pub(super) fn plan_before(&mut self, first: &[u8], others: KeyList<'_>) -> Option<Plan> {
        let others = (!self.shared.options.redis.first_key).then_some(others);
        let migration = self.migration.as_mut()?;
        migration.before.plan_all(first, others.into_iter().flatten())
    }

    /// A request for one server.
    fn take_together(
        &mut self,
        id: ClientId,
        (one, others): (&One<'_>, KeyList<'_>),
        now: Instant,
    ) -> Option<Intake> {
        let (Wire::Verbatim(bytes) | Wire::Rewritten(bytes)) = one.wire else { return None };
        let effect = moving::effect(bytes);
        let parts = if effect == Effect::Apart { Vec::new() } else { self.parts(one.key, others) };
        let is_single = others.clone().next().is_none();
        let phase = self.phase_of(&parts)?;
        if let Some(held) = self.held_of(&parts) {
            return Some(self.wait_for_decision(id, held, one.expect, now));
        }
        if self.clients.tasks.must_follow(id, effect.is_read()) {
            return Some(self.wait_for_own(id, now));
        }
        let plan = match phase {
            Phase::Settling => self.plan_before(one.key, others),
            Phase::Moving | Phase::Closing => self.plan_together(one.key, others),
        };
        let target = match plan {
            Some(Plan::To(target)) => target,
            Some(Plan::Refuse(error)) => {
                self.fail_here(id, one.expect, error);
                return Some(Intake::Accepted);
            }
            Some(Plan::Around(server)) => {
                return Some(self.take_around(id, (one, one.key), server, now));
            }
            None => {
                let error = self.shared.options.protocol.refusal(Refusal::CrossShard);
                self.refuse(id, error, Limit::Grammar);
                return Some(Intake::Accepted);
            }
        };
        if effect.is_read() && phase != Phase::Moving {
            let conn = self.servers.lane(self.lane(id), target);
            return Some(self.send_plainly(id, conn, (one, one.key), now));
        }
        let mut kept = moving::keep(one, one.key);
        if !is_single {
            kept.effect = Effect::Change;
        }
        Some(self.begin_together(id, kept, (parts, target, phase), now))
    }

    /// The phase of a request with these keys that move; none if there are none.
    pub(super) fn phase_of(&self, parts: &[Part]) -> Option<Phase> {
        let first = parts.first()?;
        // Where one of the old servers was given up, the others are asked as they can be.
        let old = parts.iter().find_map(|part| part.old).or(first.old);
        let phase = self.phase_for(old);
        let is_whole = parts.iter().all(|part| part.old.is_some());
        Some(if phase == Phase::Settling && !is_whole { Phase::Closing } else { phase })
    }

    fn begin_together(
        &mut self,
        id: ClientId,
        kept: Kept,
        (parts, target, phase): (Vec<Part>, ServerId, Phase),
        now: Instant,
    ) -> Intake {
        if phase != Phase::Closing && !kept.effect.is_read() && self.must_pause(now) {
            return self.pause(id, kept.expect, now);
        }
        match self.room_for_parts(id, &parts) {
            Ok(()) => {}
            Err(Obstacle::Full(conn)) => return self.wait_for(id, conn, kept.expect, now),
            Err(obstacle) => {
                let error = self.why(obstacle);
                self.clients.answer_here(&mut self.shared, id, &error);
                return Intake::Accepted;
            }
        }
        self.count_request(kept.class, 1);
        let slot = self.clients.new_slot(&mut self.shared, id, 1, kept.expect);
        self.begin_parts((id, Owner::Slot(slot)), kept, (parts, target, phase), now);
        Intake::Accepted
    }

    /// Whether a request of these keys that move can begin: each of them counts as one.
    pub(super) fn room_for_parts(&self, id: ClientId, parts: &[Part]) -> Result<(), Obstacle> {
        if parts.len() > self.shared.options.limits.keys_max {
            return Err(Obstacle::TooManyKeys);
        }
        let servers = parts.iter().flat_map(|part| part.old.into_iter().chain([part.new]));
        self.room_for(parts.len(), self.lane(id), servers)
    }

    pub(super) fn begin_parts(
        &mut self,
        who: (ClientId, Owner),
        mut kept: Kept,
        (mut parts, target, phase): (Vec<Part>, ServerId, Phase),
        now: Instant,
    ) {
        let first = parts.remove(0);
        kept.echo = first.key.to_vec();
        kept.key_len = first.key.len();
        let mut task = self.task_for(who, kept, (first.old, first.new), now);
        let bytes = parts.iter().map(|part| size_of::<Part>() + part.key.len()).sum();
        self.count_kept(&mut task, bytes);
        task.phase = phase;
        task.carried.rest = parts;
        task.carried.target = Some(target);
        self.begin_task(task, now);
    }
}
