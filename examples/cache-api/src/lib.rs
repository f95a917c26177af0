//! The sample application: a REST API over memcached or Redis, and a load for it.
//!
//! The rule: it knows one server, at one address. That this may be a proxy in front of many is
//! the proxy's business, so nothing here has a word of Nuthatch in it.
//!
//! - [`api`] is HTTP: paths, bodies and what a failure looks like.
//! - [`cache`] is the cache: a pool of connections, and a bound on every wait.
//! - `connection` is one connection, which speaks memcached or Redis; `memcached` is the client of the first.
//! - [`listener`] is the socket that clients connect to.
//! - [`load`] is a client of the API that checks every answer, with [`progress`] to look at.
//! - [`settings`] is the environment variables of both programs.

pub mod api;
pub mod cache;
mod connection;
pub mod listener;
pub mod load;
mod memcached;
pub mod progress;
pub mod settings;
