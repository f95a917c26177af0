//! The program as an operator meets it: listeners, signals, files and statistics.

use std::fs;
use std::io::{ErrorKind, Read};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::conn::{Broken, Conn, PATIENCE, show};
use crate::fake::{FakeServer, answer_every_line};
use crate::harness::{
    Memcached, Program, Proxy, TempDir, accepts, free_port, pool, pool_on, wait_until,
};

#[test]
fn sigterm_lets_requests_in_flight_finish() {
    let slow = FakeServer::start(|mut conn, _| {
        while conn.read_line().is_ok() {
            thread::sleep(Duration::from_millis(700));
            conn.send("END\r\n");
        }
    });
    let mut proxy = Proxy::with_pool(Program::UnderTest, "", &[slow.entry()]);
    let (mut one, mut two, mut idle) = (proxy.conn(), proxy.conn(), proxy.conn());
    one.send("get a\r\n");
    two.send("get b\r\nget c\r\n");
    idle.expect_silence(Duration::from_millis(200));
    proxy.process.signal(Signal::TERM);
    idle.expect_closed();
    one.expect("END\r\n");
    one.expect_closed();
    two.expect("END\r\nEND\r\n");
    two.expect_closed();
    let status = proxy.process.wait(PATIENCE).expect("it ends when nothing is left to do");
    assert!(status.success(), "{status}");
}

#[test]
#[ignore = "needs memcached: run make it"]
fn sigterm_loses_no_write_that_wants_no_reply() {
    let server = Memcached::start();
    let mut proxy = Proxy::with_pool(Program::UnderTest, "", &[server.entry()]);
    let count = 5000;
    let mut sets = String::new();
    for key in 0..count {
        sets += &format!("set silent{key} 0 0 1000 noreply\r\n{}\r\n", "v".repeat(1000));
    }
    let mut conn = proxy.conn();
    // The proxy has read all when it answers this.
    conn.ask(sets + "mn\r\n", "MN\r\n");
    let mut last = proxy.conn();
    last.send("set last 0 0 1 noreply\r\nx\r\n".repeat(1000));
    last.expect_silence(Duration::from_millis(100));
    proxy.process.signal(Signal::TERM);
    let status = proxy.process.wait(PATIENCE).expect("it ends when nothing is left to do");
    assert!(status.success(), "{status}");
    let mut direct = server.conn();
    direct.ask("get last\r\n", "VALUE last 0 1\r\nx\r\nEND\r\n");
    let value = "v".repeat(1000);
    let hit = format!("VALUE silent4999 0 1000\r\n{value}\r\nEND\r\n");
    direct.ask("get silent4999\r\n", hit);
}

#[test]
#[ignore = "needs memcached: run make it"]
fn a_unix_client_that_sends_much_and_leaves_is_read_to_its_end() {
    let server = Memcached::start();
    let dir = TempDir::new();
    let path = dir.join("nuthatch.sock");
    let port = free_port();
    let listen = format!("[\"127.0.0.1:{port}\", \"{}\"]", path.display());
    let config = pool_on("p", &listen, "server_requests_max: 100", &[server.entry()]);
    let mut proxy = Proxy::start(Program::UnderTest, &config, &[port]);
    let mut client = Conn::unix(&path);
    for key in 0..1000 {
        client.send(format!("set left{key} 0 0 1 noreply\r\nx\r\n"));
    }
    drop(client);
    let mut direct = server.conn();
    let story = || "the last of them is not stored".to_owned();
    wait_until(&mut proxy.process, story, || {
        direct.send("get left999\r\n");
        direct.read_reply().is_ok_and(|reply| reply.starts_with(b"VALUE"))
    });
}

#[test]
#[ignore = "needs memcached: run make it"]
fn the_statistics_never_replace_a_file_that_is_no_socket() {
    let server = Memcached::start();
    let dir = TempDir::new();
    let precious = dir.join("precious");
    fs::write(&precious, "mine").expect("a directory of our own");
    let config = dir.join("nutcracker.yml");
    let text = pool(free_port(), "", &[server.entry()]);
    fs::write(&config, text).expect("a directory of our own");
    let output = Program::UnderTest
        .command()
        .arg("-c")
        .arg(&config)
        .arg("-a")
        .arg(&precious)
        .output()
        .expect("it starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("statistics port can't listen"));
    assert_eq!(fs::read_to_string(&precious).expect("it is still there"), "mine");
}

#[test]
#[ignore = "needs memcached: run make it"]
fn sigterm_under_load_cuts_no_reply_in_two() {
    let server = Memcached::start();
    let mut proxy = Proxy::with_pool(Program::UnderTest, "", &[server.entry()]);
    let value = "v".repeat(10_000);
    proxy.conn().ask(format!("set k 0 0 10000\r\n{value}\r\n"), "STORED\r\n");
    let reply = format!("VALUE k 0 10000\r\n{value}\r\nEND\r\n");
    thread::scope(|scope| {
        for _ in 0..4 {
            let mut conn = proxy.conn();
            let reply = reply.as_bytes();
            scope.spawn(move || {
                let mut count = 0;
                loop {
                    conn.send("get k\r\n".repeat(8));
                    for _ in 0..8 {
                        match conn.read_exact(reply.len()) {
                            Ok(got) => assert!(got == reply, "got {}", show(&got)),
                            Err(Broken::Closed(rest)) => {
                                assert!(rest.is_empty(), "cut off: {}", show(&rest));
                                assert_ne!(count, 0, "never served");
                                return;
                            }
                            Err(Broken::TimedOut(_)) => panic!("neither answered nor closed"),
                        }
                        count += 1;
                    }
                }
            });
        }
        thread::sleep(Duration::from_millis(300));
        proxy.process.signal(Signal::TERM);
    });
    let status = proxy.process.wait(PATIENCE).expect("it ends when nothing is left to do");
    assert!(status.success(), "{status}");
    assert!(!accepts(proxy.port));
}

#[test]
#[ignore = "needs memcached: run make it"]
fn clients_that_wait_do_not_slow_the_others_down_in_a_drain() {
    const WAITING: usize = 1500;
    let hanging = FakeServer::start(|_, _| thread::sleep(Duration::from_secs(30)));
    let healthy = Memcached::start();
    // With these names "plum" belongs to the server that hangs and "apple" to the other.
    let servers = [format!("{} good", healthy.entry()), format!("{} bad", hanging.entry())];
    let proxy = Proxy::with_pool(Program::UnderTest, "", &servers);
    let mut waiting: Vec<_> = (0..WAITING).map(|_| proxy.conn()).collect();
    waiting.iter_mut().for_each(|conn| conn.send("get plum\r\n"));
    let mut busy = proxy.conn();
    busy.send("get apple\r\n".repeat(8) + "get ap");
    let quiet = processor_time(&proxy, &mut busy);
    proxy.process.signal(Signal::TERM);
    let draining = processor_time(&proxy, &mut busy);
    let ratio = draining.as_secs_f64() / quiet.as_secs_f64();
    assert!(ratio < 3.0, "a request costs {ratio:.2} times as much: {draining:?}, {quiet:?}");
}

/// What the proxy needs of the processor for some thousand requests of a client that has always
/// sent a part of the next one, so that it is never idle.
fn processor_time(proxy: &Proxy, busy: &mut Conn) -> Duration {
    let before = proxy.process.processor_time();
    for _ in 0..10_000 {
        busy.expect("END\r\n");
        busy.send("ple\r\nget ap");
    }
    proxy.process.processor_time() - before
}

#[test]
fn a_drain_ends_as_soon_as_all_is_answered() {
    let server = FakeServer::start(|mut conn, _| {
        while conn.read_line().is_ok() {
            thread::sleep(Duration::from_millis(700));
            conn.send("END\r\n");
        }
    });
    let mut proxy = Proxy::with_pool(Program::UnderTest, "", &[server.entry()]);
    let idle: Vec<_> = (0..1200).map(|_| proxy.conn()).collect();
    let mut last = proxy.conn();
    last.send("get k\r\n");
    last.expect_silence(Duration::from_millis(200));
    let started = Instant::now();
    proxy.process.signal(Signal::TERM);
    last.expect("END\r\n");
    last.expect_closed();
    let status = proxy.process.wait(Duration::from_millis(1000));
    assert!(status.expect("nothing is left to do").success());
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    idle.into_iter().for_each(|mut conn| conn.expect_closed());
    let gone = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port));
    assert_eq!(gone.unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[test]
#[ignore = "needs memcached: run make it"]
fn a_pid_file_names_the_process_and_goes_with_it() {
    let server = Memcached::start();
    let port = free_port();
    let config = pool(port, "", &[server.entry()]);
    let mut proxy = Proxy::start_with(Program::UnderTest, &config, &[port], &["-p", "pid"]);
    let file = proxy.dir.join("pid");
    // It is written when everything listens.
    let is_written = || fs::read_to_string(&file).is_ok_and(|pid| pid.ends_with('\n'));
    wait_until(&mut proxy.process, || "no pid file".to_owned(), is_written);
    let pid = fs::read_to_string(&file).unwrap();
    assert_eq!(pid.trim().parse(), Ok(proxy.process.id()));
    proxy.process.signal(Signal::TERM);
    assert!(proxy.process.wait(PATIENCE).is_some());
    assert!(!file.exists());
}

#[test]
#[ignore = "needs memcached: run make it"]
fn sighup_reopens_the_log() {
    let server = Memcached::start();
    let mut proxy = Proxy::with_pool(Program::UnderTest, "", &[server.entry()]);
    let (log, moved) = (proxy.dir.join("log"), proxy.dir.join("log.1"));
    fs::rename(&log, &moved).unwrap();
    proxy.process.signal(Signal::HUP);
    wait_until(&mut proxy.process, || "no new log after SIGHUP".to_owned(), || log.exists());
    proxy.conn().ask("get k\r\n", "END\r\n");
}

#[test]
fn a_configuration_is_checked_without_being_served() {
    let dir = TempDir::new();
    let port = free_port();
    let good = pool(port, "", &["127.0.0.1:11211:1".to_owned()]);
    for (config, ok) in [(&good, true), (&good.replace("listen", "lissen"), false)] {
        let file = dir.join("checked.yml");
        fs::write(&file, config).unwrap();
        let output = Program::UnderTest.command().arg("-t").arg("-c").arg(&file).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), ok, "{text}");
        assert!(text.contains(if ok { "syntax is ok" } else { "syntax is invalid" }), "{text}");
    }
    assert!(!accepts(port));
}

#[test]
#[ignore = "needs memcached: run make it"]
fn statistics_have_nutcrackers_form_to_the_byte() {
    let ports = [free_port(), free_port(), free_port()];
    let server = |text: &str| text.to_owned();
    let config = [
        pool(ports[0], "", &[server("127.0.0.1:11211:1"), server("127.0.0.1:9:2 named")]),
        pool(ports[1], "distribution: modula", &[server("/tmp/none.sock:1")]),
        pool(ports[2], "hash: md5", &[server("::1:9:1"), server("localhost:9:1")]),
    ];
    let forms = [Program::Nutcracker, Program::UnderTest].map(|program| {
        let proxy = Proxy::start(program, &config.concat(), &ports);
        let mut text = String::new();
        let address = (Ipv4Addr::LOCALHOST, proxy.stats_port);
        TcpStream::connect(address).unwrap().read_to_string(&mut text).unwrap();
        form(&text)
    });
    assert_eq!(forms[0], forms[1]);
    assert!(forms[0].contains("\"named\": {\"server_eof\":N, "), "{}", forms[0]);
}

/// The JSON with its numbers as `N`, and without what names the program and the machine.
fn form(json: &str) -> String {
    let mut form = number_free(json);
    for name in ["service", "source", "version"] {
        let before = format!("\"{name}\":\"");
        let start = form.find(&before).expect("the JSON names its program") + before.len();
        let len = form[start..].find('"').expect("a string ends");
        form.replace_range(start..start + len, "");
    }
    form
}

fn number_free(text: &str) -> String {
    let mut result = String::new();
    for c in text.chars() {
        match c {
            '0'..='9' if result.ends_with('N') => {}
            '0'..='9' => result.push('N'),
            _ => result.push(c),
        }
    }
    result
}

#[test]
#[ignore = "needs memcached: run make it"]
fn a_unix_socket_is_listened_on_with_its_mode() {
    let server = Memcached::start();
    let dir = TempDir::new();
    let path = dir.join("pool.sock");
    let port = free_port();
    let listen = format!("{} 0620", path.display());
    let servers = [server.entry()];
    let config = pool(port, "", &servers) + &pool_on("local", &listen, "", &servers);
    let _proxy = Proxy::start(Program::UnderTest, &config, &[port]);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o620);
    Conn::unix(&path).ask("set k 0 0 1\r\nx\r\nget k\r\n", "STORED\r\nVALUE k 0 1\r\nx\r\nEND\r\n");
}

#[test]
#[ignore = "needs memcached: run make it"]
fn a_server_may_be_a_unix_socket() {
    let dir = TempDir::new();
    let path = dir.join("server.sock");
    let _server = Memcached::start_unix(&path);
    let entry = format!("{}:1", Path::new(&path).display());
    let proxy = Proxy::with_pool(Program::UnderTest, "", &[entry]);
    proxy.conn().ask("set k 0 0 1\r\nx\r\nget k\r\n", "STORED\r\nVALUE k 0 1\r\nx\r\nEND\r\n");
}

#[test]
#[ignore = "needs memcached: run make it"]
fn a_pool_may_listen_on_several_addresses() {
    let server = Memcached::start();
    let ports = [free_port(), free_port()];
    let list = format!("\n   - 127.0.0.1:{}\n   - 127.0.0.1:{}", ports[0], ports[1]);
    let config = pool_on("two", &list, "", &[server.entry()]);
    let _proxy = Proxy::start(Program::UnderTest, &config, &ports);
    Conn::tcp((Ipv4Addr::LOCALHOST, ports[0])).ask("set k 0 0 1\r\nx\r\n", "STORED\r\n");
    Conn::tcp((Ipv4Addr::LOCALHOST, ports[1])).ask("get k\r\n", "VALUE k 0 1\r\nx\r\nEND\r\n");
}

#[test]
fn ipv6_addresses_are_listened_on_and_connected_to() {
    let listener = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
    let server_port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let conn = Conn::over(stream.expect("an open listener accepts"));
            thread::spawn(move || answer_every_line(conn, "END\r\n"));
        }
    });
    for host in ["::1", "[::1]"] {
        let (port, ready) = (free_port(), free_port());
        let listen = format!("\"{host}:{port}\"");
        let config = pool_on("six", &listen, "", &[format!("\"{host}:{server_port}:1\"")])
            + &pool(ready, "", &["127.0.0.1:9:1".to_owned()]);
        let _proxy = Proxy::start(Program::UnderTest, &config, &[ready]);
        Conn::tcp((Ipv6Addr::LOCALHOST, port)).ask("get k\r\n", "END\r\n");
    }
}

#[test]
#[ignore = "needs memcached: run make it"]
fn one_client_too_many_is_told_so_and_closed() {
    let server = Memcached::start();
    let proxy = Proxy::with_pool(Program::UnderTest, "client_connections: 2", &[server.entry()]);
    let (mut one, mut two) = (proxy.conn(), proxy.conn());
    one.ask("get k\r\n", "END\r\n");
    two.ask("get k\r\n", "END\r\n");
    let mut three = proxy.conn();
    let line = three.read_line().unwrap();
    assert!(line.starts_with(b"ERROR ") || line.starts_with(b"SERVER_ERROR "), "{}", show(&line));
    three.expect_closed();
    one.ask("get k\r\n", "END\r\n");
    drop(two);
    // Its place is free as soon as the proxy has seen it go.
    thread::sleep(Duration::from_millis(200));
    proxy.conn().ask("get k\r\n", "END\r\n");
}
