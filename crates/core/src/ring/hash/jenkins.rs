//! Two hashes of Bob Jenkins: one-at-a-time, and lookup3 in its little-endian form.

use super::{length, signed_char, word};

/// twemproxy `hash_one_at_a_time`, over signed bytes.
pub(super) fn one_at_a_time(key: &[u8]) -> u32 {
    let mut hash = 0_u32;
    for &byte in key {
        hash = hash.wrapping_add(signed_char(byte));
        hash = hash.wrapping_add(hash << 10);
        hash ^= hash >> 6;
    }
    hash = hash.wrapping_add(hash << 3);
    hash ^= hash >> 11;
    hash.wrapping_add(hash << 15)
}

/// twemproxy `hash_jenkins`: lookup3's `hashlittle` with 13 as the initial value.
pub(super) fn lookup3(key: &[u8]) -> u32 {
    let start = length(key).wrapping_add(0xdead_beef + 13);
    let mut state = [start; 3];
    // The last block is mixed in another way, even when it is a full one.
    let (blocks, last) = key.split_at(key.len().saturating_sub(1) / 12 * 12);
    if last.is_empty() {
        return start;
    }
    for block in blocks.as_chunks::<12>().0 {
        state = mix(add(state, block));
    }
    let mut padded = [0; 12];
    padded[..last.len()].copy_from_slice(last);
    last_mix(add(state, &padded))
}

fn add([a, b, c]: [u32; 3], block: &[u8; 12]) -> [u32; 3] {
    [
        a.wrapping_add(word(&block[..4])),
        b.wrapping_add(word(&block[4..8])),
        c.wrapping_add(word(&block[8..])),
    ]
}

fn mix([mut a, mut b, mut c]: [u32; 3]) -> [u32; 3] {
    for rotation in [4, 6, 8, 16, 19, 4] {
        a = a.wrapping_sub(c) ^ c.rotate_left(rotation);
        c = c.wrapping_add(b);
        [a, b, c] = [b, c, a];
    }
    [a, b, c]
}

fn last_mix([mut a, mut b, mut c]: [u32; 3]) -> u32 {
    for rotation in [14, 11, 25, 16, 4, 14, 24] {
        c = (c ^ b).wrapping_sub(b.rotate_left(rotation));
        [a, b, c] = [b, c, a];
    }
    b
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lookup3_mixes_a_last_full_block_as_the_last() {
        assert_eq!(lookup3(b""), 0xdead_befc);
        assert_eq!(lookup3(b"a"), 0xe0a3_8690);
        assert_eq!(lookup3(b"abcdefghijklm"), 0xb621_e85f);
    }

    #[test]
    fn one_at_a_time_signs_its_bytes() {
        assert_eq!(one_at_a_time(b"a"), 0xca2e_9442);
        assert_eq!(one_at_a_time(b"ab\x80"), 0xc8dd_56b0);
    }
}
