//! What goes wrong, where, when and for how long: all of it follows from a seed.

use std::time::Duration;

use crate::random::Random;

use super::relay::{Fault, Lie, Then};

/// Something that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The relay in front of a server does this.
    Relay(Fault),
    /// A server dies, and comes back empty.
    Kill,
    /// A server stands still, and goes on.
    Stop,
    /// The name server says nothing, is gone, or knows none of the servers.
    Dns(Dns),
    /// The proxy reads another timeout from its file.
    Reload,
    /// A new process takes over from the proxy.
    Upgrade,
}

/// What becomes of the name server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dns {
    Silent,
    Gone,
    Empty,
}

impl Trouble {
    /// Whether it is the proxy's, and not that of one server.
    pub(super) fn is_of_proxy(self) -> bool {
        matches!(self, Self::Dns(_) | Self::Reload | Self::Upgrade)
    }
}

/// Troubles after which every reply is still what a server said to this request: nothing wrong may follow.
pub(super) const HONEST: &[Trouble] = &[
    Trouble::Relay(Fault::Slow { pause: Duration::from_millis(5), bytes: 4000 }),
    Trouble::Relay(Fault::Slow { pause: Duration::from_millis(1), bytes: 7 }),
    Trouble::Relay(Fault::ResetOpen),
    Trouble::Relay(Fault::ResetNew),
    Trouble::Relay(Fault::Silent { requests: true, replies: true }),
    Trouble::Relay(Fault::Silent { requests: true, replies: false }),
    Trouble::Relay(Fault::Silent { requests: false, replies: true }),
    Trouble::Relay(Fault::Refuse),
    Trouble::Relay(Fault::Half { bytes: 9, then: Then::Close }),
    Trouble::Relay(Fault::Half { bytes: 30, then: Then::Stall }),
    Trouble::Relay(Fault::Full),
    Trouble::Kill,
    Trouble::Stop,
    Trouble::Dns(Dns::Silent),
    Trouble::Dns(Dns::Gone),
    Trouble::Dns(Dns::Empty),
    Trouble::Reload,
    Trouble::Upgrade,
];

/// Replies that the server did not give to this request. Of a memcached, the proxy finds out before a client is
/// told something wrong: a value has its key. It can't find out that a write was acknowledged that never
/// happened, so these may make a value stale. A reply of Redis has no key: there, a value of another key
/// can't be told from the right one by any proxy.
pub(super) const LYING: &[Trouble] = &[
    Trouble::Relay(Fault::Lie(Lie::Noise)),
    Trouble::Relay(Fault::Lie(Lie::Other)),
    Trouble::Relay(Fault::Lie(Lie::Exchanged)),
    Trouble::Relay(Fault::Lie(Lie::Twice)),
    Trouble::Relay(Fault::Lie(Lie::Dropped)),
];

/// Troubles in turn.
#[derive(Debug)]
pub(super) struct Plan {
    deck: Vec<Trouble>,
    /// How many of the deck were drawn.
    drawn: usize,
    servers: usize,
    random: Random,
}

/// Troubles that begin and end together.
#[derive(Debug)]
pub(super) struct Step {
    /// Each with its server; at most one for each server.
    pub(super) troubles: Vec<(usize, Trouble)>,
    pub(super) lasts: Duration,
    /// How long all is well afterwards.
    pub(super) rest: Duration,
}

impl Plan {
    pub(super) fn new(seed: u64, deck: &[Trouble], servers: usize) -> Self {
        let mut random = Random::new(seed);
        let mut deck = deck.to_vec();
        shuffle(&mut deck, &mut random);
        Self { deck, drawn: 0, servers, random }
    }

    pub(super) fn next_step(&mut self) -> Step {
        if self.drawn == self.deck.len() {
            shuffle(&mut self.deck, &mut self.random);
            self.drawn = 0;
        }
        let first = self.deck[self.drawn];
        self.drawn += 1;
        let server = self.random.below(self.servers);
        let mut troubles = vec![(server, first)];
        let second = *self.random.pick(&self.deck);
        // Never a second one for the proxy: what it is asked twice at once is not the subject.
        if self.random.one_in(3) && self.servers > 1 && !second.is_of_proxy() {
            // What is the proxy's comes in the middle of the other.
            troubles.insert(0, ((server + 1) % self.servers, second));
        }
        let mut time = |least, spread| {
            Duration::from_millis(least + u64::try_from(self.random.below(spread)).unwrap())
        };
        Step { troubles, lasts: time(60, 180), rest: time(20, 60) }
    }
}

fn shuffle(deck: &mut [Trouble], random: &mut Random) {
    for end in (1..deck.len()).rev() {
        deck.swap(end, random.below(end + 1));
    }
}

#[test]
fn a_plan_follows_from_its_seed_and_leaves_nothing_out() {
    let plan = |seed| {
        let mut plan = Plan::new(seed, HONEST, 3);
        (0..2 * HONEST.len()).map(|_| plan.next_step()).collect::<Vec<_>>()
    };
    assert_eq!(format!("{:?}", plan(7)), format!("{:?}", plan(7)));
    assert_ne!(format!("{:?}", plan(7)), format!("{:?}", plan(8)));
    for steps in plan(7).chunks(HONEST.len()) {
        for trouble in HONEST {
            let mut firsts = steps.iter().map(|step| step.troubles.last().unwrap().1);
            assert!(firsts.any(|first| first == *trouble), "{trouble:?}");
        }
    }
}
