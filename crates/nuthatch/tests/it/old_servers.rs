//! Servers of other versions than the one that is installed here: scripted ones, each of which knows
//! the commands of its time, and takes what it does not know for a line without data.
//!
//! The rule: a scripted server carries out every line that it reads, as memcached does, and keeps a
//! record of them. So the data of one client that a server ran as a command can be seen, whatever
//! became of the reply.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::conn::{Conn, show};
use crate::fake::FakeServer;
use crate::harness::{Program, Proxy, free_port, pool};

/// How a version reads meta commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meta {
    /// Before 1.5.19: not at all.
    Unknown,
    /// 1.5.19 to 1.5.22: `mg key flags token*`, `ms key S length`.
    OneWord,
    /// 1.6.0 to 1.6.9: `ms key S<length>`, and `OK` for `HD`.
    LengthAsFlag,
    /// 1.6.10 to 1.6.17: as today, with other blanks and a bare `EN`.
    Early,
    /// 1.6.18 and later.
    Today,
}

/// What a version knows.
#[derive(Debug, Clone, Copy)]
struct Version {
    number: &'static str,
    /// `append`, `prepend` and `cas`, since 1.2.4.
    append: bool,
    meta: Meta,
    /// `touch`, since 1.4.8, and `gat`, since 1.5.3.
    touch: bool,
    gat: bool,
    /// The parser since 1.6.40 (`proto_parser.c`): a last word `noreply` is no key, `me` does not see a
    /// `b` that is the last word, and an `ms` with a flag that begins with no letter or digit is refused
    /// before its length is known.
    new_parser: bool,
}

const fn version(number: &'static str, meta: Meta, touch: bool, gat: bool) -> Version {
    Version { number, append: true, meta, touch, gat, new_parser: false }
}

const VERSIONS: [Version; 12] = [
    Version { append: false, ..version("1.2.1", Meta::Unknown, false, false) },
    Version { append: false, ..version("1.2.3", Meta::Unknown, false, false) },
    version("1.2.8", Meta::Unknown, false, false),
    version("1.4.5_4_gaa7839e", Meta::Unknown, false, false),
    version("1.4.39", Meta::Unknown, true, false),
    version("1.5.6", Meta::Unknown, true, true),
    version("1.5.22", Meta::OneWord, true, true),
    version("1.6.0-beta1", Meta::LengthAsFlag, true, true),
    version("1.6.9", Meta::LengthAsFlag, true, true),
    version("1.6.10", Meta::Early, true, true),
    version("1.6.17", Meta::Early, true, true),
    Version { new_parser: true, ..version("1.6.45", Meta::Today, true, true) },
];

/// What all connections to one scripted server share.
#[derive(Debug, Default)]
struct Memory {
    items: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The keys of those that remember that their key is binary.
    binary: BTreeSet<Vec<u8>>,
    /// Every line that was carried out.
    lines: Vec<Vec<u8>>,
}

struct OldServer {
    fake: FakeServer,
    memory: Arc<Mutex<Memory>>,
}

impl OldServer {
    fn start(version: Version) -> Self {
        let memory = Arc::new(Mutex::new(Memory::default()));
        let shared = Arc::clone(&memory);
        let fake = FakeServer::start_ungreeted(move |conn, _| serve(conn, version, &shared));
        Self { fake, memory }
    }

    fn has_run(&self, line: &[u8]) -> bool {
        self.memory.lock().unwrap().lines.iter().any(|other| other == line)
    }
}

fn serve(conn: Conn, version: Version, memory: &Mutex<Memory>) {
    let mut conn = conn.patient_for(Duration::from_secs(60));
    while let Ok(line) = conn.read_until(b"\n") {
        let line = line.trim_ascii_end().to_vec();
        let words: Vec<_> =
            line.split(|&byte| byte == b' ').filter(|word| !word.is_empty()).collect();
        let is_silent = version.new_parser && words.last() == Some(&&b"noreply"[..]);
        let data = match data_len(&words, version) {
            None => Vec::new(),
            Some(len) => match conn.read_exact(len + 2) {
                Ok(data) => data[..len].to_vec(),
                Err(_) => return,
            },
        };
        let mut memory = memory.lock().unwrap();
        memory.lines.push(line.clone());
        let reply = answer(&mut memory, &words, data, version);
        drop(memory);
        if !is_silent {
            conn.send(reply);
        }
    }
}

/// The length of the data block that this version reads behind a line.
fn data_len(words: &[&[u8]], version: Version) -> Option<usize> {
    let number = |word: &[u8]| str::from_utf8(word).ok()?.parse().ok();
    match *words {
        [b"set" | b"add" | b"replace", _, _, _, len, ..] => number(len),
        [b"append" | b"prepend" | b"cas", _, _, _, len, ..] if version.append => number(len),
        [b"ms", _, _, ref flags @ ..] if version.refuses(flags) => None,
        [b"ms", _, len, ..] if version.meta >= Meta::Early => number(len),
        [b"ms", _, b"S", len] if version.meta == Meta::OneWord => number(len),
        [b"ms", _, flag, ..] if version.meta == Meta::LengthAsFlag => {
            number(flag.strip_prefix(b"S")?)
        }
        _ => None,
    }
}

impl Version {
    /// Whether its parser stops at one of these flags.
    fn refuses(&self, flags: &[&[u8]]) -> bool {
        self.new_parser && !flags.iter().all(|flag| flag[0].is_ascii_alphanumeric())
    }
}

fn answer(memory: &mut Memory, words: &[&[u8]], data: Vec<u8>, version: Version) -> Vec<u8> {
    let items = &mut memory.items;
    let found = |held: bool, yes: &str, no: &str| if held { yes.to_owned() } else { no.to_owned() };
    let line = match *words {
        [b"version"] => format!("VERSION {}", version.number),
        [b"get" | b"gets" | b"bget", ref keys @ ..] if !keys.is_empty() => {
            return values(items, keys);
        }
        [b"gat" | b"gats", _, ref keys @ ..] if version.gat => return values(items, keys),
        [b"set", key, _, _, _, ..] => {
            items.insert(key.to_vec(), data);
            "STORED".to_owned()
        }
        [b"incr", key, by, ..] => {
            let number = |text: &[u8]| str::from_utf8(text).ok()?.parse::<u64>().ok();
            match (items.get(key).and_then(|held| number(held)), number(by)) {
                (Some(held), Some(by)) => {
                    let sum = (held + by).to_string();
                    items.insert(key.to_vec(), sum.clone().into_bytes());
                    sum
                }
                _ => "NOT_FOUND".to_owned(),
            }
        }
        [b"delete", key, ..] => found(items.remove(key).is_some(), "DELETED", "NOT_FOUND"),
        [b"touch", key, _, ..] if version.touch => {
            found(items.contains_key(key), "TOUCHED", "NOT_FOUND")
        }
        [[b'm', b'g' | b's' | b'd' | b'a' | b'e'], ref rest @ ..] => {
            if version.refuses(rest.get(2..).unwrap_or_default()) {
                return b"CLIENT_ERROR bad command line format\r\n".to_vec();
            }
            return meta(memory, words, data, version);
        }
        [b"append" | b"prepend" | b"cas", ..] if version.append => "NOT_STORED".to_owned(),
        _ => "ERROR".to_owned(),
    };
    format!("{line}\r\n").into_bytes()
}

fn values(items: &BTreeMap<Vec<u8>, Vec<u8>>, keys: &[&[u8]]) -> Vec<u8> {
    let mut reply = Vec::new();
    for key in keys {
        if let Some(value) = items.get(*key) {
            reply.extend([b"VALUE ", *key, format!(" 0 {}\r\n", value.len()).as_bytes()].concat());
            reply.extend([value, &b"\r\n"[..]].concat());
        }
    }
    [reply, b"END\r\n".to_vec()].concat()
}

/// As far as the tests below go: `ms`, `me`, and a miss of all others.
fn meta(memory: &mut Memory, words: &[&[u8]], data: Vec<u8>, version: Version) -> Vec<u8> {
    let meta = version.meta;
    let returned = words[2..].iter().filter(|flag| matches!(flag[0], b'O' | b'k'));
    let returned: Vec<_> = returned
        .map(
            |flag| {
                if flag[0] == b'k' { [b" k", words[1]].concat() } else { [b" ", *flag].concat() }
            },
        )
        .collect();
    let (reply, tail): (&[u8], _) = match (meta, words[0]) {
        (Meta::Unknown, _) => (b"ERROR", vec![]),
        (Meta::OneWord, b"ms") => (b"CLIENT_ERROR invalid or duplicate flag", vec![]),
        (Meta::LengthAsFlag, b"ms") if data.is_empty() => (b"CLIENT_ERROR invalid flag", vec![]),
        (Meta::OneWord | Meta::LengthAsFlag, _) => (b"EN", vec![]),
        (_, b"ms") => {
            let key = if words.contains(&&b"b"[..]) { decoded(words[1]) } else { words[1] };
            if key != words[1] {
                memory.binary.insert(key.to_vec());
            }
            memory.items.insert(key.to_vec(), data);
            (b"HD", returned)
        }
        (_, b"me") => {
            let is_coded =
                words.get(2) == Some(&&b"b"[..]) && (words.len() > 3 || !version.new_parser);
            let key = if is_coded { decoded(words[1]) } else { words[1] };
            if !memory.items.contains_key(key) {
                return b"EN\r\n".to_vec();
            }
            let shown = if memory.binary.contains(key) { encoded(key) } else { key };
            (b"ME ", vec![shown.to_vec(), b" exp=-1 la=0 cas=1 fetch=no cls=1 size=64".to_vec()])
        }
        (Meta::Early, b"mg") => (b"EN", vec![]),
        (Meta::Early, _) => (b"NF ", returned),
        (Meta::Today, b"mg") => (b"EN", returned),
        (Meta::Today, _) => (b"NF", returned),
    };
    [reply, &tail.concat(), b"\r\n"].concat()
}

/// Words that are the base64 of one another.
const CODED: [(&[u8], &[u8]); 2] = [(b"WVNCaQ==", b"YSBi"), (b"YSBi", b"a b")];

fn decoded(word: &[u8]) -> &[u8] {
    CODED.iter().find(|(coded, _)| *coded == word).map_or(word, |(_, plain)| plain)
}

fn encoded(word: &[u8]) -> &[u8] {
    CODED.iter().find(|(_, plain)| *plain == word).map_or(word, |(coded, _)| coded)
}

impl Meta {
    const ORDER: [Self; 5] =
        [Self::Unknown, Self::OneWord, Self::LengthAsFlag, Self::Early, Self::Today];
}

impl PartialOrd for Meta {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        let place = |meta| Self::ORDER.iter().position(|other| other == meta);
        place(self).partial_cmp(&place(other))
    }
}

/// Data of a meta set that is a command to whoever does not know the set.
const DATA: [&str; 7] = [
    "incr evil 0",
    "get mine",
    "delete mine",
    "set evil 0 0 4\r\nevil",
    "version\r\nversion",
    "x\r\nincr evil 0\r\nget mine",
    "quit",
];

#[test]
fn no_server_of_any_version_runs_the_data_of_a_meta_set() {
    const FLAGS: [&str; 11] =
        ["", " T0", " q", " b", " S4", " v v", " \u{1}", " \u{e9}", " T0 k {x", " \tq", " q -"];
    for version in VERSIONS {
        // A pool for each case: its first request comes before the server has told its version, the
        // second one after it.
        let (server, _proxy, ports) = world_of_pools(version, DATA.len() * FLAGS.len());
        let cases = DATA.iter().flat_map(|data| FLAGS.map(|flags| (data, flags)));
        for ((data, flags), port) in cases.zip(ports) {
            let mut attacker = Conn::tcp((Ipv4Addr::LOCALHOST, port));
            let len = data.len();
            for _ in 0..2 {
                attacker.send(format!("ms a2V5 {len}{flags}\r\n{data}\r\nmn\r\n"));
                attacker.read_until(b"MN\r\n").unwrap();
                for line in data.split("\r\n") {
                    let has_run = server.has_run(line.as_bytes());
                    // A line that the proxy may well send of its own.
                    let is_own = line == "version";
                    assert!(is_own || !has_run, "{version:?} ran {line:?} of {data:?}{flags}");
                }
                // The server is still asked.
                attacker.ask("get key\r\n", "END\r\n");
            }
        }
    }
}

#[test]
fn no_server_of_any_version_runs_the_data_of_a_classic_storage_command() {
    const LINES: [&str; 5] =
        ["append key 0 0", "prepend key 0 0", "cas key 0 0", "set key 0 0", "append key 0 0 quiet"];
    for version in VERSIONS {
        let (server, _proxy, ports) = world_of_pools(version, DATA.len() * LINES.len());
        let cases = DATA.iter().flat_map(|data| LINES.map(|line| (data, line)));
        for ((data, line), port) in cases.zip(ports) {
            let mut attacker = Conn::tcp((Ipv4Addr::LOCALHOST, port));
            let (line, noreply) = match line.strip_suffix(" quiet") {
                Some(line) => (line, " noreply"),
                None => (line, ""),
            };
            let cas = if line.starts_with("cas") { " 7" } else { "" };
            let len = data.len();
            for _ in 0..2 {
                attacker.send(format!("{line} {len}{cas}{noreply}\r\n{data}\r\n"));
                if noreply.is_empty() {
                    let reply = attacker.read_reply().unwrap();
                    let is_refused =
                        reply.starts_with(b"SERVER_ERROR the server of this key does not support");
                    let is_new = !line.starts_with("set");
                    assert_eq!(is_refused, is_new && !version.append, "{version:?}, {line}");
                }
                attacker.ask("get other\r\n", "END\r\n");
                for line in data.split("\r\n") {
                    let is_own = line == "version";
                    let has_run = server.has_run(line.as_bytes());
                    assert!(is_own || !has_run, "{version:?} ran {line:?} of {data:?}");
                }
            }
        }
    }
}

#[test]
fn an_item_is_shown_by_servers_of_any_version_under_each_of_its_names() {
    for version in VERSIONS.iter().filter(|version| version.meta >= Meta::Early) {
        let (server, proxy) = world(*version);
        let (mut attacker, mut innocent) = (proxy.conn(), proxy.conn());
        innocent.ask("set mine 0 0 3\r\n666\r\n", "STORED\r\n");
        let connections = server.fake.connection_count();
        // The item `YSBi` remembers that its key is binary, and `YSBi` is the base64 of `a b`.
        attacker.ask("ms WVNCaQ== 1 b\r\nx\r\n", "HD\r\n");
        for (line, is_there) in [
            ("me YSBi b", false),
            ("me  YSBi  b ", false),
            ("me YSBi b x", false),
            ("me YSBi", true),
            ("me YSBi x b", true),
            ("me WVNCaQ== b", true),
            ("me WVNCaQ== b b", true),
            ("me WVNCaQ==", false),
        ] {
            attacker.send(format!("{line}\r\n"));
            innocent.send("get mine\r\n");
            let reply = attacker.read_reply().unwrap();
            let wanted: &[u8] = if is_there { b"ME WVNCaQ== exp=" } else { b"EN\r\n" };
            assert!(reply.starts_with(wanted), "{version:?} to {line:?}: {}", show(&reply));
            let reply = innocent.read_reply().unwrap();
            assert_eq!(show(&reply), show(b"VALUE mine 0 3\r\n666\r\nEND\r\n"), "{version:?}");
        }
        assert_eq!(server.fake.connection_count(), connections, "{version:?} lost a connection");
    }
}

#[test]
fn a_client_of_a_server_of_any_version_sees_nothing_of_the_meta_sets_of_another() {
    for version in VERSIONS {
        let (server, proxy) = world(version);
        let (mut attacker, mut innocent) = (proxy.conn(), proxy.conn());
        innocent.ask("set mine 0 0 3\r\n666\r\n", "STORED\r\n");
        let connections = server.fake.connection_count();
        for round in 0..40 {
            let data = DATA[round % DATA.len()];
            let len = data.len();
            attacker.send(format!("ms key {len}\r\n{data}\r\n"));
            innocent.send("incr mine 0\r\nget mine\r\n".repeat(3));
            for _ in 0..3 {
                for wanted in ["666\r\n", "VALUE mine 0 3\r\n666\r\nEND\r\n"] {
                    let got = innocent.read_reply().unwrap();
                    assert_eq!(show(&got), show(wanted.as_bytes()), "{version:?}, {data:?}");
                }
            }
        }
        assert_eq!(server.fake.connection_count(), connections, "{version:?} lost a connection");
    }
}

#[test]
fn a_miss_is_told_in_the_words_of_any_version_and_costs_no_connection() {
    for version in VERSIONS {
        let (server, proxy) = world(version);
        let mut conn = proxy.conn();
        conn.ask("get key\r\n", "END\r\n");
        let connections = server.fake.connection_count();
        for line in
            ["mg key k O7 v", "md key k O7", "ma key k O7", "me key", "gat 0 key", "touch key 0"]
        {
            conn.send(format!("{line}\r\n"));
            let reply = conn.read_reply().unwrap();
            let is_healthy = !reply.starts_with(b"SERVER_ERROR Invalid argument");
            assert!(is_healthy, "{version:?} to {line:?}: {}", show(&reply));
        }
        conn.ask("get key\r\n", "END\r\n");
        assert_eq!(server.fake.connection_count(), connections, "{version:?} lost a connection");
    }
}

#[test]
fn a_key_that_is_the_word_noreply_is_answered_by_servers_of_any_version() {
    for version in VERSIONS {
        let (server, proxy) = world(version);
        let mut conn = proxy.conn();
        conn.ask("set noreply 0 0 1\r\nx\r\n", "STORED\r\n");
        let connections = server.fake.connection_count();
        conn.send("delete noreply\r\n");
        let reply = conn.read_reply();
        assert_eq!(reply.unwrap(), b"DELETED\r\n", "{version:?}");
        assert_eq!(server.fake.connection_count(), connections, "{version:?} lost a connection");
    }
}

/// A proxy over one scripted server.
fn world(version: Version) -> (OldServer, Proxy) {
    let (server, proxy, _) = world_of_pools(version, 1);
    (server, proxy)
}

/// A proxy with so many pools over one scripted server, and the ports of the pools. A pool has a
/// connection of its own to the server.
fn world_of_pools(version: Version, count: usize) -> (OldServer, Proxy, Vec<u16>) {
    let server = OldServer::start(version);
    let settings = "auto_eject_hosts: true\nserver_failure_limit: 1\ntimeout: 2000";
    let ports: Vec<_> = (0..count).map(|_| free_port()).collect();
    let servers = [server.fake.entry()];
    let config: String = ports.iter().map(|&port| pool(port, settings, &servers)).collect();
    let proxy = Proxy::start(Program::UnderTest, &config, &ports);
    (server, proxy, ports)
}
