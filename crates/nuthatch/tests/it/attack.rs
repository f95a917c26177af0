//! Innocent clients beside attackers: all run at once, and the innocent ones count what went wrong for them.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use crate::random::Random;

/// What became of the innocent requests.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) asked: usize,
    /// Replies that are not the reply to this request.
    pub(crate) wrong: usize,
    /// Errors in the place of a reply.
    pub(crate) errors: usize,
    /// Connections that closed or fell silent.
    pub(crate) broken: usize,
    /// The first few wrong ones.
    pub(crate) examples: Vec<String>,
}

impl Tally {
    fn add(mut self, other: Self) -> Self {
        self.asked += other.asked;
        self.wrong += other.wrong;
        self.errors += other.errors;
        self.broken += other.broken;
        self.examples.extend(other.examples);
        self
    }
}

/// Runs so many attackers and innocents until `quota` innocent requests were answered. An attacker runs until
/// it is told that all is over; an innocent goes on as long as it may, which it asks with the number of its
/// requests since.
pub(crate) fn run(
    quota: usize,
    (attackers, innocents): (usize, usize),
    attacker: impl Fn(Random, &AtomicBool) + Sync,
    innocent: impl Fn(usize, Random, &dyn Fn(usize) -> bool) -> Tally + Sync,
) -> Tally {
    let seed = Random::seed();
    let over = AtomicBool::new(false);
    let asked = AtomicUsize::new(0);
    let (over, asked, attacker, innocent) = (&over, &asked, &attacker, &innocent);
    let tally = thread::scope(|scope| {
        for nth in 0..attackers {
            let random = Random::new(seed + nth as u64);
            scope.spawn(move || attacker(random, over));
        }
        let innocents: Vec<_> = (0..innocents)
            .map(|nth| {
                let random = Random::new(seed + 100 + nth as u64);
                scope.spawn(move || {
                    let deadline = Instant::now() + Duration::from_secs(25);
                    innocent(nth, random, &|count| {
                        let sum = asked.fetch_add(count, Ordering::Relaxed) + count;
                        sum < quota && Instant::now() < deadline
                    })
                })
            })
            .collect();
        let tallies: Vec<_> = innocents.into_iter().map(ScopedJoinHandle::join).collect();
        over.store(true, Ordering::Relaxed);
        tallies.into_iter().map(Result::unwrap).fold(Tally::default(), Tally::add)
    });
    assert!(tally.asked >= quota, "too slow to mean anything: {tally:#?}");
    tally
}
