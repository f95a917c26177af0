//! What a protocol says for servers that are away.

use crate::memcache;
use crate::message::{Expect, One, Outcome};
use crate::protocol::Protocol;
use crate::redis;
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
