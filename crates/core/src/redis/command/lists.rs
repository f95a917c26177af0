//! Lists.

use super::Command;
use super::row::{blocking, counted, key, range, read, write};

pub(super) const ROWS: &[Command] = &[
    blocking("blmove", 6, range(1, 2, 1)),
    blocking("blmovem", -6, range(1, 2, 1)),
    blocking("blmpop", -5, counted(2)),
    blocking("blpop", -3, range(1, -2, 1)),
    blocking("brpop", -3, range(1, -2, 1)),
    blocking("brpoplpush", 4, range(1, 2, 1)),
    read("lindex", 3, key(1)),
    write("linsert", 5, key(1)),
    read("llen", 2, key(1)),
    write("lmove", 5, range(1, 2, 1)),
    write("lmovem", -5, range(1, 2, 1)),
    write("lmpop", -4, counted(1)),
    write("lpop", -2, key(1)),
    read("lpos", -3, key(1)),
    write("lpush", -3, key(1)),
    write("lpushx", -3, key(1)),
    read("lrange", 4, key(1)),
    write("lrem", 4, key(1)),
    write("lset", 4, key(1)),
    write("ltrim", 4, key(1)),
    write("rpop", -2, key(1)),
    write("rpoplpush", 3, range(1, 2, 1)),
    write("rpush", -3, key(1)),
    write("rpushx", -3, key(1)),
];
