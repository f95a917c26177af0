//! Old servers of keys that move which can't be reached, and are given up.
//!
//! The one rule: a worker goes on without the values of an old server only when no worker asks for them any longer.
//! Otherwise one worker could bring back a value that another one has replaced or removed.

use super::{Arbiter, LEAVE_AGAIN, LEAVE_AGAIN_MAX, Order, To};
use crate::health::Decision;
use crate::time::Instant;
use alloc::vec::Vec;
use core::time::Duration;

/// An old server that workers are told to ask no more.
#[derive(Clone, Copy, Debug)]
pub(super) struct GivingUp {
    round: u32,
    /// How many workers have not confirmed.
    left: usize,
    /// When they are told again, and the wait before that.
    next: Instant,
    wait: Duration,
}

impl GivingUp {
    pub(super) fn next(&self) -> Instant {
        self.next
    }
}

impl Arbiter {
    pub(super) fn begin_giving_up(&mut self, server: u64, now: Instant) {
        if !self.giving_up.contains_key(&server) {
            self.tell_to_hold(server, LEAVE_AGAIN, now);
        }
    }

    /// A worker that does not know of the change yet confirms nothing, so all workers are told again.
    pub(super) fn tell_again_to_hold(&mut self, now: Instant) {
        let is_due = |it: &GivingUp| it.next <= now;
        let due = self.giving_up.iter().filter(|(_, it)| is_due(it));
        let due: Vec<(u64, Duration)> = due.map(|(server, it)| (*server, it.wait)).collect();
        for (server, wait) in due {
            self.tell_to_hold(server, (wait * 2).min(LEAVE_AGAIN_MAX), now);
        }
    }

    fn tell_to_hold(&mut self, server: u64, wait: Duration, now: Instant) {
        let round = self.next_round();
        let left = self.workers;
        self.giving_up.insert(server, GivingUp { round, left, next: now.after(wait), wait });
        let (to, order) = (To::All, Order::HoldMoves);
        self.decisions.push_back(Decision { server, to, order, round });
    }

    /// Notes that a worker asks the server no more. False if this round is another one.
    pub(super) fn confirm_held(&mut self, server: u64, round: u32) -> bool {
        let it = self.giving_up.get_mut(&server).filter(|it| it.round == round);
        let Some(it) = it else { return false };
        it.left -= 1;
        if it.left == 0 {
            self.giving_up.remove(&server);
            let (to, order) = (To::All, Order::GiveUp);
            self.decisions.push_back(Decision { server, to, order, round });
        }
        true
    }
}
