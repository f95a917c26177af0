//! The process: signals, the limit of open files, and the background process.
//!
//! The one rule: this module has no knowledge of clients and servers. Signals become
//! [`ProcessEvent`]s that the main thread waits for; the proxy decides what they do.

use std::env;
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::process::{Command, ExitCode, Stdio};
use std::thread;

use crate::log;
use rustix::fs::{FileType, Mode, fstat};
use rustix::process::{
    Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit, setsid, umask,
};
use rustix::stdio::{dup2_stderr, dup2_stdout};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2};
use signal_hook::iterator::{Handle, Signals as Received};

/// The meaning of a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessEvent {
    /// SIGTERM or SIGINT: answer the requests in flight, accept no new clients, exit. A second
    /// signal exits at once.
    Drain,
    /// SIGHUP: reopen the log file, and read the configuration again.
    Reload,
    /// SIGTTIN: raise the log level.
    RaiseLogLevel,
    /// SIGTTOU: lower the log level.
    LowerLogLevel,
    /// SIGUSR2: start the next process, if this one has a control socket.
    Upgrade,
    /// SIGUSR1, which twemproxy logs and otherwise ignores.
    User,
}

/// The signals of the process, caught from the construction of this value on.
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

    /// A handle that ends [`Self::wait`] from another thread.
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
        SIGHUP => ProcessEvent::Reload,
        SIGTTIN => ProcessEvent::RaiseLogLevel,
        SIGTTOU => ProcessEvent::LowerLogLevel,
        SIGUSR1 => ProcessEvent::User,
        _ => ProcessEvent::Upgrade,
    }
}

/// Sets the umask to 0, as twemproxy does in the background: all users may connect to a unix socket
/// without configured permissions.
pub fn clear_umask() {
    umask(Mode::empty());
}

/// Raises the limit of open files to the hard limit; returns the new limit, or `None` if there is
/// no limit.
///
/// # Errors
/// When the system refuses; then the limit does not change.
pub fn raise_open_files() -> io::Result<Option<u64>> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
    }
    Ok(limit.maximum)
}

/// The number to which [`raise_open_files`] raises the limit; `None` where there is no limit.
#[must_use]
pub fn open_files_max() -> Option<u64> {
    getrlimit(Resource::Nofile).maximum
}

/// The role of this process in daemonizing.
#[derive(Debug)]
pub enum Daemon {
    /// This is the foreground process, which must now exit with this code.
    Parent(ExitCode),
    /// This is the background process.
    Child(Ready),
}

/// Daemonizes: starts this program again with the same arguments in its own session, and waits
/// until the new process reports that it is [`Ready`] or exits. A SIGTERM or SIGINT during the wait
/// ends the new process, too.
///
/// A fork would need no second start, but safe Rust code cannot fork. The working directory stays,
/// as in twemproxy.
///
/// # Errors
/// When the second process can't be started.
pub fn daemonize() -> io::Result<Daemon> {
    let inherited = env::var(CHILD_MARK).ok();
    if inherited.is_some() && inherited == pipe_mark(io::stdout()) {
        setsid()?;
        return Ok(Daemon::Child(Ready { in_background: true }));
    }
    let (mut from_child, to_parent) = io::pipe()?;
    let mut command = Command::new(env::current_exe()?);
    command.args(env::args_os().skip(1)).stdin(Stdio::null());
    command.env(CHILD_MARK, pipe_mark(&to_parent).unwrap_or_default()).stdout(to_parent);
    // Before the child starts: a lost signal would leave a process that nobody knows of.
    let mut signals = Received::new([SIGTERM, SIGINT])?;
    let handle = signals.handle();
    let mut child = command.spawn()?;
    let id = Pid::from_child(&child);
    // The id cannot be reused before the child was waited for.
    let end = move |_: &i32| kill_process(id, Signal::TERM).is_ok();
    let ending = thread::spawn(move || signals.forever().filter(end).count());
    // `command` holds a copy of the writing end; without this drop, reading would not end.
    drop(command);
    let mut said = Vec::new();
    from_child.read_to_end(&mut said)?;
    handle.close();
    let was_ended = ending.join().is_ok_and(|count| count > 0);
    if said == READY && !was_ended {
        return Ok(Daemon::Parent(ExitCode::SUCCESS));
    }
    // The process exited before it was ready, and has printed the reason to the same standard
    // error, or a signal has told it to end.
    let code = child.wait()?.code().and_then(|code| u8::try_from(code).ok());
    Ok(Daemon::Parent(code.filter(|code| *code != 0).map_or(ExitCode::FAILURE, ExitCode::from)))
}

/// The obligation to report when the proxy listens: until then, errors go to the terminal.
#[derive(Debug)]
pub struct Ready {
    in_background: bool,
}

impl Ready {
    /// For a process that stays in the foreground, where no other process waits.
    #[must_use]
    pub const fn in_foreground() -> Self {
        Self { in_background: false }
    }

    /// Lets the foreground process exit, and redirects standard output and error to `/dev/null`.
    ///
    /// # Errors
    /// When `/dev/null` cannot be used for them.
    pub fn announce(self) -> io::Result<()> {
        if !self.in_background {
            return Ok(());
        }
        let null = fs::OpenOptions::new().write(true).open("/dev/null")?;
        // The foreground process may already be gone; then no process waits for this.
        let _ = io::stdout().write_all(READY).and_then(|()| io::stdout().flush());
        // Lines that were logged until now must still go to the terminal.
        log::flush();
        dup2_stdout(null.as_fd())?;
        dup2_stderr(null.as_fd())?;
        Ok(())
    }
}

/// The name of a pipe: no other pipe of the system has its device and inode.
fn pipe_mark(pipe: impl AsFd) -> Option<String> {
    let found = fstat(pipe).ok()?;
    let is_pipe = FileType::from_raw_mode(found.st_mode) == FileType::Fifo;
    is_pipe.then(|| format!("{}:{}", found.st_dev, found.st_ino))
}

/// Tells the new process that it is the background process: the variable has the name of the pipe
/// that is its standard output. An inherited variable does not name this pipe.
const CHILD_MARK: &str = "NUTHATCH_IN_BACKGROUND";

/// The message of the background process when it listens.
const READY: &[u8] = b"ready\n";

#[cfg(test)]
mod tests {
    use rustix::process::getpid;

    use super::*;

    /// One test for all of them: signals are for the whole process.
    #[test]
    fn signals_are_waited_for_until_the_waiting_is_closed() {
        let mut signals = Signals::catch().unwrap();
        for (signal, event) in [
            (Signal::HUP, ProcessEvent::Reload),
            (Signal::TTIN, ProcessEvent::RaiseLogLevel),
            (Signal::TTOU, ProcessEvent::LowerLogLevel),
            (Signal::USR1, ProcessEvent::User),
            (Signal::USR2, ProcessEvent::Upgrade),
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
    fn as_many_files_may_be_open_as_the_system_allows() {
        let allowed = raise_open_files().unwrap();
        assert_eq!(getrlimit(Resource::Nofile).current, allowed);
    }
}
