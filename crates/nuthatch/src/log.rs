//! The log: one line for each event, to standard error or to a file.
//!
//! The one rule: code that logs never waits for the log's reader. A message below the level costs
//! one load and one comparison; other messages become complete lines in a bounded queue, which a
//! separate thread writes (`log/queue.rs`). If the queue is full, the line is dropped and counted.
//! Levels are twemproxy's numbers 0 to 11; the five levels of the `log` crate map to them:
//!
//! ```text
//! 0 nothing   1-3 errors   4 warnings   5 events (default)   6-7 debug   8-11 trace (not used)
//! ```
//!
//! Times are UTC: containers seldom have another time zone, and logs of several machines can be
//! compared.
//!
//! A line has a message and named fields (`pool=`, `server=`, `reason=`): as text for people
//! ([`Format::Text`]), or as JSON for programs ([`Format::Json`]).

use std::error::Error;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, SystemTime};

use log::kv::Value;
use log::{Level, LevelFilter, Log, Metadata, Record};

mod line;
mod panic;
mod queue;
mod sink;

use queue::Queue;
use sink::Sink;

/// The highest level.
pub const LEVEL_MAX: u8 = 11;

/// What a line looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people: `[time] LEVEL message name=value`.
    Text,
    /// For programs: one object per line, with `time`, `level`, `message` and the fields.
    Json,
}

/// Starts logging at `level`, to the end of the file `output` or to standard error. Without a
/// `format` a terminal gets text, and everything else JSON. From now on, a panic is logged, too.
///
/// # Errors
/// When the file can't be opened, or the writing thread cannot be started.
pub fn init(level: u8, output: Option<&Path>, format: Option<Format>) -> io::Result<()> {
    LOGGER.sink.set(output)?;
    let is_for_people = output.is_none() && io::stderr().is_terminal();
    let is_text = format.map_or(is_for_people, |format| format == Format::Text);
    LOGGER.is_text.store(is_text, Ordering::Relaxed);
    LOGGER.queue.start()?;
    panic::tell();
    // This fails only if the logger is already set, which is fine.
    let _ = log::set_logger(&LOGGER);
    set_level(level);
    Ok(())
}

/// Looks whether the log can be written to `path`, without making the file.
///
/// # Errors
/// When `path` is a directory, or in none.
pub fn check_file(path: &Path) -> io::Result<()> {
    sink::check(path)
}

/// Reopens the log file, for log rotation. The thread that writes the log does this and logs the
/// result, because opening a file may block and the caller must not wait. Standard error is not
/// changed.
pub fn reopen() {
    LOGGER.queue.reopen();
}

/// Waits until all lines are written, at most one second: a stalled reader must not prevent the end
/// of the process.
pub fn flush() {
    LOGGER.queue.flush(PATIENCE);
}

/// How many lines were lost: the queue was full, or the line could not be written.
pub fn dropped() -> u64 {
    LOGGER.queue.dropped()
}

/// Writes `text` to standard error at the end of the program, unless the reader blocks for a
/// second.
pub fn tell(text: &str) {
    // If this fails, there is no other place to report it.
    let _ = sink::write_within(rustix::stdio::stderr(), text.as_bytes(), PATIENCE);
}

/// Logs an event at every level: the operator who sends a signal learns what it did.
pub fn always(words: &str, figures: &[(&str, Value<'_>)]) {
    let mut record = Record::builder();
    record.level(Level::Info).key_values(&figures);
    LOGGER.queue.offer(LOGGER.line(&record.args(format_args!("{words}")).build()));
}

/// Logs why the program can't go on. Returns whether this line goes to standard error.
pub fn tells_the_end(error: &dyn Error) -> bool {
    log::error!("{error}");
    !LOGGER.sink.is_file() && log::max_level() >= LevelFilter::Error
}

/// How long the end of the program waits for the reader of its log.
const PATIENCE: Duration = Duration::from_secs(1);

/// The level with this name.
pub(crate) fn level_of_name(name: &str) -> Option<u8> {
    let is_name = |(known, _): &&(&str, u8)| known.eq_ignore_ascii_case(name);
    LEVEL_NAMES.iter().find(is_name).map(|(_, level)| *level)
}

/// The names of levels.
pub(crate) fn level_names() -> impl Iterator<Item = &'static str> {
    LEVEL_NAMES.iter().map(|(name, _)| *name)
}

/// Each name with the lowest level that includes all its lines.
const LEVEL_NAMES: [(&str, u8); 10] = [
    ("off", 0),
    ("none", 0),
    ("critical", 2),
    ("error", 3),
    ("warn", 4),
    ("warning", 4),
    ("notice", 5),
    ("info", 5),
    ("debug", 7),
    ("trace", LEVEL_MAX),
];

/// Raises the level by one, up to [`LEVEL_MAX`]. Returns the new level if it has changed.
pub fn raise() -> Option<u8> {
    change_level(level().saturating_add(1))
}

/// Lowers the level by one, down to 0. Returns the new level if it has changed.
pub fn lower() -> Option<u8> {
    change_level(level().saturating_sub(1))
}

fn change_level(wanted: u8) -> Option<u8> {
    let before = level();
    Some(set_level(wanted)).filter(|level| *level != before)
}

/// The current level.
pub fn level() -> u8 {
    LOGGER.level.load(Ordering::Relaxed)
}

fn set_level(level: u8) -> u8 {
    let level = level.min(LEVEL_MAX);
    LOGGER.level.store(level, Ordering::Relaxed);
    log::set_max_level(match level {
        0 => LevelFilter::Off,
        1..=3 => LevelFilter::Error,
        4 => LevelFilter::Warn,
        5 => LevelFilter::Info,
        6..=7 => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    });
    level
}

static LOGGER: Logger = Logger {
    level: AtomicU8::new(5),
    is_text: AtomicBool::new(true),
    sink: Sink::stderr(),
    queue: Queue::new(),
};

struct Logger {
    level: AtomicU8,
    is_text: AtomicBool,
    sink: Sink,
    queue: Queue,
}

impl Logger {
    fn line(&self, record: &Record<'_>) -> Vec<u8> {
        let mut line = Vec::with_capacity(LINE_BYTES);
        let is_text = self.is_text.load(Ordering::Relaxed);
        let write = if is_text { line::write_text } else { line::write_json };
        write(&mut line, record, SystemTime::now()).expect("memory takes all");
        line
    }
}

/// Most lines are shorter.
const LINE_BYTES: usize = 256;

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            self.queue.offer(self.line(record));
        }
    }

    fn flush(&self) {
        flush();
    }
}
