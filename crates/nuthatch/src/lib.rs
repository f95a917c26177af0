//! Nuthatch, the proxy: sockets, clock and configuration around the engine in `nuthatch-core`.
//!
//! The way in is `main.rs`: the command line ([`args`]) becomes a command, the configuration
//! ([`config`]) is read and checked, and [`run`] serves it. [`route`] and [`diff`] answer questions
//! about a configuration without serving it.

pub mod args;
pub mod config;
pub mod diff;
mod json;
pub mod log;
pub mod process;
pub mod route;
mod run;
mod suggest;
pub mod verdict;

pub use run::run;
