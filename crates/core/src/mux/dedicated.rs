//! Server connections for one client alone: transactions, blocking commands, subscriptions.
//!
//! What such a command leaves behind on a connection (watched keys, an open transaction, channels), or
//! how long it takes, is its client's own business, so no other client's request may be there. The one
//! rule: a client's requests go over one connection at a time to be in order; before they go over
//! another one, everything on the way must be answered.

mod choice;

use self::choice::NoServer;
use super::backpressure::Hold;
use super::clients::Clients;
use super::conn::{Conn, Pending};
use super::failure::complete_with;
use super::id::{ClientId, ConnId, ServerId};
use super::request::Intake;
use super::server::{Answers, Servers};
use super::waiter::Waiter;
use super::{Mux, Shared};
use crate::error::ServerError;
use crate::health::Drain;
use crate::message::{Class, Dedicate, Expect, Outcome, Request, Step};
use crate::protocol::Refusal;
use crate::time::Instant;
use alloc::vec::Vec;
use core::mem;

/// The connections for one client alone.
#[derive(Debug, Default)]
pub(super) struct Dedicated {
    /// Those that no client uses now.
    idle: Vec<ConnId>,
    /// How many there are, idle or not.
    count: usize,
    /// Places of those that have gone.
    free: Vec<usize>,
}

impl Mux {
    /// Whether requests of the client are on their way over another kind of connection than the next
    /// one needs. Then the next one waits until they are answered.
    pub(super) fn must_switch(&mut self, id: ClientId, to_dedicated: bool) -> bool {
        let client = &mut self.clients[id];
        if client.is_on_dedicated == to_dedicated {
            return false;
        }
        let is_free = client.queue.head().is_none() && client.silent == 0;
        if is_free {
            client.is_on_dedicated = to_dedicated;
            match to_dedicated {
                true => self.clients.on_dedicated += 1,
                false => self.clients.on_dedicated -= 1,
            }
        } else {
            self.clients.hold(id, Hold::Replies);
        }
        !is_free
    }

    /// Whether a request for connections that clients share has to wait until the client's requests over
    /// its own are answered.
    #[cold]
    pub(super) fn must_leave_dedicated(&mut self, id: ClientId, request: &Request<'_>) -> bool {
        let is_shared = matches!(
            request,
            Request::One(_)
                | Request::Group(_)
                | Request::Many(_)
                | Request::All(_)
                | Request::Cursor(_)
                | Request::Setting(_)
        );
        is_shared && self.must_switch(id, false)
    }

    /// Plans and queues a request that needs a connection for its client alone.
    pub(super) fn take_dedicated(
        &mut self,
        id: ClientId,
        request: &Dedicate<'_>,
        now: Instant,
    ) -> Intake {
        if self.must_switch(id, true) {
            return Intake::Blocked;
        }
        let has_replies_due = self.clients[id].queue.head().is_some();
        if request.step == Step::Reset || request.replies == 0 {
            // Nothing may be on the way: a reset closes the connection, and how many replies there are
            // is known only afterwards.
            if has_replies_due {
                self.clients.hold(id, Hold::Replies);
                return Intake::Blocked;
            }
            if request.step == Step::Reset {
                return self.reset(id, request.one.key);
            }
            // How many replies there are would be known now, had an earlier request not run out of time.
            self.fail_here(id, request.one.expect, ServerError::TimedOut);
            return Intake::Accepted;
        }
        let server = match self.dedicated_server(id, request) {
            Ok(server) => server,
            // Soon the client may be bound no longer.
            Err(_) if has_replies_due && self.clients[id].session.is_changing() => {
                self.clients.hold(id, Hold::Replies);
                return Intake::Blocked;
            }
            Err(why) => return self.keep_or_refuse(id, request, &why, now),
        };
        let is_resp3 = self.clients[id].session.is_resp3();
        let fits = |own: &ConnId| {
            let own = &self.servers[*own];
            own.server == server && own.is_resp3 == is_resp3
        };
        let own = self.clients[id].dedicated.filter(fits);
        let is_drained = self.servers.all[server.index()].health.drain != Drain::No;
        if is_drained && !self.clients[id].session.is_bound() {
            // Only what was begun before goes on.
            let why = NoServer::Failed(ServerError::Ejected);
            return self.refuse_dedicated(id, request, &why, now);
        }
        let conn = match own {
            Some(conn) => conn,
            None if has_replies_due && self.clients[id].dedicated.is_some() => {
                self.clients.hold(id, Hold::Replies);
                return Intake::Blocked;
            }
            None => match self.acquire(id, server) {
                Some(conn) => conn,
                None => {
                    self.shared.stats.limit_dedicated.add(1);
                    let why = NoServer::Refused(Refusal::Dedicated);
                    return self.refuse_dedicated(id, request, &why, now);
                }
            },
        };
        // The end of a transaction has room always: without it, the transaction would stay open.
        let ends = matches!(request.step, Step::End | Step::Abort);
        if !ends && self.must_wait(conn) {
            return self.wait_for(id, conn, request.one.expect, now);
        }
        self.send_dedicated(id, conn, request, now)
    }

    fn send_dedicated(
        &mut self,
        id: ClientId,
        conn: ConnId,
        request: &Dedicate<'_>,
        now: Instant,
    ) -> Intake {
        let Self { clients, servers, shared, .. } = self;
        let protocol = shared.options.protocol;
        let (begin, discard) = protocol.transaction();
        // The client has its replies to these already, or gets none.
        let mut send_for_nobody = |bytes: &[u8]| {
            let pending = Pending::new(Waiter::Nobody, Expect::ANY, Class::Other, now);
            servers.send(shared, conn, pending, (b"", b""), |out| out.extend_from_slice(bytes));
        };
        let session = &mut clients[id].session;
        if session.begins() {
            send_for_nobody(begin);
            let mut kept = session.kept();
            while let Some(request) = session.next_kept(&mut kept) {
                send_for_nobody(request);
            }
        }
        session.note_step(request.step, request.replies);
        if request.step == Step::Abort {
            send_for_nobody(discard);
        }
        if request.step == Step::Abort {
            self.end_transaction(id);
            let refusal = protocol.refusal(Refusal::Aborted);
            self.clients.answer_here(&mut self.shared, id, refusal);
            return Intake::Accepted;
        }
        let one = &request.one;
        self.count_request(one.class, 1);
        for number in 0..request.replies {
            let slot = self.clients.new_slot(&mut self.shared, id, 1, one.expect);
            let waiter = match number {
                0 if self.migration.is_some() => self.waiter_of_own(id, slot, request, now),
                _ => Waiter::Slot(slot),
            };
            let pending = Pending::new(waiter, one.expect, one.class, now);
            // The request's bytes belong to its first reply.
            self.servers.send(&mut self.shared, conn, pending, (b"", b""), |out| {
                if number == 0 {
                    one.wire.write(out);
                }
            });
        }
        if protocol.waits(one.expect) {
            // What the client asks next is answered after that.
            self.clients.hold(id, Hold::Replies);
        }
        Intake::Accepted
    }

    /// A connection to a server for a client alone. None if there are as many as there may be.
    fn acquire(&mut self, id: ClientId, server: ServerId) -> Option<ConnId> {
        let other = self.clients[id].dedicated;
        let closes = other.is_some_and(|other| self.has_unwanted(other));
        match other {
            // The next client's requests would wait there for replies that nobody wants.
            Some(_) if closes => self.drop_dedicated(id),
            Some(other) => {
                self.clients[id].dedicated = None;
                self.servers.release(&mut self.shared, other);
            }
            None => {}
        }
        let is_resp3 = self.clients[id].session.is_resp3();
        let conn = self.servers.dedicate(&mut self.shared, server, is_resp3, closes)?;
        self.servers[conn].owner = Some(id);
        self.shared.stats.dedicated_connections.add(1);
        self.clients[id].dedicated = Some(conn);
        Some(conn)
    }

    /// Whether a reply is still to come on a connection that its client no longer wants: of a request that
    /// ran out of time, or was answered otherwise. What was sent for nobody takes no time.
    fn has_unwanted(&self, id: ConnId) -> bool {
        let conn = &self.servers[id];
        conn.expired + conn.overdue > 0
            || conn.pending.iter().any(|pending| pending.waiter != Waiter::Nobody)
    }

    /// Gives a client's connection back once nothing on it is the client's own any more.
    pub(super) fn release_if_free(&mut self, id: ConnId) {
        let conn = &self.servers[id];
        let Some(owner) = conn.owner.filter(|_| conn.pending.is_empty()) else { return };
        let client = &mut self.clients[owner];
        if client.session.is_bound() {
            return;
        }
        client.dedicated = None;
        self.servers.release(&mut self.shared, id);
    }

    /// Puts a client's connection into the state of a new one.
    fn reset(&mut self, id: ClientId, answer: &[u8]) -> Intake {
        self.drop_dedicated(id);
        self.clients[id].session.reset();
        self.clients.answer_here(&mut self.shared, id, answer);
        Intake::Accepted
    }

    /// Closes the connection that only this client uses, if there is one: what it left there must not
    /// meet another client.
    pub(super) fn drop_dedicated(&mut self, id: ClientId) {
        if let Some(conn) = self.clients[id].dedicated.take() {
            self.servers.retire((&mut self.shared, &mut self.clients), conn);
        }
    }
}

impl Servers {
    /// A connection to a server that no client uses. If one `closes`, it makes room.
    fn dedicate(
        &mut self,
        shared: &mut Shared,
        server: ServerId,
        is_resp3: bool,
        closes: bool,
    ) -> Option<ConnId> {
        let idle = &self.dedicated.idle;
        let fits = |id: &ConnId| {
            let conn = &self.conns[id.index()];
            conn.server == server && conn.is_resp3 == is_resp3
        };
        if let Some(found) = idle.iter().rposition(fits) {
            return Some(self.dedicated.idle.swap_remove(found));
        }
        if self.dedicated.count - usize::from(closes) >= shared.options.redis.dedicated_max {
            // One that waits for another server makes room.
            let other = self.dedicated.idle.pop()?;
            self.close_idle(shared, other);
        }
        self.dedicated.count += 1;
        self.all[server.index()].conns += 1;
        let place = self.dedicated.free.pop().unwrap_or(self.conns.len());
        let id = ConnId::new(place, shared.next_generation());
        self.conn_ids.push(id);
        let mut conn = Conn::new(id, server, is_resp3);
        conn.is_dedicated = true;
        self.put_conn(conn);
        Some(id)
    }

    /// Lets the next client use a connection on which no reply is to come but to what was sent for nobody.
    fn release(&mut self, shared: &mut Shared, id: ConnId) {
        let conn = &mut self.conns[id.index()];
        conn.owner = None;
        shared.stats.dedicated_connections.sub(1);
        if self.all[conn.server.index()].is_leaving {
            self.close_idle(shared, id);
        } else {
            self.dedicated.idle.push(id);
            self.retire_if_idle(shared, id);
        }
    }

    /// Closes a connection that no client uses.
    fn close_idle(&mut self, shared: &mut Shared, id: ConnId) {
        let conn = &mut self.conns[id.index()];
        conn.must_close = true;
        conn.is_retired = true;
        self.clear_conn(shared, id);
        self.mark(id);
    }

    /// Closes the idle connections to servers that leave the pool.
    pub(super) fn close_idle_of_leaving(&mut self, shared: &mut Shared) {
        let idle = mem::take(&mut self.dedicated.idle);
        for id in idle {
            let server = self.conns[id.index()].server;
            if self.all[server.index()].is_leaving {
                self.close_idle(shared, id);
            } else {
                self.dedicated.idle.push(id);
            }
        }
    }

    /// Closes a connection whose client no longer needs it. What still waits there gets an error.
    pub(super) fn retire(
        &mut self,
        (shared, answers): (&mut Shared, &mut impl Answers),
        id: ConnId,
    ) {
        let conn = &mut self.conns[id.index()];
        conn.owner = None;
        shared.stats.dedicated_connections.sub(1);
        let pending = mem::take(&mut conn.pending);
        let mut line = mem::take(&mut shared.line);
        line.clear();
        shared.options.protocol.write_server_error(ServerError::Closed, &mut line);
        for (place, pending) in pending.iter().enumerate() {
            // A request that expects several replies gets one error for all of them.
            let is_told = !pending.is_further() || place == 0;
            let reply = if is_told { &line[..] } else { b"" };
            complete_with((shared, answers), pending, (Outcome::Error, reply));
        }
        shared.line = line;
        self.close_idle(shared, id);
    }

    /// The oldest request of a client's own connection got an error: then it has no other replies, however
    /// many were expected.
    #[cold]
    pub(super) fn drop_further_replies(
        &mut self,
        (shared, answers): (&mut Shared, &mut impl Answers),
        id: ConnId,
        owner: ClientId,
        now: Instant,
    ) {
        while let Some(further) = self.conns[id.index()].pending.front().copied() {
            if !further.is_further() {
                break;
            }
            self.settle(shared, id, &further, (Outcome::Error, 0), now);
            answers.observe(owner, &further, b"");
            complete_with((shared, answers), &further, (Outcome::Error, b""));
        }
    }

    /// Forgets a dedicated connection that has gone.
    pub(super) fn forget_dedicated(&mut self, id: ConnId) {
        self.dedicated.count -= 1;
        self.dedicated.free.push(id.index());
    }

    /// The connection of a client was lost: it may be opened again for another one.
    pub(super) fn lose_dedicated(
        &mut self,
        (shared, answers): (&mut Shared, &mut impl Answers),
        id: ConnId,
    ) {
        if let Some(owner) = self.conns[id.index()].owner {
            answers.lose_dedicated(shared, owner);
            self.release(shared, id);
        }
    }
}

impl Clients {
    /// What the client had on its own connection is gone. Clients expect that of a connection that is
    /// lost, so the client's own is closed, unless there was nothing.
    pub(super) fn end_bound(&mut self, shared: &mut Shared, id: ClientId) {
        let client = &mut self[id];
        client.dedicated = None;
        if client.session.is_bound() {
            self.end_input(shared, id);
        }
    }

    /// Gives a client what its server sends on its own account.
    pub(super) fn push_message(&mut self, shared: &mut Shared, id: ClientId, message: &[u8]) {
        let client = &mut self[id];
        if client.must_close {
            return;
        }
        client.out.tail(&mut shared.spares).extend_from_slice(message);
        let is_too_slow = client.backlog() > shared.options.limits.client_backlog_max;
        self.mark(id);
        self.account(shared, id);
        if is_too_slow {
            shared.stats.limit_client_backlog.add(1);
            self.give_up(shared, id);
        }
    }
}
