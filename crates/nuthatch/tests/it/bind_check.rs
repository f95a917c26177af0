//! `-t --bind`: every listener is tried, and all is as before.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::harness::{Program, Proxy, TempDir, free_port, pool, pool_on};
use crate::start::servers;

fn check(dir: &TempDir, config: &str, arguments: &[&str]) -> (Option<i32>, String) {
    fs::write(dir.join("c.yml"), config).unwrap();
    let mut command: Command = Program::UnderTest.command();
    command.current_dir(dir.join("")).args(["-t", "--bind", "-c", "c.yml"]).args(arguments);
    let Output { status, stderr, .. } = command.output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

#[test]
fn listeners_that_can_be_opened_are_closed_again_and_leave_no_file() {
    let dir = TempDir::new();
    let [sock, old, stats, control] =
        ["new.sock", "old.sock", "stats.sock", "control"].map(|name| dir.join(name));
    drop(UnixListener::bind(&old).unwrap());
    let inode = fs::metadata(&old).unwrap().ino();
    let (one, two, admin) = (free_port(), free_port(), format!("--admin=*:{}", free_port()));
    let paths = [&sock, &old].map(|path| format!("\"{} 660\"", path.display()));
    let listen =
        format!("[\"*:{one}\", \"[::1]:{two}\", \"127.0.0.1:{two}\", {}]", paths.join(", "));
    let config = pool_on("p", &listen, "", &servers());
    let flags = ["-a", stats.to_str().unwrap(), "--control", control.to_str().unwrap(), &admin];
    for workers in ["1", "4"] {
        let (code, told) = check(&dir, &config, &[&flags[..], &["--workers", workers]].concat());
        assert_eq!(code, Some(0), "{told}");
        assert!(told.ends_with("nuthatch: every listener can be opened\n"), "{told}");
        assert!(!sock.exists() && !stats.exists() && !control.exists());
        assert_eq!(fs::metadata(&old).unwrap().ino(), inode, "it is the one of before");
        assert_eq!(fs::metadata(&old).unwrap().mode() & 0o777, 0o755, "with its permissions");
    }
    drop(TcpListener::bind((Ipv4Addr::UNSPECIFIED, one)).expect("the port is free"));
}

#[test]
fn each_listener_that_cannot_be_opened_is_told_with_what_would_be_right() {
    let dir = TempDir::new();
    let taken = [(); 3].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    let [port, stats, admin] = taken.each_ref().map(|it| it.local_addr().unwrap().port());
    let (used, none) = (dir.join("used.sock"), dir.join("none/a.sock"));
    let holder = UnixListener::bind(&used).unwrap();
    let (used, none) = (used.display(), none.display());
    let fine = free_port();
    let config = pool_on("a", &format!("[\"127.0.0.1:{port}\", {used}, {none}]"), "", &servers())
        + &pool_on("b", &format!("[\"192.0.2.1:{fine}\", \"127.0.0.1:{fine}\"]"), "", &servers())
        + &pool_on("c", "\"no-such-host.invalid:1\"", "", &servers());
    let (stats_flag, admin_flag) = (stats.to_string(), format!("--admin=*:{admin}"));
    let control = format!("--control={used}");
    let flags = ["-a", "127.0.0.1", "-s", &stats_flag, &admin_flag, &control];
    let (code, told) = check(&dir, &config, &flags);
    assert_eq!(code, Some(1), "{told}");
    let in_use = "Address already in use (os error 98); end what listens there, or choose another port \
                  or address";
    let directory = dir.join("none");
    let other =
        "another process listens on this socket; end the other process, or choose another path";
    for line in [
        format!("pool 'a' can't listen on 127.0.0.1:{port}: {in_use}"),
        format!("pool 'a' can't listen on {used}: {other}"),
        format!(
            "pool 'a' can't listen on {none}: No such file or directory (os error 2); make the \
             directory {}",
            directory.display()
        ),
        format!(
            "pool 'b' can't listen on 192.0.2.1:{fine}: Cannot assign requested address (os error 99); \
             this machine has no such address: write one of its addresses, or * for all"
        ),
        format!("the statistics port can't listen on 127.0.0.1 port {stats}: {in_use}"),
        format!("the admin port can't listen on *:{admin}: {in_use}"),
        format!("can't listen on the control socket {used}: {other}"),
    ] {
        assert!(told.contains(&format!("nuthatch: {line}\n")), "{line}\n{told}");
    }
    let unresolved = "nuthatch: pool 'c' can't listen on no-such-host.invalid:1: ";
    let line = told.lines().find(|line| line.starts_with(unresolved)).expect(&told);
    assert!(line.ends_with("; check the host name and the name server"), "{line}");
    assert_eq!(told.lines().count(), 8, "{told}");
    assert!(UnixStream::connect(dir.join("used.sock")).is_ok());
    drop(holder);
}

#[test]
fn a_name_and_an_address_that_turn_out_to_be_one_are_told() {
    let Ok(name) = fs::read_to_string("/proc/sys/kernel/hostname") else { return };
    let Ok(mut found) = std::net::ToSocketAddrs::to_socket_addrs(&(name.trim(), 1)) else {
        eprintln!("skipped: this machine's name has no address");
        return;
    };
    let (address, port, dir) = (found.next().unwrap().ip(), free_port(), TempDir::new());
    let shown = std::net::SocketAddr::new(address, port).to_string();
    let config = pool_on("a", &format!("\"{shown}\""), "", &servers());
    let (stats, port) = (free_port().to_string(), port.to_string());
    let admin = format!("--admin={}:{port}", name.trim());
    let (code, told) = check(&dir, &config, &["-a", "127.0.0.1", "-s", &stats, &admin]);
    assert_eq!(code, Some(1), "{told}");
    let line =
        format!("the admin port can't listen on {}:{port}: Address already in use", name.trim());
    assert!(told.contains(&line), "{told}");
}

#[test]
fn no_client_of_a_proxy_that_shares_its_port_is_lost() {
    let port = free_port();
    let config = pool(port, "reuseport: true", &servers());
    let proxy = Proxy::start(Program::UnderTest, &config, &[port]);
    let has_ended = AtomicBool::new(false);
    let asked = thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut asked = 0;
            while !has_ended.load(Ordering::Relaxed) {
                proxy.conn().ask("mn\r\n", "MN\r\n");
                asked += 1;
            }
            asked
        });
        let dir = TempDir::new();
        let stats = free_port().to_string();
        for workers in ["1", "8", "8", "8", "8"] {
            let flags = ["-a", "127.0.0.1", "-s", &stats, "--workers", workers];
            let (code, told) = check(&dir, &config, &flags);
            assert_eq!(code, Some(0), "{told}");
        }
        has_ended.store(true, Ordering::Relaxed);
        asking.join().unwrap()
    });
    assert!(asked > 10, "{asked}");
}
