//! Reads the configuration again while the proxy serves.
//!
//! The one rule: a configuration with an error changes nothing. All of it is checked, compared with
//! the one that is served, and listened for, before any worker hears of it.

use crate::args::Options;
use crate::changes::Change;
use crate::config::{Config, Pool, Source};
use crate::control::{Outcome, Reload, Trigger, Wish};
use crate::discover::{Answers, Discovery};
use crate::generation::{Generation, since_epoch};
use crate::preflight;
use crate::proxy::Proxy;
use crate::systemd;
use crate::takeover::Standstill;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What became of the attempts to serve by other servers or settings, for the admin port.
#[derive(Debug, Default)]
pub(crate) struct Reloads {
    /// Of the configuration.
    pub(crate) of_file: Tally,
    /// Of the servers that DNS or Kubernetes tells of.
    pub(crate) of_discovery: Tally,
    /// When a configuration was taken last, in seconds since 1970.
    pub(crate) taken_at: AtomicU64,
}

/// Attempts by outcome.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// In the order of [`Outcome::RESULTS`].
    counts: [AtomicU64; Outcome::RESULTS.len()],
    /// What hindered the last one, if something did.
    hindrance: Mutex<Option<Outcome>>,
}

impl Reloads {
    /// None yet: the configuration of the start was taken.
    pub(crate) fn new() -> Self {
        let reloads = Self::default();
        reloads.note_taken();
        reloads
    }

    fn note_taken(&self) {
        self.taken_at.store(since_epoch().as_secs(), Ordering::Relaxed);
    }

    fn note_reload(&self, outcome: &Outcome) {
        self.of_file.note(outcome);
        if outcome.is_taken() {
            self.note_taken();
            // A reload takes the servers that there are now, too.
            self.of_discovery.settle();
        }
    }
}

impl Tally {
    /// Whether the last attempt was refused.
    pub(crate) fn is_refused(&self) -> bool {
        matches!(*self.hindrance(), Some(Outcome::Refused(_)))
    }

    /// Attempts with this result.
    pub(crate) fn count(&self, result: &str) -> u64 {
        self.counter(result).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    fn counter(&self, result: &str) -> Option<&AtomicU64> {
        let place = Outcome::RESULTS.iter().position(|each| *each == result)?;
        Some(&self.counts[place])
    }

    /// Whether the last attempt was hindered by the same.
    fn is_known(&self, outcome: &Outcome) -> bool {
        self.hindrance().as_ref() == Some(outcome)
    }

    fn note(&self, outcome: &Outcome) {
        if let Some(count) = self.counter(outcome.result()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        *self.hindrance() = Some(outcome.clone()).filter(|outcome| !outcome.is_taken());
    }

    /// What was hindered is no longer wanted.
    fn settle(&self) {
        *self.hindrance() = None;
    }

    fn hindrance(&self) -> MutexGuard<'_, Option<Outcome>> {
        self.hindrance.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the configuration comes from, and what became of earlier reloads.
#[derive(Debug, Clone)]
pub(crate) struct Reloader {
    pub(crate) source: Source,
    pub(crate) options: Options,
    /// What DNS has answered.
    pub(crate) answers: Arc<Mutex<Answers>>,
    pub(crate) reloads: Arc<Reloads>,
    pub(crate) standstill: Standstill,
}

/// Lets the proxy follow its configuration, and DNS.
#[derive(Debug)]
pub(crate) struct Follower {
    reloader: Reloader,
    discovery: Discovery,
    /// The pools as the configuration has them, without the servers that DNS tells of.
    config: Vec<Pool>,
    /// Those of the configuration that was read last, if it is right but can't be served yet.
    wanted: Option<Vec<Pool>>,
    retry: Option<Retry>,
}

/// Another look at what could not be changed.
#[derive(Debug, Clone, Copy)]
struct Retry {
    /// When, as the time since 1970.
    at: Duration,
    /// Whether the configuration must be read again.
    reads: bool,
}

impl Follower {
    /// Follows `config`, which is served.
    pub(crate) fn new(reloader: Reloader, discovery: Discovery, config: Vec<Pool>) -> Self {
        Self { reloader, discovery, config, wanted: None, retry: None }
    }

    /// Does what is wished for. Says after which time it wants [`Wish::Retry`], if a change has to wait.
    pub(crate) fn follow(&mut self, proxy: &mut Proxy, wish: Wish) -> Option<Duration> {
        self.carry_out(proxy, wish);
        self.retry.map(|retry| retry.at.saturating_sub(since_epoch()))
    }

    fn carry_out(&mut self, proxy: &mut Proxy, wish: Wish) {
        let standstill = self.reloader.standstill.clone();
        match (wish, standstill.begin_reload()) {
            (Wish::Reload(wish), Ok(_guard)) => self.reload(proxy, wish),
            (Wish::Reload(wish), Err(why)) => self.refuse(wish, why),
            (Wish::Discovered(change), guard) => {
                self.discovery.note(change);
                match guard {
                    Ok(_guard) => self.serve_discovered(proxy, Trigger::Discovery),
                    Err(_) => self.retry_after_upgrade(false),
                }
            }
            (Wish::Retry, guard) => {
                let reads = self.retry.take().is_some_and(|retry| retry.reads);
                match guard {
                    Err(_) => self.retry_after_upgrade(reads),
                    Ok(_guard) if reads => self.reload(proxy, Reload::by(Trigger::Retry)),
                    Ok(_guard) => self.serve_discovered(proxy, Trigger::Retry),
                }
            }
        }
    }

    /// Refuses a reload during an upgrade, or after it.
    fn refuse(&mut self, wish: Reload, why: &str) {
        let is_of_file = wish.trigger == Trigger::File;
        // The process that has taken over looks at the file, too.
        if is_of_file && self.reloader.standstill.is_replaced() {
            return;
        }
        self.tell(wish, Outcome::Refused(vec![why.to_owned()]));
        if is_of_file {
            self.retry_after_upgrade(true);
        }
    }

    /// Looks again soon, in case that the upgrade that is under way fails. Otherwise the next process
    /// follows the configuration and DNS.
    fn retry_after_upgrade(&mut self, reads: bool) {
        if !self.reloader.standstill.is_replaced() {
            let reads = reads || self.retry.is_some_and(|retry| retry.reads);
            self.retry = Some(Retry { at: since_epoch() + RETRY_LATER, reads });
        }
    }

    /// Serves by the servers that DNS tells of now: those of the configuration that is wanted, if that can
    /// be served by now.
    fn serve_discovered(&mut self, proxy: &mut Proxy, trigger: Trigger) {
        if let Some(pools) = self.wanted.take() {
            let outcome = self.take(proxy, pools, false);
            if !self.reloader.reloads.of_file.is_known(&outcome) {
                self.reloader.note_reload(trigger, &outcome);
            }
            if outcome.is_taken() {
                return;
            }
        }
        let outcome = self.serve(proxy);
        self.reloader.note_discovered(trigger, &outcome);
    }

    /// Reads the configuration again. systemd is told of a reload that it may have asked for
    /// (`systemctl reload`).
    fn reload(&mut self, proxy: &mut Proxy, wish: Reload) {
        let is_of_systemd = wish.trigger == Trigger::Signal;
        if is_of_systemd {
            systemd::tell_reloading();
        }
        let outcome = self.attempt(proxy, wish.is_forced);
        if is_of_systemd {
            systemd::tell_ready(proxy.published.get().pools.len(), proxy.inboxes.len());
        }
        self.tell(wish, outcome);
    }

    fn tell(&self, wish: Reload, outcome: Outcome) {
        self.reloader.note_reload(wish.trigger, &outcome);
        if let Some(asker) = wish.asker {
            // Whoever asked may have gone.
            let _ = asker.reply.send(outcome);
        }
    }

    /// Reads the configuration, and lets the proxy serve by it if it is right.
    fn attempt(&mut self, proxy: &mut Proxy, is_forced: bool) -> Outcome {
        self.wanted = None;
        let pools = match self.reloader.read() {
            Err(why) => {
                self.discovery.follow(&self.config);
                return Outcome::Refused(why);
            }
            // The wish may be for what was refused to DNS.
            Ok(None) => self.config.clone(),
            Ok(Some(config)) => config.pools,
        };
        // The answers of what is served must outlive a configuration that is refused.
        if !self.discovery.follow(self.config.iter().chain(&pools)) {
            self.discovery.wait(self.reloader.options.discovery_wait);
        }
        self.take(proxy, pools, is_forced)
    }

    /// Lets the proxy serve by a configuration. One that the servers of this moment do not allow is wanted
    /// from now on.
    fn take(&mut self, proxy: &mut Proxy, pools: Vec<Pool>, is_forced: bool) -> Outcome {
        let change = self.change(proxy, pools.clone());
        let outcome = match self.hindrance(&change, is_forced) {
            None => Self::apply(proxy, change),
            Some(hindrance) => {
                self.wanted = Some(pools.clone());
                hindrance
            }
        };
        if outcome.is_taken() {
            self.config = pools;
            self.discovery.tell(&self.config);
        }
        self.discovery.follow(self.config.iter().chain(self.wanted.iter().flatten()));
        outcome
    }

    /// Lets the proxy serve by the configuration that it has, with the servers that DNS tells of now.
    fn serve(&mut self, proxy: &mut Proxy) -> Outcome {
        self.discovery.tell(&self.config);
        let change = self.change(proxy, self.config.clone());
        self.hindrance(&change, false).unwrap_or_else(|| Self::apply(proxy, change))
    }

    /// What another configuration, or other servers, would change.
    fn change(&self, proxy: &Proxy, pools: Vec<Pool>) -> Change {
        Change::to(pools, &self.reloader.answers, &proxy.published.get(), proxy.inboxes.len())
    }

    /// Why a change can't be made now, if it can't.
    fn hindrance(&mut self, change: &Change, is_forced: bool) -> Option<Outcome> {
        self.retry = self.retry.filter(|retry| retry.reads);
        if is_forced {
            return None;
        }
        if !change.obstacles.is_empty() {
            return Some(Outcome::Refused(change.obstacles.clone()));
        }
        let (until, why) = moves_until(&change.before, &change.after)?;
        self.retry = Some(Retry { at: until + RETRY_LATER, reads: false });
        Some(Outcome::Waits(why))
    }

    fn apply(proxy: &mut Proxy, change: Change) -> Outcome {
        if change.lines.is_empty() {
            return Outcome::Unchanged;
        }
        let generation = change.after.number;
        match proxy.apply(change.after) {
            Ok(()) => Outcome::Changed { generation, changes: change.lines },
            Err(error) => Outcome::Refused(vec![error.to_string()]),
        }
    }
}

impl Reloader {
    /// Logs and counts what became of a configuration.
    fn note_reload(&self, trigger: Trigger, outcome: &Outcome) {
        self.log(trigger, outcome);
        self.reloads.note_reload(outcome);
    }

    /// Logs and counts what became of the servers that DNS tells of. Most answers change nothing, and what
    /// is refused is told once.
    fn note_discovered(&self, trigger: Trigger, outcome: &Outcome) {
        let tally = &self.reloads.of_discovery;
        if *outcome == Outcome::Unchanged {
            tally.settle();
        } else if !tally.is_known(outcome) {
            self.log(trigger, outcome);
            tally.note(outcome);
        }
    }

    fn log(&self, trigger: Trigger, outcome: &Outcome) {
        let file = self.source.to_string();
        match outcome {
            Outcome::Changed { generation, changes } => {
                for change in changes {
                    log::info!(change; "configuration changed");
                }
                log::info!(trigger:%, source = file, generation; "configuration reloaded");
            }
            Outcome::Unchanged => {
                log::info!(trigger:%, source = file; "configuration is the same as before");
            }
            Outcome::Waits(why) => {
                log::warn!(trigger:%, source = file, why; "reload waits");
            }
            Outcome::Refused(why) => {
                for error in why {
                    log::error!(error; "configuration refused");
                }
                let errors = why.len();
                log::error!(trigger:%, source = file, errors; "reload refused");
            }
        }
    }

    /// The configuration as the file has it now, if a start with it would not fail. None without a
    /// file: the environment of a process does not change.
    pub(crate) fn read(&self) -> Result<Option<Config>, Vec<String>> {
        let Source::File(path) = &self.source else { return Ok(None) };
        let config = read(path)?;
        preflight::check(&config, &self.options).map_err(|obstacles| obstacles.0)?;
        Ok(Some(config))
    }
}

/// So long after the time at which keys no longer move, each worker has noticed. An upgrade is waited for in
/// steps of this length.
const RETRY_LATER: Duration = Duration::from_secs(1);

/// Until when the servers can't change, as the time since 1970, and why: the keys of the last change still
/// move.
fn moves_until(before: &Generation, after: &Generation) -> Option<(Duration, String)> {
    let moving = after.pools.iter().filter_map(|new| {
        let old = before.pool(new.id).filter(|old| !old.has_servers_of(new))?;
        old.moving()
    });
    let moving = moving.max()?;
    let why = format!(
        "{moving}; the proxy changes its servers then. POST /reload?force=true ends the migration at \
         once, and keys that have not moved are missed"
    );
    Some((moving.until, why))
}

fn read(path: &Path) -> Result<Config, Vec<String>> {
    Config::load(path).map_err(|errors| errors.to_string().lines().map(str::to_owned).collect())
}
