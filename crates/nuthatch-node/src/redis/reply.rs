//! Replies in RESP2 and RESP3.
//!
//! The one rule: a command names the kind of its reply, and the version of the protocol decides the
//! bytes: RESP2 has arrays for maps and sets, and strings for floating-point numbers.

use std::io::Write as _;

use super::fault::Fault;
use super::number::float_text;

/// A reply that is being written.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) bytes: Vec<u8>,
    pub(crate) version: Version,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    Resp2 = 2,
    Resp3 = 3,
}

impl Reply {
    pub(crate) fn new() -> Self {
        Self { bytes: Vec::new(), version: Version::Resp2 }
    }

    pub(crate) fn simple(&mut self, text: &str) {
        self.line('+', text);
    }

    pub(crate) fn ok(&mut self) {
        self.simple("OK");
    }

    pub(crate) fn error(&mut self, fault: &Fault) {
        self.bytes.push(b'-');
        let clean = |byte: &u8| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte };
        self.bytes.extend(fault.0.iter().map(clean));
        self.bytes.extend_from_slice(b"\r\n");
    }

    pub(crate) fn integer(&mut self, number: i64) {
        self.line(':', number);
    }

    pub(crate) fn count(&mut self, count: usize) {
        self.line(':', count);
    }

    /// 1 or 0.
    pub(crate) fn flag(&mut self, is: bool) {
        self.count(usize::from(is));
    }

    pub(crate) fn bulk(&mut self, bytes: &[u8]) {
        self.line('$', bytes.len());
        self.bytes.extend_from_slice(bytes);
        self.bytes.extend_from_slice(b"\r\n");
    }

    pub(crate) fn null(&mut self) {
        self.by_version("$-1", "_");
    }

    pub(crate) fn null_array(&mut self) {
        self.by_version("*-1", "_");
    }

    pub(crate) fn bulk_or_null(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bulk(bytes),
            None => self.null(),
        }
    }

    pub(crate) fn float(&mut self, number: f64) {
        let text = float_text(number);
        match self.version {
            Version::Resp2 => self.bulk(text.as_bytes()),
            Version::Resp3 => self.line(',', text),
        }
    }

    /// Text that a person reads.
    pub(crate) fn verbatim(&mut self, text: &str) {
        match self.version {
            Version::Resp2 => self.bulk(text.as_bytes()),
            Version::Resp3 => {
                self.line('=', text.len() + 4);
                let _ = write!(self.bytes, "txt:{text}\r\n");
            }
        }
    }

    /// The head of an array; its elements follow.
    pub(crate) fn array(&mut self, len: usize) {
        self.line('*', len);
    }

    /// The head of a set; its elements follow.
    pub(crate) fn set(&mut self, len: usize) {
        self.line(if self.version == Version::Resp2 { '*' } else { '~' }, len);
    }

    /// The head of a map; `len` keys and values follow in turn.
    pub(crate) fn map(&mut self, len: usize) {
        match self.version {
            Version::Resp2 => self.line('*', 2 * len),
            Version::Resp3 => self.line('%', len),
        }
    }

    fn by_version(&mut self, resp2: &str, resp3: &str) {
        let text = if self.version == Version::Resp2 { resp2 } else { resp3 };
        let _ = write!(self.bytes, "{text}\r\n");
    }

    fn line(&mut self, kind: char, text: impl std::fmt::Display) {
        // Writing to memory can't fail, here and above.
        let _ = write!(self.bytes, "{kind}{text}\r\n");
    }
}
