//! The resolver's thread: it takes questions, looks them up, and tells the answers.
//!
//! The one rule: it only carries. What to ask and whom to tell is decided in `names.rs`.

use super::conf::{Conf, Stamp};
use super::figures::Figures;
use super::hosts::Hosts;
#[cfg(feature = "kubernetes")]
use super::kubernetes::{News, Report, Watches};
use super::names::{Effect, Found, Life, Names, Outcome, Question, User};
use super::query::Engine;
use super::{Bounds, Failure, Options, Receiver};
#[cfg(feature = "kubernetes")]
use crate::config;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use tokio::runtime;
use tokio::sync::mpsc::{
    UnboundedReceiver, UnboundedSender, WeakUnboundedSender, unbounded_channel,
};
use tokio::time::{Instant, timeout_at};

/// A message to the thread. There are at most a few for each user.
#[derive(Debug)]
pub(super) enum Ask {
    LookUp {
        user: User,
        question: Question,
        receiver: Arc<Receiver>,
        afresh: bool,
    },
    Follow {
        user: User,
        question: Question,
        receiver: Arc<Receiver>,
    },
    Settled(User),
    Release(User),
    /// A look-up is done.
    Answered(Question, Outcome),
    /// The task that follows a Service has something to tell.
    #[cfg(feature = "kubernetes")]
    Reported(config::Service, Report),
}

/// Starts the thread. It ends when nobody can ask any longer.
pub(super) fn start(options: &Options, figures: &Arc<Figures>) -> io::Result<UnboundedSender<Ask>> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let (asks, questions) = unbounded_channel();
    let desk = Desk::new(options, Arc::clone(figures), asks.downgrade());
    let work = move || runtime.block_on(desk.serve(questions));
    thread::Builder::new().name("resolver".into()).spawn(work)?;
    Ok(asks)
}

struct Desk {
    names: Names,
    receivers: HashMap<User, (Question, Arc<Receiver>)>,
    hosts: Hosts,
    #[cfg(feature = "kubernetes")]
    watches: Watches,
    path: PathBuf,
    stamp: Option<Stamp>,
    /// For the present content of the file; none if it can't be used.
    engine: Option<Arc<Engine>>,
    /// The look-ups send their results here.
    results: WeakUnboundedSender<Ask>,
}

impl Desk {
    fn new(options: &Options, figures: Arc<Figures>, results: WeakUnboundedSender<Ask>) -> Self {
        let bounds = Bounds { ttl_min: options.ttl_min, ttl_max: options.ttl_max };
        Self {
            #[cfg(feature = "kubernetes")]
            watches: Watches::new(options, Arc::clone(&figures), results.clone()),
            names: Names::new(bounds, figures),
            receivers: HashMap::new(),
            hosts: Hosts::new("/etc/hosts".into()),
            path: options.resolv_conf.clone(),
            stamp: None,
            engine: None,
            results,
        }
    }

    async fn serve(mut self, mut questions: UnboundedReceiver<Ask>) {
        loop {
            let ask = match self.next_tick() {
                None => questions.recv().await,
                Some(at) => match timeout_at(at, questions.recv()).await {
                    Ok(ask) => ask,
                    Err(_) => {
                        self.tick(Instant::now());
                        continue;
                    }
                },
            };
            let Some(ask) = ask else { return };
            self.take(ask);
            // The next tick is computed once for all that came together.
            while let Ok(ask) = questions.try_recv() {
                self.take(ask);
            }
        }
    }

    /// When `tick` has something to do.
    fn next_tick(&self) -> Option<Instant> {
        let names = self.names.next_tick();
        #[cfg(feature = "kubernetes")]
        let names = [names, self.watches.next_tick()].into_iter().flatten().min();
        names
    }

    fn tick(&mut self, now: Instant) {
        #[cfg(feature = "kubernetes")]
        {
            let news = self.watches.tick(now);
            let effects = self.take_news(news, now);
            self.perform(effects);
        }
        let effects = self.names.tick(now);
        self.perform(effects);
    }

    /// What follows from news of pods.
    #[cfg(feature = "kubernetes")]
    fn take_news(&mut self, news: News, now: Instant) -> Vec<Effect> {
        let News { effects, moved, lost } = news;
        let lost = lost.iter().flat_map(|name| self.names.withdraw(name, now)).collect();
        let again = moved.iter().flat_map(|name| self.names.outdated(name, now)).collect();
        [lost, again, effects].concat()
    }

    fn take(&mut self, ask: Ask) {
        let now = Instant::now();
        let effects = match ask {
            #[cfg(feature = "kubernetes")]
            Ask::Follow { user, question: question @ Question::Pods(_), receiver } => {
                let Question::Pods(service) = &question else { return };
                let effects = self.watches.follow(user, service);
                self.receivers.insert(user, (question, receiver));
                effects
            }
            #[cfg(feature = "kubernetes")]
            Ask::Reported(service, report) => {
                let news = self.watches.report(&service, report, now);
                self.take_news(news, now)
            }
            Ask::LookUp { user, question, receiver, afresh } => {
                self.receivers.insert(user, (question.clone(), receiver));
                self.names.look_up(user, &question, afresh, now)
            }
            Ask::Follow { user, question, receiver } => {
                self.receivers.insert(user, (question.clone(), receiver));
                self.names.follow(user, &question, now)
            }
            Ask::Settled(user) => return self.names.settled(user),
            Ask::Release(user) => {
                self.receivers.remove(&user);
                #[cfg(feature = "kubernetes")]
                self.watches.release(user);
                return self.names.release(user);
            }
            Ask::Answered(question, outcome) => {
                // What a Service says of its pods meanwhile is newer than what DNS said.
                #[cfg(feature = "kubernetes")]
                let outcome = match &question {
                    Question::Addresses(name) => self.of_pod(name).unwrap_or(outcome),
                    Question::Services(_) | Question::Pods(_) => outcome,
                };
                self.names.answered(&question, outcome, now)
            }
        };
        self.perform(effects);
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        let mut left = VecDeque::from(effects);
        while let Some(effect) = left.pop_front() {
            match effect {
                Effect::Ask(question) => left.extend(self.ask(question)),
                Effect::Tell(user, found) => {
                    if let Some((question, receiver)) = self.receivers.get(&user) {
                        receiver.tell(question, found);
                    }
                }
                Effect::Fails(question, failure, age) => fails(&question, failure, age),
                Effect::Works(question) => {
                    let name = &**question.name();
                    log::warn!(name; "name look-up works again");
                }
            }
        }
    }

    /// Asks a name server. An answer that is known here counts at once: while it waited, it could
    /// become a wrong one.
    fn ask(&mut self, question: Question) -> Vec<Effect> {
        let known = match &question {
            Question::Addresses(name) => self.local(name),
            Question::Services(_) | Question::Pods(_) => None,
        };
        let engine = match known {
            Some(outcome) => Err(outcome),
            None => self.engine().ok_or(Outcome::Failed(Failure::Unreachable)),
        };
        match engine {
            Err(outcome) => self.names.answered(&question, outcome, Instant::now()),
            Ok(engine) => {
                let results = self.results.clone();
                tokio::spawn(async move {
                    let outcome = engine.ask(&question).await;
                    if let Some(results) = results.upgrade() {
                        let _ = results.send(Ask::Answered(question, outcome));
                    }
                });
                Vec::new()
            }
        }
    }

    /// What is known of a name that no name server is asked for.
    fn local(&mut self, name: &str) -> Option<Outcome> {
        #[cfg(feature = "kubernetes")]
        if let Some(outcome) = self.of_pod(name) {
            return Some(outcome);
        }
        self.hosts.find(name).map(looked_up_each_time)
    }

    /// What a Service that is followed says of a pod with this name.
    #[cfg(feature = "kubernetes")]
    fn of_pod(&self, name: &str) -> Option<Outcome> {
        let addresses = self.watches.find(name)?;
        let has_none = addresses.is_empty();
        let none = Outcome::Failed(Failure::NoRecord);
        Some(if has_none { none } else { looked_up_each_time(addresses) })
    }

    /// What speaks with the name servers that the file names now.
    fn engine(&mut self) -> Option<Arc<Engine>> {
        let stamp = Stamp::of(&self.path);
        if self.engine.is_none() || stamp != self.stamp {
            self.stamp = stamp;
            match Engine::new(Conf::read(&self.path)) {
                Ok(engine) => self.engine = Some(Arc::new(engine)),
                Err(error) => log::error!(error:%; "failed to set up name look-ups"),
            }
        }
        self.engine.clone()
    }
}

/// An answer that costs nothing.
fn looked_up_each_time(addresses: Vec<IpAddr>) -> Outcome {
    Outcome::Found(Found::Addresses(addresses), Life { ttl: None, lacks: None })
}

fn fails(question: &Question, failure: Failure, age: Option<std::time::Duration>) {
    let (name, reason) = (&**question.name(), failure.text());
    match age {
        Some(age) => {
            let answer_age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
            log::warn!(name, reason, answer_age_ms; "name look-up failed; the last answer is kept");
        }
        None => log::warn!(name, reason; "name look-up failed"),
    }
}
