//! The keys of a server that is away that others had to do with.
//!
//! The one rule: what is remembered is enough. A key that was changed is removed from the server before it gets
//! requests again. And others stand in for it only with values of this time: what they have of a key from
//! before, when they stood in for the server once already, is removed there before the key is used.

use super::id::{ConnId, ServerId};
use crate::health::Share;
use crate::message::Expect;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// What a key costs besides its bytes, which two lists share: its entries there, and the counts of the bytes.
const ENTRY_BYTES: usize = 128;

/// The keys of one server.
#[derive(Debug, Default)]
pub(super) struct Journal {
    /// Tells it from an earlier journal of the same server.
    pub(super) number: u32,
    /// Its keys, by the tenth in which they return: in one turn there is no time to look at each of them.
    tenths: [Tenth; Share::STEPS as usize],
    /// Those to be removed from the server, in the order in which they were changed, with their tenths.
    changed: VecDeque<(usize, Arc<[u8]>)>,
    has_overflowed: bool,
    /// How often keys have returned to the server.
    returns: u32,
    /// The request that empties all servers, which this one has missed.
    flush: Option<(Vec<u8>, Expect)>,
    /// How many removals are on their way to the server.
    pub(super) on_their_way: usize,
    /// Whether the server has refused a removal.
    pub(super) was_refused: bool,
    /// Whether what the server refuses to remove may stay there.
    pub(super) forgives: bool,
}

/// The keys of one server that return together.
#[derive(Debug, Default)]
struct Tenth {
    keys: BTreeMap<Arc<[u8]>, Entry>,
    /// What they take.
    bytes: usize,
    /// How many of them are not to be removed from the server.
    unchanged: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Whether it is to be removed from the server.
    is_changed: bool,
    /// How often keys had returned when it was noted first: it may have returned since it was noted before.
    since: u32,
    /// Since which change of the ring the server that stands in has nothing old of it.
    clean_since: Option<u64>,
    /// The connection over which it is being removed there, and since which change of the ring: what follows
    /// on the same connection comes after that.
    purging: Option<(u64, ConnId)>,
}

/// What is to be done before a key is used elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum First {
    /// Nothing.
    Nothing,
    /// What the server that stands in has of it is to be removed.
    Purge,
    /// Likewise, but the key can't be remembered.
    PurgeEachTime,
}

impl Journal {
    pub(super) fn new(number: u32) -> Self {
        Self { number, ..Self::default() }
    }

    /// Bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        self.tenths.iter().map(|tenth| tenth.bytes).sum()
    }

    /// How many keys are to be removed from the server.
    pub(super) fn len(&self) -> usize {
        self.changed.len() + self.on_their_way
    }

    /// Whether more keys were changed than could be remembered.
    pub(super) fn has_overflowed(&self) -> bool {
        self.has_overflowed
    }

    /// A key, of this tenth, is used while the server is away; `changes` says whether its value may become another
    /// one. `ring` counts the changes of the ring; the connection is that to the server that stands in.
    pub(super) fn note(
        &mut self,
        (tenth, key): (usize, &[u8]),
        changes: bool,
        (ring, conn): (u64, Option<ConnId>),
        bytes_max: usize,
    ) -> First {
        let place = &mut self.tenths[tenth];
        let Some(entry) = place.keys.get_mut(key) else {
            return self.add((tenth, key), changes, (ring, conn), bytes_max);
        };
        let purging = conn.map(|conn| (ring, conn));
        let is_clean = entry.clean_since == Some(ring);
        let is_behind = purging.is_some() && entry.purging == purging;
        if !is_clean {
            entry.purging = purging;
        }
        if changes && !entry.is_changed {
            entry.is_changed = true;
            place.unchanged -= 1;
            let (key, _) = place.keys.get_key_value(key).expect("it is there");
            self.changed.push_back((tenth, Arc::clone(key)));
        }
        if is_clean || is_behind { First::Nothing } else { First::Purge }
    }

    fn add(
        &mut self,
        (tenth, key): (usize, &[u8]),
        changes: bool,
        (ring, conn): (u64, Option<ConnId>),
        bytes_max: usize,
    ) -> First {
        let bytes = key.len() + ENTRY_BYTES;
        if changes {
            self.make_room(bytes, bytes_max);
        }
        if self.bytes() + bytes > bytes_max {
            self.has_overflowed |= changes;
            return First::PurgeEachTime;
        }
        let purging = conn.map(|conn| (ring, conn));
        let since = self.returns;
        let entry = Entry { is_changed: changes, since, clean_since: None, purging };
        self.insert((tenth, key.into()), entry);
        First::Purge
    }

    /// Forgets what is only known to be clean, which can be cleaned again, of as few tenths as will do.
    fn make_room(&mut self, bytes: usize, bytes_max: usize) {
        let mut held = self.bytes();
        for tenth in &mut self.tenths {
            if held + bytes <= bytes_max {
                return;
            }
            if tenth.is_worth_a_look() {
                held -= tenth.bytes;
                tenth.forget_unchanged();
                held += tenth.bytes;
            }
        }
    }

    /// The server is to return although what could not be remembered is still there.
    pub(super) fn forgive_overflow(&mut self) {
        self.has_overflowed = false;
    }

    /// The keys of this share are used at the server again, from which all that it has missed is removed, as far as
    /// it is known.
    pub(super) fn end_absence(&mut self, share: Share) {
        self.returns = self.returns.wrapping_add(1);
        self.tenths[..share.tenths()].fill_with(Tenth::default);
    }

    /// A key could not be removed at the server that stands in.
    pub(super) fn note_unclean(&mut self, (tenth, key): (usize, &[u8])) {
        if let Some(entry) = self.tenths[tenth].keys.get_mut(key) {
            entry.purging = None;
        }
    }

    /// Whether a request that empties all servers was missed.
    pub(super) fn has_flush(&self) -> bool {
        self.flush.is_some()
    }

    /// What [`Journal::note_clean`] is told of a key that is being removed from the server that stands in.
    pub(super) fn since(&self, (tenth, key): (usize, &[u8])) -> u32 {
        self.tenths[tenth].keys.get(key).map_or(self.returns, |entry| entry.since)
    }

    /// The server that stands in since this change of the ring has nothing old of a key, unless the key has
    /// returned to its own server meanwhile.
    pub(super) fn note_clean(&mut self, (tenth, key): (usize, &[u8]), (ring, since): (u64, u32)) {
        let entry = self.tenths[tenth].keys.get_mut(key);
        if let Some(entry) = entry.filter(|entry| entry.since == since) {
            entry.clean_since = Some(ring);
        }
    }

    /// The server has missed a request that empties all servers.
    pub(super) fn note_flush(&mut self, request: Vec<u8>, expect: Expect) {
        self.flush = Some((request, expect));
    }

    /// The next removal to send; `None` if there is none left.
    pub(super) fn next(&mut self) -> Option<Removal> {
        if let Some((request, expect)) = self.flush.take() {
            // What could not be remembered goes with all the rest.
            self.has_overflowed = false;
            return Some(Removal::All(request, expect));
        }
        let (tenth, key) = self.changed.pop_front()?;
        let place = &mut self.tenths[tenth];
        if let Some(entry) = place.keys.get_mut(&key) {
            entry.is_changed = false;
            place.unchanged += 1;
        }
        Some(Removal::Key(key))
    }

    /// The removal of a key of this tenth was not carried out.
    pub(super) fn give_back(&mut self, tenth: usize, key: Arc<[u8]>) {
        let place = &mut self.tenths[tenth];
        match place.keys.get_mut(&key) {
            Some(entry) if entry.is_changed => {}
            Some(entry) => {
                entry.is_changed = true;
                place.unchanged -= 1;
                self.changed.push_back((tenth, key));
            }
            // It was forgotten to make room.
            None => {
                let (since, clean_since, purging) = (self.returns, None, None);
                let entry = Entry { is_changed: true, since, clean_since, purging };
                self.insert((tenth, key), entry);
            }
        }
    }

    fn insert(&mut self, (tenth, key): (usize, Arc<[u8]>), entry: Entry) {
        if entry.is_changed {
            self.changed.push_back((tenth, Arc::clone(&key)));
        }
        let place = &mut self.tenths[tenth];
        place.bytes += key.len() + ENTRY_BYTES;
        place.unchanged += usize::from(!entry.is_changed);
        place.keys.insert(key, entry);
    }
}

impl Tenth {
    /// Whether enough keys can be forgotten to be worth a look at all of them: a full journal would otherwise look
    /// at all of its keys for each write.
    fn is_worth_a_look(&self) -> bool {
        self.unchanged > self.keys.len() / 16
    }

    fn forget_unchanged(&mut self) {
        self.keys.retain(|_, entry| entry.is_changed);
        self.unchanged = 0;
        self.bytes = self.keys.keys().map(|key| key.len() + ENTRY_BYTES).sum();
    }
}

/// What is removed from a server that comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Removal {
    /// One key.
    Key(Arc<[u8]>),
    /// Everything, by this request.
    All(Vec<u8>, Expect),
}

/// A removal on its way to a server.
#[derive(Debug)]
pub(super) struct Note {
    /// The server that is away, or that comes back.
    pub(super) server: ServerId,
    /// The number of its journal.
    pub(super) journal: u32,
    pub(super) what: Removal,
    pub(super) why: Why,
}

/// Why something is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// The server has missed it.
    Missed,
    /// The server stands in, since this change of the ring; and since when the key is noted.
    StandsIn(u64, u32),
    /// It is not removed yet: the server, one of the gutter, is to bound how long it stays.
    Cap,
    /// The server may have it without that bound; so many tries to remove it were lost.
    Uncapped(u32),
}

/// Which removal a reply is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoteId(u32);

/// The removals on their way.
#[derive(Debug, Default)]
pub(super) struct Notes {
    slab: slab::Slab<Note>,
    /// Those that have ended.
    ended: VecDeque<(NoteId, Ending)>,
}

/// What became of a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Nothing old is there.
    Done,
    /// The server answered with an error.
    Refused,
    /// There was no answer.
    Lost,
}

impl Notes {
    pub(super) fn add(&mut self, note: Note) -> NoteId {
        NoteId(u32::try_from(self.slab.insert(note)).expect("each has a place in a queue"))
    }

    /// A removal has ended.
    pub(super) fn end(&mut self, id: NoteId, ending: Ending) {
        self.ended.push_back((id, ending));
    }

    #[inline]
    pub(super) fn has_ended(&self) -> bool {
        !self.ended.is_empty()
    }

    /// The next removal that has ended.
    pub(super) fn next_ended(&mut self) -> Option<(Note, Ending)> {
        let (id, ending) = self.ended.pop_front()?;
        Some((self.slab.remove(id.0 as usize), ending))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANY: usize = 1 << 20;

    fn key(text: &[u8]) -> Option<Removal> {
        Some(Removal::Key(text.into()))
    }

    #[test]
    fn a_key_that_was_changed_is_removed_once_and_one_that_was_read_is_not() {
        let mut journal = Journal::default();
        for (text, changes) in [(b"a", true), (b"b", false), (b"c", true), (b"a", true)] {
            journal.note((0, text), changes, (1, None), MANY);
        }
        assert_eq!(journal.len(), 2);
        assert_eq!((journal.next(), journal.next(), journal.next()), (key(b"a"), key(b"c"), None));
        // What is changed after it was removed is removed again.
        journal.note((0, b"b"), true, (1, None), MANY);
        journal.note((0, b"a"), true, (1, None), MANY);
        assert_eq!((journal.next(), journal.next(), journal.next()), (key(b"b"), key(b"a"), None));
    }

    #[test]
    fn a_removal_that_fails_is_tried_again_once() {
        let mut journal = Journal::default();
        journal.note((0, b"a"), true, (1, None), MANY);
        assert_eq!(journal.next(), key(b"a"));
        journal.note((0, b"a"), true, (1, None), MANY);
        journal.give_back(0, b"a"[..].into());
        assert_eq!((journal.next(), journal.next()), (key(b"a"), None));
    }

    #[test]
    fn what_stands_in_is_clean_until_the_ring_changes() {
        let mut journal = Journal::default();
        assert_eq!(journal.note((0, b"a"), false, (1, None), MANY), First::Purge);
        assert_eq!(
            journal.note((0, b"a"), false, (1, None), MANY),
            First::Purge,
            "it is not known to be done"
        );
        journal.note_clean((0, b"a"), (1, 0));
        assert_eq!(journal.note((0, b"a"), true, (1, None), MANY), First::Nothing);
        assert_eq!(
            journal.note((0, b"a"), true, (2, None), MANY),
            First::Purge,
            "another server stands in"
        );
        // The reply of the earlier one comes late.
        journal.note_clean((0, b"a"), (1, 0));
        assert_eq!(journal.note((0, b"a"), true, (2, None), MANY), First::Purge);
    }

    #[test]
    fn keys_that_are_used_at_their_server_again_begin_anew_and_others_do_not() {
        let mut journal = Journal::default();
        // The second tenth has b.
        let places = [(0, &b"a"[..]), (1, b"b"), (0, b"c")];
        for (tenth, text) in places {
            journal.note((tenth, text), text != b"c", (1, None), MANY);
            journal.note_clean((tenth, text), (1, 0));
        }
        while journal.next().is_some() {}
        journal.note(places[1], true, (1, None), MANY);
        journal.end_absence(Share::NONE.more());
        assert_eq!((journal.bytes(), journal.len()), (ENTRY_BYTES + 1, 1));
        for (place, first) in places.into_iter().zip([First::Purge, First::Nothing, First::Purge]) {
            assert_eq!(journal.note(place, true, (1, None), MANY), first);
        }
        assert_eq!(
            (journal.next(), journal.next(), journal.next()),
            (key(b"b"), key(b"a"), key(b"c"))
        );
    }

    #[test]
    fn what_did_not_fit_in_is_made_up_for_by_nothing_but_a_request_that_empties_the_server() {
        let mut journal = Journal::default();
        journal.note((0, b"a"), true, (1, None), MANY);
        journal.note((9, b"b"), true, (1, None), 0);
        assert_eq!((journal.next(), journal.next()), (key(b"a"), None));
        journal.end_absence(Share::NONE.more());
        assert!(journal.has_overflowed());
        journal.note_flush(b"flush_all\r\n".to_vec(), Expect::ANY);
        assert!(journal.has_overflowed(), "it is not sent yet");
        assert!(matches!(journal.next(), Some(Removal::All(..))));
        assert!(!journal.has_overflowed());
        // What does not fit in after it is another matter.
        journal.note((9, b"c"), true, (1, None), 0);
        assert!(journal.has_overflowed());
    }

    #[test]
    fn a_journal_that_is_full_says_what_it_could_not_keep() {
        let mut journal = Journal::default();
        let max = 2 * (ENTRY_BYTES + 1);
        for text in [b"a", b"b"] {
            assert_eq!(journal.note((0, text), true, (1, None), max), First::Purge);
        }
        assert_eq!(journal.note((0, b"c"), false, (1, None), max), First::PurgeEachTime);
        assert!(!journal.has_overflowed(), "nothing was changed");
        assert_eq!(journal.note((0, b"c"), true, (1, None), max), First::PurgeEachTime);
        assert!(journal.has_overflowed() && journal.bytes() == max);
        assert_eq!(
            journal.note((0, b"a"), true, (1, None), max),
            First::Purge,
            "what is there stays"
        );
    }

    /// Looking at all keys for each write would take a turn's time.
    #[test]
    fn room_is_made_in_one_tenth_and_only_where_there_is_much() {
        let max = 32 * (ENTRY_BYTES + 1);
        let filled = |read_max: u8| {
            let mut journal = Journal::default();
            for number in 0..32 {
                let (tenth, is_read) = (usize::from(number % 2), number < read_max);
                journal.note((tenth, &[number]), !is_read, (1, None), max);
            }
            journal
        };
        let mut journal = filled(8);
        journal.note((9, b"x"), true, (1, None), max);
        assert_eq!(journal.tenths.each_ref().map(|tenth| tenth.unchanged)[..2], [0, 4]);
        assert_eq!(
            (journal.bytes(), journal.has_overflowed()),
            (max - 3 * (ENTRY_BYTES + 1), false)
        );
        // One of sixteen keys in each tenth.
        let mut journal = filled(2);
        assert_eq!(journal.note((9, b"x"), true, (1, None), max), First::PurgeEachTime);
        assert!(journal.has_overflowed() && journal.bytes() == max);
    }
}
