//! Nuthatch, the proxy: sockets, clock and configuration around the engine in `nuthatch-core`.
//!
//! The start is `main.rs`: the command line ([`args`]) becomes a command, the configuration
//! ([`config`]) is read and checked, and [`run`] serves it. [`route`] and [`diff`] analyse a
//! configuration without serving it, and [`ping`] asks a running server; `demo`, if the program is built with it, runs the proxy with
//! test servers.

mod addresses;
pub mod admin;
pub mod args;
mod attempt;
mod bind;
pub mod bind_check;
mod changes;
mod client;
pub mod config;
mod config_watch;
mod control;
#[cfg(feature = "demo")]
pub mod demo;
pub mod diff;
pub mod discover;
mod drain;
mod engine;
pub mod escape;
mod figures;
mod generation;
mod health;
mod inbox;
mod linger;
mod listener;
pub mod log;
pub mod own_files;
mod patience;
mod pid_file;
pub mod ping;
mod poll;
mod portion;
pub mod preflight;
pub mod process;
mod proxy;
pub mod question;
mod redis_question;
mod reload;
pub mod resolve;
pub mod route;
mod run;
pub mod running;
mod server;
mod slow;
mod sockets;
mod stats_port;
mod suggest;
pub mod systemd;
mod takeover;
mod usage;
mod usages;
pub mod verdict;
mod watch;
mod worker;

pub use proxy::Proxy;
pub use run::run;
