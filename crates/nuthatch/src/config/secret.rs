//! A password, and the file that may hold it.
//!
//! The one rule: the bytes leave a [`Secret`] only through [`Secret::expose`]. Its texts, for people
//! and for debugging, are always the same, so a password can't get into a log, a message or a page
//! by accident.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::value::Fault;

/// A password: at least one byte, and any bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<[u8]>);

impl Secret {
    /// The text as a password, if it is not empty.
    pub(super) fn from_text(text: &str) -> Result<Self, Fault> {
        let empty = "has an invalid value";
        Self::new(text.as_bytes())
            .ok_or_else(|| Fault::new(empty, "write a password, or leave the directive out"))
    }

    /// The content of a file, without one line end at its end.
    pub(super) fn read(path: &Path) -> Result<Self, Fault> {
        let bytes = read(path).map_err(|error| {
            let wrong = format!("names a file that can't be read: {error}");
            Fault::new(&wrong, "write the path of a file that the proxy may read")
        })?;
        if bytes.len() > FILE_BYTES_MAX {
            let wrong = format!("names a file of more than {FILE_BYTES_MAX} bytes");
            return Err(Fault::new(&wrong, "write only the password into the file"));
        }
        Self::new(&bytes[..bytes.len() - line_end(&bytes)]).ok_or_else(|| {
            Fault::new("names a file without a password", "write the password into the file")
        })
    }

    /// The password of a file that a flag names.
    ///
    /// # Errors
    /// What is wrong with the file, and what would be right.
    pub(crate) fn of_file(path: &Path) -> Result<Self, String> {
        Self::read(path).map_err(|Fault { wrong, right }| format!("{wrong}; {right}"))
    }

    /// The bytes as a password, if there are any.
    pub(crate) fn new(bytes: &[u8]) -> Option<Self> {
        (!bytes.is_empty()).then(|| Self(bytes.into()))
    }

    /// The bytes of the password.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(NOT_SHOWN)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(NOT_SHOWN)
    }
}

/// The first bytes of a file: one more than a password may have, so that a longer file is noticed.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The text without one LF or CRLF at its end.
pub(super) fn without_line_end(text: &str) -> &str {
    &text[..text.len() - line_end(text.as_bytes())]
}

/// How long the LF or CRLF at the end is, which editors and `echo` append; 0 if there is none.
fn line_end(bytes: &[u8]) -> usize {
    match bytes {
        [.., b'\r', b'\n'] => 2,
        [.., b'\n'] => 1,
        _ => 0,
    }
}

/// A path such as `/dev/zero` must not fill the memory.
const FILE_BYTES_MAX: usize = 64 << 10;

const NOT_SHOWN: &str = "(not shown)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_looks_the_same_whatever_it_is() {
        let secret = Secret::from_text("hunter2").unwrap();
        assert_eq!(secret.expose(), b"hunter2");
        assert_eq!(
            format!("{secret} {secret:?} {:#?}", Some(&secret)).matches("hunter2").count(),
            0
        );
        assert_eq!(secret.to_string(), "(not shown)");
        assert!(Secret::from_text("").is_err());
    }

    #[test]
    fn one_line_end_at_the_end_is_no_part_of_a_password() {
        for (bytes, password) in [
            (&b"hunter2"[..], &b"hunter2"[..]),
            (b"hunter2\n", b"hunter2"),
            (b"hunter2\r\n", b"hunter2"),
            (b"hunter2\n\n", b"hunter2\n"),
            (b"hunter2 ", b"hunter2 "),
            (b"a\nb\r", b"a\nb\r"),
            (b"\xff\n", b"\xff"),
            (b"\n", b""),
        ] {
            assert_eq!(&bytes[..bytes.len() - line_end(bytes)], password, "{bytes:?}");
        }
        assert_eq!(without_line_end("é\r\n"), "é");
    }
}
