//! Whose sockets need work.

use alloc::vec::Vec;

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
