//! Listeners and pools that come and go: with the configuration of the next process, by a reload, or meanwhile.

use std::collections::BTreeSet;

use nuthatch_harness::Dnsmasq;

use crate::harness::accepts;
use crate::http;

use super::stranger::Stranger;
use super::*;

#[test]
fn listeners_come_and_go_with_the_configuration() {
    let server = slow_server(Duration::ZERO);
    let site = Site::with_servers("", &[server.entry()]);
    let mut old = site.start(&[]);
    let (mut stays, mut goes) = (site.conn(), Conn::unix(&site.socket()));
    stays.ask("get k\r\n", "END\r\n");
    goes.ask("get k\r\n", "END\r\n");
    let other = free_port();
    let config = pool_on("p", &format!("127.0.0.1:{}", site.port), "", &[server.entry()])
        + &pool(other, "", &[server.entry()]);
    site.configure(&config);
    let mut next = site.upgrade(&mut old, &[]);
    assert!(accepts(other));
    assert!(!site.socket().exists(), "nobody listens on it");
    // It is a client of the pool, which is still there.
    goes.ask("get k\r\n", "END\r\n");
    stays.ask("get k\r\n", "END\r\n");
    // The pool of this one goes.
    let mut alone = Conn::tcp((Ipv4Addr::LOCALHOST, other));
    alone.ask("get k\r\n", "END\r\n");
    site.configure(&pool_on("p", &format!("127.0.0.1:{}", site.port), "", &[server.entry()]));
    let _last = site.upgrade(&mut next, &[]);
    alone.expect_closed();
    assert!(!accepts(other));
    stays.ask("get k\r\n", "END\r\n");
}

/// The sockets of a process, by the numbers that the kernel has for them.
fn sockets(process: &Process) -> BTreeSet<String> {
    let fds = fs::read_dir(format!("/proc/{}/fd", process.id())).unwrap();
    let links = fds.filter_map(|fd| fs::read_link(fd.unwrap().path()).ok());
    let number = |link: PathBuf| Some(link.to_str()?.strip_prefix("socket:[")?.replace(']', ""));
    links.filter_map(number).collect()
}

/// All listening sockets of the system.
fn listening() -> BTreeSet<String> {
    let columns = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let [tcp, unix] = ["/proc/net/tcp", "/proc/net/unix"].map(|it| fs::read_to_string(it).unwrap());
    // State 0A of TCP listens; so does a unix socket with this flag.
    let tcp = tcp.lines().map(columns).filter(|it| it[3] == "0A").map(|it| it[9].clone());
    let unix = unix.lines().map(columns).filter(|it| it[3] == "00010000").map(|it| it[6].clone());
    tcp.chain(unix).collect()
}

#[test]
fn the_ports_of_the_operator_are_taken_over_too() {
    let server = slow_server(Duration::from_millis(700));
    let site = Site::with_servers("", &[server.entry()]);
    let admin = free_port();
    let flag = format!("--admin=127.0.0.1:{admin}");
    let mut old = site.start(&[&flag]);
    let own = &sockets(&old) & &listening();
    // The port and the unix socket of the pool, the statistics, the admin and the control socket.
    assert_eq!(own.len(), 5, "{own:?}");
    let mut waiting = site.conn();
    waiting.send("get k\r\n");
    thread::sleep(Duration::from_millis(50));
    let next = site.begin_upgrade(&[&flag]);
    assert!(sockets(&next).is_superset(&own));
    // The old process is still there, but the ports are those of the next one.
    let deadline = Instant::now() + PATIENCE;
    while !sockets(&old).is_disjoint(&own) {
        assert!(Instant::now() < deadline, "the old process still listens");
        thread::sleep(Duration::from_millis(5));
    }
    assert!(old.wait(Duration::ZERO).is_none(), "it has a client");
    for _ in 0..20 {
        let ready = "GET /ready HTTP/1.1\r\nHost: x\r\n\r\n";
        assert_eq!(http::ask(admin, ready).status, 200);
        assert!(accepts(site.stats_port));
    }
    waiting.expect("END\r\n");
    assert!(old.wait(PATIENCE).expect("it ends").success());
}

/// A server that tells its name.
fn named_server(name: &'static str) -> FakeServer {
    FakeServer::start(move |mut conn, _| {
        while conn.read_line().is_ok() {
            conn.send(format!("VALUE k 0 1\r\n{name}\r\nEND\r\n"));
        }
    })
}

/// Waits until a port listens, or no longer does.
fn await_port(port: u16, listens: bool) {
    let deadline = Instant::now() + PATIENCE;
    while accepts(port) != listens {
        assert!(Instant::now() < deadline, "port {port} listens: {}", !listens);
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn what_a_reload_opened_is_handed_over_and_what_it_closed_is_not() {
    let (one, two) = (named_server("1"), named_server("2"));
    let site = Site::with_servers("", &[one.entry()]);
    let p = pool_on("p", &format!("127.0.0.1:{}", site.port), "", &[one.entry()]);
    let (gone, added) = (free_port(), free_port());
    let on = |port: u16| pool_on("q", &format!("127.0.0.1:{port}"), "", &[two.entry()]);
    site.configure(&(p.clone() + &on(gone)));
    let mut old = site.start(&["--workers", "3"]);
    site.configure(&(p.clone() + &on(added)));
    old.signal(Signal::HUP);
    await_port(added, true);
    await_port(gone, false);
    let mut of_p = site.conn();
    let mut of_q = Conn::tcp((Ipv4Addr::LOCALHOST, added));
    of_p.ask("get k\r\n", "VALUE k 0 1\r\n1\r\nEND\r\n");
    of_q.ask("get k\r\n", "VALUE k 0 1\r\n2\r\nEND\r\n");
    let own = &sockets(&old) & &listening();
    // Three for each port, the statistics and the control socket.
    assert_eq!(own.len(), 8, "{own:?}");
    // In the next process, the pools have other places.
    site.configure(&(on(added) + &p));
    let mut next = site.upgrade(&mut old, &[]);
    assert_eq!(&sockets(&next) & &listening(), own);
    of_p.ask("get k\r\n", "VALUE k 0 1\r\n1\r\nEND\r\n");
    of_q.ask("get k\r\n", "VALUE k 0 1\r\n2\r\nEND\r\n");
    for _ in 0..20 {
        site.conn().ask("get k\r\n", "VALUE k 0 1\r\n1\r\nEND\r\n");
    }
    // What was taken over is closed as what was opened.
    site.configure(&p);
    next.signal(Signal::HUP);
    await_port(added, false);
    of_q.expect_closed();
    of_p.ask("get k\r\n", "VALUE k 0 1\r\n1\r\nEND\r\n");
    let left = &sockets(&next) & &listening();
    assert!(left.len() == 5 && left.is_subset(&own), "{left:?} of {own:?}");
    let last = site.upgrade(&mut next, &["--workers", "2"]);
    assert_eq!(&sockets(&last) & &listening(), left);
    assert!(!accepts(added));
    of_p.ask("get k\r\n", "VALUE k 0 1\r\n1\r\nEND\r\n");
}

#[test]
fn no_reload_changes_what_is_being_handed_over() {
    let server = slow_server(Duration::ZERO);
    let site = Site::with_servers("", &[server.entry()]);
    let (admin, other) = (free_port(), free_port());
    let flag = format!("--admin=127.0.0.1:{admin}");
    let mut old = site.start(&[&flag, "--no-watch"]);
    let good = fs::read_to_string(site.dir.join("c.yml")).unwrap();
    site.configure(&(good.clone() + &pool(other, "", &[server.entry()])));
    let next = Stranger::connect(&site.control());
    next.say(b"nuthatch upgrade 1 0.1.0");
    assert!(next.hear().0.starts_with("nuthatch 1 "));
    let reload = || {
        let request = "POST /reload HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
        let page = http::ask(admin, request);
        (page.status, page.body)
    };
    let (status, told) = reload();
    assert!(status == 422 && told.contains("an upgrade is under way"), "{told}");
    assert!(!accepts(other));
    drop(next);
    // The old process has to notice.
    let deadline = Instant::now() + PATIENCE;
    while reload().0 != 200 {
        assert!(Instant::now() < deadline, "reloads are refused for ever");
        thread::sleep(Duration::from_millis(5));
    }
    assert!(accepts(other));
    let _next = site.upgrade(&mut old, &[&flag]);
    assert!(accepts(other));
}

/// While an upgrade is under way, the running process changes nothing; if the upgrade fails, it changes by
/// itself to what DNS and the file have said meanwhile.
#[test]
#[ignore = "needs dnsmasq: run make it"]
fn what_changes_during_an_upgrade_that_fails_is_served_afterwards() {
    let mut dns = Dnsmasq::start(&["local-ttl=1", "host-record=cache.test,127.0.0.2"]);
    let site = Site::with_servers("timeout: 4000", &["dns+cache.test:1".to_owned()]);
    let admin = free_port();
    let flags = [
        format!("--admin=127.0.0.1:{admin}"),
        format!("--resolv-conf={}", dns.resolv_conf().display()),
    ];
    let _running = site.start(&flags.each_ref().map(String::as_str));
    let config = || {
        let page = http::ask(admin, "GET /config HTTP/1.1\r\nHost: a\r\n\r\n");
        let page: serde_json::Value = serde_json::from_str(&page.body).unwrap();
        let servers = http::ask(admin, "GET /servers HTTP/1.1\r\nHost: a\r\n\r\n").body;
        (page["pools"]["p"]["timeout"].as_u64().unwrap(), servers.contains("127.0.0.3:1"))
    };
    let next = Stranger::connect(&site.control());
    next.say(b"nuthatch upgrade 1 0.1.0");
    assert!(next.hear().0.starts_with("nuthatch 1 "));
    dns.change(&["local-ttl=1", "host-record=cache.test,127.0.0.3"]);
    let before = fs::read_to_string(site.dir.join("c.yml")).unwrap();
    site.configure(&before.replace("4000", "3000"));
    // The answer and the file are looked at once a second; a changed file must stay the same for another one.
    thread::sleep(Duration::from_secs(4));
    assert_eq!(config(), (4000, false));
    drop(next);
    let deadline = Instant::now() + PATIENCE;
    while config() != (3000, true) {
        assert!(Instant::now() < deadline, "{:?}", config());
        thread::sleep(Duration::from_millis(50));
    }
}

/// The next process would know the new servers only, and let keys that it deletes come back from the old ones.
#[test]
fn no_process_takes_over_while_keys_move() {
    let servers = [slow_server(Duration::ZERO), slow_server(Duration::ZERO)];
    let settings = "timeout: 400\nmigrate: {window: 1h}";
    let site = Site::with_servers(settings, &[servers[0].entry()]);
    let admin = free_port();
    let old = site.start(&[&format!("--admin=127.0.0.1:{admin}"), "--no-watch"]);
    let before = fs::read_to_string(site.dir.join("c.yml")).unwrap();
    let both = format!("{}\n   - {}", servers[0].entry(), servers[1].entry());
    site.configure(&before.replace(&servers[0].entry(), &both));
    let page = http::ask(admin, "POST /reload HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(page.status, 200, "{}", page.body);
    let (code, told) = fails(site.command(true, &[]));
    let why = "pool p: the keys of the last change still move, for ";
    assert!(code == Some(1) && told.contains(why), "{told}");
    assert!(told.contains("upgrade when nuthatch_migrate_phase is 0"), "{told}");
    assert!(accepts(site.port) && old.id() > 0, "the running process continues");
}

#[test]
fn a_pool_that_a_reload_has_removed_answers_before_its_process_ends() {
    let slow = slow_server(Duration::from_millis(700));
    let site = Site::with_servers("", &[slow.entry()]);
    let p = fs::read_to_string(site.dir.join("c.yml")).unwrap();
    let other = free_port();
    site.configure(&(p.clone() + &pool(other, "", &[slow.entry()])));
    let mut old = site.start(&[]);
    let mut waiting = Conn::tcp((Ipv4Addr::LOCALHOST, other));
    waiting.send("get k\r\n");
    thread::sleep(Duration::from_millis(50));
    site.configure(&p);
    old.signal(Signal::HUP);
    await_port(other, false);
    let _next = site.begin_upgrade(&[]);
    assert!(old.wait(Duration::ZERO).is_none(), "it has a client");
    waiting.expect("END\r\n");
    waiting.expect_closed();
    assert!(old.wait(PATIENCE).expect("it ends").success());
}
