//! Keys that move to another server, after a change of the ring.
//!
//! A fleet of proxies does not change at one instant. So each goes through phases by its own clock, of
//! which only neighbours meet if all proxies change within `settle`:
//!
//! | phase | a read asks | a write |
//! | --- | --- | --- |
//! | settling | the old server | runs at the old server, then deletes at the new one |
//! | moving | the new server; on a miss the old one, and copies | deletes at the old server, then runs at the new one |
//! | closing | the new server | deletes at the old server, then runs at the new one |
//!
//! No write is acknowledged before both servers have done their part. The one rule: each of the two
//! servers of a key has the last acknowledged value of it or none, as long as it is asked for it.
//!
//! A copy must not bring back what was replaced meanwhile. It first puts a mark in the place of the
//! value at the new server, then asks the old one, and stores the value only if its mark is still there:
//! every write at the new server removes it. What the new server already had before the change is
//! known by its number, as numbers only grow, and counts as a miss. A request that depends on the value
//! is carried out only on the value that was compared with the old server's, and after the old server has
//! dropped just that one.
//!
//! # What is not promised
//!
//! - A proxy that starts while others move keys must begin with the old ring and change then, or it
//!   writes at the new server what others still read from the old one, and what it deletes there they
//!   copy again.
//! - A value that a server kept from the time before it lost the key is dropped when the key is asked for
//!   during the window. If nobody asks, it stays there, and is read afterwards. A server that comes back
//!   should be empty.
//! - If a server of the new ring is ejected, its keys go to servers that may have old values, as always.
//! - An old server that can't be reached for `settle` is given up. If proxies of other processes reach it, they may
//!   copy values from it that were replaced.
//! - Two increments or two `cas` at the same time may be carried out on the same value while others
//!   settle, if a third request, at the same time too, removes the value at the old server, or that server
//!   drops it. One that begins when the other is answered is never carried out on an older value.
//! - From and to a memcached before 1.6.10 nothing is copied: reads get the old server's value, other
//!   requests find nothing, `cas` does not match, and what such a server kept from before is not known.
//! - A write at the old server of a Redis pool that is answered after its phase may have been carried out
//!   or not: its client gets the error for that. Nothing is removed at the new server then.
//! - While keys move, a value that is marked as stale (`md` with `I`) is a miss, and more than one client may
//!   win the right to fill a missing one (`mg` with `N`). Ids that clients choose (`E`) are not known to be new.

mod carry;
mod carry_intake;
mod carry_own;
mod carry_put;
mod carry_send;
mod copy;
mod ending;
mod giving_up;
mod intake;
mod pause;
mod step;
mod task;

pub(super) use task::{MoveId, Moves};

use super::id::ServerId;
use super::{Event, Mux};
use crate::health::Share;
use crate::memcache::LEASE_SECONDS;
use crate::ring::Ring;
use crate::route::{Plan, Rehash, Routes};
use crate::stats::{MigrationStats, ServerStats};
use crate::time::Instant;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;
use core::time::Duration;
use task::Task;

/// How keys move to their new servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migrate {
    /// When the change was announced to all workers of the process: they count the phases from then on, however
    /// late each of them changes. None if nobody else changes: the phases count from the change.
    pub announced: Option<Instant>,
    /// The longest time between the change of the first proxy and that of the last one. Where requests
    /// have no timeout, the longest time that one takes must be added.
    pub settle: Duration,
    /// How long a value is looked for at its old server.
    pub window: Duration,
    /// How many requests may be on their way for keys that move.
    pub moves_max: usize,
    /// How long writes wait before the second phase and after its beginning, at most: the workers of one
    /// process change phase at slightly different times, and no write may meet a request of another
    /// phase, or the value would be missed. Both together are at most half of the timeout of requests.
    pub pause: Duration,
    /// A random number, so that no other proxy has the same: marks are told apart by it.
    pub seed: u64,
}

/// How far a migration is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Other proxies may not know of the change yet.
    Settling,
    /// Values are copied when they are asked for.
    Moving,
    /// Other proxies may still copy values.
    Closing,
}

/// How far a migration is, and what is left of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// How far it is.
    pub phase: Phase,
    /// The time until its end.
    pub left: Duration,
    /// How many of 1000 keys have another server than before.
    pub keys_per_mille: u32,
}

/// The servers can't change, because keys still move after the last change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migrating(pub Progress);

/// What is known of keys that move.
#[derive(Debug)]
pub(super) struct Migration {
    before: Routes,
    /// When the phases end.
    ends: [Instant; 3],
    settle: Duration,
    /// From when on writes wait, and from when on they go on.
    pause: [Instant; 2],
    /// From when on reads copy such values.
    copies_at: Instant,
    /// The last token of a mark.
    token: u64,
    phase: Phase,
    moves_max: usize,
    /// Servers that are no longer in the pool.
    leaving: Vec<ServerId>,
    peers: BTreeMap<ServerId, Peer>,
    keys_per_mille: u32,
}

/// Whether an old server is asked for values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum OldServer {
    #[default]
    Asked,
    /// It is asked no more, but other workers may ask it still.
    Held,
    /// No worker asks it.
    GivenUp,
}

/// What is known of a server.
#[derive(Clone, Copy, Debug, Default)]
struct Peer {
    /// The first cas number that the server told after the change. Values with this number or a lower
    /// one are older than the change.
    floor: Option<u64>,
    /// When the server last told a cas number.
    heard: Instant,
    /// Since when it could not be reached, as an old server.
    fails_since: Option<Instant>,
    /// How many of its replies were late, one after the other.
    lates: u32,
    old: OldServer,
}

/// The number of keys of the sample from which `keys_per_mille` is estimated.
const SAMPLE: u32 = 2000;

impl Migration {
    fn progress(&self, now: Instant) -> Progress {
        let Self { phase, keys_per_mille, .. } = *self;
        Progress { phase, left: self.ends[2].since(now), keys_per_mille }
    }

    fn phase_at(&self, now: Instant) -> Phase {
        if now < self.ends[0] {
            Phase::Settling
        } else if now < self.ends[1] {
            Phase::Moving
        } else {
            Phase::Closing
        }
    }

    fn old_server(&self, server: ServerId) -> OldServer {
        self.peers.get(&server).map_or(OldServer::Asked, |peer| peer.old)
    }

    fn peer(&mut self, server: ServerId) -> &mut Peer {
        self.peers.entry(server).or_default()
    }

    /// Notes that a server has values with numbers up to `cas`, as heard `now` on a connection that was
    /// opened at `opened`. A server that was connected to anew and whose numbers are lower than before has
    /// lost all its values since.
    fn learn(&mut self, server: ServerId, cas: u64, (opened, now): (Instant, Instant)) {
        let peer = self.peer(server);
        let is_new = opened > peer.heard;
        peer.heard = now;
        peer.floor = match peer.floor {
            Some(floor) if cas <= floor && is_new => Some(0),
            Some(floor) => Some(floor),
            None => Some(cas),
        };
    }
}

impl Mux {
    /// As [`Mux::set_servers`], but keys that have another server now move there: see
    /// [`Migrate`]. If a proxy of another process changes its servers likewise, at most
    /// `migrate.settle` earlier or later, no client of either reads a value older than one whose storage
    /// was acknowledged before.
    ///
    /// A pool changes as by [`Mux::set_servers`] if it had no servers or has none now, and where a server
    /// is drawn at random.
    ///
    /// # Errors
    /// If keys still move after the last change. Nothing has changed then; [`Event::Migrated`] says when
    /// they no longer do.
    ///
    /// # Panics
    /// If `stats` is not for as many servers as the ring has members.
    pub fn migrate_servers(
        &mut self,
        ring: Ring,
        stats: &[Arc<ServerStats>],
        is_same: impl Fn(ServerId) -> bool,
        (migrate, now): (Migrate, Instant),
    ) -> Result<(), Migrating> {
        if let Some(migration) = &self.migration {
            return Err(Migrating(migration.progress(now)));
        }
        let keeps_keys = [self.ring(), &ring].iter().all(|ring| ring.keeps_keys());
        if !keeps_keys {
            self.set_servers(ring, stats, is_same);
            return Ok(());
        }
        let mut before = self.servers.routes.clone();
        before.set_standings(|_| Share::ALL, |_| false, Rehash::Nothing);
        let leaving = self.servers.replace(&mut self.shared, ring, stats, is_same);
        // A proxy that changes last may have requests on their way that it has sent before.
        let settle = migrate.settle + self.shared.options.timeout.unwrap_or_default();
        let lease = 2 * Duration::from_secs(LEASE_SECONDS) + settle;
        let begun = migrate.announced.unwrap_or(now);
        let moving = begun.after(settle);
        // As long as other proxies may read at the old servers only, reads leave the values there.
        let carries = self.shared.options.protocol.carries();
        let copies_at = if carries { moving.after(settle) } else { moving };
        let timeout = self.shared.options.timeout;
        let pause = timeout.map_or(migrate.pause, |timeout| migrate.pause.min(timeout / 4));
        let closing = copies_at.after(migrate.window);
        let ends = [moving, closing, closing.after(settle).after(lease)];
        let keys_per_mille = self.sample(&mut before);
        let stats = &self.shared.stats.migration;
        stats.keys_per_mille.set(keys_per_mille.into());
        let at = self.shared.options.epoch + ends[2].since(Instant::default());
        stats.ends_at.set(u64::try_from(at.as_micros()).unwrap_or(u64::MAX));
        stats.phase.set(Phase::Settling as u64 + 1);
        self.migration = Some(Box::new(Migration {
            before,
            ends,
            settle,
            pause: [begun.after(settle.saturating_sub(pause)), moving.after(pause)],
            copies_at,
            token: migrate.seed,
            phase: Phase::Settling,
            moves_max: migrate.moves_max,
            leaving,
            peers: BTreeMap::new(),
            keys_per_mille,
        }));
        self.give_up_absent();
        self.note_moving();
        if carries {
            self.note_transactions();
        }
        let probed = if carries { 0 } else { self.servers.routes.members().len() };
        for index in 0..probed {
            self.probe(self.servers.routes.members()[index], now);
        }
        self.wake_all();
        Ok(())
    }

    /// How far the migration of the last change is; none if no keys move.
    pub fn migration(&self, now: Instant) -> Option<Progress> {
        self.migration.as_ref().map(|migration| migration.progress(now))
    }

    /// How many of 1000 keys have another server than `before`.
    fn sample(&mut self, before: &mut Routes) -> u32 {
        let routes = &mut self.servers.routes;
        let moved = (0..SAMPLE).filter(|number| {
            let key = number.wrapping_mul(0x9e37_79b9).to_be_bytes();
            before.plan(&key) != routes.plan(&key)
        });
        u32::try_from(moved.count()).unwrap_or(SAMPLE) * 1000 / SAMPLE
    }

    /// When the next phase begins, or a request runs out of time.
    pub(super) fn next_of_migration(&self) -> Option<Instant> {
        let migration = self.migration.as_ref()?;
        let next = migration.ends[migration.phase as usize];
        let is_over = migration.phase == Phase::Closing && !self.clients.tasks.is_empty();
        let next = (!is_over).then_some(next);
        let resume = self.clients.tasks.next_of_paused(migration.pause[1]);
        [self.clients.tasks.next_deadline(), resume, next].into_iter().flatten().min()
    }

    /// Goes on to the phase of this time, and answers requests that have run out of time.
    pub(super) fn tick_migration(&mut self, now: Instant) {
        self.advance_migration(now);
        self.end_long_pauses(now);
        self.expire_moves(now);
    }

    /// Goes on to the phase of this time.
    fn advance_migration(&mut self, now: Instant) {
        let Some(migration) = &mut self.migration else { return };
        let phase = migration.phase_at(now);
        migration.phase = phase;
        self.shared.stats.migration.phase.set(phase as u64 + 1);
        if now >= migration.pause[1] {
            self.end_pause();
        }
        if phase != Phase::Settling {
            self.end_waits();
        }
        let Some(migration) = &self.migration else { return };
        if now >= migration.ends[2] && self.clients.tasks.is_empty() {
            self.end_migration();
        }
    }

    fn end_migration(&mut self) {
        let Some(migration) = self.migration.take() else { return };
        self.note_moving();
        self.clients.tasks.forget_clients();
        self.end_transactions();
        self.end_pause();
        for server in migration.before.members() {
            self.clients.call_decided(*server);
        }
        self.servers.let_leave(&mut self.shared, &migration.leaving);
        self.clients.memory -= mem::take(&mut self.servers.given_up);
        let MigrationStats { phase, keys_per_mille, ends_at, .. } = &self.shared.stats.migration;
        for figure in [phase, keys_per_mille, ends_at] {
            figure.set(0);
        }
        self.shared.events.push_back(Event::Migrated);
    }

    /// Lets no keys move any longer.
    pub(super) fn abandon_migration(&mut self) {
        if self.migration.is_some() {
            self.fail_moves();
            self.end_migration();
        }
    }

    /// The old and the new server of a key, if they differ. There is no old one if it was given up.
    fn moved(&mut self, key: &[u8]) -> Option<(Option<ServerId>, ServerId)> {
        let migration = self.migration.as_mut()?;
        let (Plan::To(old), Plan::To(new)) =
            (migration.before.plan(key), self.servers.routes.plan(key))
        else {
            return None;
        };
        let is_given_up = migration.old_server(old) == OldServer::GivenUp;
        (old != new).then_some(((!is_given_up).then_some(old), new))
    }

    /// The values of a server with numbers up to this one are older than the change, as far as known.
    fn floor(&self, server: ServerId) -> Option<u64> {
        self.migration.as_ref()?.peers.get(&server)?.floor
    }
}
