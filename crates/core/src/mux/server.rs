//! The servers of the pool: how each one is, and which of them there are.
//!
//! A server has connections, a health and figures of its own, and keeps them while others come and
//! go. The one rule: a server that is no longer in the pool gets no new request, and goes when the
//! last of its requests is answered.

use super::conn::{Conn, Pending};
use super::dedicated::Dedicated;
use super::dirty::Dirty;
use super::id::{ClientId, ConnId, ServerId};
use super::join::JoinId;
use super::journal::Journal;
use super::places::Places;
use super::reply::Reply;
use super::{Mux, Shared};
use crate::health::{Arbiter, Health, Report};
use crate::message::Outcome;
use crate::ring::{Distribution, Hash, Ring};
use crate::route::Routes;
use crate::stats::ServerStats;
use crate::time::Instant;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;
use core::ops::{Index, IndexMut, Range};

/// A server of the pool.
#[derive(Debug)]
pub(super) struct Server {
    /// Its name on the ring.
    name: Box<[u8]>,
    /// The place of the first of its connections that clients share.
    pub(super) first: usize,
    /// How many of its connections have not gone.
    pub(super) conns: usize,
    pub(super) health: Health,
    /// Whether a connection was lost and the server has not answered since.
    pub(super) is_down: bool,
    /// Whether it is no longer in the pool.
    pub(super) is_leaving: bool,
    /// The keys that others had to do with while it was away.
    pub(super) journal: Option<Box<Journal>>,
    /// The round in which what it has missed is removed, until that is done.
    pub(super) replay_round: Option<u32>,
    /// Whether it is to be reported how its first connection does.
    pub(super) is_probed: bool,
    /// Whether it has refused to bound how long a value stays.
    pub(super) has_refused_cap: bool,
    pub(super) stats: Arc<ServerStats>,
}

impl Server {
    /// The journal of the server; a new one if it has none. Each journal has a number of its own, by which the
    /// end of a removal for an earlier journal is told apart.
    pub(super) fn journal_or_new(&mut self, shared: &mut Shared) -> &mut Journal {
        self.journal.get_or_insert_with(|| Box::new(Journal::new(shared.next_generation())))
    }
}

/// Who gets what the servers answer: clients, or a program in which the servers are embedded.
pub(super) trait Answers {
    /// A request has ended, with a reply or with an error in the place of one.
    fn complete(
        &mut self,
        shared: &mut Shared,
        pending: &Pending,
        outcome: Outcome,
        reply: impl Reply,
    );

    /// Whether a reply fits the request that it answers, as far as only who asked can tell.
    fn fits(&mut self, shared: &Shared, pending: &Pending, reply: &[u8]) -> bool;

    /// Takes the values of a fragment at the head of `bytes`. Says how many bytes they were; none if
    /// the fragment did not ask for one of them.
    fn take_values(
        &mut self,
        shared: &mut Shared,
        fragment: (JoinId, u32),
        bytes: &[u8],
    ) -> Option<usize>;

    /// A value of a fragment is too large.
    fn refuse_values(&mut self, shared: &mut Shared, join: JoinId);

    /// Sees a reply on a connection that only `owner` uses.
    fn observe(&mut self, owner: ClientId, pending: &Pending, reply: &[u8]);

    /// Gives `owner` what a server sends on its own account.
    fn push(&mut self, shared: &mut Shared, owner: ClientId, message: &[u8]);

    /// The connection that only `owner` uses is lost.
    fn lose_dedicated(&mut self, shared: &mut Shared, owner: ClientId);
}

/// The servers of a pool with their connections, and what is queued on each.
#[derive(Debug)]
pub(super) struct Servers {
    pub(super) routes: Routes,
    /// The servers of the gutter, on a ring of their own.
    pub(super) gutter: Routes,
    pub(super) all: Places<Server>,
    /// Decides when a server is ejected and when it returns; none if another one decides, or nobody.
    pub(super) arbiter: Option<Box<Arbiter>>,
    /// What the arbiter should know.
    pub(super) reports: VecDeque<(ServerId, Report)>,
    /// Whether servers are to be drained on which clients have begun something.
    pub(super) has_drains: bool,
    /// Bytes of the journals of servers that have left the pool, which still count as held.
    pub(super) given_up: usize,
    /// Those of a server that clients share stand side by side.
    pub(super) conns: Vec<Conn>,
    /// Those for one client alone.
    pub(super) dedicated: Dedicated,
    /// The ids of all connections.
    pub(super) conn_ids: Vec<ConnId>,
    pub(super) dirty: Dirty<ConnId>,
    /// How many servers are leaving the pool, and how many connections are to be replaced.
    pub(super) leaving: usize,
    /// No request runs out of time before this.
    pub(super) next_expiry: Option<Instant>,
}

impl Index<ConnId> for Servers {
    type Output = Conn;

    #[inline(always)]
    fn index(&self, id: ConnId) -> &Conn {
        &self.conns[id.index()]
    }
}

impl IndexMut<ConnId> for Servers {
    #[inline(always)]
    fn index_mut(&mut self, id: ConnId) -> &mut Conn {
        &mut self.conns[id.index()]
    }
}

impl Mux {
    /// Changes the servers of the pool to the members of `ring`, of which `stats` has the figures in
    /// their order.
    ///
    /// A server is known by its name: one that stays keeps its connections, its health and its
    /// figures. One that is no longer a member gets no new requests; those that it has are answered,
    /// and then its connections are closed. The same holds for a server for which `is_same` says no:
    /// the name is that of another server now, which begins with connections and a health of its own.
    /// Keys that have another server now are missed there; see [`Mux::migrate_servers`]. A migration
    /// that runs ends at once.
    ///
    /// # Panics
    /// If `stats` is not for as many servers as the ring has members.
    pub fn set_servers(
        &mut self,
        ring: Ring,
        stats: &[Arc<ServerStats>],
        is_same: impl Fn(ServerId) -> bool,
    ) {
        self.abandon_migration();
        self.servers.change(&mut self.shared, ring, stats, is_same);
        self.clients.memory -= mem::take(&mut self.servers.given_up);
        self.wake_all();
    }

    /// The servers that are on the ring or may return to it, in its order.
    pub fn servers(&self) -> &[ServerId] {
        self.servers.routes.members()
    }

    /// The place of a server among [`Mux::servers`]; none once it has left the pool.
    pub fn position_of(&self, id: ServerId) -> Option<usize> {
        self.servers.routes.members().iter().position(|member| *member == id)
    }

    /// Whether a server is ejected.
    pub fn is_ejected(&self, id: ServerId) -> bool {
        !self.servers.all[id.index()].health.is_live()
    }

    /// The ring as it is now.
    pub fn ring(&self) -> &Ring {
        self.servers.routes.ring()
    }
}

impl Servers {
    pub(super) fn new(shared: &mut Shared, ring: Ring, stats: &[Arc<ServerStats>]) -> Self {
        let mut servers = Self {
            routes: Routes::new(ring.clone(), Vec::new()),
            gutter: Routes::new(
                Ring::new(Distribution::Ketama, Hash::Fnv1a_64, None, Vec::new(), 0),
                Vec::new(),
            ),
            all: Places::new(),
            arbiter: None,
            reports: VecDeque::new(),
            has_drains: false,
            given_up: 0,
            conns: Vec::new(),
            dedicated: Dedicated::default(),
            conn_ids: Vec::new(),
            dirty: Dirty::new(),
            leaving: 0,
            next_expiry: None,
        };
        servers.set_ring(shared, ring, stats, BTreeMap::new());
        servers.set_arbiter(shared);
        servers
    }

    /// As [`Mux::set_servers`].
    fn change(
        &mut self,
        shared: &mut Shared,
        ring: Ring,
        stats: &[Arc<ServerStats>],
        is_same: impl Fn(ServerId) -> bool,
    ) {
        let gone = self.replace(shared, ring, stats, is_same);
        self.let_leave(shared, &gone);
    }

    /// Makes the members of `ring` the servers of the pool. Says which servers are none any longer; they
    /// are as before until [`Servers::let_leave`].
    pub(super) fn replace(
        &mut self,
        shared: &mut Shared,
        ring: Ring,
        stats: &[Arc<ServerStats>],
        is_same: impl Fn(ServerId) -> bool,
    ) -> Vec<ServerId> {
        let before = self.routes.members().to_vec();
        let known = self.known(&before, is_same);
        self.set_ring(shared, ring, stats, known);
        let stay: BTreeSet<ServerId> = self.routes.members().iter().copied().collect();
        self.note_standings(shared);
        self.set_arbiter(shared);
        before.into_iter().filter(|id| !stay.contains(id)).collect()
    }

    /// The servers that stay what they are, by their names.
    pub(super) fn known(
        &self,
        before: &[ServerId],
        is_same: impl Fn(ServerId) -> bool,
    ) -> BTreeMap<Box<[u8]>, Vec<ServerId>> {
        let mut known: BTreeMap<Box<[u8]>, Vec<ServerId>> = BTreeMap::new();
        for &id in before.iter().rev().filter(|id| is_same(**id)) {
            known.entry(self.all[id.index()].name.clone()).or_default().push(id);
        }
        known
    }

    /// Servers are no longer in the pool: each of them goes when its requests are answered.
    pub(super) fn let_leave(&mut self, shared: &mut Shared, gone: &[ServerId]) {
        for &id in gone {
            let server = &mut self.all[id.index()];
            server.is_leaving = true;
            // Another one may count in these figures now.
            server.stats.more.is_ejected.set(0);
            server.stats.more.is_down.set(0);
            server.stats.more.journal_keys.set(0);
            server.stats.more.journal_bytes.set(0);
            self.given_up += server.journal.take().map_or(0, |journal| journal.bytes());
            self.leaving += 1;
            for place in self.conns_of(shared, id) {
                self.retire_if_idle(shared, self.conns[place].id);
            }
        }
        self.close_idle_of_leaving(shared);
    }

    /// Makes a ring's members servers; those that are `known` by their name are the ones they were.
    fn set_ring(
        &mut self,
        shared: &mut Shared,
        ring: Ring,
        stats: &[Arc<ServerStats>],
        known: BTreeMap<Box<[u8]>, Vec<ServerId>>,
    ) {
        let mut routes = self.routes_of(shared, ring, stats, known);
        routes.follow(&self.routes);
        self.routes = routes;
    }

    /// The routes of a ring, whose members become servers unless they are `known`.
    pub(super) fn routes_of(
        &mut self,
        shared: &mut Shared,
        ring: Ring,
        stats: &[Arc<ServerStats>],
        mut known: BTreeMap<Box<[u8]>, Vec<ServerId>>,
    ) -> Routes {
        assert_eq!(ring.members().len(), stats.len(), "a block of figures for every server");
        let mut members = Vec::with_capacity(stats.len());
        for (member, stats) in ring.members().iter().zip(stats) {
            let kept = known.get_mut(&member.name).and_then(Vec::pop);
            members.push(kept.unwrap_or_else(|| self.add_server(shared, &member.name, stats)));
        }
        Routes::new(ring, members)
    }

    fn add_server(
        &mut self,
        shared: &mut Shared,
        name: &[u8],
        stats: &Arc<ServerStats>,
    ) -> ServerId {
        let id = ServerId::new(self.all.next(), shared.next_generation());
        // The place of a server that has left has its connections' places.
        let left = self.all.get(id.index()).map(|left| left.first);
        let first = left.unwrap_or(self.conns.len());
        self.all.insert(Server {
            name: name.into(),
            first,
            conns: shared.lanes,
            health: Health::default(),
            is_down: false,
            is_leaving: false,
            journal: None,
            replay_round: None,
            is_probed: false,
            has_refused_cap: false,
            stats: Arc::clone(stats),
        });
        for place in self.conns_of(shared, id) {
            let conn = ConnId::new(place, shared.next_generation());
            self.conn_ids.push(conn);
            let is_resp3 = place - first >= shared.options.lanes();
            self.put_conn(Conn::new(conn, id, is_resp3));
        }
        id
    }

    /// Puts a connection in its place.
    pub(super) fn put_conn(&mut self, conn: Conn) {
        match self.conns.get_mut(conn.id.index()) {
            Some(gone) => *gone = conn,
            None => self.conns.push(conn),
        }
    }

    /// The places of a server's connections that clients share.
    pub(super) fn conns_of(&self, shared: &Shared, id: ServerId) -> Range<usize> {
        let first = self.all[id.index()].first;
        first..first + shared.lanes
    }

    /// The connection's socket is to be replaced.
    pub(super) fn note_outdated(&mut self, shared: &mut Shared, id: ConnId) {
        let conn = &mut self.conns[id.index()];
        if conn.state.is_connected() && !conn.is_outdated {
            conn.is_outdated = true;
            self.leaving += 1;
            self.retire_if_idle(shared, id);
        }
    }

    /// Lets the connection of a server that leaves go, if nothing waits on it, and no client has
    /// something of its own there. A connection to be replaced is opened again.
    pub(super) fn retire_if_idle(&mut self, shared: &mut Shared, id: ConnId) {
        let conn = &mut self.conns[id.index()];
        let is_leaving = self.all[conn.server.index()].is_leaving;
        let is_idle = conn.pending.is_empty() && conn.owner.is_none();
        if is_leaving && is_idle && !conn.is_retired {
            conn.must_close = true;
            conn.is_retired = true;
            self.clear_conn(shared, id);
            self.mark(id);
        } else if conn.is_outdated && is_idle {
            conn.must_close = true;
            // One for a single client is opened when the next client needs it.
            conn.wanted = !conn.is_dedicated;
            self.clear_conn(shared, id);
            self.mark(id);
        }
    }

    /// Forgets a connection that nothing waits on, and its server with the last one.
    pub(super) fn remove_conn(&mut self, shared: &mut Shared, id: ConnId) {
        let generation = shared.next_generation();
        let conn = &mut self.conns[id.index()];
        let (server, is_dedicated) = (conn.server.index(), conn.is_dedicated);
        // Nobody knows this id.
        conn.id = ConnId::new(id.index(), generation);
        self.conn_ids.retain(|other| *other != id);
        self.dirty.forget(id);
        if is_dedicated {
            self.forget_dedicated(id);
        }
        self.all[server].conns -= 1;
        if self.all[server].conns == 0 && self.all[server].is_leaving {
            self.leaving -= 1;
            self.all.free(server);
        }
    }

    /// One of a server's connections that clients share, by its number.
    #[inline(always)]
    pub(super) fn lane(&self, lane: usize, server: ServerId) -> ConnId {
        self.conns[self.all[server.index()].first + lane].id
    }

    /// The next connection that needs its socket looked after.
    pub(super) fn next_dirty(&mut self) -> Option<ConnId> {
        let id = self.dirty.pop()?;
        self.conns[id.index()].dirty = false;
        self.publish(id);
        Some(id)
    }

    /// When [`Mux::handle_timeout`] has something to do for a server.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let next_tick = self.arbiter.as_ref().and_then(|arbiter| arbiter.next_tick());
        [self.next_expiry, next_tick].into_iter().flatten().min()
    }

    /// Puts a connection on the list of those that need their socket looked after.
    #[inline]
    pub(super) fn mark(&mut self, id: ConnId) {
        self.conns[id.index()].mark(id, &mut self.dirty);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clocks::Clocks;
    use crate::limits::Limits;
    use crate::message::{Parsed, Request, Scan};
    use crate::mux::slots::{Slots, State};
    use crate::mux::waiter::Waiter;
    use crate::mux::{Bulk, Options};
    use crate::protocol::{Protocol, Room};
    use crate::ring::{Distribution, Hash, Member};
    use crate::route::Plan;
    use alloc::vec;
    use core::time::Duration;

    /// A program in which the servers are embedded: it takes the replies itself.
    #[derive(Default)]
    struct Program {
        replies: Vec<(Outcome, Vec<u8>)>,
    }

    impl Answers for Program {
        fn complete(&mut self, _: &mut Shared, _: &Pending, outcome: Outcome, reply: impl Reply) {
            self.replies.push((outcome, reply.bytes().to_vec()));
        }

        fn fits(&mut self, _: &Shared, _: &Pending, _: &[u8]) -> bool {
            true
        }

        fn take_values(&mut self, _: &mut Shared, _: (JoinId, u32), _: &[u8]) -> Option<usize> {
            None
        }

        fn refuse_values(&mut self, _: &mut Shared, _: JoinId) {}
        fn observe(&mut self, _: ClientId, _: &Pending, _: &[u8]) {}
        fn push(&mut self, _: &mut Shared, _: ClientId, _: &[u8]) {}
        fn lose_dedicated(&mut self, _: &mut Shared, _: ClientId) {}
    }

    fn pool() -> (Servers, Shared) {
        let member = |name: &str| Member { name: name.as_bytes().into(), weight: 1 };
        let members = vec![member("oak"), member("elm")];
        let ring = Ring::new(Distribution::Ketama, Hash::Fnv1a_64, None, members, 0);
        let stats = [Arc::default(), Arc::default()];
        let options = Options {
            protocol: Protocol::Memcache,
            timeout: None,
            clocks: Clocks::default(),
            ejection: None,
            server_connections: 1,
            bulk: Bulk::NONE,
            allow_flush: false,
            redis: Arc::default(),
            limits: Limits::default(),
            epoch: Duration::ZERO,
        };
        let mut shared = Shared::new(options, Arc::default());
        (Servers::new(&mut shared, ring, &stats), shared)
    }

    /// Queues a request for the server of its key.
    fn ask(servers: &mut Servers, shared: &mut Shared, request: &[u8], now: Instant) -> ConnId {
        let Options { protocol, limits, redis, .. } = &shared.options;
        let (mut scan, mut room) = (Scan::default(), Room::default());
        let mut session = protocol.open_session(redis, 0);
        let parsed = protocol.parse_request(request, &mut scan, &mut session, limits, &mut room);
        let Parsed::Request(Request::One(one), _) = parsed else {
            panic!("not one request of one key");
        };
        let key = protocol.plain_key(&one).unwrap();
        let Plan::To(server) = servers.routes.plan(key) else { panic!("no server") };
        let conn = servers.lane(0, server);
        let ticket = Slots::default().insert(ClientId::new(0, 0), 1, State::Waiting);
        let pending = Pending::new(Waiter::Slot(ticket), one.expect, one.class, now);
        servers.send(shared, conn, pending, (key, b""), |out| one.wire.write(out));
        conn
    }

    #[test]
    fn servers_serve_a_program_that_has_no_clients() {
        let (mut servers, mut shared) = pool();
        let (mut program, now) = (Program::default(), Instant::default());
        let conn = ask(&mut servers, &mut shared, b"get nut\r\n", now);
        assert_eq!(servers.next_dirty(), Some(conn));
        servers.note_opening(&shared, conn, now);
        servers.greet(&shared, conn, now);
        for (asked, answer) in [
            (&b"version\r\n"[..], &b"VERSION 1.6.18\r\n"[..]),
            (b"get nut\r\n", b"VALUE nut 0 5\r\nacorn\r\nEND\r\n"),
        ] {
            assert_eq!(servers.output(&shared, conn), asked);
            servers.note_written(&mut shared, conn, asked.len(), now);
            servers.take_bytes((&mut shared, &mut program), conn, answer, now);
        }
        let value = b"VALUE nut 0 5\r\nacorn\r\nEND\r\n".to_vec();
        assert_eq!(program.replies, [(Outcome::Hit, value)]);
    }
}
