//! Hops 3 to 7 of the walk for a large request, which goes to its server in the memory that it was
//! read to: copying it costs as much as reading it.
//!
//! The one rule: what moves is one request alone, just as its server gets it, in memory that it
//! nearly fills. Any other is copied once, to memory of its size.

use super::backpressure::Hold;
use super::client::Client;
use super::id::{ClientId, ConnId};
use super::request::Intake;
use super::{Mux, next_guess};
use crate::buffer::Buffer;
use crate::memcache::Wire;
use crate::message::{One, Parsed, Request};
use crate::spares::SMALL_MAX;
use crate::time::Instant;
use alloc::vec::Vec;

/// So many bytes more a server may get than the client sent: the carriage return of a line that has
/// none, and numbers in their plain form.
const REWRITTEN_MORE: usize = 16;

/// After so many reads without a large request, none is expected.
const SMALL_READS_MAX: u8 = 16;

impl Client {
    /// Notes the size of a large request.
    fn expect_large(&mut self, bytes: usize) {
        self.request_guess = next_guess(self.request_guess, bytes);
        self.small_reads = 0;
    }

    /// Notes that bytes were read to memory for a large request. If it is something else again and
    /// again, nothing large is expected any longer.
    pub(super) fn note_read(&mut self) {
        self.small_reads = self.small_reads.saturating_add(1);
        // So much is read at once in any case.
        if self.small_reads > SMALL_READS_MAX || self.request_guess <= SMALL_MAX {
            self.request_guess = 0;
        }
    }
}

impl Mux {
    /// Takes the request at the head of `input` with its memory, if it is large and for one server.
    /// What follows it is left, and what is not such a request.
    #[cold]
    pub(super) fn move_request(&mut self, id: ClientId, mut input: Buffer, now: Instant) -> Buffer {
        let limits = &self.options.limits;
        let client = &self.clients[id.index()];
        if client.skip > 0 || client.hold != Hold::No || !client.fits_window(limits) {
            return input;
        }
        let bytes = input.as_slice();
        let parsed = self.options.protocol.parse_request(bytes, client.searched, limits);
        let Parsed::Request(Request::One(one), len) = parsed else { return input };
        let wire = one.wire;
        let moves = matches!(wire, Wire::Verbatim(_)) && input.can_split(len);
        if !moves && len <= SMALL_MAX {
            return input;
        }
        // Its place in the queue first, and then its bytes, which may not be wanted.
        let place = One { wire: Wire::Verbatim(b""), ..one };
        match self.take(id, &Request::One(place), now) {
            Intake::Queued(conn) if moves => match input.split_large(len, &mut self.spares) {
                Ok((request, rest)) => {
                    self.fill_newest(conn, request);
                    input = rest;
                }
                Err(_) => unreachable!("it can be split"),
            },
            Intake::Queued(conn) => {
                let mut request = self.spares.take_for(len + REWRITTEN_MORE);
                wire.write(&mut request);
                self.fill_newest(conn, request);
                input.consume(len, &mut self.spares);
            }
            Intake::Blocked => return input,
            Intake::Accepted | Intake::Closed => input.consume(len, &mut self.spares),
        }
        let client = &mut self.clients[id.index()];
        client.searched = 0;
        client.expect_large(len);
        input
    }

    /// Gives the newest request of a connection its bytes.
    fn fill_newest(&mut self, id: ConnId, request: Vec<u8>) {
        let conn = &mut self.conns[id.index()];
        let bytes = request.len();
        let pending = conn.pending.back_mut().expect("it was queued right now");
        pending.bytes = u32::try_from(bytes).expect("the limits of a request are below 2^32");
        conn.unsent_bytes += bytes;
        conn.pending_bytes += bytes;
        conn.out.append_large(request, &mut self.spares);
        self.servers[conn.server.index()].stats.request_bytes.add(bytes as u64);
    }
}
