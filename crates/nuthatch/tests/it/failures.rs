//! What a client sees when a server is away, hangs, breaks off or lies.
//!
//! The texts and the rules of ejection are nutcracker's, to the byte. Where its behaviour was
//! harmful ours differs, and the test's name says how: a multiget with a dead server keeps the
//! client connected, an idle server that closes has not failed, a spare reply is nobody's.

use std::thread;
use std::time::{Duration, Instant};

use crate::conn::{Broken, Conn, show};
use crate::fake::{FakeServer, RefusingPort, UnansweringPort, answer_every_line, reset};
use crate::harness::{Memcached, Program, Proxy};

const REFUSED: &str = "SERVER_ERROR Connection refused\r\n";
const TIMED_OUT: &str = "SERVER_ERROR Connection timed out\r\n";
const RESET: &str = "SERVER_ERROR Connection reset by peer\r\n";
const CLOSED: &str = "SERVER_ERROR unknown\r\n";
const NONSENSE: &str = "SERVER_ERROR Invalid argument\r\n";
const UNRESOLVED: &str = "SERVER_ERROR Host is down\r\n";

/// Longer than any answer on loopback takes.
const QUIET: Duration = Duration::from_millis(100);

fn proxy(settings: &str, servers: &[String]) -> Proxy {
    Proxy::with_pool(Program::UnderTest, settings, servers)
}

#[test]
fn every_command_to_a_refusing_server_gets_its_error_and_the_client_stays() {
    let proxy = proxy("timeout: 400", &[RefusingPort::new().entry()]);
    let mut client = proxy.conn();
    for request in [
        "get k\r\n",
        "gets k\r\n",
        "set k 0 0 1\r\nx\r\n",
        "add k 0 0 1\r\nx\r\n",
        "cas k 0 0 1 7\r\nx\r\n",
        "incr k 1\r\n",
        "delete k\r\n",
        "touch k 0\r\n",
        "get k l\r\n",
    ] {
        client.ask(request, REFUSED);
    }
    client.ask("get k\r\nget l\r\nget m\r\n", REFUSED.repeat(3));
    client.expect_silence(QUIET);
}

#[test]
fn meta_and_touching_gets_to_a_refusing_server_get_the_same_error() {
    let proxy = proxy("timeout: 400", &[RefusingPort::new().entry()]);
    let mut client = proxy.conn();
    for request in
        ["mg k v\r\n", "ms k 1\r\nx\r\n", "md k\r\n", "ma k\r\n", "gat 0 k\r\n", "gats 0 k l\r\n"]
    {
        client.ask(request, REFUSED);
    }
    client.expect_silence(QUIET);
}

#[test]
fn noreply_to_a_refusing_server_says_nothing() {
    let proxy = proxy("timeout: 400", &[RefusingPort::new().entry()]);
    let mut client = proxy.conn();
    client.send("set k 0 0 1 noreply\r\nx\r\ndelete k noreply\r\nincr k 1 noreply\r\n");
    client.ask("get k\r\n", REFUSED);
    client.expect_silence(QUIET);
}

#[test]
fn a_name_that_does_not_resolve_is_a_host_that_is_down() {
    let proxy = proxy("timeout: 4000", &["nowhere.invalid:11211:1".to_owned()]);
    let mut client = proxy.conn();
    client.ask("get k\r\n", UNRESOLVED);
    client.ask("set k 0 0 1\r\nx\r\n", UNRESOLVED);
}

#[test]
#[ignore = "needs memcached: run make it"]
fn a_silent_server_times_out() {
    let server = FakeServer::start(|conn, nth| match nth {
        0 => thread::sleep(Duration::from_secs(5)),
        _ => answer_every_line(conn, "END\r\n"),
    });
    let proxy = proxy("timeout: 400", &[server.entry()]);
    let mut client = proxy.conn();
    assert_takes(Duration::from_millis(400), || client.ask("get k\r\n", TIMED_OUT));
    // By then the silent connection has been given up, and a new one answers.
    thread::sleep(Duration::from_secs(1));
    client.ask("get k\r\n", "END\r\n");
}

#[test]
fn a_connection_that_is_never_taken_times_out() {
    let server = UnansweringPort::new();
    let proxy = proxy("timeout: 400", &[server.entry()]);
    let mut client = proxy.conn();
    assert_takes(Duration::from_millis(400), || client.ask("get k\r\n", TIMED_OUT));
}

#[test]
fn without_a_timeout_a_slow_server_is_waited_for() {
    let server = FakeServer::start(|mut conn, _| {
        while conn.read_line().is_ok() {
            thread::sleep(Duration::from_millis(1200));
            conn.send("END\r\n");
        }
    });
    let proxy = proxy("", &[server.entry()]);
    assert_takes(Duration::from_millis(1200), || proxy.conn().ask("get k\r\n", "END\r\n"));
}

#[test]
fn every_request_waiting_for_a_reset_connection_gets_the_reset() {
    let server = FakeServer::start(|mut conn, _| {
        conn.read_line().unwrap();
        conn.read_line().unwrap();
        reset(conn);
    });
    let proxy = proxy("timeout: 4000", &[server.entry()]);
    let mut client = proxy.conn();
    client.ask("get k\r\nget k\r\n", RESET.repeat(2));
    client.ask("get k\r\nget k\r\n", RESET.repeat(2));
}

#[test]
fn a_server_that_closes_instead_of_answering_is_an_unknown_error() {
    let server = FakeServer::start(|mut conn, _| drop(conn.read_line()));
    let proxy = proxy("timeout: 4000", &[server.entry()]);
    let mut client = proxy.conn();
    client.ask("get k\r\n", CLOSED);
    client.ask("get k\r\n", CLOSED);
    client.expect_silence(QUIET);
}

#[test]
fn half_a_value_and_then_the_end_leaks_nothing() {
    let server = broken_off_then_well(|_| {});
    let proxy = proxy("timeout: 4000", &[server.entry()]);
    let mut client = proxy.conn();
    client.ask("get k\r\n", CLOSED);
    client.ask("get k\r\n", "VALUE k 0 10\r\n0123456789\r\nEND\r\n");
}

#[test]
fn half_a_value_and_then_a_reset_leaks_nothing() {
    let server = broken_off_then_well(|conn| {
        // The reset must not overtake the half value.
        thread::sleep(Duration::from_millis(50));
        reset(conn);
    });
    let proxy = proxy("timeout: 4000", &[server.entry()]);
    let mut client = proxy.conn();
    client.ask("get k\r\n", RESET);
    client.ask("get k\r\n", "VALUE k 0 10\r\n0123456789\r\nEND\r\n");
}

#[test]
fn half_a_value_and_then_silence_times_out() {
    let server = broken_off_then_well(|_| thread::sleep(Duration::from_secs(3)));
    let proxy = proxy("timeout: 400", &[server.entry()]);
    let mut client = proxy.conn();
    client.ask("get k\r\n", TIMED_OUT);
    thread::sleep(Duration::from_secs(1));
    client.ask("get k\r\n", "VALUE k 0 10\r\n0123456789\r\nEND\r\n");
}

/// On its first connection it sends half a value and then does as told.
fn broken_off_then_well(then: impl Fn(Conn) + Send + Sync + 'static) -> FakeServer {
    FakeServer::start(move |mut conn, nth| {
        while conn.read_line().is_ok() {
            conn.send("VALUE k 0 10\r\n01234");
            if nth == 0 {
                return then(conn);
            }
            conn.send("56789\r\nEND\r\n");
        }
    })
}

#[test]
fn half_of_a_large_value_is_never_passed_off_as_the_whole() {
    let reply = format!("VALUE k 0 1000000\r\n{}\r\nEND\r\n", "v".repeat(1_000_000));
    let half = reply[..500_000].to_owned();
    let server = FakeServer::start(move |mut conn, _| {
        conn.read_line().unwrap();
        conn.send(&half);
    });
    let proxy = proxy("timeout: 4000", &[server.entry()]);
    let mut client = proxy.conn();
    client.send("get k\r\n");
    match client.read_reply() {
        Ok(error) => assert_eq!(show(&error), show(CLOSED.as_bytes())),
        // What has been passed on can't be taken back: then the connection ends in the middle.
        Err(Broken::Closed(_)) => assert!(client.is_closed()),
        Err(Broken::TimedOut(got)) => panic!("half a reply, {} bytes, and silence", got.len()),
    }
}

#[test]
fn a_reply_that_is_no_memcacheds_is_an_invalid_argument() {
    for reply in ["HELLO\r\n", "BUSY later\r\n", "+OK\r\n", "VALUE k 0 x\r\n", "VALUE k\r\n"] {
        let proxy = proxy("timeout: 4000", &[FakeServer::answering(reply).entry()]);
        let mut client = proxy.conn();
        client.ask("get k\r\n", NONSENSE);
        client.ask("get k\r\n", NONSENSE);
    }
}

#[test]
fn a_value_of_another_key_is_refused() {
    let reply = "VALUE other 0 1\r\nx\r\nEND\r\n";
    let proxy = proxy("timeout: 4000", &[FakeServer::answering(reply).entry()]);
    let mut client = proxy.conn();
    client.ask("get k\r\n", NONSENSE);
    client.ask("get k l\r\n", NONSENSE);
    client.expect_silence(QUIET);
}

#[test]
fn a_spare_reply_is_nobodys() {
    let server = FakeServer::start(|mut conn, nth| {
        while let Ok(line) = conn.read_line() {
            let key = String::from_utf8(line[4..line.len() - 2].to_vec()).unwrap();
            let reply = format!("VALUE {key} 0 1\r\n{nth}\r\nEND\r\n");
            conn.send(reply.repeat(if nth == 0 { 2 } else { 1 }));
        }
    });
    let proxy = proxy("timeout: 4000", &[server.entry()]);
    let (mut one, mut other) = (proxy.conn(), proxy.conn());
    one.ask("get a\r\n", "VALUE a 0 1\r\n0\r\nEND\r\n");
    thread::sleep(QUIET);
    other.ask("get b\r\n", "VALUE b 0 1\r\n1\r\nEND\r\n");
    one.ask("get a\r\n", "VALUE a 0 1\r\n1\r\nEND\r\n");
    assert_eq!(server.connection_count(), 2);
}

#[test]
fn a_spare_reply_is_not_the_answer_to_what_waits_behind() {
    let server = FakeServer::start(|mut conn, nth| {
        while conn.read_line().is_ok() {
            let (key, times) = if nth == 0 { ("a", 2) } else { ("b", 1) };
            conn.send(format!("VALUE {key} 0 1\r\n{nth}\r\nEND\r\n").repeat(times));
            if nth == 0 {
                // The second request is in flight by now.
                let _ = conn.read_line();
            }
        }
    });
    let proxy = proxy("timeout: 4000", &[server.entry()]);
    let mut client = proxy.conn();
    client.ask("get a\r\nget b\r\n", format!("VALUE a 0 1\r\n0\r\nEND\r\n{NONSENSE}"));
    client.ask("get b\r\n", "VALUE b 0 1\r\n1\r\nEND\r\n");
}

#[test]
#[ignore = "needs memcached: run make it"]
fn errors_of_a_server_pass_with_their_own_text() {
    let error = "SERVER_ERROR out of memory writing get response\r\n";
    let failing = FakeServer::answering(error);
    let pool = TwoServers::start("timeout: 4000", &failing.entry());
    let mut client = pool.proxy.conn();
    client.ask(format!("get {BAD_KEY}\r\n"), error);
    client.ask(format!("get {GOOD_KEY} {BAD_KEY}\r\n"), error);
    client.ask(format!("get {GOOD_KEY}\r\n"), "END\r\n");
}

#[test]
#[ignore = "needs memcached: run make it"]
fn a_multiget_with_a_dead_server_gets_one_error_and_the_client_stays() {
    let pool = TwoServers::start("timeout: 4000", &RefusingPort::new().entry());
    let mut client = pool.proxy.conn();
    let multiget = format!("get {GOOD_KEY} {BAD_KEY} {GOOD_KEY}\r\n");
    client.ask(&multiget, REFUSED);
    client.ask(format!("{multiget}get {GOOD_KEY}\r\n"), format!("{REFUSED}END\r\n"));
    client.expect_silence(QUIET);
}

#[test]
#[ignore = "needs memcached: run make it"]
fn replies_keep_their_order_around_a_silent_server() {
    let silent = FakeServer::start(|_, _| thread::sleep(Duration::from_secs(3)));
    let pool = TwoServers::start("timeout: 400", &silent.entry());
    let mut client = pool.proxy.conn();
    client.send(format!("get {GOOD_KEY}\r\nget {BAD_KEY}\r\ndelete {GOOD_KEY}\r\n"));
    assert_takes(Duration::ZERO, || client.expect("END\r\n"));
    // Other clients of the living server don't wait.
    assert_takes(Duration::ZERO, || {
        pool.proxy.conn().ask(format!("get {GOOD_KEY}\r\n"), "END\r\n");
    });
    client.expect(format!("{TIMED_OUT}NOT_FOUND\r\n"));
}

#[test]
#[ignore = "needs memcached: run make it"]
fn a_server_that_was_restarted_while_idle_just_works() {
    let server = Memcached::start();
    let proxy = proxy("timeout: 4000", &[server.entry()]);
    let mut client = proxy.conn();
    client.ask("set k 0 0 1\r\nx\r\n", "STORED\r\n");
    let port = server.port;
    drop(server);
    thread::sleep(QUIET);
    client.ask("get k\r\n", REFUSED);
    let _server = Memcached::start_with(port, &[]);
    client.ask("get k\r\n", "END\r\n");
}

/// Ejection as soon as `limit` failures came in a row, for a second and a half.
fn eject_after(limit: usize) -> String {
    format!(
        "timeout: 4000\nauto_eject_hosts: true\nserver_failure_limit: {limit}\n\
         server_retry_timeout: {}",
        RETRY.as_millis()
    )
}
const RETRY: Duration = Duration::from_millis(1500);
/// Longer than two probes take.
const PROBED: Duration = Duration::from_millis(500);

#[test]
fn a_server_that_closes_when_idle_has_not_failed() {
    let server = FakeServer::start(|mut conn, _| {
        conn.read_line().unwrap();
        conn.send("END\r\n");
    });
    let proxy = proxy(&eject_after(1), &[server.entry()]);
    let mut client = proxy.conn();
    for _ in 0..5 {
        client.ask("get k\r\n", "END\r\n");
        // Time for the proxy to see the close.
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(server.connection_count(), 5);
}

#[test]
#[ignore = "needs memcached: run make it"]
fn a_server_leaves_the_ring_after_its_failures_and_returns_after_the_retry_timeout() {
    let dead = RefusingPort::new();
    let pool = TwoServers::start(&eject_after(3), &dead.entry());
    let mut client = pool.proxy.conn();
    let request = format!("get {BAD_KEY}\r\n");
    for _ in 0..3 {
        client.ask(&request, REFUSED);
    }
    let ejected = Instant::now();
    client.ask(&request, "END\r\n");

    let port = dead.port;
    drop(dead);
    let server = Memcached::start_with(port, &[]);
    server.conn().ask(format!("set {BAD_KEY} 0 0 4\r\nback\r\n"), "STORED\r\n");
    client.ask(&request, "END\r\n");
    thread::sleep((ejected + RETRY + PROBED).saturating_duration_since(Instant::now()));
    client.ask(&request, format!("VALUE {BAD_KEY} 0 4\r\nback\r\nEND\r\n"));
}

#[test]
#[ignore = "needs memcached: run make it"]
fn a_server_that_is_still_dead_stays_away_and_costs_no_request() {
    let pool = TwoServers::start(&eject_after(2), &RefusingPort::new().entry());
    let mut client = pool.proxy.conn();
    let request = format!("get {BAD_KEY}\r\n");
    for _ in 0..2 {
        client.ask(&request, REFUSED);
    }
    let by = Instant::now() + RETRY + PROBED + RETRY + PROBED;
    while Instant::now() < by {
        client.ask(&request, "END\r\n");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
#[ignore = "needs memcached: run make it"]
fn without_probes_a_dead_server_fails_as_often_again_before_it_leaves_again() {
    let settings = format!("{}\nserver_probes: 0", eject_after(2));
    let pool = TwoServers::start(&settings, &RefusingPort::new().entry());
    let mut client = pool.proxy.conn();
    let request = format!("get {BAD_KEY}\r\n");
    let mut pause = RETRY;
    for _ in 0..2 {
        client.ask(&request, REFUSED);
        client.ask(&request, REFUSED);
        client.ask(&request, "END\r\n");
        thread::sleep(pause + QUIET);
        // It has failed again soon.
        pause *= 2;
    }
}

#[test]
fn a_reply_between_failures_starts_the_count_anew() {
    // Refuses to answer every second request.
    let server = FakeServer::start(|mut conn, _| {
        conn.read_line().unwrap();
        conn.send("END\r\n");
        conn.read_line().unwrap();
    });
    let proxy = proxy(&eject_after(2), &[server.entry()]);
    let mut client = proxy.conn();
    for _ in 0..4 {
        client.ask("get k\r\n", "END\r\n");
        client.ask("get k\r\n", CLOSED);
    }
}

#[test]
#[ignore = "needs memcached: run make it"]
fn a_silent_server_is_ejected_too() {
    let silent = FakeServer::start(|_, _| thread::sleep(Duration::from_secs(5)));
    let settings = eject_after(2).replace("timeout: 4000", "timeout: 200");
    let pool = TwoServers::start(&settings, &silent.entry());
    let mut client = pool.proxy.conn();
    let request = format!("get {BAD_KEY}\r\n");
    client.ask(&request, TIMED_OUT);
    thread::sleep(Duration::from_millis(400));
    client.ask(&request, TIMED_OUT);
    assert_takes(Duration::ZERO, || client.ask(&request, "END\r\n"));
}

#[test]
fn with_all_servers_ejected_every_request_is_refused_at_once() {
    let silent = FakeServer::start(|mut conn, nth| match nth {
        0 | 1 => drop(conn.read_line()),
        _ => answer_every_line(conn, "END\r\n"),
    });
    let proxy = proxy(&eject_after(2), &[silent.entry()]);
    let mut client = proxy.conn();
    client.ask("get k\r\n", CLOSED);
    client.ask("get k\r\n", CLOSED);
    let ejected = Instant::now();
    client.ask("get k\r\n", REFUSED);
    client.ask("get k l\r\n", REFUSED);
    assert_eq!(silent.connection_count(), 2);
    thread::sleep((ejected + RETRY + PROBED).saturating_duration_since(Instant::now()));
    client.ask("get k\r\n", "END\r\n");
}

/// Their places on the ring of `TwoServers` follow from the servers' names.
const GOOD_KEY: &str = "apple";
const BAD_KEY: &str = "plum";

/// A pool of a real memcached and of a server that misbehaves.
struct TwoServers {
    proxy: Proxy,
    _good: Memcached,
}

impl TwoServers {
    fn start(settings: &str, bad: &str) -> Self {
        let good = Memcached::start();
        let servers = [format!("{} good", good.entry()), format!("{bad} bad")];
        Self { proxy: proxy(settings, &servers), _good: good }
    }
}

/// Panics unless `action` takes about as long: not less, and at most a second more.
#[track_caller]
fn assert_takes(time: Duration, action: impl FnOnce()) {
    let started = Instant::now();
    action();
    let took = started.elapsed();
    let early = Duration::from_millis(20);
    assert!(took + early >= time, "took {took:?}, wanted {time:?}");
    assert!(took < time + Duration::from_secs(1), "took {took:?}, wanted {time:?}");
}
