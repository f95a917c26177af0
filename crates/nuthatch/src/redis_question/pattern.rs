//! Glob patterns, as Redis reads them (`stringmatchlen`): `*`, `?`, `[a-z]`, `[^a]` and `\`.
//!
//! The one rule: to compare costs at most the length of the pattern times that of the name, and
//! neither is long.

/// A pattern in lower case.
pub(super) struct Pattern(Vec<u8>);

/// The longest pattern: no name is nearly as long.
const LEN_MAX: usize = 512;

/// The error for a longer one.
pub(super) const TOO_LONG: &str = "ERR the pattern is too long";

impl Pattern {
    /// `None` if it is too long.
    pub(super) fn new(text: &[u8]) -> Option<Self> {
        (text.len() <= LEN_MAX).then(|| Self(text.to_ascii_lowercase()))
    }

    /// Whether a name, which is in lower case, has this form.
    pub(super) fn fits(&self, name: &[u8]) -> bool {
        let (mut pattern, mut name) = (&self.0[..], name);
        // What follows the last star, and what it was compared with last.
        let mut star: Option<(&[u8], &[u8])> = None;
        loop {
            if let [b'*', rest @ ..] = pattern {
                star = Some((rest, name));
                pattern = rest;
            } else if let Some(rest) = one(pattern, name) {
                (pattern, name) = (rest, &name[1..]);
            } else if pattern.is_empty() && name.is_empty() {
                return true;
            } else {
                // The star stands for one byte more.
                let Some((rest, [_, behind @ ..])) = star else { return false };
                star = Some((rest, behind));
                (pattern, name) = (rest, behind);
            }
        }
    }
}

/// The rest of the pattern, if its first part fits the first byte of the name.
fn one<'p>(pattern: &'p [u8], name: &[u8]) -> Option<&'p [u8]> {
    let byte = *name.first()?;
    match pattern {
        [b'?', rest @ ..] => Some(rest),
        [b'[', rest @ ..] => {
            let (is_in, rest) = class(rest, byte);
            is_in.then_some(rest)
        }
        [b'\\', literal, rest @ ..] | [literal, rest @ ..] => (*literal == byte).then_some(rest),
        [] => None,
    }
}

/// Whether a byte is in the class behind `[`, and the pattern behind its `]`. A class without end
/// ends with the pattern.
fn class(pattern: &[u8], byte: u8) -> (bool, &[u8]) {
    let (is_not, mut rest) = match pattern {
        [b'^', rest @ ..] => (true, rest),
        _ => (false, pattern),
    };
    let mut is_in = false;
    loop {
        rest = match rest {
            [] => return (is_in != is_not, rest),
            [b']', rest @ ..] => return (is_in != is_not, rest),
            [b'\\', literal, rest @ ..] => {
                is_in |= *literal == byte;
                rest
            }
            [first, b'-', last, rest @ ..] => {
                let (least, greatest) = (first.min(last), first.max(last));
                is_in |= (least..=greatest).contains(&&byte);
                rest
            }
            [literal, rest @ ..] => {
                is_in |= *literal == byte;
                rest
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_fits_what_redis_says_it_fits() {
        for (pattern, name, fits) in [
            ("save", "save", true),
            ("SAVE", "save", true),
            ("save", "saved", false),
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "save", true),
            ("max*", "maxmemory-policy", true),
            ("*memory*", "maxmemory-policy", true),
            ("*memory", "maxmemory-policy", false),
            ("*a*a*", "banana", true),
            ("*a*a*a*a*", "banana", false),
            ("s?ve", "save", true),
            ("s?ve", "sve", false),
            ("[a-s]ave", "save", true),
            ("[s-a]ave", "save", true),
            ("[^a-s]ave", "save", false),
            ("[xs]ave", "save", true),
            ("sav[e", "save", true),
            ("[]save", "save", false),
            ("\\save", "save", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("save\\", "save\\", true),
        ] {
            let found = Pattern::new(pattern.as_bytes()).unwrap().fits(name.as_bytes());
            assert_eq!(found, fits, "{pattern} {name}");
        }
    }

    #[test]
    fn a_long_pattern_is_none() {
        assert!(Pattern::new(&[b'*'; LEN_MAX]).unwrap().fits(b"save"));
        assert!(Pattern::new(&[b'*'; LEN_MAX + 1]).is_none());
    }
}
