//! Who has a place at the admin port, and who has to go when there are too many.
//!
//! The one rule: who has asked is answered. A place is taken from the reader that has been asking for
//! the longest time without having said all, and from nobody that has just come. Of the answers that
//! wait to be taken, the one that nothing was taken of for the longest time is given up.

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

/// Readers at one time, where there are descriptors for them.
const READERS_MAX: usize = 256;

/// Readers for whom there are always descriptors.
const READERS_MIN: usize = 16;

/// Readers at one time: an eighth of the descriptors that may be open, within bounds.
pub(crate) fn readers_max() -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(files / 8).unwrap_or(usize::MAX).clamp(READERS_MIN, READERS_MAX)
}

/// Answers that wait to be taken, at one time.
const TAKERS_MAX: usize = 16;

/// What a reader has in any case to say what it wants. With this, [`READERS_MAX`] readers are 25,000
/// new ones a second.
const ASKING_MIN: Duration = Duration::from_millis(10);

/// How often a newcomer looks for a place when there is none.
const LOOK: Duration = Duration::from_millis(1);

/// How much of an answer is handed on at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// How far a reader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It has not said all of its request.
    Asking,
    /// Its answer is being made.
    Waiting,
    /// Its answer is on its way.
    Taking,
}

/// One reader.
#[derive(Debug)]
pub(super) struct Reader {
    /// Its stage, and when it came or last took something.
    progress: Mutex<(Stage, Instant)>,
    task: OnceLock<AbortHandle>,
}

impl Reader {
    pub(super) fn new() -> Arc<Self> {
        let progress = Mutex::new((Stage::Asking, Instant::now()));
        Arc::new(Self { progress, task: OnceLock::new() })
    }

    /// The task that talks to it, which ends if it has to go.
    pub(super) fn set_task(&self, task: AbortHandle) {
        // It has one task, so this is the first.
        let _ = self.task.set(task);
    }

    /// It has asked.
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

/// The readers that are there.
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

    /// Whether there is a place. Readers stand in the order in which they came; those that have asked
    /// go to the end, so that the first is soon one that has not.
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

    /// Hands `reader` its answer, which may push out another that takes nothing.
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

/// The reader that has its answer and took nothing of it for the longest time.
fn slowest(readers: &VecDeque<Arc<Reader>>) -> Option<usize> {
    let progress = readers.iter().map(|reader| *reader.lock()).enumerate();
    let taking = progress.filter(|(_, (stage, _))| *stage == Stage::Taking);
    taking.min_by_key(|(_, (_, moved))| *moved).map(|(index, _)| index)
}

/// The body of an answer, handed on piece by piece: each piece shows that the one before was taken.
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
