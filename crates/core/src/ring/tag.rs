//! The hash tag: the part of a key that is hashed, so that related keys have the same server.
//!
//! The rule is twemproxy's (`server_pool_idx`): the first opening byte, then the first closing
//! byte after it; the bytes between them if there are any, else the whole key. No second pair is
//! tried. With `{` and `}` that is the rule of Redis Cluster as well.

use memchr::memchr;

/// The two bytes that enclose the part of a key to be hashed; they may be the same byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashTag {
    open: u8,
    close: u8,
}

impl HashTag {
    /// The tag between `open` and `close`.
    #[must_use]
    pub const fn new(open: u8, close: u8) -> Self {
        Self { open, close }
    }

    /// The part of `key` to be hashed: empty only if `key` is.
    #[must_use]
    pub fn part(self, key: &[u8]) -> &[u8] {
        self.enclosed(key).filter(|part| !part.is_empty()).unwrap_or(key)
    }

    /// The two characters, the opening one first.
    pub const fn bytes(self) -> [u8; 2] {
        [self.open, self.close]
    }

    fn enclosed(self, key: &[u8]) -> Option<&[u8]> {
        let rest = &key[memchr(self.open, key)? + 1..];
        Some(&rest[..memchr(self.close, rest)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn braces(key: &str) -> &[u8] {
        HashTag::new(b'{', b'}').part(key.as_bytes())
    }

    #[test]
    fn the_part_between_the_first_pair_is_hashed() {
        assert_eq!(braces("{user:1}:name"), b"user:1");
        assert_eq!(braces("a{b}c{d}"), b"b");
        assert_eq!(braces("}a{b}"), b"b");
        assert_eq!(braces("{a{b}c}"), b"a{b");
    }

    #[test]
    fn without_a_whole_pair_the_key_is_hashed() {
        assert_eq!(braces("user:1"), b"user:1");
        assert_eq!(braces("{user:1"), b"{user:1");
        assert_eq!(braces("user}:{1"), b"user}:{1");
        assert_eq!(braces(""), b"");
    }

    #[test]
    fn an_empty_pair_hides_those_behind_it() {
        assert_eq!(braces("{}a{b}"), b"{}a{b}");
    }

    #[test]
    fn one_byte_may_open_and_close() {
        let dollars = HashTag::new(b'$', b'$');
        assert_eq!(dollars.part(b"a$b$c"), b"b");
        assert_eq!(dollars.part(b"a$$c"), b"a$$c");
        assert_eq!(dollars.part(b"a$c"), b"a$c");
    }
}
