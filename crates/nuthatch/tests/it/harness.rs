//! Starts and ends what the tests talk to: memcached, nutcracker and the proxy itself.
//!
//! The rule: whoever holds the guard owns the process; dropping it ends the process by its id,
//! SIGTERM first and SIGKILL when that is not heeded.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

use rustix::process::{Pid, Signal, kill_process};

use crate::conn::{Conn, PATIENCE};

/// Held while a program is started or a port looked for. A child holds copies of our sockets until
/// it has become the other program, and for that moment a free port would seem to be listened on.
static STARTING: Mutex<()> = Mutex::new(());

/// A port of 127.0.0.1 that nobody listens on and that this process was not given before.
///
/// It lies below those that the kernel gives to outgoing connections: between this look and the
/// moment a program listens, thousands of them may be made by the tests beside this one.
pub(crate) fn free_port() -> u16 {
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
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("nuthatch-it.{}.{count}", process::id()));
        fs::create_dir_all(&path).unwrap();
        // A memcached that gave up being root makes its socket here.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        Self(path)
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
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
pub(crate) struct Process(Child);

impl Process {
    /// Starts `command` with its input and output closed.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = {
            let _starting = STARTING.lock().unwrap();
            child.spawn()
        };
        Self(child.unwrap_or_else(|error| panic!("{command:?}: {error}: run \"make deps\"")))
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        // The child was not waited for yet, so its id can't be another's.
        kill_process(Pid::from_child(&self.0), signal).expect("our own child takes signals");
    }

    /// The exit status, `None` while the process lives after `patience`.
    pub(crate) fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
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
    pub(crate) fn memory_bytes(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let kilobytes = line.unwrap().trim().trim_end_matches(" kB");
        kilobytes.parse::<u64>().unwrap() * 1024
    }
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

/// A real memcached of one thread.
#[derive(Debug)]
pub(crate) struct Memcached {
    pub(crate) process: Process,
    pub(crate) port: u16,
}

impl Memcached {
    pub(crate) fn start() -> Self {
        Self::start_with(free_port(), &[])
    }

    /// Starts one with more arguments, such as `-I 2m`.
    pub(crate) fn start_with(port: u16, arguments: &[&str]) -> Self {
        let number = port.to_string();
        let process = Process::spawn(
            as_user(&mut Command::new("memcached"))
                .args(["-l", "127.0.0.1", "-U", "0", "-t", "1", "-p", &number])
                .args(arguments),
        );
        let mut server = Self { process, port };
        wait_until(&mut server.process, || "memcached".to_owned(), || accepts(port));
        server
    }

    /// Starts one that listens on a unix socket only.
    pub(crate) fn start_unix(path: &Path) -> Process {
        let mut process = Process::spawn(
            as_user(&mut Command::new("memcached")).args(["-t", "1", "-a", "666", "-s"]).arg(path),
        );
        wait_until(&mut process, || "memcached".to_owned(), || UnixStream::connect(path).is_ok());
        process
    }

    /// `count` of them.
    pub(crate) fn start_many(count: usize) -> Vec<Self> {
        (0..count).map(|_| Self::start()).collect()
    }

    /// The server's line in a configuration, with weight 1 and no name.
    pub(crate) fn entry(&self) -> String {
        format!("127.0.0.1:{}:1", self.port)
    }

    pub(crate) fn conn(&self) -> Conn {
        Conn::tcp((Ipv4Addr::LOCALHOST, self.port))
    }
}

/// memcached refuses to run as root unless told as whom.
fn as_user(command: &mut Command) -> &mut Command {
    if rustix::process::geteuid().is_root() {
        command.args(["-u", "nobody"]);
    }
    command
}

/// Which proxy to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    /// Ours, or what `NUTHATCH_UNDER_TEST` puts in its place.
    UnderTest,
    /// The proxy we are measured against.
    Nutcracker,
}

impl Program {
    pub(crate) fn command(self) -> Command {
        match self {
            Self::Nutcracker => Command::new("nutcracker"),
            Self::UnderTest => match env::var_os("NUTHATCH_UNDER_TEST") {
                Some(path) => Command::new(path),
                None => Command::new(env!("CARGO_BIN_EXE_nuthatch")),
            },
        }
    }
}

/// A running proxy with its configuration, log and statistics.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) process: Process,
    pub(crate) stats_port: u16,
    /// Where the first pool listens.
    pub(crate) port: u16,
    /// Holds `nutcracker.yml` and `log`.
    pub(crate) dir: TempDir,
}

impl Proxy {
    /// Starts a proxy with one pool; `settings` are lines such as `timeout: 400`.
    pub(crate) fn with_pool(program: Program, settings: &str, servers: &[String]) -> Self {
        let port = free_port();
        Self::start(program, &pool(port, settings, servers), &[port])
    }

    /// Starts a proxy with a whole configuration and waits until it accepts on all of `ports` and
    /// on the port of its statistics.
    pub(crate) fn start(program: Program, config: &str, ports: &[u16]) -> Self {
        Self::start_with(program, config, ports, &[])
    }

    /// As `start`, with more arguments on the command line.
    pub(crate) fn start_with(
        program: Program,
        config: &str,
        ports: &[u16],
        arguments: &[&str],
    ) -> Self {
        let dir = TempDir::new();
        let stats_port = free_port();
        fs::write(dir.join("nutcracker.yml"), config).unwrap();
        let process = Process::spawn(
            program
                .command()
                .current_dir(dir.join(""))
                .args(["-c", "nutcracker.yml", "-o", "log", "-a", "127.0.0.1"])
                .args(["-s", &stats_port.to_string()])
                .args(arguments),
        );
        let mut proxy = Self { process, stats_port, port: ports[0], dir };
        let log = proxy.dir.join("log");
        let story = || {
            let log = fs::read_to_string(&log).unwrap_or_default();
            format!("{program:?} with the configuration\n{config}\nlogged\n{log}")
        };
        for &port in ports.iter().chain([&stats_port]) {
            wait_until(&mut proxy.process, story, || accepts(port));
        }
        proxy
    }

    pub(crate) fn conn(&self) -> Conn {
        Conn::tcp((Ipv4Addr::LOCALHOST, self.port))
    }
}

/// The text of one pool that listens on 127.0.0.1, named after its port.
pub(crate) fn pool(port: u16, settings: &str, servers: &[String]) -> String {
    pool_on(&format!("pool{port}"), &format!("127.0.0.1:{port}"), settings, servers)
}

/// The text of one pool that listens wherever it is told to.
pub(crate) fn pool_on(name: &str, listen: &str, settings: &str, servers: &[String]) -> String {
    let mut text = format!("{name}:\n  listen: {listen}\n");
    for line in settings.lines().map(str::trim).filter(|line| !line.is_empty()) {
        writeln!(text, "  {line}").unwrap();
    }
    text.push_str("  servers:\n");
    for server in servers {
        writeln!(text, "   - {server}").unwrap();
    }
    text
}

/// Waits until `ready`; panics with the `story` when the process ends first or time runs out.
pub(crate) fn wait_until(
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
pub(crate) fn accepts(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    // A connect to a free port of the ephemeral range can meet itself.
    TcpStream::connect(address).is_ok_and(|stream| stream.local_addr().unwrap() != address)
}
