//! The destination of the log: a file or standard error.
//!
//! The one rule: a write starts only when the descriptor is writable, so the writer can abandon a
//! stalled reader. The lock is held to read and change the destination, never during a write.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;

/// A file and its path, or standard error.
pub(super) struct Sink(Mutex<Place>);

struct Place {
    path: Option<PathBuf>,
    file: Option<Arc<File>>,
}

impl Sink {
    pub(super) const fn stderr() -> Self {
        Self(Mutex::new(Place { path: None, file: None }))
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes to the end of the file from now on, or to standard error.
    pub(super) fn set(&self, path: Option<&Path>) -> io::Result<()> {
        let file = path.map(open).transpose()?.map(Arc::new);
        *self.place() = Place { path: path.map(Path::to_owned), file };
        Ok(())
    }

    /// Reopens the file, and returns whether there is one. If this fails, the old file stays.
    pub(super) fn reopen(&self) -> io::Result<bool> {
        let path = self.place().path.clone();
        let Some(path) = path else { return Ok(false) };
        let file = open(&path)?;
        self.place().file = Some(Arc::new(file));
        Ok(true)
    }

    pub(super) fn is_file(&self) -> bool {
        self.place().file.is_some()
    }

    /// Writes `bytes`; asks whether to give up each time that nothing could be written for a while.
    pub(super) fn write(&self, bytes: &[u8], gives_up: impl Fn() -> bool) -> io::Result<()> {
        let file = self.place().file.clone();
        match &file {
            Some(file) => write(file.as_fd(), bytes, gives_up),
            None => write(rustix::stdio::stderr(), bytes, gives_up),
        }
    }

    /// Writes `bytes` if the reader takes them in time.
    pub(super) fn write_within(&self, bytes: &[u8], patience: Duration) -> io::Result<()> {
        self.write(bytes, deadline(patience))
    }
}

/// Writes `bytes` if the reader takes them in time.
pub(super) fn write_within(fd: BorrowedFd<'_>, bytes: &[u8], patience: Duration) -> io::Result<()> {
    write(fd, bytes, deadline(patience))
}

#[expect(clippy::disallowed_methods, reason = "not a worker's clock: the end of the program")]
fn deadline(patience: Duration) -> impl Fn() -> bool {
    let start = Instant::now();
    move || start.elapsed() >= patience
}

fn write(fd: BorrowedFd<'_>, mut bytes: &[u8], gives_up: impl Fn() -> bool) -> io::Result<()> {
    while !bytes.is_empty() {
        if !takes_a_piece(fd)? {
            if gives_up() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            continue;
        }
        match rustix::io::write(fd, &bytes[..bytes.len().min(PIECE_BYTES)]) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Waits for a moment until a piece can be written. A descriptor with an error counts as writable;
/// the write then returns the error.
fn takes_a_piece(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
    match poll(&mut fds, Some(&LOOK)) {
        Ok(count) => Ok(count > 0),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// A writable pipe has room for at least this many bytes (pipe(7), `PIPE_BUF`).
const PIECE_BYTES: usize = 4096;

/// How often a waiting writer checks whether to abandon the write.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

fn open(path: &Path) -> io::Result<File> {
    // As with twemproxy, all users may read the file, but only its owner may write to it.
    let file = OpenOptions::new().create(true).append(true).mode(0o644).open(path);
    file.map_err(|error| cannot_open(path, &error))
}

/// Looks whether `path` can be a file, without making one.
pub(super) fn check(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let found = match folder.map(fs::metadata) {
        _ if path.is_dir() => Err(Errno::ISDIR.into()),
        Some(Err(error)) => Err(error),
        Some(Ok(_)) | None => Ok(()),
    };
    found.map_err(|error| cannot_open(path, &error))
}

fn cannot_open(path: &Path, error: &io::Error) -> io::Error {
    let text = format!("failed to open log file '{}': {error}", path.display());
    io::Error::new(error.kind(), text)
}
