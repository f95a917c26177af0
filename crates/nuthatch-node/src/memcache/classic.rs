//! The classic commands: from a parsed request to the bytes of its reply.
//!
//! The one rule: the core has already checked the request, so all required words are present, and
//! numbers are valid.

use std::io::Write as _;

use super::item::{Item, Seconds, deadline, parse};
use super::session::Line;
use super::store::{Counted, Delta, Mode, Store, Write, Written};

pub(crate) const TOO_LARGE: &[u8] = b"SERVER_ERROR object too large for cache\r\n";
pub(crate) const NOT_A_NUMBER: &[u8] =
    b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n";
const NOT_FOUND: &[u8] = b"NOT_FOUND\r\n";

/// How values are read: the part before the keys of `get`, `gets`, `gat` and `gats`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Read {
    with_cas: bool,
    /// The new expiry, if there is one.
    touch: Option<Option<Seconds>>,
}

impl Read {
    pub(crate) fn new(mut line: Line<'_>, now: Seconds) -> Self {
        let touch = line.command.starts_with(b"gat");
        let touch = touch.then(|| exptime(line.words.next(), now));
        Self { with_cas: line.command.ends_with(b"s"), touch }
    }

    /// Appends the `VALUE` of `key`, if it has one.
    pub(crate) fn value(self, store: &mut Store, key: &[u8], reply: &mut Vec<u8>) {
        let now = store.now();
        let Some(mut item) = store.find(key) else {
            store.counts.get_misses += 1;
            return;
        };
        item.access(now);
        if let Some(expires) = self.touch {
            item.expires = expires;
        }
        reply.extend_from_slice(b"VALUE ");
        reply.extend_from_slice(key);
        // Writing to memory can't fail, here and below.
        let _ = write!(reply, " {} {}", item.flags, item.data.len());
        if self.with_cas {
            let _ = write!(reply, " {}", item.cas);
        }
        reply.extend_from_slice(b"\r\n");
        reply.extend_from_slice(&item.data);
        reply.extend_from_slice(b"\r\n");
        drop(item);
        store.counts.get_hits += 1;
    }
}

/// Appends the reply to a command with one key that reads no value.
pub(crate) fn answer(store: &mut Store, key: &[u8], line: Line<'_>, reply: &mut Vec<u8>) {
    let now = store.now();
    let mut words = line.words.clone().skip(1);
    let said: &[u8] = match line.command {
        b"version" => {
            concat!("VERSION 1.6.18 nuthatch ", env!("CARGO_PKG_VERSION"), "\r\n").as_bytes()
        }
        b"delete" if store.remove(key) => b"DELETED\r\n",
        b"delete" => NOT_FOUND,
        b"touch" => match store.find(key) {
            Some(mut item) => {
                item.access(now);
                item.expires = exptime(words.next(), now);
                b"TOUCHED\r\n"
            }
            None => NOT_FOUND,
        },
        b"incr" | b"decr" => {
            let number = words.next().and_then(parse).unwrap_or_default();
            let is_up = line.command == b"incr";
            let delta = if is_up { Delta::Up(number) } else { Delta::Down(number) };
            match store.add_delta(key, delta, None) {
                Counted::Number(number) => {
                    let _ = write!(reply, "{number}\r\n");
                    b""
                }
                Counted::NotANumber => NOT_A_NUMBER,
                Counted::Exists | Counted::NotFound => NOT_FOUND,
            }
        }
        _ => write(store, key, line),
    };
    reply.extend_from_slice(said);
}

/// `set` and the other storage commands.
fn write(store: &mut Store, key: &[u8], line: Line<'_>) -> &'static [u8] {
    let mode = match line.command {
        b"add" => Mode::Add,
        b"replace" => Mode::Replace,
        b"append" => Mode::Append,
        b"prepend" => Mode::Prepend,
        _ => Mode::Set,
    };
    let mut words = line.words.skip(1);
    let flags = words.next().and_then(parse).unwrap_or_default();
    let expires = exptime(words.next(), store.now());
    let cas = if line.command == b"cas" { words.nth(1).and_then(parse) } else { None };
    let item = Item { data: line.data.into(), flags, expires, ..Item::default() };
    match store.write(key, Write { mode, cas, allow_stale: false, item }) {
        Written::Stored(_) => b"STORED\r\n",
        Written::NotStored => b"NOT_STORED\r\n",
        Written::Exists => b"EXISTS\r\n",
        Written::NotFound => NOT_FOUND,
        Written::TooLarge => {
            if line.command == b"set" {
                // The old value is outdated, so it is removed.
                store.remove(key);
            }
            TOO_LARGE
        }
    }
}

/// The end of an item's life, from an exptime.
fn exptime(word: Option<&[u8]>, now: Seconds) -> Option<Seconds> {
    deadline(word.and_then(parse).unwrap_or_default(), now)
}
