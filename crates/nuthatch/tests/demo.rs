//! Nodes against a real memcached and a real Redis, and `nuthatch demo` as a newcomer sees it.

#![expect(clippy::unwrap_used, reason = "a test that can't run its program has failed")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::Signal;

#[path = "demo/redis.rs"]
mod redis;

/// A program that ends with its test.
struct Running(Child);

impl Running {
    /// Asks it to end, and returns its exit code.
    fn end(&mut self, signal: Signal) -> Option<i32> {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.0), signal).unwrap();
        self.0.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A program that speaks memcached's protocol, and a connection to it.
struct Server {
    running: Running,
    stream: TcpStream,
}

impl Server {
    fn start(mut command: Command, address: SocketAddr) -> Self {
        let child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.unwrap_or_else(|error| panic!("{command:?}: {error}: run \"make deps\""));
        let mut running = Running(child);
        for _ in 0..500 {
            if let Ok(stream) = TcpStream::connect(address) {
                stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                return Self { running, stream };
            }
            assert!(running.0.try_wait().unwrap().is_none(), "{command:?} has ended");
            thread::sleep(Duration::from_millis(10));
        }
        panic!("{command:?} does not listen");
    }

    fn node() -> Self {
        let address = free_address();
        let mut command = Command::new(env!("CARGO_BIN_EXE_nuthatch"));
        command.args(["node", "-m", "16", "-l", &address.to_string()]);
        Self::start(command, address)
    }

    fn memcached() -> Self {
        let address = free_address();
        let mut command = Command::new("memcached");
        // Its modern threads hold items now and then, and change what `incr` does to them.
        command.args(["-o", "no_modern", "-l", "127.0.0.1", "-U", "0", "-u", "nobody", "-p"]);
        command.arg(address.port().to_string());
        Self::start(command, address)
    }

    /// All that is answered to `request`: a no-op behind it has its answer behind it, too.
    fn ask(&mut self, request: &[u8]) -> String {
        self.stream.write_all(&[request, b"mn\r\n"].concat()).unwrap();
        let mut answer = Vec::new();
        let mut chunk = [0; 4096];
        while !answer.ends_with(b"MN\r\n") {
            let count = self.stream.read(&mut chunk).unwrap();
            assert!(count > 0, "closed after {:?}", String::from_utf8_lossy(request));
            answer.extend_from_slice(&chunk[..count]);
        }
        answer.truncate(answer.len() - b"MN\r\n".len());
        String::from_utf8(answer).unwrap()
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Whether two answers say the same. Two clocks may be a second or two apart.
fn same(ours: &str, theirs: &str) -> bool {
    let (ours, theirs) = (ours.split(' '), theirs.split(' '));
    ours.clone().count() == theirs.clone().count()
        && ours.zip(theirs).all(|(a, b)| a == b || seconds(a).zip(seconds(b)).is_some_and(near))
}

fn near((a, b): (i64, i64)) -> bool {
    (a - b).abs() <= 2
}

/// The number of a word that tells of time.
fn seconds(word: &str) -> Option<i64> {
    let word = word.split("\r\n").next()?;
    ["t", "l", "exp=", "la="].iter().find_map(|name| word.strip_prefix(name)?.parse().ok())
}

/// What is asked of both in turn; `\r\n` is written `|`.
const EXCHANGES: &[&str] = &[
    // Storage and retrieval.
    "get k|",
    "set k 5 0 1|a|",
    "get k|",
    "gets k|",
    "get k missing k|",
    "bget k|",
    "add k 0 0 1|b|",
    "add l 0 0 1|b|",
    "replace l 7 0 2|cc|",
    "replace m 0 0 1|x|",
    "append k 9 9 2|bc|",
    "prepend k 9 9 1|0|",
    "gets k l|",
    "append m 0 0 1|x|",
    "prepend m 0 0 1|x|",
    "set e 0 0 0||",
    "get e|",
    "set k2 4294967295 0 1|a|",
    "get k2|",
    "set k 0 0 1 noreply|z|",
    "get k|",
    "add k 0 0 1 noreply|y|",
    "get k|",
    // Compare and swap: ids are the same because both count changes.
    "gets k|",
    "cas k 0 0 1 9|q|",
    "cas k 0 0 1 1|q|",
    "cas k 0 0 1 0|q|",
    "cas m 0 0 1 1|q|",
    "cas m 0 0 1 0|q|",
    "gets k|",
    // Arithmetic.
    "set n 0 0 2|10|",
    "incr n 5|",
    "decr n 7|",
    "get n|",
    "incr n 1000|",
    "gets n|",
    "decr n 5000|",
    "get n|",
    "incr n x|",
    "incr n -1|",
    "incr k 1|",
    "incr m 1|",
    "decr m 1|",
    "set n 0 0 20|18446744073709551615|",
    "incr n 2|",
    "get n|",
    "set n 0 0 5| 7   |",
    "incr n 1|",
    "get n|",
    "set n 0 0 3|5 x|",
    "incr n 1|",
    "set n 0 0 3|99a|",
    "incr n 1|",
    "incr e 1|",
    "incr k 1 noreply|",
    "set n 3 0 1|9|",
    "incr n 1|",
    "gets n|",
    // Deletion and expiry.
    "delete k|",
    "delete k|",
    "delete l 0|",
    "delete l 5|",
    "delete n noreply|",
    "get k l n|",
    "set k 0 -1 1|a|",
    "get k|",
    "add k 0 100 1|a|",
    "mg k t|",
    "touch k 200|",
    "mg k t|",
    "touch m 1|",
    "touch k -1|",
    "get k|",
    "set k 0 0 1|a|",
    "gat 50 k|",
    "gats 60 k m|",
    "mg k t|",
    "gat -1 k|",
    "get k|",
    "gat x k|",
    "set k 0 2592000 1|a|",
    "mg k t|",
    "set k 0 2592001 1|a|",
    "get k|",
    // Meta get.
    "mg k|",
    "mg k v|",
    "mg k q|",
    "mg k k Oabc f t s|",
    "set k 5 0 3|abc|",
    "mg k|",
    "mg k v|",
    "mg k q|",
    "mg k q v|",
    "mg k s v k Oxyz f t c h|",
    "mg k h l u|",
    "mg k b|",
    "mg k v v|",
    "mg k z|",
    "mg k Tx|",
    "mg k T|",
    "mg k vx|",
    "mg k D1 I C4 F5 J6|",
    "mg k P1 L2|",
    "set j 0 0 1|1|",
    "mg j u h|",
    "mg j h|",
    "mg j h|",
    "mg j T90 t|",
    "mg j t|",
    "set j 0 0 1|1|",
    "touch j 0|",
    "mg j u h|",
    "set j 0 0 1|1|",
    "incr j 1|",
    "mg j u h|",
    "incr j 1000|",
    "mg j u h|",
    // Meta set.
    "ms k 1|a|",
    "ms k 1 c k Oab|a|",
    "ms k 2 F5 T100 q|ab|",
    "mg k f t v c|",
    "ms k 2 ME c|ab|",
    "ms o 2 ME c k|ab|",
    "ms k 2 MA F9 T9 c|cd|",
    "ms k 2 MP|xy|",
    "mg k f t v|",
    "ms p 1 MA|a|",
    "ms p 1 MP c|a|",
    "ms p 1 MR|a|",
    "ms o 1 MR|r|",
    "ms o 1 MS|s|",
    "ms o 1 MX|s|",
    "ms o 1 Mset|s|",
    "ms o 1 C99|s|",
    "ms o 1 C99 MR c|s|",
    "ms o 1 C99 MA|s|",
    "ms o 1 C99 ME|s|",
    "ms p 1 C99|s|",
    "ms o 1 Cx|s|",
    "ms o 1 Tx|s|",
    "ms o 1 Fx|s|",
    "ms o 1 v v|s|",
    "ms o 1 S1|s|",
    "ms o 1 T-1|s|",
    "get o|",
    "ms o 0||",
    "mg o v s|",
    // Meta delete, and what is stale.
    "md p|",
    "md p q|",
    "md p k Oab q|",
    "md o C99|",
    "md o C99 q k|",
    "md o q|",
    "get o|",
    "md o x|",
    "md o Tx|",
    "ms w 1 c|1|",
    "md w I T30|",
    "mg w v t c|",
    "mg w v t c|",
    "mg w N5 R50|",
    "ms w 1 I C3 c|2|",
    "mg w v t c|",
    "md w I q|",
    "ms w 1 I C3 T9|3|",
    "mg w v t|",
    "mg w v|",
    "ms w 1|4|",
    "mg w v t|",
    "ms w 1 I|5|",
    "mg w v|",
    "mg viv N30 v t|",
    "mg viv N30 v t|",
    "mg viv R40|",
    "ms viv 1 T20|a|",
    "mg viv R10 t|",
    "mg viv R40 t|",
    "mg viv R40 t|",
    "md viv I|",
    "mg viv R40|",
    "mg viv|",
    "mg none N0 s c|",
    // Meta arithmetic.
    "ma c|",
    "ma c q|",
    "ma c q k O2|",
    "ma c N0 J7 v t c|",
    "ma c q|",
    "ma c MD D3 v q|",
    "ma c v|",
    "ma c M- D100 v|",
    "ma c M+ v|",
    "ma c MI c|",
    "ma c Mi|",
    "ma c MII|",
    "ma c Dx|",
    "ma c C1 v k|",
    "ma c T30 t v|",
    "ma c N60 t v|",
    "ma d N60 t v|",
    "ma k|",
    "ma c v v|",
    "ma f J5 N0 T-1|",
    "mg f v|",
    // Keys in base64.
    "mg YWJj b k|",
    "ms YWJj 1 b k c Ox|x|",
    "mg abc k v|",
    "mg YWJj b Ox k v|",
    "get abc|",
    "ma YWJj b|",
    "md YWJj b k|",
    "ms abc 1|1|",
    "mg YWJj b k v|",
    "ma YWJj b k v|",
    "ma YWJk b k N0|",
    "mg abd k|",
    "me abd|",
    // The rest.
    "me k|",
    "me k v|",
    "me none|",
    "set me 0 50 3|abc|",
    "get me|",
    "me me|",
    "mg|",
    "verbosity 1|",
    "verbosity|",
    "stats reset|",
    "stats nonsense|",
    "nonsense|",
    "GET k|",
    "flush_all x|",
    "flush_all 100|",
    "get me|",
    "flush_all noreply|",
    "get me|",
    "flush_all 0|",
    "flush_all -1|",
    "get k j me|",
];

#[test]
#[ignore = "needs memcached: run make it"]
fn a_node_answers_as_memcached_does() {
    let mut theirs = Server::memcached();
    let mut ours = Server::node();
    for text in EXCHANGES {
        let request = text.replace('|', "\r\n");
        let (ours, theirs) = (ours.ask(request.as_bytes()), theirs.ask(request.as_bytes()));
        assert!(same(&ours, &theirs), "{text}\n  ours   {ours:?}\n  theirs {theirs:?}");
    }
}

#[test]
#[ignore = "needs memcached: run make it"]
fn large_values_and_dates_are_taken_and_refused_as_memcached_does() {
    let mut theirs = Server::memcached();
    let mut ours = Server::node();
    let mut both = |request: &str| {
        let (ours, theirs) = (ours.ask(request.as_bytes()), theirs.ask(request.as_bytes()));
        assert!(same(&ours, &theirs), "{request:.40}\n  {ours:.80?}\n  {theirs:.80?}");
    };
    let value = |line: &str, len: usize| {
        format!("{}\r\n{}\r\n", line.replace("LEN", &len.to_string()), "x".repeat(len))
    };
    // The largest item is 1 MiB: 60 bytes of it are its head, its key and their ends.
    for (line, len) in [
        ("set k 0 0 LEN", (1 << 20) - 60),
        ("set k 0 0 LEN", 1 << 20),
        ("add k 0 0 LEN", (1 << 20) - 50),
        ("set k 0 0 LEN noreply", 2 << 20),
        ("ms k LEN", (1 << 20) - 59),
        ("ms k LEN ME", (1 << 20) - 59),
    ] {
        both(&value("set k 0 0 LEN", 1));
        both(&value(line, len));
        both("mg k s\r\n");
    }
    both(&value("set k 0 0 LEN", 600_000));
    both(&value("append k 0 0 LEN", 600_000));
    both("mg k s\r\n");

    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    both(&format!("set k 0 {} 1\r\na\r\n", now + 1000));
    both("mg k t\r\n");
    both(&format!("set k 0 {} 1\r\na\r\n", now - 1000));
    both("mg k t\r\n");
}

#[test]
#[ignore = "needs memcached: run make it"]
fn any_sequence_of_requests_leaves_a_node_where_it_leaves_memcached() {
    // `K` is a key and `#` a digit.
    const FORMS: &[&str] = &[
        "get K|",
        "gets K|",
        "get a K c|",
        "gat 0 K|",
        "gats 100 K|",
        "set K # 0 2|1#|",
        "add K 0 0 1|#|",
        "replace K 0 0 1|#|",
        "append K 0 0 1|#|",
        "prepend K 0 0 1|#|",
        "cas K 0 0 1 #|#|",
        "incr K #|",
        "decr K #|",
        "touch K #0|",
        "delete K|",
        "mg K v k c s f h|",
        "mg K t v q|",
        "mg K N30 v c|",
        "mg K R5#0 t|",
        "mg K T0 h u|",
        "mg YQ== b k v|",
        "ms K 1 c k|#|",
        "ms K 1 C1# c I|#|",
        "ms K 1 MA c|#|",
        "ms K 1 MP I C1#|#|",
        "ms K 1 ME T5#0|#|",
        "ms K 1 MR F#|#|",
        "ms YQ== 1 b k|#|",
        "ms YQ== 1 b MA|#|",
        "md K I|",
        "md K I T90|",
        "md K C# k|",
        "md K q|",
        "ma K D# v c k|",
        "ma K MD D1# v h|",
        "ma K N0 J# t|",
        "ma K C1# v|",
        "ma YQ== b N0 k v|",
        "mg YQ== b N0 k|",
        "me K|",
    ];
    let mut theirs = Server::memcached();
    let mut ours = Server::node();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    let mut history = Vec::new();
    for _ in 0..20_000 {
        let form = FORMS[random(FORMS.len())];
        let text = form.replace('K', ["a", "b", "c"][random(3)]);
        let text = text.replace('#', &random(10).to_string());
        history.push(text.clone());
        let request = text.replace('|', "\r\n");
        let (ours, theirs) = (ours.ask(request.as_bytes()), theirs.ask(request.as_bytes()));
        let last = &history[history.len().saturating_sub(12)..];
        assert!(same(&ours, &theirs), "{last:#?}\n  ours   {ours:?}\n  theirs {theirs:?}");
    }
}

fn demo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nuthatch"));
    command.arg("demo").args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

#[test]
fn a_demo_once_shows_a_table_and_that_every_answer_was_right() {
    // Where it would listen is taken, by us or by somebody else.
    let _taken = TcpListener::bind("127.0.0.1:11211");
    let output = demo(&["--once"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("\nPort 11211 is in use, so the proxy listens on port 112"), "{text}");
    assert!(text.contains("\n    distribution: ketama\n"), "{text}");
    assert!(text.contains("\n24,400 requests in "), "{text}");
    assert!(text.ends_with("\nEvery reply was correct.\n"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");

    assert_eq!(
        rows(&text, "  memcached-cluster-"),
        [
            "memcached-cluster-0 3,141 3,141 7,762 31.4 %",
            "memcached-cluster-1 3,825 3,825 9,451 38.2 %",
            "memcached-cluster-2 3,034 3,034 7,474 30.3 %",
        ]
    );
}

/// The rows of the table without the addresses. Names decide who has a key, and so the table is
/// always the same but for the ports.
fn rows(text: &str, begin: &str) -> Vec<String> {
    let rows = text.lines().filter(|line| line.starts_with(begin));
    let words = rows.map(|row| row.split_whitespace().collect::<Vec<_>>());
    words.map(|words| [&words[..1], &words[2..]].concat().join(" ")).collect()
}

#[test]
fn a_demo_can_be_tried_until_ctrl_c_and_leaves_nothing_behind() {
    let mut running = Running(demo(&[]).spawn().unwrap());
    let mut lines = BufReader::new(running.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut line = |begin: &str| lines.find(|line| line.trim().starts_with(begin)).unwrap();
    let nc = line("printf 'set greeting");
    let port: u16 = nc.rsplit(' ').next().unwrap().parse().unwrap();
    let route = line(env!("CARGO_BIN_EXE_nuthatch"));
    let file = route.split(' ').find(|word| word.ends_with(".yml")).unwrap();
    line("Press Ctrl-C to stop the demo.");

    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    client.write_all(b"set greeting 0 0 5\r\nhello\r\nget greeting\r\nquit\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "STORED\r\nVALUE greeting 0 5\r\nhello\r\nEND\r\n");
    let mut route = Command::new(env!("CARGO_BIN_EXE_nuthatch"));
    let routed = route.args(["route", "-c", file, "greeting"]).output().unwrap();
    let routed = String::from_utf8(routed.stdout).unwrap();
    assert_eq!(routed, "greeting\ta0b52af6\tmemcached-cluster-2\n");

    assert_eq!(running.end(Signal::INT), Some(0));
    assert!(!Path::new(file).exists());
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[test]
fn a_node_ends_well_when_it_is_asked_to() {
    let mut node = Server::node();
    assert_eq!(
        node.ask(b"version\r\n"),
        format!("VERSION 1.6.18 nuthatch {}\r\n", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(node.running.end(Signal::TERM), Some(0));
}

#[test]
fn a_node_tells_its_figures_and_keeps_within_its_memory() {
    let mut node = Server::node();
    let value = "x".repeat(100_000);
    for i in 0..400 {
        let stored = node.ask(format!("set k{i} 0 0 100000\r\n{value}\r\n").as_bytes());
        assert_eq!(stored, "STORED\r\n");
    }
    assert_eq!(node.ask(b"get missing\r\n"), "END\r\n");
    let stats = node.ask(b"stats\r\n");
    let figure = |name: &str| -> u64 {
        let line = stats.split("\r\n").find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().parse().unwrap()
    };
    assert_eq!(figure("STAT limit_maxbytes "), 16 << 20);
    assert!(figure("STAT bytes ") <= 16 << 20);
    assert!((100..=167).contains(&figure("STAT curr_items ")), "{stats}");
    assert_eq!((figure("STAT cmd_set "), figure("STAT get_misses ")), (400, 1));
}
