//! What a protocol says for servers that are away.

use crate::memcache;
use crate::message::{All, Expect, One, Outcome};
use crate::protocol::Protocol;
use crate::redis;
use crate::redis::command::Permission;
use alloc::vec::Vec;

impl Protocol {
    /// Appends a request that removes a key. Returns the expected reply.
    pub fn write_removal(self, key: &[u8], out: &mut Vec<u8>) -> Expect {
        match self {
            Self::Memcache => memcache::write_removal(key, out),
            Self::Redis => redis::write_removal(key, out),
        }
    }

    /// Whether that request is a meta command.
    pub fn removal_needs_meta(self, key: &[u8]) -> bool {
        match self {
            Self::Memcache => !memcache::is_plain_key(key),
            Self::Redis => false,
        }
    }

    /// Whether an error says that the proxy's user may not use the key: what is there can't be read either.
    pub fn is_out_of_reach(self, error: &[u8]) -> bool {
        match self {
            Self::Memcache => false,
            Self::Redis => redis::is_out_of_reach(error),
        }
    }

    /// Appends a request that removes all keys. Returns the expected reply.
    pub fn write_flush(self, out: &mut Vec<u8>) -> Expect {
        match self {
            Self::Memcache => memcache::write_flush(out),
            Self::Redis => redis::write_flush(out),
        }
    }

    /// Appends what a server that is away has to do later for a request to all servers, if that removes keys and nothing
    /// else. Returns the expected reply, and whether it removes all that any such request removes.
    pub fn write_missed_flush(self, all: &All<'_>, out: &mut Vec<u8>) -> Option<(Expect, bool)> {
        if all.permission != Permission::Flush {
            return None;
        }
        match self {
            // A delay would count from the return.
            Self::Memcache => Some((memcache::write_flush(out), true)),
            Self::Redis => redis::write_missed_flush(all, out),
        }
    }

    /// Whether what a request has in the place of a key is a channel.
    pub fn names_channel(self, one: &One<'_>) -> bool {
        match self {
            Self::Memcache => false,
            Self::Redis => redis::names_channel(one),
        }
    }

    /// What stands for a value that is not there in the reply to a request of several keys.
    pub const fn absent_value(self, is_resp3: bool) -> &'static [u8] {
        match self {
            Self::Memcache => b"",
            Self::Redis => redis::NULL[is_resp3 as usize],
        }
    }

    /// Appends the reply to a request of one key as if there were no such key, and no room for one. `None` if
    /// only a server can answer.
    pub fn write_absent(self, one: &One<'_>, is_resp3: bool, out: &mut Vec<u8>) -> Option<Outcome> {
        match self {
            Self::Memcache => Some(memcache::write_absent(one, out)),
            Self::Redis => redis::write_absent(one, is_resp3, out),
        }
    }
}
