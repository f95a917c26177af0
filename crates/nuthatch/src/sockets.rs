//! One pool of a worker: the multiplexer, and the sockets around it.
//!
//! The one rule: an id from outside is looked up here before it is used, as its socket may have gone
//! since the kernel or another thread spoke of it.

use crate::client::ClientSocket;
use crate::drain::Drain;
use crate::engine;
use crate::generation::{SharedPool, SharedServer};
use crate::health::Told;
use crate::inbox::Inbox;
use crate::poll::{Poll, Tag};
use crate::question;
use crate::redis_question::{self, Ends};
use crate::server::{Place, ServerSocket};
use crate::watch::Watch;
use nuthatch_core::health::Decision;
use nuthatch_core::mux::{ClientId, ConnId, Mux};
use nuthatch_core::time::Instant;
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// One pool's engine and the sockets around it.
#[derive(Debug)]
pub(crate) struct PoolSockets {
    pub(crate) mux: Mux,
    pub(crate) shared: SharedPool,
    pub(crate) clients: Vec<Option<ClientSocket>>,
    pub(crate) conns: Vec<ServerSocket>,
    /// When an attempt to connect goes on with another address.
    pub(crate) next_attempt: Option<Instant>,
    /// Clients whose replies wait for the next turn.
    pub(crate) corked: Vec<ClientId>,
    pub(crate) watch: Watch,
    /// The drain, once it has started: of the worker, or of a pool that leaves the configuration.
    pub(crate) drain: Option<Drain>,
    /// Whether the drain is over: nothing is open any longer.
    pub(crate) is_gone: bool,
}

impl PoolSockets {
    /// The sockets of a pool in the worker of this number, none of them open.
    pub(crate) fn new(shared: SharedPool, worker: usize, epoch: Duration) -> Self {
        let mux = engine::new(&shared, worker, epoch);
        let keepalive = shared.pool.tcpkeepalive;
        let conns = mux.conns().iter().map(|&id| ServerSocket::new(id, keepalive)).collect();
        let mut watch = Watch::default();
        watch.note_servers(&mux, &shared.servers);
        let (clients, corked) = (Vec::new(), Vec::new());
        let (next_attempt, drain, is_gone) = (None, None, false);
        let mut pool =
            Self { mux, shared, clients, conns, next_attempt, corked, watch, drain, is_gone };
        pool.preconnect();
        pool
    }

    /// Serves by another generation of the pool, which was announced to all workers at a time of its own. Requests
    /// in flight end where they are.
    pub(crate) fn apply(
        &mut self,
        shared: SharedPool,
        worker: usize,
        (announced, now): (Instant, Instant),
    ) {
        // What the log is to say of the servers as they were.
        self.watch.tell(&self.shared.pool, &mut self.mux);
        engine::apply_settings(&mut self.mux, &shared);
        let is_same = |id, server: &SharedServer| {
            self.watch.server(id).is_some_and(|before| before.is(server))
        };
        if !self.shared.has_gutter_of(&shared) {
            engine::apply_gutter(&mut self.mux, &shared, worker, is_same);
        }
        if !self.shared.has_servers_of(&shared) {
            let times = (announced, now);
            engine::apply_servers(&mut self.mux, &shared, worker, is_same, times);
        }
        self.watch.note_servers(&self.mux, &shared.servers);
        let keepalive = shared.pool.tcpkeepalive;
        self.conns.iter_mut().for_each(|conn| conn.set_keepalive(keepalive));
        self.shared = shared;
        self.preconnect();
        let clients: Vec<_> = self.clients.iter().flatten().map(|client| client.id).collect();
        clients.into_iter().for_each(|id| self.share_quota(id, now));
    }

    /// Lets a client share the quota of its address with the others from there, if the pool has one.
    pub(crate) fn share_quota(&mut self, id: ClientId, now: Instant) {
        let Some(Some(client)) = self.clients.get(id.index()) else { return };
        if self.shared.pool.quotas().address.is_set() {
            self.mux.set_address(id, || self.shared.usages.of(client.address(), now));
        }
    }

    /// Does what was decided about one of its servers.
    pub(crate) fn obey(&mut self, decision: Decision, now: Instant) {
        if let Some(id) = self.watch.find(decision.server) {
            self.mux.obey(id, decision.order, decision.round, now);
        }
    }

    /// Passes on which requests were slow.
    pub(crate) fn pass_slow(&mut self, now: Instant) {
        if self.mux.has_slow() {
            self.shared.slow.take(&mut self.mux, &self.watch, now);
        }
    }

    /// Passes on what is to be known about its servers.
    pub(crate) fn pass_reports(&mut self, reports: &mpsc::Sender<Told>) {
        while let Some((id, report)) = self.mux.next_report() {
            if let Some(server) = self.watch.server(id).map(|server| server.number) {
                // Nobody listens only if the process ends.
                let _ = reports.send(Told::Report { server, report });
            }
        }
    }

    fn preconnect(&mut self) {
        if self.shared.pool.preconnect {
            self.mux.preconnect();
        }
    }

    /// A server connection and what its socket works with; none if the connection is gone. Its socket
    /// stays in its place until another connection has a socket there.
    pub(crate) fn conn<'a>(
        &'a mut self,
        pool: usize,
        id: ConnId,
        (poll, inbox): (&'a Poll, &'a Arc<Inbox>),
        now: Instant,
    ) -> Option<(&'a mut ServerSocket, Place<'a>)> {
        let Self { mux, shared, next_attempt, conns, watch, .. } = self;
        let socket = conns.get_mut(id.index()).filter(|socket| socket.id == id)?;
        if !mux.has_conn(id) {
            return None;
        }
        let (config, pool_id) = (&*shared.pool, shared.id);
        let server = watch.server(mux.server_of(id)).expect("it is there as long as a connection");
        let resolver = &shared.resolver;
        let place = Place {
            pool,
            pool_id,
            id,
            config,
            server,
            resolver,
            mux,
            next_attempt,
            poll,
            inbox,
            now,
        };
        Some((socket, place))
    }

    /// The next server connection that needs its socket looked after. It may be one that had no socket
    /// yet.
    pub(crate) fn next_dirty_conn(&mut self) -> Option<ConnId> {
        let id = self.mux.next_dirty_conn()?;
        let keepalive = self.shared.pool.tcpkeepalive;
        if self.conns.get(id.index()).is_none_or(|socket| socket.id != id) {
            let places = self.conns.len().max(id.index() + 1);
            self.conns.resize_with(places, || ServerSocket::new(id, keepalive));
            self.conns[id.index()] = ServerSocket::new(id, keepalive);
        }
        Some(id)
    }

    pub(crate) fn has(&self, id: ClientId) -> bool {
        self.client_at(id.index()) == Some(id)
    }

    /// The client with this place.
    pub(crate) fn client_at(&self, index: usize) -> Option<ClientId> {
        self.clients.get(index)?.as_ref().map(|socket| socket.id)
    }

    /// The client that the kernel speaks of, if it is still there.
    pub(crate) fn client_of(&self, tag: Tag) -> Option<ClientId> {
        self.client_at(tag.index()).filter(|id| tag.is_of(id.to_bits()))
    }

    /// The server connection that the kernel speaks of, if it is still there.
    pub(crate) fn conn_of(&self, tag: Tag) -> Option<ConnId> {
        let id = self.conns.get(tag.index())?.id;
        tag.is_of(id.to_bits()).then_some(id)
    }

    /// Answers what clients ask of the proxy itself.
    #[inline]
    pub(crate) fn answer_questions(&mut self, accepts: bool, now: Instant) {
        if self.mux.has_questions() {
            self.answer_all(accepts, now);
        }
    }

    #[inline(never)]
    fn answer_all(&mut self, accepts: bool, now: Instant) {
        let accepts = accepts && self.drain.is_none();
        let about = question::About {
            pool: &self.shared.pool,
            workers: &self.shared.workers,
            servers: &self.shared.servers,
            baseline: &self.shared.baseline,
            accepts,
            epoch: self.mux.options().epoch,
        };
        let mut answers = question::Answers::new(about, now);
        let mut redis_answers = redis_question::Answers::new(about, now);
        while let Some(question) = self.mux.next_question() {
            let answer = match self.mux.session(question.client()).redis() {
                None => answers.to(question.what()),
                Some(client) => {
                    let socket =
                        self.clients.get(question.client().index()).and_then(Option::as_ref);
                    let ends = || socket.map_or_else(Ends::unknown, ClientSocket::ends);
                    redis_answers.to(question.what(), client, &ends)
                }
            };
            self.mux.answer_question(question, answer);
        }
    }

    pub(crate) fn is_idle(&self, id: ClientId) -> bool {
        self.has(id) && self.mux.is_idle(id)
    }

    /// Whether there are as many clients as the pool allows, over all workers.
    pub(crate) fn is_full(&self) -> bool {
        let max = self.shared.pool.client_connections as u64;
        let count =
            || self.shared.workers.iter().map(|stats| stats.client_connections.read()).sum();
        max != 0 && max <= count()
    }
}
