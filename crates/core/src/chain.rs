//! The queue of bytes to a server: small requests are copied to a [`Buffer`]; large requests stay
//! in the memory that they were read into, as pieces of the queue.
//!
//! The one rule: the first piece is empty only if all pieces are empty.

use crate::buffer::Buffer;
use crate::spares::Spares;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::mem;

/// A queue of bytes in one piece or more.
#[derive(Debug, Default)]
pub struct Chain {
    first: Buffer,
    /// Nearly always empty. After a large piece there is another piece to append to.
    rest: VecDeque<Buffer>,
    rest_bytes: usize,
}

impl Chain {
    /// The bytes that are consumed first; more pieces may follow.
    pub fn as_slice(&self) -> &[u8] {
        self.first.as_slice()
    }

    /// How many bytes wait.
    pub fn len(&self) -> usize {
        self.first.len() + self.rest_bytes
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    /// Appends the bytes that `write` writes. Returns their number.
    #[inline(always)]
    pub fn append(&mut self, spares: &mut Spares, write: impl FnOnce(&mut Vec<u8>)) -> usize {
        let is_alone = self.rest.is_empty();
        let last = if is_alone { &mut self.first } else { last_of(&mut self.rest) };
        let out = last.tail(spares);
        let before = out.len();
        write(out);
        let count = out.len() - before;
        if !is_alone {
            self.rest_bytes += count;
        }
        count
    }

    /// Appends large bytes with their memory.
    pub fn append_large(&mut self, bytes: Vec<u8>, spares: &mut Spares) {
        let bytes = Buffer::from(bytes);
        if self.rest.back().is_some_and(Buffer::is_empty) {
            self.rest.pop_back().unwrap_or_default().clear(spares);
        }
        if self.is_empty() {
            mem::replace(&mut self.first, bytes).clear(spares);
        } else {
            self.rest_bytes += bytes.len();
            self.rest.push_back(bytes);
        }
        self.rest.push_back(Buffer::default());
    }

    /// Consumes the first `count` bytes. The last piece keeps its memory for the next bytes.
    ///
    /// # Panics
    /// If [`Chain::as_slice`] has fewer bytes.
    #[inline]
    pub fn advance(&mut self, count: usize, spares: &mut Spares) {
        self.first.advance(count);
        if self.first.is_empty() && !self.rest.is_empty() {
            self.drop_first(spares);
        }
    }

    #[cold]
    fn drop_first(&mut self, spares: &mut Spares) {
        while self.first.is_empty()
            && let Some(next) = self.rest.pop_front()
        {
            self.rest_bytes -= next.len();
            mem::replace(&mut self.first, next).clear(spares);
        }
    }

    /// Removes all bytes and returns the memory.
    pub fn clear(&mut self, spares: &mut Spares) {
        self.first.clear(spares);
        self.rest.drain(..).for_each(|mut piece| piece.clear(spares));
        self.rest_bytes = 0;
    }

    /// All bytes in one piece.
    pub fn joined(&self) -> Vec<u8> {
        let mut bytes = self.first.as_slice().to_vec();
        self.rest.iter().for_each(|piece| bytes.extend_from_slice(piece.as_slice()));
        bytes
    }
}

#[cold]
fn last_of(rest: &mut VecDeque<Buffer>) -> &mut Buffer {
    rest.back_mut().expect("it is not empty")
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn large_bytes_keep_their_memory_and_all_keep_their_order() {
        let mut spares = Spares::new(8 << 20);
        let mut chain = Chain::default();
        let large = vec![b'a'; 100_000];
        let memory = large.as_ptr();
        assert_eq!(chain.append(&mut spares, |out| out.extend_from_slice(b"one")), 3);
        chain.append_large(large, &mut spares);
        chain.append_large(vec![b'b'; 100_000], &mut spares);
        chain.append(&mut spares, |out| out.extend_from_slice(b"two"));
        assert_eq!(chain.len(), 200_006);
        let all = [&b"one"[..], &[b'a'; 100_000], &[b'b'; 100_000], b"two"].concat();
        assert_eq!(chain.joined(), all);
        assert_eq!(chain.as_slice(), b"one");
        chain.advance(3, &mut spares);
        assert_eq!(chain.as_slice().as_ptr(), memory);
        chain.advance(60_000, &mut spares);
        assert_eq!(chain.as_slice().as_ptr(), memory.wrapping_add(60_000), "nothing was moved");
        chain.advance(40_000, &mut spares);
        chain.advance(100_000, &mut spares);
        assert_eq!((chain.as_slice(), chain.len()), (&b"two"[..], 3));
        chain.advance(3, &mut spares);
        assert!(chain.is_empty());
        assert_eq!(spares.take_fitting(100_000).expect("it can be used again").len(), 0);
    }
}
