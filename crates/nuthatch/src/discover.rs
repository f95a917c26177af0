//! Servers that DNS or Kubernetes tells of: from the entries of a pool and their answers to its
//! servers.
//!
//! The one rule: the name on the ring depends only on the answer, so that all proxies agree. It is
//! the target of a service (SRV) or the name of a pod, which a pod keeps when its address changes.
//! Only an entry that looks up addresses has the address itself on the ring.

use self::hold::Holds;
use crate::config::{Address, Discovered, Lookup, PodPort, Pool, Server};
use crate::control::{Control, Wish};
use crate::generation::Generation;
use crate::resolve::{Change, Found, Inquiry, Pod, Question, Resolver, Service};
use nuthatch_core::ring::pool_order;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};
use std::{io, thread};

mod hold;
mod look;

pub(crate) use look::unknown;
pub use look::{Told, look, require};

/// The last good answers.
pub(crate) type Answers = BTreeMap<Question, Arc<Found>>;

/// The servers of a pool, and what was left out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Expansion {
    /// In the order of the ring.
    pub(crate) servers: Vec<Server>,
    /// For each entry, in order: how many servers the answer has; none without an answer.
    pub(crate) counts: Vec<Option<usize>>,
}

/// The servers of a pool with these answers. An entry without an answer, or whose answer has more than
/// `discovered_max` servers or none with the port of the entry, keeps those that it has in `before`.
pub(crate) fn expand(pool: &Pool, answers: &Answers, before: &[Server]) -> Expansion {
    let mut servers: Vec<Server> =
        pool.servers.iter().filter(|server| !server.discovered).cloned().collect();
    let mut names: BTreeSet<String> = servers.iter().map(|server| server.name.clone()).collect();
    let mut counts = Vec::new();
    for entry in &pool.discovered {
        let max = pool.discovered_max;
        let found = answers.get(&question(entry)).map(|found| servers_of(entry, found, max));
        counts.push(found.as_ref().map(Vec::len));
        let usable = found.filter(|found| is_usable(found.len(), pool));
        let of_entry = usable.unwrap_or_else(|| {
            let is_own =
                |server: &&Server| server.discovered && server.configured == entry.configured;
            before.iter().filter(is_own).cloned().collect()
        });
        // A server that is there already is not there twice.
        servers.extend(of_entry.into_iter().filter(|server| names.insert(server.name.clone())));
    }
    servers.sort_by(|a, b| pool_order(a.name.as_bytes(), b.name.as_bytes()));
    Expansion { servers, counts }
}

/// Whether an entry of the pool may have so many servers.
fn is_usable(servers: usize, pool: &Pool) -> bool {
    (1..=pool.discovered_max).contains(&servers)
}

/// What an entry looks up.
fn question(entry: &Discovered) -> Question {
    let name = entry.name.as_str().into();
    match &entry.lookup {
        Lookup::Addresses { .. } => Question::Addresses(name),
        Lookup::Services => Question::Services(name),
        Lookup::Pods { service, .. } => Question::Pods(service.clone()),
    }
}

/// The servers of an entry. Those that are only waited for count as long as there is room for them, so
/// that they do not keep others out.
fn servers_of(entry: &Discovered, found: &Found, max: usize) -> Vec<Server> {
    let (held, mut servers): (Vec<_>, Vec<_>) =
        all_servers_of(entry, found).into_iter().partition(|(is_held, _)| *is_held);
    let room = max.saturating_sub(servers.len());
    servers.extend(held.into_iter().take(room));
    servers.into_iter().map(|(_, server)| server).collect()
}

/// The servers of an entry, and whether each is only waited for.
fn all_servers_of(entry: &Discovered, found: &Found) -> Vec<(bool, Server)> {
    let server = |name, host, port| Server {
        name,
        address: Address::Tcp { host, port },
        weight: entry.weight,
        configured: entry.configured.clone(),
        named: true,
        discovered: true,
        index: entry.index,
    };
    match &entry.lookup {
        &Lookup::Addresses { port } => {
            let by_address = |ip: &IpAddr| {
                (false, server(SocketAddr::new(*ip, port).to_string(), ip.to_string(), port))
            };
            found.addresses().iter().map(by_address).collect()
        }
        Lookup::Services => {
            let services = found.services();
            let by_target = |service: &Service| {
                let Service { target, port, is_held } = service;
                let same = services.iter().filter(|other| other.target == *target).count();
                let name = if same > 1 { format!("{target}:{port}") } else { target.clone() };
                // The target is complete, so the search list does not apply to it.
                (*is_held, server(name, format!("{target}."), *port))
            };
            services.iter().map(by_target).collect()
        }
        Lookup::Pods { port, .. } => {
            let by_name = |pod: &Pod| {
                let port = match port {
                    PodPort::Number(number) => *number,
                    PodPort::Name(name) => pod.ports.iter().find(|(each, _)| each == name)?.1,
                };
                Some((pod.is_held, server(pod.name.clone(), format!("{}.", pod.name), port)))
            };
            found.pods().iter().filter_map(by_name).collect()
        }
    }
}

/// The answers to the entries of some pools, which are followed until this is dropped.
#[derive(Debug)]
pub(crate) struct Discovery {
    /// Also for threads that compare a configuration with what is served.
    answers: Arc<Mutex<Answers>>,
    /// Also for the thread that passes the changes on.
    holds: Arc<Mutex<Holds>>,
    /// What is followed.
    followed: BTreeMap<Question, Inquiry>,
    resolver: Resolver,
    sender: mpsc::Sender<Change>,
    /// None once another thread passes the changes on.
    changes: Option<mpsc::Receiver<Change>>,
}

impl Discovery {
    /// Follows the entries of these pools. A target of a service that DNS no longer tells of stays for
    /// `hold`.
    pub(crate) fn new(pools: &[Pool], resolver: &Resolver, hold: Duration) -> Self {
        let (sender, changes) = mpsc::channel();
        let (answers, followed) = (Arc::default(), BTreeMap::new());
        let holds = Arc::new(Mutex::new(Holds::new(hold)));
        let (resolver, changes) = (resolver.clone(), Some(changes));
        let mut discovery = Self { answers, holds, followed, resolver, sender, changes };
        discovery.follow(pools);
        discovery
    }

    /// The answers so far, those that are still to come too.
    pub(crate) fn answers(&self) -> Arc<Mutex<Answers>> {
        Arc::clone(&self.answers)
    }

    /// Follows the entries of these pools, and no others. Says whether all of them have an answer.
    pub(crate) fn follow<'p>(&mut self, pools: impl IntoIterator<Item = &'p Pool>) -> bool {
        let wanted: BTreeSet<Question> =
            pools.into_iter().flat_map(|pool| &pool.discovered).map(question).collect();
        self.followed.retain(|question, _| wanted.contains(question));
        for question in wanted {
            let follow = || self.resolver.follow(question.clone(), self.sender.clone());
            self.followed.entry(question.clone()).or_insert_with(follow);
        }
        lock(&self.holds).retain(|question| self.followed.contains_key(question));
        let mut answers = self.lock();
        answers.retain(|question, _| self.followed.contains_key(question));
        answers.len() == self.followed.len()
    }

    /// Waits until every entry has an answer, or until `patience` ends.
    pub(crate) fn wait(&self, patience: Duration) {
        if let Some(changes) = &self.changes {
            return self.wait_on(changes, patience);
        }
        // Another thread passes the changes on. What has no answer yet is asked for once more, for
        // answers that come here: the resolver gives at once what it knows already.
        let (sender, changes) = mpsc::channel();
        let asked: Vec<Question> = {
            let answers = self.lock();
            self.followed.keys().filter(|it| !answers.contains_key(*it)).cloned().collect()
        };
        let follow = |question: Question| self.resolver.follow(question, sender.clone());
        let _asked: Vec<Inquiry> = asked.into_iter().map(follow).collect();
        self.wait_on(&changes, patience);
    }

    fn wait_on(&self, changes: &mpsc::Receiver<Change>, patience: Duration) {
        let start = now();
        while self.lock().len() < self.followed.len() {
            let left = patience.saturating_sub(now().duration_since(start));
            let Ok(change) = changes.recv_timeout(left) else { return };
            let change = lock(&self.holds).take(change, now());
            self.note(change);
        }
    }

    /// Takes an answer. One to a question that nobody asks any longer is dropped.
    pub(crate) fn note(&self, change: Change) {
        if self.followed.contains_key(&change.question) {
            self.lock().insert(change.question, change.found);
        }
    }

    /// Passes the changes on to `control` from now on.
    ///
    /// # Errors
    /// When the thread can't be started.
    pub(crate) fn forward(&mut self, control: mpsc::Sender<Control>) -> io::Result<()> {
        let Some(changes) = self.changes.take() else { return Ok(()) };
        let (holds, resolver) = (Arc::clone(&self.holds), self.resolver.clone());
        let work = move || {
            while let Some(counted) = next_changes(&changes, &holds, &resolver) {
                for change in counted {
                    if control.send(Control::Wish(Wish::Discovered(change))).is_err() {
                        return;
                    }
                }
            }
        };
        thread::Builder::new().name("discovery".into()).spawn(work)?;
        Ok(())
    }

    /// The pools of the configuration of a start with the servers that they have now.
    pub(crate) fn pools(&self, pools: Vec<Pool>) -> Vec<Pool> {
        self.tell(&pools);
        expand_each(pools, &self.answers, None)
    }

    /// Counts the servers of each entry of these pools, and logs what is wrong with the entry.
    pub(crate) fn tell(&self, pools: &[Pool]) {
        for pool in pools {
            let counts = expand(pool, &self.lock(), &[]).counts;
            self.tell_pool(pool, &counts);
        }
    }

    fn tell_pool(&self, pool: &Pool, counts: &[Option<usize>]) {
        for (entry, count) in pool.discovered.iter().zip(counts) {
            let (name, entry) = (&*pool.name, &*entry.configured);
            let (servers, servers_max) = (count.unwrap_or(0), pool.discovered_max);
            let is_over = servers > servers_max;
            self.resolver.figures().note_discovered(name, entry, servers, is_over);
            if count.is_none() {
                log::warn!(pool = name, entry; "no servers discovered yet");
            } else if servers == 0 {
                log::error!(pool = name, entry; "no pod has a port of this name");
            } else if is_over {
                let max = servers_max;
                log::error!(pool = name, entry, servers, max; "too many discovered servers");
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Answers> {
        lock(&self.answers)
    }
}

/// Waits for an answer, or until a held server goes. None when nobody will answer any longer.
fn next_changes(
    changes: &mpsc::Receiver<Change>,
    holds: &Mutex<Holds>,
    resolver: &Resolver,
) -> Option<Vec<Change>> {
    let next = lock(holds).next();
    let received = match next {
        None => changes.recv().map_err(|_| RecvTimeoutError::Disconnected),
        Some(at) => changes.recv_timeout(at.saturating_duration_since(now())),
    };
    let mut holds = lock(holds);
    let before = holds.count();
    let counted = match received {
        Ok(change) => vec![holds.take(change, now())],
        Err(RecvTimeoutError::Timeout) => holds.expire(now()),
        Err(RecvTimeoutError::Disconnected) => return None,
    };
    let servers = holds.count();
    resolver.figures().note_held(servers);
    if servers > before {
        log::warn!(servers; "servers are no longer in DNS, and stay until the hold ends");
    }
    Some(counted)
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The pools of a configuration with the servers that these answers give them, where `before` is served.
pub(crate) fn expanded(
    pools: Vec<Pool>,
    answers: &Mutex<Answers>,
    before: &Generation,
) -> Vec<Pool> {
    expand_each(pools, answers, Some(before))
}

fn expand_each(
    mut pools: Vec<Pool>,
    answers: &Mutex<Answers>,
    before: Option<&Generation>,
) -> Vec<Pool> {
    let answers = lock(answers);
    for pool in &mut pools {
        pool.servers = expand(pool, &answers, servers_before(pool, before)).servers;
    }
    pools
}

/// The servers that a pool of this name has in a generation.
fn servers_before<'g>(pool: &Pool, before: Option<&'g Generation>) -> &'g [Server] {
    let found = before.and_then(|it| it.pools.iter().find(|it| it.pool.name == pool.name));
    found.map_or(&[], |shared| &shared.pool.servers)
}

#[expect(clippy::disallowed_methods, reason = "not a worker: the start, which waits for answers")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests;
