//! A small memcached or Redis: enough of reads and stores to stand behind a proxy whose
//! instructions are being counted, where four real ones would only add noise.
//!
//! It keeps what it is given and gives it back, so replies can be verified, and it is one process
//! on several ports with one store per port, so a key sent to the wrong server is a miss. It ends
//! when it is killed.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;

use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::io::Errno;

use crate::channel::{Channel, Flushed, Received};
use crate::protocol::Protocol;

mod memcached;
mod redis;

/// What each key holds, in the form in which the protocol replies it.
type Store = HashMap<Box<[u8]>, Box<[u8]>>;

/// Serves `port_count` free ports, printed on one line of the standard output, until killed.
pub(crate) fn serve(protocol: Protocol, port_count: u16) -> io::Result<Infallible> {
    let mock = Mock::bind(protocol, port_count)?;
    let ports: Vec<_> = mock.ports()?.iter().map(u16::to_string).collect();
    println!("{}", ports.join(" "));
    mock.run()
}

struct Mock {
    protocol: Protocol,
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
    fn bind(protocol: Protocol, port_count: u16) -> io::Result<Self> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut servers = Vec::new();
        for token in 0..u64::from(port_count) {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            listener.set_nonblocking(true)?;
            let token = epoll::EventData::new_u64(token);
            epoll::add(&poll, &listener, token, epoll::EventFlags::IN)?;
            servers.push(Server { listener, store: Store::new() });
        }
        Ok(Self { protocol, poll, servers, clients: Vec::new() })
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
            let (inbox, outbox) = (&channel.inbox, &mut channel.outbox);
            let used_bytes = match self.protocol {
                Protocol::Memcached => memcached::answer_all(inbox, store, outbox)?,
                Protocol::Redis => redis::answer_all(inbox, store, outbox)?,
            };
            channel.consume(used_bytes);
        }
        Ok(Received::Nothing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::Address;
    use crate::conn::Target;
    use crate::dataset::Dataset;
    use crate::run;
    use crate::workload::{Limit, Mix, Pace, Plan};

    /// Stores every key, then mixes stores of `keys_per_set` keys and reads of 20.
    fn load_mock(protocol: Protocol, keys_per_set: u32) {
        let mock = Mock::bind(protocol, 1).unwrap();
        let port = mock.ports().unwrap()[0];
        std::thread::spawn(move || mock.run().unwrap());
        let address = Address::Tcp(([127, 0, 0, 1], port).into());
        let target = Target { address, protocol };
        let dataset = Dataset::new(50, 20_000);
        run::preload(&target, &dataset).unwrap();
        let plan = Plan {
            mix: Mix::Random { sets: 1, gets: 1, keys_per_set, keys_per_get: 20 },
            pace: Pace::Closed,
            limit: Limit::Requests(500),
            pipeline: 4,
            seed: 1,
        };
        let connections = run::open_greeted(&target, &dataset, 3).unwrap();
        let tally = run::run(connections, &dataset, &plan).unwrap().tally;
        assert_eq!((tally.requests, tally.bad, tally.miss, tally.errors), (500, 0, 0, 0));
    }

    #[test]
    fn the_generator_is_content_with_the_memcached() {
        load_mock(Protocol::Memcached, 1);
    }

    #[test]
    fn the_generator_is_content_with_the_redis() {
        load_mock(Protocol::Redis, 7);
    }
}
