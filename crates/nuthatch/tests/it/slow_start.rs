//! Servers that return, and get their keys back one tenth after the other.

use std::collections::BTreeSet;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::away::Cache;
use crate::conn::PATIENCE;
use crate::harness::{Memcached, Program, Redis, named, pool};
use crate::http;
use crate::observed::Observed;

const KEYS: usize = 300;

const SETTINGS: &str = "hash: md5\ntimeout: 400\nserver_retry_timeout: 300\nserver_failure_limit: 1\n\
                        on_server_failure: rehash\nserver_slow_start: 4s\n";

/// One server of three stands still and goes on, with the values that it had. While it gets its keys back, each key
/// is changed and read again and again.
fn watch<C: Cache>(more: &str, servers: &[C], entries: &[String]) {
    let command = Program::UnderTest.command();
    let arguments = ["--workers", "2"];
    let mut proxy = Observed::start(command, &format!("{SETTINGS}{more}"), entries, &arguments);
    // Two clients, so that two workers serve.
    let mut clients = [proxy.proxy.conn(), proxy.proxy.conn()];
    let keys: Vec<String> = (0..KEYS).map(|number| format!("key{number}")).collect();
    assert!(keys.iter().all(|key| C::set(&mut clients[0], key, "old")));
    let mut direct = C::direct(&servers[0]);
    let own: Vec<&String> =
        keys.iter().filter(|key| C::get(&mut direct, key) == Ok(Some("old".into()))).collect();
    servers[0].process().stop();
    let deadline = Instant::now() + PATIENCE;
    while away(&proxy).is_none_or(|away| away["stage"] == "leaving") {
        assert!(Instant::now() < deadline, "it is not ejected");
        own.iter().take(3).for_each(|key| drop(C::get(&mut clients[1], key)));
    }
    servers[0].process().signal(Signal::CONT);
    let (mut round, mut seen, mut counts) = (0, BTreeSet::new(), Vec::new());
    loop {
        assert!(Instant::now() < deadline, "it is not back");
        let before = away(&proxy);
        round += 1;
        for (number, key) in own.iter().enumerate() {
            let value = format!("{round}");
            assert!(C::set(&mut clients[number % 2], key, &value), "{key}");
            // The first use in each worker removes what another server may have from before.
            let found = C::get(&mut clients[(number + 1) % 2], key);
            assert!(found == Ok(Some(value)) || found == Ok(None), "{key} is {found:?}");
        }
        let text = Ok(Some(format!("{round}")));
        let there = own.iter().filter(|key| C::get(&mut direct, key) == text).count();
        let after = away(&proxy);
        if before == after {
            let percent = after.as_ref().map_or(Some(100), |away| away["keys_percent"].as_u64());
            let percent = usize::try_from(percent.unwrap()).unwrap();
            let expected = own.len() * percent / 100;
            assert!(there.abs_diff(expected) < 15, "{there} of {}: {percent} %", own.len());
            seen.insert(percent);
            counts.push(there);
        }
        if before.is_none() {
            break;
        }
    }
    assert!(counts.is_sorted(), "{counts:?}");
    assert!(seen.len() > 3 && counts.last() == Some(&own.len()), "{seen:?} {counts:?}");
    proxy.wait_for_log("server back on the ring");
    assert!(!proxy.log("server gets its keys back").is_empty());
}

/// How the first server is away; none if it is used for all of its keys.
fn away(proxy: &Observed) -> Option<Value> {
    let page: Value = serde_json::from_str(&proxy.page("/servers")).unwrap();
    let pool = page["pools"].as_object().unwrap().values().next().unwrap();
    let server = pool.as_array().unwrap().iter().find(|it| it["name"] == "r1").unwrap();
    Some(server["away"].clone()).filter(|away| !away.is_null())
}

#[test]
#[ignore = "needs memcached and redis-server: run make it"]
fn a_server_that_returns_gets_its_keys_back_one_tenth_after_the_other() {
    let servers = Memcached::start_many(3);
    watch("", &servers, &entries(&servers));
    let servers = Redis::start_many(3);
    watch("redis: true\n", &servers, &named(&servers));
}

/// A proxy of two memcacheds, of which the first has got a tenth of its keys back. Further steps take ten minutes.
struct Warming {
    proxy: Observed,
    settings: String,
}

impl Warming {
    fn start(more: &str, entries: &[String]) -> Self {
        let settings = format!(
            "hash: murmur\ntimeout: 400\nserver_retry_timeout: 300\non_server_failure: rehash\n\
             server_slow_start: 6000s\n{more}"
        );
        let command = Program::UnderTest.command();
        let arguments = ["--workers=2", "--no-watch"];
        let proxy = Observed::start(command, &settings, entries, &arguments);
        let warming = Self { proxy, settings };
        warming.post("/servers/r1/eject");
        warming.wait_for("held", 0);
        assert_eq!(warming.keys_share(), Some(0.0));
        warming.post("/servers/r1/return");
        warming.wait_for("warming", 10);
        assert_eq!(warming.keys_share(), Some(0.1));
        warming
    }

    fn post(&self, path: &str) {
        let request = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
        let page = http::ask(self.proxy.admin, &request);
        assert_eq!(page.status, 200, "{}", page.body);
    }

    fn wait_until(&self, is_so: impl Fn(Option<&Value>) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(away(&self.proxy).as_ref()) {
            assert!(Instant::now() < deadline, "it is {:?}", away(&self.proxy));
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn wait_for(&self, stage: &str, percent: u64) {
        self.wait_until(|away| {
            away.is_some_and(|it| it["stage"] == stage && it["keys_percent"] == percent)
        });
    }

    fn keys_share(&self) -> Option<f64> {
        let pool = self.proxy.proxy.port;
        let labels = format!("{{pool=\"pool{pool}\",server=\"r1\"}}");
        self.proxy.metric(&format!("nuthatch_server_keys_share{labels}"))
    }
}

fn entries(servers: &[Memcached]) -> Vec<String> {
    let entry =
        |(number, server): (usize, &Memcached)| format!("{} r{}", server.entry(), number + 1);
    servers.iter().enumerate().map(entry).collect()
}

/// Nobody stands in for a server while keys move.
#[test]
#[ignore = "needs memcached: run make it"]
fn a_server_gets_all_of_its_keys_at_once_when_a_reload_moves_keys() {
    let servers = Memcached::start_many(3);
    let entries = entries(&servers);
    let warming = Warming::start("migrate: {window: 60s, settle: 2s}\n", &entries[..2]);
    let proxy = &warming.proxy.proxy;
    let grown = pool(proxy.port, &warming.settings, &entries);
    fs::write(proxy.dir.join("nutcracker.yml"), grown).unwrap();
    warming.post("/reload");
    warming.wait_until(|away| away.is_none());
    assert_eq!(warming.keys_share(), Some(1.0));
    // All keys have a server.
    let mut client = proxy.conn();
    for key in 0..KEYS {
        client.ask(format!("get k{key}\r\n"), "END\r\n");
    }
}

#[test]
#[ignore = "needs memcached: run make it"]
fn a_server_that_waits_for_the_operator_with_a_share_of_its_keys_says_so() {
    let servers = Memcached::start_many(2);
    // There is no room for any key.
    let more = "journal_max: 100\non_journal_full: stay\n";
    let warming = Warming::start(more, &entries(&servers));
    let mut client = warming.proxy.proxy.conn();
    for percent in [10, 20] {
        for key in 0..KEYS {
            client.ask(format!("set k{key} 0 0 1\r\n1\r\n"), "STORED\r\n");
        }
        warming.wait_for("held", percent);
        assert_eq!(warming.keys_share(), Some(percent as f64 / 100.0));
        warming.post("/servers/r1/return");
        warming.wait_for("warming", percent + 10);
    }
}
