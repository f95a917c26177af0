//! Hop 5 and back: a request that several servers answer, and how their answers become one.
//!
//! A read of many keys is split into one fragment per server connection; the values come back
//! per fragment, are filed under their keys, and leave in the order of the request: hits only,
//! duplicates as often as asked, as one server would have answered. The one rule: a value is
//! accepted only for a key that its fragment asked for and that has no value yet.
//!
//! `flush_all` is the same without keys.

use super::server::ConnId;
use crate::memcache::{self, ALL_OK, Head, Keep, LINE_END, VALUES_END};
use crate::protocol::{Many, Response};
use alloc::vec::Vec;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GatherId(u32);

/// One request's answers as they come in.
#[derive(Debug, Default)]
pub(super) struct Gather {
    /// The request's keys in its order.
    keys: Vec<Key>,
    /// The keys' bytes, at least one space before each.
    text: Vec<u8>,
    pub(super) fragments: Vec<Fragment>,
    /// The values as they came, with their headers.
    values: Vec<u8>,
    /// How many keys have a value.
    found: usize,
    /// How many keys were looked at in vain.
    steps: usize,
    /// Fragments that are not answered yet.
    waiting: usize,
    /// The first error line among the answers.
    error: Vec<u8>,
}

#[derive(Debug)]
struct Key {
    start: usize,
    end: usize,
    /// The fragment's next key.
    next: usize,
    value_start: usize,
    /// 0: no value.
    value_end: usize,
}

/// Small values are copied together, but not so many that the copy needs a run-up.
const COPY_BYTES: usize = 1024;

const NO_KEY: usize = usize::MAX;

/// Why a request can't be split.
pub(super) enum Unsplit {
    /// A word is no key.
    BadKey,
    /// There are more keys than `keys_max`.
    TooManyKeys,
    /// No server is left that could have a key.
    NoServer,
    /// The queue of this connection takes no more.
    Full(ConnId),
}

/// The part of a request that one server connection answers.
#[derive(Debug)]
pub(super) struct Fragment {
    pub(super) conn: ConnId,
    first: usize,
    last: usize,
    /// Bytes of its keys, each with the space before it.
    key_bytes: usize,
    /// The number of the newest fragment of the same connection; only the first knows it.
    newest: usize,
    /// Where the next value is looked for first.
    cursor: usize,
}

impl Gather {
    /// Notes the keys of a request, checks them, and asks `fragment_of` where each one goes: to
    /// which connection, and which of its request's fragments that is, the next one for a new one.
    /// A connection gets another fragment when the line of its last would become too long.
    pub(super) fn split(
        &mut self,
        many: &Many<'_>,
        keys_max: usize,
        mut fragment_of: impl FnMut(&[u8], usize) -> Result<(ConnId, usize), Unsplit>,
    ) -> Result<(), Unsplit> {
        let room = many.line_max.saturating_sub(many.head.text.len() + LINE_END.len());
        self.text.push(b' ');
        self.text.extend_from_slice(many.keys);
        let mut rest = many.keys;
        while !rest.is_empty() {
            let start = 1 + many.keys.len() - rest.len();
            let (key, others) = memcache::next_key(rest).ok_or(Unsplit::BadKey)?;
            rest = others;
            let index = self.keys.len();
            if index == keys_max {
                return Err(Unsplit::TooManyKeys);
            }
            let end = start + key.len();
            self.keys.push(Key { start, end, next: NO_KEY, value_start: 0, value_end: 0 });
            let next_number = self.fragments.len();
            let (conn, number) = fragment_of(key, next_number)?;
            if number == next_number {
                self.add_fragment(conn, index);
            } else {
                self.add_key(number, index, room);
            }
        }
        Ok(())
    }

    /// Adds a key to the newest line of the connection whose first fragment has this number.
    fn add_key(&mut self, number: usize, index: usize, room: usize) {
        let newest = self.fragments[number].newest;
        let fragment = &mut self.fragments[newest];
        let bytes = 1 + self.keys[index].end - self.keys[index].start;
        if fragment.key_bytes + bytes > room {
            let conn = fragment.conn;
            self.fragments[number].newest = self.fragments.len();
            return self.add_fragment(conn, index);
        }
        fragment.key_bytes += bytes;
        self.keys[fragment.last].next = index;
        fragment.last = index;
    }

    pub(super) fn key_count(&self) -> usize {
        self.keys.len()
    }

    /// Adds a fragment; one without keys begins at [`NO_KEY`].
    fn add_fragment(&mut self, conn: ConnId, first: usize) {
        let key_bytes = self.keys.get(first).map_or(0, |key| 1 + key.end - key.start);
        let newest = self.fragments.len();
        self.fragments.push(Fragment {
            conn,
            first,
            last: first,
            key_bytes,
            newest,
            cursor: first,
        });
        self.waiting += 1;
    }

    /// Adds a fragment without keys.
    pub(super) fn add_keyless(&mut self, conn: ConnId) {
        self.add_fragment(conn, NO_KEY);
    }

    /// Appends a fragment's request: `head`, its keys, and the line's end.
    pub(super) fn write_fragment(&self, number: u32, head: Head<'_>, out: &mut Vec<u8>) {
        head.write(Keep::All, out);
        let mut index = self.fragments[number as usize].first;
        while index != NO_KEY {
            let key = &self.keys[index];
            // With the space before it.
            out.extend_from_slice(&self.text[key.start - 1..key.end]);
            index = key.next;
        }
        out.extend_from_slice(LINE_END);
    }

    /// Takes the whole values at the head of `bytes`, which begin with one, and files each under
    /// its key; once the answer is an error, only that they came. Says how many bytes they were;
    /// none if the fragment did not ask for one of them.
    pub(super) fn take_values(
        &mut self,
        number: u32,
        bytes: &[u8],
        item_size_max: usize,
    ) -> Option<usize> {
        let base = self.values.len();
        let (mut used, mut copied, mut found) = (0, 0, 0);
        let number = number as usize;
        let mut likely = self.fragments[number].cursor;
        loop {
            let rest = &bytes[used..];
            let parsed = memcache::parse_value(rest, self.open_key(likely), item_size_max);
            let Response::Value { len, key } = parsed else { break };
            if let Some(key) = key {
                likely = self.find(number, likely, &rest[key])?;
            }
            let entry = &mut self.keys[likely];
            entry.value_start = base + used;
            used += len;
            entry.value_end = base + used;
            likely = entry.next;
            found += 1;
            if used - copied >= COPY_BYTES {
                self.keep(&bytes[copied..used]);
                copied = used;
            }
        }
        self.fragments[number].cursor = likely;
        self.found += found;
        self.keep(&bytes[copied..used]);
        Some(used)
    }

    fn keep(&mut self, values: &[u8]) {
        if !self.has_failed() {
            self.values.extend_from_slice(values);
        }
    }

    /// The key of a fragment that equals `wanted` and has no value yet.
    /// It is sought from `likely` on, and around.
    fn find(&mut self, number: usize, likely: usize, wanted: &[u8]) -> Option<usize> {
        let found = self.find_between(likely, NO_KEY, wanted);
        found.or_else(|| self.find_between(self.fragments[number].first, likely, wanted))
    }

    /// The first key from `index` to before `end` that equals `wanted` and has no value.
    fn find_between(&mut self, mut index: usize, end: usize, wanted: &[u8]) -> Option<usize> {
        while index != end && index != NO_KEY && self.steps < self.steps_max() {
            if self.open_key(index) == wanted {
                return Some(index);
            }
            self.steps += 1;
            index = self.keys[index].next;
        }
        None
    }

    /// A server may leave keys out, which costs a step for each, and answer somewhat out of order.
    /// One that answers many keys backwards would make us search for ever.
    fn steps_max(&self) -> usize {
        16 * self.keys.len() + 1024
    }

    /// The bytes of a key that has no value yet; of any other, none.
    fn open_key(&self, index: usize) -> &[u8] {
        match self.keys.get(index) {
            Some(key) if key.value_end == 0 => &self.text[key.start..key.end],
            _ => b"",
        }
    }

    /// Bytes of the keys and of what is known of them.
    pub(super) fn table_bytes(&self) -> usize {
        self.text.len() + self.keys.len() * size_of::<Key>()
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

    /// Forgets the values, as there are too many or nobody wants them, and notes the error instead.
    pub(super) fn overflow(&mut self, line: &[u8]) {
        self.fail(line);
        self.values = Vec::new();
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
            for key in self.keys.iter().filter(|key| key.value_end > 0) {
                let block = &self.values[key.value_start..key.value_end];
                out.extend_from_slice(block);
            }
            out.extend_from_slice(VALUES_END);
        }
    }

    /// How many keys were asked for and how many had a value.
    pub(super) fn hits(&self) -> (usize, usize) {
        (self.keys.len(), self.found)
    }

    fn clear(&mut self) {
        self.keys.clear();
        self.text.clear();
        self.fragments.clear();
        self.values.clear();
        self.error.clear();
        self.found = 0;
        self.steps = 0;
        self.waiting = 0;
    }

    fn is_small(&self) -> bool {
        self.values.capacity().max(self.text.capacity()) <= 64 * 1024
            && self.keys.capacity() <= 1024
    }
}

/// How long the whole values at the head of `bytes` are, for a fragment that nobody waits for.
pub(super) fn values_len(bytes: &[u8], item_size_max: usize) -> usize {
    let mut used = 0;
    while let Response::Value { len, .. } =
        memcache::parse_value(&bytes[used..], b"", item_size_max)
    {
        used += len;
    }
    used
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
        GatherId(u32::try_from(self.slab.vacant_key()).expect("the limits keep them below 2^32"))
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
