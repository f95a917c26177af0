//! Tests of the engine through its public interface, one module per subject.

mod figures;
mod fleet;
mod mux;
mod net;
mod property;
mod redis;
mod redis_commands;
mod ring;
mod sim;
mod split;
mod tidy;
mod vectors;
