//! What a run cost: the CPU time, page faults and memory of the process under test, and how much of
//! the CPU everybody shares went to processes that have no part in the run.
//!
//! CPU time is the sum over all tasks of a process of `/proc/PID/task/TID/schedstat`, exact to the
//! nanosecond; the file of the process itself covers its first thread only, and `stat` counts in
//! ticks. Page faults are the minor ones of `/proc/PID/stat`. Memory is `Rss` of `smaps_rollup`, as `VmRSS` lags by some pages per CPU.

use std::fs;
use std::io;
use std::time::Instant;

use crate::workload::nanoseconds;

/// `/proc/stat` counts in hundredths of a second on all common architectures (`USER_HZ`).
const TICK_NS: u64 = 10_000_000;

/// What a run cost.
#[derive(Debug)]
pub(crate) struct Usage {
    /// CPU time of the process under test.
    pub(crate) cpu_ns: u64,
    /// Its page faults that needed no disk: memory that the kernel had to give it.
    pub(crate) faults: u64,
    /// Its resident memory at the end, in KiB.
    pub(crate) rss_kib: u64,
    /// The part of this program's CPU, 0 to 1, that was used by none of the watched processes
    /// nor this one, a hypervisor's share included. `None` unless this program is pinned to one.
    pub(crate) foreign_share: Option<f64>,
}

/// A measurement under way.
#[derive(Debug)]
pub(crate) struct Meter {
    watch: Vec<u32>,
    began: Instant,
    before: Counts,
}

#[derive(Debug)]
struct Counts {
    /// CPU time of the process under test.
    subject_ns: u64,
    /// Its minor page faults.
    subject_faults: u64,
    /// CPU time of all watched processes and this one.
    own_ns: u64,
    /// Idle time of the CPU this program is pinned to.
    idle_ns: Option<u64>,
}

impl Meter {
    /// Starts measuring; the first of the processes is the one under test.
    pub(crate) fn start(watch: &[u32]) -> io::Result<Self> {
        let before = Counts::take(watch)?;
        Ok(Self { watch: watch.to_vec(), began: Instant::now(), before })
    }

    /// The usage since the start, or `None` if no process is watched.
    pub(crate) fn stop(self) -> io::Result<Option<Usage>> {
        let Some(subject) = self.watch.first() else { return Ok(None) };
        let elapsed_ns = nanoseconds(self.began.elapsed());
        let after = Counts::take(&self.watch)?;
        let foreign_share = after.idle_ns.zip(self.before.idle_ns).map(|(after_ns, before_ns)| {
            let busy_ns = elapsed_ns.saturating_sub(after_ns - before_ns);
            let own_ns = after.own_ns - self.before.own_ns;
            busy_ns.saturating_sub(own_ns) as f64 / elapsed_ns as f64
        });
        Ok(Some(Usage {
            cpu_ns: after.subject_ns - self.before.subject_ns,
            faults: after.subject_faults - self.before.subject_faults,
            rss_kib: rss_kib(*subject)?,
            foreign_share,
        }))
    }
}

impl Counts {
    fn take(watch: &[u32]) -> io::Result<Self> {
        let mut own_ns = cpu_ns(std::process::id())?;
        let (mut subject_ns, mut subject_faults) = (0, 0);
        for (index, pid) in watch.iter().enumerate() {
            let pid_ns = cpu_ns(*pid)?;
            own_ns += pid_ns;
            if index == 0 {
                subject_ns = pid_ns;
                subject_faults = faults(*pid)?;
            }
        }
        Ok(Self { subject_ns, subject_faults, own_ns, idle_ns: idle_ns()? })
    }
}

fn cpu_ns(pid: u32) -> io::Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end between the listing and the reading.
        let Ok(line) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        sum += field(&line, 0).ok_or_else(|| malformed("schedstat"))?;
    }
    Ok(sum)
}

/// Minor page faults of all threads of a process, those that have ended included.
fn faults(pid: u32) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, in parentheses, may hold anything; the first field behind it is the third.
    let fields = stat.rsplit_once(')').map(|(_, fields)| fields);
    fields.and_then(|fields| field(fields, 10 - 3)).ok_or_else(|| malformed("stat"))
}

fn rss_kib(pid: u32) -> io::Result<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = rollup.lines().find(|line| line.starts_with("Rss:"));
    line.and_then(|line| field(line, 1)).ok_or_else(|| malformed("smaps_rollup"))
}

/// Idle time, waits for disks included, of the one CPU this program may run on.
fn idle_ns() -> io::Result<Option<u64>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let Some(Ok(cpu)) = allowed.map(|list| list.trim().parse::<u32>()) else { return Ok(None) };
    let name = format!("cpu{cpu} ");
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().find(|line| line.starts_with(&name));
    let ticks = line.and_then(|line| Some(field(line, 4)? + field(line, 5)?));
    ticks.map(|ticks| Some(ticks * TICK_NS)).ok_or_else(|| malformed("stat"))
}

fn field(line: &str, index: usize) -> Option<u64> {
    line.split_ascii_whitespace().nth(index)?.parse().ok()
}

fn malformed(file: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("/proc: {file} has an unknown form"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_of_any_thread_is_counted() {
        let pid = std::process::id();
        let before_ns = cpu_ns(pid).unwrap();
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        let worker = std::thread::spawn(move || {
            let began = Instant::now();
            while began.elapsed().as_millis() < 50 {}
            receiver.recv().unwrap_err();
        });
        let waited = Instant::now();
        while cpu_ns(pid).unwrap() - before_ns < 20_000_000 && waited.elapsed().as_secs() < 10 {
            std::thread::yield_now();
        }
        assert!(cpu_ns(pid).unwrap() - before_ns >= 20_000_000);
        drop(sender);
        worker.join().unwrap();
    }

    #[test]
    fn memory_of_this_process_is_more_than_nothing() {
        assert!(rss_kib(std::process::id()).unwrap() > 100);
    }

    #[test]
    fn memory_that_is_touched_for_the_first_time_is_counted() {
        const PAGE: usize = 4096;
        let before = faults(std::process::id()).unwrap();
        let mut bytes = vec![0_u8; 16 << 20];
        bytes.iter_mut().step_by(PAGE).for_each(|byte| *byte = 1);
        std::hint::black_box(&bytes);
        // The kernel may give pages larger than these.
        assert!(faults(std::process::id()).unwrap() - before >= 8);
    }

    #[test]
    fn nothing_watched_is_nothing_measured() {
        assert!(Meter::start(&[]).unwrap().stop().unwrap().is_none());
    }
}
