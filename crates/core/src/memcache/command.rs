//! The commands, as data.
//!
//! A new command needs a line here, a line in `docs/protocol.md` (a test checks this) and, if no
//! other command has its shape, a function in `request.rs`.

use super::Shape;
use crate::message::{Class, Outcomes};

/// One command.
#[derive(Clone, Copy, Debug)]
pub struct Command {
    /// Its name, as clients write it.
    pub name: &'static [u8],
    /// How its line is parsed.
    pub(super) grammar: Grammar,
    /// Its kind, for the counters; flags of a meta request may change it.
    pub(super) class: Class,
}

/// How a command's line is parsed. Brackets mean optional, `*` any number, `+` at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grammar {
    /// `key+`
    Get,
    /// `key+`, under the old name of `get`
    OldGet,
    /// `exptime key*`
    GetAndTouch,
    /// `key flags exptime length [noreply]` and data
    Set,
    /// The same, of a server that is not of the oldest.
    Append,
    /// `key flags exptime length cas [noreply]` and data
    Cas,
    /// `key delta [noreply]`
    Arith,
    /// `key [0] [noreply]`
    Delete,
    /// `key exptime [noreply]`
    Touch,
    /// `key flag*`; with the matching replies, and the replies that `q` hides
    Meta(Shape, Outcomes),
    /// `key [b]` and anything
    MetaDebug,
    /// `key length flag*` and data
    MetaSet,
    /// anything
    Noop,
    /// anything
    Version,
    /// `level [noreply]`
    Verbosity,
    /// `[what]`
    Stats,
    /// `[delay] [noreply]`
    FlushAll,
    /// anything
    Quit,
    /// Not supported for a pool: always this reply.
    Never(&'static [u8]),
}

/// Every command that is not answered with a plain `ERROR`, the frequent ones first.
pub const COMMANDS: &[Command] = &[
    command(b"get", Grammar::Get, Class::Get),
    command(b"set", Grammar::Set, Class::Set),
    command(b"mg", Grammar::Meta(Shape::MetaGet, Outcomes::MISS), Class::Get),
    command(b"ms", Grammar::MetaSet, Class::Set),
    command(b"gets", Grammar::Get, Class::Get),
    command(b"delete", Grammar::Delete, Class::Delete),
    command(b"incr", Grammar::Arith, Class::Incr),
    command(b"decr", Grammar::Arith, Class::Decr),
    command(b"add", Grammar::Set, Class::Set),
    command(b"cas", Grammar::Cas, Class::Cas),
    command(b"replace", Grammar::Set, Class::Set),
    command(b"append", Grammar::Append, Class::Set),
    command(b"prepend", Grammar::Append, Class::Set),
    command(b"touch", Grammar::Touch, Class::Touch),
    command(b"gat", Grammar::GetAndTouch, Class::GetAndTouch),
    command(b"gats", Grammar::GetAndTouch, Class::GetAndTouch),
    command(b"md", Grammar::Meta(Shape::MetaStored, Outcomes::SUCCESS), Class::Delete),
    command(b"ma", Grammar::Meta(Shape::MetaStored, Outcomes::SUCCESS), Class::Incr),
    command(b"me", Grammar::MetaDebug, Class::Other),
    command(b"mn", Grammar::Noop, Class::Other),
    command(b"version", Grammar::Version, Class::Other),
    command(b"verbosity", Grammar::Verbosity, Class::Other),
    command(b"stats", Grammar::Stats, Class::Other),
    command(b"flush_all", Grammar::FlushAll, Class::Other),
    command(b"quit", Grammar::Quit, Class::Other),
    command(b"bget", Grammar::OldGet, Class::Get),
    command(b"shutdown", Grammar::Never(b"ERROR: shutdown not enabled\r\n"), Class::Other),
];

const fn command(name: &'static [u8], grammar: Grammar, class: Class) -> Command {
    Command { name, grammar, class }
}

/// The command of this name. Names are lower case, as memcached has them.
pub(super) fn find(name: &[u8]) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.name == name)
}
