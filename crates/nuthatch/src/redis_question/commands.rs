//! `COMMAND` and its subcommands, from the table that the engine itself reads.
//!
//! The one rule: what is listed is what this pool carries out. A command that the pool always
//! refuses is unknown here, so that a client library does not rely on it.

use super::pattern::{self, Pattern};
use super::reply::Reply;
use crate::config::{ModuleCommand, Pool};
use crate::escape::escaped;
use nuthatch_core::message::{Class, Merge};
use nuthatch_core::redis::Arguments;
use nuthatch_core::redis::KeyList;
use nuthatch_core::redis::command::{self, Action, Command, Dedicated, Keys, Permission};

/// The answer to `COMMAND` with these words behind it.
pub(super) fn answer(mut words: Arguments<'_>, pool: &Pool, reply: &mut Reply) {
    let Some(sub) = words.next() else { return info_of_all(pool, reply) };
    match &*sub.to_ascii_lowercase() {
        b"count" => reply.integer(i64::try_from(rows(pool).count()).unwrap_or(i64::MAX)),
        b"info" if words.len() == 0 => info_of_all(pool, reply),
        b"info" => {
            reply.array(words.len());
            for word in words {
                match find(word, pool) {
                    Some(row) => row.write_info(pool, reply),
                    None => reply.null(),
                }
            }
        }
        b"docs" if words.len() == 0 => docs(rows(pool), pool, reply),
        b"docs" => docs(words.filter_map(|word| find(word, pool)), pool, reply),
        b"list" => list(words, pool, reply),
        b"getkeys" => keys(words, pool, reply, Flags::No),
        b"getkeysandflags" => keys(words, pool, reply, Flags::Yes),
        _ => {
            let sub = String::from_utf8_lossy(&sub[..sub.len().min(NAME_MAX)]);
            let text = format!("ERR unknown subcommand '{}'. Try COMMAND HELP.", escaped(&sub));
            reply.error(&text);
        }
    }
}

/// So many bytes of an unknown name an error repeats, as Redis does.
const NAME_MAX: usize = 128;

/// A command of this pool.
#[derive(Clone, Copy)]
struct Row<'a> {
    /// The name of its container, or nothing.
    container: &'a str,
    name: &'a str,
    /// What kind of command it is, as Redis groups them.
    subject: &'static str,
    arity: i8,
    class: Class,
    keys: Keys,
    action: Action,
    subcommands: &'static [Command],
}

/// The commands of this pool, without subcommands.
fn rows(pool: &Pool) -> impl Iterator<Item = Row<'_>> + Clone {
    let known = command::subjects().flat_map(|(subject, commands)| {
        commands.iter().map(move |command| Row::new("", subject, command))
    });
    let modules = pool.module_commands.iter().map(Row::of_module);
    known.filter(|row| row.is_served(pool)).chain(modules)
}

/// The command, or the subcommand as `container|name`, if the pool carries it out.
fn find<'a>(name: &[u8], pool: &'a Pool) -> Option<Row<'a>> {
    let (first, sub) = match name.iter().position(|byte| *byte == b'|') {
        Some(at) => (&name[..at], Some(&name[at + 1..])),
        None => (name, None),
    };
    let Some(command) = command::find(first) else {
        let mut modules = pool.module_commands.iter();
        let module = modules.find(|one| one.name.as_bytes().eq_ignore_ascii_case(name))?;
        return Some(Row::of_module(module));
    };
    let row = match sub {
        None => Row::new("", subject_of(command), command),
        Some(sub) => Row::new(command.name, subject_of(command), command.find_subcommand(sub)?),
    };
    row.is_served(pool).then_some(row)
}

fn subject_of(command: &Command) -> &'static str {
    let has = |commands: &[Command]| commands.iter().any(|other| other.name == command.name);
    command::subjects().find(|(_, commands)| has(commands)).map_or("", |(subject, _)| subject)
}

impl<'a> Row<'a> {
    fn new(container: &'a str, subject: &'static str, command: &'a Command) -> Self {
        let Command { name, arity, class, keys, action, subcommands } = *command;
        // A channel is no key to a client.
        let keys = if subject == "pubsub" { Keys::None } else { keys };
        Self { container, name, subject, arity, class, keys, action, subcommands }
    }

    fn of_module(command: &'a ModuleCommand) -> Self {
        let first = u16::try_from(command.first).unwrap_or(0);
        Self {
            container: "",
            name: &command.name,
            subject: "module",
            arity: -1,
            class: Class::Other,
            keys: Keys::Range { first, last: command.last, step: command.step },
            action: Action::Keyed,
            subcommands: &[],
        }
    }

    /// Whether the pool carries it out, or at least one of its subcommands.
    fn is_served(&self, pool: &Pool) -> bool {
        if !self.subcommands.is_empty() && matches!(self.action, Action::Refused(_)) {
            return self.served_subcommands(pool).next().is_some();
        }
        let has_one_server = pool.servers.len() == 1;
        match self.action {
            Action::Refused(_) => false,
            Action::OneServer(_) => has_one_server,
            Action::Dedicated(Dedicated::Kill | Dedicated::SubscribePattern) => {
                has_one_server && pool.dedicated_connections_max > 0
            }
            Action::All(_, Permission::Flush) => pool.allow_flush,
            Action::All(_, Permission::Keys) => pool.allow_keys,
            Action::Dedicated(_) => pool.dedicated_connections_max > 0,
            _ => true,
        }
    }

    fn served_subcommands<'p>(
        &self,
        pool: &'p Pool,
    ) -> impl Iterator<Item = Row<'p>> + Clone + use<'p, 'a>
    where
        'a: 'p,
    {
        let (container, subject) = (self.name, self.subject);
        let rows = self.subcommands.iter();
        rows.map(move |command| Row::new(container, subject, command))
            .filter(|row| row.is_served(pool))
    }

    fn full_name(&self) -> String {
        let bar = if self.container.is_empty() { "" } else { "|" };
        [self.container, bar, self.name].concat()
    }

    /// The ten elements of `COMMAND INFO`. The proxy has no access control, so no categories; tips
    /// and key specifications are left out.
    fn write_info(&self, pool: &Pool, reply: &mut Reply) {
        reply.array(10);
        reply.bulk(self.full_name());
        reply.integer(self.arity.into());
        reply.words(&self.flags());
        for place in self.places() {
            reply.integer(place);
        }
        for _ in ["categories", "tips", "key specifications"] {
            reply.set(0);
        }
        reply.array(self.served_subcommands(pool).count());
        for row in self.served_subcommands(pool) {
            row.write_info(pool, reply);
        }
    }

    /// The value of `COMMAND DOCS`.
    fn write_docs(&self, pool: &Pool, reply: &mut Reply) {
        let count = self.served_subcommands(pool).count();
        reply.map(if count > 0 { 5 } else { 4 });
        for (name, text) in [
            ("summary", self.summary()),
            ("since", ""),
            ("group", self.subject),
            ("complexity", ""),
        ] {
            reply.bulk(name);
            reply.bulk(text);
        }
        if count > 0 {
            reply.bulk("subcommands");
            docs(self.served_subcommands(pool), pool, reply);
        }
    }

    /// What Redis says of the command, as far as the table has it.
    fn flags(&self) -> Vec<&'static str> {
        let mut flags = Vec::new();
        if self.changes() {
            flags.push("write");
        } else if self.reads() {
            flags.push("readonly");
        }
        if matches!(self.class, Class::Incr | Class::Decr) {
            flags.push("fast");
        }
        if self.subject == "pubsub" {
            flags.push("pubsub");
        }
        if matches!(self.action, Action::Dedicated(Dedicated::Blocking) | Action::MayBlock) {
            flags.push("blocking");
        }
        if !matches!(self.keys, Keys::None | Keys::Range { .. }) {
            flags.push("movablekeys");
        }
        flags
    }

    fn changes(&self) -> bool {
        match self.class {
            Class::Get | Class::Other => {
                matches!(self.action, Action::All(_, Permission::Flush))
            }
            _ => true,
        }
    }

    fn reads(&self) -> bool {
        // `SCAN`, `KEYS`, `DBSIZE`, `RANDOMKEY`.
        let looks_at_keys = match self.action {
            Action::Scan | Action::All(_, Permission::Keys) => true,
            Action::All(Merge::Sum | Merge::First, _) => self.subject != "pubsub",
            _ => false,
        };
        self.class == Class::Get || looks_at_keys
    }

    /// The first key, the last, and the step from one to the next, as Redis gives them.
    fn places(&self) -> [i64; 3] {
        match self.keys {
            Keys::Range { first, last, step } => [first.into(), last.into(), step.into()],
            Keys::Counted { stores: true, .. } | Keys::Store => [1, 1, 1],
            Keys::None | Keys::Counted { .. } | Keys::Script | Keys::Pairs | Keys::Streams => {
                [0, 0, 0]
            }
        }
    }

    /// What the proxy does with the command.
    fn summary(&self) -> &'static str {
        match self.action {
            _ if !self.subcommands.is_empty() => "A container of commands.",
            Action::Keyed if self.keys == Keys::None => "Goes to one server.",
            Action::Keyed => "Goes to the server of its keys.",
            Action::Split(_) => "Goes to the servers of its keys, a part to each.",
            Action::All(..) => "Goes to every server.",
            Action::Any => "Goes to one server, as all give the same answer.",
            Action::Scan => "Goes to one server after the other.",
            Action::Local(_) => "The proxy answers.",
            Action::Dedicated(_) => "Goes over a server connection that no other client uses.",
            Action::MayBlock => {
                "Goes to the server of its keys; with BLOCK, over a connection that no other client \
                 uses."
            }
            Action::OneServer(_) => "Goes to the server, as the pool has only one.",
            Action::Refused(_) => "Is refused.",
        }
    }
}

fn info_of_all(pool: &Pool, reply: &mut Reply) {
    reply.array(rows(pool).count());
    for row in rows(pool) {
        row.write_info(pool, reply);
    }
}

/// Names and what is known of them. A name that is no command is left out.
fn docs<'a>(rows: impl Iterator<Item = Row<'a>> + Clone, pool: &Pool, reply: &mut Reply) {
    reply.map(rows.clone().count());
    for row in rows {
        reply.bulk(row.full_name());
        row.write_docs(pool, reply);
    }
}

/// `COMMAND LIST [FILTERBY MODULE module | ACLCAT category | PATTERN pattern]`.
fn list(mut words: Arguments<'_>, pool: &Pool, reply: &mut Reply) {
    let mut names = Vec::new();
    for row in rows(pool) {
        names.push(row.full_name());
        names.extend(row.served_subcommands(pool).map(|row| row.full_name()));
    }
    let is_filtered = match words.next() {
        None => false,
        Some(word) if word.eq_ignore_ascii_case(b"filterby") && words.len() == 2 => true,
        Some(_) => return reply.error("ERR syntax error"),
    };
    if is_filtered {
        let (by, what) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        match &*by.to_ascii_lowercase() {
            b"pattern" => {
                let Some(pattern) = Pattern::new(what) else {
                    return reply.error(pattern::TOO_LONG);
                };
                names.retain(|name| pattern.fits(name.as_bytes()));
            }
            // The proxy loads no modules and has no categories.
            b"module" | b"aclcat" => names.clear(),
            _ => return reply.error("ERR syntax error"),
        }
    }
    reply.array(names.len());
    for name in names {
        reply.bulk(name);
    }
}

/// Whether `COMMAND GETKEYSANDFLAGS` was asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flags {
    No,
    Yes,
}

/// The keys of a request: a command and its arguments.
fn keys(mut words: Arguments<'_>, pool: &Pool, reply: &mut Reply, flags: Flags) {
    let count = words.len();
    let name = words.next().unwrap_or_default();
    let found = find(name, pool).and_then(|row| {
        if row.subcommands.is_empty() {
            return Some(row);
        }
        let sub = words.clone().next()?;
        find(&[name, b"|", sub].concat(), pool)
    });
    let Some(row) = found else { return reply.error("ERR Invalid command specified") };
    let arity = usize::from(row.arity.unsigned_abs());
    if row.keys == Keys::None {
        return reply.error("ERR The command has no key arguments");
    }
    if if row.arity < 0 { count < arity } else { count != arity } {
        return reply.error("ERR Invalid number of arguments specified for command");
    }
    let Some(list) = KeyList::find(row.keys, words) else {
        return reply.error("ERR Invalid arguments specified for command");
    };
    let mut list: Vec<&[u8]> = list.collect();
    if matches!(row.keys, Keys::Counted { stores: true, .. }) {
        // Redis names the destination first.
        list.rotate_right(1);
    }
    reply.array(list.len());
    for key in list {
        if flags == Flags::Yes {
            reply.array(2);
        }
        reply.bulk(key);
        if flags == Flags::Yes {
            let is_read = row.class == Class::Get;
            reply.words(if is_read { &["RO", "access"] } else { &["RW", "access", "update"] });
        }
    }
}
