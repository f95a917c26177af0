//! `stats` as monitoring reads it: what is counted for which request, and whether those who look for
//! memcached's figures find them.
//!
//! The rule: what the proxy counts is what a memcached would have counted in its place. Both are
//! asked the same, and the figures compared; where the proxy differs on purpose, the table says so.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::process::Command;

use crate::conn::Conn;
use crate::harness::{Memcached, Program, Proxy};

/// The figures of `stats`, in the order in which they came.
fn figures(conn: &mut Conn, question: &str) -> Vec<(String, String)> {
    conn.send(format!("{question}\r\n"));
    let mut figures = Vec::new();
    loop {
        let line = String::from_utf8(conn.read_line().unwrap()).unwrap();
        if line == "END\r\n" {
            return figures;
        }
        let mut words = line.strip_suffix("\r\n").unwrap().splitn(3, ' ');
        let [word, name, value] = [(); 3].map(|()| words.next().expect("three words"));
        assert_eq!(word, "STAT", "{line}");
        assert!(!value.is_empty(), "{line}");
        figures.push((name.to_owned(), value.to_owned()));
    }
}

/// What is compared with memcached.
const COUNTED: &[&str] = &[
    "cmd_get",
    "cmd_set",
    "cmd_touch",
    "cmd_flush",
    "get_hits",
    "get_misses",
    "delete_hits",
    "delete_misses",
    "incr_hits",
    "incr_misses",
    "decr_hits",
    "decr_misses",
    "cas_hits",
    "cas_misses",
    "cas_badval",
    "touch_hits",
    "touch_misses",
];

fn counters(conn: &mut Conn) -> BTreeMap<&'static str, u64> {
    let figures: BTreeMap<_, _> = figures(conn, "stats").into_iter().collect();
    let of = |name| figures.get(name).unwrap_or_else(|| panic!("{name} in {figures:?}"));
    COUNTED.iter().map(|name| (*name, of(*name).parse().unwrap())).collect()
}

/// How often each counter grew, as words: `cmd_get 2 get_hits 1`.
fn growth(before: &BTreeMap<&str, u64>, after: &BTreeMap<&str, u64>) -> String {
    let grown = COUNTED.iter().filter(|name| after[*name] != before[*name]);
    let words: Vec<_> =
        grown.map(|name| format!("{name} {}", after[name] - before[name])).collect();
    words.join(" ")
}

/// Who counts so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Both,
    /// The proxy alone; memcached counts the words.
    Us(&'static str),
}
use By::{Both, Us};

/// What is asked of an empty cache one after the other, the answer, and what is counted for it.
const REQUESTS: &[(&str, &str, &str, By)] = &[
    ("get a\r\n", "END\r\n", "cmd_get 1 get_misses 1", Both),
    ("set a 0 0 1\r\n1\r\n", "STORED\r\n", "cmd_set 1", Both),
    ("add a 0 0 1\r\n1\r\n", "NOT_STORED\r\n", "cmd_set 1", Both),
    ("append b 0 0 1\r\n1\r\n", "NOT_STORED\r\n", "cmd_set 1", Both),
    ("get a b c d\r\n", "VALUE a 0 1\r\n1\r\nEND\r\n", "cmd_get 4 get_hits 1 get_misses 3", Both),
    ("gat 0 a\r\n", "VALUE a 0 1\r\n1\r\nEND\r\n", "cmd_touch 1 touch_hits 1", Both),
    (
        "gat 0 a b c\r\n",
        "VALUE a 0 1\r\n1\r\nEND\r\n",
        "cmd_touch 3 touch_hits 1 touch_misses 2",
        Both,
    ),
    ("touch a 0\r\n", "TOUCHED\r\n", "cmd_touch 1 touch_hits 1", Both),
    ("touch b 0\r\n", "NOT_FOUND\r\n", "cmd_touch 1 touch_misses 1", Both),
    ("incr a 1\r\n", "2\r\n", "incr_hits 1", Both),
    ("incr b 1\r\n", "NOT_FOUND\r\n", "incr_misses 1", Both),
    ("decr a 1\r\n", "1\r\n", "decr_hits 1", Both),
    ("decr b 1\r\n", "NOT_FOUND\r\n", "decr_misses 1", Both),
    ("set text 0 0 1\r\nx\r\n", "STORED\r\n", "cmd_set 1", Both),
    (
        "incr text 1\r\n",
        "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n",
        "",
        Both,
    ),
    ("cas a 0 0 1 999999\r\n1\r\n", "EXISTS\r\n", "cmd_set 1 cas_badval 1", Both),
    ("cas b 0 0 1 999999\r\n1\r\n", "NOT_FOUND\r\n", "cmd_set 1 cas_misses 1", Both),
    ("cas a 0 0 1 <cas>\r\n1\r\n", "STORED\r\n", "cmd_set 1 cas_hits 1", Both),
    ("ms a 1 C<cas>\r\n1\r\n", "HD\r\n", "cmd_set 1 cas_hits 1", Both),
    ("ms a 1 C<cas> MR\r\n1\r\n", "HD\r\n", "cmd_set 1 cas_hits 1", Both),
    ("ms a 1\r\n1\r\n", "HD\r\n", "cmd_set 1", Both),
    ("mg a v\r\n", "VA 1\r\n1\r\n", "cmd_get 1 get_hits 1", Both),
    ("mg a t\r\n", "HD t-1\r\n", "cmd_get 1 get_hits 1", Both),
    ("mg b v\r\n", "EN\r\n", "cmd_get 1 get_misses 1", Both),
    ("mg b N0\r\n", "HD W\r\n", "cmd_get 1 get_hits 1", Both),
    ("delete b\r\n", "DELETED\r\n", "delete_hits 1", Both),
    ("delete b\r\n", "NOT_FOUND\r\n", "delete_misses 1", Both),
    ("mg a T0\r\n", "HD\r\n", "cmd_touch 1 touch_hits 1", Both),
    ("mg b T0\r\n", "EN\r\n", "cmd_touch 1 touch_misses 1", Us("cmd_get 1 get_misses 1")),
    ("ms a 1 C999999\r\n1\r\n", "EX\r\n", "cmd_set 1 cas_badval 1", Both),
    ("ms b 1 C999999\r\n1\r\n", "NF\r\n", "cmd_set 1 cas_misses 1", Both),
    ("ms b 1 C999999 MR\r\n1\r\n", "NF\r\n", "cmd_set 1 cas_misses 1", Both),
    ("ms a 1 C999999 MA\r\n1\r\n", "EX\r\n", "cmd_set 1", Both),
    ("ma a\r\n", "HD\r\n", "incr_hits 1", Both),
    ("ma a MI v\r\n", "VA 1\r\n3\r\n", "incr_hits 1", Both),
    ("ma b\r\n", "NF\r\n", "incr_misses 1", Both),
    ("ma a MD\r\n", "HD\r\n", "decr_hits 1", Both),
    ("ma a M-\r\n", "HD\r\n", "decr_hits 1", Both),
    ("ma b MD\r\n", "NF\r\n", "decr_misses 1", Both),
    ("ma a C999999\r\n", "EX\r\n", "", Both),
    ("ma b N0\r\n", "HD\r\n", "incr_hits 1", Us("")),
    ("md a C999999\r\n", "EX\r\n", "delete_misses 1", Both),
    ("md a I\r\n", "HD\r\n", "delete_hits 1", Us("")),
    ("md a\r\n", "HD\r\n", "delete_hits 1", Both),
    ("md a\r\n", "NF\r\n", "delete_misses 1", Both),
    ("me a\r\n", "EN\r\n", "", Both),
    // Nobody is told of these, and they are counted.
    ("set a 0 0 1 noreply\r\n1\r\nmn\r\n", "MN\r\n", "cmd_set 1", Both),
    ("touch a 0 noreply\r\nmn\r\n", "MN\r\n", "cmd_touch 1 touch_hits 1", Both),
    (
        "mg c q\r\nmg a q\r\nmd a q\r\nmn\r\n",
        "HD\r\nMN\r\n",
        "cmd_get 2 get_hits 1 get_misses 1 delete_hits 1",
        Both,
    ),
    ("delete a noreply\r\nmn\r\n", "MN\r\n", "delete_misses 1", Both),
    ("foo\r\n", "ERROR\r\n", "", Both),
    ("flush_all\r\n", "OK\r\n", "cmd_flush 1", Both),
];

/// Asks all that, and returns for each what was counted.
fn count_all(conn: &mut Conn) -> Vec<String> {
    let mut counted = Vec::new();
    for (request, reply, ..) in REQUESTS {
        let request = match request.split_once("<cas>") {
            Some((before, after)) => format!("{before}{}{after}", cas_id(conn)),
            None => (*request).to_owned(),
        };
        let before = counters(conn);
        conn.ask(&request, reply);
        counted.push(growth(&before, &counters(conn)));
    }
    counted
}

/// The cas id of `a`.
fn cas_id(conn: &mut Conn) -> String {
    conn.send("mg a c\r\n");
    let line = String::from_utf8(conn.read_line().unwrap()).unwrap();
    line.trim_end().strip_prefix("HD c").unwrap().to_owned()
}

fn three_servers(settings: &str) -> (Vec<Memcached>, Proxy) {
    let servers = Memcached::start_many(3);
    let entries: Vec<_> = servers.iter().map(Memcached::entry).collect();
    let proxy = Proxy::with_pool(Program::UnderTest, settings, &entries);
    (servers, proxy)
}

#[test]
#[ignore = "needs memcached: run make it"]
fn every_request_is_counted_as_memcached_counts_it() {
    let (_servers, proxy) = three_servers("hash: md5\nallow_flush: true");
    let plain = Memcached::start();
    let (through, direct) = (count_all(&mut proxy.conn()), count_all(&mut plain.conn()));
    for (index, (request, _, counted, by)) in REQUESTS.iter().enumerate() {
        assert_eq!(through[index], *counted, "{request:?}");
        let memcacheds = if let Us(other) = by { other } else { counted };
        assert_eq!(direct[index], *memcacheds, "memcached: {request:?}");
    }
}

/// What those who read figures look for: who, with what question, and the figures. A figure that is
/// not here is one that they do without, or that docs/protocol.md says is left out.
const LOOKED_FOR: &[(&str, &str, &str)] = &[
    // Without those of `cas` it says `memcached_up 0`; without others their metrics are not there.
    (
        "memcached_exporter",
        "stats",
        "version uptime time rusage_user rusage_system bytes limit_maxbytes curr_items total_items \
         bytes_read bytes_written curr_connections total_connections rejected_connections \
         listen_disabled_num evictions reclaimed accepting_conns cmd_set cmd_flush get_hits \
         get_misses delete_hits delete_misses incr_hits incr_misses decr_hits decr_misses cas_hits \
         cas_misses cas_badval touch_hits touch_misses",
    ),
    ("memcached_exporter", "stats settings", "maxconns"),
    (
        "collectd",
        "stats",
        "rusage_user rusage_system threads curr_items uptime bytes limit_maxbytes curr_connections \
         listen_disabled_num total_connections cmd_get cmd_set cmd_flush cmd_touch incr_hits \
         incr_misses decr_hits decr_misses get_hits get_misses evictions delete_hits delete_misses \
         bytes_read bytes_written",
    ),
    (
        "telegraf",
        "stats",
        "accepting_conns bytes bytes_read bytes_written cas_badval cas_hits cas_misses cmd_flush \
         cmd_get cmd_set cmd_touch curr_connections curr_items decr_hits decr_misses delete_hits \
         delete_misses evictions get_hits get_misses incr_hits incr_misses limit_maxbytes \
         listen_disabled_num max_connections reclaimed rejected_connections threads \
         total_connections total_items touch_hits touch_misses uptime",
    ),
    (
        "libmemcached, and php-memcached on it",
        "stats",
        "pid uptime time version pointer_size rusage_user rusage_system curr_items total_items \
         bytes curr_connections total_connections cmd_get cmd_set get_hits get_misses evictions \
         bytes_read bytes_written limit_maxbytes threads",
    ),
    // It asks by the binary protocol and so in vain; others look for the same.
    (
        "Datadog's mcache check",
        "stats",
        "total_items curr_items limit_maxbytes uptime bytes curr_connections max_connections threads \
         pointer_size rusage_user rusage_system cmd_get cmd_set cmd_flush get_hits get_misses \
         delete_misses delete_hits evictions bytes_read bytes_written cas_misses cas_hits \
         cas_badval total_connections listen_disabled_num version",
    ),
];

/// What switches on the reading of more figures, which are not there.
const MISLEADING: [&str; 2] = ["extstore_limit_maxbytes", "proxy_backend_total"];

/// collectd has so much room for an answer, and none at all is read that does not fit.
const ANSWER_MAX: usize = 4096;

#[test]
#[ignore = "needs memcached: run make it"]
fn who_looks_for_memcacheds_figures_finds_them() {
    let (_servers, proxy) = three_servers("client_connections: 77");
    let mut conn = proxy.conn();
    for (who, question, names) in LOOKED_FOR {
        let figures = figures(&mut conn, question);
        let there: BTreeSet<_> = figures.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(there.len(), figures.len(), "each once: {figures:?}");
        let missing: Vec<_> =
            names.split_whitespace().filter(|name| !there.contains(name)).collect();
        assert!(missing.is_empty(), "{who} misses {missing:?}");
        assert!(MISLEADING.iter().all(|name| !there.contains(name)), "{who}: {there:?}");
    }
    conn.send("stats\r\n");
    let answer = conn.read_until(b"END\r\n").unwrap();
    assert!(answer.len() <= ANSWER_MAX, "{} bytes", answer.len());
}

#[test]
#[ignore = "needs memcached: run make it"]
fn figures_have_memcacheds_form() {
    let (_servers, proxy) = three_servers("client_connections: 77");
    let plain = Memcached::start();
    let of = |conn: &mut Conn| figures(conn, "stats").into_iter().collect::<BTreeMap<_, _>>();
    let (ours, theirs) = (of(&mut proxy.conn()), of(&mut plain.conn()));
    for (name, value) in &ours {
        match name.as_str() {
            "version" => assert!(value.starts_with(|c: char| c.is_ascii_digit()), "{value}"),
            "rusage_user" | "rusage_system" => {
                let (seconds, micros) = value.split_once('.').unwrap();
                assert!(seconds.parse::<u32>().is_ok(), "{value}");
                assert!(micros.len() == 6 && micros.parse::<u32>().is_ok(), "{value}");
            }
            _ => assert!(value.parse::<u64>().is_ok(), "{name} {value}"),
        }
    }
    let number = |name: &str| ours[name].parse::<u64>().unwrap();
    assert_eq!((number("max_connections"), number("curr_connections")), (77, 1));
    assert_eq!((number("accepting_conns"), number("pointer_size")), (1, 64));
    assert_eq!(number("pid"), u64::from(proxy.process.id()));
    assert!(number("time").abs_diff(theirs["time"].parse().unwrap()) <= 2);
}

/// Runs a program of somebody else's and returns what it said, which must be no complaint.
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: run \"make deps\": {error}"));
    let [out, errors] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(output.status.success() && errors.is_empty(), "{program}: {out}{errors}");
    out
}

#[test]
#[ignore = "needs memcached and memcstat: run make it"]
fn memcacheds_own_tool_and_libmemcacheds_read_the_figures() {
    const TOOL: &str = "/usr/share/memcached/scripts/memcached-tool";
    let (_servers, proxy) = three_servers("hash: md5");
    let mut conn = proxy.conn();
    conn.ask("set a 0 0 1\r\n1\r\n", "STORED\r\n");
    conn.ask("delete a\r\n", "DELETED\r\n");
    let address = format!("127.0.0.1:{}", proxy.port);
    let has = |text: &str, figure: &str| {
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.lines().any(|line| words(line) == figure), "{figure} in\n{text}");
    };
    let stats = run(TOOL, &[&address, "stats"]);
    has(&stats, "cmd_set 1");
    has(&stats, "delete_hits 1");
    has(&run(TOOL, &[&address, "settings"]), "flush_enabled no");
    assert_eq!(run(TOOL, &[&address]).lines().count(), 1, "no slabs");
    let stats = run("memcstat", &[&format!("--servers={address}")]);
    has(&stats, "cmd_set: 1");
    has(&stats, "delete_hits: 1");
    has(&stats, &format!("pid: {}", proxy.process.id()));
}

#[test]
#[ignore = "needs memcached: run make it"]
fn a_reset_begins_the_counters_anew_for_all_who_ask_by_stats() {
    let (_servers, proxy) = three_servers("client_connections: 77");
    let plain = Memcached::start();
    for port in [proxy.port, plain.port] {
        let (mut conn, mut other) = (local(port), local(port));
        conn.ask("set a 0 0 1\r\n1\r\n", "STORED\r\n");
        conn.ask("get a b\r\n", "VALUE a 0 1\r\n1\r\nEND\r\n");
        assert_eq!(of_interest(&mut other), [1, 2, 1, 1, 2]);
        conn.ask("stats reset\r\n", "RESET\r\n");
        assert_eq!(of_interest(&mut other), [0, 0, 0, 0, 2]);
        conn.ask("get a\r\n", "VALUE a 0 1\r\n1\r\nEND\r\n");
        assert_eq!(of_interest(&mut other), [0, 1, 1, 0, 2]);
        conn.ask("stats reset again\r\n", "RESET\r\n");
        assert_eq!(of_interest(&mut other), [0, 0, 0, 0, 2]);
        let figures: BTreeMap<_, _> = figures(&mut other, "stats").into_iter().collect();
        assert_eq!(figures["total_connections"], "0");
    }
}

fn local(port: u16) -> Conn {
    Conn::tcp((Ipv4Addr::LOCALHOST, port))
}

fn of_interest(conn: &mut Conn) -> [u64; 5] {
    let figures: BTreeMap<_, _> = figures(conn, "stats").into_iter().collect();
    ["cmd_set", "cmd_get", "get_hits", "get_misses", "curr_connections"]
        .map(|name| figures[name].parse().unwrap())
}

#[test]
#[ignore = "needs memcached: run make it"]
fn questions_about_details_are_answered_as_by_a_memcached_that_knows_none() {
    let (_servers, proxy) = three_servers("client_connections: 77");
    let plain = Memcached::start();
    for (question, answer) in [
        ("stats detail on", "OK\r\n"),
        ("stats detail off", "OK\r\n"),
        ("stats detail dump", "END\r\n"),
        ("stats detail off again", "OK\r\n"),
        ("stats detail", "CLIENT_ERROR usage: stats detail on|off|dump\r\n"),
        ("stats detail of keys", "CLIENT_ERROR usage: stats detail on|off|dump\r\n"),
        ("stats items", "END\r\n"),
        ("stats cachedump 1 10", "END\r\n"),
        ("stats cachedump 1", "CLIENT_ERROR bad command line\r\n"),
        ("stats nonsense", "ERROR\r\n"),
    ] {
        for port in [proxy.port, plain.port] {
            let mut conn = local(port);
            conn.send(format!("{question}\r\nmn\r\n"));
            let told = String::from_utf8(conn.read_until(b"MN\r\n").unwrap()).unwrap();
            assert_eq!(told, format!("{answer}MN\r\n"), "{question}");
        }
    }
}
