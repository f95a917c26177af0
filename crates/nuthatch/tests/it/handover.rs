//! One process after another at the same place: the next one does not wait for the end of the last.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;

use crate::conn::{Conn, PATIENCE};
use crate::fake::FakeServer;
use crate::harness::{Process, Program, Proxy, TempDir, accepts, free_port, pool, wait_until};
use crate::http;
use crate::start::{ends_well, pool_on_both, servers};

/// A server that never answers, and a proxy with a request that waits for it.
fn busy_proxy(port: u16, arguments: &[&str]) -> (FakeServer, Proxy, Conn) {
    let hanging = FakeServer::start(|_, _| std::thread::sleep(Duration::from_secs(30)));
    let config = pool(port, "", &[hanging.entry()]);
    let proxy = Proxy::start_with(Program::UnderTest, &config, &[port], arguments);
    let mut conn = proxy.conn();
    conn.send("get k\r\n");
    conn.expect_silence(Duration::from_millis(100));
    (hanging, proxy, conn)
}

/// What `/ready` answers.
fn ready(admin: u16) -> u16 {
    http::ask(admin, "GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").status
}

/// With the same flags as the process that drains: nothing of it is in the way of the next one.
#[test]
fn a_start_during_the_drain_of_another_process_succeeds() {
    let (port, admin) = (free_port(), free_port());
    let flag = format!("--admin=127.0.0.1:{admin}");
    let (_hanging, mut first, _conn) = busy_proxy(port, &["-p", "pid", &flag]);
    first.process.signal(Signal::TERM);
    wait_until(&mut first.process, || "it does not drain".to_owned(), || ready(admin) == 503);
    let mut command = Program::UnderTest.command();
    command.current_dir(first.dir.join("")).args(["-c", "nutcracker.yml", "-a", "127.0.0.1"]);
    command.args(["-o", "log2", "-p", "pid", &flag, "-s", &first.stats_port.to_string()]);
    let mut second = Process::spawn(&mut command);
    let story = || fs::read_to_string(first.dir.join("log2")).unwrap_or_default();
    // It waits for the admin port, so it has all others.
    wait_until(&mut second, story, || story().contains("the admin port can't listen"));
    assert!(accepts(port) && accepts(first.stats_port));
    assert!(first.process.wait(Duration::ZERO).is_none(), "it drains");
    assert_eq!(ready(admin), 503, "the process that drains says so until its end");
    assert!(first.process.wait(PATIENCE).expect("it ends").success());
    wait_until(&mut second, story, || accepts(admin) && ready(admin) == 200);
    let (id, file) = (second.id(), first.dir.join("pid"));
    let holds = || fs::read_to_string(&file).is_ok_and(|text| text == format!("{id}\n"));
    wait_until(&mut second, story, holds);
    second.signal(Signal::TERM);
    assert!(second.wait(PATIENCE).expect("it ends").success());
    assert!(!file.exists());
}

/// Whoever restarts by hand does not wait in between.
#[test]
fn a_start_right_after_sigterm_succeeds() {
    let port = free_port();
    let dir = TempDir::new();
    let stats = free_port().to_string();
    fs::write(dir.join("a.yml"), pool_on_both(port, &dir.join("pool.sock"))).unwrap();
    let start = || {
        let mut command = Program::UnderTest.command();
        command.current_dir(dir.join("")).args(["-c", "a.yml", "-o", "log", "-a", "127.0.0.1"]);
        Process::spawn(command.args(["-p", "pid", "-s", &stats]))
    };
    let holds = |process: &mut Process| {
        let id = process.id();
        let story = || fs::read_to_string(dir.join("log")).unwrap_or_default();
        let is_there =
            || fs::read_to_string(dir.join("pid")).is_ok_and(|text| text == format!("{id}\n"));
        wait_until(process, story, is_there);
    };
    let mut process = start();
    for _ in 0..10 {
        holds(&mut process);
        process.signal(Signal::TERM);
        let mut next = start();
        holds(&mut next);
        assert!(process.wait(PATIENCE).expect("it ends").success());
        process = next;
    }
}

#[test]
fn a_process_leaves_the_pid_file_of_its_successor() {
    let dir = TempDir::new();
    let (ports, file) = ([free_port(), free_port()], dir.join("pid"));
    fs::write(&file, "4194305\n").unwrap();
    let start = |port| {
        let arguments = ["-p", file.to_str().unwrap()];
        Proxy::start_with(Program::UnderTest, &pool(port, "", &servers()), &[port], &arguments)
    };
    let of = |proxy: &Proxy| format!("{}\n", proxy.process.id());
    let holds = |proxy: &mut Proxy| {
        let pid = of(proxy);
        let story = || "the pid file is another's".to_owned();
        wait_until(&mut proxy.process, story, || fs::read_to_string(&file).unwrap() == pid);
    };
    let (_hanging, mut first, _conn) = busy_proxy(ports[0], &["-p", file.to_str().unwrap()]);
    holds(&mut first);
    first.process.signal(Signal::TERM);
    let mut second = start(ports[1]);
    holds(&mut second);
    assert!(first.process.wait(PATIENCE).expect("it ends").success());
    assert_eq!(fs::read_to_string(&file).unwrap(), of(&second));
    ends_well(&mut second);
    assert!(!file.exists());
}
