//! The commands, as data.
//!
//! Each command of Redis 8 and Valkey 9 has a row in `command/`: its name, how many arguments it
//! takes, where its keys are, and what the proxy does with it. A new command needs a row there and,
//! if clients can use it, a line in `docs/redis.md` (a test checks this).

mod arrays;
mod cluster;
mod connection;
mod hashes;
mod keys;
mod lists;
mod modules;
mod pubsub;
mod row;
mod scripts;
mod server;
mod sets;
mod sorted_sets;
mod streams;
mod strings;
mod vectors;

pub use cluster::CLUSTER_DISABLED;
pub use row::{ONE_SERVER, UNKNOWN_SUBCOMMAND};

use crate::message::{Class, Merge};

/// The command of this name in any case. In line, as each request is looked up.
#[inline(always)]
pub fn find(name: &[u8]) -> Option<&'static Command> {
    let mut slot = slot_of(name);
    loop {
        let index = SLOTS[slot];
        if index == EMPTY {
            return None;
        }
        let command = &TABLE[index as usize];
        if command.is_named(name) {
            return Some(command);
        }
        slot = (slot + 1) % SLOT_COUNT;
    }
}

/// All commands. Their subcommands are in them.
pub fn all() -> impl Iterator<Item = &'static Command> {
    TABLE.iter()
}

/// All commands by subject: the name of each subject, and its commands.
pub fn subjects() -> impl Iterator<Item = (&'static str, &'static [Command])> + Clone {
    SUBJECT_NAMES.into_iter().zip(SUBJECTS)
}

/// One command, or one subcommand of a command.
#[derive(Clone, Copy, Debug)]
pub struct Command {
    /// Its name in lower case; a subcommand has its own name only.
    pub name: &'static str,
    /// As `COMMAND INFO` has it: the number of arguments with the name (and the container's name),
    /// exactly if positive, at least if negative.
    pub arity: i8,
    /// Its kind, for the counters.
    pub class: Class,
    /// Where its keys are.
    pub keys: Keys,
    /// What the proxy does with it.
    pub action: Action,
    /// Its subcommands, if it is a container of commands. What the proxy does with a subcommand that
    /// is none of these is the `action` of the container.
    pub subcommands: &'static [Self],
}

impl Command {
    /// Its subcommand of this name in any case.
    pub fn find_subcommand(&self, name: &[u8]) -> Option<&'static Self> {
        self.subcommands.iter().find(|subcommand| subcommand.is_named(name))
    }

    /// Only `name` may be in another case: a comparison in which both may be costs twice as much.
    fn is_named(&self, name: &[u8]) -> bool {
        let own = self.name.as_bytes();
        let mut bytes = own.iter().zip(name);
        own.len() == name.len() && bytes.all(|(own, byte)| *own == byte.to_ascii_lowercase())
    }
}

/// Which arguments of a command are keys. The name is argument 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// None.
    None,
    /// Each `step`-th argument from `first` to `last`, counted from the end if it is negative.
    Range {
        /// The first key.
        first: u16,
        /// The last key; -1 is the last argument.
        last: i16,
        /// From a key to the next.
        step: u16,
    },
    /// The argument at `count` is the number of keys, which follow: at least one. (`ZUNION`: 1.)
    Counted {
        /// The place of the number.
        count: u8,
        /// Whether argument 1 is a key as well (`ZUNIONSTORE`).
        stores: bool,
    },
    /// Argument 2 is the number of keys, which follow; a script may have none (`EVAL`).
    Script,
    /// Argument 1 is the number of pairs of a key and its value, which follow (`MSETEX`).
    Pairs,
    /// The first half of what follows the word `STREAMS` (`XREAD`).
    Streams,
    /// Argument 1, and the argument after the last word `STORE` or `STOREDIST` (`SORT`, `GEORADIUS`).
    Store,
}

/// What the proxy does with a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// To the server of its keys; if there are several keys, all must have the same server.
    Keyed,
    /// To the servers of its keys, a part to each; the replies become one.
    Split(Merge),
    /// To every server; the replies become one.
    All(Merge, Permission),
    /// To some server: all give the same answer.
    Any,
    /// To one server after the other, by the cursor (`SCAN`).
    Scan,
    /// The proxy answers.
    Local(Local),
    /// Over a connection to the server that no other client uses.
    Dedicated(Dedicated),
    /// Keyed, but over a dedicated connection if one of its arguments is the word `BLOCK`.
    MayBlock,
    /// Only in a pool of one server; with several, this is why not.
    OneServer(&'static str),
    /// Always refused; this is why.
    Refused(&'static str),
}

/// What a pool must allow for a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Nothing.
    None,
    /// `allow_flush`
    Flush,
    /// `allow_keys`
    Keys,
}

/// A command that the proxy answers itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Local {
    /// `AUTH [user] password`
    Auth,
    /// `HELLO [protover [AUTH user password] [SETNAME name]]`
    Hello,
    /// `PING [message]`
    Ping,
    /// `ECHO message`
    Echo,
    /// `SELECT db`: the pool's own only
    Select,
    /// `QUIT`
    Quit,
    /// `RESET`
    Reset,
    /// `CLIENT SETNAME name`
    SetName,
    /// `CLIENT GETNAME`
    GetName,
    /// `CLIENT SETINFO attribute value`
    SetInfo,
    /// `CLIENT ID`
    Id,
    /// `+OK` and nothing else (`CLIENT NO-EVICT`, `CLIENT NO-TOUCH`)
    Ok,
    /// A question about the proxy, which the program around the engine answers (`INFO`, `COMMAND`).
    Question,
    /// `CONFIG GET`: as [`Local::Question`], but the server of a pool of one server answers, which `CONFIG
    /// SET` changes.
    Setting,
}

/// A command that needs a connection of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dedicated {
    /// `WATCH`
    Watch,
    /// `UNWATCH`
    Unwatch,
    /// `MULTI`
    Multi,
    /// `EXEC`
    Exec,
    /// `DISCARD`
    Discard,
    /// The server may answer after a long time (`BLPOP`).
    Blocking,
    /// `SCRIPT KILL`, `FUNCTION KILL`: behind the script, on its connection, the server would not read it.
    Kill,
    /// `SUBSCRIBE`, `SSUBSCRIBE`
    Subscribe,
    /// `PSUBSCRIBE`
    SubscribePattern,
    /// `UNSUBSCRIBE`, `SUNSUBSCRIBE`, `PUNSUBSCRIBE`
    Unsubscribe,
}

/// The tables of all subjects.
const SUBJECTS: [&[Command]; 15] = [
    strings::ROWS,
    hashes::ROWS,
    lists::ROWS,
    sets::ROWS,
    sorted_sets::ROWS,
    streams::ROWS,
    arrays::ROWS,
    vectors::ROWS,
    keys::ROWS,
    scripts::ROWS,
    pubsub::ROWS,
    connection::ROWS,
    server::ROWS,
    cluster::ROWS,
    modules::ROWS,
];

/// The names of the subjects: what Redis calls a group where it has one.
const SUBJECT_NAMES: [&str; SUBJECTS.len()] = [
    "string",
    "hash",
    "list",
    "set",
    "sorted-set",
    "stream",
    "array",
    "vector",
    "generic",
    "scripting",
    "pubsub",
    "connection",
    "server",
    "cluster",
    "module",
];

/// All commands, one after the other.
static TABLE: [Command; COUNT] = {
    let mut table = [row::any("", 0); COUNT];
    let (mut subject, mut filled) = (0, 0);
    while subject < SUBJECTS.len() {
        let (rows, mut index) = (SUBJECTS[subject], 0);
        while index < rows.len() {
            table[filled] = rows[index];
            index += 1;
            filled += 1;
        }
        subject += 1;
    }
    table
};

const COUNT: usize = {
    let (mut subject, mut count) = (0, 0);
    while subject < SUBJECTS.len() {
        count += SUBJECTS[subject].len();
        subject += 1;
    }
    count
};

/// Where each command is in [`TABLE`], by the hash of its name: in the slot of its hash, or in the
/// first free slot after that one. More than half of the slots are empty, so a search is short.
static SLOTS: [u16; SLOT_COUNT] = {
    let mut slots = [EMPTY; SLOT_COUNT];
    let mut index: u16 = 0;
    while (index as usize) < COUNT {
        let mut slot = slot_of(TABLE[index as usize].name.as_bytes());
        while slots[slot] != EMPTY {
            slot = (slot + 1) % SLOT_COUNT;
        }
        slots[slot] = index;
        index += 1;
    }
    slots
};

const SLOT_BITS: u32 = 10;
const SLOT_COUNT: usize = 1 << SLOT_BITS;
const EMPTY: u16 = u16::MAX;
const _: () = assert!(COUNT * 2 < SLOT_COUNT, "the slots are too few for the commands");

/// The first slot for a name: a hash of its length and of its first and last 8 bytes, which overlap
/// in a shorter name. Both cases of a letter have the same hash, because they differ in one bit,
/// which is set. A hash of all bytes would need a multiplication for each of them.
const fn slot_of(name: &[u8]) -> usize {
    const CASE: u64 = 0x2020_2020_2020_2020;
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let (start, end) = ends(name);
    let mixed = (start | CASE) ^ (end | CASE).rotate_left(29) ^ name.len() as u64;
    (mixed.wrapping_mul(ODD) >> (u64::BITS - SLOT_BITS)) as usize
}

/// The start and the end of a name as numbers.
const fn ends(name: &[u8]) -> (u64, u64) {
    if let (Some(start), Some(end)) = (name.first_chunk(), name.last_chunk()) {
        return (u64::from_le_bytes(*start), u64::from_le_bytes(*end));
    }
    if let (Some(start), Some(end)) = (name.first_chunk(), name.last_chunk()) {
        return (u32::from_le_bytes(*start) as u64, u32::from_le_bytes(*end) as u64);
    }
    if let (Some(start), Some(end)) = (name.first_chunk(), name.last_chunk()) {
        return (u16::from_le_bytes(*start) as u64, u16::from_le_bytes(*end) as u64);
    }
    (0, 0)
}
