//! One process takes over from another: no client is refused, no request is lost, and a process that
//! cannot take over changes nothing.

use std::fs;
use std::io::Read;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nuthatch_harness::redis::command;
use rustix::net::{bind, listen};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::conn::{Conn, PATIENCE, show};
use crate::fake::FakeServer;
use crate::harness::{
    Process, Program, Redis, TempDir, free_port, named, pool, pool_on, wait_until,
};

mod changes;
mod load;
mod stranger;

/// Where the processes of a test run, one after the other.
pub(crate) struct Site {
    pub(crate) dir: TempDir,
    pub(crate) port: u16,
    stats_port: u16,
}

impl Site {
    pub(crate) fn new(port: u16, config: &str) -> Self {
        let site = Self { dir: TempDir::new(), port, stats_port: free_port() };
        site.configure(config);
        site
    }

    /// A pool on the port of the site and on the unix socket `p.sock`.
    pub(crate) fn with_servers(settings: &str, servers: &[String]) -> Self {
        let port = free_port();
        let site = Self::new(port, "");
        let listen = format!("[\"127.0.0.1:{port}\", \"{}\"]", site.socket().display());
        site.configure(&pool_on("p", &listen, settings, servers));
        site
    }

    pub(crate) fn configure(&self, config: &str) {
        fs::write(self.dir.join("c.yml"), config).unwrap();
    }

    fn socket(&self) -> PathBuf {
        self.dir.join("p.sock")
    }

    fn control(&self) -> PathBuf {
        self.dir.join("control")
    }

    fn conn(&self) -> Conn {
        Conn::tcp((Ipv4Addr::LOCALHOST, self.port))
    }

    /// The command of a process: the first, or the next one.
    pub(crate) fn command(&self, is_next: bool, arguments: &[&str]) -> Command {
        let mut command = Program::UnderTest.command();
        if is_next {
            command.arg("upgrade");
        }
        command.current_dir(self.dir.join("")).args([
            "-c",
            "c.yml",
            "-a",
            "127.0.0.1",
            "-p",
            "pid",
        ]);
        command.args(["-s", &self.stats_port.to_string(), "--control", "control"]).args(arguments);
        command
    }

    /// Starts the first process and waits until it listens.
    pub(crate) fn start(&self, arguments: &[&str]) -> Process {
        let mut process = Process::spawn(&mut self.command(false, arguments));
        // The pid file is written when all else is done.
        let pid = format!("{}\n", process.id());
        let is_started = || fs::read_to_string(self.dir.join("pid")).is_ok_and(|text| text == pid);
        wait_until(&mut process, || "the first process".to_owned(), is_started);
        process
    }

    /// Replaces `old` with the next process, and waits until `old` has ended.
    pub(crate) fn upgrade(&self, old: &mut Process, arguments: &[&str]) -> Process {
        let next = self.begin_upgrade(arguments);
        let status = old.wait(PATIENCE).expect("the old process ends when its clients have passed");
        assert!(status.success(), "{status}");
        next
    }

    /// Starts the next process and waits until it has taken over.
    fn begin_upgrade(&self, arguments: &[&str]) -> Process {
        let mut next = Process::spawn(&mut self.command(true, arguments));
        let pid = format!("{}\n", next.id());
        let has_taken = || fs::read_to_string(self.dir.join("pid")).is_ok_and(|text| text == pid);
        wait_until(&mut next, || "the next process".to_owned(), has_taken);
        next
    }
}

/// Runs a process that must fail; its exit code and errors.
pub(crate) fn fails(mut command: Command) -> (Option<i32>, String) {
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    // The command has copies of the sockets that it gives to the process.
    drop(command);
    let mut stderr = child.stderr.take().unwrap();
    // It may wait for a port, for 7 seconds.
    let deadline = Instant::now() + 3 * PATIENCE;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("the process neither fails nor ends");
        }
        thread::sleep(Duration::from_millis(5));
    }
    let mut text = String::new();
    stderr.read_to_string(&mut text).unwrap();
    (child.wait().unwrap().code(), text)
}

/// A process that is not a child of the test; ended if the test fails.
pub(crate) struct Stray(pub(crate) u32);

impl Stray {
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.id(), signal).unwrap();
    }

    fn id(&self) -> Pid {
        Pid::from_raw(self.0.try_into().unwrap()).unwrap()
    }
}

impl Drop for Stray {
    fn drop(&mut self) {
        if thread::panicking() {
            // It may have ended already.
            let _ = kill_process(self.id(), Signal::TERM);
        }
    }
}

/// A server that answers each line after a time.
fn slow_server(pause: Duration) -> FakeServer {
    FakeServer::start(move |mut conn, _| {
        while conn.read_line().is_ok() {
            thread::sleep(pause);
            conn.send("END\r\n");
        }
    })
}

#[test]
fn a_client_keeps_its_connection_whatever_it_is_in_the_middle_of() {
    let server = slow_server(Duration::from_millis(300));
    let site = Site::with_servers("", &[server.entry()]);
    let mut old = site.start(&[]);
    let (mut idle, mut half, mut waiting) = (site.conn(), Conn::unix(&site.socket()), site.conn());
    half.send("get ha");
    waiting.send("get waits\r\nget in\r\nget li");
    thread::sleep(Duration::from_millis(100));
    let _next = site.upgrade(&mut old, &["--workers", "2"]);
    half.ask("lf\r\n", "END\r\n");
    idle.ask("get k\r\n", "END\r\n");
    waiting.expect("END\r\nEND\r\n");
    waiting.ask("ne\r\n", "END\r\n");
}

#[test]
fn many_idle_clients_pass_to_all_workers() {
    let server = slow_server(Duration::ZERO);
    let site = Site::with_servers("", &[server.entry()]);
    let mut old = site.start(&["--workers", "2"]);
    let mut clients: Vec<_> = (0..1500).map(|_| site.conn()).collect();
    // The workers know them all.
    clients.iter_mut().for_each(|conn| conn.ask("get k\r\n", "END\r\n"));
    let _next = site.upgrade(&mut old, &["--workers", "2"]);
    clients.iter_mut().for_each(|conn| conn.ask("get k\r\n", "END\r\n"));
}

#[test]
#[ignore = "needs redis-server: run make it"]
fn a_redis_client_keeps_what_it_has_said_and_finishes_what_it_has_begun() {
    let servers = [Redis::start()];
    let port = free_port();
    let site = Site::new(port, &pool(port, "redis: true", &named(&servers)));
    let mut old = site.start(&[]);
    let (mut named, mut buyer) = (site.conn(), site.conn());
    let hello = named.call(["HELLO", "3", "SETNAME", "me"]).unwrap();
    assert!(hello.starts_with(b"%7"), "{}", show(&hello));
    buyer.ask(command(["WATCH", "stock"]), "+OK\r\n");
    let mut next = site.begin_upgrade(&[]);
    named.ask(command(["CLIENT", "GETNAME"]), "$2\r\nme\r\n");
    named.ask(command(["GET", "none"]), "_\r\n");
    // The watch is on a connection of the old process, which serves its client on.
    assert!(old.wait(Duration::from_millis(300)).is_none(), "it has a client");
    buyer.ask(command(["MULTI"]), "+OK\r\n");
    buyer.ask(command(["SET", "stock", "1"]), "+QUEUED\r\n");
    buyer.ask(command(["EXEC"]), "*1\r\n+OK\r\n");
    assert!(old.wait(PATIENCE).expect("its last client has passed").success());
    buyer.ask(command(["GET", "stock"]), "$1\r\n1\r\n");

    // Nor does a process with such a client outlive a SIGTERM.
    buyer.ask(command(["WATCH", "stock"]), "+OK\r\n");
    let _last = site.begin_upgrade(&[]);
    next.signal(Signal::TERM);
    buyer.expect_closed();
    assert!(next.wait(PATIENCE).expect("it drains").success());
}

#[test]
fn a_process_that_cannot_serve_changes_nothing() {
    let server = slow_server(Duration::ZERO);
    let site = Site::with_servers("", &[server.entry()]);
    let mut old = site.start(&["--workers", "2"]);
    let mut conn = site.conn();
    let good = fs::read_to_string(site.dir.join("c.yml")).unwrap();
    let busy = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let busy = busy.local_addr().unwrap();
    let more = good.clone() + &pool_on("q", &busy.to_string(), "", &[server.entry()]);
    let missing = site.dir.join("missing/pid").display().to_string();
    for (config, arguments, why) in [
        (good.replace("servers", "serfers"), &[][..], "directive \"serfers\""),
        (more, &[], "pool 'q' can't listen on"),
        (good.clone(), &["-p", &missing], "failed to write pid file"),
        // This one takes its time: it waits for the port.
        (good.clone(), &["--workers", "3", "--admin", &busy.to_string()], "the admin port can't"),
    ] {
        site.configure(&config);
        let command = site.command(true, arguments);
        let (code, told) = thread::scope(|scope| {
            let failing = scope.spawn(|| fails(command));
            while !failing.is_finished() {
                site.conn().ask("get k\r\n", "END\r\n");
                thread::sleep(Duration::from_millis(1));
            }
            failing.join().unwrap()
        });
        assert_eq!(code, Some(1), "{told}");
        assert!(told.contains(why), "{told}");
        conn.ask("get k\r\n", "END\r\n");
        (0..20).for_each(|_| site.conn().ask("get k\r\n", "END\r\n"));
        Conn::unix(&site.socket()).ask("get k\r\n", "END\r\n");
        let pid = fs::read_to_string(site.dir.join("pid")).unwrap();
        assert_eq!(pid, format!("{}\n", old.id()));
    }
    site.configure(&good);
    let _next = site.upgrade(&mut old, &[]);
    conn.ask("get k\r\n", "END\r\n");
}

#[test]
fn without_a_running_process_there_is_nothing_to_take_over() {
    let site = Site::with_servers("", &["127.0.0.1:9:1".to_owned()]);
    let (code, told) = fails(site.command(true, &[]));
    assert_eq!(code, Some(1));
    assert!(told.contains("no process to take over from") && told.contains("control"), "{told}");
    assert!(!site.socket().exists());
}

#[test]
fn a_unix_socket_whose_file_was_deleted_is_there_again_after_an_upgrade() {
    let server = slow_server(Duration::ZERO);
    let site = Site::with_servers("", &[server.entry()]);
    let mut old = site.start(&[]);
    fs::remove_file(site.socket()).unwrap();
    let _next = site.upgrade(&mut old, &[]);
    Conn::unix(&site.socket()).ask("get k\r\n", "END\r\n");
    site.conn().ask("get k\r\n", "END\r\n");
}

#[test]
fn a_process_in_the_background_is_taken_over_by_another() {
    let server = slow_server(Duration::ZERO);
    let site = Site::with_servers("", &[server.entry()]);
    let pid = || {
        let text = fs::read_to_string(site.dir.join("pid")).unwrap();
        Stray(text.trim().parse().unwrap())
    };
    let lives = |process: &Stray| test_kill_process(process.id()).is_ok();
    let mut last = None;
    for is_next in [false, true] {
        let mut command = site.command(is_next, &["-d", "-o", "log"]);
        let status = command.stdin(Stdio::null()).status().unwrap();
        assert!(status.success(), "{}", fs::read_to_string(site.dir.join("log")).unwrap());
        site.conn().ask("get k\r\n", "END\r\n");
        if let Some(before) = last.replace(pid()) {
            assert_ne!(Some(before.0), last.as_ref().map(|it: &Stray| it.0));
            let deadline = Instant::now() + PATIENCE;
            while lives(&before) {
                assert!(Instant::now() < deadline, "the first process does not end");
                thread::sleep(Duration::from_millis(10));
            }
        }
    }
    pid().signal(Signal::TERM);
    let deadline = Instant::now() + PATIENCE;
    while site.dir.join("pid").exists() {
        assert!(Instant::now() < deadline, "the next process does not end");
        thread::sleep(Duration::from_millis(10));
    }
}
