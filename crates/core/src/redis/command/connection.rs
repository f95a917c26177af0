//! The client's connection, and transactions.

use super::row::{CLIENTS, SHARED, any, container, dedicated, each, local, refused};
use super::{Command, Dedicated, Keys, Local};

pub(super) const ROWS: &[Command] = &[
    local("auth", -2, Local::Auth),
    container("client", -2, CLIENT),
    dedicated("discard", 1, Keys::None, Dedicated::Discard),
    local("echo", 2, Local::Echo),
    dedicated("exec", 1, Keys::None, Dedicated::Exec),
    local("hello", -1, Local::Hello),
    dedicated("multi", 1, Keys::None, Dedicated::Multi),
    local("ping", -1, Local::Ping),
    local("quit", -1, Local::Quit),
    local("reset", 1, Local::Reset),
    local("select", 2, Local::Select),
    dedicated("unwatch", 1, Keys::None, Dedicated::Unwatch),
    dedicated("watch", -2, each(1), Dedicated::Watch),
];

const CLIENT: &[Command] = &[
    refused("caching", 3, SHARED),
    local("capa", -3, Local::Ok),
    local("getname", 2, Local::GetName),
    local("getredir", 2, Local::Question),
    any("help", 2),
    local("id", 2, Local::Id),
    refused("import-source", 3, SHARED),
    local("info", 2, Local::Question),
    refused("kill", -3, CLIENTS),
    local("list", -2, Local::Question),
    local("no-evict", 3, Local::Ok),
    local("no-touch", 3, Local::Ok),
    refused("pause", -3, CLIENTS),
    refused("reply", 3, SHARED),
    local("setinfo", 4, Local::SetInfo),
    local("setname", 3, Local::SetName),
    refused("tracking", -3, SHARED),
    local("trackinginfo", 2, Local::Question),
    refused("unblock", -3, CLIENTS),
    refused("unpause", 2, CLIENTS),
];
