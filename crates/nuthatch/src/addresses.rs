//! The choice of one of a server's addresses.
//!
//! A value written to one address is not found at another. So the one rule: all workers start with
//! the same address, and use another address only after connecting to the first one failed and
//! connecting to the other succeeded, or if the name no longer resolves to the first one. An address
//! that accepts a connection and does not answer the greeting, as a full server, has failed. Workers
//! share only this choice and their counters; it is read when a connection is opened or lost, never
//! for a request.
//!
//! An open connection keeps its address until it is lost. So two connections may use two addresses
//! for a while, if both work and one of them failed for a moment. Closing the other connections
//! would fail their requests.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// An address that can be connected to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(out),
            Self::Unix(path) => path.display().fmt(out),
        }
    }
}

/// The state of one server's addresses in this process.
#[derive(Debug, Default)]
pub(crate) struct Addresses(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// The address at which an attempt starts.
    first: Option<Target>,
    /// The address that last closed a connection before the greeting was answered.
    last: Option<Target>,
    /// The address to which a connection was opened last.
    used: Option<Target>,
    /// What was tried last, in order.
    tried: Vec<Target>,
    /// The addresses with open connections, and their number.
    open: BTreeMap<Target, usize>,
}

impl Addresses {
    /// The order in which an attempt tries the resolved addresses: the address in use first, then
    /// the others in the order of the resolver.
    pub(crate) fn order(&self, answers: impl IntoIterator<Item = Target>) -> VecDeque<Target> {
        let mut known = self.known();
        let mut order = VecDeque::new();
        for answer in answers {
            if order.contains(&answer) {
                continue;
            }
            if known.first.as_ref() == Some(&answer) {
                order.push_front(answer);
            } else {
                order.push_back(answer);
            }
        }
        let last = order.iter().position(|answer| known.last.as_ref() == Some(answer));
        if let Some(last) = last.and_then(|last| order.remove(last)) {
            order.push_back(last);
        }
        // Other look-ups of the name at the same time start with this address, too, whatever their
        // order is.
        known.first = order.front().cloned().or_else(|| known.first.take());
        order
    }

    /// Notes what was tried.
    pub(crate) fn note_tried(&self, tried: &[Target]) {
        self.known().tried = tried.to_vec();
    }

    /// Notes that a connection was opened. Returns the address used before if it was another.
    pub(crate) fn note_open(&self, target: &Target) -> Option<Target> {
        let mut known = self.known();
        *known.open.entry(target.clone()).or_default() += 1;
        known.tried = vec![target.clone()];
        let first = known.first.replace(target.clone());
        let before = known.used.replace(target.clone()).or(first);
        before.filter(|before| before != target)
    }

    /// Notes that an open connection was closed, and whether its greeting had been answered.
    pub(crate) fn note_closed(&self, target: &Target, was_greeted: bool) {
        let mut known = self.known();
        if was_greeted {
            known.last.take_if(|last| last == target);
        } else {
            known.last = Some(target.clone());
        }
        if let Some(count) = known.open.get_mut(target) {
            *count -= 1;
            known.open.retain(|_, count| *count > 0);
        }
    }

    /// Where connections are open.
    pub(crate) fn connected_to(&self) -> Vec<String> {
        self.known().open.keys().map(Target::to_string).collect()
    }

    /// What was tried last, in order; where a connection was opened, if one was.
    pub(crate) fn tried(&self) -> Vec<String> {
        self.known().tried.iter().map(Target::to_string).collect()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(ports: &[u16]) -> Vec<Target> {
        ports.iter().map(|&port| Target::Tcp(([10, 0, 0, 1], port).into())).collect()
    }

    fn one(port: u16) -> Target {
        targets(&[port]).remove(0)
    }

    fn order(addresses: &Addresses, ports: &[u16]) -> Vec<Target> {
        addresses.order(targets(ports)).into()
    }

    #[test]
    fn the_order_is_the_resolvers_and_every_address_is_there_once() {
        assert_eq!(order(&Addresses::default(), &[2, 1, 2, 3, 1]), targets(&[2, 1, 3]));
    }

    #[test]
    fn an_address_that_answers_no_greeting_is_tried_last() {
        let addresses = Addresses::default();
        addresses.note_open(&one(1));
        addresses.note_closed(&one(1), false);
        assert_eq!(order(&addresses, &[1, 2, 3]), targets(&[2, 3, 1]));
        addresses.note_open(&one(2));
        addresses.note_closed(&one(2), false);
        assert_eq!(order(&addresses, &[1, 2, 3]), targets(&[1, 3, 2]));
        addresses.note_open(&one(1));
        addresses.note_closed(&one(1), true);
        assert_eq!(order(&addresses, &[1, 2, 3]), targets(&[1, 3, 2]));
        assert_eq!(order(&addresses, &[2]), targets(&[2]));
    }

    #[test]
    fn all_begin_at_the_same_address_even_before_one_is_connected_to() {
        let addresses = Addresses::default();
        assert_eq!(order(&addresses, &[1, 2]), targets(&[1, 2]));
        assert_eq!(order(&addresses, &[2, 1]), targets(&[1, 2]));
        assert_eq!(addresses.note_open(&one(1)), None);
        assert_eq!(order(&addresses, &[3, 2, 1]), targets(&[1, 3, 2]));
    }

    #[test]
    fn only_where_a_connection_was_opened_is_used_and_it_is_said_once() {
        let addresses = Addresses::default();
        order(&addresses, &[1, 2]);
        addresses.note_tried(&targets(&[1, 2]));
        assert_eq!(order(&addresses, &[1, 2]), targets(&[1, 2]), "both failed");
        assert_eq!(addresses.note_open(&one(2)), Some(one(1)));
        assert_eq!(addresses.note_open(&one(2)), None);
        assert_eq!(order(&addresses, &[1, 2]), targets(&[2, 1]));
    }

    #[test]
    fn an_address_that_the_name_no_longer_has_is_given_up_for_the_first_one() {
        let addresses = Addresses::default();
        order(&addresses, &[1]);
        addresses.note_open(&one(1));
        assert_eq!(order(&addresses, &[3, 2]), targets(&[3, 2]));
        assert_eq!(order(&addresses, &[2, 3]), targets(&[3, 2]));
        assert_eq!(addresses.note_open(&one(3)), Some(one(1)));
    }

    #[test]
    fn a_look_up_without_an_answer_changes_nothing() {
        let addresses = Addresses::default();
        order(&addresses, &[1, 2]);
        addresses.note_open(&one(2));
        assert!(order(&addresses, &[]).is_empty());
        assert_eq!(order(&addresses, &[1, 2]), targets(&[2, 1]));
    }

    #[test]
    fn what_is_open_is_shown_until_the_last_connection_is_closed() {
        let addresses = Addresses::default();
        addresses.note_open(&one(1));
        addresses.note_open(&one(1));
        addresses.note_open(&Target::Unix("/run/m.sock".into()));
        assert_eq!(addresses.connected_to(), ["10.0.0.1:1", "/run/m.sock"]);
        assert_eq!(addresses.tried(), ["/run/m.sock"]);
        addresses.note_closed(&one(1), true);
        assert_eq!(addresses.connected_to().len(), 2);
        addresses.note_closed(&one(1), true);
        assert_eq!(addresses.connected_to(), ["/run/m.sock"]);
    }
}
