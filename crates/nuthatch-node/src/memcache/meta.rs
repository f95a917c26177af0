//! The meta commands `mg`, `ms`, `md`, `ma`, `me`: from a parsed request to the bytes of its reply
//! (protocol.txt, "Meta Commands").
//!
//! The one rule: the flags of a reply are in the order of the request's flags. Whether the client
//! wants the reply is decided elsewhere; each function returns the outcome of its reply.

use std::io::Write as _;

use nuthatch_core::memcache::{Words, decode_key};
use nuthatch_core::message::{KeyEncoding, One, Outcome};

use super::classic::{NOT_A_NUMBER, TOO_LARGE};
use super::flags::{BAD_FLAG, Flags};
use super::item::{Item, Seconds};
use super::session::Line;
use super::store::{Counted, Delta, Mode, Store, Write, Written};

const BAD_MODE_SET: &[u8] = b"CLIENT_ERROR invalid mode for ms M token\r\n";
const BAD_MODE_ARITH: &[u8] = b"CLIENT_ERROR invalid mode for ma M token\r\n";

const BAD_KEY_ENCODING: &[u8] = b"CLIENT_ERROR error decoding key\r\n";
const BAD_FLAG_OR_KEY: &[u8] = b"CLIENT_ERROR invalid or duplicate flag\r\n";

/// Appends the reply to a meta command.
pub(crate) fn answer(
    store: &mut Store,
    one: &One<'_>,
    line: Line<'_>,
    reply: &mut Vec<u8>,
) -> Outcome {
    let mut room = [0; 192];
    let decoded = match one.encoding {
        KeyEncoding::Plain => one.key,
        KeyEncoding::Base64 => decode_key(one.key, &mut room).unwrap_or_default(),
    };
    let key = Key { decoded, written: one.key, encoding: one.encoding };
    let mut words = line.words.clone();
    words.next();
    if one.encoding == KeyEncoding::Plain && words.clone().any(|word| word[0] == b'b') {
        // The parser has found that the key is not base64.
        return match line.command {
            b"mg" | b"ms" => refuse(BAD_KEY_ENCODING, reply),
            b"md" | b"ma" => refuse(BAD_FLAG_OR_KEY, reply),
            _ => debug(store, key, reply),
        };
    }
    match line.command {
        b"mg" => get(store, key, words, reply),
        b"ms" => set(store, key, line, reply),
        b"md" => delete(store, key, words, reply),
        b"ma" => arith(store, key, words, reply),
        _ => debug(store, key, reply),
    }
}

/// A key, decoded and as in the request.
#[derive(Debug, Clone, Copy)]
struct Key<'a> {
    decoded: &'a [u8],
    written: &'a [u8],
    encoding: KeyEncoding,
}

impl Key<'_> {
    /// The key in base64, if the request has it in this form.
    fn base64(&self) -> Option<Box<[u8]>> {
        (self.encoding == KeyEncoding::Base64).then(|| self.written.into())
    }

    /// Repeats the key or the opaque token, if `flag` is one of them. The key of an item has the
    /// form in which it was stored, other keys the form of the request.
    fn repeat(&self, flag: &[u8], item: Option<&Item>, reply: &mut Vec<u8>) {
        match flag[0] {
            b'O' => {
                reply.push(b' ');
                reply.extend_from_slice(flag);
            }
            b'k' => {
                let base64 = match item {
                    Some(item) => item.base64_key.clone(),
                    None => self.base64(),
                };
                reply.extend_from_slice(b" k");
                reply.extend_from_slice(base64.as_deref().unwrap_or(self.decoded));
                reply.extend_from_slice(if base64.is_some() { b" b" } else { b"" });
            }
            _ => {}
        }
    }

    /// A reply without an item: its two letters, key and opaque token.
    fn code(&self, code: &[u8], flags: &Flags<'_>, reply: &mut Vec<u8>) {
        reply.extend_from_slice(code);
        flags.words.clone().for_each(|flag| self.repeat(flag, None, reply));
        reply.extend_from_slice(b"\r\n");
    }
}

fn refuse(error: &[u8], reply: &mut Vec<u8>) -> Outcome {
    reply.extend_from_slice(error);
    Outcome::Error
}

/// The first word of a reply, and a length if the reply has a value.
fn begin(value: Option<usize>, reply: &mut Vec<u8>) {
    // Writing to memory can't fail, here and below.
    let _ = match value {
        Some(len) => write!(reply, "VA {len}"),
        None => write!(reply, "HD"),
    };
}

fn finish(value: Option<&[u8]>, reply: &mut Vec<u8>) {
    reply.extend_from_slice(b"\r\n");
    if let Some(value) = value {
        reply.extend_from_slice(value);
        reply.extend_from_slice(b"\r\n");
    }
}

/// Appends the word for `flag`, if the flag requests one.
fn tell(flag: &[u8], key: Key<'_>, item: &Item, now: Seconds, reply: &mut Vec<u8>) {
    let letter = char::from(flag[0]);
    let _ = match flag[0] {
        b's' => write!(reply, " s{}", item.data.len()),
        b'c' => write!(reply, " c{}", item.cas),
        b'f' => write!(reply, " f{}", item.flags),
        b'h' => write!(reply, " h{}", u8::from(item.fetched)),
        b'l' => write!(reply, " l{}", now.saturating_sub(item.accessed)),
        b't' => match item.expires {
            Some(at) => write!(reply, " {letter}{}", at.saturating_sub(now)),
            None => write!(reply, " {letter}-1"),
        },
        _ => {
            key.repeat(flag, Some(item), reply);
            Ok(())
        }
    };
}

/// `mg`: reads, touches, and lets one client recache an item that is stale, missing or about to
/// expire.
fn get(store: &mut Store, key: Key<'_>, words: Words<'_>, reply: &mut Vec<u8>) -> Outcome {
    let now = store.now();
    let flags = match Flags::read(words, now) {
        Ok(flags) => flags,
        Err(bad) => return refuse(bad.text(), reply),
    };
    let is_hit = store.find(key.decoded).is_some();
    if let (false, Some(expires)) = (is_hit, flags.vivify) {
        let item = Item { expires, ..Item::default() };
        store.write(key.decoded, Write { mode: Mode::Add, cas: None, allow_stale: false, item });
    }
    let count = if is_hit { &mut store.counts.get_hits } else { &mut store.counts.get_misses };
    *count += 1;
    let Some(mut item) = store.find(key.decoded) else {
        key.code(b"EN", &flags, reply);
        return Outcome::Miss;
    };
    let mut wins = !is_hit;
    begin(flags.value.then_some(item.data.len()), reply);
    for flag in flags.words.clone() {
        match flag[0] {
            b'T' => item.expires = flags.expires.flatten(),
            b'R' => {
                let is_soon = item.expires.zip(flags.recache.flatten()).is_some_and(|(a, b)| a < b);
                wins |= is_hit && is_soon && !item.has_winner;
            }
            b's' | b'c' | b'f' | b'h' | b'l' | b't' | b'O' | b'k' => {
                tell(flag, key, &item, now, reply);
            }
            _ => {}
        }
    }
    reply.extend_from_slice(if item.has_winner { b" Z" } else { b"" });
    reply.extend_from_slice(if item.stale { b" X" } else { b"" });
    wins |= item.stale && !item.has_winner;
    if wins {
        reply.extend_from_slice(b" W");
        item.has_winner = true;
    }
    finish(flags.value.then_some(&item.data), reply);
    if !flags.unseen {
        item.access(now);
    }
    Outcome::Hit
}

/// `ms`: writes.
fn set(store: &mut Store, key: Key<'_>, line: Line<'_>, reply: &mut Vec<u8>) -> Outcome {
    let mut words = line.words;
    words.nth(1);
    let flags = match Flags::read(words, store.now()) {
        Ok(flags) => flags,
        Err(bad) => return refuse(bad.text(), reply),
    };
    let mode = match flags.mode {
        None | Some(b'S') => Mode::Set,
        Some(b'E') => Mode::Add,
        Some(b'A') => Mode::Append,
        Some(b'P') => Mode::Prepend,
        Some(b'R') => Mode::Replace,
        Some(_) => return refuse(BAD_MODE_SET, reply),
    };
    let item = Item {
        data: line.data.into(),
        flags: flags.client_flags,
        expires: flags.expires.flatten(),
        base64_key: key.base64(),
        ..Item::default()
    };
    let write = Write { mode, cas: flags.cas, allow_stale: flags.invalidate, item };
    let (code, cas, outcome) = match store.write(key.decoded, write) {
        Written::Stored(cas) => (b"HD", cas, Outcome::Success),
        Written::NotStored => (b"NS", 0, Outcome::NotStored),
        Written::Exists => (b"EX", 0, Outcome::Exists),
        Written::NotFound => (b"NF", 0, Outcome::NotFound),
        Written::TooLarge => {
            // The old value is outdated, so it is removed.
            store.remove(key.decoded);
            return refuse(TOO_LARGE, reply);
        }
    };
    reply.extend_from_slice(code);
    for flag in flags.words {
        key.repeat(flag, None, reply);
        if flag[0] == b'c' {
            let _ = write!(reply, " c{cas}");
        }
    }
    reply.extend_from_slice(b"\r\n");
    outcome
}

/// `md`: removes or invalidates.
fn delete(store: &mut Store, key: Key<'_>, words: Words<'_>, reply: &mut Vec<u8>) -> Outcome {
    let Ok(flags) = Flags::read(words, store.now()) else { return refuse(BAD_FLAG, reply) };
    let found = store.find(key.decoded).map(|item| item.cas);
    let (code, outcome) = match found {
        None => (b"NF", Outcome::NotFound),
        Some(found) if flags.cas.is_some_and(|cas| cas != found) => (b"EX", Outcome::Exists),
        Some(_) => (b"HD", Outcome::Success),
    };
    if outcome == Outcome::Success {
        if flags.invalidate {
            store.invalidate(key.decoded, flags.expires);
        } else {
            store.remove(key.decoded);
        }
    }
    key.code(code, &flags, reply);
    outcome
}

/// `ma`: counts.
fn arith(store: &mut Store, key: Key<'_>, words: Words<'_>, reply: &mut Vec<u8>) -> Outcome {
    let now = store.now();
    let Ok(flags) = Flags::read(words, now) else { return refuse(BAD_FLAG, reply) };
    let delta = match flags.mode {
        None | Some(b'I' | b'+') => Delta::Up(flags.delta),
        Some(b'D' | b'-') => Delta::Down(flags.delta),
        Some(_) => return refuse(BAD_MODE_ARITH, reply),
    };
    let number = match (store.add_delta(key.decoded, delta, flags.cas), flags.vivify) {
        (Counted::Number(number), _) => number,
        (Counted::NotANumber, _) => return refuse(NOT_A_NUMBER, reply),
        (Counted::NotFound, Some(expires)) => {
            let data = flags.initial.to_string().into_bytes();
            let item = Item { data, expires, ..Item::default() };
            let write = Write { mode: Mode::Add, cas: None, allow_stale: false, item };
            store.write(key.decoded, write);
            flags.initial
        }
        (counted, _) => {
            let (code, outcome) = match counted {
                Counted::Exists => (b"EX", Outcome::Exists),
                _ => (b"NF", Outcome::NotFound),
            };
            key.code(code, &flags, reply);
            return outcome;
        }
    };
    let number = number.to_string();
    begin(flags.value.then_some(number.len()), reply);
    if let Some(mut item) = store.find(key.decoded) {
        for flag in flags.words {
            match flag[0] {
                b'T' => item.expires = flags.expires.flatten(),
                b't' | b'c' => tell(flag, key, &item, now, reply),
                _ => key.repeat(flag, None, reply),
            }
        }
    }
    finish(flags.value.then_some(number.as_bytes()), reply);
    Outcome::Success
}

/// `me`: debug information about an item.
fn debug(store: &mut Store, key: Key<'_>, reply: &mut Vec<u8>) -> Outcome {
    let now = store.now();
    let Some(item) = store.find(key.decoded) else {
        reply.extend_from_slice(b"EN\r\n");
        return Outcome::Miss;
    };
    reply.extend_from_slice(b"ME ");
    reply.extend_from_slice(item.base64_key.as_deref().unwrap_or(key.decoded));
    let left = item.expires.map_or(-1, |at| i64::from(now) - i64::from(at));
    let fetched = if item.fetched { "yes" } else { "no" };
    let (idle, size) = (now.saturating_sub(item.accessed), item.size(key.decoded));
    let _ = write!(reply, " exp={left} la={idle} cas={} fetch={fetched} cls=1", item.cas);
    let _ = write!(reply, " size={size}\r\n");
    Outcome::Hit
}
