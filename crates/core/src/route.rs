//! Which servers a request goes to.
//!
//! A key's route is a [`Plan`]. The one rule: a plan names servers by their ids, which stay the
//! same when the ring changes.

use crate::error::ServerError;
use crate::mux::ServerId;
use crate::ring::Ring;
use alloc::vec::Vec;

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// To one server.
    To(ServerId),
    /// To no server: the client gets this error.
    Refuse(ServerError),
}

/// The ring, and the servers that are its members.
#[derive(Clone, Debug)]
pub(crate) struct Routes {
    ring: Ring,
    /// The server of each member, in the ring's order.
    members: Vec<ServerId>,
    has_live: bool,
}

impl Routes {
    pub(crate) fn new(ring: Ring, members: Vec<ServerId>) -> Self {
        let has_live = !members.is_empty();
        Self { ring, members, has_live }
    }

    pub(crate) fn ring(&self) -> &Ring {
        &self.ring
    }

    /// The servers of the ring, live or not, in the ring's order.
    pub(crate) fn members(&self) -> &[ServerId] {
        &self.members
    }

    /// Where a request for `key` goes.
    #[inline(always)]
    pub(crate) fn plan(&mut self, key: &[u8]) -> Plan {
        if self.has_live {
            Plan::To(self.members[self.ring.route(key)])
        } else {
            Plan::Refuse(ServerError::NoServers)
        }
    }

    /// Where a request with several keys goes; none if the keys have different servers.
    pub(crate) fn plan_all<'k>(
        &mut self,
        first: &[u8],
        mut others: impl Iterator<Item = &'k [u8]>,
    ) -> Option<Plan> {
        let plan = self.plan(first);
        others.all(|key| self.plan(key) == plan).then_some(plan)
    }

    /// Removes the servers that are not live from the ring, and adds the others again.
    pub(crate) fn set_live(&mut self, is_live: impl Fn(ServerId) -> bool) {
        let live: Vec<bool> = self.members.iter().map(|&server| is_live(server)).collect();
        self.has_live = live.contains(&true);
        self.ring.set_live(&live);
    }
}
