//! `*` as a host: all addresses of both versions of IP, whatever the system has of them, and the same
//! place for a reload, an upgrade and systemd.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nuthatch_harness::redis::command;

use crate::conn::{Conn, PATIENCE};
use crate::harness::{Process, Program, Proxy, TempDir, free_port, pool_on};
use crate::reload::Changing;
use crate::start::{ends_well, servers};
use crate::systemd::with_sockets;
use crate::upgrade::Site;

const BOTH: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

fn on_every(port: u16, settings: &str) -> String {
    pool_on("p", &format!("\"*:{port}\""), settings, &servers())
}

fn answers_on(hosts: &[IpAddr], port: u16) {
    hosts.iter().for_each(|host| Conn::tcp((*host, port)).ask("mn\r\n", "MN\r\n"));
}

#[test]
fn every_listener_takes_clients_of_both_versions() {
    for workers in ["1", "2"] {
        let (port, admin) = (free_port(), free_port());
        let flag = format!("--admin=*:{admin}");
        let arguments = ["-a", "*", &flag, "--workers", workers, "--log-format=text"];
        let mut proxy =
            Proxy::start_with(Program::UnderTest, &on_every(port, ""), &[port, admin], &arguments);
        answers_on(&BOTH, port);
        for host in BOTH {
            let line = Conn::tcp((host, proxy.stats_port)).read_to_end();
            assert!(line.starts_with(b"{\"service\":\"nutcracker\""), "{host}");
            let mut conn = Conn::tcp((host, admin));
            conn.send("GET /config HTTP/1.1\r\nHost: a\r\n\r\n");
            let page = String::from_utf8(conn.read_to_end()).unwrap();
            assert!(page.contains(&format!("\"*:{port}\"")), "{page}");
        }
        ends_well(&mut proxy);
        let log = fs::read_to_string(proxy.dir.join("log")).unwrap();
        assert!(log.contains(&format!("pool listens pool=p at=*:{port} ")), "{log}");
        assert!(log.contains(&format!("admin listens at=*:{admin}\n")), "{log}");
    }
}

#[test]
fn a_client_of_ipv4_is_shown_as_one() {
    let port = free_port();
    let proxy = Proxy::start(Program::UnderTest, &on_every(port, "redis: true"), &[port]);
    let mut conn = proxy.conn();
    let own = conn.socket().local_addr().unwrap();
    conn.send(command(["CLIENT", "INFO"]));
    let told = String::from_utf8(conn.read_resp().unwrap()).unwrap();
    assert!(told.contains(&format!(" addr={own} laddr=127.0.0.1:{port} ")), "{told}");
}

#[test]
fn another_program_that_has_one_version_is_in_the_way() {
    for host in BOTH {
        let taken = TcpListener::bind((host, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let dir = TempDir::new();
        fs::write(dir.join("c.yml"), on_every(port, "")).unwrap();
        let stats = free_port().to_string();
        let mut command = Program::UnderTest.command();
        command.current_dir(dir.join("")).args(["-c", "c.yml", "-a", "127.0.0.1", "-s", &stats]);
        let (code, told) = crate::upgrade::fails(command);
        assert_eq!(code, Some(1), "{told}");
        assert!(
            told.contains(&format!("pool 'p' can't listen on *:{port}: Address already")),
            "{told}"
        );
    }
}

#[test]
fn a_reload_keeps_the_listener() {
    let port = free_port();
    let proxy = Changing::start(&on_every(port, ""), port, &["--log-format=text"]);
    let mut early: Vec<_> = BOTH.iter().map(|host| Conn::tcp((*host, port))).collect();
    proxy.reload(&on_every(port, "timeout: 400"), "changed");
    early.iter_mut().for_each(|conn| conn.ask("mn\r\n", "MN\r\n"));
    answers_on(&BOTH, port);
    let log = fs::read_to_string(proxy.proxy.dir.join("log")).unwrap();
    assert_eq!(log.matches("pool listens").count(), 1, "{log}");
    assert!(!log.contains("pool no longer listens"), "{log}");
}

/// The sockets of a form that was written before are not free yet; nothing changes.
#[test]
fn a_reload_to_another_form_of_the_address_is_refused() {
    let port = free_port();
    let on_four = pool_on("p", &format!("0.0.0.0:{port}"), "", &servers());
    let proxy = Changing::start(&on_four, port, &[]);
    let told = proxy.reload(&on_every(port, ""), "refused");
    let why = format!("pool 'p' can't listen on *:{port}: Address already in use");
    assert!(told["errors"].to_string().contains(&why), "{told}");
    answers_on(&BOTH[..1], port);
}

#[test]
fn an_upgrade_hands_the_listener_over() {
    let port = free_port();
    let every = format!("\"*:{port}\"");
    let six = format!("\"[::]:{port}\"");
    let parts = format!("[\"[::]:{port}\", \"0.0.0.0:{port}\"]");
    for (before, after) in [(&every, &every), (&every, &six), (&six, &every), (&parts, &every)] {
        let site = Site::new(port, &pool_on("p", before, "", &servers()));
        let admin = format!("--admin=*:{}", free_port());
        let mut old = site.start(&["-o", "old.log", &admin, "-a", "*"]);
        let mut early: Vec<_> = BOTH.iter().map(|host| Conn::tcp((*host, port))).collect();
        site.configure(&pool_on("p", after, "", &servers()));
        let flags = ["-o", "next.log", &admin, "-a", "*", "--workers", "2"];
        let _next = site.upgrade(&mut old, &flags);
        early.iter_mut().for_each(|conn| conn.ask("mn\r\n", "MN\r\n"));
        (0..8).for_each(|_| answers_on(&BOTH, port));
        let log = fs::read_to_string(site.dir.join("next.log")).unwrap();
        assert!(!log.contains("Address already in use"), "{before} {after}: {log}");
        assert!(!log.contains("closed a listener"), "{before} {after}: {log}");
    }
}

#[test]
fn an_upgrade_from_ipv4_alone_adds_ipv6() {
    let port = free_port();
    let on_four = format!("0.0.0.0:{port}");
    let site = Site::new(port, &pool_on("p", &on_four, "", &servers()));
    let mut old = site.start(&["-o", "old.log"]);
    assert!(TcpStream::connect((Ipv6Addr::LOCALHOST, port)).is_err());
    site.configure(&on_every(port, ""));
    let _next = site.upgrade(&mut old, &["-o", "next.log", "--workers", "2"]);
    (0..8).for_each(|_| answers_on(&BOTH, port));
}

#[test]
fn a_socket_of_systemd_for_all_addresses_is_used() {
    let all = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap();
    let four = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let ports = [&all, &four].map(|listener| listener.local_addr().unwrap().port());
    let dir = TempDir::new();
    let config = ports.map(|port| on_every(port, "").replace("p:", &format!("p{port}:")));
    fs::write(dir.join("c.yml"), config.concat()).unwrap();
    let sockets = [all.into(), four.into()];
    let mut command = with_sockets(&dir, sockets, &["-o", "log"]);
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    drop(command);
    let log = dir.join("log");
    let deadline = Instant::now() + PATIENCE;
    while !fs::read_to_string(&log).is_ok_and(|text| text.contains("nuthatch started")) {
        let is_waiting = child.try_wait().unwrap().is_none() && Instant::now() < deadline;
        assert!(is_waiting, "it does not start: {}", fs::read_to_string(&log).unwrap_or_default());
        thread::sleep(Duration::from_millis(5));
    }
    ports.iter().for_each(|port| answers_on(&BOTH, *port));
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Runs a script of `sh` in a network of its own, where only the loopback interface is.
fn in_own_network(script: &str, dir: &TempDir) {
    let is_root = rustix::process::geteuid().is_root();
    let mut command = Command::new("unshare");
    command.arg(if is_root { "--net" } else { "--map-root-user" }).arg("--net");
    command.args(["sh", "-euc", script]).arg(Program::UnderTest.command().get_program());
    let mut process = Process::spawn(command.current_dir(dir.join("")));
    let status = process.wait(2 * PATIENCE).expect("the script ends");
    let log = fs::read_to_string(dir.join("log")).unwrap_or_default();
    assert!(status.success(), "{status}: {log}");
}

/// Starts the proxy on `*` and asks it by the addresses of `$hosts`.
const ASKS: &str = "
    \"$0\" -c c.yml -o log -s 22222 -a '*' --admin='*:9600' & proxy=$!
    trap 'kill $proxy; wait $proxy' EXIT
    for host in $hosts; do
        tries=0
        until \"$0\" ping redis://$host:11211 http://$host:9600/ready; do
            tries=$((tries + 1)); test $tries -lt 50; sleep 0.1
        done
    done
";

#[test]
fn the_defaults_of_the_system_do_not_matter() {
    for setting in [
        // Sockets for IPv6 take only IPv6, unless a program says otherwise.
        "echo 1 > /proc/sys/net/ipv6/bindv6only; hosts='127.0.0.1 [::1]'",
        // No interface has an address of IPv6.
        "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6; hosts=127.0.0.1",
        // No interface has an address of IPv4.
        "ip address del 127.0.0.1/8 dev lo; hosts='[::1]'",
    ] {
        let dir = TempDir::new();
        fs::write(dir.join("c.yml"), on_every(11211, "redis: true")).unwrap();
        in_own_network(&format!("ip link set lo up; {setting}; {ASKS}"), &dir);
        let log = fs::read_to_string(dir.join("log")).unwrap();
        assert!(log.contains("*:11211"), "{log}");
    }
}

/// Runs a program for which the kernel has no IPv6: the system call `socket` says so.
const WITHOUT_IPV6: &str = "
import ctypes, os, platform, struct, sys
number = {'x86_64': 41, 'aarch64': 198}[platform.machine()]
LOAD, IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, REFUSE = 0x7fff0000, 0x00050000 | 97
steps = [(LOAD, 0, 0, 0), (IF_EQUAL, 0, 3, number), (LOAD, 0, 0, 16), (IF_EQUAL, 0, 1, 10),
         (RETURN, 0, 0, REFUSE), (RETURN, 0, 0, ALLOW)]
code = ctypes.create_string_buffer(b''.join(struct.pack('HBBI', *step) for step in steps))
program = ctypes.create_string_buffer(struct.pack('HxxxxxxP', len(steps), ctypes.addressof(code)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, program, 0, 0) == 0
os.execvp(sys.argv[1], sys.argv[1:])
";

#[test]
#[ignore = "needs python3: run make it"]
fn without_ipv6_in_the_kernel_all_addresses_are_those_of_ipv4() {
    let (port, admin) = (free_port(), free_port());
    let mut command = Command::new("python3");
    command.args(["-c", WITHOUT_IPV6]).arg(Program::UnderTest.command().get_program());
    let flag = format!("--admin=*:{admin}");
    let arguments = ["-a", "*", &flag, "--workers", "2", "--log-format=text"];
    let proxy = Proxy::start_command(command, &on_every(port, ""), &[port, admin], &arguments);
    answers_on(&BOTH[..1], port);
    assert!(TcpStream::connect((Ipv6Addr::LOCALHOST, port)).is_err());
    let log = fs::read_to_string(proxy.dir.join("log")).unwrap();
    assert!(log.contains(&format!("pool listens pool=p at=0.0.0.0:{port} ")), "{log}");
    assert!(log.contains(&format!("admin listens at=0.0.0.0:{admin}\n")), "{log}");
}
