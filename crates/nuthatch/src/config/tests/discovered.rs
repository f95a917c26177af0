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

#[cfg(feature = "kubernetes")]
#[test]
fn services_of_kubernetes_stand_beside_other_entries() {
    let config = read(
        "p: {listen: h:1, timeout: 1, servers: [k8s+m:11211, \"k8s+m:memcached:2\", \"a:1:1 a\"]}\n",
    );
    let pool = &config.pools[0];
    assert_eq!(entries(pool), [(0, "k8s+m:11211"), (1, "k8s+m:memcached:2")]);
    assert_eq!(pool.discovered.iter().map(weight).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(lint::warnings(&config), []);
    let config = environment(&[("SERVERS", "k8s+m.cache:memcached,a:1")]).unwrap();
    assert_eq!(entries(&config.pools[0]), [(0, "k8s+m.cache:memcached")]);
    let twice = faults("p: {listen: \"h:1\", servers: [k8s+m:1, \"k8s+m:1:7\", k8s+m]}\n");
    let starts = [
        "a.yml:1:39: p.servers[1]: \"k8s+m:1:7\": conf: pool 'p' looks up 'k8s+m:1' twice; keep one",
        "a.yml:1:52: p.servers[2]: \"k8s+m\": conf: directive \"servers\" has an invalid \
         \"k8s+service.namespace:port[:weight]\" format string; write k8s+service.namespace:port",
    ];
    assert_eq!(twice.len(), starts.len(), "{twice:#?}");
    for (fault, start) in twice.iter().zip(starts) {
        assert!(fault.starts_with(start), "{fault}\n{start}");
    }
}

#[cfg(not(feature = "kubernetes"))]
#[test]
fn services_of_kubernetes_need_a_program_that_is_built_for_them() {
    let faults = faults("p: {listen: \"h:1\", servers: [k8s+m:1]}\n");
    let start = "a.yml:1:30: p.servers[0]: \"k8s+m:1\": conf: directive \"servers\" has a Service of \
                 Kubernetes, and this program is built without them; build it with \"cargo build";
    assert!(faults.len() == 1 && faults[0].starts_with(start), "{faults:#?}");
}

fn weight(entry: &Discovered) -> u32 {
    entry.weight
}
