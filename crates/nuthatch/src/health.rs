//! The thread that decides for all workers which servers are used.
//!
//! The one rule: only this thread knows the arbiter. Workers send it what they see, and get orders in their
//! inboxes. It is there once a pool ejects servers or moves keys; no request passes through it.

use crate::generation::{Generation, SharedPool, Verdict, since_epoch};
use crate::inbox::{Inbox, Message};
use nuthatch_core::health::{Arbiter, Command, Decision, Report, Stage, To};
use nuthatch_core::time::Instant;
use std::collections::BTreeSet;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, PoisonError, mpsc};
use std::time::Duration;
use std::{io, thread, time};
use tokio::sync::oneshot;

/// What the thread is told.
#[derive(Debug)]
pub(crate) enum Told {
    /// A worker reports about a server.
    Report { server: u64, report: Report },
    /// The pools and servers are these from now on.
    Serve(Arc<Generation>),
    /// Workers serve these pools and servers now: keys may move because of that.
    Served,
    /// The operator wants something of a server. The answer is whether it can be ejected at all.
    Command { server: u64, command: Command, reply: oneshot::Sender<bool> },
}

/// The way to the thread, which starts when it is needed.
#[derive(Debug)]
pub(crate) struct Health {
    sender: mpsc::Sender<Told>,
    waiting: Option<mpsc::Receiver<Told>>,
    /// Whether a pool ejects servers, or did.
    is_needed: bool,
    start: time::Instant,
}

impl Health {
    /// There is no thread yet. Times count from `start`.
    pub(crate) fn new(start: time::Instant) -> Self {
        let (sender, waiting) = mpsc::channel();
        Self { sender, waiting: Some(waiting), is_needed: false, start }
    }

    /// Where reports go.
    pub(crate) fn sender(&self) -> mpsc::Sender<Told> {
        self.sender.clone()
    }

    /// These are the pools from now on. To be called before a worker serves them: a server that is not known is
    /// not ejected.
    pub(crate) fn announce(&mut self, generation: &Arc<Generation>) {
        let decides = |shared: &SharedPool| {
            // Old servers of keys that move are given up by all workers together.
            shared.pool.ejection().is_some() || !shared.pool.migrate_window.is_zero()
        };
        self.is_needed |= generation.pools.iter().any(decides);
        if self.is_needed {
            // The thread ends with the process only.
            let _ = self.sender.send(Told::Serve(Arc::clone(generation)));
        }
    }

    /// Workers serve what was announced.
    pub(crate) fn note_served(&self) {
        if self.is_needed {
            // As above.
            let _ = self.sender.send(Told::Served);
        }
    }

    /// Starts the thread if it is needed and not there yet.
    ///
    /// # Errors
    /// When the thread can't be started.
    pub(crate) fn start(
        &mut self,
        generation: &Arc<Generation>,
        inboxes: &[Arc<Inbox>],
    ) -> io::Result<()> {
        if !self.is_needed {
            return Ok(());
        }
        let Some(told) = self.waiting.take() else { return Ok(()) };
        let judge = Judge {
            arbiter: Arbiter::new(inboxes.len()),
            generation: Arc::clone(generation),
            pools: BTreeSet::new(),
            inboxes: inboxes.to_vec(),
            start: self.start,
        };
        thread::Builder::new().name("health".into()).spawn(move || judge.work(&told))?;
        Ok(())
    }
}

/// The thread's own.
struct Judge {
    arbiter: Arbiter,
    generation: Arc<Generation>,
    /// The pools that the arbiter knows.
    pools: BTreeSet<u64>,
    inboxes: Vec<Arc<Inbox>>,
    start: time::Instant,
}

impl Judge {
    fn work(mut self, told: &mpsc::Receiver<Told>) {
        loop {
            let now = self.now();
            let received = match self.arbiter.next_tick() {
                None => told.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(at) => told.recv_timeout(at.since(now)),
            };
            let now = self.now();
            self.note_moving();
            match received {
                Ok(Told::Report { server, report }) => self.arbiter.report(server, report, now),
                Ok(Told::Serve(generation)) => self.serve(generation),
                Ok(Told::Command { server, command, reply }) => {
                    // Whoever asked may have gone.
                    let _ = reply.send(self.arbiter.command(server, command, now));
                }
                Ok(Told::Served) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.arbiter.tick(now);
            self.order(now);
            self.publish(now);
        }
    }

    fn serve(&mut self, generation: Arc<Generation>) {
        let before = std::mem::take(&mut self.pools);
        for shared in &generation.pools {
            let Some(ejection) = shared.pool.ejection() else { continue };
            let [servers, gutter] = [false, true].map(|is_gutter| -> Vec<u64> {
                let of_part = shared.servers.iter().filter(|it| it.is_gutter == is_gutter);
                of_part.map(|server| server.number).collect()
            });
            self.arbiter.set_servers(shared.id, (&servers, &gutter), ejection);
            self.pools.insert(shared.id);
        }
        before.difference(&self.pools).for_each(|gone| self.arbiter.remove_pool(*gone));
        self.generation = generation;
    }

    /// Tells the arbiter of which pools keys move, as the workers' figures say. When they move no longer, nothing
    /// is to be done at once.
    fn note_moving(&mut self) {
        let moving = self.generation.pools.iter().filter(|shared| shared.moves_until().is_some());
        self.arbiter.set_moving(moving.map(|shared| shared.id).collect());
    }

    fn order(&mut self, now: Instant) {
        while let Some(decision) = self.arbiter.next_decision() {
            let Decision { to, server, round, .. } = decision;
            for (number, inbox) in self.inboxes.iter().enumerate() {
                if inbox.is_closed() && to == To::All {
                    // A worker that has ended uses no server.
                    self.arbiter.report(server, Report::Done(round), now);
                } else if to == To::All || to == To::One(number) {
                    inbox.send(Message::Decision(decision));
                }
            }
        }
    }

    /// Shows the admin port how the servers stand.
    fn publish(&self, now: Instant) {
        for server in self.generation.pools.iter().flat_map(|shared| shared.servers.iter()) {
            let seen = self.arbiter.standing(server.number);
            let mut shown = server.verdict.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(seen) = seen.filter(|seen| seen.stage != Stage::Live) else {
                *shown = None;
                continue;
            };
            let is_same = shown.is_some_and(|before| before.seen == seen);
            if !is_same {
                let since = shown
                    .filter(|before| before.seen.stage == seen.stage)
                    .map_or_else(since_epoch, |before| before.since);
                let wait = |at: Instant| since_epoch() + at.since(now);
                *shown = Some(Verdict { seen, since, next_try: seen.next_try.map(wait) });
            }
        }
    }

    #[expect(clippy::disallowed_methods, reason = "not a worker: the thread that decides for them")]
    fn now(&self) -> Instant {
        let elapsed: Duration = time::Instant::now().duration_since(self.start);
        Instant::from_nanos(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
    }
}
