//! What fails: the API server, its answers, the credentials and the rights.

use std::fs;
use std::net::{Ipv6Addr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use nuthatch_harness::Dnsmasq;
use serde_json::json;

use super::{Cluster, Mood, failures, pod, ring_name, slice, wait_for_pods};
use crate::dns::{REFUSED, server, values};
use crate::harness::{Program, free_port, pool as pool_text};
use crate::observed::Observed;

/// With `read` or `watched` behind it.
const FAILS: &str = "EndpointSlices can't be";
const KEPT: &str = "EndpointSlices can't be read; the last answer is kept";
const AGAIN: &str = "EndpointSlices can be read again";
const ENTRY: &[&str] = &["k8s+m:memcached"];

/// A cluster with one pod, whose values are `a`, and a proxy that has it.
fn start() -> (Cluster, Observed, u16) {
    let port = free_port();
    // It serves as long as the test program runs.
    server("127.0.0.2", port, 'a', 1_000_000);
    let cluster = Cluster::new();
    cluster.api.put(slice("m-x", port, &[pod("m-0", "127.0.0.2")]));
    let proxy = cluster.proxy("timeout: 4000", ENTRY, &[]);
    assert_eq!(values(&mut proxy.proxy.conn(), 1), "a");
    cluster.api.wait_for_more("watch", 0);
    (cluster, proxy, port)
}

/// The API server is right again: the proxy learns of a second pod.
fn recovers(cluster: &Cluster, proxy: &mut Observed, port: u16) {
    cluster.api.set_mood(Mood::Right);
    cluster.api.put(slice("m-y", port, &[pod("m-1", "127.0.0.3")]));
    wait_for_pods(proxy, &["m-0", "m-1"]);
    proxy.wait_for_log(AGAIN);
    assert_eq!(proxy.metric("nuthatch_kubernetes_answer_age_seconds{service=\"m\"}"), Some(0.0));
}

#[test]
fn whatever_fails_the_last_answer_is_kept_and_the_reason_is_told_once() {
    let event = |kind: &str| format!("{}\n", json!({"type": kind, "object": {"kind": "x"}}));
    let half = event("MODIFIED").as_bytes()[..30].to_vec();
    let error = json!({"type": "ERROR", "object": {"kind": "Status", "code": 500}});
    let list = |list: serde_json::Value| Mood::Body(list.to_string().into_bytes());
    let moods = [
        (Mood::Status("watch", 403), "forbidden"),
        (Mood::Status("watch", 401), "unauthorized"),
        (Mood::Status("watch", 500), "refused"),
        (Mood::Tail(half), "unreachable"),
        (Mood::Tail(b"\0\xff garbage\n".to_vec()), "invalid"),
        (Mood::Tail(event("MODIFIED").into_bytes()), "invalid"),
        (Mood::Tail(event("SURPRISE").into_bytes()), "invalid"),
        (Mood::Tail(format!("{error}\n").into_bytes()), "refused"),
        (Mood::Body(b"[1, 2".to_vec()), "invalid"),
        (
            list(json!({"metadata": {"resourceVersion": "1", "continue": "x"}, "items": []})),
            "too_large",
        ),
        (list(json!({"metadata": {"resourceVersion": "1"}})), "invalid"),
        (list(json!({"metadata": {}, "items": []})), "invalid"),
        (list(json!({"metadata": {"resourceVersion": "1"}, "items": [{}]})), "invalid"),
        (list(json!({"metadata": {"resourceVersion": "1"}, "items": []})), "no_pods"),
        (Mood::Body(vec![b' '; (16 << 20) + 1]), "too_large"),
    ];
    thread::scope(|scope| {
        for (mood, reason) in moods {
            scope.spawn(move || is_survived(&mood, reason));
        }
    });
}

/// What must hold while the API server is in this mood, and after it.
fn is_survived(mood: &Mood, reason: &str) {
    let (cluster, mut proxy, port) = start();
    // A list is asked for only if the version of the watch is too old.
    if matches!(mood, Mood::Body(_)) {
        cluster.api.compact();
    }
    cluster.api.set_mood(mood.clone());
    proxy.wait_for_log(FAILS);
    let age = "nuthatch_kubernetes_answer_age_seconds{service=\"m\"}";
    let start = Instant::now();
    while failures(&proxy, reason) < 2.0 {
        assert!(start.elapsed() < Duration::from_secs(10), "{mood:?}: {:?}", proxy.log(FAILS));
        thread::sleep(Duration::from_millis(20));
    }
    // The watch that was cut off is one reason, and this is the other: at first without a list, and then
    // after one.
    let told = proxy.log(FAILS);
    assert!(told.len() <= 3, "{mood:?}: {told:?}");
    assert_eq!(values(&mut proxy.proxy.conn(), 5), "aaaaa", "{mood:?}");
    assert!(reason == "no_pods" || proxy.metric(age).unwrap() > 0.0, "{mood:?}");
    assert_eq!(proxy.servers(), [ring_name("m-0")], "{mood:?}");
    recovers(&cluster, &mut proxy, port);
    assert_eq!(proxy.log("panicked"), Vec::<String>::new());
}

#[test]
fn without_the_right_to_read_the_log_says_which_one_lacks() {
    let cluster = Cluster::new();
    cluster.api.set_mood(Mood::Status("list", 403));
    let mut proxy = cluster.proxy("timeout: 400", ENTRY, &["--discovery-wait", "1"]);
    proxy.wait_for_log("EndpointSlices can't be read");
    let told = proxy.log("EndpointSlices can't be read");
    for words in ["may not list", "namespace cache", "list and watch", "discovery.k8s.io"] {
        assert!(told.len() == 1 && told[0].contains(words), "{told:?}");
    }
    assert_eq!(proxy.log("no servers discovered yet").len(), 1);
    proxy.proxy.conn().ask("get a\r\n", REFUSED);
    cluster.api.put(slice("m-x", 1, &[pod("m-0", "127.0.0.2")]));
    cluster.api.set_mood(Mood::Right);
    wait_for_pods(&proxy, &["m-0"]);
}

#[test]
fn a_token_that_changes_is_read_again() {
    let (cluster, mut proxy, port) = start();
    cluster.api.accept_token("second");
    cluster.api.cut();
    proxy.wait_for_log(KEPT);
    let start = Instant::now();
    while failures(&proxy, "unauthorized") < 1.0 {
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", proxy.log(KEPT));
    }
    cluster.write_token("second");
    recovers(&cluster, &mut proxy, port);
    assert_eq!(cluster.api.count("list"), 1, "the watch goes on where it was");
}

#[test]
fn an_outdated_version_is_listed_again() {
    // 410 as an event of the watch, and as the status of its answer.
    for is_status in [false, true] {
        let (cluster, proxy, port) = start();
        cluster.api.compact();
        if is_status {
            cluster.api.set_mood(Mood::Status("watch", 410));
            cluster.api.wait_for_more("list", 1);
        }
        cluster.api.put(slice("m-x", port, &[pod("m-0", "127.0.0.2"), pod("m-1", "127.0.0.3")]));
        cluster.api.compact();
        cluster.api.set_mood(Mood::Right);
        wait_for_pods(&proxy, &["m-0", "m-1"]);
        assert!(cluster.api.count("list") >= 2);
        assert_eq!(values(&mut proxy.proxy.conn(), 1).len(), 1);
    }
}

#[test]
fn a_watch_that_is_cut_off_goes_on_without_a_list() {
    let (cluster, proxy, port) = start();
    cluster.api.bookmark();
    thread::sleep(Duration::from_millis(100));
    let watches = cluster.api.count("watch");
    cluster.api.cut();
    // It happens while nobody watches.
    cluster.api.put(slice("m-y", port, &[pod("m-1", "127.0.0.3")]));
    wait_for_pods(&proxy, &["m-0", "m-1"]);
    assert_eq!(cluster.api.count("list"), 1);
    cluster.api.wait_for_more("watch", watches);
    let last = cluster.api.last("watch");
    assert!(last.contains("&resourceVersion=102&"), "from the bookmark on: {last}");
}

#[test]
fn an_api_server_that_says_nothing_delays_nobody() {
    for mood in [Mood::Silent, Mood::Hanging] {
        let port = free_port();
        server("127.0.0.2", port, 'a', 1_000_000);
        let cluster = Cluster::new();
        cluster.api.put(slice("m-x", port, &[pod("m-0", "127.0.0.2")]));
        cluster.api.set_mood(mood.clone());
        let plain = format!("127.0.0.2:{port}:1 plain");
        let start = Instant::now();
        let arguments = ["--discovery-wait", "1"];
        let mut proxy = cluster.proxy("timeout: 4000", &[&plain, ENTRY[0]], &arguments);
        assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
        let mut client = proxy.proxy.conn();
        let start = Instant::now();
        for _ in 0..1000 {
            client.ask("get k\r\n", "VALUE k 0 1\r\na\r\nEND\r\n");
        }
        assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
        // The connection has 5 seconds, a list 10.
        if mood == Mood::Silent {
            proxy.wait_for_log("did not answer in time");
            assert!(failures(&proxy, "timed_out") >= 1.0);
        }
        assert_eq!(proxy.servers(), ["plain"]);
    }
}

#[test]
fn a_service_with_too_many_endpoints_is_refused_with_the_limit() {
    let (cluster, mut proxy, port) = start();
    let all: Vec<_> = (0..10_001)
        .map(|nth| pod(&format!("x-{nth}"), &format!("127.{}.{}.9", nth / 250, nth % 250)))
        .collect();
    cluster.api.put(slice("m-z", port, &all));
    proxy.wait_for_log(FAILS);
    let told = proxy.log(FAILS);
    assert!(told[0].contains("more than 10000 endpoints or 1000 EndpointSlices"), "{told:?}");
    assert_eq!(failures(&proxy, "too_large"), 1.0);
    assert_eq!(proxy.servers(), [ring_name("m-0")]);
    cluster.api.remove("m-z");
    recovers(&cluster, &mut proxy, port);
}

#[test]
fn an_api_server_of_another_cluster_is_not_trusted() {
    for (authority, words) in [
        ("other-ca.crt", "must be trusted by ca.crt of the service account"),
        ("server.key", "there is no certificate in it"),
    ] {
        let cluster = Cluster::new();
        cluster.api.put(slice("m-x", 1, &[pod("m-0", "127.0.0.2")]));
        cluster.trust(authority);
        let mut proxy = cluster.proxy("timeout: 400", ENTRY, &["--discovery-wait", "1"]);
        proxy.wait_for_log(words);
        assert!(failures(&proxy, "untrusted") >= 1.0);
        assert_eq!(cluster.api.count("list"), 0, "nobody else gets the token");
        // The file is read again.
        cluster.trust("ca.crt");
        wait_for_pods(&proxy, &["m-0"]);
    }
}

#[test]
fn an_api_server_may_have_an_address_of_version_six_or_a_name() {
    let hosts = if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
        &["::1", "[::1]"][..]
    } else {
        &[]
    };
    for host in hosts {
        let cluster = Cluster::at(Ipv6Addr::LOCALHOST.into());
        cluster.api.put(slice("m-x", 1, &[pod("m-0", "127.0.0.2")]));
        assert_eq!(verdict(&cluster, Some(host), ENTRY[0], &[]).0, Some(0), "{host}");
    }
    let cluster = Cluster::new();
    cluster.api.put(slice("m-x", 1, &[pod("m-0", "127.0.0.2")]));
    let (code, text) = verdict(&cluster, Some("localhost"), ENTRY[0], &[]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains(&format!("has 1 servers now: {}", ring_name("m-0"))), "{text}");
}

#[test]
fn a_test_of_the_configuration_says_what_kubernetes_lacks() {
    let cluster = Cluster::new();
    let (_, text) = verdict(&cluster, None, ENTRY[0], &[]);
    assert!(text.contains("Kubernetes has no answer for it"), "{text}");
    assert!(text.contains("KUBERNETES_SERVICE_HOST"), "{text}");
    cluster.api.put(slice("m-x", 1, &[pod("m-0", "127.0.0.2")]));
    let (_, text) = verdict(&cluster, Some("127.0.0.1"), "k8s+m:metrics", &[]);
    assert!(text.contains("no pod of the Service has a port of this name"), "{text}");
    fs::remove_file(cluster.account.join("token")).unwrap();
    let (_, text) = verdict(&cluster, Some("127.0.0.1"), ENTRY[0], &[]);
    assert!(text.contains("token of a service account"), "{text}");
}

/// The exit code and the words of `-t` in a pod with this `KUBERNETES_SERVICE_HOST`.
fn verdict(
    cluster: &Cluster,
    host: Option<&str>,
    entry: &str,
    arguments: &[&str],
) -> (Option<i32>, String) {
    let config = pool_text(free_port(), "timeout: 400", &[entry.to_owned()]);
    let file = cluster.account.join("nutcracker.yml");
    fs::write(&file, config).unwrap();
    let mut command = Program::UnderTest.command();
    if let Some(host) = host {
        command.env("KUBERNETES_SERVICE_HOST", host);
    }
    let output = command
        .env("KUBERNETES_SERVICE_PORT", cluster.api.address.port().to_string())
        .args(["-t", "--discovery-wait", "2", "-c"])
        .arg(file)
        .args(arguments)
        .arg(format!("--service-account={}", cluster.account.join("").display()))
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// What is told before an error counts, in whatever pieces it comes.
#[test]
fn a_change_that_is_told_right_before_an_error_is_seen() {
    let (cluster, proxy, port) = start();
    let mut changed = slice("m-y", port, &[pod("m-1", "127.0.0.3")]);
    changed["metadata"]["resourceVersion"] = json!("500");
    let error = json!({"type": "ERROR", "object": {"kind": "Status", "code": 500}});
    let tail = format!("{}\n{error}\n", json!({"type": "ADDED", "object": changed}));
    cluster.api.set_mood(Mood::Tail(tail.into_bytes()));
    wait_for_pods(&proxy, &["m-0", "m-1"]);
}

#[test]
#[ignore = "needs dnsmasq: run make it"]
fn the_name_of_an_api_server_is_asked_of_the_name_servers_of_the_proxy() {
    let dns = Dnsmasq::start(&["host-record=kubernetes.default.svc,127.0.0.1"]);
    let cluster = Cluster::new();
    cluster.api.put(slice("m-x", 1, &[pod("m-0", "127.0.0.2")]));
    let conf = format!("--resolv-conf={}", dns.resolv_conf().display());
    let (code, text) = verdict(&cluster, Some("kubernetes.default.svc"), ENTRY[0], &[&conf]);
    assert!(code == Some(0) && text.contains("has 1 servers now"), "{text}");
    let (_, text) = verdict(&cluster, Some("none.test"), ENTRY[0], &[&conf]);
    assert!(text.contains("name does not exist"), "{text}");
}

#[test]
fn while_a_watch_is_refused_the_service_is_listed_instead() {
    thread::scope(|scope| {
        for status in [504, 403, 410] {
            scope.spawn(move || is_listed_instead(status));
        }
    });
}

/// What must hold while each watch is refused with this status, and after it.
fn is_listed_instead(status: u16) {
    const INSTEAD: &str = "EndpointSlices can't be watched";
    let (cluster, mut proxy, port) = start();
    cluster.api.set_mood(Mood::Status("watch", status));
    cluster.api.put(slice("m-y", port, &[pod("m-1", "127.0.0.3")]));
    wait_for_pods(&proxy, &["m-0", "m-1"]);
    cluster.api.wait_for_more("list", 2);
    proxy.wait_for_log(INSTEAD);
    assert_eq!(proxy.log(INSTEAD).len(), 1, "{:?}", proxy.log(INSTEAD));
    assert_eq!(proxy.log(AGAIN), Vec::<String>::new(), "{status}");
    // It is the age of what was listed last.
    let age = "nuthatch_kubernetes_answer_age_seconds{service=\"m\"}";
    let old = proxy.metric(age).unwrap();
    assert!(old > 0.0 && old < 9.0, "{old}");
    cluster.api.set_mood(Mood::Right);
    proxy.wait_for_log(AGAIN);
    assert_eq!(proxy.metric(age), Some(0.0));
}

#[test]
fn what_no_watch_tells_is_listed_after_some_watches() {
    let (cluster, proxy, port) = start();
    cluster.api.set_mood(Mood::Mute);
    cluster.api.put(slice("m-y", port, &[pod("m-1", "127.0.0.3")]));
    let start = Instant::now();
    while proxy.servers().len() < 2 {
        assert!(start.elapsed() < Duration::from_secs(30), "{}", cluster.api.count("watch"));
        thread::sleep(Duration::from_millis(100));
        cluster.api.cut();
    }
    assert_eq!(cluster.api.count("list"), 2);
}

#[test]
fn a_list_that_is_only_due_may_fail() {
    let (cluster, mut proxy, port) = start();
    cluster.api.set_mood(Mood::Status("list", 503));
    let start = Instant::now();
    while failures(&proxy, "refused") < 1.0 {
        assert!(start.elapsed() < Duration::from_secs(30), "{}", cluster.api.count("watch"));
        cluster.api.cut();
        thread::sleep(Duration::from_millis(100));
    }
    cluster.api.put(slice("m-y", port, &[pod("m-1", "127.0.0.3")]));
    wait_for_pods(&proxy, &["m-0", "m-1"]);
    proxy.wait_for_log(AGAIN);
    assert_eq!(proxy.log("503"), Vec::<String>::new(), "the watches tell what there is");
}
