//! Keeps the configuration as it is while another process takes over.
//!
//! The one rule: what is handed over is what is served. Between the first listening socket that is sent
//! and the end of the upgrade no reload begins, and no upgrade begins during a reload.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

/// Whether the configuration may change; a clone is the same one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Standstill {
    /// Locked by whoever changes the configuration or hands over.
    lock: Arc<Mutex<()>>,
    is_replaced: Arc<AtomicBool>,
}

impl Standstill {
    /// Begins an upgrade, after the reload that may be under way. It ends with the guard.
    pub(crate) fn begin(&self) -> MutexGuard<'_, ()> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The guard of a reload.
    ///
    /// # Errors
    /// Why the configuration must not change now.
    pub(crate) fn begin_reload(&self) -> Result<MutexGuard<'_, ()>, &'static str> {
        let guard = match self.lock.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        };
        if self.is_replaced() {
            return Err("another process has taken over from this one: reload that one");
        }
        guard.ok_or("an upgrade is under way: reload when it has ended")
    }

    /// Another process has taken over.
    pub(crate) fn note_replaced(&self) {
        self.is_replaced.store(true, Ordering::Release);
    }

    /// Whether another process has taken over.
    pub(crate) fn is_replaced(&self) -> bool {
        self.is_replaced.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_reload_begins_during_an_upgrade_or_after_it() {
        let standstill = Standstill::default();
        drop(standstill.begin_reload().unwrap());
        let upgrade = standstill.begin();
        let why = standstill.clone().begin_reload().unwrap_err();
        assert!(why.contains("under way"), "{why}");
        drop(upgrade);
        drop(standstill.begin_reload().unwrap());
        let upgrade = standstill.begin();
        standstill.note_replaced();
        let why = standstill.begin_reload().unwrap_err();
        assert!(why.contains("has taken over"), "{why}");
        drop(upgrade);
        assert_eq!(standstill.begin_reload().unwrap_err(), why);
    }
}
