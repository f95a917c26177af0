//! The proxy from outside: every test starts the `nuthatch` program, real memcacheds or fake
//! servers, and speaks to it as a client would. Nothing here knows how the proxy is built.
//!
//! The rule: loopback only, free ports, processes ended by their own id, every wait
//! bounded. `memcached` and `nutcracker` must be installed (`make deps`): a test that can't find
//! them fails, it never passes by having looked at nothing.
//!
//! `NUTHATCH_UNDER_TEST=/usr/sbin/nutcracker` puts any other program with nutcracker's command
//! line in the proxy's place: the harness then proves itself on the proxy we replace, and the
//! tests that fail are those whose subject is a difference between the two.

#![expect(clippy::unwrap_used, reason = "a broken set-up must stop the test where it stands")]
#![expect(clippy::disallowed_methods, reason = "a test measures how long it waited")]

mod admin;
mod clients;
mod crowd;
mod differential;
mod example;
mod failures;
mod fake;
mod harness;
mod http;
mod isolation;
mod memory;
mod multiget;
mod process;
mod random;
mod routing;
mod stalled_log;
mod transcripts;

use nuthatch_harness::conn;
