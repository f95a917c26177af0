//! A small memcached: enough of `set` and `get` to stand behind a proxy whose instructions are
//! being counted, where four real ones would only add noise.
//!
//! It keeps what it is given and gives it back, so replies can be verified, and it is one process
//! on several ports with one store per port, so a key sent to the wrong server is a miss. It ends
//! when it is killed.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;

use memchr::memchr;
use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::io::Errno;

use crate::channel::{Channel, Flushed, Received};

/// What a key holds: ` <flags> <length>\r\n<data>\r\n`, the reply without `VALUE <key>`.
type Store = HashMap<Box<[u8]>, Box<[u8]>>;

/// Serves `port_count` free ports, printed on one line of the standard output, until killed.
pub(crate) fn serve(port_count: u16) -> io::Result<Infallible> {
    let mock = Mock::bind(port_count)?;
    let ports: Vec<_> = mock.ports()?.iter().map(u16::to_string).collect();
    println!("{}", ports.join(" "));
    mock.run()
}

struct Mock {
    poll: OwnedFd,
    servers: Vec<Server>,
    /// By token, which is the number of servers and this index.
    clients: Vec<Option<Client>>,
}

struct Server {
    listener: TcpListener,
    store: Store,
}

struct Client {
    channel: Channel,
    server: usize,
}

impl Mock {
    fn bind(port_count: u16) -> io::Result<Self> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut servers = Vec::new();
        for token in 0..u64::from(port_count) {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            listener.set_nonblocking(true)?;
            let token = epoll::EventData::new_u64(token);
            epoll::add(&poll, &listener, token, epoll::EventFlags::IN)?;
            servers.push(Server { listener, store: Store::new() });
        }
        Ok(Self { poll, servers, clients: Vec::new() })
    }

    fn ports(&self) -> io::Result<Vec<u16>> {
        self.servers.iter().map(|server| Ok(server.listener.local_addr()?.port())).collect()
    }

    fn run(mut self) -> io::Result<Infallible> {
        let mut events = Vec::with_capacity(256);
        loop {
            events.clear();
            match epoll::wait(&self.poll, spare_capacity(&mut events), None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                self.handle_event(event.data.u64())?;
            }
        }
    }

    fn handle_event(&mut self, token: u64) -> io::Result<()> {
        let token = usize::try_from(token).expect("made from an index");
        let Some(index) = token.checked_sub(self.servers.len()) else { return self.accept(token) };
        // A client that fails is of no interest to the others.
        if !self.answer(index).is_ok_and(|received| received != Received::Closed) {
            self.clients[index] = None;
        }
        Ok(())
    }

    fn accept(&mut self, server: usize) -> io::Result<()> {
        let (stream, _) = match self.servers[server].listener.accept() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            accepted => accepted?,
        };
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let token = (self.servers.len() + self.clients.len()) as u64;
        epoll::add(
            &self.poll,
            &stream,
            epoll::EventData::new_u64(token),
            epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET,
        )?;
        self.clients.push(Some(Client { channel: Channel::new(stream.into()), server }));
        Ok(())
    }

    /// Receives until there is nothing more, answering each time: events are edges.
    fn answer(&mut self, index: usize) -> io::Result<Received> {
        let Some(client) = &mut self.clients[index] else { return Ok(Received::Closed) };
        let store = &mut self.servers[client.server].store;
        let channel = &mut client.channel;
        while channel.flush()? == Flushed::All {
            let received = channel.receive()?;
            if received != Received::Bytes {
                return Ok(received);
            }
            let used_bytes = answer_all(&channel.inbox, store, &mut channel.outbox)?;
            channel.consume(used_bytes);
        }
        Ok(Received::Nothing)
    }
}

/// Answers the whole requests in `input`; returns their length.
fn answer_all(input: &[u8], store: &mut Store, out: &mut Vec<u8>) -> io::Result<usize> {
    let mut used_bytes = 0;
    while let Some(end) = memchr(b'\n', &input[used_bytes..]) {
        let (line, rest) = input[used_bytes..].split_at(end + 1);
        let line = line.trim_ascii_end();
        let mut words = line.split(|byte| *byte == b' ');
        let data_len = match words.next() {
            Some(b"set") => match store_value(words, rest, store)? {
                None => break,
                Some(data_len) => {
                    out.extend_from_slice(b"STORED\r\n");
                    data_len
                }
            },
            command => {
                answer_line(command.unwrap_or_default(), words, store, out);
                0
            }
        };
        used_bytes += end + 1 + data_len;
    }
    Ok(used_bytes)
}

/// Stores the value of a `set <key> <flags> <expiry> <length>` whose data is at the start of
/// `rest`; returns the length of the data and its line end, or `None` if it isn't all there.
fn store_value<'a>(
    mut words: impl Iterator<Item = &'a [u8]>,
    rest: &[u8],
    store: &mut Store,
) -> io::Result<Option<usize>> {
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "a malformed set");
    let mut word = || words.next().ok_or_else(malformed);
    let (key, flags, _expiry, len) = (word()?, word()?, word()?, word()?);
    let len = str::from_utf8(len).ok().and_then(|len| len.parse::<usize>().ok());
    let data_len = len.ok_or_else(malformed)? + 2;
    let Some(data) = rest.get(..data_len) else { return Ok(None) };
    let header = [b" ", flags, format!(" {}\r\n", data_len - 2).as_bytes()].concat();
    store.insert(key.into(), [header.as_slice(), data].concat().into());
    Ok(Some(data_len))
}

/// Answers a request of one line. `version` and the meta no-op are what proxies greet with.
fn answer_line<'a>(
    command: &[u8],
    keys: impl Iterator<Item = &'a [u8]>,
    store: &Store,
    out: &mut Vec<u8>,
) {
    match command {
        b"get" => {
            for key in keys {
                if let Some(value) = store.get(key) {
                    out.extend_from_slice(b"VALUE ");
                    out.extend_from_slice(key);
                    out.extend_from_slice(value);
                }
            }
            out.extend_from_slice(b"END\r\n");
        }
        b"version" => out.extend_from_slice(b"VERSION 1.6.18\r\n"),
        b"mn" => out.extend_from_slice(b"MN\r\n"),
        _ => out.extend_from_slice(b"ERROR\r\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_can_be_got() {
        let (mut store, mut out) = (Store::new(), Vec::new());
        let input = b"set a 5 0 3\r\nxyz\r\nget b a\r\nversion\r\nset a 0 0 10\r\nxy";
        let used_bytes = answer_all(input, &mut store, &mut out).unwrap();
        assert_eq!(used_bytes, input.len() - 16);
        let expected = "STORED\r\nVALUE a 5 3\r\nxyz\r\nEND\r\nVERSION 1.6.18\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn the_generator_is_content_with_the_mock() {
        use crate::channel::Target;
        use crate::dataset::Dataset;
        use crate::run;
        use crate::workload::{Limit, Mix, Pace, Plan};

        let mock = Mock::bind(1).unwrap();
        let port = mock.ports().unwrap()[0];
        std::thread::spawn(move || mock.run().unwrap());
        let target = Target::Tcp(([127, 0, 0, 1], port).into());
        let dataset = Dataset::new(50, 20_000);
        run::preload(&target, &dataset).unwrap();
        let plan = Plan {
            mix: Mix::Random { sets: 1, gets: 1, keys_per_get: 20 },
            pace: Pace::Closed,
            limit: Limit::Requests(500),
            pipeline: 4,
            seed: 1,
        };
        let connections = run::open_greeted(&target, &dataset, 3).unwrap();
        let tally = run::run(connections, &dataset, &plan).unwrap().tally;
        assert_eq!((tally.requests, tally.bad, tally.miss, tally.errors), (500, 0, 0, 0));
    }
}
