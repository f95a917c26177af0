//! Pods: servers that keep their name and return under another address.

use std::time::{Duration, Instant};

use nuthatch_harness::Memcached;

use super::Asking;
use crate::conn::Conn;
use crate::harness::free_port;
use crate::observed::Observed;

pub(crate) const KEYS: usize = 1000;

/// The nth pod with its name, at an address of its own.
pub(crate) fn pod(host: &str, port: u16) -> Memcached {
    Memcached::start_at(host.parse().unwrap(), port, &[])
}

fn record(nth: usize, host: &str) -> String {
    format!("host-record=m-{nth}.m.test,{host}")
}

/// Stores every key; each has to be taken.
pub(crate) fn store(client: &mut Conn) {
    for key in 0..KEYS {
        client.ask(format!("set key{key} 0 0 1\r\nx\r\n"), "STORED\r\n");
    }
}

/// Which pods have each key.
pub(crate) fn places(hosts: &[&str], port: u16) -> Vec<Vec<usize>> {
    let mut conns: Vec<_> = hosts.iter().map(|host| Conn::tcp((*host, port))).collect();
    let has = |conn: &mut Conn, key: usize| {
        conn.send(format!("get key{key}\r\n"));
        conn.read_reply().unwrap().starts_with(b"VALUE")
    };
    let mut of = |key| {
        let conns = conns.iter_mut().enumerate();
        conns.filter_map(|(nth, conn)| has(conn, key).then_some(nth)).collect()
    };
    (0..KEYS).map(&mut of).collect()
}

/// How many keys are elsewhere.
pub(crate) fn moved(before: &[Vec<usize>], after: &[Vec<usize>]) -> usize {
    before.iter().zip(after).filter(|(before, after)| before != after).count()
}

/// Waits until the key is missed: its pod, which is empty, answers again.
pub(crate) fn is_back_within_a_second(client: &mut Conn, key: usize) {
    let start = Instant::now();
    loop {
        client.send(format!("get key{key}\r\n"));
        if client.read_until(b"\r\n").unwrap() == b"END\r\n" {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(10), "it never comes back");
    }
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

#[test]
#[ignore = "needs memcached and dnsmasq: run make it"]
fn a_pod_that_returns_under_another_address_moves_no_key() {
    for is_discovered in [false, true] {
        let port = free_port();
        let hosts = ["127.0.0.2", "127.0.0.3", "127.0.0.4"];
        let mut pods: Vec<_> = hosts.iter().map(|host| pod(host, port)).collect();
        let services =
            (0..3).map(|nth| format!("srv-host=_memcached._tcp.m.test,m-{nth}.m.test,{port}"));
        let services: Vec<String> = services.collect();
        let records = |hosts: &[&str]| -> Vec<String> {
            let named = hosts.iter().enumerate().map(|(nth, host)| record(nth, host));
            services.iter().cloned().chain(named).chain(["local-ttl=30".to_owned()]).collect()
        };
        let servers = if is_discovered {
            vec!["dnssrv+_memcached._tcp.m.test".to_owned()]
        } else {
            (0..3).map(|nth| format!("m-{nth}.m.test:{port}:1")).collect()
        };
        let all = records(&hosts);
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let mut asking = Asking::start(&all, "timeout: 1000\nhash: murmur", &servers, &[]);
        let mut client = asking.proxy.conn();
        store(&mut client);
        let before = places(&hosts, port);
        assert!(before.iter().all(|pods| pods.len() == 1), "each key is on one pod");
        let ring = asking.metric(&ring_hash(&asking));

        // The pod is gone, and so is its address; its keys fail meanwhile.
        pods.remove(1);
        let key = before.iter().position(|pods| pods == &[1]).unwrap();
        client.ask(format!("get key{key}\r\n"), super::REFUSED);
        let hosts = ["127.0.0.2", "127.0.0.5", "127.0.0.4"];
        pods.insert(1, pod(hosts[1], port));
        let all = records(&hosts);
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        asking.dns.change(&all);
        is_back_within_a_second(&mut client, key);

        store(&mut client);
        assert_eq!(moved(&before, &places(&hosts, port)), 0, "of {KEYS} keys");
        assert_eq!(asking.metric(&ring_hash(&asking)), ring);
    }
}

/// DNS as a cluster has it while a pod is replaced: the old one is not there any longer, and the new one
/// has no address yet.
#[test]
#[ignore = "needs memcached and dnsmasq: run make it"]
fn a_pod_that_is_replaced_moves_no_key_although_dns_does_not_have_it_meanwhile() {
    let port = free_port();
    let record = |nth: usize, host: &str| {
        [format!("srv-host=_memcached._tcp.m.test,m-{nth}.m.test,{port}"), record(nth, host)]
    };
    let change = |asking: &mut Asking, pods: &[(usize, &str)]| {
        let records = pods.iter().flat_map(|(nth, host)| record(*nth, host));
        let all: Vec<String> = records.chain(["local-ttl=1".to_owned()]).collect();
        asking.dns.change(&all.iter().map(String::as_str).collect::<Vec<_>>());
    };
    let (stays, old, new) = ((0, "127.0.0.2"), (1, "127.0.0.3"), (1, "127.0.0.5"));
    for (hold, is_kept) in [("30", true), ("1", false)] {
        let first: Vec<String> =
            [stays, old].iter().flat_map(|(nth, host)| record(*nth, host)).collect();
        let all: Vec<&str> = first.iter().map(String::as_str).chain(["local-ttl=1"]).collect();
        let servers = ["dnssrv+_memcached._tcp.m.test".to_owned()];
        let arguments = ["--discovery-hold", hold];
        let mut asking = Asking::start(&all, "timeout: 1000\nhash: murmur", &servers, &arguments);
        let ring = asking.metric(&ring_hash(&asking));
        change(&mut asking, &[stays]);
        asking.wait_for_log("servers are no longer in DNS, and stay until the hold ends");
        if is_kept {
            assert_eq!(asking.metric("nuthatch_discovered_held"), Some(1.0));
        } else {
            asking.wait_for_log("m-1.m.test removed");
            assert_ne!(asking.metric(&ring_hash(&asking)), ring);
        }
        let _pods = [stays, new].map(|(_, host)| pod(host, port));
        change(&mut asking, &[stays, new]);
        let by = Instant::now() + Duration::from_secs(10);
        while asking.metric(&ring_hash(&asking)) != ring
            || asking.metric("nuthatch_discovered_held") != Some(0.0)
        {
            assert!(Instant::now() < by, "it never comes back");
        }
        store_soon(&mut asking.proxy.conn(), by);
        let removed = asking.log("m-1.m.test removed").len();
        assert_eq!(removed, usize::from(!is_kept), "a hold of {hold} seconds");
    }
}

/// Stores every key; each has to be taken in time.
fn store_soon(client: &mut Conn, by: Instant) {
    for key in 0..KEYS {
        loop {
            client.send(format!("set key{key} 0 0 1\r\nx\r\n"));
            if client.read_line().unwrap() == b"STORED\r\n" {
                break;
            }
            assert!(Instant::now() < by, "key{key} is never stored");
        }
    }
}

pub(crate) fn ring_hash(asking: &Observed) -> String {
    format!("nuthatch_ring_hash{{pool=\"pool{}\"}}", asking.proxy.port)
}
