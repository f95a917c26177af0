//! Streams.

use super::row::{INTERNAL, any, container, key, may_block, read, refused, write};
use super::{Command, Keys};
use crate::message::Class;

pub(super) const ROWS: &[Command] = &[
    write("xack", -4, key(1)),
    write("xackdel", -6, key(1)),
    write("xadd", -5, key(1)),
    write("xautoclaim", -6, key(1)),
    write("xcfgset", -2, key(1)),
    write("xclaim", -6, key(1)),
    write("xdel", -3, key(1)),
    write("xdelex", -5, key(1)),
    container("xgroup", -2, XGROUP),
    refused("xidmprecord", 5, INTERNAL),
    container("xinfo", -2, XINFO),
    read("xlen", 2, key(1)),
    write("xnack", -7, key(1)),
    read("xpending", -3, key(1)),
    read("xrange", -4, key(1)),
    may_block("xread", -4, Class::Get, Keys::Streams),
    may_block("xreadgroup", -7, Class::Set, Keys::Streams),
    read("xrevrange", -4, key(1)),
    write("xsetid", -3, key(1)),
    write("xtrim", -4, key(1)),
];

const XGROUP: &[Command] = &[
    write("create", -5, key(2)),
    write("createconsumer", 5, key(2)),
    write("delconsumer", 5, key(2)),
    write("destroy", 4, key(2)),
    any("help", 2),
    write("setid", -5, key(2)),
];

const XINFO: &[Command] = &[
    read("consumers", 4, key(2)),
    read("groups", 3, key(2)),
    any("help", 2),
    read("stream", -3, key(2)),
];
