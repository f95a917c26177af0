//! The times that a server may take, each for a part of a request's way.
//!
//! A request has its whole `timeout` from when it is queued until its reply. Each of the clocks bounds one
//! part of that; without them, `timeout` alone counts, as for twemproxy.

use core::time::Duration;

/// How long the parts may take; none for as long as the whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clocks {
    /// To open a connection, including the look-up of the name and the greeting.
    pub connect: Option<Duration>,
    /// To write a request to its server, from when it is queued.
    pub queue: Option<Duration>,
    /// To reply to a request, from when all of it is written.
    pub response: Option<Duration>,
}

/// Which time was too short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// `connect_timeout`.
    Connect,
    /// `queue_timeout`.
    Queue,
    /// `response_timeout`.
    Response,
    /// `timeout`.
    Total,
}

impl Clock {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Connect, Self::Queue, Self::Response, Self::Total];

    /// Its name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Queue => "queue",
            Self::Response => "response",
            Self::Total => "total",
        }
    }

    /// The directive that sets it.
    pub const fn directive(self) -> &'static str {
        match self {
            Self::Connect => "connect_timeout",
            Self::Queue => "queue_timeout",
            Self::Response => "response_timeout",
            Self::Total => "timeout",
        }
    }
}
