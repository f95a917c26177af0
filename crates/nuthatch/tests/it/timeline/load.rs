//! The load of an application: it reads keys by chance, stores what it missed, and changes values.
//!
//! The rule: a key is of one client alone, which so knows which values a read may find: the last one that was
//! acknowledged, or one whose write failed later, as that may have been carried out.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::away::Cache;
use crate::conn::Conn;
use crate::harness::Proxy;
use crate::random::Random;

const CLIENTS: usize = 8;
const KEYS: usize = 400;
/// One request of so many changes a value; the others read.
const WRITES_ONE_IN: usize = 10;
const PAUSE: Duration = Duration::from_millis(4);

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Done,
    Miss,
    Error,
    /// A read found something older than what was acknowledged.
    Stale,
}

/// What a client got.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    pub(super) when: Instant,
    pub(super) took: Duration,
    pub(super) is_read: bool,
    pub(super) what: What,
}

/// The clients at work.
pub(super) struct Load<C> {
    is_over: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Vec<Answer>>>,
    kind: PhantomData<C>,
}

impl<C: Cache + 'static> Load<C> {
    /// Stores every key, and starts the clients.
    pub(super) fn start(proxy: &Proxy) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let clients: Vec<Client<C>> =
            (0..CLIENTS).map(|nth| Client::new(nth, proxy.conn())).collect();
        let work = |mut client: Client<C>| {
            let is_over = Arc::clone(&is_over);
            thread::spawn(move || {
                client.work(&is_over);
                client.answers
            })
        };
        let clients = clients.into_iter().map(work).collect();
        Self { is_over, clients, kind: PhantomData }
    }

    pub(super) fn stop(self) -> Vec<Answer> {
        self.is_over.store(true, Ordering::Relaxed);
        self.clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    }
}

struct Client<C> {
    conn: Conn,
    /// For each key, how often it was changed, and from which change on a read may find it.
    keys: BTreeMap<usize, (usize, usize)>,
    random: Random,
    answers: Vec<Answer>,
    kind: PhantomData<fn() -> C>,
}

impl<C: Cache> Client<C> {
    fn new(nth: usize, conn: Conn) -> Self {
        let keys = (nth..KEYS).step_by(CLIENTS).map(|key| (key, (0, 0))).collect();
        let random = Random::new(nth as u64);
        let mut client = Self { conn, keys, random, answers: Vec::new(), kind: PhantomData };
        let all: Vec<usize> = client.keys.keys().copied().collect();
        all.into_iter().for_each(|key| client.store(key));
        assert!(client.answers.drain(..).all(|answer| answer.what == What::Done));
        client
    }

    fn work(&mut self, is_over: &AtomicBool) {
        let keys: Vec<usize> = self.keys.keys().copied().collect();
        while !is_over.load(Ordering::Relaxed) {
            thread::sleep(PAUSE);
            let key = *self.random.pick(&keys);
            if self.random.one_in(WRITES_ONE_IN) || self.read(key) == What::Miss {
                self.store(key);
            }
        }
    }

    fn note(&mut self, begun: Instant, is_read: bool, what: What) -> What {
        let took = begun.elapsed();
        self.answers.push(Answer { when: begun, took, is_read, what });
        what
    }

    fn store(&mut self, key: usize) {
        let (version, known) = self.keys.get_mut(&key).unwrap();
        *version += 1;
        let (begun, value) = (Instant::now(), version.to_string());
        let is_stored = C::set(&mut self.conn, &format!("key{key}"), &value);
        if is_stored {
            *known = *version;
        }
        self.note(begun, false, if is_stored { What::Done } else { What::Error });
    }

    fn read(&mut self, key: usize) -> What {
        let (version, known) = self.keys[&key];
        let begun = Instant::now();
        let what = match C::get(&mut self.conn, &format!("key{key}")) {
            Ok(None) => What::Miss,
            Ok(Some(value)) => {
                let found: usize = value.parse().unwrap();
                assert!(found <= version, "nobody wrote {found} to key{key}");
                if found >= known { What::Done } else { What::Stale }
            }
            Err(_) => What::Error,
        };
        self.note(begun, true, what)
    }
}
