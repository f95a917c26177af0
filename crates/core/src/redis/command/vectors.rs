//! Vector sets.

use super::Command;
use super::row::{key, read, write};

pub(super) const ROWS: &[Command] = &[
    write("vadd", -5, key(1)),
    read("vcard", 2, key(1)),
    read("vdim", 2, key(1)),
    read("vemb", -3, key(1)),
    read("vgetattr", 3, key(1)),
    read("vinfo", 2, key(1)),
    read("vismember", 3, key(1)),
    read("vlinks", -3, key(1)),
    read("vrandmember", -2, key(1)),
    read("vrange", -4, key(1)),
    write("vrem", 3, key(1)),
    write("vsetattr", 4, key(1)),
    read("vsim", -4, key(1)),
];
