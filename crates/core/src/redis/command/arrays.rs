//! Arrays, of Redis 8.8.

use super::Command;
use super::row::{key, read, write};

pub(super) const ROWS: &[Command] = &[
    read("arcount", 2, key(1)),
    write("ardel", -3, key(1)),
    write("ardelrange", -4, key(1)),
    read("arget", 3, key(1)),
    read("argetrange", 4, key(1)),
    read("argrep", -6, key(1)),
    read("arinfo", -2, key(1)),
    write("arinsert", -3, key(1)),
    read("arlastitems", -3, key(1)),
    read("arlen", 2, key(1)),
    read("armget", -3, key(1)),
    write("armset", -4, key(1)),
    read("arnext", 2, key(1)),
    read("arop", -5, key(1)),
    write("arring", -4, key(1)),
    read("arscan", -4, key(1)),
    write("arseek", 3, key(1)),
    write("arset", -4, key(1)),
];
