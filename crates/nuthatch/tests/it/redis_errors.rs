//! What a Redis server refuses, and why, is told to the client in the server's own words; the connection to the
//! server stays, and so does the client's.
//!
//! The rule: each state is made on real servers, and the server's own answer is the one that is wanted. A server
//! that refuses requests has not failed: nothing is lost, nothing ejected.

use std::fs;
use std::time::{Duration, Instant};

use nuthatch_harness::redis::command;

use crate::conn::{Conn, show};
use crate::fake::RefusingPort;
use crate::harness::{Program, Proxy, Redis, free_port, named};

const STRICT: &str = "timeout: 4000\nauto_eject_hosts: true\nserver_failure_limit: 1\n\
                      server_retry_timeout: 60000";

const OOM: &str = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";
const READONLY: &str = "-READONLY You can't write against a read only replica.\r\n";
// Redis and Valkey go on in words of their own.
const BUSY: &str = "-BUSY ";
const LOADING: &str = "-LOADING ";
const MISCONF: &str = "-MISCONF ";

#[test]
#[ignore = "needs redis-server: run make it"]
fn an_error_of_one_command_is_the_servers() {
    let world = World::start(&[]);
    world.both("EVALSHA ffffffffffffffffffffffffffffffffffffffff 1 a", NOSCRIPT);
    world.both("SET a text", "+OK\r\n");
    world.both("LPUSH a x", WRONGTYPE);
    world.both("INCR a", "-ERR value is not an integer or out of range\r\n");
    world.both("EXPIRE a never", "-ERR value is not an integer or out of range\r\n");
    world.both("MGET a a", "*2\r\n$4\r\ntext\r\n$4\r\ntext\r\n");
    world.expect_nothing_lost();
}

const NOSCRIPT: &str = "-NOSCRIPT No matching script.";
const WRONGTYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";

#[test]
#[ignore = "needs redis-server: run make it"]
fn a_server_without_memory_says_so() {
    let world = World::start(&[]);
    world.both("SET a 1", "+OK\r\n");
    assert_eq!(world.server.call(&["CONFIG", "SET", "maxmemory", "1"]), b"+OK\r\n");
    world.both("SET a 2", OOM);
    world.both("MSET a 2 b 2", OOM);
    world.both("GET a", "$1\r\n1\r\n");
    assert_eq!(world.server.call(&["CONFIG", "SET", "maxmemory", "0"]), b"+OK\r\n");
    world.both("SET a 2", "+OK\r\n");
    world.expect_nothing_lost();
}

#[test]
#[ignore = "needs redis-server: run make it"]
fn a_server_that_runs_a_long_script_says_so() {
    let world = World::start(&["--busy-reply-threshold", "20"]);
    world.both("SET a 1", "+OK\r\n");
    let mut other = world.server.conn();
    other.send(command(["EVAL", "while true do end", "0"]));
    world.wait_for("GET a", BUSY);
    world.both("GET a", BUSY);
    world.both("MGET a b", BUSY);
    assert_eq!(world.server.call(&["SCRIPT", "KILL"]), b"+OK\r\n");
    assert!(other.read_resp().unwrap().starts_with(b"-ERR "));
    world.both("GET a", "$1\r\n1\r\n");
    world.expect_nothing_lost();
}

#[test]
#[ignore = "needs redis-server: run make it"]
fn a_server_that_is_a_replica_says_so() {
    let nobody = RefusingPort::new();
    let world = World::start(&["--replicaof", "127.0.0.1", &nobody.port.to_string()]);
    world.both("SET a 1", READONLY);
    world.both("DEL a b", READONLY);
    world.both("EVAL return{} 1 a", "*0\r\n");
    world.both("GET a", "$-1\r\n");
    let stale = ["CONFIG", "SET", "replica-serve-stale-data", "no"];
    assert_eq!(world.server.call(&stale), b"+OK\r\n");
    let down =
        "-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n";
    world.both("GET a", down);
    assert_eq!(world.server.call(&["REPLICAOF", "NO", "ONE"]), b"+OK\r\n");
    world.both("SET a 1", "+OK\r\n");
    world.expect_nothing_lost();
}

#[test]
#[ignore = "needs redis-server: run make it"]
fn a_server_that_is_loading_says_so() {
    // A millisecond a key, and a look at the sockets after each kilobyte.
    let server = Redis::start_with(
        free_port(),
        &["--enable-debug-command", "local", "--loading-process-events-interval-bytes", "1024"],
    );
    // Requests to a server that is loading count as failures: it may be ejected, if that is allowed.
    let settings = "timeout: 4000";
    let proxy = Proxy::with_redis(Program::UnderTest, settings, std::slice::from_ref(&server));
    let world = World { server, proxy };
    world.both("SET a 1", "+OK\r\n");
    assert_eq!(world.server.call(&["DEBUG", "POPULATE", "1000", "key", "1000"]), b"+OK\r\n");
    assert_eq!(world.server.call(&["CONFIG", "SET", "key-load-delay", "1000"]), b"+OK\r\n");
    let mut other = world.server.conn();
    other.send(command(["DEBUG", "RELOAD"]));
    let reply = world.wait_for("GET a", LOADING);
    assert_eq!(world.through("GET a", LOADING), reply);
    assert_eq!(world.through("SET a 2", LOADING), reply);
    assert_eq!(other.read_resp().unwrap(), b"+OK\r\n");
    world.both("GET a", "$1\r\n1\r\n");
    world.expect_nothing_lost();
}

#[test]
#[ignore = "needs redis-server: run make it"]
fn a_server_that_cannot_save_says_so() {
    let world = World::start(&["--save", "3600 1"]);
    world.both("SET a 1", "+OK\r\n");
    // Where the file is to be is a directory.
    fs::create_dir(world.server.dir.join("dump.rdb")).unwrap();
    assert!(world.server.call(&["BGSAVE"]).starts_with(b"+Background saving started"));
    world.wait_for("SET a 1", MISCONF);
    world.both("SET a 2", MISCONF);
    world.both("MSET a 2 b 2", MISCONF);
    world.both("GET a", "$1\r\n1\r\n");
    world.expect_nothing_lost();
}

#[test]
#[ignore = "needs redis-server: run make it"]
fn one_server_of_three_without_memory_decides_the_answer_to_a_split_command() {
    let servers = Redis::start_many(3);
    let proxy = Proxy::with_redis(Program::UnderTest, &format!("{STRICT}\nhash: md5"), &servers);
    let mut client = proxy.conn();
    let mut mset = vec!["MSET".to_owned()];
    mset.extend((0..60).flat_map(|nth| [format!("key{nth}"), "1".to_owned()]));
    client.ask(command(&mset), "+OK\r\n");
    for server in &servers {
        assert_ne!(server.call(&["DBSIZE"]), b":0\r\n", "one of three servers got no key");
    }
    assert_eq!(servers[1].call(&["CONFIG", "SET", "maxmemory", "1"]), b"+OK\r\n");
    client.ask(command(&mset), OOM);
    let nobody = RefusingPort::new();
    let port = nobody.port.to_string();
    assert_eq!(servers[1].call(&["REPLICAOF", "127.0.0.1", &port]), b"+OK\r\n");
    let keys = (0..60).map(|nth| format!("key{nth}"));
    let del: Vec<_> = ["DEL".to_owned()].into_iter().chain(keys).collect();
    client.ask(command(&del), READONLY);
    client.ask(command(["PING"]), "+PONG\r\n");
    assert_eq!(proxy.server_failures(), 0);
}

#[test]
#[ignore = "needs redis-server: run make it"]
fn keys_of_which_some_are_on_a_dead_server_get_one_error_and_the_client_stays() {
    let servers = Redis::start_many(1);
    let dead = RefusingPort::new();
    let entries = [named(&servers).remove(0), format!("{} r2", dead.entry())];
    let proxy = Proxy::with_pool(Program::UnderTest, "redis: true\nhash: md5", &entries);
    let mut client = proxy.conn();
    let keys: Vec<_> = (0..40).map(|nth| format!("key{nth}")).collect();
    let split = |verb: &str| command([vec![verb.to_owned()], keys.clone()].concat());
    for _ in 0..3 {
        for verb in ["MGET", "DEL", "EXISTS", "TOUCH", "UNLINK"] {
            client.ask(split(verb), "-ERR Connection refused\r\n");
        }
        let pairs = keys.iter().flat_map(|key| [key.clone(), "1".to_owned()]);
        let mset: Vec<_> = ["MSET".to_owned()].into_iter().chain(pairs).collect();
        client.ask(command(mset), "-ERR Connection refused\r\n");
    }
    let mut alive = 0;
    for key in &keys {
        match &client.call(["SET", key, "1"]).unwrap()[..] {
            b"+OK\r\n" => alive += 1,
            reply => assert_eq!(reply, b"-ERR Connection refused\r\n"),
        }
    }
    assert!((1..40).contains(&alive), "{alive} of 40 keys on the live server");
    client.expect_silence(Duration::from_millis(50));
}

#[test]
#[ignore = "needs redis-server: run make it"]
fn a_pool_with_a_password_and_a_database_uses_both() {
    let servers = [Redis::start_with(free_port(), &["--requirepass", "secret"])];
    let settings = "redis_auth: secret\nredis_db: 3";
    let proxy = Proxy::with_redis(Program::UnderTest, settings, &servers);
    let mut client = proxy.conn();
    client.ask(command(["AUTH", "secret"]), "+OK\r\n");
    client.ask(command(["SET", "a", "1"]), "+OK\r\n");
    assert_eq!(databases_with(&servers[0], "a"), [3]);
}

#[test]
#[ignore = "needs redis-server: run make it"]
fn without_its_database_or_password_a_pool_writes_nowhere() {
    for settings in ["redis_auth: secret\nredis_db: 99", "redis_auth: wrong\nredis_db: 3"] {
        let servers = [Redis::start_with(free_port(), &["--requirepass", "secret"])];
        let proxy = Proxy::with_redis(Program::UnderTest, settings, &servers);
        let mut client = proxy.conn();
        let password = settings.lines().next().unwrap().strip_prefix("redis_auth: ").unwrap();
        client.ask(command(["AUTH", password]), "+OK\r\n");
        let reply = client.call(["SET", "a", "1"]).unwrap();
        assert!(reply.starts_with(b"-"), "{settings}: {}", show(&reply));
        assert_eq!(databases_with(&servers[0], "a"), [0; 0], "{settings}");
    }
}

/// The databases of a server with the password `secret` in which there is the key.
fn databases_with(server: &Redis, key: &str) -> Vec<u32> {
    let mut conn = server.conn();
    conn.ask(command(["AUTH", "secret"]), "+OK\r\n");
    let databases = (0..16).filter(|number| {
        conn.ask(command(["SELECT", &number.to_string()]), "+OK\r\n");
        conn.call(["EXISTS", key]).unwrap() == b":1\r\n"
    });
    databases.collect()
}

/// A server, and a proxy that has only this one.
struct World {
    server: Redis,
    proxy: Proxy,
}

impl World {
    fn start(settings: &[&str]) -> Self {
        let server = Redis::start_with(free_port(), settings);
        let proxy = Proxy::with_redis(Program::UnderTest, STRICT, std::slice::from_ref(&server));
        Self { server, proxy }
    }

    /// Panics unless both give the same answer, which begins with `wanted`, and the proxy's client has
    /// a connection afterwards.
    #[track_caller]
    fn both(&self, words: &str, wanted: &str) {
        let plain = ask(&mut self.server.conn(), words, wanted, "plain");
        assert_eq!(self.through(words, wanted), plain, "{words}");
    }

    #[track_caller]
    fn through(&self, words: &str, wanted: &str) -> String {
        let mut conn = self.proxy.conn();
        let reply = ask(&mut conn, words, wanted, "through the proxy");
        // The proxy answers this itself.
        ask(&mut conn, "PING", "+PONG\r\n", "afterwards");
        reply
    }

    /// Waits until the server's answer begins like this. Returns the answer.
    fn wait_for(&self, words: &str, wanted: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(10);
        let words: Vec<_> = words.split(' ').collect();
        loop {
            let reply = self.server.call(&words);
            if reply.starts_with(wanted.as_bytes()) {
                return show(&reply);
            }
            assert!(Instant::now() < deadline, "{words:?} is never answered with {wanted}");
        }
    }

    #[track_caller]
    fn expect_nothing_lost(&self) {
        assert_eq!(self.proxy.server_failures(), 0);
    }
}

#[track_caller]
fn ask(conn: &mut Conn, words: &str, wanted: &str, whom: &str) -> String {
    let words: Vec<_> = words.split(' ').collect();
    let reply = conn.call(&words).unwrap();
    assert!(reply.starts_with(wanted.as_bytes()), "{words:?} {whom}: {}", show(&reply));
    show(&reply)
}
