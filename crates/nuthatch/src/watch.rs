//! Logs the changes of servers: each change of state once, with its reason.
//!
//! Every request to a server that is down fails; the log has one line for this, and one for the
//! server's return.

use crate::addresses::Target;
use crate::run::SharedPool;
use nuthatch_core::error::ServerError;
use nuthatch_core::mux::{Event, Mux, ServerId};
use std::mem;

/// The last logged state of each server of a pool.
#[derive(Debug)]
pub(crate) struct Watch {
    shared: SharedPool,
    down: Box<[bool]>,
}

impl Watch {
    pub(crate) fn new(shared: SharedPool) -> Self {
        let down = vec![false; shared.pool.servers.len()].into();
        Self { shared, down }
    }

    /// Logs the events since the last call.
    pub(crate) fn tell(&mut self, mux: &mut Mux) {
        while let Some(event) = mux.next_event() {
            self.tell_event(event);
        }
    }

    fn tell_event(&mut self, event: Event) {
        let pool = &self.shared.pool.name;
        let about = |id: ServerId| {
            let number = id.index();
            let server = &self.shared.pool.servers[number];
            (&server.name, &server.address, list(&self.shared.addresses[number].tried()))
        };
        match event {
            Event::ConnLost { server, error, requests } => {
                let was_down = mem::replace(&mut self.down[server.index()], true);
                let ((server, address, tried), reason) = (about(server), reason(error));
                if was_down {
                    log::debug!(pool, server, address:%, tried, reason; "server still down");
                } else {
                    let requests_failed = requests;
                    log::warn!(
                        pool, server, address:%, tried, reason, requests_failed; "server down"
                    );
                }
            }
            Event::Answers { server } => {
                if mem::take(&mut self.down[server.index()]) {
                    // The address that was tried last is the one that answers.
                    let ((server, address, connected_to), reason) =
                        (about(server), "server replied");
                    log::warn!(pool, server, address:%, connected_to, reason; "server up");
                }
            }
            Event::Desync { server, requests } => {
                let ((server, address, tried), requests_failed) = (about(server), requests);
                let reason = "reply did not match the request";
                log::error!(
                    pool, server, address:%, tried, reason, requests_failed;
                    "server connection closed"
                );
            }
            Event::BinaryClient => {
                let reason = "memcached's binary protocol is not supported: use the text protocol";
                log::warn!(pool, reason; "client closed");
            }
            Event::Ejected { server, error } => {
                let ((server, address, tried), reason) = (about(server), reason(error));
                let retry_ms = self.shared.pool.server_retry_timeout.as_millis();
                log::warn!(pool, server, address:%, tried, reason, retry_ms; "server ejected");
            }
            Event::GivenUp { server } => {
                let ((server, address, tried), reason) =
                    (about(server), "not reachable while its keys move: their values stay there");
                log::warn!(pool, server, address:%, tried, reason; "old server given up");
            }
            Event::Migrated => {
                log::info!(pool; "keys no longer move");
            }
            Event::Returned { server } => {
                let ((server, address, _), reason) =
                    (about(server), "server_retry_timeout is over");
                log::warn!(pool, server, address:%, reason; "server back on the ring");
            }
        }
    }
}

/// Logs that a connection uses another address of a server than before, and why: the error of the
/// earlier address, if it failed.
pub(crate) fn tell_move(
    shared: &SharedPool,
    server: usize,
    (was, connected_to): (&Target, &Target),
    failed: Option<ServerError>,
) {
    let (pool, server) = (&shared.pool.name, &shared.pool.servers[server]);
    let (server, address) = (&server.name, &server.address);
    let reason = failed.map_or("its host name resolves to other addresses", reason);
    log::warn!(
        pool, server, address:%, was:%, connected_to:%, reason; "server uses another address"
    );
}

/// Addresses as one value of a line.
fn list(addresses: &[String]) -> String {
    if addresses.is_empty() { "none".to_owned() } else { addresses.join(", ") }
}

/// The reason as clients get it, or a clearer text where twemproxy's text says too little.
fn reason(error: ServerError) -> &'static str {
    match error {
        ServerError::HostDown => "host name has no address",
        ServerError::Closed => "server closed the connection",
        ServerError::Local => "proxy is out of file descriptors or memory",
        other => other.text(),
    }
}
