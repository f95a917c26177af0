//! The keys of a node and their values, in a cache of limited size.
//!
//! The one rule: a command sees no expired key, and no key with an empty hash, list or set: such a
//! key is removed. The clock is a field that is set when the store is locked, so that a command
//! sees only one time. `quick_cache` decides which keys are evicted, by their size in bytes.

use std::hash::{BuildHasher, Hasher, RandomState};

use quick_cache::{Weighter, unsync::Cache};

use super::fault::{Fault, WRONG_TYPE};
use super::value::{Kind, Value};

/// Milliseconds since 1970.
pub(crate) type Millis = i64;

#[derive(Debug)]
pub(crate) struct Store {
    entries: Cache<Box<[u8]>, Entry, Bytes>,
    now: Millis,
    random: RandomState,
    /// Commands that used the store.
    pub(crate) requests: u64,
}

/// A value, and when it expires.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) value: Value,
    pub(crate) expires: Option<Millis>,
}

impl Entry {
    fn is_expired(&self, now: Millis) -> bool {
        self.expires.is_some_and(|at| at <= now)
    }
}

impl Store {
    /// A store for entries of `memory` bytes in all.
    pub(crate) fn new(memory: usize) -> Self {
        let entries = Cache::with_weighter(memory / ENTRY_SIZE_USUAL, memory as u64, Bytes);
        Self { entries, now: 0, random: RandomState::new(), requests: 0 }
    }

    /// Sets the clock.
    pub(crate) fn set_now(&mut self, now: Millis) {
        self.now = now;
    }

    pub(crate) fn now(&self) -> Millis {
        self.now
    }

    pub(crate) fn entry(&mut self, key: &[u8]) -> Option<&Entry> {
        let now = self.now;
        self.entries.remove_if(key, |entry| entry.is_expired(now));
        self.entries.get(key)
    }

    pub(crate) fn contains(&mut self, key: &[u8]) -> bool {
        self.entry(key).is_some()
    }

    /// The value of a key, if there is one, which must be of this type.
    pub(crate) fn read<K: Kind>(&mut self, key: &[u8]) -> Result<Option<&K>, Fault> {
        match self.entry(key) {
            Some(entry) => K::of(&entry.value).map(Some).ok_or(WRONG_TYPE),
            None => Ok(None),
        }
    }

    /// Changes the value of a key, which must be of this type. A missing value is made, and an
    /// emptied one is removed.
    pub(crate) fn edit<K: Kind, R>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(&mut K) -> R,
    ) -> Result<R, Fault> {
        if !self.contains(key) {
            let mut value = K::default();
            let result = change(&mut value);
            if !value.is_void() {
                self.insert(key, value, None);
            }
            return Ok(result);
        }
        let Some(mut entry) = self.entries.get_mut(key) else { return Err(WRONG_TYPE) };
        let value = K::of_mut(&mut entry.value).ok_or(WRONG_TYPE)?;
        let result = change(value);
        let is_void = value.is_void();
        drop(entry);
        if is_void {
            self.entries.remove(key);
        } else if self.bytes() > self.bytes_max()
            && let Some((key, entry)) = self.entries.remove(key)
        {
            // Only an insertion evicts, and it refuses what is larger than the memory.
            self.entries.insert(key, entry);
        }
        Ok(result)
    }

    /// Sets a key, whatever it was before.
    pub(crate) fn insert(&mut self, key: &[u8], value: impl Into<Value>, expires: Option<Millis>) {
        self.put(key, Entry { value: value.into(), expires });
    }

    pub(crate) fn put(&mut self, key: &[u8], entry: Entry) {
        self.entries.insert(key.into(), entry);
    }

    /// Removes a key and returns its entry.
    pub(crate) fn take(&mut self, key: &[u8]) -> Option<Entry> {
        let now = self.now;
        let (_, entry) = self.entries.remove(key)?;
        (!entry.is_expired(now)).then_some(entry)
    }

    /// Sets when a key expires; a time that has passed removes the key. The key exists.
    pub(crate) fn expire(&mut self, key: &[u8], at: Option<Millis>) {
        if at.is_some_and(|at| at <= self.now) {
            self.entries.remove(key);
        } else if let Some(mut entry) = self.entries.get_mut(key) {
            entry.expires = at;
        }
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }

    /// All keys, in no order.
    pub(crate) fn keys(&mut self) -> impl Iterator<Item = (&[u8], &Entry)> {
        let now = self.now;
        self.entries.retain(|_, entry| !entry.is_expired(now));
        self.entries.iter().map(|(key, entry)| (&**key, entry))
    }

    /// The number of keys.
    pub(crate) fn len(&mut self) -> usize {
        self.keys().count()
    }

    /// A random number.
    pub(crate) fn random(&self) -> u64 {
        let mut hasher = self.random.build_hasher();
        hasher.write_u64(self.requests);
        hasher.finish()
    }

    /// Bytes of all entries.
    pub(crate) fn bytes(&self) -> u64 {
        self.entries.weight()
    }

    /// Bytes that all entries may have.
    pub(crate) fn bytes_max(&self) -> u64 {
        self.entries.capacity()
    }
}

/// The expected size of an entry, which determines the size of the cache's tables; it may be far
/// off.
const ENTRY_SIZE_USUAL: usize = 512;

/// The approximate memory of an entry besides its key and value.
const ENTRY_BYTES: usize = 64;

#[derive(Debug, Clone)]
struct Bytes;

impl Weighter<Box<[u8]>, Entry> for Bytes {
    fn weight(&self, key: &Box<[u8]>, entry: &Entry) -> u64 {
        (ENTRY_BYTES + key.len() + entry.value.bytes()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::super::value::{End, Hash, List, Sorted, Text};
    use super::*;

    #[test]
    fn a_key_is_gone_from_its_millisecond_on() {
        let mut store = Store::new(1 << 20);
        store.insert(b"k", Text::from(b"v"), Some(1000));
        store.set_now(999);
        assert_eq!(store.len(), 1);
        assert!(store.contains(b"k"));
        store.set_now(1000);
        assert_eq!(store.len(), 0);
        assert!(store.take(b"k").is_none());
    }

    #[test]
    fn memory_is_bounded_whatever_is_written() {
        let mut store = Store::new(1 << 20);
        for i in 0..5000_u32 {
            let (name, data) = (i.to_be_bytes(), vec![b'x'; 300 + i as usize % 2000]);
            store.insert(&name, data.clone(), None);
            store.edit(b"list", |list: &mut List| list.push(End::Left, &data)).unwrap();
            store.edit(b"hash", |hash: &mut Hash| hash.insert(&name, &data)).unwrap();
            store.edit(b"sorted", |sorted: &mut Sorted| sorted.insert(&data, 1.0)).unwrap();
            store.edit(b"text", |text: &mut Text| text.extend(&data)).unwrap();
            assert!(store.bytes() <= store.bytes_max());
        }
        assert!(store.len() > 400, "{}", store.len());
    }
}
