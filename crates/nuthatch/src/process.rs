//! The process: its pid file, its signals, its open files, and its life in the background.
//!
//! The one rule: nothing here knows of clients or servers. Signals become [`ProcessEvent`]s that
//! the main thread waits for; what they do is for the proxy to decide.

use std::env;
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{self, Command, ExitCode, Stdio};

use crate::log;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, setsid};
use rustix::stdio::{dup2_stderr, dup2_stdout};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2};
use signal_hook::iterator::{Handle, Signals as Received};

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessEvent {
    /// SIGTERM or SIGINT: answer what is in flight, take nothing new, end. A second one means now.
    Drain,
    /// SIGHUP: open the log file anew.
    ReopenLog,
    /// SIGTTIN: log more.
    RaiseLogLevel,
    /// SIGTTOU: log less.
    LowerLogLevel,
    /// SIGUSR1 or SIGUSR2, which twemproxy logs and takes no further notice of.
    User(i32),
}

/// The signals of the process, caught from the moment this is made.
#[derive(Debug)]
pub struct Signals(Received);

impl Signals {
    /// Catches the signals that [`ProcessEvent`] names.
    ///
    /// # Errors
    /// When the system refuses a handler or a socket pair.
    pub fn catch() -> io::Result<Self> {
        let signals = [SIGTERM, SIGINT, SIGHUP, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2];
        Received::new(signals).map(Self)
    }

    /// Waits for the next signal; `None` once [`WakeUp::close`] was called.
    pub fn wait(&mut self) -> Option<ProcessEvent> {
        self.0.forever().next().map(event)
    }

    /// What ends [`Self::wait`] from another thread.
    #[must_use]
    pub fn wake_up(&self) -> WakeUp {
        WakeUp(self.0.handle())
    }
}

/// Ends the waiting of the main thread, when the last worker is done.
#[derive(Debug, Clone)]
pub struct WakeUp(Handle);

impl WakeUp {
    /// Makes [`Signals::wait`] return `None`, now and from then on.
    pub fn close(&self) {
        self.0.close();
    }
}

fn event(signal: i32) -> ProcessEvent {
    match signal {
        SIGTERM | SIGINT => ProcessEvent::Drain,
        SIGHUP => ProcessEvent::ReopenLog,
        SIGTTIN => ProcessEvent::RaiseLogLevel,
        SIGTTOU => ProcessEvent::LowerLogLevel,
        other => ProcessEvent::User(other),
    }
}

/// A file with the process id in it, which is removed when this is dropped.
#[derive(Debug)]
pub struct PidFile(PathBuf);

impl PidFile {
    /// Writes the file.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn write(path: &Path) -> io::Result<Self> {
        let named = |error: io::Error| {
            let text = format!("failed to write pid file '{}': {error}", path.display());
            io::Error::new(error.kind(), text)
        };
        fs::write(path, format!("{}\n", process::id())).map_err(named)?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Somebody else may have removed it, which is what is wanted.
        let _ = fs::remove_file(&self.0);
    }
}

/// Raises the number of files that may be open to what the system allows; returns that number,
/// or `None` where there is no limit.
///
/// # Errors
/// When the system refuses, which leaves the limit as it was.
pub fn raise_open_files() -> io::Result<Option<u64>> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
    }
    Ok(limit.maximum)
}

/// Where this process stands in going to the background.
#[derive(Debug)]
pub enum Daemon {
    /// This is the foreground process, and its work is done: it ends with this code.
    Parent(ExitCode),
    /// This is the background process.
    Child(Ready),
}

/// Goes to the background: starts this program again with the same arguments in a session of its
/// own and waits until that one says that it is [`Ready`] or ends.
///
/// A fork would need no second start, but copies a process in the middle of its life, which safe
/// code can't do. The working directory stays, as in twemproxy.
///
/// # Errors
/// When the second process can't be started.
pub fn daemonize() -> io::Result<Daemon> {
    if env::var_os(CHILD_MARK).is_some() {
        setsid()?;
        return Ok(Daemon::Child(Ready { in_background: true }));
    }
    let mut child = Command::new(env::current_exe()?)
        .args(env::args_os().skip(1))
        .env(CHILD_MARK, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut said = Vec::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_end(&mut said)?;
    }
    if said == READY {
        return Ok(Daemon::Parent(ExitCode::SUCCESS));
    }
    // It ended before it was ready, and has said why on the same standard error.
    let code = child.wait()?.code().and_then(|code| u8::try_from(code).ok());
    Ok(Daemon::Parent(code.filter(|code| *code != 0).map_or(ExitCode::FAILURE, ExitCode::from)))
}

/// The duty to say when the proxy listens: until then its errors still go to the terminal.
#[derive(Debug)]
pub struct Ready {
    in_background: bool,
}

impl Ready {
    /// For a process that stays in the foreground, where nobody waits.
    #[must_use]
    pub const fn in_foreground() -> Self {
        Self { in_background: false }
    }

    /// Lets the foreground process end, and gives up standard output and error.
    ///
    /// # Errors
    /// When `/dev/null` can't be put in their place.
    pub fn announce(self) -> io::Result<()> {
        if !self.in_background {
            return Ok(());
        }
        let null = fs::OpenOptions::new().write(true).open("/dev/null")?;
        // The foreground process may be gone; then nobody waits for this word.
        let _ = io::stdout().write_all(READY).and_then(|()| io::stdout().flush());
        // Lines that were logged until now may be for the terminal.
        log::flush();
        dup2_stdout(null.as_fd())?;
        dup2_stderr(null.as_fd())?;
        Ok(())
    }
}

/// Tells the second start that it is the one in the background.
const CHILD_MARK: &str = "NUTHATCH_IN_BACKGROUND";

/// What the background process writes when it listens.
const READY: &[u8] = b"ready\n";

#[cfg(test)]
mod tests {
    use rustix::process::{Signal, getpid, kill_process};

    use super::*;

    /// One test for all of them: signals are for the whole process.
    #[test]
    fn signals_are_waited_for_until_the_waiting_is_closed() {
        let mut signals = Signals::catch().unwrap();
        for (signal, event) in [
            (Signal::HUP, ProcessEvent::ReopenLog),
            (Signal::TTIN, ProcessEvent::RaiseLogLevel),
            (Signal::TTOU, ProcessEvent::LowerLogLevel),
            (Signal::USR1, ProcessEvent::User(SIGUSR1)),
            (Signal::USR2, ProcessEvent::User(SIGUSR2)),
            (Signal::INT, ProcessEvent::Drain),
            (Signal::TERM, ProcessEvent::Drain),
        ] {
            kill_process(getpid(), signal).unwrap();
            assert_eq!(signals.wait(), Some(event));
        }
        signals.wake_up().close();
        assert_eq!(signals.wait(), None);
    }

    #[test]
    fn a_pid_file_goes_with_its_process() {
        let path = env::temp_dir().join(format!("nuthatch-pid-{}", process::id()));
        let pid_file = PidFile::write(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", process::id()));
        drop(pid_file);
        assert!(!path.exists());
    }

    #[test]
    fn as_many_files_may_be_open_as_the_system_allows() {
        let allowed = raise_open_files().unwrap();
        assert_eq!(getrlimit(Resource::Nofile).current, allowed);
    }
}
