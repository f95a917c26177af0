//! The words of a command line, and which of them are keys.

use crate::near::{ONES, TOPS, marks};

/// The longest key, in bytes (`KEY_MAX_LENGTH`).
pub const KEY_LEN_MAX: usize = 250;

/// The words of a line, separated by spaces.
#[derive(Clone, Debug)]
pub struct Words<'a> {
    rest: &'a [u8],
    /// How many words were taken.
    count: usize,
    /// Their total length, plus one byte for each word.
    taken: usize,
}

impl<'a> Words<'a> {
    /// The words of `line`, which has no line end.
    pub fn new(line: &'a [u8]) -> Self {
        Self { rest: line, count: 0, taken: 0 }
    }

    /// The rest of the line, from the next word on.
    pub fn rest(&mut self) -> &'a [u8] {
        while let [b' ', rest @ ..] = self.rest {
            self.rest = rest;
        }
        self.rest
    }

    /// As if `word`, which is the rest, had been taken.
    pub(super) fn with_last(self, word: &[u8]) -> Self {
        Self { rest: b"", count: self.count + 1, taken: self.taken + word.len() + 1 }
    }

    /// How many words were taken.
    pub fn count_taken(&self) -> usize {
        self.count
    }

    /// Whether `line` is the words taken with one space between them and nothing else.
    pub fn are_all_of(&self, line: &[u8]) -> bool {
        self.taken == line.len() + 1
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest();
        if rest.is_empty() {
            return None;
        }
        let (word, rest) = rest.split_at(run_without(rest, is_space, |byte| byte == b' '));
        self.rest = rest;
        self.count += 1;
        self.taken += word.len() + 1;
        Some(word)
    }
}

/// The key at the start of `text`, and the rest after its spaces; `None` if there is no valid key.
///
/// Always in line, or what it returns goes through memory: fifteen instructions for every read.
#[inline(always)]
pub fn next_key(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (key, rest) = text.split_at(key_run(text));
    if key.is_empty() || key.len() > KEY_LEN_MAX {
        return None;
    }
    let mut rest = match rest {
        [] => rest,
        [b' ', behind @ ..] => behind,
        _ => return None,
    };
    while let [b' ', behind @ ..] = rest {
        rest = behind;
    }
    Some((key, rest))
}

/// The number of bytes at the start that are allowed in a key: all but NUL, line feed, carriage
/// return and space.
#[inline]
pub(super) fn key_run(bytes: &[u8]) -> usize {
    let run = run_without(bytes, is_low, |byte| byte <= b' ');
    match bytes.get(run) {
        None | Some(b' ') => run,
        Some(_) => run_past_control_bytes(bytes, run),
    }
}

/// As [`key_run`], from a control byte on, which may be allowed in a key or not.
#[inline(never)]
fn run_past_control_bytes(bytes: &[u8], mut run: usize) -> usize {
    while bytes.get(run).is_some_and(|byte| !ends_key(*byte)) {
        run += 1;
        run += run_without(&bytes[run..], is_low, |byte| byte <= b' ');
    }
    run
}

/// Whether a byte is not allowed in a key, because it ends a word or a line for some memcached
/// versions.
const fn ends_key(byte: u8) -> bool {
    matches!(byte, 0 | b'\n' | b'\r' | b' ')
}

/// Whether two words are the same. Words of 8 to 16 bytes, the usual size of keys, are compared by
/// their first and last eight bytes, which meet or overlap, without a function call.
#[inline(always)]
pub(super) fn same_word(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() || a.len() > 16 {
        return a == b;
    }
    match (a.first_chunk::<8>(), a.last_chunk::<8>(), b.first_chunk::<8>(), b.last_chunk::<8>()) {
        (Some(a_head), Some(a_tail), Some(b_head), Some(b_tail)) => {
            a_head == b_head && a_tail == b_tail
        }
        _ => a == b,
    }
}

/// The number of bytes at the start that `in_block` and `alone` do not look for.
///
/// Checks eight bytes at a time, because hardly anything else is done for every byte of requests
/// and replies. `in_block` sets the top bit of the bytes that it looks for; bits after the first
/// such byte have no meaning.
#[inline]
fn run_without(bytes: &[u8], in_block: impl Fn(u64) -> u64, alone: impl Fn(u8) -> bool) -> usize {
    let mut run = 0;
    while let Some(block) = bytes[run..].first_chunk::<8>() {
        let found = in_block(u64::from_le_bytes(*block));
        if found != 0 {
            return run + found.trailing_zeros() as usize / 8;
        }
        run += 8;
    }
    while run < bytes.len() && !alone(bytes[run]) {
        run += 1;
    }
    run
}

/// The top bits of the bytes that are spaces.
#[inline]
fn is_space(block: u64) -> u64 {
    marks(b' ', block)
}

/// The top bits of the bytes that are control bytes or spaces: those below 0x21.
#[inline]
fn is_low(block: u64) -> u64 {
    block.wrapping_sub(ONES * 0x21) & !block & TOPS
}

/// The number at the start of a block and how many digits it has; none for a block of digits.
///
/// All eight digits are converted at once: pairs of digits become numbers below a hundred, pairs of
/// these become numbers below ten thousand, and the last pair becomes the result.
#[inline]
pub(super) fn number_in_block(block: u64) -> Option<(u64, usize)> {
    let not_digits = (((block ^ (ONES * 0x30)) & !TOPS) + ONES * 0x76) | block;
    if not_digits & TOPS == 0 {
        return None;
    }
    let count = (not_digits & TOPS).trailing_zeros() as usize / 8;
    if count == 0 {
        return Some((0, 0));
    }
    let digits = block << (64 - 8 * count) & (ONES * 0x0f);
    let pairs = digits.wrapping_mul(10 << 8 | 1) >> 8 & 0x00ff_00ff_00ff_00ff;
    let fours = pairs.wrapping_mul(100 << 16 | 1) >> 16 & 0x0000_ffff_0000_ffff;
    Some((fours.wrapping_mul(10_000 << 32 | 1) >> 32, count))
}

/// Whether a word is a valid key: 1 to 250 bytes, all of them allowed in keys.
///
/// protocol.txt, "Keys", forbids all control bytes. memcached accepts them, and so does the proxy,
/// except those that could make a server end the word or the line at another place than the proxy.
pub(super) fn is_key(word: &[u8]) -> bool {
    !word.is_empty() && word.len() <= KEY_LEN_MAX && key_run(word) == word.len()
}

/// A decimal number of at most 64 bits, digits only.
pub(super) fn number(word: &[u8]) -> Option<u64> {
    if word.is_empty() || word.len() > 20 {
        return None;
    }
    let mut number = 0u64;
    for byte in word {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
    }
    // Nineteen digits always fit. Twenty digits that overflowed give a number with fewer than
    // twenty digits.
    (word.len() < 20 || word[0] == b'1' && number >= SMALLEST_OF_TWENTY_DIGITS).then_some(number)
}

const SMALLEST_OF_TWENTY_DIGITS: u64 = 10_000_000_000_000_000_000;

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
    fn a_key_ends_at_the_first_byte_that_ends_a_word_or_a_line() {
        for end in 0..40 {
            for bad in [0, b'\n', b'\r', b' '] {
                for filler in [1, b'\t', 0x10, 0x1f, 0x21, b'a', 0x7f, 0x80, 0xa0, 0xff] {
                    let mut bytes = [filler; 48];
                    bytes[end] = bad;
                    bytes[end + 3] = 0;
                    assert_eq!(key_run(&bytes), end, "{bad:#x} after {filler:#x}");
                    assert_eq!(key_run(&bytes[..end]), end);
                }
            }
        }
    }

    #[test]
    fn a_block_is_read_at_once() {
        let read = |text: &[u8; 8]| number_in_block(u64::from_le_bytes(*text));
        assert_eq!(read(b"0\r\n99999"), Some((0, 1)));
        assert_eq!(read(b"42 99999"), Some((42, 2)));
        assert_eq!(read(b"1048576 "), Some((1_048_576, 7)));
        assert_eq!(read(b"9999999\r"), Some((9_999_999, 7)));
        assert_eq!(read(b"12345678"), None);
        for (last, byte) in [b' ', b'/', b':', 0, 0x7f, 0x80, 0xb0, 0xff].into_iter().enumerate() {
            let mut text = *b"70000000";
            text[last] = byte;
            let number = if last == 0 {
                0
            } else {
                [7, 70, 700, 7000, 70_000, 700_000, 7_000_000][last - 1]
            };
            assert_eq!(read(&text), Some((number, last)), "{byte:#x} ends it");
        }
    }

    #[test]
    fn words_are_the_same_to_the_last_byte() {
        let word = *b"abcdefghijklmnopqrstuvwxyz";
        for len in 0..=word.len() {
            assert!(same_word(&word[..len], &word[..len]));
            assert!(!same_word(&word[..len], b"another") && !same_word(&word[..len], &[0; 27]));
            for changed in 0..len {
                let mut other = word;
                other[changed] ^= 1;
                assert!(!same_word(&word[..len], &other[..len]), "byte {changed} of {len}");
            }
        }
    }

    #[test]
    fn keys_are_short_and_end_no_line() {
        assert!(is_key(b"a"));
        assert!(is_key(&[b'k'; 250]));
        assert!(is_key(b"\x80\xff\xc3\xa9"));
        assert!(is_key(b"a\tb\x10\x7f"));
        for bad in [&b""[..], &[b'k'; 251], b"a\nb", b"a\0b", b"a b", b"a\rb"] {
            assert!(!is_key(bad), "{bad:?}");
        }
    }

    #[test]
    fn numbers_are_digits_that_fit() {
        assert_eq!(number(b"9999999999999999999"), Some(9_999_999_999_999_999_999));
        assert_eq!(number(b"10000000000000000000"), Some(10_000_000_000_000_000_000));
        assert_eq!(number(b"00000000000000000001"), None, "twenty digits, and a small number");
        assert_eq!(number(b"0003"), Some(3));
        assert_eq!(number(b"18446744073709551615"), Some(u64::MAX));
        for bad in [
            &b""[..],
            b"18446744073709551616",
            b"19999999999999999999",
            b"99999999999999999999",
            b"-1",
            b"+1",
            b"1x",
            b"0x1",
            b" 1",
        ] {
            assert_eq!(number(bad), None, "{bad:?}");
        }
    }
}
