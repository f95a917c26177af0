//! What the proxy holds has a bound, however much a client asks and however little it reads.
//!
//! The bounds are on `VmHWM`, the most memory the process ever held, so a peak between two looks
//! counts too.

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::clients::repository;
use crate::conn::Conn;
use crate::fake::FakeServer;
use crate::harness::{Memcached, Program, Proxy, free_port};

const MIB: u64 = 1 << 20;

/// What a client on loopback may wait while others misbehave, for nearly all of its requests.
const PROMPT: Duration = Duration::from_millis(100);

#[test]
#[ignore = "needs memcached: run make it"]
fn a_client_that_does_not_read_costs_little_memory_and_nobody_elses_time() {
    const REPLIES: usize = 1000;
    let server = Memcached::start_with(free_port(), &["-I", "2m", "-m", "256"]);
    let proxy = Proxy::with_pool(Program::UnderTest, "server_connections: 1", &[server.entry()]);
    let replies: Vec<_> = (0..10).map(large_reply).collect();
    for (i, reply) in replies.iter().enumerate() {
        let value = &reply[reply.len() - VALUE_LEN - 7..reply.len() - 5];
        let head = format!("set large{i} 0 0 {VALUE_LEN}\r\n");
        proxy.conn().ask([head.as_bytes(), value].concat(), "STORED\r\n");
    }

    let mut greedy = proxy.conn();
    let requests = (0..REPLIES).map(|i| format!("get large{}\r\n", i % replies.len()));
    greedy.send(requests.collect::<String>());
    assert_prompt(&mut proxy.conn(), "small", 300);
    let peak = most_held(&proxy);
    assert!(peak < 128 * MIB, "held {} MiB for one who does not read", peak / MIB);

    for i in 0..REPLIES {
        let wanted = &replies[i % replies.len()];
        let got = greedy.read_exact(wanted.len()).unwrap();
        assert!(got == *wanted, "reply {i} is not the value of its key");
    }
    greedy.expect_silence(PROMPT);
    let peak = most_held(&proxy);
    assert!(peak < 128 * MIB, "held {} MiB while it was read", peak / MIB);
}

#[test]
#[ignore = "needs memcached: run make it"]
fn a_server_that_does_not_read_costs_little_memory_and_the_others_nothing() {
    const CLIENTS: usize = 64;
    let hanging = FakeServer::start(|_, _| thread::sleep(Duration::from_secs(20)));
    let healthy = Memcached::start();
    // With these names "plum" belongs to the server that hangs and "apple" to the other.
    let servers = [format!("{} good", healthy.entry()), format!("{} bad", hanging.entry())];
    let proxy = Proxy::with_pool(Program::UnderTest, "server_connections: 1", &servers);
    let stuck: Vec<_> = thread::scope(|scope| {
        let offers: Vec<_> =
            (0..CLIENTS).map(|_| scope.spawn(|| offer_large_sets(proxy.port))).collect();
        offers.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_prompt(&mut proxy.conn(), "apple", 300);
    drop(stuck);
    let peak = most_held(&proxy);
    assert!(peak < 256 * MIB, "held {} MiB for a server that does not read", peak / MIB);
}

#[test]
#[ignore = "needs memcached: run make it"]
fn clients_that_ask_for_large_multigets_with_the_default_limits_hold_no_more_than_is_documented() {
    const CLIENTS: usize = 12;
    let large = Memcached::start_with(free_port(), &["-I", "2m", "-m", "256"]);
    let proxy = Proxy::with_pool(Program::UnderTest, "", &[large.entry()]);
    let set = format!("set plum 0 0 {VALUE_LEN}\r\n{}\r\n", "x".repeat(VALUE_LEN));
    proxy.conn().ask(set, "STORED\r\n");
    // Each asks for nearly as much as one may, and twelve for several times what all may.
    let request = format!("get{}\r\n", " plum".repeat(120));
    let greedy: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut conn = proxy.conn();
            conn.send(&request);
            conn
        })
        .collect();
    // Behind all that they asked for.
    proxy.conn().patient_for(Duration::from_secs(60)).ask("touch plum 0\r\n", "TOUCHED\r\n");
    let peak = most_held(&proxy);
    let bound = documented_bound(&defaults(), 1);
    assert!(peak < bound, "held {} MiB of {}", peak / MIB, bound / MIB);
    drop(greedy);
}

#[test]
#[ignore = "needs memcached: run make it"]
fn what_a_thousand_clients_pile_up_behind_a_stuck_reply_has_the_bound_that_is_documented() {
    let pool = StuckPool::start();
    let (stuck, good) = (pool.stuck_key.clone(), pool.good_key.clone());
    let behind = |request: &str| format!("get {stuck}\r\n{}", request.repeat(1023));
    let letters: String = (b'a'..=b'z').map(|letter| format!(" {}", char::from(letter))).collect();
    let multiget = format!("get {stuck}{}\r\n", letters.repeat(78));
    // Little of each, but much of it, and nothing leaves before the stuck reply.
    let kinds = [
        ("unknown commands", 1000, behind("x\r\n")),
        ("stats", 300, behind("stats\r\n")),
        ("half a line", 1000, format!("get {}", "k ".repeat(30_000))),
        ("refused lines", 200, behind(&format!("delete {}\r\n", "x".repeat(300)))),
        ("mn", 200, behind("mn\r\n")),
        ("version", 200, behind("version\r\n")),
        ("verbosity", 200, behind("verbosity 1\r\n")),
        ("misses", 200, behind(&format!("get {good}-\r\n"))),
        ("quiet misses", 200, behind(&format!("mg {good}- q\r\n")) + "mn\r\n"),
        ("quiet deletes", 200, behind(&format!("md {good}- q\r\n")) + "mn\r\n"),
        // These are carried out afterwards, so they are fewer.
        ("quiet misses where it is stuck", 200, format!("mg {stuck} q\r\n").repeat(50) + "mn\r\n"),
        ("noreply sets", 200, behind(&format!("set {good}- 0 0 1 noreply\r\nx\r\n"))),
        (
            "noreply sets where it is stuck",
            200,
            format!("set {stuck} 0 0 1 noreply\r\nx\r\n").repeat(50),
        ),
        ("one-byte keys", 200, multiget.repeat(8)),
        ("replies that nobody reads", 200, format!("get {good}-large\r\n").repeat(1023)),
    ];
    for (name, clients, bytes) in &kinds {
        let held = pool.pile_up(*clients, bytes.as_bytes());
        let text = format!("{} MiB of {} for {name}", held / MIB, pool.bound / MIB);
        eprintln!("{text}");
        assert!(held < pool.bound, "{text}");
    }
    // What is left of it is used again. How much is held at once depends on the moment, so the most of
    // several times counts.
    let most_of_three = || {
        for (_, clients, bytes) in kinds[..3].iter().cycle().take(9) {
            pool.pile_up(*clients, bytes.as_bytes());
        }
        most_held(&pool.proxy)
    };
    let (before, after) = (most_of_three(), most_of_three());
    assert!(after <= before + 8 * MIB, "it grows with each time: {before}, then {after} bytes");
}

/// The settings for a sidecar that the documentation has, in front of three servers of which one is
/// stopped while clients pile up requests.
struct StuckPool {
    proxy: Proxy,
    servers: Vec<Memcached>,
    stuck_key: String,
    good_key: String,
    /// The sum of what the documentation says a process may hold.
    bound: u64,
}

impl StuckPool {
    fn start() -> Self {
        let document = fs::read_to_string(repository().join("docs/operations.md")).unwrap();
        let settings = document.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
        let servers = Memcached::start_many(3);
        let entries: Vec<_> = servers.iter().map(Memcached::entry).collect();
        let all = format!("{settings}\nbacklog: 4096\nhash: md5");
        let proxy = Proxy::with_pool(Program::UnderTest, &all, &entries);
        let idle = proxy.process.memory_bytes("VmRSS");
        let mut keys = (0..).map(|i| format!("key{i}"));
        let mut key_of = |server: &Memcached| {
            keys.find(|key| {
                proxy.conn().ask(format!("set {key} 0 0 1\r\nx\r\n"), "STORED\r\n");
                let mut conn = server.conn();
                conn.send(format!("get {key}\r\n"));
                conn.read_reply().unwrap() != b"END\r\n"
            })
        };
        let [stuck_key, good_key] = [0, 1].map(|server| key_of(&servers[server]).unwrap());
        let large = format!("set {good_key}-large 0 0 50000\r\n{}\r\n", "x".repeat(50_000));
        proxy.conn().ask(large, "STORED\r\n");
        let bound = idle + documented_bound(settings, 3);
        Self { proxy, servers, stuck_key, good_key, bound }
    }

    /// Has clients send `bytes`, as far as they are taken, while the first server hangs. Says how much
    /// the proxy has ever held.
    fn pile_up(&self, clients: usize, bytes: &[u8]) -> u64 {
        self.servers[0].process.stop();
        let clients: Vec<_> = (0..clients)
            .map(|_| TcpStream::connect((Ipv4Addr::LOCALHOST, self.proxy.port)).unwrap())
            .collect();
        let mut rests = vec![bytes; clients.len()];
        // What a client is not read from stays in its socket.
        for _ in 0..2 {
            for (mut client, rest) in clients.iter().zip(&mut rests) {
                client.set_nonblocking(true).unwrap();
                while !rest.is_empty()
                    && let Ok(count) = client.write(rest)
                {
                    *rest = &rest[count..];
                }
            }
            // Answered in a later turn than the one that reads what was sent before.
            for _ in 0..3 {
                let mut conn = self.proxy.conn().patient_for(Duration::from_secs(60));
                conn.ask("mn\r\n", "MN\r\n");
            }
        }
        drop(clients);
        self.servers[0].process.signal(Signal::CONT);
        // What they asked for is answered, or they would find the server's queue full next time.
        let mut conn = self.proxy.conn().patient_for(Duration::from_secs(60));
        conn.send(format!("get {}\r\n", self.stuck_key));
        conn.read_reply().unwrap();
        self.proxy.process.memory_bytes("VmHWM")
    }
}

/// The default of every limit, as the table of directives has it, in the form of settings.
fn defaults() -> String {
    let document = fs::read_to_string(repository().join("docs/config.md")).unwrap();
    let rows = document.lines().filter_map(|line| {
        let cells: Vec<_> = line.split(" | ").collect();
        let [name, _, default, ..] = cells[..] else { return None };
        Some(format!(
            "{}: {}\n",
            name.strip_prefix("| `")?.trim_matches('`'),
            default.trim_matches('`')
        ))
    });
    rows.filter(|row| row.contains("_max: ")).collect()
}

/// The sum of the table "The whole bound" in docs/operations.md.
fn documented_bound(settings: &str, connections: u64) -> u64 {
    let setting = |name: &str| {
        let line = settings.lines().find_map(|line| line.trim().strip_prefix(name)).unwrap();
        let value = line.trim_start_matches(':').trim();
        let (digits, unit) = match value.as_bytes().last().unwrap() {
            b'k' => (&value[..value.len() - 1], 1 << 10),
            b'm' => (&value[..value.len() - 1], MIB),
            _ => (value, 1),
        };
        digits.parse::<u64>().unwrap() * unit
    };
    let clients = setting("memory_max") + setting("client_backlog_max");
    let queues = connections * (setting("server_buffer_max") + setting("item_size_max"));
    let replies = connections * setting("item_size_max");
    let entries = connections * setting("server_requests_max") * 500;
    let spares = 2 * 4 * MIB + setting("memory_max") / 8;
    2 * (clients + queues + replies) + entries + spares
}

fn most_held(proxy: &Proxy) -> u64 {
    let bytes = proxy.process.memory_bytes("VmHWM");
    eprintln!("{} MiB at most", bytes / MIB);
    bytes
}

const VALUE_LEN: usize = 1_000_000;

/// The reply to a get of `large{i}`; the value proves its key.
fn large_reply(i: usize) -> Vec<u8> {
    let mut value = format!("large{i}/").repeat(VALUE_LEN / 7 + 1);
    value.truncate(VALUE_LEN);
    format!("VALUE large{i} 0 {VALUE_LEN}\r\n{value}\r\nEND\r\n").into_bytes()
}

/// Writes up to 32 sets of 1 MB each, until the proxy has taken nothing for half a second.
fn offer_large_sets(port: u16) -> TcpStream {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let request = format!("set plum 0 0 {VALUE_LEN}\r\n{}\r\n", "x".repeat(VALUE_LEN));
    for _ in 0..32 {
        // An error is what is hoped for: the proxy has stopped reading.
        if stream.write_all(request.as_bytes()).is_err() {
            break;
        }
    }
    stream
}

/// Panics unless 99 of 100 requests, spread over some seconds, are answered promptly.
fn assert_prompt(conn: &mut Conn, key: &str, requests: usize) {
    let mut times: Vec<_> = (0..requests)
        .map(|i| {
            let started = Instant::now();
            let value = i.to_string();
            let set = format!("set {key} 0 0 {}\r\n{value}\r\n", value.len());
            conn.ask(set, "STORED\r\n");
            let reply = format!("VALUE {key} 0 {}\r\n{value}\r\nEND\r\n", value.len());
            conn.ask(format!("get {key}\r\n"), reply);
            thread::sleep(Duration::from_millis(5));
            started.elapsed()
        })
        .collect();
    times.sort_unstable();
    let (late, worst) = (times[requests * 99 / 100], times[requests - 1]);
    assert!(late < PROMPT, "1 of 100 took {late:?} or more, the worst {worst:?}");
}
