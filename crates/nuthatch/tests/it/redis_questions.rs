//! What the proxy itself answers to clients of a Redis pool, as clients and `redis-cli` read it.
//!
//! The rule: an answer comes in the form of the protocol version that its client has asked for, and
//! in its turn between the other replies. No server is needed for that, so most tests have none.

use std::io::{BufRead, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::conn::{Conn, PATIENCE};
use crate::harness::{Program, Proxy, Redis, free_port, pool};
use crate::http;

/// A proxy with a Redis pool whose servers are not there.
fn proxy(settings: &str) -> Proxy {
    let servers = [format!("127.0.0.1:{}:1 one", free_port()), "127.0.0.1:1:1 two".to_owned()];
    Proxy::with_pool(Program::UnderTest, &format!("redis: true\n{settings}"), &servers)
}

/// The bytes of a bulk or verbatim string that is the reply to a request.
fn text(conn: &mut Conn, request: &str) -> String {
    conn.send(format!("{request}\r\n"));
    let header = String::from_utf8(conn.read_line().unwrap()).unwrap();
    let len: usize = header.trim_end()[1..].parse().unwrap_or_else(|_| panic!("{header}"));
    let bytes = conn.read_exact(len + 2).unwrap();
    String::from_utf8(bytes[..len].to_vec()).unwrap()
}

/// Waits until it is so.
fn until(mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < PATIENCE, "this never happened");
    }
}

/// The value of a line of `INFO`.
fn figure(info: &str, name: &str) -> String {
    let found = info.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
    found.unwrap_or_else(|| panic!("{name} in {info}")).to_owned()
}

#[test]
fn an_answer_has_the_form_of_its_clients_protocol_version() {
    let proxy = proxy("");
    let (mut old, mut new) = (proxy.conn(), proxy.conn());
    new.send("HELLO 3\r\n");
    new.read_until(b"modules\r\n*0\r\n").unwrap();
    for _ in 0..3 {
        old.ask("CONFIG GET save\r\n", "*2\r\n$4\r\nsave\r\n$0\r\n\r\n");
        new.ask("CONFIG GET save\r\n", "%1\r\n$4\r\nsave\r\n$0\r\n\r\n");
    }
    new.ask("INFO keyspace\r\n", "=16\r\ntxt:# Keyspace\r\n\r\n");
    old.ask("INFO keyspace\r\n", "$12\r\n# Keyspace\r\n\r\n");
}

#[test]
fn answers_come_in_the_order_of_the_requests() {
    let proxy = proxy("");
    let mut conn = proxy.conn();
    conn.ask(
        "PING\r\nINFO keyspace\r\nECHO a\r\nCOMMAND GETKEYS GET k\r\nCONFIG GET nosuch\r\nPING\r\n",
        "+PONG\r\n$12\r\n# Keyspace\r\n\r\n$1\r\na\r\n*1\r\n$1\r\nk\r\n*0\r\n+PONG\r\n",
    );
}

#[test]
fn a_client_is_told_of_itself_and_of_nobody_else() {
    let proxy = proxy("");
    let (mut one, mut other) = (proxy.conn(), proxy.conn());
    one.ask("CLIENT SETNAME one\r\n", "+OK\r\n");
    other.ask("CLIENT SETNAME other\r\n", "+OK\r\n");
    let line = text(&mut one, "CLIENT LIST");
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(line.contains(" name=one "), "{line}");
    assert!(text(&mut other, "CLIENT INFO").contains(" name=other "));
}

#[test]
fn command_alone_lists_as_many_commands_as_command_count_says() {
    let proxy = proxy("");
    let mut conn = proxy.conn();
    conn.send("COMMAND COUNT\r\n");
    let count = String::from_utf8(conn.read_line().unwrap()).unwrap();
    let count: usize = count.trim_end()[1..].parse().unwrap();
    assert!(count > 300, "{count}");
    conn.send("COMMAND\r\n");
    conn.expect(format!("*{count}\r\n*10\r\n"));
}

#[test]
fn a_client_without_the_password_learns_nothing() {
    let proxy = proxy("redis_auth: s3cret");
    let mut conn = proxy.conn();
    for question in ["INFO", "COMMAND", "CONFIG GET *", "CLIENT LIST"] {
        conn.ask(format!("{question}\r\n"), "-NOAUTH Authentication required.\r\n");
    }
    conn.ask("AUTH s3cret\r\n", "+OK\r\n");
    assert!(!text(&mut conn, "INFO").contains("s3cret"));
}

#[test]
fn a_question_inside_a_transaction_is_refused() {
    let proxy = proxy("");
    let mut conn = proxy.conn();
    conn.ask("MULTI\r\n", "+OK\r\n");
    conn.ask("INFO\r\n", "-ERR Command not allowed inside a transaction\r\n");
    conn.ask("EXEC\r\n", "-EXECABORT Transaction discarded because of previous errors.\r\n");
}

#[test]
fn a_subcommand_that_is_refused_is_named_with_its_container() {
    let proxy = proxy("");
    let mut conn = proxy.conn();
    for (request, error) in [
        ("SLOWLOG GET", "-ERR 'slowlog|get' is about one server, and this pool has several\r\n"),
        (
            "CLIENT PAUSE 1",
            "-ERR 'client|pause' is not supported: the clients of a server are connections of the \
             proxy\r\n",
        ),
        ("MONITOR", "-ERR 'monitor' is not supported: the proxy shares its server connections\r\n"),
    ] {
        conn.ask(format!("{request}\r\n"), error);
    }
}

#[test]
fn a_client_too_many_is_told_so_in_the_words_of_redis() {
    let proxy = proxy("client_connections: 1");
    // The harness has looked whether the port accepts; its client may not have gone yet.
    let mut first = proxy.conn();
    until(|| {
        first = proxy.conn();
        first.send("PING\r\n");
        matches!(first.read_line(), Ok(line) if line == b"+PONG\r\n")
    });
    let mut second = proxy.conn();
    second.expect("-ERR max number of clients reached\r\n");
    second.expect_closed();
    let info = text(&mut first, "INFO clients");
    assert_eq!(figure(&info, "connected_clients"), "1");
    assert_eq!(figure(&info, "maxclients"), "1");
}

#[test]
fn the_admin_port_knows_any_bytes_as_a_key_of_a_redis_pool() {
    let (port, admin) = (free_port(), free_port());
    let config = pool(port, "redis: true", &["127.0.0.1:1:1".to_owned()]);
    let flag = format!("--admin=127.0.0.1:{admin}");
    let _proxy = Proxy::start_with(Program::UnderTest, &config, &[port, admin], &[&flag]);
    let long = "k".repeat(300);
    for key in ["a%20b", "a%0D%0Ab", "%00", &long] {
        let request =
            format!("GET /route?key={key} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let page = http::ask(admin, &request);
        assert_eq!(page.status, 200, "{key}: {page:?}");
    }
}

#[test]
#[ignore = "needs redis-server: run make it"]
fn hits_and_misses_are_counted_by_key() {
    let servers = Redis::start_many(2);
    let entries: Vec<_> = servers.iter().map(Redis::entry).collect();
    let proxy = Proxy::with_pool(Program::UnderTest, "redis: true\nhash: murmur", &entries);
    let mut conn = proxy.conn();
    conn.ask("MSET a 1 b 2 c 3 d 4 e 5\r\n", "+OK\r\n");
    let names = [
        "get_hits",
        "get_misses",
        "delete_hits",
        "delete_misses",
        "touch_hits",
        "touch_misses",
        "incr_hits",
    ];
    let counted = |conn: &mut Conn| {
        let info = text(conn, "INFO nuthatch");
        names.map(|name| figure(&info, name).parse::<u64>().unwrap())
    };
    for (request, reply, growth) in [
        ("GET a", "$1\r\n1\r\n", [1, 0, 0, 0, 0, 0, 0]),
        ("GET none", "$-1\r\n", [0, 1, 0, 0, 0, 0, 0]),
        (
            "MGET a b c none",
            "*4\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n$-1\r\n",
            [3, 1, 0, 0, 0, 0, 0],
        ),
        ("EXISTS a", ":1\r\n", [1, 0, 0, 0, 0, 0, 0]),
        ("EXISTS none", ":0\r\n", [0, 1, 0, 0, 0, 0, 0]),
        ("EXISTS a b none c", ":3\r\n", [3, 1, 0, 0, 0, 0, 0]),
        ("EXPIRE a 100", ":1\r\n", [0, 0, 0, 0, 1, 0, 0]),
        ("EXPIRE none 100", ":0\r\n", [0, 0, 0, 0, 0, 1, 0]),
        ("GETEX none", "$-1\r\n", [0, 0, 0, 0, 0, 1, 0]),
        ("TOUCH a b none", ":2\r\n", [0, 0, 0, 0, 2, 1, 0]),
        ("INCR n", ":1\r\n", [0, 0, 0, 0, 0, 0, 1]),
        ("MULTI\r\nGET a\r\nEXEC", "+OK\r\n+QUEUED\r\n*1\r\n$1\r\n1\r\n", [0, 0, 0, 0, 0, 0, 0]),
        ("DEL a", ":1\r\n", [0, 0, 1, 0, 0, 0, 0]),
        ("DEL a", ":0\r\n", [0, 0, 0, 1, 0, 0, 0]),
        ("UNLINK a b c d", ":3\r\n", [0, 0, 3, 1, 0, 0, 0]),
    ] {
        let before = counted(&mut conn);
        conn.ask(format!("{request}\r\n"), reply);
        let after = counted(&mut conn);
        let grown: Vec<u64> =
            after.iter().zip(before).map(|(after, before)| after - before).collect();
        assert_eq!(grown, growth, "{request}: {names:?}");
    }
    let info = text(&mut conn, "INFO");
    assert_eq!(figure(&info, "keyspace_hits"), figure(&info, "get_hits"));
    assert!(figure(&info, "server0").contains(",state=up,"), "{info}");
}

#[test]
#[ignore = "needs redis-server: run make it"]
fn connections_for_one_client_alone_are_counted_while_they_are_used() {
    let server = Redis::start();
    let settings = "redis: true\ndedicated_connections_max: 1";
    let proxy = Proxy::with_pool(Program::UnderTest, settings, &[server.entry()]);
    let mut asking = proxy.conn();
    let mut used = |count: &str| {
        let name = "dedicated_connections";
        until(|| figure(&text(&mut asking, "INFO nuthatch"), name) == count);
        figure(&text(&mut asking, "INFO nuthatch"), "limit_dedicated")
    };
    assert_eq!(used("0"), "0");
    let mut subscriber = proxy.conn();
    subscriber.ask("SUBSCRIBE news\r\n", "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n");
    assert_eq!(used("1"), "0");
    let mut other = proxy.conn();
    other.send("BLPOP list 1\r\n");
    assert!(other.read_line().unwrap().starts_with(b"-ERR no server connection is free"));
    assert_eq!(used("1"), "1");
    drop(subscriber);
    assert_eq!(used("0"), "1");
    other.ask("WATCH a\r\n", "+OK\r\n");
    assert_eq!(used("1"), "1");
    other.ask("UNWATCH\r\n", "+OK\r\n");
    assert_eq!(used("0"), "1");
}

fn redis_cli(proxy: &Proxy, arguments: &[&str]) -> Child {
    let mut command = Command::new("redis-cli");
    command.args(["-p", &proxy.port.to_string()]).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
}

/// What redis-cli prints for the lines that a person types.
fn typed(proxy: &Proxy, arguments: &[&str], lines: &str) -> String {
    let mut child = redis_cli(proxy, arguments);
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
#[ignore = "needs redis-cli: run make it"]
fn redis_cli_reads_every_answer_in_both_protocol_versions() {
    let proxy = proxy("");
    for version in [&[][..], &["-3"]] {
        let told = typed(&proxy, version, "help hget\nping\ncommand docs get\ninfo replication\n");
        assert!(told.contains("HGET"), "{told}");
        assert!(told.contains("Goes to the server of its keys."), "{told}");
        assert!(told.contains("PONG"), "{told}");
        assert!(told.contains("role:master"), "{told}");
    }
}

#[test]
#[ignore = "needs redis-cli: run make it"]
fn redis_cli_shows_the_figures_of_its_stat_mode() {
    let proxy = proxy("");
    let mut child = redis_cli(&proxy, &["--stat", "-i", "0.1"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // Two lines of heads, then the figures.
    let figures = lines.nth(2).unwrap().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let words: Vec<_> = figures.split_whitespace().collect();
    // keys, memory, clients, blocked, requests, the growth of requests, connections
    assert_eq!((words[0], words[3]), ("0", "0"), "{figures}");
    assert!(words[2].parse::<u64>().unwrap() >= 1, "{figures}");
    assert!(!figures.contains('-'), "{figures}");
}
