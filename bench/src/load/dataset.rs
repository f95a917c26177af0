//! Keys and values: both are computed from a number, so any reply can be checked without having
//! kept what was sent.
//!
//! A key is `key_` and its number in eight hexadecimal digits. A value says whose it is and which
//! version, and goes on with a piece of a pattern that depends on both:
//!
//! ```text
//! 0000002a 00000007 qzkfhw...
//! key      version  pattern from (key, version) on   (without the spaces)
//! ```
//!
//! The pattern never repeats within a value, so bytes lost, doubled or taken from another value
//! show. Which version is right can't be known when connections race; that it is all one
//! version can.

/// Bytes of the key and version in front of each value.
pub(crate) const VALUE_LEN_MIN: usize = 16;
/// memcached's default limit on an item is 1 MiB, header included.
pub(crate) const VALUE_LEN_MAX: usize = 1_000_000;

const KEY_PREFIX: &[u8] = b"key_";
pub(crate) const KEY_LEN: usize = KEY_PREFIX.len() + 8;
/// Versions a value can have, each with its own place in the pattern.
const VERSION_COUNT: u32 = 256;

/// The keys and values of one run.
#[derive(Debug)]
pub(crate) struct Dataset {
    key_count: u32,
    value_len: usize,
    pattern: Vec<u8>,
    /// `value_len` as requests and replies say it.
    value_len_digits: Vec<u8>,
}

impl Dataset {
    /// `key_count` keys with values of `value_len` bytes, [`VALUE_LEN_MIN`] or more.
    pub(crate) fn new(key_count: u32, value_len: usize) -> Self {
        let mut state = 0x9E37_79B9_7F4A_7C15;
        let pattern_len = value_len + VERSION_COUNT as usize;
        let pattern = (0..pattern_len).map(|_| letter(&mut state)).collect();
        let value_len_digits = value_len.to_string().into_bytes();
        Self { key_count, value_len, pattern, value_len_digits }
    }

    pub(crate) fn key_count(&self) -> u32 {
        self.key_count
    }

    pub(crate) fn value_len(&self) -> usize {
        self.value_len
    }

    /// The length of each value in decimal digits.
    pub(crate) fn value_len_digits(&self) -> &[u8] {
        &self.value_len_digits
    }

    /// Appends a value of `key`; `version`, modulo their number, chooses among its values.
    pub(crate) fn push_value(&self, out: &mut Vec<u8>, key: u32, version: u32) {
        let version = version % VERSION_COUNT;
        out.extend_from_slice(&hex(key));
        out.extend_from_slice(&hex(version));
        out.extend_from_slice(self.filler(key, version));
    }

    /// The key `i` places after `first`, wrapping after the last key.
    pub(crate) fn nth(&self, first: u32, i: u32) -> u32 {
        (first + i) % self.key_count
    }

    /// Whether `value` is, to the byte, one that `push_value` makes for `key`.
    pub(crate) fn is_value_of(&self, key: u32, value: &[u8]) -> bool {
        let Some((own, filler)) = value.split_at_checked(VALUE_LEN_MIN) else { return false };
        let (own_key, version) = own.split_at(8);
        let version = parse_hex(version).filter(|version| *version < VERSION_COUNT);
        parse_hex(own_key) == Some(key)
            && version.is_some_and(|version| filler == self.filler(key, version))
    }

    fn filler(&self, key: u32, version: u32) -> &[u8] {
        let start = key.wrapping_mul(31).wrapping_add(version) % VERSION_COUNT;
        &self.pattern[start as usize..][..self.value_len - VALUE_LEN_MIN]
    }
}

/// Appends the name of `key`, [`KEY_LEN`] bytes.
pub(crate) fn push_key(out: &mut Vec<u8>, key: u32) {
    out.extend_from_slice(KEY_PREFIX);
    out.extend_from_slice(&hex(key));
}

/// The number of the key with this name: the inverse of [`push_key`].
pub(crate) fn parse_key(name: &[u8]) -> Option<u32> {
    parse_hex(name.strip_prefix(KEY_PREFIX)?)
}

fn hex(number: u32) -> [u8; 8] {
    let mut digits = [0; 8];
    for (i, digit) in digits.iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(number >> (28 - 4 * i) & 0xf) as usize];
    }
    digits
}

fn parse_hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u32::from(value))
    })
}

fn letter(state: &mut u64) -> u8 {
    b"abcdefghijklmnopqrstuvwxyz234567"[(next_random(state) >> 59) as usize]
}

/// xorshift64 (Marsaglia, 2003): enough to spread keys, and a few instructions. `state` isn't 0.
pub(crate) fn next_random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(dataset: &Dataset, key: u32, version: u32) -> Vec<u8> {
        let mut value = Vec::new();
        dataset.push_value(&mut value, key, version);
        value
    }

    #[test]
    fn a_value_is_recognized_in_every_version() {
        let dataset = Dataset::new(10, 100);
        assert!(dataset.is_value_of(7, &value(&dataset, 7, 1)));
        assert!(dataset.is_value_of(7, &value(&dataset, 7, 2)));
    }

    #[test]
    fn a_value_of_another_key_or_with_one_wrong_byte_is_not() {
        let dataset = Dataset::new(10, 100);
        assert!(!dataset.is_value_of(6, &value(&dataset, 7, 1)));
        for i in 0..100 {
            let mut value = value(&dataset, 7, 1);
            value[i] ^= 1;
            assert!(!dataset.is_value_of(7, &value), "byte {i} is not checked");
        }
    }

    #[test]
    fn a_value_cut_short_or_shifted_is_not() {
        let dataset = Dataset::new(10, 100);
        let mut value = value(&dataset, 7, 1);
        assert!(!dataset.is_value_of(7, &value[..99]));
        value.remove(50);
        value.push(b'a');
        assert!(!dataset.is_value_of(7, &value));
    }
}
