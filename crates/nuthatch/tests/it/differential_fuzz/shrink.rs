//! Makes a script smaller for as long as it shows the same fault.
//!
//! The rule: every try is made alone, in a world of its own, so that nothing of an earlier one
//! helps; and their number is bounded.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::play::{Fault, Player};
use super::script::{Batch, Cutting, Kind, Script};
use super::world::{Shape, World};

/// As many tries as one fault is worth.
const TRIES: usize = 40;

/// As many scripts an innocent client plays at most.
pub(super) const ROUNDS: u64 = 1000;

/// The faults of one script played alone, beside one innocent client.
pub(super) fn trial(shape: Shape, tried: &Script) -> Vec<Fault> {
    let world = World::start(shape);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let innocent = scope.spawn(|| innocent(&world, 0, &over));
        let mut before = world.blame();
        let mut player = Player::new(&world, tried, Kind::Fuzzing);
        for batch in &tried.batches {
            player.play(batch);
            let now = world.blame();
            if let Some(grown) = now.since(before) {
                let first = grown.split(' ').next().unwrap();
                player.faults.push(Fault {
                    signature: format!("blame: {first}"),
                    story: format!("  counters {grown}"),
                    batch: player.played - 1,
                });
            }
            before = now;
        }
        over.store(true, Ordering::Relaxed);
        let mut faults = player.faults;
        faults.extend(innocent.join().unwrap());
        faults
    })
}

/// An innocent client until `over`; what it was answered wrongly. It has the seeds from `first` to
/// `first + ROUNDS`, so that no innocent client of a world finds the items of another.
pub(super) fn innocent(world: &World, first: u64, over: &AtomicBool) -> Vec<Fault> {
    let mut faults = Vec::new();
    // At least once, so that a short fuzzing client has a neighbour, too.
    for seed in first..first + ROUNDS {
        let script = world.protocol().script(Kind::Innocent, seed, 25);
        let mut player = Player::new(world, &script, Kind::Innocent);
        for batch in &script.batches {
            player.play(batch);
        }
        faults.extend(player.faults.into_iter().map(|fault| Fault {
            signature: format!("innocent client: {}", fault.signature),
            story: format!("  an innocent client:\n{}", fault.story),
            batch: 0,
        }));
        if over.load(Ordering::Relaxed) {
            break;
        }
    }
    faults
}

/// A smaller script with a fault of this signature, and that fault.
pub(super) fn shrink(shape: Shape, whole: &Script, fault: Fault) -> (Script, Fault) {
    let mut best = (whole.clone(), fault);
    let mut tries = 0;
    let mut attempt = |best: &mut (Script, Fault), batches: Vec<Batch>| {
        tries += 1;
        let tried = Script { batches, ..best.0.clone() };
        if tries > TRIES || tried.batches.is_empty() {
            return false;
        }
        let faults = trial(shape, &tried);
        let same = faults.into_iter().find(|fault| fault.signature == best.1.signature);
        let is_same = same.is_some();
        if let Some(fault) = same {
            *best = (tried, fault);
        }
        is_same
    };
    // Most faults need one batch only; then halves, then quarters, down to single requests.
    if whole.batches.len() > 1 {
        let alone = vec![whole.batches[best.1.batch].clone()];
        attempt(&mut best, alone);
    }
    let mut chunk = length(&best.0).div_ceil(2);
    while chunk > 0 {
        let mut from = 0;
        while from < length(&best.0) && length(&best.0) > 1 {
            let smaller = without(&best.0, from, from + chunk);
            if !attempt(&mut best, smaller) {
                from += chunk;
            }
        }
        chunk /= 2;
    }
    let uncut = best.0.batches.clone().into_iter();
    let uncut = uncut.map(|batch| Batch { cutting: Cutting::Whole, ..batch }).collect();
    attempt(&mut best, uncut);
    best
}

fn length(script: &Script) -> usize {
    script.batches.iter().map(|batch| batch.requests.len()).sum()
}

/// The batches without the requests from the one number to the other.
fn without(script: &Script, from: usize, to: usize) -> Vec<Batch> {
    let mut nth = 0;
    let mut batches = script.batches.clone();
    for batch in &mut batches {
        batch.requests.retain(|_| {
            nth += 1;
            !(from < nth && nth <= to)
        });
    }
    batches.retain(|batch| !batch.requests.is_empty());
    batches
}
