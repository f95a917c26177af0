//! How far a load has come: a bar on a terminal, a line now and then elsewhere.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// The progress of `total` steps. Threads share it.
#[derive(Debug)]
pub struct Progress {
    what: &'static str,
    total: usize,
    done: AtomicUsize,
    bar: ProgressBar,
    next_line: Mutex<Instant>,
}

impl Progress {
    /// Nothing is done of `total` yet; `what` says of what, such as "stored".
    pub fn new(what: &'static str, total: usize) -> Self {
        let style = ProgressStyle::with_template("  {bar:40} {human_pos} of {human_len} {msg}");
        let style = style.expect("the template is right").progress_chars("━━╌");
        let bar = ProgressBar::new(total as u64).with_style(style).with_message(what);
        let next_line = Mutex::new(Instant::now() + LINE_EVERY);
        Self { what, total, done: AtomicUsize::new(0), bar, next_line }
    }

    /// One more step is done.
    pub fn step(&self, now: Instant) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        if !self.bar.is_hidden() {
            self.bar.inc(1);
        } else if self.is_time_for_a_line(now) {
            eprintln!("cache-load: {done} of {} {}", self.total, self.what);
        }
    }

    fn is_time_for_a_line(&self, now: Instant) -> bool {
        let mut next_line = self.next_line.lock().expect("nothing panics while it is held");
        let is_time = now >= *next_line;
        if is_time {
            *next_line = now + LINE_EVERY;
        }
        is_time
    }

    /// Leaves the bar as it is.
    pub fn end(self) {
        self.bar.abandon();
        if !self.bar.is_hidden() {
            eprintln!();
        }
    }
}

const LINE_EVERY: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_comes_now_and_then() {
        let start = Instant::now();
        let progress = Progress::new("stored", 100);
        let lines = (0..60).filter(|second| {
            progress.is_time_for_a_line(start + Duration::from_millis(second * 500 + 250))
        });
        let lines: Vec<_> = lines.collect();
        assert_eq!(lines[..3], [4, 8, 12]);
        assert_eq!(lines.len(), 14);
    }
}
