//! What the tables are written with: a function for each kind of row, and the reasons of refusals.
//!
//! A reason is the rest of a sentence that begins with the command's name.

use super::{Action, Command, Dedicated, Keys, Local, Permission};
use crate::message::{Class, Merge};

/// One key.
pub(super) const fn key(place: u16) -> Keys {
    range(place, place.cast_signed(), 1)
}

/// Each argument from `first` is a key.
pub(super) const fn each(first: u16) -> Keys {
    range(first, -1, 1)
}

pub(super) const fn range(first: u16, last: i16, step: u16) -> Keys {
    Keys::Range { first, last, step }
}

/// The keys follow their number.
pub(super) const fn counted(count: u8) -> Keys {
    Keys::Counted { count, stores: false }
}

/// The keys follow their number, and argument 1 is the key of the result.
pub(super) const fn stores(count: u8) -> Keys {
    Keys::Counted { count, stores: true }
}

pub(super) const fn row(
    name: &'static str,
    arity: i8,
    class: Class,
    keys: Keys,
    action: Action,
) -> Command {
    Command { name, arity, class, keys, action, subcommands: &[] }
}

/// Reads values of keys.
pub(super) const fn read(name: &'static str, arity: i8, keys: Keys) -> Command {
    row(name, arity, Class::Get, keys, Action::Keyed)
}

/// Writes values of keys.
pub(super) const fn write(name: &'static str, arity: i8, keys: Keys) -> Command {
    row(name, arity, Class::Set, keys, Action::Keyed)
}

/// Deletes a key.
pub(super) const fn delete(name: &'static str, arity: i8, keys: Keys) -> Command {
    row(name, arity, Class::Delete, keys, Action::Keyed)
}

/// Adds to a number.
pub(super) const fn incr(name: &'static str, arity: i8, keys: Keys) -> Command {
    row(name, arity, Class::Incr, keys, Action::Keyed)
}

/// Subtracts from a number.
pub(super) const fn decr(name: &'static str, arity: i8, keys: Keys) -> Command {
    row(name, arity, Class::Decr, keys, Action::Keyed)
}

/// Sets the expiry of a key or of a part of its value.
pub(super) const fn touch(name: &'static str, arity: i8, keys: Keys) -> Command {
    row(name, arity, Class::Touch, keys, Action::Keyed)
}

/// Goes to the server of its keys, and is neither a read nor a write to the counters.
pub(super) const fn other(name: &'static str, arity: i8, keys: Keys) -> Command {
    row(name, arity, Class::Other, keys, Action::Keyed)
}

/// Goes to the servers of its keys in parts.
pub(super) const fn split(
    name: &'static str,
    arity: i8,
    class: Class,
    keys: Keys,
    merge: Merge,
) -> Command {
    row(name, arity, class, keys, Action::Split(merge))
}

/// Takes from a value, and waits until there is one.
pub(super) const fn blocking(name: &'static str, arity: i8, keys: Keys) -> Command {
    row(name, arity, Class::Set, keys, Action::Dedicated(Dedicated::Blocking))
}

/// Waits if an argument says so.
pub(super) const fn may_block(name: &'static str, arity: i8, class: Class, keys: Keys) -> Command {
    row(name, arity, class, keys, Action::MayBlock)
}

/// Needs a connection of its own.
pub(super) const fn dedicated(
    name: &'static str,
    arity: i8,
    keys: Keys,
    dedicated: Dedicated,
) -> Command {
    row(name, arity, Class::Other, keys, Action::Dedicated(dedicated))
}

/// Goes to every server.
pub(super) const fn all(name: &'static str, arity: i8, merge: Merge) -> Command {
    all_if(name, arity, merge, Permission::None)
}

/// Goes to every server if the pool allows it.
pub(super) const fn all_if(
    name: &'static str,
    arity: i8,
    merge: Merge,
    permission: Permission,
) -> Command {
    keyless(name, arity, Action::All(merge, permission))
}

/// Goes to any server.
pub(super) const fn any(name: &'static str, arity: i8) -> Command {
    keyless(name, arity, Action::Any)
}

/// The proxy answers.
pub(super) const fn local(name: &'static str, arity: i8, local: Local) -> Command {
    keyless(name, arity, Action::Local(local))
}

/// Shows or changes one server.
pub(super) const fn one_server(name: &'static str, arity: i8) -> Command {
    keyless(name, arity, Action::OneServer(ONE_SERVER))
}

/// Looks at the keys of the server that it goes to, whichever they are.
pub(super) const fn over_all_keys(name: &'static str, arity: i8) -> Command {
    keyless(name, arity, Action::OneServer("is about all keys, and this pool has several servers"))
}

pub(super) const fn refused(name: &'static str, arity: i8, reason: &'static str) -> Command {
    keyless(name, arity, Action::Refused(reason))
}

/// Is nothing without a subcommand. A server may have subcommands that these tables don't have:
/// where their keys are, and what they do to a shared connection, the proxy can't know.
pub(super) const fn container(
    name: &'static str,
    arity: i8,
    subcommands: &'static [Command],
) -> Command {
    refused(name, arity, UNKNOWN_SUBCOMMAND).with(subcommands)
}

/// The row of a command without keys.
pub(super) const fn keyless(name: &'static str, arity: i8, action: Action) -> Command {
    row(name, arity, Class::Other, Keys::None, action)
}

impl Command {
    pub(super) const fn with(self, subcommands: &'static [Self]) -> Self {
        Self { subcommands, ..self }
    }
}

/// The command shows or changes one server.
pub const ONE_SERVER: &str = "is about one server, and this pool has several";
/// The reason of a container for a subcommand that is not in the table.
pub const UNKNOWN_SUBCOMMAND: &str = "is not supported with this subcommand";
/// The command is about the state of a connection.
pub(super) const SHARED: &str = "is not supported: the proxy shares its server connections";
/// To a server, `WAIT` is about all writes of a shared connection, and stops that connection for
/// all clients meanwhile. Over a dedicated connection, the command would be about no write at all
/// and promise what nobody checked.
pub(super) const LAST_WRITES: &str = "is not supported: the proxy shares its server connections, so a server can't tell whose writes to wait for";
pub(super) const CLIENTS: &str =
    "is not supported: the clients of a server are connections of the proxy";
pub(super) const REPLICATION: &str =
    "is not supported: a client of the proxy can't change or join the replication of a server";
pub(super) const SHUTDOWN: &str = "is not supported: a client of the proxy can't stop a server";
pub(super) const MIGRATE: &str =
    "is not supported: the proxy would not find the keys on their new server";
pub(super) const ONE_DATABASE: &str = "is not supported: a pool has one database";
pub(super) const MODULES: &str =
    "is not supported: a client of the proxy can't change the modules of a server";
pub(super) const DEBUGGING: &str =
    "is not supported with this subcommand: it can stop or damage a server";
pub(super) const INTERNAL: &str = "is not supported: only servers use it";
