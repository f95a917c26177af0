//! Both programs from outside, over real memcacheds. The tests that need one are marked `ignore`;
//! `make it` runs all, and `make deps` installs memcached.

#![expect(clippy::unwrap_used, reason = "a broken set-up must stop the test where it stands")]

mod api;
mod load;
mod running;
