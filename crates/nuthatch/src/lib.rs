//! Nuthatch, the proxy: sockets, clock and configuration around the engine in `nuthatch-core`.

pub mod args;
pub mod config;
pub mod diff;
mod json;
pub mod log;
pub mod process;
pub mod route;
mod suggest;
