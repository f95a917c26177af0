//! Tables of entries, answers and servers.

use super::*;
use crate::config::Config;
use std::path::Path;

fn pool(servers: &str) -> Pool {
    let text = format!("p: {{listen: \"h:1\", discovered_max: 3, servers: [{servers}]}}\n");
    let config = Config::parse(Path::new("a.yml"), text.as_bytes());
    config.unwrap_or_else(|errors| panic!("{errors}")).pools.remove(0)
}

fn addresses(name: &str, all: &[&str]) -> (Question, Arc<Found>) {
    let all = all.iter().map(|address| address.parse().unwrap()).collect();
    (Question::Addresses(name.into()), Arc::new(Found::Addresses(all)))
}

fn services(name: &str, all: &[(&str, u16)]) -> (Question, Arc<Found>) {
    let service =
        |&(target, port): &(&str, u16)| Service { target: target.into(), port, is_held: false };
    let all = all.iter().map(service).collect();
    (Question::Services(name.into()), Arc::new(Found::Services(all)))
}

/// Name, address and weight of each server.
fn shown(servers: &[Server]) -> Vec<String> {
    let show = |server: &Server| format!("{} {} {}", server.name, server.address, server.weight);
    servers.iter().map(show).collect()
}

#[cfg(feature = "kubernetes")]
#[test]
fn pods_of_kubernetes_become_servers_with_the_port_of_the_entry() {
    let service = crate::config::Service { name: "m.cache".into() };
    let pod = |name: &str, ports: &[(&str, u16)]| Pod {
        name: name.into(),
        ports: ports.iter().map(|&(name, port)| (name.to_owned(), port)).collect(),
        is_held: false,
    };
    let answer = |pods| {
        let found = Arc::new(Found::Pods(pods));
        [(Question::Pods(service.clone()), found)].into_iter().collect::<Answers>()
    };
    let both =
        answer(vec![pod("m-0.m", &[("mc", 11211), ("x", 1)]), pod("m-1.m", &[("mc", 11212)])]);
    for (entry, expected) in [
        ("k8s+m.cache:7", &["m-0.m m-0.m.:7 1", "m-1.m m-1.m.:7 1"][..]),
        ("k8s+m.cache:mc:3", &["m-0.m m-0.m.:11211 3", "m-1.m m-1.m.:11212 3"]),
        ("k8s+m.cache:x", &["m-0.m m-0.m.:1 1"]),
        ("k8s+m.cache:none", &[]),
        ("k8s+m:7", &[]),
    ] {
        let expanded = expand(&pool(entry), &both, &[]);
        assert_eq!(shown(&expanded.servers), expected, "{entry}");
    }
    // When the last pod with the port is gone, the servers of before stay.
    let entry = pool("k8s+m.cache:mc");
    let before = expand(&entry, &both, &[]).servers;
    let without = answer(vec![pod("m-0.m", &[("x", 1)])]);
    let expanded = expand(&entry, &without, &before);
    assert_eq!((expanded.servers, expanded.counts), (before, vec![Some(0)]));
}

#[test]
fn entries_become_servers_in_the_order_of_the_ring() {
    let srv = "_m._tcp.c.test";
    let two = [("m-1.c.test", 11211), ("m-0.c.test", 11211)];
    for (entries, answers, expected) in [
        ("dnssrv+_m._tcp.c.test", vec![], vec![]),
        (
            "dnssrv+_m._tcp.c.test",
            vec![services(srv, &two)],
            vec!["m-0.c.test m-0.c.test.:11211 1", "m-1.c.test m-1.c.test.:11211 1"],
        ),
        (
            "dns+c.test:11211:2",
            vec![addresses("c.test", &["10.0.0.2", "10.0.0.10", "fd00::1"])],
            vec![
                "10.0.0.2:11211 10.0.0.2:11211 2",
                "10.0.0.10:11211 10.0.0.10:11211 2",
                "[fd00::1]:11211 [fd00::1]:11211 2",
            ],
        ),
        (
            "dnssrvnoa+_m._tcp.c.test:7, \"plain:1:2 m-1.c.test\", z:11211:1",
            vec![services(srv, &two)],
            vec!["z z:11211 1", "m-0.c.test m-0.c.test.:11211 7", "m-1.c.test plain:1 2"],
        ),
        (
            "dnssrv+_m._tcp.c.test",
            vec![services(srv, &[("m.test", 1), ("m.test", 2), ("n.test", 1)])],
            vec!["n.test n.test.:1 1", "m.test:1 m.test.:1 1", "m.test:2 m.test.:2 1"],
        ),
        (
            "dnssrv+_m._tcp.c.test, dnssrv+_m._tcp.d.test",
            vec![services(srv, &two), services("_m._tcp.d.test", &two[1..])],
            vec!["m-0.c.test m-0.c.test.:11211 1", "m-1.c.test m-1.c.test.:11211 1"],
        ),
    ] {
        let expanded = expand(&pool(entries), &answers.into_iter().collect(), &[]);
        assert_eq!(shown(&expanded.servers), expected, "{entries}");
    }
}

#[test]
fn too_many_servers_are_not_taken_and_the_former_ones_stay() {
    let pool = pool("a:1:1, dns+c.test:1, dns+d.test:1");
    let few = addresses("c.test", &["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
    let many = addresses("c.test", &["10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.7"]);
    let other = |address| addresses("d.test", &[address]);
    let before = expand(&pool, &[few, other("10.1.0.1")].into(), &[]);
    assert_eq!(before.counts, [Some(3), Some(1)]);
    let after = expand(&pool, &[many.clone(), other("10.1.0.2")].into(), &before.servers);
    assert_eq!(after.counts, [Some(4), Some(1)]);
    assert_eq!(
        after.servers.iter().map(|server| server.name.as_str()).collect::<Vec<_>>(),
        ["a:1", "10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1", "10.1.0.2:1"]
    );
    assert_eq!(shown(&expand(&pool, &[many].into(), &[]).servers), ["a:1 a:1 1"]);
    // So does an entry without an answer, wherever it stands by now.
    let turned = self::pool("dns+d.test:1, a:1:1, dns+c.test:1");
    let kept = expand(&turned, &[other("10.1.0.3")].into(), &before.servers);
    let names: Vec<&str> = kept.servers.iter().map(|server| server.name.as_str()).collect();
    assert_eq!(names, ["a:1", "10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1", "10.1.0.3:1"]);
}

#[test]
fn servers_that_were_discovered_before_are_no_plain_ones() {
    let mut pool = pool("a:1:1, dns+c.test:1");
    pool.servers = expand(&pool, &[addresses("c.test", &["10.0.0.1"])].into(), &[]).servers;
    let after = expand(&pool, &[addresses("c.test", &["10.0.0.2"])].into(), &pool.servers);
    assert_eq!(shown(&after.servers), ["a:1 a:1 1", "10.0.0.2:1 10.0.0.2:1 1"]);
}

#[test]
fn an_answer_in_another_order_is_the_same_ring() {
    let pool = pool("dnssrv+_m._tcp.c.test");
    let ring = |all: &[(&str, u16)]| {
        let mut pool = pool.clone();
        pool.servers = expand(&pool, &[services("_m._tcp.c.test", all)].into(), &[]).servers;
        pool.ring(0).fingerprint()
    };
    let all = [("m-0.test", 1), ("m-1.test", 1), ("m-2.test", 1)];
    let turned = [("m-2.test", 1), ("m-0.test", 1), ("m-1.test", 1)];
    assert_eq!(ring(&all), ring(&turned));
    // The address is no part of it, nor is the port.
    assert_eq!(ring(&all), ring(&[("m-0.test", 2), ("m-1.test", 3), ("m-2.test", 4)]));
}

#[test]
fn servers_that_are_only_waited_for_keep_no_others_out() {
    let entry = pool("dnssrv+_m._tcp.a");
    let answer = |all: &[(&str, bool)]| {
        let service =
            |&(target, is_held): &(&str, bool)| Service { target: target.into(), port: 1, is_held };
        let found = Found::Services(all.iter().map(service).collect());
        [(Question::Services("_m._tcp.a".into()), Arc::new(found))].into_iter().collect::<Answers>()
    };
    let names = |all: &[(&str, bool)]| {
        let expanded = expand(&entry, &answer(all), &[]);
        let names: Vec<String> = expanded.servers.into_iter().map(|server| server.name).collect();
        (names.join(" "), expanded.counts[0])
    };
    let (a, b, c, d) = (("a", true), ("b", true), ("c", false), ("d", false));
    assert_eq!(names(&[a, c]), ("a c".into(), Some(2)));
    assert_eq!(names(&[a, b, c, d]), ("a c d".into(), Some(3)));
    assert_eq!(names(&[a, b, c, d, ("e", false)]), ("c d e".into(), Some(3)));
    // Too many that are there are too many.
    let all = [a, c, d, ("e", false), ("f", false)];
    assert_eq!(names(&all), (String::new(), Some(4)));
}
