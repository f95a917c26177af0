//! The steps of a key that moves, with two real memcacheds.

use super::MIGRATE;
use super::world::{ring_of, stats_of};
use nuthatch_core::clocks::Clocks;
use nuthatch_core::limits::Limits;
use nuthatch_core::mux::{Bulk, ClientId, Mux, Options};
use nuthatch_core::protocol::Protocol;
use nuthatch_core::time::Instant;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::Duration;

struct Memcached {
    child: Child,
    port: u16,
}

impl Memcached {
    fn start() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("it is bound").port();
        drop(free);
        let mut command = Command::new("memcached");
        command.args(["-l", "127.0.0.1", "-U", "0", "-u", "nobody", "-p", &port.to_string()]);
        let child = command.spawn().expect("memcached is installed");
        Self { child, port }
    }

    fn connect(&self) -> TcpStream {
        for _ in 0..500 {
            if let Ok(stream) = TcpStream::connect(("127.0.0.1", self.port)) {
                stream.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout");
                return stream;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("memcached did not start");
    }
}

impl Drop for Memcached {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct World {
    mux: Mux,
    servers: Vec<Memcached>,
    /// By the places of the connections.
    streams: Vec<Option<TcpStream>>,
    client: ClientId,
    now: Instant,
}

impl World {
    /// Asks, and waits until the answer ends with `end`.
    fn ask(&mut self, request: &str, end: &str) -> String {
        self.mux.handle_client_bytes(self.client, request.as_bytes(), self.now);
        let mut answer = String::new();
        for _ in 0..200 {
            self.turn();
            let output = self.mux.client_output(self.client).to_vec();
            self.mux.handle_client_written(self.client, output.len());
            answer += std::str::from_utf8(&output).expect("text");
            if answer.ends_with(end) && self.mux.stats().migration.in_flight.read() == 0 {
                return answer;
            }
        }
        panic!("{request:?} got {answer:?}");
    }

    fn turn(&mut self) {
        while self.mux.next_dirty_client().is_some() {}
        while let Some(id) = self.mux.next_dirty_conn() {
            if !self.mux.has_conn(id) {
                continue;
            }
            self.streams.resize_with(self.streams.len().max(id.index() + 1), || None);
            let stream = &mut self.streams[id.index()];
            if self.mux.wants_open(id) {
                // The first server has the first connection.
                *stream = Some(self.servers[id.index()].connect());
                self.mux.handle_conn_opening(id, self.now);
                self.mux.handle_conn_open(id, self.now);
            }
            let Some(stream) = stream else { continue };
            let output = self.mux.conn_output(id).to_vec();
            stream.write_all(&output).expect("it listens");
            self.mux.handle_conn_written(id, output.len(), self.now);
        }
        for id in self.mux.conns().to_vec() {
            let Some(Some(stream)) = self.streams.get_mut(id.index()) else { continue };
            let mut room = [0; 4096];
            if let Ok(count @ 1..) = stream.read(&mut room) {
                self.mux.handle_server_bytes(id, &room[..count], self.now);
            }
        }
        while self.mux.has_resumable() {
            self.mux.resume(self.now);
        }
    }
}

#[test]
#[ignore = "needs memcached: run make it"]
fn real_servers_answer_the_steps_as_these_tests_believe() {
    let options = Options {
        clocks: Clocks::default(),
        protocol: Protocol::Memcache,
        timeout: None,
        ejection: None,
        server_connections: 1,
        bulk: Bulk::NONE,
        allow_flush: true,
        redis: Arc::default(),
        limits: Limits::default(),
        epoch: Duration::from_secs(1_700_000_000),
    };
    let mut mux = Mux::new(ring_of(&[0]), options, Arc::default(), &stats_of(&[0]));
    let client = mux.open_client();
    let servers = vec![Memcached::start(), Memcached::start()];
    let now = Instant::default();
    let mut world = World { mux, servers, streams: Vec::new(), client, now };
    for key in ["a", "b", "c", "e", "f", "g", "h"] {
        world.ask(&format!("set {key} 7 900 2\r\n10\r\n"), "STORED\r\n");
    }
    world.ask("ms aGk= 2 b\r\n10\r\n", "HD\r\n");
    world
        .mux
        .migrate_servers(ring_of(&[1]), &stats_of(&[1]), |_| true, (MIGRATE, now))
        .expect("none moves");
    world.now = now.after(MIGRATE.settle).after(MIGRATE.pause);
    world.mux.handle_timeout(world.now);
    let mut told = String::new();
    for (request, end) in [
        ("get a\r\n", "END\r\n"),
        ("mg a t f v\r\n", "10\r\n"),
        ("gets missing\r\n", "END\r\n"),
        ("incr b 5\r\n", "15\r\n"),
        ("decr b 20\r\n", "0\r\n"),
        ("incr missing 5\r\n", "NOT_FOUND\r\n"),
        ("append c 0 0 1\r\nx\r\n", "STORED\r\n"),
        ("append missing 0 0 1\r\nx\r\n", "NOT_STORED\r\n"),
        ("replace e 1 0 1\r\ny\r\n", "STORED\r\n"),
        ("replace missing 1 0 1\r\ny\r\n", "NOT_STORED\r\n"),
        ("add f 1 0 1\r\ny\r\n", "NOT_STORED\r\n"),
        ("add new 1 0 1\r\ny\r\n", "STORED\r\n"),
        ("touch g 100\r\n", "TOUCHED\r\n"),
        ("touch missing 100\r\n", "NOT_FOUND\r\n"),
        ("gat 100 h\r\n", "END\r\n"),
        ("cas a 0 0 1 3\r\nz\r\n", "EXISTS\r\n"),
        ("incr c 1\r\n", "non-numeric value\r\n"),
        ("ma b N0 J7 v\r\n", "1\r\n"),
        ("ma made N0 J7 v\r\n", "7\r\n"),
        ("ms c 1 MP\r\nw\r\n", "HD\r\n"),
        ("mg aGk= b v k\r\n", "10\r\n"),
        ("md aGk= b\r\n", "HD\r\n"),
        ("delete h\r\n", "DELETED\r\n"),
        ("get a b c e f g h new missing\r\n", "END\r\n"),
    ] {
        told += &world.ask(request, end);
    }
    // Some seconds may have passed.
    let told = (890..900).fold(told, |told, left| told.replace(&format!("t{left}"), "t900"));
    // A counter keeps its length when it becomes shorter, unless one of memcached's threads looks at it just then.
    let told = told.replace("VALUE b 7 1\r\n1\r\n", "VALUE b 7 2\r\n1 \r\n");
    let all = "VALUE a 7 2\r\n10\r\nVALUE b 7 2\r\n1 \r\nVALUE c 7 4\r\nw10x\r\nVALUE e 1 1\r\ny\r\n\
               VALUE f 7 2\r\n10\r\nVALUE g 7 2\r\n10\r\nVALUE new 1 1\r\ny\r\nEND\r\n";
    assert!(told.ends_with(all), "{told}");
    assert!(told.starts_with("VALUE a 7 2\r\n10\r\nEND\r\nVA 2 t900 f7\r\n10\r\n"), "{told}");
}
