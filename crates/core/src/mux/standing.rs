//! How servers stand: which ones fail, which ones get requests, and where the requests of the others go.
//!
//! The one rule: a worker proposes to eject a server, and stops using it; the arbiter decides.

use super::Shared;
use super::id::ServerId;
use super::server::Servers;
use crate::error::ServerError;
use crate::health::{Arbiter, Ejection, OnFailure, Report, Share, Standing};
use crate::route::Rehash;
use crate::time::Instant;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// The engine's own arbiter has one pool.
pub(super) const POOL: u64 = 0;

impl Servers {
    /// Notes that a server failed, and so many of its requests.
    pub(super) fn count_failure(
        &mut self,
        shared: &Shared,
        id: ServerId,
        (error, requests): (ServerError, usize),
        now: Instant,
    ) {
        let Some(ejection) = self.ejection_of(shared, id) else { return };
        let server = &mut self.all[id.index()];
        let counts = (requests, server.stats.responses.read());
        if server.replay_round.take().is_some() {
            // A removal may be lost with what failed: the server must not return on it.
            self.reports.push_back((id, Report::Failing(error)));
        } else if server.health.note_failure(&ejection, counts, now) {
            self.propose(shared, id, error);
        }
    }

    /// Notes that requests of a server failed although it did not stand still.
    pub(super) fn count_failed_requests(
        &mut self,
        shared: &Shared,
        id: ServerId,
        (error, requests): (ServerError, usize),
        now: Instant,
    ) {
        let ejection = self.ejection_of(shared, id).filter(|_| requests > 0);
        let Some(ejection) = ejection else { return };
        let server = &mut self.all[id.index()];
        let counts = (requests, server.stats.responses.read());
        if server.health.note_failed_requests(&ejection, counts, now) {
            self.propose(shared, id, error);
        }
    }

    /// How a server is ejected, if it can be: one that is about to leave the pool is not.
    fn ejection_of(&self, shared: &Shared, id: ServerId) -> Option<Ejection> {
        shared.options.ejection.filter(|_| self.has(id))
    }

    /// Asks the arbiter to eject a server. It gets no more requests until that is decided.
    pub(super) fn propose(&mut self, shared: &Shared, id: ServerId, error: ServerError) {
        let health = &mut self.all[id.index()].health;
        (health.standing, health.error) = (Standing::Left, Some(error));
        self.reports.push_back((id, Report::Failing(error)));
        self.note_standings(shared);
    }

    /// A server of which it is about to be decided who serves its keys.
    pub(super) fn undecided(&self) -> Option<ServerId> {
        if self.routes.is_whole() && (self.gutter.members().is_empty() || self.gutter.is_whole()) {
            return None;
        }
        self.pool().find(|id| self.all[id.index()].health.is_undecided())
    }

    /// Why a server gets no requests, if it gets none. One that has got some of its keys back gets requests.
    #[inline]
    pub(super) fn why_not_asked(&self, id: ServerId) -> Option<ServerError> {
        let gets_none = self.all[id.index()].health.share_asked() == Share::NONE;
        gets_none.then(|| self.error_of(id))
    }

    /// Why a server is not asked for all of its keys, if it is not.
    pub(super) fn why_not_live(&self, id: ServerId) -> Option<ServerError> {
        (!self.all[id.index()].health.is_live()).then(|| self.error_of(id))
    }

    /// What clients are told for whose keys a server is not asked.
    pub(super) fn error_of(&self, id: ServerId) -> ServerError {
        let health = &self.all[id.index()].health;
        let error = health.error.unwrap_or(ServerError::NoServers);
        // Why it failed is no reason any longer.
        if health.is_returning() { ServerError::Returning } else { error }
    }

    /// The figures of a server that is ejected.
    pub(super) fn note_ejected(&self, shared: &Shared, id: ServerId, now: Instant) {
        let stats = &self.all[id.index()].stats;
        let at = shared.options.epoch + now.since(Instant::default());
        stats.server_ejected_at.set(u64::try_from(at.as_micros()).unwrap_or(u64::MAX));
        stats.more.ejections.add(1);
        stats.more.is_ejected.set(1);
        shared.stats.server_ejects.add(1);
    }

    /// The pool ejects servers by itself, as it is told now, or does not.
    pub(super) fn set_arbiter(&mut self, shared: &Shared) {
        let Some(ejection) = shared.options.ejection.filter(|_| !shared.has_other_arbiter) else {
            self.arbiter = None;
            return;
        };
        let arbiter = self.arbiter.get_or_insert_with(|| Box::new(Arbiter::new(1)));
        let [servers, gutter] = [&self.routes, &self.gutter]
            .map(|routes| -> Vec<u64> { routes.members().iter().map(|id| id.to_bits()).collect() });
        arbiter.set_servers(POOL, (&servers, &gutter), ejection);
    }

    /// Lets requests go where they should by how the servers stand.
    pub(super) fn note_standings(&mut self, shared: &Shared) {
        let rehash = match shared.options.ejection {
            Some(ejection) if ejection.on_failure != OnFailure::Rehash => Rehash::Nothing,
            Some(ejection) if ejection.journal_max > 0 => Rehash::TheirKeys,
            _ => Rehash::AllKeys,
        };
        let health = |id: ServerId| &self.all[id.index()].health;
        let (share, is_away) =
            (|id| health(id).share_asked(), |id: ServerId| health(id).stays_away());
        self.routes.set_standings(share, is_away, rehash);
        self.gutter.set_standings(share, is_away, Rehash::TheirKeys);
    }
}
