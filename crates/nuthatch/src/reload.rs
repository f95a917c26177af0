//! Reads the configuration again while the proxy serves.
//!
//! The one rule: a configuration with an error changes nothing. All of it is checked, compared with
//! the one that is served, and listened for, before any worker hears of it.

use crate::args::Options;
use crate::changes::compare;
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
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The reloads so far, for the admin port.
#[derive(Debug, Default)]
pub(crate) struct Reloads {
    pub(crate) changed: AtomicU64,
    pub(crate) unchanged: AtomicU64,
    pub(crate) waits: AtomicU64,
    pub(crate) refused: AtomicU64,
    /// Why the last one was refused, if the last one was.
    pub(crate) refusal: Mutex<Vec<String>>,
    /// When a configuration was taken last, in seconds since 1970.
    pub(crate) taken_at: AtomicU64,
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

    /// Why the last reload was refused; empty if it was not.
    pub(crate) fn refusal(&self) -> Vec<String> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, outcome: &Outcome) {
        let (counter, refusal) = match outcome {
            Outcome::Changed { .. } => (&self.changed, Vec::new()),
            Outcome::Unchanged => (&self.unchanged, Vec::new()),
            Outcome::Waits(_) => (&self.waits, Vec::new()),
            Outcome::Refused(why) => (&self.refused, why.clone()),
        };
        if matches!(outcome, Outcome::Changed { .. } | Outcome::Unchanged) {
            self.note_taken();
        }
        counter.fetch_add(1, Ordering::Relaxed);
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = refusal;
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
    pub(crate) reloader: Reloader,
    pub(crate) discovery: Discovery,
    /// The pools as the configuration has them, without the servers that DNS tells of.
    pub(crate) config: Vec<Pool>,
    /// When a change that had to wait may be made, as the time since 1970.
    pub(crate) retry_at: Option<Duration>,
}

impl Follower {
    /// Does what is wished for. Says after which time the configuration should be looked at again, if a
    /// change has to wait.
    pub(crate) fn follow(&mut self, proxy: &mut Proxy, wish: Wish) -> Option<Duration> {
        self.carry_out(proxy, wish);
        self.retry_at.map(|at| at.saturating_sub(since_epoch()))
    }

    fn carry_out(&mut self, proxy: &mut Proxy, wish: Wish) {
        let standstill = self.reloader.standstill.clone();
        let guard = standstill.begin_reload();
        match (wish, guard) {
            (Wish::Reload(wish), Ok(_guard)) => self.reload(proxy, &wish),
            (Wish::Retry, guard) => {
                self.retry_at = None;
                // During an upgrade, the next process looks at the configuration.
                if guard.is_ok() {
                    let trigger = Trigger::Retry;
                    self.reload(proxy, &Reload { trigger, is_forced: false, reply: None });
                }
            }
            // The process that has taken over looks at the file, too.
            (Wish::Reload(wish), Err(_))
                if wish.trigger == Trigger::File && standstill.is_replaced() => {}
            (Wish::Reload(wish), Err(why)) => {
                self.tell(&wish, Outcome::Refused(vec![why.to_owned()]));
            }
            (Wish::Discovered(change), guard) => {
                self.discovery.note(change);
                // During an upgrade, the next process follows DNS.
                if guard.is_ok() {
                    self.serve_discovered(proxy);
                }
            }
        }
    }

    fn serve_discovered(&mut self, proxy: &mut Proxy) {
        let outcome = self.serve(proxy, self.config.clone(), false);
        if outcome != Outcome::Unchanged {
            self.reloader.note(Trigger::Discovery, &outcome);
        }
    }

    /// Reads the configuration again. systemd is told of a reload that it may have asked for
    /// (`systemctl reload`).
    fn reload(&mut self, proxy: &mut Proxy, wish: &Reload) {
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

    fn tell(&self, wish: &Reload, outcome: Outcome) {
        self.reloader.note(wish.trigger, &outcome);
        if let Some(reply) = &wish.reply {
            // Whoever asked may have gone.
            let _ = reply.send(outcome);
        }
    }

    /// Reads the configuration, and lets the proxy serve by it if it is right.
    fn attempt(&mut self, proxy: &mut Proxy, is_forced: bool) -> Outcome {
        let config = match self.reloader.read() {
            Err(why) => return Outcome::Refused(why),
            // The wish may be for what was refused to DNS.
            Ok(None) => return self.serve(proxy, self.config.clone(), is_forced),
            Ok(Some(config)) => config,
        };
        if !self.discovery.follow(&config.pools) {
            self.discovery.wait(self.reloader.options.discovery_wait);
        }
        let outcome = self.serve(proxy, config.pools.clone(), is_forced);
        match outcome {
            Outcome::Waits(_) | Outcome::Refused(_) => drop(self.discovery.follow(&self.config)),
            _ => self.config = config.pools,
        }
        outcome
    }

    /// Lets the proxy serve these pools, with the servers that DNS tells of.
    fn serve(&mut self, proxy: &mut Proxy, pools: Vec<Pool>, is_forced: bool) -> Outcome {
        let before = proxy.published.get();
        let after = proxy.next(self.discovery.pools(pools, Some(&before)));
        let (changes, too_many) = compare(&before, &after);
        if changes.is_empty() {
            return Outcome::Unchanged;
        }
        if !too_many.is_empty() && !is_forced {
            return Outcome::Refused(too_many);
        }
        if let Some((until, why)) = moves_until(&before, &after).filter(|_| !is_forced) {
            self.retry_at = Some(until + RETRY_LATER);
            return Outcome::Waits(why);
        }
        let generation = after.number;
        match proxy.apply(after) {
            Ok(()) => {
                self.retry_at = None;
                Outcome::Changed { generation, changes }
            }
            Err(error) => Outcome::Refused(vec![error.to_string()]),
        }
    }
}

impl Reloader {
    /// Logs and counts what became of a reload.
    fn note(&self, trigger: Trigger, outcome: &Outcome) {
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
        self.reloads.note(outcome);
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

/// So long after the time at which keys no longer move, each worker has noticed.
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
        "{moving}; the configuration is read again then. POST /reload?force=true ends the migration \
         at once, and keys that have not moved are missed"
    );
    Some((moving.until, why))
}

fn read(path: &Path) -> Result<Config, Vec<String>> {
    Config::load(path).map_err(|errors| errors.to_string().lines().map(str::to_owned).collect())
}
