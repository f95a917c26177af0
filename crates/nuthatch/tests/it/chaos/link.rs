//! One connection of the proxy through a relay: what comes from either side, and what the fault of the moment
//! makes of it.
//!
//! The rule: a fault changes whole replies, so the relay keeps a reply until all of it is there. What a fault
//! holds back is passed when the fault ends, as by a network that works again.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::net::sockopt;

use crate::random::Random;

use super::relay::{Fault, Lie, Then};
use super::reply::{Protocol, reply_len};

/// So much may wait for a side that does not read.
const BUFFER: usize = 1 << 18;
/// A fault that lies does so once in so many replies.
const LIE_EACH: usize = 6;

pub(super) struct Link {
    protocol: Protocol,
    proxy: TcpStream,
    server: TcpStream,
    /// From the proxy, for the server.
    requests: Vec<u8>,
    /// From the server, the beginning of a reply.
    unfinished: Vec<u8>,
    /// For the proxy.
    replies: Vec<u8>,
    /// What the fault keeps for now: a reply to be sent after the next one, or the rest of half a reply.
    held: Vec<u8>,
    is_stalled: bool,
    /// Closes when `replies` are sent.
    is_ending: bool,
    proxy_ended: bool,
    server_ended: bool,
    /// When the next bytes may go to the proxy.
    resumes: Instant,
    /// When requests go on.
    wakes: Instant,
}

impl Link {
    pub(super) fn new(protocol: Protocol, proxy: TcpStream, server: TcpStream) -> Self {
        for socket in [&proxy, &server] {
            socket.set_nonblocking(true).unwrap();
            socket.set_nodelay(true).unwrap();
        }
        Self {
            protocol,
            proxy,
            server,
            requests: Vec::new(),
            unfinished: Vec::new(),
            replies: Vec::new(),
            held: Vec::new(),
            is_stalled: false,
            is_ending: false,
            proxy_ended: false,
            server_ended: false,
            resumes: Instant::now(),
            wakes: Instant::now(),
        }
    }

    /// Ends it with a reset, to both sides.
    pub(super) fn reset(self) {
        reset(self.proxy);
        reset(self.server);
    }

    /// The last fault is over: what it kept goes on, requests after `lag`.
    pub(super) fn release(&mut self, lag: Duration) {
        self.replies.append(&mut self.held);
        self.is_stalled = false;
        self.resumes = Instant::now();
        self.wakes = self.resumes + lag;
    }

    /// What it waits for.
    pub(super) fn waits<'l>(&'l self, fault: &Fault, polled: &mut Vec<PollFd<'l>>) {
        let flags = |reads, writes| {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, reads);
            flags.set(PollFlags::OUT, writes);
            flags
        };
        let of_proxy = flags(self.takes_requests(fault), self.gives_replies(fault));
        let of_server = flags(self.takes_replies(fault), self.gives_requests(fault));
        for (socket, flags) in [(&self.proxy, of_proxy), (&self.server, of_server)] {
            // One that nothing is wanted of would wake us all the time once it is reset.
            if !flags.is_empty() {
                polled.push(PollFd::new(socket, flags));
            }
        }
    }

    /// When it goes on by itself, if it waits for that.
    pub(super) fn resumes(&self) -> Option<Instant> {
        let replies = Some(self.resumes).filter(|_| !self.replies.is_empty());
        [replies, Some(self.wakes)].into_iter().flatten().filter(|&at| at > Instant::now()).min()
    }

    /// Passes what can be passed; false when the connection is over.
    pub(super) fn turn(&mut self, fault: &Fault, random: &mut Random) -> bool {
        self.try_turn(fault, random).is_some()
    }

    fn try_turn(&mut self, fault: &Fault, random: &mut Random) -> Option<()> {
        if self.takes_requests(fault) {
            self.proxy_ended = receive(&self.proxy, &mut self.requests)?;
        }
        if self.gives_requests(fault) {
            send(&self.server, &mut self.requests, usize::MAX)?;
        }
        if self.proxy_ended && self.requests.is_empty() {
            // The server carries out what it got, and closes.
            let _ = self.server.shutdown(Shutdown::Write);
        }
        if self.takes_replies(fault) {
            self.server_ended = receive(&self.server, &mut self.unfinished)?;
            self.alter(fault, random);
        }
        if self.proxy_ended {
            self.replies.clear();
        }
        if self.gives_replies(fault) {
            let most = if let Fault::Slow { pause, bytes } = *fault {
                self.resumes = Instant::now() + pause;
                bytes
            } else {
                usize::MAX
            };
            send(&self.proxy, &mut self.replies, most)?;
        }
        let is_over = (self.server_ended || self.is_ending) && self.replies.is_empty();
        (!is_over).then_some(())
    }

    fn takes_requests(&self, fault: &Fault) -> bool {
        self.passes_requests(fault) && !self.proxy_ended && self.requests.len() < BUFFER
    }

    fn gives_requests(&self, fault: &Fault) -> bool {
        self.passes_requests(fault) && !self.requests.is_empty()
    }

    fn passes_requests(&self, fault: &Fault) -> bool {
        !fault.holds_requests() && self.wakes <= Instant::now()
    }

    fn takes_replies(&self, fault: &Fault) -> bool {
        let is_closed = self.is_stalled || self.is_ending || self.server_ended;
        !fault.holds_replies() && !is_closed && self.replies.len() < BUFFER
    }

    fn gives_replies(&self, fault: &Fault) -> bool {
        !fault.holds_replies() && !self.replies.is_empty() && self.resumes <= Instant::now()
    }

    /// Moves whole replies on, as the fault has it.
    fn alter(&mut self, fault: &Fault, random: &mut Random) {
        while !self.is_stalled && !self.is_ending {
            let Some(len) = reply_len(self.protocol, &self.unfinished) else { break };
            let reply: Vec<u8> = self.unfinished.drain(..len).collect();
            match *fault {
                Fault::Half { bytes, then } => self.halve(&reply, bytes, then),
                Fault::Lie(lie) => self.lie(lie, reply, random),
                _ => self.replies.extend(reply),
            }
        }
        if self.server_ended {
            // A server that dies may leave half a reply.
            self.replies.append(&mut self.held);
            self.replies.append(&mut self.unfinished);
        }
    }

    fn halve(&mut self, reply: &[u8], bytes: usize, then: Then) {
        let (half, rest) = reply.split_at(bytes.min(reply.len() - 1));
        self.replies.extend(half);
        match then {
            Then::Close => self.is_ending = true,
            Then::Stall => {
                self.held.extend(rest);
                self.is_stalled = true;
            }
        }
    }

    fn lie(&mut self, lie: Lie, reply: Vec<u8>, random: &mut Random) {
        if !self.held.is_empty() {
            self.replies.extend(reply);
            self.replies.append(&mut self.held);
            return;
        }
        if !random.one_in(LIE_EACH) {
            return self.replies.extend(reply);
        }
        match lie {
            Lie::Noise => {
                let noise =
                    (0..=random.below(64)).map(|_| u8::try_from(random.below(256)).unwrap());
                self.replies.extend(noise);
            }
            Lie::Other => self.replies.extend(*random.pick(others(self.protocol))),
            Lie::Exchanged => self.held = reply,
            Lie::Twice => {
                self.replies.extend(&reply);
                self.replies.extend(reply);
            }
            Lie::Dropped => {}
        }
    }
}

/// Replies that are well-formed, and wrong in most places.
fn others(protocol: Protocol) -> &'static [&'static [u8]] {
    match protocol {
        Protocol::Memcached => &[
            b"END\r\n",
            b"STORED\r\n",
            b"NOT_FOUND\r\n",
            b"VALUE c0k0x 0 1\r\nx\r\nEND\r\n",
            b"VA 1 kc0k0x O1\r\nx\r\n",
            b"SERVER_ERROR busy\r\n",
            b"VERSION 1.6.18\r\n",
            b"HD\r\n",
            b"BUSY\r\n",
        ],
        Protocol::Redis => {
            &[b"+OK\r\n", b"$1\r\nx\r\n", b"$-1\r\n", b"*1\r\n$1\r\nx\r\n", b":7\r\n", b"-BUSY\r\n"]
        }
    }
}

pub(super) fn reset(socket: TcpStream) {
    // It may be closed already.
    let _ = sockopt::set_socket_linger(&socket, Some(Duration::ZERO));
    drop(socket);
}

/// Reads what is there; true at the end of the stream, none if the connection is lost.
fn receive(mut socket: &TcpStream, bytes: &mut Vec<u8>) -> Option<bool> {
    let mut buffer = [0; 1 << 16];
    match socket.read(&mut buffer) {
        Ok(0) => Some(true),
        Ok(count) => {
            bytes.extend_from_slice(&buffer[..count]);
            Some(false)
        }
        Err(error) => is_later(&error).then_some(false),
    }
}

/// Writes what the socket takes; none if the connection is lost.
fn send(mut socket: &TcpStream, bytes: &mut Vec<u8>, most: usize) -> Option<()> {
    match socket.write(&bytes[..bytes.len().min(most)]) {
        Ok(count) => {
            bytes.drain(..count);
            Some(())
        }
        Err(error) => is_later(&error).then_some(()),
    }
}

fn is_later(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
