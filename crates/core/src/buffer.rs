//! A queue of bytes: bytes are appended at the end and consumed from the front.
//!
//! The one rule: `start <= bytes.len()`; the bytes before `start` are consumed. An empty buffer
//! holds no memory: it returns its memory to the [`Spares`] and takes memory from there when bytes
//! are appended, so idle clients need no memory for buffers.

use crate::spares::{LARGE, SMALL_MAX, Spares};
use alloc::vec::Vec;
use core::mem;

/// A queue of bytes.
#[derive(Debug, Default)]
pub struct Buffer {
    bytes: Vec<u8>,
    start: usize,
}

impl Buffer {
    /// The bytes that are still to be consumed.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// How many bytes wait.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }

    /// The vector to append to. The buffer takes memory from `spares` if it has none.
    #[inline(always)]
    pub fn tail(&mut self, spares: &mut Spares) -> &mut Vec<u8> {
        if self.bytes.capacity() == 0 {
            self.bytes = spares.take();
        } else if self.start >= COMPACT_AT && self.start * 2 >= self.bytes.len() {
            // This is done now, not in `consume`, because often nothing more is appended.
            self.compact();
        }
        &mut self.bytes
    }

    #[cold]
    fn compact(&mut self) {
        self.bytes.drain(..self.start);
        self.start = 0;
    }

    /// Makes room for `extra` more bytes at the end, first by removing consumed bytes.
    pub fn reserve(&mut self, extra: usize) {
        if self.start > 0 && self.bytes.capacity() - self.bytes.len() < extra {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.reserve_exact(extra);
    }

    /// The place into which the rest of `need` bytes can be read directly, behind the present
    /// bytes; `None` if there are so few that a copy costs less than separate memory.
    ///
    /// The place has room for `likely` bytes in all (the size expected from earlier messages), or
    /// for as many bytes as are here already, or for a fixed amount: bytes that a message only
    /// announces take no memory.
    #[inline]
    pub fn room_for_large(
        &mut self,
        need: usize,
        likely: usize,
        spares: &mut Spares,
    ) -> Option<&mut Vec<u8>> {
        let len = self.len();
        let missing = need.saturating_sub(len);
        if missing < LARGE && (missing == 0 || len < LARGE) {
            return None;
        }
        Some(self.room_for(missing, likely.saturating_sub(len).max(len).max(GROWTH), spares))
    }

    #[cold]
    fn room_for(&mut self, missing: usize, most: usize, spares: &mut Spares) -> &mut Vec<u8> {
        if self.bytes.capacity() - self.bytes.len() < missing {
            self.grow(missing.min(most), spares);
        }
        &mut self.bytes
    }

    /// Makes room for `extra` more bytes, in idle memory if some fits.
    fn grow(&mut self, extra: usize, spares: &mut Spares) {
        if self.bytes.capacity() - self.bytes.len() >= extra {
            return;
        }
        let Some(mut bytes) = spares.take_fitting(self.len() + extra) else {
            return self.reserve(extra);
        };
        bytes.extend_from_slice(self.as_slice());
        self.clear(spares);
        self.bytes = bytes;
    }

    /// The minimum number of first bytes that [`Buffer::split_large`] separates from the following
    /// bytes.
    pub fn split_min(&self) -> usize {
        if self.start == 0 { LARGE.max(self.bytes.capacity() / 8 * 7) } else { usize::MAX }
    }

    /// The bytes of memory that the buffer holds; if these are few, the number of waiting bytes.
    pub fn footprint(&self) -> usize {
        let capacity = self.bytes.capacity();
        if capacity > SMALL_MAX { capacity } else { self.len() }
    }

    /// Moves the waiting bytes into little memory, if they are few, and returns the rest of the
    /// memory.
    pub fn shrink(&mut self, spares: &mut Spares) {
        if self.bytes.capacity() > SMALL_MAX && self.len() < LARGE {
            let mut bytes = spares.take();
            bytes.extend_from_slice(self.as_slice());
            self.clear(spares);
            self.bytes = bytes;
        }
    }

    /// Separates the first `len` bytes, with their memory, from the following bytes, which are
    /// copied. Returns the buffer unchanged if the first bytes are not large or do not nearly fill
    /// the memory: the memory may be kept for long, and only bytes are counted.
    pub fn split_large(mut self, len: usize, spares: &mut Spares) -> Result<(Vec<u8>, Self), Self> {
        if len < self.split_min() {
            return Err(self);
        }
        let mut rest = Self::default();
        if len < self.bytes.len() {
            rest.tail(spares).extend_from_slice(&self.bytes[len..]);
            self.bytes.truncate(len);
        }
        Ok((self.bytes, rest))
    }

    /// Takes `count` bytes from the front; gives the memory back when nothing is left.
    ///
    /// # Panics
    /// If fewer than `count` bytes wait.
    #[inline]
    pub fn consume(&mut self, count: usize, spares: &mut Spares) {
        assert!(count <= self.len(), "consumed more than there was");
        self.start += count;
        if self.is_empty() {
            self.clear(spares);
        }
    }

    /// Removes all bytes and returns the memory.
    #[inline]
    pub fn clear(&mut self, spares: &mut Spares) {
        self.start = 0;
        spares.give(mem::take(&mut self.bytes));
    }

    /// Like [`Buffer::consume`], for a queue that is never idle for long: the memory stays, unless
    /// a burst made it large.
    ///
    /// # Panics
    /// If fewer than `count` bytes wait.
    #[inline]
    pub fn advance(&mut self, count: usize) {
        assert!(count <= self.len(), "consumed more than there was");
        self.start += count;
        if self.is_empty() && self.bytes.capacity() > BURST {
            *self = Self::default();
        } else if self.is_empty() {
            self.bytes.clear();
            self.start = 0;
        }
    }

    /// Appends the part of `bytes` that completes a message of `need` bytes, and a little more if
    /// that part is small. Returns the number of appended bytes.
    ///
    /// A read seldom ends at the end of a message. The incomplete message is kept here; of the next
    /// read, only the rest of this message is copied, and all other messages are used in place.
    pub fn top_up(&mut self, bytes: &[u8], need: usize, spares: &mut Spares) -> usize {
        let count = need.saturating_sub(self.len()).max(TOP_UP_MIN).min(bytes.len());
        self.tail(spares).extend_from_slice(&bytes[..count]);
        count
    }

    /// Drops the waiting bytes if all of them are among the last `count` appended bytes. Returns
    /// their number; the caller still has these bytes.
    pub fn give_back(&mut self, count: usize, spares: &mut Spares) -> usize {
        let left = self.len();
        if left > count {
            return 0;
        }
        if left > 0 {
            self.clear(spares);
        }
        left
    }
}

impl From<Vec<u8>> for Buffer {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, start: 0 }
    }
}

/// The buffer grows by its present size, and by at least this.
const GROWTH: usize = 256 * 1024;

/// Nearly all lines that are not lists of keys are shorter.
const TOP_UP_MIN: usize = 512;

/// If this many bytes at the front are consumed, the rest is moved.
const COMPACT_AT: usize = 16 * 1024;

/// More memory than this is not kept by an empty queue.
const BURST: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn bytes_leave_in_the_order_they_came() {
        let mut spares = Spares::new(8 << 20);
        let mut buffer = Buffer::default();
        buffer.tail(&mut spares).extend_from_slice(b"hello world");
        buffer.consume(6, &mut spares);
        assert_eq!(buffer.as_slice(), b"world");
        buffer.tail(&mut spares).extend_from_slice(b"!");
        assert_eq!(buffer.as_slice(), b"world!");
        assert_eq!(buffer.len(), 6);
    }

    #[test]
    fn an_empty_buffer_holds_no_memory() {
        let mut spares = Spares::new(8 << 20);
        let mut buffer = Buffer::default();
        buffer.tail(&mut spares).extend_from_slice(b"x");
        buffer.consume(1, &mut spares);
        assert_eq!(buffer.bytes.capacity(), 0);
        assert!(spares.take().capacity() > 0, "it went to the spares");
    }

    #[test]
    fn reserving_forgets_what_was_consumed_before_it_grows() {
        let mut spares = Spares::new(8 << 20);
        let mut buffer = Buffer::default();
        buffer.tail(&mut spares).extend_from_slice(&[7; 200]);
        buffer.advance(150);
        buffer.reserve(300);
        assert_eq!(buffer.start, 0);
        assert_eq!(buffer.as_slice(), [7; 50]);
    }

    #[test]
    fn only_what_completes_a_message_is_copied() {
        let mut spares = Spares::new(8 << 20);
        let mut buffer = Buffer::default();
        buffer.tail(&mut spares).extend_from_slice(&[1; 100]);
        let read = [2; 5000];
        assert_eq!(buffer.top_up(&read, 2000, &mut spares), 1900);
        buffer.consume(1950, &mut spares);
        assert_eq!(buffer.give_back(1900, &mut spares), 50, "these are still in `read`");
        assert!(buffer.is_empty());
    }

    #[test]
    fn bytes_that_came_before_the_last_read_are_kept() {
        let mut spares = Spares::new(8 << 20);
        let mut buffer = Buffer::default();
        buffer.tail(&mut spares).extend_from_slice(&[1; 100]);
        assert_eq!(buffer.top_up(&[2; 30], 2000, &mut spares), 30);
        assert_eq!(buffer.give_back(30, &mut spares), 0);
        assert_eq!(buffer.len(), 130);
    }

    #[test]
    fn a_consumed_queue_that_is_never_empty_does_not_grow_for_ever() {
        let mut spares = Spares::new(8 << 20);
        let mut buffer = Buffer::default();
        for _ in 0..100_000 {
            buffer.tail(&mut spares).extend_from_slice(&[1; 20]);
            if buffer.len() > 100 {
                buffer.consume(20, &mut spares);
            }
        }
        assert!(buffer.bytes.capacity() < 128 * 1024);
    }

    #[test]
    fn an_advanced_queue_gives_back_what_a_burst_took() {
        let mut spares = Spares::new(8 << 20);
        let mut buffer = Buffer::default();
        buffer.tail(&mut spares).extend_from_slice(&[1; 2 << 20]);
        buffer.advance(2 << 20);
        assert_eq!(buffer.bytes.capacity(), 0);
    }

    #[test]
    fn the_last_bytes_of_a_large_message_are_read_to_the_room_that_is_left_for_them() {
        let mut spares = Spares::new(8 << 20);
        let mut buffer = Buffer::default();
        let room = buffer.room_for_large(100_000, 0, &mut spares).expect("it is large");
        room.extend_from_slice(&[1; 99_000]);
        let room = buffer.room_for_large(100_000, 0, &mut spares).expect("there is room");
        assert_eq!(room.capacity(), 100_000);
        room.extend_from_slice(&[1; 1000]);
        assert!(buffer.room_for_large(100_000, 0, &mut spares).is_none(), "it is whole");
    }

    #[test]
    fn what_is_only_promised_takes_little_memory() {
        let mut spares = Spares::new(8 << 20);
        let mut buffer = Buffer::default();
        let room = buffer.room_for_large(10 << 20, 0, &mut spares).expect("it is large");
        assert_eq!(room.capacity(), GROWTH);
        let mut buffer = Buffer::default();
        let room = buffer.room_for_large(10 << 20, 1 << 20, &mut spares).expect("it is large");
        assert_eq!(room.capacity(), 1 << 20, "so many came before");
    }

    #[test]
    fn little_that_is_left_does_not_hold_much_memory() {
        let mut spares = Spares::new(8 << 20);
        let mut buffer = Buffer::from(vec![7; 100_000]);
        buffer.advance(99_000);
        buffer.shrink(&mut spares);
        assert_eq!(buffer.as_slice(), [7; 1000]);
        assert_eq!(buffer.footprint(), 1000);
        assert!(spares.take_fitting(100_000).is_some(), "it can be used again");
    }

    #[test]
    fn an_advanced_queue_does_not_grow_for_ever() {
        let mut spares = Spares::new(8 << 20);
        let mut buffer = Buffer::default();
        for _ in 0..100_000 {
            buffer.tail(&mut spares).extend_from_slice(&[1; 20]);
            if buffer.len() > 100 {
                buffer.advance(20);
            }
        }
        assert!(buffer.bytes.capacity() < 128 * 1024);
    }
}
