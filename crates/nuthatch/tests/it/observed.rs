//! A proxy with one pool and its admin port, whose servers are found while it runs.

use std::fs;
use std::process::Command;

use crate::harness::{Proxy, free_port, pool, wait_until};
use crate::http;

/// The proxy.
#[derive(Debug)]
pub(crate) struct Observed {
    pub(crate) proxy: Proxy,
    pub(crate) admin: u16,
}

impl Observed {
    /// Starts one with a pool of these servers.
    pub(crate) fn start(
        command: Command,
        settings: &str,
        servers: &[String],
        arguments: &[&str],
    ) -> Self {
        let (listen, admin) = (free_port(), free_port());
        let flag = format!("--admin=127.0.0.1:{admin}");
        let arguments = [&[flag.as_str()], arguments].concat();
        let config = pool(listen, settings, servers);
        let proxy = Proxy::start_command(command, &config, &[listen, admin], &arguments);
        Self { proxy, admin }
    }

    pub(crate) fn page(&self, path: &str) -> String {
        http::ask(self.admin, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).body
    }

    /// The value of a metric, whose labels are part of its name; none if it is not there.
    pub(crate) fn metric(&self, name: &str) -> Option<f64> {
        let text = self.page("/metrics");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map(|value| value.parse().unwrap())
    }

    /// The lines of the log with these words.
    pub(crate) fn log(&self, words: &str) -> Vec<String> {
        let log = fs::read_to_string(self.proxy.dir.join("log")).unwrap();
        log.lines().filter(|line| line.contains(words)).map(str::to_owned).collect()
    }

    /// Waits until the log has these words.
    pub(crate) fn wait_for_log(&mut self, words: &str) {
        let log = self.proxy.dir.join("log");
        let text = || fs::read_to_string(&log).unwrap();
        wait_until(
            &mut self.proxy.process,
            || format!("no {words} in {}", text()),
            || text().contains(words),
        );
    }

    /// The names of the servers of the pool, in order.
    pub(crate) fn servers(&self) -> Vec<String> {
        let page: serde_json::Value = serde_json::from_str(&self.page("/servers")).unwrap();
        let servers = page["pools"].as_object().unwrap().values().next().unwrap();
        let name = |server: &serde_json::Value| server["name"].as_str().unwrap().to_owned();
        servers.as_array().unwrap().iter().map(name).collect()
    }
}
