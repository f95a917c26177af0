//! Which servers a request goes to.
//!
//! A key's route is a [`Plan`]. The one rule: a plan names servers by their ids, which stay the
//! same when the ring changes.

use crate::error::ServerError;
use crate::health::{Share, tenth_of};
use crate::mux::ServerId;
use crate::ring::Ring;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// To one server.
    To(ServerId),
    /// This server has the key and is not used for it now.
    Around(ServerId),
    /// To no server: the client gets this error.
    Refuse(ServerError),
}

impl Plan {
    /// The server that has the key, used for it or not.
    pub(crate) fn server(self) -> Option<ServerId> {
        match self {
            Self::To(server) | Self::Around(server) => Some(server),
            Self::Refuse(_) => None,
        }
    }
}

/// The ring, and the servers that are its members.
#[derive(Clone, Debug)]
pub(crate) struct Routes {
    ring: Ring,
    /// The server of each member, in the ring's order.
    members: Vec<ServerId>,
    /// Whether there are members, and each of them is used.
    is_whole: bool,
    /// Of which of its keys each member is used.
    shares: Vec<Share>,
    /// The ring without the members that are away, if some are and others have their keys.
    around: Option<Box<Ring>>,
    /// Whether that ring counts for all keys, as twemproxy has it, or only for those of members that are away.
    around_for_all: bool,
    /// Counts the changes of the ring.
    changes: u64,
}

/// How much of the ring changes for members that are away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rehash {
    /// Nothing: they keep their keys.
    Nothing,
    /// Only their keys have other servers.
    TheirKeys,
    /// The ring is that of the others, so that other keys may move, too (twemproxy).
    AllKeys,
}

impl Routes {
    pub(crate) fn new(ring: Ring, members: Vec<ServerId>) -> Self {
        let (is_whole, shares) =
            (!members.is_empty(), members.iter().map(|_| Share::ALL).collect());
        Self { ring, members, is_whole, shares, around: None, around_for_all: false, changes: 0 }
    }

    /// The ring as it is now, without members that are away.
    pub(crate) fn ring(&self) -> &Ring {
        self.around.as_deref().unwrap_or(&self.ring)
    }

    /// The servers of the ring, live or not, in the ring's order.
    pub(crate) fn members(&self) -> &[ServerId] {
        &self.members
    }

    /// How often the ring has changed.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// Goes on with the count of changes of the routes before.
    pub(crate) fn follow(&mut self, before: &Self) {
        self.changes = before.changes + 1;
    }

    /// Whether every member is used.
    pub(crate) fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Where a request for `key` goes.
    #[inline(always)]
    pub(crate) fn plan(&mut self, key: &[u8]) -> Plan {
        if self.is_whole {
            Plan::To(self.members[self.ring.route(key)])
        } else {
            self.plan_in_part(key)
        }
    }

    #[cold]
    fn plan_in_part(&mut self, key: &[u8]) -> Plan {
        if self.members.is_empty() || self.around_for_all && self.around.is_none() {
            return Plan::Refuse(ServerError::NoServers);
        }
        let ring = self.around.as_deref_mut().filter(|_| self.around_for_all);
        let member = ring.unwrap_or(&mut self.ring).route(key);
        let server = self.members[member];
        let share = self.shares[member];
        let is_used = match share {
            Share::ALL => true,
            Share::NONE => false,
            _ => share.has(self.ring.key_hash(key)),
        };
        if is_used { Plan::To(server) } else { Plan::Around(server) }
    }

    /// The tenth of its server's keys to which a key belongs, with the key.
    pub(crate) fn place_of<'k>(&self, key: &'k [u8]) -> (usize, &'k [u8]) {
        (tenth_of(self.ring.key_hash(key)), key)
    }

    /// The server that stands in for a key whose own server is away; none if all are away.
    pub(crate) fn plan_around(&mut self, key: &[u8]) -> Option<ServerId> {
        let member = self.around.as_deref_mut()?.route(key);
        Some(self.members[member])
    }

    /// Where a request with several keys goes; none if the keys have different servers. It goes nowhere while their
    /// server has got only some of them back.
    pub(crate) fn plan_all<'k>(
        &mut self,
        first: &[u8],
        others: impl Iterator<Item = &'k [u8]>,
    ) -> Option<Plan> {
        let (plan, mut is_in_part) = (self.plan(first), false);
        for key in others {
            let next = self.plan(key);
            if next.server() != plan.server() {
                return None;
            }
            is_in_part |= next != plan;
        }
        Some(if is_in_part { Plan::Refuse(ServerError::Returning) } else { plan })
    }

    /// Says of which keys servers are used, and which are away.
    pub(crate) fn set_standings(
        &mut self,
        share: impl Fn(ServerId) -> Share,
        is_away: impl Fn(ServerId) -> bool,
        rehash: Rehash,
    ) {
        self.shares = self.members.iter().map(|&server| share(server)).collect();
        self.is_whole =
            !self.members.is_empty() && self.shares.iter().all(|share| *share == Share::ALL);
        let there: Vec<bool> = self.members.iter().map(|&server| !is_away(server)).collect();
        let all_there = !there.contains(&false);
        self.around_for_all = rehash == Rehash::AllKeys && !all_there;
        let before = self.ring().live().to_vec();
        self.around = None;
        if !all_there && there.contains(&true) && rehash != Rehash::Nothing {
            let mut around = self.ring.clone();
            around.set_live(&there);
            self.around = Some(Box::new(around));
        }
        self.changes += u64::from(self.ring().live() != before);
    }
}
