//! Rendezvous, or highest random weight: every live server has a score for the key, and the best
//! score gets the key.
//!
//! A score depends only on the key, the server's name and its weight. So if a server is removed,
//! only its own keys move, each to the server with the next score; an added server only takes keys.
//! There is no table and no order of servers; the cost is one score per server for every key, which
//! does not matter for small pools.
//!
//! The score is exact and the same on every machine. With h = mix(xxh3_64(name) ⊕ hash of the key)
//! and u = (⌊h / 2¹²⌋ + ½) / 2⁵², which is even in (0, 1), the server with the least
//! `-ln(u) / weight` wins, the first in pool order among equals. The logarithm is computed below
//! from IEEE 754 additions, multiplications and divisions in a fixed order.

use alloc::vec::Vec;
use core::f64::consts::{LN_2, SQRT_2};

use xxhash_rust::xxh3::xxh3_64;

use super::Member;
use super::random::mix;

#[derive(Debug, Clone)]
pub(super) struct Rendezvous {
    bidders: Vec<Bidder>,
}

#[derive(Debug, Clone, Copy)]
struct Bidder {
    seed: u64,
    weight: f64,
    member: u32,
}

impl Rendezvous {
    /// Selects among the `members` that are `live`; there must be at least one.
    pub(super) fn new(members: &[Member], live: &[bool]) -> Self {
        let bidders = (0..).zip(members).zip(live).filter(|(_, live)| **live);
        let bidders = bidders.map(|((member, Member { name, weight }), _)| Bidder {
            seed: xxh3_64(name),
            weight: f64::from(*weight),
            member,
        });
        Self { bidders: bidders.collect() }
    }

    /// The member that has `hash`.
    pub(super) fn member_of(&self, hash: u32) -> usize {
        let mut best = (f64::INFINITY, 0);
        for &Bidder { seed, weight, member } in &self.bidders {
            let u = unit(mix(seed ^ u64::from(hash)));
            // Because -ln(u) > 1 - u, most servers lose before the logarithm is computed.
            if 1.0 - u < best.0 * weight {
                let cost = -ln(u) / weight;
                if cost < best.0 {
                    best = (cost, member);
                }
            }
        }
        best.1 as usize
    }
}

/// A number in (0, 1) from the upper 52 bits of `x`, without rounding.
fn unit(x: u64) -> f64 {
    ((x >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
}

/// The natural logarithm of a normal number above 0, to within a few units of the last place.
///
/// The logarithm of the standard library is that of the platform, and platforms differ in the last
/// place; `core` has none. With `x = m · 2ᵉ` and m in (√½, √2], ln x = e · ln 2 + 2 artanh((m - 1)
/// / (m + 1)).
fn ln(x: f64) -> f64 {
    let exponent_bits = i32::try_from(x.to_bits() >> 52).expect("12 bits, the sign is 0");
    let mantissa = f64::from_bits(x.to_bits() & ((1 << 52) - 1) | 1.0_f64.to_bits());
    let (m, exponent) = if mantissa > SQRT_2 {
        (mantissa / 2.0, exponent_bits - 1022)
    } else {
        (mantissa, exponent_bits - 1023)
    };
    let s = (m - 1.0) / (m + 1.0);
    let square = s * s;
    // artanh(s) / s = 1 + s²/3 + s⁴/5 + …; |s| < 0.172, so the tenth term is below 2⁻⁵⁰ of it.
    let series = (0..11).rev().fold(0.0, |sum, k| sum * square + 1.0 / f64::from(2 * k + 1));
    f64::from(exponent) * LN_2 + 2.0 * s * series
}

#[cfg(test)]
mod tests {
    use core::f64::consts::LN_10;

    use super::*;

    #[test]
    fn the_logarithm_is_the_natural_one() {
        let near = |x: f64, expected: f64| {
            let error = (ln(x) - expected).abs();
            assert!(error <= expected.abs() * 1e-15, "ln {x} is {}", ln(x));
        };
        near(1.0, 0.0);
        near(0.5, -LN_2);
        near(0.1, -LN_10);
        near(1.0 / 1024.0, -10.0 * LN_2);
        near(1.0 - f64::EPSILON, -f64::EPSILON);
        near(0.75, -0.287_682_072_451_780_9);
        near(0.7, -0.356_674_943_938_732_4);
    }

    #[test]
    fn the_unit_never_reaches_its_ends() {
        assert!(unit(0) > 0.0);
        assert!(unit(u64::MAX) < 1.0);
        assert_eq!(unit(1 << 63), 0.5 + f64::EPSILON / 2.0);
    }
}
