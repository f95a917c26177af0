//! What is Redis' own in the fuzzing: what clients send, and how answers are compared.
//!
//! The rule: nothing here speaks with anybody.

pub(super) mod compare;
pub(super) mod frame;
mod grammar;
pub(super) mod request;
