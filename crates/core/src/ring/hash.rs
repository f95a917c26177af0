//! The key hashes: bytes in, 32 bits out, the same on every machine.
//!
//! The first twelve are those of twemproxy (its `hashkit`), bit for bit as its x86-64 builds
//! compute them, with all deviations from the standard algorithms: some read bytes as signed
//! `char`, `crc16` is not cut to 16 bits, `crc32` keeps 15 bits, and `fnv1a_64` has 32 bits. All of
//! this must stay the same, or a change of the proxy would move keys.
//!
//! The last three are not in twemproxy and are for new pools: well mixed, fast, and standard. Each
//! family has its own file; this file lists them and selects one.

mod crc;
mod fnv;
mod hsieh;
mod jenkins;
mod murmur;

use md5::{Digest, Md5};
use xxhash_rust::xxh3::xxh3_64;

/// The hash function of the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(non_camel_case_types, reason = "the field writes the variants of FNV so")]
pub enum Hash {
    /// Bob Jenkins' one-at-a-time, over signed bytes.
    OneAtATime,
    /// The first four bytes of the MD5 digest, little-endian.
    Md5,
    /// CRC-16/XMODEM in a register of 32 bits that is never masked.
    Crc16,
    /// Bits 16 to 30 of CRC-32, as libmemcached takes them: 15 bits, too few for `ketama`.
    Crc32,
    /// Standard CRC-32.
    Crc32a,
    /// The low half of FNV-1 64, over signed bytes.
    Fnv1_64,
    /// The low half of FNV-1a 64, over signed bytes. twemproxy's default.
    Fnv1a_64,
    /// FNV-1 32, over signed bytes.
    Fnv1_32,
    /// FNV-1a 32, over signed bytes.
    Fnv1a_32,
    /// Paul Hsieh's SuperFastHash.
    Hsieh,
    /// `MurmurHash2`, seeded by the length of the key.
    Murmur,
    /// Bob Jenkins' lookup3.
    Jenkins,
    /// `MurmurHash3` x86 32, seed 0. Not in twemproxy.
    Murmur3_32,
    /// FNV-1a 64, its halves xored together. Not in twemproxy.
    Fnv1a,
    /// XXH3 64, seed 0, its halves xored together. Not in twemproxy.
    Xxh3_64,
}

impl Hash {
    /// Every hash, in the order of the documentation.
    pub const ALL: &[Self] = &[
        Self::OneAtATime,
        Self::Md5,
        Self::Crc16,
        Self::Crc32,
        Self::Crc32a,
        Self::Fnv1_64,
        Self::Fnv1a_64,
        Self::Fnv1_32,
        Self::Fnv1a_32,
        Self::Hsieh,
        Self::Murmur,
        Self::Jenkins,
        Self::Murmur3_32,
        Self::Fnv1a,
        Self::Xxh3_64,
    ];

    /// Its name in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OneAtATime => "one_at_a_time",
            Self::Md5 => "md5",
            Self::Crc16 => "crc16",
            Self::Crc32 => "crc32",
            Self::Crc32a => "crc32a",
            Self::Fnv1_64 => "fnv1_64",
            Self::Fnv1a_64 => "fnv1a_64",
            Self::Fnv1_32 => "fnv1_32",
            Self::Fnv1a_32 => "fnv1a_32",
            Self::Hsieh => "hsieh",
            Self::Murmur => "murmur",
            Self::Jenkins => "jenkins",
            Self::Murmur3_32 => "murmur3_32",
            Self::Fnv1a => "fnv1a",
            Self::Xxh3_64 => "xxh3_64",
        }
    }

    /// The hash with this name in the configuration; names are case-sensitive.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|hash| hash.name() == name)
    }

    /// The 32-bit hash of `key`, of any length.
    #[must_use]
    #[inline]
    pub fn hash(self, key: &[u8]) -> u32 {
        // twemproxy's default is inlined, because it is short and most keys use it.
        if self == Self::Fnv1a_64 { fnv::fnv1a_low_64(key) } else { self.hash_apart(key) }
    }

    fn hash_apart(self, key: &[u8]) -> u32 {
        match self {
            Self::OneAtATime => jenkins::one_at_a_time(key),
            Self::Md5 => md5(key),
            Self::Crc16 => crc::crc16(key),
            Self::Crc32 => crc::crc32(key) >> 16 & 0x7fff,
            Self::Crc32a => crc::crc32(key),
            Self::Fnv1_64 => fnv::fnv1_low_64(key),
            Self::Fnv1a_64 => fnv::fnv1a_low_64(key),
            Self::Fnv1_32 => fnv::fnv1_32(key),
            Self::Fnv1a_32 => fnv::fnv1a_32(key),
            Self::Hsieh => hsieh::super_fast_hash(key),
            Self::Murmur => murmur::murmur2(key),
            Self::Jenkins => jenkins::lookup3(key),
            Self::Murmur3_32 => murmur::murmur3_32(key),
            Self::Fnv1a => fold(fnv::fnv1a_64(key)),
            Self::Xxh3_64 => folded_xxh3(key),
        }
    }
}

/// A separate function, like MD5.
#[inline(never)]
fn folded_xxh3(key: &[u8]) -> u32 {
    fold(xxh3_64(key))
}

/// A separate function, so that the other hashes do not need its stack.
#[inline(never)]
fn md5(key: &[u8]) -> u32 {
    let [a, b, c, d, ..] = <[u8; 16]>::from(Md5::digest(key));
    u32::from_le_bytes([a, b, c, d])
}

/// A 64-bit hash folded to 32 bits.
#[expect(clippy::cast_possible_truncation, reason = "the high half has been xored into the low")]
const fn fold(hash: u64) -> u32 {
    (hash ^ hash >> 32) as u32
}

/// A byte as C widens a `char` on x86, where it is signed: `0x80` becomes `0xffff_ff80`.
fn signed_char(byte: u8) -> u32 {
    i32::from(byte.cast_signed()).cast_unsigned()
}

/// The length of `key` as a 32-bit number, as the hashes from C use it.
#[expect(clippy::cast_possible_truncation, reason = "C cuts the length to 32 bits as well")]
const fn length(key: &[u8]) -> u32 {
    key.len() as u32
}

/// Up to four bytes as a little-endian word; missing bytes are zero.
fn word(bytes: &[u8]) -> u32 {
    let mut word = [0; 4];
    word[..bytes.len()].copy_from_slice(bytes);
    u32::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hash_is_found_by_its_name() {
        for &hash in Hash::ALL {
            assert_eq!(Hash::from_name(hash.name()), Some(hash));
        }
        assert_eq!(Hash::from_name("fnv1a_64"), Some(Hash::Fnv1a_64));
        assert_eq!(Hash::from_name("FNV1A_64"), None);
        assert_eq!(Hash::from_name(""), None);
    }

    /// Recorded from twemproxy 0.5.0 on x86-64.
    #[test]
    fn twemproxys_hashes_are_twemproxys_to_the_bit() {
        let keys: [&[u8]; 6] =
            [b"a", b"apple", b"key:1000", b"\xc3\xa9", b"abcdefghijklm", b"ab\x80"];
        let golden = [
            (
                Hash::OneAtATime,
                [0xca2e_9442, 0x88f0_8ef3, 0x5ab4_5434, 0x0191_48ae, 0x6d99_f6dc, 0xc8dd_56b0],
            ),
            (
                Hash::Md5,
                [0xb975_c10c, 0xbe70_381f, 0xd5c3_2507, 0x97cd_dd66, 0xd1bd_ae22, 0x610b_a2d6],
            ),
            (
                Hash::Crc16,
                [0x0000_7c87, 0xda52_5bb4, 0x15d4_7aaa, 0x00e9_67c4, 0x72b7_9537, 0x7c74_509b],
            ),
            (
                Hash::Crc32,
                [0x0000_68b7, 0x0000_292e, 0x0000_63f2, 0x0000_0e04, 0x0000_5df4, 0x0000_0c27],
            ),
            (
                Hash::Crc32a,
                [0xe8b7_be43, 0xa92e_d050, 0x63f2_80e3, 0x0e04_8d3e, 0xddf4_6ea2, 0x0c27_f200],
            ),
            (
                Hash::Fnv1_64,
                [0x8601_b7be, 0x1c34_7217, 0x42fc_2127, 0xb4eb_783d, 0x3df1_e6a2, 0x9450_5228],
            ),
            (
                Hash::Fnv1a_64,
                [0x8601_ec8c, 0x58be_fdbf, 0x48c2_2013, 0xb4cc_3001, 0x398b_c308, 0xfabe_929e],
            ),
            (
                Hash::Fnv1_32,
                [0x050c_5d7e, 0x0401_0657, 0x3d84_11e7, 0x1676_9ffd, 0xe589_b522, 0xbc63_d0a8],
            ),
            (
                Hash::Fnv1a_32,
                [0xe40c_292c, 0x10bc_2abf, 0x1665_e7d3, 0x3cfa_68c1, 0x3b83_56e8, 0xd8b8_027e],
            ),
            (
                Hash::Hsieh,
                [0x9364_2e87, 0xdeda_533e, 0x7d8a_da98, 0xbeea_177b, 0x70ce_5414, 0x584d_72a3],
            ),
            (
                Hash::Murmur,
                [0x4b41_757c, 0xf6e6_8f62, 0xc579_bcc9, 0x7ddc_1147, 0x2987_d8bb, 0xbf8a_58ae],
            ),
            (
                Hash::Jenkins,
                [0xe0a3_8690, 0x55f9_f550, 0xb19c_4037, 0x37ac_74de, 0xb621_e85f, 0x6dd4_4e68],
            ),
        ];
        for (hash, values) in golden {
            for (key, value) in keys.into_iter().zip(values) {
                assert_eq!(hash.hash(key), value, "{} of {key:?}", hash.name());
            }
        }
    }

    #[test]
    fn our_own_64_bit_hashes_are_folded_from_the_published_ones() {
        // FNV-1a 64 of "foobar" is 85944171f73967e8, XXH3 64 of "" is 2d06800538d394c2.
        assert_eq!(Hash::Fnv1a.hash(b"foobar"), 0x8594_4171 ^ 0xf739_67e8);
        assert_eq!(Hash::Xxh3_64.hash(b""), 0x2d06_8005 ^ 0x38d3_94c2);
    }

    #[test]
    fn xxh3_64_meets_its_published_vectors() {
        assert_eq!(xxh3_64(b""), 0x2d06_8005_38d3_94c2);
        assert_eq!(xxh3_64(b"a"), 0xe6c6_32b6_1e96_4e1f);
        assert_eq!(xxh3_64(b"abc"), 0x78af_5f94_892f_3950);
    }
}
