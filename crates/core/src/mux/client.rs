//! Takes a client's bytes, and decides whether the client may have more of them taken.
//!
//! A client is read from as long as its own things are few: requests in flight, bytes of replies
//! that it has not taken. Otherwise it is *held*: its bytes wait, first here, then in its socket,
//! and nobody else notices.

use super::backpressure::Hold;
use super::dirty::Dirty;
use super::id::{ClientId, ConnId};
use super::request::Intake;
use super::slots::Queue;
use super::{Mux, Options, next_guess};
use crate::buffer::Buffer;
use crate::message::{Parsed, Scan};
use crate::protocol::{Room, Session};
use crate::quota::Usage;
use crate::spares::{LARGE, Spares};
use crate::time::Instant;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;

#[derive(Debug)]
pub(super) struct Client {
    pub(super) id: ClientId,
    /// Its requests, in the order their replies leave.
    pub(super) queue: Queue,
    /// How many they are.
    pub(super) requests: u32,
    /// How many keys they ask for.
    pub(super) keys: usize,
    /// Its bytes that are not requests yet.
    pub(super) input: Buffer,
    /// Do not parse again before `input` has this many bytes.
    need: usize,
    /// How much of them was scanned.
    pub(super) scan: Scan,
    /// What it has said about its connection.
    pub(super) session: Session,
    /// The server connection that it alone uses.
    pub(super) dedicated: Option<ConnId>,
    /// Whether its requests on the way go over that one.
    pub(super) is_on_dedicated: bool,
    /// What its next request may weigh, by experience; none if it is likely to be small.
    pub(super) request_guess: u32,
    /// How often it sent something else since.
    pub(super) small_reads: u8,
    /// Bytes of a refused data block that are still to come.
    pub(super) skip: u64,
    /// Replies that may leave.
    pub(super) out: Buffer,
    /// Bytes of replies that wait for their turn.
    pub(super) held_bytes: usize,
    /// What it takes besides bytes: entries of its requests in flight, the key tables of its
    /// multigets, and the memory around waiting replies and its unfinished request that holds no byte
    /// of them.
    pub(super) overhead: usize,
    /// What of it is around `input`: none, unless it is much.
    pub(super) reserved: usize,
    /// What a key's reply weighs, by experience: what decides how many may be in flight.
    pub(super) reply_guess: usize,
    /// Requests without a reply that are still on their way.
    pub(super) silent: u32,
    pub(super) hold: Hold,
    /// How often it will be read from until it no longer counts as bulky; 0 if it does not, and uses the same
    /// connections as others.
    pub(super) bulk_reads: u16,
    /// Whether it uses the connections of bulky clients.
    pub(super) is_bulk: bool,
    /// Since when the first of its waiting requests waits to be queued. All that is in `input` has waited as
    /// long, as a held client is not read from.
    pub(super) waits_since: Option<Instant>,
    pub(super) input_ended: bool,
    pub(super) must_close: bool,
    pub(super) dirty: bool,
    /// What the clients of its address have used; none if no quota needs it.
    pub(super) address: Option<Arc<Usage>>,
    /// How many of its requests in flight others know of.
    pub(super) in_flight_told: u32,
    /// What `Mux::memory` counts for it.
    pub(super) accounted: usize,
    /// How much of that is its overhead.
    pub(super) counted_overhead: usize,
}

/// The first guess of a reply's size: a new client gets a small window until its replies show
/// that they are small.
const FIRST_REPLY_GUESS: usize = 64 * 1024;

/// How many requests of a client are taken at once: those of others come before its next ones, and go
/// to the servers before them.
const TURN_REQUESTS: u32 = 128;

impl Client {
    fn new(id: ClientId, session: Session) -> Self {
        Self {
            id,
            queue: Queue::default(),
            requests: 0,
            keys: 0,
            input: Buffer::default(),
            need: 0,
            scan: Scan::default(),
            session,
            dedicated: None,
            is_on_dedicated: false,
            request_guess: 0,
            small_reads: 0,
            skip: 0,
            out: Buffer::default(),
            held_bytes: 0,
            overhead: 0,
            reserved: 0,
            reply_guess: FIRST_REPLY_GUESS,
            silent: 0,
            hold: Hold::No,
            bulk_reads: 0,
            is_bulk: false,
            waits_since: None,
            input_ended: false,
            must_close: false,
            dirty: false,
            address: None,
            in_flight_told: 0,
            accounted: 0,
            counted_overhead: 0,
        }
    }

    /// How many of the next `available` bytes belong to a refused data block.
    #[inline]
    fn skip(&mut self, available: usize) -> usize {
        let skipped = self.skip.min(available as u64);
        self.skip -= skipped;
        usize::try_from(skipped).expect("not more than available")
    }

    /// Puts it on the list of those that need their socket looked after.
    #[inline]
    pub(super) fn mark(&mut self, id: ClientId, list: &mut Dirty<ClientId>) {
        if !self.dirty {
            self.dirty = true;
            list.push(id);
        }
    }

    /// It sends no more requests, or none that are looked at.
    pub(super) fn end_input(&mut self, spares: &mut Spares) {
        self.input_ended = true;
        self.input.clear(spares);
        self.note_reserved();
    }

    /// Adjusts the estimated size of a key's reply: at once to a larger one, by 1/8 to a smaller one.
    pub(super) fn learn(&mut self, reply_bytes: usize) {
        self.reply_guess = next_guess(self.reply_guess, reply_bytes);
    }
}

impl Mux {
    /// A new client.
    pub fn open_client(&mut self) -> ClientId {
        self.shared.stats.client_connections.add(1);
        self.shared.stats.client_accepts.add(1);
        let clients = &mut self.clients.list;
        let id = ClientId::new(clients.vacant_key(), self.shared.next_generation());
        let Options { protocol, redis, .. } = &self.shared.options;
        clients.insert(Client::new(id, protocol.open_session(redis, id.to_bits())));
        id
    }

    /// Whether the client is still there.
    pub fn has_client(&self, id: ClientId) -> bool {
        self.clients.list.get(id.index()).is_some_and(|client| client.id == id)
    }

    /// Whether the client's socket should be read.
    pub fn wants_read(&self, id: ClientId) -> bool {
        let client = &self.clients[id];
        client.hold == Hold::No && !client.input_ended && !client.must_close
    }

    /// Whether the client will send no more, or is not listened to any more.
    pub fn has_ended(&self, id: ClientId) -> bool {
        let client = &self.clients[id];
        client.input_ended || client.must_close
    }

    /// Whether the client was given up for the memory it held. Its replies are gone.
    pub fn is_shed(&self, id: ClientId) -> bool {
        self.clients[id].must_close
    }

    /// Whether the client has had all its replies and can be closed.
    pub fn is_done(&self, id: ClientId) -> bool {
        let client = &self.clients[id];
        let answered = client.input_ended && client.queue.head().is_none() && client.out.is_empty();
        client.must_close || answered
    }

    /// Whether the client has requests in flight whose replies will follow what it has now.
    pub fn expects_more(&self, id: ClientId) -> bool {
        self.clients[id].queue.head().is_some()
    }

    /// Whether the client has neither asked nor got anything that is not finished.
    pub fn is_idle(&self, id: ClientId) -> bool {
        let client = &self.clients[id];
        client.queue.head().is_none() && client.out.is_empty() && client.input.is_empty()
    }

    /// The bytes to be written to the client.
    pub fn client_output(&self, id: ClientId) -> &[u8] {
        self.clients[id].out.as_slice()
    }

    /// Where a large request may be read to, past what of it is there. Call
    /// [`Mux::handle_client_filled`] when it was tried, whatever came of it. None if the client is not
    /// in the middle of one, nor likely to send one next.
    pub fn client_input(&mut self, id: ClientId) -> Option<&mut Vec<u8>> {
        let client = &mut self.clients[id];
        let likely = client.request_guess as usize;
        let need = if client.input.is_empty() { likely } else { client.need };
        client.input.room_for_large(need, likely, &mut self.shared.spares)
    }

    /// Takes a client's bytes. In line with the read, as nearly always they are whole requests:
    /// what else they may be is out of the way.
    #[inline(always)]
    pub fn handle_client_bytes(&mut self, id: ClientId, bytes: &[u8], now: Instant) {
        self.shared.stats.request_bytes.add(bytes.len() as u64);
        let client = &self.clients[id];
        if client.input_ended {
            return;
        }
        let is_alone = client.input.is_empty();
        let rest = if is_alone { bytes } else { self.complete_input(id, bytes, now) };
        if rest.is_empty() {
            return;
        }
        let used = self.take_requests(id, rest, now);
        if used < rest.len() {
            self.keep_input(id, &rest[used..]);
        }
    }

    /// Takes the requests that began with what the client sent before. Says what is left of `bytes`:
    /// nothing, if it was the end of the client.
    #[inline(never)]
    fn complete_input<'a>(&mut self, id: ClientId, bytes: &'a [u8], now: Instant) -> &'a [u8] {
        let mut rest = bytes;
        while !rest.is_empty() && !self.clients[id].input.is_empty() {
            let client = &mut self.clients[id];
            let count = client.input.top_up(rest, client.need, &mut self.shared.spares);
            self.take_input(id, now);
            let client = &mut self.clients[id];
            let back = client.input.give_back(count, &mut self.shared.spares);
            client.note_reserved();
            rest = &rest[count - back..];
        }
        if self.clients[id].input_ended { b"" } else { rest }
    }

    /// Keeps bytes of which no request can be taken yet.
    #[inline(never)]
    fn keep_input(&mut self, id: ClientId, bytes: &[u8]) {
        let client = &mut self.clients[id];
        if !client.input_ended {
            client.input.tail(&mut self.shared.spares).extend_from_slice(bytes);
            self.clients.mark(id);
            // At once: a thousand clients may send half a request in the same turn.
            self.clients.account_now(&mut self.shared, id);
        }
    }

    /// As [`Mux::handle_client_bytes`], when `count` bytes were read into [`Mux::client_input`], or none could be.
    pub fn handle_client_filled(&mut self, id: ClientId, count: usize, now: Instant) {
        self.shared.stats.request_bytes.add(count as u64);
        let client = &mut self.clients[id];
        if client.input.is_empty() {
            client.input.clear(&mut self.shared.spares);
            client.note_reserved();
        } else {
            self.take_input(id, now);
        }
    }

    /// The client will send no more; its replies still leave. Say so only while
    /// [`Mux::wants_read`]: requests that wait because the client is held are thrown away.
    pub fn handle_client_eof(&mut self, id: ClientId) {
        self.shared.stats.client_eof.add(1);
        self.clients.end_input(&mut self.shared, id);
    }

    /// Notes that `count` bytes of the output were written.
    pub fn handle_client_written(&mut self, id: ClientId, count: usize) {
        self.shared.stats.response_bytes.add(count as u64);
        let client = &mut self.clients.list[id.index()];
        client.out.consume(count, &mut self.shared.spares);
        client.account_less(&mut self.clients.memory);
        if client.hold == Hold::Own {
            self.clients.reconsider(&self.shared, id);
        }
    }

    /// The client is gone, for whatever reason. What it asked for is thrown away when it comes.
    pub fn close_client(&mut self, id: ClientId) {
        let dedicated = self.clients[id].dedicated.take();
        self.clients.close(&mut self.shared, id);
        if let Some(conn) = dedicated {
            self.servers.retire((&mut self.shared, &mut self.clients), conn);
        }
    }

    /// Takes requests from what the client sent before.
    pub(super) fn take_input(&mut self, id: ClientId, now: Instant) {
        let client = &mut self.clients[id];
        if client.input.len() < client.need || client.hold != Hold::No {
            client.note_reserved();
            return self.clients.account(&mut self.shared, id);
        }
        let mut input = mem::take(&mut client.input);
        client.note_read();
        self.clients.move_min = if client.skip == 0 { input.split_min() } else { usize::MAX };
        let mut used = self.take_requests(id, input.as_slice(), now);
        while let Some(conn) = self.clients.moves.take() {
            input = self.move_request(conn, input, used);
            used = self.take_requests(id, input.as_slice(), now);
        }
        self.clients.move_min = usize::MAX;
        input.consume(used, &mut self.shared.spares);
        let client = &mut self.clients[id];
        if !matches!(client.hold, Hold::Server | Hold::Moves) {
            client.waits_since = None;
        }
        if client.input_ended {
            input.clear(&mut self.shared.spares);
        } else if client.need < LARGE {
            input.shrink(&mut self.shared.spares);
        }
        client.input = input;
        client.note_reserved();
        self.clients.mark(id);
        self.clients.account(&mut self.shared, id);
    }

    /// Takes the requests at the head of `bytes`. Says how many bytes they were.
    fn take_requests(&mut self, id: ClientId, bytes: &[u8], now: Instant) -> usize {
        self.arbitrate(now);
        let mut used = 0;
        self.clients[id].need = 0;
        if !self.may_ask(id, now) {
            return 0;
        }
        let mut left = TURN_REQUESTS;
        let has_room = self.shared.has_resp3();
        let mut room = if has_room { mem::take(&mut self.shared.room) } else { Room::default() };
        while used < bytes.len() {
            let client = &mut self.clients[id];
            if client.skip > 0 {
                used += client.skip(bytes.len() - used);
                continue;
            }
            if client.hold != Hold::No {
                break;
            }
            if left == 0 {
                // The others are served first.
                self.clients.make_resumable(id);
                break;
            }
            left -= 1;
            if client.requests >= self.shared.signs.requests {
                client.note_bulk(&self.shared.signs);
            }
            if !client.fits_window(&self.shared.options.limits) {
                self.shared.stats.limit_client_paused.add(1);
                self.clients.hold(id, Hold::Own);
                break;
            }
            let rest = &bytes[used..];
            // By reference: a request is large, and would be moved to be taken.
            let Options { protocol, limits, .. } = &self.shared.options;
            let (session, scan) = (&mut client.session, &mut client.scan);
            match &protocol.parse_request(rest, scan, session, limits, &mut room) {
                Parsed::Request(request, len) => match self.take(id, request, now) {
                    Intake::Accepted => {
                        used += len;
                        // What comes next did not have to wait itself.
                        self.shared.begun = None;
                    }
                    Intake::Moves => {
                        used += len;
                        self.shared.begun = None;
                        break;
                    }
                    Intake::Blocked => break,
                    Intake::Closed => {
                        used = bytes.len();
                        break;
                    }
                },
                Parsed::PartialLine => {
                    self.clients[id].scan.at = rest.len();
                    break;
                }
                Parsed::Partial(need) => {
                    let client = &mut self.clients[id];
                    client.need = *need;
                    // Known before the request is sent, so the first one does no harm already.
                    client.note_size(*need, &self.shared.signs);
                    break;
                }
            }
            // Only the first bytes of a buffer can leave with its memory.
            self.clients.move_min = usize::MAX;
        }
        if has_room {
            self.shared.room = room;
        }
        used
    }
}
