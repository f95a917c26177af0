//! The gutter of a pool, as it is configured.

use super::*;

const MODE: &str = "on_server_failure: gutter";

fn pool(lines: &[&str]) -> String {
    let lines: String = lines.iter().map(|line| format!("  {line}\n")).collect();
    format!("p:\n  listen: h:1\n  servers: [a:1:1 x, b:1:1 y]\n{lines}")
}

#[test]
fn gutter_servers_are_listed_as_servers_are_and_stand_in_their_order() {
    let text = pool(&[MODE, "gutter_servers: [g:11211:2, \"h:1:1 z\"]", "gutter_ttl: 5m"]);
    let config = read(&text);
    let pool = &config.pools[0];
    let gutter: Vec<_> =
        pool.gutter_servers.iter().map(|it| (&*it.name, it.weight, it.index)).collect();
    assert_eq!(gutter, [("g", 2, 0), ("z", 1, 1)]);
    assert_eq!((pool.servers.len(), pool.gutter_ttl), (2, Duration::from_secs(300)));
    assert_eq!(pool.gutter_ring(0).members().len(), 2);
    assert!(config.notes.is_empty());
    assert_eq!(read(&with("hash: md5")).pools[0].gutter_ttl, Duration::from_secs(60));
}

#[test]
fn what_is_wrong_with_a_gutter_is_told_at_its_place_with_what_would_be_right() {
    let gutter = "gutter_servers: [g:1:1]";
    for (lines, expected) in [
        (
            &[MODE][..],
            "a.yml:4:3: p.on_server_failure: conf: directive \"on_server_failure\" is gutter, and there \
             are no gutter_servers; add gutter_servers: and below it each server on a line as - \
             host:port:weight, or write another on_server_failure",
        ),
        (
            &[MODE, "gutter_servers: []"],
            "a.yml:4:3: p.on_server_failure: conf: directive \"on_server_failure\" is gutter, and there \
             are no gutter_servers; add gutter_servers: and below it each server on a line as - \
             host:port:weight, or write another on_server_failure",
        ),
        (
            &[MODE, "gutter_servers: [g:1:1, a:1:1 z]"],
            "a.yml:5:27: p.gutter_servers[1]: \"a:1:1 z\": conf: pool 'p' has server 'a:1' as 'x' in \
             servers, too; remove it from one of the lists: when it fails, its keys need another server",
        ),
        (
            &[MODE, "gutter_servers: [g:1:1 y]"],
            "a.yml:5:20: p.gutter_servers[0]: \"g:1:1 y\": conf: pool 'p' has servers with same name \
             'y'; keep one of them, or give them different names",
        ),
        (
            &[MODE, "gutter_servers: [g:1:1, h:1:1 g:1]"],
            "a.yml:5:27: p.gutter_servers[1]: \"h:1:1 g:1\": conf: pool 'p' has servers with same name \
             'g:1'; keep one of them, or give them different names",
        ),
        (
            &[MODE, "gutter_servers: [dns+g:1]"],
            "a.yml:5:20: p.gutter_servers[0]: \"dns+g:1\": conf: directive \"gutter_servers\" has an \
             entry that DNS or Kubernetes turns into servers; list each gutter server as \
             host:port:weight",
        ),
        (
            &[MODE, gutter, "gutter_ttl: 999ms"],
            "a.yml:6:3: p.gutter_ttl: conf: directive \"gutter_ttl\" is 999ms; write a time from 1s to 30d",
        ),
        (
            &[MODE, gutter, "gutter_ttl: 31d"],
            "a.yml:6:3: p.gutter_ttl: conf: directive \"gutter_ttl\" is 31d; write a time from 1s to 30d",
        ),
        (
            &[MODE, gutter, "distribution: random"],
            "a.yml:4:3: p.on_server_failure: conf: directive \"on_server_failure\" is gutter, and \
             distribution is random; write another distribution: random draws a server for each request",
        ),
        (
            &[MODE, "gutter_servers: [g:1:2147483647, h:1:2147483647, i:1:2]"],
            "a.yml:5:3: p.gutter_servers: the sum of the weights, 4294967296, does not fit into 32 bits; \
             divide all weights by the same number",
        ),
        (
            &["on_server_failure: guter"],
            "a.yml:4:22: p.on_server_failure: \"guter\": conf: directive \"on_server_failure\" is not \
             \"rehash\", \"error\", \"miss\" or \"gutter\"; did you mean gutter? It is one of rehash, error, miss, gutter",
        ),
    ] {
        assert_eq!(faults(&pool(lines)), [expected], "{lines:?}");
    }
}

/// Whatever stands first.
#[test]
fn a_server_of_the_pool_may_not_have_the_name_of_one_of_the_gutter() {
    let text =
        format!("p:\n  gutter_servers: [g:1:1]\n  listen: h:1\n  servers: [b:1:1 g:1]\n  {MODE}\n");
    let expected = "a.yml:4:13: p.servers[0]: \"b:1:1 g:1\": conf: pool 'p' has servers with same name \
                    'g:1'; keep one of them, or give them different names";
    assert_eq!(faults(&text), [expected]);
}

#[test]
fn a_gutter_that_is_not_used_is_told_of() {
    let config = read(&pool(&["gutter_servers: [g:1:1]", "gutter_ttl: 5s"]));
    let notes: Vec<_> =
        config.notes.iter().map(|note| (note.wrong.as_str(), &*note.right)).collect();
    let pool = &config.pools[0];
    assert_eq!((pool.gutter(), pool.gutter_ring(0).members().len()), (&[][..], 0));
    let right = "add on_server_failure: gutter, or remove it";
    assert_eq!(
        notes,
        [
            ("directive \"gutter_servers\" has no effect without on_server_failure: gutter", right),
            ("directive \"gutter_ttl\" has no effect without on_server_failure: gutter", right),
        ]
    );
}

#[test]
fn the_environment_describes_a_gutter() {
    let variables = [
        ("SERVERS", "a:1"),
        ("ON_SERVER_FAILURE", "gutter"),
        ("GUTTER_SERVERS", "g:1, h:2:3 z"),
        ("GUTTER_TTL", "5s"),
    ];
    let config = environment(&variables).unwrap_or_else(|errors| panic!("{errors}"));
    let pool = &config.pools[0];
    let gutter: Vec<_> = pool.gutter_servers.iter().map(|it| (&*it.name, it.weight)).collect();
    assert_eq!(gutter, [("z", 3), ("g:1", 1)]);
    assert_eq!(pool.gutter_ttl, Duration::from_secs(5));
    let wrong = environment(&[("SERVERS", "a:1"), ("GUTTER_SERVERS", "g")]).unwrap_err();
    assert!(wrong.to_string().starts_with("environment: GUTTER_SERVERS[0]: "), "{wrong}");
}
