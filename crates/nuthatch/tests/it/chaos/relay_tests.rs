//! Each fault of the relay does what it says.
