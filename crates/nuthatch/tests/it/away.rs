//! Servers that are away and come back with what they had: what clients are told meanwhile, and after.
//!
//! A server that is stopped (`SIGSTOP`) keeps its values, and so has old ones when it goes on.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nuthatch_harness::redis::command;
use rustix::process::Signal;

use crate::conn::{Conn, PATIENCE};
use crate::harness::{Memcached, Process, Program, Proxy, Redis, named};
use crate::http;
use crate::observed::Observed;

const KEYS: usize = 120;

/// Clients of a cache, whatever its protocol.
pub(crate) trait Cache {
    fn program(program: Program, settings: &str) -> (Proxy, Vec<Self>)
    where
        Self: Sized;
    fn process(&self) -> &Process;
    /// A connection to it.
    fn direct(&self) -> Conn;
    /// Whether it was acknowledged.
    fn set(conn: &mut Conn, key: &str, value: &str) -> bool;
    fn delete(conn: &mut Conn, key: &str) -> bool;
    /// The value, or that there is none; an error in its own words.
    fn get(conn: &mut Conn, key: &str) -> Result<Option<String>, String>;
}

impl Cache for Memcached {
    fn program(program: Program, settings: &str) -> (Proxy, Vec<Self>) {
        let servers = Self::start_many(3 + gutter_size(settings));
        let entry = |(number, server): (usize, &Self)| format!("{} m{number}", server.entry());
        let entries: Vec<_> = servers.iter().enumerate().map(entry).collect();
        (with_gutter(program, settings, &entries), servers)
    }

    fn process(&self) -> &Process {
        &self.process
    }

    fn direct(&self) -> Conn {
        self.conn()
    }

    fn set(conn: &mut Conn, key: &str, value: &str) -> bool {
        conn.send(format!("set {key} 0 0 {}\r\n{value}\r\n", value.len()));
        conn.read_line().unwrap() == b"STORED\r\n"
    }

    fn delete(conn: &mut Conn, key: &str) -> bool {
        conn.send(format!("delete {key}\r\n"));
        let line = conn.read_line().unwrap();
        line == b"DELETED\r\n" || line == b"NOT_FOUND\r\n"
    }

    fn get(conn: &mut Conn, key: &str) -> Result<Option<String>, String> {
        conn.send(format!("get {key}\r\n"));
        let reply = String::from_utf8(conn.read_reply().unwrap()).unwrap();
        match reply.lines().collect::<Vec<_>>()[..] {
            ["END"] => Ok(None),
            [_, value, "END"] => Ok(Some(value.to_owned())),
            _ => Err(reply),
        }
    }
}

impl Cache for Redis {
    fn program(program: Program, settings: &str) -> (Proxy, Vec<Self>) {
        let servers = Self::start_many(3 + gutter_size(settings));
        let settings = format!("redis: true\n{settings}");
        (with_gutter(program, &settings, &named(&servers)), servers)
    }

    fn process(&self) -> &Process {
        &self.process
    }

    fn direct(&self) -> Conn {
        self.conn()
    }

    fn set(conn: &mut Conn, key: &str, value: &str) -> bool {
        conn.send(command(["SET", key, value]));
        conn.read_line().unwrap() == b"+OK\r\n"
    }

    fn delete(conn: &mut Conn, key: &str) -> bool {
        conn.send(command(["DEL", key]));
        conn.read_line().unwrap().starts_with(b":")
    }

    fn get(conn: &mut Conn, key: &str) -> Result<Option<String>, String> {
        let reply = String::from_utf8(conn.call(["GET", key]).unwrap()).unwrap();
        match reply.lines().collect::<Vec<_>>()[..] {
            ["$-1"] => Ok(None),
            [_, value] => Ok(Some(value.to_owned())),
            _ => Err(reply),
        }
    }
}

fn gutter_size(settings: &str) -> usize {
    if settings.contains("gutter") { 2 } else { 0 }
}

/// A proxy with three servers, and those behind them as its gutter.
fn with_gutter(program: Program, settings: &str, entries: &[String]) -> Proxy {
    let (servers, gutter) = entries.split_at(3);
    let gutter = match gutter {
        [] => String::new(),
        gutter => format!("\ngutter_servers: [{}]", gutter.join(", ")),
    };
    Proxy::with_pool(program, &format!("{settings}{gutter}"), servers)
}

/// What clients saw.
#[derive(Debug, Default)]
struct Seen {
    /// Acknowledged overwrites and deletions while the server was away.
    acknowledged: usize,
    /// Requests that failed from when the server was ejected until it was back.
    failed_while_away: usize,
    /// Keys of the server, as they were read: the value of then, an older one, or none.
    fresh: usize,
    stale: usize,
    missing: usize,
}

/// Stops a server until it is ejected, changes all keys, lets it go on, waits until it is back, and reads all
/// keys, while it is away and after.
fn absence<C: Cache>(program: Program, settings: &str) -> (Seen, Seen) {
    let (proxy, servers) = C::program(program, settings);
    let mut conn = proxy.conn();
    let keys: Vec<String> = (0..KEYS).map(|number| format!("key{number}")).collect();
    assert!(keys.iter().all(|key| C::set(&mut conn, key, "old")));
    servers[0].process().stop();
    let deadline = Instant::now() + PATIENCE;
    let ejections = || {
        let text = Conn::tcp(("127.0.0.1", proxy.stats_port)).read_to_end();
        let stats: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let pools = stats.as_object().unwrap().values().filter_map(|pool| pool.as_object());
        pools.filter_map(|pool| pool.get("server_ejects")?.as_u64()).sum::<u64>()
    };
    while ejections() == 0 {
        assert!(Instant::now() < deadline, "it is not ejected");
        keys.iter().take(20).for_each(|key| drop(C::get(&mut conn, key)));
    }
    std::thread::sleep(Duration::from_millis(50));
    let (mut away, mut back) = (Seen::default(), Seen::default());
    let mut now: BTreeMap<&str, Option<&str>> = BTreeMap::new();
    for (number, key) in keys.iter().enumerate() {
        let value = (number % 3 > 0).then_some("new");
        let done = match value {
            Some(value) => C::set(&mut conn, key, value),
            None => C::delete(&mut conn, key),
        };
        if done {
            now.insert(key, value);
            away.acknowledged += 1;
        } else {
            away.failed_while_away += 1;
        }
    }
    look::<C>(&mut conn, &now, &mut away);
    servers[0].process().signal(Signal::CONT);
    // It is back when keys are on it again: a key that is set there is read there.
    std::thread::sleep(Duration::from_millis(1200));
    look::<C>(&mut conn, &now, &mut back);
    (away, back)
}

fn look<C: Cache>(conn: &mut Conn, now: &BTreeMap<&str, Option<&str>>, seen: &mut Seen) {
    for (key, value) in now {
        match C::get(conn, key) {
            Ok(None) => seen.missing += 1,
            Ok(found) if found.as_deref() == *value => seen.fresh += 1,
            Ok(_) => seen.stale += 1,
            Err(_) => seen.failed_while_away += 1,
        }
    }
}

const EJECT: &str = "hash: md5\ntimeout: 100\nserver_retry_timeout: 300\nserver_failure_limit: 1\n";

#[test]
#[ignore = "needs memcached and redis-server: run make it"]
fn with_a_journal_nothing_stale_comes_back() {
    for mode in ["rehash", "error", "miss", "gutter"] {
        let settings = format!("{EJECT}on_server_failure: {mode}\nserver_slow_start: 500ms");
        for (away, back) in [
            absence::<Memcached>(Program::UnderTest, &settings),
            absence::<Redis>(Program::UnderTest, &settings),
        ] {
            println!("{mode}: {away:?} {back:?}");
            assert_eq!((away.stale, back.stale, back.failed_while_away), (0, 0, 0), "{mode}");
            assert!(
                away.acknowledged >= KEYS / 2 && back.fresh > KEYS / 3,
                "{mode} {away:?} {back:?}"
            );
            if ["rehash", "gutter"].contains(&mode) {
                assert_eq!(away.failed_while_away, 0, "{mode}");
                assert_eq!(away.missing, KEYS / 3, "{mode}: only what was deleted");
            }
        }
    }
}

#[test]
#[ignore = "needs memcached and nutcracker: run make it"]
fn as_twemproxy_does_it_stale_values_come_back() {
    let settings = format!("{EJECT}auto_eject_hosts: true");
    for program in [Program::Nutcracker, Program::UnderTest] {
        let (away, back) = absence::<Memcached>(program, &settings);
        println!("{program:?}: {away:?} {back:?}");
        assert!(back.stale > KEYS / 10, "{program:?}: {away:?} {back:?}");
    }
}

/// Requests that create nothing, each answered by an empty server.
const OF_MEMCACHED: &[&str] = &[
    "get k",
    "gets k l",
    "gat 0 k",
    "delete k",
    "incr k 1",
    "decr k 1",
    "touch k 0",
    "replace k 0 0 1\r\nx",
    "append k 0 0 1\r\nx",
    "prepend k 0 0 1\r\nx",
    "cas k 0 0 1 7\r\nx",
    "mg k",
    "mg k v O1 k",
    "mg k k O1 v",
    "mg aw== b k O1 v",
    "mg k v q\r\nmn",
    "ms k 1 MR O12 k\r\nx",
    "ms aw== 1 b MA k O12\r\nx",
    "ms k 1 MP q\r\nx",
    "ms k 1 C7 O1 k\r\nx",
    "md k O3 k",
    "md aw== O3 k b",
    "md k O3",
    "md k q\r\nmn",
    "ma k O3 k",
    "me k",
];

#[test]
#[ignore = "needs memcached: run make it"]
fn with_miss_a_server_that_is_away_answers_as_one_that_is_empty() {
    let settings = format!("{EJECT}on_server_failure: miss");
    let dead = crate::fake::RefusingPort::new();
    let proxy = Proxy::with_pool(Program::UnderTest, &settings, &[dead.entry()]);
    let empty = Memcached::start();
    let (mut through, mut directly) = (proxy.conn(), empty.conn());
    through.ask("get k\r\n", "SERVER_ERROR Connection refused\r\n");
    for request in OF_MEMCACHED {
        let [told, expected] = [&mut through, &mut directly].map(|conn| {
            conn.send(format!("{request}\r\nget last\r\n"));
            String::from_utf8(conn.read_until(b"END\r\n").unwrap()).unwrap()
                + &String::from_utf8(if request.starts_with('g') {
                    conn.read_reply().unwrap()
                } else {
                    Vec::new()
                })
                .unwrap()
        });
        assert_eq!(told, expected, "{request}");
    }
    through.ask("set k 0 0 1\r\nx\r\n", "NOT_STORED\r\n");
    through.ask("add k 0 0 1\r\nx\r\n", "NOT_STORED\r\n");
    through.ask("ms k 1 O1\r\nx\r\n", "NS O1\r\n");
    through.ask("set k 0 0 1 noreply\r\nx\r\nmn\r\n", "MN\r\n");
}

const OF_REDIS: &[&[&str]] = &[
    &["GET", "k"],
    &["MGET", "k", "l"],
    &["STRLEN", "k"],
    &["MGET", "k"],
    &["GETRANGE", "k", "0", "-1"],
    &["GETBIT", "k", "1"],
    &["BITCOUNT", "k"],
    &["EXISTS", "k", "l"],
    &["DEL", "k"],
    &["UNLINK", "k", "l"],
    &["TOUCH", "k"],
    &["TTL", "k"],
    &["PTTL", "k"],
    &["TYPE", "k"],
    &["DUMP", "k"],
    &["HGET", "k", "f"],
    &["HGETALL", "k"],
    &["HKEYS", "k"],
    &["HVALS", "k"],
    &["HLEN", "k"],
    &["HEXISTS", "k", "f"],
    &["LRANGE", "k", "0", "-1"],
    &["LLEN", "k"],
    &["LINDEX", "k", "0"],
    &["SMEMBERS", "k"],
    &["SISMEMBER", "k", "m"],
    &["SCARD", "k"],
    &["ZSCORE", "k", "m"],
    &["ZRANK", "k", "m"],
    &["ZCARD", "k"],
    &["ZRANGE", "k", "0", "-1"],
    &["ZRANGEBYSCORE", "k", "0", "1"],
    &["XLEN", "k"],
    &["XRANGE", "k", "-", "+"],
    &["PFCOUNT", "k"],
    &["HMGET", "k", "f", "g"],
    &["HSTRLEN", "k", "f"],
    &["HSCAN", "k", "0"],
    &["HRANDFIELD", "k"],
    &["HRANDFIELD", "k", "3"],
    &["HRANDFIELD", "k", "3", "WITHVALUES"],
    &["LPOS", "k", "e"],
    &["LPOS", "k", "e", "COUNT", "2"],
    &["SMISMEMBER", "k", "m", "n"],
    &["SRANDMEMBER", "k"],
    &["SRANDMEMBER", "k", "2"],
    &["SSCAN", "k", "0"],
    &["SINTERCARD", "1", "k"],
    &["ZMSCORE", "k", "m", "n"],
    &["ZREVRANK", "k", "m"],
    &["ZRANDMEMBER", "k"],
    &["ZRANDMEMBER", "k", "2"],
    &["ZSCAN", "k", "0"],
    &["ZINTERCARD", "1", "k"],
    &["ZDIFF", "1", "k"],
    &["ZUNION", "1", "k", "WITHSCORES"],
    &["BITPOS", "k", "0"],
    &["BITPOS", "k", "1"],
    &["BITFIELD_RO", "k", "GET", "u8", "0", "GET", "u4", "1"],
    &["GEOPOS", "k", "m", "n"],
    &["GEOHASH", "k", "m"],
    &["GEODIST", "k", "m", "n"],
    &["GEOSEARCH", "k", "FROMLONLAT", "1", "1", "BYRADIUS", "1", "km"],
    &["GEORADIUS_RO", "k", "1", "1", "1", "km"],
    &["SORT_RO", "k"],
    &["OBJECT", "ENCODING", "k"],
    &["OBJECT", "REFCOUNT", "k"],
    &["MEMORY", "USAGE", "k"],
    &["EXPIRETIME", "k"],
];

#[test]
#[ignore = "needs redis-server: run make it"]
fn with_miss_a_redis_that_is_away_answers_reads_as_one_that_is_empty() {
    let settings = format!("redis: true\n{EJECT}on_server_failure: miss");
    let dead = crate::fake::RefusingPort::new();
    let proxy = Proxy::with_pool(Program::UnderTest, &settings, &[dead.entry()]);
    let empty = Redis::start();
    for version in ["2", "3"] {
        let (mut through, mut directly) = (proxy.conn(), empty.conn());
        for conn in [&mut through, &mut directly] {
            conn.call(["HELLO", version]).unwrap();
        }
        drop(through.call(["GET", "k"]).unwrap());
        for request in OF_REDIS {
            let [told, expected] = [&mut through, &mut directly]
                .map(|conn| String::from_utf8(conn.call(request).unwrap()).unwrap());
            assert_eq!(told, expected, "RESP{version} {request:?}");
        }
        for write in [
            &["SET", "k", "v"][..],
            &["MSET", "k", "v", "l", "w"],
            &["INCR", "k"],
            &["LPUSH", "k", "v"],
        ] {
            let told = through.call(write).unwrap();
            assert!(told.starts_with(b"-ERR "), "{write:?}");
        }
    }
}

/// What clients ask for while a server is known to be dead is never sent there.
#[test]
#[ignore = "needs memcached: run make it"]
fn a_dead_server_costs_no_request_once_it_is_ejected() {
    let settings = "hash: md5\ntimeout: 1000\nserver_retry_timeout: 100\nserver_failure_limit: 2\n\
                    on_server_failure: miss";
    let mut servers = Memcached::start_many(2);
    let entries: Vec<_> = servers.iter().map(Memcached::entry).collect();
    let proxy = Proxy::with_pool(Program::UnderTest, settings, &entries);
    let mut conn = proxy.conn();
    let errors = |conn: &mut Conn| {
        (0..KEYS).filter(|number| Memcached::get(conn, &format!("key{number}")).is_err()).count()
    };
    assert_eq!(errors(&mut conn), 0);
    servers[0].process.kill();
    let first = errors(&mut conn);
    assert!(first <= 2, "{first} requests failed");
    // The server is probed ten times meanwhile.
    let by = Instant::now() + Duration::from_secs(1);
    while Instant::now() < by {
        assert_eq!(errors(&mut conn), 0);
    }
}

/// What the server's user may not touch can't be read either, so it keeps no server away. That the server removes
/// nothing does, until the operator says that it may return with what it has.
#[test]
#[ignore = "needs redis-server: run make it"]
fn a_server_returns_once_it_removes_what_it_missed_or_the_operator_wants_it() {
    let redis = Redis::start();
    let mut owner = redis.conn();
    let user = ["ACL", "SETUSER", "app", "on", ">secret", "~app:*", "+@all"];
    assert_eq!(owner.call(user).unwrap(), b"+OK\r\n");
    let settings = format!(
        "redis: true\nredis_user: app\nredis_auth: secret\n{EJECT}on_server_failure: error"
    );
    let mut proxy = Observed::start(
        Program::UnderTest.command(),
        &settings.replace("server_retry_timeout: 300", "server_retry_timeout: 100"),
        &[format!("{} r1", redis.entry())],
        &[],
    );
    let mut conn = proxy.proxy.conn();
    assert_eq!(conn.call(["AUTH", "secret"]).unwrap(), b"+OK\r\n");
    for (change, returns) in [("+del", 1), ("-del", 2)] {
        assert_eq!(conn.call(["SET", "app:a", "1"]).unwrap(), b"+OK\r\n");
        tell(&proxy, "eject");
        // The order is given when the page is answered; the worker may have served a request before it follows.
        let refused = b"-ERR the server is ejected by the operator\r\n";
        let deadline = Instant::now() + PATIENCE;
        while conn.call(["GET", "app:a"]).unwrap() != refused {
            assert!(Instant::now() < deadline, "it is not ejected");
        }
        for key in ["app:a", "other:a"] {
            let told = conn.call(["SET", key, "2"]).unwrap();
            assert_eq!(String::from_utf8_lossy(&told), String::from_utf8_lossy(refused));
        }
        assert_eq!(owner.call(["ACL", "SETUSER", "app", change]).unwrap(), b"+OK\r\n");
        for number in 0..returns {
            tell(&proxy, "return");
            if number + 1 < returns {
                proxy.wait_for_log("server stays away");
                let page: serde_json::Value =
                    serde_json::from_str(&proxy.page("/servers")).unwrap();
                let pool = page["pools"].as_object().unwrap().values().next().unwrap();
                assert_eq!(pool[0]["away"]["reason"], "unremoved", "{page}");
            }
        }
        let deadline = Instant::now() + PATIENCE;
        while !conn.call(["GET", "app:a"]).unwrap().starts_with(b"$") {
            assert!(Instant::now() < deadline, "it is not back");
        }
        let value = conn.call(["GET", "app:a"]).unwrap();
        // With `-del` the operator has chosen what is old.
        let expected: &[u8] = if returns == 1 { b"$-1\r\n" } else { b"$1\r\n1\r\n" };
        assert_eq!(value, expected);
    }
}

/// Has the server of a pool ejected, or lets it return.
fn tell(proxy: &Observed, what: &str) {
    let request =
        format!("POST /servers/r1/{what} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    let page = http::ask(proxy.admin, &request);
    assert_eq!(page.status, 200, "{}", page.body);
}
