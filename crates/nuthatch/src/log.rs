//! The log: one line an event, to standard error or to a file.
//!
//! The one rule: what is not logged costs one load and one comparison, and what is logged is one
//! write of one whole line, so lines of several threads never mix. Levels are twemproxy's numbers
//! 0 to 11, of which the five of the `log` crate are steps:
//!
//! ```text
//! 0 nothing   1-3 errors   4 warnings   5 events (default)   6-7 connections   8-11 everything
//! ```
//!
//! Times are UTC: a container seldom has another zone, and logs of several machines compare.
//!
//! What a line says stands in its words, what it is about in figures by name (`pool=`, `server=`,
//! `reason=`): people read the line ([`Format::Text`]), programs the names ([`Format::Json`]).

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::SystemTime;

use log::{LevelFilter, Log, Metadata, Record};

mod line;

/// The highest level.
pub const LEVEL_MAX: u8 = 11;

/// What a line looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people: `[time] LEVEL words name=value`.
    Text,
    /// For programs: one object a line, with `time`, `level`, `message` and the figures.
    Json,
}

/// Starts logging at `level`, to the end of the file `output` or to standard error. Without a
/// `format` a terminal gets text, and everything else JSON.
///
/// # Errors
/// When the file can't be opened.
pub fn init(level: u8, output: Option<&Path>, format: Option<Format>) -> io::Result<()> {
    let file = output.map(open).transpose()?;
    let is_for_people = file.is_none() && io::stderr().is_terminal();
    {
        let mut sink = LOGGER.sink.lock().expect("nothing panics while it logs");
        sink.file = file;
        sink.path = output.map(Path::to_owned);
        sink.format = format.unwrap_or(if is_for_people { Format::Text } else { Format::Json });
    }
    // Refused only if this logger is set already, which is as good.
    let _ = log::set_logger(&LOGGER);
    set_level(level);
    Ok(())
}

/// Opens the log file anew, after somebody has moved it away. Standard error stays as it is.
///
/// # Errors
/// When the file can't be opened; the log then goes on in the old one.
pub fn reopen() -> io::Result<()> {
    let mut sink = LOGGER.sink.lock().expect("nothing panics while it logs");
    if let Some(path) = &sink.path {
        sink.file = Some(open(path)?);
    }
    Ok(())
}

/// The level that others call by this name.
pub(crate) fn level_of_name(name: &str) -> Option<u8> {
    let is_name = |(known, _): &&(&str, u8)| known.eq_ignore_ascii_case(name);
    LEVEL_NAMES.iter().find(is_name).map(|(_, level)| *level)
}

/// The names of levels.
pub(crate) fn level_names() -> impl Iterator<Item = &'static str> {
    LEVEL_NAMES.iter().map(|(name, _)| *name)
}

/// Each name with the least level that has all of its lines.
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

/// Logs more: the next level, up to [`LEVEL_MAX`]. Returns the level that now holds.
pub fn raise() -> u8 {
    set_level(level().saturating_add(1))
}

/// Logs less: the level before, down to 0. Returns the level that now holds.
pub fn lower() -> u8 {
    set_level(level().saturating_sub(1))
}

/// The level that holds.
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

fn open(path: &Path) -> io::Result<File> {
    let named = |error: io::Error| {
        io::Error::new(
            error.kind(),
            format!("failed to open log file '{}': {error}", path.display()),
        )
    };
    OpenOptions::new().create(true).append(true).open(path).map_err(named)
}

static LOGGER: Logger = Logger {
    level: AtomicU8::new(5),
    sink: Mutex::new(Sink { path: None, file: None, format: Format::Text, line: Vec::new() }),
};

struct Logger {
    level: AtomicU8,
    sink: Mutex<Sink>,
}

/// Where lines go: a file and its path, or standard error.
struct Sink {
    path: Option<PathBuf>,
    file: Option<File>,
    format: Format,
    /// The line that is being made; kept for its memory.
    line: Vec<u8>,
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let Ok(mut sink) = self.sink.lock() else { return };
        let Sink { file, format, line, .. } = &mut *sink;
        line.clear();
        // Writing to memory can't fail, and a log that can't be written has nobody to tell.
        let _ = match format {
            Format::Text => line::write_text(line, record, SystemTime::now()),
            Format::Json => line::write_json(line, record, SystemTime::now()),
        };
        let _ = match file {
            Some(file) => file.write_all(line),
            None => io::stderr().write_all(line),
        };
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One test for all that is global: the logger is one for the process.
    #[test]
    fn a_log_file_is_reopened_and_its_level_changed() {
        let dir = std::env::temp_dir().join(format!("nuthatch-log-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let (path, moved) = (dir.join("n.log"), dir.join("n.log.1"));
        init(5, Some(&path), Some(Format::Text)).unwrap();
        log::info!("started pid={}", 7);
        log::debug!("not shown");
        std::fs::rename(&path, &moved).unwrap();
        log::warn!("still in the old file");
        reopen().unwrap();
        assert_eq!(raise(), 6);
        log::debug!("shown");
        assert_eq!(lower(), 5);
        log::debug!("not shown");

        let texts = |path: &Path| {
            let text = std::fs::read_to_string(path).unwrap();
            text.lines().map(|line| line[26..].to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(texts(&moved), ["INFO  started pid=7", "WARN  still in the old file"]);
        assert_eq!(texts(&path), ["DEBUG shown"]);

        assert_eq!(set_level(0), 0);
        assert_eq!(lower(), 0);
        assert_eq!(set_level(11), 11);
        assert_eq!(raise(), 11);
        assert_eq!(log::max_level(), LevelFilter::Trace);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
