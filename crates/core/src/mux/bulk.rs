//! Bulk and small apart: clients that ask for much have server connections of their own.
//!
//! A small reply behind large ones on a connection waits for all of them, and one request behind
//! those of a client that never stops asking waits for those. What is much is learnt from each
//! client's traffic. The one rule: what a client asks of one server stays in order, so a client
//! changes its connections as a whole, and only while no server may still carry out one of its
//! requests over the former ones.

use super::backpressure::Hold;
use super::client::Client;
use super::conn::Conn;
use super::id::ClientId;
use super::waiter::Waiter;
use super::{Mux, Options};
use crate::time::Instant;

/// Which clients count as bulky, and what there is for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bulk {
    /// Connections to each server for bulky clients, besides the others; 0 for none.
    pub connections: usize,
    /// A request or a reply of so many bytes makes its client bulky.
    pub min: usize,
    /// Likewise a request of so many keys.
    pub keys: usize,
    /// Likewise so many requests in flight.
    pub requests: u32,
    /// A client is bulky until only little was read from it so many times in a row.
    pub reads: u16,
}

impl Bulk {
    /// All clients use the same connections.
    pub const NONE: Self =
        Self { connections: 0, min: 64 * 1024, keys: 256, requests: 64, reads: 256 };

    /// From where on traffic is bulk: never, if there is nothing for bulky clients.
    pub(super) fn signs(self) -> Self {
        match self.connections {
            0 => Self { min: usize::MAX, keys: usize::MAX, requests: u32::MAX, ..self },
            _ => self,
        }
    }
}

impl Options {
    /// Connections to each server of clients that speak the same version of the protocol.
    #[inline(always)]
    pub(super) fn lanes(&self) -> usize {
        self.server_connections + self.bulk.connections
    }
}

impl Client {
    /// Notes that it asks for much.
    #[cold]
    pub(super) fn note_bulk(&mut self, bulk: &Bulk) {
        self.bulk_reads = bulk.reads;
    }

    /// Notes that a request has so many bytes.
    pub(super) fn note_size(&mut self, bytes: usize, bulk: &Bulk) {
        if bytes >= bulk.min {
            self.note_bulk(bulk);
        }
    }

    /// Whether it asks for much, or uses the connections of those who do.
    #[inline(always)]
    pub(super) fn is_or_was_bulk(&self) -> bool {
        self.bulk_reads > 0
    }
}

impl Mux {
    /// Whether there are clients that ask for much.
    #[inline]
    pub fn has_bulk(&self) -> bool {
        self.clients.bulky > 0
    }

    /// When a client that asks for little has asked last.
    #[inline]
    pub fn asked_for_little(&self) -> Instant {
        self.clients.asked_for_little
    }

    /// Which of a server's connections a client uses: the same one until nothing of the client is on its
    /// way, so that what the client asks of the server stays in order however many there are.
    #[inline(always)]
    pub(super) fn lane(&self, id: ClientId) -> usize {
        let lanes = self.shared.options.server_connections;
        let lane = if lanes == 1 { 0 } else { id.index() % lanes };
        // Most of the time there are none: then the client need not be looked at.
        let is_bulk = self.clients.bulky > 0 && self.clients[id].is_bulk;
        let lane = if is_bulk { self.bulk_lane(id) } else { lane };
        let is_resp3 = self.shared.has_resp3() && self.clients[id].session.is_resp3();
        if is_resp3 { lane + self.shared.options.lanes() } else { lane }
    }

    #[cold]
    fn bulk_lane(&self, id: ClientId) -> usize {
        let Options { server_connections, bulk, .. } = &self.shared.options;
        server_connections + id.index() % bulk.connections
    }

    /// Whether requests of a client may be taken now, as [`Mux::choose_lane`] says.
    #[inline(always)]
    pub(super) fn may_ask(&mut self, id: ClientId, now: Instant) -> bool {
        if self.clients[id].is_or_was_bulk() {
            return self.choose_lane(id);
        }
        self.clients.asked_for_little = now;
        true
    }

    /// Lets a client use the connections that suit it, if it may change them now. False if it has to
    /// wait for its replies before: one that asks for much does, as it may never pause by itself.
    #[inline(never)]
    pub(super) fn choose_lane(&mut self, id: ClientId) -> bool {
        let client = &mut self.clients[id];
        client.bulk_reads -= 1;
        let is_bulk = client.bulk_reads > 0;
        if is_bulk == client.is_bulk {
            return true;
        }
        // One that can't return now is asked again at its next read.
        client.bulk_reads += u16::from(!is_bulk);
        if client.hold != Hold::No {
            return true;
        }
        let has_all = client.queue.head().is_none() && client.silent == 0;
        if !has_all && !is_bulk || self.may_be_late(id) {
            return true;
        }
        if !has_all {
            self.clients.hold(id, Hold::Replies);
            return false;
        }
        let client = &mut self.clients[id];
        client.is_bulk = is_bulk;
        let stats = &self.shared.stats;
        if is_bulk {
            self.clients.bulky += 1;
            stats.bulk_clients.add(1);
            stats.bulk_moves.add(1);
        } else {
            client.bulk_reads = 0;
            self.clients.bulky -= 1;
            stats.bulk_clients.sub(1);
        }
        true
    }

    /// Whether a server may still carry out something for the client that the client no longer waits for: a
    /// request that has run out of time, or a step for a key that moves, which may have been sent later than
    /// the request and so runs out of time later.
    fn may_be_late(&self, id: ClientId) -> bool {
        let lane = self.lane(id);
        let servers = self.servers.pool();
        let mut conns = servers.map(|server| &self.servers[self.servers.lane(lane, server)]);
        let is_late = |conn: &Conn| conn.pending.iter().any(|it| it.waiter == Waiter::Nobody);
        conns.any(is_late) || self.clients.tasks.has_any_of(id)
    }
}
