//! A running `cache-api`, and a client of it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nuthatch_harness::{Process, accepts, free_port, wait_until};
use ureq::{Agent, Body};

/// A `cache-api` on a port of 127.0.0.1.
pub(crate) struct Api {
    pub(crate) process: Process,
    pub(crate) port: u16,
    agent: Agent,
}

impl Api {
    /// Starts one over the memcached on a port of 127.0.0.1.
    pub(crate) fn over_port(port: u16) -> Self {
        Self::start(free_port(), "localhost", port)
    }

    /// Starts one over the memcached on a unix socket.
    pub(crate) fn over_socket(path: &Path) -> Self {
        Self::start(free_port(), path.to_str().unwrap(), 1)
    }

    pub(crate) fn start(port: u16, cache_host: &str, cache_port: u16) -> Self {
        let cache_port = cache_port.to_string();
        Self::with(port, &[("MEMCACHED_HOST", cache_host), ("MEMCACHED_PORT", &cache_port)])
    }

    /// Starts one over the Redis on a port of 127.0.0.1, with further variables.
    pub(crate) fn over_redis(port: u16, variables: &[(&str, &str)]) -> Self {
        let port = port.to_string();
        let cache = [("CACHE", "redis"), ("REDIS_PORT", port.as_str())];
        Self::with(free_port(), &[&cache, variables].concat())
    }

    fn with(port: u16, variables: &[(&str, &str)]) -> Self {
        let mut process = Process::spawn(
            Command::new(env!("CARGO_BIN_EXE_cache-api"))
                .env("LISTEN", format!("127.0.0.1:{port}"))
                .envs(variables.iter().copied()),
        );
        wait_until(&mut process, || "cache-api".to_owned(), || accepts(port));
        let config = Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(20)))
            .http_status_as_error(false)
            .proxy(None);
        Self { process, port, agent: config.build().into() }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// The status and the body of the answer.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        told(self.agent.get(self.url(path)).call().unwrap())
    }

    /// As `get`, for a body of JSON.
    pub(crate) fn post(&self, path: &str, body: &str) -> (u16, String) {
        self.post_as("application/json", path, body)
    }

    pub(crate) fn post_as(&self, content: &str, path: &str, body: &str) -> (u16, String) {
        let request = self.agent.post(self.url(path)).content_type(content);
        told(request.send(body).unwrap())
    }

    /// Stores an item, which must go well.
    pub(crate) fn store(&self, key: &str, value: &str) {
        let body = format!(r#"{{"key":"{key}","value":"{value}"}}"#);
        assert_eq!(self.post("/items/", &body), (200, r#"{"status":"success"}"#.to_owned()));
    }
}

fn told(mut response: ureq::http::Response<Body>) -> (u16, String) {
    assert_eq!(response.headers()["content-type"], "application/json");
    (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
}

/// The body of an item.
pub(crate) fn item(key: &str, value: &str) -> String {
    format!(r#"{{"key":"{key}","value":"{value}"}}"#)
}

/// A failure's body.
pub(crate) fn detail(text: &str) -> String {
    format!(r#"{{"detail":"{text}"}}"#)
}
