//! Nuthatch, the proxy: sockets, clock and configuration around the engine in `nuthatch-core`.

pub mod args;
pub mod config;
mod suggest;
