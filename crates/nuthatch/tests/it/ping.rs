//! `nuthatch ping`: what answers is told, what does not is told with a remedy, and nothing hangs.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Output;
use std::thread;
use std::time::{Duration, Instant};

use nuthatch_harness::Dnsmasq;

use crate::conn::PATIENCE;
use crate::fake::{RefusingPort, UnansweringPort};
use crate::harness::{Memcached, Process, Program, Proxy, Redis, TempDir, free_port, pool};
use crate::start::servers;

/// What was said on standard output and standard error, and the exit code.
type Said = (String, String, Option<i32>);

fn ping_in(admin: Option<&str>, arguments: &[&str]) -> Said {
    let mut command = Program::UnderTest.command();
    command.arg("ping").args(arguments).env_remove("ADMIN_LISTEN");
    if let Some(admin) = admin {
        command.env("ADMIN_LISTEN", admin);
    }
    let Output { stdout, stderr, status } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(stdout), text(stderr), status.code())
}

fn ping(arguments: &[&str]) -> Said {
    ping_in(None, arguments)
}

/// The error line of one URL.
fn refused(arguments: &[&str]) -> String {
    let (out, err, code) = ping(arguments);
    assert_eq!((&*out, code, err.lines().count()), ("", Some(1), 1), "{err}");
    err
}

/// A server that does with each connection what its script says; it lives as long as the tests.
fn server(script: impl Fn(TcpStream) + Send + Clone + 'static) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, script) = (stream.unwrap(), script.clone());
            thread::spawn(move || script(stream));
        }
    });
    port
}

/// A server that reads a request and sends `answer`, in pieces of one byte.
fn answering(answer: &'static [u8]) -> u16 {
    server(move |mut stream| {
        let _ = stream.read(&mut [0; 1024]);
        stream.set_nodelay(true).unwrap();
        let _ = answer.iter().try_for_each(|byte| stream.write_all(&[*byte]));
    })
}

#[test]
#[ignore = "needs memcached and redis-server: run make it"]
fn servers_that_answer_are_told_in_the_order_of_the_urls() {
    let (memcached, redis) = (Memcached::start(), Redis::start());
    let urls = [
        format!("redis://127.0.0.1:{}", redis.port),
        format!("memcached://localhost:{}", memcached.port),
        format!("memcached://127.0.0.1:{}", memcached.port),
    ];
    let (out, err, code) = ping(&urls.each_ref().map(String::as_str));
    assert_eq!((&*err, code), ("", Some(0)));
    let lines: Vec<_> = out.lines().collect();
    let at = format!("127.0.0.1:{}", memcached.port);
    assert_eq!(lines[0], format!("{}: PONG from 127.0.0.1:{}", urls[0], redis.port));
    for (url, line) in urls[1..].iter().zip(&lines[1..]) {
        assert!(line.starts_with(&format!("{url}: VERSION 1.")), "{line}");
        assert!(line.ends_with(&format!(" from {at}")), "{line}");
    }
}

#[test]
#[ignore = "needs redis-server: run make it"]
fn a_redis_with_a_password_is_logged_in_to() {
    let redis = Redis::start_with(free_port(), &["--requirepass", "s3cret"]);
    redis.conn().send("*2\r\n$4\r\nAUTH\r\n$6\r\ns3cret\r\n");
    let dir = TempDir::new();
    let files = [("right", "s3cret\n"), ("wrong", "s3cre\n")].map(|(name, text)| {
        fs::write(dir.join(name), text).unwrap();
        format!("--password-file={}", dir.join(name).display())
    });
    let (at, shown) =
        (format!("127.0.0.1:{}", redis.port), format!("redis://127.0.0.1:{}", redis.port));
    let url = |login: &str| format!("redis://{login}{at}");
    for arguments in [
        &[&*url(""), &files[0]][..],
        &[&url("default@"), &files[0]],
        &[&url(":s3cret@")],
        &[&url("default:s3cr%65t@"), &files[1]],
    ] {
        let told = format!("{shown}: PONG from {at}\n");
        assert_eq!(ping(arguments), (told, String::new(), Some(0)), "{arguments:?}");
    }
    let told = refused(&[&url("")]);
    assert!(told.starts_with(&format!("nuthatch: {shown}: {at}: NOAUTH ")), "{told}");
    assert!(told.ends_with("; give the password with --password-file\n"), "{told}");
    for arguments in [&[&*url(":s3cre@")][..], &[&url("nobody:s3cret@")], &[&url(""), &files[1]]] {
        let told = refused(arguments);
        assert!(told.contains(": refused the login: WRONGPASS "), "{told}");
        assert!(told.ends_with("; check the user and the password\n"), "{told}");
        assert!(!told.contains("s3cre"), "{told}");
    }
    let told = refused(&[&url(""), "--password-file=/none"]);
    assert!(
        told.contains("option --password-file names a file that can't be read: No such"),
        "{told}"
    );
}

#[test]
fn the_admin_port_of_the_variable_is_asked_whatever_it_listens_on() {
    for host in ["*", "0.0.0.0", "[::]", "127.0.0.1", "[::1]", "localhost"] {
        let (port, admin) = (free_port(), free_port());
        let listen = format!("{host}:{admin}");
        let flag = format!("--admin={listen}");
        let mut proxy =
            Proxy::start_with(Program::UnderTest, &pool(port, "", &servers()), &[port], &[&flag]);
        let mut waits = 0;
        while ping_in(Some(&listen), &[]).2 != Some(0) {
            assert!(waits < 100, "{host}: {:?}", ping_in(Some(&listen), &[]));
            waits += 1;
            thread::sleep(Duration::from_millis(20));
        }
        let (out, err, code) = ping_in(Some(&listen), &[]);
        assert_eq!((&*err, code), ("", Some(0)));
        assert!(out.contains("/ready: HTTP/1.1 200 OK from "), "{out}");
        assert_eq!(ping(&[&flag]), (out, err, code), "the flag is the same");
        let told = refused(&[&format!("memcached://127.0.0.1:{port}")]);
        let why = ": SERVER_ERROR Connection refused; if it is a proxy, look at its servers\n";
        assert!(told.ends_with(why), "{told}");
        let at = if host == "[::1]" { host } else { "127.0.0.1" };
        let told = refused(&[&format!("http://{at}:{admin}/none")]);
        assert!(told.contains(": HTTP/1.1 404 Not Found; check the path"), "{told}");
        proxy.process.kill();
        assert_eq!(ping_in(Some(&listen), &[]).2, Some(1));
    }
}

#[test]
fn a_wrong_answer_is_no_sign_of_life() {
    for (scheme, answer, why) in [
        (
            "memcached",
            &b"ERROR\r\n"[..],
            "answered \"ERROR\", which is not the answer of a memcached",
        ),
        ("memcached", b"\x1b[2J\n", "answered \"\\u{1b}[2J\", which is not the answer"),
        ("memcached", b"", "closed the connection without an answer"),
        ("memcached", b"VERSION 1.6", "closed the connection without an answer"),
        ("redis", b"-LOADING Redis is loading\r\n", "LOADING Redis is loading; look at the log"),
        ("redis", b"+OK\r\n", "answered \"+OK\", which is not the answer of a Redis"),
        (
            "http",
            b"HTTP/1.1 503 Service Unavailable\r\n\r\n",
            "503 Service Unavailable; it is not ready",
        ),
        ("http", b"HTTP/1.1 301 Moved\r\n\r\n", "HTTP/1.1 301 Moved; check the path"),
        ("http", b"SSH-2.0-x\r\n", "answered \"SSH-2.0-x\", which is not HTTP"),
    ] {
        let port = answering(answer);
        let told = refused(&[&format!("{scheme}://127.0.0.1:{port}")]);
        assert!(told.starts_with(&format!("nuthatch: {scheme}://127.0.0.1:{port}")), "{told}");
        assert!(told.contains(why), "{told}");
    }
    let right = answering(b"HTTP/1.0 200 Fine\r\n\r\n");
    assert_eq!(ping(&[&format!("http://127.0.0.1:{right}/x")]).2, Some(0));
}

#[test]
fn what_answers_is_told_even_if_something_else_does_not() {
    let (right, none) = (answering(b"VERSION 1\r\n"), RefusingPort::new());
    let urls = [none.port, right].map(|port| format!("memcached://127.0.0.1:{port}"));
    let (out, err, code) = ping(&[&urls[0], &urls[1]]);
    assert_eq!(out, format!("{}: VERSION 1 from 127.0.0.1:{right}\n", urls[1]));
    let why = "nothing listens there; start it, or check the port and the scheme";
    assert_eq!(err, format!("nuthatch: {}: 127.0.0.1:{}: {why}\n", urls[0], none.port));
    assert_eq!(code, Some(1));
}

#[test]
fn a_server_that_sends_nothing_or_without_end_neither_hangs_nor_fills_the_memory() {
    let silent = server(|stream| {
        thread::sleep(3 * PATIENCE);
        drop(stream);
    });
    let slow = server(|mut stream| {
        while stream.write_all(b"x").is_ok() {
            thread::sleep(Duration::from_millis(50));
        }
    });
    let endless = server(|mut stream| while stream.write_all(&[b'x'; 65_536]).is_ok() {});
    let full = UnansweringPort::new();
    let late = "no answer in time";
    let too_long = "sent 1024 bytes without a line end";
    for (port, why) in [(silent, late), (slow, late), (full.port, late), (endless, too_long)] {
        for scheme in ["memcached", "redis", "http"] {
            let begin = Instant::now();
            let told = refused(&["--timeout=1", &format!("{scheme}://127.0.0.1:{port}")]);
            assert!(told.contains(why), "{told}");
            assert!(begin.elapsed() < Duration::from_secs(3), "{scheme}: {:?}", begin.elapsed());
        }
    }
    // All wait at the same time.
    let urls = [(); 8].map(|()| format!("http://127.0.0.1:{silent}/"));
    let begin = Instant::now();
    let arguments: Vec<_> =
        ["--timeout=1"].into_iter().chain(urls.iter().map(|it| &**it)).collect();
    assert_eq!(ping(&arguments).1.lines().count(), 8);
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    let mut command = Program::UnderTest.command();
    command.args(["ping", "--timeout=2", &format!("redis://127.0.0.1:{silent}")]);
    let process = Process::spawn(&mut command);
    thread::sleep(Duration::from_millis(300));
    assert!(process.memory_bytes("VmHWM") < 32 << 20);
}

#[test]
fn all_addresses_of_a_name_are_tried() {
    // One of both versions refuses, and each name has both, or the one that answers.
    for (host, other) in [
        (IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)),
        (IpAddr::V6(Ipv6Addr::LOCALHOST), IpAddr::V4(Ipv4Addr::LOCALHOST)),
    ] {
        let listener = TcpListener::bind((host, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for stream in listener.incoming() {
                stream.unwrap().write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            }
        });
        // As the admin port, * has both addresses on every machine.
        let (out, err, code) = ping_in(Some(&format!("*:{port}")), &["--timeout=2"]);
        assert_eq!((&*err, code), ("", Some(0)), "only {host} answers, not {other}");
        let from = SocketAddr::new(host, port);
        let told = format!("http://localhost:{port}/ready: HTTP/1.1 200 OK from {from}\n");
        assert_eq!(out, told);
    }
}

#[test]
#[ignore = "needs dnsmasq: run make it"]
fn names_are_those_of_the_name_server() {
    let dns = Dnsmasq::start(&["host-record=two.test,127.0.0.2", "host-record=two.test,127.0.0.3"]);
    let conf = format!("--resolv-conf={}", dns.resolv_conf().display());
    let listener = TcpListener::bind(("127.0.0.3", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            stream.unwrap().write_all(b"+PONG\r\n").unwrap();
        }
    });
    let told = ping(&[&conf, &format!("redis://two.test:{port}")]);
    let pong = format!("redis://two.test:{port}: PONG from 127.0.0.3:{port}\n");
    assert_eq!(told, (pong, String::new(), Some(0)));
    let begin = Instant::now();
    let told = refused(&["--timeout=30", &conf, "redis://none.test:1"]);
    assert!(told.contains("no address is known for the host"), "{told}");
    assert!(begin.elapsed() < Duration::from_secs(10), "it does not wait for the name to be");
}

#[test]
fn a_name_that_nobody_knows_is_told() {
    // The name server is silent.
    let dir = TempDir::new();
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    fs::write(dir.join("resolv.conf"), format!("nameserver 127.0.0.1:{port}\n")).unwrap();
    let conf = format!("--resolv-conf={}", dir.join("resolv.conf").display());
    let begin = Instant::now();
    let told = refused(&["--timeout=1", &conf, "http://no-such-host.invalid:1/"]);
    let why = "no address is known for the host; check its name and the name server";
    assert_eq!(told, format!("nuthatch: http://no-such-host.invalid:1/: {why}\n"));
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
}

#[test]
fn a_call_without_anything_to_ask_is_refused() {
    let told = |admin, arguments: &[&str]| ping_in(admin, arguments).1;
    let nothing = "nuthatch: ping requires a URL, or an admin port with a number in --admin or ADMIN_LISTEN\n";
    assert!(told(None, &[]).starts_with(nothing));
    assert!(told(Some("127.0.0.1:0"), &[]).starts_with(nothing));
    assert!(told(Some("x"), &[]).starts_with("nuthatch: environment: ADMIN_LISTEN: \"x\": "));
    let both = told(None, &["--admin=*:1", "http://h:1/"]);
    assert!(both.starts_with("nuthatch: ping takes either URLs or --admin\n"), "{both}");
    // A secret in a wrong URL is not shown.
    let wrong = told(None, &["redis://:s3cret@h", "http://h:1/"]);
    assert!(
        wrong.starts_with("nuthatch: URL 1 of 2: a URL requires a host and a port; "),
        "{wrong}"
    );
    assert!(!wrong.contains("s3cret"), "{wrong}");
    let file = told(None, &["http://h:1/", "--password-file=x"]);
    assert!(file.contains("--password-file is for redis:// only"), "{file}");
    // The variable does not matter to a URL.
    let right = answering(b"HTTP/1.1 200 OK\r\n\r\n");
    assert_eq!(ping_in(Some("nonsense"), &[&format!("http://127.0.0.1:{right}/")]).2, Some(0));
}
