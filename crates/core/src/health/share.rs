//! Which keys a server gets back first.
//!
//! The one rule: every worker puts a key into the same tenth, by the part of it that has its place on the ring,
//! so that keys with the same hash tag stay together.

/// How many tenths of a server's keys are used there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share(u8);

impl Default for Share {
    fn default() -> Self {
        Self::ALL
    }
}

impl Share {
    /// None of its keys.
    pub const NONE: Self = Self(0);
    /// All of them.
    pub const ALL: Self = Self(10);
    /// How often a tenth is added until a server has all of its keys.
    pub(crate) const STEPS: u32 = 10;

    /// A tenth more, up to all.
    #[must_use]
    pub fn more(self) -> Self {
        Self((self.0 + 1).min(Self::ALL.0))
    }

    /// In percent.
    #[must_use]
    pub fn percent(self) -> u8 {
        self.0 * 10
    }

    /// How many tenths they are.
    pub(crate) fn tenths(self) -> usize {
        usize::from(self.0)
    }

    /// Whether a key with this hash is one of them.
    pub(crate) fn has(self, hash: u32) -> bool {
        tenth_of(hash) < self.tenths()
    }
}

/// The tenth of a server's keys to which one with this hash belongs, from 0.
pub(crate) fn tenth_of(hash: u32) -> usize {
    ((u64::from(mix(hash)) * u64::from(Share::ALL.0)) >> 32) as usize
}

/// Spreads hashes that are alike, as those of the keys of one server are. The constants are those of the last
/// step of MurmurHash3 (public domain).
fn mix(hash: u32) -> u32 {
    let hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
    let hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
    hash ^ hash >> 16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tenth_is_added_to_those_before() {
        for hashes in [0..10_000_u32, u32::MAX - 10_000..u32::MAX] {
            let mut share = Share::NONE;
            assert!(!hashes.clone().any(|hash| share.has(hash)));
            for tenths in 1..=10 {
                let before = share;
                share = share.more();
                assert_eq!(share.percent(), tenths * 10);
                assert!(hashes.clone().all(|hash| share.has(hash) || !before.has(hash)));
                let count = hashes.clone().filter(|hash| share.has(*hash)).count();
                let expected = 1000 * usize::from(tenths);
                assert!(count.abs_diff(expected) < 200, "{count} of {tenths} tenths");
            }
            assert_eq!((share, share.more()), (Share::ALL, Share::ALL));
            assert!(hashes.clone().all(|hash| share.has(hash)));
        }
    }

    #[test]
    fn the_keys_of_one_of_several_servers_are_spread_over_the_tenths() {
        for servers in [2, 3, 10, 16] {
            let of_one = (0..100_000_u32).filter(|hash| hash % servers == 1);
            let (all, some) = of_one.fold((0_u32, 0), |(all, some), hash| {
                (all + 1, some + u32::from(Share(5).has(hash)))
            });
            assert!(some.abs_diff(all / 2) < all / 20, "{some} of {all}");
        }
    }
}
