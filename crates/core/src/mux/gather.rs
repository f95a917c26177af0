//! Hop 5 and back: a request that several servers answer, and how their answers become one.
//!
//! A read of many keys is split into one fragment per server connection; the values come back
//! per fragment, are filed under their keys, and leave in the order of the request: hits only,
//! duplicates as often as asked, as one server would have answered. The one rule: a value is
//! accepted only for a key that its fragment asked for and that has no value yet.
//!
//! `flush_all` is the same without keys.

use super::server::ConnId;
use crate::memcache::{ALL_OK, VALUES_END, Words};
use alloc::vec::Vec;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GatherId(u32);

/// One request's answers as they come in.
#[derive(Debug, Default)]
pub(super) struct Gather {
    /// The request's keys in its order.
    keys: Vec<Key>,
    /// The bytes of the keys.
    text: Vec<u8>,
    pub(super) fragments: Vec<Fragment>,
    /// The values as they came, with their headers.
    values: Vec<u8>,
    /// Fragments that are not answered yet.
    waiting: usize,
    /// The first error line among the answers.
    error: Vec<u8>,
}

#[derive(Debug)]
struct Key {
    start: u32,
    len: u32,
    /// The fragment's next key.
    next: u32,
    value_start: u32,
    /// 0: no value.
    value_len: u32,
}

const NO_KEY: u32 = u32::MAX;

/// The part of a request that one server connection answers.
#[derive(Debug)]
pub(super) struct Fragment {
    pub(super) conn: ConnId,
    first: u32,
    last: u32,
    /// Where the next value is looked for first.
    cursor: u32,
}

impl Gather {
    /// Notes the keys of a request and which connection each goes to.
    ///
    /// `conn_of` says the connection and where it may note the number of its fragment.
    /// None if some key has no connection.
    pub(super) fn split(
        &mut self,
        keys: &[u8],
        mut conn_of: impl FnMut(&[u8], usize) -> Option<(ConnId, usize)>,
    ) -> Option<()> {
        for word in Words::new(keys) {
            let start = size(self.text.len());
            self.text.extend_from_slice(word);
            let index = size(self.keys.len());
            let key =
                Key { start, len: size(word.len()), next: NO_KEY, value_start: 0, value_len: 0 };
            self.keys.push(key);
            let (conn, number) = conn_of(word, self.fragments.len())?;
            if number == self.fragments.len() {
                self.add_fragment(conn, index);
            } else {
                let fragment = &mut self.fragments[number];
                self.keys[fragment.last as usize].next = index;
                fragment.last = index;
            }
        }
        Some(())
    }

    /// Adds a fragment; one without keys begins at [`NO_KEY`].
    fn add_fragment(&mut self, conn: ConnId, first: u32) {
        self.fragments.push(Fragment { conn, first, last: first, cursor: first });
        self.waiting += 1;
    }

    /// Adds a fragment without keys.
    pub(super) fn add_keyless(&mut self, conn: ConnId) {
        self.add_fragment(conn, NO_KEY);
    }

    /// Appends a fragment's request: `head`, its keys, and the line's end.
    pub(super) fn write_fragment(&self, number: usize, head: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(head);
        let mut index = self.fragments[number].first;
        while index != NO_KEY {
            let key = &self.keys[index as usize];
            out.push(b' ');
            out.extend_from_slice(&self.text[key.start as usize..][..key.len as usize]);
            index = key.next;
        }
        out.extend_from_slice(crate::memcache::LINE_END);
    }

    /// Files a value under its key. False if the fragment did not ask for it.
    pub(super) fn add_value(&mut self, number: usize, key: &[u8], block: &[u8]) -> bool {
        let Fragment { first, cursor, .. } = self.fragments[number];
        let found = self.find(cursor, NO_KEY, key).or_else(|| self.find(first, cursor, key));
        let Some(index) = found else { return false };
        self.fragments[number].cursor = self.keys[index as usize].next;
        let entry = &mut self.keys[index as usize];
        entry.value_start = size(self.values.len());
        entry.value_len = size(block.len());
        self.values.extend_from_slice(block);
        true
    }

    /// The first key without a value from `index` to before `end` that equals `wanted`.
    fn find(&self, mut index: u32, end: u32, wanted: &[u8]) -> Option<u32> {
        while index != end && index != NO_KEY {
            let key = &self.keys[index as usize];
            let text = &self.text[key.start as usize..][..key.len as usize];
            if key.value_len == 0 && text == wanted {
                return Some(index);
            }
            index = key.next;
        }
        None
    }

    /// Bytes of values held.
    pub(super) fn held(&self) -> usize {
        self.values.len()
    }

    /// Notes that a fragment is answered. True when it was the last.
    pub(super) fn finish_fragment(&mut self) -> bool {
        self.waiting -= 1;
        self.waiting == 0
    }

    /// Notes an error; the first one will be the answer.
    pub(super) fn fail(&mut self, line: &[u8]) {
        if self.error.is_empty() {
            self.error.extend_from_slice(line);
        }
    }

    /// Forgets the values, as there are too many, and notes the error instead.
    pub(super) fn overflow(&mut self, line: &[u8]) {
        self.fail(line);
        self.values.clear();
    }

    pub(super) fn has_failed(&self) -> bool {
        !self.error.is_empty()
    }

    /// Appends the one answer. Also says how many keys had values.
    pub(super) fn write_answer(&self, out: &mut Vec<u8>) {
        if self.has_failed() {
            out.extend_from_slice(&self.error);
        } else if self.keys.is_empty() {
            out.extend_from_slice(ALL_OK);
        } else {
            out.reserve(self.values.len() + VALUES_END.len());
            for key in self.keys.iter().filter(|key| key.value_len > 0) {
                let block = &self.values[key.value_start as usize..][..key.value_len as usize];
                out.extend_from_slice(block);
            }
            out.extend_from_slice(VALUES_END);
        }
    }

    /// How many keys were asked for and how many had a value.
    pub(super) fn hits(&self) -> (usize, usize) {
        (self.keys.len(), self.keys.iter().filter(|key| key.value_len > 0).count())
    }

    fn clear(&mut self) {
        self.keys.clear();
        self.text.clear();
        self.fragments.clear();
        self.values.clear();
        self.error.clear();
        self.waiting = 0;
    }

    fn is_small(&self) -> bool {
        self.values.capacity() <= 64 * 1024 && self.keys.capacity() <= 1024
    }
}

/// Offsets here are below 2^32: a line is, and values are below `client_backlog_max`.
fn size(n: usize) -> u32 {
    u32::try_from(n).expect("line_max and client_backlog_max are below 4 GiB")
}

/// All gathers, and finished ones kept for the next, so that steady traffic allocates nothing.
#[derive(Debug, Default)]
pub(super) struct Gathers {
    slab: slab::Slab<Gather>,
    spare: Vec<Gather>,
}

const SPARE_MAX: usize = 64;

impl Gathers {
    /// A gather in the making.
    pub(super) fn begin(&mut self) -> Gather {
        self.spare.pop().unwrap_or_default()
    }

    /// The id that the next gather gets.
    pub(super) fn next_id(&self) -> GatherId {
        let index = self.slab.vacant_key();
        GatherId(u32::try_from(index).expect("no more gathers than requests in flight"))
    }

    /// Keeps it until its answers are in, under [`Gathers::next_id`].
    pub(super) fn insert(&mut self, gather: Gather) {
        self.slab.insert(gather);
    }

    pub(super) fn gather(&mut self, id: GatherId) -> &mut Gather {
        &mut self.slab[id.0 as usize]
    }

    /// Takes one out that is answered.
    pub(super) fn remove(&mut self, id: GatherId) -> Gather {
        self.slab.remove(id.0 as usize)
    }

    /// Gives one back for the next request.
    pub(super) fn reuse(&mut self, mut gather: Gather) {
        if self.spare.len() < SPARE_MAX && gather.is_small() {
            gather.clear();
            self.spare.push(gather);
        }
    }
}
