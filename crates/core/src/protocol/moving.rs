//! What a protocol does for keys that move from one server to another.

use crate::memcache::{self, Needs};
use crate::message::{
    Ask, Class, Effect, Expect, Kept, Many, One, Outcome, Outcomes, Told, Verdict,
};
use crate::protocol::Protocol;
use crate::redis;
use alloc::vec::Vec;

/// What a server needs for anything but a deletion and the request itself.
pub const MOVE_NEEDS: Needs = Needs { meta: true, ..Needs::NOTHING };

impl Protocol {
    /// Whether values of any type move, whose answers only a server can give.
    pub const fn carries(self) -> bool {
        matches!(self, Self::Redis)
    }

    /// Keeps a request whose key has these bytes.
    pub fn keep(self, one: &One<'_>, key: &[u8]) -> Kept {
        match self {
            Self::Memcache => memcache::keep(one, key),
            Self::Redis => redis::moving::keep(one, key),
        }
    }

    /// Whether a request of several keys only reads.
    pub fn only_reads(self, many: &Many<'_>) -> bool {
        match self {
            Self::Memcache => many.class == Class::Get,
            Self::Redis => redis::moving::effect_of_many(many) == Effect::ReadAsIs,
        }
    }

    /// Keeps the part of a request that is about one of its keys.
    pub fn keep_part(self, bytes: Vec<u8>, key: &[u8], many: &Many<'_>) -> Kept {
        match self {
            Self::Memcache => memcache::keep_part(bytes, key, many.class),
            Self::Redis => redis::moving::keep_part(bytes, many.expect, many.class),
        }
    }

    /// Appends the request of a step; values with numbers up to `floor` don't count. Returns the expected
    /// reply. In a Redis pool, only [`Ask::AsIs`] is such a step.
    pub fn write_ask(self, ask: &Ask<'_>, kept: &Kept, floor: u64, out: &mut Vec<u8>) -> Expect {
        match self {
            Self::Memcache => memcache::write_ask(ask, kept, floor, out),
            Self::Redis => {
                out.extend_from_slice(&kept.bytes);
                Expect { hidden: Outcomes::NONE, ..kept.expect }
            }
        }
    }

    /// Reads the reply to a step.
    pub fn read_told(self, ask: &Ask<'_>, outcome: Outcome, reply: &[u8]) -> Told {
        memcache::read_told(ask, outcome, reply)
    }

    /// Whether two servers have said the same value.
    pub fn is_same_value(self, a: &[u8], b: &[u8]) -> bool {
        memcache::is_same_value(a, b)
    }

    /// Whether the answer to a read has the number of the value.
    pub fn shows_cas(self, kept: &Kept) -> bool {
        memcache::shows_cas(kept)
    }

    /// Appends the answer to a read, from the reply to a look or a fetch; `cas` is the number of the value
    /// at the new server.
    pub fn write_found(
        self,
        kept: &Kept,
        reply: &[u8],
        cas: Option<u64>,
        out: &mut Vec<u8>,
    ) -> Outcome {
        memcache::write_found(kept, reply, cas, out)
    }

    /// Judges the reply to a request that was carried out, and appends the answer.
    pub fn judge(
        self,
        kept: &Kept,
        reply: (Outcome, &[u8]),
        floor: u64,
        out: &mut Vec<u8>,
    ) -> Verdict {
        memcache::judge(kept, reply, floor, out)
    }
}
