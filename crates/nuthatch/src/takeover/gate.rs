//! The gate at which new workers wait until the running process has stopped accepting clients.
//!
//! The one rule: a worker arrives at the gate only when nothing can fail for it any more. So all that
//! can fail has happened before `go`, and a failed start has accepted no client.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A gate for workers; a clone is the same gate.
#[derive(Debug, Clone)]
pub(crate) struct Gate(Arc<(Mutex<State>, Condvar)>);

#[derive(Debug)]
struct State {
    arrived: usize,
    /// Whether those who arrive may start; none before that is decided.
    opens: Option<bool>,
}

/// How long the workers may take until they have arrived.
const ARRIVAL_MAX: Duration = Duration::from_secs(10);

impl Gate {
    /// A gate that lets workers start at once.
    pub(crate) fn open() -> Self {
        Self::in_state(Some(true))
    }

    /// A gate at which workers wait.
    pub(crate) fn closed() -> Self {
        Self::in_state(None)
    }

    fn in_state(opens: Option<bool>) -> Self {
        Self(Arc::new((Mutex::new(State { arrived: 0, opens }), Condvar::new())))
    }

    /// Waits until it is decided whether the worker starts.
    pub(crate) fn wait(&self) -> bool {
        let mut state = self.state();
        state.arrived += 1;
        self.0.1.notify_all();
        loop {
            if let Some(opens) = state.opens {
                return opens;
            }
            state = self.0.1.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until so many workers have arrived.
    pub(crate) fn await_arrivals(&self, workers: usize) -> io::Result<()> {
        let waits = |state: &mut State| state.arrived < workers;
        let state = self.state();
        let waited = self.0.1.wait_timeout_while(state, ARRIVAL_MAX, waits);
        let (_state, outcome) = waited.unwrap_or_else(PoisonError::into_inner);
        if outcome.timed_out() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "a worker could not be started"));
        }
        Ok(())
    }

    /// Lets the workers start, or end at once.
    pub(crate) fn decide(&self, opens: bool) {
        self.state().opens.get_or_insert(opens);
        self.0.1.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn workers_start_or_end_when_it_is_decided_and_the_first_decision_counts() {
        for opens in [true, false] {
            let gate = Gate::closed();
            let workers: Vec<_> = (0..2).map(|_| gate.clone()).collect();
            let workers: Vec<_> =
                workers.into_iter().map(|gate| thread::spawn(move || gate.wait())).collect();
            gate.await_arrivals(2).unwrap();
            assert!(workers.iter().all(|worker| !worker.is_finished()));
            gate.decide(opens);
            gate.decide(!opens);
            assert!(workers.into_iter().all(|worker| worker.join().unwrap() == opens));
        }
    }

    #[test]
    fn an_open_gate_holds_nobody() {
        assert!(Gate::open().wait());
    }
}
