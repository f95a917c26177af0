//! Scripts and functions. Every server has all of them.

use super::row::{SHARED, all, all_if, any, container, dedicated, one_server, other, refused};
use super::{Command, Dedicated, Keys, Permission};
use crate::message::Merge;

pub(super) const ROWS: &[Command] = &[
    other("eval", -3, Keys::Script),
    other("eval_ro", -3, Keys::Script),
    other("evalsha", -3, Keys::Script),
    other("evalsha_ro", -3, Keys::Script),
    other("fcall", -3, Keys::Script),
    other("fcall_ro", -3, Keys::Script),
    container("function", -2, FUNCTION),
    container("script", -2, SCRIPT),
];

const FUNCTION: &[Command] = &[
    all("delete", 3, Merge::AllOk),
    any("dump", 2),
    all_if("flush", -2, Merge::AllOk, Permission::Flush),
    any("help", 2),
    dedicated("kill", 2, Keys::None, Dedicated::Kill),
    any("list", -2),
    all("load", -3, Merge::Same),
    all("restore", -3, Merge::AllOk),
    any("stats", 2),
];

const SCRIPT: &[Command] = &[
    refused("debug", 3, SHARED),
    all("exists", -3, Merge::Least),
    all("flush", -2, Merge::AllOk),
    any("help", 2),
    dedicated("kill", 2, Keys::None, Dedicated::Kill),
    all("load", 3, Merge::Same),
    one_server("show", 3),
];
