//! The engine of Nuthatch: bytes in, bytes out.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod ring;
