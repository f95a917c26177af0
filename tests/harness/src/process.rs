//! Programs, ports and directories that go with the test that has them.
//!
//! The rule: whoever holds the guard owns the process; dropping it ends the process by its id,
//! SIGTERM first and SIGKILL when that is not heeded.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

use rustix::process::{Pid, Signal, kill_process};

use crate::conn::PATIENCE;

/// Held while a program is started or a port looked for. A child holds copies of our sockets until
/// it has become the other program, and for that moment a free port would seem to be listened on.
static STARTING: Mutex<()> = Mutex::new(());

/// A port of 127.0.0.1 that nobody listens on and that this process was not given before.
///
/// It lies below those that the kernel gives to outgoing connections: between this look and the
/// moment a program listens, thousands of them may be made by the tests beside this one.
pub fn free_port() -> u16 {
    const PORTS: Range<u32> = 22_000..32_000;
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let _starting = STARTING.lock().unwrap();
    // Test programs that run side by side begin far from each other.
    let first = process::id().wrapping_mul(7919);
    loop {
        let nth = first.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(PORTS.start + nth % (PORTS.end - PORTS.start)).unwrap();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// A directory of the test's own, removed with its guard unless the test failed; short enough for unix sockets.
#[derive(Debug)]
pub struct TempDir(PathBuf);

impl TempDir {
    /// Makes a new one, where every user may make files.
    #[expect(clippy::new_without_default, reason = "a default that makes a directory surprises")]
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("nuthatch-it.{}.{count}", process::id()));
        fs::create_dir_all(&path).unwrap();
        // A memcached that gave up being root makes its socket here.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        Self(path)
    }

    /// The path of a file in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        if !thread::panicking() {
            // What can't be removed now goes with the next clean-up of the temporary directory.
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// A running program, ended when dropped.
#[derive(Debug)]
pub struct Process(Child);

impl Process {
    /// Starts `command` with its input and output closed.
    pub fn spawn(command: &mut Command) -> Self {
        Self::spawn_telling(command, Stdio::null())
    }

    /// Starts `command` with its input and output closed, and its errors told to `stderr`.
    pub fn spawn_telling(command: &mut Command, stderr: impl Into<Stdio>) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        let child = {
            let _starting = STARTING.lock().unwrap();
            child.spawn()
        };
        Self(child.unwrap_or_else(|error| panic!("{command:?}: {error}: run \"make deps\"")))
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        // The child was not waited for yet, so its id can't be another's.
        kill_process(Pid::from_child(&self.0), signal).expect("our own child takes signals");
    }

    /// Stops it until SIGCONT: it keeps its sockets and says nothing.
    pub fn stop(&self) {
        self.signal(Signal::STOP);
        let tasks = format!("/proc/{}/task", self.id());
        // Its threads may go on for a moment after the signal.
        let is_stopped = || {
            fs::read_dir(&tasks).unwrap().all(|task| {
                let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
                status.contains("\nState:\tT")
            })
        };
        let by = Instant::now() + PATIENCE;
        while !is_stopped() {
            assert!(Instant::now() < by, "not stopped");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Ends it where it stands; to one that has ended already, nothing happens.
    pub fn kill(&mut self) {
        self.0.kill().expect("our own child takes signals");
        self.0.wait().expect("our own child can be waited for");
    }

    /// The exit status, `None` while the process lives after `patience`.
    pub fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return Some(status);
            }
            if Instant::now() > deadline {
                return None;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// A line of `/proc/PID/status` in bytes, such as `VmHWM`, the most memory it ever held.
    pub fn memory_bytes(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let kilobytes = line.unwrap().trim().trim_end_matches(" kB");
        kilobytes.parse::<u64>().unwrap() * 1024
    }

    /// The processor time that it has used so far, to a hundredth of a second.
    pub fn processor_time(&self) -> Duration {
        processor_time(self.id())
    }
}

/// The processor time that a process has used so far, to a hundredth of a second.
pub fn processor_time(id: u32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    let (_, figures) = text.rsplit_once(')').unwrap();
    let ticks = |nth: usize| figures.split(' ').nth(nth).unwrap().parse::<u64>().unwrap();
    Duration::from_millis((ticks(12) + ticks(13)) * 10)
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.0.try_wait().is_ok_and(|status| status.is_some()) {
            return;
        }
        // A stopped process can't heed SIGTERM before it continues.
        self.signal(Signal::TERM);
        self.signal(Signal::CONT);
        if self.wait(Duration::from_secs(2)).is_none() {
            self.signal(Signal::KILL);
            self.wait(PATIENCE);
        }
    }
}

/// Waits until `ready`; panics with the `story` when the process ends first or time runs out.
pub fn wait_until(
    process: &mut Process,
    story: impl Fn() -> String,
    mut ready: impl FnMut() -> bool,
) {
    let deadline = Instant::now() + PATIENCE;
    while !ready() {
        if let Some(status) = process.wait(Duration::from_millis(10)) {
            panic!("ended at its start with {status}: {}", story());
        }
        assert!(Instant::now() < deadline, "did not get ready: {}", story());
    }
}

/// Whether somebody listens on the port.
pub fn accepts(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    // A connect to a free port of the ephemeral range can meet itself.
    TcpStream::connect(address).is_ok_and(|stream| stream.local_addr().unwrap() != address)
}
