//! The last slow requests of a pool, for the admin port.
//!
//! The one rule: a worker never waits for a reader. What can't be passed on now is passed on in a later turn.

use crate::generation::since_epoch;
use crate::watch::Watch;
use nuthatch_core::message::Class;
use nuthatch_core::mux::{KEY_SHOWN, Mux, Slow};
use nuthatch_core::time::Instant;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// So many are kept for a pool, over all workers.
const KEPT_MAX: usize = 128;

/// The last slow requests.
#[derive(Debug, Default)]
pub(crate) struct SlowLog(Mutex<VecDeque<Entry>>);

#[derive(Debug)]
struct Entry {
    slow: Slow,
    /// The server's name.
    server: String,
    /// When it ended, as the time since 1970.
    ended: Duration,
}

impl SlowLog {
    /// Takes what a worker has seen.
    pub(crate) fn take(&self, mux: &mut Mux, watch: &Watch, now: Instant) {
        let Ok(mut entries) = self.0.try_lock() else { return };
        while let Some(slow) = mux.next_slow() {
            let Some(server) = watch.server(slow.server) else { continue };
            if entries.len() == KEPT_MAX {
                entries.pop_front();
            }
            let ended = since_epoch().saturating_sub(now.since(slow.ended));
            entries.push_back(Entry { slow, server: server.server.name.clone(), ended });
        }
    }

    /// The newest first; with the keys themselves only if the pool shows them.
    pub(crate) fn page(&self, shows_keys: bool) -> Value {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.iter().rev().map(|entry| entry.page(shows_keys)).collect()
    }
}

impl Entry {
    fn page(&self, shows_keys: bool) -> Value {
        let Self { slow, server, ended } = self;
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        let result = match (slow.failed, slow.is_error) {
            (Some(error), _) => error.name(),
            (None, true) => "error",
            (None, false) => "reply",
        };
        let key = (shows_keys && !slow.key().is_empty()).then(|| shown(slow.key()));
        json!({
            "ended_seconds": ended.as_secs_f64(),
            "server": server,
            "class": Class::LABELS[slow.class.label()],
            "key": key,
            "key_hash": slow.hash,
            "took_ms": ms(slow.took),
            "waited_ms": slow.waited.map(ms),
            "request_bytes": slow.bytes.0,
            "reply_bytes": slow.bytes.1,
            "result": result,
        })
    }
}

/// The start of a key as text.
fn shown(key: &[u8]) -> String {
    let cut = if key.len() == KEY_SHOWN { "..." } else { "" };
    format!("{}{cut}", key.escape_ascii())
}
