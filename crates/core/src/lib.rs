//! The engine of Nuthatch: bytes in, bytes out.
//!
//! Many clients share few connections to the servers of a pool. This crate parses requests, finds
//! the server of each key, matches replies with requests and gives every client its own replies in
//! the order of its requests. The crate opens no socket, reads no clock and writes no log: the
//! embedder (the proxy, a client library or a simulation) passes in bytes and the time, and takes
//! out bytes.
//!
//! The map, from the outside in:
//!
//! - [`mux`]: the multiplexer, the only part that has clients and servers;
//! - [`route`]: which server has a key now; [`health`]: when a server is ejected and when it
//!   returns;
//! - [`ring`]: hashes and distributions, bit for bit twemproxy's;
//! - [`protocol`]: the interface of a protocol; [`message`]: the results of parsing; [`memcache`]:
//!   memcached's text protocol; [`redis`]: the commands of Redis and Valkey;
//! - [`buffer`], [`chain`], [`spares`], [`error`], [`limits`], [`clocks`], [`stats`], [`time`]: plain values
//!   that all of them use.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod buffer;
pub mod chain;
pub mod clocks;
mod decimal;
pub mod error;
pub mod health;
pub mod limits;
pub mod memcache;
pub mod message;
pub mod mux;
mod near;
pub mod protocol;
pub mod quota;
pub mod redis;
pub mod ring;
pub mod route;
pub mod spares;
pub mod stats;
pub mod time;
pub mod version;
