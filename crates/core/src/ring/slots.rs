//! Slots: each live server has a row of slots, as many as its weight.
//!
//! twemproxy stores a list of slots (`modula_update`), which is long for large weights. Here only
//! the ends of the rows are stored: the same slots in the same order, found by a search.

use alloc::vec::Vec;

use super::Member;

/// The rows of slots, in pool order.
#[derive(Debug, Clone)]
pub(super) struct Slots {
    rows: Vec<Row>,
}

#[derive(Debug, Clone, Copy)]
struct Row {
    /// The first slot after this row.
    end: u64,
    member: u32,
}

impl Slots {
    /// The slots of the `members` that are `live`.
    pub(super) fn new(members: &[Member], live: &[bool]) -> Self {
        let mut end = 0;
        let weights = (0..).zip(members).zip(live).filter(|(_, live)| **live);
        let rows = weights.map(|((member, Member { weight, .. }), _)| {
            end += u64::from(*weight);
            Row { end, member }
        });
        Self { rows: rows.collect() }
    }

    pub(super) fn count(&self) -> u64 {
        self.rows.last().map_or(0, |row| row.end)
    }

    /// The member of this slot; `slot` is below the count.
    pub(super) fn member_at(&self, slot: u64) -> usize {
        let row = self.rows.partition_point(|row| row.end <= slot);
        self.rows[row].member as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(weights: &[u32]) -> Vec<Member> {
        let member = |&weight| Member { name: (*b"name").into(), weight };
        weights.iter().map(member).collect()
    }

    #[test]
    fn each_live_member_has_as_many_slots_as_weight() {
        let slots = Slots::new(&members(&[2, 5, 1, 3]), &[true, false, true, true]);
        assert_eq!(slots.count(), 6);
        assert_eq!([0, 1, 2, 3, 4, 5].map(|slot| slots.member_at(slot)), [0, 0, 2, 3, 3, 3]);
    }

    #[test]
    fn the_greatest_weights_add_up() {
        let slots = Slots::new(&members(&[u32::MAX; 3]), &[true; 3]);
        assert_eq!(slots.count(), 3 * 0xffff_ffff);
        assert_eq!(slots.member_at(0xffff_fffe), 0);
        assert_eq!(slots.member_at(0xffff_ffff), 1);
    }
}
