//! What the operator is told of servers: each change of state, once, with its reason.
//!
//! A server that is down fails every request; the log has one line for it, and one for its return.

use crate::config::Pool;
use nuthatch_core::mux::{Event, Mux};
use nuthatch_core::protocol::ServerError;
use std::mem;
use std::sync::Arc;

/// What was last said of each server of a pool.
#[derive(Debug)]
pub(crate) struct Watch {
    pool: Arc<Pool>,
    down: Box<[bool]>,
}

impl Watch {
    pub(crate) fn new(pool: Arc<Pool>) -> Self {
        let down = vec![false; pool.servers.len()].into();
        Self { pool, down }
    }

    /// Writes down what has happened since the last time.
    pub(crate) fn tell(&mut self, mux: &mut Mux) {
        while let Some(event) = mux.next_event() {
            self.tell_event(event);
        }
    }

    fn tell_event(&mut self, event: Event) {
        let pool = &self.pool.name;
        let about = |server: usize| {
            let server = &self.pool.servers[server];
            (&server.name, &server.address)
        };
        match event {
            Event::ConnLost { server, error, requests } => {
                let was_down = mem::replace(&mut self.down[server], true);
                let ((server, address), reason) = (about(server), reason(error));
                if was_down {
                    log::debug!(pool, server, address:%, reason; "server still down");
                } else {
                    let requests_failed = requests;
                    log::warn!(pool, server, address:%, reason, requests_failed; "server down");
                }
            }
            Event::Answers { server } => {
                if mem::take(&mut self.down[server]) {
                    let ((server, address), reason) = (about(server), "it answers again");
                    log::warn!(pool, server, address:%, reason; "server up");
                }
            }
            Event::Desync { server, requests } => {
                let ((server, address), requests_failed) = (about(server), requests);
                let reason = "reply did not match the request";
                log::error!(pool, server, address:%, reason, requests_failed; "server connection closed");
            }
            Event::BinaryClient => {
                let reason = "memcached's binary protocol is not supported: use the text protocol";
                log::warn!(pool, reason; "client closed");
            }
            Event::Ejected { server, error } => {
                let ((server, address), reason) = (about(server), reason(error));
                let retry_ms = self.pool.server_retry_timeout.as_millis();
                log::warn!(pool, server, address:%, reason, retry_ms; "server ejected");
            }
            Event::Returned { server } => {
                let ((server, address), reason) = (about(server), "server_retry_timeout is over");
                log::warn!(pool, server, address:%, reason; "server back on the ring");
            }
        }
    }
}

/// The reason as clients read it, or plainer where twemproxy's words for them say too little.
fn reason(error: ServerError) -> &'static str {
    match error {
        ServerError::HostDown => "its name has no address",
        ServerError::Closed => "it closed the connection",
        ServerError::Local => "no descriptor or memory left here",
        other => other.text(),
    }
}
