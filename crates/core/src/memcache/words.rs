//! The words of a command line, and what a word may mean.
//!
//! Everything here is strict: what it accepts, every memcached accepts, and reads the same way.

/// The longest key, in bytes (`KEY_MAX_LENGTH`).
pub const KEY_LEN_MAX: usize = 250;

/// The words of a line: what stands between spaces.
#[derive(Clone, Debug)]
pub struct Words<'a> {
    rest: &'a [u8],
}

impl<'a> Words<'a> {
    /// The words of `line`, which has no line end.
    pub fn new(line: &'a [u8]) -> Self {
        Self { rest: line }
    }

    /// What is left of the line, from the next word on.
    pub fn rest(&mut self) -> &'a [u8] {
        while let [b' ', rest @ ..] = self.rest {
            self.rest = rest;
        }
        self.rest
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest();
        if rest.is_empty() {
            return None;
        }
        let end = rest.iter().position(|&byte| byte == b' ').unwrap_or(rest.len());
        let (word, rest) = rest.split_at(end);
        self.rest = rest;
        Some(word)
    }
}

/// Whether a word may be a key: 1 to 250 bytes, none of them a control byte or a space.
///
/// protocol.txt, "Keys". memcached itself looks for less; but a line feed or NUL in a key is how
/// a client makes a server answer twice.
pub(super) fn is_key(word: &[u8]) -> bool {
    let bad = word.iter().fold(false, |bad, &byte| bad | (byte <= b' ') | (byte == 0x7f));
    !bad && !word.is_empty() && word.len() <= KEY_LEN_MAX
}

/// A decimal number of at most 64 bits, digits only.
pub(super) fn number(word: &[u8]) -> Option<u64> {
    if word.is_empty() || word.len() > 20 {
        return None;
    }
    word.iter().try_fold(0u64, |number, byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// Whether a word is an expiry time: 32 bits with a sign.
pub(super) fn is_exptime(word: &[u8]) -> bool {
    match word {
        [b'-', digits @ ..] => number(digits).is_some_and(|n| n <= 1 << 31),
        digits => number(digits).is_some_and(|n| n < 1 << 31),
    }
}

/// Whether a word is a client's flags: 32 bits.
pub(super) fn is_flags(word: &[u8]) -> bool {
    number(word).is_some_and(|n| u32::try_from(n).is_ok())
}

/// The length of a data block: 31 bits less its line end.
pub(super) fn data_len(word: &[u8]) -> Option<usize> {
    number(word).filter(|&n| n < (1 << 31) - 2).and_then(|n| usize::try_from(n).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn words_are_what_stands_between_spaces() {
        let words: Vec<&[u8]> = Words::new(b"  get  a bc ").collect();
        assert_eq!(words, [&b"get"[..], b"a", b"bc"]);
        assert_eq!(Words::new(b"   ").next(), None);
        assert_eq!(Words::new(b"a\tb").next(), Some(&b"a\tb"[..]));
    }

    #[test]
    fn keys_are_short_and_visible() {
        assert!(is_key(b"a"));
        assert!(is_key(&[b'k'; 250]));
        assert!(is_key(b"\x80\xff\xc3\xa9"));
        for bad in [&b""[..], &[b'k'; 251], b"a\nb", b"a\0b", b"a\tb", b"a\x7fb", b"a\rb"] {
            assert!(!is_key(bad), "{bad:?}");
        }
    }

    #[test]
    fn numbers_are_digits_that_fit() {
        assert_eq!(number(b"0003"), Some(3));
        assert_eq!(number(b"18446744073709551615"), Some(u64::MAX));
        for bad in [&b""[..], b"18446744073709551616", b"-1", b"+1", b"1x", b"0x1", b" 1"] {
            assert_eq!(number(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn ranges_are_those_of_the_protocol() {
        assert!(is_exptime(b"-2147483648") && is_exptime(b"2147483647") && is_exptime(b"0"));
        assert!(!is_exptime(b"2147483648") && !is_exptime(b"-2147483649") && !is_exptime(b"-"));
        assert!(is_flags(b"4294967295") && !is_flags(b"4294967296") && !is_flags(b"-1"));
        assert_eq!(data_len(b"2147483645"), Some(2_147_483_645));
        assert_eq!(data_len(b"2147483646"), None);
    }
}
