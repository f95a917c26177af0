//! A log that nobody reads: service goes on, lines are lost, and the loss is counted and told.
//!
//! The rule: the log's reader is the test, which holds a pipe of one page and reads it only when
//! the test says so.

use std::fs::{self, File, OpenOptions};
use std::io::{PipeReader, Read};
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::Signal;
use serde_json::Value;

use crate::conn::{Conn, PATIENCE, show};
use crate::fake::FakeServer;
use crate::harness::{Process, Program, TempDir, accepts, free_port, pool, wait_until};
use crate::http::{Page, ask};

/// More than the log's queue and the pipe hold together.
const FAILURES: usize = 1500;

/// `timeout`, and what a busy machine adds to it.
const REPLY_MAX: Duration = Duration::from_millis(400 + 1600);

/// How long an idle proxy may take to end while its log is stuck.
const END_MAX: Duration = Duration::from_secs(4);

/// A proxy whose log is a pipe, and the end of the pipe that a reader would read.
struct Logging {
    process: Process,
    client: Conn,
    admin: u16,
    reader: File,
    dir: TempDir,
}

/// Where the log goes.
#[derive(Clone, Copy)]
enum Output {
    Stderr,
    Fifo,
}

impl Logging {
    fn start(output: Output, arguments: &[&str]) -> Self {
        let server = FakeServer::start(|mut conn, _| {
            // Answers once, and goes away without an answer the second time.
            if conn.read_line().is_ok() {
                conn.send("END\r\n");
                let _ = conn.read_line();
            }
        });
        let dir = TempDir::new();
        let (port, admin, stats) = (free_port(), free_port(), free_port());
        let config = pool(port, "timeout: 400", &[server.entry()]);
        fs::write(dir.join("nutcracker.yml"), config).unwrap();
        let mut command = Program::UnderTest.command();
        command.current_dir(dir.join(""));
        command.args(["-c", "nutcracker.yml", "-a", "127.0.0.1", "-s", &stats.to_string()]);
        command.arg(format!("--admin=127.0.0.1:{admin}")).args(arguments);
        let (reader, stderr): (File, Stdio) = match output {
            Output::Stderr => {
                let (reader, writer): (PipeReader, _) = std::io::pipe().unwrap();
                (File::from(OwnedFd::from(reader)), writer.into())
            }
            Output::Fifo => {
                command.args(["-o", "fifo"]);
                (open_fifo(&dir), Stdio::null())
            }
        };
        rustix::pipe::fcntl_setpipe_size(&reader, 4096).unwrap();
        let mut process = Process::spawn_telling(&mut command, stderr);
        drop(command);
        for port in [port, admin] {
            wait_until(&mut process, || "the proxy".to_owned(), || accepts(port));
        }
        let client = Conn::tcp((Ipv4Addr::LOCALHOST, port)).patient_for(REPLY_MAX);
        Self { process, client, admin, reader, dir }
    }

    /// Asks until the server has come and gone so many times.
    fn come_and_go(&mut self, times: usize) {
        for time in 0..times {
            self.client.ask("get a\r\n", "END\r\n");
            self.client.send("get a\r\n");
            let reply = self.client.read_line().unwrap_or_else(|end| panic!("{time}: {end:?}"));
            assert!(reply.starts_with(b"SERVER_ERROR "), "{time}: {}", show(&reply));
        }
    }

    fn get(&self, path: &str) -> Page {
        ask(self.admin, &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
    }

    fn dropped(&self) -> u64 {
        let text = self.get("/metrics").body;
        let mut lines = text.lines();
        let found = lines.find_map(|line| line.strip_prefix("nuthatch_log_lines_dropped_total "));
        found.expect("the metric is there").parse().unwrap()
    }

    /// Reads the log from now on, until the program has ended.
    fn read(&self) -> thread::JoinHandle<String> {
        let mut reader = self.reader.try_clone().unwrap();
        thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            text
        })
    }

    /// Asks the program to end, and says how long that took.
    fn end(&mut self) -> Duration {
        let started = Instant::now();
        self.process.signal(Signal::TERM);
        let status = self.process.wait(PATIENCE).expect("a stuck log does not keep it");
        assert!(status.success(), "{status}");
        started.elapsed()
    }
}

/// A FIFO that the proxy can open at once, as it has a reader.
fn open_fifo(dir: &TempDir) -> File {
    let path = dir.join("fifo");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let at_once = i32::try_from(OFlags::NONBLOCK.bits()).unwrap();
    let reader = OpenOptions::new().read(true).custom_flags(at_once).open(&path).unwrap();
    fcntl_setfl(&reader, OFlags::empty()).unwrap();
    reader
}

/// The sum of what the log says was dropped.
fn told(log: &str) -> u64 {
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).expect(line));
    let told = lines.filter(|line| line["message"] == "log lines were dropped");
    told.map(|line| {
        assert_eq!(line["reason"], "the log could not be written fast enough", "{line}");
        line["lines"].as_u64().unwrap()
    })
    .sum()
}

fn traffic_goes_on(output: Output, arguments: &[&str]) {
    let mut logging = Logging::start(output, arguments);
    logging.come_and_go(FAILURES);
    assert_eq!(logging.get("/live").status, 200);
    let dropped = logging.dropped();
    assert!(dropped > 0, "nothing was dropped, so nothing was tried");

    let reading = logging.read();
    let deadline = Instant::now() + PATIENCE;
    // Whatever is logged from now on is read, so at some time nothing more is dropped.
    let (mut before, mut same) = (dropped, 0);
    while same < 5 {
        logging.come_and_go(1);
        let now = logging.dropped();
        same = if now == before { same + 1 } else { 0 };
        assert!(Instant::now() < deadline, "lines are still dropped");
        before = now;
    }
    logging.end();
    let log = reading.join().unwrap();
    assert_eq!(told(&log), before, "told on the left, counted on the right");
    assert!(log.ends_with('\n'), "the last line is whole");
    // The log tells of a loss at most once a second, and so of the last one behind the last line.
    let last = log.lines().rfind(|line| !line.contains("\"message\":\"log lines were dropped\""));
    assert!(last.unwrap().contains("\"message\":\"nuthatch stopped\""), "{log}");
}

#[test]
fn nobody_reads_standard_error() {
    traffic_goes_on(Output::Stderr, &[]);
}

#[test]
fn nobody_reads_standard_error_and_all_is_logged() {
    traffic_goes_on(Output::Stderr, &["-v", "11"]);
}

#[test]
fn nobody_reads_the_fifo_that_is_the_log_file() {
    traffic_goes_on(Output::Fifo, &[]);
}

#[test]
fn sigterm_ends_a_proxy_whose_log_is_stuck() {
    for output in [Output::Stderr, Output::Fifo] {
        let mut logging = Logging::start(output, &[]);
        logging.come_and_go(30);
        let took = logging.end();
        assert!(took < END_MAX, "{took:?}");
    }
}

#[test]
fn a_second_sigterm_ends_it_at_once_though_the_log_is_stuck() {
    let mut logging = Logging::start(Output::Stderr, &[]);
    logging.come_and_go(30);
    // A request that nobody answers keeps the drain from its end.
    logging.client.send("set a 0 0 10\r\n");
    logging.process.signal(Signal::TERM);
    thread::sleep(Duration::from_millis(700));
    logging.process.signal(Signal::TERM);
    assert!(logging.process.wait(END_MAX).is_some());
}

#[test]
fn signals_are_heeded_though_the_log_is_stuck() {
    let mut logging = Logging::start(Output::Stderr, &[]);
    logging.come_and_go(30);
    for _ in 0..FAILURES {
        logging.process.signal(Signal::USR1);
        logging.process.signal(Signal::TTIN);
        logging.process.signal(Signal::HUP);
    }
    logging.come_and_go(1);
    assert!(logging.end() < END_MAX);
}

#[test]
fn sighup_takes_the_log_away_from_a_reader_that_is_stuck() {
    let mut logging = Logging::start(Output::Fifo, &[]);
    logging.come_and_go(30);
    let path = logging.dir.join("fifo");
    fs::rename(&path, logging.dir.join("stuck")).unwrap();
    logging.process.signal(Signal::HUP);
    let story = || "no new log after SIGHUP".to_owned();
    let has_reopened = || fs::read_to_string(&path).is_ok_and(|text| text.contains("reopened"));
    wait_until(&mut logging.process, story, has_reopened);
    assert!(logging.end() < END_MAX);
    assert!(fs::read_to_string(&path).unwrap().contains("\"message\":\"nuthatch stopped\""));
}

#[test]
fn what_is_logged_before_an_end_is_read_to_its_end() {
    let dir = TempDir::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let config = pool(port, "", &["127.0.0.1:9:1".to_owned()]);
    fs::write(dir.join("nutcracker.yml"), config).unwrap();
    let mut command = Program::UnderTest.command();
    command.current_dir(dir.join("")).args(["-c", "nutcracker.yml", "-o", "log"]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let log = fs::read_to_string(dir.join("log")).unwrap();
    for text in [log, String::from_utf8(output.stderr).unwrap()] {
        assert!(text.contains(&format!("can't listen on 127.0.0.1:{port}")), "{text}");
        assert!(text.ends_with('\n'), "{text}");
    }
}
