//! A request that several servers answer, and how their answers become one.
//!
//! A read of many keys is split into fragments by server connection; the values come back per
//! fragment, are filed under their keys, and leave in the order of the request: hits only,
//! duplicates as often as asked, as one server would have answered. A request for all servers is the
//! same without keys. The one rule: a value is accepted only for a key that its fragment asked for
//! and that has no value yet.

use super::id::{ConnId, ServerId};
use super::slots::SlotId;
use crate::error::ServerError;
use crate::memcache::Head;
use crate::message::{Many, Merge, Response};
use crate::protocol::Protocol;
use crate::redis::{Elements, Merged, is_null};
use alloc::vec::Vec;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct JoinId(pub(super) u32);

/// One request's answers as they come in.
#[derive(Debug)]
pub(super) struct Join {
    /// The request.
    pub(super) slot: SlotId,
    /// How its answers become one.
    pub(super) merge: Merge,
    pub(super) protocol: Protocol,
    /// Whether its client speaks RESP3.
    pub(super) is_resp3: bool,
    /// The request's keys in its order.
    keys: Vec<Key>,
    /// The keys' bytes, each with what separates it from the one before it.
    text: Vec<u8>,
    pub(super) fragments: Vec<Fragment>,
    /// The values as they came, with their headers.
    values: Vec<u8>,
    /// What has come of replies that are merged as a whole.
    merged: Merged,
    /// How many keys have a value.
    found: usize,
    /// How many keys were compared without a match.
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

/// Values are copied in batches of about this size: fewer calls, each of them still a cheap one.
const COPY_BYTES: usize = 1024;

const NO_KEY: usize = usize::MAX;

/// The room of a line that may be of any length.
const UNBOUNDED: usize = usize::MAX;

/// Bytes kept for the end of a fragment's line, and for a number that takes the place of a shorter
/// word.
const HEAD_SPARE: usize = 24;

/// Bytes that a reply takes besides its values, at least.
const END_SPARE: usize = 16;

/// Why a request can't be split.
pub(super) enum SplitError {
    /// A word is no key.
    BadKey,
    /// There are more keys than `keys_max`.
    TooManyKeys,
    /// No server could be asked for a key.
    NoServer(ServerError),
    /// The queue of this connection takes no more.
    Full(ConnId),
    /// It is about to be decided who serves the keys of this server.
    Undecided(ServerId),
    /// The server of a key is not used, and what is asked of it is left out.
    Nowhere,
    /// There would be more requests for keys that move than there may be.
    TooManyMoves,
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

impl Join {
    pub(super) fn new(merge: Merge, protocol: Protocol) -> Self {
        Self {
            slot: SlotId::NONE,
            merge,
            protocol,
            is_resp3: false,
            keys: Vec::new(),
            text: Vec::new(),
            fragments: Vec::new(),
            values: Vec::new(),
            merged: Merged::default(),
            found: 0,
            steps: 0,
            waiting: 0,
            error: Vec::new(),
        }
    }

    /// Notes the keys of a request, checks them, and asks `fragment_of` where each one goes: to
    /// which connection, and which of its request's fragments that is, the next one for a new one.
    /// A connection gets another fragment when the line of its last would become too long.
    #[inline(always)]
    pub(super) fn split(
        &mut self,
        protocol: Protocol,
        many: &Many<'_>,
        keys_max: usize,
        mut fragment_of: impl FnMut(&[u8], usize) -> Result<(ConnId, usize), SplitError>,
    ) -> Result<(), SplitError> {
        let separator = protocol.separator_len();
        let room = many.line_max.saturating_sub(many.head.text.len() + HEAD_SPARE);
        // All keys fit into one line, nearly always: then there is nothing to be counted.
        let room = if many.keys.len() < room { UNBOUNDED } else { room };
        protocol.copy_keys(many.keys, &mut self.text);
        let mut rest = many.keys;
        while !rest.is_empty() {
            let start = separator + many.keys.len() - rest.len();
            let (key, others) = protocol.next_key(rest, many.step).ok_or(SplitError::BadKey)?;
            // Without a separator, what belongs to the key stands behind it.
            let part_len = if separator > 0 { key.len() } else { rest.len() - others.len() };
            rest = others;
            let index = self.keys.len();
            if index == keys_max {
                return Err(SplitError::TooManyKeys);
            }
            let end = start + part_len;
            self.keys.push(Key { start, end, next: NO_KEY, value_start: 0, value_end: 0 });
            let next_number = self.fragments.len();
            let (conn, number) = match fragment_of(key, next_number) {
                Ok(placed) => placed,
                Err(error) => {
                    self.leave_out(index, error)?;
                    continue;
                }
            };
            if number == next_number {
                self.add_fragment(conn, index);
            } else {
                self.add_key(number, index, room);
            }
        }
        Ok(())
    }

    /// Answers for a key as if there were no such key.
    ///
    /// # Errors
    /// If the key can't be placed for another reason, or such an answer would be wrong.
    #[cold]
    fn leave_out(&mut self, index: usize, error: SplitError) -> Result<(), SplitError> {
        match (error, self.merge) {
            (SplitError::Nowhere, Merge::ByKey | Merge::Sum) => Ok(()),
            (SplitError::Nowhere, Merge::InOrder) => {
                let key = &mut self.keys[index];
                key.value_start = self.values.len();
                self.values.extend_from_slice(self.protocol.absent_value(self.is_resp3));
                key.value_end = self.values.len();
                Ok(())
            }
            (error, _) => Err(error),
        }
    }

    /// Adds a key to the newest line of the connection whose first fragment has this number.
    #[inline(always)]
    fn add_key(&mut self, number: usize, index: usize, room: usize) {
        let fragment = &mut self.fragments[number];
        if room != UNBOUNDED {
            return self.add_key_within(number, index, room);
        }
        self.keys[fragment.last].next = index;
        fragment.last = index;
    }

    fn add_key_within(&mut self, number: usize, index: usize, room: usize) {
        let newest = self.fragments[number].newest;
        let bytes = self.key_bytes(index);
        let fragment = &mut self.fragments[newest];
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

    /// Bytes that a key takes in the request of its fragment.
    fn key_bytes(&self, index: usize) -> usize {
        self.protocol.separator_len() + self.keys[index].end - self.keys[index].start
    }

    /// Adds a fragment; one without keys begins at [`NO_KEY`].
    fn add_fragment(&mut self, conn: ConnId, first: usize) {
        let key_bytes = if first == NO_KEY { 0 } else { self.key_bytes(first) };
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

    /// Appends a fragment's request. Not in line, for the same reason as [`Join::take_values`].
    #[inline(never)]
    pub(super) fn write_fragment(
        &self,
        number: u32,
        (head, step): (Head<'_>, usize),
        out: &mut Vec<u8>,
    ) {
        let separator = self.protocol.separator_len();
        let keys = self.keys_of(number).map(|key| &self.text[key.start - separator..key.end]);
        self.protocol.write_fragment(head, step, keys, out);
    }

    /// The keys of a fragment, each with what belongs to it.
    pub(super) fn parts_of(&self, number: u32) -> impl Iterator<Item = &[u8]> {
        self.keys_of(number).map(|key| &self.text[key.start..key.end])
    }

    /// The first key of a fragment.
    pub(super) fn first_key(&self, number: u32) -> &[u8] {
        let key = &self.keys[self.fragments[number as usize].first];
        &self.text[key.start..key.end]
    }

    /// The keys of a fragment, in the order of the request.
    fn keys_of(&self, number: u32) -> impl Iterator<Item = &Key> + Clone {
        let mut index = self.fragments[number as usize].first;
        // Not `successors`, which looks up the next key before this one is used.
        core::iter::from_fn(move || {
            let key = self.keys.get(index)?;
            index = key.next;
            Some(key)
        })
    }

    /// Whether the reply to a fragment can be merged with the others.
    pub(super) fn fits(&self, protocol: Protocol, number: u32, reply: &[u8]) -> bool {
        let keys = match self.merge {
            Merge::InOrder if self.keys.is_empty() => return true,
            Merge::InOrder => self.keys_of(number).count(),
            Merge::Cursor { .. } => 0,
            _ => return true,
        };
        protocol.fits(self.merge, reply, keys)
    }

    /// Whether replies to fragments are kept as a whole, not value by value.
    pub(super) fn keeps_replies(&self) -> bool {
        !matches!(self.merge, Merge::ByKey | Merge::AllOk) && !self.has_failed()
    }

    /// Takes the whole reply to a fragment.
    pub(super) fn take_reply(&mut self, number: u32, reply: &[u8]) {
        if self.merge != Merge::InOrder {
            return self.merged.add(self.merge, reply);
        }
        let mut index = self.fragments[number as usize].first;
        for value in Elements::of(reply) {
            let Some(key) = self.keys.get_mut(index) else { break };
            key.value_start = self.values.len();
            self.values.extend_from_slice(value);
            key.value_end = self.values.len();
            index = key.next;
            self.found += usize::from(!is_null(value));
        }
    }

    /// Takes the whole values at the head of `bytes`, which begin with one, and files each under
    /// its key; once the answer is an error, only that they came, and once it is abandoned, not even
    /// for which key. Says how many bytes they were; none if the fragment did not ask for one of them.
    ///
    /// Not in line, so that the loop has the registers for itself: else a value costs ten instructions
    /// more.
    #[inline(never)]
    pub(super) fn take_values(
        &mut self,
        number: u32,
        bytes: &[u8],
        item_size_max: usize,
    ) -> Option<usize> {
        if self.keys.is_empty() {
            return Some(values_len(self.protocol, bytes, item_size_max));
        }
        let (base, protocol) = (self.values.len(), self.protocol);
        let (mut used, mut copied, mut found) = (0, 0, 0);
        let number = number as usize;
        let mut likely = self.fragments[number].cursor;
        loop {
            let rest = &bytes[used..];
            let parsed = protocol.parse_value(rest, self.open_key(likely), item_size_max);
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
        self.values.len() + self.merged.held()
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
        self.merged.clear();
    }

    /// Forgets what was asked for as well, as nobody wants the answer: the keys of a request may take
    /// more memory than its place in a server's queue, which is all that is bounded then.
    pub(super) fn abandon(&mut self, line: &[u8]) {
        self.overflow(line);
        self.keys = Vec::new();
        self.text = Vec::new();
    }

    pub(super) fn has_failed(&self) -> bool {
        !self.error.is_empty()
    }

    /// Appends the one answer.
    pub(super) fn write_answer(&self, out: &mut Vec<u8>) {
        if self.has_failed() {
            return out.extend_from_slice(&self.error);
        }
        out.reserve(self.values.len() + END_SPARE);
        self.protocol.write_start(self.merge, self.keys.len(), out);
        for key in self.keys.iter().filter(|key| key.value_end > 0) {
            out.extend_from_slice(&self.values[key.value_start..key.value_end]);
        }
        self.protocol.write_end(self.merge, &self.merged, out);
    }

    /// How many keys were asked for and how many had a value.
    pub(super) fn hits(&self) -> (usize, usize) {
        let asked = self.keys.len();
        // A sum over keys is how many of them there were (`EXISTS`, `DEL`).
        let found = if self.merge == Merge::Sum { self.merged.sum() } else { self.found };
        (asked, found.min(asked))
    }

    pub(super) fn clear(&mut self) {
        self.keys.clear();
        self.text.clear();
        self.fragments.clear();
        self.values.clear();
        self.merged.clear();
        self.error.clear();
        self.found = 0;
        self.steps = 0;
        self.waiting = 0;
    }

    pub(super) fn is_small(&self) -> bool {
        self.values.capacity().max(self.text.capacity()) <= 64 * 1024
            && self.keys.capacity() <= 1024
    }
}

/// How long the whole values at the head of `bytes` are, for a fragment that nobody waits for.
pub(super) fn values_len(protocol: Protocol, bytes: &[u8], item_size_max: usize) -> usize {
    let mut used = 0;
    while let Response::Value { len, .. } = protocol.parse_value(&bytes[used..], b"", item_size_max)
    {
        used += len;
    }
    used
}
