//! What is known of each name, who wants to know it, and when it is asked for again.
//!
//! The one rule: this is a state machine without I/O and clock, so that tests can give any answers
//! at any time. A question with users is asked again when its answer expires. A failed look-up
//! changes no answer: the last good answer is kept, and the question is asked again every second.

use super::figures::{Failure, Figures};
use crate::config;
use std::collections::btree_map::Entry::{Occupied, Vacant};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Something to look up.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Question {
    /// The addresses of a host (A and AAAA).
    Addresses(Arc<str>),
    /// The servers of a service (SRV).
    Services(Arc<str>),
    /// The pods of a Service in Kubernetes.
    Pods(config::Service),
}

impl Question {
    /// The name as it was written.
    pub(crate) fn name(&self) -> &Arc<str> {
        match self {
            Self::Addresses(name) | Self::Services(name) => name,
            Self::Pods(service) => &service.name,
        }
    }
}

/// A good answer. It is empty only if a former one is withdrawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// Addresses, each once: IPv4 first, then by number; from the hosts file in the file's order.
    Addresses(Vec<IpAddr>),
    /// Servers, each once, in order.
    Services(Vec<Service>),
    /// Pods, each once, in the order of their names.
    #[cfg_attr(
        not(feature = "kubernetes"),
        expect(dead_code, reason = "an entry that would be answered so is refused then")
    )]
    Pods(Vec<Pod>),
}

impl Found {
    /// The addresses; empty if the answer is of another kind.
    pub(crate) fn addresses(&self) -> &[IpAddr] {
        match self {
            Self::Addresses(all) => all,
            Self::Services(_) | Self::Pods(_) => &[],
        }
    }

    /// The servers; empty if the answer is of another kind.
    pub(crate) fn services(&self) -> &[Service] {
        match self {
            Self::Services(all) => all,
            Self::Addresses(_) | Self::Pods(_) => &[],
        }
    }

    /// The pods; empty if the answer is of another kind.
    pub(crate) fn pods(&self) -> &[Pod] {
        match self {
            Self::Pods(all) => all,
            Self::Addresses(_) | Self::Services(_) => &[],
        }
    }
}

/// One server of a service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Service {
    /// Its host in lower case, complete and without a dot at the end.
    pub(crate) target: String,
    pub(crate) port: u16,
    /// Whether DNS no longer tells of it, so that it is only waited for.
    pub(crate) is_held: bool,
}

/// A pod of a Service. Its addresses are the answer to another question, the one for its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pod {
    /// Complete and without a dot at the end.
    pub(crate) name: String,
    /// Each with its name.
    pub(crate) ports: Arc<[(String, u16)]>,
    /// Whether it is away, so that it is only waited for.
    pub(crate) is_held: bool,
}

/// The result of a look-up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Found(Found, Life),
    Failed(Failure),
}

/// How far an answer can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Life {
    /// How long it may be used; none if it is looked up for each use, because that costs nothing.
    pub(crate) ttl: Option<Duration>,
    /// The look-up of these addresses failed, so the answer says nothing about them.
    pub(crate) lacks: Option<Family>,
}

/// A kind of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    fn has(self, address: &IpAddr) -> bool {
        address.is_ipv4() == (self == Self::V4)
    }
}

/// Who uses the answers to one question.
pub(super) type User = u64;

/// What has to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    /// Look it up, and pass the result to `Names::answered`.
    Ask(Question),
    /// Tell a user the present answer, or that there is none.
    Tell(User, Option<Arc<Found>>),
    /// The first failure of a question after a success or since the start, and the age of the answer
    /// that is kept.
    Fails(Question, Failure, Option<Duration>),
    /// The first success after a failure.
    Works(Question),
}

/// Whether somebody waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Urgency {
    Awaited,
    Unawaited,
}

/// How long answers are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// An answer is used for so long at least, whatever its TTL is.
    pub(crate) ttl_min: Duration,
    /// An answer is used for so long at most, whatever its TTL is.
    pub(crate) ttl_max: Duration,
}

/// All names.
#[derive(Debug)]
pub(super) struct Names {
    bounds: Bounds,
    entries: BTreeMap<Question, Entry>,
    /// The question of each user.
    users: BTreeMap<User, Question>,
    /// How many look-ups run.
    asking: usize,
    /// The questions that wait until fewer look-ups run: those whose answers somebody waits for, and
    /// the others.
    awaited: VecDeque<Question>,
    unawaited: VecDeque<Question>,
    figures: Arc<Figures>,
}

#[derive(Debug)]
struct Entry {
    good: Option<Arc<Found>>,
    good_at: Option<Instant>,
    fresh_until: Option<Instant>,
    /// When it was asked last.
    asked_at: Instant,
    /// Whether a look-up runs or is queued.
    is_asking: bool,
    is_failing: bool,
    /// When it is asked again although no user waits for it.
    next: Instant,
    all: BTreeSet<User>,
    /// The users that wait for an answer, and since when.
    waiting: BTreeMap<User, Instant>,
    /// The users that are connecting to one of the addresses.
    connecting: BTreeSet<User>,
}

impl Names {
    pub(super) fn new(bounds: Bounds, figures: Arc<Figures>) -> Self {
        let (entries, users) = (BTreeMap::new(), BTreeMap::new());
        let (awaited, unawaited) = (VecDeque::new(), VecDeque::new());
        Self { bounds, entries, users, asking: 0, awaited, unawaited, figures }
    }

    /// A user needs an answer, and is told each later change. `afresh` if the last answer did not
    /// help.
    pub(super) fn look_up(
        &mut self,
        user: User,
        question: &Question,
        afresh: bool,
        now: Instant,
    ) -> Vec<Effect> {
        let is_new = !self.entries.contains_key(question);
        let entry = self.enter(user, question, now);
        entry.connecting.insert(user);
        let is_fresh = entry.fresh_until.is_some_and(|until| now < until) && !afresh;
        let may_ask = is_new || now >= entry.asked_at + AGAIN_MIN || entry.asks_each_time();
        if is_fresh || !entry.is_asking && !may_ask {
            return vec![Effect::Tell(user, entry.good.clone())];
        }
        // While look-ups fail, waiting for one more would only take time.
        if let Some(good) = entry.good.clone().filter(|_| entry.is_failing) {
            let told = Effect::Tell(user, Some(good));
            return [vec![told], self.ask(question, now, Urgency::Awaited)].concat();
        }
        entry.waiting.insert(user, now);
        self.ask(question, now, Urgency::Awaited)
    }

    /// A user wants to be told the answer and each change of it, and does not wait for it.
    pub(super) fn follow(&mut self, user: User, question: &Question, now: Instant) -> Vec<Effect> {
        match self.enter(user, question, now).good.clone() {
            Some(good) => vec![Effect::Tell(user, Some(good))],
            None => self.ask(question, now, Urgency::Unawaited),
        }
    }

    /// The answer to a question may be another one now.
    #[cfg(feature = "kubernetes")]
    pub(super) fn outdated(&mut self, question: &Question, now: Instant) -> Vec<Effect> {
        self.ask(question, now, Urgency::Awaited)
    }

    /// The answer to a question is no longer right, and there is no other one. The users are told an
    /// empty one, so that connections that are open to the former addresses are left, too.
    #[cfg(feature = "kubernetes")]
    pub(super) fn withdraw(&mut self, question: &Question, now: Instant) -> Vec<Effect> {
        let Some(entry) = self.entries.get_mut(question) else { return Vec::new() };
        if entry.good.take().is_none() {
            return Vec::new();
        }
        (entry.good_at, entry.fresh_until, entry.next) = (None, None, now + RETRY);
        self.figures.forget(question);
        let none = Arc::new(Found::Addresses(Vec::new()));
        entry.all.iter().map(|user| Effect::Tell(*user, Some(Arc::clone(&none)))).collect()
    }

    /// A user has connected, or has failed to.
    pub(super) fn settled(&mut self, user: User) {
        let entry = self.users.get(&user).and_then(|question| self.entries.get_mut(question));
        if let Some(entry) = entry {
            entry.connecting.remove(&user);
        }
    }

    /// A user is gone. A question without users is forgotten.
    pub(super) fn release(&mut self, user: User) {
        let Some(question) = self.users.remove(&user) else { return };
        let Some(entry) = self.entries.get_mut(&question) else { return };
        entry.all.remove(&user);
        entry.waiting.remove(&user);
        entry.connecting.remove(&user);
        self.forget_if_unused(&question);
    }

    /// A look-up is done.
    pub(super) fn answered(
        &mut self,
        question: &Question,
        outcome: Outcome,
        now: Instant,
    ) -> Vec<Effect> {
        self.asking -= 1;
        let mut effects = self.ask_queued();
        let Some(entry) = self.entries.get_mut(question) else { return effects };
        entry.is_asking = false;
        self.figures.note(question, &outcome);
        let before = entry.good.clone();
        match outcome {
            Outcome::Failed(failure) => {
                entry.next = now + RETRY;
                if !entry.is_failing {
                    let age = entry.good_at.map(|at| now - at);
                    effects.push(Effect::Fails(question.clone(), failure, age));
                }
                entry.is_failing = true;
            }
            Outcome::Found(found, life) => {
                entry.take(found, life, self.bounds, now);
                if entry.is_failing {
                    effects.push(Effect::Works(question.clone()));
                }
                entry.is_failing = false;
            }
        }
        let has_changed = entry.good != before;
        for &user in &entry.all {
            if entry.waiting.remove(&user).is_some() || has_changed {
                effects.push(Effect::Tell(user, entry.good.clone()));
            }
        }
        self.forget_if_unused(question);
        effects
    }

    /// Asks again where it is time, and gives up waiting where there is an earlier answer.
    pub(super) fn tick(&mut self, now: Instant) -> Vec<Effect> {
        let mut effects = Vec::new();
        let mut due = Vec::new();
        for (question, entry) in &mut self.entries {
            if entry.due().is_some_and(|at| at <= now) {
                due.push(question.clone());
            }
            if let Some(good) = &entry.good {
                entry.waiting.retain(|&user, since| {
                    let still_waits = now < *since + PATIENCE;
                    if !still_waits {
                        effects.push(Effect::Tell(user, Some(Arc::clone(good))));
                    }
                    still_waits
                });
            }
        }
        for question in due {
            effects.extend(self.ask(&question, now, Urgency::Unawaited));
        }
        effects
    }

    /// When `tick` has something to do.
    pub(super) fn next_tick(&self) -> Option<Instant> {
        self.entries.values().flat_map(|entry| [entry.due(), entry.patience_ends()]).flatten().min()
    }

    fn enter(&mut self, user: User, question: &Question, now: Instant) -> &mut Entry {
        self.users.insert(user, question.clone());
        let entry = match self.entries.entry(question.clone()) {
            Occupied(entry) => entry.into_mut(),
            Vacant(place) => place.insert(Entry::new(now)),
        };
        entry.all.insert(user);
        entry
    }

    fn ask(&mut self, question: &Question, now: Instant, urgency: Urgency) -> Vec<Effect> {
        let Some(entry) = self.entries.get_mut(question) else { return Vec::new() };
        let is_queued = |queue: &VecDeque<Question>| queue.iter().position(|it| it == question);
        if !entry.is_asking {
            entry.is_asking = true;
            entry.asked_at = now;
            match urgency {
                Urgency::Awaited => self.awaited.push_back(question.clone()),
                Urgency::Unawaited => self.unawaited.push_back(question.clone()),
            }
        } else if let Some(place) =
            is_queued(&self.unawaited).filter(|_| urgency == Urgency::Awaited)
        {
            self.awaited.extend(self.unawaited.remove(place));
        }
        self.ask_queued()
    }

    fn ask_queued(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        while self.asking < ASKING_MAX
            && let Some(question) = self.awaited.pop_front().or_else(|| self.unawaited.pop_front())
        {
            self.asking += 1;
            effects.push(Effect::Ask(question));
        }
        effects
    }

    fn forget_if_unused(&mut self, question: &Question) {
        let is_unused = |entry: &Entry| entry.all.is_empty() && !entry.is_asking;
        if self.entries.get(question).is_some_and(is_unused) {
            self.entries.remove(question);
            self.figures.forget(question);
        }
    }
}

impl Entry {
    fn new(now: Instant) -> Self {
        Self {
            good: None,
            good_at: None,
            fresh_until: None,
            asked_at: now,
            is_asking: false,
            is_failing: false,
            next: now,
            all: BTreeSet::new(),
            waiting: BTreeMap::new(),
            connecting: BTreeSet::new(),
        }
    }

    fn take(&mut self, mut found: Found, life: Life, bounds: Bounds, now: Instant) {
        // What could not be looked up stays as it was.
        if let (Found::Addresses(new), Some(family), Some(old)) =
            (&mut found, life.lacks, &self.good)
        {
            new.extend(old.addresses().iter().filter(|address| family.has(address)));
            new.sort_unstable();
        }
        if self.good.as_deref() != Some(&found) {
            self.good = Some(Arc::new(found));
        }
        self.good_at = Some(now);
        self.fresh_until = life.ttl.map(|ttl| now + ttl.clamp(bounds.ttl_min, bounds.ttl_max));
        self.next = self.fresh_until.unwrap_or(now + bounds.ttl_min);
    }

    /// Whether its last answer was one that is looked up for each use.
    fn asks_each_time(&self) -> bool {
        self.good.is_some() && self.fresh_until.is_none()
    }

    /// When it is asked again.
    fn due(&self) -> Option<Instant> {
        if self.is_asking {
            return None;
        }
        // While a user tries to connect, the answer may be outdated.
        let soon = (!self.connecting.is_empty()).then(|| self.asked_at + RETRY);
        Some(soon.map_or(self.next, |soon| soon.min(self.next)))
    }

    /// When the first waiting user gets the earlier answer.
    fn patience_ends(&self) -> Option<Instant> {
        self.good.as_ref()?;
        self.waiting.values().min().map(|since| *since + PATIENCE)
    }
}

/// The number of look-ups that run at the same time; each has two sockets at most.
pub(super) const ASKING_MAX: usize = 32;

/// A question is asked at most once in this time, also when connections fail.
const AGAIN_MIN: Duration = Duration::from_millis(500);

/// How long after a failed look-up, or while a user can't connect, the next one starts.
const RETRY: Duration = Duration::from_secs(1);

/// How long a user waits for a new answer if there is an earlier one.
const PATIENCE: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests;
