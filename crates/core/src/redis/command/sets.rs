//! Sets.

use super::Command;
use super::row::{counted, each, key, range, read, write};

pub(super) const ROWS: &[Command] = &[
    write("sadd", -3, key(1)),
    read("scard", 2, key(1)),
    read("sdiff", -2, each(1)),
    read("sdiffcard", -3, counted(1)),
    write("sdiffstore", -3, each(1)),
    read("sinter", -2, each(1)),
    read("sintercard", -3, counted(1)),
    write("sinterstore", -3, each(1)),
    read("sismember", 3, key(1)),
    read("smembers", 2, key(1)),
    read("smismember", -3, key(1)),
    write("smove", 4, range(1, 2, 1)),
    write("spop", -2, key(1)),
    read("srandmember", -2, key(1)),
    write("srem", -3, key(1)),
    read("sscan", -3, key(1)),
    read("sunion", -2, each(1)),
    read("sunioncard", -3, counted(1)),
    write("sunionstore", -3, each(1)),
];
