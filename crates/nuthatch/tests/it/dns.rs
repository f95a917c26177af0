//! Servers whose addresses, or names, come from DNS: from a real name server that changes, fails,
//! lies and says nothing.

mod discovered;
mod names;
mod pods;
mod silence;

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nuthatch_harness::Dnsmasq;

use crate::conn::Conn;
use crate::fake::FakeServer;
use crate::harness::{Program, Proxy, free_port, pool, wait_until};
use crate::http;

const REFUSED: &str = "SERVER_ERROR Connection refused\r\n";

/// A proxy that asks a name server of its own.
struct Asking {
    proxy: Proxy,
    admin: u16,
    dns: Dnsmasq,
}

impl Asking {
    /// A proxy with one pool of these servers; `records` are those of the name server.
    fn start(records: &[&str], settings: &str, servers: &[String], arguments: &[&str]) -> Self {
        Self::start_with(Dnsmasq::start(records), settings, servers, arguments)
    }

    fn start_with(dns: Dnsmasq, settings: &str, servers: &[String], arguments: &[&str]) -> Self {
        let (listen, admin) = (free_port(), free_port());
        let conf = format!("--resolv-conf={}", dns.resolv_conf().display());
        let flag = format!("--admin=127.0.0.1:{admin}");
        let arguments = [&[conf.as_str(), flag.as_str()], arguments].concat();
        let config = pool(listen, settings, servers);
        let proxy = Proxy::start_with(Program::UnderTest, &config, &[listen, admin], &arguments);
        Self { proxy, admin, dns }
    }

    fn page(&self, path: &str) -> String {
        http::ask(self.admin, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).body
    }

    /// The value of a metric, whose labels are part of its name; none if it is not there.
    fn metric(&self, name: &str) -> Option<f64> {
        let text = self.page("/metrics");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map(|value| value.parse().unwrap())
    }

    /// The lines of the log with these words.
    fn log(&self, words: &str) -> Vec<String> {
        let log = fs::read_to_string(self.proxy.dir.join("log")).unwrap();
        log.lines().filter(|line| line.contains(words)).map(str::to_owned).collect()
    }

    /// Waits until the log has these words.
    fn wait_for_log(&mut self, words: &str) {
        let log = self.proxy.dir.join("log");
        let text = || fs::read_to_string(&log).unwrap();
        wait_until(
            &mut self.proxy.process,
            || format!("no {words} in {}", text()),
            || text().contains(words),
        );
    }

    /// The names of the servers of the pool, in order.
    fn servers(&self) -> Vec<String> {
        let page: serde_json::Value = serde_json::from_str(&self.page("/servers")).unwrap();
        let servers = page["pools"].as_object().unwrap().values().next().unwrap();
        let name = |server: &serde_json::Value| server["name"].as_str().unwrap().to_owned();
        servers.as_array().unwrap().iter().map(name).collect()
    }
}

/// A server at an address whose values are all `value`; it closes each connection after `requests`.
fn server(host: &str, port: u16, value: char, requests: usize) -> FakeServer {
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
fn value(client: &mut Conn) -> char {
    client.send("get k\r\n");
    let reply = client.read_reply().unwrap();
    if reply.starts_with(b"VALUE") { char::from(reply[13]) } else { '!' }
}

/// Asks so often, with time for the proxy to see that its connection was closed.
fn values(client: &mut Conn, times: usize) -> String {
    let ask = |_| {
        let value = value(client);
        std::thread::sleep(Duration::from_millis(30));
        value
    };
    (0..times).map(ask).collect()
}

/// Asks until the value comes; says what came before it, and how long it took.
fn wait_for_value(client: &mut Conn, wanted: char) -> (String, Duration) {
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
