//! Idle memory, kept for reuse, so that steady traffic allocates nothing and causes no page faults:
//! memory that was returned to the system costs one page fault for each page when it is allocated
//! again.
//!
//! The one rule: the kept memory is limited in bytes, and large memory that is not reused for a
//! second is returned to the system, so that no memory of a burst remains. Small buffers are handed
//! out whatever their size; large buffers by best fit, and only for a need that fills most of the
//! buffer.

use crate::time::Instant;
use alloc::vec::Vec;
use core::time::Duration;

/// Empty buffers. By default, large buffers are not kept.
#[derive(Debug, Default)]
pub struct Spares {
    small: Vec<Vec<u8>>,
    small_bytes: usize,
    /// Sorted by capacity; of buffers with the same capacity, the last one in is the first one out,
    /// because it is most likely in the CPU's caches.
    large: Vec<Idle>,
    large_bytes: usize,
    /// Maximum bytes of all large buffers.
    large_kept_max: usize,
    /// The number of calls of [`Spares::age`].
    look: u32,
    next_look: Option<Instant>,
}

/// An idle large buffer.
#[derive(Debug)]
struct Idle {
    bytes: Vec<u8>,
    /// The number of calls of [`Spares::age`] when the buffer was returned.
    since: u32,
}

/// A message, or the rest of one, of at least this size is read directly into its final buffer.
pub const LARGE: usize = 16 * 1024;
/// The maximum capacity of a small buffer.
pub const SMALL_MAX: usize = 64 * 1024;
/// Maximum bytes of all small buffers.
const SMALL_KEPT_MAX: usize = 4 * 1024 * 1024;
/// A small reply with its header.
const SMALL_MIN: usize = 160;
/// Large buffers that are not reused between two calls of [`Spares::age`] are returned to the
/// system.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Spares {
    /// No buffers yet; at most `large_kept_max` bytes of large buffers will be kept.
    pub fn new(large_kept_max: usize) -> Self {
        Self { large_kept_max, ..Self::default() }
    }

    /// Changes how many bytes of large buffers are kept.
    pub fn set_large_max(&mut self, large_kept_max: usize) {
        self.large_kept_max = large_kept_max;
    }

    /// A small empty buffer with some capacity. In line, as nearly each reply needs one.
    #[inline(always)]
    pub fn take(&mut self) -> Vec<u8> {
        let Some(bytes) = self.small.pop() else { return Vec::with_capacity(SMALL_MIN) };
        self.small_bytes -= bytes.capacity();
        bytes
    }

    /// An empty buffer for `need` bytes, which will fill at least seven eighths of the buffer, if
    /// there is one.
    pub fn take_fitting(&mut self, need: usize) -> Option<Vec<u8>> {
        let fits = |bytes: &Vec<u8>| (need..=need + need / 8).contains(&bytes.capacity());
        if need <= SMALL_MAX {
            self.small.last().filter(|bytes| need >= LARGE && fits(bytes))?;
            return Some(self.take());
        }
        let first = self.large.partition_point(|idle| idle.bytes.capacity() < need);
        let capacity = self.large.get(first).filter(|idle| fits(&idle.bytes))?.bytes.capacity();
        let end = self.large.partition_point(|idle| idle.bytes.capacity() <= capacity);
        self.large_bytes -= capacity;
        Some(self.large.remove(end - 1).bytes)
    }

    /// Likewise, with new memory if there is none.
    pub fn take_for(&mut self, need: usize) -> Vec<u8> {
        self.take_fitting(need).unwrap_or_else(|| Vec::with_capacity(need))
    }

    /// Takes a buffer back, whatever it holds.
    pub fn give(&mut self, mut bytes: Vec<u8>) {
        let capacity = bytes.capacity();
        if capacity > SMALL_MAX {
            return self.give_large(bytes);
        }
        if capacity >= SMALL_MIN && self.small_bytes + capacity <= SMALL_KEPT_MAX {
            bytes.clear();
            self.small_bytes += capacity;
            self.small.push(bytes);
        }
    }

    #[cold]
    fn give_large(&mut self, mut bytes: Vec<u8>) {
        let capacity = bytes.capacity();
        if self.large_bytes + capacity > self.large_kept_max {
            return;
        }
        bytes.clear();
        self.large_bytes += capacity;
        let end = self.large.partition_point(|idle| idle.bytes.capacity() <= capacity);
        self.large.insert(end, Idle { bytes, since: self.look });
    }

    /// Frees large buffers that were not reused for a while. Must be called often.
    #[inline]
    pub fn age(&mut self, now: Instant) {
        let is_due = match self.next_look {
            Some(at) => at <= now,
            None => !self.large.is_empty(),
        };
        if is_due {
            self.look(now);
        }
    }

    #[cold]
    fn look(&mut self, now: Instant) {
        if self.next_look.is_some() {
            let look = self.look;
            self.large.retain(|idle| idle.since == look);
            self.large_bytes = self.large.iter().map(|idle| idle.bytes.capacity()).sum();
            self.look = look.wrapping_add(1);
        }
        self.next_look = (!self.large.is_empty()).then(|| now.after(LOOK_EVERY));
    }

    /// When [`Spares::age`] should be called at the latest.
    pub fn next_look(&self) -> Option<Instant> {
        if self.large.is_empty() { None } else { Some(self.next_look.unwrap_or_default()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn large_memory_goes_to_a_need_that_fills_most_of_it() {
        let mut spares = Spares::new(8 << 20);
        for capacity in [1_000_000, 100_000, 110_000, 200_000] {
            spares.give(Vec::with_capacity(capacity));
        }
        assert_eq!(spares.take_fitting(99_000).expect("one fits").capacity(), 100_000);
        assert_eq!(spares.take_fitting(99_000).expect("one fits").capacity(), 110_000);
        assert!(spares.take_fitting(99_000).is_none(), "the others are too large");
        assert!(spares.take_fitting(100).is_none(), "a small need takes no large memory");
        assert_eq!(spares.take().capacity(), SMALL_MIN);
        assert_eq!(spares.take_fitting(999_999).expect("one fits").capacity(), 1_000_000);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut spares = Spares::new(8 << 20);
        for _ in 0..100 {
            spares.give(Vec::with_capacity(1 << 20));
        }
        let kept = core::iter::from_fn(|| spares.take_fitting(1 << 20)).count();
        assert_eq!(kept, 8);
        spares.give(Vec::new());
        assert_eq!(spares.small.len(), 0);
    }

    #[test]
    fn large_memory_that_nobody_takes_goes_back_to_the_system() {
        let mut spares = Spares::new(8 << 20);
        assert_eq!(spares.next_look(), None);
        for _ in 0..2 {
            spares.give(Vec::with_capacity(100_000));
        }
        spares.age(at(0));
        assert_eq!(spares.next_look(), Some(at(1000)));
        for millis in (1000..5000).step_by(1000) {
            let bytes = spares.take_fitting(100_000).expect("it is in use");
            spares.age(at(millis));
            spares.give(bytes);
        }
        assert_eq!(spares.large.len(), 1, "the other one was not taken for a second");
        for millis in (5000..8000).step_by(1000) {
            spares.age(at(millis));
        }
        assert_eq!((spares.large_bytes, spares.next_look()), (0, None));
    }
}
