//! Client libraries as people use them, and libmemcached's own test of a server's capabilities.
//!
//! The libraries run in a virtual environment of their own under the target directory, which is
//! made on first use from `tests/clients/requirements.txt` and that of the example in Python.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::OnceLock;

use crate::conn::Conn;
use crate::harness::{Memcached, Program, Proxy};

#[test]
#[ignore = "needs memcached and Python packages: run make it"]
fn pymemcache_works_through_the_proxy() {
    run_script("with_pymemcache.py");
}

#[test]
#[ignore = "needs memcached and Python packages: run make it"]
fn pylibmc_works_through_the_proxy() {
    run_script("with_pylibmc.py");
}

#[test]
#[ignore = "needs memcached and Python packages: run make it"]
fn python_memcached_works_through_the_proxy() {
    run_script("with_python_memcached.py");
}

#[test]
#[ignore = "needs memcached and Python packages: run make it"]
fn django_with_pylibmc_works_through_the_proxy() {
    run_script("with_django.py");
}

#[test]
#[ignore = "needs memcached and memccapable: run make it"]
fn libmemcacheds_capability_tests_end_as_on_plain_memcached() {
    let (_servers, proxy) = three_servers();
    let plain = Memcached::start();
    let (through, direct) = (capabilities(proxy.port), capabilities(plain.port));
    assert_eq!(direct.len(), 27, "{direct:?}");
    assert!(direct.values().all(|result| result == "pass"), "{direct:?}");
    assert_eq!(through, direct);
}

#[test]
#[ignore = "needs memcached and memcaslap: run make it"]
fn a_load_of_memcaslap_with_control_bytes_in_keys_runs_as_on_plain_memcached() {
    for keys_of_a_get in [1, 50] {
        let (servers, proxy) = three_servers();
        let plain = Memcached::start();
        let wanted = [
            "set proportion: set_prop=0.10",
            "get proportion: get_prop=0.90",
            "cmd_get: 18000",
            "cmd_set: 2000",
            "get_misses: 0",
            "verify_misses: 0",
            "verify_failed: 0",
        ];
        let direct = load(plain.port, keys_of_a_get);
        let through = load(proxy.port, keys_of_a_get);
        for line in wanted {
            assert!(direct.iter().any(|other| other == line), "no {line:?} in {direct:#?}");
        }
        let others = through.iter().filter(|line| !direct.contains(line)).take(5);
        let others: Vec<_> = others.collect();
        assert!(through == direct, "{keys_of_a_get} keys a get: {others:#?}");

        let stats = stats(&mut proxy.conn());
        let stat = |name: &str| stats[name].as_str();
        let (hits, misses) = (stat("get_hits"), stat("get_misses"));
        assert_eq!((stat("cmd_get"), hits, misses), ("18000", "18000", "0"), "{keys_of_a_get}");
        for errors in ["client_request_errors", "client_framing_lost", "desync_total"] {
            assert_eq!(stat(errors), "0", "{errors}");
        }
        for server in &servers {
            let sets = self::stats(&mut server.conn())["cmd_set"].parse::<u32>().unwrap();
            assert!(sets > 0, "one of three servers got no key");
        }
    }
}

/// What memcaslap says of a load with keys of 64 random bytes, but for the server and the times. It
/// looks at every value that it gets.
fn load(port: u16, keys_of_a_get: u32) -> Vec<String> {
    let output = Command::new("memcaslap")
        .args(["-s", &format!("127.0.0.1:{port}")])
        .args(["-T", "1", "-c", "4", "-w", "1k", "-X", "100", "-v", "1"])
        .args(["-x", "20000", "-d", &keys_of_a_get.to_string()])
        .output()
        .expect("memcaslap is installed: run \"make deps\"");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.is_empty(), "memcaslap: {}: {told}", output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines().filter(|line| {
        !line.is_empty() && !line.starts_with("servers: ") && !line.starts_with("Run time: ")
    });
    lines.map(str::to_owned).collect()
}

/// The figures that a server, or the proxy, answers to `stats`.
fn stats(conn: &mut Conn) -> BTreeMap<String, String> {
    conn.send("stats\r\n");
    let reply = conn.read_until(b"END\r\n").unwrap();
    let text = String::from_utf8(reply).unwrap();
    let figures = text.lines().filter_map(|line| line.strip_prefix("STAT ")?.split_once(' '));
    figures.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn three_servers() -> (Vec<Memcached>, Proxy) {
    let servers = Memcached::start_many(3);
    let entries: Vec<_> = servers.iter().map(Memcached::entry).collect();
    let settings = "hash: md5\nallow_flush: true";
    let proxy = Proxy::with_pool(Program::UnderTest, settings, &entries);
    (servers, proxy)
}

/// Runs a script of `tests/clients` and panics with what it says unless it ends well.
fn run_script(name: &str) {
    let (_servers, proxy) = three_servers();
    run_script_at(name, proxy.port);
}

/// As `run_script`, with a proxy at this port.
pub(crate) fn run_script_at(name: &str, port: u16) {
    let script = clients_dir().join(name);
    let output =
        Command::new(python()).arg(script).args(["127.0.0.1", &port.to_string()]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && output.stdout == b"ok\n", "{name}: {text}");
}

/// What memccapable says of each of its text protocol tests.
fn capabilities(port: u16) -> BTreeMap<String, String> {
    let output = Command::new("memccapable")
        .args(["-a", "-h", "127.0.0.1", "-p", &port.to_string()])
        .output()
        .expect("memccapable is installed: run \"make deps\"");
    let text = String::from_utf8_lossy(&output.stdout);
    let results = text.lines().filter_map(|line| {
        let (name, result) = line.strip_suffix(']')?.rsplit_once('[')?;
        Some((name.trim().to_owned(), result.to_owned()))
    });
    results.collect()
}

/// The interpreter of the environment with the libraries.
pub(crate) fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let wanted = [
            clients_dir().join("requirements.txt"),
            repository().join("examples/python/requirements.txt"),
        ];
        environment("clients", &wanted, &[], |_| {}).join("bin/python")
    })
}

/// The home of a virtual environment with the packages of these files. When it is made, `furnish` adds what
/// the `others` say.
pub(crate) fn environment(
    kind: &str,
    wanted: &[PathBuf],
    others: &[PathBuf],
    furnish: impl FnOnce(&Path),
) -> PathBuf {
    // Named after what is in it, so that other requirements make another one.
    let mut hasher = DefaultHasher::new();
    for file in wanted.iter().chain(others) {
        fs::read(file).unwrap().hash(&mut hasher);
    }
    let name = format!("{kind}.{:016x}", hasher.finish());
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let ready = target.join(&name);
    if !ready.join("bin/python").exists() {
        let making = target.join(format!("{name}.{}", process::id()));
        must(Command::new("python3").args(["-m", "venv"]).arg(&making));
        must(
            Command::new(making.join("bin/python"))
                .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
                .args(wanted.iter().flat_map(|file| [Path::new("-r"), file])),
        );
        furnish(&making);
        // Another test program may have been faster: then its environment serves as well.
        if fs::rename(&making, &ready).is_err() {
            fs::remove_dir_all(&making).unwrap();
        }
    }
    ready
}

fn clients_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

pub(crate) fn must(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: run \"make deps\"\n{text}");
}
