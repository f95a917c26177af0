//! Readiness of sockets: a thin layer over level-triggered epoll.
//!
//! Level-triggered, because then a socket that was not read completely, or was closed with unread
//! bytes, is reported again, and no event is lost (twemproxy's edge-triggered loop hangs if a reply
//! arrives together with the end of its connection).

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::Timespec;
use rustix::io;
use std::time::Duration;

/// The sockets of one worker.
pub(crate) struct Poll {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

/// The owner of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// There is a message in the worker's inbox.
    Inbox,
    /// A listener, by its number.
    Listener(u64),
    /// A client of a pool.
    Client(usize, Tag),
    /// A server connection of a pool.
    Conn(usize, Tag),
    /// A lingering client, by its number.
    Lingering(u64),
}

/// The part of an id that fits into a token: its place, and enough of its generation to detect
/// events for an earlier owner of the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag(u64);

impl Tag {
    /// The tag of an id, given as a number.
    #[inline]
    pub(crate) const fn of(bits: u64) -> Self {
        Self(bits & ((1 << 48) - 1))
    }

    /// Whether it is the tag of an id, given as a number.
    #[inline]
    pub(crate) const fn is_of(self, bits: u64) -> bool {
        (self.0 ^ bits) << 16 == 0
    }

    /// The place of the id.
    #[inline]
    pub(crate) const fn index(self) -> usize {
        (self.0 & 0xffff_ffff) as usize
    }
}

/// What a socket is watched for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Interest {
    pub(crate) read: bool,
    pub(crate) write: bool,
}

impl Interest {
    pub(crate) const READ: Self = Self { read: true, write: false };
    pub(crate) const WRITE: Self = Self { read: false, write: true };

    fn flags(self) -> EventFlags {
        let mut flags = EventFlags::empty();
        flags.set(EventFlags::IN, self.read);
        flags.set(EventFlags::OUT, self.write);
        flags
    }
}

/// What a socket is ready for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    pub(crate) token: Token,
    /// There is something to read, or an error.
    pub(crate) read: bool,
    /// There is room to write.
    pub(crate) write: bool,
    /// The peer has closed both directions. epoll reports this whatever is watched for.
    pub(crate) gone: bool,
}

/// The maximum number of events in one turn; epoll reports the rest in the next turn.
const EVENTS_MAX: usize = 1024;

impl Poll {
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Self { epoll, events: Vec::with_capacity(EVENTS_MAX) })
    }

    pub(crate) fn add(&self, fd: impl AsFd, token: Token, interest: Interest) -> io::Result<()> {
        epoll::add(&self.epoll, fd, token.pack(), interest.flags())
    }

    pub(crate) fn modify(&self, fd: impl AsFd, token: Token, interest: Interest) -> io::Result<()> {
        epoll::modify(&self.epoll, fd, token.pack(), interest.flags())
    }

    pub(crate) fn remove(&self, fd: impl AsFd) -> io::Result<()> {
        epoll::delete(&self.epoll, fd)
    }

    /// Waits until something is ready, or for `timeout`, rounded up to milliseconds. Returns the
    /// number of ready sockets.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        let timeout = timeout.map(|timeout| {
            let millis = timeout.as_nanos().div_ceil(1_000_000);
            let millis = i64::from(i32::try_from(millis).unwrap_or(i32::MAX));
            Timespec { tv_sec: millis / 1000, tv_nsec: millis % 1000 * 1_000_000 }
        });
        self.events.clear();
        let room = rustix::buffer::spare_capacity(&mut self.events);
        match epoll::wait(&self.epoll, room, timeout.as_ref()) {
            Ok(count) => Ok(count),
            Err(io::Errno::INTR) => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// One of the sockets that the last wait found.
    pub(crate) fn ready(&self, index: usize) -> Ready {
        let epoll::Event { data, flags } = self.events[index];
        let gone = flags.intersects(EventFlags::ERR | EventFlags::HUP);
        Ready {
            token: Token::unpack(data.u64()),
            read: gone || flags.contains(EventFlags::IN),
            write: flags.contains(EventFlags::OUT),
            gone,
        }
    }
}

/// The kind in the top four bits, and a number in the rest; or as [`Tag::pack`] has it.
impl Token {
    fn pack(self) -> EventData {
        match self {
            Self::Inbox => EventData::new_u64(0),
            Self::Listener(number) => EventData::new_u64(1 << 60 | number & NUMBER_MAX),
            Self::Client(pool, tag) => tag.pack(2, pool),
            Self::Conn(pool, tag) => tag.pack(3, pool),
            Self::Lingering(number) => EventData::new_u64(4 << 60 | number & NUMBER_MAX),
        }
    }

    fn unpack(packed: u64) -> Self {
        let pool = usize::try_from(packed >> 48 & POOL_MAX).expect("12 bits");
        match packed >> 60 {
            0 => Self::Inbox,
            1 => Self::Listener(packed & NUMBER_MAX),
            2 => Self::Client(pool, Tag::of(packed)),
            3 => Self::Conn(pool, Tag::of(packed)),
            _ => Self::Lingering(packed & NUMBER_MAX),
        }
    }
}

impl Tag {
    /// The kind in the top four bits, the pool in the next twelve, then the tag.
    fn pack(self, kind: u64, pool: usize) -> EventData {
        EventData::new_u64(kind << 60 | (pool as u64) << 48 | self.0)
    }
}

/// The highest number of a token: it is never reached in practice.
const NUMBER_MAX: u64 = (1 << 60) - 1;

/// The last pool that a token can name.
pub(crate) const POOL_MAX: u64 = (1 << 12) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_the_kernel() {
        let tokens = [
            Token::Inbox,
            Token::Listener(7),
            Token::Client(3, Tag::of(0x1_0000_0001_1170)),
            Token::Conn(0xfff, Tag::of(u64::MAX)),
            Token::Lingering(0xff_ffff_ffff_fffe),
        ];
        for token in tokens {
            assert_eq!(Token::unpack(token.pack().u64()), token);
        }
    }
}
