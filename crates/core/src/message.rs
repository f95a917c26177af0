//! The types of parsed requests and replies, which protocols produce and the multiplexer uses.
//!
//! A protocol parses bytes into these values without any knowledge of servers, queues or time; the
//! multiplexer does not parse. The values borrow from the bytes that they were parsed from, so
//! nothing is copied or allocated between a client's bytes and a server's queue.

mod cap;
mod moving;
mod reply;
mod request;

pub use cap::{Cap, Capped};
pub use moving::{Ask, Effect, Kept, Known, Told, Verdict};
pub use reply::{Expect, Greeting, Merge, Outcome, Outcomes, Response, Scan};
pub use request::{
    All, Cursor, Dedicate, Group, KeyEncoding, Limit, Many, One, Parsed, Request, Step, Wire,
};

/// Kinds of requests, for the counters; classic and meta requests count alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Reads.
    Get,
    /// Reads that also set the expiry.
    GetAndTouch,
    /// Storage.
    Set,
    /// Storage if the item has the given cas id.
    Cas,
    /// Deletion.
    Delete,
    /// Addition.
    Incr,
    /// Subtraction.
    Decr,
    /// A new expiry.
    Touch,
    /// The rest.
    Other,
}

impl Class {
    /// How many there are.
    pub const COUNT: usize = Self::Other as usize + 1;

    /// Whether such a request reads a value, and so is a hit or a miss.
    #[inline]
    pub const fn is_read(self) -> bool {
        matches!(self, Self::Get | Self::GetAndTouch)
    }

    /// The class labels of the metrics.
    pub const LABELS: [&str; 6] = ["get", "set", "delete", "arith", "touch", "other"];

    /// The index of its label in [`Class::LABELS`].
    pub const fn label(self) -> usize {
        match self {
            Self::Get | Self::GetAndTouch => 0,
            Self::Set | Self::Cas => 1,
            Self::Delete => 2,
            Self::Incr | Self::Decr => 3,
            Self::Touch => 4,
            Self::Other => 5,
        }
    }
}
