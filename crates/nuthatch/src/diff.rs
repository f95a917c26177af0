//! `nuthatch diff`: which keys move when one configuration replaces another.
//!
//! The one rule: a key moves when its server's address changes. A renamed server keeps its items,
//! so only the keys that the new name moves to another address count.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::Path;

use serde_json::{Value, json};

use crate::args;
use crate::config::{Address, Config, Pool, Server};
use crate::escape::{escaped, json_line};
use crate::route::for_each_key;

/// Compares the pools that have the same name in both, or the one that was asked for.
///
/// # Errors
/// When the file of keys can't be read or `output` not written.
pub fn run(
    question: &args::Diff,
    old: &Config,
    new: &Config,
    output: impl Write,
) -> io::Result<()> {
    let mut out = io::BufWriter::new(output);
    let keys = Keys { file: question.keys.as_deref(), generated: GENERATED };
    for pair in pairs(question, old, new)? {
        let (before, after) = match pair {
            Pair::Both(before, after) => (before, after),
            Pair::OnlyIn(pool, place) if !question.json => {
                let (pool, place) = (escaped(&pool.name), escaped(&place));
                writeln!(out, "pool {pool}: only in {place}")?;
                continue;
            }
            Pair::OnlyIn(..) => continue,
        };
        let change = Change::measure(before, after, &keys)?;
        if question.json {
            writeln!(out, "{}", json_line(&change.json()))?;
        } else {
            out.write_all(change.text(&keys).as_bytes())?;
        }
    }
    out.flush()
}

/// How many of 100 keys move between two configurations of a pool, measured with generated keys. A
/// pool whose servers are not discovered yet has no keys.
pub(crate) fn moved_share(old: &Pool, new: &Pool) -> f64 {
    if old.servers.is_empty() {
        return 0.0;
    }
    if new.servers.is_empty() {
        return 100.0;
    }
    let change = Change::measure(old, new, &Keys { file: None, generated: FOR_A_SHARE });
    let change = change.expect("generated keys are not read from anywhere");
    percent(change.moved(), change.keys())
}

enum Pair<'c> {
    Both(&'c Pool, &'c Pool),
    OnlyIn(&'c Pool, String),
}

/// The pools to compare. If each configuration has only one pool, these two are compared whatever
/// their names.
fn pairs<'c>(question: &args::Diff, old: &'c Config, new: &'c Config) -> io::Result<Vec<Pair<'c>>> {
    if let Some(name) = &question.pool {
        let (before, after) = (old.choose(Some(name)), new.choose(Some(name)));
        return Ok(vec![Pair::Both(
            before.map_err(io::Error::other)?,
            after.map_err(io::Error::other)?,
        )]);
    }
    if let ([before], [after]) = (&old.pools[..], &new.pools[..]) {
        return Ok(vec![Pair::Both(before, after)]);
    }
    let both_or_old = old.pools.iter().map(|before| match new.pool(&before.name) {
        Some(after) => Pair::Both(before, after),
        None => Pair::OnlyIn(before, old.source.to_string()),
    });
    let only_new = new.pools.iter().filter(|after| old.pool(&after.name).is_none());
    let only_new = only_new.map(|after| Pair::OnlyIn(after, new.source.to_string()));
    Ok(both_or_old.chain(only_new).collect())
}

/// The keys to compare: lines of a file, or generated ones.
struct Keys<'k> {
    file: Option<&'k Path>,
    /// How many keys without a file.
    generated: u64,
}

impl Keys<'_> {
    fn for_each(&self, mut f: impl FnMut(&[u8])) -> io::Result<()> {
        if let Some(path) = self.file {
            let named = |error: io::Error| {
                io::Error::new(error.kind(), format!("{}: {error}", path.display()))
            };
            let mut lines = BufReader::with_capacity(1 << 16, File::open(path).map_err(named)?);
            let read = for_each_key(&mut lines, |key| {
                f(key);
                Ok(())
            });
            return read.map_err(named);
        }
        let mut key = String::new();
        for i in 0..self.generated {
            key.clear();
            generate(i, &mut key);
            f(key.as_bytes());
        }
        Ok(())
    }

    fn origin(&self) -> String {
        match self.file {
            Some(path) => format!("keys of {}", escaped(&path.to_string_lossy())),
            None => "generated keys, such as user:0 and session:9e3779b97f4a7c15".into(),
        }
    }
}

/// The `i`th generated key: the shapes that keys usually have, the same in every run.
fn generate(i: u64, key: &mut String) {
    let random = mix(i);
    // Writing to a string can't fail.
    let _ = match i % 5 {
        0 => write!(key, "user:{i}"),
        1 => write!(key, "session:{random:016x}"),
        2 => write!(key, "{:016x}{random:016x}", mix(random)),
        3 => write!(key, "product/{}/price", random % 1_000_000_007),
        _ => write!(key, "app.v2.page_{i}.{}", random % 1000),
    };
}

/// Splitmix64: a number that looks random for each `i`.
const fn mix(i: u64) -> u64 {
    let x = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// What happens to the keys of one pool.
struct Change<'c> {
    pool: &'c str,
    places: Vec<Place>,
    /// Keys by place before and place after.
    flows: BTreeMap<(usize, usize), u64>,
}

/// An address that holds keys, before or after or both.
struct Place {
    label: String,
}

impl<'c> Change<'c> {
    fn measure(old: &'c Pool, new: &'c Pool, keys: &Keys<'_>) -> io::Result<Self> {
        let mut places = Places::default();
        let places_before: Vec<usize> = old.servers.iter().map(|s| places.of(s)).collect();
        let places_after: Vec<usize> = new.servers.iter().map(|s| places.of(s)).collect();
        let (mut before, mut after) = (old.ring(0), new.ring(0));
        let mut flows = BTreeMap::new();
        keys.for_each(|key| {
            let from = places_before[before.route(key)];
            let to = places_after[after.route(key)];
            *flows.entry((from, to)).or_insert(0) += 1;
        })?;
        Ok(Self { pool: &new.name, places: places.all, flows })
    }

    fn keys(&self) -> u64 {
        self.flows.values().sum()
    }

    fn moved(&self) -> u64 {
        self.flows.iter().filter(|((from, to), _)| from != to).map(|(_, keys)| keys).sum()
    }

    /// The flows between different places, the greatest first.
    fn moves(&self) -> Vec<(&Place, &Place, u64)> {
        let moved = self.flows.iter().filter(|((from, to), _)| from != to);
        let mut moves: Vec<_> = moved
            .map(|((from, to), keys)| (&self.places[*from], &self.places[*to], *keys))
            .collect();
        moves.sort_by_key(|(_, _, keys)| std::cmp::Reverse(*keys));
        moves
    }

    /// Each place with its keys before and after.
    fn holdings(&self) -> impl Iterator<Item = (&Place, u64, u64)> {
        let mut counts = vec![(0, 0); self.places.len()];
        for ((from, to), keys) in &self.flows {
            counts[*from].0 += keys;
            counts[*to].1 += keys;
        }
        self.places.iter().zip(counts).map(|(place, (before, after))| (place, before, after))
    }

    fn text(&self, keys: &Keys<'_>) -> String {
        let (moves, moved) = (self.moves(), self.moved());
        let (total, origin) = (self.keys(), keys.origin());
        let mut text = format!(
            "pool {}: {moved} of {total} keys move ({:.1} %), measured with {origin}\n",
            escaped(self.pool),
            percent(moved, total)
        );
        let width = self.places.iter().map(|place| place.label.chars().count()).max();
        let width = width.unwrap_or(0).max("server".len());
        // Writing to a string can't fail.
        if !moves.is_empty() {
            let _ = writeln!(text, "\n  {:width$}  {:width$}  {:>9}", "from", "to", "keys");
        }
        for (from, to, keys) in moves {
            let share = percent(keys, total);
            let (from, to) = (&from.label, &to.label);
            let _ = writeln!(text, "  {from:width$}  {to:width$}  {keys:>9}  {share:>5.1} %");
        }
        let _ = writeln!(text, "\n  {:width$}  {:>9}  {:>9}", "server", "before", "after");
        for (place, before, after) in self.holdings() {
            let _ = writeln!(text, "  {:width$}  {before:>9}  {after:>9}", place.label);
        }
        text.push('\n');
        text
    }

    fn json(&self) -> Value {
        let moves = self.moves();
        let moved = self.moved();
        let moves = moves
            .iter()
            .map(|(from, to, keys)| json!({ "from": from.label, "to": to.label, "keys": keys }));
        let servers = self.holdings().map(
            |(place, before, after)| json!({ "server": place.label, "before": before, "after": after }),
        );
        json!({
            "pool": self.pool,
            "keys": self.keys(),
            "moved": moved,
            "moves": moves.collect::<Value>(),
            "servers": servers.collect::<Value>(),
        })
    }
}

/// The places so far, and the index of each address.
#[derive(Default)]
struct Places<'c> {
    all: Vec<Place>,
    by_address: HashMap<&'c Address, usize>,
}

impl<'c> Places<'c> {
    /// The index of the server's address, which is added if it is new.
    fn of(&mut self, server: &'c Server) -> usize {
        let address = &server.address;
        let all = &mut self.all;
        *self.by_address.entry(address).or_insert_with(|| {
            let label = match server.named {
                true => format!("{} ({address})", server.name),
                false => address.to_string(),
            };
            all.push(Place { label: escaped(&label).to_string() });
            all.len() - 1
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "a count of keys, shown with one decimal")]
fn percent(part: u64, whole: u64) -> f64 {
    part as f64 * 100.0 / (whole.max(1) as f64)
}

/// How many keys are compared when no file of keys is given.
const GENERATED: u64 = 100_000;

/// How many keys tell the share that moves to half a percent.
const FOR_A_SHARE: u64 = 10_000;
