//! Clients that send more than their quota, or their pool's, get an error.
//!
//! The one rule: only a request that a server would be asked counts, and it is refused before anything is
//! sent; so the client's other requests, and a transaction's end, are as always.

use super::client::Client;
use super::clients::Clients;
use super::id::ClientId;
use super::request::Intake;
use super::{Mux, Shared};
use crate::message::{Expect, Request, Step};
use crate::protocol::Refusal;
use crate::quota::{Quotas, Reached, Usage};
use crate::stats::{Counter, PoolStats};
use crate::time::Instant;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;

/// Clients that have gone while servers still owed for them: their requests count until they are answered.
#[derive(Debug, Default)]
pub(super) struct Gone {
    clients: BTreeMap<ClientId, Owed>,
}

/// What is owed for a client that has gone.
#[derive(Debug)]
struct Owed {
    requests: u32,
    address: Option<Arc<Usage>>,
}

impl Mux {
    /// Changes the quotas. Workers of the same pool share its `usage`.
    pub fn set_quotas(&mut self, quotas: Quotas, usage: &Arc<Usage>) {
        // Once there were some, what is used of them is followed: they may come back.
        self.shared.has_quotas |= quotas.are_set();
        self.shared.quotas = quotas;
        self.shared.usage = Arc::clone(usage);
    }

    /// Says with whom a client shares the quota of its address, if that is not known yet.
    pub fn set_address(&mut self, id: ClientId, usage: impl FnOnce() -> Arc<Usage>) {
        let client = &mut self.clients[id];
        if client.address.is_none() {
            let usage = usage();
            usage.note(0, client.in_flight_told);
            client.address = Some(usage);
        }
    }

    /// Takes a request, unless a quota is used up.
    #[inline(never)]
    pub(super) fn take_within_quotas(
        &mut self,
        id: ClientId,
        request: &Request<'_>,
        now: Instant,
    ) -> Intake {
        let Some(asks) = Asks::of(request) else { return self.take_any(id, request, now) };
        if let Asks::AndMayBeRefused(expect) = asks
            && let Some(refusal) = self.quota_reached(id, now)
        {
            counter(&self.shared.stats, refusal).add(1);
            // What was brought for it is not for the client's next request.
            drop(self.clients.tasks.take_pass(id));
            // Nor is a transaction carried out without one of its commands.
            self.clients[id].session.note_refused();
            let error = self.shared.options.protocol.refusal(refusal);
            return self.answer_unless_silent(id, expect, error);
        }
        let taken = self.take_any(id, request, now);
        if taken != Intake::Blocked {
            let Quotas { pool, address } = self.shared.quotas;
            self.shared.usage.take(pool, now);
            if let Some(usage) = &self.clients[id].address {
                usage.take(address, now);
            }
            self.clients[id].publish_in_flight(&self.shared.usage);
        }
        taken
    }

    fn quota_reached(&self, id: ClientId, now: Instant) -> Option<Refusal> {
        let Quotas { pool, address } = self.shared.quotas;
        let own = self.clients[id].address.as_ref();
        match own.and_then(|usage| usage.reached(address, now)) {
            Some(Reached::PerSecond) => return Some(Refusal::AddressRate),
            Some(Reached::InFlight) => return Some(Refusal::AddressRequests),
            None => {}
        }
        match self.shared.usage.reached(pool, now)? {
            Reached::PerSecond => Some(Refusal::PoolRate),
            Reached::InFlight => Some(Refusal::PoolRequests),
        }
    }
}

fn counter(stats: &PoolStats, refusal: Refusal) -> &Counter {
    match refusal {
        Refusal::AddressRate => &stats.limit_address_rate,
        Refusal::AddressRequests => &stats.limit_address_requests,
        Refusal::PoolRate => &stats.limit_pool_rate,
        _ => &stats.limit_pool_requests,
    }
}

/// A request that a server is asked.
enum Asks {
    /// It may be refused with this in the place of its reply.
    AndMayBeRefused(Expect),
    /// Without it, the client's connection would stay in a state that the client has left.
    InAnyCase,
}

impl Asks {
    fn of(request: &Request<'_>) -> Option<Self> {
        let expect = match request {
            Request::One(one) | Request::Setting(one) => one.expect,
            Request::Group(group) => group.one.expect,
            Request::Many(many) => many.expect,
            Request::All(all) => all.expect,
            Request::Cursor(cursor) => cursor.expect,
            // What it is, is known when the replies to the requests before it are here.
            Request::Dedicated(request) if request.replies == 0 => return None,
            Request::Dedicated(request) => match request.step {
                Step::Watch | Step::Queue | Step::Block => request.one.expect,
                Step::Unwatch | Step::End | Step::Abort | Step::Subscribe | Step::Reset => {
                    return Some(Self::InAnyCase);
                }
            },
            _ => return None,
        };
        Some(Self::AndMayBeRefused(expect))
    }
}

impl Clients {
    /// A client goes, and so many of its requests are not answered.
    pub(super) fn note_gone(&mut self, shared: &Shared, client: &mut Client, requests: u32) {
        (client.requests, client.silent) = (if shared.has_quotas { requests } else { 0 }, 0);
        client.publish_in_flight(&shared.usage);
        if client.in_flight_told > 0 {
            let owed = Owed { requests: client.in_flight_told, address: client.address.take() };
            self.gone.clients.insert(client.id, owed);
        }
    }

    /// A request of a client that has gone is answered.
    #[inline]
    pub(super) fn end_gone(&mut self, shared: &Shared, id: ClientId) {
        if !self.gone.clients.is_empty() {
            self.note_answered(shared, id);
        }
    }

    #[cold]
    fn note_answered(&mut self, shared: &Shared, id: ClientId) {
        let Some(owed) = self.gone.clients.get_mut(&id) else { return };
        shared.usage.note(1, 0);
        if let Some(address) = &owed.address {
            address.note(1, 0);
        }
        owed.requests -= 1;
        if owed.requests == 0 {
            self.gone.clients.remove(&id);
        }
    }
}

impl Client {
    /// Lets the other workers know how many requests of the client are in flight.
    pub(super) fn publish_in_flight(&mut self, pool: &Usage) {
        let now = self.requests + self.silent;
        if now != self.in_flight_told {
            pool.note(self.in_flight_told, now);
            if let Some(usage) = &self.address {
                usage.note(self.in_flight_told, now);
            }
            self.in_flight_told = now;
        }
    }
}
