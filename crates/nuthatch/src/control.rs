//! What the thread that leads the proxy is told by the other threads.

use crate::resolve::Change;
use std::fmt;
use std::io;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// A message to the leading thread.
#[derive(Debug)]
pub(crate) enum Control {
    /// A worker has ended.
    Ended(io::Result<()>),
    /// The proxy should look whether it must change.
    Wish(Wish),
}

/// Why the proxy may have to change.
#[derive(Debug)]
pub(crate) enum Wish {
    /// The configuration should be read again.
    Reload(Reload),
    /// DNS has a new answer.
    Discovered(Change),
    /// The time is over for which an earlier wish had to wait.
    Retry,
}

/// The wish for another look at the configuration.
#[derive(Debug)]
pub(crate) struct Reload {
    pub(crate) trigger: Trigger,
    /// Whether more keys may move than `max_move` says.
    pub(crate) is_forced: bool,
    /// Who wants to know what became of it.
    pub(crate) asker: Option<Asker>,
}

impl Reload {
    /// A wish that nobody waits for.
    pub(crate) fn by(trigger: Trigger) -> Self {
        Self { trigger, is_forced: false, asker: None }
    }
}

/// Who waits for the outcome of a reload.
#[derive(Debug)]
pub(crate) struct Asker {
    pub(crate) reply: oneshot::Sender<Outcome>,
    /// One of the few reloads that may wait: kept until the reload is done, even if whoever asked has gone.
    pub(crate) _turn: OwnedSemaphorePermit,
}

/// What made the proxy look at its configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trigger {
    /// SIGHUP.
    Signal,
    /// The file is another one.
    File,
    /// `POST /reload` on the admin port.
    Admin,
    /// DNS tells of other servers.
    Discovery,
    /// Keys of the last change no longer move, and a later change waits for that.
    Retry,
}

impl fmt::Display for Trigger {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Signal => "SIGHUP",
            Self::File => "file changed",
            Self::Admin => "POST /reload",
            Self::Discovery => "DNS",
            Self::Retry => "keys no longer move",
        })
    }
}

/// What became of a reload.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    /// The proxy serves by the new configuration; one line for each thing that changed.
    Changed { generation: u64, changes: Vec<String> },
    /// The configuration says what it said before.
    Unchanged,
    /// Nothing has changed yet, for this reason; the proxy looks again by itself.
    Waits(String),
    /// Nothing has changed, for these reasons.
    Refused(Vec<String>),
}

impl Outcome {
    /// The names of all results.
    pub(crate) const RESULTS: [&str; 4] = ["changed", "unchanged", "waits", "refused"];

    /// The name of the result, for metrics and for whoever asked.
    pub(crate) fn result(&self) -> &'static str {
        match self {
            Self::Changed { .. } => "changed",
            Self::Unchanged => "unchanged",
            Self::Waits(_) => "waits",
            Self::Refused(_) => "refused",
        }
    }

    /// Whether the proxy serves by the configuration now.
    pub(crate) fn is_taken(&self) -> bool {
        matches!(self, Self::Changed { .. } | Self::Unchanged)
    }
}
