//! Limits the connections of the admin port.
//!
//! The one rule: a complete request is answered. If there are too many readers, the one that has
//! been sending its request for the longest time is closed, but none that has just connected. If
//! too many answers wait to be read, the one that was not read for the longest time is dropped.

use hyper::body::{Body, Bytes, Frame, SizeHint};
use rustix::process::{Resource, getrlimit};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

/// Maximum number of readers, if there are enough file descriptors.
const READERS_MAX: usize = 256;

/// The number of readers for which file descriptors are always reserved.
const READERS_MIN: usize = 16;

/// Maximum number of readers: an eighth of the limit of open files, within bounds.
pub(crate) fn readers_max() -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(files / 8).unwrap_or(usize::MAX).clamp(READERS_MIN, READERS_MAX)
}

/// Maximum number of answers that wait to be read.
const TAKERS_MAX: usize = 16;

/// The time that every reader has to send its request. With this time, [`READERS_MAX`] readers
/// allow 25,000 new readers per second.
const ASKING_MIN: Duration = Duration::from_millis(10);

/// How often a new reader checks for a free place.
const LOOK: Duration = Duration::from_millis(1);

/// The size of one piece of an answer.
const PIECE_BYTES: usize = 64 * 1024;

/// The state of a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It has not sent its whole request.
    Asking,
    /// Its answer is being generated.
    Waiting,
    /// Its answer is being sent.
    Taking,
}

/// One reader.
#[derive(Debug)]
pub(super) struct Reader {
    /// Its stage, and when it connected or last read something.
    progress: Mutex<(Stage, Instant)>,
    task: OnceLock<AbortHandle>,
}

impl Reader {
    pub(super) fn new() -> Arc<Self> {
        let progress = Mutex::new((Stage::Asking, Instant::now()));
        Arc::new(Self { progress, task: OnceLock::new() })
    }

    /// The task that serves it, which is aborted if the reader is closed.
    pub(super) fn set_task(&self, task: AbortHandle) {
        // It has one task, so this is the first.
        let _ = self.task.set(task);
    }

    /// Notes that it has sent its request.
    pub(super) fn waits(&self) {
        *self.lock() = (Stage::Waiting, Instant::now());
    }

    fn takes(&self) {
        *self.lock() = (Stage::Taking, Instant::now());
    }

    fn lock(&self) -> MutexGuard<'_, (Stage, Instant)> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_gone(&self) -> bool {
        self.task.get().is_some_and(AbortHandle::is_finished)
    }

    fn abort(&self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

/// The current readers.
#[derive(Debug)]
pub(super) struct Room {
    readers: Mutex<VecDeque<Arc<Reader>>>,
    readers_max: usize,
}

impl Room {
    pub(super) fn new() -> Self {
        Self { readers: Mutex::default(), readers_max: readers_max() }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Reader>>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a place and takes it.
    pub(super) async fn enter(&self, reader: &Arc<Reader>) {
        while !self.make_place() {
            sleep(LOOK).await;
        }
        self.lock().push_back(Arc::clone(reader));
    }

    /// Whether there is a free place. Readers are in the order of their connections; readers with a
    /// complete request move to the end, so that the first is soon one without.
    fn make_place(&self) -> bool {
        let mut readers = self.lock();
        for _ in 0..readers.len() {
            if readers.len() < self.readers_max {
                return true;
            }
            let Some(first) = readers.pop_front() else { return true };
            let (stage, came) = *first.lock();
            if first.is_gone() {
                continue;
            }
            if stage == Stage::Asking && came.elapsed() >= ASKING_MIN {
                first.abort();
            } else if stage == Stage::Asking {
                readers.push_front(first);
                return false;
            } else {
                readers.push_back(first);
            }
        }
        readers.len() < self.readers_max
    }

    /// Gives `reader` its answer, and drops another answer that is not read if there are too many.
    pub(super) fn answer(&self, reader: &Arc<Reader>, text: String) -> Pieces {
        reader.takes();
        let mut readers = self.lock();
        readers.retain(|reader| !reader.is_gone());
        let takers = readers.iter().filter(|reader| reader.lock().0 == Stage::Taking).count();
        if takers > TAKERS_MAX
            && let Some(slowest) = slowest(&readers)
        {
            readers.remove(slowest).iter().for_each(|reader| reader.abort());
        }
        Pieces { rest: text.into(), reader: Arc::clone(reader) }
    }
}

/// The reader that has its answer and has read nothing of it for the longest time.
fn slowest(readers: &VecDeque<Arc<Reader>>) -> Option<usize> {
    let progress = readers.iter().map(|reader| *reader.lock()).enumerate();
    let taking = progress.filter(|(_, (stage, _))| *stage == Stage::Taking);
    taking.min_by_key(|(_, (_, moved))| *moved).map(|(index, _)| index)
}

/// The body of an answer, sent piece by piece: each request for a piece shows that the previous one
/// was read.
#[derive(Debug)]
pub(super) struct Pieces {
    rest: Bytes,
    reader: Arc<Reader>,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        self.reader.takes();
        let len = self.rest.len().min(PIECE_BYTES);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(len)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}
