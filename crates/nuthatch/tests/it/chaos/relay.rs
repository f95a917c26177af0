//! A relay between the proxy and one server, with faults that the test switches on and off.
//!
//! The rule: one thread and one `poll` for all connections of a relay, so that a fault is in force for all of
//! them when `set` returns, and nothing is left when the relay is dropped.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::conn::PATIENCE;
use crate::harness::free_port;
use crate::random::Random;

use super::link::{self, Link};
use super::reply::Protocol;

/// What was held is passed within so many milliseconds.
const LAG_MAX: usize = 60;

/// What the relay does to connections and replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing.
    Pass,
    /// Sends the proxy so many bytes, then pauses.
    Slow { pause: Duration, bytes: usize },
    /// Resets the connections that are open; new ones pass.
    ResetOpen,
    /// Resets each new connection; those that are open pass.
    ResetNew,
    /// Takes connections and keeps them, but passes nothing in these directions.
    Silent { requests: bool, replies: bool },
    /// Closes all connections, and nobody listens.
    Refuse,
    /// Ends or stalls each connection after so many bytes of a reply.
    Half { bytes: usize, then: Then },
    /// Closes each connection with what a server says that has too many.
    Full,
    /// Now and then sends another reply than the server's.
    Lie(Lie),
}

/// What comes after half a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    Close,
    Stall,
}

/// What is sent in the place of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lie {
    /// Random bytes.
    Noise,
    /// A reply to some other request.
    Other,
    /// The next reply, and then this one.
    Exchanged,
    Twice,
    /// Nothing.
    Dropped,
}

impl Fault {
    pub(super) fn holds_requests(&self) -> bool {
        matches!(self, Self::Silent { requests: true, .. })
    }

    pub(super) fn holds_replies(&self) -> bool {
        matches!(self, Self::Silent { replies: true, .. })
    }
}

/// A port in front of a server.
#[derive(Debug)]
pub(super) struct Relay {
    pub(super) port: u16,
    orders: Option<Sender<(Fault, Sender<()>)>>,
    /// Wakes the thread: it waits for sockets only.
    bell: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// `seed` is for the faults that choose at random.
    pub(super) fn start(protocol: Protocol, server: u16, seed: u64) -> Self {
        let port = free_port();
        let (bell, ear) = UnixStream::pair().unwrap();
        ear.set_nonblocking(true).unwrap();
        let (orders, order) = channel();
        let state = State {
            protocol,
            port,
            server,
            fault: Fault::Pass,
            random: Random::new(seed),
            listener: Some(listen(port)),
            links: Vec::new(),
            refused: Vec::new(),
        };
        let thread = thread::spawn(move || state.run(&order, &ear));
        Self { port, orders: Some(orders), bell, thread: Some(thread) }
    }

    /// Returns when the fault is in force.
    pub(super) fn set(&mut self, fault: Fault) {
        let (done, is_done) = channel();
        self.orders.as_ref().unwrap().send((fault, done)).expect("the relay runs");
        self.bell.write_all(b"x").unwrap();
        is_done.recv_timeout(PATIENCE).expect("the relay runs");
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.orders = None;
        // Nobody hears it if the thread has panicked.
        let _ = self.bell.write_all(b"x");
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || thread::panicking(), "the relay panicked");
    }
}

struct State {
    protocol: Protocol,
    port: u16,
    server: u16,
    fault: Fault,
    random: Random,
    listener: Option<TcpListener>,
    links: Vec<Link>,
    /// Connections that were told that the server is full, until the proxy has closed them: it must read
    /// that before it sees the end.
    refused: Vec<TcpStream>,
}

impl State {
    fn run(mut self, orders: &Receiver<(Fault, Sender<()>)>, ear: &UnixStream) {
        loop {
            self.wait(ear);
            let _ = (&*ear).read(&mut [0; 64]);
            loop {
                match orders.try_recv() {
                    Ok((fault, done)) => {
                        self.begin(fault);
                        // The test may have given up waiting.
                        let _ = done.send(());
                    }
                    Err(std::sync::mpsc::TryRecvError::Empty) => break,
                    Err(std::sync::mpsc::TryRecvError::Disconnected) => return,
                }
            }
            self.accept();
            let (fault, random) = (self.fault, &mut self.random);
            self.links.retain_mut(|link| link.turn(&fault, random));
            self.refused.retain_mut(|socket| socket.read(&mut [0; 4096]).map_or(true, |n| n > 0));
        }
    }

    fn wait(&self, ear: &UnixStream) {
        let mut polled = vec![PollFd::new(ear, PollFlags::IN)];
        polled.extend(self.listener.iter().map(|socket| PollFd::new(socket, PollFlags::IN)));
        polled.extend(self.refused.iter().map(|socket| PollFd::new(socket, PollFlags::IN)));
        for link in &self.links {
            link.waits(&self.fault, &mut polled);
        }
        let next = self.links.iter().filter_map(Link::resumes).min();
        let limit = next.map(|at| {
            let left = at.saturating_duration_since(Instant::now()) + Duration::from_micros(100);
            Timespec { tv_sec: 0, tv_nsec: left.subsec_nanos().into() }
        });
        // A signal is a reason to look, too.
        let _ = poll(&mut polled, limit.as_ref());
    }

    fn begin(&mut self, fault: Fault) {
        let was_silent = self.fault.holds_requests();
        self.fault = fault;
        for link in &mut self.links {
            // What was held arrives in any order: an old connection may come behind a new one.
            let lag = if was_silent { self.random.below(LAG_MAX) } else { 0 };
            link.release(Duration::from_millis(lag as u64));
        }
        match fault {
            Fault::ResetOpen => self.links.drain(..).for_each(Link::reset),
            Fault::Refuse => {
                self.listener = None;
                self.links.clear();
                self.refused.clear();
                return;
            }
            Fault::Full => self.links.clear(),
            _ => {}
        }
        if self.listener.is_none() {
            self.listener = Some(listen(self.port));
        }
    }

    fn accept(&mut self) {
        while let Some(Ok((proxy, _))) = self.listener.as_ref().map(TcpListener::accept) {
            match self.fault {
                Fault::ResetNew => link::reset(proxy),
                Fault::Full => self.say_full(proxy),
                _ => match TcpStream::connect((Ipv4Addr::LOCALHOST, self.server)) {
                    Ok(server) => self.links.push(Link::new(self.protocol, proxy, server)),
                    // It was killed.
                    Err(_) => link::reset(proxy),
                },
            }
        }
    }

    fn say_full(&mut self, mut proxy: TcpStream) {
        let text: &[u8] = match self.protocol {
            Protocol::Memcached => b"ERROR Too many open connections\r\n",
            Protocol::Redis => b"-ERR max number of clients reached\r\n",
        };
        // The proxy may be gone already.
        let _ = proxy.write_all(text);
        let _ = proxy.shutdown(std::net::Shutdown::Write);
        proxy.set_nonblocking(true).unwrap();
        self.refused.push(proxy);
    }
}

/// Listens on the port, which a connection of before may hold for a moment.
fn listen(port: u16) -> TcpListener {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(listener) => {
                listener.set_nonblocking(true).unwrap();
                return listener;
            }
            Err(error) => assert!(Instant::now() < deadline, "port {port}: {error}"),
        }
        thread::sleep(Duration::from_millis(5));
    }
}
