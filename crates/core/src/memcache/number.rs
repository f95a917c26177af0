//! Numbers, parsed as memcached parses them and sent in a form that all memcached versions parse
//! alike.
//!
//! memcached accepts what C's `strtol` accepts: white space and a sign before the digits, leading
//! zeros, anything after white space, and more bits than memcached stores. memcached versions
//! differ in the forms that they refuse, and a version that refuses a storage line parses the data
//! block as commands. So the one rule: a number in another form than plain decimal is accepted, and
//! the server gets the plain decimal form.
//!
//! Source: memcached's `safe_strtol`, `safe_strtoul` and `safe_strtoull` (util.c).

use super::words;
use crate::decimal;
use alloc::vec::Vec;

/// A number that replaces a word of the client's line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number {
    is_negative: bool,
    magnitude: u64,
}

/// The rewrite of a number: the word stays unchanged, or this number replaces it.
pub(super) type Rewrite = Option<Number>;

/// The numbers that replace words of a request's line, from word `first` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    first: u8,
    /// One bit for each place with a number; `negative` has one bit for each negative number.
    /// Requests are moved often, so they are kept small.
    present: u8,
    negative: u8,
    magnitudes: [u64; PLACES],
}

/// Flags, expiry, length and cas id.
const PLACES: usize = 4;

impl Numbers {
    /// No word is replaced.
    pub(crate) const NONE: Self =
        Self { first: 0, present: 0, negative: 0, magnitudes: [0; PLACES] };

    /// The words from `first` on are replaced where `rewrites` has a number.
    #[inline]
    pub(super) fn new(first: u8, rewrites: [Rewrite; PLACES]) -> Self {
        if rewrites.iter().all(Option::is_none) {
            return Self::NONE;
        }
        let mut numbers = Self { first, ..Self::NONE };
        for (place, rewrite) in rewrites.into_iter().enumerate() {
            if let Some(number) = rewrite {
                numbers.present |= 1 << place;
                numbers.negative |= u8::from(number.is_negative) << place;
                numbers.magnitudes[place] = number.magnitude;
            }
        }
        numbers
    }

    /// Only the word with this index is replaced, if at all.
    #[inline]
    pub(super) fn one(index: u8, rewrite: Rewrite) -> Self {
        Self::new(index, [rewrite, None, None, None])
    }

    /// Whether all words stay as they are.
    #[inline]
    pub(super) fn are_plain(&self) -> bool {
        self.present == 0
    }

    /// The number that replaces the word with this index, if any.
    pub(super) fn at(&self, index: usize) -> Rewrite {
        let place = index.checked_sub(self.first.into())?;
        let magnitude = *self.magnitudes.get(place)?;
        let is_negative = self.negative >> place & 1 == 1;
        (self.present >> place & 1 == 1).then_some(Number { is_negative, magnitude })
    }
}

impl Number {
    pub(super) const fn positive(magnitude: u64) -> Self {
        Self { is_negative: false, magnitude }
    }

    pub(super) const fn negative(magnitude: u64) -> Self {
        Self { is_negative: true, magnitude }
    }

    /// The plain form: a minus sign if the number is negative, and digits without leading zeros.
    fn form(self, room: &mut [u8; FORM_MAX]) -> &[u8] {
        let mut start = decimal::fill(self.magnitude, room);
        if self.is_negative {
            start -= 1;
            room[start] = b'-';
        }
        &room[start..]
    }

    /// Appends the plain form.
    pub(super) fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.form(&mut [0; FORM_MAX]));
    }
}

/// A sign and twenty digits.
const FORM_MAX: usize = 21;

/// An expiry time: 64 bits with a sign, of which memcached keeps the lower 32. libmemcached writes
/// -1 as 4294967295, so the higher bits are dropped here as in memcached.
pub(super) fn exptime(word: &[u8]) -> Option<Rewrite> {
    if plain(word).is_some_and(|number| number < 1 << 31) {
        return Some(None);
    }
    let Read { is_negative, magnitude } = read(word)?;
    let value = if is_negative {
        0i64.checked_sub_unsigned(magnitude)?
    } else {
        i64::try_from(magnitude).ok()?
    };
    let kept = value.cast_unsigned().to_le_bytes();
    let kept = i32::from_le_bytes([kept[0], kept[1], kept[2], kept[3]]);
    let number = Number { is_negative: kept < 0, magnitude: kept.unsigned_abs().into() };
    Some(unless_plain(word, number))
}

/// A client's flags: 64 bits, of which memcached keeps the lower 32.
pub(super) fn flags(word: &[u8]) -> Option<Rewrite> {
    if plain(word).is_some_and(|number| number <= u32::MAX.into()) {
        return Some(None);
    }
    let kept = unsigned(word)? & u64::from(u32::MAX);
    Some(unless_plain(word, Number::positive(kept)))
}

/// A cas id or a delta: 64 bits.
pub(super) fn long(word: &[u8]) -> Option<Rewrite> {
    if plain(word).is_some() {
        return Some(None);
    }
    Some(unless_plain(word, Number::positive(unsigned(word)?)))
}

/// The length of a data block, and the word's rewrite. A length of 2^31 - 2 or more is invalid:
/// data and line end must fit into 31 bits.
pub(super) fn data_len(word: &[u8]) -> Option<(usize, Rewrite)> {
    let (length, rewrite) = match plain(word) {
        Some(length) => (length, None),
        None => {
            let Read { is_negative, magnitude } = read(word)?;
            let length = (!is_negative || magnitude == 0).then_some(magnitude)?;
            (length, Some(Number::positive(length)))
        }
    };
    let length = usize::try_from(length).ok().filter(|length| *length < DATA_LEN_END)?;
    Some((length, rewrite))
}

/// No data block is as long as this.
const DATA_LEN_END: usize = (1 << 31) - 2;

/// A number without sign and leading zeros and with at most 19 digits, so that it fits into 64
/// bits.
#[inline]
fn plain(word: &[u8]) -> Option<u64> {
    let is_short = matches!(word, [_] | [b'1'..=b'9', ..]) && word.len() < 20;
    if is_short { words::number(word) } else { None }
}

/// An unsigned number of 64 bits, parsed like `safe_strtoull`: a number with a minus sign is
/// subtracted from 2^64, and if the result is 2^63 or more, the word may contain no minus sign.
fn unsigned(word: &[u8]) -> Option<u64> {
    let Read { is_negative, magnitude } = read(word)?;
    let number = if is_negative { magnitude.wrapping_neg() } else { magnitude };
    (number < 1 << 63 || !word.contains(&b'-')).then_some(number)
}

/// A parsed number, before its range is checked.
struct Read {
    is_negative: bool,
    magnitude: u64,
}

/// Parses like `strtol`: white space, a sign, digits, then nothing, or white space and anything.
/// `None` if there is no digit, or if the digits have more than 64 bits.
fn read(word: &[u8]) -> Option<Read> {
    let start = word.iter().position(|byte| !is_white(*byte))?;
    let (is_negative, digits) = match &word[start..] {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] | digits => (false, digits),
    };
    let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
    if end == 0 || digits.get(end).is_some_and(|byte| !is_white(*byte)) {
        return None;
    }
    let mut magnitude = 0u64;
    for byte in &digits[..end] {
        magnitude = magnitude.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?;
    }
    Some(Read { is_negative, magnitude })
}

/// C's `isspace` without the space, which ends a word.
const fn is_white(byte: u8) -> bool {
    matches!(byte, b'\t'..=b'\r')
}

/// The number, unless the word is its plain form already.
fn unless_plain(word: &[u8], number: Number) -> Rewrite {
    (number.form(&mut [0; FORM_MAX]) != word).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;

    /// What a server gets for a word: the word itself, another number, or nothing as it is refused.
    fn sent(read: fn(&[u8]) -> Option<Rewrite>, word: &str) -> Option<String> {
        let mut out = Vec::new();
        match read(word.as_bytes())? {
            None => out.extend_from_slice(word.as_bytes()),
            Some(number) => number.write(&mut out),
        }
        Some(String::from_utf8(out).unwrap())
    }

    #[test]
    fn an_expiry_is_cut_to_32_bits_as_memcached_cuts_it() {
        for (word, expected) in [
            ("0", "0"),
            ("2147483647", "2147483647"),
            ("2147483648", "-2147483648"),
            ("4294967295", "-1"),
            ("4294967296", "0"),
            ("9223372036854775807", "-1"),
            ("-1", "-1"),
            ("-2147483648", "-2147483648"),
            ("-2147483649", "2147483647"),
            ("-9223372036854775808", "0"),
            ("+5", "5"),
            ("-0", "0"),
            ("\t7", "7"),
            ("7\tx", "7"),
            ("00000000000000000000000012", "12"),
        ] {
            assert_eq!(sent(exptime, word).as_deref(), Some(expected), "{word:?}");
        }
        for word in
            ["", "-", "+", "x", "1x", "9223372036854775808", "-9223372036854775809", "\t", "+-1"]
        {
            assert_eq!(sent(exptime, word), None, "{word:?}");
        }
    }

    #[test]
    fn flags_are_cut_to_32_bits() {
        for (word, expected) in [
            ("4294967295", "4294967295"),
            ("4294967296", "0"),
            ("18446744073709551615", "4294967295"),
            ("007", "7"),
            ("-0", "0"),
            ("-18446744073709551615", "1"),
        ] {
            assert_eq!(sent(flags, word).as_deref(), Some(expected), "{word:?}");
        }
        for word in ["-1", "18446744073709551616", "0x1", ""] {
            assert_eq!(sent(flags, word), None, "{word:?}");
        }
    }

    #[test]
    fn cas_ids_and_deltas_have_64_bits() {
        for (word, expected) in [
            ("9999999999999999999", "9999999999999999999"),
            ("18446744073709551615", "18446744073709551615"),
            ("00000000000000000001", "1"),
            ("+1", "1"),
            ("-18446744073709551615", "1"),
            ("-9223372036854775809", "9223372036854775807"),
            ("7\t-", "7"),
        ] {
            assert_eq!(sent(long, word).as_deref(), Some(expected), "{word:?}");
        }
        for word in [
            "18446744073709551616",
            "-18446744073709551616",
            "9223372036854775808\t-",
            "-9223372036854775808",
            "-1",
            "1.5",
        ] {
            assert_eq!(sent(long, word), None, "{word:?}");
        }
    }

    #[test]
    fn a_data_block_has_less_than_2_to_the_31_bytes_with_its_end() {
        assert_eq!(data_len(b"2147483645"), Some((2_147_483_645, None)));
        assert_eq!(data_len(b"2147483646"), None);
        assert_eq!(data_len(b"4294967297"), None, "memcached would read 1");
        assert_eq!(data_len(b"-1"), None);
        assert_eq!(data_len(b"-18446744073709551615"), None, "it is read with its sign");
        assert_eq!(data_len(b"+5"), Some((5, Some(Number::positive(5)))));
        assert_eq!(data_len(b"05"), Some((5, Some(Number::positive(5)))));
    }
}
