//! How long a value may stay in a gutter server.

use crate::memcache::Needs;
use core::time::Duration;

/// How long a value may stay.
#[derive(Clone, Copy, Debug)]
pub struct Cap {
    /// From now on.
    pub ttl: Duration,
    /// The wall clock, as the time since 1970.
    pub wall: Duration,
}

/// What a gutter server gets for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capped {
    /// The request as it is.
    AsIs,
    /// What was written in its place, which needs this of the server.
    Rewritten(Needs),
    /// Nothing: the client gets this error.
    Refused(&'static [u8]),
}
