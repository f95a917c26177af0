//! The pods of Services in Kubernetes: who follows which Service, and what it has now.
//!
//! The one rule: this is a state machine without I/O and clock; each Service has a task of its own
//! (`follow.rs`), which reports here. A report of a failure changes no answer. A name with its
//! addresses counts as one in the hosts file, so a connection to a pod follows the pod like a
//! connection to any other name.

mod account;
mod api;
mod client;
mod follow;
mod host;
mod identity;
mod roster;
mod slices;

use super::Options;
use super::figures::Figures;
use super::names::{Effect, Found, Question, User};
use super::thread::Ask;
use super::trouble::{KubernetesFigures, Trouble};
use crate::config::Service;
use roster::Roster;
use slices::Endpoints;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::mpsc::WeakUnboundedSender;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// What a task has learned of its Service.
#[derive(Debug)]
pub(super) enum Report {
    /// The pods that it has now, at least one, by their names.
    Pods(BTreeMap<String, Endpoints>),
    /// A watch works: the answer is up to date, and stays so.
    Watches,
    /// It can't be read, and what to do.
    Fails(Failed),
    /// It was listed just now, but it can't be watched.
    Unwatched(Failed),
    /// It was not listed again, but it is watched.
    Unlisted(Failed),
}

/// A failed attempt to read a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failed {
    trouble: Trouble,
    text: String,
}

impl Failed {
    fn new(trouble: Trouble, text: impl Into<String>) -> Self {
        Self { trouble, text: text.into() }
    }
}

/// The Services that somebody follows.
#[derive(Debug)]
pub(super) struct Watches {
    options: Options,
    figures: Arc<Figures>,
    /// The tasks send their reports here.
    reports: WeakUnboundedSender<Ask>,
    /// By the name with the namespace, so that a Service has one watch, whoever follows it.
    all: BTreeMap<Service, Watch>,
}

#[derive(Debug)]
struct Watch {
    /// Each with the name that it has for the Service, by which the figures are told.
    users: BTreeMap<User, Arc<str>>,
    roster: Roster,
    told: Option<Arc<Found>>,
    told_at: Option<Instant>,
    /// What fails since it could be watched last. Each is logged once. That it can be listed ends
    /// nothing: while only watches are refused, every list would.
    failing: BTreeSet<(Trouble, Reach)>,
    /// That it had no pods when it was read last, if so. Only pods change that, so it is kept whatever
    /// fails meanwhile.
    empty: Option<Failed>,
    task: AbortHandle,
}

/// What still works while something fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    Nothing,
    Lists,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What follows from a report.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    pub(super) effects: Vec<Effect>,
    /// The names whose addresses are others than before.
    pub(super) moved: Vec<Question>,
    /// The names that have no address any longer.
    pub(super) lost: Vec<Question>,
}

impl News {
    /// Adds names whose addresses are others than before, or none.
    fn add_moved(&mut self, watches: &Watches, names: &[String]) {
        for name in names {
            let has_address = watches.find(name).is_some_and(|all| !all.is_empty());
            let changed = if has_address { &mut self.moved } else { &mut self.lost };
            changed.push(question(name));
        }
    }
}

impl Watches {
    pub(super) fn new(
        options: &Options,
        figures: Arc<Figures>,
        reports: WeakUnboundedSender<Ask>,
    ) -> Self {
        Self { options: options.clone(), figures, reports, all: BTreeMap::new() }
    }

    /// A user wants to be told the pods of a Service, and each change of them.
    pub(super) fn follow(&mut self, user: User, service: &Service) -> Vec<Effect> {
        let Self { options, figures, reports, all } = self;
        // Without the namespace of the pod, no Service can be read, however it is called.
        let key = account::namespace(&options.service_account)
            .map_or_else(|| service.clone(), |own| service.within(&own));
        let watch = all.entry(key.clone()).or_insert_with(|| {
            let follower = follow::Follower::new(&key, options, figures, reports);
            Watch {
                users: BTreeMap::new(),
                roster: Roster::new(options.hold),
                told: None,
                told_at: None,
                failing: BTreeSet::new(),
                empty: None,
                task: tokio::spawn(follower.run()).abort_handle(),
            }
        });
        if let Some(known) = watch.users.values().next() {
            figures.kubernetes.note_same(known, &service.name);
        }
        watch.users.insert(user, Arc::clone(&service.name));
        let told = watch.told.clone();
        told.map(|found| Effect::Tell(user, Some(found))).into_iter().collect()
    }

    /// A user is gone. A Service without users is forgotten.
    pub(super) fn release(&mut self, user: User) {
        let figures = &self.figures;
        self.all.retain(|_, watch| {
            let name = watch.users.remove(&user);
            if let Some(name) = name.filter(|name| !watch.names().contains(name)) {
                figures.kubernetes.forget(&name);
            }
            !watch.users.is_empty()
        });
    }

    /// The addresses of a pod, by its complete name with or without a dot at the end. None are left of
    /// a pod that is away if others have them.
    pub(super) fn find(&self, host: &str) -> Option<Vec<IpAddr>> {
        let host = host.strip_suffix('.').unwrap_or(host);
        self.all.values().find_map(|watch| watch.roster.addresses(host)).map(<[_]>::to_vec)
    }

    /// A task reports.
    pub(super) fn report(&mut self, service: &Service, report: Report, now: Instant) -> News {
        let Some(watch) = self.all.get_mut(service) else { return News::default() };
        let mut news = News::default();
        match report {
            Report::Pods(pods) => {
                let moved = watch.roster.update(pods, now);
                watch.told_at = Some(now);
                watch.empty = None;
                watch.mend(service, |trouble| trouble == Trouble::NoPods);
                watch.note_answer(&self.figures.kubernetes);
                news.effects = watch.tell();
                news.add_moved(self, &moved);
                let lost = self.take_addresses();
                news.add_moved(self, &lost);
            }
            Report::Watches => {
                watch.mend(service, |trouble| trouble != Trouble::NoPods);
                match &watch.empty {
                    None => {
                        watch.told_at = Some(now);
                        watch.note_answer(&self.figures.kubernetes);
                    }
                    Some(empty) => {
                        self.figures.kubernetes.note_reason(&watch.names(), &empty.text);
                    }
                }
            }
            Report::Fails(failed) => {
                watch.fails(service, &failed, Reach::Nothing, &self.figures.kubernetes, now);
                // Its servers stay, but others may have their addresses soon.
                if failed.trouble == Trouble::NoPods {
                    watch.roster.update(BTreeMap::new(), now);
                    watch.empty = Some(failed);
                }
            }
            Report::Unwatched(failed) => {
                watch.fails(service, &failed, Reach::Lists, &self.figures.kubernetes, now);
            }
            Report::Unlisted(failed) => self.figures.kubernetes.note_failure(failed.trouble),
        }
        news
    }

    /// Takes the addresses that other pods have now, of any Service, from the pods that are away.
    /// Returns the names of those that lose one.
    fn take_addresses(&mut self) -> Vec<String> {
        let away = self.all.values().flat_map(|watch| watch.roster.away());
        let wanted: BTreeSet<IpAddr> = away.flat_map(|pod| &pod.addresses).copied().collect();
        if wanted.is_empty() {
            return Vec::new();
        }
        let mut owners: BTreeMap<IpAddr, BTreeSet<Option<String>>> = BTreeMap::new();
        for (service, watch) in &self.all {
            for pod in watch.roster.present() {
                for address in pod.addresses.iter().filter(|address| wanted.contains(address)) {
                    owners.entry(*address).or_default().insert(object(service, pod));
                }
            }
        }
        let lose = |(service, watch): (&Service, &mut Watch)| {
            watch.roster.lose(|pod, address| {
                let object = object(service, pod);
                let is_other = |owner: &Option<String>| owner.is_none() || *owner != object;
                owners.get(&address).is_some_and(|owners| owners.iter().any(is_other))
            })
        };
        self.all.iter_mut().flat_map(lose).collect()
    }

    /// Gives up the pods that have been away for too long.
    pub(super) fn tick(&mut self, now: Instant) -> News {
        let mut news = News::default();
        for watch in self.all.values_mut() {
            let gone = watch.roster.expire(now);
            if !gone.is_empty() {
                news.effects.extend(watch.tell());
                news.lost.extend(gone.iter().map(|name| question(name)));
            }
        }
        news
    }

    /// When `tick` has something to do.
    pub(super) fn next_tick(&self) -> Option<Instant> {
        self.all.values().filter_map(|watch| watch.roster.next_expiry()).min()
    }
}

impl Watch {
    /// Tells the users, if there are other pods or ports than before. That there are none at all is no
    /// answer.
    fn tell(&mut self) -> Vec<Effect> {
        let found = Found::Pods(self.roster.pods());
        if found.pods().is_empty() || self.told.as_deref() == Some(&found) {
            return Vec::new();
        }
        let told = Arc::new(found);
        self.told = Some(Arc::clone(&told));
        self.users.keys().map(|user| Effect::Tell(*user, Some(Arc::clone(&told)))).collect()
    }

    /// What the users call the Service, each name once.
    fn names(&self) -> BTreeSet<Arc<str>> {
        self.users.values().cloned().collect()
    }

    /// Some troubles are over.
    fn mend(&mut self, service: &Service, is_over: impl Fn(Trouble) -> bool) {
        let had_any = !self.failing.is_empty();
        self.failing.retain(|(trouble, _)| !is_over(*trouble));
        if had_any && self.failing.is_empty() {
            let service = &*service.name;
            log::warn!(service; "EndpointSlices can be read again");
        }
    }

    /// There is an answer, be it one that grows old again, as it can't be watched.
    fn note_answer(&self, figures: &KubernetesFigures) {
        if self.failing.is_empty() {
            figures.note_works(&self.names());
        } else {
            figures.note_listed(&self.names());
        }
    }

    fn fails(
        &mut self,
        service: &Service,
        failed: &Failed,
        reach: Reach,
        figures: &KubernetesFigures,
        now: Instant,
    ) {
        figures.note_failure(failed.trouble);
        figures.note_fails(&self.names(), &failed.text);
        if !self.failing.insert((failed.trouble, reach)) {
            return;
        }
        let (service, reason) = (&*service.name, &*failed.text);
        match (reach, self.told_at) {
            (Reach::Lists, _) => {
                log::warn!(service, reason; "EndpointSlices can't be watched; they are listed instead");
            }
            (Reach::Nothing, Some(at)) => {
                let answer_age_ms = u64::try_from((now - at).as_millis()).unwrap_or(u64::MAX);
                log::warn!(service, reason, answer_age_ms; "EndpointSlices can't be read; the last answer is kept");
            }
            (Reach::Nothing, None) => {
                log::error!(service, reason; "EndpointSlices can't be read");
            }
        }
    }
}

/// The question that a connection to this pod asks.
fn question(name: &str) -> Question {
    Question::Addresses(format!("{name}.").into())
}

/// The object of a pod, by which Services of one namespace know it, too.
fn object(service: &Service, pod: &Endpoints) -> Option<String> {
    Some(format!("{}/{}", service.namespace()?, pod.object.as_deref()?))
}

#[cfg(test)]
mod tests;
