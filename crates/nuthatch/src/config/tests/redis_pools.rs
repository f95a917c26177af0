//! Redis pools: their directives, where their password comes from, and that nothing shows it.

use std::env;
use std::os::unix::fs::PermissionsExt;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nuthatch_core::stats::PoolStats;
use nuthatch_core::time::Instant;

use super::super::finding::Finding;
use super::documentation::DOCUMENTATION;
use super::*;
use crate::question::{About, Baseline, answer};
use crate::verdict::{self, Colour};

/// A good Redis pool with one more directive in line 5.
fn with_redis(directive: &str) -> String {
    with(&format!("redis: true\n  {directive}"))
}

/// A file for one test, removed at its end.
struct TestFile(PathBuf);

impl TestFile {
    fn new(content: &[u8], mode: u32) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("nuthatch-config-{}-{count}", process::id()));
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        Self(path)
    }
}

impl Drop for TestFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn notes(config: &Config) -> Vec<String> {
    let notes: &[Finding] = &config.notes;
    notes.iter().map(|note| note.located(&config.source).to_string()).collect()
}

#[test]
fn every_directive_of_a_redis_pool_is_read_into_its_field() {
    let config = read(
        "alpha:
  listen: h:1
  redis: true
  redis_auth: \"pass word\"
  redis_user: proxy
  redis_db: 3
  cross_shard: first_key
  allow_keys: true
  allow_flush: true
  dedicated_connections_max: 0
  module_commands:
   - BF.ADD 1 1 1
   - json.mget 1 -2 1
   - ft._list 0 0 0
  servers: [a:6379:1]
",
    );
    let pool = &config.pools[0];
    assert!(pool.redis && pool.allow_keys && pool.allow_flush);
    assert_eq!(pool.redis_auth.as_ref().unwrap().expose(), b"pass word");
    assert_eq!(pool.redis_user.as_deref(), Some("proxy"));
    assert_eq!((pool.redis_db, pool.dedicated_connections_max), (3, 0));
    assert_eq!(pool.cross_shard, CrossShard::FirstKey);
    let command =
        |name: &str, first, last, step| ModuleCommand { name: name.into(), first, last, step };
    assert_eq!(
        pool.module_commands,
        [command("bf.add", 1, 1, 1), command("json.mget", 1, -2, 1), command("ft._list", 0, 0, 0)]
    );
    assert_eq!(notes(&config), Vec::<String>::new());
}

#[test]
fn pools_of_both_kinds_stand_in_one_file() {
    let config = read(
        "cache: {listen: \"h:1\", servers: [a:11211:1]}
store: {listen: \"h:2\", redis: true, redis_auth: x, servers: [a:11211:1, b:6379:1]}
",
    );
    let kinds: Vec<_> = config.pools.iter().map(|pool| (&*pool.name, pool.redis)).collect();
    assert_eq!(kinds, [("cache", false), ("store", true)]);
    // twemproxy leaves out the port 11211 in every pool, and no other.
    let names: Vec<_> = config.pools[1].servers.iter().map(|server| &*server.name).collect();
    assert_eq!(names, ["a", "b:6379"]);
}

#[test]
fn the_environment_describes_a_redis_pool() {
    let config = environment(&[
        ("SERVERS", "a:6379,b:6379"),
        ("REDIS", "Yes"),
        ("REDIS_AUTH", " hunter2 \n"),
        ("REDIS_USER", "proxy"),
        ("REDIS_DB", "2"),
        ("CROSS_SHARD", "First_Key"),
        ("ALLOW_KEYS", "on"),
        ("DEDICATED_CONNECTIONS_MAX", "9"),
        ("MODULE_COMMANDS", "bf.add 1 1 1, json.mget 1 -2 1,"),
    ]);
    let config = config.unwrap_or_else(|errors| panic!("{errors}"));
    let pool = &config.pools[0];
    assert_eq!((&*pool.name, pool.redis, pool.redis_db), ("redis", true, 2));
    assert_eq!(pool.redis_auth.as_ref().unwrap().expose(), b" hunter2 ");
    assert_eq!(pool.redis_user.as_deref(), Some("proxy"));
    assert_eq!((pool.cross_shard, pool.allow_keys), (CrossShard::FirstKey, true));
    assert_eq!(pool.dedicated_connections_max, 9);
    let commands: Vec<_> = pool.module_commands.iter().map(ToString::to_string).collect();
    assert_eq!(commands, ["bf.add 1 1 1", "json.mget 1 -2 1"]);
    let spaces = environment(&[("SERVERS", "a:1"), ("REDIS", "1"), ("REDIS_AUTH", " ")]).unwrap();
    assert_eq!(spaces.pools[0].redis_auth.as_ref().unwrap().expose(), b" ");
    let line_end = environment(&[("SERVERS", "a:1"), ("REDIS", "1"), ("REDIS_AUTH", "\n")]);
    assert!(line_end.unwrap_err().to_string().contains("REDIS_AUTH: conf: "));
    let file = TestFile::new(b"hunter2\n", 0o600);
    let path = file.0.to_str().unwrap();
    let from_file = [("SERVERS", "a:1"), ("REDIS", "true"), ("REDIS_AUTH_FILE", path)];
    let config = environment(&from_file).unwrap();
    assert_eq!(config.pools[0].redis_auth.as_ref().unwrap().expose(), b"hunter2");
}

/// One wrong line each of a Redis pool, and its message, place and all.
const WRONG_VALUES: &[(&str, &str)] = &[
    (
        "redis_auth: \"\"",
        "5:3: alpha.redis_auth: conf: directive \"redis_auth\" has an invalid value; \
         write a password, or leave the directive out",
    ),
    (
        "redis_auth: \"hun\\ter2\"",
        "5:15: alpha.redis_auth: conf: directive \"redis_auth\" has an invalid value; \
         remove the control character",
    ),
    (
        "redis_auth: [hunter2]",
        "5:3: alpha.redis_auth: conf: directive \"redis_auth\" has an invalid value; \
         write one value, not a list",
    ),
    (
        "redis_auth_file: hunter2",
        "5:20: alpha.redis_auth_file: conf: directive \"redis_auth_file\" has no absolute path; \
         write the absolute path of a file, such as /run/secrets/redis",
    ),
    (
        "redis_auth_file: /nonexistent/a",
        "5:20: alpha.redis_auth_file: \"/nonexistent/a\": conf: directive \"redis_auth_file\" names \
         a file that can't be read: No such file or directory (os error 2); write the path of a \
         file that the proxy may read",
    ),
    (
        "redis_auth_file: /",
        "5:20: alpha.redis_auth_file: \"/\": conf: directive \"redis_auth_file\" names a file that \
         can't be read: Is a directory (os error 21); write the path of a file that the proxy may \
         read",
    ),
    (
        "redis_auth_file: /dev/null",
        "5:20: alpha.redis_auth_file: \"/dev/null\": conf: directive \"redis_auth_file\" names a \
         file without a password; write the password into the file",
    ),
    (
        "redis_auth_file: /dev/zero",
        "5:20: alpha.redis_auth_file: \"/dev/zero\": conf: directive \"redis_auth_file\" names a \
         file of more than 65536 bytes; write only the password into the file",
    ),
    (
        "redis_user: proxy",
        "5:3: alpha.redis_user: conf: directive \"redis_user:\" needs a password; \
         add redis_auth_file or redis_auth, or remove redis_user",
    ),
    (
        "cross_shard: first-key",
        "5:16: alpha.cross_shard: \"first-key\": conf: directive \"cross_shard\" is not \"error\" or \
         \"first_key\"; did you mean first_key? It is one of error, first_key",
    ),
    (
        "allow_keys: yes",
        "5:15: alpha.allow_keys: \"yes\": conf: directive \"allow_keys\" is not \"true\" or \
         \"false\"; write true or false",
    ),
    (
        "dedicated_connections_max: 65536",
        "5:30: alpha.dedicated_connections_max: \"65536\": conf: directive \
         \"dedicated_connections_max\" is out of range; write a whole number from 0 to 65535",
    ),
    (
        "module_commands: [bf.add 1 1 1, BF.ADD 1 1 1]",
        "5:35: alpha.module_commands[1]: \"BF.ADD 1 1 1\": conf: pool 'alpha' has module commands \
         with same name 'bf.add'; keep one of them",
    ),
    (
        "module_commands: [bf.add 1 1 0]",
        "5:21: alpha.module_commands[0]: \"bf.add 1 1 0\": conf: directive \"module_commands\" has a \
         step of less than 1 in \"name first last step\" format string; write the name and the \
         three numbers that COMMAND INFO prints after the flags, such as cl.throttle 1 1 1, or 0 0 0 for \
         a command without keys",
    ),
];

#[test]
fn a_wrong_value_of_a_redis_pool_is_reported_at_its_place() {
    for (directive, message) in WRONG_VALUES {
        assert_eq!(faults(&with_redis(directive)), [format!("a.yml:{message}")], "{directive}");
    }
    let user = faults(&with_redis("redis_auth: x\n  redis_user: two words"));
    let message = "a.yml:6:15: alpha.redis_user: \"two words\": conf: directive \"redis_user\" has an \
                   invalid value; write a name without spaces, or leave the directive out";
    assert_eq!(user, [message]);
}

#[test]
fn a_password_and_a_file_for_it_exclude_each_other() {
    let both = with_redis("redis_auth: hunter2\n  redis_auth_file: /nonexistent/a");
    assert_eq!(
        faults(&both),
        ["a.yml:6:3: alpha.redis_auth_file: conf: directives \"redis_auth:\" and \
          \"redis_auth_file:\" exclude each other; keep one of them"]
    );
}

#[test]
fn a_directive_for_redis_is_refused_in_a_memcached_pool() {
    let mut count = 0;
    for directive in DIRECTIVES.iter().filter(|directive| directive.pools == Pools::Redis) {
        let name = directive.name;
        let value = match directive.kind {
            Kind::Flag(_) => "true",
            Kind::Count(..) => "1",
            Kind::CrossShard => "error",
            Kind::ModuleCommands => "[bf.add 1 1 1]",
            // The file is not looked for: the pool has no password.
            Kind::SecretFile(_) => "/nonexistent/a",
            _ => "x",
        };
        for redis in ["", "redis: false\n  "] {
            let line = if redis.is_empty() { 4 } else { 5 };
            assert_eq!(
                faults(&with(&format!("{redis}{name}: {value}"))),
                [format!(
                    "a.yml:{line}:3: alpha.{name}: conf: directive \"{name}:\" is only valid for a \
                     redis pool; remove it, or set redis: true"
                )]
            );
        }
        count += 1;
    }
    assert_eq!(count, 7);
    // Whether the pool speaks Redis is not known here.
    let unknown = faults(&with("redis: yes\n  redis_auth: x"));
    assert_eq!(unknown.len(), 1, "{unknown:?}");
}

#[test]
fn a_directive_that_the_protocol_does_not_use_is_passed_over_with_a_note() {
    let config = read(&with("redis_db: 3"));
    assert_eq!(
        notes(&config),
        ["a.yml:4:3: alpha.redis_db: directive \"redis_db\" has no effect in a memcached pool; \
          remove it"]
    );
    assert_eq!(notes(&read(&with("redis_db: 0"))), Vec::<String>::new());
    let several = notes(&read(&with_redis("line_max: 64k\n  sentinels: x")));
    let places: Vec<_> = several.iter().map(|note| note.split(": ").next().unwrap()).collect();
    assert_eq!(places, ["a.yml:5:3", "a.yml:6:3"]);
    assert_eq!(
        notes(&read(&with_redis("line_max: 64k"))),
        ["a.yml:5:3: alpha.line_max: directive \"line_max\" has no effect in a redis pool; \
          remove it"]
    );
}

#[test]
fn a_password_in_a_file_that_everybody_can_read_is_warned_of() {
    let text = with_redis("redis_auth: hunter2");
    let warned = |text: &str, mode| {
        let file = TestFile::new(text.as_bytes(), mode);
        let config = Config::load(&file.0).unwrap_or_else(|errors| panic!("{errors}"));
        notes(&config).join("\n").replace(file.0.to_str().unwrap(), "a.yml")
    };
    assert_eq!(
        warned(&text, 0o644),
        "a.yml:5:3: alpha.redis_auth: every user of this machine can read the password in the file; \
         write the password to a file that only the proxy can read, and its path to redis_auth_file"
    );
    assert_eq!(warned(&text, 0o640), "");
    assert_eq!(warned(&with_redis("redis_db: 1"), 0o644), "");
    let secret = TestFile::new(b"hunter2", 0o644);
    assert_eq!(warned(&with_redis(&format!("redis_auth_file: {}", secret.0.display())), 0o644), "");
}

#[test]
fn the_connections_of_a_redis_pool_have_a_bound() {
    let servers: Vec<_> = (0..16).map(|i| format!("s{i}:1:1")).collect();
    let servers = servers.join(", ");
    let pool = |each: usize| {
        format!(
            "a: {{listen: \"h:1\", redis: true, server_connections: {each}, servers: [{servers}]}}"
        )
    };
    assert!(parse(&pool(32759)).is_ok());
    assert_eq!(
        faults(&pool(32760)),
        ["a.yml:1:33: a.server_connections: 2 × servers × (server_connections + \
          bulk_connections) + dedicated_connections_max is 1048608, more than 1048576; lower it to at \
          most 32759"]
    );
}

/// What the program may print or serve of a configuration.
fn shown(config: &Config) -> String {
    let pool = &config.pools[0];
    let mut active = pool.clone();
    let page: Vec<_> = DIRECTIVES.iter().map(|one| one.shown(&mut active).to_string()).collect();
    let workers = [Arc::new(PoolStats::default())];
    let (baseline, epoch) = (&Baseline::default(), Duration::from_secs(1));
    let about = About { pool, workers: &workers, servers: &[], baseline, accepts: true, epoch };
    let answers = [&b"stats"[..], b"stats settings", b"stats items"];
    let answers =
        answers.map(|line| answer(line, about, Instant::default()).escape_ascii().to_string());
    let accepted = verdict::accepted(config, &[], &[], Colour::Plain);
    let debug = format!("{config:?}\n{config:#?}\n{:?}", pool.redis_auth);
    [page.join("\n"), answers.concat(), accepted, debug].join("\n")
}

#[test]
fn nothing_that_is_printed_or_served_has_the_password() {
    let file = TestFile::new(b"hunter2\n", 0o644);
    let path = file.0.display();
    let config = TestFile::new(with_redis("redis_auth: hunter2").as_bytes(), 0o644);
    for config in [
        Config::load(&config.0).unwrap(),
        read(&with_redis("redis_auth: hunter2\n  redis_user: proxy\n  line_max: 1k")),
        read(&with_redis(&format!("redis_auth_file: {path}"))),
        environment(&[("SERVERS", "a:1"), ("REDIS", "1"), ("REDIS_AUTH", "hunter2")]).unwrap(),
    ] {
        assert_eq!(config.pools[0].redis_auth.as_ref().unwrap().expose(), b"hunter2");
        let shown = shown(&config);
        assert!(shown.contains("(not shown)") && !shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("STAT timeout 0") || shown.contains("STAT timeout 2000"), "{shown}");
    }
    for text in [
        with("redis_auth: hunter2"),
        with("redis_auht: hunter2"),
        with("redis_auth: hunter2\n  redis_auth: hunter2"),
        with("redis: hunter\n  redis_auth: hunter2"),
        with_redis("redis_auth: \"hunter2\\n\""),
        with_redis("redis_auth: |\n    hunter2"),
        with_redis("redis_auth: [hunter2, hunter2]"),
        with_redis("redis_auth: {hunter2: hunter2}"),
        with_redis("redis_auth: [[hunter2]]"),
        with_redis("redis_auth: *hunter2"),
        with_redis("redis_auth: @hunter2"),
        with_redis("redis_auth: \"hunter2"),
        with_redis("redis_auth: hunter2: x"),
        with_redis("redis_auth:hunter2"),
        with_redis("redis_auth hunter2"),
        with_redis("redis_auth_file: hunter2"),
        with_redis("redis_auth: hunter2\n  redis_auth_file: hunter2"),
        "a: {listen: \"h:1\", redis: true, redis_auth:hunter2, servers: [a:1:1]}\n".into(),
        "a: {listen: \"h:1\", redis: true, \"redis_auth\":hunter2, hash: x, servers: [a:1:1]}\n"
            .into(),
    ] {
        let errors = parse(&text).expect_err(&text);
        let shown = format!("{errors} {errors:?} {}", verdict::refused(&errors, Colour::Plain));
        assert!(!shown.contains("hunter2"), "{text}\n{shown}");
    }
    let wrong = [("SERVERS", "a:1"), ("REDIS", "1"), ("REDIS_AUTH", "hun\nter2")];
    let errors = environment(&wrong).unwrap_err().to_string();
    assert_eq!(
        errors,
        "environment: REDIS_AUTH: conf: directive \"redis_auth\" has an invalid value; \
         remove the control character"
    );
}

#[test]
fn a_name_and_its_value_without_a_space_between_them_are_told_apart() {
    assert_eq!(
        faults("a: {listen: \"h:1\", hash:md5, servers: [a:1:1]}\n"),
        ["a.yml:1:20: a space is missing after \"hash:\"; write `pool name:`, then its settings \
          indented, one `directive: value` on each line"]
    );
}

#[test]
fn the_example_of_a_redis_pool_in_the_documentation_is_a_good_one() {
    let example = DOCUMENTATION.split("```yaml\n").nth(2).and_then(|rest| rest.split("```").next());
    let secret = TestFile::new(b"hunter2\n", 0o600);
    let example = example.unwrap().replace("/run/secrets/redis", secret.0.to_str().unwrap());
    let config = read(&example);
    assert_eq!((lint::warnings(&config), notes(&config)), (vec![], vec![]));
    assert!(config.pools[0].redis && config.pools[0].redis_auth.is_some());
}
