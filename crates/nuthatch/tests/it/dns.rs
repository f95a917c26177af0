//! Servers whose addresses, or names, come from DNS: from a real name server that changes, fails,
//! lies and says nothing.

mod discovered;
mod follow;
mod names;
pub(crate) mod pods;
mod silence;

use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use nuthatch_harness::Dnsmasq;

use crate::conn::Conn;
use crate::fake::FakeServer;
use crate::harness::Program;
use crate::observed::Observed;

pub(crate) const REFUSED: &str = "SERVER_ERROR Connection refused\r\n";

/// A proxy that asks a name server of its own.
struct Asking {
    observed: Observed,
    dns: Dnsmasq,
}

impl Asking {
    /// A proxy with one pool of these servers; `records` are those of the name server.
    fn start(records: &[&str], settings: &str, servers: &[String], arguments: &[&str]) -> Self {
        Self::start_with(Dnsmasq::start(records), settings, servers, arguments)
    }

    fn start_with(dns: Dnsmasq, settings: &str, servers: &[String], arguments: &[&str]) -> Self {
        let conf = format!("--resolv-conf={}", dns.resolv_conf().display());
        let arguments = [&[conf.as_str()], arguments].concat();
        let command = Program::UnderTest.command();
        Self { observed: Observed::start(command, settings, servers, &arguments), dns }
    }
}

impl Deref for Asking {
    type Target = Observed;

    fn deref(&self) -> &Observed {
        &self.observed
    }
}

impl DerefMut for Asking {
    fn deref_mut(&mut self) -> &mut Observed {
        &mut self.observed
    }
}

/// A server at an address whose values are all `value`; it closes each connection after `requests`.
pub(crate) fn server(host: &str, port: u16, value: char, requests: usize) -> FakeServer {
    let address = SocketAddr::new(host.parse().unwrap(), port);
    FakeServer::start_at(address, move |mut conn, _| {
        for _ in 0..requests {
            let Ok(line) = conn.read_line() else { return };
            let key = str::from_utf8(&line[4..line.len() - 2]).unwrap();
            conn.send(format!("VALUE {key} 0 1\r\n{value}\r\nEND\r\n"));
        }
    })
}

/// Asks once: the value that came, or `!` for an error.
pub(crate) fn value(client: &mut Conn) -> char {
    client.send("get k\r\n");
    let reply = client.read_reply().unwrap();
    if reply.starts_with(b"VALUE") { char::from(reply[13]) } else { '!' }
}

/// Asks so often, with time for the proxy to see that its connection was closed.
pub(crate) fn values(client: &mut Conn, times: usize) -> String {
    let ask = |_| {
        let value = value(client);
        std::thread::sleep(Duration::from_millis(30));
        value
    };
    (0..times).map(ask).collect()
}

/// Asks until the value comes; says what came before it, and how long it took.
pub(crate) fn wait_for_value(client: &mut Conn, wanted: char) -> (String, Duration) {
    let (start, mut before) = (Instant::now(), String::new());
    loop {
        let value = value(client);
        if value == wanted {
            return (before, start.elapsed());
        }
        before.push(value);
        assert!(start.elapsed() < Duration::from_secs(20), "only {before}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
