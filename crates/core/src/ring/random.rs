//! Random: a random live server, by weight, for every request.
//!
//! For pools whose servers all hold the same items. twemproxy ignores the weights; Nuthatch applies
//! them.

use super::Member;
use super::slots::Slots;

#[derive(Debug, Clone)]
pub(super) struct Random {
    slots: Slots,
    state: u64,
}

impl Random {
    /// Draws from the `members` that are `live`; `seed` determines the sequence.
    pub(super) fn new(members: &[Member], live: &[bool], seed: u64) -> Self {
        Self { slots: Slots::new(members, live), state: seed }
    }

    pub(super) fn rebuild(&mut self, members: &[Member], live: &[bool]) {
        self.slots = Slots::new(members, live);
    }

    pub(super) fn draw(&mut self) -> usize {
        self.state = self.state.wrapping_add(GAMMA);
        let product = u128::from(mix(self.state)) * u128::from(self.slots.count());
        self.slots.member_at((product >> 64) as u64)
    }
}

/// The finalizer of `SplitMix64`: every bit of `x` reaches every bit of the result.
pub(super) const fn mix(mut x: u64) -> u64 {
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

/// The increment of `SplitMix64` for every draw.
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    #[test]
    fn splitmix64_meets_its_published_vectors() {
        assert_eq!(mix(GAMMA), 0xe220_a839_7b1d_cdaf);
        assert_eq!(mix(GAMMA.wrapping_mul(2)), 0x6e78_9e6a_a1b9_65f4);
    }

    #[test]
    fn draws_follow_the_weights_and_leave_out_the_ejected() {
        let member = |weight| Member { name: (*b"name").into(), weight };
        let members = vec![member(1), member(3), member(9)];
        let mut random = Random::new(&members, &[true, true, false], 7);
        let mut drawn = [0; 3];
        for _ in 0..10_000 {
            drawn[random.draw()] += 1;
        }
        assert!((2300..2700).contains(&drawn[0]), "{drawn:?}");
        assert_eq!(drawn[2], 0);
    }
}
