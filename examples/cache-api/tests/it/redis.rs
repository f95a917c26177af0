//! `cache-api` with `CACHE=redis`: the answers are those over memcached, from one Redis and from the
//! proxy in front of several.

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nuthatch_harness::redis::bulk;
use nuthatch_harness::{Process, Redis, TempDir, accepts, free_port, wait_until};
use rustix::process::Signal;

use crate::running::{Api, detail, item};

const PASSWORD: &str = r#"p"a'ss \ word$"#;

#[test]
#[ignore = "needs redis-server: run make it"]
fn an_item_is_stored_and_comes_back() {
    let cache = Redis::start();
    let api = Api::over_redis(cache.port, &[]);
    assert_eq!(api.get("/health"), (200, r#"{"status":"healthy"}"#.to_owned()));
    assert_eq!(api.get("/items/user:42%25"), (404, detail("Key not found")));
    api.store("user:42%", "größer als 9 €");
    assert_eq!(api.get("/items/user:42%25"), (200, item("user:42%", "größer als 9 €")));
    assert_eq!(cache.call(&["GET", "user:42%"]), bulk("größer als 9 €"));
    api.store("user:42%", "");
    assert_eq!(api.get("/items/user:42%25"), (200, item("user:42%", "")));
    cache.call(&["RPUSH", "list", "a"]);
    let (status, body) = api.get("/items/list");
    assert_eq!(status, 503);
    assert!(body.contains("WRONGTYPE"), "{body}");
    assert_eq!(api.get("/items/user:42%25").0, 200);
}

#[test]
#[ignore = "needs redis-server: run make it"]
fn the_cache_may_listen_on_a_unix_socket() {
    let dir = TempDir::new();
    let path = dir.join("redis.sock");
    let path = path.to_str().unwrap();
    let _cache = Redis::start_with(free_port(), &["--unixsocket", path]);
    let api = Api::over_redis(1, &[("REDIS_HOST", path)]);
    api.store("k", "v");
    assert_eq!(api.get("/items/k"), (200, item("k", "v")));
}

#[test]
#[ignore = "needs redis-server: run make it"]
fn the_password_is_sent_and_a_wrong_one_is_a_503() {
    let cache = Redis::start_with(free_port(), &["--requirepass", PASSWORD]);
    let api = Api::over_redis(cache.port, &[("REDIS_PASSWORD", PASSWORD)]);
    api.store("k", "v");
    assert_eq!(api.get("/items/k"), (200, item("k", "v")));
    for variables in [&[("REDIS_PASSWORD", "wrong")][..], &[]] {
        let (status, body) = Api::over_redis(cache.port, variables).get("/items/k");
        assert_eq!(status, 503, "{body}");
        assert!(!body.contains("wrong"), "{body}");
    }
}

#[test]
#[ignore = "needs redis-server: run make it"]
fn a_cache_that_is_away_is_a_503_and_fails_nobody_when_it_is_back() {
    let port = free_port();
    let api = Api::over_redis(port, &[]);
    let (status, body) = api.get("/items/k");
    assert_eq!(status, 503);
    let refused = format!(r#"{{"detail":"the cache at localhost:{port}: "#);
    assert!(body.starts_with(&refused) && body.contains("Connection refused"), "{body}");
    let cache = Redis::start_with(port, &[]);
    api.store("k", "v");
    drop(cache);
    assert_eq!(api.get("/items/k").0, 503);
    let cache = Redis::start_with(port, &[]);
    api.store("k", "v");
    drop(cache);
    let _cache = Redis::start_with(port, &[]);
    // A connection that was idle for so long is asked for a sign of life.
    thread::sleep(Duration::from_millis(1100));
    assert_eq!(api.get("/items/k"), (404, detail("Key not found")));
}

#[test]
#[ignore = "needs redis-server: run make it"]
fn a_cache_that_hangs_is_a_503_in_time_and_its_late_answer_is_nobodys() {
    let cache = Redis::start();
    let api = Api::over_redis(cache.port, &[]);
    api.store("one", "1");
    api.store("two", "2");
    cache.process.stop();
    let start = Instant::now();
    let late = format!("the cache at localhost:{}: no answer within 4s", cache.port);
    assert_eq!(api.get("/items/one"), (503, detail(&late)));
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
    cache.process.signal(Signal::CONT);
    for _ in 0..3 {
        assert_eq!(api.get("/items/two"), (200, item("two", "2")));
    }
}

#[test]
#[ignore = "needs redis-server and the proxy: run make it"]
fn several_servers_behind_the_proxy_are_one_cache() {
    let settings = ["--requirepass", PASSWORD];
    let servers: Vec<_> = (0..3).map(|_| Redis::start_with(free_port(), &settings)).collect();
    let dir = TempDir::new();
    let (_proxy, port) = start_proxy(&servers, &dir);
    let api = Api::over_redis(port, &[("REDIS_PASSWORD", PASSWORD)]);
    for key in 0..30 {
        assert_eq!(api.get(&format!("/items/{key}")), (404, detail("Key not found")));
        api.store(&key.to_string(), &format!("my-value-{key}"));
    }
    for key in 0..30 {
        let stored = item(&key.to_string(), &format!("my-value-{key}"));
        assert_eq!(api.get(&format!("/items/{key}")), (200, stored));
    }
    let counts: Vec<usize> = servers.iter().map(count_keys).collect();
    assert_eq!(counts.iter().sum::<usize>(), 30, "{counts:?}");
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    let too_large = detail("the value is too large for the cache");
    assert_eq!(api.post("/items/", &item("k", &"v".repeat(1 << 20))), (413, too_large));
    assert_eq!(api.get("/items/k"), (404, detail("Key not found")));
    drop(servers);
    assert_eq!(api.get("/items/0").0, 503);
}

/// A proxy that has its configuration from its environment and a file with the password, as in a
/// container, and takes values of less than 1 MiB.
fn start_proxy(servers: &[Redis], dir: &TempDir) -> (Process, u16) {
    let program = Path::new(env!("CARGO_BIN_EXE_cache-api")).with_file_name("nuthatch");
    assert!(program.exists(), "there is no {}: run make it", program.display());
    let password = dir.join("password");
    std::fs::write(&password, format!("{PASSWORD}\n")).unwrap();
    let entries: Vec<_> = servers.iter().map(Redis::entry).collect();
    let port = free_port();
    let mut process = Process::spawn(
        Command::new(program)
            .current_dir(dir.join(""))
            .args(["-a", "127.0.0.1", "-s", &free_port().to_string()])
            .env("REDIS", "true")
            .env("REDIS_AUTH_FILE", &password)
            .env("SERVERS", entries.join(","))
            .env("HASH", "murmur")
            .env("ITEM_SIZE_MAX", "1000k")
            .env("LISTEN_PORT", port.to_string()),
    );
    wait_until(&mut process, || "nuthatch".to_owned(), || accepts(port));
    (process, port)
}

fn count_keys(server: &Redis) -> usize {
    let mut conn = server.conn();
    assert_eq!(conn.call(["AUTH", PASSWORD]).unwrap(), b"+OK\r\n");
    let reply = String::from_utf8(conn.call(["DBSIZE"]).unwrap()).unwrap();
    reply[1..].trim_end().parse().unwrap()
}
