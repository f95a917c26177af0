//! Logs the changes of servers: each change of state once, with its reason.
//!
//! Every request to a server that is down fails; the log has one line for this, and one for the
//! server's return.

use crate::addresses::Target;
use crate::config::{Pool, Server};
use crate::generation::SharedServer;
use nuthatch_core::clocks::Clock;
use nuthatch_core::error::ServerError;
use nuthatch_core::mux::{Event, Mux, ServerId};
use std::mem;
use std::sync::Arc;

/// The servers of a pool in one worker, with the last logged state of each. Those that leave are here
/// until their place in the engine is another's.
#[derive(Debug, Default)]
pub(crate) struct Watch(Vec<Option<Watched>>);

#[derive(Debug)]
struct Watched {
    id: ServerId,
    server: Arc<SharedServer>,
    is_down: bool,
    /// Whether the log says that it fails and is used nevertheless.
    is_kept: bool,
}

impl Watch {
    /// Notes which servers there are now, in the order of the pool.
    pub(crate) fn note_servers(&mut self, mux: &Mux, servers: &[Arc<SharedServer>]) {
        for (&id, server) in mux.servers().iter().chain(mux.gutter_servers()).zip(servers) {
            let places = self.0.len().max(id.index() + 1);
            self.0.resize_with(places, || None);
            let before = self.at(id).map(|watched| (watched.is_down, watched.is_kept));
            let (is_down, is_kept) = before.unwrap_or_default();
            let server = Arc::clone(server);
            self.0[id.index()] = Some(Watched { id, server, is_down, is_kept });
        }
    }

    fn at(&mut self, id: ServerId) -> Option<&mut Watched> {
        self.0.get_mut(id.index())?.as_mut().filter(|watched| watched.id == id)
    }

    /// The server with this id, also one that leaves.
    pub(crate) fn server(&self, id: ServerId) -> Option<&Arc<SharedServer>> {
        let watched = self.0.get(id.index())?.as_ref().filter(|watched| watched.id == id)?;
        Some(&watched.server)
    }

    /// The server with this number, if it is one of the pool.
    pub(crate) fn find(&self, number: u64) -> Option<ServerId> {
        let found = self.0.iter().flatten().find(|watched| watched.server.number == number);
        found.map(|watched| watched.id)
    }

    /// Logs the events since the last call.
    pub(crate) fn tell(&mut self, pool: &Pool, mux: &mut Mux) {
        while let Some(event) = mux.next_event() {
            self.tell_event(pool, event);
        }
    }

    fn tell_event(&mut self, config: &Pool, event: Event) {
        let (pool, id) = (&config.name, server_of(event));
        if event == Event::Migrated {
            return log::info!(pool; "keys no longer move");
        }
        let Some(id) = id else {
            let reason = "memcached's binary protocol is not supported: use the text protocol";
            return log::warn!(pool, reason; "client closed");
        };
        // Nothing is told of a server whose place is another's already.
        let Some(watched) = self.at(id) else { return };
        let (Server { name: server, address, .. }, addresses) =
            (&watched.server.server, &watched.server.addresses);
        let gutter = watched.server.is_gutter.then_some(true);
        let tried = list(&addresses.tried());
        match event {
            Event::ConnLost { error, clock, requests: requests_failed, .. } => {
                let reason = &*reason_of_loss(error, clock);
                if mem::replace(&mut watched.is_down, true) {
                    log::debug!(pool, server, gutter, address:%, tried, reason; "server still down");
                } else {
                    log::warn!(
                        pool, server, gutter, address:%, tried, reason, requests_failed; "server down"
                    );
                }
            }
            Event::Answers { .. } => {
                watched.is_kept = false;
                if mem::take(&mut watched.is_down) {
                    // The address that was tried last is the one that answers.
                    let (connected_to, reason) = (tried, "server replied");
                    log::warn!(pool, server, gutter, address:%, connected_to, reason; "server up");
                }
            }
            Event::Desync { requests: requests_failed, .. } => {
                let reason = "reply did not match the request";
                log::error!(
                    pool, server, gutter, address:%, tried, reason, requests_failed;
                    "server connection closed"
                );
            }
            other => watched.tell_standing(config, other, &tried),
        }
    }
}

impl Watched {
    /// Logs whether a server is used.
    fn tell_standing(&mut self, config: &Pool, event: Event, tried: &str) {
        let (pool, Server { name: server, address, .. }) = (&config.name, &self.server.server);
        let gutter = self.server.is_gutter.then_some(true);
        match event {
            Event::Ejected { error, .. } => {
                let (reason, retry) = (reason(error), config.server_retry_timeout);
                let retry_ms = retry.as_millis();
                log::warn!(pool, server, gutter, address:%, tried, reason, retry_ms; "server ejected");
            }
            Event::GivenUp { .. } => {
                let reason = "not reachable while its keys move: their values stay there";
                log::warn!(pool, server, gutter, address:%, tried, reason; "old server given up");
            }
            Event::Warming { .. } => {
                let reason = return_reason(config);
                let slow_start_ms = config.server_slow_start.as_millis();
                log::warn!(
                    pool, server, gutter, address:%, reason, slow_start_ms; "server gets its keys back"
                );
            }
            Event::Returned { .. } => {
                let reason = return_reason(config);
                log::warn!(pool, server, gutter, address:%, reason; "server back on the ring");
            }
            Event::Kept { error, .. } => {
                let (reason, max_ejected) = (reason(error), config.max_ejected);
                if !mem::replace(&mut self.is_kept, true) {
                    log::warn!(
                        pool, server, gutter, address:%, tried, reason, max_ejected; "failing server kept"
                    );
                }
            }
            Event::JournalFull { .. } => {
                let journal_max = config.journal_max;
                log::warn!(pool, server, gutter, address:%, journal_max; "journal full");
            }
            Event::RemovalRefused { .. } => {
                let reason = "it refused to remove keys that were changed while it was away";
                log::warn!(pool, server, gutter, address:%, reason; "server stays away");
            }
            Event::CapRefused { .. } => {
                let reason =
                    "it refused to bound how long a value stays: such keys are removed there";
                log::warn!(pool, server, address:%, reason; "gutter server keeps no values");
            }
            Event::ConnLost { .. }
            | Event::Answers { .. }
            | Event::Desync { .. }
            | Event::BinaryClient
            | Event::Migrated => {}
        }
    }
}

/// The server that an event is about; none if it is about a client.
fn server_of(event: Event) -> Option<ServerId> {
    match event {
        Event::BinaryClient | Event::Migrated => None,
        Event::ConnLost { server, .. }
        | Event::Answers { server }
        | Event::Desync { server, .. }
        | Event::Ejected { server, .. }
        | Event::GivenUp { server }
        | Event::Kept { server, .. }
        | Event::JournalFull { server }
        | Event::RemovalRefused { server }
        | Event::CapRefused { server }
        | Event::Warming { server }
        | Event::Returned { server } => Some(server),
    }
}

/// Why a server that was ejected is used again.
fn return_reason(config: &Pool) -> &'static str {
    match config.server_probes {
        0 => "server_retry_timeout is over",
        _ => "it answers probes",
    }
}

/// Logs that a connection uses another address of a server than before, and why: the error of the
/// earlier address, if it failed.
pub(crate) fn tell_move(
    pool: &Pool,
    server: &Server,
    (was, connected_to): (&Target, &Target),
    failed: Option<ServerError>,
) {
    let pool = &pool.name;
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

/// Why a connection was lost, with the directive that ended it if it is not `timeout` itself.
fn reason_of_loss(error: ServerError, clock: Option<Clock>) -> String {
    let part = clock.filter(|clock| *clock != Clock::Total).map(Clock::directive);
    match part {
        Some(part) => format!("{} ({part})", reason(error)),
        None => reason(error).to_owned(),
    }
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
