//! Whole configurations: what they mean, and every way in which one can be wrong.

use std::collections::HashMap;

use rustix::time::{ClockId, clock_gettime};

use super::directive::{DIRECTIVES, Kind, Pools};
use super::*;

mod discovered;
mod documentation;
mod gutter;
mod redis_pools;
mod variables;
mod wrong;

fn parse(text: &str) -> Result<Config, ConfigErrors> {
    Config::parse(Path::new("a.yml"), text.as_bytes())
}

fn read(text: &str) -> Config {
    parse(text).unwrap_or_else(|errors| panic!("{errors}"))
}

/// The lines of the errors of `text`.
fn faults(text: &str) -> Vec<String> {
    let errors = parse(text).expect_err("the configuration is wrong");
    errors.to_string().lines().map(Into::into).collect()
}

fn environment(variables: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    let variables: HashMap<_, _> = variables.iter().copied().collect();
    Config::from_environment(|name| variables.get(name).map(|text| (*text).to_owned()))
}

/// A good pool with one more directive in line 4.
fn with(directive: &str) -> String {
    format!("alpha:\n  listen: 127.0.0.1:1\n  servers: [a:1:1]\n  {directive}\n")
}

fn tcp(host: &str, port: u16) -> Address {
    Address::Tcp { host: host.into(), port }
}

#[test]
fn a_pool_with_only_what_it_must_have_gets_twemproxys_defaults() {
    let config = read("alpha:\n  listen: 127.0.0.1:22121\n  servers:\n   - 127.0.0.1:11211:1\n");
    let pool = config.pool("alpha").unwrap();
    assert_eq!(pool.listen, [Listen::Tcp { host: "127.0.0.1".into(), port: 22121 }]);
    assert_eq!(pool.hash, Hash::Fnv1a_64);
    assert_eq!(pool.hash_tag, None);
    assert_eq!(pool.distribution, Distribution::Ketama);
    assert_eq!(pool.timeout, None);
    assert_eq!(pool.backlog, 512);
    assert_eq!(pool.client_connections, 0);
    assert!(!pool.tcpkeepalive && !pool.reuseport && !pool.preconnect && !pool.auto_eject_hosts);
    assert_eq!(pool.server_connections, 1);
    assert_eq!(pool.server_retry_timeout, Duration::from_secs(30));
    assert_eq!(pool.server_failure_limit, 2);
    assert!(!pool.redis && !pool.allow_flush && !pool.allow_keys);
    assert!(pool.redis_auth.is_none() && pool.redis_user.is_none());
    assert_eq!((pool.redis_db, pool.cross_shard), (0, CrossShard::Error));
    assert_eq!((pool.dedicated_connections_max, &*pool.module_commands), (256, &[][..]));
    assert_eq!(
        pool.limits,
        Limits {
            item_size_max: 67_108_864,
            keys_max: 262_144,
            line_max: 33_554_432,
            client_requests_max: 1024,
            client_buffer_max: 1_048_576,
            client_backlog_max: 134_217_728,
            server_requests_max: 16384,
            server_buffer_max: 16_777_216,
            memory_max: 536_870_912,
        }
    );
    assert_eq!(config.source, Source::File("a.yml".into()));
    assert!(config.notes.is_empty());
}

#[test]
fn every_directive_is_read_into_its_field() {
    let config = read(
        "alpha:
  listen: [\"[::1]:1\", /run/a.sock 0660]
  hash: murmur
  hash_tag: \"{}\"
  distribution: modula
  timeout: 400
  backlog: 1024
  client_connections: 99
  redis: false
  tcpkeepalive: true
  reuseport: true
  redis_db: 0
  preconnect: true
  auto_eject_hosts: true
  server_connections: 3
  server_retry_timeout: 2000
  server_failure_limit: 5
  allow_flush: true
  item_size_max: 1m
  keys_max: 100
  line_max: 64k
  client_requests_max: 16
  client_buffer_max: 2k
  client_backlog_max: 2m
  server_requests_max: 32
  server_buffer_max: 3m
  memory_max: 1G
  servers:
   - b:11211:2 beta
   - /tmp/s:1
",
    );
    let pool = &config.pools[0];
    assert_eq!(
        pool.listen,
        [
            Listen::Tcp { host: "::1".into(), port: 1 },
            Listen::Unix { path: "/run/a.sock".into(), mode: Some(0o660) }
        ]
    );
    assert_eq!(pool.hash, Hash::Murmur);
    assert_eq!(pool.hash_tag, Some(HashTag::new(b'{', b'}')));
    assert_eq!(pool.distribution, Distribution::Modula);
    assert_eq!(pool.timeout, Some(Duration::from_millis(400)));
    assert_eq!((pool.backlog, pool.client_connections), (1024, 99));
    assert!(pool.tcpkeepalive && pool.reuseport && pool.preconnect && pool.auto_eject_hosts);
    assert_eq!((pool.server_connections, pool.server_failure_limit), (3, 5));
    assert_eq!(pool.server_retry_timeout, Duration::from_secs(2));
    assert!(pool.allow_flush);
    let limits = pool.limits;
    assert_eq!((limits.item_size_max, limits.keys_max, limits.line_max), (1 << 20, 100, 65536));
    assert_eq!((limits.client_requests_max, limits.client_buffer_max), (16, 2048));
    assert_eq!((limits.client_backlog_max, limits.server_requests_max), (2 << 20, 32));
    assert_eq!((limits.server_buffer_max, limits.memory_max), (3 << 20, 1 << 30));
    let server = |name: &str, address, weight, configured: &str, named, index| {
        let (name, configured, discovered) = (name.into(), configured.into(), false);
        Server { name, address, weight, configured, named, discovered, index }
    };
    assert_eq!(
        pool.servers,
        [
            server("beta", tcp("b", 11211), 2, "b:11211:2", true, 0),
            server("/tmp/s:", Address::Unix("/tmp/s".into()), 1, "/tmp/s:1", false, 1),
        ]
    );
}

#[test]
fn servers_and_pools_stand_in_twemproxys_order() {
    let config = read(
        "mcdns: {listen: \"a:1\", servers: [a:1:1]}
rd: {listen: \"a:2\", servers: [\"b:1:1 zz\", \"b:2:2 aaa\", b:3:1 m]}
mc: {listen: \"a:3\", servers: [a:1:1]}
",
    );
    let names: Vec<_> = config.pools.iter().map(|pool| pool.name.as_str()).collect();
    assert_eq!(names, ["mc", "rd", "mcdns"]);
    let servers = &config.pool("rd").unwrap().servers;
    let servers: Vec<_> = servers.iter().map(|s| (s.name.as_str(), s.index)).collect();
    assert_eq!(servers, [("m", 2), ("zz", 0), ("aaa", 1)]);
}

#[test]
fn scalars_may_be_quoted() {
    let config = read(
        "memcached:
  listen: 127.0.0.1:11211
  hash: \"fnv1a_64\"
  distribution: \"ketama\"
  auto_eject_hosts: \"true\"
  timeout: \"2000\"
  server_retry_timeout: \"2000\"
  server_failure_limit: \"1\"
  servers:
    - memcached-cluster-0.memcached-cluster:11211:1
    - memcached-cluster-1.memcached-cluster:11211:1
",
    );
    let pool = &config.pools[0];
    assert!(pool.auto_eject_hosts);
    assert_eq!(pool.timeout, Some(Duration::from_secs(2)));
    assert_eq!(pool.servers[0].name, "memcached-cluster-0.memcached-cluster");
}

#[test]
fn sentinels_are_passed_over_with_a_note() {
    for value in ["", "[a:1:1]", "{a: {b: c}}"] {
        let config = read(&with(&format!("sentinels: {value}")));
        assert_eq!(config.notes.len(), 1);
        assert_eq!(
            config.notes[0].located(&config.source).to_string(),
            "a.yml:4:3: alpha.sentinels: directive \"sentinels\" has no effect, as in twemproxy; \
             remove it"
        );
    }
}

#[test]
fn minus_one_is_no_timeout_and_a_failure_limit_of_zero_is_one() {
    assert_eq!(read(&with("timeout: -1")).pools[0].timeout, None);
    assert_eq!(read(&with("timeout: 0")).pools[0].timeout, None);
    assert_eq!(read(&with("server_failure_limit: 0")).pools[0].server_failure_limit, 1);
}

#[test]
fn plain_yaml_is_taken_where_twemproxy_wants_one_style_only() {
    let config = read("---\n# one\nalpha: {listen: 'h:1', servers: ['a:1:1 x', b:1:1]}\n...\n");
    assert_eq!(config.pools[0].servers.len(), 2);
    assert_eq!(read(&with("timeout: &t 5")).pools[0].timeout, Some(Duration::from_millis(5)));
    let one = read("alpha:\n  listen: h:1\n  servers: a:1:1 x\n");
    assert_eq!(one.pools[0].servers[0].name, "x");
    let ports = read("a: {listen: [\"h:0\", \"h:0\"], servers: [a:1:1]}\n");
    assert_eq!(ports.pools[0].listen.len(), 2);
}

/// How long this thread has worked: another one that works takes nothing from that.
fn seconds_of_work() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// How long it takes to check a file with so many servers and pools, and to look for traps.
fn seconds_to_check(count: usize) -> f64 {
    let mut text = String::from("many:\n  listen: h:1\n  timeout: 9\n  hash: md5\n  servers:\n");
    for i in 0..count {
        text += &format!("   - \"h{i}:1:1 server{i}\"\n");
    }
    for i in 0..count / 4 {
        text += &format!("p{i}: {{listen: \"l{i}:1\", timeout: 9, servers: [a:1:1]}}\n");
    }
    text += "directives:\n";
    for i in 0..count / 4 {
        text += &format!("  sentinels{i}: 1\n");
    }
    let (known, _) = text.split_once("directives:").unwrap();
    let start = seconds_of_work();
    assert_eq!(lint::warnings(&read(known)).len(), 0);
    assert_eq!(faults(&text).len(), count / 4 + 2);
    seconds_of_work() - start
}

#[test]
fn four_times_the_servers_take_about_four_times_the_time() {
    let best = |count| (0..4).map(|_| seconds_to_check(count)).fold(f64::MAX, f64::min);
    let (few, many) = (best(300), best(1200));
    assert!(many < few * 7.0, "{few} seconds for 300 servers, {many} for 1200");
}

#[test]
fn every_default_of_the_tables_is_read() {
    let config = read("a: {listen: \"h:1\", servers: [a:1:1]}\n");
    let mut pool = config.pools[0].clone();
    for directive in DIRECTIVES {
        if let Some(default) = directive.default {
            assert_eq!(directive.set(&mut pool, default), Ok(()), "{}", directive.name);
        }
        assert!(directive.doc.ends_with('.'), "{}", directive.name);
    }
    assert_eq!(DIRECTIVES.iter().filter(|d| matches!(d.kind, Kind::Ignored)).count(), 1);
}

/// As the real nutcracker says on its statistics port.
#[test]
fn names_and_hash_tags_may_have_control_characters_as_in_twemproxy() {
    let config = read(
        "\"p\\tq\":
  listen: a:1
  hash_tag: \"\\t|\"
  servers:
   - \"a:1:1 \\tx\\x01\\Ny\"
   - |
     a:2:1 x
   - >
     a:3:1 x3
   - >-
     a:4:1 x45
",
    );
    let pool = config.pool("p\tq").unwrap();
    assert_eq!(pool.hash_tag, Some(HashTag::new(b'\t', b'|')));
    let names: Vec<_> = pool.servers.iter().map(|server| server.name.as_str()).collect();
    assert_eq!(names, ["x\n", "x3\n", "x45", "\tx\u{1}\u{85}y"]);
    assert!(read(&with("hash_tag: \"\\x01\\x02\"")).pools[0].hash_tag.is_some());
    for server in ["a:1:1\\n", "a:1:1\\tx", "a\\t:1:1 x", "a:1:1 x\\0y"] {
        let text = format!("a: {{listen: \"h:1\", servers: [\"{server}\"]}}\n");
        assert!(parse(&text).is_err(), "{server}");
    }
}

#[test]
fn a_pool_is_chosen_by_name_or_because_it_is_alone() {
    let two =
        read("a: {listen: \"h:1\", servers: [a:1:1]}\nb: {listen: \"h:2\", servers: [a:1:1]}\n");
    assert_eq!(two.choose(Some("b")).unwrap().name, "b");
    assert_eq!(two.choose(None).unwrap_err(), "a.yml: choose a pool with -p: a, b");
    assert_eq!(
        two.choose(Some("c")).unwrap_err(),
        "a.yml: there is no pool 'c'; the pools are a, b"
    );
    assert_eq!(read(&with("timeout: 1")).choose(None).unwrap().name, "alpha");
}

/// A pool with one more setting.
fn with_setting(setting: &str) -> Result<Config, ConfigErrors> {
    let text = format!("alpha:\n  listen: h:1\n  servers: [\"a:1:1\"]\n  {setting}\n");
    Config::parse(Path::new("a.yml"), text.as_bytes())
}

#[test]
fn keys_move_only_in_a_pool_whose_requests_have_a_time() {
    for timeout in ["", "timeout: -1", "timeout: 0"] {
        let setting = format!("migrate: {{window: 10m}}\n  {timeout}");
        let told = with_setting(&setting).unwrap_err().to_string();
        let expected = "a.yml:4:13: alpha.migrate.window: conf: directive \"migrate.window\" needs a \
            timeout; add timeout with a number of milliseconds, such as 400: without it a request may \
            stay at its old server while values move";
        assert_eq!(told.trim_end(), expected, "{timeout}");
    }
    assert!(with_setting("migrate: {window: 10m}\n  timeout: 400").is_ok());
    assert!(with_setting("migrate: {window: 0s, settle: 1s}").is_ok(), "no keys move");
}

#[test]
fn a_directive_with_parts_is_read_in_each_way_that_yaml_has() {
    for setting in [
        "migrate: {window: 10m, settle: 90s}",
        "migrate:\n    window: 600s\n    settle: 90000ms",
        "migrate.window: 10m\n  migrate.settle: 90s",
    ] {
        let config = with_setting(&format!("{setting}\n  timeout: 400"));
        let pool = config.unwrap_or_else(|errors| panic!("{errors}")).pools.remove(0);
        assert_eq!(pool.migrate_window, Duration::from_secs(600), "{setting}");
        assert_eq!(pool.migrate_settle, Duration::from_secs(90), "{setting}");
        let shown = |name| directive::Directive::find(name).unwrap().shown(&mut pool.clone());
        assert_eq!(
            (shown("migrate.window"), shown("migrate.settle")),
            ("10m".into(), "90s".into())
        );
    }
    let pool = with_setting("max_move: 30%").unwrap().pools.remove(0);
    assert_eq!((pool.migrate_window, pool.max_move), (Duration::ZERO, 30));
}
