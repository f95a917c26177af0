//! Strings, bitmaps and `HyperLogLog`s.

use super::row::{
    INTERNAL, decr, delete, each, incr, key, range, read, refused, split, touch, write,
};
use super::{Command, Keys};
use crate::message::{Class, Merge};

pub(super) const ROWS: &[Command] = &[
    write("append", 3, key(1)),
    read("bitcount", -2, key(1)),
    write("bitfield", -2, key(1)),
    read("bitfield_ro", -2, key(1)),
    write("bitop", -4, each(2)),
    read("bitpos", -3, key(1)),
    decr("decr", 2, key(1)),
    decr("decrby", 3, key(1)),
    delete("delex", -2, key(1)),
    delete("delifeq", 3, key(1)),
    read("digest", 2, key(1)),
    read("get", 2, key(1)),
    read("getbit", 3, key(1)),
    delete("getdel", 2, key(1)),
    touch("getex", -2, key(1)),
    read("getrange", 4, key(1)),
    write("getset", 3, key(1)),
    incr("incr", 2, key(1)),
    incr("incrby", 3, key(1)),
    incr("incrbyfloat", 3, key(1)),
    incr("increx", -2, key(1)),
    read("lcs", -3, range(1, 2, 1)),
    split("mget", -2, Class::Get, each(1), Merge::InOrder),
    split("mset", -3, Class::Set, range(1, -1, 2), Merge::AllOk),
    write("msetex", -4, Keys::Pairs),
    write("msetnx", -3, range(1, -1, 2)),
    write("pfadd", -2, key(1)),
    read("pfcount", -2, each(1)),
    refused("pfdebug", 3, INTERNAL),
    write("pfmerge", -2, each(1)),
    refused("pfselftest", 1, INTERNAL),
    write("psetex", 4, key(1)),
    write("set", -3, key(1)),
    write("setbit", 4, key(1)),
    write("setex", 4, key(1)),
    write("setnx", 3, key(1)),
    write("setrange", 4, key(1)),
    read("strlen", 2, key(1)),
    read("substr", 4, key(1)),
];
