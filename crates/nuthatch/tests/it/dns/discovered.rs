//! `dns+` and `dnssrv+` entries: DNS tells which servers there are.

use std::fs;
use std::process::Output;

use nuthatch_harness::{Dnsmasq, TempDir};

use super::{Asking, REFUSED, server, values};
use crate::conn::Conn;
use crate::harness::{Program, free_port, pool};
use crate::http;

fn hosts(count: usize) -> Vec<String> {
    (1..=count).map(|nth| format!("host-record=cache.test,127.0.2.{nth}")).collect()
}

/// Services of two pods, and their addresses.
const SERVICES: &[&str] = &[
    "srv-host=_m._tcp.cache.test,m-1.cache.test,11212",
    "srv-host=_m._tcp.cache.test,M-0.cache.test,11211",
    "host-record=m-0.cache.test,127.0.0.2",
    "host-record=m-1.cache.test,127.0.0.3",
];

#[test]
#[ignore = "needs dnsmasq: run make it"]
fn the_targets_of_a_service_are_servers_under_their_names() {
    for entry in ["dnssrv+_m._tcp.cache.test", "dnssrvnoa+_m._tcp.cache:2"] {
        let dns = Dnsmasq::start(SERVICES);
        dns.set_resolv_conf("search other.test test");
        let servers = [entry.to_owned(), "10.0.0.1:1:1 plain".to_owned()];
        let asking = Asking::start_with(dns, "timeout: 400", &servers, &[]);
        assert_eq!(asking.servers(), ["plain", "m-0.cache.test", "m-1.cache.test"]);
        let shown: serde_json::Value = serde_json::from_str(&asking.page("/config")).unwrap();
        let pool = &shown["pools"][format!("pool{}", asking.proxy.port)];
        assert_eq!(pool["servers"], serde_json::json!(["10.0.0.1:1:1 plain", entry]));
        let pool = format!("pool{}", asking.proxy.port);
        let metric = format!("nuthatch_discovered_servers{{pool=\"{pool}\",entry=\"{entry}\"}}");
        assert_eq!(asking.metric(&metric), Some(2.0));
    }
}

#[test]
#[ignore = "needs dnsmasq: run make it"]
fn the_target_of_a_service_is_resolved_when_it_is_connected_to() {
    let port = free_port();
    let _server = server("127.0.0.2", port, 'a', 1);
    let service = format!("srv-host=_m._tcp.cache.test,m-0.cache.test,{port}");
    let right = "host-record=m-0.cache.test,127.0.0.2";
    // The target is complete, so it is not looked up in the search list.
    let wrong = "host-record=m-0.cache.test.trap.test,127.0.0.9";
    let dns = Dnsmasq::start(&[service.as_str(), right, wrong]);
    dns.set_resolv_conf("search trap.test\noptions ndots:15");
    let servers = ["dnssrv+_m._tcp.cache.test".to_owned()];
    let asking = Asking::start_with(dns, "timeout: 4000", &servers, &[]);
    assert_eq!(values(&mut asking.proxy.conn(), 3), "aaa");
}

#[test]
#[ignore = "needs dnsmasq: run make it"]
fn each_address_of_a_name_is_a_server() {
    for count in [1, 2, 100] {
        let records = hosts(count);
        let records: Vec<&str> = records.iter().map(String::as_str).collect();
        let servers = ["dns+cache.test:11211".to_owned()];
        let asking = Asking::start(&records, "timeout: 400", &servers, &[]);
        let mut names: Vec<String> =
            (1..=count).map(|nth| format!("127.0.2.{nth}:11211")).collect();
        names.sort_by_key(|name| (name.len(), name.clone()));
        assert_eq!(asking.servers(), names);
    }
}

#[test]
#[ignore = "needs dnsmasq: run make it"]
fn without_an_answer_the_proxy_starts_and_refuses_requests() {
    let servers = ["dns+nothing.test:11211".to_owned()];
    for settings in ["timeout: 400\npreconnect: true", "distribution: modula", "hash: md5"] {
        let asking = Asking::start(&[], settings, &servers, &["--discovery-wait", "1"]);
        assert_eq!(asking.servers(), Vec::<String>::new());
        let mut client = asking.proxy.conn();
        client.ask("get a\r\nget a b\r\n", REFUSED.repeat(2));
        for path in ["/metrics", "/config", "/route?key=a", "/ready", "/live"] {
            assert!(!asking.page(path).is_empty(), "{path}");
        }
        let metric = format!("nuthatch_forward_errors_total{{pool=\"pool{}\"}}", asking.proxy.port);
        assert_eq!(asking.metric(&metric), Some(2.0));
        // The statistics are JSON without servers, too.
        let text = Conn::tcp(("127.0.0.1", asking.proxy.stats_port)).read_to_end();
        serde_json::from_slice::<serde_json::Value>(&text).unwrap();
        assert_eq!(asking.log("panicked"), Vec::<String>::new());
    }
}

#[test]
#[ignore = "needs dnsmasq: run make it"]
fn a_pool_that_starts_without_servers_gets_them_later() {
    let port = free_port();
    let _server = server("127.0.0.2", port, 'a', 1000);
    let servers = [format!("dns+cache.test:{port}")];
    let settings = "timeout: 4000\nmax_move: 1%";
    let mut asking =
        Asking::start(&["local-ttl=1"], settings, &servers, &["--discovery-wait", "1"]);
    let mut client = asking.proxy.conn();
    client.ask("get k\r\n", REFUSED);
    asking.dns.change(&["host-record=cache.test,127.0.0.2"]);
    asking.wait_for_log("configuration reloaded");
    assert_eq!(values(&mut client, 3), "aaa");
}

#[test]
#[ignore = "needs dnsmasq: run make it"]
fn more_servers_than_there_may_be_are_ignored_and_counted() {
    let records = hosts(4);
    let records: Vec<&str> = records.iter().map(String::as_str).collect();
    let servers = ["dns+cache.test:11211".to_owned(), "10.0.0.1:1:1 plain".to_owned()];
    let asking = Asking::start(&records, "timeout: 400\ndiscovered_max: 3", &servers, &[]);
    assert_eq!(asking.servers(), ["plain"]);
    assert_eq!(asking.log("too many discovered servers").len(), 1);
    let pool = format!("pool{}", asking.proxy.port);
    let labels = format!("{{pool=\"{pool}\",entry=\"dns+cache.test:11211\"}}");
    assert_eq!(asking.metric(&format!("nuthatch_discovered_ignored_total{labels}")), Some(1.0));
    assert_eq!(asking.metric(&format!("nuthatch_discovered_servers{labels}")), Some(4.0));
}

#[test]
#[ignore = "needs dnsmasq: run make it"]
fn an_entry_that_a_reload_removes_has_no_metrics() {
    let servers = ["dns+cache.test:11211".to_owned(), "dns+cache.test:11212".to_owned()];
    let asking =
        Asking::start(&["host-record=cache.test,127.0.2.1"], "timeout: 400", &servers, &[]);
    let port = asking.proxy.port;
    let metrics = || {
        let of = |entry| {
            let labels = format!("{{pool=\"pool{port}\",entry=\"{entry}\"}}");
            ["servers", "ignored_total"]
                .map(|name| asking.metric(&format!("nuthatch_discovered_{name}{labels}")))
        };
        servers.each_ref().map(of)
    };
    assert_eq!(metrics(), [[Some(1.0), Some(0.0)]; 2]);
    let config = pool(port, "timeout: 400", &servers[1..]);
    fs::write(asking.proxy.dir.join("nutcracker.yml"), config).unwrap();
    let reload = "POST /reload HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(http::ask(asking.admin, reload).status, 200);
    assert_eq!(metrics(), [[None; 2], [Some(1.0), Some(0.0)]]);
}

#[test]
#[ignore = "needs dnsmasq: run make it"]
fn a_change_is_followed_and_an_empty_answer_is_none() {
    let servers = ["dns+cache.test:11211".to_owned()];
    let records = ["local-ttl=1", "host-record=cache.test,127.0.2.1"];
    let mut asking = Asking::start(&records, "timeout: 400", &servers, &[]);
    asking.dns.change(&[]);
    asking.wait_for_log("name look-up failed; the last answer is kept");
    assert_eq!(asking.log("configuration changed"), Vec::<String>::new());
    asking.dns.change(&["host-record=cache.test,127.0.2.1", "host-record=cache.test,127.0.2.2"]);
    asking.wait_for_log("configuration reloaded");
    assert_eq!(asking.servers(), ["127.0.2.1:11211", "127.0.2.2:11211"]);
}

#[test]
#[ignore = "needs memcached and dnsmasq: run make it"]
fn servers_come_and_go_as_dns_says_while_a_client_stays_connected() {
    let port = free_port();
    let hosts = ["127.0.0.2", "127.0.0.3", "127.0.0.4"];
    let _servers: Vec<_> = hosts
        .iter()
        .zip("abc".chars())
        .map(|(host, value)| server(host, port, value, 1000))
        .collect();
    let records = |count: usize| {
        let pod = |nth: usize| {
            let service = format!("srv-host=_m._tcp.cache.test,m-{nth}.cache.test,{port}");
            [service, format!("host-record=m-{nth}.cache.test,{}", hosts[nth])]
        };
        let all = (0..count).flat_map(pod);
        all.chain(["local-ttl=1".to_owned()]).collect::<Vec<String>>()
    };
    let first = records(2);
    let first: Vec<&str> = first.iter().map(String::as_str).collect();
    let servers = ["dnssrv+_m._tcp.cache.test".to_owned()];
    let settings = "timeout: 4000\nhash: md5\nmax_move: 60%";
    let mut asking = Asking::start(&first, settings, &servers, &["--discovery-hold", "1"]);
    let mut client = asking.proxy.conn();
    let had = |client: &mut Conn| {
        let values = (0..50).map(|key| {
            client.send(format!("get key{key}\r\n"));
            let reply = client.read_reply().unwrap();
            reply[reply.len() - 8]
        });
        let values: std::collections::BTreeSet<u8> = values.collect();
        String::from_utf8(values.into_iter().collect()).unwrap()
    };
    assert_eq!(had(&mut client), "ab");
    for (count, expected, told) in
        [(3, "abc", "m-2.cache.test added"), (2, "ab", "m-2.cache.test removed")]
    {
        let now = records(count);
        asking.dns.change(&now.iter().map(String::as_str).collect::<Vec<_>>());
        asking.wait_for_log(told);
        assert_eq!(had(&mut client), expected);
    }
    // Two of three servers at once are more than the pool allows.
    let now = records(3);
    asking.dns.change(&now.iter().map(String::as_str).collect::<Vec<_>>());
    let by = std::time::Instant::now() + crate::conn::PATIENCE;
    while asking.servers().len() < 3 {
        assert!(std::time::Instant::now() < by);
    }
    assert_eq!(had(&mut client), "abc");
    let now = records(1);
    asking.dns.change(&now.iter().map(String::as_str).collect::<Vec<_>>());
    asking.wait_for_log("max_move is 60 %");
    assert_eq!(had(&mut client), "abc");
}

/// Runs a command with a configuration of one pool; `CONF` stands for its file.
fn run(dns: &Dnsmasq, servers: &[String], arguments: &[&str]) -> Output {
    let dir = TempDir::new();
    let file = dir.join("a.yml");
    fs::write(&file, pool(free_port(), "timeout: 400\nhash: murmur", servers)).unwrap();
    let mut command = Program::UnderTest.command();
    for argument in arguments {
        command.arg(argument.replace("CONF", &file.display().to_string()));
    }
    command.arg(format!("--resolv-conf={}", dns.resolv_conf().display())).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
#[ignore = "needs dnsmasq: run make it"]
fn a_test_of_the_configuration_says_what_there_is_now() {
    let dns = Dnsmasq::start(SERVICES);
    let servers = ["dnssrv+_m._tcp.cache.test".to_owned(), "dns+nothing.test:11211".to_owned()];
    let output = run(&dns, &servers, &["-t", "-c", "CONF", "--discovery-wait=1"]);
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    let has = "dnssrv+_m._tcp.cache.test has 2 servers now: m-0.cache.test, m-1.cache.test\n";
    assert!(said.contains(has) && said.contains("note: "), "{said}");
    assert!(said.contains("warning: ") && said.contains("nothing.test:11211 has no servers now"));
    let trap = "The servers of dns+nothing.test:11211 are on the ring under their addresses";
    assert!(said.contains(trap), "{said}");
}

#[test]
#[ignore = "needs dnsmasq: run make it"]
fn the_commands_look_servers_up() {
    let dns = Dnsmasq::start(SERVICES);
    let servers = ["dnssrv+_m._tcp.cache.test".to_owned()];
    let output = run(&dns, &servers, &["route", "-c", "CONF", "a", "b", "c", "d", "e", "f"]);
    let said = text(&output.stdout);
    assert!(said.contains("m-0.cache.test") && said.contains("m-1.cache.test"), "{output:?}");
    let output = run(&dns, &servers, &["diff", "CONF", "CONF"]);
    assert!(text(&output.stdout).contains(": 0 of 100000 keys move"), "{output:?}");
    let servers = ["dns+nothing.test:1".to_owned()];
    for command in [&["route", "-c", "CONF", "a"][..], &["diff", "CONF", "CONF"]] {
        let output = run(&dns, &servers, command);
        let said = text(&output.stderr);
        assert!(!output.status.success() && said.contains("has no servers now"), "{said}");
    }
}
