//! The plain values of directives: numbers, sizes, times, names.
//!
//! The one rule: a text is a valid value or a [`Fault`]. No number overflows, no text is cut off,
//! and a text that twemproxy silently reads as 0 is refused.

use std::path::PathBuf;
use std::time::Duration;

use nuthatch_core::ring::{Distribution, Hash, HashTag};

/// Why a text is not what its directive takes. `wrong` continues `conf: directive "X" …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) wrong: String,
    pub(super) right: String,
}

impl Fault {
    pub(super) fn new(wrong: &str, right: impl Into<String>) -> Self {
        Self { wrong: wrong.into(), right: right.into() }
    }

    /// The same fault, with another correct form.
    fn or(self, also: &str) -> Self {
        Self { right: format!("{}, {also}", self.right), ..self }
    }
}

/// The least and the greatest value of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The least value.
    pub min: u64,
    /// The greatest value.
    pub max: u64,
}

impl Bounds {
    /// From `min` to `max`, both included.
    #[must_use]
    pub const fn new(min: u64, max: u64) -> Self {
        Self { min, max }
    }

    /// `number` as a `usize`, if it is inside.
    fn take(self, number: u64) -> Option<usize> {
        let inside = self.min <= number && number <= self.max;
        usize::try_from(number).ok().filter(|_| inside)
    }
}

/// A decimal number without sign, or `None` if other characters than digits are in it. A number of
/// more than 64 bits becomes the maximum, which is out of all bounds.
pub(super) fn digits(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

pub(super) fn flag(text: &str) -> Result<bool, Fault> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Fault::new("is not \"true\" or \"false\"", "write true or false")),
    }
}

pub(super) fn count(text: &str, bounds: Bounds) -> Result<usize, Fault> {
    let right = || format!("write a whole number from {} to {}", bounds.min, bounds.max);
    let number = digits(text).ok_or_else(|| Fault::new("is not a number", right()))?;
    bounds.take(number).ok_or_else(|| match number {
        0 => Fault::new("cannot be 0", right()),
        _ => Fault::new("is out of range", right()),
    })
}

/// A time from 0s to a year: digits and a unit, `ms`, `s`, `m`, `h` or `d`.
pub(super) fn span(text: &str) -> Result<Duration, Fault> {
    let right = || "write a number and its unit, ms, s, m, h or d, such as 10m, at most 365d";
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let millis = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, millis)| *millis);
    let (Some(number), Some(unit)) = (digits(number), millis) else {
        return Err(Fault::new("is not a time", right()));
    };
    let millis = number.checked_mul(unit).filter(|millis| *millis <= SPAN_MAX);
    millis.map(Duration::from_millis).ok_or_else(|| Fault::new("is out of range", right()))
}

/// The same time in the largest unit without a fraction.
pub(super) fn span_text(span: Duration) -> String {
    let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let is_whole = |(_, unit): &&(&str, u64)| millis > 0 && millis.is_multiple_of(*unit);
    let (unit, size) = UNITS.iter().rev().find(is_whole).unwrap_or(&("s", 1000));
    format!("{}{unit}", millis / size)
}

/// The units of times, in milliseconds.
const UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// A year.
const SPAN_MAX: u64 = 365 * 86_400_000;

/// A part of a hundred: digits, then `%`.
pub(super) fn percent(text: &str) -> Result<u8, Fault> {
    let right = || "write a whole number of percent from 0% to 100%, such as 30%";
    let number = text.strip_suffix('%').and_then(digits);
    let number = number.ok_or_else(|| Fault::new("is not a number of percent", right()))?;
    let percent = u8::try_from(number).ok().filter(|percent| *percent <= 100);
    percent.ok_or_else(|| Fault::new("is out of range", right()))
}

/// A number of bytes: digits, then `k`, `m` or `g` for powers of 1024.
pub(super) fn size(text: &str, bounds: Bounds) -> Result<usize, Fault> {
    let right = || {
        let Bounds { min, max } = bounds;
        format!(
            "write a number of bytes from {min} to {max}, or a number with the unit k, m or g, such \
             as 64k"
        )
    };
    let (number, unit) = match text.as_bytes().last().map(u8::to_ascii_lowercase) {
        Some(b'k') => (&text[..text.len() - 1], 1 << 10),
        Some(b'm') => (&text[..text.len() - 1], 1 << 20),
        Some(b'g') => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    let number = digits(number).ok_or_else(|| Fault::new("is not a number of bytes", right()))?;
    let bytes = number.checked_mul(unit).and_then(|bytes| bounds.take(bytes));
    bytes.ok_or_else(|| Fault::new("is out of range", right()))
}

/// A time in milliseconds, at most [`MILLISECONDS_MAX`].
pub(super) fn milliseconds(text: &str) -> Result<Duration, Fault> {
    let right = || format!("write a number of milliseconds from 0 to {MILLISECONDS_MAX}");
    let number = digits(text).ok_or_else(|| Fault::new("is not a number", right()))?;
    let inside = number <= MILLISECONDS_MAX;
    inside
        .then(|| Duration::from_millis(number))
        .ok_or_else(|| Fault::new("is out of range", right()))
}

/// A time in milliseconds; 0 and -1 are none, as for twemproxy's `timeout`. `none` says what that is for.
pub(super) fn timeout(text: &str, none: &str) -> Result<Option<Duration>, Fault> {
    match text {
        "-1" => Ok(None),
        _ => {
            let none = |fault: Fault| fault.or(&format!("0 or -1 {none}"));
            let timeout = milliseconds(text).map_err(none)?;
            Ok(Some(timeout).filter(|timeout| !timeout.is_zero()))
        }
    }
}

pub(super) fn hash(text: &str) -> Result<Hash, Fault> {
    let names = Hash::ALL.iter().map(|hash| hash.name());
    Hash::from_name(text).ok_or_else(|| Fault::new("is not a valid hash", one_of(text, names)))
}

pub(super) fn distribution(text: &str) -> Result<Distribution, Fault> {
    let names = Distribution::ALL.iter().map(|distribution| distribution.name());
    Distribution::from_name(text)
        .ok_or_else(|| Fault::new("is not a valid distribution", one_of(text, names)))
}

pub(super) fn hash_tag(text: &str) -> Result<HashTag, Fault> {
    match *text.as_bytes() {
        [open, close] => Ok(HashTag::new(open, close)),
        _ => Err(Fault::new(
            "is not a valid hash tag string with two characters",
            "write the opening and the closing character in quotes, such as \"{}\"",
        )),
    }
}

/// A text that is not empty and has no spaces.
pub(super) fn word(text: &str) -> Result<String, Fault> {
    if text.is_empty() || text.contains(char::is_whitespace) {
        let right = "write a name without spaces, or leave the directive out";
        return Err(Fault::new("has an invalid value", right));
    }
    Ok(text.into())
}

/// A path that does not depend on the working directory.
pub(super) fn absolute_path(text: &str) -> Result<PathBuf, Fault> {
    if !text.starts_with('/') {
        let right = "write the absolute path of a file, such as /run/secrets/redis";
        return Err(Fault::new("has no absolute path", right));
    }
    Ok(text.into())
}

pub(super) fn one_of(text: &str, names: impl Iterator<Item = &'static str> + Clone) -> String {
    let list = names.clone().collect::<Vec<_>>().join(", ");
    match crate::suggest::nearest(text, names) {
        Some(name) => format!("did you mean {name}? It is one of {list}"),
        None => format!("write one of {list}"),
    }
}

/// The longest time: what fits in twemproxy's signed 32 bits, nearly 25 days.
pub(super) const MILLISECONDS_MAX: u64 = i32::MAX as u64;

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Bounds = Bounds::new(1, 100);

    #[test]
    fn numbers_are_digits_inside_their_bounds() {
        assert_eq!(count("1", SMALL), Ok(1));
        assert_eq!(count("100", SMALL), Ok(100));
        assert_eq!(count("007", SMALL), Ok(7));
        for (text, wrong) in [
            ("0", "cannot be 0"),
            ("101", "is out of range"),
            ("4294967297", "is out of range"),
            ("99999999999999999999999", "is out of range"),
            ("", "is not a number"),
            ("-1", "is not a number"),
            ("+1", "is not a number"),
            ("1 ", "is not a number"),
            ("0x10", "is not a number"),
            ("१", "is not a number"),
        ] {
            assert_eq!(count(text, SMALL).unwrap_err().wrong, wrong, "{text:?}");
        }
    }

    #[test]
    fn sizes_take_units_of_1024_in_either_case() {
        let bounds = Bounds::new(1, 1 << 30);
        for (text, bytes) in
            [("1", 1), ("64k", 65536), ("64K", 65536), ("2m", 2 << 20), ("1g", 1 << 30)]
        {
            assert_eq!(size(text, bounds), Ok(bytes), "{text:?}");
        }
        for (text, wrong) in [
            ("0", "is out of range"),
            ("0k", "is out of range"),
            ("2g", "is out of range"),
            ("18014398509481985k", "is out of range"),
            ("k", "is not a number of bytes"),
            ("", "is not a number of bytes"),
            ("1kb", "is not a number of bytes"),
            ("1.5m", "is not a number of bytes"),
            ("-1", "is not a number of bytes"),
        ] {
            assert_eq!(size(text, bounds).unwrap_err().wrong, wrong, "{text:?}");
        }
    }

    #[test]
    fn a_timeout_of_zero_or_minus_one_is_none() {
        assert_eq!(timeout("0", ""), Ok(None));
        assert_eq!(timeout("-1", ""), Ok(None));
        assert_eq!(timeout("400", ""), Ok(Some(Duration::from_millis(400))));
        assert_eq!(timeout("2147483647", ""), Ok(Some(Duration::from_millis(2_147_483_647))));
        assert_eq!(timeout("2147483648", "").unwrap_err().wrong, "is out of range");
        assert_eq!(timeout("-2", "").unwrap_err().wrong, "is not a number");
        assert_eq!(milliseconds("-1").unwrap_err().wrong, "is not a number");
    }

    #[test]
    fn flags_are_lower_case_words() {
        assert_eq!(flag("true"), Ok(true));
        assert_eq!(flag("false"), Ok(false));
        for text in ["yes", "True", "1", "", "on"] {
            assert_eq!(flag(text).unwrap_err().wrong, "is not \"true\" or \"false\"");
        }
    }

    #[test]
    fn a_hash_tag_is_two_bytes() {
        assert!(hash_tag("{}").is_ok());
        assert!(hash_tag("$$").is_ok());
        for text in ["", "{", "{}}", "«»"] {
            assert!(hash_tag(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_wrong_name_gets_the_nearest_one() {
        let fault = hash("fnv1a-64").unwrap_err();
        assert_eq!(fault.wrong, "is not a valid hash");
        assert!(fault.right.starts_with("did you mean fnv1a_64? It is one of "), "{}", fault.right);
        let fault = distribution("round robin").unwrap_err();
        assert!(fault.right.starts_with("write one of ketama, modula, random"), "{}", fault.right);
    }
}
