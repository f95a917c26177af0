//! Whole configurations: what they mean, and every way in which one can be wrong.

use std::collections::HashMap;

use rustix::time::{ClockId, clock_gettime};

use super::directive::{DIRECTIVES, Kind, Pools};
use super::*;

mod discovered;
mod gutter;
mod redis_pools;

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

/// One wrong line each, and how its message begins, place and all.
const WRONG_VALUES: &[(&str, &str)] = &[
    ("hsah: md5", "4:3: alpha.hsah: conf: directive \"hsah\" is unknown; did you mean \"hash\"?"),
    (
        "upstream: x",
        "4:3: alpha.upstream: conf: directive \"upstream\" is unknown; \
             remove it; docs/config.md lists all directives",
    ),
    (
        "servers: [b:1:1]",
        "4:3: alpha.servers: conf: directive \"servers\" is a duplicate; \
             line 3 has the first; keep one of them",
    ),
    (
        "backlog: many",
        "4:12: alpha.backlog: \"many\": conf: directive \"backlog\" is not a number; write a \
         whole number from 0 to 2147483647",
    ),
    (
        "backlog: 4294967297",
        "4:12: alpha.backlog: \"4294967297\": conf: directive \"backlog\" is out of range; write \
         a whole number from 0 to 2147483647",
    ),
    (
        "backlog:",
        "4:3: alpha.backlog: \"\": conf: directive \"backlog\" is not a number; write a whole \
         number from 0 to 2147483647",
    ),
    (
        "timeout: -5",
        "4:12: alpha.timeout: \"-5\": conf: directive \"timeout\" is not a number; \
             write a number of milliseconds from 0 to 2147483647, 0 or -1 for no timeout",
    ),
    (
        "slow_after: 1s",
        "4:15: alpha.slow_after: \"1s\": conf: directive \"slow_after\" is not a number; \
             write a number of milliseconds from 0 to 2147483647, 0 or -1 to show no request",
    ),
    (
        "queue_timeout: 2147483648",
        "4:18: alpha.queue_timeout: \"2147483648\": conf: directive \"queue_timeout\" is out of range; \
             write a number of milliseconds from 0 to 2147483647, 0 or -1 for timeout alone",
    ),
    (
        "preconnect: yes",
        "4:15: alpha.preconnect: \"yes\": conf: directive \"preconnect\" \
             is not \"true\" or \"false\"; write true or false",
    ),
    ("hash: sha1", "4:9: alpha.hash: \"sha1\": conf: directive \"hash\" is not a valid hash; "),
    (
        "distribution: ketma",
        "4:17: alpha.distribution: \"ketma\": conf: directive \"distribution\" \
             is not a valid distribution; did you mean ketama? It is one of ketama, modula, random",
    ),
    (
        "hash_tag: \"{\"",
        "4:13: alpha.hash_tag: \"{\": conf: directive \"hash_tag\" is not a valid hash tag \
             string with two characters; write the opening and the closing character in quotes",
    ),
    (
        "hash: [md5]",
        "4:3: alpha.hash: conf: directive \"hash\" has an invalid value; write one value, not a \
         list",
    ),
    (
        "hash: \"md5\\t\"",
        "4:9: alpha.hash: \"md5\\t\": conf: directive \"hash\" has an invalid value; \
             remove the control character",
    ),
    (
        "server_connections: 0",
        "4:23: alpha.server_connections: \"0\": conf: directive \"server_connections\" cannot be \
         0; \
             write a whole number from 1 to 65535",
    ),
    (
        "server_connections: 2147483647",
        "4:23: alpha.server_connections: \"2147483647\": conf: directive \"server_connections\" is \
         out of range; write a whole number from 1 to 65535",
    ),
    (
        "redis_auth: secret",
        "4:3: alpha.redis_auth: conf: directive \"redis_auth:\" is only valid for a redis pool; \
             remove it, or set redis: true",
    ),
    (
        "item_size_max: 2g",
        "4:18: alpha.item_size_max: \"2g\": conf: directive \"item_size_max\" is out of range; \
             write a number of bytes from 1 to 1073741824, or a number with the unit k, m or g, \
             such as 64k",
    ),
    (
        "client_backlog_max: 1k",
        "4:3: alpha.client_backlog_max: is less than client_buffer_max, 1048576; \
             raise client_backlog_max, or lower client_buffer_max",
    ),
    (
        "hash: {a: {b: c}}",
        "4:9: alpha.hash: conf: 'a.yml' has a depth greater than 2; \
             write one value, or a list of plain values",
    ),
    (
        "hash_tag: {}",
        "4:13: alpha.hash_tag: conf: 'a.yml' has a depth greater than 2; \
             put the two characters in quotes, such as \"{}\"",
    ),
    (
        "hash: [[a]]",
        "4:9: alpha.hash: conf: 'a.yml' has a depth greater than 2; \
             write one value, or a list of plain values",
    ),
];

#[test]
fn a_wrong_value_is_reported_in_twemproxys_words_at_its_place() {
    for (directive, message) in WRONG_VALUES {
        let faults = faults(&with(directive));
        assert_eq!(faults.len(), 1, "{directive}: {faults:#?}");
        let message = format!("a.yml:{message}");
        assert!(faults[0].starts_with(&message), "\n{}\n{message}", faults[0]);
    }
}

#[test]
fn a_wrong_address_is_reported_with_its_index() {
    let text = "alpha:
  listen:
    - 127.0.0.1
    - 127.0.0.1:x
    - /run/a.sock 999
  servers:
    - a:1
    - a:x:1
    - a:1:x
    - a:1:0
    - a:1:1 a
    - b:1:1 a
";
    let form = "has an invalid \"hostname:port:weight [name]\"or \"/path/unix_socket:weight \
        [name]\" \
                format string; write host:port:weight, such as 10.0.0.1:11211:1, optionally \
                followed by a space and a name";
    let of = "in \"hostname:port:weight [name]\" format string";
    let listen = "directive \"listen\" has an invalid";
    assert_eq!(
        faults(text),
        [
            format!(
                "a.yml:3:7: alpha.listen[0]: \"127.0.0.1\": conf: {listen} \"hostname:port\" \
                 format \
                 string; write host:port such as 127.0.0.1:11211 or \"[::1]:11211\", or \
                 /path/of/a.sock 660"
            ),
            format!(
                "a.yml:4:7: alpha.listen[1]: \"127.0.0.1:x\": conf: {listen} port in \
                 \"hostname:port\" format string; write a port from 1 to 65535, or 0 to let the \
                 system choose"
            ),
            format!(
                "a.yml:5:7: alpha.listen[2]: \"/run/a.sock 999\": conf: {listen} file permission \
                 in \
                 \"socket_path permission\" format string; write the permissions in octal up to \
                 777, such as 660"
            ),
            format!("a.yml:7:7: alpha.servers[0]: \"a:1\": conf: directive \"servers\" {form}"),
            format!(
                "a.yml:8:7: alpha.servers[1]: \"a:x:1\": conf: directive \"servers\" has an \
                 invalid \
                 port {of}; write a port from 1 to 65535"
            ),
            format!(
                "a.yml:9:7: alpha.servers[2]: \"a:1:x\": conf: directive \"servers\" has an \
                 invalid \
                 weight {of}; write a whole number from 1 to 2147483647"
            ),
            format!(
                "a.yml:10:7: alpha.servers[3]: \"a:1:0\": conf: directive \"servers\" has a zero \
                 weight {of}; write a weight of at least 1, or remove the server from the list"
            ),
            "a.yml:12:7: alpha.servers[5]: \"b:1:1 a\": conf: pool 'alpha' has servers with same \
             name 'a'; keep one of them, or give them different names"
                .to_owned(),
        ]
    );
}

#[test]
fn what_is_missing_or_double_is_reported_at_the_pool() {
    let no_servers = "write servers: and below it each server on a line as - host:port:weight";
    for (text, message) in [
        ("", "a.yml: conf: 'a.yml' has no pools; write `pool name:`".to_owned()),
        (
            "# nothing\n",
            "a.yml: conf: 'a.yml' has no pools; write `pool name:`".to_owned(),
        ),
        (
            "\nalpha:\n  servers: [a:1:1]\n",
            "a.yml:2:1: alpha: conf: directive \"listen:\" is missing; \
             write the address, such as listen: 127.0.0.1:11211"
                .to_owned(),
        ),
        (
            "alpha:\n  listen: a:1\n",
            format!("a.yml:1:1: alpha: conf: pool 'alpha' has no servers; {no_servers}"),
        ),
        (
            "alpha:\n  listen: a:1\n  servers:\n",
            format!("a.yml:3:3: alpha.servers: conf: pool 'alpha' has no servers; {no_servers}"),
        ),
        (
            "alpha:\n  listen: a:1\n  servers: []\n",
            format!("a.yml:3:3: alpha.servers: conf: pool 'alpha' has no servers; {no_servers}"),
        ),
        (
            "a: {listen: \"a:1\", servers: [a:1:1]}\na: {listen: \"a:2\", servers: [a:1:1]}\n",
            "a.yml:2:1: a: conf: 'a.yml' has pools with same name a; rename one of them".to_owned(),
        ),
        (
            "a: {listen: \"h:1\", servers: [a:1:1]}\nb: {listen: \"h:1\", servers: [a:1:1]}\n",
            "a.yml:2:13: b.listen: \"h:1\": conf: pools 'a' and 'b' have the same listen address \
             'h:1'; give each its own port or path"
                .to_owned(),
        ),
        (
            "a: {listen: [/s 600, /s 660], servers: [a:1:1]}\n",
            "a.yml:1:22: a.listen[1]: \"/s 660\": conf: pool 'a' lists '/s' twice; \
             remove one of them"
                .to_owned(),
        ),
        (
            "a: {listen: \"h:1\", servers: [a:1:2147483647, b:1:2147483647, c:1:2]}\n",
            "a.yml:1:20: a.servers: the sum of the weights, 4294967296, does not fit into 32 bits; \
             divide all weights by the same number"
                .to_owned(),
        ),
    ] {
        let faults = faults(text);
        assert_eq!(faults.len(), 1, "{text}: {faults:#?}");
        assert!(faults[0].starts_with(&message), "\n{}\n{message}", faults[0]);
    }
}

#[test]
fn a_file_of_another_shape_is_no_configuration() {
    for (text, message) in [
        ("a: {listen: x\n", "a.yml:"),
        ("alpha:\n\tlisten: a:1\n", "a.yml:2:"),
        ("- a\n- b\n", "a.yml:1:1: expected pools; write `pool name:`"),
        ("alpha\n", "a.yml:1:1: expected pools; "),
        ("alpha: x\n", "a.yml:1:8: alpha: the pool has no directives; "),
        ("alpha: [x]\n", "a.yml:1:8: alpha: the pool has no directives; "),
        ("[a]: {}\n", "a.yml:1:1: the name of a pool must be plain text; "),
        (
            "\"\": {listen: \"a:1\", servers: [a:1:1]}\n",
            "a.yml:1:1: \"\": the name of the pool is empty or has a NUL in it",
        ),
        (
            "\"a\\0\": {listen: \"a:1\", servers: [a:1:1]}\n",
            "a.yml:1:1: a\\0: \"a\\0\": the name of the pool is empty or has a NUL in it",
        ),
        (
            "a: {listen: \"a:1\", servers: [a:1:1 x\u{85}]}\n",
            "a.yml:1:37: has a line end other than LF and CRLF: U+0085, U+2028 or U+2029; remove it",
        ),
        (
            "a: {listen: \"a:1\", servers: [a:1:1]}\n---\nb: {}\n",
            "a.yml:3:1: conf: 'a.yml' must contain only 1 document; found 2 documents; ",
        ),
        (
            "a: &x {listen: \"a:1\", servers: [a:1:1]}\nb: *x\n",
            "a.yml:2:4: invalid YAML: aliases are not supported, write the value itself; ",
        ),
        ("a:\n  listen: [::1]:1\n", "a.yml:2:"),
    ] {
        let faults = faults(text);
        assert_eq!(faults.len(), 1, "{text}: {faults:#?}");
        assert!(faults[0].starts_with(message), "\n{}\n{message}", faults[0]);
    }
    let quotes = "put an address with brackets in quotes: \"[::1]:11211:1\"";
    assert!(faults("a:\n  listen: [::1]:1\n")[0].ends_with(quotes));
    let quotes = "put an address with * in quotes, because * begins an alias in YAML: \"*:11211\"";
    for text in ["a:\n  listen: *:30001\n", "a: {listen: *:1 }\n", "a:\n  listen:\n  - *:30001\n"] {
        assert!(faults(text)[0].ends_with(quotes), "{}", faults(text)[0]);
    }
    let latin1 = Config::parse(Path::new("a.yml"), b"a:\n  hash: \xe9\n").unwrap_err();
    assert_eq!(latin1.to_string(), "a.yml:2:9: is not UTF-8; save the file as UTF-8");
}

#[test]
fn all_faults_of_all_pools_come_at_once_in_the_order_of_the_file() {
    let text = "alpha:
  listen: x
  hsah: md5
  timeout: soon
beta:
  listen: 127.0.0.1:1
  servers:
  - a:0:1
";
    let places: Vec<_> = faults(text)
        .iter()
        .map(|line| line.split(": ").take(2).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        places,
        [
            "a.yml:1:1 alpha",
            "a.yml:2:11 alpha.listen",
            "a.yml:3:3 alpha.hsah",
            "a.yml:4:12 alpha.timeout",
            "a.yml:8:5 beta.servers[0]",
        ]
    );
}

#[test]
fn a_nest_of_any_depth_is_an_error_and_no_overflow() {
    let text = format!("a:\n  listen: {}{}\n", "[".repeat(100_000), "]".repeat(100_000));
    assert!(parse(&text).is_err());
}

#[test]
fn a_file_that_cannot_be_read_is_one_error() {
    let errors = Config::load(Path::new("/nonexistent/a.yml")).unwrap_err();
    assert!(
        errors.to_string().starts_with(
            "/nonexistent/a.yml: conf: failed to open configuration '/nonexistent/a.yml': \
             No such file or directory"
        ),
        "{errors}"
    );
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

#[test]
fn the_environment_describes_one_pool() {
    let config = environment(&[("SERVERS", "m-0.m:11211:1,m-1.m:11211:1")]).unwrap();
    assert_eq!(config.source, Source::Environment);
    let [pool] = &config.pools[..] else { panic!("one pool") };
    assert_eq!(pool.name, "memcached");
    assert_eq!(pool.listen, [Listen::Tcp { host: "127.0.0.1".into(), port: 11211 }]);
    assert_eq!(pool.hash, Hash::Fnv1a_64);
    assert_eq!(pool.distribution, Distribution::Ketama);
    assert!(pool.auto_eject_hosts);
    assert_eq!(pool.timeout, Some(Duration::from_secs(2)));
    assert_eq!(pool.server_retry_timeout, Duration::from_secs(2));
    assert_eq!(pool.server_failure_limit, 1);
    assert_eq!((pool.server_connections, pool.preconnect, pool.backlog), (1, false, 512));
    let names: Vec<_> = pool.servers.iter().map(|server| server.name.as_str()).collect();
    assert_eq!(names, ["m-0.m", "m-1.m"]);
}

#[test]
fn every_variable_is_read() {
    let config = environment(&[
        ("SERVERS", " a:1 , b:2:3 beta,c:4 gamma,, [::1]:5,[::1]:6:7,/tmp/s,/tmp/t:8 , "),
        ("LISTEN_HOST", "::1"),
        ("LISTEN_PORT", "5"),
        ("LISTEN_SOCKET", "/run/n.sock 660"),
        ("HASH", "murmur"),
        ("HASH_TAG", "{}"),
        ("DISTRIBUTION", "modula"),
        ("AUTO_EJECT_HOSTS", "false"),
        ("TIMEOUT", "0"),
        ("SERVER_RETRY_TIMEOUT", "7"),
        ("SERVER_FAILURE_LIMIT", "3"),
        ("SERVER_CONNECTIONS", "4"),
        ("PRECONNECT", "true"),
        ("REDIS", "false"),
    ]);
    let config = config.unwrap_or_else(|errors| panic!("{errors}"));
    let pool = &config.pools[0];
    assert_eq!(
        pool.listen,
        [
            Listen::Tcp { host: "::1".into(), port: 5 },
            Listen::Unix { path: "/run/n.sock".into(), mode: Some(0o660) }
        ]
    );
    assert_eq!((pool.hash, pool.distribution), (Hash::Murmur, Distribution::Modula));
    assert_eq!(pool.hash_tag, Some(HashTag::new(b'{', b'}')));
    assert_eq!((pool.auto_eject_hosts, pool.preconnect, pool.timeout), (false, true, None));
    assert_eq!(pool.server_retry_timeout, Duration::from_millis(7));
    assert_eq!((pool.server_failure_limit, pool.server_connections), (3, 4));
    let mut servers: Vec<_> = pool.servers.iter().collect();
    servers.sort_by_key(|server| server.index);
    let servers: Vec<_> = servers.iter().map(|s| (s.name.as_str(), s.weight)).collect();
    assert_eq!(
        servers,
        [
            ("a:1", 1),
            ("beta", 3),
            ("gamma", 1),
            ("::1:5", 1),
            ("::1:6", 7),
            ("/tmp/s:", 1),
            ("/tmp/t:", 8)
        ]
    );
}

#[test]
fn every_limit_has_a_variable_of_its_name() {
    let limits = |name: &str| name.ends_with("_max") || name == "client_connections";
    for directive in DIRECTIVES.iter().filter(|directive| limits(directive.name)) {
        let name = directive.name.to_uppercase().replace('.', "_");
        let value = if name == "MEMORY_MAX" { "2097152" } else { "70000000" };
        let value = if ["ITEM_SIZE_MAX", "LINE_MAX"].contains(&&*name) { "1234" } else { value };
        let is_small = name.ends_with("REQUESTS_MAX") || name == "KEYS_MAX";
        let is_small = is_small || name.starts_with("DEDICATED") || name.starts_with("DISCOVERED");
        let is_small = is_small || name.starts_with("MIGRATE");
        let value = if is_small { "77" } else { value };
        let value = if name == "CLIENT_BUFFER_MAX" { "4567" } else { value };
        let redis = if directive.pools == Pools::Redis { "true" } else { "false" };
        let config = environment(&[("SERVERS", "a:1"), ("REDIS", redis), (&name, value)]);
        let mut config = config.unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(directive.shown(&mut config.pools[0]).to_string(), value, "{name}");
    }
    assert!(
        environment(&[("SERVERS", "a:1"), ("ALLOW_FLUSH", "true")]).unwrap().pools[0].allow_flush
    );
}

#[test]
fn faults_of_the_environment_name_the_variable() {
    let errors = environment(&[
        ("SERVERS", "a:1:1,b:x:1"),
        ("LISTEN_PORT", "http"),
        ("HASH", "md4"),
        ("TIMEOUT", "2s"),
        ("MEMORY_MAX", "16"),
        ("REDIS", "maybe"),
    ]);
    let errors = errors.unwrap_err().to_string();
    let starts: Vec<_> =
        errors.lines().map(|line| line.split(": conf: ").next().unwrap()).collect();
    assert_eq!(
        starts,
        [
            "environment: LISTEN_PORT: \"http\"",
            "environment: SERVERS[1]: \"b:x:1\"",
            "environment: HASH: \"md4\"",
            "environment: TIMEOUT: \"2s\"",
            "environment: MEMORY_MAX: \"16\"",
            "environment: REDIS: \"maybe\"",
        ]
    );
}

#[test]
fn words_of_the_environment_are_read_in_any_case_and_as_people_write_them() {
    for (text, is_on) in [
        ("true", true),
        ("True", true),
        ("YES", true),
        ("on", true),
        ("1", true),
        (" true ", true),
        ("FALSE", false),
        ("no", false),
        ("Off", false),
        ("0", false),
    ] {
        for name in ["AUTO_EJECT_HOSTS", "PRECONNECT", "ALLOW_FLUSH"] {
            let config = environment(&[("SERVERS", "a:1"), (name, text)]);
            let config = config.unwrap_or_else(|errors| panic!("{errors}"));
            let pool = &config.pools[0];
            let value = match name {
                "PRECONNECT" => pool.preconnect,
                "ALLOW_FLUSH" => pool.allow_flush,
                _ => pool.auto_eject_hosts,
            };
            assert_eq!(value, is_on, "{name}={text}");
        }
    }
    let names = [("HASH", "MURMUR"), ("DISTRIBUTION", " Modula"), ("TIMEOUT", " 5 ")];
    let config = environment(&[&[("SERVERS", "a:1")], &names[..]].concat()).unwrap();
    let pool = &config.pools[0];
    assert_eq!((pool.hash, pool.distribution), (Hash::Murmur, Distribution::Modula));
    assert_eq!(pool.timeout, Some(Duration::from_millis(5)));
    let wrong = [("AUTO_EJECT_HOSTS", "Maybe"), ("HASH", "MD4")];
    let errors = environment(&[&[("SERVERS", "a:1")], &wrong[..]].concat()).unwrap_err();
    let errors = errors.to_string();
    assert!(errors.contains("AUTO_EJECT_HOSTS: \"Maybe\": "), "{errors}");
    assert!(errors.contains("HASH: \"MD4\": "), "{errors}");
    // The file stays as twemproxy reads it.
    assert!(parse(&with("preconnect: True")).is_err() && parse(&with("hash: MURMUR")).is_err());
}

#[test]
fn servers_that_no_comma_separates_are_refused() {
    for servers in [
        "a:11211 b:11211",
        "a:11211:1 b:11211:1",
        "a:11211:1 b:11211",
        "a:11211 b:11211 c:11211",
        "x:1,a:11211 b:11212",
        "a:11211;b:11211",
        "a:11211; b:11211",
        "a:11211\nb:11211",
        "a:11211\tb:11211",
        "a:11211|b:11211:1",
        "[::1]:1 [::1]:2",
        "/tmp/a /tmp/b",
    ] {
        let errors = environment(&[("SERVERS", servers)]).expect_err(servers).to_string();
        assert!(errors.starts_with("environment: SERVERS["), "{servers:?}: {errors}");
        let right = "separate servers by commas, such as SERVERS=a:11211,b:11211";
        assert!(errors.contains(right), "{servers:?}: {errors}");
        assert_eq!(errors.lines().count(), 1, "{servers:?}: {errors}");
    }
    for servers in ["a:11211:1 a", "a:1 cache-1", "10.0.0.1:5:1 10.0.0.1:5", "/tmp/a:2 x"] {
        let config = environment(&[("SERVERS", servers)]);
        assert_eq!(config.unwrap_or_else(|e| panic!("{e}")).pools[0].servers.len(), 1);
    }
    // A file of twemproxy works unchanged.
    let file = read("a: {listen: \"h:1\", servers: [\"a:11211:1 b:11211\"]}\n");
    assert_eq!(file.pools[0].servers[0].name, "b:11211");
    assert_eq!(lint::warnings(&file).len(), 2);
}

#[test]
fn a_host_that_nothing_can_listen_on_is_refused() {
    for host in ["*.a", "a,b", "a b", "256.1.1.1", "http://a", "[a]"] {
        let errors = environment(&[("SERVERS", "a:1"), ("LISTEN_HOST", host)]);
        let errors = errors.expect_err(host).to_string();
        assert!(errors.starts_with(&format!("environment: LISTEN_HOST: \"{host}\": ")), "{errors}");
    }
    let errors =
        environment(&[("SERVERS", "a:1"), ("LISTEN_HOST", "*:11211")]).unwrap_err().to_string();
    assert!(errors.ends_with("write the port to LISTEN_PORT"), "{errors}");
    let config = environment(&[("SERVERS", "a:1"), ("LISTEN_HOST", "*"), ("LISTEN_PORT", "5")]);
    let listen = &config.unwrap().pools[0].listen;
    assert_eq!(listen, &[Listen::Tcp { host: "*".into(), port: 5 }]);
    assert_eq!(listen[0].to_string(), "*:5");
}

#[test]
fn a_server_whose_host_cannot_be_one_is_refused_in_the_environment() {
    for servers in [
        "a:11211:1:1",
        "10.0.0.1:11211:1:5",
        "::1:11211",
        "a::11211:1",
        "*:11211",
        "10.0.0.256:11211",
        "\u{fffd}:1",
        "a@b:1",
    ] {
        let errors = environment(&[("SERVERS", servers)]).expect_err(servers).to_string();
        let message = format!(
            "environment: SERVERS[0]: \"{servers}\": conf: directive \"servers\" has no IP address \
             or host name; "
        );
        assert!(errors.starts_with(&message), "\n{errors}\n{message}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
    }
    for servers in ["10.0.0.1:1", "::1:1:1", "[::1]:1", "fe80::1%eth0:1:1", "a_b.c-d.:1", "t.1:1"] {
        assert!(environment(&[("SERVERS", servers)]).is_ok(), "{servers}");
    }
}

/// Each with the variables, and the one line that is told.
const WRONG_VARIABLES: &[(&[(&str, &str)], &str)] = &[
    (
        &[("LISTEN_HOST", "/tmp/x"), ("LISTEN_PORT", "30001")],
        "LISTEN_HOST: \"/tmp/x\": conf: directive \"listen\" has no IP address or host name; \
         write the path of a unix socket to LISTEN_SOCKET",
    ),
    (
        &[("LISTEN_HOST", "127.0.0.1:30001")],
        "LISTEN_HOST: \"127.0.0.1:30001\": conf: directive \"listen\" has no IP address or host \
         name; write the port to LISTEN_PORT",
    ),
    (
        &[("LISTEN_PORT", "tcp://10.0.0.1:11211")],
        "LISTEN_PORT: \"tcp://10.0.0.1:11211\": conf: directive \"listen\" has an invalid port in \
         \"hostname:port\" format string; write a port; Kubernetes sets this variable for a Service \
         named \"listen\", unless the pod has enableServiceLinks: false",
    ),
    (
        &[("LISTEN_SOCKET", "0.0.0.0:30003")],
        "LISTEN_SOCKET: \"0.0.0.0:30003\": conf: directive \"listen\" has no path of a unix socket; \
         write an absolute path, such as /run/nuthatch.sock",
    ),
    (
        &[("LISTEN_SOCKET", "x.sock")],
        "LISTEN_SOCKET: \"x.sock\": conf: directive \"listen\" has no path of a unix socket; \
         write an absolute path, such as /run/nuthatch.sock",
    ),
    (
        &[("SERVERS", "a")],
        "SERVERS[0]: \"a\": conf: directive \"servers\" has an invalid \
         \"hostname:port[:weight] [name]\" format string; write host:port such as cache-1:11211, and \
         commas between servers",
    ),
    (
        &[("REDIS_AUTH", "hunter2")],
        "REDIS_AUTH: conf: directive \"redis_auth:\" is only valid for a redis pool; \
         remove the variable, or set REDIS to true",
    ),
    (
        &[("REDIS", "1"), ("REDIS_AUTH_FILE", "hunter2")],
        "REDIS_AUTH_FILE: conf: directive \"redis_auth_file\" has no absolute path; write the \
         absolute path of a file, such as /run/secrets/redis",
    ),
    (
        &[("REDIS", "1"), ("MODULE_COMMANDS", "bf.add 1 1 1,bf.add 1 1 1")],
        "MODULE_COMMANDS[1]: \"bf.add 1 1 1\": conf: pool 'redis' has module commands with same \
         name 'bf.add'; keep one of them",
    ),
];

#[test]
fn a_wrong_variable_is_told_with_its_own_text_and_what_would_be_right() {
    for (variables, message) in WRONG_VARIABLES {
        let errors = environment(&[&[("SERVERS", "a:1")], *variables].concat()).unwrap_err();
        assert_eq!(errors.to_string(), format!("environment: {message}"));
    }
}

#[test]
fn the_connections_to_all_servers_of_a_pool_have_a_bound() {
    let servers: Vec<_> = (0..17).map(|i| format!("s{i}:1:1")).collect();
    let servers = servers.join(", ");
    let pool =
        |each| format!("a: {{listen: \"h:1\", server_connections: {each}, servers: [{servers}]}}");
    assert!(parse(&pool(61679)).is_ok());
    assert_eq!(
        faults(&pool(61680)),
        ["a.yml:1:20: a.server_connections: servers × (server_connections + bulk_connections) is \
          1048577, more than 1048576; lower it to at most 61679"]
    );
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
fn what_stands_in_a_file_is_shown_without_control_characters() {
    let place = Path::new("a\u{1b}[31m\n.yml");
    for text in [
        "\"al\\u001bpha\": {listen: \"h:1\", servers: []}\n",
        "alpha: {\"hs\\u001b[2Jah\": md5, listen: \"h:1\", servers: [a:1:1]}\n",
        "alpha: {hash: \"\\u009b2J\", listen: \"h:1\", servers: [a:1:1]}\n",
        "alpha: {listen: \"h:1\", servers: [\"a:1:1 \\u202ex\", \"b:1:1 \\u202ex\"]}\n",
        "alpha: [\u{7f}\n",
        "alpha: &\u{1b}x *\u{1b}y\n",
    ] {
        let errors = Config::parse(place, text.as_bytes()).expect_err(text).to_string();
        let is_shown = |c: char| c == '\n' || !c.is_control() && c != '\u{202e}';
        assert!(errors.chars().all(is_shown), "{errors:?}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
        assert!(errors.starts_with("a\\u{1b}[31m\\n.yml:"), "{errors}");
    }
}

#[test]
fn an_empty_variable_is_an_unset_one() {
    let empty = environment(&[("SERVERS", "a:1:1"), ("HASH", ""), ("TIMEOUT", " ")]).unwrap();
    assert_eq!(empty.pools[0].hash, Hash::Fnv1a_64);
    assert_eq!(empty.pools[0].timeout, Some(Duration::from_secs(2)));
    for variables in [&[("SERVERS", "")][..], &[("SERVERS", ",")], &[]] {
        assert_eq!(
            environment(variables).unwrap_err().to_string(),
            "environment: SERVERS: conf: pool 'memcached' has no servers; \
             set SERVERS, such as SERVERS=10.0.0.1:11211,10.0.0.2:11211, or name a \
             configuration file with -c"
        );
    }
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
fn listeners_that_overlap_are_refused_however_they_are_written() {
    let pools = |first: &str, second: &str| {
        format!(
            "a: {{listen: \"{first}\", servers: [a:1:1]}}\n\
             b: {{listen: \"{second}\", servers: [a:1:1]}}\n"
        )
    };
    let one = |first: &str, second: &str| {
        format!("a: {{listen: [\"{first}\", \"{second}\"], servers: [a:1:1]}}\n")
    };
    for (first, second) in [
        ("127.0.0.1:1", "127.1:1"),
        ("127.0.0.1:1", "0x7f.1:1"),
        ("127.0.0.1:1", "0.0.0.0:1"),
        ("0.0.0.0:1", "127.0.0.1:1"),
        ("[::1]:1", "[::]:1"),
        ("[::1]:1", "[0:0::1]:1"),
        ("127.0.0.1:1", "[::ffff:127.0.0.1]:1"),
        ("localhost:1", "LocalHost:1"),
        ("name:1", "NAME:1"),
        ("/d/a.sock", "/d//a.sock"),
        ("/d/a.sock 600", "/d/./a.sock"),
    ] {
        let [first_shown, second_shown] = [first, second].map(|text| text.replace(" 600", ""));
        let overlap =
            format!("overlap, '{first_shown}' and '{second_shown}'; give each its own port");
        let told = &faults(&pools(first, second))[0];
        assert!(told.contains(&overlap), "{told}");
        let told = &faults(&one(first, second))[0];
        assert!(told.contains("which overlap; remove one of them"), "{told}");
    }
    for (first, second) in [
        ("127.0.0.1:1", "127.0.0.1:2"),
        ("127.0.0.1:1", "127.0.0.2:1"),
        ("127.0.0.1:1", "[::1]:1"),
        ("0.0.0.0:1", "[::1]:1"),
        ("0.0.0.0:0", "127.0.0.1:0"),
        ("name:1", "127.0.0.1:1"),
        ("/d/a.sock", "/d/A.sock"),
    ] {
        assert!(parse(&pools(first, second)).is_ok() && parse(&one(first, second)).is_ok());
    }
    // All addresses of version 6 are those of version 4, too, but inside one pool.
    assert_eq!(faults(&pools("0.0.0.0:1", "[::]:1")).len(), 1);
    assert_eq!(read(&one("0.0.0.0:1", "[::]:1")).pools[0].listen.len(), 2);
    // All clients of a port come to *, inside a pool, too.
    for other in ["*:1", "127.0.0.1:1", "[::1]:1", "0.0.0.0:1", "[::]:1", "name:1"] {
        for (first, second) in [("*:1", other), (other, "*:1")] {
            assert_eq!(faults(&pools(first, second)).len(), 1, "{first} {second}");
            assert_eq!(faults(&one(first, second)).len(), 1, "{first} {second}");
        }
    }
    assert!(parse(&pools("*:1", "*:2")).is_ok() && parse(&one("*:0", "*:0")).is_ok());
    // What localhost is, the system says.
    let both = [pools("localhost:1", "127.0.0.1:1"), pools("localhost:1", "[::1]:1")];
    assert!(both.iter().any(|text| parse(text).is_err()));
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

const DOCUMENTATION: &str = include_str!("../../../../docs/config.md");

/// The row of the documentation whose first cell is `name`, cell by cell.
fn documented(name: &str) -> Vec<&'static str> {
    let start = format!("| `{name}` | ");
    let mut rows = DOCUMENTATION.lines().filter(|line| line.starts_with(&start));
    let row = rows.next().unwrap_or_else(|| panic!("{name} stands in docs/config.md"));
    assert_eq!(rows.next(), None, "{name} stands there once");
    row.trim_matches('|').split(" | ").map(str::trim).collect()
}

/// A number of bytes in the greatest unit that divides it.
fn in_units(bytes: u64) -> String {
    match bytes {
        0 => "0".into(),
        _ if bytes.is_multiple_of(1 << 30) => format!("{}g", bytes >> 30),
        _ if bytes.is_multiple_of(1 << 20) => format!("{}m", bytes >> 20),
        _ => bytes.to_string(),
    }
}

#[test]
fn every_directive_stands_in_the_documentation_with_bounds_and_default() {
    for directive in DIRECTIVES {
        let cells = documented(directive.name);
        let takes = match directive.kind {
            Kind::Listen => "an address or a list".into(),
            Kind::Servers | Kind::GutterServers | Kind::ModuleCommands => "a list".into(),
            Kind::Hash | Kind::Distribution | Kind::CrossShard | Kind::Word(_) => "a name".into(),
            Kind::OnServerFailure | Kind::OnJournalFull => "a name".into(),
            Kind::HashTag => "two characters".into(),
            Kind::Flag(_) => "true or false".into(),
            Kind::Count(_, bounds) => format!("{} to {}", bounds.min, bounds.max),
            Kind::Size(_, bounds) => {
                format!("{} to {}", in_units(bounds.min), in_units(bounds.max))
            }
            Kind::Timeout(..) | Kind::Milliseconds(_) => "ms to 2147483647".into(),
            Kind::Percent(_) => "0% to 100%".into(),
            Kind::Span(_) => "0s to 365d".into(),
            Kind::Secret(_) => "a text".into(),
            Kind::SecretFile(_) => "a path".into(),
            Kind::Ignored => "anything".into(),
        };
        let default = match directive.default {
            Some(default) => format!("`{default}`"),
            None if ["listen", "servers"].contains(&directive.name) => "required".into(),
            None => "none".into(),
        };
        assert_eq!(cells[1..4], [takes.as_str(), &default, directive.doc], "{}", directive.name);
    }
    let rows = DOCUMENTATION.lines().filter(|line| line.matches(" | ").count() == 4);
    assert_eq!(rows.count(), DIRECTIVES.len() + 2, "no other directives stand there");
}

#[test]
fn every_variable_stands_in_the_documentation_with_its_default() {
    for variable in environment::VARIABLES {
        let default = match variable.default {
            Some(default) => format!("`{default}`"),
            None if variable.name == "SERVERS" => "required".into(),
            None => "none".into(),
        };
        assert_eq!(documented(variable.name)[1..], [default.as_str(), variable.doc]);
    }
}

#[test]
fn every_hash_and_distribution_stands_in_the_documentation() {
    let hashes = Hash::ALL.iter().map(|hash| hash.name());
    let distributions = Distribution::ALL.iter().map(|distribution| distribution.name());
    let lists: Vec<_> = DOCUMENTATION
        .lines()
        .filter(|line| line.starts_with("Hashes: ") || line.starts_with("Distributions: "))
        .collect();
    assert_eq!(lists.len(), 2);
    for name in hashes.chain(distributions) {
        assert!(lists.iter().any(|list| list.contains(&format!("`{name}`"))), "{name}");
    }
}

#[test]
fn the_example_of_the_documentation_is_a_good_one() {
    let example = DOCUMENTATION.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next());
    let config = read(example.unwrap());
    assert_eq!(lint::warnings(&config), []);
    let pool = &config.pools[0];
    let server = &pool.servers[pool.ring(0).route(b"user:42")].name;
    let answer = format!("user:42\t{:08x}\t{server}\n", pool.hash.hash(b"user:42"));
    assert!(DOCUMENTATION.contains(&answer), "{answer}");
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

#[test]
fn a_wrong_part_is_told_at_its_place() {
    for (setting, expected) in [
        (
            "migrate: {window: 10}",
            "a.yml:4:21: alpha.migrate.window: \"10\": conf: directive \"migrate.window\" is not a time; write a number and its unit, ms, s, m, h or d, such as 10m, at most 365d",
        ),
        (
            "migrate: {window: 366d}",
            "a.yml:4:21: alpha.migrate.window: \"366d\": conf: directive \"migrate.window\" is out of range; write a number and its unit, ms, s, m, h or d, such as 10m, at most 365d",
        ),
        (
            "migrate: {windw: 10m}",
            "a.yml:4:13: alpha.migrate.windw: conf: directive \"migrate.windw\" is unknown; did you mean \"migrate.window\"?",
        ),
        (
            "migrate: {window: {a: 1m}}",
            "a.yml:4:21: alpha.migrate.window: conf: 'a.yml' has a depth greater than 2; write one value, or a list of plain values",
        ),
        (
            "migrate: 10m",
            "a.yml:4:3: alpha.migrate: conf: directive \"migrate\" has parts; write them in braces, such as migrate: {window: 10m}",
        ),
        (
            "max_move: 30",
            "a.yml:4:13: alpha.max_move: \"30\": conf: directive \"max_move\" is not a number of percent; write a whole number of percent from 0% to 100%, such as 30%",
        ),
        (
            "max_move: 101%",
            "a.yml:4:13: alpha.max_move: \"101%\": conf: directive \"max_move\" is out of range; write a whole number of percent from 0% to 100%, such as 30%",
        ),
    ] {
        let told = with_setting(setting).unwrap_err().to_string();
        assert!(told.starts_with(expected), "{told}\n{expected}");
    }
}
