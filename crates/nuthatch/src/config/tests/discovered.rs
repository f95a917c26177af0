//! Entries that DNS turns into servers, in a file and in the environment.

use super::*;
use crate::config::directive::Directive;
use crate::config::{Discovered, lint};

fn entries(pool: &Pool) -> Vec<(usize, &str)> {
    pool.discovered.iter().map(|entry| (entry.index, entry.configured.as_str())).collect()
}

#[test]
fn entries_of_all_kinds_stand_in_one_list() {
    let config = read(
        "p:
  listen: h:1
  discovered_max: 7
  servers:
   - a:1:1
   - dnssrv+_m._tcp.c.test
   - dns+c.test:11211:2
   - /tmp/s:1 s
",
    );
    let mut pool = config.pools[0].clone();
    let plain: Vec<_> = pool.servers.iter().map(|s| (s.index, s.name.as_str())).collect();
    assert_eq!(plain, [(3, "s"), (0, "a:1")]);
    assert_eq!(entries(&pool), [(1, "dnssrv+_m._tcp.c.test"), (2, "dns+c.test:11211:2")]);
    assert_eq!(pool.discovered_max, 7);
    let shown = Directive::find("servers").unwrap().shown(&mut pool).to_string();
    assert!(shown.contains("dnssrv+_m._tcp.c.test") && shown.contains("/tmp/s:1 s"), "{shown}");
}

#[test]
fn a_pool_may_have_only_entries_that_dns_answers() {
    let config = read("p: {listen: \"h:1\", timeout: 1, servers: [dnssrv+_m._tcp.c.test]}\n");
    assert_eq!(config.pools[0].servers, []);
    assert_eq!(lint::warnings(&config), []);
    let config = read("p: {listen: \"h:1\", timeout: 1, servers: [dns+c.test:1]}\n");
    assert_eq!(lint::warnings(&config).len(), 1);
}

#[test]
fn faults_are_reported_where_they_stand() {
    let faults = faults(
        "p:
  listen: h:1
  servers:
   - dns+c.test
   - dnssrv+c.test
   - dns+c.test:1
   - dns+c.test:2
   - dns+c.test:1:3
   - dns+d.test:1:99999999
",
    );
    let starts = [
        "a.yml:3:3: p.servers: the sum of the weights with discovered_max servers each, 100000004000, ",
        "a.yml:4:6: p.servers[0]: \"dns+c.test\": conf: directive \"servers\" has an invalid \
         \"dns+name:port[:weight]\" format string; write dns+name:port",
        "a.yml:5:6: p.servers[1]: \"dnssrv+c.test\": conf: directive \"servers\" has an invalid \
         \"dnssrv+_service._proto.name[:weight]\" format string; write dnssrv+_port._tcp.name",
        "a.yml:8:6: p.servers[4]: \"dns+c.test:1:3\": conf: pool 'p' looks up 'dns+c.test:1' twice; \
         keep one of them",
    ];
    assert_eq!(faults.len(), starts.len(), "{faults:#?}");
    for (fault, start) in faults.iter().zip(starts) {
        assert!(fault.starts_with(start), "{fault}\n{start}");
    }
}

#[test]
fn the_environment_has_the_same_entries() {
    let servers = "dnssrv+_m._tcp.c.test, dns+c.test:11211, dns+d.test:1:2, a:1";
    let config = environment(&[("SERVERS", servers), ("DISCOVERED_MAX", "9")]).unwrap();
    let pool = &config.pools[0];
    let expected = [(0, "dnssrv+_m._tcp.c.test"), (1, "dns+c.test:11211"), (2, "dns+d.test:1:2")];
    assert_eq!((entries(pool).as_slice(), pool.servers.len()), (&expected[..], 1));
    assert_eq!(pool.discovered.iter().map(weight).collect::<Vec<_>>(), [1, 1, 2]);
    for wrong in ["dns+c.test", "dnssrv+c", "dns+10.0.0.1:1", "dns+a:1 dns+b:1", "a:1;dns+b:1"] {
        let errors = environment(&[("SERVERS", wrong)]).unwrap_err();
        assert_eq!(errors.findings.len(), 1, "{wrong}: {errors}");
    }
}

fn weight(entry: &Discovered) -> u32 {
    entry.weight
}
