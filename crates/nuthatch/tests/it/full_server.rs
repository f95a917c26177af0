//! A memcached that has as many clients as it takes: it says so to every newcomer and closes.
//!
//! The rule: all its connections are taken by the test before the proxy starts, so the proxy never
//! gets one until the test lets some go.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::conn::{Conn, PATIENCE, show};
use crate::harness::{Memcached, Program, Proxy, free_port, pool};
use crate::http::ask;

const FULL: &str = "SERVER_ERROR Too many open connections\r\n";

const DOWN: &str = "server down: bad: Too many open connections";
const UP: &str = "server up: bad: server replied";
const EJECTED: &str = "server ejected: bad: Too many open connections";

#[test]
#[ignore = "needs memcached: run make it"]
fn every_request_to_a_full_server_gets_a_reason_of_its_own_until_there_is_room() {
    for preconnect in [false, true] {
        let mut world = World::start(&format!("timeout: 4000\npreconnect: {preconnect}"));
        let mut client = world.proxy.conn();
        for request in [
            "get plum\r\n",
            "gets plum\r\n",
            "gat 0 plum\r\n",
            "get apple plum\r\n",
            "set plum 0 0 1\r\nx\r\n",
            "cas plum 0 0 1 7\r\nx\r\n",
            "incr plum 1\r\n",
            "delete plum\r\n",
            "touch plum 0\r\n",
            "mg plum v\r\n",
            "ms plum 1\r\nx\r\n",
            "md plum\r\n",
            "set plum 0 0 1 noreply\r\nx\r\nget plum\r\n",
            "ms plum 1 q\r\nx\r\n",
        ] {
            client.ask(request, FULL);
        }
        // Each of them tries anew, and never does the end of the connection hide what was said.
        for _ in 0..300 {
            client.ask("get plum\r\n", FULL);
        }
        client.ask("get apple\r\n", "END\r\n");

        let server = world.full_server();
        assert_eq!(server["state"], "down");
        let Value::Object(errors) = &server["errors"] else { panic!("{server}") };
        for (reason, count) in errors {
            assert_eq!(count.as_u64() > Some(0), reason == "full", "{reason}: {count}");
        }
        world.assert_no_alert();
        world.expect_log(&[DOWN]);

        world.full.clients.clear();
        let deadline = Instant::now() + PATIENCE;
        loop {
            client.send("get plum\r\n");
            let reply = client.read_reply().unwrap();
            if reply == b"END\r\n" {
                break;
            }
            assert_eq!(show(&reply), show(FULL.as_bytes()));
            assert!(Instant::now() < deadline, "there is room, and the proxy gets none");
            thread::sleep(Duration::from_millis(20));
        }
        world.expect_log(&[DOWN, UP]);
    }
}

#[test]
#[ignore = "needs memcached: run make it"]
fn a_full_server_is_ejected() {
    let world = World::start(EJECT);
    let mut client = world.proxy.conn();
    client.ask("get plum\r\nset plum 0 0 1\r\nx\r\n", FULL.repeat(2));
    client.ask("set plum 0 0 1\r\ny\r\n", "STORED\r\n");
    world.good.conn().ask("get plum\r\n", "VALUE plum 0 1\r\ny\r\nEND\r\n");
    assert_eq!(world.full_server()["state"], "ejected");
    world.expect_log(&[DOWN, EJECTED]);
    world.assert_no_alert();
}

#[test]
#[ignore = "needs memcached: run make it"]
fn a_server_that_is_full_at_the_start_is_ejected_before_the_first_request() {
    let world = World::start(&format!("{EJECT}\npreconnect: true"));
    world.expect_log(&[DOWN, EJECTED]);
    world.proxy.conn().ask("get plum\r\nget apple\r\n", "END\r\nEND\r\n");
    assert_eq!(world.full_server()["state"], "ejected");
    world.expect_log(&[DOWN, EJECTED]);
    world.assert_no_alert();
}

const EJECT: &str = "timeout: 4000\nauto_eject_hosts: true\nserver_failure_limit: 1\n\
                     server_retry_timeout: 60000";

/// A memcached and the clients that have all its connections.
struct Taken {
    server: Memcached,
    clients: Vec<Conn>,
}

impl Taken {
    fn start() -> Self {
        let server = Memcached::start_with(free_port(), &["-c", "20"]);
        let mut clients = Vec::new();
        loop {
            assert!(clients.len() < 20, "it takes more connections than it was told to");
            let mut client = server.conn();
            client.send("version\r\n");
            let reply = client.read_line().unwrap();
            if reply == b"ERROR Too many open connections\r\n" {
                return Self { server, clients };
            }
            assert!(reply.starts_with(b"VERSION "), "{}", show(&reply));
            clients.push(client);
        }
    }
}

/// A proxy with its admin port in front of a full memcached and one that is not.
struct World {
    proxy: Proxy,
    admin: u16,
    good: Memcached,
    full: Taken,
}

impl World {
    fn start(settings: &str) -> Self {
        let (good, full) = (Memcached::start(), Taken::start());
        let (port, admin) = (free_port(), free_port());
        let servers = [format!("{} good", good.entry()), format!("{} bad", full.server.entry())];
        let flags = [&*format!("--admin=127.0.0.1:{admin}"), "--log-format=json"];
        let config = pool(port, settings, &servers);
        let proxy = Proxy::start_with(Program::UnderTest, &config, &[port, admin], &flags);
        Self { proxy, admin, good, full }
    }

    fn page(&self, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        ask(self.admin, &request).body
    }

    /// What `/servers` says of the full one: the shorter name is the first.
    fn full_server(&self) -> Value {
        let mut page: Value = serde_json::from_str(&self.page("/servers")).unwrap();
        page["pools"].as_object_mut().unwrap().values_mut().next().unwrap()[0].take()
    }

    /// Waits until the log says so much of servers (event, server, reason), and nothing else.
    fn expect_log(&self, wanted: &[&str]) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = fs::read_to_string(self.proxy.dir.join("log")).unwrap();
            let lines: Vec<_> = log.lines().filter_map(about_server).collect();
            if lines.len() >= wanted.len() || Instant::now() > deadline {
                return assert_eq!(lines, wanted);
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// No reply was taken for another's: the alert is for a bug.
    fn assert_no_alert(&self) {
        let metrics = self.page("/metrics");
        let mut lines = metrics.lines().filter(|line| line.starts_with("nuthatch_desync_total"));
        let line = lines.next().expect("the metric exists");
        assert!(line.ends_with(" 0") && lines.next().is_none(), "{line}");
    }
}

/// Event, server and reason of a line of the log, if it is about a server.
fn about_server(line: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).unwrap();
    let server = line.get("server")?.as_str()?;
    let [event, reason] = ["message", "reason"].map(|name| line[name].as_str().unwrap());
    Some(format!("{event}: {server}: {reason}"))
}
