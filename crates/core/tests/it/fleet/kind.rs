//! What a fleet speaks: its servers, and the clients that ask.

use super::Plan;
use super::client::Client;
use super::record::{Record, check};
use super::server::Memcached;
use crate::sim::random::Random;
use nuthatch_core::protocol::Protocol;
use nuthatch_core::ring::HashTag;

/// A server of a fleet.
pub(crate) trait Server: Default {
    /// Answers the first request of `input` and takes it away; none if it is not whole. `conn` is another
    /// number for each connection.
    fn serve(&mut self, conn: u64, input: &mut Vec<u8>, now: u64) -> Option<Vec<u8>>;
    /// It loses everything, as by a restart.
    fn restart(&mut self);
    /// It drops a value to make room.
    fn evict(&mut self, place: usize);
    /// Whether a mark is left.
    fn has_marks(&mut self, now: u64) -> bool;
    /// How long the value that stays longest does; `u64::MAX` for one that stays for ever.
    fn longest_stay(&mut self, now: u64) -> u64;
    /// It has not what a move needs.
    fn make_old(&mut self);
    /// The ids that it gives are greater than this number.
    fn number_from(&mut self, first: u64);
    /// It has a value from the start on.
    fn fill(&mut self, key: &str, value: u64);
}

/// A client of one proxy: it asks for anything, and notes what it is told.
pub(crate) trait Asker {
    fn new(number: usize, plan: &Plan) -> Self;
    /// How many replies it waits for.
    fn awaits(&self) -> usize;
    /// What was asked and not answered stays unknown.
    fn leave(&mut self);
    /// Asks for something; the value that it writes, if any, is `value`. With `spares_some`, some keys are
    /// only read.
    fn ask(
        &mut self,
        value: (&mut Random, u64),
        records: (&mut Vec<Record>, bool),
        now: u64,
    ) -> String;
    /// Removes all values.
    fn flush(&mut self, records: &mut Vec<Record>, now: u64) -> String;
    /// Takes what came from the proxy.
    fn receive(&mut self, bytes: &[u8], records: &mut [Record], now: u64);
}

/// A protocol, and who speaks it.
pub(crate) trait Kind {
    const PROTOCOL: Protocol;
    /// How many kinds of connections a server has.
    const LANES: usize;
    /// Whether a request itself says how long a value stays, rather than the next one.
    const CAPS_AT_ONCE: bool;
    /// Whether every key has a value at first.
    const FILLS: bool;
    type Server: Server;
    type Client: Asker;
    /// The part of a key that says which server it has.
    fn tag() -> Option<HashTag>;
    /// Gives every key a value, and notes it.
    fn fill(records: &mut Vec<Record>, fill: impl FnMut(&str, u64));
    /// Checks what clients were told.
    fn check(records: &[Record], plan: &Plan);
}

pub(crate) struct Memcache;

impl Kind for Memcache {
    const PROTOCOL: Protocol = Protocol::Memcache;
    const LANES: usize = 1;
    const CAPS_AT_ONCE: bool = true;
    const FILLS: bool = false;
    type Server = Memcached;
    type Client = Client;

    fn tag() -> Option<HashTag> {
        None
    }

    fn fill(_: &mut Vec<Record>, _: impl FnMut(&str, u64)) {
        unreachable!("a memcached may lose values")
    }

    fn check(records: &[Record], plan: &Plan) {
        // A server that was restarted gives ids a second time.
        check(records, plan.restarts == 0, plan.evictions + plan.restarts > 0);
    }
}
