//! Pods that come, go, restart and have several addresses.

use std::net::Ipv6Addr;
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{Cluster, pod, ring_name, slice, wait_for_pods};
use crate::conn::Conn;
use crate::dns::pods::{
    KEYS, is_back_within_a_second, moved, places, pod as memcached, ring_hash, store,
};
use crate::dns::{REFUSED, server, value, values, wait_for_value};
use crate::harness::free_port;
use crate::http;

#[test]
fn the_pods_of_a_service_are_servers_under_the_names_that_dns_has() {
    for (entry, name, domain) in [
        ("k8s+m:11211", "m", "cluster.local"),
        ("k8s+m.cache:memcached:2", "m.cache", "cluster.local"),
        ("k8s+m.cache.svc.k8s.test:memcached", "m.cache.svc.k8s.test", "k8s.test"),
    ] {
        let cluster = Cluster::new();
        cluster.api.put(slice("m-x", 11211, &[pod("m-1", "127.0.0.3"), pod("m-0", "127.0.0.2")]));
        let proxy = cluster.proxy("timeout: 400", &["10.0.0.1:1:1 plain", entry], &[]);
        let of = |pod: &str| format!("{pod}.m.cache.svc.{domain}");
        assert_eq!(proxy.servers(), ["plain", &of("m-0"), &of("m-1")]);
        let path = "/apis/discovery.k8s.io/v1/namespaces/cache/endpointslices\
                    ?labelSelector=kubernetes.io%2Fservice-name%3Dm&";
        for verb in ["list", "watch"] {
            cluster.api.wait_for_more(verb, 0);
            assert!(cluster.api.last(verb).starts_with(path), "{}", cluster.api.last(verb));
        }
        let watch = cluster.api.last("watch");
        assert!(
            watch.contains("&watch=1&allowWatchBookmarks=true&resourceVersion=101&"),
            "{watch}"
        );
        let pool = format!("pool{}", proxy.proxy.port);
        let metric = format!("nuthatch_discovered_servers{{pool=\"{pool}\",entry=\"{entry}\"}}");
        assert_eq!(proxy.metric(&metric), Some(2.0));
        assert_eq!(proxy.metric("nuthatch_kubernetes_requests_total"), Some(2.0));
        let age = format!("nuthatch_kubernetes_answer_age_seconds{{service=\"{name}\"}}");
        assert_eq!(proxy.metric(&age), Some(0.0));
    }
}

#[test]
#[ignore = "needs memcached: run make it"]
fn a_pod_that_returns_under_another_address_moves_no_key() {
    let port = free_port();
    let cluster = Cluster::new();
    let hosts = ["127.0.0.2", "127.0.0.3", "127.0.0.4"];
    let mut pods: Vec<_> = hosts.iter().map(|host| memcached(host, port)).collect();
    let all = |hosts: [&str; 3]| [0, 1, 2].map(|nth| pod(&format!("m-{nth}"), hosts[nth]));
    cluster.api.put(slice("m-x", port, &all(hosts)));
    let proxy = cluster.proxy("timeout: 1000\nhash: murmur", &["k8s+m:memcached"], &[]);
    let mut client = proxy.proxy.conn();
    store(&mut client);
    let before = places(&hosts, port);
    assert!(before.iter().all(|pods| pods.len() == 1), "each key is on one pod");
    let ring = proxy.metric(&ring_hash(&proxy));

    // The pod ends, and is in no slice for a while; its keys fail meanwhile.
    let mut ending = all(hosts);
    ending[1]["conditions"] = json!({"ready": false, "serving": false, "terminating": true});
    cluster.api.put(slice("m-x", port, &ending));
    pods.remove(1);
    cluster.api.put(slice("m-x", port, &[ending[0].clone(), ending[2].clone()]));
    thread::sleep(Duration::from_millis(300));
    assert_eq!(proxy.servers(), ["m-0", "m-1", "m-2"].map(ring_name));
    let key = before.iter().position(|pods| pods == &[1]).unwrap();
    client.ask(format!("get key{key}\r\n"), REFUSED);

    // It comes back, at first unready.
    let hosts = ["127.0.0.2", "127.0.0.5", "127.0.0.4"];
    pods.insert(1, memcached(hosts[1], port));
    let mut back = all(hosts);
    back[1]["conditions"] = json!({"ready": false, "serving": false, "terminating": false});
    cluster.api.put(slice("m-x", port, &back));
    is_back_within_a_second(&mut client, key);

    store(&mut client);
    assert_eq!(moved(&before, &places(&hosts, port)), 0, "of {KEYS} keys");
    assert_eq!(proxy.metric(&ring_hash(&proxy)), ring);
    assert_eq!(proxy.log("configuration"), Vec::<String>::new(), "it was no reload");
}

#[test]
#[ignore = "needs memcached: run make it"]
fn servers_come_and_go_with_the_pods_while_a_client_stays_connected() {
    let port = free_port();
    let hosts = ["127.0.0.2", "127.0.0.3", "127.0.0.4"];
    let _pods: Vec<_> = hosts.iter().map(|host| memcached(host, port)).collect();
    let all = [0, 1, 2].map(|nth| pod(&format!("m-{nth}"), hosts[nth]));
    let cluster = Cluster::new();
    cluster.api.put(slice("m-x", port, &all[..2]));
    let settings = "timeout: 4000\nmax_move: 60%";
    let proxy = cluster.proxy(settings, &["k8s+m:memcached"], &["--discovery-hold", "1"]);
    let mut client = proxy.proxy.conn();
    store(&mut client);
    let counts = || {
        places(&hosts, port).iter().fold([0; 3], |mut counts, pods| {
            pods.iter().for_each(|pod| counts[*pod] += 1);
            counts
        })
    };
    assert_eq!(counts()[2], 0);
    // In a slice of its own, which comes, is emptied and goes.
    cluster.api.put(slice("m-y", port, &all[2..]));
    wait_for_pods(&proxy, &["m-0", "m-1", "m-2"]);
    store(&mut client);
    assert!(counts()[2] > KEYS / 5, "{:?}", counts());
    cluster.api.put(slice("m-y", port, &[]));
    cluster.api.remove("m-y");
    let start = Instant::now();
    wait_for_pods(&proxy, &["m-0", "m-1"]);
    assert!(start.elapsed() > Duration::from_millis(900), "{:?}", start.elapsed());
    store(&mut client);
    assert_eq!(proxy.proxy.server_failures(), 0);
}

#[test]
fn a_pod_with_addresses_of_both_versions_is_one_server() {
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        eprintln!("skipped: there is no ::1 here");
        return;
    }
    let port = free_port();
    let _server = server("::1", port, 'v', 1000);
    let cluster = Cluster::new();
    cluster.api.put(slice("m-four", port, &[pod("m-0", "127.0.0.9")]));
    cluster.api.put(slice("m-six", port, &[pod("m-0", "::1")]));
    let proxy = cluster.proxy("timeout: 4000", &["k8s+m:memcached"], &[]);
    assert_eq!(proxy.servers(), [ring_name("m-0")]);
    // Nobody listens at the other address.
    assert_eq!(values(&mut proxy.proxy.conn(), 2), "vv");
    cluster.api.remove("m-four");
    thread::sleep(Duration::from_millis(200));
    assert_eq!(values(&mut proxy.proxy.conn(), 2), "vv");
    assert_eq!(proxy.servers(), [ring_name("m-0")]);
}

#[test]
fn a_service_of_many_slices_is_listed_page_by_page() {
    let cluster = Cluster::new();
    for nth in 0..120 {
        let endpoint = pod(&format!("m-{nth}"), &format!("127.0.3.{nth}"));
        cluster.api.put(slice(&format!("m-{nth:03}"), 1, &[endpoint]));
    }
    let proxy = cluster.proxy("timeout: 400", &["k8s+m:memcached"], &[]);
    assert_eq!((proxy.servers().len(), cluster.api.count("list")), (120, 3));
}

#[test]
fn more_pods_than_there_may_be_are_ignored_and_counted() {
    let cluster = Cluster::new();
    let all = [0, 1, 2, 3].map(|nth| pod(&format!("m-{nth}"), &format!("127.0.3.{nth}")));
    cluster.api.put(slice("m-x", 1, &all[..3]));
    let mut proxy = cluster.proxy("timeout: 400\ndiscovered_max: 3", &["k8s+m:memcached"], &[]);
    cluster.api.put(slice("m-x", 1, &all));
    proxy.wait_for_log("too many discovered servers");
    assert_eq!(proxy.servers(), ["m-0", "m-1", "m-2"].map(ring_name));
}

#[test]
fn a_port_that_no_pod_has_is_told_and_changes_nothing() {
    let cluster = Cluster::new();
    let pods = [pod("m-0", "127.0.0.2")];
    let mut other = slice("m-x", 11211, &pods);
    other["ports"][0]["name"] = json!("metrics");
    cluster.api.put(slice("m-x", 11211, &pods));
    let mut proxy = cluster.proxy("timeout: 400", &["k8s+m:memcached"], &[]);
    cluster.api.put(other);
    proxy.wait_for_log("no pod has a port of this name");
    assert_eq!(proxy.servers(), [ring_name("m-0")]);
}

/// Every connection of every worker to a pod follows it, also those that wait for the former address.
#[test]
fn an_attempt_that_hangs_goes_on_at_the_new_address() {
    let port = free_port();
    let _hanging = crate::fake::UnansweringPort::at(format!("127.0.0.2:{port}").parse().unwrap());
    let _server = server("127.0.0.3", port, 'b', 1000);
    let cluster = Cluster::new();
    cluster.api.put(slice("m-x", port, &[pod("m-0", "127.0.0.2")]));
    // Without a timeout, the attempt would wait for minutes.
    let proxy = cluster.proxy("", &["k8s+m:memcached"], &["--workers", "2"]);
    let mut clients: Vec<Conn> = (0..4).map(|_| proxy.proxy.conn()).collect();
    clients.iter_mut().for_each(|client| client.send("get k\r\n"));
    thread::sleep(Duration::from_millis(300));
    let start = Instant::now();
    cluster.api.put(slice("m-x", port, &[pod("m-0", "127.0.0.3")]));
    for client in &mut clients {
        client.expect("VALUE k 0 1\r\nb\r\nEND\r\n");
    }
    assert!(start.elapsed() < Duration::from_millis(900), "{:?}", start.elapsed());
    assert_eq!(value(&mut clients[0]), 'b');
}

/// Without the news, the name would be asked for again after a minute.
#[test]
fn an_open_connection_leaves_the_former_address_at_once_and_no_request_fails() {
    let port = free_port();
    let _servers =
        [server("127.0.0.2", port, 'a', 1_000_000), server("127.0.0.3", port, 'b', 1000)];
    let cluster = Cluster::new();
    cluster.api.put(slice("m-x", port, &[pod("m-0", "127.0.0.2")]));
    let arguments = ["--dns-ttl-min", "60", "--dns-ttl-max", "60"];
    let proxy = cluster.proxy("timeout: 4000", &["k8s+m:memcached"], &arguments);
    let mut client = proxy.proxy.conn();
    assert_eq!(values(&mut client, 2), "aa");
    cluster.api.put(slice("m-x", port, &[pod("m-0", "127.0.0.3")]));
    let (before, took) = wait_for_value(&mut client, 'b');
    assert!(before.chars().all(|value| value == 'a'), "{before}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(proxy.proxy.server_failures(), 0);
}

#[test]
fn an_entry_that_a_reload_adds_or_removes_is_followed_or_not() {
    let cluster = Cluster::new();
    cluster.api.put(slice("m-x", 1, &[pod("m-0", "127.0.0.2")]));
    let proxy = cluster.proxy("timeout: 400", &["127.0.0.9:1:1 plain"], &[]);
    assert_eq!(cluster.api.count("list"), 0);
    let reload = |servers: &[&str]| {
        let servers: Vec<String> = servers.iter().map(|&server| server.into()).collect();
        let config = crate::harness::pool(proxy.proxy.port, "timeout: 400", &servers);
        std::fs::write(proxy.proxy.dir.join("nutcracker.yml"), config).unwrap();
        let post = "POST /reload?force=true HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(http::ask(proxy.admin, post).status, 200);
    };
    let age = "nuthatch_kubernetes_answer_age_seconds{service=\"m\"}";
    reload(&["k8s+m:memcached"]);
    assert_eq!((proxy.servers(), proxy.metric(age)), (vec![ring_name("m-0")], Some(0.0)));
    reload(&["127.0.0.9:1:1 plain"]);
    assert_eq!((proxy.servers(), proxy.metric(age)), (vec!["plain".to_owned()], None));
    // The watch has ended with the entry.
    cluster.api.cut();
    thread::sleep(Duration::from_millis(1200));
    assert_eq!(cluster.api.count("watch"), 1);
}

#[test]
fn a_service_in_several_spellings_is_listed_and_watched_once() {
    let cluster = Cluster::new();
    cluster.api.put(slice("m-x", 1, &[pod("m-0", "127.0.0.2")]));
    let entries = ["k8s+m:1", "k8s+m.cache.svc:2", "k8s+m.cache.svc.cluster.local:3"];
    let proxy = cluster.proxy("timeout: 400", &entries, &[]);
    assert_eq!(proxy.servers(), [ring_name("m-0")]);
    cluster.api.wait_for_more("watch", 0);
    thread::sleep(Duration::from_millis(300));
    assert_eq!((cluster.api.count("list"), cluster.api.count("watch")), (1, 1));
    for service in ["m", "m.cache"] {
        let age = format!("nuthatch_kubernetes_answer_age_seconds{{service=\"{service}\"}}");
        assert_eq!(proxy.metric(&age), Some(0.0), "{service}");
    }
}

#[test]
fn two_pods_with_one_host_name_are_two_servers() {
    let cluster = Cluster::new();
    let of = |object: &str, address: &str| {
        let mut it = pod("m", address);
        it["targetRef"]["name"] = json!(object);
        it
    };
    cluster.api.put(slice("m-x", 1, &[of("m-7f", "127.0.0.2")]));
    let proxy = cluster.proxy("timeout: 400", &["k8s+m:memcached"], &[]);
    assert_eq!(proxy.servers(), [ring_name("m")]);
    // While slices are rebalanced, one pod may be in two.
    cluster.api.put(slice("m-y", 1, &[of("m-7f", "127.0.0.2")]));
    cluster.api.put(slice("m-z", 1, &[of("m-8g", "127.0.0.3")]));
    wait_for_pods(&proxy, &["m-7f", "m-8g"]);
    cluster.api.remove("m-z");
    wait_for_pods(&proxy, &["m"]);
}
