//! Files that are no configuration: what is told of them, and where.

use super::*;

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
