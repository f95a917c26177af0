//! A client whose replies are all in the kernel, and which may still be sending.
//!
//! If a socket is closed while it has unread bytes, or if more bytes arrive later, the kernel
//! discards the undelivered replies, and the client gets a reset instead. So the one rule: the
//! worker shuts down its sending direction, reads and discards further input, and closes the socket
//! when the client closes, when [`LINGER`] is over, or when there are too many such sockets. For
//! the engine, the client is already closed.

use crate::client::recv_into;
use crate::poll::{Interest, Poll, Token};
use nuthatch_core::time::Instant;
use rustix::fd::OwnedFd;
use rustix::io::{self, Errno};
use rustix::net::{Shutdown, shutdown};
use std::collections::BTreeMap;
use std::time::Duration;

/// The lingering sockets of a worker.
#[derive(Debug, Default)]
pub(crate) struct Lingering {
    /// Sorted by number, and so by age.
    sockets: BTreeMap<u64, Socket>,
    next_number: u64,
    /// The number of sockets that a drain waits for.
    awaited: usize,
}

#[derive(Debug)]
struct Socket {
    fd: OwnedFd,
    until: Instant,
    parting: Parting,
}

/// Why the sending direction of a client was shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parting {
    /// The proxy closes the client after its last replies. A drain waits until these are delivered.
    Answered,
    /// The client had no requests in flight when the drain started. The drain does not wait for it.
    Idle,
}

/// How long a socket lingers.
const LINGER: Duration = Duration::from_secs(3);

/// The maximum number of lingering sockets of a worker. A new one replaces the oldest.
const LINGERING_MAX: usize = 1024;

impl Lingering {
    /// Shuts down the sending direction of a socket, and keeps the socket, which is not watched
    /// yet.
    pub(crate) fn add(&mut self, fd: OwnedFd, parting: Parting, poll: &Poll, now: Instant) {
        let number = self.next_number;
        let told = shutdown(&fd, Shutdown::Write);
        // The client is gone, or the socket cannot be watched: close the socket.
        if told.and_then(|()| poll.add(&fd, Token::Lingering(number), Interest::READ)).is_err() {
            return;
        }
        self.keep_below(LINGERING_MAX);
        self.next_number += 1;
        self.awaited += usize::from(parting == Parting::Answered);
        self.sockets.insert(number, Socket { fd, until: now.after(LINGER), parting });
    }

    /// Whether the drain need not wait for any socket.
    pub(crate) fn lets_drain_end(&self) -> bool {
        self.awaited == 0
    }

    /// Closes the oldest until fewer than `count` are left.
    pub(crate) fn keep_below(&mut self, count: usize) {
        while self.sockets.len() >= count.max(1) {
            let Some((&oldest, _)) = self.sockets.first_key_value() else { return };
            self.close(oldest);
        }
    }

    /// A socket is ready: reads once, to limit the time that a turn spends on it.
    pub(crate) fn ready(&mut self, number: u64, scratch: &mut [u8]) {
        let Some(socket) = self.sockets.get(&number) else { return };
        if discard(&socket.fd, scratch) != Ok(Discarded::Some) {
            self.close(number);
        }
    }

    /// Closes the sockets whose time is over.
    pub(crate) fn expire(&mut self, now: Instant) {
        while let Some((&oldest, socket)) = self.sockets.first_key_value()
            && socket.until <= now
        {
            self.close(oldest);
        }
    }

    /// When the time of the next socket is over.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.sockets.first_key_value().map(|(_, socket)| socket.until)
    }

    fn close(&mut self, number: u64) {
        if let Some(socket) = self.sockets.remove(&number) {
            self.awaited -= usize::from(socket.parting == Parting::Answered);
        }
    }
}

/// The result of reading and discarding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Discarded {
    /// Some bytes, or none for now.
    Some,
    /// The client will send no more.
    End,
}

/// Reads once and throws the bytes away.
pub(crate) fn discard(fd: &OwnedFd, scratch: &mut [u8]) -> io::Result<Discarded> {
    match recv_into(fd, scratch) {
        Ok(0) => Ok(Discarded::End),
        Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Ok(Discarded::Some),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    fn pair() -> (OwnedFd, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        (ours.into(), theirs)
    }

    #[test]
    fn the_oldest_goes_when_there_are_too_many() {
        let (poll, mut lingering) = (Poll::new().unwrap(), Lingering::default());
        let mut clients = Vec::new();
        for _ in 0..LINGERING_MAX + 10 {
            let (ours, theirs) = pair();
            lingering.add(ours, Parting::Answered, &poll, Instant::default());
            clients.push(theirs);
        }
        assert_eq!(lingering.sockets.len(), LINGERING_MAX);
        // Who lingers can still be written to, who was closed can't.
        assert!(clients[9].write_all(b"x").is_err());
        assert!(clients[10].write_all(b"x").is_ok());
        assert_eq!(clients[10].read(&mut [0; 8]).unwrap(), 0, "told the end");
    }

    #[test]
    fn a_socket_goes_when_its_time_is_over_or_its_client_closes() {
        let (poll, mut lingering) = (Poll::new().unwrap(), Lingering::default());
        let (start, mut scratch) = (Instant::default(), [0; 64]);
        let (first, mut first_client) = pair();
        let (second, second_client) = pair();
        lingering.add(first, Parting::Answered, &poll, start);
        lingering.add(second, Parting::Idle, &poll, start.after(LINGER / 2));
        first_client.write_all(&[0; 100]).unwrap();
        lingering.ready(0, &mut scratch);
        lingering.expire(start.after(LINGER / 2));
        assert_eq!((lingering.sockets.len(), lingering.lets_drain_end()), (2, false));
        assert_eq!(lingering.next_timeout(), Some(start.after(LINGER)));
        lingering.expire(start.after(LINGER));
        assert_eq!((lingering.sockets.len(), lingering.lets_drain_end()), (1, true));
        drop(second_client);
        lingering.ready(1, &mut scratch);
        assert_eq!((lingering.sockets.len(), lingering.next_timeout()), (0, None));
    }
}
