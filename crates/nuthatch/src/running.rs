//! The configuration of a running proxy, asked of its admin port.
//!
//! The one rule: what comes is a configuration like any other: it goes through the same checks.

use crate::config::{Config, ConfigErrors};
use serde_json::{Map, Value};
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

/// How long the proxy may take to accept, and for each part of its answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Maximum bytes of an answer: a configuration of many thousand servers is smaller.
const ANSWER_MAX: u64 = 64 << 20;

/// The admin port that a text names in place of a file, such as `http://127.0.0.1:9600`.
#[must_use]
pub fn admin_port(path: &Path) -> Option<&str> {
    path.to_str()?.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'))
}

/// The active configuration of the proxy with the admin port `address`; passwords are not among it.
///
/// # Errors
/// When the proxy does not answer, or its configuration is not one for this version.
pub fn load(path: &Path, address: &str) -> io::Result<Result<Config, ConfigErrors>> {
    // Not with the kind of the error: a broken pipe there is not one of our output.
    let page = ask(address).map_err(|error| {
        io::Error::other(format!("{}: the admin port does not answer: {error}", path.display()))
    })?;
    let pools = pools(&page).ok_or_else(|| {
        io::Error::other(format!("{}: this is not the admin port of a Nuthatch", path.display()))
    })?;
    // JSON is YAML.
    Ok(Config::parse(path, pools.to_string().as_bytes()))
}

/// The body of `/config`.
fn ask(address: &str) -> io::Result<Vec<u8>> {
    let mut refused = io::Error::other("the name has no address");
    for place in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&place, PATIENCE) {
            Ok(stream) => return exchange(stream, address),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

fn exchange(mut stream: TcpStream, address: &str) -> io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "GET /config HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut answer)?;
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n");
    match head {
        Some(end) if answer.starts_with(b"HTTP/1.") => Ok(answer.split_off(end + 4)),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// The pools of the page, each with what a file could say of it.
fn pools(page: &[u8]) -> Option<Value> {
    let mut page: Value = serde_json::from_slice(page).ok()?;
    let pools = page.get_mut("pools")?.as_object_mut()?;
    for pool in pools.values_mut() {
        let of_file = pool.as_object()?.iter().filter(|(name, value)| {
            let is_of_file = !NOT_OF_A_FILE.contains(&name.as_str());
            is_of_file && !value.is_null() && value.as_array().is_none_or(|all| !all.is_empty())
        });
        *pool = Value::Object(
            of_file.map(|(name, value)| (name.clone(), value.clone())).collect::<Map<_, _>>(),
        );
    }
    Some(page["pools"].take())
}

/// What the page says besides directives, and what is not compared: passwords are not shown, and their
/// files are on another machine perhaps.
const NOT_OF_A_FILE: [&str; 4] = ["ring_hash", "redis_auth", "redis_auth_file", "redis_user"];
