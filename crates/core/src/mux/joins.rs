//! The requests with several keys that wait for answers.

use super::join::{Join, JoinId};
use crate::message::Merge;
use crate::protocol::Protocol;
use alloc::vec::Vec;

/// All joins, and finished ones kept for the next, so that steady traffic allocates nothing.
#[derive(Debug, Default)]
pub(super) struct Joins {
    slab: slab::Slab<Join>,
    spare: Vec<Join>,
}

const SPARE_MAX: usize = 64;

impl Joins {
    /// A join in the making.
    pub(super) fn begin(&mut self, merge: Merge, protocol: Protocol) -> Join {
        match self.spare.pop() {
            Some(mut join) => {
                (join.merge, join.protocol) = (merge, protocol);
                join
            }
            None => Join::new(merge, protocol),
        }
    }

    /// The id that the next join gets.
    pub(super) fn next_id(&self) -> JoinId {
        JoinId(u32::try_from(self.slab.vacant_key()).expect("the limits keep them below 2^32"))
    }

    /// Keeps it until its answers are in, under [`Joins::next_id`].
    pub(super) fn insert(&mut self, join: Join) {
        self.slab.insert(join);
    }

    pub(super) fn join(&mut self, id: JoinId) -> &mut Join {
        &mut self.slab[id.0 as usize]
    }

    /// Takes one out that is answered.
    pub(super) fn remove(&mut self, id: JoinId) -> Join {
        self.slab.remove(id.0 as usize)
    }

    /// Gives one back for the next request.
    pub(super) fn reuse(&mut self, mut join: Join) {
        if self.spare.len() < SPARE_MAX && join.is_small() {
            join.clear();
            self.spare.push(join);
        }
    }
}
