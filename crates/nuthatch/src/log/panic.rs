//! Logs panics.
//!
//! The one rule: whatever the log's thread and its reader do, writing the panic message takes a
//! limited time. The message bypasses the queue, which may be blocked.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{self, PanicHookInfo};
use std::thread;

use log::kv::Value;
use log::{Level, Record};

use super::{LOGGER, PATIENCE, sink};

/// Logs every panic from now on.
pub(super) fn tell() {
    panic::set_hook(Box::new(write));
}

fn write(info: &PanicHookInfo<'_>) {
    let line = line(info);
    // The earlier lines are written first. If they are blocked, one of them may be incomplete.
    let is_flushed = LOGGER.queue.flush(PATIENCE);
    let line = if is_flushed { line } else { [b"\n", line.as_slice()].concat() };
    // There is no other place to report an error.
    let _ = LOGGER.sink.write_within(&line, PATIENCE);
    if LOGGER.sink.is_file() {
        let _ = sink::write_within(rustix::stdio::stderr(), &line, PATIENCE);
    }
}

fn line(info: &PanicHookInfo<'_>) -> Vec<u8> {
    let thread = thread::current();
    let thread = thread.name().unwrap_or("without a name");
    let at = info.location().map(ToString::to_string).unwrap_or_default();
    let payload = info.payload();
    let reason = payload.downcast_ref::<&str>().copied();
    let reason = reason.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let reason = reason.unwrap_or("no message");
    let mut figures: Vec<(&str, Value<'_>)> =
        vec![("thread", thread.into()), ("at", at.as_str().into()), ("reason", reason.into())];
    let backtrace = Backtrace::capture();
    let text = backtrace.to_string();
    if backtrace.status() == BacktraceStatus::Captured {
        figures.push(("backtrace", text.as_str().into()));
    }
    let mut record = Record::builder();
    record.level(Level::Error).key_values(&figures);
    LOGGER.line(&record.args(format_args!("panic")).build())
}
