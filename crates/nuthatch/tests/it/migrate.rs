//! Servers come and go, and their values move along.

use rustix::process::Signal;
use std::thread;
use std::time::{Duration, Instant};

use crate::conn::{Conn, PATIENCE};
use crate::harness::{Memcached, free_port, pool};
use crate::reload::{Changing, entries};

const KEYS: usize = 1000;

fn key(number: usize) -> String {
    format!("user:{number}")
}

/// How many of all keys have their value, with the flags and some of the time to live that they got.
fn hits(client: &mut Conn) -> usize {
    let mut hits = 0;
    for number in 0..KEYS {
        let key = key(number);
        client.send(format!("mg {key} v f t\r\n"));
        let line = String::from_utf8(client.read_line().unwrap()).unwrap();
        if line == "EN\r\n" {
            continue;
        }
        let left = line.strip_prefix("VA 5 f7 t").and_then(|left| left.trim_end().parse().ok());
        assert!(left.is_some_and(|left: u64| (900..=1000).contains(&left)), "{line:?}");
        assert_eq!(client.read_line().unwrap(), format!("{number:05}\r\n").as_bytes());
        hits += 1;
    }
    hits
}

fn fill(client: &mut Conn) {
    for number in 0..KEYS {
        client.ask(format!("set {} 7 1000 5\r\n{number:05}\r\n", key(number)), "STORED\r\n");
    }
}

/// Waits until keys move, or no longer do.
fn await_phase(proxy: &Changing, port: u16, wanted: f64) {
    let by = Instant::now() + 3 * PATIENCE;
    while proxy.metric(&format!("nuthatch_migrate_phase{{pool=\"pool{port}\"}}")) != wanted {
        assert!(Instant::now() < by, "phase {wanted} does not come");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
#[ignore = "needs memcached: run make it"]
fn a_fifth_server_and_one_that_goes_cost_no_hits_with_migrate_and_a_fifth_of_them_without() {
    for migrates in [true, false] {
        let servers = Memcached::start_many(5);
        let all = entries(&servers);
        let port = free_port();
        let migrate = if migrates { "migrate: {window: 60s, settle: 2s}" } else { "" };
        let settings = format!("hash: murmur\ntimeout: 1000\n{migrate}");
        let with = |count: usize| pool(port, &settings, &all[..count]);
        let proxy = Changing::start(&with(4), port, &["--no-watch", "--workers=2"]);
        let (mut client, mut other) = (proxy.proxy.conn(), proxy.proxy.conn());
        fill(&mut client);
        assert_eq!(hits(&mut client), KEYS);
        proxy.reload(&with(5), "changed");
        if migrates {
            assert_eq!(hits(&mut client), KEYS, "while other proxies may not know of the change");
            await_phase(&proxy, port, 2.0);
            assert_eq!(hits(&mut client), KEYS, "asked of the old server");
            assert_eq!(hits(&mut other), KEYS, "copied to the new one");
            let moved =
                format!("nuthatch_migrate_moves_total{{pool=\"pool{port}\",result=\"copied\"}}");
            let moved = proxy.metric(&moved);
            assert!((0.1..0.3).contains(&(moved / KEYS as f64)), "{moved} of {KEYS} keys moved");
            // Another change has to wait.
            let told = proxy.reload(&with(4), "waits");
            assert!(told["why"].to_string().contains("still move"), "{told}");
            assert_eq!(proxy.post("?force=true").1["result"], "changed");
        } else {
            let left = hits(&mut client);
            assert!((KEYS * 7 / 10..KEYS * 9 / 10).contains(&left), "{left} of {KEYS}");
        }
    }
}

#[test]
#[ignore = "needs memcached: run make it"]
fn a_change_that_had_to_wait_is_made_when_keys_no_longer_move() {
    let servers = Memcached::start_many(3);
    let all = entries(&servers);
    let port = free_port();
    let settings = "hash: murmur\ntimeout: 100\nmigrate: {window: 100ms, settle: 2s}";
    let with = |count: usize| pool(port, settings, &all[..count]);
    let proxy = Changing::start(&with(1), port, &["--no-watch", "--workers=2"]);
    proxy.reload(&with(2), "changed");
    proxy.reload(&with(3), "waits");
    assert_eq!(proxy.generation(), 2);
    assert_eq!(proxy.metric("nuthatch_config_reloads_total{result=\"waits\"}"), 1.0);
    assert_eq!(proxy.metric("nuthatch_config_last_reload_refused"), 0.0);
    let by = Instant::now() + 3 * PATIENCE;
    let log = || std::fs::read_to_string(proxy.proxy.dir.join("log")).unwrap();
    // The log tells of the change after it is made.
    while proxy.generation() == 2 || !log().contains(r#""trigger":"keys no longer move""#) {
        assert!(Instant::now() < by, "the change is not made: {}", log());
        thread::sleep(Duration::from_millis(100));
    }
}

/// One worker can't reach the old server; the other one asks nothing meanwhile, and could reach it afterwards.
#[test]
#[ignore = "needs memcached: run make it"]
fn all_workers_give_up_an_old_server_that_one_of_them_can_not_reach() {
    let servers = Memcached::start_many(2);
    let all = entries(&servers);
    let port = free_port();
    let settings = "hash: murmur\ntimeout: 100\nmigrate: {window: 60s, settle: 2s}";
    let proxy =
        Changing::start(&pool(port, settings, &all[..1]), port, &["--no-watch", "--workers=2"]);
    let mut clients: Vec<Conn> = (0..8).map(|_| proxy.proxy.conn()).collect();
    clients[0].ask("set a 0 0 3\r\nold\r\n", "STORED\r\n");
    proxy.reload(&pool(port, settings, &all[1..]), "changed");
    await_phase(&proxy, port, 2.0);
    servers[0].process.signal(Signal::STOP);
    let by = Instant::now() + 3 * PATIENCE;
    let mut told = Vec::new();
    while told != b"END\r\n" {
        assert!(Instant::now() < by, "the old server is not given up");
        clients[0].send("get a\r\n");
        told = clients[0].read_line().unwrap();
    }
    clients[0].ask("set a 0 0 3\r\nnew\r\n", "STORED\r\n");
    clients[0].ask("delete a\r\n", "DELETED\r\n");
    servers[0].process.signal(Signal::CONT);
    for client in &mut clients {
        client.ask("get a\r\n", "END\r\n");
    }
    assert_eq!(
        proxy.metric(&format!("nuthatch_migrate_servers_given_up_total{{pool=\"pool{port}\"}}")),
        2.0,
        "each worker"
    );
}

#[test]
#[ignore = "needs memcached: run make it"]
fn what_is_written_while_keys_move_is_what_is_read() {
    let servers = Memcached::start_many(3);
    let all = entries(&servers);
    let port = free_port();
    let settings = "hash: murmur\ntimeout: 1000\nmigrate: {window: 300ms, settle: 2s}";
    let with = |count: usize| pool(port, settings, &all[..count]);
    let proxy = Changing::start(&with(2), port, &["--no-watch", "--workers=2"]);
    let mut clients = [proxy.proxy.conn(), proxy.proxy.conn()];
    let mut counts = [0; 50];
    for number in 0..counts.len() {
        clients[0].ask(format!("set n{number} 0 0 1\r\n0\r\n"), "STORED\r\n");
    }
    let mut round = 0;
    let (by, mut servers_now) = (Instant::now() + Duration::from_secs(6), 2);
    while Instant::now() < by {
        if round % 40 == 20
            && proxy.metric(&format!("nuthatch_migrate_phase{{pool=\"pool{port}\"}}")) == 0.0
        {
            servers_now = 5 - servers_now;
            proxy.reload(&with(servers_now), "changed");
        }
        for (number, count) in counts.iter_mut().enumerate() {
            let (writer, reader) = (round % 2, (round + 1) % 2);
            let request = match (round + number) % 3 {
                0 => {
                    *count += 1;
                    format!("incr n{number} 1\r\n")
                }
                1 => {
                    *count += 1;
                    format!("set n{number} 0 0 {}\r\n{count}\r\n", count.to_string().len())
                }
                _ => format!("touch n{number} 0\r\n"),
            };
            clients[writer].send(request);
            let reply = clients[writer].read_line().unwrap();
            let is_done = reply.starts_with(b"STORED") || reply.starts_with(b"TOUCHED");
            assert!(
                is_done || reply == format!("{count}\r\n").as_bytes(),
                "{}",
                reply.escape_ascii()
            );
            let digits = count.to_string();
            let hit = format!("VALUE n{number} 0 {}\r\n{digits}\r\nEND\r\n", digits.len());
            clients[reader].ask(format!("get n{number}\r\n"), hit);
        }
        round += 1;
    }
    assert!(proxy.generation() > 1 && round > 20, "{round} rounds");
}
