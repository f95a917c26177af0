//! What was written, and whether a value that is read may be there.
//!
//! The rule: a key has one writer, which numbers its writes and deletions, and a value names its key, writer and
//! version and has a checksum. So one look at a value tells whose it is and how old it is.
//!
//! *Stale* is a value older than what was acknowledged before its read began. Some old values can't be blamed on
//! a proxy: a write that got an error may be carried out later, after newer ones. Its bytes lie in the kernel of a
//! server that stands still, or in the relay, which is the network here; the connection was given up meanwhile, the
//! newer write took another one, and the server reads both in any order. Any client of any cache has this. So
//! a value whose write got no acknowledgement counts as *revived*. Once such a value was seen while nothing newer
//! had begun, its write is over as if it were acknowledged, and the value must not come back after a newer one.
//!
//! A cache may lose a value, so a key without a value is never stale.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard};

/// How many keys a writer has.
pub(super) const KEYS_EACH: usize = 24;

/// A key: the number of its writer times `KEYS_EACH`, plus its own.
pub(super) type KeyId = usize;

pub(super) fn owner(key: KeyId) -> usize {
    key / KEYS_EACH
}

pub(super) fn name(key: KeyId) -> String {
    format!("c{}k{}", owner(key), key % KEYS_EACH)
}

/// The text of a version: `KEY WRITER VERSION PADDING CHECKSUM`.
pub(super) fn value(key: KeyId, version: u64, padding: usize) -> String {
    let mut text = format!("{} {} {version} {}", name(key), owner(key), "x".repeat(padding));
    let sum = checksum(&text);
    write!(text, " {sum:016x}").unwrap();
    text
}

/// The version that a value of a key has; none if it is no value of this key.
pub(super) fn version_of(key: KeyId, value: &[u8]) -> Option<u64> {
    let (text, sum) = str::from_utf8(value).ok()?.rsplit_once(' ')?;
    let words: Vec<_> = text.split(' ').collect();
    let [of_key, writer, version, _] = words[..] else { return None };
    let is_whole = sum == format!("{:016x}", checksum(text));
    let is_its = of_key == name(key) && writer == owner(key).to_string();
    version.parse().ok().filter(|_| is_whole && is_its)
}

/// FNV-1a.
fn checksum(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// A key that is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) key: KeyId,
    /// The oldest version that may be found: acknowledged when the read began.
    pub(super) floor: u64,
    /// The newest one: of a reader's own key, what it has sent before the read.
    pub(super) ceiling: u64,
}

/// What a version that was read is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Right,
    /// Older than what was acknowledged, and acknowledged itself.
    Stale,
    /// Older than what was acknowledged, but its write may have been carried out after that.
    Revived,
    /// Nobody wrote this.
    Wrong,
}

/// All keys of a run.
#[derive(Debug)]
pub(super) struct History(Vec<Mutex<Key>>);

#[derive(Debug, Default)]
struct Key {
    /// The last version of which the write has begun.
    begun: u64,
    /// The last one that was acknowledged.
    floor: u64,
    /// Writes that have begun and were not acknowledged: they may still happen.
    open: BTreeSet<u64>,
}

impl History {
    pub(super) fn new(writers: usize) -> Self {
        Self((0..writers * KEYS_EACH).map(|_| Mutex::default()).collect())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    fn key(&self, key: KeyId) -> MutexGuard<'_, Key> {
        self.0[key].lock().unwrap()
    }

    /// A write or deletion begins; its version.
    pub(super) fn begin(&self, key: KeyId) -> u64 {
        let mut key = self.key(key);
        key.begun += 1;
        let version = key.begun;
        key.open.insert(version);
        version
    }

    pub(super) fn acknowledge(&self, key: KeyId, version: u64) {
        self.key(key).settle(version);
    }

    /// A read by this reader begins now.
    pub(super) fn ask(&self, key: KeyId, reader: usize) -> Asked {
        let Key { floor, begun, .. } = *self.key(key);
        let ceiling = if owner(key) == reader { begun } else { u64::MAX };
        Asked { key, floor, ceiling }
    }

    /// A read has found this version.
    pub(super) fn judge(&self, Asked { key, floor, ceiling }: Asked, version: u64) -> Verdict {
        let mut key = self.key(key);
        if version == 0 || version > key.begun.min(ceiling) {
            return Verdict::Wrong;
        }
        if version == key.begun {
            key.settle(version);
        }
        if version >= floor {
            Verdict::Right
        } else if key.open.contains(&version) {
            Verdict::Revived
        } else {
            Verdict::Stale
        }
    }
}

impl Key {
    fn settle(&mut self, version: u64) {
        self.open.remove(&version);
        self.floor = self.floor.max(version);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: KeyId = KEYS_EACH + 3;

    #[test]
    fn a_value_is_of_its_key_only_and_whole_or_nothing() {
        let text = value(KEY, 17, 5);
        assert!(text.starts_with("c1k3 1 17 xxxxx "), "{text}");
        assert_eq!(version_of(KEY, text.as_bytes()), Some(17));
        assert_eq!(version_of(KEY, value(KEY, 1, 0).as_bytes()), Some(1));
        assert_eq!(version_of(KEY + 1, text.as_bytes()), None);
        for end in 0..text.len() {
            assert_eq!(version_of(KEY, &text.as_bytes()[..end]), None);
        }
        assert_eq!(version_of(KEY, text.replace(" 17 ", " 18 ").as_bytes()), None);
    }

    #[test]
    fn a_version_before_the_acknowledged_one_is_stale() {
        let history = History::new(2);
        let [first, second] = [(); 2].map(|()| {
            let version = history.begin(KEY);
            history.acknowledge(KEY, version);
            version
        });
        let asked = history.ask(KEY, 0);
        assert_eq!(history.judge(asked, first), Verdict::Stale);
        assert_eq!(history.judge(asked, second), Verdict::Right);
        assert_eq!(history.judge(asked, second + 1), Verdict::Wrong);
        assert_eq!(history.judge(asked, 0), Verdict::Wrong);
        // The read began before the second was acknowledged.
        assert_eq!(history.judge(Asked { floor: first, ..asked }, first), Verdict::Right);
    }

    #[test]
    fn a_value_after_its_deletion_is_stale() {
        let history = History::new(2);
        let written = history.begin(KEY);
        history.acknowledge(KEY, written);
        let deleted = history.begin(KEY);
        assert_eq!(history.judge(history.ask(KEY, 0), written), Verdict::Right);
        history.acknowledge(KEY, deleted);
        assert_eq!(history.judge(history.ask(KEY, 0), written), Verdict::Stale);
    }

    #[test]
    fn a_write_that_failed_may_happen_later_but_not_twice() {
        let history = History::new(2);
        let failed = history.begin(KEY);
        let written = history.begin(KEY);
        history.acknowledge(KEY, written);
        assert_eq!(history.judge(history.ask(KEY, 0), failed), Verdict::Revived);

        let failed = history.begin(KEY);
        // It has happened.
        assert_eq!(history.judge(history.ask(KEY, 0), failed), Verdict::Right);
        assert_eq!(history.judge(history.ask(KEY, 0), written), Verdict::Stale);
        let written = history.begin(KEY);
        history.acknowledge(KEY, written);
        assert_eq!(history.judge(history.ask(KEY, 0), failed), Verdict::Stale);
    }

    #[test]
    fn a_reader_does_not_find_what_it_wrote_after_its_read() {
        let history = History::new(2);
        let [own, other] = [1, 0].map(|reader| history.ask(KEY, reader));
        let version = history.begin(KEY);
        assert_eq!(history.judge(own, version), Verdict::Wrong);
        assert_eq!(history.judge(other, version), Verdict::Right);
        assert_eq!(history.judge(history.ask(KEY, 1), version), Verdict::Right);
    }
}
