//! Redis servers come and go, and values of all types move along.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nuthatch_harness::redis::command;

use crate::conn::{Conn, PATIENCE};
use crate::harness::{Redis, free_port, named, pool};
use crate::reload::Changing;

const KEYS: usize = 500;

/// With these, a change takes 0.6 s to settle, 0.6 s more until reads copy, and 2 s in which they do.
const SETTINGS: &str =
    "redis: true\nhash: murmur\nhash_tag: \"{}\"\ntimeout: 500\nmigrate: {window: 2s, settle: 2s}";

fn told(client: &mut Conn, words: &[&str]) -> String {
    String::from_utf8(client.call(words).unwrap()).unwrap()
}

#[track_caller]
fn ask(client: &mut Conn, line: &str, expected: &str) {
    let words: Vec<&str> = line.split(' ').collect();
    let reply = told(client, &words);
    assert_eq!(reply, expected, "{line}");
}

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

/// How many of all keys have their value, and some of the time to live that they got.
fn hits(client: &mut Conn) -> usize {
    let mut requests = Vec::new();
    for number in 0..KEYS {
        let key = format!("cold:{number}");
        requests.extend(command(["GET", &key]));
        requests.extend(command(["TTL", &key]));
    }
    client.send(requests);
    let mut next = || text_of(&client.read_resp().unwrap());
    let mut hits = 0;
    for number in 0..KEYS {
        let (key, reply, left) = (format!("cold:{number}"), next(), next());
        if reply == "$-1\r\n" {
            continue;
        }
        assert_eq!(reply, bulk(&format!("{number:05}")));
        let left: i64 = left[1..].trim_end().parse().unwrap();
        assert!((900..=1000).contains(&left), "{key} {left}");
        hits += 1;
    }
    hits
}

fn fill(client: &mut Conn) {
    for number in 0..KEYS {
        let (key, value) = (format!("cold:{number}"), format!("{number:05}"));
        assert_eq!(told(client, &["SET", &key, &value, "EX", "1000"]), "+OK\r\n");
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

fn moves(proxy: &Changing, port: u16, result: &str) -> f64 {
    let labels = format!("{{pool=\"pool{port}\",result=\"{result}\"}}");
    proxy.metric(&format!("nuthatch_migrate_moves_total{labels}"))
}

/// Clients that change values of all types, each its own ones, and check every answer.
struct Load<'a> {
    name: usize,
    round: usize,
    clients: &'a mut [Conn],
}

impl Load<'_> {
    /// Asks over one connection for what another one wrote.
    fn turn(&mut self) {
        self.round += 1;
        let round = self.round;
        for number in 0..6 {
            let key = |kind: &str| format!("{kind}:{}:{number}", self.name);
            let at = (round + number) % self.clients.len();
            let (writer, reader) = (at, (at + 1) % self.clients.len());
            for (kind, request, reply) in [
                ("n", "INCR KEY".to_owned(), format!(":{round}\r\n")),
                ("l", format!("RPUSH KEY {round}"), format!(":{round}\r\n")),
                ("h", "HINCRBY KEY field 1".to_owned(), format!(":{round}\r\n")),
                ("s", format!("SADD KEY {round}"), ":1\r\n".to_owned()),
                ("z", "ZINCRBY KEY 1 member".to_owned(), bulk(&round.to_string())),
                ("x", format!("XADD KEY {round}-1 field value"), bulk(&format!("{round}-1"))),
                ("t", format!("SET KEY {round} EX 1000"), "+OK\r\n".to_owned()),
                ("g", format!("SET KEY {round}"), "+OK\r\n".to_owned()),
                ("p", format!("RPUSH {{KEY}}b {round}"), ":1\r\n".to_owned()),
            ] {
                let request = request.replace("KEY", &key(kind));
                ask(&mut self.clients[writer], &request, &reply);
            }
            let old =
                if round == 1 { "$-1\r\n".to_owned() } else { bulk(&(round - 1).to_string()) };
            for (kind, request, reply) in [
                ("n", "GET KEY", bulk(&round.to_string())),
                ("l", "LLEN KEY", format!(":{round}\r\n")),
                ("h", "HGET KEY field", bulk(&round.to_string())),
                ("s", "SCARD KEY", format!(":{round}\r\n")),
                ("z", "ZSCORE KEY member", bulk(&round.to_string())),
                ("x", "XLEN KEY", format!(":{round}\r\n")),
                ("t", "GET KEY", bulk(&round.to_string())),
                // A value comes into the place of another one.
                ("p", "LMOVE {KEY}b {KEY}a LEFT RIGHT", bulk(&round.to_string())),
                ("p", "LLEN {KEY}a", format!(":{round}\r\n")),
                ("p", "EXISTS {KEY}b", ":0\r\n".to_owned()),
                ("q", "MSET KEY:1 ROUND KEY:2 ROUND", "+OK\r\n".to_owned()),
                ("q", "MGET KEY:1 KEY:2", format!("*2\r\n{0}{0}", bulk(&round.to_string()))),
                ("u", "GETSET KEY ROUND", old),
                ("o", "SET KEY ROUND", "+OK\r\n".to_owned()),
                ("o", "DEL KEY", ":1\r\n".to_owned()),
                ("o", "EXISTS KEY", ":0\r\n".to_owned()),
            ] {
                let request =
                    request.replace("KEY", &key(kind)).replace("ROUND", &round.to_string());
                let client = if request.starts_with("GETSET") { writer } else { reader };
                ask(&mut self.clients[client], &request, &reply);
            }
            // Writes may have waited for the other worker since.
            let left = told(&mut self.clients[reader], &["TTL", &key("t")]);
            assert!([":1000\r\n", ":999\r\n"].contains(&&*left), "{left}");
        }
    }
}

/// Ends the load, also if a check fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
#[ignore = "needs redis-server: run make it"]
fn under_load_four_servers_become_five_and_four_again_and_every_write_is_kept() {
    let servers = Redis::start_many(5);
    let all = named(&servers);
    let port = free_port();
    let settings = SETTINGS.replace("window: 2s", "window: 4s");
    let with = |count: usize| pool(port, &settings, &all[..count]);
    let proxy = Changing::start(&with(4), port, &["--no-watch", "--workers=2"]);
    let mut client = proxy.proxy.conn();
    fill(&mut client);
    let is_over = AtomicBool::new(false);
    let rounds = thread::scope(|scope| {
        let ends = Ends(&is_over);
        let loads: Vec<_> = (0..3)
            .map(|name| {
                let (proxy, is_over) = (&proxy, &is_over);
                scope.spawn(move || {
                    let mut clients: Vec<Conn> = (0..3).map(|_| proxy.proxy.conn()).collect();
                    let mut load = Load { name, round: 0, clients: &mut clients };
                    while !is_over.load(Ordering::Relaxed) {
                        load.turn();
                    }
                    load.round
                })
            })
            .collect();
        let has_failed = || loads.iter().any(thread::ScopedJoinHandle::is_finished);
        for count in [5, 4] {
            proxy.reload(&with(count), "changed");
            let mut rounds = 0;
            while proxy.metric(&format!("nuthatch_migrate_phase{{pool=\"pool{port}\"}}")) < 3.0 {
                assert_eq!(hits(&mut client), KEYS, "after {rounds} rounds with {count} servers");
                rounds += 1;
                assert!(!has_failed(), "a client was answered wrongly");
            }
            assert!(rounds > 1, "no time to move keys");
            await_phase(&proxy, port, 0.0);
            assert_eq!(hits(&mut client), KEYS, "afterwards");
        }
        drop(ends);
        loads.into_iter().map(|load| load.join().unwrap()).collect::<Vec<usize>>()
    });
    assert!(rounds.iter().all(|rounds| *rounds > 10), "{rounds:?}");
    assert!(moves(&proxy, port, "copied") > KEYS as f64 / 5.0);
    assert_eq!(moves(&proxy, port, "failed"), 0.0);
    // What has moved is nowhere else, so that nothing old is found when keys come back.
    let sizes: Vec<String> =
        servers.iter().map(|server| text_of(&server.call(&["DBSIZE"]))).collect();
    assert_eq!(sizes[4], ":0\r\n", "{}", text_of(&servers[4].call(&["KEYS", "*"])));
}

fn text_of(reply: &[u8]) -> String {
    String::from_utf8(reply.to_vec()).unwrap()
}

#[test]
#[ignore = "needs redis-server: run make it"]
fn without_migrate_a_fifth_server_costs_a_fifth_of_the_hits() {
    let servers = Redis::start_many(5);
    let all = named(&servers);
    let port = free_port();
    let with = |count: usize| pool(port, "redis: true\nhash: murmur\ntimeout: 500", &all[..count]);
    let proxy = Changing::start(&with(4), port, &["--no-watch", "--workers=2"]);
    let mut client = proxy.proxy.conn();
    fill(&mut client);
    assert_eq!(hits(&mut client), KEYS);
    proxy.reload(&with(5), "changed");
    let left = hits(&mut client);
    assert!((KEYS * 7 / 10..KEYS * 9 / 10).contains(&left), "{left} of {KEYS}");
}

/// The last value of each key that was acknowledged. A key may be lost, but it may not be older.
#[derive(Default)]
struct Last(BTreeMap<String, Option<usize>>);

impl Last {
    fn write(&mut self, client: &mut Conn, key: &str, number: usize, is_counter: bool) {
        let reply = match is_counter {
            true => told(client, &["INCR", key]),
            false => told(client, &["SET", key, &number.to_string()]),
        };
        let last = self.0.entry(key.to_owned()).or_default();
        if !is_counter {
            assert_eq!(reply, "+OK\r\n");
            *last = Some(number);
            return;
        }
        let counted: usize = reply[1..].trim_end().parse().unwrap();
        let next = last.unwrap_or_default() + 1;
        assert!(counted == next || counted == 1, "{key} {counted} behind {last:?}");
        *last = Some(counted);
    }

    fn read(&mut self, client: &mut Conn, key: &str) -> bool {
        let reply = told(client, &["GET", key]);
        let last = self.0.entry(key.to_owned()).or_default();
        if reply == "$-1\r\n" {
            return false;
        }
        let number = last.map(|number| bulk(&number.to_string()));
        assert_eq!(Some(reply), number, "{key} is stale");
        true
    }
}

#[test]
#[ignore = "needs redis-server: run make it"]
fn two_proxies_that_change_one_after_the_other_answer_nothing_stale() {
    let servers = Redis::start_many(5);
    let all = named(&servers);
    let ports = [free_port(), free_port()];
    let with = |port: u16, count: usize| pool(port, SETTINGS, &all[..count]);
    let proxies =
        ports.map(|port| Changing::start(&with(port, 4), port, &["--no-watch", "--workers=2"]));
    let mut clients: Vec<Conn> =
        proxies.iter().flat_map(|proxy| [proxy.proxy.conn(), proxy.proxy.conn()]).collect();
    let begun = Instant::now();
    let (mut last, mut round, mut changed, mut lost) = (Last::default(), 0_usize, 0, 0);
    while begun.elapsed() < Duration::from_secs(9) {
        if changed < 2 && begun.elapsed() > Duration::from_millis(300 + 1000 * changed as u64) {
            proxies[changed].reload(&with(ports[changed], 5), "changed");
            changed += 1;
        }
        round += 1;
        for number in 0..60_usize {
            let key = format!("k{number}");
            let at = (round * 7 + number) % clients.len();
            let other = (at + 1 + round % 3) % clients.len();
            last.write(&mut clients[at], &key, round, number % 2 == 0);
            lost += usize::from(!last.read(&mut clients[other], &key));
        }
    }
    assert!(round > 20 && changed == 2, "{round} rounds");
    // Only where one proxy still uses the old server and the other one does not.
    assert!(lost < 60 * round / 4, "{lost} lost in {round} rounds");
}

#[test]
#[ignore = "needs redis-server: run make it"]
fn a_server_that_refuses_a_step_costs_nothing_but_the_move() {
    let mut servers = Redis::start_many(1);
    servers.push(Redis::start_with(free_port(), &["--rename-command", "EVAL", ""]));
    let all = named(&servers);
    let port = free_port();
    let settings = SETTINGS.replace("window: 2s", "window: 60s");
    let proxy = Changing::start(&pool(port, &settings, &all[..1]), port, &["--no-watch"]);
    let mut client = proxy.proxy.conn();
    fill(&mut client);
    proxy.reload(&pool(port, &settings, &all), "changed");
    await_phase(&proxy, port, 2.0);
    let moved: Vec<usize> = (0..KEYS)
        .filter(|number| {
            let reply = told(&mut client, &["APPEND", &format!("cold:{number}"), "x"]);
            if reply.starts_with('-') {
                assert!(reply.contains("unknown command 'EVAL'"), "{reply}");
            } else {
                assert_eq!(reply, ":6\r\n");
                ask(&mut client, &format!("SET cold:{number} {number:05} EX 1000"), "+OK\r\n");
            }
            reply.starts_with('-')
        })
        .collect();
    assert!(moved.len() > KEYS / 4, "{}", moved.len());
    assert_eq!(hits(&mut client), KEYS, "reads run at the old server");
    thread::sleep(Duration::from_millis(2700));
    assert_eq!(hits(&mut client), KEYS, "reads that would copy run there, too");
    assert!(moves(&proxy, port, "failed") > 50.0);
    let key = format!("cold:{}", moved[0]);
    ask(&mut client, &format!("SET {key} new"), "+OK\r\n");
    ask(&mut client, &format!("GET {key}"), "$3\r\nnew\r\n");
    ask(&mut client, &format!("DEL {key}"), ":1\r\n");
    ask(&mut client, &format!("GET {key}"), "$-1\r\n");
}

/// Carries out a transaction that counts to `number`.
fn count_to(client: &mut Conn, number: u64) {
    ask(client, "WATCH counter", "+OK\r\n");
    ask(client, "MULTI", "+OK\r\n");
    ask(client, "INCR counter", "+QUEUED\r\n");
    ask(client, "RPUSH list x", "+QUEUED\r\n");
    ask(client, "LPOP list", "+QUEUED\r\n");
    let reply = told(client, &["EXEC"]);
    assert!(reply.starts_with(&format!("*3\r\n:{number}\r\n")), "{reply}");
}

#[test]
#[ignore = "needs redis-server: run make it"]
fn transactions_and_blocking_commands_run_where_their_keys_are() {
    let servers = Redis::start_many(2);
    let all = named(&servers);
    let port = free_port();
    let proxy = Changing::start(&pool(port, SETTINGS, &all[..1]), port, &["--no-watch"]);
    let mut clients: Vec<Conn> = (0..3).map(|_| proxy.proxy.conn()).collect();
    let [client, early, waiting] = clients.get_disjoint_mut([0, 1, 2]).unwrap();
    ask(client, "RPUSH list a b c d e f", ":6\r\n");
    ask(client, "SET counter 7", "+OK\r\n");
    ask(early, "MULTI", "+OK\r\n");
    ask(early, "INCR counter", "+QUEUED\r\n");
    proxy.reload(&pool(port, SETTINGS, &all[1..]), "changed");
    // While other proxies may not know of the change, at the old server.
    let aborted = told(early, &["EXEC"]);
    assert!(aborted.starts_with("-EXECABORT"), "it began before the change: {aborted}");
    ask(client, "BLPOP list 1", "*2\r\n$4\r\nlist\r\n$1\r\na\r\n");
    ask(client, "BLPOP empty 0.05", "*-1\r\n");
    count_to(client, 8);
    waiting.send(command(["BRPOP", "later", "5"]));
    thread::sleep(Duration::from_millis(50));
    ask(client, "RPUSH later z", ":1\r\n");
    assert_eq!(text_of(&waiting.read_resp().unwrap()), "*2\r\n$5\r\nlater\r\n$1\r\nz\r\n");
    assert_eq!(servers[1].call(&["DBSIZE"]), b":0\r\n");
    ask(early, "MULTI", "+OK\r\n");
    ask(early, "INCR counter", "+QUEUED\r\n");
    waiting.send(command(["BLPOP", "later", "0"]));
    await_phase(&proxy, port, 2.0);
    let ended = text_of(&waiting.read_resp().unwrap());
    assert!(ended.starts_with("-TRYAGAIN "), "nothing comes there any more: {ended}");
    waiting.send(command(["BLPOP", "later", "0"]));
    thread::sleep(Duration::from_millis(50));
    ask(client, "RPUSH later y", ":1\r\n");
    assert_eq!(text_of(&waiting.read_resp().unwrap()), "*2\r\n$5\r\nlater\r\n$1\r\ny\r\n");
    let aborted = told(early, &["EXEC"]);
    assert!(aborted.starts_with("-EXECABORT"), "it began in another phase: {aborted}");
    // From now on at the new one.
    ask(client, "BLPOP list 1", "*2\r\n$4\r\nlist\r\n$1\r\nc\r\n");
    count_to(client, 9);
    assert_eq!(servers[0].call(&["DBSIZE"]), b":0\r\n");
    thread::sleep(Duration::from_millis(2700));
    count_to(client, 10);
    ask(early, "MULTI", "+OK\r\n");
    ask(early, "INCR counter", "+QUEUED\r\n");
    await_phase(&proxy, port, 3.0);
    ask(early, "EXEC", "*1\r\n:11\r\n");
    count_to(client, 12);
    assert_eq!(servers[0].call(&["DBSIZE"]), b":0\r\n");
}

#[test]
#[ignore = "needs redis-server: run make it"]
fn a_client_of_resp3_gets_its_replies_in_resp3_while_keys_move() {
    let servers = Redis::start_many(2);
    let all = named(&servers);
    let port = free_port();
    let proxy = Changing::start(&pool(port, SETTINGS, &all[..1]), port, &["--no-watch"]);
    let mut client = proxy.proxy.conn();
    assert!(told(&mut client, &["HELLO", "3"]).starts_with('%'));
    let fill = |client: &mut Conn, nth: usize| {
        for line in ["HSET hNTH a 1", "ZADD zNTH 1.5 a", "SET sNTH v", "SADD mNTH a"] {
            let line = line.replace("NTH", &nth.to_string());
            client.call(line.split(' ').collect::<Vec<_>>()).unwrap();
        }
    };
    (0..3).for_each(|nth| fill(&mut client, nth));
    let mut check = |nth: usize| {
        for (line, reply) in [
            ("HGETALL hNTH", "%1\r\n$1\r\na\r\n$1\r\n1\r\n"),
            ("ZSCORE zNTH a", ",1.5\r\n"),
            ("SMEMBERS mNTH", "~1\r\n$1\r\na\r\n"),
            ("GET missing", "_\r\n"),
            ("MGET sNTH missing", "*2\r\n$1\r\nv\r\n_\r\n"),
            ("ZINCRBY zNTH 1 a", ",2.5\r\n"),
            ("GETSET gNTH 1", "_\r\n"),
            ("SET sNTH w", "+OK\r\n"),
            ("DEL sNTH missing", ":1\r\n"),
        ] {
            ask(&mut client, &line.replace("NTH", &nth.to_string()), reply);
        }
    };
    proxy.reload(&pool(port, SETTINGS, &all[1..]), "changed");
    check(0);
    await_phase(&proxy, port, 2.0);
    check(1);
    thread::sleep(Duration::from_millis(2700));
    check(2);
}
