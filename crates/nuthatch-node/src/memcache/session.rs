//! A client's session at a node: requests in, replies out.
//!
//! The one rule: requests are parsed by the proxy's own `parse_request`, so a node accepts and
//! refuses the same requests as the proxy. The store is locked for one key at a time and never
//! while a reply is written, so a client that does not read does not block others.

use std::io::{self, BufWriter, Read, Write};
use std::net::TcpStream;
use std::process;

use nuthatch_core::limits::Limits;
use nuthatch_core::memcache::{Shape, VERSION_KEY, Words, parse_request};
use nuthatch_core::message::Class;
use nuthatch_core::message::{All, Limit, Many, One, Parsed, Request, Wire};

use super::item::{ITEM_SIZE_MAX, parse};
use super::store::Counts;
use super::{Shared, classic, meta, seconds};

/// Serves one client until it leaves.
pub(crate) fn serve(mut stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    let mut session = Session::new(shared, BufWriter::new(stream));
    let mut input = Vec::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            return Ok(());
        }
        input.extend_from_slice(&chunk[..count]);
        let taken = session.take(&input)?;
        session.out.flush()?;
        match taken {
            Some(taken) => drop(input.drain(..taken)),
            None => return Ok(()),
        }
    }
}

/// Maximum bytes of one read.
const CHUNK: usize = 16 << 10;

/// A request line and its value.
#[derive(Debug, Clone)]
pub(crate) struct Line<'a> {
    pub(crate) command: &'a [u8],
    /// The words after the command.
    pub(crate) words: Words<'a>,
    /// The value, without its line end.
    pub(crate) data: &'a [u8],
}

impl<'a> Line<'a> {
    fn new(line: &'a [u8], data: &'a [u8]) -> Self {
        let mut words = Words::new(line.trim_ascii_end());
        let command = words.next().unwrap_or_default();
        Self { command, words, data: data.strip_suffix(b"\r\n").unwrap_or(data) }
    }

    fn of(wire: &Wire<'a>) -> Self {
        match *wire {
            Wire::Words { line, data, .. } => Self::new(line.text, data),
            Wire::Verbatim(bytes) | Wire::Rewritten(bytes) => {
                let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
                let (line, data) = bytes.split_at(end);
                Self::new(line, data.get(1..).unwrap_or_default())
            }
        }
    }
}

struct Session<'a, W: Write> {
    shared: &'a Shared,
    out: W,
    /// The reply that is being written.
    reply: Vec<u8>,
    limits: Limits,
    /// The number of following bytes to skip.
    skip: u64,
    /// The number of bytes at the start of the input that are known to have no line end.
    searched: usize,
}

impl<'a, W: Write> Session<'a, W> {
    fn new(shared: &'a Shared, out: W) -> Self {
        let limits = Limits { item_size_max: ITEM_SIZE_MAX, ..Limits::default() };
        Self { shared, out, reply: Vec::new(), limits, skip: 0, searched: 0 }
    }

    /// Answers all complete requests in `input`; returns the number of their bytes, or `None` if
    /// the session is over.
    fn take(&mut self, input: &[u8]) -> io::Result<Option<usize>> {
        let mut rest = input;
        while !rest.is_empty() {
            if self.skip > 0 {
                let count = usize::try_from(self.skip).unwrap_or(usize::MAX).min(rest.len());
                self.skip -= count as u64;
                rest = &rest[count..];
                continue;
            }
            match parse_request(rest, self.searched, &self.limits) {
                Parsed::PartialLine => {
                    self.searched = rest.len();
                    break;
                }
                Parsed::Partial(_) => break,
                Parsed::Request(Request::Quit(_), _) => return Ok(None),
                Parsed::Request(Request::Lost { error, .. }, _) => {
                    self.out.write_all(error)?;
                    return Ok(None);
                }
                Parsed::Request(request, len) => {
                    self.searched = 0;
                    self.answer(&request, &rest[..len])?;
                    rest = &rest[len..];
                }
            }
        }
        Ok(Some(input.len() - rest.len()))
    }

    /// Answers the request in `bytes`.
    fn answer(&mut self, request: &Request<'_>, bytes: &[u8]) -> io::Result<()> {
        // The greeting of a proxy on each new connection does not count as a request.
        let is_greeting = matches!(request, Request::One(one) if one.key == VERSION_KEY);
        self.shared.lock().counts.requests += u64::from(!is_greeting);
        match request {
            Request::One(one) => self.one(one),
            Request::Many(many) => self.many(many),
            Request::All(all) => self.flush_all(all),
            Request::Question(what) => self.stats(what),
            Request::Barrier(said) | Request::Answer(said) => self.out.write_all(said),
            Request::Refused { error, skip, limit } => {
                self.skip = *skip;
                if *limit == Limit::ItemSize {
                    self.forget(Words::new(bytes));
                }
                self.out.write_all(error)
            }
            Request::Lost { .. } | Request::Quit(_) => Ok(()),
            Request::Group(_)
            | Request::Cursor(_)
            | Request::Dedicated(_)
            | Request::Setting(_) => {
                unreachable!("memcached has no such request")
            }
        }
    }

    fn one(&mut self, one: &One<'_>) -> io::Result<()> {
        let line = Line::of(&one.wire);
        self.reply.clear();
        let mut store = self.shared.lock();
        let hidden = match one.class {
            _ if Shape::of(one.expect).is_meta() => {
                let outcome = meta::answer(&mut store, one, line, &mut self.reply);
                one.expect.hidden.contains(outcome)
            }
            Class::Get | Class::GetAndTouch => {
                let read = classic::Read::new(line, store.now());
                read.value(&mut store, one.key, &mut self.reply);
                self.reply.extend_from_slice(END);
                false
            }
            _ => {
                classic::answer(&mut store, one.key, line, &mut self.reply);
                one.expect.is_silent()
            }
        };
        drop(store);
        if hidden { Ok(()) } else { self.out.write_all(&self.reply) }
    }

    fn many(&mut self, many: &Many<'_>) -> io::Result<()> {
        let read = classic::Read::new(Line::new(many.head.text, b""), self.shared.lock().now());
        for key in Words::new(many.keys) {
            self.reply.clear();
            read.value(&mut self.shared.lock(), key, &mut self.reply);
            self.out.write_all(&self.reply)?;
        }
        self.out.write_all(END)
    }

    fn flush_all(&mut self, all: &All<'_>) -> io::Result<()> {
        let delay = Line::of(&all.wire).words.next().and_then(parse);
        self.shared.lock().flush(delay.unwrap_or_default());
        if all.expect.is_silent() { Ok(()) } else { self.out.write_all(b"OK\r\n") }
    }

    /// Removes the value that a value over the limit should have replaced, because the old value is
    /// outdated. An `add` replaces nothing.
    fn forget(&self, mut words: Words<'_>) {
        if let (Some(b"set" | b"ms"), Some(key)) = (words.next(), words.next()) {
            self.shared.lock().remove(key);
        }
    }

    /// Answers `stats`, the only question about the node.
    fn stats(&mut self, line: &[u8]) -> io::Result<()> {
        match Words::new(line).nth(1) {
            None => {}
            Some(b"reset") => {
                self.shared.lock().counts = Counts::default();
                return self.out.write_all(b"RESET\r\n");
            }
            _ => return self.out.write_all(b"ERROR\r\n"),
        }
        let store = self.shared.lock();
        let counts = store.counts;
        let now = seconds();
        let figures = [
            ("pid", process::id().into()),
            ("uptime", now.saturating_sub(self.shared.start).into()),
            ("time", now.into()),
            ("curr_items", store.len() as u64),
            ("bytes", store.bytes()),
            ("limit_maxbytes", store.bytes_max()),
            ("cmd_get", counts.get_hits + counts.get_misses),
            ("get_hits", counts.get_hits),
            ("get_misses", counts.get_misses),
            ("cmd_set", counts.sets),
        ];
        drop(store);
        write!(self.out, "STAT version {}\r\n", env!("CARGO_PKG_VERSION"))?;
        for (name, figure) in figures {
            write!(self.out, "STAT {name} {figure}\r\n")?;
        }
        self.out.write_all(END)
    }
}

/// The end of values and statistics.
const END: &[u8] = b"END\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    /// The answers to `input` when it comes in pieces of `size` bytes.
    fn answers(input: &[u8], size: usize) -> (Vec<u8>, bool) {
        let shared = Shared::new(1 << 20);
        let mut session = Session::new(&shared, Vec::new());
        let mut waiting = Vec::new();
        for piece in input.chunks(size) {
            waiting.extend_from_slice(piece);
            match session.take(&waiting).unwrap() {
                Some(taken) => drop(waiting.drain(..taken)),
                None => return (session.out, true),
            }
        }
        (session.out, false)
    }

    #[test]
    fn requests_are_answered_alike_however_they_come() {
        let too_large = [b"set k 0 0 1100000\r\n", &vec![b'x'; 1_100_002][..]].concat();
        let input = [
            b"set k 5 0 3\r\nabc\r\nget k\nset  k 0 0 1 noreply\r\nb\r\nget k l k\r\n",
            &too_large[..],
            b"get k\r\nms m 2 q\r\nhi\r\nmg m v\r\nmn\r\nquit\r\nget k\r\n",
        ]
        .concat();
        let expected = "STORED\r\nVALUE k 5 3\r\nabc\r\nEND\r\n\
            VALUE k 0 1\r\nb\r\nVALUE k 0 1\r\nb\r\nEND\r\n\
            SERVER_ERROR object too large for cache\r\nEND\r\nVA 2\r\nhi\r\nMN\r\n";
        for size in [1, 7, 1000, input.len()] {
            assert_eq!(answers(&input, size), (expected.as_bytes().to_vec(), true), "{size}");
        }
    }

    #[test]
    fn a_client_whose_framing_is_lost_is_told_and_dropped() {
        let expected = b"CLIENT_ERROR bad data chunk\r\n".to_vec();
        assert_eq!(answers(b"set k 0 0 1\r\nabc\r\nget k\r\n", 100), (expected, true));
    }
}
