//! The slow log: what it shows of a request that took long, and to whom.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::conn::Conn;
use crate::harness::{Memcached, Program, pool};
use crate::observed::Observed;

/// The slow requests of the one pool, the newest first.
fn slow(proxy: &Observed) -> Vec<Value> {
    let page: Value = serde_json::from_str(&proxy.page("/slow")).unwrap();
    page["pools"].as_object().unwrap().values().next().unwrap().as_array().unwrap().clone()
}

/// Asks while the server stands still for a moment.
fn ask_slowly(server: &Memcached, conn: &mut Conn, request: &str, reply: &str) {
    server.process.stop();
    conn.send(request);
    std::thread::sleep(Duration::from_millis(150));
    server.process.signal(Signal::CONT);
    conn.expect(reply);
}

#[test]
#[ignore = "needs memcached: run make it"]
fn a_slow_request_is_shown_with_the_hash_of_its_key_or_the_key() {
    let memcached = Memcached::start();
    let settings = |more: &str| format!("timeout: 3000\nslow_after: 100\n{more}");
    let entry = format!("{} m1", memcached.entry());
    let mut proxy = Observed::start(
        Program::UnderTest.command(),
        &settings(""),
        std::slice::from_ref(&entry),
        &["--workers=2"],
    );
    let mut conn = proxy.proxy.conn();
    conn.ask("get quick\r\n", "END\r\n");
    ask_slowly(&memcached, &mut conn, "set user:1 0 0 2\r\nhi\r\n", "STORED\r\n");
    let [entry_shown] = &slow(&proxy)[..] else { panic!("{:?}", slow(&proxy)) };
    let route: Value = serde_json::from_str(&proxy.page("/route?key=user:1")).unwrap();
    assert_eq!((&entry_shown["server"], &entry_shown["class"]), (&"m1".into(), &"set".into()));
    assert_eq!((&entry_shown["key"], &entry_shown["result"]), (&Value::Null, &"reply".into()));
    assert!(entry_shown["key_hash"].is_u64() && route["key"] == "user:1", "{entry_shown} {route}");
    let took = entry_shown["took_ms"].as_f64().unwrap();
    assert!((100.0..3000.0).contains(&took), "{took}");
    // A reload shows the keys, also those of before.
    let port = proxy.proxy.port;
    let config = pool(port, &settings("slow_keys: true\n"), &[entry]);
    fs::write(proxy.proxy.dir.join("nutcracker.yml"), config).unwrap();
    proxy.proxy.process.signal(Signal::HUP);
    proxy.wait_for_log("configuration changed");
    ask_slowly(&memcached, &mut conn, "get user:1 user:2\r\n", "VALUE user:1 0 2\r\nhi\r\nEND\r\n");
    let entries = slow(&proxy);
    let keys: Vec<&Value> = entries.iter().map(|entry| &entry["key"]).collect();
    assert_eq!(keys, [&Value::Null, &"user:1".into()]);
    let name = format!("nuthatch_slow_requests_total{{pool=\"pool{port}\"}}");
    assert_eq!(proxy.metric(&name), Some(2.0));
}
