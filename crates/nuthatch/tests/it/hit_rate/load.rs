//! The load of an application: it reads keys by chance, stores what it missed, and changes values.
//!
//! The rule: a key is of one client alone, which so knows the last value that was acknowledged; what it
//! reads must be this value, through whichever proxy.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::conn::Conn;
use crate::random::Random;
use crate::reload::Changing;

const CLIENTS: usize = 4;
/// One request of so many stores a new value; the others read. With a tenth of 4000 requests a second and
/// 1000 keys, each key would change every other second: then the hit rate falls by more than a point while
/// one proxy asks the new server and another one the old server still, which has no value after a write.
const WRITES_ONE_IN: usize = 40;

/// How much is asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) keys: usize,
    /// Of all clients. A machine that is too slow for them has fewer.
    pub(super) requests_per_second: u32,
}

/// One read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Read {
    pub(super) when: Instant,
    pub(super) is_hit: bool,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) reads: Vec<Read>,
    /// Reads of another value than the last one that was acknowledged.
    pub(super) stale: usize,
    pub(super) errors: usize,
}

/// The clients at work.
pub(super) struct Running {
    is_over: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Done>>,
}

impl Load {
    /// Stores every key, and starts the clients; each has a connection to each proxy.
    pub(super) fn start(self, proxies: &[Changing]) -> Running {
        let is_over = Arc::new(AtomicBool::new(false));
        let clients = (0..CLIENTS).map(|number| {
            let conns = proxies.iter().map(|proxy| proxy.proxy.conn()).collect();
            let keys = (number..self.keys).step_by(CLIENTS);
            let versions = keys.map(|key| (key, 0)).collect();
            let random = Random::new(number as u64);
            let mut client = Client { conns, versions, random, done: Done::default() };
            client.fill();
            client
        });
        let pause =
            Duration::from_secs(1) * u32::try_from(CLIENTS).unwrap() / self.requests_per_second;
        // All keys are stored before the first one is asked for.
        let clients: Vec<Client> = clients.collect();
        let work = |mut client: Client| {
            let is_over = Arc::clone(&is_over);
            thread::spawn(move || {
                client.work(pause, &is_over);
                client.done
            })
        };
        let clients = clients.into_iter().map(work).collect();
        Running { is_over, clients }
    }
}

impl Running {
    pub(super) fn stop(self) -> Done {
        self.is_over.store(true, Ordering::Relaxed);
        let mut sum = Done::default();
        for client in self.clients {
            let done = client.join().unwrap();
            sum.reads.extend(done.reads);
            sum.stale += done.stale;
            sum.errors += done.errors;
        }
        sum
    }
}

/// A client of all proxies.
struct Client {
    conns: Vec<Conn>,
    /// How often the value of each key was changed: what the application's database knows.
    versions: BTreeMap<usize, usize>,
    random: Random,
    done: Done,
}

impl Client {
    fn fill(&mut self) {
        let keys: Vec<usize> = self.versions.keys().copied().collect();
        for key in keys {
            self.store(key, 0);
        }
        assert_eq!(self.done.errors, 0, "not every key could be stored");
    }

    fn work(&mut self, pause: Duration, is_over: &AtomicBool) {
        let keys: Vec<usize> = self.versions.keys().copied().collect();
        let start = Instant::now();
        let mut due = start;
        while !is_over.load(Ordering::Relaxed) {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            due += pause;
            let key = *self.random.pick(&keys);
            let proxy = self.random.below(self.conns.len());
            if self.random.one_in(WRITES_ONE_IN) {
                *self.versions.get_mut(&key).unwrap() += 1;
                self.store(key, proxy);
            } else {
                self.read(key, proxy);
            }
        }
    }

    fn store(&mut self, key: usize, proxy: usize) {
        let value = self.value(key);
        self.conns[proxy].send(format!("set user:{key} 0 0 {}\r\n{value}\r\n", value.len()));
        let reply = self.conns[proxy].read_line().unwrap();
        self.done.errors += usize::from(reply != b"STORED\r\n");
    }

    /// Reads a key. The value of a missed one is computed, and stored.
    fn read(&mut self, key: usize, proxy: usize) {
        let value = self.value(key);
        let hit = format!("VALUE user:{key} 0 {}\r\n{value}\r\nEND\r\n", value.len());
        self.conns[proxy].send(format!("get user:{key}\r\n"));
        let reply = self.conns[proxy].read_reply().unwrap();
        let is_hit = reply.starts_with(b"VALUE ");
        let is_miss = reply == b"END\r\n";
        self.done.stale += usize::from(is_hit && reply != hit.as_bytes());
        self.done.errors += usize::from(!is_hit && !is_miss);
        self.done.reads.push(Read { when: Instant::now(), is_hit });
        if is_miss {
            self.store(key, proxy);
        }
    }

    fn value(&self, key: usize) -> String {
        format!("user {key}, version {}", self.versions[&key])
    }
}
