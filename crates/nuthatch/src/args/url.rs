//! The URLs that `nuthatch ping` takes.
//!
//! The one rule: what a URL shows has no password.

use crate::config::{self, EVERY_HOST, Listen, Secret};
use percent_encoding::percent_decode_str;
use std::fmt;

/// What to ask, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    what: What,
    host: String,
    port: u16,
}

/// What to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    Memcached,
    Redis { user: Option<Vec<u8>>, password: Option<Secret> },
    Http { path: String },
}

impl Url {
    /// Reads `memcached://HOST:PORT`, `redis://[USER:PASSWORD@]HOST:PORT` or `http://HOST:PORT/PATH`.
    ///
    /// # Errors
    /// What is wrong and what would be right, without the text, which may have a password.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").ok_or(FORM)?;
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let (login, address) = match authority.rsplit_once('@') {
            Some((login, address)) => (Some(login), address),
            None => (None, authority),
        };
        let what = match (scheme, login) {
            ("memcached", None) => What::Memcached,
            ("redis", None) => What::Redis { user: None, password: None },
            ("redis", Some(login)) => login_of(login)?,
            ("http", None) => http(path)?,
            ("memcached" | "http", Some(_)) => {
                return Err(format!("a user and a password are only for redis://; {FORM}"));
            }
            _ => return Err(FORM.into()),
        };
        if !matches!(what, What::Http { .. }) && !path.is_empty() && path != "/" {
            return Err(format!("a path is only for http://; {FORM}"));
        }
        match config::parse_listen(address) {
            Some(Listen::Tcp { host, port }) if port > 0 && host != EVERY_HOST => {
                Ok(Self { what, host, port })
            }
            _ => Err(format!("a URL requires a host and a port; {FORM}")),
        }
    }

    /// The page `/ready` of an admin port; `None` if the system chooses its port.
    #[must_use]
    pub fn of_admin(listen: &Listen) -> Option<Self> {
        match listen {
            Listen::Tcp { host, port } if *port > 0 => {
                let what = What::Http { path: "/ready".into() };
                Some(Self { what, host: host.clone(), port: *port })
            }
            _ => None,
        }
    }

    /// Whether it is a Redis.
    #[must_use]
    pub fn is_redis(&self) -> bool {
        matches!(self.what, What::Redis { .. })
    }

    pub(crate) fn what(&self) -> &What {
        &self.what
    }

    /// The hosts to try: where all addresses are listened on, this machine by itself, because a small
    /// image has no name for that.
    pub(crate) fn hosts(&self) -> Vec<&str> {
        match &*self.host {
            EVERY_HOST | "::" => vec!["127.0.0.1", "::1"],
            host => vec![host],
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The host and the port, as a request names them.
    pub(crate) fn authority(&self) -> String {
        let host = if self.host == EVERY_HOST { "localhost" } else { &self.host };
        let (left, right) = if host.contains(':') { ("[", "]") } else { ("", "") };
        format!("{left}{host}{right}:{}", self.port)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authority = self.authority();
        match &self.what {
            What::Memcached => write!(out, "memcached://{authority}"),
            What::Redis { .. } => write!(out, "redis://{authority}"),
            What::Http { path } => write!(out, "http://{authority}{path}"),
        }
    }
}

/// `USER:PASSWORD`, `:PASSWORD` or `USER`, each with `%xx` for special bytes.
fn login_of(login: &str) -> Result<What, String> {
    let (user, password) = match login.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (login, None),
    };
    let bytes = |text: &str| percent_decode_str(text).collect::<Vec<u8>>();
    let empty = || format!("the password is empty; {FORM}");
    let password = password.map(|text| Secret::new(&bytes(text)).ok_or_else(empty)).transpose()?;
    let user = Some(bytes(user)).filter(|user| !user.is_empty());
    Ok(What::Redis { user, password })
}

fn http(path: &str) -> Result<What, String> {
    if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("a path has only visible ASCII characters; write others as %xx".into());
    }
    // What is behind # is not for the server.
    let path = path.split('#').next().unwrap_or_default();
    Ok(What::Http { path: if path.is_empty() { "/".into() } else { path.into() } })
}

const FORM: &str = "write memcached://HOST:PORT, redis://[USER:PASSWORD@]HOST:PORT or \
                    http://HOST:PORT/PATH, such as http://127.0.0.1:9600/ready";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_its_password() {
        for (text, shown) in [
            ("memcached://cache-1:11211", "memcached://cache-1:11211"),
            ("memcached://[::1]:1/", "memcached://[::1]:1"),
            ("redis://10.0.0.1:6379", "redis://10.0.0.1:6379"),
            ("redis://me:s%3Acret@h:1", "redis://h:1"),
            ("redis://:a@b@h:1", "redis://h:1"),
            ("http://h:9600", "http://h:9600/"),
            ("http://h:9600/ready#x", "http://h:9600/ready"),
            ("http://h:9600/route?key=k", "http://h:9600/route?key=k"),
        ] {
            let url = Url::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(url.to_string(), shown);
            assert!(!format!("{url:?}").contains("cret"), "{url:?}");
        }
    }

    #[test]
    fn a_login_may_have_any_bytes() {
        let login = |text: &str| match Url::parse(text).unwrap().what {
            What::Redis { user, password } => (user, password.map(|it| it.expose().to_vec())),
            other => panic!("{other:?}"),
        };
        let some = |text: &str| Some(text.as_bytes().to_vec());
        assert_eq!(login("redis://h:1"), (None, None));
        assert_eq!(login("redis://me@h:1"), (some("me"), None));
        assert_eq!(login("redis://:p:w@h:1"), (None, some("p:w")));
        assert_eq!(login("redis://m%65:%ff%00@h:1"), (some("me"), Some(vec![0xff, 0])));
    }

    #[test]
    fn what_is_no_url_is_refused_without_being_shown() {
        for (text, why) in [
            ("cache-1:11211", "write memcached://HOST:PORT"),
            ("https://h:1/", "write memcached://HOST:PORT"),
            ("redis://:secret@h", "a URL requires a host and a port"),
            ("redis://:secret@h:0", "a URL requires a host and a port"),
            ("redis://:@h:1", "the password is empty"),
            ("memcached://*:1", "a URL requires a host and a port"),
            ("memcached://", "a URL requires a host and a port"),
            ("memcached://a:1/x", "a path is only for http://"),
            ("http://me:secret@h:1/", "a user and a password are only for redis://"),
            ("http://h:1/a b", "a path has only visible ASCII characters"),
            ("http://h:1/\r\nX: y", "a path has only visible ASCII characters"),
        ] {
            let told = Url::parse(text).unwrap_err();
            assert!(told.starts_with(why) && !told.contains("secret"), "{text}: {told}");
        }
    }

    #[test]
    fn all_addresses_are_asked_at_this_machine() {
        let of = |host: &str| {
            let url = Url::of_admin(&Listen::Tcp { host: host.into(), port: 9600 }).unwrap();
            (url.to_string(), url.hosts().join(" "))
        };
        let both = "127.0.0.1 ::1".to_owned();
        assert_eq!(of("*"), ("http://localhost:9600/ready".into(), both.clone()));
        assert_eq!(of("::"), ("http://[::]:9600/ready".into(), both));
        assert_eq!(of("10.0.0.1"), ("http://10.0.0.1:9600/ready".into(), "10.0.0.1".into()));
        assert!(Url::of_admin(&Listen::Tcp { host: "*".into(), port: 0 }).is_none());
    }
}
