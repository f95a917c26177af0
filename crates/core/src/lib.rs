//! The engine of Nuthatch: bytes in, bytes out.
//!
//! Many clients share few connections to the servers of a pool. This crate reads what clients ask,
//! finds the server that has each key, pairs replies with requests and gives every client its own
//! replies in its own order. It opens no socket, reads no clock and writes no log: an embedder hands
//! bytes and the time in and takes bytes out, be it the proxy, a client library or a simulation.
//!
//! The map, from the outside in:
//!
//! - [`mux`]: the multiplexer, the one thing that sees both sides;
//! - [`route`]: which server has a key now; [`health`]: who is ejected and when it returns;
//! - [`ring`]: hashes and distributions, bit for bit twemproxy's;
//! - [`protocol`]: what a protocol is asked; [`message`]: what it answers; [`memcache`]: a grammar;
//! - [`buffer`], [`chain`], [`spares`], [`error`], [`limits`], [`stats`], [`time`]: plain values that
//!   all of them use.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod buffer;
pub mod chain;
pub mod error;
pub mod health;
pub mod limits;
pub mod memcache;
pub mod message;
pub mod mux;
pub mod protocol;
pub mod ring;
pub mod route;
pub mod spares;
pub mod stats;
pub mod time;
