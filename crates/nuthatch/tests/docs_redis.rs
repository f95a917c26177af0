//! `docs/redis.md` is true: every command is in the list of what the proxy does with it, and every
//! error that the proxy makes up has its row.
//!
//! The rule: the page is compared with the table that the engine reads, in both directions. A test
//! that fails prints the list as it must be.

#![expect(clippy::unwrap_used, reason = "a document that can't be read has failed")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use nuthatch_core::error::ServerError;
use nuthatch_core::redis;
use nuthatch_core::redis::command::{self, Action, Command, Keys, Permission};

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/redis.md");
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What stands below a heading, up to the next heading.
fn section<'d>(document: &'d str, heading: &str) -> &'d str {
    let (_, rest) = document.split_once(&format!("\n{heading}\n")).expect(heading);
    rest.split("\n#").next().unwrap()
}

/// The words in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The heading below which a command belongs.
fn heading(command: &Command) -> &'static str {
    match command.action {
        Action::Keyed | Action::MayBlock => match command.keys {
            Keys::Range { first, last, .. } if i64::from(first) == i64::from(last) => {
                "### One key: to its server"
            }
            _ => "### Several keys: all on one server",
        },
        Action::Split(_) => "### Several keys: split",
        Action::All(_, Permission::None) => "### To every server",
        Action::All(..) => "### To every server, if the pool allows it",
        Action::Any => "### To one server",
        Action::Scan => "### To one server after the other",
        Action::Local(_) => "### Answered by the proxy",
        Action::Dedicated(_) => "### Over a connection for one client alone",
        Action::OneServer(_) => "### Only in a pool of one server",
        Action::Refused(_) => "### Refused",
    }
}

/// All commands with their full names, subcommands as `CONFIG GET`. A container that is refused
/// without a known subcommand has no line of its own.
fn commands() -> Vec<(String, &'static Command)> {
    let mut found = Vec::new();
    for command in command::all() {
        let is_container = !command.subcommands.is_empty();
        if !is_container || !matches!(command.action, Action::Refused(_)) {
            found.push((command.name.to_uppercase(), command));
        }
        for sub in command.subcommands {
            found.push((format!("{} {}", command.name, sub.name).to_uppercase(), sub));
        }
    }
    found
}

#[test]
fn every_command_stands_below_what_the_proxy_does_with_it() {
    let page = page();
    let commands = commands();
    let headings: BTreeSet<_> = commands.iter().map(|(_, command)| heading(command)).collect();
    assert_eq!(headings.len(), 11);
    let mut wrong = String::new();
    for heading_here in headings {
        let mut known: Vec<_> =
            commands.iter().filter(|(_, command)| heading(command) == heading_here).collect();
        known.sort_by_key(|(name, _)| name);
        let list = known.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let is_there = section(&page, heading_here).lines().any(|line| line == list);
        if !is_there {
            wrong += &format!("\n{heading_here}\n\n{list}\n");
        }
    }
    assert!(wrong.is_empty(), "docs/redis.md must have these lines:\n{wrong}");
}

#[test]
fn every_reason_of_a_refusal_stands_there() {
    let page = page();
    for (name, command) in commands() {
        if let Action::Refused(reason) | Action::OneServer(reason) = command.action {
            assert!(quoted(&page).any(|text| text.contains(reason)), "{name}: {reason}");
        }
    }
}

#[test]
fn every_error_of_the_proxy_stands_there() {
    let page = page();
    for error in [
        redis::TOO_MANY_KEYS,
        redis::TOO_LARGE,
        redis::BACKLOG_ERROR,
        redis::FLUSH_REFUSED,
        redis::KEYS_REFUSED,
        redis::CROSS_SHARD,
        redis::NO_KEY,
        redis::NO_DEDICATED,
        redis::ABORTED,
        redis::TOO_MANY_MOVES,
        redis::BUSY_MOVE,
        redis::MOVES_YET,
    ] {
        let error = str::from_utf8(error).unwrap().trim_end();
        assert!(quoted(&page).any(|text| text == error), "{error}");
    }
}

#[test]
fn every_reason_why_a_server_cannot_answer_stands_there() {
    let page = page();
    let table = section(&page, "## When a server can't answer");
    for error in ServerError::OF_SERVERS {
        let mut line = Vec::new();
        redis::write_server_error(error, &mut line);
        let line = str::from_utf8(&line).unwrap().trim_end();
        let row = table.lines().find(|row| row.contains(&format!("`{}`", error.name())));
        let row = row.unwrap_or_else(|| panic!("{} has no row", error.name()));
        assert!(quoted(row).any(|text| text == line), "{line} in {row}");
    }
}
