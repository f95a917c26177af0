//! The items of a node, in a cache of limited size.
//!
//! The one rule: every change of an item has its own number (its CAS id), and an expired item is
//! never changed. The clock is a field that is set when the store is locked, so that a request sees
//! only one time. `quick_cache` decides which items are evicted, by their size in bytes.

use std::ops::DerefMut;

use quick_cache::{Weighter, unsync::Cache};

use super::item::{ITEM_SIZE_MAX, Item, Seconds, deadline};

#[derive(Debug)]
pub(crate) struct Store {
    items: Cache<Box<[u8]>, Item, Bytes>,
    now: Seconds,
    /// The CAS id of the last change.
    cas: u64,
    /// When all items are removed.
    flush_at: Option<Seconds>,
    pub(crate) counts: Counts,
}

/// The counters of a node, since its start or `stats reset`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) requests: u64,
    pub(crate) get_hits: u64,
    pub(crate) get_misses: u64,
    pub(crate) sets: u64,
}

/// A value to be written.
#[derive(Debug)]
pub(crate) struct Write {
    pub(crate) mode: Mode,
    /// Only over the item with this CAS id.
    pub(crate) cas: Option<u64>,
    /// Whether an older CAS id is accepted; the item is then stale.
    pub(crate) allow_stale: bool,
    pub(crate) item: Item,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Set,
    Add,
    Replace,
    Append,
    Prepend,
}

/// The result of a [`Write`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    /// The item was stored with this CAS id.
    Stored(u64),
    NotStored,
    Exists,
    NotFound,
    TooLarge,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Delta {
    /// Wraps around at 64 bits.
    Up(u64),
    /// Stops at 0.
    Down(u64),
}

/// The result of a [`Delta`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counted {
    Number(u64),
    NotANumber,
    Exists,
    NotFound,
}

impl Store {
    /// A store for items of `memory` bytes in all.
    pub(crate) fn new(memory: usize) -> Self {
        let items = Cache::with_weighter(memory / ITEM_SIZE_USUAL, memory as u64, Bytes);
        Self { items, now: 0, cas: 0, flush_at: None, counts: Counts::default() }
    }

    /// Sets the clock.
    pub(crate) fn set_now(&mut self, now: Seconds) {
        self.now = now;
        if self.flush_at.is_some_and(|at| at <= now) {
            self.flush_at = None;
            self.items.clear();
        }
    }

    pub(crate) fn now(&self) -> Seconds {
        self.now
    }

    pub(crate) fn find(&mut self, key: &[u8]) -> Option<impl DerefMut<Target = Item>> {
        let now = self.now;
        self.items.remove_if(key, |item| item.is_expired(now));
        self.items.get_mut(key)
    }

    /// `set`, `add`, `replace`, `append`, `prepend`, `cas` and `ms`
    /// (memcached `do_store_item`).
    pub(crate) fn write(&mut self, key: &[u8], write: Write) -> Written {
        let Write { mode, cas, allow_stale, mut item } = write;
        self.counts.sets += 1;
        if item.size(key) > ITEM_SIZE_MAX {
            return Written::TooLarge;
        }
        let is_whole = matches!(mode, Mode::Set | Mode::Replace);
        if let Some(old) = self.find(key) {
            let is_late = allow_stale && is_whole && cas.is_some_and(|cas| cas < old.cas);
            if mode == Mode::Add {
                return Written::NotStored;
            }
            if cas.is_some_and(|cas| cas != old.cas) && !is_late {
                return Written::Exists;
            }
            if !is_whole {
                let (front, back) = match mode {
                    Mode::Prepend => (&item.data, &old.data),
                    _ => (&old.data, &item.data),
                };
                item = old.heir([&front[..], back].concat());
            } else if is_late {
                let (expires, has_winner) = (old.expires, old.has_winner);
                item = Item { expires, has_winner, stale: true, ..item };
            }
        } else {
            match mode {
                Mode::Set | Mode::Replace if cas.is_some() => return Written::NotFound,
                Mode::Replace | Mode::Append | Mode::Prepend => return Written::NotStored,
                Mode::Set | Mode::Add => {}
            }
        }
        self.insert(key, item)
    }

    fn insert(&mut self, key: &[u8], mut item: Item) -> Written {
        if item.size(key) > ITEM_SIZE_MAX {
            return Written::NotStored;
        }
        self.cas += 1;
        item.cas = self.cas;
        item.accessed = self.now;
        self.items.insert(key.into(), item);
        Written::Stored(self.cas)
    }

    /// `incr`, `decr` and `ma` (memcached `do_add_delta`).
    pub(crate) fn add_delta(&mut self, key: &[u8], delta: Delta, cas: Option<u64>) -> Counted {
        let (now, next_cas) = (self.now, self.cas + 1);
        let Some(mut item) = self.find(key) else { return Counted::NotFound };
        let Some(old) = item.number() else { return Counted::NotANumber };
        if cas.is_some_and(|cas| cas != item.cas) {
            return Counted::Exists;
        }
        let new = match delta {
            Delta::Up(delta) => old.wrapping_add(delta),
            Delta::Down(delta) => old.saturating_sub(delta),
        };
        let mut digits = new.to_string().into_bytes();
        if digits.len() > item.data.len() {
            *item = item.heir(digits);
        } else {
            // The number is written in place, followed by spaces for the remaining digits.
            digits.resize(item.data.len(), b' ');
            item.data = digits;
        }
        item.cas = next_cas;
        item.accessed = now;
        drop(item);
        self.cas = next_cas;
        Counted::Number(new)
    }

    /// Removes an item. Returns whether there was one.
    pub(crate) fn remove(&mut self, key: &[u8]) -> bool {
        let now = self.now;
        self.items.remove(key).is_some_and(|(_, item)| !item.is_expired(now))
    }

    /// Makes an item stale: the next client that sees it is told to recache it.
    pub(crate) fn invalidate(&mut self, key: &[u8], expires: Option<Option<Seconds>>) {
        let next_cas = self.cas + 1;
        let Some(mut item) = self.find(key) else { return };
        item.expires = expires.unwrap_or(item.expires);
        item.stale = true;
        item.has_winner = false;
        item.cas = next_cas;
        drop(item);
        self.cas = next_cas;
    }

    /// Removes all items, `delay` seconds from now.
    pub(crate) fn flush(&mut self, delay: i64) {
        if delay <= 0 {
            self.items.clear();
        } else {
            self.flush_at = deadline(delay, self.now);
        }
    }

    /// The number of items; expired items count until they are requested or evicted.
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// Bytes of all items.
    pub(crate) fn bytes(&self) -> u64 {
        self.items.weight()
    }

    /// Bytes that all items may have.
    pub(crate) fn bytes_max(&self) -> u64 {
        self.items.capacity()
    }
}

/// The expected size of an item, which determines the size of the cache's tables; it may be far
/// off.
const ITEM_SIZE_USUAL: usize = 512;

/// Weighs items as memcached does.
#[derive(Debug, Clone)]
struct Bytes;

impl Weighter<Box<[u8]>, Item> for Bytes {
    fn weight(&self, key: &Box<[u8]>, item: &Item) -> u64 {
        item.size(key) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> Store {
        let mut store = Store::new(1 << 20);
        store.set_now(1_700_000_000);
        store
    }

    fn item(data: &[u8]) -> Item {
        Item { data: data.into(), ..Item::default() }
    }

    fn write(mode: Mode, data: &[u8]) -> Write {
        Write { mode, cas: None, allow_stale: false, item: item(data) }
    }

    #[test]
    fn an_item_is_gone_from_its_second_on() {
        let mut store = store();
        let expires = deadline(10, store.now());
        let late = Write { item: Item { expires, ..item(b"v") }, ..write(Mode::Set, b"") };
        assert_eq!(store.write(b"k", late), Written::Stored(1));
        store.set_now(1_700_000_009);
        assert!(store.find(b"k").is_some());
        store.set_now(1_700_000_010);
        assert!(store.find(b"k").is_none());
        assert!(!store.remove(b"k"));
        assert_eq!(store.write(b"k", write(Mode::Replace, b"v")), Written::NotStored);
    }

    #[test]
    fn a_delayed_flush_waits() {
        let mut store = store();
        store.write(b"k", write(Mode::Set, b"v"));
        store.flush(5);
        store.set_now(1_700_000_004);
        assert_eq!(store.len(), 1);
        store.set_now(1_700_000_005);
        assert_eq!(store.len(), 0);
        store.write(b"k", write(Mode::Set, b"v"));
        store.set_now(1_700_000_006);
        assert_eq!(store.len(), 1);
    }

    #[test]
    fn memory_is_bounded_whatever_is_written() {
        let mut store = store();
        for i in 0..5000_u32 {
            let data = vec![b'x'; 300 + i as usize % 2000];
            store.write(&i.to_be_bytes(), write(Mode::Set, &data));
            store.write(b"growing", write(Mode::Append, &data));
            assert!(store.bytes() <= store.bytes_max());
        }
        assert!(store.len() > 400, "{}", store.len());
    }

    #[test]
    fn a_value_for_which_there_is_no_room_leaves_no_older_one_behind() {
        let mut store = store();
        store.write(b"k", write(Mode::Set, b"old"));
        let all_memory = vec![b'x'; ITEM_SIZE_MAX - 100];
        store.write(b"k", write(Mode::Set, &all_memory));
        assert!(store.find(b"k").is_none_or(|item| item.data != b"old"));
    }

    #[test]
    fn numbers_go_round_upwards_and_stop_at_zero_downwards() {
        let mut store = store();
        store.write(b"n", write(Mode::Set, b"18446744073709551615"));
        assert_eq!(store.add_delta(b"n", Delta::Up(3), None), Counted::Number(2));
        assert_eq!(store.add_delta(b"n", Delta::Down(3), Some(2)), Counted::Number(0));
        assert_eq!(store.add_delta(b"n", Delta::Up(3), Some(2)), Counted::Exists);
        assert_eq!(store.add_delta(b"m", Delta::Up(3), None), Counted::NotFound);
        assert_eq!(store.find(b"n").unwrap().data, b"0                   ");
    }
}
