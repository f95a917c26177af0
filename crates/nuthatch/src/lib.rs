//! Nuthatch, the proxy: sockets, clock and configuration around the engine in `nuthatch-core`.

pub mod args;
pub mod config;
pub mod log;
pub mod process;
mod suggest;
