//! The addresses of the configuration: what a pool listens on, and its servers.
//!
//! The one rule: an address is parsed from its end, as in twemproxy (`conf_set_listen`,
//! `conf_add_server`), so that a host may contain colons; brackets around an IPv6 address are
//! removed and have no effect, not even on the name on the ring.

use std::net::Ipv6Addr;
use std::path::PathBuf;

use super::value::{Fault, digits};
use super::{Address, Listen, Server};

/// Reads `host:port`, or `/path` with octal permissions after a space.
pub(super) fn listen(text: &str) -> Result<Listen, Fault> {
    if text.starts_with('/') {
        return listen_unix(text);
    }
    let form = "has an invalid \"hostname:port\" format string";
    let (host, port) = host_port(text).ok_or_else(|| Fault::new(form, LISTEN_FORM))?;
    let port = digits(port).and_then(|port| u16::try_from(port).ok()).ok_or_else(|| {
        let wrong = "has an invalid port in \"hostname:port\" format string";
        Fault::new(wrong, "write a port from 1 to 65535, or 0 to let the system choose")
    })?;
    Ok(Listen::Tcp { host: listen_host(host)?.into(), port })
}

/// A host to listen on, without brackets: an IP address, or a possible host name. The name is
/// resolved at the start.
pub(super) fn listen_host(text: &str) -> Result<&str, Fault> {
    let host = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let is_possible = match host {
        _ if host.len() < text.len() || host.contains(':') => is_ipv6(host),
        _ => is_name(host),
    };
    is_possible.then_some(host).ok_or_else(|| {
        let wrong = "has no IP address or host name in \"hostname:port\" format string";
        Fault::new(wrong, HOST_FORM)
    })
}

/// Whether this is a possible host name, or an IPv4 address in a form that the system accepts, such
/// as `127.1`. Numbers alone must be an address.
fn is_name(text: &str) -> bool {
    let is_label = |label: &str| {
        let is_part = |c: char| c.is_alphanumeric() || "-_".contains(c);
        !label.is_empty() && label.len() <= 63 && label.chars().all(is_part)
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_number = !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { is_ipv4(name) } else { name.len() <= 253 && name.split('.').all(is_label) }
}

/// Up to four numbers; the last number fills all remaining bytes (`inet_aton`).
fn is_ipv4(text: &str) -> bool {
    let Some(parts) = text.split('.').map(digits).collect::<Option<Vec<_>>>() else { return false };
    let Some((last, bytes)) = parts.split_last() else { return false };
    let bytes_left = 4_usize.saturating_sub(bytes.len());
    bytes_left > 0 && bytes.iter().all(|byte| *byte < 256) && *last < 1 << (8 * bytes_left)
}

fn listen_unix(text: &str) -> Result<Listen, Fault> {
    let (path, mode) = match text.rsplit_once(' ') {
        Some((path, mode)) => (path.trim_end(), permissions(mode)?),
        None => (text, None),
    };
    Ok(Listen::Unix { path: socket_path(path)?, mode })
}

/// Octal digits; 0 leaves the permissions to the umask, as it does in twemproxy.
fn permissions(text: &str) -> Result<Option<u32>, Fault> {
    let is_octal = !text.is_empty() && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| is_octal && *mode <= 0o777);
    let mode = mode.ok_or_else(|| {
        let wrong = "has an invalid file permission in \"socket_path permission\" format string";
        Fault::new(wrong, "write the permissions in octal up to 777, such as 660")
    })?;
    Ok(Some(mode).filter(|mode| *mode > 0))
}

/// Reads `host:port:weight` or `/path:weight`, with a name after a space. The index stays 0.
pub(super) fn server(text: &str) -> Result<Server, Fault> {
    let form = || {
        let wrong = "has an invalid \"hostname:port:weight [name]\"or \
                     \"/path/unix_socket:weight [name]\" format string";
        Fault::new(wrong, SERVER_FORM)
    };
    let (configured, name) = match text.rsplit_once(' ') {
        Some((configured, name)) if !name.is_empty() => (configured.trim_end(), Some(name)),
        _ => (text.trim_end(), None),
    };
    let (place, weight) = configured.rsplit_once(':').ok_or_else(form)?;
    let address = if place.starts_with('/') {
        Address::Unix(socket_path(place)?)
    } else {
        let (host, port) = host_port(place).ok_or_else(form)?;
        Address::Tcp { host: host.into(), port: server_port(port)? }
    };
    Ok(Server {
        name: name.map_or_else(|| ring_name(&address), str::to_owned),
        weight: server_weight(weight)?,
        address,
        configured: configured.into(),
        named: name.is_some(),
        index: 0,
    })
}

fn server_port(text: &str) -> Result<u16, Fault> {
    let port = digits(text).and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
    port.ok_or_else(|| {
        let wrong = "has an invalid port in \"hostname:port:weight [name]\" format string";
        Fault::new(wrong, "write a port from 1 to 65535")
    })
}

fn server_weight(text: &str) -> Result<u32, Fault> {
    match digits(text).map(u32::try_from) {
        Some(Ok(0)) => {
            let wrong = "has a zero weight in \"hostname:port:weight [name]\" format string";
            Err(Fault::new(
                wrong,
                "write a weight of at least 1, or remove the server from the list",
            ))
        }
        Some(Ok(weight)) if weight <= WEIGHT_MAX => Ok(weight),
        _ => {
            let wrong = "has an invalid weight in \"hostname:port:weight [name]\" format string";
            Err(Fault::new(wrong, format!("write a whole number from 1 to {WEIGHT_MAX}")))
        }
    }
}

/// The name of a server without a configured name (twemproxy `conf_add_server`): without the port
/// if it is 11211, as in libmemcached, and with a colon after a path.
pub(super) fn ring_name(address: &Address) -> String {
    match address {
        Address::Tcp { host, port: 11211 } => host.clone(),
        Address::Tcp { host, port } => format!("{host}:{port}"),
        Address::Unix(path) => format!("{}:", path.display()),
    }
}

/// Splits at the last colon; a host in brackets is an IPv6 address and loses them.
fn host_port(text: &str) -> Option<(&str, &str)> {
    let (host, port) = text.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(host) => host.strip_suffix(']').filter(|host| is_ipv6(host))?,
        None => host,
    };
    let is_host =
        !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || "[]/".contains(c));
    is_host.then_some((host, port))
}

/// Whether this is an IPv6 address, with or without a zone such as `%eth0`.
fn is_ipv6(text: &str) -> bool {
    text.split('%').next().is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
}

/// A path that fits into the address of a unix socket.
pub(super) fn socket_path(text: &str) -> Result<PathBuf, Fault> {
    if text.len() <= SOCKET_PATH_MAX {
        return Ok(text.into());
    }
    let right = format!("a unix socket's path has at most {SOCKET_PATH_MAX} bytes");
    Err(Fault::new("has an invalid value", right))
}

/// The maximum weight, as in twemproxy, whose numbers are signed 32 bits.
pub(super) const WEIGHT_MAX: u32 = i32::MAX as u32;

/// `sun_path` holds 108 bytes on Linux, one of them the final zero.
const SOCKET_PATH_MAX: usize = 107;

const LISTEN_FORM: &str =
    "write host:port such as 127.0.0.1:11211 or \"[::1]:11211\", or /path/of/a.sock 660";
const HOST_FORM: &str = "write an IP address or a host name, such as 127.0.0.1; for all addresses \
    write 0.0.0.0 (IPv4 only) or [::]";
const SERVER_FORM: &str =
    "write host:port:weight, such as 10.0.0.1:11211:1, optionally followed by a space and a name";

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(text: &str) -> (String, String, u32, String) {
        let server = server(text).unwrap();
        (server.name, server.address.to_string(), server.weight, server.configured)
    }

    fn row(name: &str, address: &str, weight: u32, pname: &str) -> (String, String, u32, String) {
        (name.into(), address.into(), weight, pname.into())
    }

    #[test]
    fn a_server_is_named_by_its_name_or_by_its_address() {
        assert_eq!(tcp("a:21211:1"), row("a:21211", "a:21211", 1, "a:21211:1"));
        assert_eq!(tcp("a:11211:1"), row("a", "a:11211", 1, "a:11211:1"));
        assert_eq!(tcp("a:11211:7 beta"), row("beta", "a:11211", 7, "a:11211:7"));
        assert_eq!(tcp("a:11211:7   beta"), row("beta", "a:11211", 7, "a:11211:7"));
        assert_eq!(
            tcp("/tmp/mc.sock:2"),
            row("/tmp/mc.sock:", "/tmp/mc.sock", 2, "/tmp/mc.sock:2")
        );
        assert_eq!(tcp("/tmp/mc.sock:2 x"), row("x", "/tmp/mc.sock", 2, "/tmp/mc.sock:2"));
        assert_eq!(tcp("a:1:2147483647").2, 2_147_483_647);
    }

    #[test]
    fn brackets_around_an_ipv6_address_change_no_name() {
        assert_eq!(tcp("::1:21211:1"), row("::1:21211", "[::1]:21211", 1, "::1:21211:1"));
        assert_eq!(tcp("[::1]:21211:1"), row("::1:21211", "[::1]:21211", 1, "[::1]:21211:1"));
        assert_eq!(tcp("[fe80::1%eth0]:11211:1").0, "fe80::1%eth0");
    }

    #[test]
    fn a_server_without_its_three_parts_is_refused_in_twemproxys_words() {
        let form = "has an invalid \"hostname:port:weight [name]\"or \
                    \"/path/unix_socket:weight [name]\" format string";
        let port = "has an invalid port in \"hostname:port:weight [name]\" format string";
        let weight = "has an invalid weight in \"hostname:port:weight [name]\" format string";
        let zero = "has a zero weight in \"hostname:port:weight [name]\" format string";
        for (text, wrong) in [
            ("", form),
            ("a", form),
            ("a:11211", form),
            (":11211:1", form),
            ("[a]:11211:1", form),
            ("[::1:11211:1", form),
            ("a b:1:1 c", form),
            ("a::1", port),
            ("a:0:1", port),
            ("a:65536:1", port),
            ("a:4294978507:1", port),
            ("a:x:1", port),
            ("a:1:", weight),
            ("a:1:x", weight),
            ("a:1:-1", weight),
            ("a:1:2147483648", weight),
            ("a:1:4294967297", weight),
            ("a:1:0", zero),
            ("/tmp/s:0", zero),
            ("/tmp/s", form),
        ] {
            assert_eq!(server(text).unwrap_err().wrong, wrong, "{text:?}");
        }
    }

    #[test]
    fn a_pool_listens_on_a_port_or_on_a_path_with_permissions() {
        let tcp = |host: &str, port| Listen::Tcp { host: host.into(), port };
        assert_eq!(listen("127.0.0.1:11211"), Ok(tcp("127.0.0.1", 11211)));
        assert_eq!(listen("localhost:0"), Ok(tcp("localhost", 0)));
        assert_eq!(listen("::1:1234"), Ok(tcp("::1", 1234)));
        assert_eq!(listen("[::1]:1234"), Ok(tcp("::1", 1234)));
        let unix = |mode| Listen::Unix { path: "/run/n.sock".into(), mode };
        assert_eq!(listen("/run/n.sock"), Ok(unix(None)));
        assert_eq!(listen("/run/n.sock 0660"), Ok(unix(Some(0o660))));
        assert_eq!(listen("/run/n.sock 777"), Ok(unix(Some(0o777))));
        assert_eq!(listen("/run/n.sock 0"), Ok(unix(None)));
    }

    #[test]
    fn a_listen_address_is_refused_in_twemproxys_words() {
        let form = "has an invalid \"hostname:port\" format string";
        let port = "has an invalid port in \"hostname:port\" format string";
        let mode = "has an invalid file permission in \"socket_path permission\" format string";
        for (text, wrong) in [
            ("", form),
            ("localhost", form),
            (":11211", form),
            ("a:", port),
            ("a:65536", port),
            ("a:-1", port),
            ("/run/n.sock 1000", mode),
            ("/run/n.sock 9999", mode),
            ("/run/n.sock rw", mode),
            ("/run/n.sock ", mode),
            ("/run/n.sock +7", mode),
        ] {
            assert_eq!(listen(text).unwrap_err().wrong, wrong, "{text:?}");
        }
        let host = "has no IP address or host name in \"hostname:port\" format string";
        for text in ["*:1", "a,b:1", "a..b:1", "256.0.0.1:1", "1.2.3.4.5:1", "a:b:1", "http://a:1"]
        {
            let fault = listen(text).unwrap_err();
            assert!([host, form].contains(&&*fault.wrong), "{text:?}: {}", fault.wrong);
        }
        assert!(listen("*:1").unwrap_err().right.contains("0.0.0.0 (IPv4 only) or [::]"));
        for text in ["0.0.0.0:1", "[::]:1", "127.1:1", "my-host_1.example.:1", "grün:1", "0:1"] {
            assert!(listen(text).is_ok(), "{text}");
        }
        let long = format!("/{}", "x".repeat(107));
        assert_eq!(listen(&long).unwrap_err().wrong, "has an invalid value");
    }
}
