//! What a Redis pool is told about its servers and clients.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

/// The settings of a Redis pool, each with a directive.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// The user for `AUTH` to the servers; none for the default user.
    pub user: Option<Box<[u8]>>,
    /// The password for the servers, which clients have to give as well; none if there is none.
    pub password: Option<Box<[u8]>>,
    /// The database of the pool.
    pub db: u32,
    /// Whether a command with keys of different servers goes to the first key's server, as with
    /// twemproxy, instead of being refused.
    pub first_key: bool,
    /// Whether `KEYS` is carried out.
    pub allow_keys: bool,
    /// Connections for one client alone, at most.
    pub dedicated_max: usize,
    /// Commands of the servers' modules.
    pub modules: Vec<ModuleCommand>,
}

/// A command of a module: where its keys are, as `COMMAND INFO` tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleCommand {
    /// Its name in lower case.
    pub name: Box<[u8]>,
    /// The first argument that is a key; 0 for none.
    pub first: u16,
    /// The last; counted from the end if it is negative.
    pub last: i16,
    /// From a key to the next.
    pub step: u16,
}

/// Without the password.
impl fmt::Debug for Settings {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Settings")
            .field("user", &self.user)
            .field("has_password", &self.password.is_some())
            .field("db", &self.db)
            .field("first_key", &self.first_key)
            .field("allow_keys", &self.allow_keys)
            .field("dedicated_max", &self.dedicated_max)
            .field("modules", &self.modules)
            .finish()
    }
}
