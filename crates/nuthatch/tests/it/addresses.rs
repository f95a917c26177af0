//! Servers whose name has several addresses.
//!
//! A value written to one address is not found at another, so the connections of all workers go to
//! the same address for as long as it can be connected to. A server has failed only if none of its
//! addresses can be.
//!
//! The proxies here have a hosts file of their own, in a mount namespace of their own: so these
//! tests need root, or a kernel that lets other users have namespaces.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::conn::Conn;
use crate::fake::{FakeServer, UnansweringPort};
use crate::harness::{Program, Proxy, TempDir, free_port, pool, wait_until};
use crate::http;

const REFUSED: &str = "SERVER_ERROR Connection refused\r\n";
const FIRST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const SECOND: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

/// A proxy whose one server is `cache.test`, with the addresses that its hosts file says.
struct Named {
    proxy: Proxy,
    admin: u16,
    hosts: PathBuf,
    _dir: TempDir,
}

impl Named {
    fn start(settings: &str, port: u16, addresses: &[IpAddr], arguments: &[&str]) -> Self {
        Self::start_as("cache.test", settings, port, addresses, arguments)
    }

    fn start_as(
        name: &str,
        settings: &str,
        port: u16,
        addresses: &[IpAddr],
        arguments: &[&str],
    ) -> Self {
        let dir = TempDir::new();
        let hosts = dir.join("hosts");
        fs::write(&hosts, lines(name, addresses)).unwrap();
        let mut command = Command::new("unshare");
        let is_root = rustix::process::geteuid().is_root();
        command.arg(if is_root { "--mount" } else { "--map-root-user" }).arg("--mount");
        let script = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
        command
            .args(["sh", "-c", script])
            .arg(&hosts)
            .arg(Program::UnderTest.command().get_program());
        let (listen, admin) = (free_port(), free_port());
        let config = pool(listen, settings, &[format!("{name}:{port}:1 cache")]);
        let flag = format!("--admin=127.0.0.1:{admin}");
        let arguments = [&[flag.as_str()], arguments].concat();
        let proxy = Proxy::start_command(command, &config, &[listen, admin], &arguments);
        Self { proxy, admin, hosts, _dir: dir }
    }

    /// Gives the name other addresses. The file stays the one that the proxy sees.
    fn move_to(&self, addresses: &[IpAddr]) {
        fs::write(&self.hosts, lines("cache.test", addresses)).unwrap();
    }

    /// The line of the log with these words, which comes a moment after the client's reply.
    fn line(&mut self, words: &str) -> String {
        let log = self.proxy.dir.join("log");
        let find = || {
            let text = fs::read_to_string(&log).unwrap();
            text.lines().find(|line| line.contains(words)).map(str::to_owned)
        };
        let story = || format!("no line with {words}");
        wait_until(&mut self.proxy.process, story, || find().is_some());
        find().unwrap()
    }

    /// The lines of the log with these words.
    fn log(&self, words: &str) -> Vec<String> {
        let log = fs::read_to_string(self.proxy.dir.join("log")).unwrap();
        log.lines().filter(|line| line.contains(words)).map(str::to_owned).collect()
    }

    /// What `/servers` says of the server.
    fn server(&self) -> serde_json::Value {
        let request = "GET /servers HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let page: serde_json::Value =
            serde_json::from_str(&http::ask(self.admin, request).body).unwrap();
        page["pools"].as_object().unwrap().values().next().unwrap()[0].clone()
    }
}

fn lines(name: &str, addresses: &[IpAddr]) -> String {
    let mut text = String::new();
    addresses.iter().for_each(|address| writeln!(text, "{address} {name}").unwrap());
    text
}

/// A server whose values are all `value`; it closes each connection after `requests`.
fn server(address: impl Into<IpAddr>, port: u16, value: char, requests: usize) -> FakeServer {
    let address = SocketAddr::new(address.into(), port);
    FakeServer::start_at(address, move |mut conn, _| {
        for _ in 0..requests {
            let Ok(line) = conn.read_line() else { return };
            let key = str::from_utf8(&line[4..line.len() - 2]).unwrap();
            conn.send(format!("VALUE {key} 0 1\r\n{value}\r\nEND\r\n"));
        }
    })
}

fn hit(value: char) -> String {
    format!("VALUE k 0 1\r\n{value}\r\nEND\r\n")
}

/// Asks until a new connection of the proxy was made `times` times, and says what came.
fn values(client: &mut Conn, times: usize) -> String {
    let mut values = String::new();
    for _ in 0..times {
        client.send("get k\r\n");
        let reply = client.read_reply().unwrap();
        values.push(if reply.starts_with(b"VALUE") { char::from(reply[13]) } else { '!' });
        // The server closes after each reply; the proxy has to see it.
        thread::sleep(Duration::from_millis(50));
    }
    values
}

#[test]
fn each_new_connection_goes_to_the_same_address() {
    let port = free_port();
    let _servers = [server(FIRST, port, 'a', 1), server(SECOND, port, 'b', 1)];
    let named = Named::start("timeout: 4000", port, &[FIRST.into(), SECOND.into()], &[]);
    assert_eq!(values(&mut named.proxy.conn(), 6), "aaaaaa");
}

#[test]
fn all_connections_of_all_workers_go_to_the_same_address() {
    let port = free_port();
    let servers = [server(FIRST, port, 'a', 100), server(SECOND, port, 'b', 100)];
    let settings = "timeout: 4000\nserver_connections: 3";
    let addresses = [FIRST.into(), SECOND.into()];
    let named = Named::start(settings, port, &addresses, &["--workers", "2"]);
    assert_all_read(&named, 'a');
    assert!(servers[0].connection_count() > 3, "of both workers");
    assert_eq!(servers[1].connection_count(), 0);
}

#[test]
fn all_workers_go_on_to_the_same_address_and_the_log_says_so_once() {
    let port = free_port();
    let _server = server(SECOND, port, 'b', 100);
    let settings = "timeout: 4000\nserver_connections: 3\npreconnect: true";
    let addresses = [FIRST.into(), SECOND.into()];
    let named = Named::start(settings, port, &addresses, &["--workers", "2"]);
    assert_all_read(&named, 'b');
    assert_eq!(named.log("server uses another address").len(), 1);
}

/// Panics unless many clients, each of which asks for several keys at once, read `value`.
#[track_caller]
fn assert_all_read(named: &Named, value: char) {
    let mut clients: Vec<_> = (0..24).map(|_| named.proxy.conn()).collect();
    clients.iter_mut().for_each(|client| client.send("get k\r\nget k\r\n"));
    for client in &mut clients {
        client.expect(hit(value).repeat(2));
    }
}

#[test]
fn an_address_that_refuses_is_not_a_server_that_failed() {
    let port = free_port();
    let _server = server(SECOND, port, 'b', 1);
    let settings = "timeout: 4000\nauto_eject_hosts: true\nserver_failure_limit: 1";
    let named = Named::start(settings, port, &[FIRST.into(), SECOND.into()], &[]);
    assert_eq!(values(&mut named.proxy.conn(), 4), "bbbb");
    assert_eq!(named.log("server down"), Vec::<String>::new());
    assert_eq!(named.log("server ejected"), Vec::<String>::new());
    let moves = named.log("server uses another address");
    assert_eq!(moves.len(), 1, "{moves:?}");
    for part in [
        format!("\"address\":\"cache.test:{port}\""),
        format!("\"was\":\"{FIRST}:{port}\""),
        format!("\"connected_to\":\"{SECOND}:{port}\""),
        "\"reason\":\"Connection refused\"".to_owned(),
    ] {
        assert!(moves[0].contains(&part), "{part} is not in {}", moves[0]);
    }
    assert_eq!(named.server()["errors"]["refused"], 0);
}

#[test]
fn an_address_that_accepts_and_does_not_answer_the_greeting_is_left_for_the_next() {
    for said in ["ERROR Too many open connections\r\n", ""] {
        let port = free_port();
        let full = TcpListener::bind((FIRST, port)).unwrap();
        thread::spawn(move || {
            while let Ok((mut stream, _)) = full.accept() {
                stream.write_all(said.as_bytes()).unwrap();
            }
        });
        let _server = server(SECOND, port, 'b', 1);
        let named = Named::start("timeout: 4000", port, &[FIRST.into(), SECOND.into()], &[]);
        let mut client = named.proxy.conn();
        client.send("get k\r\n");
        let error = client.read_until(b"\r\n").unwrap();
        assert!(error.starts_with(b"SERVER_ERROR "), "{}", error.escape_ascii());
        assert_eq!(values(&mut client, 3), "bbb");
    }
}

#[test]
fn the_address_that_works_is_kept_when_the_one_before_it_returns() {
    let port = free_port();
    let _second = server(SECOND, port, 'b', 1);
    let named = Named::start("timeout: 4000", port, &[FIRST.into(), SECOND.into()], &[]);
    assert_eq!(values(&mut named.proxy.conn(), 2), "bb");
    let _first = server(FIRST, port, 'a', 1);
    assert_eq!(values(&mut named.proxy.conn(), 3), "bbb");
}

#[test]
fn an_address_that_hangs_leaves_time_for_the_next() {
    let port = free_port();
    let _hanging = UnansweringPort::at((FIRST, port).into());
    let _server = server(SECOND, port, 'b', 1);
    let named = Named::start("timeout: 6000", port, &[FIRST.into(), SECOND.into()], &[]);
    // Half of the timeout is for each.
    let share = Duration::from_secs(3);
    let started = Instant::now();
    assert_eq!(values(&mut named.proxy.conn(), 1), "b");
    assert!(started.elapsed() >= share, "nothing hung for {share:?}");
    // The address that works comes first from now on.
    let started = Instant::now();
    assert_eq!(values(&mut named.proxy.conn(), 3), "bbb");
    assert!(started.elapsed() < share, "{:?}", started.elapsed());
}

#[test]
fn the_addresses_of_a_name_share_the_time_to_connect() {
    let port = free_port();
    let _hanging = UnansweringPort::at((FIRST, port).into());
    let _server = server(SECOND, port, 'b', 1);
    let settings = "timeout: 30000\nconnect_timeout: 3000";
    let named = Named::start(settings, port, &[FIRST.into(), SECOND.into()], &[]);
    let started = Instant::now();
    assert_eq!(values(&mut named.proxy.conn(), 1), "b");
    let took = started.elapsed();
    // Half of it is for each, less what the look-up took.
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(3), "{took:?}");
}

#[test]
fn without_a_timeout_an_address_that_hangs_does_not_hold_up_the_next_for_long() {
    let port = free_port();
    let _hanging = UnansweringPort::at((FIRST, port).into());
    let _server = server(SECOND, port, 'b', 1);
    let named = Named::start("", port, &[FIRST.into(), SECOND.into()], &[]);
    assert_eq!(values(&mut named.proxy.conn(), 1), "b");
}

#[test]
fn a_server_has_failed_when_no_address_can_be_connected_to() {
    let port = free_port();
    let mut named = Named::start("timeout: 4000", port, &[FIRST.into(), SECOND.into()], &[]);
    named.proxy.conn().ask("get k\r\n", REFUSED);
    let down = named.line("\"server down\"");
    let tried = format!("\"tried\":\"{FIRST}:{port}, {SECOND}:{port}\"");
    assert!(down.contains(&tried), "{tried} is not in {down}");
    let shown = named.server();
    assert_eq!(shown["errors"]["refused"], 1, "one attempt is one failure");
    assert_eq!(shown["address"], format!("cache.test:{port}"));
    assert_eq!(shown["connected_to"], serde_json::json!([]));
    let both = [FIRST, SECOND].map(|address| format!("{address}:{port}"));
    assert_eq!(shown["tried"], serde_json::json!(both));
}

#[test]
fn a_name_that_moves_is_followed_by_the_next_connection() {
    let port = free_port();
    let _servers = [server(FIRST, port, 'a', 1), server(SECOND, port, 'b', 1)];
    let mut named = Named::start("timeout: 4000", port, &[FIRST.into()], &[]);
    assert_eq!(values(&mut named.proxy.conn(), 2), "aa");
    named.move_to(&[SECOND.into()]);
    assert_eq!(values(&mut named.proxy.conn(), 2), "bb");
    // Both again, in another order: the address in use is among them.
    named.move_to(&[FIRST.into(), SECOND.into()]);
    assert_eq!(values(&mut named.proxy.conn(), 2), "bb");
    let moves = named.log("server uses another address");
    assert!(moves.len() == 1 && moves[0].contains(&format!("\"was\":\"{FIRST}:{port}\"")));
    named.move_to(&[Ipv4Addr::new(127, 0, 0, 4).into()]);
    named.proxy.conn().ask("get k\r\n", REFUSED);
    assert_eq!(named.server()["connected_to"], serde_json::json!([]));
    named.move_to(&[FIRST.into()]);
    named.proxy.conn().ask("get k\r\n", hit('a'));
    let up = named.line("\"server up\"");
    assert!(up.contains(&format!("\"connected_to\":\"{FIRST}:{port}\"")), "{up}");
}

#[test]
fn the_admin_port_shows_the_address_that_is_used() {
    let port = free_port();
    let _server = server(SECOND, port, 'b', 100);
    let named = Named::start("timeout: 4000", port, &[FIRST.into(), SECOND.into()], &[]);
    assert_eq!(named.server()["connected_to"], serde_json::json!([]));
    assert_eq!(named.server()["tried"], serde_json::json!([]));
    assert_eq!(values(&mut named.proxy.conn(), 2), "bb");
    let used = serde_json::json!([format!("{SECOND}:{port}")]);
    assert_eq!(named.server()["connected_to"], used);
    assert_eq!(named.server()["tried"], used);
}

#[test]
fn localhost_reaches_a_server_that_has_only_the_address_of_version_four() {
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        eprintln!("skipped: there is no ::1 here");
        return;
    }
    let port = free_port();
    let _server = server(Ipv4Addr::LOCALHOST, port, 'v', 1);
    let settings = "timeout: 4000\nauto_eject_hosts: true\nserver_failure_limit: 1";
    let addresses = [Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()];
    let named = Named::start_as("localhost", settings, port, &addresses, &[]);
    assert_eq!(values(&mut named.proxy.conn(), 5), "vvvvv");
    assert_eq!(named.log("server down"), Vec::<String>::new());
}
