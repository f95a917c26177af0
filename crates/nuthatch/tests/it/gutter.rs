//! The gutter in front of real servers: what stays there and for how long, and how its servers come and go.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::conn::{Conn, PATIENCE};
use crate::fake::RefusingPort;
use crate::harness::{Memcached, Program, Redis, free_port, pool};
use crate::http;
use crate::observed::Observed;
use crate::upgrade::Site;

const SETTINGS: &str = "hash: md5\ntimeout: 1000\nserver_failure_limit: 1\nserver_retry_timeout: 60000\n\
                        on_server_failure: gutter\ngutter_ttl: 60s";

/// A proxy whose only server is dead, so that the gutter has all keys.
fn proxy(settings: &str, gutter: &[String]) -> (Observed, RefusingPort) {
    let dead = RefusingPort::new();
    let settings = format!("{settings}\n{SETTINGS}\ngutter_servers: [{}]", gutter.join(", "));
    let proxy = Observed::start(Program::UnderTest.command(), &settings, &[dead.entry()], &[]);
    (proxy, dead)
}

/// Each request that stores, or says how long something stays, and how long its item stays then: at most 60
/// seconds, or as long as the client wants if that is less. None if the item is not there. `K` stands for the key,
/// `NOW+` for a time of the wall clock, `ITS` for the item's cas id, and what is before `;` comes first.
const OF_MEMCACHED: &[(&str, Option<u64>)] = &[
    ("set K 0 0 1\r\n1", Some(60)),
    ("set K 0 7 1\r\n1", Some(7)),
    ("set K 0 60 1\r\n1", Some(60)),
    ("set K 0 61 1\r\n1", Some(60)),
    ("set K 0 2592000 1\r\n1", Some(60)),
    ("set K 0 -1 1\r\n1", None),
    ("set K 0 2592001 1\r\n1", None),
    ("set K 0 NOW+7 1\r\n1", Some(7)),
    ("set K 0 NOW+5000 1\r\n1", Some(60)),
    ("set  K  0 4294967296 1\r\n1", Some(60)),
    ("set K 0 0 1 noreply\r\n1\r\nmn", Some(60)),
    ("add K 0 0 1\r\n1", Some(60)),
    ("set K 0 5 1\r\n1;replace K 0 0 1\r\n1", Some(60)),
    ("set K 0 5 1\r\n1;append K 0 0 1\r\n1", Some(5)),
    ("set K 0 5 1\r\n1;prepend K 0 0 1\r\n1", Some(5)),
    ("set K 0 5 1\r\n1;cas K 0 0 1 ITS\r\n1", Some(60)),
    ("set K 0 5 1\r\n1;ms K 1 CITS\r\n1", Some(60)),
    ("set K 0 5 1\r\n1;incr K 1", Some(5)),
    ("set K 0 5 1\r\n1;decr K 1", Some(5)),
    ("set K 0 5 1\r\n1;touch K 0", Some(60)),
    ("set K 0 5 1\r\n1;touch K NOW+9999", Some(60)),
    ("set K 0 5 1\r\n1;gat 0 K", Some(60)),
    ("set K 0 5 1\r\n1;gats 3000 K", Some(60)),
    ("set K 0 5 1\r\n1;gat 0 K other", Some(60)),
    ("set K 0 5 1\r\n1;gats 0 other K", Some(60)),
    ("ms K 1\r\n1", Some(60)),
    ("ms K 1 T0\r\n1", Some(60)),
    ("ms K 1 T9\r\n1", Some(9)),
    ("ms K 1 T-1\r\n1", None),
    ("ms K 1 TNOW+5000\r\n1", Some(60)),
    ("ms K 1 F7 q\r\n1\r\nmn", Some(60)),
    ("ms K 1 ME\r\n1", Some(60)),
    ("ms K 1 T5\r\n1;ms K 1 MR\r\n1", Some(60)),
    ("ms K 1 T5\r\n1;ms K 1 MP\r\n1", Some(5)),
    ("mg K N0", Some(60)),
    ("ms K 1 T5\r\n1;mg K T0 v", Some(60)),
    ("ms K 1 T5\r\n1;mg K v", Some(5)),
    ("ma K N0 J5", Some(60)),
    ("ma K N9", Some(9)),
    ("ms K 1 T5\r\n1;ma K T0", Some(60)),
    ("ms K 1 T5\r\n1;md K I T900", Some(60)),
];

#[test]
#[ignore = "needs memcached: run make it"]
fn no_item_of_memcached_stays_longer_in_the_gutter_than_it_may() {
    let gutter = Memcached::start();
    let (proxy, _dead) = proxy("", &[gutter.entry()]);
    let (mut through, mut directly) = (proxy.proxy.conn(), gutter.conn());
    through.ask("get k\r\n", "SERVER_ERROR Connection refused\r\n");
    let large = format!("set K 0 0 700000\r\n{}", "x".repeat(700_000));
    let all = OF_MEMCACHED.iter().copied().chain([(large.as_str(), Some(60))]);
    for (number, (requests, stays)) in all.enumerate() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let begun = Instant::now();
        for request in requests.split(';') {
            let mut request = request.replace('K', &format!("key{number}"));
            if request.contains("ITS") {
                directly.send(format!("mg key{number} c\r\n"));
                let line = String::from_utf8(directly.read_line().unwrap()).unwrap();
                request = request.replace("ITS", line.trim_end().strip_prefix("HD c").unwrap());
            }
            if let Some((before, after)) = request.split_once("NOW+") {
                let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
                let at = now + after[..end].parse::<u64>().unwrap();
                request = format!("{before}{at}{}", &after[end..]);
            }
            through.send(format!("{request}\r\nmn\r\n"));
            let told = through.read_until(b"MN\r\n").unwrap();
            let told = String::from_utf8_lossy(&told);
            // What wants no reply ends with an `mn` of its own.
            if request.ends_with("mn") {
                through.read_until(b"MN\r\n").unwrap();
            }
            assert!(!told.contains("ERROR") && !told.contains("NOT_"), "{request}: {told}");
        }
        directly.send(format!("mg key{number} t\r\n"));
        let line = String::from_utf8(directly.read_line().unwrap()).unwrap();
        // A second of memcached's clock may be over at any time, and another one with each that passed.
        let passed = begun.elapsed().as_secs() + 2;
        // Flags of a stale item, or of one that is to be filled, follow.
        let word = line.trim_end().split(' ').nth(1);
        let time = word.map(|word| word.strip_prefix('t').unwrap().parse::<i64>().unwrap());
        let expected = stays.map(|most| i64::try_from(most).unwrap());
        let fits = match (time, expected) {
            (Some(time), Some(most)) => {
                time <= most && time >= most - i64::try_from(passed).unwrap()
            }
            (None, None) => true,
            _ => false,
        };
        let shown = &requests[..requests.len().min(60)];
        assert!(fits, "{shown:?} stays for {time:?} s, not {stays:?}: {line}");
    }
}

/// Likewise, with the time that the key stays in milliseconds.
const OF_REDIS: &[(&[&str], Option<u64>)] = &[
    (&["SET K v"], Some(60_000)),
    (&["SET K v EX 7"], Some(7_000)),
    (&["SET K v EX 7000"], Some(60_000)),
    (&["SET K v PX 300000"], Some(60_000)),
    (&["SET K v EXAT 99999999999"], Some(60_000)),
    (&["SET K v EX 7", "SET K w KEEPTTL"], Some(7_000)),
    (&["SET K v EX 7", "SET K w"], Some(60_000)),
    (&["SET K v NX GET"], Some(60_000)),
    (&["SETEX K 7000 v"], Some(60_000)),
    (&["SETEX K 7 v"], Some(7_000)),
    (&["PSETEX K 7000000 v"], Some(60_000)),
    (&["SETNX K v"], Some(60_000)),
    (&["GETSET K v"], Some(60_000)),
    (&["SETRANGE K 1 v"], Some(60_000)),
    (&["SETBIT K 1 1"], Some(60_000)),
    (&["BITFIELD K SET u8 0 1"], Some(60_000)),
    (&["APPEND K v"], Some(60_000)),
    (&["SET K 1 EX 7", "APPEND K 1"], Some(7_000)),
    (&["INCR K"], Some(60_000)),
    (&["DECRBY K 3"], Some(60_000)),
    (&["INCRBYFLOAT K 1"], Some(60_000)),
    (&["SET K v EX 7", "GETEX K PERSIST"], Some(60_000)),
    (&["SET K v EX 7", "GETEX K EX 9000"], Some(60_000)),
    (&["SET K v EX 7", "GETEX K"], Some(7_000)),
    (&["SET K v EX 7", "PERSIST K"], Some(60_000)),
    (&["SET K v EX 7", "EXPIRE K 9000"], Some(60_000)),
    (&["SET K v EX 7", "PEXPIREAT K 99999999999999"], Some(60_000)),
    (&["SET K v", "DEL K"], None),
    (&["SET K v", "EXPIRE K -1"], None),
    (&["SET K v", "GETDEL K"], None),
    (&["MSET K v otherK w"], Some(60_000)),
    (&["MSETNX K v fourthK w"], Some(60_000)),
    (&["SET fromK v EX 900", "RENAME fromK K"], Some(60_000)),
    (&["SET fromK v", "COPY fromK K"], Some(60_000)),
    (&["HSET K f v"], Some(60_000)),
    (&["HSETNX K f v"], Some(60_000)),
    (&["HINCRBY K f 1"], Some(60_000)),
    (&["LPUSH K v"], Some(60_000)),
    (&["RPUSH fromK v", "LMOVE fromK K LEFT LEFT"], Some(60_000)),
    (&["SADD K v"], Some(60_000)),
    (&["SADD fromK v", "SUNIONSTORE K fromK"], Some(60_000)),
    (&["SADD fromK v", "SMOVE fromK K v"], Some(60_000)),
    (&["RPUSH fromK 1", "SORT fromK STORE K"], Some(60_000)),
    (&["ZADD K 1 v"], Some(60_000)),
    (&["ZADD fromK 1 v", "ZUNIONSTORE K 1 fromK"], Some(60_000)),
    (&["ZADD fromK 1 v", "ZRANGESTORE K fromK 0 -1"], Some(60_000)),
    (&["GEOADD K 1 1 v"], Some(60_000)),
    (&["XADD K * f v"], Some(60_000)),
    (&["XGROUP CREATE K g $ MKSTREAM"], Some(60_000)),
    (&["PFADD K v"], Some(60_000)),
    (&["SET fromK v", "BITOP NOT K fromK"], Some(60_000)),
    (&["EVAL return(redis.call('set',KEYS[1],'v')) 1 K"], Some(60_000)),
    (&["EVAL return(redis.call('set',KEYS[2],'v')) 2 fromK K"], Some(60_000)),
];

#[test]
#[ignore = "needs redis-server: run make it"]
fn no_value_of_redis_stays_longer_in_the_gutter_than_it_may() {
    let gutter = Redis::start();
    let (proxy, _dead) = proxy("redis: true", &[gutter.entry()]);
    for version in ["2", "3"] {
        let (mut through, mut directly) = (proxy.proxy.conn(), gutter.conn());
        through.call(["HELLO", version]).unwrap();
        through.call(["GET", "k"]).unwrap();
        for (number, (requests, stays)) in OF_REDIS.iter().enumerate() {
            let begun = Instant::now();
            let key = format!("{version}key{number}");
            for request in *requests {
                // Only the keys have this letter alone or at their end.
                let words: Vec<String> = request
                    .split(' ')
                    .map(|word| match word.strip_suffix('K') {
                        Some("") => key.clone(),
                        Some(other) if other.chars().all(|c| c.is_ascii_lowercase()) => {
                            format!("{other}{key}")
                        }
                        _ => word.to_owned(),
                    })
                    .collect();
                let told = through.call(&words).unwrap();
                assert!(!told.starts_with(b"-"), "{words:?}: {}", told.escape_ascii());
            }
            let ttl = |conn: &mut Conn, key: &str| {
                let told = String::from_utf8(conn.call(["PTTL", key]).unwrap()).unwrap();
                told.trim_end().strip_prefix(':').unwrap().parse::<i64>().unwrap()
            };
            // The reply of the request comes before that of its cap.
            through.call(["GET", "last"]).unwrap();
            let time = ttl(&mut directly, &key);
            let passed = i64::try_from(begun.elapsed().as_millis()).unwrap() + 2;
            match stays.map(|most| i64::try_from(most).unwrap()) {
                Some(most) => assert!(
                    (most - passed..=most).contains(&time),
                    "{requests:?} stays for {time} ms, not {most}"
                ),
                None => assert_eq!(time, -2, "{requests:?}"),
            }
            for other in ["from", "other", "fourth"] {
                let time = ttl(&mut directly, &format!("{other}{key}"));
                assert!(time == -2 || (0..=60_000).contains(&time), "{requests:?}: {other} {time}");
            }
        }
    }
    let mut directly = gutter.conn();
    let info = String::from_utf8(directly.call(["INFO", "keyspace"]).unwrap()).unwrap();
    let count = |name: &str| {
        let (_, rest) = info.split_once(name).unwrap();
        rest.split([',', '\r']).next().unwrap().parse::<u64>().unwrap()
    };
    assert_eq!(count("keys="), count("expires="), "{info}");
}

/// A value that nobody bounds is removed, and the operator is told.
#[test]
#[ignore = "needs redis-server: run make it"]
fn a_gutter_that_refuses_to_bound_keeps_no_values() {
    let gutter = Redis::start();
    let mut owner = gutter.conn();
    let user = ["ACL", "SETUSER", "app", "on", ">secret", "~*", "+@all", "-pexpire", "-eval"];
    assert_eq!(owner.call(user).unwrap(), b"+OK\r\n");
    let settings = "redis: true\nredis_user: app\nredis_auth: secret";
    let (mut proxy, _dead) = proxy(settings, &[gutter.entry()]);
    let mut through = proxy.proxy.conn();
    through.call(["AUTH", "secret"]).unwrap();
    through.call(["GET", "k"]).unwrap();
    for number in 0..3 {
        let key = format!("key{number}");
        assert_eq!(through.call(["SET", &key, "v"]).unwrap(), b"+OK\r\n");
        let deadline = Instant::now() + PATIENCE;
        while owner.call(["EXISTS", &key]).unwrap() != b":0\r\n" {
            assert!(Instant::now() < deadline, "it is not removed");
        }
    }
    proxy.wait_for_log("gutter server keeps no values");
    assert_eq!(proxy.log("gutter server keeps no values").len(), 1);
    let name = proxy.servers().pop().unwrap();
    let pool = format!("pool{}", proxy.proxy.port);
    let labels = format!("{{pool=\"{pool}\",server=\"{name}\"}}");
    let refused = proxy.metric(&format!("nuthatch_server_caps_refused_total{labels}"));
    assert_eq!(refused, Some(3.0));
}

/// What needs a server of its own fails; what is about all keys does not see those of the gutter.
#[test]
#[ignore = "needs redis-server: run make it"]
fn transactions_and_scripts_without_keys_get_an_error_and_no_key_of_the_gutter_is_listed() {
    let gutter = Redis::start();
    let (proxy, _dead) = proxy("redis: true\nallow_keys: true", &[gutter.entry()]);
    let mut through = proxy.proxy.conn();
    through.call(["GET", "k"]).unwrap();
    assert_eq!(through.call(["SET", "k", "v"]).unwrap(), b"+OK\r\n");
    for request in [
        &["EVAL", "return redis.call('set','x','y')", "0"][..],
        &["KEYS", "*"],
        &["DBSIZE"],
        &["SCAN", "0"],
        &["BLPOP", "l", "0"],
        &["WATCH", "k"],
        &["SUBSCRIBE", "c"],
    ] {
        let told = through.call(request).unwrap();
        assert!(told.starts_with(b"-"), "{request:?}: {}", told.escape_ascii());
    }
    assert_eq!(gutter.conn().call(["EXISTS", "x"]).unwrap(), b":0\r\n");
}

#[test]
#[ignore = "needs memcached: run make it"]
fn pages_metrics_and_routes_say_which_servers_are_of_the_gutter() {
    let gutter = Memcached::start();
    let (proxy, _dead) = proxy("", &[format!("{} g0", gutter.entry())]);
    proxy.proxy.conn().ask("get k\r\n", "SERVER_ERROR Connection refused\r\n");
    proxy.proxy.conn().ask("set k 0 0 1\r\n1\r\n", "STORED\r\n");
    let page: serde_json::Value = serde_json::from_str(&proxy.page("/servers")).unwrap();
    let servers = page["pools"].as_object().unwrap().values().next().unwrap();
    let told = |number: usize| {
        let server: &serde_json::Value = &servers[number];
        (server["gutter"].clone(), server["ring_share"].clone(), server["state"].clone())
    };
    assert_eq!(told(0), (false.into(), 1.0.into(), "ejected".into()), "{page}");
    assert_eq!(told(1), (true.into(), 1.0.into(), "up".into()), "{page}");
    let pool = format!("pool{}", proxy.proxy.port);
    let labels = format!("{{pool=\"{pool}\",server=\"g0\"}}");
    assert_eq!(proxy.metric(&format!("nuthatch_server_gutter{labels}")), Some(1.0));
    assert_eq!(proxy.metric(&format!("nuthatch_server_requests_total{labels}")), Some(2.0));
    let route: serde_json::Value = serde_json::from_str(&proxy.page("/route?key=k")).unwrap();
    assert_eq!(route["gutter"], "g0", "{route}");
    let mut command = Program::UnderTest.command();
    let config = proxy.proxy.dir.join("nutcracker.yml");
    let output = command.arg("route").arg("-c").arg(config).arg("k").output().unwrap();
    let line = String::from_utf8(output.stdout).unwrap();
    let words: Vec<&str> = line.trim_end().split('\t').collect();
    assert_eq!((words.len(), words[0], words[3]), (4, "k", "g0"), "{line}");
}

#[test]
fn the_log_says_which_server_is_one_of_the_gutter() {
    let gutter = RefusingPort::new();
    let (mut proxy, _dead) = proxy("", &[format!("{} g0", gutter.entry())]);
    let mut conn = proxy.proxy.conn();
    for _ in 0..2 {
        conn.ask("get k\r\n", "SERVER_ERROR Connection refused\r\n");
    }
    conn.ask("get k\r\n", "SERVER_ERROR the server is away, and so are all gutter servers\r\n");
    let pool = proxy.proxy.port;
    let words = format!("server ejected\",\"pool\":\"pool{pool}\",\"server\":\"g0\"");
    proxy.wait_for_log(&words);
    let lines = proxy.log("server ejected");
    let of_gutter: Vec<bool> = lines.iter().map(|line| line.contains("gutter")).collect();
    assert_eq!(of_gutter, [false, true], "{lines:?}");
}

/// A reload adds and removes gutter servers while a server is away; nothing old is read.
#[test]
#[ignore = "needs memcached: run make it"]
fn a_reload_changes_the_gutter() {
    let (gutter, dead) = (Memcached::start_many(2), RefusingPort::new());
    let (port, admin) = (free_port(), free_port());
    let config = |names: &[usize]| {
        let names = names.iter().map(|&it| format!("{} g{it}", gutter[it].entry()));
        let list = names.collect::<Vec<_>>().join(", ");
        pool(port, &format!("{SETTINGS}\ngutter_servers: [{list}]"), &[dead.entry()])
    };
    let site = Site::new(port, &config(&[0]));
    let flag = format!("--admin=127.0.0.1:{admin}");
    let _process = site.start(&["--workers=2", "--no-watch", "--output=log", &flag]);
    let mut conn = Conn::tcp(("127.0.0.1", port));
    conn.ask("get k\r\n", "SERVER_ERROR Connection refused\r\n");
    let keys: Vec<_> = (0..20).map(|number| format!("key{number}")).collect();
    let put = |conn: &mut Conn, value: usize| {
        for key in &keys {
            conn.ask(format!("set {key} 0 0 1\r\n{value}\r\n"), "STORED\r\n");
        }
    };
    put(&mut conn, 1);
    for (value, now) in [(2, &[0, 1][..]), (3, &[1]), (4, &[0])] {
        site.configure(&config(now));
        let request = "POST /reload HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
        let page = http::ask(admin, request);
        assert!(page.status == 200 && page.body.contains("gutter server g"), "{page:?}");
        for key in &keys {
            conn.send(format!("get {key}\r\n"));
            let told = String::from_utf8(conn.read_reply().unwrap()).unwrap();
            let is_right = told == "END\r\n" || told.contains(&format!("\r\n{}\r\n", value - 1));
            assert!(is_right, "{value} {key}: {told}");
        }
        put(&mut conn, value);
        for (number, server) in gutter.iter().enumerate().filter(|(it, _)| now.contains(it)) {
            let held = keys.iter().filter(|key| {
                let mut conn = server.conn();
                conn.send(format!("get {key}\r\n"));
                conn.read_reply().unwrap().ends_with(format!("\r\n{value}\r\nEND\r\n").as_bytes())
            });
            assert!(held.count() > 0, "server {number} has none of its keys");
        }
    }
}
