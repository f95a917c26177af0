//! The times of the parts of a request's way: which one ends it, when, and that nobody else notices.

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::conn::{Conn, PATIENCE};
use crate::fake::{FakeServer, UnansweringPort};
use crate::harness::{Memcached, Program, Proxy, free_port, pool};
use crate::observed::Observed;
use crate::reload::Changing;

const TIMED_OUT: &str = "SERVER_ERROR Connection timed out\r\n";

/// A part of the whole, which is long: what ends by the whole takes too long for these tests.
const PART: Duration = Duration::from_millis(200);
const WHOLE: &str = "timeout: 8000";

fn observed(settings: &str, servers: &[String]) -> Observed {
    let settings = format!("{WHOLE}\n{settings}");
    Observed::start(Program::UnderTest.command(), &settings, servers, &["--log-format=json"])
}

/// How often a clock ran out at the server of this name.
fn ran_out(observed: &Observed, server: &str, clock: &str) -> f64 {
    let page = observed.page("/metrics");
    let labels = format!("server=\"{server}\",clock=\"{clock}\"}} ");
    let is_it = |line: &&str| line.starts_with("nuthatch_server_timeouts_total{");
    let line = page.lines().filter(is_it).find_map(|line| line.split_once(&labels));
    line.unwrap_or_else(|| panic!("{labels} in {page}")).1.parse().unwrap()
}

/// Says how long it took.
fn took(action: impl FnOnce()) -> Duration {
    let started = Instant::now();
    action();
    started.elapsed()
}

#[track_caller]
fn assert_is_part(took: Duration) {
    let early = Duration::from_millis(20);
    assert!(took + early >= PART && took < PART + Duration::from_secs(2), "{took:?}");
}

#[test]
fn an_attempt_to_connect_that_is_not_answered_ends_by_its_own_clock() {
    let server = UnansweringPort::new();
    let mut observed = observed("connect_timeout: 200", &[format!("{} dead", server.entry())]);
    let mut client = observed.proxy.conn();
    assert_is_part(took(|| client.ask("get a\r\n", TIMED_OUT)));
    assert_is_part(took(|| client.ask("get a\r\nget b\r\n", TIMED_OUT.repeat(2))));
    observed.wait_for_log("Connection timed out (connect_timeout)");
    let clocks = ["connect", "queue", "response", "total"];
    assert_eq!(clocks.map(|clock| ran_out(&observed, "dead", clock)), [2.0, 0.0, 0.0, 0.0]);
}

#[test]
fn a_server_that_does_not_answer_the_greeting_ends_by_the_clock_of_the_connection() {
    let server = FakeServer::start_ungreeted(|_, _| thread::sleep(Duration::from_secs(5)));
    let observed = observed("connect_timeout: 200", &[format!("{} mute", server.entry())]);
    let mut client = observed.proxy.conn();
    assert_is_part(took(|| client.ask("get a\r\n", TIMED_OUT)));
    assert!((ran_out(&observed, "mute", "connect") - 1.0).abs() < 0.1);
}

#[test]
fn who_waits_for_a_connection_waits_as_long_as_for_its_turn() {
    let server = UnansweringPort::new();
    let observed = observed("queue_timeout: 200", &[format!("{} dead", server.entry())]);
    let mut client = observed.proxy.conn();
    assert_is_part(took(|| client.ask("get a\r\n", TIMED_OUT)));
    let clocks = ["connect", "queue", "response", "total"];
    assert_eq!(clocks.map(|clock| ran_out(&observed, "dead", clock)), [0.0, 1.0, 0.0, 0.0]);
}

#[test]
fn a_late_reply_is_nobodys_and_costs_its_neighbours_nothing() {
    // It answers what is asked for `slow` after three times the part.
    let server = FakeServer::start(|mut conn, _| {
        while let Ok(line) = conn.read_line() {
            let key = String::from_utf8(line[4..line.len() - 2].to_vec()).unwrap();
            if key == "slow" {
                thread::sleep(PART + PART / 2);
            }
            conn.send(format!("VALUE {key} 0 1\r\nx\r\nEND\r\n"));
        }
    });
    let observed = observed("response_timeout: 200", &[format!("{} one", server.entry())]);
    let (mut slow, mut other) = (observed.proxy.conn(), observed.proxy.conn());
    other.ask("get a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n");
    slow.send("get slow\r\n");
    thread::sleep(PART - PART / 4);
    // Its own time is not over when the late reply comes.
    other.send("get b\r\n");
    slow.expect(TIMED_OUT);
    other.expect("VALUE b 0 1\r\nx\r\nEND\r\n");
    slow.ask("get c\r\n", "VALUE c 0 1\r\nx\r\nEND\r\n");
    assert_eq!(server.connection_count(), 1, "the stream is in step");
}

#[test]
fn a_request_that_has_waited_for_room_has_the_rest_of_its_time() {
    // It takes three quarters of the time for each.
    let server = FakeServer::start(|mut conn, _| {
        while conn.read_line().is_ok() {
            thread::sleep(PART * 3 / 4);
            conn.send("END\r\n");
        }
    });
    let settings = "timeout: 200\nserver_requests_max: 1";
    let proxy = Proxy::with_pool(Program::UnderTest, settings, &[server.entry()]);
    let (mut one, mut two) = (proxy.conn(), proxy.conn());
    one.send("get a\r\n");
    thread::sleep(PART / 20);
    let asked = Instant::now();
    two.send("get b\r\n");
    one.expect("END\r\n");
    two.expect(TIMED_OUT);
    // It would have half as much again if its time began when there was room.
    assert!(asked.elapsed() < PART + PART / 2, "{:?}", asked.elapsed());
}

#[test]
fn a_reload_sets_the_clocks_of_what_comes() {
    let server = FakeServer::start(|mut conn, _| while conn.read_line().is_ok() {});
    let port = free_port();
    let config = |settings: &str| pool(port, &format!("{WHOLE}\n{settings}"), &[server.entry()]);
    let changing = Changing::start(&config(""), port, &[]);
    let mut client = changing.proxy.conn();
    client.send("get a\r\n");
    thread::sleep(PART);
    let told = changing.reload(&config("response_timeout: 200"), "changed");
    let change = format!("pool pool{port}: response_timeout -1 -> 200");
    assert_eq!(told["changes"], serde_json::json!([change]));
    // What waited already is late by now.
    client.expect(TIMED_OUT);
    assert_is_part(took(|| client.ask("get a\r\n", TIMED_OUT)));
}

/// A pool of four real servers, each with a key that it has.
struct Four {
    observed: Observed,
    servers: Vec<Memcached>,
    keys: Vec<String>,
}

impl Four {
    fn start() -> Self {
        let servers = Memcached::start_many(4);
        let entry = |(number, server): (usize, &Memcached)| format!("{} m{number}", server.entry());
        let entries: Vec<_> = servers.iter().enumerate().map(entry).collect();
        let parts = "hash: murmur\nconnect_timeout: 200\nqueue_timeout: 200\nresponse_timeout: 200";
        Self::of(observed(parts, &entries), servers)
    }

    fn of(observed: Observed, servers: Vec<Memcached>) -> Self {
        let mut client = observed.proxy.conn();
        let all: Vec<String> = (0..64).map(|number| format!("key{number}")).collect();
        for key in &all {
            client.ask(format!("set {key} 0 0 3\r\nold\r\n"), "STORED\r\n");
        }
        let key_of = |server: &Memcached| {
            let mut conn = server.conn();
            let has = |key: &&String| {
                conn.send(format!("get {key}\r\n"));
                conn.read_reply().unwrap() != b"END\r\n"
            };
            all.iter().find(has).expect("each of them has one").clone()
        };
        let keys = servers.iter().map(key_of).collect();
        Self { observed, servers, keys }
    }
}

fn value(key: &str, data: &str) -> String {
    format!("VALUE {key} 0 {}\r\n{data}\r\nEND\r\n", data.len())
}

#[test]
#[ignore = "needs memcached: run make it"]
fn a_server_that_hangs_costs_only_its_own_requests_and_each_a_known_time() {
    let four = Four::start();
    four.servers[0].process.stop();
    let mut client = four.observed.proxy.conn();
    let mut times = Vec::new();
    for _ in 0..9 {
        client.send(format!("get {}\r\n", four.keys[0]));
        let waits_since = Instant::now();
        // Meanwhile, the others answer other clients as ever.
        let mut other = four.observed.proxy.conn();
        for key in &four.keys[1..] {
            other.ask(format!("get {key}\r\n").repeat(20), value(key, "old").repeat(20));
        }
        let others_took = waits_since.elapsed();
        client.expect(TIMED_OUT);
        times.push(waits_since.elapsed());
        assert!(others_took < PART, "sixty requests to the others took {others_took:?}");
    }
    times.sort();
    // The machine may be slow for one of them.
    assert!(times[4] < PART + PART / 5, "{times:?}");
    assert!(times[8] < 2 * PART + PART / 5, "{times:?}");
    assert!(ran_out(&four.observed, "m0", "response") >= 1.0);
    assert!(ran_out(&four.observed, "m0", "connect") >= 1.0);
    for name in ["m1", "m2", "m3"] {
        for clock in ["connect", "queue", "response", "total"] {
            assert!(ran_out(&four.observed, name, clock) < 0.5, "{name} {clock}");
        }
    }
    four.servers[0].process.signal(Signal::CONT);
    comes_back(&mut client, &four.keys[0]);
}

#[test]
#[ignore = "needs memcached: run make it"]
fn requests_to_a_server_that_hangs_fail_in_time_and_at_once_when_it_is_ejected() {
    let servers = Memcached::start_many(4);
    let entry = |(number, server): (usize, &Memcached)| format!("{} m{number}", server.entry());
    let entries: Vec<_> = servers.iter().enumerate().map(entry).collect();
    let settings = "hash: murmur\ntimeout: 200\nserver_failure_limit: 2\n\
                    server_retry_timeout: 1000\non_server_failure: error";
    let mut four = Four::of(
        Observed::start(Program::UnderTest.command(), settings, &entries, &["--log-format=json"]),
        servers,
    );
    four.servers[0].process.stop();
    let key = four.keys[0].clone();
    let (mut client, mut times) = (four.observed.proxy.conn(), Vec::new());
    loop {
        let is_ejected = four.observed.log("server ejected").len() == 1;
        let took = took(|| client.ask(format!("get {key}\r\n"), TIMED_OUT));
        if is_ejected {
            break;
        }
        times.push(took);
        assert!(times.len() < 20, "it is not ejected");
    }
    // Of the ejection, the log tells a moment later.
    times.retain(|took| *took > PART / 2);
    times.sort();
    assert!(!times.is_empty());
    // The machine may be slow for one of them.
    assert!(times[times.len() / 2] < PART + PART / 5, "{times:?}");
    // All of these together take less than one that waits.
    let request = format!("get {key}\r\n");
    let all = took(|| (0..50).for_each(|_| client.ask(&request, TIMED_OUT)));
    assert!(all < PART, "fifty requests took {all:?}");
    for key in &four.keys[1..] {
        client.ask(format!("get {key}\r\n"), value(key, "old"));
    }
    four.servers[0].process.signal(Signal::CONT);
    four.observed.wait_for_log("server back on the ring");
}

/// Waits until a key has its value again; until then it is late, and never another one.
fn comes_back(client: &mut Conn, key: &str) {
    let by = Instant::now() + PATIENCE;
    loop {
        client.send(format!("get {key}\r\n"));
        let reply = String::from_utf8(client.read_reply().unwrap()).unwrap();
        if reply == value(key, "old") {
            return;
        }
        assert_eq!(reply, TIMED_OUT);
        assert!(Instant::now() < by, "it does not come back");
    }
}

#[test]
#[ignore = "needs memcached: run make it"]
fn what_could_not_be_sent_to_a_server_that_reads_nothing_is_late_by_its_own_clock() {
    let server = Memcached::start();
    let entries = [format!("{} one", server.entry())];
    // Over a connection for bulk, the large values would be in nobody's way.
    let observed = observed("queue_timeout: 200\nbulk_connections: 0", &entries);
    let mut client = observed.proxy.conn();
    client.ask("set k 0 0 3\r\nold\r\n", "STORED\r\n");
    server.process.stop();
    // More than the sockets between the two hold.
    let mut others: Vec<Conn> = (0..16).map(|_| observed.proxy.conn()).collect();
    for other in &mut others {
        other.send(format!("set large 0 0 900000\r\n{}\r\n", "x".repeat(900_000)));
    }
    thread::sleep(PART / 2);
    assert_is_part(took(|| client.ask("get k\r\n", TIMED_OUT)));
    assert!(ran_out(&observed, "one", "queue") >= 1.0);
    server.process.signal(Signal::CONT);
    comes_back(&mut client, "k");
    // What was sent in time is answered, what was late is not: no reply is another one's.
    for other in &mut others {
        let reply = other.read_reply().unwrap();
        assert!(reply == b"STORED\r\n" || reply == TIMED_OUT.as_bytes(), "{reply:?}");
    }
    let stats = observed.page("/metrics");
    assert!(
        stats.lines().any(|line| line.starts_with("nuthatch_desync_total") && line.ends_with(" 0"))
    );
}
