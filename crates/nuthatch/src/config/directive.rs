//! The directives of a pool, as data.
//!
//! The one rule: each directive is defined once, in [`DIRECTIVES`]. Its default is a text that is
//! parsed like any other value. Suggestions for unknown directives use the same table, and a test
//! compares the documentation with the table.

use std::path::PathBuf;
use std::time::Duration;

use nuthatch_core::ring::HashTag;
use serde_json::{Value, json};

use super::secret::Secret;
use super::value::{self, Bounds, Fault};
use super::{Discovered, Pool, Server, address, discovered, failure, gutter, redis};

mod table;

pub use table::DIRECTIVES;

/// One directive of a pool.
#[derive(Debug)]
pub struct Directive {
    /// Its name in the file.
    pub name: &'static str,
    /// What it takes, and the field of the pool that it sets.
    pub kind: Kind,
    /// Its value if the file does not have it; `None` if there is no default.
    pub default: Option<&'static str>,
    /// The pools that may have it.
    pub pools: Pools,
    /// What it does, in one sentence.
    pub doc: &'static str,
}

/// Which pools may have a directive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pools {
    /// All pools.
    All,
    /// Pools that speak memcached; the directive has no effect in other pools.
    Memcached,
    /// Pools that speak Redis; the directive is an error in other pools.
    Redis,
}

/// What a directive takes.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Addresses to listen on: one, or a list.
    Listen,
    /// The servers: a list.
    Servers,
    /// The servers of the gutter: a list.
    GutterServers,
    /// The name of a hash.
    Hash,
    /// The name of a distribution.
    Distribution,
    /// Two characters.
    HashTag,
    /// `true` or `false`.
    Flag(Slot<bool>),
    /// A whole number.
    Count(Slot<usize>, Bounds),
    /// A number of bytes, perhaps with a unit.
    Size(Slot<usize>, Bounds),
    /// Milliseconds; 0 and -1 mean none, and the text says what that is for.
    Timeout(Slot<Option<Duration>>, &'static str),
    /// Milliseconds.
    Milliseconds(Slot<Duration>),
    /// A name without spaces.
    Word(Slot<Option<String>>),
    /// A password.
    Secret(Slot<Option<Secret>>),
    /// The absolute path of a file that holds a password.
    SecretFile(Slot<Option<PathBuf>>),
    /// A time with its unit.
    Span(Slot<Duration>),
    /// A whole number of percent.
    Percent(Slot<u8>),
    /// What becomes of a command with keys on several servers.
    CrossShard,
    /// What happens to the requests for the keys of a server that is away.
    OnServerFailure,
    /// What happens to a server that has missed more than was remembered.
    OnJournalFull,
    /// Commands of modules: a list.
    ModuleCommands,
    /// Anything: twemproxy documents the directive but never implemented it.
    Ignored,
}

/// The field of a pool that a directive sets.
pub type Slot<T> = fn(&mut Pool) -> &mut T;

impl Directive {
    /// The directive of that name.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        DIRECTIVES.iter().find(|directive| directive.name == name)
    }

    /// Whether there are directives that are parts of this name.
    pub(super) fn has_parts(name: &str) -> bool {
        let is_part = |rest: &str| rest.starts_with('.');
        DIRECTIVES.iter().any(|it| it.name.strip_prefix(name).is_some_and(is_part))
    }

    /// Whether it may be given several values.
    #[must_use]
    pub const fn takes_list(&self) -> bool {
        matches!(
            self.kind,
            Kind::Listen
                | Kind::Servers
                | Kind::GutterServers
                | Kind::ModuleCommands
                | Kind::Ignored
        )
    }

    /// Whether a password may stand in its value, also by mistake in the place of a path: then no
    /// message shows the value.
    pub(super) fn hides(&self, text: &str) -> bool {
        match self.kind {
            Kind::Secret(_) => true,
            Kind::SecretFile(_) => !text.starts_with('/'),
            _ => false,
        }
    }

    /// Whether it does nothing.
    #[must_use]
    pub const fn is_ignored(&self) -> bool {
        matches!(self.kind, Kind::Ignored)
    }

    /// The active value in `pool`, without secrets. A slot returns `&mut`, hence `&mut Pool`; the
    /// field is only read here.
    pub(crate) fn shown(&self, pool: &mut Pool) -> Value {
        match self.kind {
            Kind::Listen => pool.listen.iter().map(ToString::to_string).collect(),
            Kind::Servers => {
                let plain = pool.servers.iter().filter(|server| !server.discovered);
                let discovered = pool.discovered.iter().map(Discovered::to_string);
                plain.map(Server::to_string).chain(discovered).collect()
            }
            Kind::GutterServers => pool.gutter_servers.iter().map(Server::to_string).collect(),
            Kind::Hash => pool.hash.name().into(),
            Kind::Distribution => pool.distribution.name().into(),
            Kind::HashTag => {
                let tag = pool.hash_tag.map(HashTag::bytes);
                tag.map(|tag| String::from_utf8_lossy(&tag).into_owned()).into()
            }
            Kind::Flag(slot) => (*slot(pool)).into(),
            Kind::Count(slot, _) | Kind::Size(slot, _) => (*slot(pool)).into(),
            Kind::Timeout(slot, _) => slot(pool).map_or(json!(-1), milliseconds),
            Kind::Milliseconds(slot) => milliseconds(*slot(pool)),
            Kind::Word(slot) => slot(pool).clone().into(),
            Kind::Secret(slot) => slot(pool).as_ref().map(Secret::to_string).into(),
            Kind::SecretFile(slot) => {
                slot(pool).as_ref().map(|path| path.display().to_string()).into()
            }
            Kind::Span(slot) => value::span_text(*slot(pool)).into(),
            Kind::Percent(slot) => format!("{}%", slot(pool)).into(),
            Kind::CrossShard => pool.cross_shard.name().into(),
            Kind::OnServerFailure => pool.on_server_failure.map(failure::name).into(),
            Kind::OnJournalFull => pool.on_journal_full.map(failure::overflow_name).into(),
            Kind::ModuleCommands => pool.module_commands.iter().map(ToString::to_string).collect(),
            Kind::Ignored => Value::Null,
        }
    }

    /// Parses one value into `pool`; further values of a list are added.
    pub(super) fn set(&self, pool: &mut Pool, text: &str) -> Result<(), Fault> {
        match self.kind {
            Kind::Listen => pool.listen.push(address::listen(text)?),
            Kind::Servers => {
                let index = pool.servers.len() + pool.discovered.len();
                match discovered::parse(text) {
                    Some(entry) => pool.discovered.push(Discovered { index, ..entry? }),
                    None => pool.servers.push(Server { index, ..address::server(text)? }),
                }
            }
            Kind::GutterServers => {
                let index = pool.gutter_servers.len();
                pool.gutter_servers.push(Server { index, ..gutter::server(text)? });
            }
            Kind::Hash => pool.hash = value::hash(text)?,
            Kind::Distribution => pool.distribution = value::distribution(text)?,
            Kind::HashTag => pool.hash_tag = Some(value::hash_tag(text)?),
            Kind::Flag(slot) => *slot(pool) = value::flag(text)?,
            Kind::Count(slot, bounds) => *slot(pool) = value::count(text, bounds)?,
            Kind::Size(slot, bounds) => *slot(pool) = value::size(text, bounds)?,
            Kind::Timeout(slot, none) => *slot(pool) = value::timeout(text, none)?,
            Kind::Milliseconds(slot) => *slot(pool) = value::milliseconds(text)?,
            Kind::Word(slot) => *slot(pool) = Some(value::word(text)?),
            Kind::Secret(slot) => *slot(pool) = Some(Secret::from_text(text)?),
            Kind::SecretFile(slot) => *slot(pool) = Some(value::absolute_path(text)?),
            Kind::Span(slot) => *slot(pool) = value::span(text)?,
            Kind::Percent(slot) => *slot(pool) = value::percent(text)?,
            Kind::CrossShard => pool.cross_shard = redis::cross_shard(text)?,
            Kind::OnServerFailure => pool.on_server_failure = Some(failure::on_failure(text)?),
            Kind::OnJournalFull => pool.on_journal_full = Some(failure::on_overflow(text)?),
            Kind::ModuleCommands => pool.module_commands.push(redis::module_command(text)?),
            Kind::Ignored => {}
        }
        Ok(())
    }
}

fn milliseconds(duration: Duration) -> Value {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).into()
}
