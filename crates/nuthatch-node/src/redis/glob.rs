//! Patterns of `KEYS` and `SCAN`: `*`, `?`, `[abc]`, `[^a-z]`, and `\` before a literal byte.
//!
//! The one rule: the time is at most the length of the pattern times the length of the text. Only
//! the last `*` is tried again, which is enough, because an earlier one has matched the shortest
//! text.

/// Whether the whole `text` matches.
pub(crate) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut pattern, mut text) = (pattern, text);
    // Behind the last `*`: the pattern, and the text that it was tried on.
    let mut again: Option<(&[u8], &[u8])> = None;
    loop {
        if let [b'*', rest @ ..] = pattern {
            pattern = rest;
            again = Some((rest, text));
            continue;
        }
        match text.split_first() {
            None if pattern.is_empty() => return true,
            None => return false,
            Some((byte, rest)) => {
                if let Some(behind) = step(pattern, *byte) {
                    (pattern, text) = (behind, rest);
                    continue;
                }
            }
        }
        let Some((behind, [_, rest @ ..])) = again else { return false };
        (pattern, text) = (behind, rest);
        again = Some((behind, rest));
    }
}

/// The rest of the pattern, if its first element (no `*`) matches this byte.
fn step(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    match pattern {
        [] => None,
        [b'?', rest @ ..] => Some(rest),
        [b'[', rest @ ..] => {
            let (is_in, rest) = class(rest, byte);
            is_in.then_some(rest)
        }
        [b'\\', literal, rest @ ..] | [literal, rest @ ..] => (*literal == byte).then_some(rest),
    }
}

/// Whether a class such as `^a-z]` has the byte, and the pattern behind the class. A class without
/// its end goes to the end of the pattern.
fn class(mut rest: &[u8], byte: u8) -> (bool, &[u8]) {
    let is_negated = rest.first() == Some(&b'^');
    rest = &rest[usize::from(is_negated)..];
    let mut is_in = false;
    loop {
        let (low, high, behind) = match rest {
            [] => return (is_in != is_negated, rest),
            [b']', behind @ ..] => return (is_in != is_negated, behind),
            [b'\\', literal, behind @ ..] => (*literal, *literal, behind),
            [low, b'-', high, behind @ ..] => (*low.min(high), *low.max(high), behind),
            [literal, behind @ ..] => (*literal, *literal, behind),
        };
        is_in |= (low..=high).contains(&byte);
        rest = behind;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_whole_texts() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("*", "", true),
            ("*", "anything", true),
            ("a*c", "abc", true),
            ("a*c", "abcd", false),
            ("*b*b*", "abcb", true),
            ("*b*b*", "abc", false),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("[ab]x", "bx", true),
            ("[^ab]x", "bx", false),
            ("[a-c]x", "cx", true),
            ("[c-a]x", "bx", true),
            ("[\\]]", "]", true),
            ("[ab", "a", true),
            ("\\*", "*", true),
            ("\\*", "x", false),
            ("user:[0-9]*", "user:7", true),
            ("user:[0-9]*", "user:x", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn many_stars_take_no_exponential_time() {
        let pattern = [&b"a*".repeat(1000)[..], b"b"].concat();
        assert!(!matches(&pattern, &b"a".repeat(10_000)));
    }
}
