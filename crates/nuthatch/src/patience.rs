//! Waiting for addresses and files that another process has: it may have been told to end, and
//! release them soon.
//!
//! The one rule: only an attempt that failed with "in use" is repeated. Other errors are returned at
//! once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Whether, and until when, the start waits.
#[derive(Debug, Clone, Default)]
pub(crate) struct Patience {
    /// Set when waiting is no longer useful. Without this flag, the start does not wait at all.
    is_draining: Option<Arc<AtomicBool>>,
}

/// How long the start waits for what a process releases as soon as it is told to end.
pub(crate) const FOR_THE_SIGNALLED: Duration = Duration::from_secs(1);

/// How long the start waits for what a process releases at its end: longer than a drain may take.
pub(crate) const FOR_THE_DRAINING: Duration = Duration::from_secs(7);

/// The pause between two attempts.
const STEP: Duration = Duration::from_millis(10);

impl Patience {
    /// Waits until the flag is set.
    pub(crate) fn until(is_draining: Arc<AtomicBool>) -> Self {
        Self { is_draining: Some(is_draining) }
    }

    /// Calls `open`, again and again up to `limit` while it fails with "in use".
    pub(crate) fn open<T>(
        &self,
        limit: Duration,
        mut open: impl FnMut() -> io::Result<T>,
    ) -> io::Result<T> {
        let tries = limit.as_millis() / STEP.as_millis();
        for number in 0..tries {
            match open() {
                Err(error) if self.waits() && is_in_use(&error) => {
                    if number == 0 {
                        let patience_ms = limit.as_millis();
                        log::info!(error:%, patience_ms; "waiting for an address or file in use");
                    }
                    thread::sleep(STEP);
                }
                outcome => return outcome,
            }
        }
        open()
    }

    fn waits(&self) -> bool {
        self.is_draining.as_ref().is_some_and(|it| !it.load(Ordering::Relaxed))
    }
}

fn is_in_use(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::ResourceBusy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy() -> io::Error {
        io::ErrorKind::AddrInUse.into()
    }

    #[test]
    fn what_is_in_use_is_tried_again_until_it_is_free_or_the_time_is_over() {
        let patience = Patience::until(Arc::default());
        let mut tries = 0;
        let mut open = |free_at| {
            tries = 0;
            let outcome = patience.open(STEP * 5, || {
                tries += 1;
                if tries == free_at { Ok(()) } else { Err(busy()) }
            });
            (outcome.is_ok(), tries)
        };
        assert_eq!(open(3), (true, 3));
        assert_eq!(open(100), (false, 6));
    }

    #[test]
    fn nothing_else_is_tried_again() {
        let mut tries = 0;
        let mut open = |patience: &Patience, kind: io::ErrorKind| {
            tries = 0;
            let outcome = patience.open(STEP * 5, || -> io::Result<()> {
                tries += 1;
                Err(kind.into())
            });
            assert_eq!(outcome.unwrap_err().kind(), kind);
            tries
        };
        let is_draining = Arc::new(AtomicBool::new(true));
        assert_eq!(open(&Patience::until(Arc::default()), io::ErrorKind::NotFound), 1);
        assert_eq!(open(&Patience::until(is_draining), io::ErrorKind::AddrInUse), 1);
        assert_eq!(open(&Patience::default(), io::ErrorKind::AddrInUse), 1);
    }
}
