//! The sidecar's variables: what they describe, and what is told of wrong ones.

use super::*;

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
