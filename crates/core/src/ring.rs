//! Which server has this key.
