//! The environment variables of both programs.
//!
//! The rule: an empty variable is an unset one, and all that is wrong is told at once, each with
//! what would be right.

use std::env;
use std::error::Error;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use ureq::http::Uri;

use crate::listener::Listen;

/// What `cache-api` can be told.
#[derive(Debug, PartialEq, Eq)]
pub struct ApiSettings {
    /// `CACHE`, and then `MEMCACHED_HOST` and `MEMCACHED_PORT`, or `REDIS_HOST`, `REDIS_PORT` and
    /// `REDIS_PASSWORD`: the one server that this program knows.
    pub cache: Server,
    /// `LISTEN`: where clients connect.
    pub listen: Listen,
}

impl ApiSettings {
    /// Reads the variables, as from [`variable`].
    ///
    /// # Errors
    /// When any of them is not what it must be.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, Faults> {
        let mut reader = Reader { variable, faults: Vec::new() };
        let kind = reader.value("CACHE", Kind::Memcached, kind, "memcached or redis");
        let cache = match kind {
            Kind::Memcached => {
                Server::Memcached(reader.address("MEMCACHED_HOST", "MEMCACHED_PORT", 11211))
            }
            Kind::Redis => {
                let address = reader.address("REDIS_HOST", "REDIS_PORT", 6379);
                Server::Redis(address, reader.password("REDIS_PASSWORD"))
            }
        };
        let wanted = "an IP address or *, and a port";
        let listen = reader.value("LISTEN", Listen::Everywhere(8000), Listen::parse, wanted);
        reader.end(Self { cache, listen })
    }
}

/// What `cache-load` can be told.
#[derive(Debug, PartialEq, Eq)]
pub struct LoadSettings {
    /// `JOB_COMPLETION_INDEX`: which part of the load this is, from 0. Kubernetes sets it.
    pub job_index: usize,
    /// `BATCH_SIZE`: keys of one part.
    pub batch_size: usize,
    /// `API_URL`, without a slash at its end.
    pub api_url: String,
    /// `PARALLEL`: requests at one time.
    pub parallel: usize,
    /// `WAIT_SECONDS`: how long an API that refuses connections may still be about to start.
    pub wait: Duration,
}

impl LoadSettings {
    /// Reads the variables, as from [`variable`].
    ///
    /// # Errors
    /// When any of them is not what it must be.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, Faults> {
        let mut reader = Reader { variable, faults: Vec::new() };
        let local = "http://localhost:8000".to_owned();
        let settings = Self {
            job_index: reader.number("JOB_COMPLETION_INDEX", 0, 0..=1_000_000),
            batch_size: reader.number("BATCH_SIZE", 100, 1..=1_000_000),
            api_url: reader.value("API_URL", local, api_url, "http://HOST:PORT"),
            parallel: reader.number("PARALLEL", 10, 1..=256),
            wait: Duration::from_secs(reader.number("WAIT_SECONDS", 30, 0..=3600)),
        };
        reader.end(settings)
    }
}

/// A variable of this process.
pub fn variable(name: &str) -> Option<String> {
    env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// The one server that `cache-api` knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Server {
    /// A memcached.
    Memcached(Address),
    /// A Redis, and its password if it has one.
    Redis(Address, Option<Password>),
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memcached(address) | Self::Redis(address, _) => write!(f, "{address}"),
        }
    }
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A host and its port.
    Tcp(String, u16),
    /// The path of a unix socket.
    Unix(String),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{path}"),
        }
    }
}

/// A password, which no message shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// The password itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Password(...)")
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Memcached,
    Redis,
}

fn kind(text: &str) -> Option<Kind> {
    match text {
        "memcached" => Some(Kind::Memcached),
        "redis" => Some(Kind::Redis),
        _ => None,
    }
}

/// A path, or a name without the port that has a variable of its own.
fn host(text: &str) -> Option<String> {
    let is_name = || text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    (text.starts_with('/') || is_name()).then(|| text.to_owned())
}

fn api_url(text: &str) -> Option<String> {
    let url: Uri = text.parse().ok()?;
    let is_api = url.scheme_str() == Some("http") && url.query().is_none();
    is_api.then(|| text.trim_end_matches('/').to_owned())
}

struct Reader<F> {
    variable: F,
    faults: Vec<String>,
}

impl<F: Fn(&str) -> Option<String>> Reader<F> {
    fn value<T>(
        &mut self,
        name: &str,
        default: T,
        parse: impl FnOnce(&str) -> Option<T>,
        wanted: &str,
    ) -> T {
        let Some(text) = (self.variable)(name).filter(|text| !text.is_empty()) else {
            return default;
        };
        parse(&text).unwrap_or_else(|| {
            self.faults.push(format!("{name}={text:?} must be {wanted}"));
            default
        })
    }

    fn number<T>(&mut self, name: &str, default: T, allowed: RangeInclusive<T>) -> T
    where
        T: FromStr + PartialOrd + fmt::Display,
    {
        let wanted = format!("a number from {} to {}", allowed.start(), allowed.end());
        let parse = |text: &str| text.parse().ok().filter(|number| allowed.contains(number));
        self.value(name, default, parse, &wanted)
    }

    fn address(&mut self, host_name: &str, port_name: &str, port: u16) -> Address {
        let wanted = "a host name or the /path of a socket";
        let host = self.value(host_name, "localhost".to_owned(), host, wanted);
        let port = self.number(port_name, port, 1..=u16::MAX);
        if host.starts_with('/') { Address::Unix(host) } else { Address::Tcp(host, port) }
    }

    /// A line end at its end, as files have it, is no part of a password.
    fn password(&mut self, name: &str) -> Option<Password> {
        let parse =
            |text: &str| Some(Some(Password(text.strip_suffix('\n').unwrap_or(text).to_owned())));
        self.value(name, None, parse, "a password")
    }

    fn end<T>(self, settings: T) -> Result<T, Faults> {
        if self.faults.is_empty() { Ok(settings) } else { Err(Faults(self.faults)) }
    }
}

/// Everything that is wrong with the environment, a sentence for each variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults(pub Vec<String>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.join("; "))
    }
}

impl Error for Faults {}

#[cfg(test)]
mod tests {
    use super::*;

    fn of<'a>(pairs: &'a [(&str, &str)]) -> impl Fn(&str) -> Option<String> + 'a {
        |name| {
            let pair = pairs.iter().find(|pair| pair.0 == name);
            pair.map(|(_, value)| (*value).to_owned())
        }
    }

    #[test]
    fn what_is_not_set_or_empty_has_its_default() {
        let api = ApiSettings {
            cache: Server::Memcached(Address::Tcp("localhost".into(), 11211)),
            listen: Listen::Everywhere(8000),
        };
        let empty = [("CACHE", ""), ("MEMCACHED_HOST", ""), ("LISTEN", "")];
        assert_eq!(ApiSettings::read(of(&empty)), Ok(api));
        let redis = Server::Redis(Address::Tcp("localhost".into(), 6379), None);
        let settings = ApiSettings::read(of(&[("CACHE", "redis"), ("REDIS_PASSWORD", "")]));
        assert_eq!(settings.unwrap().cache, redis);
        let load = LoadSettings {
            job_index: 0,
            batch_size: 100,
            api_url: "http://localhost:8000".into(),
            parallel: 10,
            wait: Duration::from_secs(30),
        };
        assert_eq!(LoadSettings::read(of(&[])), Ok(load));
    }

    #[test]
    fn a_host_that_begins_with_a_slash_is_a_socket() {
        let set = [("MEMCACHED_HOST", "/run/nuthatch/memcached.sock"), ("LISTEN", "[::1]:0")];
        let settings = ApiSettings {
            cache: Server::Memcached(Address::Unix("/run/nuthatch/memcached.sock".into())),
            listen: Listen::At("[::1]:0".parse().unwrap()),
        };
        assert_eq!(ApiSettings::read(of(&set)), Ok(settings));
    }

    #[test]
    fn the_cache_has_the_variables_of_its_kind_only() {
        let variables = [
            ("MEMCACHED_HOST", "memcached"),
            ("MEMCACHED_PORT", "x"),
            ("REDIS_HOST", "redis"),
            ("REDIS_PORT", "6380"),
            ("REDIS_PASSWORD", "p w\n"),
            ("CACHE", "redis"),
        ];
        let password = Password("p w".into());
        let redis = Server::Redis(Address::Tcp("redis".into(), 6380), Some(password));
        assert_eq!(ApiSettings::read(of(&variables)).unwrap().cache, redis);
        assert_eq!(
            ApiSettings::read(of(&variables[..5])).unwrap_err().0,
            [r#"MEMCACHED_PORT="x" must be a number from 1 to 65535"#],
        );
    }

    #[test]
    fn a_password_is_not_shown() {
        let variables = [("CACHE", "redis"), ("REDIS_PASSWORD", "secret")];
        let settings = ApiSettings::read(of(&variables)).unwrap();
        assert!(!format!("{settings:?} {}", settings.cache).contains("secret"));
    }

    #[test]
    fn all_faults_are_told_at_once_with_what_would_be_right() {
        let api = [("MEMCACHED_HOST", "cache:11211"), ("MEMCACHED_PORT", "0"), ("LISTEN", "8000")];
        let faults = [
            r#"MEMCACHED_HOST="cache:11211" must be a host name or the /path of a socket"#,
            r#"MEMCACHED_PORT="0" must be a number from 1 to 65535"#,
            r#"LISTEN="8000" must be an IP address or *, and a port"#,
        ];
        assert_eq!(ApiSettings::read(of(&api)).unwrap_err().0, faults);
        let kind = ApiSettings::read(of(&[("CACHE", "Redis")])).unwrap_err();
        assert_eq!(kind.0, [r#"CACHE="Redis" must be memcached or redis"#]);
        let load = [
            ("JOB_COMPLETION_INDEX", "-1"),
            ("BATCH_SIZE", "many"),
            ("API_URL", "https://cache-api"),
            ("PARALLEL", "257"),
            ("WAIT_SECONDS", "1.5"),
        ];
        let faults = [
            r#"JOB_COMPLETION_INDEX="-1" must be a number from 0 to 1000000"#,
            r#"BATCH_SIZE="many" must be a number from 1 to 1000000"#,
            r#"API_URL="https://cache-api" must be http://HOST:PORT"#,
            r#"PARALLEL="257" must be a number from 1 to 256"#,
            r#"WAIT_SECONDS="1.5" must be a number from 0 to 3600"#,
        ];
        assert_eq!(LoadSettings::read(of(&load)).unwrap_err().0, faults);
    }
}
