//! Clients that pass to another multiplexer: to the next process, at an upgrade.
//!
//! The one rule: a client passes only between two requests of the engine. All that it asked for is
//! answered and written, or has been carried out if it wants no reply; what it has sent since, at most
//! [`PASSING_MAX`] bytes, goes along. So the next multiplexer continues where this one ends, and no
//! request overtakes an earlier one.

use super::Mux;
use super::backpressure::Hold;
use super::client::Client;
use super::id::ClientId;
use crate::redis;
use crate::time::Instant;
use alloc::vec::Vec;

/// The maximum number of bytes of unfinished requests that pass with a client. A client in the middle
/// of a longer request passes when it has sent all of it.
pub const PASSING_MAX: usize = 64 * 1024;

/// What a client that passes takes along.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passing {
    /// What it has sent, and of which nothing was carried out.
    pub input: Vec<u8>,
    /// What it has said about its connection; none with memcached.
    pub said: Option<redis::Said>,
}

impl Client {
    /// Whether its bytes may stay where they are until it passes.
    fn may_stop(&self) -> bool {
        let is_held = !matches!(self.hold, Hold::No | Hold::Own);
        let is_at_end = self.input_ended || self.must_close;
        let is_in_long_request = self.skip > 0 || self.input.len() > PASSING_MAX;
        let is_bound = self.session.is_bound() || self.session.begins();
        !(is_held || is_at_end || is_in_long_request || is_bound)
    }

    /// Whether nothing of it is on its way.
    fn has_all(&self) -> bool {
        self.queue.head().is_none() && self.out.is_empty() && self.silent == 0
    }
}

impl Mux {
    /// Stops reading from a client so that it can pass, if it may, and takes it out of the engine as
    /// soon as it has all its replies: call this again until then. The client is gone if this returns
    /// what it takes along.
    ///
    /// A client stays, and is served as before, while it is in a transaction, watches keys, has
    /// subscriptions, is in the middle of a long request, or will send no more.
    pub fn pass(&mut self, id: ClientId) -> Option<Passing> {
        let client = &mut self.clients[id];
        if client.hold != Hold::Passing {
            if !client.may_stop() {
                return None;
            }
            self.clients.hold(id, Hold::Passing);
        }
        let client = &mut self.clients[id];
        // The memory limit may have closed it in the meantime.
        if client.must_close || !client.has_all() {
            return None;
        }
        let input = client.input.as_slice().to_vec();
        let said = client.session.redis().map(redis::Session::said);
        self.close_client(id);
        Some(Passing { input, said })
    }

    /// A client that has passed from another multiplexer, with what it took along.
    pub fn open_passed(&mut self, passing: Passing, now: Instant) -> ClientId {
        let id = self.open_client();
        if let Some(said) = passing.said {
            self.clients[id].session.continue_with(said);
        }
        if !passing.input.is_empty() {
            self.handle_client_bytes(id, &passing.input, now);
        }
        id
    }
}
