//! The cache: a pool of connections to one address.
//!
//! The rule: every call ends within [`PATIENCE`], whatever the server does, and a connection that
//! was left in the middle of an answer is never used again.

use std::fmt;
use std::time::Duration;

use deadpool::managed::{self, Metrics, Pool, PoolError, RecycleError, RecycleResult};
use tokio::time::timeout;

use crate::connection::{Connection, Failure};
use crate::settings::Server;

/// As long as the cache may take for one call, connecting included. It is longer than a proxy in
/// between waits for its servers, so that the proxy can say what is wrong with them.
pub const PATIENCE: Duration = Duration::from_secs(4);

/// A memcached or a Redis, or what speaks like one. Clones share their connections.
#[derive(Clone)]
pub struct Cache {
    pool: Pool<Connector>,
}

impl Cache {
    /// Connects when it is first asked for something.
    pub fn new(server: Server) -> Self {
        let pool = Pool::builder(Connector { server }).max_size(CONNECTIONS_MAX).build();
        Self { pool: pool.expect("a pool without timeouts of its own needs nothing else") }
    }

    /// The value of a key, `None` if there is none.
    ///
    /// # Errors
    /// When the cache can't be reached, fails, or has something else than text.
    pub async fn get(&self, key: &Key<'_>) -> Result<Option<String>, CacheError> {
        let bytes = self.call(async |connection| connection.get(key.0).await).await?;
        bytes.map(String::from_utf8).transpose().map_err(|_| CacheError::NotText)
    }

    /// Keeps a value, for as long as the cache has room for it.
    ///
    /// # Errors
    /// When the cache can't be reached, fails, or finds the value too large.
    pub async fn set(&self, key: &Key<'_>, value: &str) -> Result<(), CacheError> {
        self.call(async |connection| connection.set(key.0, value).await).await
    }

    /// Does `work` on a connection of the pool. When time is up the work is dropped, and the
    /// connection is not used again: the answer might come after all.
    async fn call<T>(
        &self,
        work: impl AsyncFnOnce(&mut Connection) -> Result<T, Failure>,
    ) -> Result<T, CacheError> {
        let call = async {
            let mut connection = self.pool.get().await?;
            Ok(work(&mut connection).await?)
        };
        let why = match timeout(PATIENCE, call).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(PoolError::Backend(Failure::TooLarge))) => return Err(CacheError::TooLarge),
            Ok(Err(PoolError::Backend(Failure::Other(why)))) => why,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {PATIENCE:?}"),
        };
        let error = CacheError::Unavailable(self.pool.manager().server.clone(), why);
        eprintln!("cache-api: {error}");
        Err(error)
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Connector { server } = self.pool.manager();
        f.debug_struct("Cache").field("server", server).finish_non_exhaustive()
    }
}

/// Connections at one time; whoever comes when all are busy waits, within [`PATIENCE`].
const CONNECTIONS_MAX: usize = 16;

/// Opens connections for the pool, and says which may be used again.
#[derive(Debug)]
struct Connector {
    server: Server,
}

impl managed::Manager for Connector {
    type Type = Connection;
    type Error = Failure;

    async fn create(&self) -> Result<Connection, Failure> {
        Connection::open(&self.server).await
    }

    /// Asks a connection that was idle for a sign of life, as the server may have been restarted.
    async fn recycle(
        &self,
        connection: &mut Connection,
        metrics: &Metrics,
    ) -> RecycleResult<Failure> {
        if connection.is_broken() {
            return Err(RecycleError::message("its last answer did not come"));
        }
        if metrics.last_used() > IDLE {
            connection.ping().await?;
        }
        Ok(())
    }
}

/// How long a connection may be unused before it is asked whether it still lives.
const IDLE: Duration = Duration::from_secs(1);

/// A key that memcached takes, and so does Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key<'a>(&'a str);

impl<'a> Key<'a> {
    /// Takes 1 to 250 bytes (protocol.txt, "Keys") without blanks and control characters: what
    /// follows a line end in a key would be a command.
    ///
    /// # Errors
    /// When `text` is not such a key.
    pub fn parse(text: &'a str) -> Result<Self, KeyError> {
        if text.is_empty() || text.len() > KEY_MAX {
            return Err(KeyError::Length(text.len()));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(KeyError::Character);
        }
        Ok(Self(text))
    }
}

const KEY_MAX: usize = 250;

/// Why a key is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyError {
    /// It has so many bytes.
    Length(usize),
    /// It has a character that is no visible one of ASCII.
    Character,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(len) => write!(f, "a key has 1 to {KEY_MAX} bytes, not {len}"),
            Self::Character => write!(f, "a key has visible ASCII characters only, no blanks"),
        }
    }
}

/// Why the cache has not done what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheError {
    /// The value is beyond what the server takes.
    TooLarge,
    /// The value is no text, so somebody else has stored it.
    NotText,
    /// The server can't be reached, or says that it can't.
    Unavailable(Server, String),
}

impl fmt::Display for CacheError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => write!(f, "the value is too large for the cache"),
            Self::NotText => write!(f, "the value of this key is not text"),
            Self::Unavailable(server, why) => write!(f, "the cache at {server}: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_what_memcached_takes() {
        let longest = "k".repeat(250);
        for text in ["k", "user:42", "!~", &longest] {
            assert_eq!(Key::parse(text), Ok(Key(text)));
        }
        let too_long = "k".repeat(251);
        for (text, error) in [
            ("", KeyError::Length(0)),
            (&too_long, KeyError::Length(251)),
            ("two words", KeyError::Character),
            ("line\r\nflush_all", KeyError::Character),
            ("nul\0", KeyError::Character),
            ("del\x7f", KeyError::Character),
            ("schlüssel", KeyError::Character),
        ] {
            assert_eq!(Key::parse(text), Err(error), "{text:?}");
        }
    }
}
