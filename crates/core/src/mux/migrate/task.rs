//! The requests for keys that move, from their start to their answer.
//!
//! Each is a task: it asks a server, and what the server says decides what is asked next. A task that carries
//! values of any type, or empties servers, may ask several questions in one step. The one rule: the next
//! step begins when all replies to this one are there; a task without a question on its way waits for the
//! one that moves its key.

use super::Phase;
use super::carry::{Carried, Part};
use crate::message::{Effect, Kept, Known, Outcome};
use crate::mux::Shared;
use crate::mux::id::{ClientId, ServerId};
use crate::mux::join::JoinId;
use crate::mux::slots::SlotId;
use crate::time::Instant;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

/// A task, and never a later one in the same place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::mux) struct MoveId {
    index: u32,
    generation: u32,
}

/// Who gets the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// A client's request.
    Slot(SlotId),
    /// One key of a request with several.
    Fragment(JoinId, u32),
    /// The client's next request, which waits until its keys have moved.
    Next,
    /// Nobody: there was an answer already, or none is wanted.
    Nobody,
}

/// What the question on its way is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It has not begun, or waits for the task that moves its key.
    Waiting,
    /// The request runs at the old server.
    RunOld,
    /// The new server forgets the value.
    Forget,
    /// The new server says up to which number its values are old.
    Mark,
    /// The new server is asked for the value.
    Look,
    /// The new server drops what is no value, or an old one.
    Drop,
    /// The old server is asked for the value.
    Fetch,
    /// The new server gets the value.
    Copy,
    /// The new server drops the mark, as there is no value.
    Release,
    /// The old server forgets the value.
    Clear,
    /// The request runs at the new server.
    Run,
    /// The request runs at the new server, and the old value is removed then.
    Place,
    /// The request runs at the old server, and its answer is the answer.
    ReadOld,
    /// The request runs at the new server as it came.
    ReadNew,
    /// All servers forget everything, for the first time or the second.
    Flush(u8),
}

#[derive(Debug)]
pub(super) struct Task {
    pub(super) owner: Owner,
    pub(super) client: ClientId,
    /// Which of a server's connections it uses.
    pub(super) lane: usize,
    pub(super) kept: Kept,
    /// None if it was given up.
    pub(super) old: Option<ServerId>,
    pub(super) new: ServerId,
    /// The phase in which it began.
    pub(super) phase: Phase,
    pub(super) stage: Stage,
    pub(super) known: Known,
    /// The number of the mark that it holds at the new server; 0 for none.
    pub(super) mark: u64,
    /// When the connection was opened over which the new server said the numbers that are known.
    pub(super) opened: Instant,
    /// The number of the value at the old server; 0 for none.
    pub(super) old_cas: u64,
    /// Whether the old server has forgotten the value, or never had one.
    pub(super) is_clear: bool,
    /// Whether it copies nothing.
    pub(super) is_plain: bool,
    /// Whether it alone moves its key.
    pub(super) holds_key: bool,
    /// Whether one of the servers has no means to move keys.
    pub(super) is_simple: bool,
    /// How often it began again.
    pub(super) tries: u8,
    /// A server's reply that is needed later.
    pub(super) seen: Vec<u8>,
    /// The answer, if something else must be done or known first.
    pub(super) answer: Option<(Outcome, Vec<u8>)>,
    /// What was known when that answer came.
    pub(super) doubted: Known,
    /// When its time is over.
    pub(super) deadline: Option<Instant>,
    /// Bytes that its client holds by it.
    pub(super) bytes: usize,
    /// Answers to a flush that are still to come.
    pub(super) left: usize,
    /// What it knows if it carries values of any type.
    pub(super) carried: Carried,
}

impl Task {
    /// A task that has not begun. `client` uses connection `lane` of each server.
    pub(super) fn new(
        owner: Owner,
        (client, lane): (ClientId, usize),
        kept: Kept,
        (old, new): (Option<ServerId>, ServerId),
        phase: Phase,
    ) -> Self {
        Self {
            owner,
            client,
            lane,
            kept,
            old,
            new,
            phase,
            stage: Stage::Waiting,
            known: Known::Nothing,
            mark: 0,
            opened: Instant::default(),
            old_cas: 0,
            is_clear: false,
            is_plain: false,
            holds_key: false,
            is_simple: false,
            tries: 0,
            seen: Vec::new(),
            answer: None,
            doubted: Known::Nothing,
            deadline: None,
            bytes: 0,
            left: 0,
            carried: Carried::default(),
        }
    }

    /// Whether it only asks up to which number the values of a server are old.
    pub(super) fn is_probe(&self) -> bool {
        self.kept.effect == Effect::Apart && self.kept.bytes.is_empty()
    }

    /// Whether it is for all servers.
    pub(super) fn is_flush(&self) -> bool {
        self.kept.effect == Effect::Apart && !self.is_probe()
    }

    /// Goes on with another key.
    pub(super) fn set_key(&mut self, part: &Part) {
        self.kept.echo = part.key.to_vec();
        self.kept.key_len = part.key.len();
        (self.old, self.new) = (part.old, part.new);
    }

    /// The server to which the value may be on its way back: the old one, while values are copied.
    pub(super) fn source(&self) -> Option<ServerId> {
        self.old.filter(|_| self.phase == Phase::Moving)
    }
}

/// A server's reply for a task.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) id: MoveId,
    pub(super) outcome: Outcome,
    pub(super) reply: Vec<u8>,
}

/// A client's transaction, or the keys that it watches.
#[derive(Clone, Debug, Default)]
pub(super) struct Transaction {
    /// Whether it is for the old server of its keys.
    pub(super) is_old: bool,
    /// Whether it began before keys moved, so that its keys are not known.
    pub(super) is_unknown: bool,
    /// Its keys that move, and the old and the new server of each.
    pub(super) parts: BTreeMap<Box<[u8]>, (Option<ServerId>, ServerId)>,
    /// Bytes that its client holds by them.
    pub(super) bytes: usize,
}

impl Transaction {
    /// Its keys that move.
    pub(super) fn parts(&self) -> Vec<Part> {
        let parts = self.parts.iter();
        parts.map(|(key, &(old, new))| Part { key: key.clone(), old, new }).collect()
    }
}

/// A client's tasks.
#[derive(Clone, Copy, Debug, Default)]
struct Own {
    count: usize,
    /// Whether one of them may write, or moves a value before it reads: the client's next one waits then. There
    /// are others beside it only if they are keys of the same request.
    has_write: bool,
}

/// All tasks.
#[derive(Debug, Default)]
pub(in crate::mux) struct Moves {
    tasks: slab::Slab<(u32, Option<Box<Task>>)>,
    generation: u32,
    /// The clients whose requests these are. Apart from the clients, as there are few.
    owners: BTreeMap<ClientId, Own>,
    /// Replies that no task has seen yet.
    ready: VecDeque<Ready>,
    /// The keys that a task moves now, and the tasks that wait for it.
    busy: BTreeMap<Box<[u8]>, Vec<MoveId>>,
    /// Tasks that need not wait any longer.
    woken: VecDeque<MoveId>,
    /// No task runs out of time before this.
    next_deadline: Option<Instant>,
    /// Tasks whose requests wait at an old server for something to come, over connections for their clients alone.
    waiting: Vec<MoveId>,
    /// Clients whose next request waits until all workers are in the second phase, and until when at most.
    paused: Vec<(ClientId, Option<Instant>)>,
    /// Clients whose next request has its keys at their new servers, or why not.
    passes: BTreeMap<ClientId, Vec<u8>>,
    /// What is known of clients' transactions.
    transactions: BTreeMap<ClientId, Transaction>,
    /// The keys of a client's next request over its own connection, of which the new servers forget the values
    /// when it has been carried out at the old one.
    forgets: BTreeMap<ClientId, Vec<Part>>,
}

impl Moves {
    /// Notes how a question of a task was answered.
    #[cold]
    pub(in crate::mux) fn note(&mut self, id: MoveId, outcome: Outcome, reply: &[u8]) {
        self.ready.push_back(Ready { id, outcome, reply: reply.to_vec() });
    }

    /// Whether [`crate::mux::Mux::take_steps`] has something to do. Tasks are woken only while it does.
    #[inline]
    pub(in crate::mux) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Whether a client's next task has to wait for its earlier ones.
    pub(super) fn must_follow(&self, client: ClientId, is_read: bool) -> bool {
        let own = self.owners.get(&client).copied().unwrap_or_default();
        own.has_write || !is_read && own.count > 0
    }

    /// Whether there is a task of a client, be it one that is answered already.
    pub(in crate::mux) fn has_any_of(&self, client: ClientId) -> bool {
        self.tasks.iter().any(|(_, (_, task))| task.as_ref().is_some_and(|it| it.client == client))
    }

    /// Notes a client's next task.
    pub(super) fn note_begun(&mut self, client: ClientId, is_read: bool) {
        let own = self.owners.entry(client).or_default();
        own.count += 1;
        own.has_write |= !is_read;
    }

    /// Notes that a client's task is answered. True if it was the last one.
    pub(super) fn note_answered(&mut self, client: ClientId) -> bool {
        let Some(own) = self.owners.get_mut(&client) else { return false };
        own.count -= 1;
        let was_last = own.count == 0;
        if was_last {
            self.owners.remove(&client);
        }
        was_last
    }

    pub(in crate::mux) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.tasks.len()
    }

    pub(super) fn next_ready(&mut self) -> Option<Ready> {
        self.ready.pop_front()
    }

    pub(super) fn next_woken(&mut self) -> Option<MoveId> {
        self.woken.pop_front()
    }

    pub(in crate::mux) fn next_deadline(&self) -> Option<Instant> {
        self.next_deadline
    }

    /// The id that the next task gets.
    pub(super) fn next_id(&self) -> MoveId {
        let index =
            u32::try_from(self.tasks.vacant_key()).expect("the limits keep them below 2^32");
        MoveId { index, generation: self.generation.wrapping_add(1) }
    }

    /// Adds a task that has a question on its way already.
    pub(super) fn add(&mut self, shared: &Shared, task: Box<Task>) -> MoveId {
        shared.stats.migration.in_flight.add(1);
        let id = self.next_id();
        self.insert(task);
        id
    }

    pub(super) fn insert(&mut self, task: Box<Task>) {
        self.generation = self.generation.wrapping_add(1);
        if let Some(deadline) = task.deadline {
            self.next_deadline = Some(self.next_deadline.map_or(deadline, |at| at.min(deadline)));
        }
        self.tasks.insert((self.generation, Some(task)));
    }

    /// Takes a task to work on it; none if it has ended.
    pub(super) fn take(&mut self, id: MoveId) -> Option<Box<Task>> {
        let place = self.tasks.get_mut(id.index as usize)?;
        if place.0 == id.generation { place.1.take() } else { None }
    }

    pub(super) fn put_back(&mut self, id: MoveId, task: Box<Task>) {
        self.tasks[id.index as usize].1 = Some(task);
    }

    /// Forgets a task that was taken.
    pub(super) fn remove(&mut self, id: MoveId) {
        self.tasks.remove(id.index as usize);
    }

    /// Forgets all tasks; replies to their questions are for nobody. What is known of clients stays: of who
    /// waits, and of what is counted for them.
    pub(super) fn clear(&mut self) {
        self.tasks.clear();
        self.owners.clear();
        self.ready.clear();
        self.busy.clear();
        self.woken.clear();
        self.waiting.clear();
        self.next_deadline = None;
    }

    /// Notes that a client's next request waits until all workers are in the second phase.
    pub(super) fn note_paused(&mut self, client: ClientId, until: Option<Instant>) {
        self.paused.push((client, until));
    }

    /// When the first of them goes on: at `end`, where all may, or before; none if none waits so.
    pub(super) fn next_of_paused(&self, end: Instant) -> Option<Instant> {
        self.paused.iter().map(|(_, until)| until.map_or(end, |until| until.min(end))).min()
    }

    /// The clients that need not wait any longer.
    pub(super) fn take_paused(&mut self) -> Vec<ClientId> {
        core::mem::take(&mut self.paused).into_iter().map(|(client, _)| client).collect()
    }

    /// The clients that have waited too long.
    pub(super) fn take_paused_until(&mut self, now: Instant) -> Vec<ClientId> {
        let is_late =
            |(_, until): &mut (ClientId, Option<Instant>)| until.is_some_and(|at| at <= now);
        self.paused.extract_if(.., is_late).map(|(client, _)| client).collect()
    }

    /// Notes that the keys of a client's next request are at their new servers, or with `error` why not.
    pub(super) fn give_pass(&mut self, client: ClientId, error: &[u8]) {
        self.passes.insert(client, error.to_vec());
    }

    /// What became of the keys of a client's next request; says so once.
    pub(in crate::mux) fn take_pass(&mut self, client: ClientId) -> Option<Vec<u8>> {
        self.passes.remove(&client)
    }

    /// Keys no longer move.
    pub(super) fn forget_clients(&mut self) {
        self.passes.clear();
        self.forgets.clear();
    }

    pub(super) fn transaction(&self, client: ClientId) -> Option<&Transaction> {
        self.transactions.get(&client)
    }

    /// The transaction of a client, a new one if there is none.
    pub(super) fn transaction_mut(&mut self, client: ClientId) -> &mut Transaction {
        self.transactions.entry(client).or_default()
    }

    /// Forgets a client's transaction. How many bytes its keys took.
    pub(super) fn end_transaction(&mut self, client: ClientId) -> usize {
        self.transactions.remove(&client).map_or(0, |known| known.bytes)
    }

    /// A client has gone.
    pub(in crate::mux) fn forget_client(&mut self, client: ClientId) {
        self.passes.remove(&client);
        self.transactions.remove(&client);
        self.forgets.remove(&client);
    }

    pub(super) fn with_transaction(&self) -> Vec<ClientId> {
        self.transactions.keys().copied().collect()
    }

    /// Notes the keys of which the new servers forget the values after a client's next request.
    pub(super) fn note_forgets(&mut self, client: ClientId, parts: Vec<Part>) {
        self.forgets.insert(client, parts);
    }

    pub(super) fn take_forgets(&mut self, client: ClientId) -> Option<Vec<Part>> {
        self.forgets.remove(&client)
    }

    /// Lets a task alone move a key. False if another one does; the task waits for that one then.
    pub(super) fn hold_key(&mut self, id: MoveId, key: &[u8]) -> bool {
        match self.busy.get_mut(key) {
            Some(waiting) => {
                waiting.push(id);
                false
            }
            None => {
                self.busy.insert(key.into(), Vec::new());
                true
            }
        }
    }

    /// Lets other tasks move a key.
    pub(super) fn free_key(&mut self, key: &[u8]) {
        self.woken.extend(self.busy.remove(key).into_iter().flatten());
    }

    /// Notes a task whose request waits at an old server for something to come.
    pub(super) fn note_waiting(&mut self, id: MoveId) {
        self.waiting.push(id);
    }

    /// The tasks that were noted so; they are noted no longer.
    pub(super) fn take_waiting(&mut self) -> Vec<MoveId> {
        core::mem::take(&mut self.waiting)
    }

    /// All tasks but one that was taken.
    pub(super) fn all(&self) -> impl Iterator<Item = (MoveId, &Task)> {
        self.tasks.iter().filter_map(|(index, (generation, task))| {
            let index = u32::try_from(index).expect("the limits keep them below 2^32");
            Some((MoveId { index, generation: *generation }, &**task.as_ref()?))
        })
    }

    /// The tasks whose time is over, or all if there is no `now`.
    pub(super) fn late(&mut self, now: Option<Instant>) -> Vec<MoveId> {
        let is_late = |task: &Task| match (now, task.deadline) {
            (None, _) => true,
            (Some(now), Some(deadline)) => deadline <= now,
            (Some(_), None) => false,
        };
        let (mut late, mut next) = (Vec::new(), None);
        for (id, task) in
            self.all().filter(|(_, task)| now.is_none() || task.owner != Owner::Nobody)
        {
            if is_late(task) {
                late.push(id);
            } else if let Some(deadline) = task.deadline {
                next = Some(next.map_or(deadline, |at: Instant| at.min(deadline)));
            }
        }
        self.next_deadline = next;
        late
    }
}
