//! A client's socket: reads requests and writes replies.
//!
//! The worker writes first, and asks epoll for writability only when the socket buffer is full:
//! asking costs a system call, and the buffer is nearly always free.

use crate::bind::canonical;
use crate::linger::{Discarded, discard};
use crate::poll::{Interest, Poll, Token};
use crate::portion::Portion;
use crate::redis_question::Ends;
use nuthatch_core::mux::{ClientId, Mux};
use nuthatch_core::time::Instant;
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::{self, Errno, ioctl_fionread};
use rustix::net::{RecvFlags, SendFlags, SocketAddrAny, getpeername, getsockname, recv, send};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;

/// A client's socket and what it is watched for.
#[derive(Debug)]
pub(crate) struct ClientSocket {
    pub(crate) id: ClientId,
    fd: OwnedFd,
    interest: Interest,
    /// Whether epoll does not watch the socket at all.
    parked: bool,
    /// Whether the client has closed its sending direction.
    ended: bool,
    /// The turn of the loop in which its replies started to wait for more replies.
    pub(crate) corked_in: Option<NonZeroU64>,
}

/// Whether a socket stays open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Lives,
    /// A part of a large reply was written; the rest can be in the next turn.
    Continues,
    /// The client has all its replies and may still be sending.
    Lingers,
    /// The client has all its replies and sends no more, or the socket cannot be written to.
    Ends,
}

impl ClientSocket {
    /// Adds an accepted socket to the loop.
    pub(crate) fn new(id: ClientId, fd: OwnedFd, poll: &Poll, token: Token) -> io::Result<Self> {
        poll.add(&fd, token, Interest::READ)?;
        Ok(Self { id, fd, interest: Interest::READ, parked: false, ended: false, corked_in: None })
    }

    /// One read into the worker's scratch buffer; the rest of a large request is read
    /// directly into its final buffer.
    pub(crate) fn read(
        &mut self,
        id: ClientId,
        mux: &mut Mux,
        (scratch, portion): (&mut [u8], Portion),
        now: Instant,
    ) -> Fate {
        let read = match mux.client_input(id) {
            Some(input) => {
                let read = recv_onto(&self.fd, input, portion.piece);
                mux.handle_client_filled(id, read.unwrap_or(0), now);
                read
            }
            None => recv_into(&self.fd, scratch).inspect(|&count| {
                if count > 0 {
                    mux.handle_client_bytes(id, &scratch[..count], now);
                }
            }),
        };
        match read {
            Ok(0) => {
                self.ended = true;
                mux.handle_client_eof(id);
            }
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => {
                mux.stats().client_err.add(1);
                return Fate::Ends;
            }
        }
        Fate::Lives
    }

    /// The addresses of both ends, in the form of Redis. A client of IPv4 is shown as one, also where
    /// the socket is one for both versions and has it as `::ffff:192.0.2.1`.
    pub(crate) fn ends(&self) -> Ends {
        let shown = |end: Option<SocketAddrAny>| {
            let tcp = end.and_then(|end| SocketAddr::try_from(end).ok()).map(canonical);
            tcp.map_or_else(|| "unix:0".to_owned(), |tcp| tcp.to_string())
        };
        let client = getpeername(&self.fd).ok().flatten();
        Ends { client: shown(client), proxy: shown(getsockname(&self.fd).ok()) }
    }

    /// The address of the client's machine; none for a unix socket.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        let end = getpeername(&self.fd).ok().flatten()?;
        Some(canonical(SocketAddr::try_from(end).ok()?).ip())
    }

    /// Whether input of the client is read and discarded: the client gets no new requests answered,
    /// but must get its pending replies.
    pub(crate) fn discards(&self, id: ClientId, mux: &Mux) -> bool {
        mux.has_ended(id) && !self.ended && !mux.is_shed(id)
    }

    /// Reads once and discards the bytes.
    pub(crate) fn discard(&mut self, mux: &Mux, scratch: &mut [u8]) -> Fate {
        match discard(&self.fd, scratch) {
            Ok(Discarded::Some) => {}
            Ok(Discarded::End) => self.ended = true,
            Err(_) => {
                mux.stats().client_err.add(1);
                return Fate::Ends;
            }
        }
        Fate::Lives
    }

    /// Writes the ready replies, of a large one at most a piece, and watches for the next events.
    pub(crate) fn write(
        &mut self,
        id: ClientId,
        mux: &mut Mux,
        portion: Portion,
        (poll, token): (&Poll, Token),
    ) -> Fate {
        self.corked_in = None;
        let is_full = loop {
            let output = mux.client_output(id);
            if output.is_empty() {
                break false;
            }
            let is_large = output.len() > portion.piece;
            let len = output.len().min(portion.piece);
            match send(&self.fd, &output[..len], SendFlags::NOSIGNAL) {
                Ok(count) => {
                    mux.handle_client_written(id, count);
                    match is_large {
                        true if count == len => return Fate::Continues,
                        false if count == len => break false,
                        _ => {}
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break true,
                Err(_) => {
                    mux.stats().client_err.add(1);
                    return Fate::Ends;
                }
            }
        };
        if mux.wants_read(id) {
            // A client that is read from has not ended.
            return self.watch(Interest { read: true, write: is_full }, poll, token);
        }
        let discards = self.discards(id, mux);
        if mux.is_done(id) {
            return if discards { Fate::Lingers } else { Fate::Ends };
        }
        self.watch(Interest { read: discards, write: is_full }, poll, token)
    }

    #[inline]
    fn watch(&mut self, interest: Interest, poll: &Poll, token: Token) -> Fate {
        if interest == self.interest {
            return Fate::Lives;
        }
        self.interest = interest;
        let watched = if self.parked {
            self.parked = false;
            poll.add(&self.fd, token, interest)
        } else {
            poll.modify(&self.fd, token, interest)
        };
        if watched.is_ok() { Fate::Lives } else { Fate::Ends }
    }

    /// Returns the socket, which is no longer watched.
    pub(crate) fn into_fd(mut self, poll: &Poll) -> OwnedFd {
        self.park(poll);
        self.fd
    }

    /// Stops watching the socket until other events are needed: epoll reports a closed peer again
    /// and again, whatever events are watched.
    pub(crate) fn park(&mut self, poll: &Poll) {
        if !self.parked && poll.remove(&self.fd).is_ok() {
            self.parked = true;
            // It may want to be read again before anybody knows that it did not.
            self.interest = Interest::default();
        }
    }
}

/// One read into a buffer of which all bytes are free.
pub(crate) fn recv_into(fd: impl AsFd, room: &mut [u8]) -> io::Result<usize> {
    recv(fd, room, RecvFlags::empty()).map(|(count, _)| count)
}

/// One read of at most `most` bytes to the end of a buffer that has room.
pub(crate) fn recv_onto(fd: impl AsFd, bytes: &mut Vec<u8>, most: usize) -> io::Result<usize> {
    let len = bytes.len();
    let is_much = bytes.capacity() - len > most
        && ioctl_fionread(&fd).is_ok_and(|waiting| waiting > most as u64);
    if !is_much {
        let read = recv(fd, rustix::buffer::spare_capacity(bytes), RecvFlags::empty());
        return read.map(|(count, _)| count);
    }
    // Only a part of the room can be read into if it holds bytes. To write them costs little: they are in the
    // cache when the kernel writes there.
    bytes.resize(len + most, 0);
    let read = recv(fd, &mut bytes[len..], RecvFlags::empty()).map(|(count, _)| count);
    bytes.truncate(len + read.unwrap_or(0));
    read
}
