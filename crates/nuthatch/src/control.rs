//! What the thread that leads the proxy is told by the other threads.

use crate::resolve::Change;
use std::fmt;
use std::io;
use std::sync::mpsc;

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
    pub(crate) reply: Option<mpsc::Sender<Outcome>>,
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
