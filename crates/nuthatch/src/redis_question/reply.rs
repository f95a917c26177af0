//! Writes an answer in the form of the client's version of the protocol.
//!
//! The one rule: what RESP2 has no type for is written in RESP2 as Redis does: a map as an array of
//! names and values in turn, a set as an array, a text as a bulk string.

use nuthatch_core::redis::{write_bulk, write_header, write_integer};

/// The bytes of an answer.
pub(super) struct Reply {
    is_resp3: bool,
    bytes: Vec<u8>,
}

impl Reply {
    pub(super) fn new(is_resp3: bool) -> Self {
        Self { is_resp3, bytes: Vec::new() }
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Begins an array of so many elements.
    pub(super) fn array(&mut self, len: usize) {
        write_header(b'*', len, &mut self.bytes);
    }

    /// Begins a map of so many names, each followed by its value.
    pub(super) fn map(&mut self, len: usize) {
        let (kind, len) = if self.is_resp3 { (b'%', len) } else { (b'*', len * 2) };
        write_header(kind, len, &mut self.bytes);
    }

    /// Begins a set of so many elements.
    pub(super) fn set(&mut self, len: usize) {
        write_header(if self.is_resp3 { b'~' } else { b'*' }, len, &mut self.bytes);
    }

    /// A set of such words.
    pub(super) fn words(&mut self, words: &[&str]) {
        self.set(words.len());
        for word in words {
            self.line(b'+', word);
        }
    }

    pub(super) fn bulk(&mut self, text: impl AsRef<[u8]>) {
        write_bulk(text.as_ref(), &mut self.bytes);
    }

    pub(super) fn integer(&mut self, number: i64) {
        write_integer(number, &mut self.bytes);
    }

    /// Nothing.
    pub(super) fn null(&mut self) {
        self.bytes.extend_from_slice(if self.is_resp3 { b"_\r\n" } else { b"$-1\r\n" });
    }

    /// A text to be shown as it is: `INFO`.
    pub(super) fn text(&mut self, text: &str) {
        if !self.is_resp3 {
            return self.bulk(text);
        }
        write_header(b'=', TEXT.len() + text.len(), &mut self.bytes);
        for part in [TEXT, text, "\r\n"] {
            self.bytes.extend_from_slice(part.as_bytes());
        }
    }

    /// An error; there is nothing else in the answer.
    pub(super) fn error(&mut self, text: &str) {
        self.bytes.clear();
        self.line(b'-', text);
    }

    fn line(&mut self, kind: u8, text: &str) {
        self.bytes.push(kind);
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.extend_from_slice(b"\r\n");
    }
}

/// How a verbatim string of plain text begins.
const TEXT: &str = "txt:";
