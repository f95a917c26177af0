//! Resource usage of this process, from the kernel: proc(5), `/proc/self/stat` and `statm`.
//!
//! The one rule: a figure that cannot be read is `None`, and callers leave it out.

use std::fs;
use std::time::Duration;

/// CPU time since the start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CpuTimes {
    /// In the program itself.
    pub(crate) user: Duration,
    /// In the kernel, for the program.
    pub(crate) system: Duration,
}

pub(crate) fn cpu_times() -> Option<CpuTimes> {
    let stat = Stat::read()?;
    Some(CpuTimes { user: stat.time(14)?, system: stat.time(15)? })
}

/// Time from the start of the system to the start of the process.
pub(crate) fn start_after_boot() -> Option<Duration> {
    Stat::read()?.time(22)
}

/// Resident memory: the second figure of `statm`, in pages.
pub(crate) fn resident_bytes() -> Option<u64> {
    let pages = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = pages.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// The text after the program's name, which may contain spaces: the third field and the following
/// ones.
struct Stat(String);

impl Stat {
    fn read() -> Option<Self> {
        let line = fs::read_to_string("/proc/self/stat").ok()?;
        let (_, behind_name) = line.rsplit_once(") ")?;
        Some(Self(behind_name.to_owned()))
    }

    /// A field in ticks, by its number in proc(5).
    fn time(&self, field: usize) -> Option<Duration> {
        let ticks: u64 = self.0.split(' ').nth(field - 3)?.parse().ok()?;
        let micros = ticks.checked_mul(1_000_000)? / rustix::param::clock_ticks_per_second();
        Some(Duration::from_micros(micros))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_those_of_proc_5() {
        let ticks = rustix::param::clock_ticks_per_second();
        let fields: Vec<String> = (3..=52).map(|field| (field * ticks).to_string()).collect();
        let stat = Stat(fields.join(" "));
        assert_eq!(stat.time(14), Some(Duration::from_secs(14)));
        assert_eq!(stat.time(22), Some(Duration::from_secs(22)));
        assert_eq!(stat.time(53), None);
    }

    #[test]
    fn a_process_that_works_has_used_time() {
        let before = cpu_times().unwrap();
        let mut sum = 0u64;
        while cpu_times().unwrap().user == before.user {
            sum = (0..10_000_000u64).fold(sum, |sum, n| std::hint::black_box(sum ^ n));
        }
        assert!(start_after_boot().unwrap() > Duration::ZERO);
    }
}
