//! Two generations of Austin Appleby's Murmur.

use super::{length, word};

/// twemproxy `hash_murmur`: `MurmurHash2`, whose seed is the length times `0xdeadbeef`.
pub(super) fn murmur2(key: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let seed = length(key).wrapping_mul(0xdead_beef);
    let mut hash = seed ^ length(key);
    let (blocks, tail) = key.as_chunks::<4>();
    for &block in blocks {
        let mut k = u32::from_le_bytes(block).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !tail.is_empty() {
        hash = (hash ^ word(tail)).wrapping_mul(M);
    }
    hash = (hash ^ hash >> 13).wrapping_mul(M);
    hash ^ hash >> 15
}

/// `MurmurHash3_x86_32` with seed 0.
pub(super) fn murmur3_32(key: &[u8]) -> u32 {
    let (blocks, tail) = key.as_chunks::<4>();
    let mut hash = 0_u32;
    for &block in blocks {
        hash = (hash ^ scramble(u32::from_le_bytes(block))).rotate_left(13);
        hash = hash.wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
    hash ^= scramble(word(tail));
    hash ^= length(key);
    hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
    hash ^ hash >> 16
}

fn scramble(k: u32) -> u32 {
    k.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn murmur3_meets_its_published_vectors() {
        assert_eq!(murmur3_32(b""), 0);
        assert_eq!(murmur3_32(b"test"), 0xba6b_d213);
        assert_eq!(murmur3_32(b"Hello, world!"), 0xc036_3e43);
        assert_eq!(murmur3_32(b"The quick brown fox jumps over the lazy dog"), 0x2e4f_f723);
    }
}
