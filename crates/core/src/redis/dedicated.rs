//! Requests that depend on what the client began: in a transaction, or with subscriptions.
//!
//! The one rule: within a transaction nothing is answered that its server does not queue, as the reply to
//! `EXEC` has one element for each command.

use super::binding::Transaction;
use super::command::{Action, Command, Dedicated, Keys, Local, ONE_SERVER, Permission};
use super::request::{Interpreter, Words, refused, why};
use super::response::{Form, shape};
use super::{PLACEHOLDER, write_bulk, write_header, write_integer};
use crate::message::{Class, Dedicate, Request, Step};
use crate::redis::KeyList;
use alloc::vec::Vec;

const NOT_IN_TRANSACTION: &[u8] = b"-ERR Command not allowed inside a transaction\r\n";

/// The most channels of one request.
const CHANNELS_MAX: usize = u16::MAX as usize;

/// Whether a client may say it with subscriptions and without, and it means the same.
fn is_for_subscribers(command: &Command) -> bool {
    matches!(
        command.action,
        Action::Local(Local::Quit | Local::Reset)
            | Action::Dedicated(
                Dedicated::Subscribe | Dedicated::SubscribePattern | Dedicated::Unsubscribe,
            )
    )
}

impl<'a> Interpreter<'a, '_> {
    /// The request, if the state of the client decides what becomes of it.
    pub(super) fn in_state(
        &mut self,
        command: &Command,
        words: Words<'a>,
        answer: &mut Vec<u8>,
    ) -> Option<Request<'a>> {
        let binding = self.session.binding();
        if binding.transaction != Transaction::None {
            return self.in_transaction(command, words);
        }
        let is_hello = command.action == Action::Local(Local::Hello);
        let depends = is_hello || !self.session.is_resp3() && !is_for_subscribers(command);
        if binding.is_changing() && depends {
            // Which subscriptions are left is known when the replies are here.
            let mut later = self.dedicate_to(command, words, Step::Block, None);
            later.replies = 0;
            return Some(Request::Dedicated(later));
        }
        if binding.is_bound() && command.action == Action::Local(Local::Reset) {
            return Some(self.dedicate(command, words, Step::Reset));
        }
        if binding.is_bound() && is_hello {
            let error =
                b"-ERR HELLO is not possible while keys are watched or channels subscribed \
                to: use RESET before\r\n";
            return Some(refused(error));
        }
        if !binding.is_subscribed() || self.session.is_resp3() {
            return None;
        }
        match command.action {
            Action::Local(Local::Ping) => {
                write_header(b'*', 2, answer);
                write_bulk(b"pong", answer);
                write_bulk(words.after.clone().next().unwrap_or_default(), answer);
                None
            }
            _ if is_for_subscribers(command) => None,
            _ => {
                answer.extend_from_slice(b"-ERR Can't execute '");
                answer.extend_from_slice(command.name.as_bytes());
                answer.extend_from_slice(
                    b"': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in \
                      this context\r\n",
                );
                None
            }
        }
    }

    /// A command of a transaction.
    fn in_transaction(&mut self, command: &Command, words: Words<'a>) -> Option<Request<'a>> {
        match command.action {
            Action::Dedicated(Dedicated::Multi | Dedicated::Exec | Dedicated::Discard)
            | Action::Local(Local::Quit)
            | Action::Refused(_) => None,
            Action::Local(Local::Reset) => Some(self.dedicate(command, words, Step::Reset)),
            Action::Dedicated(Dedicated::Watch) => {
                Some(refused(b"-ERR WATCH inside MULTI is not allowed\r\n"))
            }
            Action::Dedicated(Dedicated::Blocking | Dedicated::Unwatch)
            | Action::Local(Local::Ping | Local::Echo)
            | Action::Keyed
            | Action::Split(_)
            | Action::Any
            | Action::MayBlock => Some(self.dedicate(command, words, Step::Queue)),
            Action::All(_, Permission::None)
            | Action::Dedicated(Dedicated::Kill)
            | Action::Scan
            | Action::OneServer(_) => {
                let alone =
                    b"-ERR inside MULTI, a pool of several servers takes only commands with \
                    keys\r\n";
                Some(self.dedicate_alone(command, words, Step::Queue, Some(alone)))
            }
            Action::All(..) | Action::Local(_) | Action::Dedicated(_) => {
                self.session.note_refused();
                Some(refused(NOT_IN_TRANSACTION))
            }
        }
    }

    /// A command that needs a connection of its own, outside of a transaction or at its ends.
    pub(super) fn dedicated(
        self,
        command: &Command,
        words: Words<'a>,
        dedicated: Dedicated,
        answer: &'a mut Vec<u8>,
    ) -> Request<'a> {
        let binding = self.session.binding();
        let (transaction, is_watching) = (binding.transaction, binding.is_watching);
        match dedicated {
            Dedicated::Watch => self.dedicate(command, words, Step::Watch),
            Dedicated::Unwatch if is_watching => self.dedicate(command, words, Step::Unwatch),
            Dedicated::Unwatch => Request::Answer(b"+OK\r\n"),
            Dedicated::Multi if transaction == Transaction::None => {
                self.session.binding_mut().transaction = Transaction::Begun;
                Request::Answer(b"+OK\r\n")
            }
            Dedicated::Multi => refused(b"-ERR MULTI calls can not be nested\r\n"),
            Dedicated::Exec if transaction == Transaction::None => {
                refused(b"-ERR EXEC without MULTI\r\n")
            }
            Dedicated::Discard if transaction == Transaction::None => {
                refused(b"-ERR DISCARD without MULTI\r\n")
            }
            Dedicated::Exec | Dedicated::Discard => {
                let is_exec = dedicated == Dedicated::Exec;
                let is_aborted = binding.is_aborted && is_exec;
                let has_kept = is_exec && !binding.kept().is_empty();
                if transaction == Transaction::Open || is_watching || has_kept {
                    let step = if is_aborted { Step::Abort } else { Step::End };
                    return self.dedicate(command, words, step);
                }
                // No server knows of it.
                self.session.binding_mut().note_step(Step::End, 1);
                if is_aborted {
                    return refused(super::ABORTED);
                }
                Request::Answer(if is_exec { b"*0\r\n" } else { b"+OK\r\n" })
            }
            Dedicated::Blocking => self.dedicate(command, words, Step::Block),
            Dedicated::Kill => {
                why((words.container, command.name), ONE_SERVER, answer);
                let mut request = self.dedicate_to(command, words, Step::Block, Some(answer));
                request.one.expect = Form::of_class(command.class).expect();
                Request::Dedicated(request)
            }
            Dedicated::Subscribe => self.subscribe(command, words, None),
            Dedicated::SubscribePattern => {
                let alone =
                    b"-ERR PSUBSCRIBE needs a pool of one server: a pattern has channels on \
                    every server\r\n";
                self.subscribe(command, words, Some(alone))
            }
            Dedicated::Unsubscribe => self.unsubscribe(command, words, answer),
        }
    }

    fn subscribe(
        self,
        command: &Command,
        words: Words<'a>,
        alone: Option<&'a [u8]>,
    ) -> Request<'a> {
        let channels = words.arguments.len();
        let Some(replies) = u16::try_from(channels).ok().filter(|_| channels <= CHANNELS_MAX)
        else {
            return refused(b"-ERR too many channels in one request\r\n");
        };
        self.confirmed(command, words, alone, replies)
    }

    /// A request that has a reply for each channel.
    fn confirmed(
        self,
        command: &Command,
        words: Words<'a>,
        alone: Option<&'a [u8]>,
        replies: u16,
    ) -> Request<'a> {
        let mut request = self.dedicate_to(command, words, Step::Subscribe, alone);
        request.one.expect = Form::Confirmations.expect();
        request.replies = replies;
        Request::Dedicated(request)
    }

    fn unsubscribe(
        self,
        command: &Command,
        words: Words<'a>,
        answer: &'a mut Vec<u8>,
    ) -> Request<'a> {
        let (channels, binding) = (words.arguments.len(), self.session.binding());
        if !binding.is_subscribed() {
            let left = binding.left(command.name);
            let is_resp3 = self.session.is_resp3();
            let mut confirm = |channel: Option<&[u8]>| {
                write_header(if is_resp3 { b'>' } else { b'*' }, 3, answer);
                write_bulk(command.name.as_bytes(), answer);
                match channel {
                    Some(channel) => write_bulk(channel, answer),
                    None if is_resp3 => answer.extend_from_slice(b"_\r\n"),
                    None => answer.extend_from_slice(b"$-1\r\n"),
                }
                write_integer(i64::try_from(left).unwrap_or(i64::MAX), answer);
            };
            if channels == 0 {
                confirm(None);
            }
            words.arguments.for_each(|channel| confirm(Some(channel)));
            return Request::Answer(answer);
        }
        let replies = match channels {
            0 if binding.is_changing() => 0,
            0 => binding.count(command.name).max(1),
            channels => channels,
        };
        match u16::try_from(replies) {
            Ok(replies) => {
                // The client's channels are where the client is bound to, wherever their names lead.
                let command = Command { keys: Keys::None, ..*command };
                self.confirmed(&command, words, None, replies)
            }
            Err(_) => refused(b"-ERR too many channels in one request\r\n"),
        }
    }

    fn dedicate(&self, command: &Command, words: Words<'a>, step: Step) -> Request<'a> {
        self.dedicate_alone(command, words, step, None)
    }

    fn dedicate_alone(
        &self,
        command: &Command,
        words: Words<'a>,
        step: Step,
        alone: Option<&'a [u8]>,
    ) -> Request<'a> {
        Request::Dedicated(self.dedicate_to(command, words, step, alone))
    }

    fn dedicate_to(
        &self,
        command: &Command,
        words: Words<'a>,
        step: Step,
        alone: Option<&'a [u8]>,
    ) -> Dedicate<'a> {
        // A server refuses a request whose keys can't be found, whichever it is.
        let mut others = KeyList::find(command.keys, words.arguments).unwrap_or_default();
        let first = others.next();
        let key = if step == Step::Reset { b"+RESET\r\n" } else { first.unwrap_or(PLACEHOLDER) };
        let mut one = self.one(command, key);
        if step == Step::Block {
            one.expect = Form::Blocking.expect_in(shape(one.expect));
        }
        if step == Step::Queue {
            // The reply says only that the server has queued it.
            one.class = Class::Other;
        }
        Dedicate { one, others, has_key: first.is_some(), alone, step, replies: 1 }
    }
}
