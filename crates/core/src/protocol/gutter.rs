//! What a protocol does so that no value stays longer in a gutter server than it may.

use crate::memcache::{self, Head};
use crate::message::{Cap, Capped, Class, Expect, One};
use crate::protocol::Protocol;
use crate::redis;
use crate::version::Version;
use alloc::vec::Vec;
use core::time::Duration;

impl Protocol {
    /// Appends a request for a gutter server to `out`, if it has to be another one than it is.
    pub fn cap_one(self, one: &One<'_>, cap: Cap, out: &mut Vec<u8>) -> Capped {
        match self {
            Self::Memcache => memcache::cap_one(one, cap, out),
            Self::Redis => Capped::AsIs,
        }
    }

    /// The start of a request of several keys for a gutter server.
    pub fn cap_head(self, head: Head<'_>, cap: Cap) -> Head<'_> {
        match self {
            Self::Memcache => memcache::cap_head(head, cap),
            Self::Redis => head,
        }
    }

    /// Whether a request of this kind is to be followed by one that caps, for each of its keys.
    pub fn is_capped_after(self, class: Class) -> bool {
        match self {
            Self::Memcache => false,
            Self::Redis => !matches!(class, Class::Get | Class::Delete),
        }
    }

    /// Appends a request that caps how long a value stays, for a server of this version, zero if that is not
    /// known. Returns the expected reply.
    pub fn write_cap(
        self,
        key: &[u8],
        ttl: Duration,
        version: Version,
        out: &mut Vec<u8>,
    ) -> Expect {
        redis::write_cap(key, ttl, version, out)
    }
}
