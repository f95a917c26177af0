//! One pool of a worker: the multiplexer, and the sockets around it.
//!
//! The one rule: an id from outside is looked up here before it is used, as its socket may have gone
//! since the kernel or another thread spoke of it.

use crate::client::ClientSocket;
use crate::inbox::Inbox;
use crate::poll::{Poll, Tag};
use crate::question;
use crate::redis_question::{self, Ends};
use crate::run::SharedPool;
use crate::server::{Place, ServerSocket};
use crate::watch::Watch;
use nuthatch_core::mux::{ClientId, ConnId, Mux};
use nuthatch_core::time::Instant;
use std::sync::Arc;

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
}

impl PoolSockets {
    /// The sockets of a pool, none of them open.
    pub(crate) fn new(mux: Mux, shared: SharedPool) -> Self {
        let keepalive = shared.pool.tcpkeepalive;
        let conns = mux.conns().iter().map(|&id| ServerSocket::new(id, keepalive)).collect();
        let watch = Watch::new(shared.clone());
        let (clients, corked) = (Vec::new(), Vec::new());
        Self { mux, shared, clients, conns, next_attempt: None, corked, watch }
    }

    /// A server connection and what its socket works with.
    pub(crate) fn conn<'a>(
        &'a mut self,
        pool: usize,
        id: ConnId,
        (poll, inbox): (&'a Poll, &'a Arc<Inbox>),
        now: Instant,
    ) -> (&'a mut ServerSocket, Place<'a>) {
        let Self { mux, shared, next_attempt, conns, .. } = self;
        let socket = &mut conns[id.index()];
        (socket, Place { pool, id, shared, mux, next_attempt, poll, inbox, now })
    }

    /// The next server connection that needs its socket looked after. It may be one that had no socket
    /// yet.
    pub(crate) fn next_dirty_conn(&mut self) -> Option<ConnId> {
        let id = self.mux.next_dirty_conn()?;
        let keepalive = self.shared.pool.tcpkeepalive;
        if !self.has_conn(id) {
            let places = self.conns.len().max(id.index() + 1);
            self.conns.resize_with(places, || ServerSocket::new(id, keepalive));
            self.conns[id.index()] = ServerSocket::new(id, keepalive);
        }
        Some(id)
    }

    /// Whether there is such a server connection still.
    pub(crate) fn has_conn(&self, id: ConnId) -> bool {
        self.conns.get(id.index()).is_some_and(|socket| socket.id == id)
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
    pub(crate) fn answer_questions(&mut self, accepts: bool, now: Instant) {
        let about = question::About {
            pool: &self.shared.pool,
            workers: &self.shared.workers,
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
