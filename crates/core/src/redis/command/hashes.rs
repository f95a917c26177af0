//! Hashes.

use super::Command;
use super::row::{SHARED, incr, key, read, refused, touch, write};

pub(super) const ROWS: &[Command] = &[
    write("hdel", -3, key(1)),
    read("hexists", 3, key(1)),
    touch("hexpire", -6, key(1)),
    touch("hexpireat", -6, key(1)),
    read("hexpiretime", -5, key(1)),
    read("hget", 3, key(1)),
    read("hgetall", 2, key(1)),
    write("hgetdel", -5, key(1)),
    touch("hgetex", -5, key(1)),
    refused("himport", -2, SHARED).with(HIMPORT),
    incr("hincrby", 4, key(1)),
    incr("hincrbyfloat", 4, key(1)),
    read("hkeys", 2, key(1)),
    read("hlen", 2, key(1)),
    read("hmget", -3, key(1)),
    write("hmset", -4, key(1)),
    touch("hpersist", -5, key(1)),
    touch("hpexpire", -6, key(1)),
    touch("hpexpireat", -6, key(1)),
    read("hpexpiretime", -5, key(1)),
    read("hpttl", -5, key(1)),
    read("hrandfield", -2, key(1)),
    read("hscan", -3, key(1)),
    write("hset", -4, key(1)),
    write("hsetex", -6, key(1)),
    write("hsetnx", 4, key(1)),
    read("hstrlen", 3, key(1)),
    read("httl", -5, key(1)),
    read("hvals", 2, key(1)),
];

const HIMPORT: &[Command] = &[
    refused("discard", 3, SHARED),
    refused("discardall", 2, SHARED),
    refused("prepare", -4, SHARED),
    refused("set", -5, SHARED),
];
