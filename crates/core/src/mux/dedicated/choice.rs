//! Which server a client's own connection leads to, and what becomes of a request for which there is none.

use crate::error::ServerError;
use crate::message::{Dedicate, Limit, Step, Wire};
use crate::mux::Mux;
use crate::mux::id::{ClientId, ServerId};
use crate::mux::request::Intake;
use crate::protocol::Refusal;
use crate::route::Plan;
use crate::time::Instant;

/// Why a request gets no connection.
pub(super) enum NoServer {
    /// The client is told this.
    Refused(Refusal),
    /// The client is told what the parser wrote.
    Alone,
    /// There is no server.
    Failed(ServerError),
    /// It is about to be decided whether this server is used.
    Undecided(ServerId),
}

impl Mux {
    /// The server of a request: that of its keys, or that to which the client is bound.
    pub(super) fn dedicated_server(
        &mut self,
        id: ClientId,
        request: &Dedicate<'_>,
    ) -> Result<ServerId, NoServer> {
        let is_alone = self.servers.routes.members().len() == 1;
        if request.alone.is_some() && !is_alone {
            return Err(NoServer::Alone);
        }
        let client = &self.clients[id];
        let own = client.dedicated.map(|own| self.servers.conns[own.index()].server);
        let bound = own.filter(|_| client.session.is_bound());
        if !request.has_key {
            let routes = &mut self.servers.routes;
            let only = routes.members().first().copied().filter(|_| is_alone);
            // Commands without keys are the same on any server, and a blocking command whose keys can't be
            // found is refused by any.
            let is_anywhere = matches!(request.step, Step::End | Step::Abort | Step::Block);
            let any = match routes.plan(request.one.key) {
                Plan::To(server) if is_anywhere => Some(server),
                _ => None,
            };
            if let Some(bound) = bound {
                return Ok(bound);
            }
            let server = only.or(any).ok_or(NoServer::Refused(Refusal::NoKey))?;
            return self.if_asked(server);
        }
        match self.plan_own(request) {
            Some(Plan::To(server)) if bound == Some(server) => Ok(server),
            // The connection is closed before others stand in, unless the server is used for other keys.
            Some(Plan::Around(server)) => match self.if_asked(server) {
                Err(_) if bound == Some(server) => Ok(server),
                Err(error) => Err(error),
                Ok(_) => Err(self.why_none(server, self.servers.error_of(server))),
            },
            // The old server of keys that move may not be used, either.
            Some(Plan::To(server)) if bound.is_none() => self.if_asked(server),
            Some(Plan::Refuse(error)) => Err(NoServer::Failed(error)),
            _ => Err(NoServer::Refused(Refusal::CrossShard)),
        }
    }

    /// The server, unless it gets no requests.
    fn if_asked(&self, server: ServerId) -> Result<ServerId, NoServer> {
        let reason = self.servers.why_not_asked(server);
        reason.map_or(Ok(server), |error| Err(self.why_none(server, error)))
    }

    /// Why a server does not get a request for which it is not asked now, for this reason.
    fn why_none(&self, server: ServerId, error: ServerError) -> NoServer {
        let is_undecided = self.servers.all[server.index()].health.is_undecided();
        if is_undecided { NoServer::Undecided(server) } else { NoServer::Failed(error) }
    }

    /// Keeps a command of a transaction until a key says for which server it is.
    pub(super) fn keep_or_refuse(
        &mut self,
        id: ClientId,
        request: &Dedicate<'_>,
        why: &NoServer,
        now: Instant,
    ) -> Intake {
        let bytes = match request.one.wire {
            Wire::Verbatim(bytes) | Wire::Rewritten(bytes) => bytes,
            Wire::Words { .. } => b"",
        };
        let is_keyless = matches!(why, NoServer::Refused(Refusal::NoKey));
        if is_keyless && request.step == Step::Queue && self.clients[id].session.keep(bytes) {
            let queued = self.shared.options.protocol.queued();
            self.clients.answer_here(&mut self.shared, id, queued);
            return Intake::Accepted;
        }
        self.refuse_dedicated(id, request, why, now)
    }

    /// Answers a request that gets no connection. It waits if that may change soon.
    pub(super) fn refuse_dedicated(
        &mut self,
        id: ClientId,
        request: &Dedicate<'_>,
        why: &NoServer,
        now: Instant,
    ) -> Intake {
        let expect = request.one.expect;
        let protocol = self.shared.options.protocol;
        let refusal = match why {
            NoServer::Undecided(server) => {
                return self.wait_for_decision(id, *server, expect, now);
            }
            NoServer::Failed(error) => Err(*error),
            NoServer::Refused(refusal) => Ok(protocol.refusal(*refusal)),
            NoServer::Alone => Ok(request.alone.unwrap_or_default()),
        };
        let session = &mut self.clients[id].session;
        match request.step {
            // No server knows of the transaction, and the client expects it to be over.
            Step::End | Step::Abort => session.note_step(request.step, 0),
            _ => session.note_refused(),
        }
        match refusal {
            Ok(refusal) => self.refuse(id, refusal, Limit::Grammar),
            Err(error) => self.fail_here(id, expect, error),
        }
        Intake::Accepted
    }
}
