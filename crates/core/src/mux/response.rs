//! Takes a server's bytes, which become answers to the requests that wait for them.
//!
//! A server answers in the order it was asked, so the first [`Pending`] of a connection owns the
//! next reply. The one rule: a reply that does not fit its request, or that nobody asked for, is
//! the last thing believed of its connection. The connection is given up with all that waits on
//! it, and other connections, even to the same server, go on.

use super::conn::{Conn, ConnState, Pending};
use super::failure::{Blame, complete_with};
use super::id::ConnId;
use super::join::values_len;
use super::reply::Reply;
use super::server::{Answers, Servers};
use super::waiter::Waiter;
use super::{Event, Mux, Options, Shared};
use crate::buffer::Buffer;
use crate::error::ServerError;
use crate::message::{Outcome, Response};
use crate::protocol::Refusal;
use crate::spares::LARGE;
use crate::time::Instant;
use alloc::vec::Vec;
use core::mem;

impl Mux {
    /// Where a large reply may be read to, past what of it is there. Call
    /// [`Mux::handle_server_filled`] when it was tried, whatever came of it. None if the connection is not in the middle of one, nor likely to get one next.
    #[inline(always)]
    pub fn conn_input(&mut self, id: ConnId) -> Option<&mut Vec<u8>> {
        let conn = &mut self.servers[id];
        // Room for a reply like the last one and no more, so that it can be handed on as it is. The
        // last one that is due gets a byte more: if that stays free, nothing is left to be read.
        let is_last = conn.pending.len() <= 1;
        let is_read = || conn.pending.front().is_none_or(|pending| pending.class.is_read());
        let is_likely = conn.reply_guess >= LARGE && is_read();
        let likely = if is_likely { conn.reply_guess } else { 0 };
        let need = likely.max(conn.need) + usize::from(is_last);
        conn.input.room_for_large(need, likely + usize::from(is_last), &mut self.shared.spares)
    }

    /// Takes a server's bytes.
    #[inline(always)]
    pub fn handle_server_bytes(&mut self, id: ConnId, bytes: &[u8], now: Instant) {
        self.servers.take_bytes((&mut self.shared, &mut self.clients), id, bytes, now);
        if self.servers[id].is_dedicated {
            self.release_if_free(id);
        }
        self.arbitrate(now);
        self.take_steps(now);
        self.wake_waiters(id);
    }

    /// As [`Mux::handle_server_bytes`], when bytes were read into [`Mux::conn_input`], or could not be.
    pub fn handle_server_filled(&mut self, id: ConnId, now: Instant) {
        self.servers.take_filled((&mut self.shared, &mut self.clients), id, now);
        if self.servers[id].is_dedicated {
            self.release_if_free(id);
        }
        self.arbitrate(now);
        self.take_steps(now);
        self.wake_waiters(id);
    }
}

impl Servers {
    pub(super) fn take_bytes(
        &mut self,
        (shared, answers): (&mut Shared, &mut impl Answers),
        id: ConnId,
        bytes: &[u8],
        now: Instant,
    ) {
        let conn = &mut self.conns[id.index()];
        match conn.state {
            ConnState::Open => {}
            ConnState::Greeting => return self.take_greeting((shared, answers), id, bytes, now),
            ConnState::Closed | ConnState::Opening => return,
        }
        conn.note_heard(now);
        let is_alone = conn.input.is_empty();
        let rest =
            if is_alone { bytes } else { self.complete_input((shared, answers), id, bytes, now) };
        if rest.is_empty() {
            return;
        }
        let used = self.take_responses((shared, answers), id, rest, now);
        self.publish(id);
        if used < rest.len() {
            let input = &mut self.conns[id.index()].input;
            input.tail(&mut shared.spares).extend_from_slice(&rest[used..]);
        }
    }

    /// Takes the replies that began with what the server sent before. Says what is left of `bytes`:
    /// nothing, if the connection was given up.
    #[inline(never)]
    fn complete_input<'a>(
        &mut self,
        (shared, answers): (&mut Shared, &mut impl Answers),
        id: ConnId,
        bytes: &'a [u8],
        now: Instant,
    ) -> &'a [u8] {
        let mut rest = bytes;
        while !rest.is_empty() && !self.conns[id.index()].input.is_empty() {
            let conn = &mut self.conns[id.index()];
            let count = conn.input.top_up(rest, conn.need, &mut shared.spares);
            self.take_filled((shared, answers), id, now);
            let conn = &mut self.conns[id.index()];
            if conn.state != ConnState::Open {
                return b"";
            }
            rest = &rest[count - conn.input.give_back(count, &mut shared.spares)..];
        }
        rest
    }

    fn take_filled(
        &mut self,
        (shared, answers): (&mut Shared, &mut impl Answers),
        id: ConnId,
        now: Instant,
    ) {
        let conn = &mut self.conns[id.index()];
        if conn.input.is_empty() {
            conn.input.clear(&mut shared.spares);
        } else {
            conn.note_heard(now);
        }
        let is_whole = !conn.input.is_empty() && conn.input.len() >= conn.need;
        if conn.state != ConnState::Open || !is_whole {
            return;
        }
        let mut input = mem::take(&mut conn.input);
        if input.len() >= LARGE {
            input = self.move_response((shared, answers), id, input, now);
        }
        let used = self.take_responses((shared, answers), id, input.as_slice(), now);
        input.consume(used, &mut shared.spares);
        self.conns[id.index()].input = input;
        self.publish(id);
    }

    /// Takes the reply at the head of `input` with its memory, if it is most of it: copying a large
    /// reply costs as much as reading it. What follows it is left.
    fn move_response(
        &mut self,
        (shared, answers): (&mut Shared, &mut impl Answers),
        id: ConnId,
        input: Buffer,
        now: Instant,
    ) -> Buffer {
        let conn = &self.conns[id.index()];
        let is_whole = |pending: &Pending| !matches!(pending.waiter, Waiter::Fragment(..));
        let asked = conn.oldest_asked().filter(is_whole);
        let Some(pending) = asked.filter(|_| conn.skip == 0) else { return input };
        let scan = conn.scan;
        let input = match self.parse_head(shared, id, &pending, input.as_slice()) {
            Response::Whole { len, outcome } => match input.split_large(len, &mut shared.spares) {
                Ok((reply, rest)) => {
                    self.finish((shared, answers), id, &pending, (outcome, reply), now);
                    return rest;
                }
                Err(input) => input,
            },
            _ => input,
        };
        // What was looked at is parsed again.
        self.conns[id.index()].scan = scan;
        input
    }

    /// What stands at the head of a connection's bytes, which answers `pending`. In line, as the parser
    /// is not.
    #[inline(always)]
    fn parse_head(
        &mut self,
        shared: &Shared,
        id: ConnId,
        pending: &Pending,
        bytes: &[u8],
    ) -> Response {
        let conn = &mut self.conns[id.index()];
        let echo = &conn.echo.as_slice()[..pending.echo_len()];
        let echo = echo.split_at(pending.echo.0.into());
        let Options { protocol, limits, .. } = &shared.options;
        protocol.parse_reply(bytes, pending.expect, echo, &mut conn.scan, limits.item_size_max)
    }

    /// Takes the replies at the head of `bytes`. Says how many bytes they were, or all if the
    /// connection was given up.
    fn take_responses(
        &mut self,
        (shared, answers): (&mut Shared, &mut impl Answers),
        id: ConnId,
        bytes: &[u8],
        now: Instant,
    ) -> usize {
        let mut used = 0;
        let conn = &mut self.conns[id.index()];
        conn.need = 0;
        while used < bytes.len() {
            let conn = &mut self.conns[id.index()];
            if conn.skip > 0 {
                let skipped = conn.skip.min(bytes.len() - used);
                conn.skip -= skipped;
                used += skipped;
                continue;
            }
            let Some(pending) = conn.oldest_asked() else {
                let rest = &bytes[used..];
                match self.take_unasked((shared, answers), id, rest, now) {
                    Some(len) => used += len,
                    None if self.conns[id.index()].state == ConnState::Open => break,
                    None => return bytes.len(),
                }
                continue;
            };
            if shared.options.protocol.has_values(pending.expect) {
                let Some(len) = self.take_values((shared, answers), id, &pending, &bytes[used..])
                else {
                    self.give_up((shared, answers), id, Blame::Server, now);
                    return bytes.len();
                };
                used += len;
            }
            let rest = &bytes[used..];
            match self.parse_head(shared, id, &pending, rest) {
                Response::Whole { len, outcome } => {
                    if !answers.fits(shared, &pending, &rest[..len]) {
                        self.give_up((shared, answers), id, Blame::Server, now);
                        return bytes.len();
                    }
                    self.finish((shared, answers), id, &pending, (outcome, &rest[..len]), now);
                    used += len;
                }
                Response::TooLarge(len) => {
                    let here = len.min(rest.len());
                    self.skip_value((shared, answers), id, &pending, (len - here, now));
                    used += here;
                }
                Response::Excess { len, is_last } => {
                    self.drop_reply((shared, answers), id, &pending, (len, is_last, now));
                    used += len;
                    if !is_last {
                        self.conns[id.index()].need = rest.len() - len + 1;
                        break;
                    }
                }
                Response::Unasked(len) => {
                    self.pass_on((shared, answers), id, &rest[..len]);
                    used += len;
                }
                Response::Partial(need) => {
                    self.conns[id.index()].need = need;
                    break;
                }
                Response::Value { .. } | Response::Mismatch => {
                    self.give_up((shared, answers), id, Blame::Server, now);
                    return bytes.len();
                }
            }
        }
        used
    }

    /// Refuses a value that is larger than `item_size_max` (clients may have grown it with
    /// `append`), of which `missing` bytes are still to come; they are thrown away.
    #[cold]
    fn skip_value(
        &mut self,
        (shared, answers): (&mut Shared, &mut impl Answers),
        id: ConnId,
        pending: &Pending,
        (missing, now): (usize, Instant),
    ) {
        shared.stats.limit_item_size.add(1);
        self.conns[id.index()].skip = missing;
        match pending.waiter {
            Waiter::Fragment(join, _) => answers.refuse_values(shared, join),
            // The end of a fragment's values is still to come.
            Waiter::Nobody if shared.options.protocol.has_values(pending.expect) => {}
            Waiter::Slot(_) | Waiter::Move(_) | Waiter::Note(_) | Waiter::Nobody => {
                let error = shared.options.protocol.refusal(Refusal::TooLarge);
                self.settle(shared, id, pending, (Outcome::Error, error.len()), now);
                complete_with((shared, answers), pending, (Outcome::Error, error));
            }
        }
    }

    /// Takes what a server sends although nothing was asked. Says how many bytes it was; none if there
    /// is more to come, or if the connection was given up.
    #[cold]
    fn take_unasked(
        &mut self,
        (shared, answers): (&mut Shared, &mut impl Answers),
        id: ConnId,
        bytes: &[u8],
        now: Instant,
    ) -> Option<usize> {
        let Options { protocol, limits, .. } = &shared.options;
        let conn = &mut self.conns[id.index()];
        let has_owner = conn.owner.is_some();
        match protocol.parse_unasked(bytes, &mut conn.scan, limits.item_size_max, has_owner) {
            Response::Unasked(len) => {
                self.pass_on((shared, answers), id, &bytes[..len]);
                return Some(len);
            }
            Response::Partial(need) => conn.need = need,
            _ => self.give_up((shared, answers), id, Blame::Nobody, now),
        }
        None
    }

    /// Passes on what a server sent on its own account: to the client that alone uses the connection,
    /// or to nobody.
    fn pass_on(
        &self,
        (shared, answers): (&mut Shared, &mut impl Answers),
        id: ConnId,
        message: &[u8],
    ) {
        let Conn { owner, is_translated, .. } = self.conns[id.index()];
        let Some(owner) = owner else { return };
        let mut line = Vec::new();
        if is_translated {
            shared.options.protocol.translate_message(message, &mut line);
        }
        answers.push(shared, owner, if is_translated { &line } else { message });
    }

    /// Drops `len` bytes of a reply that is too large to be kept. Whoever waits for the reply is told
    /// at once; what is left of it comes for nobody.
    #[cold]
    fn drop_reply(
        &mut self,
        (shared, answers): (&mut Shared, &mut impl Answers),
        id: ConnId,
        pending: &Pending,
        (len, is_last, now): (usize, bool, Instant),
    ) {
        let server = self.conns[id.index()].server.index();
        self.all[server].stats.response_bytes.add(len as u64);
        if pending.waiter != Waiter::Nobody {
            shared.stats.limit_item_size.add(1);
            let error = shared.options.protocol.refusal(Refusal::TooLarge);
            if let Some(oldest) = self.conns[id.index()].pending.front_mut() {
                oldest.waiter = Waiter::Nobody;
            }
            complete_with((shared, answers), pending, (Outcome::Error, error));
        }
        if is_last {
            self.settle(shared, id, pending, (Outcome::Error, 0), now);
        }
    }

    /// A whole reply meets its request. In line, or each reply costs forty instructions more.
    #[inline(always)]
    fn finish(
        &mut self,
        (shared, answers): (&mut Shared, &mut impl Answers),
        id: ConnId,
        pending: &Pending,
        (outcome, reply): (Outcome, impl Reply),
        now: Instant,
    ) {
        let conn = &self.conns[id.index()];
        if conn.owner.is_some() || conn.is_translated {
            return self.finish_own((shared, answers), id, pending, (outcome, reply.bytes()), now);
        }
        self.settle(shared, id, pending, (outcome, reply.len()), now);
        answers.complete(shared, pending, outcome, reply);
    }

    /// A whole reply on a connection that only one client uses, or whose replies have to be translated.
    #[cold]
    fn finish_own(
        &mut self,
        (shared, answers): (&mut Shared, &mut impl Answers),
        id: ConnId,
        pending: &Pending,
        (outcome, reply): (Outcome, &[u8]),
        now: Instant,
    ) {
        self.settle(shared, id, pending, (outcome, reply.len()), now);
        let Conn { owner, is_translated, .. } = self.conns[id.index()];
        if let Some(owner) = owner {
            answers.observe(owner, pending, reply);
        }
        let mut line = mem::take(&mut shared.line);
        line.clear();
        if is_translated {
            shared.options.protocol.translate(pending.expect, reply, &mut line);
            complete_with((shared, answers), pending, (outcome, &line));
        } else {
            complete_with((shared, answers), pending, (outcome, reply));
        }
        shared.line = line;
        if let Some(owner) = owner.filter(|_| outcome.is_error()) {
            self.drop_further_replies((shared, answers), id, owner, now);
        }
    }

    /// Takes the oldest request, which is answered, off its connection. In line as [`Servers::finish`].
    #[inline(always)]
    pub(super) fn settle(
        &mut self,
        shared: &mut Shared,
        id: ConnId,
        pending: &Pending,
        (outcome, reply_bytes): (Outcome, usize),
        now: Instant,
    ) {
        if now.nanos_since(pending.begun) >= shared.slow.min {
            self.note_slow(shared, id, (pending, 0), Ok((outcome, reply_bytes)), now);
        }
        let conn = &mut self.conns[id.index()];
        if pending.class.is_read() {
            conn.learn(reply_bytes);
        }
        conn.pending.pop_front();
        conn.answered = now;
        conn.pending_bytes -= pending.bytes as usize;
        conn.expired = conn.expired.saturating_sub(1);
        if pending.echo != (0, 0) {
            conn.echo.advance(pending.echo_len());
        }
        let server = &mut self.all[conn.server.index()];
        let stats = &server.stats;
        stats.responses.add(1);
        stats.response_bytes.add(reply_bytes as u64);
        if server.is_down {
            server.is_down = false;
            stats.more.is_down.set(0);
            shared.events.push_back(Event::Answers { server: conn.server });
        }
        // A server may refuse a large value before it has all of it.
        if conn.unsent > conn.pending.len() {
            conn.unsent -= 1;
            conn.overdue = conn.overdue.saturating_sub(1);
            conn.unsent_bytes -= pending.bytes as usize;
        } else {
            let took = now.nanos_since(pending.written);
            stats.more.server_time[pending.class.label()].record(took);
        }
        // A late answer is none that was forwarded.
        if outcome == Outcome::Loading {
            self.note_loading(shared, id, now);
        } else if pending.waiter != Waiter::Nobody {
            server.health.note_success();
        }
        if self.leaving > 0 {
            self.retire_if_idle(shared, id);
        }
    }

    /// A server that loads its data is not ready to serve.
    #[cold]
    fn note_loading(&mut self, shared: &Shared, id: ConnId, now: Instant) {
        let server = self.conns[id.index()].server;
        self.all[server.index()].stats.more.errors[ServerError::Loading as usize].add(1);
        self.count_failure(shared, server, (ServerError::Loading, 1), now);
    }

    /// Takes the values of a fragment. `None` if the fragment did not ask for one of them.
    fn take_values(
        &self,
        (shared, answers): (&mut Shared, &mut impl Answers),
        id: ConnId,
        pending: &Pending,
        bytes: &[u8],
    ) -> Option<usize> {
        let taken = match pending.waiter {
            Waiter::Fragment(join, number) => answers.take_values(shared, (join, number), bytes),
            Waiter::Slot(_) | Waiter::Move(_) | Waiter::Note(_) | Waiter::Nobody => {
                let Options { protocol, limits, .. } = &shared.options;
                Some(values_len(*protocol, bytes, limits.item_size_max))
            }
        };
        let server = self.conns[id.index()].server.index();
        self.all[server].stats.response_bytes.add(taken.unwrap_or(0) as u64);
        taken
    }

    /// Gives up a connection whose bytes can't be trusted any longer.
    #[cold]
    pub(super) fn give_up(
        &mut self,
        (shared, answers): (&mut Shared, &mut impl Answers),
        id: ConnId,
        blame: Blame,
        now: Instant,
    ) {
        shared.stats.desync_total.add(1);
        self.abort_conn((shared, answers), id, (ServerError::Desync, blame), now);
    }
}
