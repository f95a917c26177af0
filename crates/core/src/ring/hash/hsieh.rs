//! Paul Hsieh's SuperFastHash, with the one signed byte that twemproxy's has.

use super::signed_char;

/// twemproxy `hash_hsieh`. Of a tail of three bytes the third is signed, of one byte none.
pub(super) fn super_fast_hash(key: &[u8]) -> u32 {
    let (blocks, tail) = key.as_chunks::<4>();
    let mut hash = 0_u32;
    for &[a, b, c, d] in blocks {
        hash = hash.wrapping_add(pair(a, b));
        hash = hash << 16 ^ pair(c, d) << 11 ^ hash;
        hash = hash.wrapping_add(hash >> 11);
    }
    avalanche(mix_tail(hash, tail))
}

fn mix_tail(mut hash: u32, tail: &[u8]) -> u32 {
    match *tail {
        [a] => {
            hash = hash.wrapping_add(u32::from(a));
            hash ^= hash << 10;
            hash.wrapping_add(hash >> 1)
        }
        [a, b] => {
            hash = hash.wrapping_add(pair(a, b));
            hash ^= hash << 11;
            hash.wrapping_add(hash >> 17)
        }
        [a, b, c] => {
            hash = hash.wrapping_add(pair(a, b));
            hash ^= hash << 16;
            hash ^= signed_char(c) << 18;
            hash.wrapping_add(hash >> 11)
        }
        _ => hash,
    }
}

fn avalanche(mut hash: u32) -> u32 {
    hash ^= hash << 3;
    hash = hash.wrapping_add(hash >> 5);
    hash ^= hash << 4;
    hash = hash.wrapping_add(hash >> 17);
    hash ^= hash << 25;
    hash.wrapping_add(hash >> 6)
}

fn pair(low: u8, high: u8) -> u32 {
    u32::from(u16::from_le_bytes([low, high]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_of_tail_has_its_own_mix() {
        assert_eq!(super_fast_hash(b""), 0);
        assert_eq!(super_fast_hash(b"a"), 0x9364_2e87);
        assert_eq!(super_fast_hash(b"\xc3\xa9"), 0xbeea_177b);
        assert_eq!(super_fast_hash(b"ab\x80"), 0x584d_72a3);
        assert_eq!(super_fast_hash(b"key:1000"), 0x7d8a_da98);
    }
}
