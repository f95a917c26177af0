//! What a server has missed while it was away is removed there before it is used again.
//!
//! The one rule: a removal counts as done with its reply, and what is not done is tried again.

use super::conn::Pending;
use super::id::{ConnId, ServerId};
use super::journal::{Ending, Note, Removal, Why};
use super::server::Servers;
use super::waiter::Waiter;
use super::{Event, Mux};
use crate::error::ServerError;
use crate::health::{OnOverflow, Report, Standing};
use crate::message::{Class, Expect};
use crate::protocol::MOVE_NEEDS;
use crate::time::Instant;
use alloc::vec::Vec;
use core::mem;

/// How many removals are on their way to a server at the same time.
const REPLAYS_MAX: usize = 256;

impl Mux {
    /// Removes from a server what it has missed, as far as it is known.
    pub(super) fn begin_replay(
        &mut self,
        id: ServerId,
        standing: Standing,
        round: u32,
        now: Instant,
    ) {
        let ejection = self.shared.options.ejection.unwrap_or_default();
        let server = &mut self.servers.all[id.index()];
        server.health.standing = standing;
        server.replay_round = Some(round);
        if let Some(journal) = &mut server.journal {
            // What could not be remembered goes with all the rest.
            let is_cold = journal.has_overflowed() && ejection.on_overflow == OnOverflow::Flush;
            if is_cold && !journal.has_flush() {
                let mut request = Vec::new();
                let expect = self.shared.options.protocol.write_flush(&mut request);
                journal.note_flush(request, expect);
            }
        }
        self.servers.note_standings(&self.shared);
        self.go_on_replaying(id, now);
    }

    /// Removes from a server that has got a share of its keys what it misses of the others, once half of its journal
    /// is full: an overflow would empty the server, with the keys that it has got.
    pub(super) fn relieve_journal(&mut self, id: ServerId, bytes_max: usize, now: Instant) {
        let journal = self.servers.all[id.index()].journal.as_ref();
        // What the server refuses is tried again in the next step only.
        if journal.is_some_and(|it| it.bytes() > bytes_max / 2 && !it.was_refused) {
            self.go_on_replaying(id, now);
        }
    }

    fn go_on_replaying(&mut self, id: ServerId, now: Instant) {
        let conn = self.servers.lane(0, id);
        let limits = self.shared.options.limits;
        while let Some(journal) = &mut self.servers.all[id.index()].journal {
            if journal.on_their_way >= REPLAYS_MAX.min(limits.server_requests_max) {
                return;
            }
            let Some(what) = journal.next() else { break };
            // A server that knows no meta commands has no key that needs one.
            if self.is_impossible(conn, &what) {
                continue;
            }
            let Some(journal) = &mut self.servers.all[id.index()].journal else { break };
            journal.on_their_way += 1;
            let note = Note { server: id, journal: journal.number, what, why: Why::Missed };
            self.remove(conn, note, now);
        }
        let server = &mut self.servers.all[id.index()];
        if server.journal.as_ref().is_none_or(|journal| journal.on_their_way == 0)
            && let Some(round) = server.replay_round.take()
        {
            self.report(id, Report::Done(round));
        }
    }

    /// Whether a server can't have the key of a removal: one that knows no meta commands has no key that needs
    /// one.
    fn is_impossible(&self, conn: ConnId, what: &Removal) -> bool {
        let Removal::Key(key) = what else { return false };
        let needs_meta = self.shared.options.protocol.removal_needs_meta(key);
        needs_meta && self.servers.lacking(conn, MOVE_NEEDS).is_some()
    }

    /// Sends a removal.
    pub(super) fn remove(&mut self, conn: ConnId, note: Note, now: Instant) {
        let protocol = self.shared.options.protocol;
        let mut request = self.shared.spares.take();
        let expect = match &note.what {
            Removal::Key(key) => protocol.write_removal(key, &mut request),
            Removal::All(bytes, expect) => {
                request.extend_from_slice(bytes);
                *expect
            }
        };
        self.send_note(conn, note, (&request, expect), now);
        self.shared.spares.give(request);
    }

    /// Sends a request of our own.
    pub(super) fn send_note(
        &mut self,
        conn: ConnId,
        note: Note,
        (request, expect): (&[u8], Expect),
        now: Instant,
    ) {
        let waiter = Waiter::Note(self.clients.notes.add(note));
        let pending =
            Pending { is_removal: true, ..Pending::new(waiter, expect, Class::Other, now) };
        self.servers.send(&mut self.shared, conn, pending, (b"", b""), |out| {
            out.extend_from_slice(request);
        });
    }

    #[cold]
    pub(super) fn take_notes(&mut self, now: Instant) {
        while let Some((note, ending)) = self.clients.notes.next_ended() {
            let Note { server: id, journal: number, what, why } = note;
            if !self.servers.has(id) {
                continue;
            }
            if matches!(why, Why::Cap | Why::Uncapped(_)) {
                self.end_cap(id, (what, why), ending, now);
                continue;
            }
            let server = &mut self.servers.all[id.index()];
            // One of an earlier journal says nothing.
            let journal = server.journal.as_mut().filter(|journal| journal.number == number);
            let Some(journal) = journal else { continue };
            match (why, what) {
                (Why::StandsIn(ring, since), Removal::Key(key)) => {
                    let place = self.servers.routes.place_of(&key);
                    match ending {
                        Ending::Done => journal.note_clean(place, (ring, since)),
                        Ending::Refused | Ending::Lost => journal.note_unclean(place),
                    }
                }
                (Why::StandsIn(..), Removal::All(..)) => {}
                (_, what) => {
                    journal.on_their_way -= 1;
                    self.end_removal(id, what, ending);
                    if self.servers.all[id.index()].replay_round.is_some() {
                        self.go_on_replaying(id, now);
                    }
                }
            }
            self.servers.publish_journal(id);
        }
    }

    /// A removal from a server that comes back has ended. What is not done is tried again later.
    fn end_removal(&mut self, id: ServerId, what: Removal, ending: Ending) {
        let server = &mut self.servers.all[id.index()];
        let Some(journal) = &mut server.journal else { return };
        let error = match ending {
            Ending::Done => return server.stats.more.replayed.add(1),
            Ending::Refused => {
                server.stats.more.removals_refused.add(1);
                if !mem::replace(&mut journal.was_refused, true) {
                    self.shared.events.push_back(Event::RemovalRefused { server: id });
                }
                if journal.forgives {
                    return;
                }
                ServerError::Unremoved
            }
            Ending::Lost => ServerError::Other,
        };
        let before = journal.bytes();
        match what {
            Removal::All(request, expect) => journal.note_flush(request, expect),
            Removal::Key(key) => journal.give_back(self.servers.routes.place_of(&key).0, key),
        }
        self.clients.memory += journal.bytes() - before;
        if let Some(round) = server.replay_round.take() {
            self.report(id, Report::Failed(round, error));
        }
    }
}

impl Servers {
    /// Brings the figures of a server's journal up to date.
    pub(super) fn publish_journal(&self, id: ServerId) {
        let server = &self.all[id.index()];
        if let Some(journal) = &server.journal {
            server.stats.more.journal_keys.set(journal.len() as u64);
            server.stats.more.journal_bytes.set(journal.bytes() as u64);
        }
    }
}
