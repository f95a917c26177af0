//! The queue of log lines, and the thread that writes them.
//!
//! The one rule: adding a line never blocks. The queue holds [`LINES_MAX`] lines and [`BYTES_MAX`]
//! bytes; further lines are dropped and counted, and the log has a line with their number as soon
//! as it can be written again.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use log::{Level, Record};

use super::LOGGER;

/// Maximum number of waiting lines.
const LINES_MAX: usize = 1024;

/// Maximum bytes of the waiting lines.
const BYTES_MAX: usize = 1 << 20;

/// Lines on their way to the sink.
pub(super) struct Queue {
    sender: OnceLock<SyncSender<Message>>,
    /// Messages that were sent and are not yet processed.
    pending: AtomicUsize,
    /// Bytes of the lines among them.
    bytes: AtomicUsize,
    dropped: AtomicU64,
    /// Whether the log file must be reopened.
    is_to_reopen: AtomicBool,
}

/// A message to the writing thread.
enum Message {
    Line(Vec<u8>),
    /// Another field has changed.
    Look,
}

impl Queue {
    pub(super) const fn new() -> Self {
        Self {
            sender: OnceLock::new(),
            pending: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
            is_to_reopen: AtomicBool::new(false),
        }
    }

    /// Starts the writing thread, unless it runs already.
    pub(super) fn start(&self) -> io::Result<()> {
        if self.sender.get().is_some() {
            return Ok(());
        }
        let (sender, receiver) = sync_channel(LINES_MAX);
        thread::Builder::new().name("log".into()).spawn(move || write_all(&receiver))?;
        // This fails only if there already is a sender; then its thread writes alone.
        let _ = self.sender.set(sender);
        Ok(())
    }

    /// Queues a line, or drops it.
    pub(super) fn offer(&self, line: Vec<u8>) {
        let len = line.len();
        let has_room = self.bytes.fetch_add(len, Ordering::Relaxed) + len <= BYTES_MAX;
        if has_room && self.send(Message::Line(line)) {
            return;
        }
        self.bytes.fetch_sub(len, Ordering::Relaxed);
        self.dropped.fetch_add(1, Ordering::Relaxed);
        // The thread may just have written the last line; then only this message makes it report
        // the dropped line.
        self.send(Message::Look);
    }

    pub(super) fn reopen(&self) {
        self.is_to_reopen.store(true, Ordering::Release);
        // If the queue is full, the thread processes other messages and checks the field, too.
        self.send(Message::Look);
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits until all lines are written, or `patience` is over. Returns whether all were written.
    #[expect(clippy::disallowed_methods, reason = "not a worker: who ends waits for the log")]
    pub(super) fn flush(&self, patience: Duration) -> bool {
        let start = Instant::now();
        while self.pending.load(Ordering::Acquire) > 0 {
            if start.elapsed() >= patience {
                return false;
            }
            thread::sleep(FLUSH_LOOK);
        }
        true
    }

    /// Sends a message. Returns whether there was room for it.
    fn send(&self, message: Message) -> bool {
        self.pending.fetch_add(1, Ordering::Relaxed);
        let is_sent = self.sender.get().is_some_and(|sender| sender.try_send(message).is_ok());
        if !is_sent {
            self.pending.fetch_sub(1, Ordering::Relaxed);
        }
        is_sent
    }

    fn wants_reopening(&self) -> bool {
        self.is_to_reopen.load(Ordering::Acquire)
    }
}

/// How often `flush` checks the queue.
const FLUSH_LOOK: Duration = Duration::from_millis(1);

/// The loop of the thread: writes line after line.
fn write_all(messages: &Receiver<Message>) {
    let queue = &LOGGER.queue;
    let mut loss = Loss { told: 0, told_at: None, error: None };
    for message in messages {
        if queue.is_to_reopen.swap(false, Ordering::Acquire) {
            reopen();
        }
        if let Message::Line(line) = message {
            if let Err(error) = write(&line) {
                queue.dropped.fetch_add(1, Ordering::Relaxed);
                loss.error = Some(error);
            }
            queue.bytes.fetch_sub(line.len(), Ordering::Relaxed);
        }
        let is_last = queue.pending.load(Ordering::Acquire) == 1;
        loss.tell(is_last);
        queue.pending.fetch_sub(1, Ordering::Release);
    }
}

/// Writes bytes to the sink. If a file's reader has stalled, the write is abandoned when the file
/// must be reopened.
fn write(bytes: &[u8]) -> io::Result<()> {
    LOGGER.sink.write(bytes, || LOGGER.sink.is_file() && LOGGER.queue.wants_reopening())
}

fn reopen() {
    match LOGGER.sink.reopen() {
        Ok(true) => super::always("log file reopened", &[]),
        // The log goes to standard error.
        Ok(false) => {}
        Err(error) => log::error!("{error}"),
    }
}

/// The number of dropped lines, and the number that was already logged.
struct Loss {
    told: u64,
    told_at: Option<Instant>,
    /// The error of the last failed write since the last report.
    error: Option<io::Error>,
}

impl Loss {
    /// Logs how many lines were dropped since the last report. While lines are dropped
    /// continuously, this is logged at most once in [`TELL_PAUSE`], because reports would cause
    /// more dropped lines.
    #[expect(clippy::disallowed_methods, reason = "not a worker's clock: the thread of the log")]
    fn tell(&mut self, is_last: bool) {
        let dropped = LOGGER.queue.dropped();
        let lines = dropped - self.told;
        let is_time = self.told_at.is_none_or(|at| at.elapsed() >= TELL_PAUSE);
        if lines == 0 || !(is_last || is_time) {
            return;
        }
        let error = self.error.as_ref().map(ToString::to_string);
        let reason = error.as_deref().unwrap_or("the log could not be written fast enough");
        let figures = [("lines", log::kv::Value::from(lines)), ("reason", reason.into())];
        let mut record = Record::builder();
        record.level(Level::Warn).key_values(&figures);
        let line = LOGGER.line(&record.args(format_args!("log lines were dropped")).build());
        if write(&line).is_ok() {
            *self = Self { told: dropped, told_at: Some(Instant::now()), error: None };
        }
    }
}

/// The minimum time between two reports of dropped lines.
const TELL_PAUSE: Duration = Duration::from_secs(1);
