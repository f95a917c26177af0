//! Strings as JSON, for the answers that machines read. The rest of JSON is punctuation, and stays
//! with those who know what they say.

use std::io::{self, Write};

/// Writes `bytes` as a JSON string with its quotes. What is not UTF-8 becomes U+FFFD.
pub(crate) fn write_string(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    out.write_all(b"\"")?;
    for chunk in bytes.utf8_chunks() {
        let mut rest = chunk.valid();
        while let Some(at) = rest.find(|c: char| c < ' ' || c == '"' || c == '\\') {
            out.write_all(&rest.as_bytes()[..at])?;
            match rest.as_bytes()[at] {
                b'"' => out.write_all(b"\\\"")?,
                b'\\' => out.write_all(b"\\\\")?,
                b'\n' => out.write_all(b"\\n")?,
                b'\r' => out.write_all(b"\\r")?,
                b'\t' => out.write_all(b"\\t")?,
                control => write!(out, "\\u{control:04x}")?,
            }
            rest = &rest[at + 1..];
        }
        out.write_all(rest.as_bytes())?;
        if !chunk.invalid().is_empty() {
            out.write_all("\u{fffd}".as_bytes())?;
        }
    }
    out.write_all(b"\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_is_escaped_and_valid_utf8() {
        for (bytes, json) in [
            (&b"plain"[..], r#""plain""#),
            (b"", r#""""#),
            (b"a\"b\\c", r#""a\"b\\c""#),
            (b"\n\r\t\0\x1f", r#""\n\r\t\u0000\u001f""#),
            (b"caf\xc3\xa9", "\"caf\u{e9}\""),
            (b"\xff-\xc3", "\"\u{fffd}-\u{fffd}\""),
        ] {
            let mut out = Vec::new();
            write_string(&mut out, bytes).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), json);
        }
    }
}
