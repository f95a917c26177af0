//! Reloads and changes of DNS that meet: what is refused takes no server away, and comes when it can.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::silence::silence;
use super::{Asking, server, values};
use crate::harness::{free_port, pool, wait_until};
use crate::http;

const REFUSED: &str = "nuthatch_config_last_reload_refused";
const DISCOVERY_REFUSED: &str = "nuthatch_discovery_last_change_refused";

impl Asking {
    /// Reloads with these servers. Returns what became of it.
    fn reload(&self, settings: &str, servers: &[String], query: &str) -> Value {
        let config = pool(self.proxy.port, settings, servers);
        fs::write(self.proxy.dir.join("nutcracker.yml"), config).unwrap();
        let request =
            format!("POST /reload{query} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
        serde_json::from_str(&http::ask(self.admin, &request).body).unwrap()
    }

    fn wait_for_metric(&mut self, name: &str, value: f64) {
        let admin = self.admin;
        let is_there = || {
            let page = http::ask(admin, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").body;
            let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.map(|value| value.parse::<f64>().unwrap()) == Some(value)
        };
        wait_until(&mut self.observed.proxy.process, || format!("{name} is not {value}"), is_there);
    }
}

/// A proxy whose one server has a name in DNS; it answers with `a`.
fn serving(settings: &str) -> (Asking, String, crate::fake::FakeServer) {
    let port = free_port();
    let server = server("127.0.0.2", port, 'a', 1000);
    let entry = format!("dns+cache.test:{port}");
    let records = ["local-ttl=1", "host-record=cache.test,127.0.0.2"];
    let arguments = ["--discovery-wait", "1", "--no-watch"];
    (Asking::start(&records, settings, std::slice::from_ref(&entry), &arguments), entry, server)
}

#[test]
#[ignore = "needs dnsmasq: run make it"]
fn a_reload_to_an_entry_without_an_answer_changes_nothing_until_there_is_one() {
    const SETTINGS: &str = "timeout: 4000";
    let (mut asking, entry, _server) = serving(SETTINGS);
    let port = entry.rsplit_once(':').unwrap().1.to_owned();
    let mut client = asking.proxy.conn();
    let other = [format!("dns+other.test:{port}")];
    let told = asking.reload(SETTINGS, &other, "");
    assert_eq!(told["result"], "refused", "{told}");
    assert!(told["errors"].to_string().contains("other.test"), "{told}");
    let page: Value = serde_json::from_str(&asking.page("/config")).unwrap();
    assert_eq!(page["file"]["state"], "refused");
    assert_eq!(asking.metric(REFUSED), Some(1.0));
    assert_eq!(values(&mut client, 2), "aa");
    // A change of what is served is still followed, and does not take the file for right.
    asking.dns.change(&[
        "local-ttl=1",
        "host-record=cache.test,127.0.0.2",
        "host-record=cache.test,127.0.0.3",
    ]);
    let both = ["127.0.0.2", "127.0.0.3"].map(|host| format!("{host}:{port}"));
    asking.wait_for_log("127.0.0.3");
    assert_eq!((asking.servers(), asking.metric(REFUSED)), (both.to_vec(), Some(1.0)));
    // The answer comes.
    asking.dns.change(&["local-ttl=1", "host-record=other.test,127.0.0.2"]);
    asking.wait_for_metric(REFUSED, 0.0);
    assert_eq!(asking.servers(), [format!("127.0.0.2:{port}")]);
    assert_eq!(values(&mut client, 2), "aa");
}

#[test]
#[ignore = "needs dnsmasq: run make it"]
fn a_reload_to_an_entry_without_an_answer_can_be_forced() {
    let (asking, _, _server) = serving("timeout: 4000");
    let nothing = ["dns+nothing.test:1".to_owned()];
    assert_eq!(asking.reload("timeout: 4000", &nothing, "?force=true")["result"], "changed");
    assert_eq!(asking.servers(), Vec::<String>::new());
}

/// A file that is refused for whatever reason must not make the proxy forget what DNS has said.
#[test]
#[ignore = "needs dnsmasq: run make it"]
fn a_refused_reload_forgets_no_answer() {
    let (mut asking, entry, _server) = serving("timeout: 4000\nmax_move: 1%");
    let mut client = asking.proxy.conn();
    // The name server has no answer any longer, so the last one is all that there is.
    asking.dns.change(&["local-ttl=1"]);
    asking.wait_for_log("the last answer is kept");
    let plain = ["127.0.0.9:1:1".to_owned()];
    let told = asking.reload("timeout: 4000\nmax_move: 1%", &plain, "");
    assert_eq!(told["result"], "refused", "{told}");
    let told = asking.reload("timeout: 3000\nmax_move: 1%", std::slice::from_ref(&entry), "");
    assert_eq!(told["result"], "changed", "{told}");
    assert_eq!(told["changes"].as_array().unwrap().len(), 1, "{told}");
    assert_eq!(values(&mut client, 2), "aa");
    let labels = format!("{{pool=\"pool{}\",entry=\"{entry}\"}}", asking.proxy.port);
    assert_eq!(asking.metric(&format!("nuthatch_discovered_servers{labels}")), Some(1.0));
}

#[test]
#[ignore = "needs dnsmasq: run make it"]
fn what_dns_wants_and_what_the_file_wants_are_refused_apart() {
    let settings = "timeout: 4000\nmax_move: 10%";
    let (mut asking, entry, _server) = serving(settings);
    asking.dns.change(&["local-ttl=1", "host-record=cache.test,127.0.0.3"]);
    asking.wait_for_metric(DISCOVERY_REFUSED, 1.0);
    assert_eq!(asking.metric(REFUSED), Some(0.0));
    // A wrong file is the file's, and a change of DNS does not make it right.
    let wrong = asking.reload("time_out: 4000", std::slice::from_ref(&entry), "");
    assert_eq!(wrong["result"], "refused");
    asking.dns.change(&["local-ttl=1", "host-record=cache.test,127.0.0.2"]);
    asking.wait_for_metric(DISCOVERY_REFUSED, 0.0);
    assert_eq!(asking.metric(REFUSED), Some(1.0));
    let refused = "nuthatch_discovery_changes_total{result=\"refused\"}";
    assert_eq!(asking.metric(refused), Some(1.0), "an answer that is refused again is told once");
}

#[test]
#[ignore = "needs dnsmasq: run make it"]
fn a_reload_that_waits_for_dns_delays_no_other_page() {
    let (asking, entry, _server) = serving("timeout: 4000");
    let _silence = silence(&asking.dns);
    let admin = asking.admin;
    let servers = [entry, "dns+silent.test:1".to_owned()];
    let config = pool(asking.proxy.port, "timeout: 4000", &servers);
    fs::write(asking.proxy.dir.join("nutcracker.yml"), config).unwrap();
    let request = "POST /reload HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
    let start = Instant::now();
    let reloads: Vec<_> =
        (0..3).map(|_| thread::spawn(move || http::ask(admin, request).status)).collect();
    thread::sleep(Duration::from_millis(200));
    for path in ["/metrics", "/servers", "/config"] {
        assert!(asking.page(path).len() > 2, "{path}");
    }
    assert!(start.elapsed() < Duration::from_millis(900), "{:?}", start.elapsed());
    // Two may wait: the third one is told so at once.
    let mut statuses: Vec<u16> = reloads.into_iter().map(|it| it.join().unwrap()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [422, 422, 503]);
    assert!(start.elapsed() > Duration::from_secs(1), "a reload waits for DNS");
}
