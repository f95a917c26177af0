//! A connection of the generator: a channel and the requests on it that wait for their replies,
//! oldest first, as servers answer in order.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use crate::channel::{Address, Channel, Flushed, Received};
use crate::dataset::Dataset;
use crate::protocol::{Checker, Protocol};
use crate::replies::{Garbled, Reply, Tally};
use crate::workload::Request;

/// Where connections go and what is spoken there.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) address: Address,
    pub(crate) protocol: Protocol,
}

/// A request that has no reply yet.
#[derive(Debug)]
struct Waiting {
    request: Request,
    intended_ns: u64,
}

/// One connection to the target.
#[derive(Debug)]
pub(crate) struct Connection {
    channel: Channel,
    protocol: Protocol,
    waiting: VecDeque<Waiting>,
    checker: Checker,
}

impl Connection {
    pub(crate) fn open(target: &Target) -> io::Result<Self> {
        let channel = Channel::new(target.address.connect()?);
        let protocol = target.protocol;
        Ok(Self { channel, protocol, waiting: VecDeque::new(), checker: protocol.checker() })
    }

    /// Does one get and waits for its reply, which shows that the peer has accepted: connections
    /// opened one after the other never fill its backlog.
    pub(crate) fn greet(&mut self, key: u32, dataset: &Dataset) -> io::Result<()> {
        let mut tally = Tally::new();
        self.push(Request::Get { first: key, count: 1 }, 0, dataset);
        self.flush()?;
        while !self.waiting.is_empty() {
            if self.receive()? != Received::Bytes {
                return Err(io::Error::other("no reply to the first get of a connection"));
            }
            let checked = self.take_replies(dataset, &mut tally, 0);
            if checked.is_err() || tally.bad + tally.errors > 0 {
                return Err(io::Error::other("a wrong reply to the first get of a connection"));
            }
        }
        Ok(())
    }

    pub(crate) fn stop_blocking(&self) -> io::Result<()> {
        self.channel.stop_blocking()
    }

    /// Appends a request to what is to be sent.
    pub(crate) fn push(&mut self, request: Request, intended_ns: u64, dataset: &Dataset) {
        self.protocol.push(request, &mut self.channel.outbox, dataset);
        self.waiting.push_back(Waiting { request, intended_ns });
    }

    pub(crate) fn flush(&mut self) -> io::Result<Flushed> {
        self.channel.flush()
    }

    pub(crate) fn receive(&mut self) -> io::Result<Received> {
        self.channel.receive()
    }

    /// Checks and counts all whole replies received; returns how many there were.
    pub(crate) fn take_replies(
        &mut self,
        dataset: &Dataset,
        tally: &mut Tally,
        now_ns: u64,
    ) -> Result<usize, Garbled> {
        let mut used_bytes = 0;
        let mut reply_count = 0;
        while let Some(head) = self.waiting.front() {
            let input = &self.channel.inbox[used_bytes..];
            let progress = self.checker.check(input, head.request, dataset, tally)?;
            used_bytes += progress.used_bytes;
            if progress.reply == Reply::Partial {
                break;
            }
            tally.latency.record(now_ns - head.intended_ns);
            tally.requests += 1;
            reply_count += 1;
            self.waiting.pop_front();
        }
        if self.waiting.is_empty() && used_bytes < self.channel.inbox.len() {
            return Err(Garbled);
        }
        self.channel.consume(used_bytes);
        Ok(reply_count)
    }

    /// Requests without a reply.
    pub(crate) fn waiting_count(&self) -> usize {
        self.waiting.len()
    }

    /// Closes a connection without requests; whether the peer had kept it, and kept silent.
    pub(crate) fn ends_quietly(mut self) -> bool {
        self.stop_blocking().is_ok() && matches!(self.receive(), Ok(Received::Nothing))
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}
