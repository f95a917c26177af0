//! `cache-api`: every answer to the byte, what a cache that is away or hangs does to it, and how it
//! ends.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nuthatch_harness::conn::{Conn, PATIENCE};
use nuthatch_harness::{Memcached, TempDir, free_port};
use rustix::process::Signal;

use crate::running::{Api, detail};

#[test]
#[ignore = "needs memcached: run make it"]
fn an_item_is_stored_and_comes_back() {
    let cache = Memcached::start();
    let api = Api::over_port(cache.port);
    assert_eq!(api.get("/health"), (200, r#"{"status":"healthy"}"#.to_owned()));
    assert_eq!(api.get("/items/user:42%25"), (404, detail("Key not found")));
    api.store("user:42%", "größer als 9 €");
    let item = r#"{"key":"user:42%","value":"größer als 9 €"}"#;
    assert_eq!(api.get("/items/user:42%25"), (200, item.to_owned()));
    cache.conn().ask("get user:42%\r\n", "VALUE user:42% 0 18\r\ngrößer als 9 €\r\nEND\r\n");
    api.store("user:42%", "");
    let item = r#"{"key":"user:42%","value":""}"#;
    assert_eq!(api.get("/items/user:42%25"), (200, item.to_owned()));
}

#[test]
#[ignore = "needs memcached: run make it"]
fn the_cache_may_listen_on_a_unix_socket() {
    let dir = TempDir::new();
    let path = dir.join("memcached.sock");
    let _cache = Memcached::start_unix(&path);
    let api = Api::over_socket(&path);
    api.store("k", "v");
    assert_eq!(api.get("/items/k"), (200, r#"{"key":"k","value":"v"}"#.to_owned()));
}

#[test]
#[ignore = "needs memcached: run make it"]
fn a_bad_key_is_refused_before_the_cache_sees_it() {
    let cache = Memcached::start();
    let api = Api::over_port(cache.port);
    let characters = detail("a key has visible ASCII characters only, no blanks");
    assert_eq!(api.get("/items/two%20words"), (400, characters.clone()));
    assert_eq!(api.get("/items/k%0D%0Aflush_all"), (400, characters.clone()));
    assert_eq!(api.get("/items/%C3%BC"), (400, characters.clone()));
    let body = r#"{"key":"k\r\nflush_all","value":"v"}"#;
    assert_eq!(api.post("/items/", body), (400, characters));
    let length = detail("a key has 1 to 250 bytes, not 251");
    assert_eq!(api.get(&format!("/items/{}", "k".repeat(251))), (400, length));
    let length = detail("a key has 1 to 250 bytes, not 0");
    assert_eq!(api.post("/items/", r#"{"key":"","value":"v"}"#), (400, length));
    let mut stats = cache.conn();
    stats.send("stats\r\n");
    let stats = String::from_utf8(stats.read_reply().unwrap()).unwrap();
    assert!(stats.contains("STAT cmd_get 0\r\n") && stats.contains("STAT cmd_flush 0\r\n"));
}

#[test]
#[ignore = "needs memcached: run make it"]
fn what_is_no_item_is_refused_with_the_reason() {
    let cache = Memcached::start();
    let api = Api::over_port(cache.port);
    let item = r#"{"key":"k","value":"v"}"#;
    for (path, content, body, status, reason) in [
        ("/items/", "application/json", r#"{"key":"k"}"#, 422, "missing field `value`"),
        ("/items/", "application/json", r#"{"key":"#, 400, "EOF while parsing"),
        ("/items/", "text/plain", item, 415, "`Content-Type: application/json`"),
        ("/health", "application/json", item, 405, "Method Not Allowed"),
        ("/nothing", "application/json", item, 404, "Not Found"),
    ] {
        let (told, body) = api.post_as(content, path, body);
        assert_eq!(told, status, "{path} {body}");
        assert!(body.starts_with(r#"{"detail":""#) && body.contains(reason), "{body}");
    }
    let (status, body) = api.get("/items/%FF");
    assert_eq!(status, 400);
    assert!(body.contains("Invalid UTF-8"), "{body}");
}

#[test]
#[ignore = "needs memcached: run make it"]
fn a_value_that_is_too_large_is_refused_and_the_next_one_is_not() {
    let cache = Memcached::start();
    let api = Api::over_port(cache.port);
    let item = |len| format!(r#"{{"key":"k","value":"{}"}}"#, "v".repeat(len));
    let too_large = detail("the value is too large for the cache");
    assert_eq!(api.post("/items/", &item(1 << 20)), (413, too_large));
    let too_large = detail("Failed to buffer the request body: length limit exceeded");
    assert_eq!(api.post("/items/", &item(2 << 20)), (413, too_large));
    assert_eq!(api.get("/items/k"), (404, detail("Key not found")));
    assert_eq!(api.post("/items/", &item(1_000_000)).0, 200);
    assert_eq!(api.get("/items/k"), (200, item(1_000_000)));
}

#[test]
#[ignore = "needs memcached: run make it"]
fn a_value_of_somebody_else_that_is_no_text_is_said_to_be_none() {
    let cache = Memcached::start();
    let api = Api::over_port(cache.port);
    cache.conn().ask(b"set k 0 0 2\r\n\xff\xfe\r\n", "STORED\r\n");
    assert_eq!(api.get("/items/k"), (500, detail("the value of this key is not text")));
}

#[test]
#[ignore = "needs memcached: run make it"]
fn a_cache_that_is_away_is_a_503_and_health_stays() {
    let port = free_port();
    let api = Api::over_port(port);
    let refused = format!("the cache at localhost:{port}: connect: Connection refused");
    for (status, body) in [api.get("/items/k"), api.post("/items/", r#"{"key":"k","value":"v"}"#)] {
        assert_eq!(status, 503);
        assert!(body.starts_with(&format!(r#"{{"detail":"{refused}"#)), "{body}");
    }
    assert_eq!(api.get("/health").0, 200);
    let cache = Memcached::start_with(port, &[]);
    api.store("k", "v");
    drop(cache);
    assert_eq!(api.get("/items/k").0, 503);
    let _cache = Memcached::start_with(port, &[]);
    assert_eq!(api.get("/items/k").0, 404);
}

#[test]
#[ignore = "needs memcached: run make it"]
fn a_connection_that_was_idle_while_the_cache_was_restarted_fails_nobody() {
    let cache = Memcached::start();
    let port = cache.port;
    let api = Api::over_port(port);
    api.store("k", "v");
    drop(cache);
    let _cache = Memcached::start_with(port, &[]);
    thread::sleep(Duration::from_millis(1100));
    assert_eq!(api.get("/items/k"), (404, detail("Key not found")));
}

#[test]
#[ignore = "needs memcached: run make it"]
fn a_cache_that_hangs_is_a_503_in_time_and_its_late_answer_is_nobodys() {
    let cache = Memcached::start();
    let api = Api::over_port(cache.port);
    api.store("one", "1");
    api.store("two", "2");
    cache.process.stop();
    let start = Instant::now();
    let late = format!("the cache at localhost:{}: no answer within 4s", cache.port);
    assert_eq!(api.get("/items/one"), (503, detail(&late)));
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
    cache.process.signal(Signal::CONT);
    for _ in 0..3 {
        assert_eq!(api.get("/items/two"), (200, r#"{"key":"two","value":"2"}"#.to_owned()));
    }
}

#[test]
#[ignore = "needs memcached: run make it"]
fn sigterm_lets_a_request_finish_and_ends_with_0() {
    let cache = Memcached::start();
    let mut api = Api::over_port(cache.port);
    api.store("k", "v");
    cache.process.stop();
    let answer = thread::scope(|scope| {
        let asking = scope.spawn(|| api.get("/items/k"));
        // It is on its way to the cache by then, and would be refused otherwise.
        thread::sleep(Duration::from_millis(500));
        api.process.signal(Signal::TERM);
        thread::sleep(Duration::from_millis(500));
        cache.process.signal(Signal::CONT);
        asking.join().unwrap()
    });
    assert_eq!(answer, (200, r#"{"key":"k","value":"v"}"#.to_owned()));
    let status = api.process.wait(PATIENCE).expect("it ends when all is answered");
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_client_that_says_no_more_can_not_keep_it_from_ending() {
    let mut api = Api::over_port(free_port());
    let mut client = Conn::tcp(("127.0.0.1", api.port));
    client.send("POST /items/ HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n");
    client.expect_silence(Duration::from_millis(200));
    api.process.signal(Signal::TERM);
    let status = api.process.wait(PATIENCE).expect("it does not wait for ever");
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_body_that_does_not_come_is_not_waited_for() {
    let api = Api::over_port(free_port());
    let mut client = Conn::tcp(("127.0.0.1", api.port));
    let content = "Content-Type: application/json\r\nContent-Length: 10";
    client.send(format!("POST /items/ HTTP/1.1\r\nHost: x\r\n{content}\r\n\r\n{{"));
    client.expect("HTTP/1.1 408 Request Timeout\r\n");
    let body = detail("the request took longer than 6s");
    client.read_until(body.as_bytes()).unwrap();
}

#[test]
fn bad_variables_are_told_all_at_once() {
    let output = Command::new(env!("CARGO_BIN_EXE_cache-api"))
        .env("MEMCACHED_HOST", "localhost:11211")
        .env("MEMCACHED_PORT", "x")
        .env("LISTEN", "8000")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    for name in ["MEMCACHED_HOST=", "MEMCACHED_PORT=", "LISTEN="] {
        assert!(text.contains(name), "{text}");
    }
}

#[test]
fn an_address_that_is_taken_is_an_error_with_its_reason() {
    let api = Api::over_port(free_port());
    let address = format!("127.0.0.1:{}", api.port);
    let output =
        Command::new(env!("CARGO_BIN_EXE_cache-api")).env("LISTEN", &address).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains(&format!("can't listen on {address}: Address already in use")), "{text}");
}
