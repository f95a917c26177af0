//! Resolves names without blocking a worker.
//!
//! The one rule: a process has one resolver, on one thread, and no worker waits for it. A worker sends
//! a question and gets the answer, and each later change of it, through its inbox. The thread starts
//! with the first question, so a proxy whose servers are addresses does not have it.

use crate::config::{self, Address, Discovered, Lookup, Pool, Server};
use crate::inbox::{Inbox, Message};
use nuthatch_core::mux::ConnId;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;

mod conf;
mod figures;
mod hosts;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod names;
mod query;
mod thread;
mod trouble;

pub(crate) use figures::{Failure, Figures};
use names::{Bounds, User};
pub(crate) use names::{Found, Pod, Question, Service};
use thread::Ask;
pub(crate) use trouble::{KubernetesFigures, Trouble};

/// How names are resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The file that names the DNS servers and the search list.
    pub resolv_conf: PathBuf,
    /// An answer is used for so long at least, whatever its TTL is.
    pub ttl_min: Duration,
    /// An answer is used for so long at most, whatever its TTL is.
    pub ttl_max: Duration,
    /// The folder with the credentials of the pod's service account in Kubernetes.
    pub service_account: PathBuf,
    /// A target of a service that DNS no longer has, and a pod with a host name of its own that has left
    /// its Service, stay for so long.
    pub hold: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            resolv_conf: "/etc/resolv.conf".into(),
            ttl_min: Duration::from_secs(1),
            ttl_max: Duration::from_secs(30),
            service_account: "/var/run/secrets/kubernetes.io/serviceaccount".into(),
            hold: Duration::from_secs(30),
        }
    }
}

/// The addresses of a server's name now: the answer to a look-up, or news.
#[derive(Debug)]
pub(crate) struct Resolved {
    /// The place of the pool in its worker, which may be another's when the answer comes.
    pub(crate) pool: usize,
    pub(crate) pool_id: u64,
    pub(crate) conn: ConnId,
    /// None if the name has never had an address.
    pub(crate) found: Option<Arc<Found>>,
}

/// A new answer to a question that is followed.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) question: Question,
    pub(crate) found: Arc<Found>,
}

/// Who gets the answers.
#[derive(Debug)]
pub(crate) enum Receiver {
    /// A server connection of a worker, with its pool's place and id.
    Worker(Arc<Inbox>, (usize, u64, ConnId)),
    /// Somebody who follows the question.
    Follower(mpsc::Sender<Change>),
    /// Somebody who waits for one answer, be it that there is none.
    Asker(mpsc::Sender<Option<Arc<Found>>>),
}

impl Receiver {
    fn tell(&self, question: &Question, found: Option<Arc<Found>>) {
        match self {
            &Self::Worker(ref inbox, (pool, pool_id, conn)) => {
                inbox.send(Message::Resolved(Resolved { pool, pool_id, conn, found }));
            }
            Self::Follower(changes) => {
                if let Some(found) = found {
                    // A follower that has gone needs no answer.
                    let _ = changes.send(Change { question: question.clone(), found });
                }
            }
            Self::Asker(answer) => {
                // One who has waited long enough needs no answer.
                let _ = answer.send(found);
            }
        }
    }
}

/// The address, if the host is an IP address, also in a form that only the system reads, such as
/// `127.1` and `fe80::1%eth0`. It does not block: for such a text the system asks nobody.
pub(crate) fn literal(host: &str, port: u16) -> Option<SocketAddr> {
    let plain = host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, port));
    plain.or_else(|| {
        let is_ip = config::is_ip(host);
        is_ip.then(|| (host, port).to_socket_addrs().ok()?.next()).flatten()
    })
}

/// The maximum number of files that look-ups for these pools have open.
pub(crate) fn files_max<'p>(pools: impl IntoIterator<Item = &'p Pool>) -> usize {
    let is_name = |server: &Server| match &server.address {
        Address::Tcp { host, .. } => !config::is_ip(host),
        Address::Unix(_) => false,
    };
    let looks_up = |pool: &Pool| !pool.discovered.is_empty() || pool.all_servers().any(is_name);
    let is_service = |entry: &&Discovered| matches!(entry.lookup, Lookup::Pods { .. });
    let (mut look_ups, mut services) = (0, 0);
    for pool in pools {
        // Each has a socket for A and one for AAAA.
        look_ups = if looks_up(pool) { 2 * names::ASKING_MAX } else { look_ups };
        services += pool.discovered.iter().filter(is_service).count();
    }
    look_ups + services
}

/// The resolver of the process.
#[derive(Debug, Clone)]
pub(crate) struct Resolver(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    options: Options,
    /// To the thread, once it runs.
    asks: Mutex<Option<UnboundedSender<Ask>>>,
    users: AtomicU64,
    figures: Arc<Figures>,
}

impl Resolver {
    pub(crate) fn new(options: Options) -> Self {
        let (asks, users, figures) = (Mutex::new(None), AtomicU64::new(0), Arc::default());
        Self(Arc::new(Shared { options, asks, users, figures }))
    }

    /// The counters.
    pub(crate) fn figures(&self) -> &Figures {
        &self.0.figures
    }

    /// A place for the answers to one question, which nobody has asked yet.
    pub(crate) fn inquiry(&self, question: Question, receiver: Receiver) -> Inquiry {
        let user = self.0.users.fetch_add(1, Ordering::Relaxed);
        let (asks, receiver) = (self.asks(), Arc::new(receiver));
        Inquiry { user, question, receiver, asks, was_asked: false }
    }

    /// Sends each new answer to a question to `changes`, until the result is dropped.
    pub(crate) fn follow(&self, question: Question, changes: mpsc::Sender<Change>) -> Inquiry {
        let inquiry = self.inquiry(question, Receiver::Follower(changes));
        inquiry.send(|user, question, receiver| Ask::Follow { user, question, receiver });
        inquiry
    }

    /// The addresses of a host; empty if there is no answer before `patience` is over. This waits, so it
    /// is for commands, not for workers.
    pub(crate) fn wait_for(&self, host: &str, patience: Duration) -> Vec<IpAddr> {
        let (answer, told) = mpsc::channel();
        let mut inquiry = self.inquiry(Question::Addresses(host.into()), Receiver::Asker(answer));
        inquiry.look_up();
        let found = told.recv_timeout(patience).ok().flatten();
        found.map(|found| found.addresses().to_vec()).unwrap_or_default()
    }

    /// The way to the thread, which is started if it does not run yet.
    fn asks(&self) -> Option<UnboundedSender<Ask>> {
        let mut asks = self.0.asks.lock().unwrap_or_else(PoisonError::into_inner);
        if asks.is_none() {
            match thread::start(&self.0.options, &self.0.figures) {
                Ok(started) => *asks = Some(started),
                Err(error) => log::error!(error:%; "failed to start the thread for name look-ups"),
            }
        }
        asks.clone()
    }
}

/// One user's questions about one name. When it is dropped, nobody tells the user anything more.
#[derive(Debug)]
pub(crate) struct Inquiry {
    user: User,
    question: Question,
    receiver: Arc<Receiver>,
    /// None if the thread can't be started.
    asks: Option<UnboundedSender<Ask>>,
    was_asked: bool,
}

impl Inquiry {
    /// Looks the name up. The answer comes to the receiver. Whoever asks again does so because the
    /// last answer did not help for long, so it is not taken from the cache.
    pub(crate) fn look_up(&mut self) {
        let afresh = std::mem::replace(&mut self.was_asked, true);
        self.send(|user, question, receiver| Ask::LookUp { user, question, receiver, afresh });
    }

    /// The user has connected to one of the addresses, or has failed to.
    pub(crate) fn settled(&self) {
        if let Some(asks) = &self.asks {
            let _ = asks.send(Ask::Settled(self.user));
        }
    }

    fn send(&self, ask: impl FnOnce(User, Question, Arc<Receiver>) -> Ask) {
        let ask = ask(self.user, self.question.clone(), Arc::clone(&self.receiver));
        let sent = self.asks.as_ref().map(|asks| asks.send(ask));
        if !matches!(sent, Some(Ok(()))) {
            self.receiver.tell(&self.question, None);
        }
    }
}

impl Drop for Inquiry {
    fn drop(&mut self) {
        if let Some(asks) = &self.asks {
            let _ = asks.send(Ask::Release(self.user));
        }
    }
}
