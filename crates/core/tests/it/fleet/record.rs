//! What clients asked and were told, and whether a cache may answer so.
//!
//! A cache may miss at any time. But a write that was acknowledged before a read began is seen by the
//! read, or a later write, or nothing: never an older value. The same holds for what increments,
//! appends and `cas` are carried out on.
//!
//! Two increments, or two `cas`, at the same time may be carried out on the same value in one case: if the
//! value is removed, at the same time too, from where the first was carried out.

use std::collections::BTreeMap;

/// What a request does, and the value that it writes, a number that no other write has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Read,
    Set(u64),
    Add(u64),
    Replace(u64),
    /// And the value that its id was of.
    Cas(u64, u64),
    Append(u64),
    Delete,
    Incr,
    Touch,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Result {
    /// Nothing yet, or an error: it was done, will be done, or never.
    Unknown,
    /// It was done.
    Done,
    /// It was not done.
    Not,
    /// The value: the number of its write, and what was added to it.
    Value(u64, Vec<u64>),
}

#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) key: String,
    pub(crate) act: Act,
    pub(crate) client: usize,
    /// The place among the client's requests; those of another connection are others.
    pub(crate) place: u64,
    pub(crate) begun: u64,
    pub(crate) ended: u64,
    pub(crate) result: Result,
    /// How the request was written.
    pub(crate) text: String,
}

impl Record {
    /// Whether it was over before another began.
    fn precedes(&self, other: &Self) -> bool {
        let is_own = self.client == other.client && self.place < other.place;
        self.result != Result::Unknown && (is_own || self.ended < other.begun)
    }

    /// Whether it was under way at the same time as another.
    fn meets(&self, other: &Self) -> bool {
        !self.precedes(other) && !other.precedes(self)
    }

    /// Whether it has certainly replaced or removed the value.
    fn replaces(&self) -> bool {
        match self.act {
            Act::Set(_) | Act::Add(_) | Act::Replace(_) | Act::Cas(..) => {
                self.result == Result::Done
            }
            Act::Delete => matches!(self.result, Result::Done | Result::Not),
            Act::Read | Act::Append(_) | Act::Incr | Act::Touch => false,
        }
    }

    /// The value that it writes, if it does.
    fn wrote(&self) -> Option<u64> {
        match self.act {
            Act::Set(value) | Act::Add(value) | Act::Replace(value) | Act::Cas(value, _) => {
                Some(value)
            }
            _ => None,
        }
    }
}

/// Checks all requests; those with `cas` only if `compares`. If servers remove values on their own account,
/// `evicts`.
pub(crate) fn check(records: &[Record], compares: bool, evicts: bool) {
    let mut keys: BTreeMap<&str, Vec<&Record>> = BTreeMap::new();
    for record in records {
        keys.entry(&record.key).or_default().push(record);
    }
    for records in keys.values() {
        check_key(records, compares, evicts);
    }
}

fn check_key(records: &[&Record], compares: bool, evicts: bool) {
    let writers: BTreeMap<u64, &Record> =
        records.iter().filter_map(|record| Some((record.wrote()?, *record))).collect();
    let mut taken = BTreeMap::new();
    let mut counted = BTreeMap::new();
    for record in records {
        match (record.act, &record.result) {
            (Act::Read | Act::Incr, Result::Value(value, added)) => {
                let Some(writer) = writers.get(value) else {
                    panic!("nobody wrote {value}: {record:?}");
                };
                check_fresh(records, writer, record);
                if record.act == Act::Incr {
                    check_count(records, (*value, added[0] - 1), record);
                    if let Some(other) = counted.insert((*value, added[0]), record)
                        && !may_both(records, (other, record), evicts)
                    {
                        panic!("counted twice: {other:?} {record:?}");
                    }
                } else if record.key.starts_with('n') {
                    check_count(records, (*value, added[0]), record);
                } else {
                    check_added(records, writer, (added, record));
                }
            }
            (Act::Cas(_, seen), Result::Done) if compares => {
                check_fresh(records, writers[&seen], record);
                if let Some(other) = taken.insert(seen, record)
                    && !may_both(records, (other, record), evicts)
                {
                    panic!("compared twice: {other:?} {record:?}");
                }
            }
            _ => {}
        }
    }
}

/// Whether both may have been carried out on the same value.
fn may_both(records: &[&Record], (one, two): (&Record, &Record), evicts: bool) -> bool {
    let meets_both = |other: &&&Record| {
        let may_replace = other.wrote().is_some() || other.act == Act::Delete;
        may_replace && other.meets(one) && other.meets(two)
    };
    one.meets(two) && (evicts || records.iter().any(|other| meets_both(&other)))
}

/// The value of `writer` was not replaced before `reader` began.
fn check_fresh(records: &[&Record], writer: &Record, reader: &Record) {
    for other in records.iter().filter(|other| other.replaces()) {
        assert!(
            !(writer.precedes(other) && other.precedes(reader)),
            "stale: {reader:?} has what {writer:?} wrote before {other:?}"
        );
    }
    assert!(writer.begun <= reader.ended, "from the future: {reader:?}");
}

/// No more was counted before `reader` began than it has.
fn check_count(records: &[&Record], (value, count): (u64, u64), reader: &Record) {
    for other in records.iter().filter(|other| other.act == Act::Incr && other.precedes(reader)) {
        if let Result::Value(base, counted) = &other.result {
            assert!(*base != value || counted[0] <= count, "lost: {other:?} {reader:?}");
        }
    }
}

/// All is there that was certainly added to this value before `reader` began, and nothing twice.
fn check_added(records: &[&Record], writer: &Record, (added, reader): (&[u64], &Record)) {
    for (place, token) in added.iter().enumerate() {
        assert!(!added[..place].contains(token), "added twice: {reader:?}");
    }
    let is_only = records.iter().all(|other| {
        let may_replace = other.wrote().is_some() || other.act == Act::Delete;
        !may_replace
            || other.wrote() == writer.wrote()
            || other.precedes(writer)
            || other.begun > reader.ended
    });
    for other in records {
        if let (Act::Append(token), Result::Done) = (other.act, &other.result)
            && is_only
            && writer.precedes(other)
            && other.precedes(reader)
        {
            assert!(added.contains(&token), "lost: {other:?} {reader:?}");
        }
    }
}
