//! Where lines of the log are written to: a file or standard error.
//!
//! The one rule: a write is only begun when the descriptor takes a piece of it, so who writes can
//! give up on a reader that has stalled. The lock is held to look and to change, never to write.

use std::fs::{File, OpenOptions};
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

    /// Opens the file anew, and says whether there is one. If that fails, the old one stays.
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

/// Waits for a moment until a piece can be written. A descriptor that has failed takes it, too, and
/// says why.
fn takes_a_piece(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
    match poll(&mut fds, Some(&LOOK)) {
        Ok(count) => Ok(count > 0),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// A pipe with room for anything has room for so much (pipe(7), `PIPE_BUF`).
const PIECE_BYTES: usize = 4096;

/// How often a writer that waits for the reader looks whether to give up.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

fn open(path: &Path) -> io::Result<File> {
    let named = |error: io::Error| {
        io::Error::new(
            error.kind(),
            format!("failed to open log file '{}': {error}", path.display()),
        )
    };
    // Readable for all, but writable for its owner only, as twemproxy makes it.
    OpenOptions::new().create(true).append(true).mode(0o644).open(path).map_err(named)
}
