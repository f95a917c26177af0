//! Escaping of text from outside: file names, values, keys, arguments, variables.
//!
//! The one rule: all text from outside is escaped here before it is printed to a terminal, so that
//! no text can move the cursor, colour or hide other text, or start a new line. Nothing is lost: an
//! escaped character is shown by its number.

use std::fmt::{self, Write as _};
use std::io;

use serde_json::Value;

/// `text` on one line: control characters, and characters without a visible glyph, are shown by
/// number.
#[must_use]
pub fn escaped(text: &str) -> impl fmt::Display + '_ {
    Escaped(text)
}

struct Escaped<'t>(&'t str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            ' '..='~' => out.write_char(c),
            _ => write_char(out, c),
        })
    }
}

/// Writes a character beyond ASCII, or a control character. It is escaped after a letter, because
/// `escape_debug` escapes a combining character only at the start of a text.
fn write_char(out: &mut impl fmt::Write, c: char) -> fmt::Result {
    let mut behind_letter = [b'a', 0, 0, 0, 0];
    let length = c.encode_utf8(&mut behind_letter[1..]).len();
    let text = str::from_utf8(&behind_letter[..=length]).unwrap_or_default();
    text.escape_debug().skip(1).try_for_each(|c| out.write_char(c))
}

/// Writes a key: control characters by number, except the tab, which is harmless; bytes that are
/// not UTF-8 unchanged.
///
/// # Errors
/// When `out` can't be written.
pub(crate) fn write_key(out: &mut impl io::Write, key: &[u8]) -> io::Result<()> {
    for chunk in key.utf8_chunks() {
        for (number, part) in chunk.valid().split('\t').enumerate() {
            out.write_all(if number > 0 { b"\t" } else { b"" })?;
            write!(out, "{}", escaped(part))?;
        }
        out.write_all(chunk.invalid())?;
    }
    Ok(())
}

/// A JSON value on one line. JSON allows the control characters from U+007F to U+009F, but
/// terminals interpret them.
pub(crate) fn json_line(value: &Value) -> String {
    let text = value.to_string();
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            // There are no control characters outside of strings. Writing to a string cannot fail.
            let _ = write!(line, "\\u{:04x}", u32::from(c));
        } else {
            line.push(c);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown_by_its_number() {
        for (text, shown) in [
            ("plain 'text' \"with\" \\ signs", "plain 'text' \"with\" \\ signs"),
            ("Grüße 東京 e\u{301}", "Grüße 東京 e\u{301}"),
            ("\u{1b}[31mred", "\\u{1b}[31mred"),
            ("a\nb\r\tc\0", "a\\nb\\r\\tc\\0"),
            ("\u{7f}\u{9b}2J", "\\u{7f}\\u{9b}2J"),
            ("\u{202e}txt.\u{200b}", "\\u{202e}txt.\\u{200b}"),
        ] {
            assert_eq!(escaped(text).to_string(), shown);
        }
    }

    #[test]
    fn a_key_keeps_the_bytes_that_are_no_text() {
        let mut shown = Vec::new();
        write_key(&mut shown, b"\xff\x80 \tx\xc2\x9b\x1b").unwrap();
        assert_eq!(shown, b"\xff\x80 \tx\\u{9b}\\u{1b}");
    }

    #[test]
    fn json_has_every_control_character_by_number() {
        let line = json_line(&json!({ "a\u{9b}": "\u{7f}\u{1b}é" }));
        assert_eq!(line, r#"{"a\u009b":"\u007f\u001bé"}"#);
        let back: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(back, json!({ "a\u{9b}": "\u{7f}\u{1b}é" }));
    }
}
