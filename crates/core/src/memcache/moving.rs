//! The steps of a key that moves to another server, in meta commands.
//!
//! `mg` with `N` makes an empty item in the place of a missing value. That item is the *mark* of whoever
//! copies the value: it has a cas id, and a `set` or `delete` of anybody removes it, so that a copy that
//! is late does not find it any longer. The one rule: a mark is never taken for a value. `mg` tells them
//! apart (`W`, `Z`, `X`), and a request that would take a mark for a value goes as a meta request that
//! does not (source: memcached 1.6.18, `proto_text.c` and `do_store_item`).
//!
//! Clients get cas ids of the new server with [`FOREIGN`] added, so that an id of the old server never
//! matches a value of the new one by chance.

mod run;

pub use run::judge;

use super::words::{Words, number};
use super::{LINE_END, Needs, Shape, VALUES_END};
use crate::decimal;
use crate::message::Class;
use crate::message::{Ask, Effect, Expect, Kept, KeyEncoding, One, Outcome, Outcomes, Told};
use alloc::vec::Vec;
use core::ops::Range;

/// The bit that is set in cas ids of the new server.
const FOREIGN: u64 = 1 << 63;

/// How long a mark stays if nobody removes it, in seconds.
pub const LEASE_SECONDS: u64 = 5;

/// A greater relative expiry would be taken for a time since 1970 (`realtime`).
const RELATIVE_MAX: u64 = 60 * 60 * 24 * 30;

/// Asks for a new cas id. The item is gone in a second.
const MARK: &[u8] = b"ms nuthatch-migration 0 T1 c\r\n\r\n";

/// What a request does to the value of its key.
fn effect(line: &Line<'_>) -> Effect {
    match line.command() {
        b"get" | b"gets" => Effect::Read,
        b"mg" if line.has(b"TNRE") => Effect::Change,
        b"mg" => Effect::ReadAsIs,
        b"set" | b"delete" => Effect::Put,
        b"md" if !line.has(b"C") => Effect::Put,
        b"ms" if line.mode() == b'S' && !line.has(b"C") => Effect::Put,
        b"me" | b"version" => Effect::Apart,
        _ => Effect::Change,
    }
}

/// Keeps a request whose key has these bytes.
pub fn keep(one: &One<'_>, key: &[u8]) -> Kept {
    let mut bytes = Vec::new();
    one.wire.write(&mut bytes);
    let is_encoded = one.encoding == KeyEncoding::Base64;
    let kept = keep_bytes(bytes, (key, one.opaque), (one.expect, one.class, one.needs));
    Kept { is_encoded, echoes: one.echoes, ..kept }
}

/// Keeps the part of a read of several keys that is about `key`.
pub fn keep_part(bytes: Vec<u8>, key: &[u8], class: Class) -> Kept {
    let expect = Shape::Value.expect(Outcomes::NONE);
    Kept { echoes: true, ..keep_bytes(bytes, (key, b""), (expect, class, Needs::NOTHING)) }
}

fn keep_bytes(
    bytes: Vec<u8>,
    (key, opaque): (&[u8], &[u8]),
    (expect, class, needs): (Expect, Class, Needs),
) -> Kept {
    let line = Line::of(&bytes);
    let place = if matches!(line.command(), b"gat" | b"gats") { 2 } else { 1 };
    let before: usize = line.words().take(place).map(|word| word.len() + 1).sum();
    let key_range = before..before + line.word(place).len();
    let effect = effect(&line);
    let echo = [key, opaque].concat();
    let (is_encoded, echoes, key_len) = (false, false, key.len());
    Kept { bytes, key: key_range, is_encoded, echo, key_len, echoes, effect, expect, class, needs }
}

/// The first line of a request as a server gets it: words with single spaces; and the data.
struct Line<'a> {
    text: &'a [u8],
    data: &'a [u8],
}

impl<'a> Line<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        let end = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1);
        let (text, data) = bytes.split_at(end);
        Self { text: text.strip_suffix(LINE_END).unwrap_or(text), data }
    }

    fn words(&self) -> Words<'a> {
        Words::new(self.text)
    }

    fn word(&self, index: usize) -> &'a [u8] {
        self.words().nth(index).unwrap_or_default()
    }

    fn command(&self) -> &'a [u8] {
        self.word(0)
    }

    /// The flags of a meta request.
    fn flags(&self) -> impl Iterator<Item = &'a [u8]> {
        self.words().skip(if self.command() == b"ms" { 3 } else { 2 })
    }

    /// Whether a meta request has one of these flags.
    fn has(&self, letters: &[u8]) -> bool {
        self.flags().any(|flag| letters.contains(&flag[0]))
    }

    /// The mode of an `ms`, as an upper-case letter.
    fn mode(&self) -> u8 {
        let mode = self.flags().find(|flag| flag[0] == b'M').and_then(|flag| flag.get(1));
        mode.map_or(b'S', u8::to_ascii_uppercase)
    }

    /// Whether it is a meta request that is carried out only on the value that is known: an `ma`, or an
    /// `ms` that needs a value, unless it compares an id itself.
    fn is_conditional(&self) -> bool {
        let needs_value = match self.command() {
            b"ma" => true,
            b"ms" => matches!(self.mode(), b'A' | b'P' | b'R'),
            _ => false,
        };
        needs_value && !self.has(b"C")
    }
}

fn push(out: &mut Vec<u8>, words: &[&[u8]]) {
    for word in words {
        out.push(b' ');
        out.extend_from_slice(word);
    }
}

fn push_number(out: &mut Vec<u8>, letter: &[u8], number: u64) {
    let mut room = [0; 20];
    let start = decimal::fill(number, &mut room);
    out.push(b' ');
    out.extend_from_slice(letter);
    out.extend_from_slice(&room[start..]);
}

/// Begins a meta request for the key of a kept one.
fn begin(out: &mut Vec<u8>, command: &[u8], kept: &Kept) {
    out.extend_from_slice(command);
    push(out, &[&kept.bytes[kept.key.clone()]]);
}

fn encoded(kept: &Kept, out: &mut Vec<u8>) {
    if kept.is_encoded {
        out.extend_from_slice(b" b");
    }
}

/// Appends the request of a step, of which ids up to `floor` are of values that don't count. Returns the
/// expected reply.
pub fn write_ask(ask: &Ask<'_>, kept: &Kept, floor: u64, out: &mut Vec<u8>) -> Expect {
    let shape = match *ask {
        Ask::Mark => {
            out.extend_from_slice(MARK);
            return Shape::MetaStored.expect(Outcomes::NONE);
        }
        Ask::AsIs => {
            out.extend_from_slice(&kept.bytes);
            return Expect { hidden: Outcomes::NONE, ..kept.expect };
        }
        Ask::Run(known) => return run::write_run(kept, known, floor, out).expect(Outcomes::NONE),
        Ask::Look { .. } | Ask::Fetch => {
            begin(out, b"mg", kept);
            encoded(kept, out);
            push(out, &[b"c", b"f", b"t", b"v"]);
            if let Ask::Look { lease: true } = ask {
                push_number(out, b"N", LEASE_SECONDS);
            }
            Shape::MetaGet
        }
        Ask::Copy { fetched, cas, seconds } => {
            write_copy(kept, fetched, (cas, seconds), out);
            return Shape::MetaStored.expect(Outcomes::NONE);
        }
        Ask::Drop(cas) => {
            begin(out, b"md", kept);
            encoded(kept, out);
            push_number(out, b"C", cas);
            Shape::MetaStored
        }
        Ask::Delete if kept.is_encoded => {
            begin(out, b"md", kept);
            encoded(kept, out);
            Shape::MetaStored
        }
        Ask::Delete => {
            begin(out, b"delete", kept);
            if &kept.bytes[kept.key.clone()] == b"noreply" {
                out.extend_from_slice(b" 0");
            }
            Shape::Deleted
        }
    };
    out.extend_from_slice(LINE_END);
    shape.expect(Outcomes::NONE)
}

fn write_copy(kept: &Kept, fetched: &[u8], (cas, seconds): (u64, u64), out: &mut Vec<u8>) {
    let Some(item) = Item::of(fetched) else { return };
    let data = &fetched[item.data];
    begin(out, b"ms", kept);
    push_number(out, b"", data.len() as u64);
    encoded(kept, out);
    push(out, &[b"c"]);
    push_number(out, b"C", cas);
    push_number(out, b"F", item.flags);
    // A value in its last second would otherwise be kept for ever.
    let ttl = item.ttl.map(|ttl| match ttl.max(1) {
        ttl if ttl > RELATIVE_MAX => seconds + ttl,
        ttl => ttl,
    });
    push_number(out, b"T", ttl.unwrap_or(0));
    out.extend_from_slice(LINE_END);
    out.extend_from_slice(data);
    out.extend_from_slice(LINE_END);
}

/// What a reply to `mg … c f t v` says.
struct Item {
    cas: u64,
    flags: u64,
    /// Seconds until it expires, unless it never does.
    ttl: Option<u64>,
    data: Range<usize>,
    /// Whether there was nothing, and it is the mark that the request has made.
    is_won: bool,
    /// Whether it is no value: a mark, or a value that a client has marked as stale.
    is_mark: bool,
}

impl Item {
    /// None if the reply is no value, but a miss or an error.
    fn of(reply: &[u8]) -> Option<Self> {
        let line = Line::of(reply);
        let mut words = line.words();
        if words.next() != Some(b"VA") {
            return None;
        }
        let length =
            words.next().and_then(number).and_then(|length| usize::try_from(length).ok())?;
        let start = reply.len() - line.data.len();
        let data = start..start + length;
        let mut item = Self { cas: 0, flags: 0, ttl: None, data, is_won: false, is_mark: false };
        let (mut won, mut other) = (false, false);
        for word in words {
            match word.split_first() {
                Some((b'c', cas)) => item.cas = number(cas)?,
                Some((b'f', flags)) => item.flags = number(flags)?,
                Some((b't', ttl)) => item.ttl = number(ttl),
                Some((b'W', b"")) => won = true,
                Some((b'Z' | b'X', b"")) => other = true,
                _ => {}
            }
        }
        item.is_won = won && !other && length == 0;
        item.is_mark = won || other;
        Some(item)
    }
}

/// Reads the reply to any step but [`Ask::Run`] and [`Ask::AsIs`].
pub fn read_told(ask: &Ask<'_>, outcome: Outcome, reply: &[u8]) -> Told {
    if outcome.is_error() {
        return Told::Error;
    }
    match ask {
        Ask::Look { .. } | Ask::Fetch => match Item::of(reply) {
            None => Told::Absent,
            Some(item) if item.is_won && matches!(ask, Ask::Look { lease: true }) => {
                Told::Won(item.cas)
            }
            Some(item) if item.is_mark => Told::Held(item.cas),
            Some(item) => Told::Value(item.cas),
        },
        _ => match outcome {
            Outcome::Success => Told::Done(first_cas(reply).map_or(0, |(cas, _)| cas)),
            Outcome::NotFound => Told::Absent,
            _ => Told::Refused,
        },
    }
}

/// Whether two replies to a look or a fetch have the same value.
pub fn is_same_value(a: &[u8], b: &[u8]) -> bool {
    match (Item::of(a), Item::of(b)) {
        (Some(x), Some(y)) => x.flags == y.flags && a[x.data] == b[y.data],
        _ => false,
    }
}

/// Appends the answer to a `get` or `gets`, from the reply to a look or a fetch; with `cas`, as one of
/// the new server.
pub fn write_found(kept: &Kept, reply: &[u8], cas: Option<u64>, out: &mut Vec<u8>) -> Outcome {
    let item = Item::of(reply).filter(|item| !item.is_mark);
    if let Some(item) = &item {
        let line = Line::of(&kept.bytes);
        out.extend_from_slice(b"VALUE");
        push(out, &[&kept.bytes[kept.key.clone()]]);
        push_number(out, b"", item.flags);
        push_number(out, b"", item.data.len() as u64);
        if matches!(line.command(), b"gets" | b"gats") {
            push_number(out, b"", cas.map_or(item.cas, |cas| cas | FOREIGN));
        }
        out.extend_from_slice(LINE_END);
        out.extend_from_slice(&reply[item.data.clone()]);
        out.extend_from_slice(LINE_END);
    }
    out.extend_from_slice(VALUES_END);
    if item.is_some() { Outcome::Hit } else { Outcome::Miss }
}

/// Whether the answer has the cas id of the value.
pub fn shows_cas(kept: &Kept) -> bool {
    Line::of(&kept.bytes).command() == b"gets"
}

/// The cas id at the start of a meta reply's flags, and where it stands with the space before it.
fn first_cas(reply: &[u8]) -> Option<(u64, Range<usize>)> {
    let line = Line::of(reply);
    let mut words = line.words();
    let mut start = words.next()?.len();
    let mut word = words.next()?;
    if reply.starts_with(b"VA") {
        start += 1 + word.len();
        word = words.next()?;
    }
    let cas = word.strip_prefix(b"c").and_then(number)?;
    Some((cas, start..start + 1 + word.len()))
}
