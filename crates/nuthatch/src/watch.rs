//! What the operator is told of servers: each change of state, once, with its reason.
//!
//! A server that is down fails every request; the log has one line for it, and one for its return.

use crate::config::{Pool, Server};
use nuthatch_core::mux::{Event, Mux};
use nuthatch_core::protocol::ServerError;
use std::fmt;
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
        let name = |server: usize| Named(&self.pool.servers[server]);
        match event {
            Event::ConnLost { server, error, requests } => {
                let (name, text) = (name(server), reason(error));
                if self.down[server] {
                    log::debug!("server still down pool={pool} server={name} reason=\"{text}\"");
                } else {
                    log::warn!(
                        "server down pool={pool} server={name} reason=\"{text}\" \
                         requests_failed={requests}"
                    );
                }
                self.down[server] = true;
            }
            Event::Answers { server } => {
                if self.down[server] {
                    log::warn!("server up pool={pool} server={}", name(server));
                }
                self.down[server] = false;
            }
            Event::Desync { server } => {
                let name = name(server);
                log::error!(
                    "server connection quarantined pool={pool} server={name} reason=\"its reply did not fit the request\""
                );
            }
            Event::Ejected { server, error } => {
                let (name, text) = (name(server), reason(error));
                let wait = self.pool.server_retry_timeout.as_millis();
                log::warn!(
                    "server ejected pool={pool} server={name} reason=\"{text}\" retry_ms={wait}"
                );
            }
            Event::Returned { server } => {
                log::warn!("server back on the ring pool={pool} server={}", name(server));
            }
        }
    }
}

/// A server as statistics and `route` call it, and where it is.
struct Named<'a>(&'a Server);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} address={}", self.0.name, self.0.address)
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
