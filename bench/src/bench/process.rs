//! Processes this program starts: all pinned to one CPU, and all ended with it.
//!
//! A [`Running`] process is stopped when it is dropped. A panic in a release build drops nothing,
//! and a kill leaves no time to, so each child is also told, by `setpriv --pdeathsig`, to be
//! killed by the kernel when its parent is gone.

use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal};

/// How often a condition is looked at again.
const INTERVAL: Duration = Duration::from_millis(5);
/// How long a process may take to end after being asked to.
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// A command for `program` that will run on `cpu` only and not outlive this program.
pub(crate) fn pinned(program: impl AsRef<OsStr>, cpu: u32) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "taskset", "--cpu-list"]);
    command.arg(cpu.to_string()).arg(program);
    command
}

/// A child process, stopped when dropped.
#[derive(Debug)]
pub(crate) struct Running {
    name: String,
    child: Child,
}

impl Running {
    /// Starts a process that keeps its output for itself, in `log`.
    pub(crate) fn start(name: &str, command: &mut Command, log: &Path) -> Result<Self, String> {
        let fail = |error: std::io::Error| format!("{name} can't be started: {error}");
        let output = File::create(log).map_err(fail)?;
        command.stdin(Stdio::null());
        command.stdout(output.try_clone().map_err(fail)?).stderr(output);
        let child = command.spawn().map_err(fail)?;
        Ok(Self { name: name.to_owned(), child })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `is_ready` says so, for `limit` at most and while the process lives.
    pub(crate) fn wait_until(
        &mut self,
        limit: Duration,
        mut is_ready: impl FnMut() -> bool,
    ) -> Result<(), String> {
        let began = Instant::now();
        while !is_ready() {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("{} ended at once: {status}", self.name));
            }
            if began.elapsed() > limit {
                return Err(format!("{} was not ready within {limit:?}", self.name));
            }
            thread::sleep(INTERVAL);
        }
        Ok(())
    }

    /// Waits for the process to end by itself; kills it at the limit.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<ExitStatus, String> {
        let began = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) if began.elapsed() < limit => thread::sleep(INTERVAL),
                Ok(None) => {
                    let _ = self.child.kill();
                    let _ = self.child.wait();
                    return Err(format!("{} did not end within {limit:?}", self.name));
                }
                Err(error) => return Err(format!("{}: {error}", self.name)),
            }
        }
    }

    /// Asks the process to end, and kills it if it doesn't within the limit.
    pub(crate) fn stop(&mut self, limit: Duration) -> Result<(), String> {
        // Only a child not yet waited for still owns its pid.
        if let (Ok(None), Ok(raw)) = (self.child.try_wait(), i32::try_from(self.child.id()))
            && let Some(pid) = Pid::from_raw(raw)
        {
            let _ = rustix::process::kill_process(pid, Signal::TERM);
        }
        self.wait(limit).map(|_| ())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.stop(STOP_LIMIT);
    }
}

/// Lets this program and its children open as many files as they may.
pub(crate) fn raise_open_files_limit() {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // If it can't be raised, the workloads with many connections say so themselves.
    let _ = rustix::process::setrlimit(Resource::Nofile, raised);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start_sleep(seconds: &str) -> Running {
        let mut command = pinned("sleep", crate::machine::last_allowed_cpu());
        Running::start("sleep", command.arg(seconds), Path::new("/dev/null")).unwrap()
    }

    #[test]
    fn a_dropped_process_is_gone() {
        let running = start_sleep("60");
        let proc_dir = format!("/proc/{}", running.pid());
        assert!(Path::new(&proc_dir).exists());
        drop(running);
        assert!(!Path::new(&proc_dir).exists());
    }

    #[test]
    fn waiting_has_an_end() {
        let error = start_sleep("60").wait(Duration::from_millis(20)).unwrap_err();
        assert_eq!(error, "sleep did not end within 20ms");
    }

    #[test]
    fn a_process_that_ends_is_never_ready() {
        let error = start_sleep("0").wait_until(Duration::from_secs(10), || false).unwrap_err();
        assert!(error.starts_with("sleep ended at once"), "{error}");
    }
}
