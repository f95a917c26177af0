//! The memcached side: a pool of connections to one address.
//!
//! The rule: every call ends within [`PATIENCE`], whatever the server does, and a connection that
//! was left in the middle of an answer is never used again.

use std::fmt;
use std::time::Duration;

use async_memcached::{AsciiProtocol, Client, Error, ErrorKind, Status};
use deadpool::managed::{self, Metrics, Pool, PoolError, RecycleError, RecycleResult};
use tokio::time::timeout;

use crate::settings::Address;

/// As long as the cache may take for one call, connecting included. It is longer than a proxy in
/// between waits for its servers, so that the proxy can say what is wrong with them.
pub const PATIENCE: Duration = Duration::from_secs(4);

/// A memcached, or what speaks like one. Clones share their connections.
#[derive(Clone)]
pub struct Cache {
    pool: Pool<Connector>,
}

impl Cache {
    /// Connects when it is first asked for something.
    pub fn new(address: Address) -> Self {
        let pool = Pool::builder(Connector { address }).max_size(CONNECTIONS_MAX).build();
        Self { pool: pool.expect("a pool without timeouts of its own needs nothing else") }
    }

    /// The value of a key, `None` if there is none.
    ///
    /// # Errors
    /// When the cache can't be reached, fails, or has something else than text.
    pub async fn get(&self, key: &Key<'_>) -> Result<Option<String>, CacheError> {
        let value = self.call(async |client| client.get(key.0).await).await?;
        let bytes = value.and_then(|value| value.data);
        bytes.map(String::from_utf8).transpose().map_err(|_| CacheError::NotText)
    }

    /// Keeps a value, for as long as the cache has room for it.
    ///
    /// # Errors
    /// When the cache can't be reached, fails, or finds the value too large.
    pub async fn set(&self, key: &Key<'_>, value: &str) -> Result<(), CacheError> {
        self.call(async |client| client.set(key.0, value, None, None).await).await
    }

    /// Does `work` on a connection of the pool. When time is up the work is dropped, and the client
    /// closes its connection: the answer might come after all.
    async fn call<T>(
        &self,
        work: impl AsyncFnOnce(&mut Client) -> Result<T, Error>,
    ) -> Result<T, CacheError> {
        let call = async {
            let mut client = self.pool.get().await?;
            Ok(work(&mut client).await?)
        };
        let failure = match timeout(PATIENCE, call).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => reason(error),
            Err(_) => format!("no answer within {PATIENCE:?}"),
        };
        if failure == TOO_LARGE {
            return Err(CacheError::TooLarge);
        }
        let error = CacheError::Unavailable(self.pool.manager().address.clone(), failure);
        eprintln!("cache-api: {error}");
        Err(error)
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Connector { address } = self.pool.manager();
        f.debug_struct("Cache").field("address", address).finish_non_exhaustive()
    }
}

/// What went wrong: in the words of the server, if it is the server who says so.
fn reason(error: PoolError<Error>) -> String {
    match error {
        PoolError::Backend(Error::Protocol(Status::Error(ErrorKind::Server(words)))) => words,
        PoolError::Backend(error) => error.to_string(),
        error => error.to_string(),
    }
}

/// memcached's words for a value beyond its `-I`.
const TOO_LARGE: &str = "object too large for cache";

/// Connections at one time; whoever comes when all are busy waits, within [`PATIENCE`].
const CONNECTIONS_MAX: usize = 16;

/// Opens connections for the pool, and says which may be used again.
#[derive(Debug)]
struct Connector {
    address: Address,
}

impl managed::Manager for Connector {
    type Type = Client;
    type Error = Error;

    async fn create(&self) -> Result<Client, Error> {
        Client::new(self.address.url()).await
    }

    /// Asks a connection that was idle for a sign of life, as the server may have been restarted.
    async fn recycle(&self, client: &mut Client, metrics: &Metrics) -> RecycleResult<Error> {
        if client.is_closed() {
            return Err(RecycleError::message("its last answer did not come"));
        }
        if metrics.last_used() > IDLE {
            client.version().await?;
        }
        Ok(())
    }
}

/// How long a connection may be unused before it is asked whether it still lives.
const IDLE: Duration = Duration::from_secs(1);

/// A key that memcached takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key<'a>(&'a str);

impl<'a> Key<'a> {
    /// Takes 1 to 250 bytes (protocol.txt, "Keys") without blanks and control characters: what
    /// follows a line end in a key would be a command. The client library reads ASCII keys only.
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
    Unavailable(Address, String),
}

impl fmt::Display for CacheError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => write!(f, "the value is too large for the cache"),
            Self::NotText => write!(f, "the value of this key is not text"),
            Self::Unavailable(address, why) => write!(f, "the cache at {address}: {why}"),
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
