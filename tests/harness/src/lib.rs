//! What the tests of several packages start and speak with.
//!
//! The rule: loopback only, free ports, processes ended by their own id, every wait bounded. What
//! can't be set up panics, so that no test passes by having looked at nothing.

#![expect(clippy::unwrap_used, reason = "a broken set-up must stop the test where it stands")]

pub mod conn;
mod dns;
mod memcached;
mod process;
pub mod redis;

pub use dns::Dnsmasq;
pub use memcached::Memcached;
pub use process::{Process, TempDir, accepts, free_port, processor_time, wait_until};
pub use redis::Redis;
