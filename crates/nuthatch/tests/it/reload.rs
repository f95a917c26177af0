//! The configuration changes while clients ask.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nuthatch_harness::Dnsmasq;
use nuthatch_harness::redis::command;
use rustix::process::Signal;
use serde_json::Value;

use crate::conn::{Conn, PATIENCE};
use crate::fake::{FakeServer, UnansweringPort};
use crate::harness::{
    Memcached, Program, Proxy, Redis, TempDir, accepts, free_port, pool, pool_on,
};
use crate::http::{self, Page};
use crate::random::Random;

/// A proxy with an admin port whose file the test changes.
pub(crate) struct Changing {
    pub(crate) proxy: Proxy,
    admin: u16,
}

impl Changing {
    pub(crate) fn start(config: &str, port: u16, arguments: &[&str]) -> Self {
        let admin = free_port();
        let listen = format!("--admin=127.0.0.1:{admin}");
        let arguments = [&[listen.as_str()], arguments].concat();
        let proxy = Proxy::start_with(Program::UnderTest, config, &[port, admin], &arguments);
        Self { proxy, admin }
    }

    fn write(&self, config: &str) {
        fs::write(self.proxy.dir.join("nutcracker.yml"), config).unwrap();
    }

    pub(crate) fn post(&self, query: &str) -> (u16, Value) {
        let request =
            format!("POST /reload{query} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
        let Page { status, body, .. } = http::ask(self.admin, &request);
        (status, serde_json::from_str(&body).unwrap_or(Value::Null))
    }

    /// Reloads with a configuration, and checks what becomes of it.
    pub(crate) fn reload(&self, config: &str, expected: &str) -> Value {
        self.write(config);
        let (status, told) = self.post("");
        assert_eq!(told["result"], expected, "{told}\n{config}");
        let wanted = match expected {
            "refused" => 422,
            "waits" => 202,
            _ => 200,
        };
        assert_eq!(status, wanted);
        told
    }

    fn page(&self, path: &str) -> Value {
        let page = http::ask(self.admin, &format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        serde_json::from_str(&page.body).unwrap()
    }

    pub(crate) fn metric(&self, name: &str) -> f64 {
        let page = http::ask(self.admin, "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
        let line = page.body.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("{name} is there")).parse().unwrap()
    }

    pub(crate) fn generation(&self) -> u64 {
        self.page("/config")["generation"].as_u64().unwrap()
    }

    /// Waits for a generation that comes by itself.
    fn expect_generation(&self, number: u64) {
        let by = Instant::now() + PATIENCE;
        while self.generation() != number {
            assert!(Instant::now() < by, "generation {number} does not come");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Open descriptors and threads of the proxy.
    fn held(&self) -> (usize, usize) {
        let count = |what| {
            let path = format!("/proc/{}/{what}", self.proxy.process.id());
            fs::read_dir(path).unwrap().count()
        };
        (count("fd"), count("task"))
    }
}

/// A server that has nothing.
fn misses() -> FakeServer {
    FakeServer::answering("END\r\n")
}

/// The entries of some servers.
pub(crate) fn entries<'s>(servers: impl IntoIterator<Item = &'s Memcached>) -> Vec<String> {
    servers.into_iter().map(Memcached::entry).collect()
}

#[test]
#[ignore = "needs memcached: run make it"]
fn a_server_that_is_added_gets_keys_and_a_client_stays_connected() {
    let servers = Memcached::start_many(2);
    let port = free_port();
    let proxy =
        Changing::start(&pool(port, "hash: md5", &entries(&servers[..1])), port, &["--no-watch"]);
    let mut client = proxy.proxy.conn();
    for key in 0..100 {
        client.ask(format!("set k{key} 0 0 1\r\n1\r\n"), "STORED\r\n");
    }
    let told = proxy.reload(&pool(port, "hash: md5", &entries(&servers)), "changed");
    assert!(told["changes"].to_string().contains("of the keys have another server"), "{told}");
    let mut found = 0;
    for key in 0..100 {
        client.send(format!("get k{key}\r\n"));
        found += usize::from(client.read_reply().unwrap().starts_with(b"VALUE"));
    }
    assert!((20..80).contains(&found), "{found} of 100 keys have their server still");
    assert_eq!(proxy.metric("nuthatch_config_generation"), 2.0);
}

/// The connection that a client had for itself leaves a place that nothing else takes.
#[test]
#[ignore = "needs redis-server and dnsmasq: run make it"]
fn a_server_in_the_place_of_one_that_left_may_try_one_address_after_the_other() {
    let silent_port = free_port();
    let silent = ["127.0.0.2", "127.0.0.3"]
        .map(|host| UnansweringPort::at(SocketAddr::new(host.parse().unwrap(), silent_port)));
    let dns = Dnsmasq::start(&["host-record=two.test,127.0.0.2", "host-record=two.test,127.0.0.3"]);
    let conf = format!("--resolv-conf={}", dns.resolv_conf().display());
    let (port, servers) = (free_port(), [Redis::start(), Redis::start()]);
    let config = |entry: String| pool(port, "redis: true\ntimeout: 500", &[entry]);
    let proxy = Changing::start(&config(servers[0].entry()), port, &["--no-watch", &conf]);
    let mut client = proxy.proxy.conn();
    client.ask(command(["BLPOP", "list", "0.01"]), "*-1\r\n");
    drop(client);
    thread::sleep(Duration::from_millis(100));
    proxy.reload(&config(servers[1].entry()), "changed");
    let mut client = proxy.proxy.conn();
    client.ask(command(["GET", "k"]), "$-1\r\n");
    proxy.reload(&config(format!("two.test:{silent_port}:1")), "changed");
    client.send(command(["GET", "k"]));
    let error = client.read_reply().unwrap();
    assert!(error.starts_with(b"-"), "{}", error.escape_ascii());
    proxy.reload(&config(servers[1].entry()), "changed");
    client.ask(command(["GET", "k"]), "$-1\r\n");
    drop(silent);
}

#[test]
fn a_server_that_is_removed_answers_what_it_was_asked_and_is_closed() {
    let slow = FakeServer::start(|mut conn, _| {
        while conn.read_line().is_ok() {
            thread::sleep(Duration::from_millis(500));
            conn.send("VALUE a 0 3\r\nold\r\nEND\r\n");
        }
    });
    let new = FakeServer::start(|mut conn, _| {
        while conn.read_line().is_ok() {
            conn.send("VALUE a 0 3\r\nnew\r\nEND\r\n");
        }
    });
    let port = free_port();
    let proxy = Changing::start(&pool(port, "", &[slow.entry()]), port, &["--no-watch"]);
    let (mut client, mut other) = (proxy.proxy.conn(), proxy.proxy.conn());
    client.send("get a\r\n");
    client.expect_silence(Duration::from_millis(100));
    proxy.reload(&pool(port, "", &[new.entry()]), "changed");
    other.ask("get a\r\n", "VALUE a 0 3\r\nnew\r\nEND\r\n");
    client.expect("VALUE a 0 3\r\nold\r\nEND\r\n");
    client.ask("get a\r\n", "VALUE a 0 3\r\nnew\r\nEND\r\n");
    let servers = proxy.page("/servers").to_string();
    assert!(!servers.contains(&slow.entry()), "{servers}");
}

/// The times of the requests that such a pool had are past.
#[test]
#[ignore = "needs memcached: run make it"]
fn a_pool_that_is_removed_or_renamed_costs_no_cpu_time() {
    let server = Memcached::start();
    let servers = [server.entry()];
    let ports = [free_port(), free_port(), free_port()];
    let stays = pool(ports[0], "", &servers);
    let leaves = stays.clone() + &pool(ports[1], "timeout: 400", &servers);
    let renamed = stays.clone() + &pool(ports[2], "timeout: 400", &servers);
    let proxy = Changing::start(&leaves, ports[0], &["--no-watch", "--workers=1"]);
    for without in [stays, renamed] {
        let mut client = Conn::tcp((Ipv4Addr::LOCALHOST, ports[1]));
        client.ask("get a\r\n", "END\r\n");
        proxy.reload(&without, "changed");
        client.expect_closed();
        thread::sleep(Duration::from_millis(500));
        let before = proxy.metric("process_cpu_seconds_total");
        thread::sleep(Duration::from_secs(1));
        let used = proxy.metric("process_cpu_seconds_total") - before;
        assert!(used < 0.2, "{used} seconds of CPU time in one second\n{without}");
        proxy.reload(&leaves, "changed");
    }
}

#[test]
fn a_pool_that_is_added_knows_the_time() {
    let servers = [misses().entry()];
    let ports = [free_port(), free_port()];
    let first = pool(ports[0], "", &servers);
    let proxy = Changing::start(&first, ports[0], &["--no-watch"]);
    thread::sleep(Duration::from_secs(3));
    proxy.reload(&(first + &pool(ports[1], "", &servers)), "changed");
    let times = ports.map(|port| {
        let mut client = Conn::tcp((Ipv4Addr::LOCALHOST, port));
        client.send("stats\r\n");
        let stats = String::from_utf8(client.read_until(b"END\r\n").unwrap()).unwrap();
        let time = stats.lines().find_map(|line| line.strip_prefix("STAT time ")).unwrap();
        time.trim().parse::<u64>().unwrap()
    });
    assert!(times[0].abs_diff(times[1]) <= 1, "{times:?}");
}

#[test]
fn a_bad_file_changes_nothing_and_all_its_errors_are_told() {
    let server = misses();
    let port = free_port();
    let good = pool(port, "timeout: 4000", &[server.entry()]);
    let proxy = Changing::start(&good, port, &["--no-watch"]);
    let mut client = proxy.proxy.conn();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    let bad = [
        "".to_owned(),
        "pool: [".to_owned(),
        good.replace("timeout: 4000", "timeout: many\n  hash: fnv"),
        good.replace("timeout", "time_out"),
        format!("{good}other:\n  listen: {taken}\n  servers: [\"a:1:1\"]\n"),
    ];
    for (number, bad) in bad.iter().enumerate() {
        let told = proxy.reload(bad, "refused");
        let errors = told["errors"].as_array().unwrap().len();
        assert_eq!(errors, if number == 2 { 2 } else { 1 }, "{told}");
        client.ask("get a\r\n", "END\r\n");
        assert_eq!(proxy.metric("nuthatch_config_last_reload_refused"), 1.0);
        assert_eq!(proxy.generation(), 1);
        assert_eq!(proxy.page("/config")["pools"][format!("pool{port}")]["timeout"], 4000);
    }
    assert_eq!(proxy.page("/config")["file"]["state"], "differs", "it is the last one");
    let log = fs::read_to_string(proxy.proxy.dir.join("log")).unwrap();
    assert_eq!(log.matches("configuration refused").count(), 6, "{log}");
    proxy.reload(&good, "unchanged");
    assert_eq!(proxy.metric("nuthatch_config_last_reload_refused"), 0.0);
    assert_eq!(proxy.page("/config")["file"]["state"], "same");
}

#[test]
fn max_move_refuses_what_moves_more_unless_it_is_forced() {
    let servers: Vec<_> = (0..4).map(|_| misses()).collect();
    let all: Vec<_> = servers.iter().map(FakeServer::entry).collect();
    let port = free_port();
    let with = |count: usize| pool(port, "max_move: 40%", &all[..count]);
    let proxy = Changing::start(&with(4), port, &["--no-watch"]);
    proxy.reload(&with(3), "changed");
    let told = proxy.reload(&with(1), "refused");
    assert!(told["errors"].to_string().contains("max_move is 40 %"), "{told}");
    assert_eq!(proxy.page("/config")["file"]["state"], "refused");
    assert_eq!(proxy.post("?force=true").1["result"], "changed");
    assert_eq!(proxy.generation(), 3);
}

#[test]
fn a_file_that_changes_is_read_again_however_it_changes() {
    let server = misses();
    let port = free_port();
    let with = |timeout: u64| pool(port, &format!("timeout: {timeout}"), &[server.entry()]);
    let dir = TempDir::new();
    // As kubelet lays out a ConfigMap: nutcracker.yml -> ..data/nutcracker.yml, ..data -> a directory.
    let lay = |name: &str, timeout: u64| {
        fs::create_dir(dir.join(name)).unwrap();
        fs::write(dir.join(name).join("nutcracker.yml"), with(timeout)).unwrap();
        symlink(name, dir.join("..new")).unwrap();
        fs::rename(dir.join("..new"), dir.join("..data")).unwrap();
    };
    lay("..1", 1000);
    symlink("..data/nutcracker.yml", dir.join("nutcracker.yml")).unwrap();
    let path = dir.join("nutcracker.yml");
    let proxy = Changing::start(&with(1000), port, &["-c", path.to_str().unwrap()]);
    lay("..2", 2000);
    proxy.expect_generation(2);
    fs::write(&path, with(3000)).unwrap();
    proxy.expect_generation(3);
    fs::write(dir.join("other"), with(4000)).unwrap();
    fs::rename(dir.join("other"), &path).unwrap();
    proxy.expect_generation(4);
    assert_eq!(proxy.page("/config")["pools"][format!("pool{port}")]["timeout"], 4000);
    fs::remove_file(&path).unwrap();
    let by = Instant::now() + PATIENCE;
    while proxy.metric("nuthatch_config_last_reload_refused") != 1.0 {
        assert!(Instant::now() < by, "a file that is gone is an error");
        thread::sleep(Duration::from_millis(20));
    }
    proxy.proxy.conn().ask("get a\r\n", "END\r\n");
}

#[test]
fn diff_compares_what_is_served_with_a_file() {
    let all: Vec<String> =
        (1..=4).map(|number| format!("127.0.0.1:{number}:1 s{number}")).collect();
    let port = free_port();
    let settings = "hash: md5\nhash_tag: \"{}\"\ntimeout: 400\nredis: true\nredis_auth: secret";
    let with = |count: usize| pool(port, settings, &all[..count]);
    let proxy = Changing::start(&with(4), port, &["--no-watch"]);
    proxy.write(&with(3));
    let served = format!("http://127.0.0.1:{}", proxy.admin);
    let diff = |old: &str, new: &str| {
        let mut command = Program::UnderTest.command();
        let command = command.current_dir(proxy.proxy.dir.join("")).args(["diff", old, new]);
        let output = command.output().unwrap();
        let told =
            String::from_utf8(output.stdout).unwrap() + str::from_utf8(&output.stderr).unwrap();
        (output.status.success(), told)
    };
    fs::write(proxy.proxy.dir.join("before.yml"), with(4)).unwrap();
    let (works, told) = diff(&served, "nutcracker.yml");
    assert!(works, "{told}");
    assert_eq!(told, diff("before.yml", "nutcracker.yml").1);
    assert!(diff(&served, "before.yml").1.contains(": 0 of 100000 keys move"));
    let (works, told) = diff(&format!("http://127.0.0.1:{}", free_port()), "before.yml");
    assert!(
        !works && told.contains("the admin port does not answer: Connection refused"),
        "{told}"
    );
    let (works, told) = diff(&format!("http://127.0.0.1:{}", proxy.proxy.stats_port), "before.yml");
    assert!(!works && told.contains("the admin port does not answer"), "{told}");
}

#[test]
fn sighup_reloads_and_reopens_the_log() {
    let server = misses();
    let port = free_port();
    let proxy = Changing::start(&pool(port, "", &[server.entry()]), port, &["--no-watch"]);
    proxy.write(&pool(port, "timeout: 5", &[server.entry()]));
    fs::rename(proxy.proxy.dir.join("log"), proxy.proxy.dir.join("log.1")).unwrap();
    proxy.proxy.process.signal(Signal::HUP);
    proxy.expect_generation(2);
    let by = Instant::now() + PATIENCE;
    let log = || fs::read_to_string(proxy.proxy.dir.join("log")).unwrap_or_default();
    while !log().contains("configuration reloaded") {
        assert!(Instant::now() < by, "{}", log());
        thread::sleep(Duration::from_millis(20));
    }
    assert!(log().contains("timeout -1 -> 5"), "{}", log());
}

#[test]
fn pools_and_their_listeners_come_and_go() {
    let slow = FakeServer::start(|mut conn, _| {
        while conn.read_line().is_ok() {
            thread::sleep(Duration::from_millis(500));
            conn.send("END\r\n");
        }
    });
    let [port, other, third] = [free_port(), free_port(), free_port()];
    let dir = TempDir::new();
    let path = dir.join("second.sock");
    let first = pool(port, "", &[slow.entry()]);
    let at = |port: u16| format!("127.0.0.1:{port}");
    let second = |listen: &str| pool_on("second", listen, "", &[slow.entry()]);
    let both = format!("[\"{}\", \"{}\"]", at(other), path.display());
    for workers in ["--workers=1", "--workers=3"] {
        let proxy = Changing::start(&first, port, &["--no-watch", workers]);
        assert!(!accepts(other));
        proxy.reload(&format!("{first}{}", second(&both)), "changed");
        let (mut waits, mut idle) = (Conn::tcp((Ipv4Addr::LOCALHOST, other)), Conn::unix(&path));
        // The pool listens elsewhere: its clients stay.
        proxy.reload(&format!("{first}{}", second(&at(third))), "changed");
        assert!(!accepts(other) && !path.exists());
        idle.ask("mn\r\n", "MN\r\n");
        assert!(accepts(third));
        waits.send("get a\r\n");
        waits.expect_silence(Duration::from_millis(100));
        // The pool goes: what it was asked is answered.
        proxy.reload(&first, "changed");
        waits.expect("END\r\n");
        waits.expect_closed();
        idle.expect_closed();
        assert!(!accepts(third));
        proxy.reload(&format!("{first}{}", second(&both)), "changed");
        assert!(accepts(other));
        Conn::unix(&path).ask("mn\r\n", "MN\r\n");
    }
}

#[test]
fn another_pool_takes_over_an_address_without_a_refused_client() {
    let server = misses();
    let port = free_port();
    let at = format!("127.0.0.1:{port}");
    let named = |name: &str| pool_on(name, &at, "", &[server.entry()]);
    let proxy = Changing::start(&named("one"), port, &["--no-watch", "--workers=2"]);
    for name in ["two", "three", "four"] {
        let mut before = proxy.proxy.conn();
        before.ask("get a\r\n", "END\r\n");
        proxy.reload(&named(name), "changed");
        let mut after = proxy.proxy.conn();
        after.ask("get a\r\n", "END\r\n");
        before.expect_closed();
    }
}

/// Clients that ask until they are told to stop, and how many replies they had.
struct Load {
    ends: Arc<AtomicBool>,
    replies: Arc<AtomicU64>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(clients: impl IntoIterator<Item = (Conn, fn(&mut Conn, usize, &mut Random))>) -> Self {
        let (ends, replies) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let clients = clients.into_iter().enumerate().map(|(number, (mut conn, ask))| {
            let (ends, replies) = (Arc::clone(&ends), Arc::clone(&replies));
            let mut random = Random::new(number as u64);
            thread::spawn(move || {
                while !ends.load(Ordering::Relaxed) {
                    ask(&mut conn, number, &mut random);
                    replies.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        let clients = clients.collect();
        Self { ends, replies, clients }
    }

    /// Stops them. A client that got anything but a right reply has panicked.
    fn stop(self) -> u64 {
        self.ends.store(true, Ordering::Relaxed);
        self.clients.into_iter().for_each(|client| client.join().expect("every reply is right"));
        self.replies.load(Ordering::Relaxed)
    }
}

/// A few requests of memcached in one write, each with its right reply.
fn ask_memcached(conn: &mut Conn, number: usize, random: &mut Random) {
    let key = format!("m{number}-{}", random.below(50));
    conn.send(format!("set {key} 0 0 {}\r\n{key}\r\nget {key}\r\nget {key} {key}x\r\n", key.len()));
    conn.expect("STORED\r\n");
    let hit = format!("VALUE {key} 0 {}\r\n{key}\r\nEND\r\n", key.len());
    for _ in 0..2 {
        let reply = conn.read_reply().unwrap();
        // Between two requests the key may have got another server.
        assert!(reply == hit.as_bytes() || reply == b"END\r\n", "{}", reply.escape_ascii());
    }
}

fn ask_redis(conn: &mut Conn, number: usize, random: &mut Random) {
    let key = format!("r{number}-{}", random.below(50));
    conn.send(
        [command(["SET", &key, &key]), command(["GET", &key]), command(["MGET", &key, "none"])]
            .concat(),
    );
    conn.expect("+OK\r\n");
    let value = format!("${}\r\n{key}\r\n", key.len());
    let got = conn.read_resp().unwrap();
    assert!(got == value.as_bytes() || got == b"$-1\r\n", "{}", got.escape_ascii());
    let got = conn.read_resp().unwrap();
    let found = format!("*2\r\n{value}$-1\r\n");
    let missing = b"*2\r\n$-1\r\n$-1\r\n";
    assert!(got == found.as_bytes() || got == missing, "{}", got.escape_ascii());
}

/// A configuration with some of the servers, drawn at random, and other settings each time.
fn drawn(ports: [u16; 3], servers: (&[String], &[String]), random: &mut Random) -> String {
    let mut some = |all: &[String]| -> Vec<String> {
        let mut drawn: BTreeSet<String> =
            all.iter().filter(|_| random.one_in(2)).cloned().collect();
        drawn.insert(random.pick(all).clone());
        drawn.into_iter().collect()
    };
    let (memcached, redis) = (some(servers.0), some(servers.1));
    let settings = format!(
        "timeout: {}\nserver_requests_max: {}\nclient_requests_max: {}\nauto_eject_hosts: {}",
        4000 + random.below(1000),
        1 + random.below(1000),
        1 + random.below(1000),
        random.one_in(2)
    );
    let [port, redis_port, other] = ports;
    let mut text = pool(port, &settings, &memcached);
    let at = format!("127.0.0.1:{redis_port}");
    text += &pool_on("redis", &at, &format!("redis: true\n{settings}"), &redis);
    if random.one_in(2) {
        text += &pool_on("other", &format!("127.0.0.1:{other}"), &settings, &memcached);
    }
    text
}

/// How many reloads: `RELOADS`, or as many as a run of all tests has time for.
fn reloads() -> u64 {
    env::var("RELOADS").map_or(150, |count| count.parse().unwrap())
}

#[test]
#[ignore = "needs memcached and redis-server: run make it"]
fn reloads_under_load_fail_no_request_and_leave_nothing_behind() {
    let count = reloads();
    let (memcached, redis) = (Memcached::start_many(3), Redis::start_many(2));
    let entries = (entries(&memcached), crate::harness::named(&redis));
    let ports = [free_port(), free_port(), free_port()];
    let mut random = Random::new(Random::seed());
    let mut draw = || drawn(ports, (&entries.0, &entries.1), &mut random);
    let proxy = Changing::start(&draw(), ports[0], &["--no-watch", "--workers=2"]);
    let at = |port: u16| Conn::tcp((Ipv4Addr::LOCALHOST, port)).patient_for(3 * PATIENCE);
    let clients = (0..8).map(|number| match number % 2 {
        0 => (at(ports[0]), ask_memcached as fn(&mut Conn, usize, &mut Random)),
        _ => (at(ports[1]), ask_redis as _),
    });
    let load = Load::start(clients);
    let (mut changed, mut held, mut memory) = (0, (0, 0), 0);
    for reload in 0..count {
        if reload % 10 == 5 {
            proxy.reload("pool:\n  servers: [a]\n", "refused");
        } else {
            proxy.write(&draw());
            let (status, told) = proxy.post("");
            assert_eq!(status, 200, "{told}");
            changed += u64::from(told["result"] == "changed");
        }
        if reload == 100 {
            proxy.reload(&settled(ports, &entries), "changed");
            changed += 1;
            (held, memory) = (settle(&proxy), proxy.proxy.process.memory_bytes("VmRSS"));
        }
    }
    proxy.reload(&settled(ports, &entries), "changed");
    let after = settle(&proxy);
    let replies = load.stop();
    assert!(changed > count * 8 / 10, "{changed} reloads changed something");
    assert_eq!(proxy.generation(), changed + 2);
    assert_eq!(
        proxy.metric("nuthatch_config_reloads_total{result=\"refused\"}"),
        (count / 10) as f64
    );
    assert!(replies > 5 * count, "{replies} replies");
    // A connection to each server in each worker may not have been opened yet when it was counted.
    let has_more = after.0 > held.0 + 2 * 5 || after.1 > held.1;
    assert!(!has_more, "{after:?} descriptors and threads, {held:?} before");
    let grown = proxy.proxy.process.memory_bytes("VmRSS").saturating_sub(memory);
    assert!(grown < 4 << 20, "{grown} bytes more than after 100 reloads");
    eprintln!("{changed} reloads, {replies} right replies, {grown} bytes more");
}

/// The configuration with all servers and no other pool.
fn settled([port, redis_port, _]: [u16; 3], entries: &(Vec<String>, Vec<String>)) -> String {
    let at = format!("127.0.0.1:{redis_port}");
    pool(port, "", &entries.0) + &pool_on("redis", &at, "redis: true", &entries.1)
}

/// What the proxy holds once the servers and pools of before are gone.
fn settle(proxy: &Changing) -> (usize, usize) {
    let mut least = proxy.held();
    for _ in 0..20 {
        thread::sleep(Duration::from_millis(50));
        let now = proxy.held();
        least = (least.0.min(now.0), least.1.min(now.1));
    }
    least
}
