//! What can go wrong with Kubernetes, and the figures of it.
//!
//! The one rule: only the resolver's thread counts; anybody may read.

use std::collections::BTreeMap;
#[cfg(feature = "kubernetes")]
use std::collections::BTreeSet;
#[cfg(feature = "kubernetes")]
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Why the EndpointSlices of a Service can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trouble {
    /// The proxy does not run in a pod, or its pod has no service account.
    NoAccount,
    /// The API server can't be reached, or the connection was lost.
    Unreachable,
    /// The API server did not answer in time.
    TimedOut,
    /// The certificate of the API server is not one of the cluster.
    Untrusted,
    /// The token is not accepted (401).
    Unauthorized,
    /// The service account lacks a right (403).
    Forbidden,
    /// Another status.
    Refused,
    /// The answer is not what Kubernetes answers.
    Invalid,
    /// The answer is larger than a limit.
    TooLarge,
    /// The Service has no pods.
    NoPods,
}

impl Trouble {
    /// All of them, in order.
    pub(crate) const ALL: [Self; 10] = [
        Self::NoAccount,
        Self::Unreachable,
        Self::TimedOut,
        Self::Untrusted,
        Self::Unauthorized,
        Self::Forbidden,
        Self::Refused,
        Self::Invalid,
        Self::TooLarge,
        Self::NoPods,
    ];

    /// Its name in metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::NoAccount => "no_account",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed_out",
            Self::Untrusted => "untrusted",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::Refused => "refused",
            Self::Invalid => "invalid",
            Self::TooLarge => "too_large",
            Self::NoPods => "no_pods",
        }
    }
}

/// Counters since the start, and how each Service is now.
#[derive(Debug, Default)]
pub(crate) struct KubernetesFigures {
    requests: AtomicU64,
    failures: [AtomicU64; Trouble::ALL.len()],
    /// By Service: since when its answer grows old; none while it is watched. One without an answer is
    /// not here.
    lost: Mutex<BTreeMap<String, Option<Instant>>>,
    /// By Service: why it can't be read now.
    reasons: Mutex<BTreeMap<String, String>>,
}

impl KubernetesFigures {
    /// Requests, failed ones too.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Requests that failed for this reason.
    pub(crate) fn failures(&self, trouble: Trouble) -> u64 {
        self.failures[trouble as usize].load(Ordering::Relaxed)
    }

    /// How old the answer of each Service is.
    pub(crate) fn ages(&self) -> Vec<(String, Duration)> {
        let age = |lost: &Option<Instant>| lost.map_or(Duration::ZERO, |at| at.elapsed());
        self.lost().iter().map(|(service, lost)| (service.clone(), age(lost))).collect()
    }

    /// Why a Service can't be read, if it can't.
    pub(crate) fn reason(&self, service: &str) -> Option<String> {
        self.reasons().get(service).cloned()
    }

    fn reasons(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lost(&self) -> MutexGuard<'_, BTreeMap<String, Option<Instant>>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(feature = "kubernetes")]
impl KubernetesFigures {
    /// Counts a request that is sent.
    pub(super) fn note_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// A Service, which has these names, can be read.
    pub(super) fn note_works(&self, names: &BTreeSet<Arc<str>>) {
        for name in names {
            self.lost().insert(name.to_string(), None);
            self.reasons().remove(&**name);
        }
    }

    /// A Service, which has these names, could be listed once more, and its answer grows old from now on.
    pub(super) fn note_listed(&self, names: &BTreeSet<Arc<str>>) {
        for name in names {
            self.lost().insert(name.to_string(), Some(Instant::now()));
        }
    }

    /// Counts an attempt that failed.
    pub(super) fn note_failure(&self, trouble: Trouble) {
        self.failures[trouble as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// A Service, which has these names, can't be read.
    pub(super) fn note_fails(&self, names: &BTreeSet<Arc<str>>, reason: &str) {
        self.note_reason(names, reason);
        for name in names {
            if let Some(lost) = self.lost().get_mut(&**name) {
                lost.get_or_insert_with(Instant::now);
            }
        }
    }

    /// Why a Service can't be read.
    pub(super) fn note_reason(&self, names: &BTreeSet<Arc<str>>, reason: &str) {
        for name in names {
            self.reasons().insert(name.to_string(), reason.to_owned());
        }
    }

    /// A Service has another name, too.
    pub(super) fn note_same(&self, known: &str, name: &str) {
        let (mut lost, mut reasons) = (self.lost(), self.reasons());
        if let Some(state) = lost.get(known).copied() {
            lost.insert(name.to_owned(), state);
        }
        if let Some(reason) = reasons.get(known).cloned() {
            reasons.insert(name.to_owned(), reason);
        }
    }

    /// Nobody uses a Service any longer.
    pub(super) fn forget(&self, service: &str) {
        self.lost().remove(service);
        self.reasons().remove(service);
    }
}
