//! What the operator wants of a server.
//!
//! The one rule: what the operator does is no failure of the server.

use super::seat::State;
use super::{Arbiter, Order, Share, To};
use crate::error::ServerError;
use crate::health::Command;
use crate::time::Instant;
use core::time::Duration;

/// How long clients may take to end what they have begun on a server that is drained.
const DRAIN_MAX: Duration = Duration::from_secs(10);

impl Arbiter {
    /// Does what the operator wants. Returns whether it can be done.
    pub fn command(&mut self, server: u64, command: Command, now: Instant) -> bool {
        if !self.seats.contains_key(&server) {
            return false;
        }
        match command {
            Command::Drain => self.drain(server, now),
            Command::Eject => self.eject_by_operator(server, now),
            Command::Return => self.let_return(server, now),
        }
        true
    }

    fn drain(&mut self, server: u64, now: Instant) {
        let seat = self.seat(server);
        seat.is_held = true;
        match seat.state {
            State::Live | State::Warming(_) => {}
            // Clients may have begun something there with a key that has returned.
            State::Replaying(..) | State::Closing(..) if seat.share != Share::NONE => {
                self.stop_return(server, now);
            }
            State::Replaying(..) | State::Closing(..) => {
                return self.fall_back(server, ServerError::Ejected, now);
            }
            State::Draining(..) | State::Leaving(..) | State::Away(_) => return,
        }
        self.seat(server).error = ServerError::Ejected;
        let state = State::Draining(self.workers, now.after(DRAIN_MAX));
        self.decide_together(server, state, Order::Drain);
    }

    fn eject_by_operator(&mut self, server: u64, now: Instant) {
        let seat = self.seat(server);
        seat.is_held = true;
        match seat.state {
            State::Replaying(..) | State::Closing(..) if seat.share == Share::NONE => {
                self.fall_back(server, ServerError::Ejected, now);
            }
            State::Live
            | State::Draining(..)
            | State::Warming(_)
            | State::Replaying(..)
            | State::Closing(..) => self.leave(server, ServerError::Ejected, now),
            State::Leaving(..) | State::Away(_) => {}
        }
    }

    fn let_return(&mut self, server: u64, now: Instant) {
        let seat = self.seat(server);
        (seat.is_held, seat.has_overflowed) = (false, false);
        match &mut seat.state {
            State::Away(probing) => {
                probing.next = now;
                self.decide(server, To::All, Order::Forgive);
            }
            State::Draining(..) => {
                seat.state = seat.in_use(now);
                self.decide(server, To::All, Order::Keep);
            }
            State::Warming(next) => *next = now,
            State::Live | State::Leaving(..) | State::Replaying(..) | State::Closing(..) => {}
        }
    }
}
