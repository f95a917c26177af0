//! Tests of the engine through its public interface, one module per subject.

mod ring;
mod vectors;
