//! The servers of these tests, compared with real ones: the same bytes get the same replies.
//!
//! Values move between two real servers, with all the scripts, and each request to one of them goes to a server
//! of these tests as well. What only a real server can say, the bytes of a `DUMP` and their digest, is taken
//! from the real one in both directions.

use super::server::Redis;
use crate::fleet::kind::Server;
use crate::sim::resp::{Value, array, parse};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nuthatch_core::message::Outcome;
use nuthatch_core::redis::moving::{Carry, Fetched, Looked, read_fetch, read_look, read_number};
use nuthatch_core::redis::moving::{write_carry, write_unmark};

/// A server that ends with its guard.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Real {
    _server: Running,
    stream: TcpStream,
}

impl Real {
    fn start() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("it is bound").port();
        drop(free);
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", ""]);
        let started = command.stdout(Stdio::null()).spawn();
        let server = Running(started.expect("redis-server is installed"));
        for _ in 0..500 {
            if let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) {
                stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
                return Self { _server: server, stream };
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("redis-server did not start");
    }

    fn ask(&mut self, request: &[u8]) -> Vec<u8> {
        self.stream.write_all(request).expect("it listens");
        let mut reply = Vec::new();
        let mut room = [0; 4096];
        while reply.is_empty() || parse(&reply).is_none() {
            let count = self.stream.read(&mut room).expect("it answers");
            assert!(count > 0, "it closed");
            reply.extend_from_slice(&room[..count]);
        }
        reply
    }
}

/// A real server, and one of these tests.
struct Both {
    real: Real,
    model: Redis,
}

impl Both {
    fn start() -> Self {
        Self { real: Real::start(), model: Redis::default() }
    }

    /// The reply of both.
    #[track_caller]
    fn ask(&mut self, line: &str) -> Vec<u8> {
        let request = array(&line.split(' ').collect::<Vec<&str>>());
        let reply = self.model(&request);
        assert_eq!(
            reply.escape_ascii().to_string(),
            self.real.ask(&request).escape_ascii().to_string(),
            "{line}"
        );
        reply
    }

    fn model(&mut self, request: &[u8]) -> Vec<u8> {
        self.model.serve(0, &mut request.to_vec(), 1_000_000_000).expect("a whole request")
    }

    /// What both say to a step that has no dump in it.
    #[track_caller]
    fn carry(&mut self, carry: &Carry<'_>, key: &str) -> Vec<u8> {
        let mut request = Vec::new();
        write_carry(carry, key.as_bytes(), &mut request);
        let reply = self.model(&request);
        let real = self.real.ask(&request);
        assert_eq!(reply.escape_ascii().to_string(), real.escape_ascii().to_string(), "{carry:?}");
        reply
    }

    /// What each of them has, as a real dump and one of these tests.
    fn fetch(&mut self, key: &str) -> [Vec<u8>; 2] {
        let mut request = Vec::new();
        write_carry(&Carry::Fetch, key.as_bytes(), &mut request);
        let fetched = [self.real.ask(&request), self.model(&request)];
        let [real, model] = &fetched;
        let told = [real, model].map(|reply| read_fetch(Outcome::Success, reply));
        assert_eq!(told[0], told[1], "{key}");
        if told[0] == Fetched::Value {
            // Some milliseconds may have passed.
            let ttl = |reply: &[u8]| match parse(reply).expect("whole").0.elements() {
                [_, _, Value::Number(ttl)] => *ttl,
                other => panic!("{other:?}"),
            };
            assert!((ttl(model) - 5000..=ttl(model)).contains(&ttl(real)), "{key}");
        }
        fetched
    }

    /// A step with what was fetched: each server gets what its own kind said.
    #[track_caller]
    fn with<'f>(
        &mut self,
        fetched: &'f [Vec<u8>; 2],
        carry: impl Fn(&'f [u8]) -> Carry<'f>,
        key: &str,
    ) -> i64 {
        let write = |fetched| {
            let mut request = Vec::new();
            write_carry(&carry(fetched), key.as_bytes(), &mut request);
            request
        };
        let real = self.real.ask(&write(&fetched[0]));
        let model = self.model(&write(&fetched[1]));
        let told = [real, model].map(|reply| read_number(Outcome::Success, &reply));
        assert_eq!(told[0], told[1], "{key}");
        told[0].expect("a number")
    }
}

fn look(reply: &[u8]) -> Looked {
    read_look(Outcome::Success, reply)
}

#[test]
#[ignore = "needs redis-server: run make it"]
fn real_servers_answer_what_these_tests_believe() {
    let mut both = Both::start();
    for line in [
        "SET d v1",
        "SET d v2 NX",
        "SET d v2 XX",
        "SET other v XX",
        "SET d v PX 900000",
        "PERSIST d",
        "PERSIST d",
        "PERSIST missing",
        "PTTL d",
        "PTTL missing",
        "PEXPIRE missing 5",
        "GET d",
        "GET missing",
        "GETSET d v3",
        "GETDEL d",
        "GETDEL d",
        "MSET d v n 7",
        "MGET d n missing",
        "INCR n",
        "INCRBY n 5",
        "INCR d",
        "INCR fresh",
        "EXISTS d n missing",
        "TOUCH d n missing",
        "RPUSHX l t1",
        "RPUSH {l}1 t1",
        "RENAME {l}1 l",
        "RENAME {l}1 l",
        "RPUSHX l t2",
        "LRANGE l 0 -1",
        "LRANGE missing 0 -1",
        "LLEN l",
        "GET l",
        "INCR l",
        "RPUSH d x",
        "MGET l d",
        "DEL d l missing",
        "UNLINK n missing",
        "MULTI",
        "SET d v1",
        "INCR n",
        "GET n",
        "EXEC",
        "MULTI",
        "SET d v2",
        "DISCARD",
        "GET d",
        "FLUSHDB",
        "GET d",
        "FLUSHALL",
    ] {
        both.ask(line);
    }
}

#[test]
#[ignore = "needs redis-server: run make it"]
fn real_servers_do_the_steps_as_these_tests_believe() {
    let (mut old, mut new) = (Both::start(), Both::start());
    for line in ["SET d v1 PX 900000", "RPUSH l t1 t2", "SET n 7"] {
        old.ask(line);
    }
    for key in ["d", "l", "n", "missing"] {
        assert_eq!(look(&new.carry(&Carry::Exists, key)), Looked::Absent);
        assert_eq!(look(&new.carry(&Carry::Look(5), key)), Looked::Marked(5));
        // Whoever comes later uses the same mark.
        assert_eq!(look(&new.carry(&Carry::Look(6), key)), Looked::Marked(5));
        let fetched = old.fetch(key);
        if key == "missing" {
            assert_eq!(read_number(Outcome::Success, &new.carry(&Carry::Release(6), key)), Some(0));
            assert_eq!(read_number(Outcome::Success, &new.carry(&Carry::Release(5), key)), Some(1));
            continue;
        }
        let copy = |token| move |fetched| Carry::Copy { fetched, token };
        assert_eq!(new.with(&fetched, copy(6), key), 0, "the mark is another one");
        assert_eq!(new.with(&fetched, copy(5), key), 1);
        assert_eq!(new.with(&fetched, copy(5), key), 0, "it is there");
        assert_eq!(look(&new.carry(&Carry::Look(7), key)), Looked::Present);
        let drop = |millis| move |fetched| Carry::Drop { fetched, millis };
        if key == "d" {
            old.ask("PERSIST d");
            assert_eq!(
                old.with(&fetched, drop(10_000), key),
                -1,
                "its time to live is another one"
            );
            let fetched = old.fetch(key);
            assert_eq!(old.with(&fetched, drop(10_000), key), 1);
            continue;
        }
        let changed = if key == "l" { "RPUSH l t3" } else { "INCR n" };
        old.ask(changed);
        assert_eq!(old.with(&fetched, drop(10_000), key), -1, "it was changed");
        let fetched = old.fetch(key);
        assert_eq!(old.with(&fetched, drop(10_000), key), 1);
        assert_eq!(old.with(&fetched, drop(10_000), key), 0, "it is gone");
    }
    new.ask("GET d");
    new.ask("LRANGE l 0 -1");
    new.ask("GET n");
    for line in ["DEL d", "PTTL d"] {
        new.ask(line);
    }
    // A lock lets nobody copy, and goes with its own token only.
    new.carry(&Carry::Lock(8), "d");
    assert_eq!(look(&new.carry(&Carry::Look(9), "d")), Looked::Locked);
    new.carry(&Carry::Unlock(9), "d");
    assert_eq!(look(&new.carry(&Carry::Look(9), "d")), Looked::Locked);
    new.carry(&Carry::Unlock(8), "d");
    assert_eq!(look(&new.carry(&Carry::Look(9), "d")), Looked::Marked(9));
    // A write removes the mark; what is forgotten is forgotten with its mark.
    let mut unmark = Vec::new();
    write_unmark([&b"d"[..], b"l"].into_iter(), &mut unmark);
    assert_eq!(new.model(&unmark), new.real.ask(&unmark));
    assert_eq!(look(&new.carry(&Carry::Look(10), "d")), Looked::Marked(10));
    new.ask("SET d v");
    assert_eq!(read_number(Outcome::Success, &new.carry(&Carry::Forget, "d")), Some(2));
    assert_eq!(look(&new.carry(&Carry::Look(11), "d")), Looked::Marked(11));
    assert_eq!(read_number(Outcome::Success, &new.carry(&Carry::Delete, "n")), Some(1));
}
