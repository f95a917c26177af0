//! Lists that every turn of a worker uses: what has places, and what is dirty.
//!
//! The one rule: neither gives memory back, so that a list that has grown to its usual length costs nothing.

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

/// The clients or connections whose sockets need work, in the order in which they came. The list is
/// emptied once a turn, so a list and an index are enough: a `VecDeque` costs twenty instructions more
/// for a request.
#[derive(Debug)]
pub(super) struct Dirty<Id> {
    ids: Vec<Id>,
    next: usize,
}

impl<Id: Copy> Dirty<Id> {
    pub(super) const fn new() -> Self {
        Self { ids: Vec::new(), next: 0 }
    }

    #[inline]
    pub(super) fn push(&mut self, id: Id) {
        self.ids.push(id);
    }

    /// Takes what has gone off the list.
    pub(super) fn forget(&mut self, gone: Id)
    where
        Id: PartialEq,
    {
        let next = self.next.min(self.ids.len());
        self.ids.drain(..next);
        self.next = 0;
        self.ids.retain(|id| *id != gone);
    }

    #[inline]
    pub(super) fn pop(&mut self) -> Option<Id> {
        let id = self.ids.get(self.next).copied();
        self.next += 1;
        if id.is_none() {
            self.ids.clear();
            self.next = 0;
        }
        id
    }
}
