//! Plain `host:port` entries: the proxy follows the addresses of the name.

use std::fs;
use std::net::{Ipv6Addr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nuthatch_harness::Dnsmasq;

use super::{Asking, REFUSED, server, value, values, wait_for_value};
use crate::fake::FakeServer;
use crate::harness::free_port;

const HERE: &str = "host-record=cache.test,127.0.0.2";
const THERE: &str = "host-record=cache.test,127.0.0.3";

fn cache(port: u16) -> Vec<String> {
    vec![format!("cache.test:{port}:1 cache")]
}

#[test]
#[ignore = "needs dnsmasq: run make it"]
fn the_name_server_and_the_search_list_are_those_of_the_file() {
    let port = free_port();
    let _server = server("127.0.0.2", port, 'a', 1);
    let dns = Dnsmasq::start(&["host-record=m-0.cache.ns.test,127.0.0.2"]);
    // The name server refuses questions about the first domain, and knows nothing of the second.
    dns.set_resolv_conf("search elsewhere.example wrong.test ns.test\noptions ndots:5");
    let servers = [format!("m-0.cache:{port}:1")];
    let asking = Asking::start_with(dns, "timeout: 4000", &servers, &[]);
    assert_eq!(values(&mut asking.proxy.conn(), 3), "aaa");
    for reason in ["no_name", "refused"] {
        let metric = format!("nuthatch_dns_lookup_failures_total{{reason=\"{reason}\"}}");
        assert_eq!(asking.metric(&metric), Some(0.0), "{reason}");
    }
}

#[test]
#[ignore = "needs dnsmasq: run make it"]
fn another_file_is_read_while_the_proxy_runs() {
    let port = free_port();
    let _servers = [server("127.0.0.2", port, 'a', 1), server("127.0.0.3", port, 'b', 1)];
    let other = Dnsmasq::start(&[THERE]);
    let asking = Asking::start(&[HERE], "timeout: 4000", &cache(port), &[]);
    let mut client = asking.proxy.conn();
    assert_eq!(values(&mut client, 2), "aa");
    fs::copy(other.resolv_conf(), asking.dns.resolv_conf()).unwrap();
    wait_for_value(&mut client, 'b');
}

#[test]
#[ignore = "needs dnsmasq: run make it"]
fn a_name_may_have_only_addresses_of_version_six() {
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        eprintln!("skipped: there is no ::1 here");
        return;
    }
    let port = free_port();
    let _server = server("::1", port, 'v', 1);
    let asking = Asking::start(&["host-record=cache.test,::1"], "timeout: 4000", &cache(port), &[]);
    assert_eq!(values(&mut asking.proxy.conn(), 3), "vvv");
}

/// An answer of 100 addresses is too large for UDP, so TCP is used.
#[test]
#[ignore = "needs dnsmasq: run make it"]
fn a_name_may_have_many_addresses() {
    for count in [2, 10, 100] {
        let port = free_port();
        let last = format!("127.0.1.{count}");
        let _server = server(&last, port, 'z', 1);
        let records: Vec<String> =
            (1..=count).map(|nth| format!("host-record=cache.test,127.0.1.{nth}")).collect();
        let records: Vec<&str> = records.iter().map(String::as_str).collect();
        let asking = Asking::start(&records, "timeout: 4000", &cache(port), &[]);
        assert_eq!(values(&mut asking.proxy.conn(), 3), "zzz");
        assert_eq!(asking.log("server down"), Vec::<String>::new());
    }
}

#[test]
#[ignore = "needs dnsmasq: run make it"]
fn an_address_that_changes_is_followed_without_a_failed_request() {
    let port = free_port();
    let servers = [server("127.0.0.2", port, 'a', 1000), server("127.0.0.3", port, 'b', 1000)];
    let arguments = ["--dns-ttl-max", "1"];
    let mut asking = Asking::start(
        &["local-ttl=86400", HERE],
        "timeout: 4000\nserver_connections: 2\npreconnect: true",
        &cache(port),
        &arguments,
    );
    let mut client = asking.proxy.conn();
    assert_eq!(values(&mut client, 2), "aa");
    asking.dns.change(&[THERE]);
    let (before, _) = wait_for_value(&mut client, 'b');
    assert!(!before.contains('!'), "{before}");
    // Nothing fails afterwards either, and the connection is replaced once.
    assert_eq!(values(&mut client, 10), "bbbbbbbbbb");
    assert!(servers[1].connection_count() <= 2);
    assert_eq!(asking.proxy.server_failures(), 0);
    assert_eq!(asking.log("server uses another address").len(), 1);
}

#[test]
#[ignore = "needs dnsmasq: run make it"]
fn the_last_answer_is_kept_while_the_name_server_is_down() {
    let port = free_port();
    let _server = server("127.0.0.2", port, 'a', 1);
    let arguments = ["--dns-ttl-max", "1"];
    let mut asking = Asking::start(&[HERE], "timeout: 4000", &cache(port), &arguments);
    asking.dns.set_resolv_conf("options timeout:1 attempts:1");
    let mut client = asking.proxy.conn();
    assert_eq!(values(&mut client, 1), "a");
    asking.dns.stop();
    asking.wait_for_log("name look-up failed; the last answer is kept");
    // Each value comes over a new connection.
    assert_eq!(values(&mut client, 50), "a".repeat(50));
    assert_eq!(asking.log("name look-up failed").len(), 1, "it is logged once");
    let failures = |reason: &str| {
        asking.metric(&format!("nuthatch_dns_lookup_failures_total{{reason=\"{reason}\"}}"))
    };
    let failed = failures("unreachable").unwrap() + failures("timed_out").unwrap();
    assert!(failed >= 1.0);
    let age =
        asking.metric("nuthatch_dns_answer_age_seconds{name=\"cache.test\",type=\"address\"}");
    assert!(age.unwrap() > 1.0, "{age:?}");
    let port_of_dns = asking.dns.port();
    asking.dns.change(&[HERE]);
    assert_eq!(asking.dns.port(), port_of_dns);
    asking.wait_for_log("name look-up works again");
    assert_eq!(values(&mut client, 3), "aaa");
}

#[test]
#[ignore = "needs dnsmasq: run make it"]
fn the_last_answer_is_kept_while_there_is_none() {
    // No such name, and a name without addresses.
    for nothing in ["", "txt-record=cache.test,nothing"] {
        let port = free_port();
        let _servers = [server("127.0.0.2", port, 'a', 1), server("127.0.0.3", port, 'b', 1)];
        let arguments = ["--dns-ttl-max", "1"];
        let mut asking = Asking::start(&[HERE], "timeout: 4000", &cache(port), &arguments);
        let mut client = asking.proxy.conn();
        assert_eq!(values(&mut client, 1), "a");
        asking.dns.change(&[nothing]);
        asking.wait_for_log("name look-up failed; the last answer is kept");
        assert_eq!(values(&mut client, 30), "a".repeat(30));
        asking.dns.change(&[THERE]);
        let (before, _) = wait_for_value(&mut client, 'b');
        assert!(!before.contains('!'), "{before}");
    }
}

#[test]
#[ignore = "needs dnsmasq: run make it"]
fn a_name_that_does_not_exist_at_first_is_asked_for_again_at_once() {
    let port = free_port();
    let _server = server("127.0.0.2", port, 'a', 1);
    let mut asking = Asking::start(&[], "timeout: 4000", &cache(port), &[]);
    let mut client = asking.proxy.conn();
    client.ask("get k\r\n", "SERVER_ERROR Host is down\r\n");
    asking.dns.change(&[HERE]);
    let (_, took) = wait_for_value(&mut client, 'a');
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[test]
#[ignore = "needs dnsmasq: run make it"]
fn a_wrong_address_is_an_error_of_the_server_until_it_is_corrected() {
    let port = free_port();
    let _server = server("127.0.0.2", port, 'a', 1);
    let settings = "timeout: 4000";
    // Nobody listens there, and the answer would be kept for a day.
    let lie = ["local-ttl=86400", THERE];
    let mut asking = Asking::start(&lie, settings, &cache(port), &["--dns-ttl-max", "86400"]);
    let mut client = asking.proxy.conn();
    for _ in 0..5 {
        client.ask("get k\r\n", REFUSED);
    }
    asking.dns.change(&[HERE]);
    let (_, took) = wait_for_value(&mut client, 'a');
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[test]
#[ignore = "needs dnsmasq: run make it"]
fn a_long_ttl_is_used_and_a_short_one_has_a_bound() {
    let port = free_port();
    let _server = server("127.0.0.2", port, 'a', 1);
    for (record, arguments, lookups_max) in [
        ("local-ttl=60", &["--dns-ttl-max", "60"][..], 1.0),
        ("local-ttl=0", &["--dns-ttl-min", "60", "--dns-ttl-max", "60"], 1.0),
    ] {
        let asking = Asking::start(
            &[record, HERE],
            "timeout: 4000\npreconnect: true",
            &cache(port),
            arguments,
        );
        thread::sleep(Duration::from_millis(2500));
        let lookups = asking.metric("nuthatch_dns_lookups_total").unwrap();
        assert!((1.0..=lookups_max).contains(&lookups), "{record}: {lookups}");
    }
}

#[test]
#[ignore = "needs dnsmasq: run make it"]
fn addresses_and_the_hosts_file_need_no_name_server() {
    let port = free_port();
    let _server = server("127.0.0.1", port, 'a', 1);
    // Whatever is asked here is lost.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    for host in ["127.0.0.1", "127.1", "localhost"] {
        let dns = Dnsmasq::start(&[]);
        fs::write(dns.resolv_conf(), format!("nameserver {}\n", silent.local_addr().unwrap()))
            .unwrap();
        let servers = [format!("{host}:{port}:1 x")];
        let asking = Asking::start_with(dns, "timeout: 4000", &servers, &[]);
        let mut client = asking.proxy.conn();
        assert_eq!(values(&mut client, 3), "aaa", "{host}");
        let lookups = asking.metric("nuthatch_dns_lookups_total").unwrap();
        assert_eq!(lookups > 0.0, host == "localhost", "{host}: {lookups}");
    }
    silent.set_nonblocking(true).unwrap();
    assert!(silent.recv(&mut [0; 512]).is_err(), "somebody was asked");
}

#[test]
#[ignore = "needs dnsmasq: run make it"]
fn an_attempt_that_hangs_goes_on_at_the_new_address() {
    let port = free_port();
    let _hanging = crate::fake::UnansweringPort::at(format!("127.0.0.2:{port}").parse().unwrap());
    let _server = server("127.0.0.3", port, 'b', 1);
    // Without a timeout, the attempt would wait for minutes.
    let mut asking = Asking::start(&["local-ttl=60", HERE], "", &cache(port), &[]);
    let mut client = asking.proxy.conn();
    client.send("get k\r\n");
    thread::sleep(Duration::from_millis(500));
    asking.dns.change(&[THERE]);
    client.expect("VALUE k 0 1\r\nb\r\nEND\r\n");
    thread::sleep(Duration::from_millis(50));
    assert_eq!(value(&mut client), 'b');
}

/// The record changes while a request waits for its reply.
#[test]
#[ignore = "needs dnsmasq: run make it"]
fn a_request_that_waits_gets_its_reply_from_the_address_it_was_sent_to() {
    let port = free_port();
    let address = format!("127.0.0.2:{port}").parse().unwrap();
    let slow = FakeServer::start_at(address, |mut conn, _| {
        while conn.read_line().is_ok() {
            thread::sleep(Duration::from_millis(2500));
            conn.send("VALUE k 0 1\r\na\r\nEND\r\n");
        }
    });
    let _server = server("127.0.0.3", port, 'b', 1000);
    let arguments = ["--dns-ttl-max", "1"];
    let mut asking = Asking::start(&[HERE], "timeout: 8000", &cache(port), &arguments);
    let mut client = asking.proxy.conn();
    client.send("get k\r\n");
    // Until the server has it.
    thread::sleep(Duration::from_millis(300));
    asking.dns.change(&[THERE]);
    client.expect("VALUE k 0 1\r\na\r\nEND\r\n");
    let (before, took) = wait_for_value(&mut client, 'b');
    assert!(before.is_empty() && took < Duration::from_secs(2), "{before} {took:?}");
    assert_eq!((slow.connection_count(), asking.proxy.server_failures()), (1, 0));
}

/// A name server that gives each name the addresses 127.0.0.2 and ::1 for a second, and fails to
/// answer one of the two questions when it is told so.
fn half_a_name_server(dns: &Dnsmasq) -> Arc<AtomicBool> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let text = format!("nameserver {}\n", socket.local_addr().unwrap());
    fs::write(dns.resolv_conf(), text).unwrap();
    let is_broken = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&is_broken);
    thread::spawn(move || {
        let mut bytes = [0; 512];
        while let Ok((_, client)) = socket.recv_from(&mut bytes) {
            // The name ends with an empty label; its type and class follow. What follows these is no
            // part of the question.
            let end = 12 + bytes[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
            let kind = bytes[end - 3];
            let mut answer = bytes[..end].to_vec();
            answer[8..12].fill(0);
            let is_six = kind == 28;
            let address: &[u8] =
                if is_six { &Ipv6Addr::LOCALHOST.octets() } else { &[127, 0, 0, 2] };
            if is_six && told.load(Ordering::Relaxed) {
                answer[2..4].copy_from_slice(&[0x81, 0x82]);
            } else {
                answer[2..4].copy_from_slice(&[0x81, 0x80]);
                answer[7] = 1;
                answer.extend([0xc0, 0x0c, 0, kind, 0, 1, 0, 0, 0, 1, 0]);
                answer.push(u8::try_from(address.len()).unwrap());
                answer.extend(address);
            }
            let _ = socket.send_to(&answer, client);
        }
    });
    is_broken
}

#[test]
#[ignore = "needs dnsmasq: run make it"]
fn the_addresses_of_one_version_stay_while_only_those_of_the_other_are_answered() {
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        eprintln!("skipped: there is no ::1 here");
        return;
    }
    let port = free_port();
    let _server = server("::1", port, 'v', 1);
    let dns = Dnsmasq::start(&[]);
    let is_broken = half_a_name_server(&dns);
    let asking = Asking::start_with(dns, "timeout: 4000", &cache(port), &["--dns-ttl-max", "1"]);
    let mut client = asking.proxy.conn();
    assert_eq!(values(&mut client, 2), "vv");
    is_broken.store(true, Ordering::Relaxed);
    // Longer than any answer is used.
    assert_eq!(values(&mut client, 80), "v".repeat(80));
}
