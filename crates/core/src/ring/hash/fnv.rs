//! The hashes of Fowler, Noll and Vo, as published and as in twemproxy.
//!
//! twemproxy reads bytes as signed `char`, so a byte of `0x80` or more also flips the upper bits.
//! It uses only the low half of the 64-bit variants, and the low half of a product needs only the
//! low halves of its factors: so they are computed in 32 bits here, with the low halves of the
//! 64-bit start value and the 64-bit prime.

use super::signed_char;

const START_32: u32 = 0x811c_9dc5;
const PRIME_32: u32 = 0x0100_0193;
const START_64: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME_64: u64 = 0x0000_0100_0000_01b3;
const START_LOW_64: u32 = 0x8422_2325;
const PRIME_LOW_64: u32 = 0x0000_01b3;

/// twemproxy `hash_fnv1_32`: multiply, then xor.
pub(super) fn fnv1_32(key: &[u8]) -> u32 {
    multiply_then_xor(key, START_32, PRIME_32)
}

/// twemproxy `hash_fnv1a_32`: xor, then multiply.
pub(super) fn fnv1a_32(key: &[u8]) -> u32 {
    xor_then_multiply(key, START_32, PRIME_32)
}

/// twemproxy `hash_fnv1_64`.
pub(super) fn fnv1_low_64(key: &[u8]) -> u32 {
    multiply_then_xor(key, START_LOW_64, PRIME_LOW_64)
}

/// twemproxy `hash_fnv1a_64`, its default. The prime moves a byte only about eight bits up, so keys
/// that differ only in the last byte are close together on the ring.
pub(super) fn fnv1a_low_64(key: &[u8]) -> u32 {
    xor_then_multiply(key, START_LOW_64, PRIME_LOW_64)
}

/// FNV-1a 64 as published, over unsigned bytes.
pub(super) fn fnv1a_64(key: &[u8]) -> u64 {
    key.iter().fold(START_64, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME_64))
}

fn multiply_then_xor(key: &[u8], start: u32, prime: u32) -> u32 {
    key.iter().fold(start, |hash, &byte| hash.wrapping_mul(prime) ^ signed_char(byte))
}

/// Four bytes per iteration: the multiplications depend on each other, but the cost of the loop is
/// paid only once for four bytes.
fn xor_then_multiply(key: &[u8], start: u32, prime: u32) -> u32 {
    let step = |hash: u32, byte: u8| (hash ^ signed_char(byte)).wrapping_mul(prime);
    let (rounds, rest) = key.as_chunks::<4>();
    let hash = rounds.iter().fold(start, |hash, round| round.iter().copied().fold(hash, step));
    rest.iter().copied().fold(hash, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_vectors_are_met() {
        assert_eq!(fnv1_32(b""), 0x811c_9dc5);
        assert_eq!(fnv1_32(b"foobar"), 0x31f0_b262);
        assert_eq!(fnv1a_32(b"foobar"), 0xbf9c_f968);
        assert_eq!(fnv1a_64(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a_64(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a_64(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn a_byte_above_0x7f_is_signed_only_where_twemproxy_signs_it() {
        assert_eq!(fnv1a_64(b"\xff"), 0xaf64_724c_8602_eb6e);
        assert_ne!(u64::from(fnv1a_low_64(b"\xff")), 0x8602_eb6e);
    }
}
