//! A small blocking client: bytes out, bytes in, and a deadline on every wait.
//!
//! The rule: what was read and not asked for yet stays in `pending`, so a surplus byte is never
//! lost and shows up in the next comparison.

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long an answer that must come may take, on a machine busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// One connection of a client.
pub struct Conn {
    /// A TCP or unix socket: both take the same calls, so one type carries either.
    stream: TcpStream,
    pending: Vec<u8>,
    closed: bool,
    patience: Duration,
}

/// Why a read ended before it had what it was to have; holds the bytes that did come.
#[derive(Debug)]
pub enum Broken {
    /// The other side closed or reset the connection.
    Closed(Vec<u8>),
    /// Nothing came for as long as we were willing to wait.
    TimedOut(Vec<u8>),
}

impl Conn {
    /// Connects over TCP, `127.0.0.1:port` or `[::1]:port`.
    pub fn tcp(address: impl ToSocketAddrs) -> Self {
        let stream = TcpStream::connect(address).expect("something listens");
        stream.set_nodelay(true).unwrap();
        Self::over(stream)
    }

    /// Connects to a unix socket.
    pub fn unix(path: &Path) -> Self {
        let stream = UnixStream::connect(path).expect("something listens on the path");
        Self::over(TcpStream::from(OwnedFd::from(stream)))
    }

    /// Takes over a connected socket.
    pub fn over(stream: TcpStream) -> Self {
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream, pending: Vec::new(), closed: false, patience: PATIENCE }
    }

    /// The same connection, which gives up on a silent peer after `patience`.
    pub fn patient_for(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sends everything; a peer that has gone away is noted, not an error.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        if let Err(error) = self.stream.write_all(bytes.as_ref()) {
            assert_ne!(error.kind(), ErrorKind::WouldBlock, "the peer stopped reading");
            self.closed = true;
        }
    }

    /// Says that nothing more will be sent; the reading half stays open.
    pub fn shut_sending(&self) {
        // An error means that the peer was first.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// The socket itself, to set what no method sets.
    pub fn socket(&self) -> &TcpStream {
        &self.stream
    }

    /// Whether the peer was seen to close.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Exactly `len` bytes.
    pub fn read_exact(&mut self, len: usize) -> Result<Vec<u8>, Broken> {
        while self.pending.len() < len {
            self.fill()?;
        }
        Ok(self.pending.drain(..len).collect())
    }

    /// Everything up to and with `end`.
    pub fn read_until(&mut self, end: &[u8]) -> Result<Vec<u8>, Broken> {
        let mut searched = 0;
        loop {
            let found = self.pending[searched..].windows(end.len()).position(|w| w == end);
            if let Some(at) = found {
                return Ok(self.pending.drain(..searched + at + end.len()).collect());
            }
            searched = self.pending.len().saturating_sub(end.len() - 1);
            self.fill()?;
        }
    }

    /// Everything until the peer closes.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        loop {
            match self.fill() {
                Ok(()) => {}
                Err(Broken::Closed(bytes)) => return bytes,
                Err(Broken::TimedOut(bytes)) => panic!("not closed after {}", show(&bytes)),
            }
        }
    }

    /// One line with its CRLF.
    pub fn read_line(&mut self) -> Result<Vec<u8>, Broken> {
        self.read_until(b"\r\n")
    }

    /// One whole reply of memcached: a line, or all VALUE blocks with their END, or a VA block.
    pub fn read_reply(&mut self) -> Result<Vec<u8>, Broken> {
        let mut reply = Vec::new();
        loop {
            let line = self.read_line()?;
            let words: Vec<_> = line.trim_ascii_end().split(|&byte| byte == b' ').collect();
            let len = match words[..] {
                [b"VALUE", _, _, len, ..] | [b"VA", len, ..] => number(len),
                _ => None,
            };
            let more = line.starts_with(b"VALUE ") || line.starts_with(b"STAT ");
            reply.extend(&line);
            if let Some(len) = len {
                reply.extend(self.read_exact(len + 2)?);
            }
            if !more {
                return Ok(reply);
            }
        }
    }

    /// Whatever comes until nothing came for `quiet`, or the peer closes.
    pub fn read_until_quiet(&mut self, quiet: Duration) -> Vec<u8> {
        while self.receive(quiet) > 0 {}
        std::mem::take(&mut self.pending)
    }

    /// Sends `request` and panics unless the very next bytes are `reply`.
    #[track_caller]
    pub fn ask(&mut self, request: impl AsRef<[u8]>, reply: impl AsRef<[u8]>) {
        self.send(request);
        self.expect(reply);
    }

    /// Panics unless the very next bytes are `reply`.
    #[track_caller]
    pub fn expect(&mut self, reply: impl AsRef<[u8]>) {
        let reply = reply.as_ref();
        while self.pending.len() < reply.len() && reply.starts_with(&self.pending) {
            if self.receive(self.patience) == 0 {
                break;
            }
        }
        let end = self.pending.len().min(reply.len());
        let got: Vec<u8> = self.pending.drain(..end).collect();
        assert!(
            got == reply,
            "wanted {}\n   got {}{}{}",
            show(reply),
            show(&got),
            show(&self.pending),
            if self.closed { " and the end" } else { "" }
        );
    }

    /// Panics if anything comes within `quiet`, or the peer closes.
    #[track_caller]
    pub fn expect_silence(&mut self, quiet: Duration) {
        let got = self.read_until_quiet(quiet);
        assert!(got.is_empty(), "wanted nothing, got {}", show(&got));
        assert!(!self.closed, "wanted an open connection, it was closed");
    }

    /// Panics unless the peer closes without another byte.
    #[track_caller]
    pub fn expect_closed(&mut self) {
        let got = self.read_until_quiet(self.patience);
        assert!(got.is_empty(), "wanted the end, got {}", show(&got));
        assert!(self.closed, "wanted the end, the connection is still open");
    }

    fn fill(&mut self) -> Result<(), Broken> {
        if self.receive(self.patience) > 0 {
            return Ok(());
        }
        let got = std::mem::take(&mut self.pending);
        Err(if self.closed { Broken::Closed(got) } else { Broken::TimedOut(got) })
    }

    /// Adds what comes next to `pending`; 0 when nothing came in time or the peer closed.
    fn receive(&mut self, patience: Duration) -> usize {
        if self.closed && self.pending.is_empty() {
            return 0;
        }
        let deadline = Instant::now() + patience;
        let mut buffer = [0; 1 << 16];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return 0;
            }
            self.stream.set_read_timeout(Some(left)).unwrap();
            match self.stream.read(&mut buffer) {
                Ok(0) => self.closed = true,
                Ok(count) => {
                    self.pending.extend_from_slice(&buffer[..count]);
                    return count;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return 0,
                Err(_) => self.closed = true,
            }
            return 0;
        }
    }
}

impl fmt::Debug for Conn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Conn({:?})", self.stream)
    }
}

fn number(digits: &[u8]) -> Option<usize> {
    str::from_utf8(digits).ok()?.parse().ok()
}

/// Bytes as one reads them in a transcript, long ones cut.
pub fn show(bytes: &[u8]) -> String {
    const SHOWN: usize = 400;
    let text = bytes[..bytes.len().min(SHOWN)].escape_ascii().to_string();
    if bytes.len() > SHOWN { format!("{text}... ({} bytes)", bytes.len()) } else { text }
}
