//! The thread that decides for all workers which servers are used.
//!
//! The one rule: only this thread knows the arbiter. Workers send it what they see, and get orders in their
//! inboxes. It is there once a pool ejects servers or moves keys; no request passes through it.

use crate::generation::{Generation, SharedPool, Verdict, since_epoch};
use crate::inbox::{Inbox, Message};
use nuthatch_core::error::ServerError;
use nuthatch_core::health::{
    Arbiter, Command, Decision, Ejection, OnOverflow, Order, Report, Stage, To,
};
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
            let to = decision.to;
            for (number, inbox) in self.inboxes.iter().enumerate() {
                if inbox.is_closed() && to == To::All {
                    if let Some(report) = self.report_for_ended(&decision) {
                        self.arbiter.report(decision.server, report, now);
                    }
                } else if to == To::All || to == To::One(number) {
                    inbox.send(Message::Decision(decision));
                }
            }
        }
    }

    /// What a worker that has ended would say to an order.
    fn report_for_ended(&self, decision: &Decision) -> Option<Report> {
        let is_there = |shared: &&SharedPool| {
            shared.servers.iter().any(|server| server.number == decision.server)
        };
        let pool = self.generation.pools.iter().find(is_there);
        let ejection = pool.and_then(|shared| shared.pool.ejection()).unwrap_or_default();
        // The server is away for the same reason as before.
        let error = self.arbiter.standing(decision.server).and_then(|seen| seen.error);
        report_for_ended(decision, &ejection, error.unwrap_or(ServerError::Other))
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

/// What a worker that has ended would say to an order about a server that is away because of this error. It uses
/// no server, but what it remembered of the server's keys went with it: the server can't be told what it has
/// missed, so it stays away.
fn report_for_ended(
    decision: &Decision,
    ejection: &Ejection,
    error: ServerError,
) -> Option<Report> {
    let round = decision.round;
    // Where a full journal keeps no server away, one that is lost need not either.
    let is_missed = ejection.journal_max > 0 && ejection.on_overflow != OnOverflow::Return;
    match decision.order {
        Order::Drain | Order::Leave(_) | Order::HoldMoves => Some(Report::Done(round)),
        Order::Replay | Order::Close(_) if !is_missed => Some(Report::Done(round)),
        // Requests wait while a server is closed.
        Order::Close(_) => Some(Report::Failed(round, error)),
        // Nobody waits until the time for the removal is over. If it failed at once, and the pool wants neither
        // probes nor a wait between tries, the next one would follow at once, too.
        Order::Replay => None,
        Order::GoAway
        | Order::StayAway(_)
        | Order::Disconnect
        | Order::Probe
        | Order::Warm(_)
        | Order::Return
        | Order::Forgive
        | Order::Keep
        | Order::GiveUp => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::resolve::{self, Resolver};
    use nuthatch_core::health::Share;
    use std::path::Path;

    const ERROR: ServerError = ServerError::Reset;

    #[test]
    fn a_worker_that_has_ended_is_done_with_a_server_but_has_lost_its_journal() {
        let remembers =
            Ejection { journal_max: 1, on_overflow: OnOverflow::Flush, ..Ejection::default() };
        let stays = Ejection { on_overflow: OnOverflow::Stay, ..remembers };
        let no_journal = Ejection { journal_max: 0, ..remembers };
        let returns = Ejection { on_overflow: OnOverflow::Return, ..remembers };
        let (done, failed) = (Some(Report::Done(7)), Some(Report::Failed(7, ERROR)));
        for (order, kept, forgotten) in [
            (Order::Drain, done, done),
            (Order::Leave(ERROR), done, done),
            (Order::HoldMoves, done, done),
            (Order::Replay, None, done),
            (Order::Close(Share::ALL), failed, done),
            (Order::GoAway, None, None),
            (Order::Probe, None, None),
            (Order::Return, None, None),
        ] {
            let decision = Decision { server: 1, to: To::All, order, round: 7 };
            let report = |ejection| report_for_ended(&decision, ejection, ERROR);
            assert_eq!([&remembers, &stays].map(report), [kept; 2], "{order:?}");
            assert_eq!([&no_journal, &returns].map(report), [forgotten; 2], "{order:?}");
        }
    }

    /// The thread's own, for two workers and a pool of two servers that is tried again at once; and its first server.
    fn judge(settings: &str) -> (Judge, u64) {
        let text = format!(
            "p: {{listen: \"h:1\", server_retry_timeout: 0, server_probes: 0, {settings}, \
             servers: [\"a:1:1\", \"b:1:1\"]}}\n"
        );
        let config = Config::parse(Path::new("a.yml"), text.as_bytes());
        let pools = config.unwrap_or_else(|errors| panic!("{errors}")).pools;
        let resolver = Resolver::new(resolve::Options::default());
        let generation = Arc::new(Generation::first(pools, 2, &resolver));
        let inboxes = (0..2).map(|_| Arc::new(Inbox::new().unwrap())).collect();
        let server = generation.pools[0].servers[0].number;
        let (arbiter, pools) = (Arbiter::new(2), BTreeSet::new());
        #[expect(clippy::disallowed_methods, reason = "no worker")]
        let start = time::Instant::now();
        let mut judge =
            Judge { arbiter, generation: Arc::clone(&generation), pools, inboxes, start };
        judge.serve(generation);
        (judge, server)
    }

    /// The stages of a server that fails, within twenty seconds in which the second worker ends at this round of
    /// orders; and how many orders the first worker got.
    fn stages(settings: &str, ends_at: usize) -> (Vec<Stage>, usize) {
        let (mut judge, server) = judge(settings);
        judge.arbiter.report(server, Report::Failing(ERROR), Instant::default());
        let (mut stages, mut orders, mut now) = (Vec::new(), 0, Instant::default());
        for round in 0..2000 {
            if round == ends_at {
                judge.inboxes[1].close();
            }
            now = now.after(Duration::from_millis(10));
            judge.arbiter.tick(now);
            judge.order(now);
            let stage = judge.arbiter.standing(server).unwrap().stage;
            if stages.last() != Some(&stage) {
                stages.push(stage);
            }
            for (number, inbox) in judge.inboxes.iter().enumerate() {
                for message in inbox.take() {
                    let Message::Decision(decision) = message else { panic!("{message:?}") };
                    orders += usize::from(number == 0);
                    if matches!(decision.order, Order::Leave(_) | Order::Replay | Order::Close(_)) {
                        judge.arbiter.report(server, Report::Done(decision.round), now);
                    }
                }
            }
        }
        (stages, orders)
    }

    #[test]
    fn a_server_does_not_return_without_the_journal_of_a_worker_that_has_ended() {
        use Stage::{Away, Leaving, Live, Returning};
        let journal = "on_server_failure: rehash, server_slow_start: 0s";
        let whole = vec![Leaving, Returning, Live];
        assert_eq!(stages(journal, usize::MAX).0, whole, "no worker ends");
        // It ends before it removes what the server has missed, and before the server is closed.
        for (ends_at, expected) in [
            (1, vec![Leaving, Returning, Away, Returning]),
            (2, vec![Leaving, Returning, Away, Returning, Away, Returning]),
        ] {
            let (stages, orders) = stages(journal, ends_at);
            assert_eq!(stages, expected, "{ends_at}");
            assert!(orders < 20, "{orders} orders");
        }
        for forgotten in ["auto_eject_hosts: true", &format!("{journal}, on_journal_full: return")]
        {
            assert_eq!(stages(forgotten, 1).0, whole, "{forgotten}");
        }
    }
}
