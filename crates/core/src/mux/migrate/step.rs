//! A task asks, hears, and asks again.
//!
//! [`Mux::take_steps`] brings the replies to their tasks, `next` says what comes next, and `go` does it. The
//! one rule: whatever a task is told, it asks again, waits, or ends; and its owner is answered once.

use super::Phase;
use super::task::{MoveId, Owner, Ready, Stage, Task};
use crate::error::ServerError;
use crate::memcache::Needs;
use crate::message::{Ask, Class, Effect, Known, Outcome, Told, Verdict};
use crate::mux::Mux;
use crate::mux::backpressure::Hold;
use crate::mux::conn::{ConnState, Pending};
use crate::mux::id::ServerId;
use crate::mux::server::Answers;
use crate::mux::waiter::Waiter;
use crate::protocol::MOVE_NEEDS;
use crate::time::Instant;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem;

/// So often a task may begin again because others change its key.
pub(super) const TRIES_MAX: u8 = 32;

/// What a task does next.
#[derive(Debug)]
pub(super) enum Next<'a> {
    /// It asks this server.
    Ask(Stage, Ask<'a>, ServerId),
    /// It waits: for another task, or for more replies.
    Wait,
    /// Nothing more.
    End,
}

impl Mux {
    /// Brings servers' replies to the tasks that wait for them.
    #[inline(always)]
    pub(in crate::mux) fn take_steps(&mut self, now: Instant) {
        if self.clients.tasks.has_ready() {
            self.run_moves(now);
        }
    }

    #[cold]
    fn run_moves(&mut self, now: Instant) {
        loop {
            if let Some(Ready { id, outcome, reply }) = self.clients.tasks.next_ready() {
                let Some(mut task) = self.clients.tasks.take(id) else { continue };
                let next = self.next(id, &mut task, (outcome, &reply), now);
                self.go(id, task, next, now);
            } else if let Some(id) = self.clients.tasks.next_woken() {
                let Some(mut task) = self.clients.tasks.take(id) else { continue };
                let next = self.next_of_woken(id, &mut task, now);
                self.go(id, task, next, now);
            } else {
                break;
            }
        }
        self.advance_migration(now);
    }

    /// Begins a task.
    pub(super) fn begin_task(&mut self, mut task: Box<Task>, now: Instant) {
        let id = self.clients.tasks.next_id();
        self.shared.stats.migration.in_flight.add(1);
        task.is_simple = self.is_simple(&task);
        self.clients.tasks.insert(task);
        let Some(mut task) = self.clients.tasks.take(id) else { return };
        let next = self.first(id, &mut task, now);
        self.go(id, task, next, now);
    }

    /// Lets a task do what comes next.
    fn go(&mut self, id: MoveId, mut task: Box<Task>, mut next: Next<'_>, now: Instant) {
        loop {
            match next {
                Next::Ask(stage, ask, server) => {
                    task.stage = stage;
                    match self.ask(id, &task, &ask, server, now) {
                        Ok(()) => return self.clients.tasks.put_back(id, task),
                        Err(error) => {
                            next = self.next(id, &mut task, (Outcome::Error, error), now);
                        }
                    }
                }
                Next::Wait => return self.clients.tasks.put_back(id, task),
                Next::End => return self.end(id, &task),
            }
        }
    }

    fn end(&mut self, id: MoveId, task: &Task) {
        self.shared.stats.migration.in_flight.sub(1);
        self.clients.tasks.remove(id);
        if task.holds_key {
            self.clients.tasks.free_key(task.kept.plain_key());
        }
    }

    /// Whether one of a task's servers is known to be too old to move keys.
    fn is_simple(&self, task: &Task) -> bool {
        let mut servers = task.old.into_iter().chain([task.new]);
        !self.shared.options.protocol.carries()
            && servers.any(|server| {
                let conn = &self.servers[self.servers.lane(task.lane, server)];
                conn.state == ConnState::Open && MOVE_NEEDS.lacking(conn.version).is_some()
            })
    }

    /// Asks a server; an error if it is too old for that.
    fn ask(
        &mut self,
        id: MoveId,
        task: &Task,
        ask: &Ask<'_>,
        server: ServerId,
        now: Instant,
    ) -> Result<(), &'static [u8]> {
        let kept = &task.kept;
        let conn = self.servers.lane(task.lane, server);
        let (class, needs) = match ask {
            Ask::AsIs => (kept.class, kept.needs),
            Ask::Run(_) if task.is_simple => (kept.class, kept.needs),
            Ask::Run(_) => (kept.class, Needs { meta: true, ..kept.needs }),
            Ask::Delete if !kept.is_encoded => (Class::Other, Needs::NOTHING),
            Ask::Look { .. } | Ask::Fetch => (Class::Get, MOVE_NEEDS),
            _ => (Class::Other, MOVE_NEEDS),
        };
        if let Some(error) = self.servers.lacking(conn, needs) {
            return Err(error);
        }
        let floor = self.floor(task.new).unwrap_or(0);
        let mut request = Vec::new();
        let protocol = self.shared.options.protocol;
        let expect = protocol.write_ask(ask, kept, floor, &mut request);
        let is_own = matches!(ask, Ask::AsIs | Ask::Run(_)) && kept.echoes;
        let echo = if is_own { (kept.plain_key(), kept.opaque()) } else { (&b""[..], &b""[..]) };
        let pending = Pending::new(Waiter::Move(id), expect, class, now);
        let pending = Pending { needs, ..pending };
        self.servers.send(&mut self.shared, conn, pending, echo, |out| {
            out.extend_from_slice(&request);
        });
        Ok(())
    }

    /// What a task does first.
    fn first<'a>(&mut self, id: MoveId, task: &mut Task, now: Instant) -> Next<'a> {
        if task.is_probe() {
            return Next::Ask(Stage::Mark, Ask::Mark, task.new);
        }
        if task.is_flush() {
            return self.flush(id, task, 1, now);
        }
        if self.shared.options.protocol.carries() {
            return self.first_carried(id, task, now);
        }
        let is_read = task.kept.effect.is_read();
        task.is_clear = task.old.is_none();
        match (task.phase, task.old) {
            (Phase::Settling, Some(old)) => Next::Ask(Stage::RunOld, Ask::AsIs, old),
            _ if task.is_simple && is_read => Next::Ask(Stage::ReadNew, Ask::AsIs, task.new),
            _ if task.is_simple || task.kept.effect == Effect::Put => self.clear_old(id, task),
            _ => self.look(id, task),
        }
    }

    /// What a task does next that has waited for another one.
    fn next_of_woken(&mut self, id: MoveId, task: &mut Task, now: Instant) -> Next<'static> {
        if task.owner == Owner::Nobody {
            return Next::End;
        }
        if self.shared.options.protocol.carries() {
            return self.next_of_woken_carried(id, task, now);
        }
        // Many may have waited: they ask at the same time, and leave no marks.
        task.is_plain = task.kept.effect.is_read();
        self.look(id, task)
    }

    /// What a task does after a reply.
    fn next<'a>(
        &mut self,
        id: MoveId,
        task: &mut Task,
        (outcome, reply): (Outcome, &'a [u8]),
        now: Instant,
    ) -> Next<'a> {
        if !outcome.is_error() {
            self.note_answer_of_old(task, now);
        }
        let is_left = task.owner == Owner::Nobody && !task.is_probe() && task.stage != Stage::Copy;
        match task.stage {
            Stage::Flush(round) => self.on_flush(id, task, (outcome, reply, round), now),
            _ if self.shared.options.protocol.carries() => {
                self.next_carried(id, task, (outcome, reply), now)
            }
            _ if is_left => Next::End,
            Stage::RunOld => {
                self.count_kept(task, reply.len());
                task.answer = Some((outcome, reply.to_vec()));
                Next::Ask(Stage::Forget, Ask::Delete, task.new)
            }
            Stage::Forget => {
                self.shared.stats.migration.other_deletes.add(1);
                let answer = task.answer.take().filter(|_| !outcome.is_error());
                match answer {
                    Some((outcome, reply)) => self.answer_task(task, outcome, &reply),
                    None => self.answer_task(task, outcome, reply),
                }
                Next::End
            }
            Stage::Mark => self.on_mark(id, task, (outcome, reply), now),
            Stage::Look => self.on_look(id, task, (outcome, reply)),
            Stage::Fetch => self.on_fetch(id, task, (outcome, reply), now),
            Stage::Copy => self.on_copy(id, task, (outcome, reply)),
            Stage::Drop if !outcome.is_error() => self.look(id, task),
            Stage::Release if !outcome.is_error() => self.on_release(id, task),
            Stage::Clear => self.on_clear(id, task, (outcome, reply), now),
            Stage::Run => self.on_run(id, task, (outcome, reply)),
            Stage::ReadNew if outcome == Outcome::Miss && task.kept.effect.is_read() => {
                match task.source().filter(|_| !self.shared.options.protocol.shows_cas(&task.kept))
                {
                    Some(old) => Next::Ask(Stage::ReadOld, Ask::AsIs, old),
                    None => self.finish(task, outcome, reply),
                }
            }
            Stage::ReadOld => {
                self.heard_of_old(task, outcome, now);
                self.shared.stats.migration.old_reads.add(u64::from(outcome == Outcome::Hit));
                self.finish(task, outcome, reply)
            }
            Stage::Drop | Stage::Release | Stage::ReadNew | Stage::Place | Stage::Waiting => {
                self.finish(task, outcome, reply)
            }
        }
    }

    /// Whether the queue for a task's new server has room for a copy. A copy waits for nobody, so the queue
    /// would grow without a limit.
    pub(super) fn may_queue_copy(&self, task: &Task) -> bool {
        !self.servers.is_full(&self.shared, self.servers.lane(task.lane, task.new))
    }

    /// Counts bytes that a task keeps until it is answered: its client holds them.
    pub(super) fn count_kept(&mut self, task: &mut Task, bytes: usize) {
        let client = self.clients.list.get_mut(task.client.index());
        let client = client.filter(|client| client.id == task.client);
        if let Some(client) = client.filter(|_| task.owner != Owner::Nobody) {
            client.overhead += bytes;
            task.bytes += bytes;
            self.clients.account_now(&mut self.shared, task.client);
        }
    }

    /// Answers a task's owner, and ends the task.
    pub(super) fn finish(
        &mut self,
        task: &mut Task,
        outcome: Outcome,
        reply: &[u8],
    ) -> Next<'static> {
        self.answer_task(task, outcome, reply);
        Next::End
    }

    fn on_mark(
        &mut self,
        id: MoveId,
        task: &mut Task,
        (outcome, reply): (Outcome, &[u8]),
        now: Instant,
    ) -> Next<'static> {
        match self.shared.options.protocol.read_told(&Ask::Mark, outcome, reply) {
            Told::Done(cas) => {
                let opened = self.opened(task);
                if let Some(migration) = &mut self.migration {
                    migration.learn(task.new, cas, (opened, now));
                }
                if task.is_probe() { Next::End } else { self.look(id, task) }
            }
            _ if task.is_probe() => Next::End,
            _ if !task.is_simple && self.is_simple(task) => {
                task.is_simple = true;
                if task.holds_key {
                    task.holds_key = false;
                    self.clients.tasks.free_key(task.kept.plain_key());
                }
                self.first(id, task, now)
            }
            _ => self.finish(task, outcome, reply),
        }
    }

    /// When the connection to the new server was opened.
    pub(super) fn opened(&self, task: &Task) -> Instant {
        self.servers[self.servers.lane(task.lane, task.new)].opening
    }

    /// Notes how a task's old server answered.
    pub(super) fn heard_of_old(&mut self, task: &Task, outcome: Outcome, now: Instant) {
        if let Some(old) = task.old {
            self.note_old(old, outcome.is_error(), now);
        }
    }

    /// Takes all steps again, as the old server may have got a value meanwhile.
    fn start_over(&mut self, id: MoveId, task: &mut Task) -> Next<'static> {
        task.is_clear &= task.source().is_none();
        self.look_again(id, task)
    }

    /// Looks again, unless that was often enough.
    pub(super) fn look_again(&mut self, id: MoveId, task: &mut Task) -> Next<'static> {
        if self.again(task) { self.look(id, task) } else { Next::End }
    }

    /// Lets the old server forget the value, and then the request run at the new one.
    pub(super) fn clear_old(&mut self, id: MoveId, task: &mut Task) -> Next<'static> {
        match task.old.filter(|_| !task.is_clear) {
            Some(old) if task.old_cas > 0 => Next::Ask(Stage::Clear, Ask::Drop(task.old_cas), old),
            Some(old) => Next::Ask(Stage::Clear, Ask::Delete, old),
            None => self.run(id, task),
        }
    }

    /// Lets the request run at the new server.
    pub(super) fn run(&mut self, id: MoveId, task: &mut Task) -> Next<'static> {
        if task.is_simple {
            let is_cas = task.kept.class == Class::Cas;
            let ask = if is_cas { Ask::Run(Known::Nothing) } else { Ask::AsIs };
            return Next::Ask(Stage::ReadNew, ask, task.new);
        }
        // The new server refused the request because of the value that it has, not because of a mark.
        let is_there = matches!(task.known, Known::Present(_));
        if let Some((outcome, answer)) = task.answer.take()
            && is_there
            && (task.doubted == task.known || outcome == Outcome::NotStored)
        {
            return self.finish(task, outcome, &answer);
        }
        if is_there && self.opened(task) != task.opened {
            // The number of the value may be another's after a restart.
            return self.look_again(id, task);
        }
        Next::Ask(Stage::Run, Ask::Run(task.known), task.new)
    }

    fn on_clear(
        &mut self,
        id: MoveId,
        task: &mut Task,
        (outcome, reply): (Outcome, &[u8]),
        now: Instant,
    ) -> Next<'static> {
        self.heard_of_old(task, outcome, now);
        match self.shared.options.protocol.read_told(&Ask::Delete, outcome, reply) {
            Told::Error => return self.finish(task, outcome, reply),
            // It has another value than was copied.
            Told::Refused => return self.look_again(id, task),
            // It has had another one since, perhaps, that somebody else has removed.
            Told::Absent if task.old_cas > 0 => {
                return match task.known {
                    Known::Present(cas) => self.drop_and_look(task, cas),
                    _ => self.look_again(id, task),
                };
            }
            _ => {}
        }
        self.shared.stats.migration.other_deletes.add(1);
        task.is_clear = true;
        self.run(id, task)
    }

    fn on_run(
        &mut self,
        id: MoveId,
        task: &mut Task,
        (outcome, reply): (Outcome, &[u8]),
    ) -> Next<'static> {
        let floor = self.floor(task.new).unwrap_or(0);
        let mut answer = Vec::new();
        let protocol = self.shared.options.protocol;
        match protocol.judge(&task.kept, (outcome, reply), floor, &mut answer) {
            Verdict::Answer(outcome) => self.finish(task, outcome, &answer),
            Verdict::Doubt(outcome) => {
                task.answer = Some((outcome, answer));
                task.doubted = task.known;
                self.start_over(id, task)
            }
            Verdict::Again => self.start_over(id, task),
        }
    }

    fn flush(&mut self, id: MoveId, task: &mut Task, round: u8, now: Instant) -> Next<'static> {
        let servers = self.servers_of_both();
        task.stage = Stage::Flush(round);
        task.left = servers.len();
        for server in servers {
            if self.ask(id, task, &Ask::AsIs, server, now).is_err() {
                task.left -= 1;
            }
        }
        Next::Wait
    }

    fn on_flush(
        &mut self,
        id: MoveId,
        task: &mut Task,
        (outcome, reply, round): (Outcome, &[u8], u8),
        now: Instant,
    ) -> Next<'static> {
        task.left -= 1;
        if outcome.is_error() || task.answer.is_none() {
            task.answer = Some((outcome, reply.to_vec()));
        }
        if task.left > 0 {
            return Next::Wait;
        }
        let Some((outcome, reply)) = task.answer.take() else { return Next::End };
        if outcome.is_error() || round == 2 {
            return self.finish(task, outcome, &reply);
        }
        self.flush(id, task, 2, now)
    }

    /// Answers a task's owner, if it waits. Its client may go on.
    pub(super) fn answer_task(&mut self, task: &mut Task, outcome: Outcome, reply: &[u8]) {
        let class = task.kept.class;
        match mem::replace(&mut task.owner, Owner::Nobody) {
            Owner::Nobody => return,
            Owner::Slot(slot) => {
                let now = Instant::default();
                let pending = Pending::new(Waiter::Nobody, task.kept.expect, class, now);
                self.clients.complete_slot(&mut self.shared, slot, &pending, (outcome, reply));
            }
            Owner::Fragment(join, number) => {
                let protocol = self.shared.options.protocol;
                if outcome == Outcome::Hit && !protocol.carries() {
                    self.clients.take_values(&mut self.shared, (join, number), reply);
                }
                let mut line = Vec::new();
                let mut reply = (outcome, reply);
                if !self.clients.joins.join(join).fits(protocol, number, reply.1) {
                    protocol.write_server_error(ServerError::Desync, &mut line);
                    reply = (Outcome::Error, &line);
                }
                self.clients.complete_fragment(&mut self.shared, (join, number), class, reply);
            }
            Owner::Next => {
                let error = if outcome.is_error() { reply } else { b"" };
                let client = self.clients.list.get(task.client.index());
                // For one that has gone, it would be kept until keys no longer move.
                if client.is_some_and(|client| client.id == task.client) {
                    self.clients.tasks.give_pass(task.client, error);
                }
            }
        }
        let was_last = self.clients.tasks.note_answered(task.client);
        let client = self.clients.list.get_mut(task.client.index());
        let Some(client) = client.filter(|client| client.id == task.client) else { return };
        client.overhead -= task.bytes;
        if was_last && client.hold == Hold::Moves {
            self.clients.make_resumable(task.client);
        }
        self.clients.account_now(&mut self.shared, task.client);
    }
}
