//! The figures of the resolver: look-ups, failures, and the age of each answer.
//!
//! The one rule: only the resolver's thread and that of the discovery count; anybody may read.

use super::names::{Outcome, Question};
use super::trouble::KubernetesFigures;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Why a look-up failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Failure {
    /// There is no such name (NXDOMAIN).
    NoName,
    /// The name has no record of this type.
    NoRecord,
    /// A name server could not answer (SERVFAIL and other codes).
    ServerFailed,
    /// A name server refused the question.
    Refused,
    /// No name server answered in time.
    TimedOut,
    /// No name server could be reached, or none gave a valid answer.
    Unreachable,
}

impl Failure {
    /// All of them, in order.
    pub(crate) const ALL: [Self; 6] = [
        Self::NoName,
        Self::NoRecord,
        Self::ServerFailed,
        Self::Refused,
        Self::TimedOut,
        Self::Unreachable,
    ];

    /// Its name in metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::NoName => "no_name",
            Self::NoRecord => "no_record",
            Self::ServerFailed => "server_failed",
            Self::Refused => "refused",
            Self::TimedOut => "timed_out",
            Self::Unreachable => "unreachable",
        }
    }

    /// What the log says.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::NoName => "name does not exist",
            Self::NoRecord => "name has no record of this type",
            Self::ServerFailed => "name server could not answer",
            Self::Refused => "name server refused the question",
            Self::TimedOut => "name server did not answer in time",
            Self::Unreachable => "name server could not be reached or gave no valid answer",
        }
    }
}

/// Counters since the start, and the answers now.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    look_ups: AtomicU64,
    failures: [AtomicU64; Failure::ALL.len()],
    /// When each question got its last good answer.
    answered: Mutex<BTreeMap<Question, Instant>>,
    /// Of requests to Kubernetes.
    pub(crate) kubernetes: KubernetesFigures,
    /// By pool and entry.
    discovered: Mutex<BTreeMap<(String, String), Discovered>>,
    held: AtomicUsize,
}

/// The servers that DNS or Kubernetes tells of for one entry.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Discovered {
    /// How many the last answer has.
    pub(crate) servers: usize,
    /// Answers with more than `discovered_max`.
    pub(crate) ignored: u64,
}

impl Figures {
    /// Counts a look-up that is done.
    pub(super) fn note(&self, question: &Question, outcome: &Outcome) {
        self.look_ups.fetch_add(1, Ordering::Relaxed);
        match outcome {
            Outcome::Failed(failure) => {
                self.failures[*failure as usize].fetch_add(1, Ordering::Relaxed);
            }
            Outcome::Found(..) => {
                self.answered().insert(question.clone(), Instant::now());
            }
        }
    }

    /// The question has no users.
    pub(super) fn forget(&self, question: &Question) {
        self.answered().remove(question);
    }

    /// Look-ups that are done.
    pub(crate) fn look_ups(&self) -> u64 {
        self.look_ups.load(Ordering::Relaxed)
    }

    /// Look-ups that failed for this reason.
    pub(crate) fn failures(&self, failure: Failure) -> u64 {
        self.failures[failure as usize].load(Ordering::Relaxed)
    }

    /// The age of the last good answer to each question.
    pub(crate) fn ages(&self) -> Vec<(Question, Duration)> {
        let answered = self.answered();
        answered.iter().map(|(question, at)| (question.clone(), at.elapsed())).collect()
    }

    /// An entry of a pool has an answer with this many servers.
    pub(crate) fn note_discovered(&self, pool: &str, entry: &str, servers: usize, is_over: bool) {
        let mut all = self.discovered.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = all.entry((pool.to_owned(), entry.to_owned())).or_default();
        entry.servers = servers;
        entry.ignored += u64::from(is_over);
    }

    /// So many servers are held now.
    pub(crate) fn note_held(&self, servers: usize) {
        self.held.store(servers, Ordering::Relaxed);
    }

    /// Servers that DNS no longer tells of and that stay for now.
    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// The servers of each pool and entry.
    pub(crate) fn discovered(&self) -> BTreeMap<(String, String), Discovered> {
        self.discovered.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn answered(&self) -> MutexGuard<'_, BTreeMap<Question, Instant>> {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
