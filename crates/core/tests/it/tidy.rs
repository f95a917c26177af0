//! Rules of this project that no linter knows, checked on the text of all its sources.

use std::fs;
use std::path::{Path, PathBuf};

/// A source file: its path from the root of the workspace, and its text.
struct Source {
    path: String,
    text: String,
}

const LINES_MAX: usize = 500;

const VAGUE_NAMES: [&str; 4] = ["util", "common", "helpers", "types"];

/// A file under `path` that says one of `words` breaks the map of who may know whom.
const FORBIDDEN: [(&str, &[&str]); 16] = [
    (
        "crates/core/src/ring",
        &["crate::mux", "crate::route", "crate::memcache", "crate::protocol", "crate::message"],
    ),
    ("crates/core/src/ring", &["crate::redis", "crate::buffer", "crate::stats", "crate::time"]),
    ("crates/core/src/protocol", &["crate::mux", "crate::route", "super::"]),
    ("crates/core/src/message", &["crate::mux", "crate::route", "crate::protocol"]),
    ("crates/core/src/memcache", &["crate::mux", "crate::route", "crate::protocol"]),
    ("crates/core/src/redis", &["crate::mux", "crate::route", "crate::protocol"]),
    ("crates/core/src/mux", &["memcache::parse", "memcache::write", "Shape", "KeyEncoding"]),
    ("crates/core/src/mux", &["redis::parse", "redis::write", "redis::response", "redis::Form"]),
    (
        "crates/core/src/health",
        &["crate::protocol", "crate::memcache", "crate::redis", "crate::mux"],
    ),
    (
        "crates/core/src/route",
        &["crate::protocol", "crate::memcache", "crate::redis", "crate::message"],
    ),
    ("crates/core/src", &["std::"]),
    // Nothing that handles a request knows of the runtime of the admin port.
    ("crates/nuthatch/src/worker", RUNTIME),
    ("crates/nuthatch/src/client", RUNTIME),
    ("crates/nuthatch/src/server", RUNTIME),
    ("crates/nuthatch/src/listener", RUNTIME),
    ("crates/nuthatch/src/inbox", RUNTIME),
];

const RUNTIME: &[&str] = &["tokio", "hyper", "crate::admin"];

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let crates = fs::read_dir(root.join("crates")).expect("crates are in crates/");
    let mut folders: Vec<PathBuf> =
        crates.map(|entry| entry.expect("a crate").path().join("src")).collect();
    folders.push(root.join("bench/src"));
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for path in entries.map(|entry| entry.expect("an entry").path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("sources are text");
                let path = path.strip_prefix(&root).expect("below the root");
                found.push(Source { path: path.to_string_lossy().into_owned(), text });
            }
        }
    }
    assert!(found.len() > 20, "the sources were found");
    found
}

impl Source {
    fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.contains("/tests/")
    }

    /// The lines that are not a test module's.
    fn production(&self) -> impl Iterator<Item = &str> {
        let lines = self.text.lines();
        lines.take_while(|line| *line != "mod tests {" && *line != "mod tests;")
    }

    /// The production lines without their comments.
    fn code(&self) -> impl Iterator<Item = &str> {
        self.production().map(|line| line.split("//").next().unwrap_or_default())
    }
}

/// The files that break a rule, as an empty list if all is well.
fn breakers(breaks: impl Fn(&Source) -> bool) -> Vec<String> {
    sources().into_iter().filter(breaks).map(|source| source.path).collect()
}

const NONE: [&str; 0] = [];

#[test]
fn every_file_opens_with_what_it_is() {
    assert_eq!(breakers(|source| !source.text.starts_with("//! ")), NONE);
}

#[test]
fn no_file_is_long() {
    let is_long = |source: &Source| !source.is_test() && source.production().count() > LINES_MAX;
    assert_eq!(breakers(is_long), NONE);
}

#[test]
fn no_file_has_a_vague_name() {
    let is_vague = |source: &Source| {
        let mut parts = source.path.split(['/', '.', '_']);
        parts.any(|part| VAGUE_NAMES.contains(&part))
    };
    assert_eq!(breakers(is_vague), NONE);
}

#[test]
fn nothing_is_left_for_later() {
    let marks = ["TODO", "FIXME", "XXX"];
    assert_eq!(breakers(|source| marks.iter().any(|mark| source.text.contains(mark))), NONE);
}

#[test]
fn modules_know_only_what_they_may() {
    let breaks = |source: &Source| {
        let mut rules = FORBIDDEN.iter().filter(|(path, _)| {
            source.path.strip_prefix(path).is_some_and(|rest| rest.starts_with(['/', '.']))
        });
        rules.any(|(_, words)| words.iter().any(|word| mentions(source, word)))
    };
    assert_eq!(breakers(breaks), NONE);
}

fn mentions(source: &Source, word: &str) -> bool {
    source.code().any(|line| line.contains(word))
}
