//! The server itself.

use super::row::{
    DEBUGGING, INTERNAL, MODULES, REPLICATION, SHARED, SHUTDOWN, all, all_if, any, container, key,
    local, one_server, read, refused,
};
use super::{Command, Local, Permission};
use crate::message::Merge;

pub(super) const ROWS: &[Command] = &[
    container("acl", -2, ACL),
    container("backup", 2, BACKUP),
    one_server("bgrewriteaof", 1),
    one_server("bgsave", -1),
    local("command", -1, Local::Question).with(COMMAND),
    container("commandlog", -2, COMMANDLOG),
    container("config", -2, CONFIG),
    all("dbsize", 1, Merge::Sum),
    refused("debug", -2, DEBUGGING).with(DEBUG),
    refused("failover", -1, REPLICATION),
    all_if("flushall", -1, Merge::AllOk, Permission::Flush),
    all_if("flushdb", -1, Merge::AllOk, Permission::Flush),
    container("hotkeys", -2, HOTKEYS),
    local("info", -1, Local::Question),
    one_server("lastsave", 1),
    container("latency", -2, LATENCY),
    any("lolwut", -1),
    container("memory", -2, MEMORY),
    container("module", -2, MODULE),
    refused("monitor", 1, SHARED),
    refused("psync", -3, REPLICATION),
    refused("replconf", -1, REPLICATION),
    refused("replicaof", 3, REPLICATION),
    refused("restore-asking", -4, INTERNAL),
    local("role", 1, Local::Question),
    one_server("save", 1),
    refused("shutdown", -1, SHUTDOWN),
    refused("slaveof", 3, REPLICATION),
    container("slowlog", -2, SLOWLOG),
    one_server("swapdb", 3),
    refused("sync", 1, REPLICATION),
    any("time", 1),
    refused("trimslots", -5, INTERNAL),
];

const ACL: &[Command] = &[
    any("cat", -2),
    one_server("deluser", -3),
    one_server("dryrun", -4),
    any("genpass", -2),
    one_server("getuser", 3),
    any("help", 2),
    one_server("list", 2),
    one_server("load", 2),
    one_server("log", -2),
    one_server("save", 2),
    one_server("setuser", -3),
    one_server("users", 2),
    any("whoami", 2),
];

const BACKUP: &[Command] = &[
    one_server("abort", 2),
    one_server("cleanup", 2),
    any("help", 2),
    one_server("list", 2),
    one_server("seal", 2),
    one_server("start", 2),
    one_server("status", 2),
];

const COMMAND: &[Command] = &[
    local("count", 2, Local::Question),
    local("docs", -2, Local::Question),
    local("getkeys", -3, Local::Question),
    local("getkeysandflags", -3, Local::Question),
    any("help", 2),
    local("info", -2, Local::Question),
    local("list", -2, Local::Question),
];

const COMMANDLOG: &[Command] =
    &[one_server("get", -4), any("help", 2), one_server("len", -3), one_server("reset", -3)];

const CONFIG: &[Command] = &[
    local("get", -3, Local::Setting),
    any("help", 2),
    one_server("resetstat", 2),
    one_server("rewrite", 2),
    one_server("set", -4),
];

const DEBUG: &[Command] = &[read("object", 3, key(2))];

const HOTKEYS: &[Command] = &[
    one_server("get", 2),
    any("help", 2),
    one_server("reset", 2),
    one_server("start", -2),
    one_server("stop", 2),
];

const LATENCY: &[Command] = &[
    one_server("doctor", 2),
    one_server("graph", 3),
    any("help", 2),
    one_server("histogram", -2),
    all("history", 3, Merge::Concat),
    all("latest", 2, Merge::Concat),
    all("reset", -2, Merge::Sum),
];

const MEMORY: &[Command] = &[
    one_server("doctor", 2),
    any("help", 2),
    one_server("malloc-stats", 2),
    one_server("purge", 2),
    one_server("stats", 2),
    read("usage", -3, key(2)),
];

const MODULE: &[Command] = &[
    any("help", 2),
    any("list", 2),
    refused("load", -3, MODULES),
    refused("loadex", -3, MODULES),
    refused("unload", 3, MODULES),
];

const SLOWLOG: &[Command] =
    &[one_server("get", -2), any("help", 2), one_server("len", 2), one_server("reset", 2)];
