//! Numbers and ranges of indexes in requests and replies.
//!
//! The one rule: an integer has exactly one form, the one that Redis prints; `+1`, `01` and ` 1` are
//! not integers.

use std::ops::Range;

use super::fault::{Fault, NOT_A_FLOAT, NOT_AN_INTEGER};

/// A word as an integer.
pub(crate) fn integer(word: &[u8]) -> Result<i64, Fault> {
    let number = str::from_utf8(word).ok().and_then(|text| text.parse::<i64>().ok());
    number.filter(|number| number.to_string().as_bytes() == word).ok_or(NOT_AN_INTEGER)
}

/// A word as a floating-point number.
pub(crate) fn float(word: &[u8]) -> Result<f64, Fault> {
    let text = str::from_utf8(word).map_err(|_| NOT_A_FLOAT)?;
    let number: f64 = text.parse().map_err(|_| NOT_A_FLOAT)?;
    let is_said = text.trim_start_matches(['+', '-']).starts_with(['i', 'I']);
    if number.is_nan() || (number.is_infinite() && !is_said) {
        return Err(NOT_A_FLOAT);
    }
    Ok(number)
}

/// The text of a floating-point number with 17 significant digits (`%.17g` in C), as Redis 7.0
/// prints scores.
pub(crate) fn float_text(number: f64) -> String {
    if number.is_infinite() {
        return if number > 0.0 { "inf".into() } else { "-inf".into() };
    }
    let scientific = format!("{number:.16e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..17).contains(&exponent) {
        let decimals = usize::try_from(16 - exponent).unwrap_or_default();
        return without_zeros(&format!("{number:.decimals$}")).into();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", without_zeros(digits), exponent.abs())
}

/// A decimal fraction without the zeros at its end.
fn without_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

/// The part of `len` elements from the index `first` to the index `last`, both inclusive; negative
/// indexes count from the end.
pub(crate) fn range(first: i64, last: i64, len: usize) -> Range<usize> {
    let len_signed = i64::try_from(len).unwrap_or(i64::MAX);
    let from_start = |index: i64| if index < 0 { index.saturating_add(len_signed) } else { index };
    let start = from_start(first).max(0);
    let end = from_start(last).min(len_signed - 1).saturating_add(1);
    match (usize::try_from(start), usize::try_from(end)) {
        (Ok(start), Ok(end)) if start < end => start..end,
        _ => 0..0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_integer_has_one_form() {
        assert_eq!(integer(b"-9223372036854775808"), Ok(i64::MIN));
        assert_eq!(integer(b"0"), Ok(0));
        for bad in [&b""[..], b"+1", b"01", b"-0", b" 1", b"1 ", b"1.0", b"9223372036854775808"] {
            assert_eq!(integer(bad), Err(NOT_AN_INTEGER), "{bad:?}");
        }
    }

    #[test]
    fn scores_are_read_and_printed_as_redis_does() {
        for (word, text) in [
            ("0", "0"),
            ("-0", "-0"),
            ("1", "1"),
            ("+1.50", "1.5"),
            ("0.1", "0.10000000000000001"),
            ("3.14", "3.1400000000000001"),
            ("100000000000000000", "1e+17"),
            ("12345678901234567", "12345678901234568"),
            ("0.0001", "0.0001"),
            ("0.00001", "1.0000000000000001e-05"),
            ("1e300", "1.0000000000000001e+300"),
            ("inf", "inf"),
            ("-Infinity", "-inf"),
        ] {
            assert_eq!(float_text(float(word.as_bytes()).unwrap()), text, "{word}");
        }
        for bad in ["", "nan", "1e999", "x", " 1", "1 "] {
            assert_eq!(float(bad.as_bytes()), Err(NOT_A_FLOAT), "{bad}");
        }
    }

    #[test]
    fn a_range_of_indexes_is_cut_to_what_there_is() {
        assert_eq!(range(0, -1, 3), 0..3);
        assert_eq!(range(-2, 9, 3), 1..3);
        assert_eq!(range(-9, 0, 3), 0..1);
        assert_eq!(range(2, 1, 3), 0..0);
        assert_eq!(range(3, 5, 3), 0..0);
        assert_eq!(range(i64::MIN, i64::MAX, 3), 0..3);
        assert_eq!(range(0, -1, 0), 0..0);
    }
}
