//! Every key goes to the server nutcracker sends it to, seen from outside.
//!
//! Fake memcacheds answer each get with their own number, and the proxy is asked for all keys of
//! the recorded decisions: 12 hashes, ketama and modula, three hash tags, 21 lists of servers,
//! four of which have a server that refuses and must be ejected first.
//!
//! A server's ring name is what places it, so the fakes listen on free ports and are given the
//! recorded names: a list whose host names nobody can resolve is checked like any other. Lists
//! whose own addresses can be bound here are then checked a second time without given names.

use std::collections::HashMap;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use serde_json::Value;

use crate::conn::{Conn, show};
use crate::fake::RefusingPort;
use crate::harness::{Program, Proxy, free_port, pool};

const DISTRIBUTIONS: [&str; 2] = ["ketama", "modula"];
const HASHES: [&str; 12] = [
    "one_at_a_time",
    "md5",
    "crc16",
    "crc32",
    "crc32a",
    "fnv1_64",
    "fnv1a_64",
    "fnv1_32",
    "fnv1a_32",
    "hsieh",
    "murmur",
    "jenkins",
];
/// What the files call it, and its line in a configuration.
const TAGS: [(&str, &str); 3] =
    [("none", ""), ("braces", "hash_tag: \"{}\""), ("dollars", "hash_tag: \"$$\"")];

/// So many pools at once that 100 servers stay below the usual limit of open files.
const POOLS_AT_ONCE: usize = 24;

#[test]
fn every_key_goes_where_nutcracker_sends_it() {
    let (mut decisions, mut lists) = (0, 0);
    for list in List::all() {
        decisions += list.check_with_given_names();
        lists += 1;
    }
    eprintln!("{decisions} decisions over {lists} lists");
    assert_eq!((decisions, lists), (326_592, 21));
}

#[test]
fn a_servers_name_is_derived_from_its_address() {
    let mut decisions = 0;
    for list in List::all().filter(|list| list.refusing.is_none()) {
        match list.check_with_own_addresses() {
            Some(count) => decisions += count,
            None => eprintln!("{}: not all of its addresses can be bound here", list.name),
        }
    }
    eprintln!("{decisions} decisions");
    assert_ne!(decisions, 0, "no list at all could be checked");
}

/// One list of servers with the decisions recorded for it.
struct List {
    name: String,
    /// As in a configuration: `host:port:weight [name]`.
    servers: Vec<String>,
    ring_names: Vec<String>,
    /// The server that is out of the ring.
    refusing: Option<usize>,
    keys: Vec<(String, Vec<u8>)>,
    /// Per hash tag.
    expected: HashMap<&'static str, Decisions>,
    /// The same before any server was ejected.
    expected_before: HashMap<&'static str, Decisions>,
}

/// From a key's id and `distribution:hash` to the server's place in the list.
type Decisions = HashMap<(String, String), usize>;

impl List {
    fn all() -> impl Iterator<Item = Self> {
        let lists: Value = serde_json::from_str(&read("lists.json")).unwrap();
        let lists = lists.as_object().unwrap().clone();
        let keys = sendable_keys();
        lists.into_iter().map(move |(name, list)| {
            let strings = |field: &str| -> Vec<String> {
                let values = list[field].as_array().unwrap().iter();
                values.map(|value| value.as_str().unwrap().to_owned()).collect()
            };
            let before = name.split("_eject").next().unwrap();
            Self {
                servers: strings("servers"),
                ring_names: strings("ring_names"),
                refusing: list["ejected_server"].as_u64().map(|i| i.try_into().unwrap()),
                keys: keys.clone(),
                expected: decisions(&name),
                expected_before: decisions(before),
                name,
            }
        })
    }

    fn check_with_given_names(&self) -> usize {
        let refusing = RefusingPort::new();
        let mut listeners: Vec<_> = self.servers.iter().map(|_| Some(listen_anywhere())).collect();
        let ports: Vec<_> =
            listeners.iter().flatten().map(|l| l.local_addr().unwrap().port()).collect();
        let entries = self.ring_names.iter().zip(&self.servers).enumerate();
        let mut entries: Vec<_> = entries
            .map(|(i, (name, server))| format!("127.0.0.1:{}:{} {name}", ports[i], weight(server)))
            .collect();
        if let Some(i) = self.refusing {
            listeners[i] = None;
            entries[i] = format!("127.0.0.1:{}:1 {}", refusing.port, self.ring_names[i]);
            entries[i] = entries[i].replace(":1 ", &format!(":{} ", weight(&self.servers[i])));
        }
        let _servers = NumberedServers::start(listeners);
        // A plain scalar of YAML may not end in a colon, as a unix socket's ring name does.
        let quoted: Vec<_> = entries.iter().map(|entry| format!("\"{entry}\"")).collect();
        self.check(&quoted)
    }

    /// `None` when an address is not to be had.
    fn check_with_own_addresses(&self) -> Option<usize> {
        let listeners = self.servers.iter().map(|server| {
            let address = server.split(' ').next()?.rsplit_once(':')?.0;
            let (host, port) = address.rsplit_once(':')?;
            TcpListener::bind((host, port.parse().ok()?)).ok().map(Some)
        });
        let _servers = NumberedServers::start(listeners.collect::<Option<_>>()?);
        Some(self.check(&self.servers))
    }

    /// Asks through every pool for every key, and returns how many decisions were right.
    fn check(&self, entries: &[String]) -> usize {
        let mut pools = Vec::new();
        for distribution in DISTRIBUTIONS {
            for hash in HASHES {
                pools.extend(TAGS.map(|tag| (distribution, hash, tag)));
            }
        }
        let mut count = 0;
        for pools in pools.chunks(POOLS_AT_ONCE) {
            let ports: Vec<_> = pools.iter().map(|_| free_port()).collect();
            let config = ports.iter().zip(pools).map(|(&port, (distribution, hash, (_, tag)))| {
                let eject = if self.refusing.is_some() { EJECT_AT_ONCE } else { "" };
                let settings = format!(
                    "hash: {hash}\ndistribution: {distribution}\ntimeout: 4000\n{tag}{eject}"
                );
                pool(port, &settings, entries)
            });
            let proxy = Proxy::start(Program::UnderTest, &config.collect::<String>(), &ports);
            for (port, (distribution, hash, (tag, _))) in ports.iter().zip(pools) {
                let column = format!("{distribution}:{hash}");
                count += self.check_pool(Conn::tcp(("127.0.0.1", *port)), &column, tag);
            }
            drop(proxy);
        }
        count
    }

    fn check_pool(&self, mut conn: Conn, column: &str, tag: &'static str) -> usize {
        let mut ejected = self.refusing.is_none();
        if self.refusing.is_some() {
            // One failure ejects, and then the keys of that server have moved.
            let refused = self.ask_all(&mut conn).iter().position(Option::is_none);
            ejected = refused.is_some();
            if let Some(place) = refused {
                // A key of that server is answered when all workers have left the server, which takes
                // two messages between threads.
                conn.send([b"get ", &self.keys[place].1[..], b"\r\n"].concat());
                conn.read_reply().unwrap();
            }
        }
        // No key met the refusing server: nothing was ejected.
        let expected = if ejected { &self.expected } else { &self.expected_before };
        let answers = self.ask_all(&mut conn);
        for ((id, key), server) in self.keys.iter().zip(&answers) {
            let cell = (id.clone(), column.to_owned());
            let wanted = expected[tag].get(&cell).or_else(|| expected["none"].get(&cell));
            assert_eq!(
                *server,
                wanted.copied(),
                "{} {column} {tag}: key {id} {}",
                self.name,
                show(key)
            );
        }
        answers.len()
    }

    /// The number of the server that answered for each key, `None` for an error.
    fn ask_all(&self, conn: &mut Conn) -> Vec<Option<usize>> {
        let requests = self.keys.iter().map(|(_, key)| [b"get ", &key[..], b"\r\n"].concat());
        conn.send(requests.collect::<Vec<_>>().concat());
        let answer = |(_, key): &(String, Vec<u8>)| {
            let line = conn.read_line().unwrap();
            if line.starts_with(b"SERVER_ERROR ") {
                return None;
            }
            assert!(line.starts_with(&[b"VALUE ", &key[..], b" 0 "].concat()), "{}", show(&line));
            let number = conn.read_line().unwrap();
            conn.expect("END\r\n");
            Some(str::from_utf8(number.trim_ascii_end()).unwrap().parse().unwrap())
        };
        self.keys.iter().map(answer).collect()
    }
}

const EJECT_AT_ONCE: &str =
    "\nauto_eject_hosts: true\nserver_failure_limit: 1\nserver_retry_timeout: 100000";

fn weight(server: &str) -> &str {
    server.split(' ').next().unwrap().rsplit(':').next().unwrap()
}

/// The keys that a client may send: no empty or long ones, and none with a byte that ends a word or a
/// line.
fn sendable_keys() -> Vec<(String, Vec<u8>)> {
    let table = read("keys.csv");
    let keys = table.lines().skip(1).map(|line| {
        let mut cells = line.split(',');
        let id = cells.next().unwrap().to_owned();
        let hex = cells.nth(1).unwrap();
        let digits = (0..hex.len()).step_by(2).map(|i| &hex[i..i + 2]);
        (id, digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect::<Vec<_>>())
    });
    let unsendable = |byte: &u8| matches!(byte, 0 | b'\n' | b'\r' | b' ');
    keys.filter(|(_, key)| (1..=250).contains(&key.len()) && !key.iter().any(unsendable)).collect()
}

fn decisions(list: &str) -> HashMap<&'static str, Decisions> {
    let of_tag = |(tag, _)| (tag, parse_decisions(&read(&format!("routing_{list}_{tag}.csv"))));
    TAGS.into_iter().map(of_tag).collect()
}

fn parse_decisions(table: &str) -> Decisions {
    let mut rows = table.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let head = rows.next().unwrap();
    let cells = rows.flat_map(|row| {
        let pairs: Vec<_> = head[1..].iter().zip(&row[1..]).collect();
        let id = row[0].to_owned();
        pairs
            .into_iter()
            .map(move |(column, cell)| ((id.clone(), (*column).to_owned()), cell.parse().unwrap()))
            .collect::<Vec<_>>()
    });
    cells.collect()
}

fn read(file: &str) -> String {
    let vectors = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../core/tests/data/vectors");
    fs::read_to_string(vectors.join(file)).unwrap()
}

fn listen_anywhere() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

/// Fake memcacheds in one thread; each answers every key with its own number.
struct NumberedServers {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl NumberedServers {
    /// A place without listener has no server.
    fn start(listeners: Vec<Option<TcpListener>>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread = thread::spawn(move || serve(&listeners, &seen));
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for NumberedServers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().expect("taken here only").join();
        assert!(ended.is_ok() || thread::panicking(), "the fake servers failed");
    }
}

/// Serves until told to stop. Event numbers below the count of servers are listeners, those from
/// there on connections.
fn serve(listeners: &[Option<TcpListener>], stop: &AtomicBool) {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    let watch = |socket: &dyn AsFd, number: usize| {
        let data = epoll::EventData::new_u64(number.try_into().unwrap());
        epoll::add(&poll, socket.as_fd(), data, epoll::EventFlags::IN).unwrap();
    };
    for (number, listener) in listeners.iter().enumerate() {
        if let Some(listener) = listener {
            watch(listener, number);
        }
    }
    let mut peers: Vec<Option<Peer>> = Vec::new();
    let mut events = Vec::with_capacity(256);
    let tick = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
    while !stop.load(Ordering::Relaxed) {
        events.clear();
        epoll::wait(&poll, spare_capacity(&mut events), Some(&tick)).unwrap();
        for event in &events {
            let number = usize::try_from(event.data.u64()).unwrap();
            if let Some(listener) = listeners.get(number) {
                let (stream, _) =
                    listener.as_ref().expect("only these are watched").accept().unwrap();
                watch(&stream, listeners.len() + peers.len());
                peers.push(Some(Peer { stream, server: number, received: Vec::new() }));
            } else {
                let peer = &mut peers[number - listeners.len()];
                if peer.as_mut().is_some_and(|peer| !peer.answer()) {
                    *peer = None;
                }
            }
        }
    }
}

/// A proxy's connection to a fake server.
struct Peer {
    stream: TcpStream,
    server: usize,
    received: Vec<u8>,
}

impl Peer {
    /// Answers what is complete; false when the other side is gone.
    fn answer(&mut self) -> bool {
        let mut buffer = [0; 1 << 16];
        match self.stream.read(&mut buffer) {
            Ok(0) => return false,
            Ok(count) => self.received.extend_from_slice(&buffer[..count]),
            Err(error) => return error.kind() == ErrorKind::Interrupted,
        }
        let Some(end) = self.received.iter().rposition(|&byte| byte == b'\n') else { return true };
        let mut replies = Vec::new();
        for line in self.received.drain(..=end).collect::<Vec<_>>().split_inclusive(|&b| b == b'\n')
        {
            if line == b"version\r\n" {
                replies.extend_from_slice(b"VERSION 1.6.18\r\n");
                continue;
            }
            let keys = line.strip_prefix(b"get ").expect("only get is asked");
            let keys = keys.strip_suffix(b"\r\n").expect("lines end with CRLF");
            let number = self.server.to_string();
            for key in keys.split(|&byte| byte == b' ') {
                replies.extend_from_slice(b"VALUE ");
                replies.extend_from_slice(key);
                write!(replies, " 0 {}\r\n{number}\r\n", number.len()).unwrap();
            }
            replies.extend_from_slice(b"END\r\n");
        }
        self.stream.write_all(&replies).is_ok()
    }
}
