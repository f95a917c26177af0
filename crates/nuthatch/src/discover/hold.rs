//! Servers that DNS tells of no longer and that stay for a while: a pod that is replaced is not in DNS
//! until the new one has an address, and its keys must not move twice for that.
//!
//! The one rule: only a target of a service is held, as its name is the same when it comes back. An
//! answer without any target is no answer, so it does not come here.

use crate::resolve::{Change, Found, Question, Service};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The targets of each service that count, and how long those stay that DNS no longer tells of.
#[derive(Debug)]
pub(super) struct Holds {
    /// How long such a target stays.
    hold: Duration,
    shown: BTreeMap<Question, Shown>,
}

/// The targets of a service that count.
#[derive(Debug, Default)]
struct Shown {
    /// Those of the last answer.
    told: BTreeSet<Service>,
    /// Those that it does not have, and when each of them goes.
    held: BTreeMap<Service, Instant>,
}

impl Holds {
    pub(super) fn new(hold: Duration) -> Self {
        Self { hold, shown: BTreeMap::new() }
    }

    /// Forgets the questions that are not kept.
    pub(super) fn retain(&mut self, is_kept: impl Fn(&Question) -> bool) {
        self.shown.retain(|question, _| is_kept(question));
    }

    /// Takes an answer. Returns it with the targets that are held.
    pub(super) fn take(&mut self, change: Change, now: Instant) -> Change {
        let Found::Services(services) = &*change.found else { return change };
        let shown = self.shown.entry(change.question.clone()).or_default();
        let told: BTreeSet<Service> = services.iter().cloned().collect();
        let missing = shown.told.difference(&told).cloned();
        let begun: Vec<Service> = missing.filter(|it| !shown.held.contains_key(it)).collect();
        shown.held.extend(begun.into_iter().map(|service| (service, now + self.hold)));
        // A target with another port than before is there.
        let is_told = |held: &Service| told.iter().any(|service| service.target == held.target);
        shown.held.retain(|service, _| !is_told(service));
        shown.told = told;
        shown.make_room();
        Change { found: shown.found(), question: change.question }
    }

    /// When the next target goes.
    pub(super) fn next(&self) -> Option<Instant> {
        self.shown.values().flat_map(|shown| shown.held.values()).min().copied()
    }

    /// How many targets are held.
    pub(super) fn count(&self) -> usize {
        self.shown.values().map(|shown| shown.held.len()).sum()
    }

    /// Lets those go whose time is over. Returns the answers without them.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Change> {
        let mut changes = Vec::new();
        for (question, shown) in &mut self.shown {
            let before = shown.held.len();
            shown.held.retain(|_, goes_at| *goes_at > now);
            if shown.held.len() < before {
                changes.push(Change { question: question.clone(), found: shown.found() });
            }
        }
        changes
    }
}

impl Shown {
    fn found(&self) -> Arc<Found> {
        let held = self.held.keys().map(|it| Service { is_held: true, ..it.clone() });
        let all: BTreeSet<Service> = self.told.iter().cloned().chain(held).collect();
        Arc::new(Found::Services(all.into_iter().collect()))
    }

    /// Gives up those held targets that would go first, if there are too many.
    fn make_room(&mut self) {
        let excess = (self.told.len() + self.held.len()).saturating_sub(TARGETS_MAX);
        let mut ends: Vec<(Instant, Service)> =
            self.held.iter().map(|(service, at)| (*at, service.clone())).collect();
        ends.sort_unstable();
        for (_, service) in ends.into_iter().take(excess) {
            self.held.remove(&service);
        }
    }
}

/// The targets of a service that are kept, with those that are held: more than any answer of DNS has.
const TARGETS_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    const HOLD: Duration = Duration::from_secs(30);

    fn answer(question: &str, targets: &[(&str, u16)]) -> Change {
        let service =
            |&(target, port): &(&str, u16)| Service { target: target.into(), port, is_held: false };
        let services = targets.iter().map(service).collect();
        let question = Question::Services(question.into());
        Change { question, found: Arc::new(Found::Services(services)) }
    }

    fn targets(change: &Change) -> Vec<String> {
        let services = change.found.services().iter();
        services.map(|service| format!("{}:{}", service.target, service.port)).collect()
    }

    #[expect(clippy::disallowed_methods, reason = "a start for the times of the test")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn a_target_that_comes_back_in_time_was_there_all_the_time() {
        let (mut holds, start) = (Holds::new(HOLD), start());
        let all = [("a", 1), ("b", 1)];
        assert_eq!(targets(&holds.take(answer("q", &all), start)), ["a:1", "b:1"]);
        let away = holds.take(answer("q", &[("a", 1)]), start);
        assert_eq!((targets(&away), holds.count()), (vec!["a:1".into(), "b:1".into()], 1));
        // Another answer does not begin the time anew, and a new target counts at once.
        let later = start + HOLD / 2;
        let more = holds.take(answer("q", &[("a", 1), ("c", 1)]), later);
        assert_eq!(targets(&more), ["a:1", "b:1", "c:1"]);
        assert_eq!(holds.next(), Some(start + HOLD));
        let back = holds.take(answer("q", &[("a", 1), ("b", 1), ("c", 1)]), later);
        assert_eq!((targets(&back), holds.next()), (targets(&more), None));
        assert!(holds.expire(start + 2 * HOLD).is_empty());
    }

    #[test]
    fn a_target_that_does_not_come_back_goes_when_its_time_is_over() {
        let (mut holds, start) = (Holds::new(HOLD), start());
        holds.take(answer("q", &[("a", 1), ("b", 1)]), start);
        holds.take(answer("other", &[("z", 1)]), start);
        holds.take(answer("q", &[("a", 1)]), start);
        assert!(holds.expire(start + HOLD - Duration::from_nanos(1)).is_empty());
        let changes = holds.expire(start + HOLD);
        assert_eq!(changes.iter().map(targets).collect::<Vec<_>>(), [["a:1"]]);
        assert_eq!((holds.count(), holds.next()), (0, None));
    }

    #[test]
    fn another_port_counts_at_once_and_addresses_are_not_held() {
        let (mut holds, start) = (Holds::new(HOLD), start());
        holds.take(answer("q", &[("a", 1), ("b", 1)]), start);
        assert_eq!(targets(&holds.take(answer("q", &[("a", 1), ("b", 2)]), start)), ["a:1", "b:2"]);
        for addresses in [vec!["10.0.0.1", "10.0.0.2"], vec!["10.0.0.1"]] {
            let addresses: Vec<_> = addresses.iter().map(|it| it.parse().unwrap()).collect();
            let question = Question::Addresses("q".into());
            let change = Change { question, found: Arc::new(Found::Addresses(addresses.clone())) };
            assert_eq!(holds.take(change, start).found.addresses(), addresses);
        }
        assert_eq!(holds.count(), 0);
    }

    #[test]
    fn what_nobody_asks_any_longer_is_forgotten() {
        let (mut holds, start) = (Holds::new(HOLD), start());
        holds.take(answer("q", &[("a", 1), ("b", 1)]), start);
        holds.retain(|_| false);
        assert_eq!(targets(&holds.take(answer("q", &[("a", 1)]), start)), ["a:1"]);
    }

    #[test]
    fn held_targets_are_told_apart_and_limited() {
        let (mut holds, start) = (Holds::new(HOLD), start());
        holds.take(answer("q", &[("a", 1), ("b", 1)]), start);
        let change = holds.take(answer("q", &[("a", 1)]), start);
        let held: Vec<bool> = change.found.services().iter().map(|it| it.is_held).collect();
        assert_eq!(held, [false, true]);
        // Each answer has another target, and none comes back.
        for nth in 0..3 {
            let name = |number: usize| format!("x{nth}-{number}");
            let names: Vec<String> = (0..TARGETS_MAX / 2).map(name).collect();
            let all: Vec<(&str, u16)> = names.iter().map(|name| (name.as_str(), 1)).collect();
            let change = holds.take(answer("q", &all), start + Duration::from_millis(nth));
            assert!(change.found.services().len() <= TARGETS_MAX);
            assert!(change.found.services().iter().filter(|it| !it.is_held).count() == all.len());
        }
        assert_eq!(holds.count(), TARGETS_MAX / 2);
        assert_eq!(holds.next(), Some(start + HOLD + Duration::from_millis(2)));
    }
}
