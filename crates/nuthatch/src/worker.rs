//! The event loop of a worker: one thread with its own listeners, clients and server connections.
//!
//! A turn of the loop has five steps: wait, read the clock, read, expire, flush. All messages that
//! are read in a turn are written at its end, with one write for each socket. This determines the
//! speed, because system calls are most of the cost of a request. Workers share only counters,
//! which have one writer each, and the choice of each server's address.

use crate::client::{ClientSocket, Fate};
use crate::health::Told;
use crate::inbox::{Apply, Inbox, Message};
use crate::linger::{Lingering, Parting};
use crate::listener::{Listener, too_many_clients};
use crate::poll::{Interest, Poll, Ready, Tag, Token};
use crate::portion::Portion;
use crate::sockets::PoolSockets;
use crate::takeover::traveller::Departures;
use nuthatch_core::mux::{ClientId, ConnId, Passing};
use nuthatch_core::time::Instant;
use rustix::fd::OwnedFd;
use rustix::io;
use rustix::net::{SendFlags, send};
use std::mem;
use std::num::NonZeroU64;
use std::sync::{Arc, mpsc};
use std::time::{self, Duration};

mod apply;
mod passing;

/// A worker.
pub(crate) struct Worker {
    poll: Poll,
    start: time::Instant,
    /// The start of this turn.
    now: Instant,
    /// The number of this turn.
    turns: u64,
    /// How many bytes a socket may read or write in this turn.
    portion: Portion,
    /// The number of this worker.
    number: usize,
    inbox: Arc<Inbox>,
    /// The listening sockets, each with the place of its pool.
    listeners: Vec<(Listener, usize)>,
    /// When the listeners are watched again after a lack of file descriptors.
    accept_again: Option<Instant>,
    /// A pool that has left is here until another one takes its place.
    pools: Vec<PoolSockets>,
    lingering: Lingering,
    /// The maximum number of clients of all pools, by file descriptors.
    clients_max: usize,
    /// When the drain of the worker ends at the latest, once it has started.
    drain_by: Option<Instant>,
    /// Where the clients pass to in the drain, if another process has taken over.
    departures: Option<Departures>,
    scratch: Box<[u8]>,
    /// Where it is decided which servers are used.
    reports: mpsc::Sender<Told>,
}

/// The maximum size of one read.
const SCRATCH_BYTES: usize = 64 * 1024;

/// So long after the last request of a client that asks for little, the next one is no longer expected.
const LITTLE_IDLE: Duration = Duration::from_millis(100);

/// With this many ready bytes, waiting for more saves nothing.
const CORK_MAX: usize = 32 * 1024;

/// How long a worker pauses accepting when no file descriptors are left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Worker {
    /// A worker that serves nothing yet. Its time counts from `start`.
    pub(crate) fn new(
        number: usize,
        start: time::Instant,
        inbox: Arc<Inbox>,
        reports: mpsc::Sender<Told>,
        first: Apply,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        poll.add(&*inbox, Token::Inbox, Interest::READ)?;
        let scratch = vec![0; SCRATCH_BYTES].into();
        let mut worker = Self {
            poll,
            start,
            now: Instant::default(),
            turns: 1,
            portion: Portion::new(1, false),
            number,
            inbox,
            listeners: Vec::new(),
            accept_again: None,
            pools: Vec::new(),
            lingering: Lingering::default(),
            clients_max: 0,
            drain_by: None,
            departures: None,
            scratch,
            reports,
        };
        worker.apply(first, Instant::default());
        Ok(worker)
    }

    /// Runs until the worker is drained.
    pub(crate) fn run(mut self) -> io::Result<()> {
        self.flush(self.now);
        while self.turn()? {}
        self.inbox.close();
        Ok(())
    }

    /// One turn of the loop. False when the worker is done.
    fn turn(&mut self) -> io::Result<bool> {
        let ready = self.poll.wait(self.patience())?;
        self.turns += 1;
        self.now = self.read_clock();
        let now = self.now;
        self.portion = Portion::new(ready, self.keeps_bulk_apart());
        self.read(ready, now);
        self.expire(now);
        self.flush(now);
        Ok(!self.drain_turn(now))
    }

    /// Whether clients ask for little beside others that ask for much, of whatever pool.
    fn keeps_bulk_apart(&self) -> bool {
        let asked_lately =
            |pool: &PoolSockets| pool.mux.asked_for_little().after(LITTLE_IDLE) > self.now;
        // Most of the time nobody asks for much.
        self.pools.iter().any(|pool| pool.mux.has_bulk()) && self.pools.iter().any(asked_lately)
    }

    #[expect(clippy::disallowed_methods, reason = "the one place where a worker reads the clock")]
    fn read_clock(&self) -> Instant {
        let elapsed = time::Instant::now().duration_since(self.start);
        Instant::from_nanos(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
    }

    /// The maximum time of the next wait.
    fn patience(&self) -> Option<Duration> {
        let now = self.now;
        let own = [self.lingering.next_timeout(), self.accept_again, self.drain_by];
        let mut next = own.into_iter().flatten().min();
        // What a pool that is gone waited for never comes.
        for pool in self.pools.iter().filter(|pool| !pool.is_gone) {
            if !pool.corked.is_empty() || pool.mux.has_resumable() {
                return Some(Duration::ZERO);
            }
            let turn = pool.drain.as_ref().map(|drain| drain.next_turn(now));
            for at in [pool.mux.next_timeout(), pool.next_attempt, turn].into_iter().flatten() {
                next = Some(next.map_or(at, |other| other.min(at)));
            }
        }
        next.map(|at| at.since(now))
    }

    /// Reads from all ready sockets.
    fn read(&mut self, ready: usize, now: Instant) {
        for index in 0..ready {
            let ready = self.poll.ready(index);
            match ready.token {
                Token::Client(pool, tag) => {
                    if let Some(id) = self.pools[pool].client_of(tag) {
                        self.client_ready(pool, id, ready, now);
                    }
                }
                Token::Conn(pool, tag) => {
                    if let Some(id) = self.pools[pool].conn_of(tag) {
                        self.conn_ready(pool, id, ready, now);
                    }
                }
                Token::Listener(id) => self.accept(id, now),
                Token::Inbox => self.read_inbox(now),
                Token::Lingering(number) => self.lingering.ready(number, &mut self.scratch),
            }
        }
    }

    fn client_ready(&mut self, pool: usize, id: ClientId, ready: Ready, now: Instant) {
        if ready.write {
            self.write_client(pool, id, now);
        }
        if ready.read {
            self.read_client(pool, id, now);
        }
        if !ready.gone || !self.pools[pool].has(id) || self.pools[pool].mux.wants_read(id) {
            return;
        }
        let sockets = &mut self.pools[pool];
        if sockets.mux.has_ended(id) {
            // There is nothing more to read, and the client is gone.
            self.close_client(pool, id);
        } else if let Some(Some(socket)) = sockets.clients.get_mut(id.index()) {
            // The client waits: the bytes that it sent before it disconnected are read later.
            socket.park(&self.poll);
        }
    }

    /// In line, as each request is read by it.
    #[inline(always)]
    fn read_client(&mut self, index: usize, id: ClientId, now: Instant) {
        let pool = &mut self.pools[index];
        let Some(Some(socket)) = pool.clients.get_mut(id.index()) else { return };
        if pool.mux.wants_read(id) {
            let room = (&mut *self.scratch, self.portion);
            if socket.read(id, &mut pool.mux, room, now) == Fate::Ends {
                self.close_client(index, id);
            }
        } else if socket.discards(id, &pool.mux) {
            if socket.discard(&pool.mux, &mut self.scratch) == Fate::Ends {
                self.close_client(index, id);
            } else if !socket.discards(id, &pool.mux) {
                // It was the end of the stream: there is nothing more to read.
                self.write_client(index, id, now);
            }
        }
    }

    fn conn_ready(&mut self, index: usize, id: ConnId, ready: Ready, now: Instant) {
        let around = (&self.poll, &self.inbox);
        if let Some((socket, mut place)) = self.pools[index].conn(index, id, around, now) {
            socket.ready(&mut place, ready, (&mut self.scratch, self.portion));
        }
    }

    fn read_inbox(&mut self, now: Instant) {
        for message in self.inbox.take() {
            match message {
                Message::Drain => self.drain(now),
                Message::Retire(departures) => self.retire(departures, now),
                Message::Arrive(traveller) => self.arrive(*traveller, now),
                Message::Apply(apply) => self.apply(apply, now),
                Message::Decision(decision) => {
                    self.pools.iter_mut().for_each(|pool| pool.obey(decision, now));
                }
                Message::Resolved(answer) => {
                    let (around, index) = ((&self.poll, &self.inbox), answer.pool);
                    let pool = &mut self.pools[index];
                    if pool.shared.id != answer.pool_id {
                        continue;
                    }
                    if let Some((socket, mut place)) = pool.conn(index, answer.conn, around, now) {
                        socket.resolved(&mut place, answer);
                    }
                }
            }
        }
    }

    /// Accepts one client for each turn and socket of a listener, so that other workers get theirs.
    fn accept(&mut self, id: u64, now: Instant) {
        for place in 0..self.listeners.len() {
            let (listener, pool) = &self.listeners[place];
            if listener.id != id {
                continue;
            }
            match listener.accept() {
                Ok(Some(fd)) => self.admit(*pool, fd, None, now),
                Ok(None) => {}
                Err(error) => {
                    let pause_ms = ACCEPT_PAUSE.as_millis();
                    log::error!(error:%, pause_ms; "paused accepting clients");
                    self.watch_listeners(Interest::default());
                    self.accept_again = Some(now.after(ACCEPT_PAUSE));
                    return;
                }
            }
        }
    }

    /// Takes a new client, or one that passes from the process that was taken over. That one was within
    /// the limit of its pool there.
    fn admit(&mut self, index: usize, fd: OwnedFd, passing: Option<Passing>, now: Instant) {
        let clients: usize = self.pools.iter().map(|pool| pool.mux.client_count()).sum();
        let pool = &mut self.pools[index];
        // The lingering sockets use the last file descriptors.
        let free = self.clients_max.saturating_sub(clients);
        self.lingering.keep_below(free);
        if free == 0 || passing.is_none() && pool.is_full() {
            pool.mux.stats().client_rejects.add(1);
            // The client is closed in any case, even if the error cannot be written.
            let _ = send(&fd, too_many_clients(&pool.shared.pool), SendFlags::NOSIGNAL);
            if free > 0 {
                self.lingering.add(fd, Parting::Answered, &self.poll, now);
            }
            return;
        }
        let id = match passing {
            None => pool.mux.open_client(),
            Some(passing) => pool.mux.open_passed(passing, now),
        };
        let token = Token::Client(index, Tag::of(id.to_bits()));
        match ClientSocket::new(id, fd, &self.poll, token) {
            Ok(socket) => {
                let places = pool.clients.len().max(id.index() + 1);
                pool.clients.resize_with(places, || None);
                pool.clients[id.index()] = Some(socket);
                pool.share_quota(id, now);
            }
            Err(error) => {
                log::error!(error:%; "closed a client that epoll could not watch");
                pool.mux.close_client(id);
            }
        }
    }

    fn watch_listeners(&self, interest: Interest) {
        for (listener, _) in &self.listeners {
            if let Err(error) = self.poll.modify(listener, Token::Listener(listener.id), interest) {
                log::error!(error:%; "epoll could not watch a listener");
            }
        }
    }

    /// Times out requests that have waited too long, and resumes waiting clients.
    fn expire(&mut self, now: Instant) {
        if self.accept_again.is_some_and(|at| at <= now) {
            self.accept_again = None;
            self.watch_listeners(Interest::READ);
        }
        for (index, pool) in self.pools.iter_mut().enumerate() {
            if pool.is_gone {
                continue;
            }
            pool.mux.handle_timeout(now);
            if pool.next_attempt.is_some_and(|at| at <= now) {
                pool.next_attempt = None;
                for conn in 0..pool.conns.len() {
                    let around = (&self.poll, &self.inbox);
                    let id = pool.conns[conn].id;
                    if let Some((socket, mut place)) = pool.conn(index, id, around, now) {
                        socket.expire(&mut place);
                    }
                }
            }
            pool.mux.resume(now);
        }
        self.lingering.expire(now);
    }

    /// Updates all sockets to the state of the engines. Servers first, so that they
    /// can start to work.
    fn flush(&mut self, now: Instant) {
        let accepts = self.accept_again.is_none();
        for index in 0..self.pools.len() {
            self.pools[index].answer_questions(accepts, now);
            self.flush_conns(index, now);
            let corked = mem::take(&mut self.pools[index].corked);
            while let Some(id) = self.pools[index].mux.next_dirty_client() {
                self.flush_client(index, id, now);
            }
            for id in corked {
                let socket = self.pools[index].clients.get(id.index()).and_then(Option::as_ref);
                let waits = socket.and_then(|socket| socket.corked_in);
                if waits.is_some_and(|turn| turn.get() != self.turns) {
                    self.write_client(index, id, now);
                }
            }
            let pool = &mut self.pools[index];
            pool.watch.tell(&pool.shared.pool, &mut pool.mux);
            pool.pass_reports(&self.reports);
            pool.pass_slow(now);
        }
    }

    fn flush_conns(&mut self, index: usize, now: Instant) {
        let pool = &mut self.pools[index];
        while let Some(id) = pool.next_dirty_conn() {
            let around = (&self.poll, &self.inbox);
            if let Some((socket, mut place)) = pool.conn(index, id, around, now) {
                socket.sync(&mut place, self.portion);
            }
        }
    }

    /// Writes to a client, unless more of its replies are expected in the next turn: then they are
    /// written together. A client waits for at most one turn, and this turn does not sleep.
    fn flush_client(&mut self, index: usize, id: ClientId, now: Instant) {
        let pool = &mut self.pools[index];
        let Some(Some(socket)) = pool.clients.get_mut(id.index()) else { return };
        let is_little = || (1..CORK_MAX).contains(&pool.mux.client_output(id).len());
        if socket.corked_in.is_none() && pool.mux.expects_more(id) && is_little() {
            socket.corked_in = NonZeroU64::new(self.turns);
            pool.corked.push(id);
        } else {
            let token = Token::Client(index, Tag::of(id.to_bits()));
            let fate = socket.write(id, &mut pool.mux, self.portion, (&self.poll, token));
            self.end_write(index, id, fate, now);
        }
    }

    fn write_client(&mut self, index: usize, id: ClientId, now: Instant) {
        let pool = &mut self.pools[index];
        let Some(Some(socket)) = pool.clients.get_mut(id.index()) else { return };
        let token = Token::Client(index, Tag::of(id.to_bits()));
        let fate = socket.write(id, &mut pool.mux, self.portion, (&self.poll, token));
        self.end_write(index, id, fate, now);
    }

    /// In line, as most clients live on.
    #[inline(always)]
    fn end_write(&mut self, index: usize, id: ClientId, fate: Fate, now: Instant) {
        match fate {
            Fate::Lives => {}
            Fate::Continues => self.cork(index, id),
            Fate::Lingers => self.part_with(index, id, Parting::Answered, now),
            Fate::Ends => self.close_client(index, id),
        }
    }

    /// The rest of what a client gets is written in the next turn.
    fn cork(&mut self, index: usize, id: ClientId) {
        let pool = &mut self.pools[index];
        if let Some(Some(socket)) = pool.clients.get_mut(id.index()) {
            socket.corked_in = NonZeroU64::new(self.turns);
            pool.corked.push(id);
        }
    }

    /// Closes a client that has all its replies and may still be sending.
    fn part_with(&mut self, index: usize, id: ClientId, parting: Parting, now: Instant) {
        let pool = &mut self.pools[index];
        pool.mux.close_client(id);
        if let Some(socket) = pool.clients[id.index()].take() {
            self.lingering.add(socket.into_fd(&self.poll), parting, &self.poll, now);
        }
    }

    fn close_client(&mut self, index: usize, id: ClientId) {
        let pool = &mut self.pools[index];
        pool.clients[id.index()] = None;
        pool.mux.close_client(id);
    }
}
