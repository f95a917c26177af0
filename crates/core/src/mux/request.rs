//! A request gets its servers and is queued for them.
//!
//! A request is either queued whole, for all its servers, or not at all. What a client asks of one
//! server takes the same connection as what it has asked before and is not answered, so it stays in
//! order there whatever `server_connections` is.

use super::backpressure::Hold;
use super::conn::Pending;
use super::id::{ClientId, ConnId};
use super::join::{Join, JoinId, SplitError};
use super::slots::State;
use super::slow::KEY_KEPT;
use super::waiter::Waiter;
use super::{Event, Mux, Options};
use crate::error::ServerError;
use crate::memcache::KeyRoom;
use crate::message::{Class, Expect, Group, Limit, Many, One, Request, Wire};
use crate::protocol::{Protocol, Refusal};
use crate::redis::KeyList;
use crate::route::Plan;
use crate::spares::LARGE;
use crate::stats::Counter;
use crate::time::Instant;
use alloc::vec::Vec;
use core::mem;

/// What became of a request.
#[derive(PartialEq)]
pub(super) enum Intake {
    /// It is queued or answered.
    Accepted,
    /// It is queued for the connection `Clients::moves`, which gets its bytes with their memory.
    Moves,
    /// It must be taken again later; the client is held.
    Blocked,
    /// It was the client's last.
    Closed,
}

impl Mux {
    /// Acts on one request.
    pub(super) fn take(&mut self, id: ClientId, request: &Request<'_>, now: Instant) -> Intake {
        if self.clients.on_dedicated > 0 && self.must_leave_dedicated(id, request) {
            return Intake::Blocked;
        }
        let taken = match self.shared.has_quotas {
            false => self.take_any(id, request, now),
            true => self.take_within_quotas(id, request, now),
        };
        if taken != Intake::Blocked {
            self.shared.stats.requests.add(1);
        }
        taken
    }

    #[inline(always)]
    pub(super) fn take_any(&mut self, id: ClientId, request: &Request<'_>, now: Instant) -> Intake {
        match request {
            _ if self.migration.is_some() => self.take_while_moving(id, request, now),
            Request::One(one) => self.take_one(id, one, now),
            _ => self.take_other(id, request, now),
        }
    }

    /// Out of the way of the most frequent requests.
    #[inline(never)]
    pub(super) fn take_other(
        &mut self,
        id: ClientId,
        request: &Request<'_>,
        now: Instant,
    ) -> Intake {
        match request {
            Request::One(one) => self.take_one(id, one, now),
            Request::Group(group) => self.take_group(id, group, now),
            Request::Many(many) => self.take_many(id, many, now),
            Request::Cursor(cursor) => self.take_cursor(id, cursor, now),
            Request::All(all) => self.take_all(id, all, now),
            Request::Dedicated(request) => self.take_dedicated(id, request, now),
            Request::Barrier(answer) => self.take_barrier(id, answer),
            Request::Answer(answer) => self.answer_at_once(id, answer),
            Request::Question(what) => self.clients.take_question(&mut self.shared, id, what),
            Request::Setting(one) => match (self.servers.routes.members(), &one.wire) {
                ([_, _, ..], Wire::Verbatim(what) | Wire::Rewritten(what)) => {
                    self.clients.take_question(&mut self.shared, id, what)
                }
                _ => self.take_one(id, one, now),
            },
            Request::Refused { error, skip, limit } => {
                self.clients[id].skip = *skip;
                self.refuse(id, error, *limit);
                Intake::Accepted
            }
            Request::Lost { error, limit } => {
                self.shared.stats.client_framing_lost.add(1);
                match limit {
                    Limit::ItemSize | Limit::Keys | Limit::Line | Limit::Memory => {
                        self.limit_counter(*limit).add(1);
                    }
                    Limit::Binary => self.shared.events.push_back(Event::BinaryClient),
                    Limit::Grammar | Limit::Http => {}
                }
                self.clients.answer_here(&mut self.shared, id, error);
                self.clients.end_input(&mut self.shared, id);
                Intake::Closed
            }
            Request::Quit(answer) => {
                self.clients.answer_here(&mut self.shared, id, answer);
                self.clients.end_input(&mut self.shared, id);
                Intake::Closed
            }
        }
    }

    fn answer_at_once(&mut self, id: ClientId, reply: &[u8]) -> Intake {
        self.clients.answer_here(&mut self.shared, id, reply);
        Intake::Accepted
    }

    /// Answers a request in place of its server. A silent one has an answer without bytes.
    pub(super) fn answer_unless_silent(
        &mut self,
        id: ClientId,
        expect: Expect,
        reply: &[u8],
    ) -> Intake {
        self.answer_at_once(id, if expect.is_silent() { b"" } else { reply })
    }

    pub(super) fn refuse(&mut self, id: ClientId, error: &[u8], limit: Limit) {
        self.limit_counter(limit).add(1);
        self.clients.answer_here(&mut self.shared, id, error);
    }

    fn limit_counter(&self, limit: Limit) -> &Counter {
        match limit {
            Limit::Grammar | Limit::Binary | Limit::Http => {
                &self.shared.stats.client_request_errors
            }
            Limit::ItemSize => &self.shared.stats.limit_item_size,
            Limit::Keys => &self.shared.stats.limit_keys,
            Limit::Line => &self.shared.stats.limit_line,
            Limit::Memory => &self.shared.stats.limit_memory,
        }
    }

    /// A barrier is answered once nothing of its client is on its way, and what comes after it is
    /// not looked at before.
    fn take_barrier(&mut self, id: ClientId, answer: &[u8]) -> Intake {
        let client = &self.clients[id];
        if client.silent == 0 && client.queue.head().is_none() {
            return self.answer_at_once(id, answer);
        }
        let slot = self.clients.insert_slot(&mut self.shared, id, 0, State::Barrier);
        let mut reply = self.shared.spares.take();
        reply.extend_from_slice(answer);
        self.clients.slots.slot(slot).reply = reply;
        self.clients.hold(id, Hold::Barrier);
        Intake::Accepted
    }

    /// Plans and queues a request with one key.
    #[inline]
    pub(super) fn take_one(&mut self, id: ClientId, one: &One<'_>, now: Instant) -> Intake {
        match self.shared.options.protocol.plain_key(one) {
            Some(key) => self.send_one(id, one, key, now),
            None => self.take_encoded(id, one, now),
        }
    }

    fn take_encoded(&mut self, id: ClientId, one: &One<'_>, now: Instant) -> Intake {
        let mut room: KeyRoom = [0; 192];
        let key = self.shared.options.protocol.key_bytes(one, &mut room);
        self.send_one(id, one, key, now)
    }

    /// Sends a request to the server of its key, whose bytes are `key` however they are written.
    #[inline]
    fn send_one(&mut self, id: ClientId, one: &One<'_>, key: &[u8], now: Instant) -> Intake {
        let conn = match self.servers.routes.plan(key) {
            Plan::To(server) => self.servers.lane(self.lane(id), server),
            Plan::Around(server) => return self.take_around(id, (one, key), server, now),
            Plan::Refuse(error) => {
                self.fail_here(id, one.expect, error);
                return Intake::Accepted;
            }
        };
        self.send_over(id, conn, (one, key), now)
    }

    /// Sends a request over this connection.
    #[inline(always)]
    pub(super) fn send_over(
        &mut self,
        id: ClientId,
        conn: ConnId,
        (one, key): (&One<'_>, &[u8]),
        now: Instant,
    ) -> Intake {
        if self.must_wait(conn) {
            return self.wait_for(id, conn, one.expect, now);
        }
        self.send_now(id, conn, (one, key), now)
    }

    /// Sends a request over this connection, which has room for it.
    #[inline(always)]
    pub(super) fn send_now(
        &mut self,
        id: ClientId,
        conn: ConnId,
        (one, key): (&One<'_>, &[u8]),
        now: Instant,
    ) -> Intake {
        if let Some(error) = self.servers.lacking(conn, one.needs) {
            return self.answer_unless_silent(id, one.expect, error);
        }
        self.count_one(one);
        let slot = self.clients.new_slot(&mut self.shared, id, 1, one.expect);
        let echo = match one.echoes {
            true => (key, one.opaque),
            false if self.shared.slow.is_on() => (&key[..key.len().min(KEY_KEPT)], &b""[..]),
            false => (&b""[..], &b""[..]),
        };
        let pending = Pending::new(Waiter::Slot(slot), one.expect, one.class, now);
        let pending = Pending { needs: one.needs, ..pending };
        let is_large = one.wire.size_hint() >= LARGE;
        self.servers.send(&mut self.shared, conn, pending, echo, |out| {
            if !is_large {
                one.wire.write(out);
            }
        });
        if is_large { self.send_large(id, conn, &one.wire) } else { Intake::Accepted }
    }

    /// Splits, plans and queues a request with several keys. Not in line, so that the loop over the keys
    /// has the registers for itself.
    #[inline(never)]
    fn take_many(&mut self, id: ClientId, many: &Many<'_>, now: Instant) -> Intake {
        let Options { protocol, limits, .. } = self.shared.options;
        let mut join = self.clients.joins.begin(many.merge, protocol);
        self.clients.next_request += 1;
        let place = (self.lane(id), self.clients.next_request);
        // Asked only where it matters: it takes a look-up of the command.
        let is_whole = self.servers.routes.is_whole();
        let reads = !is_whole && protocol.only_reads(many);
        join.is_resp3 = place.0 >= self.shared.options.lanes();
        // The loop over the keys is compiled for each protocol: asking for each key which one it is would
        // cost a tenth more.
        let split = match protocol {
            Protocol::Memcache => {
                join.split(Protocol::Memcache, many, limits.keys_max, |key, next| {
                    self.place_key(place, key, next, (reads, now))
                })
            }
            Protocol::Redis => join.split(Protocol::Redis, many, limits.keys_max, |key, next| {
                self.place_key(place, key, next, (reads, now))
            }),
        };
        let error = match split {
            Ok(()) => {
                self.count_request(many.class, join.key_count());
                if join.key_count() >= self.shared.signs.keys {
                    self.clients[id].note_bulk(&self.shared.signs);
                }
                let slot =
                    self.clients.new_slot(&mut self.shared, id, join.key_count(), many.expect);
                self.clients[id].overhead += join.table_bytes();
                join.slot = slot;
                // What stands for keys of servers that are away.
                self.clients[id].held_bytes += join.held();
                if join.fragments.is_empty() {
                    self.clients.end_join(&mut self.shared, join, many.class);
                    return Intake::Accepted;
                }
                if !is_whole {
                    self.send_fragments_around(many, join, now);
                    self.clients.account(&mut self.shared, id);
                    return Intake::Accepted;
                }
                self.send_fragments((many.expect, many.class), join, now, |join, number, out| {
                    join.write_fragment(number, (many.head, many.step), out);
                });
                self.clients.account(&mut self.shared, id);
                return Intake::Accepted;
            }
            Err(error) => error,
        };
        self.clients.joins.reuse(join);
        self.refuse_split(id, many, &error, now)
    }

    /// Answers a request that can't be split, or lets it wait.
    pub(super) fn refuse_split(
        &mut self,
        id: ClientId,
        many: &Many<'_>,
        error: &SplitError,
        now: Instant,
    ) -> Intake {
        let protocol = self.shared.options.protocol;
        match *error {
            SplitError::Full(conn) => return self.wait_for(id, conn, many.expect, now),
            SplitError::Undecided(server) => {
                return self.wait_for_decision(id, server, many.expect, now);
            }
            SplitError::NoServer(error) => self.fail_here(id, many.expect, error),
            SplitError::Nowhere => self.fail_here(id, many.expect, ServerError::NoServers),
            SplitError::BadKey => {
                self.refuse(id, protocol.refusal(Refusal::BadKey), Limit::Grammar);
            }
            SplitError::TooManyKeys => {
                self.refuse(id, protocol.refusal(Refusal::TooManyKeys), Limit::Keys);
            }
            SplitError::TooManyMoves => {
                let refusal = protocol.refusal(Refusal::TooManyMoves);
                return self.answer_unless_silent(id, many.expect, refusal);
            }
        }
        Intake::Accepted
    }

    /// The connection for a key, and the number of that connection's fragment in the request: `next` for
    /// a new one. `reads` says that no value becomes another one by the request.
    #[inline(always)]
    pub(super) fn place_key(
        &mut self,
        (lane, request): (usize, u64),
        key: &[u8],
        next: usize,
        (reads, now): (bool, Instant),
    ) -> Result<(ConnId, usize), SplitError> {
        let conn = match self.servers.routes.plan(key) {
            Plan::To(server) => self.servers.lane(lane, server),
            Plan::Around(server) => {
                let place = (lane, Some(request), server);
                let conn = self.place_around(place, key, (reads, now))?;
                return Ok((conn, self.servers[conn].fragment_in(request, next)));
            }
            Plan::Refuse(error) => return Err(SplitError::NoServer(error)),
        };
        let number = self.servers[conn].fragment_in(request, next);
        if number == next && self.must_wait(conn) {
            return Err(SplitError::Full(conn));
        }
        Ok((conn, number))
    }

    /// Queues a request with several keys, or none, for the one server that has all of them.
    fn take_group(&mut self, id: ClientId, group: &Group<'_>, now: Instant) -> Intake {
        let is_alone = self.servers.routes.members().len() == 1;
        if let Some(error) = group.alone.filter(|_| !is_alone) {
            return self.refuse_group(id, error);
        }
        match self.plan_together(group.one.key, group.others) {
            None => {
                let error = self.shared.options.protocol.refusal(Refusal::CrossShard);
                self.refuse_group(id, error)
            }
            Some(Plan::Around(server)) => self.take_group_around(id, group, server, now),
            Some(Plan::To(_)) => self.take_one(id, &group.one, now),
            Some(Plan::Refuse(error)) => self.refuse_in_part(id, &group.one, error, now),
        }
    }

    /// Where a request for one server goes; none if its keys have different servers and the pool does not
    /// take the first key's.
    pub(super) fn plan_together(&mut self, first: &[u8], others: KeyList<'_>) -> Option<Plan> {
        let looks_at_first = self.shared.options.redis.first_key;
        let others = (!looks_at_first).then_some(others);
        self.servers.routes.plan_all(first, others.into_iter().flatten())
    }

    pub(super) fn refuse_group(&mut self, id: ClientId, error: &[u8]) -> Intake {
        self.refuse(id, error, Limit::Grammar);
        Intake::Accepted
    }

    pub(super) fn send_fragments(
        &mut self,
        (expect, class): (Expect, Class),
        join: Join,
        now: Instant,
        write: impl Fn(&Join, u32, &mut Vec<u8>),
    ) {
        let id = self.begin_join(&join);
        for (number, fragment) in (0..).zip(&join.fragments) {
            let pending = Pending::new(Waiter::Fragment(id, number), expect, class, now);
            self.servers.send(&mut self.shared, fragment.conn, pending, (b"", b""), |out| {
                write(&join, number, out);
            });
        }
        self.clients.joins.insert(join);
    }

    /// Counts the fragments of a request, and gives it the id by which their answers find it.
    #[inline]
    pub(super) fn begin_join(&mut self, join: &Join) -> JoinId {
        self.shared.stats.fragments.add(join.fragments.len() as u64);
        let id = self.clients.joins.next_id();
        self.clients.slots.slot(join.slot).join = Some(id);
        id
    }

    pub(super) fn fail_here(&mut self, id: ClientId, expect: Expect, error: ServerError) {
        self.shared.stats.forward_error.add(1);
        if expect.is_silent() {
            return;
        }
        let mut line = mem::take(&mut self.shared.line);
        line.clear();
        self.shared.options.protocol.write_server_error(error, &mut line);
        self.clients.answer_here(&mut self.shared, id, &line);
        self.shared.line = line;
    }

    /// Counts a request with one key.
    #[inline]
    pub(super) fn count_one(&self, one: &One<'_>) {
        self.count_request(one.class, 1);
        if one.needs.meta {
            self.shared.stats.cmd_meta.add(1);
        }
    }

    pub(super) fn count_request(&self, class: Class, keys: usize) {
        let stats = &self.shared.stats;
        let counter = match class {
            Class::Get => &stats.cmd_get,
            Class::Set | Class::Cas => &stats.cmd_set,
            Class::Delete => &stats.cmd_delete,
            Class::Incr | Class::Decr => &stats.cmd_arith,
            // memcached counts a read that sets the expiry here only.
            Class::Touch | Class::GetAndTouch => &stats.cmd_touch,
            Class::Other => return,
        };
        counter.add(keys as u64);
    }
}
