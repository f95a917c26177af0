//! The messages between two processes at a take-over: short texts, each with at most one descriptor.
//!
//! The one rule: nothing that the other process does harms this one. A message is at most
//! [`MESSAGE_MAX`] bytes, every wait has a limit, and only a process of the same user is talked to.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nuthatch_core::mux::PASSING_MAX;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use rustix::process::geteuid;

/// The version of the messages. Processes of different versions do not take over from each other.
pub(super) const PROTOCOL: &str = "1";

/// The maximum size of a message: a client with all that it takes along.
pub(super) const MESSAGE_MAX: usize = PASSING_MAX + 4096;

/// How long one message may take to be sent, and how long the other process may take to answer.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(5);

/// A connected control socket. It keeps the boundaries of messages (`SOCK_SEQPACKET`).
#[derive(Debug)]
pub(super) struct Channel {
    socket: OwnedFd,
    room: Vec<u8>,
}

impl Channel {
    /// # Errors
    /// When the other process belongs to another user.
    pub(super) fn new(socket: OwnedFd) -> io::Result<Self> {
        let (other, own) = (sockopt::socket_peercred(&socket)?.uid, geteuid());
        if other != own {
            let (other, own) = (other.as_raw(), own.as_raw());
            let text = format!("the other process belongs to user {other}, this one to user {own}");
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        sockopt::set_socket_timeout(&socket, Timeout::Send, Some(ANSWER_MAX))?;
        Ok(Self { socket, room: vec![0; MESSAGE_MAX] })
    }

    /// Sends a text.
    pub(super) fn tell(&self, text: &str) -> io::Result<()> {
        self.send(text.as_bytes(), None)
    }

    /// Sends a message, and a descriptor with it.
    pub(super) fn send(&self, message: &[u8], with: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut rights = SendAncillaryBuffer::new(&mut space);
        if let Some(fd) = &with {
            rights.push(SendAncillaryMessage::ScmRights(std::slice::from_ref(fd)));
        }
        loop {
            match sendmsg(&self.socket, &[IoSlice::new(message)], &mut rights, SendFlags::NOSIGNAL)
            {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Err(late()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits for a text.
    pub(super) fn hear(&mut self, limit: Duration) -> io::Result<String> {
        let (message, _) = self.receive(Some(limit))?;
        Ok(String::from_utf8_lossy(message).into_owned())
    }

    /// Waits for a message, and the descriptor with it; without a limit, for as long as the other process
    /// lives.
    pub(super) fn receive(
        &mut self,
        limit: Option<Duration>,
    ) -> io::Result<(&[u8], Option<OwnedFd>)> {
        sockopt::set_socket_timeout(&self.socket, Timeout::Recv, limit)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut rights = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let room = &mut [IoSliceMut::new(&mut self.room)];
            match recvmsg(self.socket.as_fd(), room, &mut rights, RecvFlags::CMSG_CLOEXEC) {
                Ok(received) => break received,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Err(late()),
                Err(error) => return Err(error.into()),
            }
        };
        let fd = rights.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a message is too long"));
        }
        if received.bytes == 0 {
            let text = "the other process has closed the connection";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
        Ok((&self.room[..received.bytes], fd))
    }
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the other process does not answer")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    use std::fs::File;
    use std::io::{Read, Write};

    fn pair() -> (Channel, Channel) {
        let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
        let (one, two) = socketpair(AddressFamily::UNIX, kind, flags, None).unwrap();
        (Channel::new(one).unwrap(), Channel::new(two).unwrap())
    }

    #[test]
    fn a_message_keeps_its_boundaries_and_its_descriptor() {
        let (one, mut two) = pair();
        let (mut reader, mut writer) = io::pipe().unwrap();
        writer.write_all(b"through").unwrap();
        drop(writer);
        one.tell("first").unwrap();
        one.send(b"second", Some(reader.as_fd())).unwrap();
        drop(one);
        assert_eq!(two.hear(ANSWER_MAX).unwrap(), "first");
        let (message, fd) = two.receive(Some(ANSWER_MAX)).unwrap();
        assert_eq!(message, b"second");
        let mut text = String::new();
        File::from(fd.unwrap()).read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
        assert_eq!(reader.read(&mut [0; 8]).unwrap(), 0);
        assert_eq!(two.hear(ANSWER_MAX).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn who_sends_too_much_or_nothing_at_all_is_given_up() {
        let (one, mut two) = pair();
        one.send(&vec![b'x'; MESSAGE_MAX + 1], None).unwrap();
        assert_eq!(two.hear(ANSWER_MAX).unwrap_err().kind(), io::ErrorKind::InvalidData);
        let short = Duration::from_millis(20);
        assert_eq!(two.hear(short).unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn who_takes_nothing_is_given_up() {
        let (one, _two) = pair();
        sockopt::set_socket_timeout(&one.socket, Timeout::Send, Some(Duration::from_millis(20)))
            .unwrap();
        let full = (0..10_000).find_map(|_| one.tell(&"x".repeat(1000)).err());
        assert_eq!(full.unwrap().kind(), io::ErrorKind::TimedOut);
    }
}
