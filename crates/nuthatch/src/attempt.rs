//! An attempt to open a connection to one of several addresses.
//!
//! The one rule: a server has failed only after all its addresses were tried. If an address fails
//! at once, the next address is tried at once; an address that does not answer gets an equal share
//! of the time, and the last address gets the rest, until the engine ends the attempt.

use crate::addresses::Target;
use nuthatch_core::error::ServerError;
use nuthatch_core::time::Instant;
use std::collections::VecDeque;
use std::time::Duration;

/// An attempt, or none.
#[derive(Debug, Default)]
pub(crate) struct Attempt {
    left: VecDeque<Target>,
    tried: Vec<Target>,
    share: Duration,
    error: Option<ServerError>,
    /// When the next address is tried, if the present one says nothing.
    next_at: Option<Instant>,
}

/// The time for an address if there is neither `connect_timeout` nor `timeout`.
const SHARE_WITHOUT_TIMEOUT: Duration = Duration::from_secs(1);

impl Attempt {
    /// An attempt that tries these addresses in order. `time` is for all of them.
    pub(crate) fn new(targets: VecDeque<Target>, time: Option<Duration>) -> Self {
        let count = u32::try_from(targets.len()).unwrap_or(u32::MAX).max(1);
        let share = time.map_or(SHARE_WITHOUT_TIMEOUT, |time| time / count);
        Self { left: targets, share, ..Self::default() }
    }

    /// The next address to connect to.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Target> {
        let target = self.left.pop_front()?;
        self.next_at = (!self.left.is_empty()).then(|| now.after(self.share));
        self.tried.push(target.clone());
        Some(target)
    }

    /// The addresses that were tried, the current one last.
    pub(crate) fn tried(&self) -> &[Target] {
        &self.tried
    }

    /// Notes that the current address failed.
    pub(crate) fn failed(&mut self, error: ServerError) {
        self.next_at = None;
        if error == ServerError::Local {
            // This error does not depend on the address, so the next address would fail, too.
            self.left.clear();
        }
        // "No route" to one address is less useful than the error of another address.
        let says_little = matches!(error, ServerError::Unreachable | ServerError::Other);
        if self.error.is_none() || !says_little {
            self.error = Some(error);
        }
    }

    /// Why it failed.
    pub(crate) fn error(&self) -> ServerError {
        // Nothing was tried, because there is no address.
        self.error.unwrap_or(ServerError::HostDown)
    }

    /// When the next address is tried, if the present one says nothing.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.next_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Instant = Instant::from_nanos(0);

    fn attempt(ports: &[u16], timeout: Option<Duration>) -> Attempt {
        let target = |&port: &u16| Target::Tcp(([10, 0, 0, 1], port).into());
        Attempt::new(ports.iter().map(target).collect(), timeout)
    }

    fn error(ports: &[u16], errors: &[ServerError]) -> (ServerError, usize) {
        let mut attempt = attempt(ports, None);
        for &error in errors {
            attempt.next(START);
            attempt.failed(error);
        }
        (attempt.error(), attempt.left.len())
    }

    #[test]
    fn each_address_has_its_share_of_the_time_and_the_last_one_the_rest() {
        let mut attempt = attempt(&[1, 2, 3], Some(Duration::from_millis(600)));
        attempt.next(START);
        assert_eq!(attempt.next_at(), Some(START.after(Duration::from_millis(200))));
        attempt.failed(ServerError::Refused);
        assert_eq!(attempt.next_at(), None);
        attempt.next(START);
        assert_eq!(attempt.next_at(), Some(START.after(Duration::from_millis(200))));
        attempt.next(START);
        assert_eq!(attempt.next_at(), None);
        assert_eq!(attempt.next(START), None);
        assert_eq!(attempt.tried().len(), 3);
    }

    #[test]
    fn without_a_timeout_an_address_has_a_second() {
        let mut attempt = attempt(&[1, 2], None);
        attempt.next(START);
        assert_eq!(attempt.next_at(), Some(START.after(Duration::from_secs(1))));
    }

    #[test]
    fn the_error_is_the_last_one_that_says_something() {
        use ServerError::{HostDown, Local, Other, Refused, TimedOut, Unreachable};
        assert_eq!(error(&[], &[]), (HostDown, 0));
        assert_eq!(error(&[1, 2], &[Refused, TimedOut]), (TimedOut, 0));
        assert_eq!(error(&[1, 2], &[Refused, Unreachable]), (Refused, 0));
        assert_eq!(error(&[1, 2], &[Other, Refused]), (Refused, 0));
        assert_eq!(error(&[1, 2], &[Unreachable, Other]), (Unreachable, 0));
        assert_eq!(error(&[1, 2, 3], &[Refused, Local]), (Local, 0));
    }
}
