//! Start and end: what the program makes it removes, what is another's it leaves alone, and what
//! `-t` accepts it can start.

use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nuthatch::config::directive::{DIRECTIVES, Kind, Pools};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::conn::{Conn, PATIENCE};
use crate::harness::{
    Process, Program, Proxy, TempDir, accepts, free_port, pool, pool_on, wait_until,
};

const SERVER: &str = "127.0.0.1:9:1";

pub(crate) fn servers() -> [String; 1] {
    [SERVER.to_owned()]
}

/// A start that must fail: its exit code and what it said.
fn failing_start(dir: &TempDir, config: &str, arguments: &[&str]) -> (Option<i32>, String) {
    fs::write(dir.join("failing.yml"), config).unwrap();
    let mut child = Program::UnderTest
        .command()
        .current_dir(dir.join(""))
        .args(["-c", "failing.yml", "-s", &free_port().to_string(), "--log-format=text"])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = child.stderr.take().unwrap();
    let deadline = std::time::Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if std::time::Instant::now() > deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("the start neither fails nor ends");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let mut text = String::new();
    stderr.read_to_string(&mut text).unwrap();
    (status.code(), text)
}

pub(crate) fn ends_well(proxy: &mut Proxy) {
    proxy.process.signal(Signal::TERM);
    let status = proxy.process.wait(PATIENCE).expect("it ends");
    assert!(status.success(), "{status}");
}

#[test]
fn a_start_that_fails_leaves_the_pid_file_alone() {
    let dir = TempDir::new();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let config = pool(taken.local_addr().unwrap().port(), "", &servers());
    fs::write(dir.join("pid"), "4194305\n").unwrap();
    let (code, told) = failing_start(&dir, &config, &["-p", "pid", "-a", "127.0.0.1"]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("can't listen on"), "{told}");
    assert_eq!(fs::read_to_string(dir.join("pid")).unwrap(), "4194305\n");
}

#[test]
fn a_start_that_fails_writes_to_no_pid_file_of_a_running_process() {
    let port = free_port();
    let config = pool(port, "", &servers());
    let mut proxy = Proxy::start_with(Program::UnderTest, &config, &[port], &["-p", "pid"]);
    let file = proxy.dir.join("pid");
    let is_written = || fs::read_to_string(&file).is_ok_and(|text| text.ends_with('\n'));
    wait_until(&mut proxy.process, || "no pid file".to_owned(), is_written);
    let pid = fs::read_to_string(&file).unwrap();
    let elsewhere = pool(free_port(), "", &servers());
    let (code, told) = failing_start(&proxy.dir, &elsewhere, &["-p", "pid", "-a", "127.0.0.1"]);
    assert_eq!(code, Some(1), "{told}");
    let why = format!("it belongs to the running process {}", pid.trim());
    assert!(told.contains(&why), "{told}");
    assert_eq!(fs::read_to_string(proxy.dir.join("pid")).unwrap(), pid);
    ends_well(&mut proxy);
    assert!(!proxy.dir.join("pid").exists());
}

/// A pool on a port and on a unix socket.
pub(crate) fn pool_on_both(port: u16, socket: &Path) -> String {
    let listen = format!("[\"127.0.0.1:{port}\", \"{}\"]", socket.display());
    pool_on("both", &listen, "", &servers())
}

#[test]
fn unix_sockets_go_with_their_process() {
    let dir = TempDir::new();
    let (port, socket, stats) = (free_port(), dir.join("pool.sock"), dir.join("stats.sock"));
    fs::write(dir.join("a.yml"), pool_on_both(port, &socket)).unwrap();
    let mut command = Program::UnderTest.command();
    command.current_dir(dir.join("")).args(["-c", "a.yml", "-o", "log", "-a"]).arg(&stats);
    let mut process = Process::spawn(&mut command);
    let is_ready = || UnixStream::connect(&stats).is_ok();
    wait_until(&mut process, || "no statistics".to_owned(), is_ready);
    Conn::unix(&socket).ask("mn\r\n", "MN\r\n");
    process.signal(Signal::TERM);
    assert!(process.wait(PATIENCE).expect("it ends").success());
    assert!(!socket.exists() && !stats.exists());
}

#[test]
fn a_unix_socket_that_another_process_has_put_in_its_place_stays() {
    let dir = TempDir::new();
    let (port, socket) = (free_port(), dir.join("pool.sock"));
    let config = pool_on_both(port, &socket);
    let mut proxy = Proxy::start(Program::UnderTest, &config, &[port]);
    fs::remove_file(&socket).unwrap();
    let _other = UnixListener::bind(&socket).unwrap();
    ends_well(&mut proxy);
    assert!(UnixStream::connect(&socket).is_ok());
}

#[test]
fn a_start_that_fails_leaves_no_unix_socket_behind() {
    let dir = TempDir::new();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let socket = dir.join("pool.sock");
    let config = pool_on_both(taken.local_addr().unwrap().port(), &socket);
    let config = pool_on("a", &dir.join("a.sock").display().to_string(), "", &servers())
        + &config.replace("both:", "zz:");
    let (code, told) = failing_start(&dir, &config, &["-a", "127.0.0.1"]);
    assert_eq!(code, Some(1), "{told}");
    assert!(!dir.join("a.sock").exists() && !socket.exists(), "{told}");
}

/// A listener that accepts nobody, and as many connections as fill its backlog.
fn full_listener(path: &Path) -> (OwnedFd, Vec<OwnedFd>) {
    let socket = |flags| socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
    let address = SocketAddrUnix::new(path).unwrap();
    let listener = socket(SocketFlags::CLOEXEC);
    rustix::net::bind(&listener, &address).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let mut waiting = Vec::new();
    loop {
        let client = socket(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK);
        match connect(&client, &address) {
            Ok(()) => waiting.push(client),
            Err(error) => {
                assert_eq!(error, Errno::AGAIN);
                return (listener, waiting);
            }
        }
    }
}

#[test]
fn a_listener_with_a_full_backlog_is_somebody_who_listens() {
    let dir = TempDir::new();
    let path = dir.join("full.sock");
    let _full = full_listener(&path);
    let on_it = pool_on("p", &path.display().to_string(), "", &servers());
    let (code, told) = failing_start(&dir, &on_it, &["-a", "127.0.0.1"]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("another process listens on this socket"), "{told}");
    let elsewhere = pool(free_port(), "", &servers());
    let (code, told) = failing_start(&dir, &elsewhere, &["-a", path.to_str().unwrap()]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("another process listens on this socket"), "{told}");
    assert!(path.exists());
}

#[test]
fn a_socket_of_another_type_is_in_use() {
    let dir = TempDir::new();
    let path = dir.join("datagrams.sock");
    let _other = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    let on_it = pool_on("p", &path.display().to_string(), "", &servers());
    let (code, told) = failing_start(&dir, &on_it, &["-a", "127.0.0.1"]);
    assert_eq!(code, Some(1), "{told}");
    assert!(path.exists(), "{told}");
}

#[test]
fn a_socket_that_nobody_listens_on_any_longer_is_replaced() {
    let dir = TempDir::new();
    let (port, socket) = (free_port(), dir.join("pool.sock"));
    drop(UnixListener::bind(&socket).unwrap());
    let _proxy = Proxy::start(Program::UnderTest, &pool_on_both(port, &socket), &[port]);
    Conn::unix(&socket).ask("mn\r\n", "MN\r\n");
}

/// Whether the process has a handler for SIGTERM.
fn catches_sigterm(id: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:\t")).unwrap();
    u64::from_str_radix(mask, 16).unwrap() & 1 << 14 != 0
}

/// A start that waits for an admin port which another program has.
struct WaitingStart {
    dir: TempDir,
    port: u16,
    socket: PathBuf,
    process: Process,
    _taken: TcpListener,
}

impl WaitingStart {
    fn new(flags: &[&str]) -> Self {
        let dir = TempDir::new();
        let (port, socket) = (free_port(), dir.join("pool.sock"));
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        fs::write(dir.join("a.yml"), pool_on_both(port, &socket)).unwrap();
        let mut command = Program::UnderTest.command();
        command.current_dir(dir.join("")).args(["-c", "a.yml", "-o", "log", "-a", "127.0.0.1"]);
        command.arg(format!("--admin={}", taken.local_addr().unwrap()));
        command.args(flags).args(["-p", "pid", "-s", &free_port().to_string()]);
        let mut process = Process::spawn(&mut command);
        let log = dir.join("log");
        let waits =
            || fs::read_to_string(&log).is_ok_and(|text| text.contains("waiting for an address"));
        wait_until(&mut process, || "it does not wait".to_owned(), waits);
        Self { dir, port, socket, process, _taken: taken }
    }
}

#[test]
fn sigterm_ends_a_start_that_waits() {
    let mut start = WaitingStart::new(&[]);
    assert!(catches_sigterm(start.process.id()));
    Conn::unix(&start.socket).ask("mn\r\n", "MN\r\n");
    start.process.signal(Signal::TERM);
    let status = start.process.wait(Duration::from_secs(3)).expect("it ends");
    assert!(status.success(), "{status}");
    assert!(!start.socket.exists() && !start.dir.join("pid").exists());
}

#[test]
fn a_signal_to_the_foreground_ends_the_start_in_the_background() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut start = WaitingStart::new(&["-d"]);
        assert!(accepts(start.port));
        start.process.signal(signal);
        let status = start.process.wait(Duration::from_secs(3)).expect("it ends");
        assert_eq!(status.code(), Some(1));
        assert!(!accepts(start.port) && !start.socket.exists());
    }
}

#[test]
fn all_users_may_connect_to_the_unix_socket_of_a_background_process_as_with_twemproxy() {
    let dir = TempDir::new();
    let sockets = ["open.sock", "set.sock"].map(|name| dir.join(name));
    let set = format!("{} 620", sockets[1].display());
    let config = pool_on("a", &sockets[0].display().to_string(), "", &servers())
        + &pool_on("b", &set, "", &servers());
    fs::write(dir.join("a.yml"), config).unwrap();
    let stats = dir.join("stats.sock");
    let script = format!(
        "umask 027; exec {} -d -c a.yml -o log -p pid -a {}",
        env!("CARGO_BIN_EXE_nuthatch"),
        stats.display()
    );
    let mut shell = std::process::Command::new("sh");
    let mut start = Process::spawn(shell.current_dir(dir.join("")).args(["-c", &script]));
    assert!(start.wait(PATIENCE).expect("it goes to the background").success());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let modes =
        [&sockets[0], &sockets[1], &stats, &dir.join("pid"), &dir.join("log")].map(|it| mode(it));
    let pid: i32 = fs::read_to_string(dir.join("pid")).unwrap().trim().parse().unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
    assert_eq!(modes.map(|mode| format!("{mode:o}")), ["777", "620", "777", "644", "640"]);
    let deadline = std::time::Instant::now() + PATIENCE;
    while dir.join("pid").exists() {
        assert!(std::time::Instant::now() < deadline, "it does not end");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn signals_that_change_the_log_are_told_at_every_level() {
    let port = free_port();
    let config = pool(port, "", &servers());
    let arguments = ["-v", "1", "--log-format=text"];
    let mut proxy = Proxy::start_with(Program::UnderTest, &config, &[port], &arguments);
    let mut tell = |signal, words: &str| {
        let log = proxy.dir.join("log");
        let read = || fs::read_to_string(&log).unwrap_or_default();
        // Other lines may follow at once.
        let before = read().len();
        let has = || read()[before..].lines().any(|line| line.ends_with(words));
        proxy.process.signal(signal);
        wait_until(&mut proxy.process, || words.to_owned(), has);
    };
    tell(Signal::TTOU, "log level changed log_level=0");
    tell(Signal::TTOU, "no log level is lower log_level=0");
    tell(Signal::USR1, "signal ignored signal=SIGUSR1");
    tell(Signal::USR2, "signal ignored signal=SIGUSR2");
    tell(Signal::HUP, "log file reopened");
    for level in 1..=11 {
        tell(Signal::TTIN, &format!("log level changed log_level={level}"));
    }
    tell(Signal::TTIN, "no log level is higher log_level=11");
}

#[test]
fn a_worker_for_which_there_is_no_room_is_named_with_the_limit() {
    let (dir, stats) = (TempDir::new(), free_port());
    fs::write(dir.join("a.yml"), pool(free_port(), "", &servers())).unwrap();
    // Each thread wants a GiB of addresses for its stack, so that only threads find no room.
    let script = format!(
        "ulimit -v 8000000; RUST_MIN_STACK=1073741824 exec {} -c a.yml -a 127.0.0.1 -s {stats} --workers 20",
        env!("CARGO_BIN_EXE_nuthatch")
    );
    let mut shell = std::process::Command::new("sh");
    let output = shell.current_dir(dir.join("")).args(["-c", &script]).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains(" of 20 can't start: Resource temporarily unavailable"), "{told}");
    assert!(told.contains("raise the limit of threads"), "{told}");
}

/// The second line would be none of JSON.
#[test]
fn a_start_that_fails_says_why_once() {
    let dir = TempDir::new();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let config = pool(taken.local_addr().unwrap().port(), "timeout: 400", &servers());
    let said = |arguments: &[&str]| {
        let (code, told) = failing_start(&dir, &config, arguments);
        assert_eq!(code, Some(1), "{told}");
        let is_why = |line: &&str| line.contains("can't listen") && !line.contains("waiting for");
        told.lines().filter(is_why).map(str::to_owned).collect()
    };
    let told: Vec<String> = said(&["--log-format=json", "-a", "127.0.0.1"]);
    assert!(told.len() == 1 && told[0].starts_with('{'), "{told:?}");
    for arguments in [&["-v", "0"][..], &["-o", "log"]] {
        let told: Vec<String> = said(arguments);
        assert!(told.len() == 1 && told[0].starts_with("nuthatch: pool"), "{told:?}");
    }
}

#[test]
fn an_inherited_environment_does_not_keep_the_proxy_in_the_foreground() {
    for mark in ["1".to_owned(), std::process::id().to_string(), String::new()] {
        let dir = TempDir::new();
        let port = free_port();
        fs::write(dir.join("a.yml"), pool(port, "", &servers())).unwrap();
        let mut child = Program::UnderTest
            .command()
            .current_dir(dir.join(""))
            .env("NUTHATCH_IN_BACKGROUND", &mark)
            .args(["-d", "-c", "a.yml", "-o", "log", "-a", "127.0.0.1", "-p", "pid", "-s"])
            .arg(free_port().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = std::time::Instant::now() + PATIENCE;
        let status = loop {
            match child.try_wait().unwrap() {
                Some(status) => break Some(status),
                None if std::time::Instant::now() > deadline => break None,
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        if status.is_none() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert!(status.is_some_and(|status| status.success()), "{mark:?}: {status:?}");
        assert!(accepts(port));
        let pid: i32 = fs::read_to_string(dir.join("pid")).unwrap().trim().parse().unwrap();
        let pid = Pid::from_raw(pid).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        let deadline = std::time::Instant::now() + PATIENCE;
        while test_kill_process(pid).is_ok() && dir.join("pid").exists() {
            assert!(std::time::Instant::now() < deadline, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Starts what `-t` accepts; says whether it accepted. It may hold so much memory at its start.
fn starts_if_accepted(settings: &str, arguments: &[&str], bytes_max: u64) -> bool {
    let port = free_port();
    let config = pool(port, settings, &servers());
    let dir = TempDir::new();
    fs::write(dir.join("a.yml"), &config).unwrap();
    let mut check = Program::UnderTest.command();
    let output = check.arg("-t").arg("-c").arg(dir.join("a.yml")).args(arguments).output().unwrap();
    if !output.status.success() {
        return false;
    }
    let mut proxy = Proxy::start_with(Program::UnderTest, &config, &[port], arguments);
    // With one client at most, the connection that tried the port may still count.
    wait_until(
        &mut proxy.process,
        || settings.to_owned(),
        || {
            let mut conn = Conn::tcp((Ipv4Addr::LOCALHOST, port));
            conn.send("mn\r\n");
            conn.read_line().is_ok_and(|line| line == b"MN\r\n")
        },
    );
    let held = proxy.process.memory_bytes("VmHWM");
    assert!(held < bytes_max, "{settings} {arguments:?}: {held} bytes at the start");
    ends_well(&mut proxy);
    true
}

/// No start may need more than this, whatever one number is.
const START_BYTES_MAX: u64 = 128 << 20;

#[test]
fn what_is_accepted_starts_with_every_number_at_its_ends() {
    // Others need a Redis pool, which can't be served yet.
    for directive in DIRECTIVES.iter().filter(|directive| directive.pools != Pools::Redis) {
        let (least, greatest) = match directive.kind {
            Kind::Count(_, bounds) | Kind::Size(_, bounds) => (bounds.min, bounds.max),
            Kind::Timeout(..) | Kind::Milliseconds(_) => (0, i32::MAX as u64),
            _ => continue,
        };
        let name = directive.name;
        let extremes = [0, least, greatest, greatest + 1, i32::MAX as u64, u64::MAX];
        for value in extremes {
            let settings = match name {
                // Not less than client_buffer_max.
                "client_backlog_max" => format!("client_buffer_max: 1\n{name}: {value}"),
                "client_buffer_max" => format!("client_backlog_max: 16g\n{name}: {value}"),
                _ => format!("{name}: {value}"),
            };
            let is_accepted = starts_if_accepted(&settings, &[], START_BYTES_MAX);
            if value == least || value == greatest {
                assert!(is_accepted, "{settings}");
            }
        }
    }
}

#[test]
fn what_is_accepted_starts_with_every_flag_at_its_ends() {
    for arguments in [
        &["-v", "0"][..],
        &["-v", "2147483647"],
        &["-i", "0"],
        &["-i", "2147483647"],
        &["-m", "512"],
        &["-m", "16777216"],
        &["--workers", "1024"],
    ] {
        assert!(starts_if_accepted("", arguments, START_BYTES_MAX), "{arguments:?}");
    }
}

#[test]
fn a_number_of_server_connections_that_no_system_grants_is_refused_at_its_place() {
    let dir = TempDir::new();
    let file = dir.join("a.yml");
    fs::write(&file, pool(1, "server_connections: 2147483647", &servers())).unwrap();
    let output = Program::UnderTest.command().arg("-t").arg("-c").arg(&file).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("a.yml:3:23: pool1.server_connections: \"2147483647\": "), "{told}");
    assert!(told.contains("write a whole number from 1 to 65535"), "{told}");
}

/// A hosts file of its own would be needed for another name; this machine's own is one.
#[test]
fn two_pools_on_one_address_are_refused_even_where_they_could_share_it() {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let Ok(mut found) = (name.trim(), 1).to_socket_addrs() else {
        eprintln!("skipped: this machine's name has no address");
        return;
    };
    let (address, port) = (found.next().unwrap().ip(), free_port());
    let shown = std::net::SocketAddr::new(address, port).to_string();
    let settings = "reuseport: true";
    let config = pool_on("a", &format!("\"{shown}\""), settings, &servers())
        + &pool_on("b", &format!("{}:{port}", name.trim()), settings, &servers());
    for workers in ["1", "2"] {
        let arguments = ["-a", "127.0.0.1", "--workers", workers];
        let (code, told) = failing_start(&TempDir::new(), &config, &arguments);
        assert_eq!(code, Some(1), "{told}");
        let why =
            format!("pool 'b' can't listen on {}:{port}: pool 'a' listens on {shown}", name.trim());
        assert!(told.contains(&why), "{told}");
    }
}

#[test]
fn a_pool_listens_on_all_addresses_of_both_versions() {
    for workers in ["1", "2"] {
        let port = free_port();
        let config =
            pool_on("p", &format!("[\"[::]:{port}\", \"0.0.0.0:{port}\"]"), "", &servers());
        let arguments = ["--workers", workers];
        let _proxy = Proxy::start_with(Program::UnderTest, &config, &[port], &arguments);
        Conn::tcp((Ipv4Addr::LOCALHOST, port)).ask("mn\r\n", "MN\r\n");
        Conn::tcp((std::net::Ipv6Addr::LOCALHOST, port)).ask("mn\r\n", "MN\r\n");
    }
    // Alone, all addresses of version 6 are those of version 4, too, as in twemproxy.
    let port = free_port();
    let config = pool_on("p", &format!("\"[::]:{port}\""), "", &servers());
    let _proxy = Proxy::start(Program::UnderTest, &config, &[port]);
    Conn::tcp((Ipv4Addr::LOCALHOST, port)).ask("mn\r\n", "MN\r\n");
}

#[test]
fn listening_on_all_addresses_is_possible_by_their_names() {
    let (port, stats) = (free_port(), free_port());
    let dir = TempDir::new();
    let config = pool_on("p", &format!("\"[::1]:{port}\""), "", &servers())
        + &pool(free_port(), "", &servers());
    fs::write(dir.join("a.yml"), config).unwrap();
    let mut command = Program::UnderTest.command();
    command.current_dir(dir.join("")).args(["-c", "a.yml", "-o", "log", "-a", "[::1]", "-s"]);
    let mut process = Process::spawn(command.arg(stats.to_string()));
    let answers = || TcpStream::connect((std::net::Ipv6Addr::LOCALHOST, stats)).is_ok();
    wait_until(&mut process, || "no statistics".to_owned(), answers);
}
