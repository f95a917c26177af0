//! A list whose free places are used again.

use alloc::vec::Vec;
use core::ops::{Deref, DerefMut};

/// A list whose free places are used again. A free place keeps its old content until then, so a look-up
/// is an index.
#[derive(Debug)]
pub(super) struct Places<T> {
    all: Vec<T>,
    free: Vec<usize>,
}

impl<T> Places<T> {
    pub(super) const fn new() -> Self {
        Self { all: Vec::new(), free: Vec::new() }
    }

    /// The place that the next one gets.
    pub(super) fn next(&self) -> usize {
        self.free.last().copied().unwrap_or(self.all.len())
    }

    pub(super) fn insert(&mut self, thing: T) {
        match self.free.pop() {
            Some(place) => self.all[place] = thing,
            None => self.all.push(thing),
        }
    }

    /// Lets the next one have this place.
    pub(super) fn free(&mut self, place: usize) {
        self.free.push(place);
    }
}

impl<T> Deref for Places<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        &self.all
    }
}

impl<T> DerefMut for Places<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.all
    }
}
