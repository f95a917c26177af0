//! The loop: starts requests as their schedule says on whichever connection is free, checks what
//! comes back, and ends when the last reply is in.
//!
//! A connection of pipeline depth N has N slots. A slot is free or has a request in flight, and
//! free slots are used in the order they became free. Replies that came in one read free their
//! slots together, so the requests that follow them go out in one write.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags};

use crate::channel::{Flushed, Received};
use crate::conn::{Connection, Target};
use crate::dataset::Dataset;
use crate::replies::Tally;
use crate::workload::{Limit, Mix, Pace, Plan, Requests, Schedule, nanoseconds};

/// A run without a single reply for so long is over; what is in flight then is lost.
const STALL: Duration = Duration::from_secs(5);
/// How often the loop looks around if nothing happens.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
/// A timer need not be finer than this: what is due meanwhile starts together.
const TIMER_INTERVAL_MIN: Duration = Duration::from_micros(10);
/// The token of the timer; connections have their index.
const TIMER: u64 = u64::MAX;

/// Opens `count` connections, each of which has done one get.
pub(crate) fn open_greeted(
    target: &Target,
    dataset: &Dataset,
    count: u32,
) -> io::Result<Vec<Connection>> {
    let open = |index| {
        let mut connection = Connection::open(target)?;
        connection.greet(index % dataset.key_count(), dataset)?;
        Ok(connection)
    };
    (0..count).map(open).collect()
}

/// Stores every key once.
pub(crate) fn preload(target: &Target, dataset: &Dataset) -> io::Result<()> {
    let plan = Plan {
        mix: Mix::Fill,
        pace: Pace::Closed,
        limit: Limit::Requests(u64::from(dataset.key_count())),
        pipeline: 16,
        seed: 0,
    };
    let Finished { tally, .. } = run(vec![Connection::open(target)?], dataset, &plan)?;
    if tally.bad + tally.errors > 0 {
        return Err(io::Error::other("not every key could be stored"));
    }
    Ok(())
}

/// The end of a run.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) tally: Tally,
    /// Those not lost, still open: closing them is not to be measured.
    pub(crate) connections: Vec<Connection>,
}

/// Runs the plan on these connections.
pub(crate) fn run(
    connections: Vec<Connection>,
    dataset: &Dataset,
    plan: &Plan,
) -> io::Result<Finished> {
    let mut run = Run::new(connections, dataset, plan)?;
    run.turn_until_over()?;
    let connections = run.lanes.into_iter().filter_map(|lane| lane.connection).collect();
    Ok(Finished { tally: run.tally, connections })
}

struct Run<'a> {
    dataset: &'a Dataset,
    requests: Requests,
    schedule: Schedule,
    lanes: Vec<Lane>,
    /// Indexes into `lanes`, one for each request that could be in flight and isn't.
    free_slots: VecDeque<usize>,
    in_flight: usize,
    open_count: usize,
    poll: OwnedFd,
    timer: Option<OwnedFd>,
    began: Instant,
    last_reply_ns: u64,
    tally: Tally,
}

/// A connection and what epoll watches it for. `None` when it is lost.
struct Lane {
    connection: Option<Connection>,
    waits_to_send: bool,
}

impl<'a> Run<'a> {
    fn new(connections: Vec<Connection>, dataset: &'a Dataset, plan: &Plan) -> io::Result<Self> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut free_slots = VecDeque::new();
        for (index, connection) in connections.iter().enumerate() {
            connection.stop_blocking()?;
            let token = epoll::EventData::new_u64(index as u64);
            epoll::add(&poll, connection, token, epoll::EventFlags::IN)?;
            free_slots.extend((0..plan.pipeline).map(|_| index));
        }
        let timer = match plan.pace {
            Pace::Closed => None,
            Pace::Open { interval } => Some(start_timer(&poll, interval)?),
        };
        let open_count = connections.len();
        let lane = |connection| Lane { connection: Some(connection), waits_to_send: false };
        Ok(Self {
            dataset,
            requests: Requests::new(plan, dataset),
            schedule: Schedule::new(plan),
            lanes: connections.into_iter().map(lane).collect(),
            free_slots,
            in_flight: 0,
            open_count,
            poll,
            timer,
            began: Instant::now(),
            last_reply_ns: 0,
            tally: Tally::new(),
        })
    }

    fn turn_until_over(&mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(256);
        self.start_due(0)?;
        while !self.is_over() {
            events.clear();
            match epoll::wait(&self.poll, spare_capacity(&mut events), Some(&PATIENCE)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                self.handle_event(event.data.u64(), event.flags)?;
            }
        }
        self.tally.errors += self.in_flight as u64;
        self.tally.elapsed_ns = self.last_reply_ns;
        Ok(())
    }

    fn is_over(&self) -> bool {
        let now_ns = self.now_ns();
        let is_stalled = now_ns - self.last_reply_ns > nanoseconds(STALL);
        let is_answered = self.in_flight == 0;
        self.open_count == 0
            || (is_answered && self.schedule.is_over(now_ns))
            || (!is_answered && is_stalled)
    }

    fn handle_event(&mut self, token: u64, flags: epoll::EventFlags) -> io::Result<()> {
        if token == TIMER {
            let timer = self.timer.as_ref().expect("only a timer has this token");
            rustix::io::read(timer, &mut [0; 8])?;
            return self.start_due(self.now_ns());
        }
        let index = usize::try_from(token).expect("made from an index");
        if flags.contains(epoll::EventFlags::OUT) {
            self.flush(index)?;
        }
        if flags.intersects(!epoll::EventFlags::OUT) {
            self.receive(index)?;
        }
        Ok(())
    }

    fn receive(&mut self, index: usize) -> io::Result<()> {
        let Some(connection) = &mut self.lanes[index].connection else { return Ok(()) };
        match connection.receive()? {
            Received::Nothing => return Ok(()),
            Received::Closed => {
                self.lose(index);
                return Ok(());
            }
            Received::Bytes => {}
        }
        let now_ns = nanoseconds(self.began.elapsed());
        let Ok(count) = connection.take_replies(self.dataset, &mut self.tally, now_ns) else {
            self.tally.bad += 1;
            self.lose(index);
            return Ok(());
        };
        if count > 0 {
            self.last_reply_ns = now_ns;
        }
        self.in_flight -= count;
        self.free_slots.extend((0..count).map(|_| index));
        self.start_due(now_ns)
    }

    /// Starts the requests that are due, as far as slots are free.
    fn start_due(&mut self, now_ns: u64) -> io::Result<()> {
        let mut unsent = None;
        while let Some(&index) = self.free_slots.front() {
            let Some(connection) = &mut self.lanes[index].connection else {
                self.free_slots.pop_front();
                continue;
            };
            let Some(intended_ns) = self.schedule.start_next(now_ns) else { break };
            self.free_slots.pop_front();
            connection.push(self.requests.make(), intended_ns, self.dataset);
            self.in_flight += 1;
            if let Some(previous) = unsent.replace(index)
                && previous != index
            {
                self.flush(previous)?;
            }
        }
        unsent.map_or(Ok(()), |index| self.flush(index))
    }

    fn flush(&mut self, index: usize) -> io::Result<()> {
        let lane = &mut self.lanes[index];
        let Some(connection) = &mut lane.connection else { return Ok(()) };
        let Ok(flushed) = connection.flush() else {
            self.lose(index);
            return Ok(());
        };
        let waits_to_send = flushed == Flushed::Blocked;
        if waits_to_send != lane.waits_to_send {
            let mut flags = epoll::EventFlags::IN;
            flags.set(epoll::EventFlags::OUT, waits_to_send);
            let token = epoll::EventData::new_u64(index as u64);
            epoll::modify(&self.poll, connection, token, flags)?;
            lane.waits_to_send = waits_to_send;
        }
        Ok(())
    }

    /// Closes a connection that is of no more use; what it still owed is an error each.
    fn lose(&mut self, index: usize) {
        if let Some(connection) = self.lanes[index].connection.take() {
            let owed = connection.waiting_count();
            self.in_flight -= owed;
            self.open_count -= 1;
            self.tally.errors += owed.max(1) as u64;
        }
    }

    fn now_ns(&self) -> u64 {
        nanoseconds(self.began.elapsed())
    }
}

/// A timer that wakes the loop at every intended start. epoll's own timeout would not do: it is
/// in milliseconds.
fn start_timer(poll: &OwnedFd, interval: Duration) -> io::Result<OwnedFd> {
    let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
    let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)?;
    let interval = interval.max(TIMER_INTERVAL_MIN);
    let period = Timespec::try_from(interval).map_err(io::Error::other)?;
    let setting = Itimerspec { it_interval: period, it_value: period };
    rustix::time::timerfd_settime(&timer, TimerfdTimerFlags::empty(), &setting)?;
    epoll::add(poll, &timer, epoll::EventData::new_u64(TIMER), epoll::EventFlags::IN)?;
    Ok(timer)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::*;
    use crate::channel::Address;
    use crate::protocol::Protocol;

    fn memcached_at(listener: &TcpListener) -> Target {
        let address = Address::Tcp(listener.local_addr().unwrap());
        Target { address, protocol: Protocol::Memcached }
    }

    /// A server on which every stored value is the same: one that `key_00000000` may have.
    fn start_liar() -> Target {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = memcached_at(&listener);
        thread::spawn(move || {
            for stream in listener.incoming() {
                thread::spawn(move || lie(stream.unwrap()));
            }
        });
        target
    }

    fn lie(stream: std::net::TcpStream) {
        let mut writer = stream.try_clone().unwrap();
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if let Some(key) = line.strip_prefix("get ") {
                let reply = format!("VALUE {key} 0 16\r\n0000000000000000\r\nEND\r\n");
                writer.write_all(reply.as_bytes()).unwrap();
            } else if line.starts_with("set ") {
                writer.write_all(b"STORED\r\n").unwrap();
            }
        }
    }

    fn plan(sets: u32, gets: u32) -> Plan {
        Plan {
            mix: Mix::Random { sets, gets, keys_per_set: 1, keys_per_get: 1 },
            pace: Pace::Closed,
            limit: Limit::Requests(200),
            pipeline: 4,
            seed: 1,
        }
    }

    #[test]
    fn a_lying_server_is_found_out() {
        let target = start_liar();
        let connections = vec![Connection::open(&target).unwrap()];
        let Finished { tally, .. } = run(connections, &Dataset::new(10, 16), &plan(0, 1)).unwrap();
        assert_eq!(tally.requests, 200);
        assert!((140..200).contains(&tally.bad), "{} of 200 lies found", tally.bad);
    }

    #[test]
    fn an_honest_answer_of_the_same_server_is_believed() {
        let target = start_liar();
        let connections = open_greeted(&target, &Dataset::new(1, 16), 2).unwrap();
        let Finished { tally, .. } = run(connections, &Dataset::new(1, 16), &plan(1, 1)).unwrap();
        assert_eq!((tally.requests, tally.bad, tally.miss, tally.errors), (200, 0, 0, 0));
    }

    #[test]
    fn a_server_that_hangs_up_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = memcached_at(&listener);
        let connections = vec![Connection::open(&target).unwrap()];
        drop(listener.accept().unwrap());
        let Finished { tally, .. } = run(connections, &Dataset::new(1, 16), &plan(0, 1)).unwrap();
        assert_eq!((tally.requests, tally.errors), (0, 4));
    }
}
