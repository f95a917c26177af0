//! Both programs from outside, over real memcacheds and Redis servers. The tests that need one are
//! marked `ignore`; `make it` runs all, and `make deps` installs the servers.

#![expect(clippy::unwrap_used, reason = "a broken set-up must stop the test where it stands")]

mod api;
mod load;
mod redis;
mod running;
