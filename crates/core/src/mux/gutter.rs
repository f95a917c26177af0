//! The gutter: servers that have the keys of servers that are away, and are not used otherwise.
//!
//! The one rule: no value stays there longer than `gutter_ttl`. What memcached stores says so itself; in Redis, each
//! write is followed by a request that caps, on the same connection. A key that may have been written without its
//! cap is removed.

use super::conn::{ConnState, Pending};
use super::id::{ClientId, ConnId, ServerId};
use super::join::Join;
use super::journal::{Ending, Note, Removal, Why};
use super::request::Intake;
use super::server::Servers;
use super::waiter::Waiter;
use super::{Event, Mux, Shared};
use crate::error::ServerError;
use crate::message::{All, Cap, Capped, Many, One, Wire};
use crate::ring::Ring;
use crate::route::Plan;
use crate::stats::ServerStats;
use crate::time::Instant;
use crate::version::Version;
use alloc::sync::Arc;
use alloc::vec::Vec;

impl Mux {
    /// Changes the gutter to the members of `ring`, of which `stats` has the figures in their order. They are
    /// asked only with [`OnFailure::Gutter`](crate::health::OnFailure::Gutter). As with [`Mux::set_servers`], a
    /// server is known by its name, and one that goes answers the requests that it has.
    ///
    /// # Panics
    /// If `stats` is not for as many servers as the ring has members.
    pub fn set_gutter(
        &mut self,
        ring: Ring,
        stats: &[Arc<ServerStats>],
        is_same: impl Fn(ServerId) -> bool,
    ) {
        self.servers.change_gutter(&mut self.shared, ring, stats, is_same);
        self.clients.memory -= core::mem::take(&mut self.servers.given_up);
        self.wake_all();
    }

    /// The servers of the gutter, in the order of its ring.
    pub fn gutter_servers(&self) -> &[ServerId] {
        self.servers.gutter.members()
    }

    /// How long a value may stay in the gutter from now on.
    fn cap(&self, now: Instant) -> Cap {
        let options = &self.shared.options;
        Cap {
            ttl: options.ejection.unwrap_or_default().gutter_ttl,
            wall: options.epoch + now.since(Instant::default()),
        }
    }

    /// Sends a request for one server that stands in; `others` are its keys besides the first.
    #[cold]
    pub(super) fn send_instead<'k>(
        &mut self,
        id: ClientId,
        conn: ConnId,
        (one, key, others): (&One<'_>, &'k [u8], impl Iterator<Item = &'k [u8]>),
        now: Instant,
    ) -> Intake {
        if !self.servers.is_in_gutter(conn) {
            return self.send_now(id, conn, (one, key), now);
        }
        let (protocol, cap) = (self.shared.options.protocol, self.cap(now));
        let mut request = self.shared.spares.take();
        let (wire, needs) = match (protocol.cap_one(one, cap, &mut request), one.wire) {
            (Capped::Refused(error), _) => {
                self.shared.spares.give(request);
                return self.answer_unless_silent(id, one.expect, error);
            }
            (Capped::Rewritten(needs), _) => (Wire::Rewritten(&request), needs),
            // The bytes of a request that moves come later than those of the one that caps.
            (Capped::AsIs, Wire::Verbatim(bytes)) => (Wire::Rewritten(bytes), one.needs),
            (Capped::AsIs, wire) => (wire, one.needs),
        };
        let intake = self.send_now(id, conn, (&One { wire, needs, ..*one }, key), now);
        self.shared.spares.give(request);
        if protocol.is_capped_after(one.class) {
            for key in [key].into_iter().chain(others) {
                self.cap_key(conn, key, now);
            }
        }
        intake
    }

    /// Queues the fragments of a request of which some may go to the gutter.
    #[cold]
    pub(super) fn send_fragments_around(&mut self, many: &Many<'_>, join: Join, now: Instant) {
        let protocol = self.shared.options.protocol;
        let capped = protocol.cap_head(many.head, self.cap(now));
        let id = self.begin_join(&join);
        for (number, fragment) in (0..).zip(&join.fragments) {
            let conn = fragment.conn;
            let is_capped = self.servers.is_in_gutter(conn);
            let head = if is_capped { capped } else { many.head };
            let waiter = Waiter::Fragment(id, number);
            let pending = Pending::new(waiter, many.expect, many.class, now);
            self.servers.send(&mut self.shared, conn, pending, (b"", b""), |out| {
                join.write_fragment(number, (head, many.step), out);
            });
            if is_capped && protocol.is_capped_after(many.class) {
                for part in join.parts_of(number) {
                    // What belongs to a key follows it.
                    let key = protocol.next_key(part, many.step).map(|(key, _)| key);
                    self.cap_key(conn, key.unwrap_or(part), now);
                }
            }
        }
        self.clients.joins.insert(join);
    }

    /// Caps how long the value of a key stays in a server of the gutter.
    fn cap_key(&mut self, id: ConnId, key: &[u8], now: Instant) {
        let conn = &self.servers[id];
        let is_known = conn.state == ConnState::Open;
        let (server, version) =
            (conn.server, if is_known { conn.version } else { Version::default() });
        let (protocol, ttl) = (self.shared.options.protocol, self.cap(now).ttl);
        let mut request = self.shared.spares.take();
        let expect = protocol.write_cap(key, ttl, version, &mut request);
        let note = Note { server, journal: 0, what: Removal::Key(key.into()), why: Why::Cap };
        self.send_note(id, note, (&request, expect), now);
        self.shared.spares.give(request);
    }

    /// A request that caps has ended, or the removal of a key that was not capped. No client waits for it.
    pub(super) fn end_cap(
        &mut self,
        id: ServerId,
        (what, why): (Removal, Why),
        ending: Ending,
        now: Instant,
    ) {
        let Some(ejection) = self.shared.options.ejection else { return };
        let server = &mut self.servers.all[id.index()];
        let tries = match (ending, why) {
            (Ending::Done, _) => return self.clean_next(id, now),
            (Ending::Refused, why) => {
                server.stats.more.caps_refused.add(1);
                if !core::mem::replace(&mut server.has_refused_cap, true) {
                    self.shared.events.push_back(Event::CapRefused { server: id });
                }
                if why != Why::Cap {
                    return;
                }
                0
            }
            (Ending::Lost, Why::Uncapped(tries)) => tries + 1,
            (Ending::Lost, _) => 0,
        };
        if server.health.is_live() && tries < ejection.failure_limit {
            return self.remove_uncapped(id, (what, tries), now);
        }
        if server.health.is_live() {
            // It does not do what it has to do. It returns without the key.
            self.servers.propose(&self.shared, id, ServerError::Unremoved);
        }
        if let Removal::Key(key) = what {
            self.remember((id, None), (&key, true), &ejection, now);
        }
    }

    fn remove_uncapped(&mut self, id: ServerId, (what, tries): (Removal, u32), now: Instant) {
        let note = Note { server: id, journal: 0, what, why: Why::Uncapped(tries) };
        self.remove(self.servers.lane(0, id), note, now);
    }

    /// Removes one of the keys that should have been removed before, from a server that was used on nevertheless,
    /// because too many were away. It answers again.
    fn clean_next(&mut self, id: ServerId, now: Instant) {
        let server = &mut self.servers.all[id.index()];
        let Some(journal) = server.journal.as_mut().filter(|_| server.health.is_live()) else {
            return;
        };
        match journal.next() {
            Some(what) => self.remove_uncapped(id, (what, 0), now),
            None => self.forget_journal(id),
        }
    }
}

impl Servers {
    /// As [`Mux::set_gutter`].
    fn change_gutter(
        &mut self,
        shared: &mut Shared,
        ring: Ring,
        stats: &[Arc<ServerStats>],
        is_same: impl Fn(ServerId) -> bool,
    ) {
        let before = self.gutter.members().to_vec();
        let known = self.known(&before, is_same);
        let mut routes = self.routes_of(shared, ring, stats, known);
        routes.follow(&self.gutter);
        self.gutter = routes;
        self.note_standings(shared);
        self.set_arbiter(shared);
        let gone = |id: &ServerId| !self.gutter.members().contains(id);
        let gone: Vec<ServerId> = before.into_iter().filter(gone).collect();
        self.let_leave(shared, &gone);
    }

    /// All servers of the pool, those of the gutter last.
    pub(super) fn pool(&self) -> impl Iterator<Item = ServerId> {
        self.routes.members().iter().chain(self.gutter.members()).copied()
    }

    /// Whether a server is one of the pool.
    pub(super) fn has(&self, id: ServerId) -> bool {
        self.routes.members().contains(&id) || self.gutter.members().contains(&id)
    }

    fn is_in_gutter(&self, conn: ConnId) -> bool {
        self.gutter.members().contains(&self[conn].server)
    }

    /// Counts the changes of both rings.
    pub(super) fn ring_changes(&self) -> u64 {
        self.routes.changes() + self.gutter.changes()
    }

    /// The gutter server of a key; none if all are away.
    pub(super) fn plan_gutter(&mut self, key: &[u8]) -> Option<ServerId> {
        match self.gutter.plan(key) {
            Plan::To(server) => Some(server),
            Plan::Around(server) => {
                // Of any that is not away it is known soon whether it is used.
                let is_away = self.all[server.index()].health.is_away();
                if is_away { self.gutter.plan_around(key) } else { Some(server) }
            }
            Plan::Refuse(_) => None,
        }
    }

    /// The gutter servers that a request for all servers goes to as well, if it is for each of them.
    pub(super) fn gutter_for(&self, all: &All<'_>) -> Vec<ServerId> {
        let is_for_each = all.is_for_each();
        let is_asked = |id: &ServerId| is_for_each && self.why_not_asked(*id).is_none();
        self.gutter.members().iter().copied().filter(is_asked).collect()
    }
}
