//! Pools and listeners that come and go: another generation, and the drain.
//!
//! The one rule: whoever is connected to a pool that stays notices nothing. A pool that leaves answers
//! the requests that it has, and so does every pool of a worker that ends.

use super::Worker;
use crate::drain::{DRAIN_MAX, Drain};
use crate::generation::SharedPool;
use crate::inbox::Apply;
use crate::linger::Parting;
use crate::listener::Listener;
use crate::poll::{Interest, Token};
use crate::sockets::PoolSockets;
use nuthatch_core::mux::ClientId;
use nuthatch_core::time::Instant;
use std::collections::HashMap;
use std::mem;
use std::ops::Range;
use std::time::Duration;

/// The maximum number of waiting clients that are accepted before a listener is closed: more than wait
/// at most listeners.
const LAST_ACCEPTS_MAX: usize = 4096;

impl Worker {
    /// Serves by another generation from now on.
    pub(super) fn apply(&mut self, apply: Apply, now: Instant) {
        if self.drain_by.is_some() {
            return;
        }
        let Apply { generation, announced, epoch, pool_of, listeners, clients_max, _applied } =
            apply;
        self.clients_max = clients_max;
        for shared in &generation.pools {
            match self.place_of(shared.id) {
                Some(place) => {
                    self.pools[place].apply(shared.clone(), self.number, (announced, now));
                }
                None => self.add_pool(shared.clone(), epoch),
            }
        }
        self.change_listeners(listeners, &pool_of, now);
        for pool in &mut self.pools {
            let stays = generation.pool(pool.shared.id).is_some();
            if !stays && !pool.is_gone && pool.drain.is_none() {
                pool.drain = Some(Drain::new(now));
            }
        }
    }

    /// The place of the pool with this id.
    pub(super) fn place_of(&self, id: u64) -> Option<usize> {
        self.pools.iter().position(|pool| pool.shared.id == id)
    }

    fn add_pool(&mut self, shared: SharedPool, epoch: Duration) {
        let pool = PoolSockets::new(shared, self.number, epoch);
        // A place is free from the turn after the one in which its sockets were closed, so no event
        // of an old socket is taken for one of a new one.
        match self.pools.iter().position(|pool| pool.is_gone) {
            Some(place) => self.pools[place] = pool,
            None => self.pools.push(pool),
        }
    }

    fn change_listeners(&mut self, new: Vec<Listener>, pool_of: &HashMap<u64, u64>, now: Instant) {
        for (listener, place) in mem::take(&mut self.listeners) {
            match pool_of.get(&listener.id).and_then(|id| self.place_of(*id)) {
                Some(pool) => self.keep_listener(listener, pool),
                None => self.close_listener(&listener, place, now),
            }
        }
        for listener in new {
            let place = pool_of.get(&listener.id).and_then(|id| self.place_of(*id));
            let place = place.expect("a listener is opened for a pool");
            let watched = self.poll.add(&listener, Token::Listener(listener.id), Interest::READ);
            if let Err(error) = watched {
                log::error!(error:%; "epoll could not watch a listener");
            }
            self.listeners.push((listener, place));
        }
    }

    fn keep_listener(&mut self, mut listener: Listener, pool: usize) {
        listener.apply(&self.pools[pool].shared.pool);
        self.listeners.push((listener, pool));
    }

    /// Closes a listener. Clients that the kernel has connected already are accepted before.
    fn close_listener(&mut self, listener: &Listener, pool: usize, now: Instant) {
        for _ in 0..LAST_ACCEPTS_MAX {
            let Ok(Some(fd)) = listener.accept() else { break };
            self.admit(pool, fd, None, now);
        }
        self.unwatch(listener);
    }

    /// Takes a listener off epoll, which would go on to tell of clients as long as another process, such
    /// as systemd, has the socket, too.
    pub(super) fn unwatch(&self, listener: &Listener) {
        if let Err(error) = self.poll.remove(listener) {
            log::error!(error:%; "epoll could not give up a listener");
        }
    }

    /// Accepts no new clients from now on, and ends when the existing clients have their replies.
    pub(super) fn drain(&mut self, now: Instant) {
        let was_retired = self.departures.take().is_some();
        if self.drain_by.is_some() && !was_retired {
            return;
        }
        self.drain_by = Some(now.after(DRAIN_MAX));
        for (listener, pool) in mem::take(&mut self.listeners) {
            self.close_listener(&listener, pool, now);
        }
        self.accept_again = None;
        for pool in self.pools.iter_mut().filter(|pool| !pool.is_gone) {
            if pool.drain.is_none() || was_retired {
                pool.drain = Some(Drain::new(now));
            }
        }
    }

    /// Goes on with the drains. Returns whether the worker has nothing left to do.
    pub(super) fn drain_turn(&mut self, now: Instant) -> bool {
        if self.departures.is_some() && self.drain_by.is_some_and(|by| by <= now) {
            self.drain(now);
        }
        for index in 0..self.pools.len() {
            self.drain_pool(index, now);
        }
        let Some(by) = self.drain_by else { return false };
        let all_gone = self.pools.iter().all(|pool| pool.is_gone);
        by <= now || all_gone && self.lingering.lets_drain_end()
    }

    /// Closes clients of a pool that leaves which have all their replies and have sent nothing since.
    /// The pool is gone when no request is in flight, or the time is over.
    fn drain_pool(&mut self, index: usize, now: Instant) {
        let pool = &mut self.pools[index];
        let Some(drain) = &mut pool.drain else { return };
        let is_out_of_time = drain.is_out_of_time(now);
        let looks = drain.looks(pool.clients.len(), now);
        if !looks.is_empty() {
            self.close_idle(index, looks, now);
            self.flush(now);
        }
        let pool = &mut self.pools[index];
        let (clients, requests) = (pool.mux.client_count(), pool.mux.requests_in_flight());
        if clients + requests == 0 {
            pool.end();
        } else if is_out_of_time {
            let (name, requests_cut, clients_cut) = (&pool.shared.pool.name, requests, clients);
            log::warn!(pool = name, requests_cut, clients_cut; "drain timed out");
            pool.end();
        }
    }

    /// Closes or passes the idle ones among some clients of a pool. Only idle clients are read: a client
    /// that waits for a reply costs no system call.
    fn close_idle(&mut self, index: usize, looks: Range<usize>, now: Instant) {
        for client in looks {
            let Some(id) = self.pools[index].client_at(client) else { continue };
            if self.passes(index) {
                self.pass(index, id);
            } else if self.pools[index].is_idle(id) {
                // The client may already have sent bytes.
                self.read_client(index, id, now);
                if self.pools[index].is_idle(id) {
                    self.part_with(index, id, Parting::Idle, now);
                }
            }
        }
    }
}

impl PoolSockets {
    /// Closes all that is still open.
    fn end(&mut self) {
        let left: Vec<ClientId> = self.clients.iter().flatten().map(|client| client.id).collect();
        left.into_iter().for_each(|id| self.mux.close_client(id));
        (self.clients, self.conns, self.corked) = (Vec::new(), Vec::new(), Vec::new());
        (self.drain, self.next_attempt, self.is_gone) = (None, None, true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Pool};
    use crate::generation::Generation;
    use crate::inbox::Inbox;
    use crate::resolve::{self, Resolver};
    use nuthatch_core::mux::Phase;
    use std::path::Path;
    use std::sync::{Arc, mpsc};
    use std::time;

    fn pools(servers: &str) -> Vec<Pool> {
        let text = format!(
            "p: {{listen: \"h:1\", timeout: 400, migrate: {{window: 1m, settle: 2s}}, servers: [{servers}]}}\n"
        );
        let config = Config::parse(Path::new("a.yml"), text.as_bytes());
        config.unwrap_or_else(|errors| panic!("{errors}")).pools
    }

    fn told(generation: &Arc<Generation>, announced: Instant) -> Apply {
        let (_applied, _) = mpsc::channel();
        let (pool_of, listeners, clients_max) = (Arc::default(), Vec::new(), usize::MAX);
        let (generation, epoch) = (Arc::clone(generation), Duration::ZERO);
        Apply { generation, announced, epoch, pool_of, listeners, clients_max, _applied }
    }

    #[test]
    fn workers_count_the_phases_of_a_migration_from_one_time_however_late_they_change() {
        let resolver = Resolver::new(resolve::Options::default());
        let first = Arc::new(Generation::first(pools("\"a:1:1\""), 3, &resolver));
        let second = Arc::new(first.next(pools("\"b:1:1\""), 3));
        let at_ms = |ms| Instant::default().after(Duration::from_millis(ms));
        let announced = at_ms(10_000);
        #[expect(clippy::disallowed_methods, reason = "no worker runs here")]
        let start = time::Instant::now();
        // A turn may have begun before the announcement that is read in it.
        let workers = [9_700, 10_001, 11_500].into_iter().enumerate().map(|(number, ms)| {
            let (inbox, reports) = (Arc::new(Inbox::new().unwrap()), mpsc::channel().0);
            let first = told(&first, Instant::default());
            let mut worker = Worker::new(number, start, inbox, reports, first).unwrap();
            worker.apply(told(&second, announced), at_ms(ms));
            worker
        });
        for mut worker in workers {
            let mut seen = |ms| {
                worker.expire(at_ms(ms));
                worker.pools[0].mux.migration(at_ms(ms)).map(|seen| (seen.phase, seen.left))
            };
            let left = Duration::from_millis;
            assert_eq!(seen(12_399), Some((Phase::Settling, left(74_801))));
            assert_eq!(seen(12_400), Some((Phase::Moving, left(74_800))));
            let figures = &second.pools[0].workers[worker.number].migration;
            assert_eq!(figures.ends_at.read(), 87_200_000);
        }
    }
}
