//! What binds a client to a server connection of its own: watched keys, a transaction, subscriptions.
//!
//! The one rule: the state here is that of the server's side once everything that was sent is answered.
//! Only what was sent, and what was answered, changes it.

use super::frame;
use super::merge::Elements;
use crate::message::Step;
use alloc::vec::Vec;

/// Bytes of commands that are kept.
const KEPT_MAX: usize = 4 * 1024;

/// How far a transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transaction {
    /// There is none.
    None,
    /// The client said `MULTI`; no server knows yet, as no key has said which.
    Begun,
    /// A server queues its commands.
    Open,
}

/// What a client has on the connection that it alone uses.
#[derive(Debug)]
pub(super) struct Binding {
    pub(super) transaction: Transaction,
    /// Whether a command of the transaction was refused.
    pub(super) is_aborted: bool,
    pub(super) is_watching: bool,
    /// Commands of a transaction of which no server knows, none of which has a key.
    kept: Vec<u8>,
    channels: usize,
    patterns: usize,
    shard_channels: usize,
    /// Replies to `SUBSCRIBE` and the like that are still to come.
    awaited: usize,
}

impl Binding {
    pub(super) const NONE: Self = Self {
        transaction: Transaction::None,
        is_aborted: false,
        is_watching: false,
        kept: Vec::new(),
        channels: 0,
        patterns: 0,
        shard_channels: 0,
        awaited: 0,
    };

    /// Whether the server's side has something that is the client's own.
    pub(super) fn is_bound(&self) -> bool {
        self.is_watching || self.transaction == Transaction::Open || self.is_subscribed()
    }

    /// The commands that were kept.
    pub(super) fn kept(&self) -> &[u8] {
        &self.kept
    }

    /// Keeps a command of a transaction until a key says for which server it is. False if there are
    /// too many.
    pub(super) fn keep(&mut self, request: &[u8]) -> bool {
        let has_room = self.kept.len() + request.len() <= KEPT_MAX;
        if has_room {
            self.kept.extend_from_slice(request);
        }
        has_room
    }

    /// Whether the client has subscriptions, or will have.
    pub(super) fn is_subscribed(&self) -> bool {
        self.channels + self.patterns + self.shard_channels + self.awaited > 0
    }

    /// Whether it is not known yet which subscriptions there are.
    pub(super) fn is_changing(&self) -> bool {
        self.awaited > 0
    }

    /// How many subscriptions `UNSUBSCRIBE`, `PUNSUBSCRIBE` or `SUNSUBSCRIBE` would end.
    pub(super) fn count(&self, command: &str) -> usize {
        match command.as_bytes().first() {
            Some(b'p') => self.patterns,
            Some(b's') => self.shard_channels,
            _ => self.channels,
        }
    }

    /// How many the reply to such a command says are left.
    pub(super) fn left(&self, command: &str) -> usize {
        match command.as_bytes().first() {
            Some(b's') => self.shard_channels,
            _ => self.channels + self.patterns,
        }
    }

    /// A request was sent.
    pub(super) fn note_step(&mut self, step: Step, replies: u16) {
        match step {
            Step::Watch => self.is_watching = true,
            Step::Unwatch => self.is_watching = false,
            Step::Queue => {
                self.transaction = Transaction::Open;
                self.kept = Vec::new();
            }
            Step::End | Step::Abort => {
                (self.transaction, self.is_watching, self.is_aborted) =
                    (Transaction::None, false, false);
                self.kept = Vec::new();
            }
            Step::Subscribe => self.awaited += usize::from(replies),
            Step::Block | Step::Reset => {}
        }
    }

    /// A reply to `SUBSCRIBE` or the like came: what happened to one channel, and how many subscriptions
    /// there are then.
    pub(super) fn note_confirmation(&mut self, reply: &[u8]) {
        self.awaited = self.awaited.saturating_sub(1);
        if !matches!(reply.first(), Some(b'*' | b'>')) {
            return;
        }
        let mut elements = Elements::of(reply);
        let kind = elements.next().and_then(frame::text).unwrap_or_default();
        let count = elements.nth(1).map_or(0, super::merge::number);
        let count = usize::try_from(count).unwrap_or(0);
        match kind {
            b"subscribe" | b"unsubscribe" => self.channels = count.saturating_sub(self.patterns),
            b"psubscribe" | b"punsubscribe" => self.patterns = count.saturating_sub(self.channels),
            b"ssubscribe" | b"sunsubscribe" => self.shard_channels = count,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn confirmations_tell_how_many_subscriptions_of_each_kind_there_are() {
        let mut binding = Binding::NONE;
        binding.note_step(Step::Subscribe, 2);
        assert!(binding.is_subscribed() && binding.is_changing());
        binding.note_confirmation(b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n");
        assert!(binding.is_changing());
        binding.note_confirmation(b"*3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n");
        assert!(!binding.is_changing());
        assert_eq!((binding.count("unsubscribe"), binding.count("punsubscribe")), (2, 0));
        binding.note_confirmation(b">3\r\n$10\r\npsubscribe\r\n$1\r\n*\r\n:3\r\n");
        assert_eq!((binding.count("unsubscribe"), binding.count("punsubscribe")), (2, 1));
        binding.note_confirmation(b">3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:2\r\n");
        binding.note_confirmation(b">3\r\n$12\r\npunsubscribe\r\n$1\r\n*\r\n:1\r\n");
        assert_eq!((binding.count("unsubscribe"), binding.count("punsubscribe")), (1, 0));
        binding.note_confirmation(b"*3\r\n$11\r\nunsubscribe\r\n$1\r\nb\r\n:0\r\n");
        assert!(!binding.is_bound());
    }

    #[test]
    fn a_client_is_bound_from_the_first_watched_key_to_the_end_of_the_transaction() {
        let mut binding = Binding::NONE;
        for (step, is_bound) in [
            (Step::Block, false),
            (Step::Watch, true),
            (Step::Unwatch, false),
            (Step::Queue, true),
            (Step::End, false),
        ] {
            binding.note_step(step, 1);
            assert_eq!(binding.is_bound(), is_bound, "{step:?}");
        }
    }
}
