//! Jump: the consistent hash of Lamping and Veach, over slots by weight.
//!
//! Jump needs no table, distributes keys evenly, and moves the fewest keys when servers are added
//! or removed **at the end** of the pool order. Only there: removing a server in the middle shifts
//! all servers after it. So an ejected server keeps its slots, and rendezvous distributes the keys
//! of these slots over the live servers. No other key moves, and all keys return with the server.

use alloc::vec;
use alloc::vec::Vec;

use super::Member;
use super::rendezvous::Rendezvous;
use super::slots::Slots;

#[derive(Debug, Clone)]
pub(super) struct Jump {
    /// The slots of all members, live or not.
    slots: Slots,
    live: Vec<bool>,
    /// Selects the members for the keys of ejected members.
    refuge: Rendezvous,
}

impl Jump {
    pub(super) fn new(members: &[Member], live: &[bool]) -> Self {
        Self {
            slots: Slots::new(members, &vec![true; members.len()]),
            live: live.to_vec(),
            refuge: Rendezvous::new(members, live),
        }
    }

    pub(super) fn member_of(&self, hash: u32) -> usize {
        let member = self.slots.member_at(jump(u64::from(hash), self.slots.count()));
        if self.live[member] { member } else { self.refuge.member_of(hash) }
    }
}

/// The bucket of `key` among `count`: "A Fast, Minimal Memory, Consistent Hash Algorithm", figure
/// 1. Going from `count` to `count + 1` moves only the keys that go to the new bucket.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "as in the paper")]
fn jump(mut key: u64, count: u64) -> u64 {
    let (mut bucket, mut next) = (0, 0);
    while next < count {
        bucket = next;
        key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        let draw = (1_u64 << 31) as f64 / ((key >> 33) + 1) as f64;
        next = ((bucket + 1) as f64 * draw) as u64;
    }
    bucket
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_jumps_are_those_of_other_implementations() {
        let buckets: [u64; 20] =
            [0, 55, 62, 8, 45, 59, 86, 97, 82, 59, 73, 37, 17, 56, 86, 21, 90, 37, 38, 83];
        for (key, bucket) in (0..).zip(buckets) {
            assert_eq!(jump(key, 100), bucket);
        }
        assert_eq!(jump(10_863_919_174_838_991, 11), 6);
        assert_eq!(jump(2_016_238_256_797_177_309, 11), 3);
        assert_eq!(jump(1_673_758_223_894_951_030, 11), 5);
        assert_eq!(jump(2, 100_001), 80_343);
        assert_eq!(jump(2_201, 100_001), 22_152);
        assert_eq!(jump(2_202, 100_001), 15_018);
    }

    #[test]
    fn a_key_only_ever_jumps_to_the_newest_bucket() {
        let buckets = [0, 1, 2, 3, 3, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 16, 16, 16];
        for (count, bucket) in (1..).zip(buckets) {
            assert_eq!(jump(0xdead_beef, count), bucket);
        }
    }

    #[test]
    fn more_slots_than_32_bits_count_are_all_in_reach() {
        let slots = u64::from(u32::MAX) * 4096;
        let far = (0..1000).filter(|&key| jump(key, slots) >= slots / 2).count();
        assert!((400..600).contains(&far), "{far} of 1000 in the upper half");
    }
}
