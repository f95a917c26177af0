//! Both programs from outside, over real memcacheds (`make deps` installs memcached).

#![expect(clippy::unwrap_used, reason = "a broken set-up must stop the test where it stands")]

mod api;
mod load;
mod running;
