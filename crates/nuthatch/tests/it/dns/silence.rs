//! A name server that never answers.

use std::fs;
use std::net::UdpSocket;
use std::thread;
use std::time::{Duration, Instant};

use nuthatch_harness::Dnsmasq;

use super::{Asking, server, value, values};
use crate::harness::free_port;

/// A resolver's file that names a server that never answers.
pub(super) fn silence(dns: &Dnsmasq) -> UdpSocket {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let server = silent.local_addr().unwrap();
    fs::write(dns.resolv_conf(), format!("nameserver {server}\noptions timeout:1 attempts:1\n"))
        .unwrap();
    silent
}

/// Keys of memcached: with `modula` and these names, `b` is on the second server.
#[test]
#[ignore = "needs dnsmasq: run make it"]
fn the_other_servers_answer_as_if_nothing_were() {
    let port = free_port();
    let _server = server("127.0.0.1", port, 'a', 1_000_000);
    let dns = Dnsmasq::start(&[]);
    let _silent = silence(&dns);
    let servers = [format!("127.0.0.1:{port}:1 here"), format!("cache.test:{port}:1 gone")];
    let settings = "timeout: 500\npreconnect: true";
    let asking = Asking::start_with(dns, settings, &servers, &[]);
    let (mut client, mut other) = (asking.proxy.conn(), asking.proxy.conn());
    let key = |server: &str| {
        let of = |key: &String| {
            let page = asking.page(&format!("/route?key={key}"));
            let page: serde_json::Value = serde_json::from_str(&page).unwrap();
            page["server"] == server
        };
        (0..).map(|nth| format!("key{nth}")).find(of).unwrap()
    };
    let (here, gone) = (key("here"), key("gone"));
    let hit = format!("VALUE {here} 0 1\r\na\r\nEND\r\n");
    let mut longest_of = |count: usize| {
        let time = |_| {
            let start = Instant::now();
            client.ask(format!("get {here}\r\n"), &hit);
            start.elapsed()
        };
        (0..count).map(time).max().unwrap()
    };
    let before = longest_of(900);
    // While one client waits for the name, the other is answered. A turn of the loop in which the worker
    // waited for DNS would take a second.
    for _ in 0..3 {
        other.send(format!("get {gone}\r\n"));
        let longest = longest_of(300);
        eprintln!("longest of 300 replies: {longest:?}, of 900 without a look-up: {before:?}");
        assert!(longest < Duration::from_millis(500), "{longest:?}, {before:?} without a look-up");
        let error = other.read_until(b"\r\n").unwrap();
        assert!(error.starts_with(b"SERVER_ERROR "), "{}", error.escape_ascii());
    }
}

#[test]
#[ignore = "needs dnsmasq: run make it"]
fn the_last_answer_is_used_at_once() {
    let port = free_port();
    let _server = server("127.0.0.2", port, 'a', 1);
    let arguments = ["--dns-ttl-max", "1"];
    let servers = [format!("cache.test:{port}:1 cache")];
    let records = ["host-record=cache.test,127.0.0.2"];
    let mut asking = Asking::start(&records, "timeout: 2000", &servers, &arguments);
    let mut client = asking.proxy.conn();
    assert_eq!(values(&mut client, 2), "aa");
    let _silent = silence(&asking.dns);
    asking.wait_for_log("name look-up failed; the last answer is kept");
    assert_eq!(values(&mut client, 10), "a".repeat(10));
    assert_eq!(asking.log("server down"), Vec::<String>::new());
    let timed_out = asking.metric("nuthatch_dns_lookup_failures_total{reason=\"timed_out\"}");
    assert!(timed_out.unwrap() >= 1.0);
}

/// Answers each question with bytes that are no answer, or the answer to another question.
fn nonsense(dns: &Dnsmasq) {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let text =
        format!("nameserver {}\noptions timeout:1 attempts:1\n", server.local_addr().unwrap());
    fs::write(dns.resolv_conf(), text).unwrap();
    thread::spawn(move || {
        let mut question = [0; 512];
        for nth in 0.. {
            let Ok((len, client)) = server.recv_from(&mut question) else { return };
            let mut answer = question[..len].to_vec();
            match nth % 4 {
                0 => answer.truncate(5),
                // Another id, so it may be forged.
                1 => answer[0] ^= 0xff,
                // It says that it is an answer, that it has 9 records, and has none.
                2 => answer[2..8].copy_from_slice(&[0x84, 0, 0, 1, 0, 9]),
                _ => answer = vec![0xff; 400],
            }
            let _ = server.send_to(&answer, client);
        }
    });
}

#[test]
#[ignore = "needs dnsmasq: run make it"]
fn nonsense_is_no_answer() {
    let port = free_port();
    let _server = server("127.0.0.2", port, 'a', 1);
    let servers = [format!("cache.test:{port}:1 cache")];
    let records = ["host-record=cache.test,127.0.0.2"];
    let mut asking = Asking::start(&records, "timeout: 2000", &servers, &["--dns-ttl-max", "1"]);
    let mut client = asking.proxy.conn();
    assert_eq!(values(&mut client, 2), "aa");
    nonsense(&asking.dns);
    asking.wait_for_log("name look-up failed; the last answer is kept");
    assert_eq!(values(&mut client, 20), "a".repeat(20));
    assert_eq!(asking.log("name look-up works again"), Vec::<String>::new());
}

/// The names of the threads of the proxy.
fn threads(asking: &Asking) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", asking.proxy.process.id())).unwrap();
    let name = |task: std::io::Result<fs::DirEntry>| {
        fs::read_to_string(task.unwrap().path().join("comm")).unwrap().trim().to_owned()
    };
    tasks.map(name).collect()
}

#[test]
#[ignore = "needs dnsmasq: run make it"]
fn only_a_proxy_with_names_has_a_resolver_and_then_one() {
    let port = free_port();
    let _server = server("127.0.0.2", port, 'a', 1000);
    let records = ["host-record=cache.test,127.0.0.2"];
    for (host, count) in [("127.0.0.2", 0), ("cache.test", 1)] {
        let servers = [format!("{host}:{port}:1 one"), format!("{host}:{port}:1 two")];
        let settings = "timeout: 2000\nserver_connections: 3\npreconnect: true";
        let asking = Asking::start(&records, settings, &servers, &["--workers", "2"]);
        assert_eq!(values(&mut asking.proxy.conn(), 1), "a");
        let threads = threads(&asking);
        let resolvers = threads.iter().filter(|name| *name == "resolver").count();
        assert_eq!(resolvers, count, "{threads:?}");
        // All connections of all workers look one name up once.
        assert_eq!(asking.metric("nuthatch_dns_lookups_total"), Some(count as f64));
    }
}

#[test]
#[ignore = "needs dnsmasq: run make it"]
fn a_start_waits_for_discovered_servers_for_a_while_only() {
    let dns = Dnsmasq::start(&[]);
    let _silent = silence(&dns);
    let servers = ["dnssrv+_m._tcp.cache.test".to_owned()];
    let arguments = ["--discovery-wait", "1"];
    let asking = Asking::start_with(dns, "timeout: 2000", &servers, &arguments);
    assert_eq!(asking.log("no servers discovered yet").len(), 1);
    let mut client = asking.proxy.conn();
    assert_eq!(value(&mut client), '!');
    thread::sleep(Duration::from_millis(100));
    client.ask("get k\r\nget k j\r\n", super::REFUSED.repeat(2));
}
