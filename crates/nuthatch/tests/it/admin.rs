//! The admin port: what it tells of a proxy at work, and that nobody there can harm it.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::conn::{Conn, PATIENCE};
use crate::fake::{FakeServer, RefusingPort};
use crate::harness::{
    Memcached, Process, Program, Proxy, TempDir, accepts, free_port, pool, wait_until,
};
use crate::http::{Page, ask};

/// A proxy and its admin port.
struct Watched {
    proxy: Proxy,
    admin: u16,
}

impl Watched {
    fn start(settings: &str, servers: &[String]) -> Self {
        let (port, admin) = (free_port(), free_port());
        let config = pool(port, settings, servers);
        Self::start_with(&config, port, admin)
    }

    fn start_with(config: &str, port: u16, admin: u16) -> Self {
        let flag = format!("--admin=127.0.0.1:{admin}");
        let ports = [port, admin];
        Self { proxy: Proxy::start_with(Program::UnderTest, config, &ports, &[&flag]), admin }
    }

    fn get(&self, path: &str) -> Page {
        ask(self.admin, &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
    }

    fn json(&self, path: &str) -> Value {
        let page = self.get(path);
        assert!(page.head.contains("content-type: application/json\r\n"), "{}", page.head);
        serde_json::from_str(&page.body).unwrap()
    }

    /// The value of one sample of `/metrics`.
    fn metric(&self, sample: &str) -> f64 {
        let text = self.get("/metrics").body;
        let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{sample} is not in\n{text}")).parse().unwrap()
    }

    fn server(&self, number: usize) -> Value {
        let pools = self.json("/servers")["pools"].take();
        pools.as_object().unwrap().values().next().unwrap()[number].clone()
    }
}

/// `name{labels}` of the pool's only server or of the pool, as `/metrics` writes it.
fn sample(name: &str, pool: u16, labels: &str) -> String {
    format!("nuthatch_{name}{{pool=\"pool{pool}\"{labels}}}")
}

#[test]
#[ignore = "needs memcached: run make it"]
fn every_path_of_the_list_is_there() {
    let memcached = Memcached::start();
    let watched = Watched::start("timeout: 400", &[memcached.entry()]);
    let index = watched.json("/");
    let paths: Vec<&str> = index["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(paths.len(), 11);
    // The others change something.
    for path in paths.into_iter().filter(|path| *path != "/reload" && !path.contains("NAME")) {
        let path = path.split('&').next().unwrap();
        assert_eq!(watched.get(path).status, 200, "{path}");
    }
}

#[test]
#[ignore = "needs memcached: run make it"]
fn figures_are_those_of_the_traffic() {
    let memcached = Memcached::start();
    let watched = Watched::start("timeout: 400", &[memcached.entry()]);
    let port = watched.proxy.port;
    let mut client = watched.proxy.conn();
    client.ask("set a 0 0 1\r\n1\r\n", "STORED\r\n");
    client.ask("get a b\r\n", "VALUE a 0 1\r\n1\r\nEND\r\n");
    client.ask("mg a v\r\n", "VA 1\r\n1\r\n");
    client.ask("delete b\r\n", "NOT_FOUND\r\n");
    client.ask("nonsense\r\n", "ERROR\r\n");
    client.ask("gat 0 a b\r\n", "VALUE a 0 1\r\n1\r\nEND\r\n");
    client.ask("incr a 1\r\n", "2\r\n");
    client.ask("decr b 1\r\n", "NOT_FOUND\r\n");
    client.ask("cas a 0 0 1 999999\r\n1\r\n", "EXISTS\r\n");
    client.ask("cas b 0 0 1 999999\r\n1\r\n", "NOT_FOUND\r\n");
    let metric = |name: &str, labels: &str| watched.metric(&sample(name, port, labels));
    assert_eq!(metric("client_connections", ""), 1.0);
    assert_eq!(metric("requests_total", ""), 10.0);
    assert_eq!(metric("commands_total", ",class=\"get\""), 3.0);
    assert_eq!(metric("meta_requests_total", ""), 1.0);
    assert_eq!(metric("get_hits_total", ""), 2.0);
    assert_eq!(metric("get_misses_total", ""), 1.0);
    for (name, command, count) in [
        ("write_hits_total", "delete", 0.0),
        ("write_misses_total", "delete", 1.0),
        ("write_hits_total", "touch", 1.0),
        ("write_misses_total", "touch", 1.0),
        ("write_hits_total", "incr", 1.0),
        ("write_misses_total", "decr", 1.0),
        ("write_misses_total", "cas", 1.0),
    ] {
        let labels = format!(",command=\"{command}\"");
        assert_eq!(metric(name, &labels), count, "{name} {command}");
    }
    assert_eq!(metric("cas_mismatches_total", ""), 1.0);
    assert_eq!(metric("client_errors_total", ",reason=\"bad_request\""), 1.0);
    let server = format!(",server=\"127.0.0.1:{}\"", memcached.port);
    assert_eq!(metric("server_down", &server), 0.0);
    assert_eq!(metric("server_ring_share", &server), 1.0);
    assert_eq!(metric("server_requests_total", &server), 9.0);
    assert_eq!(metric("server_responses_total", &server), 9.0);
    assert_eq!(metric("connect_seconds_count", &server), 1.0);
    let class = |class: &str| format!("{server},class=\"{class}\"");
    for (name, count) in [("get", 3.0), ("set", 3.0), ("delete", 1.0), ("arith", 2.0)] {
        assert_eq!(metric("queue_seconds_count", &class(name)), count, "{name}");
        assert_eq!(metric("server_seconds_count", &class(name)), count, "{name}");
        let all = format!("{},le=\"+Inf\"", class(name));
        assert_eq!(metric("server_seconds_bucket", &all), count, "{name}");
    }
    assert!(metric("server_seconds_sum", &class("get")) > 0.0);
    assert!(watched.metric("process_resident_memory_bytes") > 1e6);
    assert!(watched.metric("process_open_fds") > 5.0);
    let since_start = watched.metric("process_start_time_seconds")
        - watched.metric("nuthatch_start_time_seconds");
    assert!(since_start.abs() < 5.0, "{since_start}");
}

#[test]
fn the_page_of_servers_has_the_version_that_each_one_told() {
    for (told, shown) in [
        ("VERSION 1.4.39\r\n", json!(["1.4.39"])),
        ("VERSION 1.6.0-beta1\r\n", json!(["1.6.0"])),
        ("ERROR\r\n", json!([])),
    ] {
        let server = FakeServer::start_ungreeted(move |mut conn, _| {
            while let Ok(line) = conn.read_line() {
                conn.send(if line == b"version\r\n" { told } else { "END\r\n" });
            }
        });
        let watched = Watched::start("timeout: 4000", &[server.entry()]);
        assert_eq!(watched.server(0)["versions"], json!([]), "nobody has asked yet");
        watched.proxy.conn().ask("get a\r\n", "END\r\n");
        assert_eq!(watched.server(0)["versions"], shown, "{told:?}");
    }
}

#[test]
#[ignore = "needs memcached: run make it"]
fn the_page_of_servers_has_the_version_of_a_real_memcached() {
    let memcached = Memcached::start();
    let mut direct = memcached.conn();
    direct.send("version\r\n");
    let line = String::from_utf8(direct.read_line().unwrap()).unwrap();
    let version = line.trim_end().strip_prefix("VERSION ").unwrap();
    let watched = Watched::start("timeout: 4000", &[memcached.entry()]);
    watched.proxy.conn().ask("get a\r\n", "END\r\n");
    assert_eq!(watched.server(0)["versions"], json!([version]));
}

/// The names in the first column of the tables of `docs/metrics.md`.
fn documented_metrics() -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    let text = fs::read_to_string(path).unwrap();
    let names = text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    names.map(|(name, _)| name.to_owned()).collect()
}

#[test]
#[ignore = "needs memcached: run make it"]
fn every_metric_is_documented_and_every_documented_one_is_there() {
    let memcached = Memcached::start();
    let watched = Watched::start("timeout: 400", &[memcached.entry()]);
    watched.proxy.conn().ask("get a\r\n", "END\r\n");
    let text = watched.get("/metrics").body;
    let typed = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let served: BTreeSet<_> =
        typed.map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(served, documented_metrics(), "served on the left, documented on the right");
}

#[test]
#[ignore = "needs memcached: run make it"]
fn a_dead_server_shows_and_does_not_make_the_proxy_unready() {
    let dead = RefusingPort::new();
    let settings =
        "timeout: 400\nauto_eject_hosts: true\nserver_failure_limit: 2\nserver_retry_timeout: 700";
    let watched = Watched::start(settings, &[dead.entry()]);
    let labels = format!(",server=\"127.0.0.1:{}\"", dead.port);
    let metric = |name: &str| watched.metric(&sample(name, watched.proxy.port, &labels));
    let mut client = watched.proxy.conn();
    assert_eq!(watched.server(0)["state"], "unused");
    client.ask("get a\r\n", "SERVER_ERROR Connection refused\r\n");
    assert_eq!(watched.server(0)["state"], "down");
    assert_eq!((metric("server_down"), metric("server_ejected")), (1.0, 0.0));
    client.ask("get a\r\n", "SERVER_ERROR Connection refused\r\n");
    // The next request is answered when it is decided what becomes of the server.
    client.ask("get a\r\n", "SERVER_ERROR Connection refused\r\n");
    let server = watched.server(0);
    assert_eq!((&server["state"], &server["errors"]["refused"]), (&"ejected".into(), &2.into()));
    assert_eq!((metric("server_ejected"), metric("server_ejections_total")), (1.0, 1.0));
    assert_eq!(watched.get("/ready").status, 200);
    assert_eq!(watched.get("/live").status, 200);

    let port = dead.port;
    drop(dead);
    let _memcached = Memcached::start_with(port, &[]);
    // Two probes take a while, too.
    thread::sleep(Duration::from_millis(1300));
    client.ask("get a\r\n", "END\r\n");
    assert_eq!(watched.server(0)["state"], "up");
    assert_eq!((metric("server_down"), metric("server_ejected")), (0.0, 0.0));
}

#[test]
fn a_proxy_that_drains_is_alive_but_not_ready() {
    let (begun, answered) = (Duration::from_millis(300), Duration::from_millis(1500));
    let slow = FakeServer::start(move |mut conn, _| {
        conn.read_line().unwrap();
        thread::sleep(answered);
        conn.send("END\r\n");
    });
    let watched = Watched::start("timeout: 4000", &[slow.entry()]);
    let mut client = watched.proxy.conn();
    client.send("get a\r\n");
    thread::sleep(begun);
    assert_eq!(watched.metric("nuthatch_ready"), 1.0);
    watched.proxy.process.signal(Signal::TERM);
    let deadline = Instant::now() + PATIENCE;
    while watched.get("/ready").status == 200 {
        assert!(Instant::now() < deadline, "still ready");
    }
    assert_eq!(watched.get("/ready").status, 503);
    assert_eq!(watched.get("/live").status, 200);
    assert_eq!(watched.metric("nuthatch_ready"), 0.0);
    assert_eq!(client.read_line().unwrap(), b"END\r\n");
}

#[test]
#[ignore = "needs memcached: run make it"]
fn the_configuration_is_shown_as_it_is_in_force() {
    let memcached = Memcached::start();
    let (port, admin) = (free_port(), free_port());
    let settings = "timeout: 400\nhash_tag: \"{}\"\ndistribution: modula";
    let config = pool(port, settings, &[format!("{} one", memcached.entry())]);
    let watched = Watched::start_with(&config, port, admin);
    let config = watched.json("/config");
    assert_eq!((&config["source"], &config["generation"]), (&"nutcracker.yml".into(), &1.into()));
    let shown = &config["pools"][format!("pool{port}")];
    assert_eq!(shown["backlog"], 512, "a default");
    assert_eq!((&shown["timeout"], &shown["hash_tag"]), (&400.into(), &"{}".into()));
    assert_eq!(shown["servers"][0], format!("{} one", memcached.entry()));
    assert_eq!(shown["ring_hash"].as_f64(), Some(watched.metric(&sample("ring_hash", port, ""))));
}

#[test]
fn rings_that_differ_have_different_fingerprints() {
    let servers = ["10.0.0.1:11211:1 one".to_owned(), "10.0.0.2:11211:1 two".to_owned()];
    let moved = ["10.0.0.9:11211:1 one".to_owned(), "10.0.0.2:11211:1 two".to_owned()];
    let ring_hash = |settings: &str, servers: &[String]| {
        let watched = Watched::start(settings, servers);
        watched.metric(&sample("ring_hash", watched.proxy.port, ""))
    };
    let usual = ring_hash("timeout: 400", &servers);
    assert_eq!(usual, ring_hash("timeout: 500", &moved), "keys go to servers of the same name");
    assert_ne!(usual, ring_hash("hash: murmur", &servers));
    assert_ne!(usual, ring_hash("timeout: 400", &servers[..1]));
}

#[test]
fn a_key_is_looked_up_as_the_command_line_does() {
    let servers = ["10.0.0.1:11211:1 one".to_owned(), "10.0.0.2:11211:1 two".to_owned()];
    let (port, other, admin) = (free_port(), free_port(), free_port());
    let config = [pool(port, "hash_tag: \"{}\"", &servers), pool(other, "", &servers)].concat();
    let watched = Watched::start_with(&config, port, admin);
    for (path, key, hashed) in [
        ("/route?key=user%3A%7B42%7D&pool=", "user:{42}", "42"),
        ("/route?key=a+b%c3%a9&pool=", "a+b\u{e9}", "a+b\u{e9}"),
    ] {
        let page = watched.json(&format!("{path}pool{port}"));
        assert_eq!((&page["key"], &page["hashed"]), (&key.into(), &hashed.into()));
        let told = Program::UnderTest
            .command()
            .current_dir(watched.proxy.dir.join(""))
            .args(["route", "-c", "nutcracker.yml", "--json", "-p"])
            .args([format!("pool{port}").as_str(), key])
            .output()
            .unwrap();
        assert_eq!(page, serde_json::from_slice::<Value>(&told.stdout).unwrap());
    }
    let (long, names) =
        ("k".repeat(251), format!("pool{}, pool{}", port.min(other), port.max(other)));
    for (query, why) in [
        ("", "the key is missing: request /route?key=KEY".to_owned()),
        (
            "?key=a",
            format!("the pool is missing: add pool=POOL to the request; the pools are {names}"),
        ),
        ("?key=a&pool=x", format!("there is no pool \"x\"; the pools are {names}")),
        ("?key=a%20b", BAD_KEY.to_owned()),
        ("?key=", BAD_KEY.to_owned()),
        ("?key=a%0d%0a", BAD_KEY.to_owned()),
        ("?key=%zz", "invalid value: '%zz' is no byte; write % itself as %25".to_owned()),
        ("?key=50%", "invalid value: '%' is no byte; write % itself as %25".to_owned()),
        ("?key=a&pool=%a%41", "invalid value: '%a' is no byte; write % itself as %25".to_owned()),
        (&format!("?key={long}"), BAD_KEY.to_owned()),
    ] {
        let page = watched.get(&format!("/route{query}"));
        let body: Value = serde_json::from_str(&page.body).unwrap();
        assert_eq!(page.status, 400, "{query}");
        assert_eq!(body["error"], why, "{query}");
    }
}

const BAD_KEY: &str = "invalid key: a key has 1 to 250 bytes, none of them NUL, line feed, carriage \
                       return or space";

#[test]
#[ignore = "needs memcached: run make it"]
fn what_is_no_question_is_refused_with_what_would_be_right() {
    let memcached = Memcached::start();
    let watched = Watched::start("timeout: 400", &[memcached.entry()]);
    let page = watched.get("/metric");
    assert_eq!(page.status, 404);
    assert_eq!(page.body.trim(), "{\n  \"error\": \"no such path: /metric; / lists all paths\"\n}");
    let page = ask(
        watched.admin,
        "POST /config HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    );
    assert_eq!(page.status, 405);
    assert!(page.head.contains("allow: GET, HEAD\r\n"), "{}", page.head);
    assert!(page.body.contains("/config answers GET, HEAD only"), "{}", page.body);
    let page = ask(watched.admin, "HEAD /live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_eq!((page.status, page.body.as_str()), (200, ""));
    let page = ask(watched.admin, "\x16\x03\x01 what\r\n\r\n");
    assert_eq!(page.status, 400);
}

#[test]
#[ignore = "needs memcached: run make it"]
fn readers_who_stay_keep_nobody_from_reading() {
    let memcached = Memcached::start();
    let watched = Watched::start("timeout: 400", &[memcached.entry()]);
    let address = (Ipv4Addr::LOCALHOST, watched.admin);
    let silent: Vec<_> = (0..40).map(|_| TcpStream::connect(address).unwrap()).collect();
    let mut polite: Vec<_> = (0..40).map(|_| Conn::tcp(address)).collect();
    for conn in &mut polite {
        conn.send("GET /ready HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    // The data path does not know of them.
    watched.proxy.conn().ask("get a\r\n", "END\r\n");
    let started = Instant::now();
    assert_eq!(watched.get("/ready").status, 200);
    assert_eq!(watched.get("/live").status, 200);
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    drop((silent, polite));
}

#[test]
#[ignore = "needs memcached: run make it"]
fn the_environment_opens_it_and_a_taken_port_ends_the_start() {
    let memcached = Memcached::start();
    let (port, stats, admin) = (free_port(), free_port(), free_port());
    let dir = TempDir::new();
    let start = |admin: &str| {
        let mut command = Program::UnderTest.command();
        command.current_dir(dir.join("")).args(["-a", "127.0.0.1", "-s", &stats.to_string()]);
        command.env("SERVERS", memcached.entry()).env("LISTEN_PORT", port.to_string());
        command.env("ADMIN_LISTEN", admin);
        command
    };
    let mut proxy = Process::spawn(&mut start(&format!("127.0.0.1:{admin}")));
    wait_until(&mut proxy, || "the proxy".to_owned(), || accepts(admin));
    let page = ask(admin, "GET /config HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(page.body.contains("\"source\": \"environment\""), "{}", page.body);
    drop(proxy);
    let refused = start(&format!("127.0.0.1:{}", memcached.port)).output().unwrap();
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1));
    let reason = format!("the admin port can't listen on 127.0.0.1:{}: Address", memcached.port);
    assert!(told.contains(&reason), "{told}");
}
