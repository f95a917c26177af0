//! The proxy from outside: every test starts the `nuthatch` program, real memcacheds or fake
//! servers, and speaks to it as a client would. Nothing here knows how the proxy is built.
//!
//! The rule: loopback only, free ports, processes ended by their own id, every wait bounded. A test
//! that needs a program of somebody else's (memcached, nutcracker) is marked `ignore` with its
//! name, so that `cargo test` passes on a fresh clone. `make it` runs all: a test that can't find
//! its program fails there, it never passes by having looked at nothing.
//!
//! `NUTHATCH_UNDER_TEST=/usr/sbin/nutcracker` puts any other program with nutcracker's command
//! line in the proxy's place: the harness then proves itself on the proxy we replace, and the
//! tests that fail are those whose subject is a difference between the two.

#![expect(clippy::unwrap_used, reason = "a broken set-up must stop the test where it stands")]
#![expect(clippy::disallowed_methods, reason = "a test measures how long it waited")]

mod addresses;
mod admin;
mod attack;
mod away;
mod bind_check;
mod chaos;
mod clients;
mod clocks;
mod closing;
mod crowd;
mod differential;
mod differential_fuzz;
mod dns;
mod every_address;
mod example;
mod failures;
mod fake;
mod full_server;
mod gutter;
mod handover;
mod harness;
mod hit_rate;
mod http;
mod isolation;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod lanes;
mod memory;
mod migrate;
mod migrate_redis;
mod multiget;
mod observed;
mod old_servers;
mod ping;
mod process;
mod quotas;
mod random;
mod redis_clients;
mod redis_differential_fuzz;
mod redis_errors;
mod redis_isolation;
mod redis_questions;
mod redis_resp3;
mod redis_transcripts;
mod reload;
mod routing;
mod slow;
mod slow_start;
mod stalled_log;
mod start;
mod stats;
mod systemd;
mod timeline;
mod transcripts;
mod upgrade;

use nuthatch_harness::conn;
