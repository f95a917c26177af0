//! A node that speaks Redis's protocol, against a real Redis 7.0: the same requests to both, and
//! the same bytes back.
//!
//! The rule: nothing is left out of the comparison but the order of what has no order (the fields
//! of a hash, the members of a set, the keys) and what two clocks tell.

use std::env;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use nuthatch_node::{Node, Protocol};

use super::{Running, Server, Signal, demo, free_address, rows};
use exchanges::EXCHANGES;
use forms::{ALL_KEYS, FORMS, keys_of};

#[path = "redis/exchanges.rs"]
mod exchanges;
#[path = "redis/forms.rs"]
mod forms;

/// A connection to either.
struct Client(TcpStream);

impl Client {
    fn node() -> Self {
        let node = Node::start(Protocol::Redis, "127.0.0.1:0", 16 << 20).unwrap();
        Self::to(node.address())
    }

    fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Self(stream)
    }

    /// All that is answered to `request`: a request behind it has its reply behind it, too.
    fn ask(&mut self, request: &[u8]) -> String {
        self.0.write_all(&[request, b"ECHO ~end~\r\n"].concat()).unwrap();
        let mut reply = Vec::new();
        let mut chunk = [0; 4096];
        while !reply.ends_with(END) {
            let count = self.0.read(&mut chunk).unwrap();
            assert!(count > 0, "closed after {:?}", String::from_utf8_lossy(request));
            reply.extend_from_slice(&chunk[..count]);
        }
        reply.truncate(reply.len() - END.len());
        String::from_utf8(reply).unwrap()
    }

    /// All that is answered until the connection is closed.
    fn ask_and_close(mut self, request: &[u8]) -> String {
        self.0.write_all(request).unwrap();
        let mut reply = String::new();
        self.0.read_to_string(&mut reply).unwrap();
        reply
    }
}

const END: &[u8] = b"$5\r\n~end~\r\n";

fn redis() -> (Server, SocketAddr) {
    let address = free_address();
    let mut command = Command::new("redis-server");
    command.args(["--save", "", "--databases", "1", "--bind", "127.0.0.1", "--port"]);
    command.arg(address.port().to_string()).args(["--proto-max-bulk-len", "16mb"]);
    command.stdout(Stdio::null());
    (Server::start(command, address), address)
}

/// A request as clients send it; `''` is the empty word.
fn array(text: &str) -> Vec<u8> {
    let words: Vec<_> = text.split(' ').map(|word| if word == "''" { "" } else { word }).collect();
    let mut request = format!("*{}\r\n", words.len());
    for word in words {
        let _ = write!(request, "${}\r\n{word}\r\n", word.len());
    }
    request.into_bytes()
}

/// A reply whose order is fixed.
fn ordered(text: &str, reply: &str) -> String {
    let command = text.split(' ').next().unwrap().to_lowercase();
    let (head_lines, element_lines) = match command.as_str() {
        "smembers" | "hkeys" | "hvals" | "keys" => (1, 2),
        "hgetall" => (1, 4),
        "scan" => (4, 2),
        _ => return reply.into(),
    };
    let lines: Vec<_> = reply.split_terminator("\r\n").collect();
    let (head, elements) = lines.split_at(head_lines.min(lines.len()));
    let mut elements: Vec<_> = elements.chunks(element_lines).collect();
    elements.sort_unstable();
    [head, &elements.concat()].concat().join("\r\n")
}

/// Whether two replies say the same. Two clocks may be some time apart.
fn same(text: &str, ours: &str, theirs: &str) -> bool {
    let apart = match text.split(' ').next().unwrap() {
        "ttl" => 2,
        "pttl" => 2000,
        _ => return ordered(text, ours) == ordered(text, theirs),
    };
    let number = |reply: &str| -> Option<i64> { reply.trim().strip_prefix(':')?.parse().ok() };
    match (number(ours), number(theirs)) {
        (Some(ours), Some(theirs)) if ours > 0 && theirs > 0 => (ours - theirs).abs() <= apart,
        _ => ours == theirs,
    }
}

#[test]
#[ignore = "needs redis-server: run make it"]
fn a_node_answers_as_redis_does() {
    let (_running, address) = redis();
    for version in ["2", "3"] {
        let (mut ours, mut theirs) = (Client::node(), Client::to(address));
        let hello = format!("HELLO {version}\r\n");
        let [us, them] = [&mut ours, &mut theirs].map(|client| {
            let reply = client.ask(hello.as_bytes());
            let (before, id) = reply.split_once("$2\r\nid\r\n:").unwrap();
            format!("{before}{}", id.split_once("\r\n").unwrap().1)
        });
        assert_eq!(us, them);
        theirs.ask(b"FLUSHALL\r\n");
        for text in EXCHANGES {
            let request = array(text);
            let (ours, theirs) = (ours.ask(&request), theirs.ask(&request));
            assert!(same(text, &ours, &theirs), "{text}\n  ours   {ours:?}\n  theirs {theirs:?}");
        }
    }
}

#[test]
#[ignore = "needs redis-server: run make it"]
fn lines_and_broken_requests_are_taken_and_refused_as_redis_does() {
    let (_running, address) = redis();
    let (mut ours, mut theirs) = (Client::node(), Client::to(address));
    for line in [
        "set k \"a \\x41\\n\\\"\"\r\n",
        "get k\r\n",
        "  get\tk  \r\n",
        "get 'k'\n",
        "echo 'it\\'s \\n'\r\n",
        "echo a\"b\"\r\n",
        "\r\n",
        "*0\r\n",
        "*-5\r\n",
        "*1\r\n$4\r\nping\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n",
        "*2\r\n$4\r\necho\r\n$4\r\na\r\nb\r\n",
    ] {
        let (ours, theirs) = (ours.ask(line.as_bytes()), theirs.ask(line.as_bytes()));
        assert_eq!(ours, theirs, "{line:?}");
    }
    let long = |start: &str| format!("{start}{}", "1".repeat(70_000));
    for broken in [
        "*x\r\n".into(),
        "*+1\r\n".into(),
        "*2147483648\r\n".into(),
        "*1\r\nget k\r\n".into(),
        "*1\r\n$-1\r\n".into(),
        "*1\r\n$x\r\n".into(),
        "*1\r\n$16777217\r\n".into(),
        "get \"k\r\n".into(),
        "get \"k\"x\r\n".into(),
        "quit\r\n".into(),
        long("*"),
        long("*1\r\n$"),
        long("get "),
    ] {
        let ours = Client::node().ask_and_close(broken.as_bytes());
        let theirs = Client::to(address).ask_and_close(broken.as_bytes());
        assert_eq!(ours, theirs, "{broken:.40?}");
    }
}

#[test]
#[ignore = "needs redis-server: run make it"]
fn any_sequence_of_commands_leaves_a_node_where_it_leaves_redis() {
    let (_running, address) = redis();
    let seed: u64 = env::var("NUTHATCH_SEED").map_or(7, |seed| seed.parse().unwrap());
    for version in ["2", "3"] {
        let (mut ours, mut theirs) = (Client::node(), Client::to(address));
        let greeting = format!("HELLO {version}\r\nFLUSHALL\r\n");
        for client in [&mut ours, &mut theirs] {
            client.ask(greeting.as_bytes());
        }
        let mut state = seed;
        let mut random = |below: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(state >> 33).unwrap() % below
        };
        let mut history = Vec::new();
        for _ in 0..20_000 {
            let form = FORMS[random(FORMS.len())];
            let usual = keys_of(form.split(' ').next().unwrap());
            let mut text = String::new();
            for letter in form.chars() {
                match letter {
                    'K' => {
                        let keys = if random(60) == 0 { ALL_KEYS } else { usual };
                        text.push_str(keys[random(keys.len())]);
                    }
                    '@' => text.push_str(["x", "y", "10", "-3"][random(4)]),
                    '#' => text.push_str(&random(10).to_string()),
                    '~' => text.push_str(["-9", "-2", "-1", "0", "1", "2", "5"][random(7)]),
                    other => text.push(other),
                }
            }
            history.push(text.clone());
            let request = array(&text);
            let (ours, theirs) = (ours.ask(&request), theirs.ask(&request));
            let last = &history[history.len().saturating_sub(12)..];
            assert!(
                same(&text, &ours, &theirs),
                "seed {seed}: {last:#?}\n  ours   {ours:?}\n  theirs {theirs:?}"
            );
        }
    }
}

#[test]
fn a_demo_of_redis_once_shows_a_table_and_that_every_answer_was_right() {
    // Where it would listen is taken, by us or by somebody else.
    let _taken = TcpListener::bind("127.0.0.1:6379");
    let output = demo(&["--once", "--redis"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.starts_with("Nuthatch: a proxy that makes three Redis servers look"), "{text}");
    assert!(text.contains("\nPort 6379 is in use, so the proxy listens on port 6"), "{text}");
    assert!(text.contains("\n    redis: true\n"), "{text}");
    assert!(text.contains("\n24,400 requests in "), "{text}");
    assert!(text.ends_with("\nEvery reply was correct.\n"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    assert_eq!(
        rows(&text, "  redis-"),
        [
            "redis-0 3,751 3,751 9,243 37.5 %",
            "redis-1 2,913 2,913 7,231 29.1 %",
            "redis-2 3,336 3,336 8,228 33.4 %",
        ]
    );
}

#[test]
fn a_demo_of_redis_can_be_tried_until_ctrl_c() {
    let mut running = Running(demo(&["--redis"]).spawn().unwrap());
    let mut lines = BufReader::new(running.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut line = |begin: &str| lines.find(|line| line.trim().starts_with(begin)).unwrap();
    let nc = line("printf 'SET greeting");
    let requests = nc.split('\'').nth(1).unwrap().replace("\\r\\n", "\r\n");
    let port: u16 = nc.rsplit(' ').next().unwrap().parse().unwrap();
    line("Press Ctrl-C to stop the demo.");

    let client = Client::to(SocketAddr::from(([127, 0, 0, 1], port)));
    let reply = client.ask_and_close(format!("{requests}QUIT\r\n").as_bytes());
    assert_eq!(reply, "+OK\r\n$5\r\nhello\r\n+OK\r\n");
    assert_eq!(running.end(Signal::INT), Some(0));
}
