//! The log as a program meets it: one for the process, so each test here is a process of its own.
//!
//! The rule: a test that says `ignore` is the program of the test beside it, which starts it again
//! from this test binary.

#![expect(clippy::unwrap_used, reason = "a broken set-up must stop the test where it stands")]
#![expect(clippy::disallowed_methods, reason = "a test measures how long it waited")]

use std::fs;
use std::io::{PipeReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, process, thread};

use nuthatch::log as logging;
use nuthatch::log::Format;

/// How long a program may take whose log is stuck.
const END_MAX: Duration = Duration::from_secs(8);

/// This binary again, to be the program `name`; it logs to the file of that name in `dir`, if there
/// is one.
fn program(name: &str, dir: Option<&Path>) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args([name, "--exact", "--ignored", "--nocapture"]).env_remove("RUST_BACKTRACE");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match dir {
        Some(dir) => command.env(DIR, dir),
        None => command.env_remove(DIR),
    };
    command
}

/// Where a program of this test logs to.
const DIR: &str = "NUTHATCH_TEST_LOG_DIR";

fn temporary(name: &str) -> PathBuf {
    let dir = env::temp_dir().join(format!("nuthatch-{name}-{}", process::id()));
    fs::create_dir_all(&dir).unwrap();
    dir
}

fn start_logging(level: u8) {
    let path = env::var_os(DIR).map(|dir| PathBuf::from(dir).join("log"));
    logging::init(level, path.as_deref(), Some(Format::Text)).unwrap();
}

/// The lines of a log without their times.
fn lines(text: &str) -> Vec<&str> {
    text.lines().map(|line| line.get(26..).unwrap_or(line)).collect()
}

#[test]
#[ignore = "the program of the test below"]
fn program_that_changes_its_log() {
    start_logging(5);
    let path = PathBuf::from(env::var_os(DIR).unwrap()).join("log");
    log::info!("started pid={}", 7);
    log::debug!("not shown");
    logging::flush();
    fs::rename(&path, path.with_extension("1")).unwrap();
    log::warn!("still in the old file");
    logging::flush();
    logging::reopen();
    logging::flush();
    assert_eq!(logging::raise(), Some(6));
    log::debug!("shown");
    assert_eq!(logging::lower(), Some(5));
    log::debug!("not shown");
    logging::flush();
    while logging::level() > 0 {
        logging::lower();
    }
    assert_eq!((logging::lower(), log::max_level()), (None, log::LevelFilter::Off));
    while logging::level() < logging::LEVEL_MAX {
        logging::raise();
    }
    assert_eq!((logging::raise(), log::max_level()), (None, log::LevelFilter::Trace));
}

#[test]
fn a_log_file_is_reopened_and_its_level_changed() {
    let dir = temporary("reopen");
    assert!(program("program_that_changes_its_log", Some(&dir)).status().unwrap().success());
    let text = |name: &str| fs::read_to_string(dir.join(name)).unwrap();
    assert_eq!(lines(&text("log.1")), ["INFO  started pid=7", "WARN  still in the old file"]);
    assert_eq!(lines(&text("log")), ["INFO  log file reopened", "DEBUG shown"]);
    fs::remove_dir_all(dir).unwrap();
}

#[test]
#[ignore = "the program of the tests below"]
fn program_that_panics() {
    start_logging(5);
    log::info!("before");
    // A message that is put together when it panics, and not one that the compiler has put together.
    let number = std::hint::black_box(6);
    let work = move || panic!("out of {number}\nideas");
    let _ = thread::Builder::new().name("worker 7".into()).spawn(work).unwrap().join();
}

const PANIC: &str = "ERROR panic thread=\"worker 7\" at=crates/nuthatch/tests/log.rs:";

#[track_caller]
fn assert_tells(lines: &[&str]) {
    assert_eq!(lines[0], "INFO  before");
    assert!(lines[1].starts_with(PANIC), "{lines:?}");
    assert!(lines[1].ends_with(" reason=\"out of 6\\nideas\""), "{lines:?}");
    assert_eq!(lines.len(), 2, "{lines:?}");
}

#[test]
fn a_panic_is_told_in_the_log_file_and_on_standard_error() {
    let dir = temporary("panic");
    let output =
        program("program_that_panics", Some(&dir)).stderr(Stdio::piped()).output().unwrap();
    assert_tells(&lines(&fs::read_to_string(dir.join("log")).unwrap()));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(lines(&told)[0].starts_with(PANIC), "{told}");
    // As in the background, where standard error is gone.
    fs::remove_file(dir.join("log")).unwrap();
    program("program_that_panics", Some(&dir)).status().unwrap();
    assert_tells(&lines(&fs::read_to_string(dir.join("log")).unwrap()));
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_panic_is_told_on_standard_error_where_that_is_the_log() {
    let output = program("program_that_panics", None).stderr(Stdio::piped()).output().unwrap();
    assert_tells(&lines(&String::from_utf8(output.stderr).unwrap()));
}

#[test]
#[ignore = "the program of the test below"]
fn program_that_panics_behind_a_full_queue() {
    start_logging(5);
    for number in 0..5000 {
        log::info!(number; "a line that nobody reads");
    }
    assert!(logging::dropped() > 3000, "{}", logging::dropped());
    let _ = thread::spawn(|| panic!("out of ideas")).join();
}

#[test]
fn a_panic_ends_in_time_though_the_queue_is_stuck() {
    let (mut reader, writer): (PipeReader, _) = std::io::pipe().unwrap();
    rustix::pipe::fcntl_setpipe_size(&reader, 4096).unwrap();
    let mut child =
        program("program_that_panics_behind_a_full_queue", None).stderr(writer).spawn().unwrap();
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        assert!(started.elapsed() < END_MAX, "it hangs");
        thread::sleep(Duration::from_millis(5));
    };
    assert!(status.success(), "{status}");
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(lines(&text)[0], "INFO  a line that nobody reads number=0");
}
