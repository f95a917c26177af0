//! The addresses of the configuration: what a pool listens on, and its servers.
//!
//! The one rule: an address is parsed from its end, as in twemproxy (`conf_set_listen`,
//! `conf_add_server`), so that a host may contain colons; brackets around an IPv6 address are
//! removed and have no effect, not even on the name on the ring. `*` is a host only where the program
//! listens.

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
    Ok(Listen::Tcp { port: listen_port(port)?, host: listen_host(host)?.into() })
}

/// A port that can be listened on.
pub(super) fn listen_port(text: &str) -> Result<u16, Fault> {
    digits(text).and_then(|port| u16::try_from(port).ok()).ok_or_else(|| {
        let wrong = "has an invalid port in \"hostname:port\" format string";
        Fault::new(wrong, "write a port from 1 to 65535, or 0 to let the system choose")
    })
}

/// A host to listen on, without brackets: an IP address, a possible host name, or [`EVERY_HOST`]. The
/// name is resolved at the start.
pub(super) fn listen_host(text: &str) -> Result<&str, Fault> {
    if text == EVERY_HOST {
        return Ok(text);
    }
    let host = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if is_link_local(host) {
        let wrong = "has an IPv6 address without its zone in \"hostname:port\" format string";
        return Err(Fault::new(wrong, format!("write the interface, such as {host}%eth0")));
    }
    let is_right = if host.len() < text.len() { is_ipv6(host) } else { is_possible_host(host) };
    is_right.then_some(host).ok_or_else(|| {
        let wrong = "has no IP address or host name in \"hostname:port\" format string";
        Fault::new(wrong, HOST_FORM)
    })
}

/// Whether this is an IP address without brackets, or may be the name of one.
pub(super) fn is_possible_host(text: &str) -> bool {
    if text.contains(':') { is_ipv6(text) } else { is_name(text) }
}

/// Whether this is an IP address without brackets.
pub(super) fn is_ip(text: &str) -> bool {
    if text.contains(':') { is_ipv6(text) } else { is_ipv4(text) }
}

/// Whether this is a possible host name, or an IPv4 address in a form that the system accepts, such
/// as `127.1`. Numbers alone must be an address.
fn is_name(text: &str) -> bool {
    let is_label = |label: &str| {
        let is_part = |c: char| c.is_alphanumeric() || "-_".contains(c);
        !label.is_empty() && label.len() <= 63 && label.chars().all(is_part)
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_number = |label: &str| digits(label).is_some() || c_number(label).is_some();
    if name.split('.').all(is_number) {
        is_ipv4(text)
    } else {
        name.len() <= 253 && name.split('.').all(is_label)
    }
}

/// Up to four numbers; the last number fills all remaining bytes (`inet_aton`).
fn is_ipv4(text: &str) -> bool {
    let Some(parts) = text.split('.').map(c_number).collect::<Option<Vec<_>>>() else {
        return false;
    };
    let Some((last, bytes)) = parts.split_last() else { return false };
    let bytes_left = 4_usize.saturating_sub(bytes.len());
    bytes_left > 0 && bytes.iter().all(|byte| *byte < 256) && *last < 1 << (8 * bytes_left)
}

/// A number as C writes it: hexadecimal behind `0x`, octal behind `0`, else decimal.
fn c_number(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let (digits, radix) = match (lower.strip_prefix("0x"), lower.strip_prefix('0')) {
        (Some(digits), _) => (digits, 16),
        (None, Some(digits)) if !digits.is_empty() => (digits, 8),
        (None, _) => (lower.as_str(), 10),
    };
    let is_number = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
    is_number.then(|| u64::from_str_radix(digits, radix).unwrap_or(u64::MAX))
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
    let form = || Fault::new(NO_SERVER, SERVER_FORM);
    // Behind the last space is the name, and be it empty (twemproxy `conf_add_server`).
    let (configured, name) = match text.rsplit_once(' ') {
        Some((configured, name)) => (configured.trim_end(), Some(name)),
        None => (text, None),
    };
    let (place, weight) = configured.rsplit_once(':').ok_or_else(form)?;
    let (address, default_name) = if place.starts_with('/') {
        (Address::Unix(socket_path(place)?), format!("{place}:"))
    } else {
        let (host, text) = host_port(place).ok_or_else(form)?;
        let port = server_port(text)?;
        (Address::Tcp { host: host.into(), port }, host_name(host, port, text))
    };
    Ok(Server {
        name: name.map_or(default_name, str::to_owned),
        weight: server_weight(weight)?,
        address,
        configured: configured.into(),
        named: name.is_some(),
        discovered: false,
        index: 0,
    })
}

/// The name of a server that was given none: without the port on 11211, because libmemcached's
/// clients hash it so, else with the port as it is written, leading zeros and all (twemproxy
/// `conf_add_server`).
fn host_name(host: &str, port: u16, text: &str) -> String {
    if port == DEFAULT_PORT { host.into() } else { format!("{host}:{text}") }
}

pub(super) fn server_port(text: &str) -> Result<u16, Fault> {
    let port = digits(text).and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
    port.ok_or_else(|| {
        let wrong = "has an invalid port in \"hostname:port:weight [name]\" format string";
        Fault::new(wrong, "write a port from 1 to 65535")
    })
}

pub(super) fn server_weight(text: &str) -> Result<u32, Fault> {
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

/// Whether this is an address that each link has, without the zone that says which is meant.
fn is_link_local(text: &str) -> bool {
    text.parse().is_ok_and(|address: Ipv6Addr| address.is_unicast_link_local())
}

/// A path that fits into the address of a unix socket.
pub(super) fn socket_path(text: &str) -> Result<PathBuf, Fault> {
    if text.len() <= SOCKET_PATH_MAX {
        return Ok(text.into());
    }
    let right = format!("a unix socket's path has at most {SOCKET_PATH_MAX} bytes");
    Err(Fault::new("has an invalid value", right))
}

/// The host that stands for all addresses of this machine, of IPv6 and of IPv4.
pub(crate) const EVERY_HOST: &str = "*";

/// The port that is not part of a name (twemproxy `CONF_DEFAULT_KETAMA_PORT`).
const DEFAULT_PORT: u16 = 11211;

/// The maximum weight, as in twemproxy, whose numbers are signed 32 bits.
pub(super) const WEIGHT_MAX: u32 = i32::MAX as u32;

/// `sun_path` holds 108 bytes on Linux, one of them the final zero.
const SOCKET_PATH_MAX: usize = 107;

const LISTEN_FORM: &str =
    "write host:port such as 127.0.0.1:11211 or \"[::1]:11211\", or /path/of/a.sock 660";
const HOST_FORM: &str = "write an IP address or a host name, such as 127.0.0.1; for all addresses \
    write *, or 0.0.0.0 for those of IPv4 only";
/// Twemproxy's words for what is no server at all.
pub(super) const NO_SERVER: &str = "has an invalid \"hostname:port:weight [name]\"or \
                                    \"/path/unix_socket:weight [name]\" format string";
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

    /// As the real nutcracker says on its statistics port.
    #[test]
    fn a_name_has_the_port_as_it_is_written() {
        assert_eq!(tcp("a:030011:1").0, "a:030011");
        assert_eq!(tcp("a:00000000030011:01").0, "a:00000000030011");
        assert_eq!(tcp("a:011211:1").0, "a");
        assert_eq!(tcp("/tmp/a:01").0, "/tmp/a:");
        assert!(server("a:+11211:1").is_err());
    }

    #[test]
    fn a_space_at_the_end_makes_the_name_empty() {
        let server = server("a:30011:1 ").unwrap();
        assert_eq!((server.name.as_str(), server.named), ("", true));
        assert_eq!(server.to_string(), "a:30011:1 ");
        assert_eq!(tcp("/tmp/a:1 ").0, "");
        assert_eq!(tcp("/tmp/a b:1 x"), row("x", "/tmp/a b", 1, "/tmp/a b:1"));
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
        assert_eq!(listen("*:1234"), Ok(tcp("*", 1234)));
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
        for text in
            ["[*]:1", "*.a:1", "a,b:1", "a..b:1", "256.0.0.1:1", "1.2.3.4.5:1", "http://a:1"]
        {
            let fault = listen(text).unwrap_err();
            assert!([host, form].contains(&&*fault.wrong), "{text:?}: {}", fault.wrong);
        }
        assert!(
            listen("*.a:1")
                .unwrap_err()
                .right
                .ends_with("write *, or 0.0.0.0 for those of IPv4 only")
        );
        for text in ["0.0.0.0:1", "[::]:1", "127.1:1", "my-host_1.example.:1", "grün:1", "0:1"] {
            assert!(listen(text).is_ok(), "{text}");
        }
        assert!(listen("[fe80::1]:1").unwrap_err().right.contains("fe80::1%eth0"));
        assert!(listen("[fe80::1%eth0]:1").is_ok());
        for text in ["0x7f.1:1", "0177.0.0.1:1", "2130706433:1", "0X7F000001:1", "cache.1:1"] {
            assert!(listen(text).is_ok(), "{text}");
        }
        for text in ["08.0.0.1:1", "0400.0.0.1:1", "0x100.0.0.1:1", "4294967296:1"] {
            assert!(listen(text).is_err(), "{text}");
        }
        let long = format!("/{}", "x".repeat(107));
        assert_eq!(listen(&long).unwrap_err().wrong, "has an invalid value");
    }
}
