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
const KEY_LEN: usize = KEY_PREFIX.len() + 8;
/// Versions a value can have, each with its own place in the pattern.
const VERSION_COUNT: u32 = 256;

/// The keys and values of one run.
#[derive(Debug)]
pub(crate) struct Dataset {
    key_count: u32,
    value_len: usize,
    pattern: Vec<u8>,
    /// What follows the key in the header of a right value: ` 0 <length>\r\n`.
    header_tail: Vec<u8>,
}

impl Dataset {
    /// `key_count` keys with values of `value_len` bytes, [`VALUE_LEN_MIN`] or more.
    pub(crate) fn new(key_count: u32, value_len: usize) -> Self {
        let mut state = 0x9E37_79B9_7F4A_7C15;
        let pattern_len = value_len + VERSION_COUNT as usize;
        let pattern = (0..pattern_len).map(|_| letter(&mut state)).collect();
        let header_tail = format!(" 0 {value_len}\r\n").into_bytes();
        Self { key_count, value_len, pattern, header_tail }
    }

    pub(crate) fn key_count(&self) -> u32 {
        self.key_count
    }

    pub(crate) fn value_len(&self) -> usize {
        self.value_len
    }

    /// Appends a `set` of `key`; `version`, modulo their number, chooses among its values.
    pub(crate) fn push_set(&self, out: &mut Vec<u8>, key: u32, version: u32) {
        let version = version % VERSION_COUNT;
        out.extend_from_slice(b"set ");
        push_key(out, key);
        // The tail of a request line, flags, expiry and length, is the reply's with an expiry.
        out.extend_from_slice(b" 0");
        out.extend_from_slice(&self.header_tail);
        out.extend_from_slice(&hex(key));
        out.extend_from_slice(&hex(version));
        out.extend_from_slice(self.filler(key, version));
        out.extend_from_slice(b"\r\n");
    }

    /// Appends a `get` of `count` keys from `first` on, wrapping after the last key.
    pub(crate) fn push_get(&self, out: &mut Vec<u8>, first: u32, count: u32) {
        out.extend_from_slice(b"get");
        for i in 0..count {
            out.push(b' ');
            push_key(out, self.nth(first, i));
        }
        out.extend_from_slice(b"\r\n");
    }

    /// The key `i` places after `first`, wrapping after the last key.
    pub(crate) fn nth(&self, first: u32, i: u32) -> u32 {
        (first + i) % self.key_count
    }

    /// Reads `VALUE <key> 0 <length>\r\n` where the length is the one expected: the key's number
    /// and the length of the header. `None` for anything else, a header cut short included.
    pub(crate) fn parse_header(&self, bytes: &[u8]) -> Option<(u32, usize)> {
        let rest = bytes.strip_prefix(b"VALUE ")?;
        let (key, rest) = rest.split_at_checked(KEY_LEN)?;
        if !rest.starts_with(&self.header_tail) {
            return None;
        }
        let key = parse_hex(key.strip_prefix(KEY_PREFIX)?)?;
        Some((key, b"VALUE ".len() + KEY_LEN + self.header_tail.len()))
    }

    /// Whether `value` is, to the byte, one that `push_set` stores under `key`.
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

fn push_key(out: &mut Vec<u8>, key: u32) {
    out.extend_from_slice(KEY_PREFIX);
    out.extend_from_slice(&hex(key));
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

    fn stored(dataset: &Dataset, key: u32, version: u32) -> Vec<u8> {
        let mut set = Vec::new();
        dataset.push_set(&mut set, key, version);
        let line = memchr::memchr(b'\n', &set).unwrap();
        set[line + 1..set.len() - 2].to_vec()
    }

    #[test]
    fn requests_are_those_of_the_protocol() {
        let dataset = Dataset::new(3, 16);
        let mut out = Vec::new();
        dataset.push_set(&mut out, 2, 0xabc);
        dataset.push_get(&mut out, 2, 2);
        let expected =
            "set key_00000002 0 0 16\r\n00000002000000bc\r\nget key_00000002 key_00000000\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn a_value_is_recognized_in_every_version() {
        let dataset = Dataset::new(10, 100);
        assert!(dataset.is_value_of(7, &stored(&dataset, 7, 1)));
        assert!(dataset.is_value_of(7, &stored(&dataset, 7, 2)));
    }

    #[test]
    fn a_value_of_another_key_or_with_one_wrong_byte_is_not() {
        let dataset = Dataset::new(10, 100);
        assert!(!dataset.is_value_of(6, &stored(&dataset, 7, 1)));
        for i in 0..100 {
            let mut value = stored(&dataset, 7, 1);
            value[i] ^= 1;
            assert!(!dataset.is_value_of(7, &value), "byte {i} is not checked");
        }
    }

    #[test]
    fn a_value_cut_short_or_shifted_is_not() {
        let dataset = Dataset::new(10, 100);
        let mut value = stored(&dataset, 7, 1);
        assert!(!dataset.is_value_of(7, &value[..99]));
        value.remove(50);
        value.push(b'a');
        assert!(!dataset.is_value_of(7, &value));
    }
}
