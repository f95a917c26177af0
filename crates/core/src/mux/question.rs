//! Questions about the proxy itself: a client asks, and the embedder answers.
//!
//! The engine knows its own figures only, so it hands such a request out. A question stands in its
//! client's queue like any request, and its answer leaves in its turn. The one rule: a question is
//! answered once, whether its client is still there or not.

use super::clients::Clients;
use super::id::ClientId;
use super::request::Intake;
use super::slots::{SlotId, State};
use super::{Mux, Shared};
use crate::protocol::Session;
use alloc::vec::Vec;
use core::mem;

/// What a client asks about the proxy. Hand it back with [`Mux::answer_question`].
#[must_use = "requests behind a question wait for its answer"]
#[derive(Debug)]
pub struct Question {
    slot: SlotId,
    client: ClientId,
    what: Vec<u8>,
}

/// Questions of one turn; more are for the next one. A client that is given up goes with its requests
/// at the end of the turn only, and questions are the only ones that no server's queue bounds.
const QUESTIONS_MAX: usize = 1024;

impl Question {
    /// The request as the client wrote it, without the end of its line: `stats settings`.
    pub fn what(&self) -> &[u8] {
        &self.what
    }

    /// Who asks.
    pub fn client(&self) -> ClientId {
        self.client
    }
}

impl Mux {
    /// What a client has said about its connection.
    pub fn session(&self, id: ClientId) -> &Session {
        &self.clients[id].session
    }

    /// Whether [`Mux::next_question`] may have one.
    #[inline]
    pub fn has_questions(&self) -> bool {
        !self.clients.questions.is_empty()
    }

    /// The next question of a client. Each must be answered before the end of the turn: what the
    /// client has asked after it waits for the answer, and its memory is kept for so long.
    pub fn next_question(&mut self) -> Option<Question> {
        loop {
            let id = self.clients.questions.pop_front()?;
            let slot = self.clients.slots.slot(id);
            let what = mem::take(&mut slot.reply);
            if slot.state != State::Orphan {
                let client = slot.client;
                self.clients[client].overhead -= what.capacity();
                return Some(Question { slot: id, client, what });
            }
            // Its client went away before anybody looked.
            let client = self.clients.slots.remove(id).client;
            self.clients.end_gone(&self.shared, client);
            self.clients.reply_spares.give(what);
        }
    }

    /// Answers a question: the client gets these bytes as they are, after the replies to what it
    /// asked before. A client that went away meanwhile gets nothing, which is no error.
    pub fn answer_question(&mut self, question: Question, reply: &[u8]) {
        let slot = self.clients.slots.slot(question.slot);
        let (client, is_wanted) = (slot.client, slot.state == State::Waiting);
        if is_wanted && !self.clients[client].must_close {
            self.clients.answer(&mut self.shared, question.slot, reply);
            self.clients.account(&mut self.shared, client);
        } else {
            self.clients.answer(&mut self.shared, question.slot, &b""[..]);
        }
        self.clients.reply_spares.give(question.what);
    }
}

impl Clients {
    /// Keeps a question until the embedder looks. What it asks is kept where its answer will be. It
    /// counts as a key, so that a client has only as many questions in a turn as its window has room
    /// for answers.
    pub(super) fn take_question(
        &mut self,
        shared: &mut Shared,
        id: ClientId,
        what: &[u8],
    ) -> Intake {
        if self.questions.len() >= QUESTIONS_MAX {
            shared.stats.limit_client_paused.add(1);
            self.make_resumable(id);
            return Intake::Blocked;
        }
        let slot = self.insert_slot(shared, id, 1, State::Waiting);
        let mut kept = self.reply_spares.take();
        kept.extend_from_slice(what);
        self[id].overhead += kept.capacity();
        self.slots.slot(slot).reply = kept;
        self.questions.push_back(slot);
        Intake::Accepted
    }
}
