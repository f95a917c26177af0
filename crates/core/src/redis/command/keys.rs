//! Keys of any type.

use super::row::{
    LAST_WRITES, MIGRATE, ONE_DATABASE, all, all_if, any, container, each, key, range, read,
    refused, row, split, touch, write,
};
use super::{Action, Command, Keys, Permission};
use crate::message::{Class, Merge};

pub(super) const ROWS: &[Command] = &[
    write("copy", -3, range(1, 2, 1)),
    split("del", -2, Class::Delete, each(1), Merge::Sum),
    read("dump", 2, key(1)),
    split("exists", -2, Class::Get, each(1), Merge::Sum),
    touch("expire", -3, key(1)),
    touch("expireat", -3, key(1)),
    read("expiretime", 2, key(1)),
    all_if("keys", 2, Merge::Concat, Permission::Keys),
    refused("migrate", -6, MIGRATE),
    refused("move", 3, ONE_DATABASE),
    container("object", -2, OBJECT),
    touch("persist", 2, key(1)),
    touch("pexpire", -3, key(1)),
    touch("pexpireat", -3, key(1)),
    read("pexpiretime", 2, key(1)),
    read("pttl", 2, key(1)),
    all("randomkey", 1, Merge::First),
    write("rename", 3, range(1, 2, 1)),
    write("renamenx", 3, range(1, 2, 1)),
    write("restore", -4, key(1)),
    row("scan", -2, Class::Other, Keys::None, Action::Scan),
    write("sort", -2, Keys::Store),
    read("sort_ro", -2, key(1)),
    split("touch", -2, Class::Touch, each(1), Merge::Sum),
    read("ttl", 2, key(1)),
    read("type", 2, key(1)),
    split("unlink", -2, Class::Delete, each(1), Merge::Sum),
    refused("wait", 3, LAST_WRITES),
    refused("waitaof", 4, LAST_WRITES),
];

const OBJECT: &[Command] = &[
    read("encoding", 3, key(2)),
    read("freq", 3, key(2)),
    any("help", 2),
    read("idletime", 3, key(2)),
    read("refcount", 3, key(2)),
];
