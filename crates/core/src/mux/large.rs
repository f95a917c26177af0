//! The way of a large request from its client to its server, in the memory that it was read to: copying
//! it would cost as much as reading it.
//!
//! The one rule: what moves is one request alone, just as its server gets it, in memory that it
//! nearly fills. Any other is copied once, to memory of its size.

use super::client::Client;
use super::id::{ClientId, ConnId};
use super::request::Intake;
use super::server::Servers;
use super::{Mux, Shared, next_guess};
use crate::buffer::Buffer;
use crate::message::Wire;
use crate::spares::SMALL_MAX;
use alloc::vec::Vec;

/// So many bytes more a server may get than the client sent: the carriage return of a line that has
/// none, and numbers in their plain form.
const REWRITTEN_MORE: usize = 16;

/// After so many reads without a large request, none is expected.
const SMALL_READS_MAX: u8 = 16;

impl Client {
    /// Notes the size of a large request.
    fn expect_large(&mut self, bytes: usize) {
        let guess = next_guess(self.request_guess as usize, bytes);
        self.request_guess = u32::try_from(guess).unwrap_or(u32::MAX);
        self.small_reads = 0;
    }

    /// Notes that bytes were read to memory for a large request. If it is something else again and
    /// again, nothing large is expected any longer.
    pub(super) fn note_read(&mut self) {
        self.small_reads = self.small_reads.saturating_add(1);
        // So much is read at once in any case.
        if self.small_reads > SMALL_READS_MAX || self.request_guess as usize <= SMALL_MAX {
            self.request_guess = 0;
        }
    }
}

impl Mux {
    /// Gives a connection the bytes of a large request that was queued right now, unless they follow
    /// with their memory.
    #[cold]
    pub(super) fn send_large(&mut self, id: ClientId, conn: ConnId, wire: &Wire<'_>) -> Intake {
        let len = wire.size_hint();
        let moves = matches!(wire, Wire::Verbatim(_)) && len >= self.clients.move_min;
        if moves || len > SMALL_MAX {
            self.clients[id].expect_large(len);
        }
        self.clients[id].note_size(len, &self.shared.signs);
        if moves {
            self.clients.moves = Some(conn);
            return Intake::Moves;
        }
        if len > SMALL_MAX {
            let mut request = self.shared.spares.take_for(len + REWRITTEN_MORE);
            wire.write(&mut request);
            self.servers.fill_newest(&mut self.shared, conn, request);
        } else {
            let out = &mut self.servers[conn].out;
            let bytes = out.append(&mut self.shared.spares, |out| wire.write(out));
            self.servers.weigh_newest(conn, bytes);
        }
        Intake::Accepted
    }

    /// Gives a connection the first `len` bytes of `input` with their memory. What follows them is left.
    #[cold]
    pub(super) fn move_request(&mut self, conn: ConnId, input: Buffer, len: usize) -> Buffer {
        match input.split_large(len, &mut self.shared.spares) {
            Ok((request, rest)) => {
                self.servers.fill_newest(&mut self.shared, conn, request);
                rest
            }
            Err(_) => unreachable!("what is shorter does not move"),
        }
    }
}

impl Servers {
    /// Gives the newest request of a connection its bytes.
    fn fill_newest(&mut self, shared: &mut Shared, id: ConnId, request: Vec<u8>) {
        let bytes = request.len();
        self.conns[id.index()].out.append_large(request, &mut shared.spares);
        self.weigh_newest(id, bytes);
    }

    /// Notes the size of the newest request of a connection.
    fn weigh_newest(&mut self, id: ConnId, bytes: usize) {
        let conn = &mut self.conns[id.index()];
        let pending = conn.pending.back_mut().expect("it was queued right now");
        pending.bytes = u32::try_from(bytes).expect("the limits of a request are below 2^32");
        conn.unsent_bytes += bytes;
        conn.pending_bytes += bytes;
        self.all[conn.server.index()].stats.request_bytes.add(bytes as u64);
    }
}
