//! The suite itself: each fault of the relay does what it says, and a client without a proxy notices what is
//! wrong, stale or exchanged.

use std::io::{ErrorKind, Read};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use crate::conn::Conn;
use crate::harness::{Memcached, Redis, accepts};
use crate::random::Random;

use super::client::{Client, Manner, Tally};
use super::history::{History, value};
use super::question::Speech;
use super::relay::{Fault, Lie, Relay, Then};
use super::reply::Protocol;

/// So long says nothing who has nothing to say.
const QUIET: Duration = Duration::from_millis(60);

/// A memcached behind a relay, with a value of ten bytes.
struct Pair {
    server: Memcached,
    relay: Relay,
}

const HIT: &str = "VALUE k 0 10\r\n0123456789\r\nEND\r\n";

impl Pair {
    fn start() -> Self {
        let server = Memcached::start();
        server.conn().ask("set k 0 0 10\r\n0123456789\r\n", "STORED\r\n");
        let relay = Relay::start(Protocol::Memcached, server.port, 1);
        Self { server, relay }
    }

    fn conn(&self) -> Conn {
        Conn::tcp((Ipv4Addr::LOCALHOST, self.relay.port))
    }

    /// A connection that has worked.
    fn used_conn(&self) -> Conn {
        let mut conn = self.conn();
        conn.ask("get k\r\n", HIT);
        conn
    }
}

#[test]
#[ignore = "needs memcached: run make it"]
fn a_relay_passes_everything_both_ways_and_leaves_nothing_behind() {
    let pair = Pair::start();
    let mut client = pair.used_conn();
    let large = "x".repeat(700_000);
    client.ask(format!("set large 0 0 700000\r\n{large}\r\n"), "STORED\r\n");
    client.ask("get large\r\n", format!("VALUE large 0 700000\r\n{large}\r\nEND\r\n"));
    client.send("quit\r\n");
    client.expect_closed();
    let (port, mut client) = (pair.relay.port, pair.used_conn());
    drop(pair);
    client.expect_closed();
    assert!(!accepts(port));
}

#[test]
#[ignore = "needs memcached: run make it"]
fn a_slow_relay_sends_so_many_bytes_in_a_time() {
    let mut pair = Pair::start();
    let mut client = pair.used_conn();
    pair.relay.set(Fault::Slow { pause: Duration::from_millis(20), bytes: 4 });
    let asked = Instant::now();
    client.ask("get k\r\n", HIT);
    // The first four bytes come at once.
    let least = Duration::from_millis(20) * u32::try_from((HIT.len() - 1) / 4).unwrap();
    assert!(asked.elapsed() >= least, "{:?}", asked.elapsed());
    pair.relay.set(Fault::Pass);
    client.ask("get k\r\n", HIT);
}

#[test]
#[ignore = "needs memcached: run make it"]
fn a_relay_resets_the_connections_that_are_open_or_those_that_come() {
    let mut pair = Pair::start();
    let mut open = pair.used_conn();
    pair.relay.set(Fault::ResetNew);
    expect_reset(&pair.conn());
    open.ask("get k\r\n", HIT);
    pair.relay.set(Fault::ResetOpen);
    expect_reset(&open);
    pair.used_conn();
}

fn expect_reset(conn: &Conn) {
    let mut socket = conn.socket();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let error = socket.read(&mut [0]).expect_err("a reset is no orderly end");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
}

#[test]
#[ignore = "needs memcached: run make it"]
fn a_silent_relay_takes_connections_and_passes_what_it_held_when_it_is_over() {
    for (requests, replies) in [(true, true), (true, false), (false, true)] {
        let mut pair = Pair::start();
        let mut open = pair.used_conn();
        pair.relay.set(Fault::Silent { requests, replies });
        let mut new = pair.conn();
        new.send("get k\r\n");
        open.send("set k 0 0 3\r\nnew\r\n");
        open.expect_silence(QUIET);
        new.expect_silence(QUIET);
        // What only the reply of is held has happened.
        let held = if requests { HIT } else { "VALUE k 0 3\r\nnew\r\nEND\r\n" };
        pair.server.conn().ask("get k\r\n", held);
        pair.relay.set(Fault::Pass);
        open.expect("STORED\r\n");
        assert!(new.read_reply().unwrap().starts_with(b"VALUE k "));
    }
}

#[test]
#[ignore = "needs memcached: run make it"]
fn what_a_silent_relay_holds_happens_later_even_if_the_client_has_gone() {
    let mut pair = Pair::start();
    let mut client = pair.used_conn();
    pair.relay.set(Fault::Silent { requests: true, replies: true });
    client.send("set k 0 0 4\r\nlate\r\n");
    drop(client);
    let mut other = pair.server.conn();
    other.ask("set k 0 0 3\r\nnew\r\n", "STORED\r\n");
    pair.relay.set(Fault::Pass);
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        other.send("get k\r\n");
        if other.read_reply().unwrap() == b"VALUE k 0 4\r\nlate\r\nEND\r\n" {
            return;
        }
        assert!(Instant::now() < deadline, "the late write does not come");
    }
}

#[test]
#[ignore = "needs memcached: run make it"]
fn a_relay_that_refuses_ends_what_is_open_and_listens_again_when_it_is_over() {
    let mut pair = Pair::start();
    let mut open = pair.used_conn();
    pair.relay.set(Fault::Refuse);
    open.expect_closed();
    let refused = TcpStream::connect((Ipv4Addr::LOCALHOST, pair.relay.port)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    pair.relay.set(Fault::Pass);
    pair.used_conn();
}

#[test]
#[ignore = "needs memcached: run make it"]
fn half_a_reply_is_followed_by_the_end_or_by_silence() {
    let mut pair = Pair::start();
    let (mut first, mut second) = (pair.used_conn(), pair.used_conn());
    pair.relay.set(Fault::Half { bytes: 20, then: Then::Close });
    first.ask("get k\r\n", &HIT[..20]);
    first.expect_closed();
    pair.relay.set(Fault::Half { bytes: 20, then: Then::Stall });
    second.ask("get k\r\n", &HIT[..20]);
    second.expect_silence(QUIET);
    pair.relay.set(Fault::Pass);
    second.expect(&HIT[20..]);
    second.ask("get k\r\n", HIT);
}

#[test]
#[ignore = "needs memcached: run make it"]
fn a_full_server_says_so_and_closes() {
    let mut pair = Pair::start();
    let mut open = pair.used_conn();
    pair.relay.set(Fault::Full);
    open.expect_closed();
    let mut client = pair.conn();
    client.ask("get k\r\n", "ERROR Too many open connections\r\n");
    client.expect_closed();
}

#[test]
#[ignore = "needs memcached: run make it"]
fn a_relay_lies_now_and_then_as_it_is_told() {
    let mut pair = Pair::start();
    let keys: Vec<_> = (10..90).collect();
    let replies = keys.iter().map(|key| {
        pair.server.conn().ask(format!("set k{key} 0 0 2\r\n{key}\r\n"), "STORED\r\n");
        format!("VALUE k{key} 0 2\r\n{key}\r\nEND\r\n")
    });
    let right: Vec<_> = replies.collect();
    let requests: String = keys.iter().map(|key| format!("get k{key}\r\n")).collect();
    for lie in [Lie::Noise, Lie::Other, Lie::Exchanged, Lie::Twice, Lie::Dropped] {
        let mut client = pair.conn();
        pair.relay.set(Fault::Lie(lie));
        client.send(&requests);
        let told = client.read_until_quiet(QUIET);
        let told = told.escape_ascii().to_string();
        let counts: Vec<_> = right
            .iter()
            .map(|reply| told.matches(&reply.as_bytes().escape_ascii().to_string()).count())
            .collect();
        let of = |count: usize| counts.iter().filter(|&&one| one == count).count();
        // Of one that waits for the next, the last may be missing.
        let [missing, double] = [of(0), of(2)];
        let holds = match lie {
            Lie::Noise | Lie::Other | Lie::Dropped => missing > 3 && double == 0,
            Lie::Exchanged => missing <= 1 && double == 0,
            Lie::Twice => missing == 0 && double > 3,
        };
        let is_right = right.concat().as_bytes().escape_ascii().to_string() == told;
        assert!(holds && !is_right, "{lie:?}: {missing} missing, {double} double");
        pair.relay.set(Fault::Pass);
        pair.used_conn();
    }
}

fn manner(protocol: Protocol, pipelines: bool) -> Manner {
    let speech = Speech { protocol, meta: false, any_order: false };
    let late_after = Duration::from_secs(5);
    Manner { speech, pipelines, is_lied_to: false, late_after, patience: QUIET }
}

/// What a client finds that speaks with one server through a relay with a fault.
fn finds(protocol: Protocol, server: u16, fault: Fault) -> Tally {
    let mut relay = Relay::start(protocol, server, 1);
    let history = History::new(1);
    let mut client = Client::new(0, relay.port, manner(protocol, true), &history, Random::new(1));
    relay.set(fault);
    for _ in 0..60 {
        client.converse();
        // One reply may wait for another that never comes.
        relay.set(Fault::Pass);
        relay.set(fault);
    }
    client.tally
}

#[test]
#[ignore = "needs memcached and redis-server: run make it"]
fn a_client_without_a_proxy_finds_nothing_wrong_with_servers_that_are_right() {
    let (memcached, redis) = (Memcached::start(), Redis::start());
    for (protocol, port) in [(Protocol::Memcached, memcached.port), (Protocol::Redis, redis.port)] {
        let tally = finds(protocol, port, Fault::Pass);
        let Tally { errors, closed, lost, wrong, stale, revived, hits, .. } = tally;
        assert_eq!((errors, closed, lost), (0, 0, 0), "{tally:?}");
        assert_eq!((wrong, stale, revived), (0, 0, 0), "{tally:?}");
        assert!(hits > 100, "{tally:?}");
    }
}

#[test]
#[ignore = "needs memcached and redis-server: run make it"]
fn a_client_without_a_proxy_notices_every_kind_of_lie() {
    let (memcached, redis) = (Memcached::start(), Redis::start());
    for lie in [Lie::Noise, Lie::Other, Lie::Twice] {
        for (protocol, port) in
            [(Protocol::Memcached, memcached.port), (Protocol::Redis, redis.port)]
        {
            let tally = finds(protocol, port, Fault::Lie(lie));
            assert!(tally.wrong > 3, "{protocol:?} {lie:?}: {tally:#?}");
        }
    }
}

#[test]
#[ignore = "needs memcached: run make it"]
fn a_client_without_a_proxy_notices_an_old_value_and_one_that_nobody_wrote() {
    let server = Memcached::start();
    let history = History::new(1);
    let manner = manner(Protocol::Memcached, true);
    let mut client = Client::new(0, server.port, manner, &history, Random::new(1));
    for _ in 0..60 {
        client.converse();
    }
    let newest = history.ask(0, 0).floor;
    assert!(newest > 2, "the first key was written some times");
    let mut put = |text: &str| {
        server.conn().ask(format!("set c0k0 0 0 {}\r\n{text}\r\n", text.len()), "STORED\r\n");
        client.reads_all();
        (client.tally.stale, client.tally.wrong)
    };
    assert_eq!(put(&value(0, newest, 9)), (0, 0));
    assert_eq!(put(&value(0, newest - 1, 9)), (1, 0));
    assert_eq!(put(&value(0, newest + 1, 9)), (1, 1));
    assert_eq!(put(&value(1, 1, 9)), (1, 2));
    assert_eq!(put("anything"), (1, 3));
}

#[test]
#[ignore = "needs memcached: run make it"]
fn a_client_without_a_proxy_notices_that_a_reply_never_comes() {
    let server = Memcached::start();
    let silent = Fault::Silent { requests: false, replies: true };
    let mut relay = Relay::start(Protocol::Memcached, server.port, 1);
    let history = History::new(1);
    let manner = manner(Protocol::Memcached, false);
    let mut client = Client::new(0, relay.port, manner, &history, Random::new(1));
    relay.set(silent);
    client.converse();
    assert_eq!(client.tally.lost, 1, "{:?}", client.tally);
}
