//! Pods that are away: how long they count, and what of them is still used.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{Cluster, Mood, failures, pod, ring_name, slice, wait_for_pods};
use crate::conn::Conn;
use crate::dns::{server, value};
use crate::harness::free_port;

const ENTRY: &[&str] = &["k8s+m:memcached"];
const DOWN: &[u8] = b"SERVER_ERROR Host is down\r\n";

/// The replies for some keys: the value of each, `-` if the server is down, `!` for another error.
fn replies(client: &mut Conn) -> String {
    let reply = |nth| {
        client.send(format!("get {nth}\r\n"));
        let reply = client.read_reply().unwrap();
        let value = reply.split(|byte| *byte == b'\n').nth(1).and_then(|line| line.first());
        match value {
            Some(value) if reply.starts_with(b"VALUE") => char::from(*value),
            _ if reply == DOWN => '-',
            _ => '!',
        }
    };
    (10..40).map(reply).collect()
}

#[test]
fn an_address_that_another_pod_has_is_no_longer_one_of_a_pod_that_is_away() {
    let port = free_port();
    let _servers = [("127.0.0.2", 'a'), ("127.0.0.3", 'b')]
        .map(|(host, value)| server(host, port, value, 1_000_000));
    let cluster = Cluster::new();
    cluster.api.put(slice("m-x", port, &[pod("m-0", "127.0.0.2"), pod("m-1", "127.0.0.3")]));
    let proxy = cluster.proxy("timeout: 4000\nhash: murmur", ENTRY, &[]);
    let mut client = proxy.proxy.conn();
    let all = replies(&mut client);
    assert!(all.contains('a') && all.contains('b'), "{all}");
    // Connections that are open are left, too.
    cluster.api.put(slice("m-x", port, &[pod("m-0", "127.0.0.3")]));
    let start = Instant::now();
    loop {
        let all = replies(&mut client);
        if all.contains('b') && all.contains('-') && !all.contains(['a', '!']) {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(10), "{all}");
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(proxy.servers(), ["m-0", "m-1"].map(ring_name), "its keys wait for it");
    // It comes back.
    cluster.api.put(slice("m-x", port, &[pod("m-0", "127.0.0.9"), pod("m-1", "127.0.0.3")]));
    let start = Instant::now();
    while !replies(&mut client).contains('b') {
        assert!(start.elapsed() < Duration::from_secs(10));
    }
}

#[test]
fn the_addresses_of_a_service_without_pods_are_used_until_the_hold_ends() {
    let port = free_port();
    let _server = server("127.0.0.2", port, 'a', 1_000_000);
    let cluster = Cluster::new();
    cluster.api.put(slice("m-x", port, &[pod("m-0", "127.0.0.2")]));
    let mut proxy = cluster.proxy("timeout: 4000", ENTRY, &["--discovery-hold", "1"]);
    cluster.api.put(slice("m-x", port, &[]));
    proxy.wait_for_log("has no pods in its EndpointSlices");
    thread::sleep(Duration::from_millis(1500));
    let mut client = proxy.proxy.conn();
    client.ask("get k\r\n", DOWN);
    assert_eq!(proxy.servers(), [ring_name("m-0")], "the ring is as it was");
    // It comes back.
    cluster.api.put(slice("m-x", port, &[pod("m-0", "127.0.0.2")]));
    let start = Instant::now();
    while value(&mut client) != 'a' {
        assert!(start.elapsed() < Duration::from_secs(10));
    }
}

#[test]
fn pods_that_are_away_leave_room_for_those_that_are_there() {
    let cluster = Cluster::new();
    let all = [0, 1, 2, 3].map(|nth| pod(&format!("m-{nth}"), &format!("127.0.3.{nth}")));
    cluster.api.put(slice("m-x", 1, &all[..3]));
    let proxy = cluster.proxy("timeout: 400\ndiscovered_max: 3", ENTRY, &[]);
    cluster.api.put(slice("m-x", 1, &all[1..]));
    wait_for_pods(&proxy, &["m-1", "m-2", "m-3"]);
    assert_eq!(proxy.log("too many discovered servers"), Vec::<String>::new());
}

#[test]
fn a_service_without_pods_is_not_forgotten_when_something_else_fails() {
    let cluster = Cluster::new();
    cluster.api.put(slice("m-x", 1, &[pod("m-0", "127.0.0.2")]));
    let mut proxy = cluster.proxy("timeout: 400", ENTRY, &[]);
    cluster.api.put(slice("m-x", 1, &[]));
    proxy.wait_for_log("has no pods in its EndpointSlices");
    let watches = cluster.api.count("watch");
    cluster.api.set_mood(Mood::Status("watch", 401));
    let start = Instant::now();
    while failures(&proxy, "unauthorized") < 1.0 {
        assert!(start.elapsed() < Duration::from_secs(10));
        thread::sleep(Duration::from_millis(10));
    }
    cluster.api.set_mood(Mood::Right);
    cluster.api.wait_for_more("watch", watches + 1);
    thread::sleep(Duration::from_millis(1500));
    let again = "EndpointSlices can be read again";
    assert_eq!(proxy.log(again), Vec::<String>::new());
    let age = "nuthatch_kubernetes_answer_age_seconds{service=\"m\"}";
    assert!(proxy.metric(age).unwrap() > 1.0);
    let mut ending = pod("m-0", "127.0.0.2");
    ending["conditions"] = json!({"ready": false});
    cluster.api.put(slice("m-x", 1, &[ending]));
    proxy.wait_for_log(again);
    assert_eq!(proxy.metric(age), Some(0.0));
}
