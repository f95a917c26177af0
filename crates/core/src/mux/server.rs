//! The servers of the pool: how each one is, and which of them there are.
//!
//! A server has connections, a health and figures of its own, and keeps them while others come and
//! go. The one rule: a server that is no longer in the pool gets no new request, and goes when the
//! last of its requests is answered.

use super::conn::Conn;
use super::id::{ConnId, ServerId};
use super::{Event, Mux};
use crate::error::ServerError;
use crate::health::Health;
use crate::ring::Ring;
use crate::route::{Plan, Routes};
use crate::stats::ServerStats;
use crate::time::Instant;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

/// A server of the pool.
#[derive(Debug)]
pub(super) struct Server {
    /// Its name on the ring.
    name: Box<[u8]>,
    /// How many of its connections have not gone.
    conns: usize,
    pub(super) health: Health,
    /// Whether a connection was lost and the server has not answered since.
    pub(super) is_down: bool,
    /// Whether it is no longer in the pool.
    pub(super) is_leaving: bool,
    pub(super) stats: Arc<ServerStats>,
}

impl Mux {
    /// Changes the servers of the pool to the members of `ring`, of which `stats` has the figures in
    /// their order.
    ///
    /// A server is known by its name: one that stays keeps its connections, its health and its
    /// figures. One that is no longer a member gets no new requests; those that it has are answered,
    /// and then its connections are closed.
    ///
    /// # Panics
    /// If `stats` is not for as many servers as the ring has members.
    pub fn set_servers(&mut self, ring: Ring, stats: &[Arc<ServerStats>]) {
        let before = self.routes.members().to_vec();
        let mut known: BTreeMap<Box<[u8]>, Vec<ServerId>> = BTreeMap::new();
        for &id in before.iter().rev() {
            known.entry(self.servers[id.index()].name.clone()).or_default().push(id);
        }
        self.set_ring(ring, stats, known);
        let stay: BTreeSet<ServerId> = self.routes.members().iter().copied().collect();
        for id in before.into_iter().filter(|id| !stay.contains(id)) {
            self.servers[id.index()].is_leaving = true;
            self.leaving += 1;
            for place in self.conns_of(id) {
                self.retire_if_idle(self.conns[place].id);
            }
        }
        self.rebuild_ring();
    }

    /// Makes a ring's members servers; those that are `known` by their name are the ones they were.
    pub(super) fn set_ring(
        &mut self,
        ring: Ring,
        stats: &[Arc<ServerStats>],
        mut known: BTreeMap<Box<[u8]>, Vec<ServerId>>,
    ) {
        assert_eq!(ring.members().len(), stats.len(), "a block of figures for every server");
        let mut members = Vec::with_capacity(stats.len());
        for (member, stats) in ring.members().iter().zip(stats) {
            let kept = known.get_mut(&member.name).and_then(Vec::pop);
            members.push(kept.unwrap_or_else(|| self.add_server(&member.name, stats)));
        }
        self.routes = Routes::new(ring, members);
    }

    fn add_server(&mut self, name: &[u8], stats: &Arc<ServerStats>) -> ServerId {
        let id = ServerId::new(self.servers.next(), self.next_generation());
        self.servers.insert(Server {
            name: name.into(),
            conns: self.options.server_connections,
            health: Health::default(),
            is_down: false,
            is_leaving: false,
            stats: Arc::clone(stats),
        });
        for place in self.conns_of(id) {
            let conn = ConnId::new(place, self.next_generation());
            self.conn_ids.push(conn);
            let conn = Conn::new(conn, id);
            match self.conns.get_mut(place) {
                Some(gone) => *gone = conn,
                None => self.conns.push(conn),
            }
        }
        id
    }

    /// The places of a server's connections.
    pub(super) fn conns_of(&self, id: ServerId) -> Range<usize> {
        let lanes = self.options.server_connections;
        id.index() * lanes..(id.index() + 1) * lanes
    }

    /// Lets the connection of a server that leaves go, if nothing waits on it.
    pub(super) fn retire_if_idle(&mut self, id: ConnId) {
        let conn = &mut self.conns[id.index()];
        let is_leaving = self.servers[conn.server.index()].is_leaving;
        if is_leaving && conn.pending.is_empty() && !conn.is_retired {
            conn.must_close = true;
            conn.is_retired = true;
            self.clear_conn(id);
            self.wake_waiters(id);
            self.mark_conn(id);
        }
    }

    /// Forgets a connection that nothing waits on, and its server with the last one.
    pub(super) fn remove_conn(&mut self, id: ConnId) {
        let generation = self.next_generation();
        let conn = &mut self.conns[id.index()];
        let server = conn.server.index();
        // Nobody knows this id.
        conn.id = ConnId::new(id.index(), generation);
        self.conn_ids.retain(|other| *other != id);
        self.dirty_conns.forget(id);
        self.servers[server].conns -= 1;
        if self.servers[server].conns == 0 {
            self.leaving -= 1;
            self.servers.free(server);
        }
    }

    /// The servers that are on the ring or may return to it, in its order.
    pub fn servers(&self) -> &[ServerId] {
        self.routes.members()
    }

    /// The place of a server among [`Mux::servers`]; none once it has left the pool.
    pub fn position_of(&self, id: ServerId) -> Option<usize> {
        self.routes.members().iter().position(|member| *member == id)
    }

    /// Whether a server is ejected.
    pub fn is_ejected(&self, id: ServerId) -> bool {
        !self.servers[id.index()].health.is_live()
    }

    /// The ring as it is now.
    pub fn ring(&self) -> &Ring {
        self.routes.ring()
    }

    /// Where a request for `key` goes.
    #[inline(always)]
    pub(super) fn plan(&mut self, key: &[u8]) -> Plan {
        self.routes.plan(key)
    }

    /// Notes that a server failed.
    pub(super) fn count_failure(&mut self, id: ServerId, error: ServerError, now: Instant) {
        let server = &mut self.servers[id.index()];
        if server.is_leaving || !server.health.note_failure(self.options.ejection, now) {
            return;
        }
        let at = self.options.epoch + now.since(Instant::default());
        server.stats.server_ejected_at.set(u64::try_from(at.as_micros()).unwrap_or(u64::MAX));
        server.stats.more.ejections.add(1);
        server.stats.more.is_ejected.set(1);
        self.stats.server_ejects.add(1);
        self.events.push_back(Event::Ejected { server: id, error });
        self.rebuild_ring();
    }

    /// Lets the ejected servers return whose time is over.
    #[inline]
    pub(super) fn return_due(&mut self, now: Instant) {
        if self.next_return.is_some_and(|at| at <= now) {
            self.let_return(now);
        }
    }

    fn let_return(&mut self, now: Instant) {
        for index in 0..self.routes.members().len() {
            let id = self.routes.members()[index];
            let server = &mut self.servers[id.index()];
            if server.health.return_if_due(now) {
                server.stats.more.is_ejected.set(0);
                self.events.push_back(Event::Returned { server: id });
            }
        }
        self.rebuild_ring();
    }

    fn rebuild_ring(&mut self) {
        let servers = &self.servers;
        self.routes.set_live(|id| servers[id.index()].health.is_live());
        let away = |id: &ServerId| servers[id.index()].health.away_until();
        self.next_return = self.routes.members().iter().filter_map(away).min();
    }
}
