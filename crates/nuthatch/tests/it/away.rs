//! Servers that are away and come back with what they had: what clients are told meanwhile, and after.
//!
//! A server that is stopped (`SIGSTOP`) keeps its values, and so has old ones when it goes on.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nuthatch_harness::redis::command;
use rustix::process::Signal;

use crate::conn::{Conn, PATIENCE};
use crate::harness::{Memcached, Process, Program, Proxy, Redis, named};

const KEYS: usize = 120;

/// Clients of a cache, whatever its protocol.
trait Cache {
    fn program(program: Program, settings: &str) -> (Proxy, Vec<Self>)
    where
        Self: Sized;
    fn process(&self) -> &Process;
    /// Whether it was acknowledged.
    fn set(conn: &mut Conn, key: &str, value: &str) -> bool;
    fn delete(conn: &mut Conn, key: &str) -> bool;
    /// The value, or that there is none; an error in its own words.
    fn get(conn: &mut Conn, key: &str) -> Result<Option<String>, String>;
}

impl Cache for Memcached {
    fn program(program: Program, settings: &str) -> (Proxy, Vec<Self>) {
        let servers = Self::start_many(3);
        let entry = |(number, server): (usize, &Self)| format!("{} m{number}", server.entry());
        let entries: Vec<_> = servers.iter().enumerate().map(entry).collect();
        (Proxy::with_pool(program, settings, &entries), servers)
    }

    fn process(&self) -> &Process {
        &self.process
    }

    fn set(conn: &mut Conn, key: &str, value: &str) -> bool {
        conn.send(format!("set {key} 0 0 {}\r\n{value}\r\n", value.len()));
        conn.read_line().unwrap() == b"STORED\r\n"
    }

    fn delete(conn: &mut Conn, key: &str) -> bool {
        conn.send(format!("delete {key}\r\n"));
        let line = conn.read_line().unwrap();
        line == b"DELETED\r\n" || line == b"NOT_FOUND\r\n"
    }

    fn get(conn: &mut Conn, key: &str) -> Result<Option<String>, String> {
        conn.send(format!("get {key}\r\n"));
        let reply = String::from_utf8(conn.read_reply().unwrap()).unwrap();
        match reply.lines().collect::<Vec<_>>()[..] {
            ["END"] => Ok(None),
            [_, value, "END"] => Ok(Some(value.to_owned())),
            _ => Err(reply),
        }
    }
}

impl Cache for Redis {
    fn program(program: Program, settings: &str) -> (Proxy, Vec<Self>) {
        let servers = Self::start_many(3);
        let settings = format!("redis: true\n{settings}");
        (Proxy::with_pool(program, &settings, &named(&servers)), servers)
    }

    fn process(&self) -> &Process {
        &self.process
    }

    fn set(conn: &mut Conn, key: &str, value: &str) -> bool {
        conn.send(command(["SET", key, value]));
        conn.read_line().unwrap() == b"+OK\r\n"
    }

    fn delete(conn: &mut Conn, key: &str) -> bool {
        conn.send(command(["DEL", key]));
        conn.read_line().unwrap().starts_with(b":")
    }

    fn get(conn: &mut Conn, key: &str) -> Result<Option<String>, String> {
        let reply = String::from_utf8(conn.call(["GET", key]).unwrap()).unwrap();
        match reply.lines().collect::<Vec<_>>()[..] {
            ["$-1"] => Ok(None),
            [_, value] => Ok(Some(value.to_owned())),
            _ => Err(reply),
        }
    }
}

/// What clients saw.
#[derive(Debug, Default)]
struct Seen {
    /// Acknowledged overwrites and deletions while the server was away.
    acknowledged: usize,
    /// Requests that failed from when the server was ejected until it was back.
    failed_while_away: usize,
    /// Keys of the server, as they were read: the value of then, an older one, or none.
    fresh: usize,
    stale: usize,
    missing: usize,
}

/// Stops a server until it is ejected, changes all keys, lets it go on, waits until it is back, and reads all
/// keys, while it is away and after.
fn absence<C: Cache>(program: Program, settings: &str) -> (Seen, Seen) {
    let (proxy, servers) = C::program(program, settings);
    let mut conn = proxy.conn();
    let keys: Vec<String> = (0..KEYS).map(|number| format!("key{number}")).collect();
    assert!(keys.iter().all(|key| C::set(&mut conn, key, "old")));
    servers[0].process().signal(Signal::STOP);
    let deadline = Instant::now() + PATIENCE;
    let ejections = || {
        let text = Conn::tcp(("127.0.0.1", proxy.stats_port)).read_to_end();
        let stats: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let pools = stats.as_object().unwrap().values().filter_map(|pool| pool.as_object());
        pools.filter_map(|pool| pool.get("server_ejects")?.as_u64()).sum::<u64>()
    };
    while ejections() == 0 {
        assert!(Instant::now() < deadline, "it is not ejected");
        keys.iter().take(20).for_each(|key| drop(C::get(&mut conn, key)));
    }
    std::thread::sleep(Duration::from_millis(50));
    let (mut away, mut back) = (Seen::default(), Seen::default());
    let mut now: BTreeMap<&str, Option<&str>> = BTreeMap::new();
    for (number, key) in keys.iter().enumerate() {
        let value = (number % 3 > 0).then_some("new");
        let done = match value {
            Some(value) => C::set(&mut conn, key, value),
            None => C::delete(&mut conn, key),
        };
        if done {
            now.insert(key, value);
            away.acknowledged += 1;
        } else {
            away.failed_while_away += 1;
        }
    }
    look::<C>(&mut conn, &now, &mut away);
    servers[0].process().signal(Signal::CONT);
    // It is back when keys are on it again: a key that is set there is read there.
    std::thread::sleep(Duration::from_millis(1200));
    look::<C>(&mut conn, &now, &mut back);
    (away, back)
}

fn look<C: Cache>(conn: &mut Conn, now: &BTreeMap<&str, Option<&str>>, seen: &mut Seen) {
    for (key, value) in now {
        match C::get(conn, key) {
            Ok(None) => seen.missing += 1,
            Ok(found) if found.as_deref() == *value => seen.fresh += 1,
            Ok(_) => seen.stale += 1,
            Err(_) => seen.failed_while_away += 1,
        }
    }
}

const EJECT: &str = "hash: md5\ntimeout: 100\nserver_retry_timeout: 300\nserver_failure_limit: 1\n";

#[test]
#[ignore = "needs memcached and redis-server: run make it"]
fn with_a_journal_nothing_stale_comes_back() {
    for mode in ["rehash", "error", "miss"] {
        let settings = format!("{EJECT}on_server_failure: {mode}");
        for (away, back) in [
            absence::<Memcached>(Program::UnderTest, &settings),
            absence::<Redis>(Program::UnderTest, &settings),
        ] {
            println!("{mode}: {away:?} {back:?}");
            assert_eq!((away.stale, back.stale, back.failed_while_away), (0, 0, 0), "{mode}");
            assert!(
                away.acknowledged >= KEYS / 2 && back.fresh > KEYS / 3,
                "{mode} {away:?} {back:?}"
            );
            if mode == "rehash" {
                assert_eq!(away.failed_while_away, 0);
            }
        }
    }
}

#[test]
#[ignore = "needs memcached and nutcracker: run make it"]
fn as_twemproxy_does_it_stale_values_come_back() {
    let settings = format!("{EJECT}auto_eject_hosts: true");
    for program in [Program::Nutcracker, Program::UnderTest] {
        let (away, back) = absence::<Memcached>(program, &settings);
        println!("{program:?}: {away:?} {back:?}");
        assert!(back.stale > KEYS / 10, "{program:?}: {away:?} {back:?}");
    }
}
