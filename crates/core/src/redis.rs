//! The protocol of Redis and Valkey. The commands are data, in [`command`].

pub mod command;
