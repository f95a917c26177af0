//! One connection to the cache, which speaks memcached or Redis.
//!
//! The rule: what differs between the two is here and nowhere else.

use std::fmt;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Cmd, ConnectionAddr, FromRedisValue, IntoConnectionInfo,
    RedisConnectionInfo, RedisError,
};

use crate::memcached::Memcached;
use crate::settings::{Address, Password, Server};

/// A connection that is open, or was.
pub(crate) enum Connection {
    /// To a memcached.
    Memcached(Memcached),
    /// To a Redis.
    Redis(Redis),
}

impl Connection {
    /// Connects, and logs in if there is a password.
    pub(crate) async fn open(server: &Server) -> Result<Self, Failure> {
        match server {
            Server::Memcached(address) => Ok(Self::Memcached(Memcached::open(address).await?)),
            Server::Redis(address, password) => {
                Ok(Self::Redis(Redis::open(address, password.as_ref()).await?))
            }
        }
    }

    /// The value of a key, `None` if there is none.
    pub(crate) async fn get(&mut self, key: &str) -> Result<Option<Vec<u8>>, Failure> {
        match self {
            Self::Memcached(client) => client.get(key).await,
            Self::Redis(redis) => redis.call(&Cmd::get(key)).await,
        }
    }

    /// Keeps a value, for as long as the cache has room for it.
    pub(crate) async fn set(&mut self, key: &str, value: &str) -> Result<(), Failure> {
        match self {
            Self::Memcached(client) => client.set(key, value).await,
            Self::Redis(redis) => redis.call(&Cmd::set(key, value)).await,
        }
    }

    /// Asks for a sign of life.
    pub(crate) async fn ping(&mut self) -> Result<(), Failure> {
        match self {
            Self::Memcached(client) => client.version().await,
            Self::Redis(redis) => redis.call(&Cmd::ping()).await,
        }
    }

    /// Whether an answer did not come, so that it may come instead of the next one.
    pub(crate) fn is_broken(&self) -> bool {
        match self {
            Self::Memcached(client) => client.is_broken(),
            Self::Redis(redis) => redis.is_broken,
        }
    }
}

/// A connection to a Redis.
pub(crate) struct Redis {
    client: MultiplexedConnection,
    is_broken: bool,
}

impl Redis {
    async fn open(address: &Address, password: Option<&Password>) -> Result<Self, RedisError> {
        let address = match address {
            Address::Tcp(host, port) => ConnectionAddr::Tcp(host.clone(), *port),
            Address::Unix(path) => ConnectionAddr::Unix(path.into()),
        };
        let login = RedisConnectionInfo::default();
        let login = match password {
            Some(password) => login.set_password(password.reveal()),
            None => login,
        };
        let server = address.into_connection_info()?.set_redis_settings(login);
        // The pool has a limit for the whole call (`cache.rs`), so the client needs none.
        let no_limits =
            AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let client = redis::Client::open(server)?
            .get_multiplexed_async_connection_with_config(&no_limits)
            .await?;
        Ok(Self { client, is_broken: false })
    }

    /// One command. If it is given up, or its answer does not come, the connection stays broken.
    async fn call<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, Failure> {
        self.is_broken = true;
        let answer = command.query_async(&mut self.client).await;
        self.is_broken = answer.as_ref().is_err_and(is_last);
        Ok(answer?)
    }
}

/// Whether no answer follows this one: Redis closes a connection after an error of the protocol.
fn is_last(error: &RedisError) -> bool {
    let words = error.detail().unwrap_or_default();
    error.is_unrecoverable_error() || words.starts_with("Protocol error")
}

/// Why a connection has not done what it was asked for.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The value is beyond what the server takes.
    TooLarge,
    /// Anything else: in the words of the server, if it is the server who says so.
    Other(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => write!(f, "the value is too large"),
            Self::Other(why) => write!(f, "{why}"),
        }
    }
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        match error.detail() {
            Some(REDIS_TOO_LARGE) => Self::TooLarge,
            _ => Self::Other(error.to_string()),
        }
    }
}

/// Redis's words for a value beyond its `proto-max-bulk-len`.
const REDIS_TOO_LARGE: &str = "Protocol error: invalid bulk length";
