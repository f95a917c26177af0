//! The number of workers for `--workers auto`.
//!
//! The one rule: only the CPUs that the process may use count, not all CPUs of the machine. The
//! standard library uses the affinity mask and the CPU quota of the cgroup (v1 and v2), rounded
//! down, so a container with a limit of 500m gets one worker on every machine.

use std::num::NonZeroUsize;
use std::thread;

/// The CPUs that this process may use at one time, at least 1.
#[must_use]
pub fn granted() -> NonZeroUsize {
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_cpus_are_granted_than_the_affinity_mask_holds() {
        let mask = rustix::thread::sched_getaffinity(None).unwrap();
        assert!(granted().get() <= usize::try_from(mask.count()).unwrap());
    }
}
