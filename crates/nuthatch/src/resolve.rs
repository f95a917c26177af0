//! Resolves host names without blocking a worker.
//!
//! The system's resolver supports `/etc/hosts`, search lists and more, but it blocks; so every
//! look-up runs on its own short-lived thread. Look-ups are rare: one for each new connection to a
//! server with a host name, so that a new connection uses the current address.

use crate::inbox::{Inbox, Message};
use nuthatch_core::mux::ConnId;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::thread;

/// The result of a look-up.
#[derive(Debug)]
pub(crate) struct Resolved {
    /// The place of the pool in its worker, which may be another's when the answer comes.
    pub(crate) pool: usize,
    pub(crate) pool_id: u64,
    pub(crate) conn: ConnId,
    /// Empty if the name has no address.
    pub(crate) addresses: Vec<SocketAddr>,
}

/// The address, if the host is an IP address.
pub(crate) fn literal(host: &str, port: u16) -> Option<SocketAddr> {
    host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, port))
}

/// Resolves a name and sends the result to the inbox.
pub(crate) fn look_up(host: &str, port: u16, mut answer: Resolved, inbox: &Arc<Inbox>) {
    let host = host.to_owned();
    let for_thread = Arc::clone(inbox);
    let (pool, pool_id, conn) = (answer.pool, answer.pool_id, answer.conn);
    let thread = thread::Builder::new().name("resolve".into()).stack_size(STACK_BYTES);
    let spawned = thread.spawn(move || {
        answer.addresses =
            (host.as_str(), port).to_socket_addrs().map(Iterator::collect).unwrap_or_default();
        for_thread.send(Message::Resolved(answer));
    });
    if let Err(error) = spawned {
        log::error!(error:%; "failed to start a thread for a name look-up");
        inbox.send(Message::Resolved(Resolved { pool, pool_id, conn, addresses: Vec::new() }));
    }
}

/// Enough for the system's resolver.
const STACK_BYTES: usize = 256 * 1024;
