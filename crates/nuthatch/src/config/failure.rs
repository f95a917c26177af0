//! What happens when a server fails: the words of the configuration, and how they become the engine's.
//!
//! The one rule: a file of twemproxy, without `on_server_failure`, means what it meant.

use super::Pool;
use super::value::{Fault, one_of};
use nuthatch_core::health::{Ejection, FailureRate, OnFailure, OnOverflow};
use std::time::Duration;

/// The time in which failed requests are counted for `server_failure_rate`, and how many requests must have ended in
/// it.
const RATE_WINDOW: Duration = Duration::from_secs(10);
const RATE_REQUESTS_MIN: u64 = 20;

/// Less than a probe needs on any network.
const PROBE_TIMEOUT_MIN: Duration = Duration::from_millis(10);

static MODES: [(&str, OnFailure); 4] = [
    ("rehash", OnFailure::Rehash),
    ("error", OnFailure::Error),
    ("miss", OnFailure::Miss),
    ("gutter", OnFailure::Gutter),
];

static OVERFLOWS: [(&str, OnOverflow); 3] =
    [("flush", OnOverflow::Flush), ("stay", OnOverflow::Stay), ("return", OnOverflow::Return)];

fn find<T: Copy>(
    all: &'static [(&'static str, T)],
    text: &str,
    wrong: &'static str,
) -> Result<T, Fault> {
    let found = all.iter().find(|(name, _)| *name == text);
    let names = all.iter().map(|(name, _)| *name);
    found.map(|(_, value)| *value).ok_or_else(|| Fault::new(wrong, one_of(text, names)))
}

pub(super) fn on_failure(text: &str) -> Result<OnFailure, Fault> {
    find(&MODES, text, "is not \"rehash\", \"error\", \"miss\" or \"gutter\"")
}

pub(super) fn on_overflow(text: &str) -> Result<OnOverflow, Fault> {
    find(&OVERFLOWS, text, "is not \"flush\", \"stay\" or \"return\"")
}

/// The word for what happens when a server fails.
pub(super) fn name(on_failure: OnFailure) -> &'static str {
    name_of(&MODES, on_failure)
}

/// The word for what happens when the journal is full.
pub(super) fn overflow_name(on_overflow: OnOverflow) -> &'static str {
    name_of(&OVERFLOWS, on_overflow)
}

fn name_of<T: Copy + PartialEq>(all: &[(&'static str, T)], wanted: T) -> &'static str {
    let found = all.iter().find(|(_, value)| *value == wanted);
    found.expect("every value has a word").0
}

impl Pool {
    /// What happens to a server that has missed more keys than were remembered.
    #[must_use]
    pub fn on_overflow(&self) -> OnOverflow {
        let cold = match self.on_server_failure {
            // Nothing was acknowledged that could be missed.
            Some(OnFailure::Error) => OnOverflow::Return,
            _ if self.allow_flush => OnOverflow::Flush,
            _ => OnOverflow::Stay,
        };
        self.on_journal_full.unwrap_or(cold)
    }

    /// When a server of the pool is ejected and how it returns; none if servers are never ejected.
    #[must_use]
    pub fn ejection(&self) -> Option<Ejection> {
        let is_wanted = self.auto_eject_hosts || self.on_server_failure.is_some();
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let rate = u32::from(self.server_failure_rate);
        let failure_rate = (rate > 0).then_some(FailureRate {
            percent: rate,
            requests_min: RATE_REQUESTS_MIN,
            window: RATE_WINDOW,
        });
        is_wanted.then(|| Ejection {
            failure_limit: count(self.server_failure_limit),
            failure_rate,
            retry_timeout: self.server_retry_timeout,
            probes: count(self.server_probes),
            probe_timeout: self.server_probe_timeout.max(PROBE_TIMEOUT_MIN),
            slow_start: self.server_slow_start,
            ejected_max: self.max_ejected.into(),
            on_failure: self.on_server_failure.unwrap_or(OnFailure::Rehash),
            journal_max: if self.on_server_failure.is_some() { self.journal_max } else { 0 },
            on_overflow: self.on_overflow(),
            gutter_ttl: self.gutter_ttl,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use std::path::Path;

    fn ejection(settings: &str) -> Option<Ejection> {
        let text = format!("p: {{listen: \"h:1\", {settings} servers: [\"a:1:1\"]}}\n");
        let config = Config::parse(Path::new("a.yml"), text.as_bytes());
        config.unwrap_or_else(|errors| panic!("{errors}")).pools[0].ejection()
    }

    #[test]
    fn a_file_of_twemproxy_ejects_as_twemproxy_does() {
        assert_eq!(ejection(""), None);
        let old = ejection("auto_eject_hosts: true,").unwrap();
        assert_eq!((old.on_failure, old.journal_max, old.ejected_max), (OnFailure::Rehash, 0, 100));
        assert_eq!((old.failure_limit, old.failure_rate), (2, None));
        assert!(!old.starts_slowly());
    }

    #[test]
    fn every_word_has_its_meaning() {
        for (word, mode) in MODES {
            let gutter = match mode {
                OnFailure::Gutter => "gutter_servers: [\"g:1:1\"], gutter_ttl: 2m,",
                _ => "",
            };
            let set = ejection(&format!("on_server_failure: {word}, {gutter}")).unwrap();
            assert_eq!(set.gutter_ttl.as_secs(), if gutter.is_empty() { 60 } else { 120 });
            assert_eq!((set.on_failure, set.journal_max), (mode, 8 << 20));
            let stand_in = matches!(mode, OnFailure::Rehash | OnFailure::Gutter);
            assert_eq!((set.slow_start.as_secs(), set.starts_slowly()), (10, stand_in));
            assert_eq!(name(mode), word);
        }
        for (word, overflow) in OVERFLOWS {
            let flush = if overflow == OnOverflow::Flush { "allow_flush: true," } else { "" };
            let set =
                ejection(&format!("on_server_failure: miss, {flush} on_journal_full: {word},"));
            assert_eq!(set.unwrap().on_overflow, overflow);
            assert_eq!(overflow_name(overflow), word);
        }
        let cold = |flush: &str| ejection(&format!("on_server_failure: miss, {flush}")).unwrap();
        assert_eq!(cold("").on_overflow, OnOverflow::Stay);
        assert_eq!(cold("allow_flush: true,").on_overflow, OnOverflow::Flush);
        let rate = cold("server_failure_rate: 50%,").failure_rate.unwrap();
        assert_eq!((rate.percent, rate.requests_min), (50, 20));
        assert!(on_failure("Rehash").is_err() && on_overflow("").is_err());
    }
}
