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

use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use log::{LevelFilter, Log, Metadata, Record};

/// The highest level.
pub const LEVEL_MAX: u8 = 11;

/// Starts logging at `level`, to the end of the file `output` or to standard error.
///
/// # Errors
/// When the file can't be opened.
pub fn init(level: u8, output: Option<&Path>) -> io::Result<()> {
    let file = output.map(open).transpose()?;
    {
        let mut sink = LOGGER.sink.lock().expect("nothing panics while it logs");
        sink.file = file;
        sink.path = output.map(Path::to_owned);
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
    sink: Mutex::new(Sink { path: None, file: None, line: String::new() }),
};

struct Logger {
    level: AtomicU8,
    sink: Mutex<Sink>,
}

/// Where lines go: a file and its path, or standard error.
struct Sink {
    path: Option<PathBuf>,
    file: Option<File>,
    /// The line that is being made; kept for its memory.
    line: String,
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
        let Sink { file, line, .. } = &mut *sink;
        line.clear();
        // Writing to a string can't fail, and a log that can't be written has nobody to tell.
        let _ = write!(line, "[{}] {:<5} ", Utc(SystemTime::now()), record.level());
        let _ = write!(Printable(line), "{}", record.args());
        line.push('\n');
        let _ = match file {
            Some(file) => file.write_all(line.as_bytes()),
            None => io::stderr().write_all(line.as_bytes()),
        };
    }

    fn flush(&self) {}
}

/// Writes control characters as escapes: a key or a name can't forge a line.
struct Printable<'l>(&'l mut String);

impl fmt::Write for Printable<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if c.is_control() {
                self.0.extend(c.escape_default());
            } else {
                self.0.push(c);
            }
        }
        Ok(())
    }
}

/// A time as `2026-11-23 19:00:00.123`.
struct Utc(SystemTime);

impl fmt::Display for Utc {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.0.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (days, seconds) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
        let (year, month, day) = civil_date(days);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        let milliseconds = since.subsec_millis();
        write!(out, "{year:04}-{month:02}-{day:02} ")?;
        write!(out, "{hour:02}:{minute:02}:{second:02}.{milliseconds:03}")
    }
}

/// The date of a day counted from 1970-01-01. Years begin in March here, so that the leap day is
/// the last one and months have a regular length; an era is 400 years.
fn civil_date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // from 0000-03-01
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_utc_with_milliseconds() {
        for (milliseconds, text) in [
            (0, "1970-01-01 00:00:00.000"),
            (951_782_399_999, "2000-02-28 23:59:59.999"),
            (951_782_400_000, "2000-02-29 00:00:00.000"),
            (951_868_800_000, "2000-03-01 00:00:00.000"),
            (1_795_460_400_123, "2026-11-23 19:00:00.123"),
            (4_107_542_400_000, "2100-03-01 00:00:00.000"),
        ] {
            let time = UNIX_EPOCH + Duration::from_millis(milliseconds);
            assert_eq!(Utc(time).to_string(), text);
        }
    }

    #[test]
    fn a_name_cannot_forge_a_line() {
        let mut line = String::new();
        let name = "a\n[2026] ERROR b\t\u{7f}é";
        write!(Printable(&mut line), "server={name}").unwrap();
        assert_eq!(line, "server=a\\n[2026] ERROR b\\t\\u{7f}é");
    }

    /// One test for all that is global: the logger is one for the process.
    #[test]
    fn a_log_file_is_reopened_and_its_level_changed() {
        let dir = std::env::temp_dir().join(format!("nuthatch-log-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let (path, moved) = (dir.join("n.log"), dir.join("n.log.1"));
        init(5, Some(&path)).unwrap();
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
