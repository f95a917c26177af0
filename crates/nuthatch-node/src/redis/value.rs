//! The values: strings, hashes, lists, sets and sorted sets.
//!
//! The one rule: each value knows its size in bytes without looking at its elements, because the
//! size is needed after every change.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

#[derive(Debug)]
pub(crate) enum Value {
    Text(Text),
    Hash(Hash),
    List(List),
    Set(Set),
    Sorted(Sorted),
}

impl Value {
    /// The name of the type, as in the reply to `TYPE`.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Text(_) => "string",
            Self::Hash(_) => "hash",
            Self::List(_) => "list",
            Self::Set(_) => "set",
            Self::Sorted(_) => "zset",
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Hash(hash) => hash.bytes,
            Self::List(list) => list.bytes,
            Self::Set(set) => set.0.bytes,
            Self::Sorted(sorted) => sorted.bytes,
        }
    }
}

/// The type of a value.
pub(crate) trait Kind: Default + Into<Value> {
    fn of(value: &Value) -> Option<&Self>;

    fn of_mut(value: &mut Value) -> Option<&mut Self>;

    /// Whether its key is to be removed.
    fn is_void(&self) -> bool;
}

macro_rules! kind {
    ($kind:ident, $is_void:expr) => {
        impl Kind for $kind {
            fn of(value: &Value) -> Option<&Self> {
                if let Value::$kind(it) = value { Some(it) } else { None }
            }

            fn of_mut(value: &mut Value) -> Option<&mut Self> {
                if let Value::$kind(it) = value { Some(it) } else { None }
            }

            fn is_void(&self) -> bool {
                let is_void: fn(&Self) -> bool = $is_void;
                is_void(self)
            }
        }

        impl From<$kind> for Value {
            fn from(it: $kind) -> Self {
                Self::$kind(it)
            }
        }
    };
}

kind!(Text, |_| false);
kind!(Hash, |hash| hash.fields.is_empty());
kind!(List, |list| list.items.is_empty());
kind!(Set, |set| set.0.fields.is_empty());
kind!(Sorted, |sorted| sorted.order.is_empty());

/// A string.
pub(crate) type Text = Vec<u8>;

/// The approximate memory of an element besides its own bytes.
const ELEMENT_BYTES: usize = 48;

/// The fields of a hash and their values, in the order of the fields.
pub(crate) type Fields = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Debug, Default)]
pub(crate) struct Hash {
    fields: Fields,
    bytes: usize,
}

impl Hash {
    /// Sets a field. Returns whether it is new.
    pub(crate) fn insert(&mut self, field: &[u8], value: &[u8]) -> bool {
        let old = self.fields.insert(field.into(), value.into());
        self.bytes += value.len();
        match &old {
            Some(old) => self.bytes -= old.len(),
            None => self.bytes += field.len() + ELEMENT_BYTES,
        }
        old.is_none()
    }

    /// Removes a field. Returns whether there was one.
    pub(crate) fn remove(&mut self, field: &[u8]) -> bool {
        let old = self.fields.remove(field);
        if let Some(old) = &old {
            self.bytes -= field.len() + old.len() + ELEMENT_BYTES;
        }
        old.is_some()
    }

    pub(crate) fn fields(&self) -> &Fields {
        &self.fields
    }
}

/// Members, in their order: a hash without values.
#[derive(Debug, Default)]
pub(crate) struct Set(Hash);

impl Set {
    /// Adds a member. Returns whether it is new.
    pub(crate) fn insert(&mut self, member: &[u8]) -> bool {
        self.0.insert(member, b"")
    }

    /// Removes a member. Returns whether there was one.
    pub(crate) fn remove(&mut self, member: &[u8]) -> bool {
        self.0.remove(member)
    }

    pub(crate) fn contains(&self, member: &[u8]) -> bool {
        self.0.fields.contains_key(member)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.fields.len()
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = &[u8]> {
        self.0.fields.keys().map(Vec::as_slice)
    }
}

#[derive(Debug, Default)]
pub(crate) struct List {
    items: VecDeque<Vec<u8>>,
    bytes: usize,
}

/// An end of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Left,
    Right,
}

impl List {
    pub(crate) fn push(&mut self, end: End, item: &[u8]) {
        self.bytes += item.len() + ELEMENT_BYTES;
        match end {
            End::Left => self.items.push_front(item.into()),
            End::Right => self.items.push_back(item.into()),
        }
    }

    pub(crate) fn pop(&mut self, end: End) -> Option<Vec<u8>> {
        let item = match end {
            End::Left => self.items.pop_front(),
            End::Right => self.items.pop_back(),
        };
        self.bytes -= item.as_ref().map_or(0, |item| item.len() + ELEMENT_BYTES);
        item
    }

    /// Removes items that equal `item`, at most `count_max`, from this end on. Returns how many.
    pub(crate) fn remove(&mut self, end: End, item: &[u8], count_max: usize) -> usize {
        let equal = self.items.iter().filter(|other| *other == item).count();
        let count = equal.min(count_max);
        let goes = match end {
            End::Left => 0..count,
            End::Right => equal - count..equal,
        };
        let mut nth = 0;
        self.items.retain(|other| {
            let is_equal = other == item;
            nth += usize::from(is_equal);
            !(is_equal && goes.contains(&(nth - 1)))
        });
        self.bytes -= count * (item.len() + ELEMENT_BYTES);
        count
    }

    pub(crate) fn items(&self) -> &VecDeque<Vec<u8>> {
        &self.items
    }
}

/// Members with scores, in the order of scores, then of members.
#[derive(Debug, Default)]
pub(crate) struct Sorted {
    scores: BTreeMap<Vec<u8>, f64>,
    order: Vec<(f64, Vec<u8>)>,
    bytes: usize,
}

impl Sorted {
    /// Sets the score of a member. Returns whether the member is new.
    pub(crate) fn insert(&mut self, member: &[u8], score: f64) -> bool {
        // -0 becomes 0, as in Redis's small sorted sets.
        let score = score + 0.0;
        let is_new = !self.remove(member);
        self.scores.insert(member.into(), score);
        let (Ok(at) | Err(at)) = self.find(member, score);
        self.order.insert(at, (score, member.into()));
        self.bytes += 2 * (member.len() + ELEMENT_BYTES);
        is_new
    }

    /// Removes a member. Returns whether there was one.
    pub(crate) fn remove(&mut self, member: &[u8]) -> bool {
        let Some(at) = self.rank(member) else { return false };
        self.order.remove(at);
        self.scores.remove(member);
        self.bytes -= 2 * (member.len() + ELEMENT_BYTES);
        true
    }

    pub(crate) fn score(&self, member: &[u8]) -> Option<f64> {
        self.scores.get(member).copied()
    }

    /// The index of a member.
    pub(crate) fn rank(&self, member: &[u8]) -> Option<usize> {
        self.find(member, self.score(member)?).ok()
    }

    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    /// The members with these indexes. The range is valid.
    pub(crate) fn part(&self, range: Range<usize>) -> &[(f64, Vec<u8>)] {
        &self.order[range]
    }

    /// Where the member is, or should be.
    fn find(&self, member: &[u8], score: f64) -> Result<usize, usize> {
        self.order.binary_search_by(|(other_score, other)| {
            // No score is NaN.
            let by_score = other_score.partial_cmp(&score).unwrap_or(std::cmp::Ordering::Equal);
            by_score.then_with(|| other.as_slice().cmp(member))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_emptied_value_has_no_bytes() {
        let mut hash = Hash::default();
        assert!(hash.insert(b"f", b"long value") && !hash.insert(b"f", b"v"));
        assert!(hash.remove(b"f") && !hash.remove(b"f"));

        let mut list = List::default();
        for item in [&b"a"[..], b"bb", b"a", b"a", b"ccc"] {
            list.push(End::Right, item);
        }
        assert_eq!(list.remove(End::Right, b"a", 2), 2);
        assert_eq!(list.items(), &[&b"a"[..], b"bb", b"ccc"]);
        assert_eq!(list.remove(End::Left, b"a", usize::MAX), 1);
        assert_eq!(list.pop(End::Left).unwrap(), b"bb");
        assert_eq!(list.pop(End::Right).unwrap(), b"ccc");
        assert_eq!(list.pop(End::Right), None);

        let mut sorted = Sorted::default();
        assert!(sorted.insert(b"m", 1.0) && !sorted.insert(b"m", 2.0) && sorted.remove(b"m"));
        assert_eq!((hash.bytes, list.bytes, sorted.bytes), (0, 0, 0));
    }

    #[test]
    fn members_are_sorted_by_score_then_by_name() {
        let mut sorted = Sorted::default();
        for (member, score) in [("b", 1.0), ("a", 1.0), ("z", -0.0), ("y", 0.0), ("b", 0.5)] {
            sorted.insert(member.as_bytes(), score);
        }
        let names: Vec<_> = sorted.part(0..4).iter().map(|(_, name)| name.as_slice()).collect();
        assert_eq!(names, [b"y", b"z", b"b", b"a"]);
        assert_eq!((sorted.rank(b"b"), sorted.rank(b"c")), (Some(2), None));
        assert!(sorted.score(b"z").unwrap().is_sign_positive());
    }
}
