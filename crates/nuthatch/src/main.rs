//! The `nuthatch` command.
fn main() {}
