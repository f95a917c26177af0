//! What systemd hands to the program and hears from it: sockets that are open already, and
//! `sd_notify` on a real socket.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nuthatch_harness::processor_time;
use rustix::process::{Signal, getpid};

use crate::conn::{Conn, PATIENCE};
use crate::fake::FakeServer;
use crate::harness::{Process, Program, TempDir, accepts, free_port, pool, pool_on, wait_until};
use crate::upgrade::{Site, Stray, fails};

fn server() -> FakeServer {
    FakeServer::start(|mut conn, _| {
        while let Ok(line) = conn.read_line() {
            if line.starts_with(b"get slow") {
                thread::sleep(Duration::from_millis(500));
            }
            conn.send("END\r\n");
        }
    })
}

/// The command that runs the program with two sockets, as systemd does: they are descriptors 3 and 4.
pub(crate) fn with_sockets(dir: &TempDir, sockets: [OwnedFd; 2], arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    let script =
        "LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=a:b exec \"$@\" 3<&0 4<&1 0</dev/null 1>&2";
    command.args(["-c", script, "sh"]).arg(Program::UnderTest.command().get_program());
    command.args(["-c", "c.yml", "-a", "127.0.0.1", "-s", &free_port().to_string()]);
    let [three, four] = sockets;
    command.args(arguments).current_dir(dir.join("")).stdin(three).stdout(four);
    command
}

#[test]
fn the_sockets_of_systemd_are_used_and_left_to_it() {
    let (server, dir) = (server(), TempDir::new());
    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (address, path) = (tcp.local_addr().unwrap(), dir.join("p.sock"));
    let unix = UnixListener::bind(&path).unwrap();
    let listen = format!("[\"{address}\", \"{}\"]", path.display());
    fs::write(dir.join("c.yml"), pool_on("p", &listen, "", &[server.entry()])).unwrap();
    // They wait in the queue until the program is started.
    let mut early = [Conn::tcp(address), Conn::unix(&path)];
    early.iter_mut().for_each(|conn| conn.send("get k\r\n"));
    let sockets = || [tcp.try_clone().unwrap().into(), unix.try_clone().unwrap().into()];
    for workers in ["1", "2"] {
        let mut command = with_sockets(&dir, sockets(), &["--workers", workers]);
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        early.iter_mut().for_each(|conn| conn.expect("END\r\n"));
        (0..10).for_each(|_| Conn::tcp(address).ask("get k\r\n", "END\r\n"));
        Conn::unix(&path).ask("get k\r\n", "END\r\n");
        // No other program gets them.
        let id = child.id();
        for number in [3, 4] {
            let text = fs::read_to_string(format!("/proc/{id}/fdinfo/{number}")).unwrap();
            let flags = text.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
            let flags = u32::from_str_radix(flags.trim(), 8).unwrap();
            assert_ne!(flags & 0o2_000_000, 0, "descriptor {number} is inherited: {text}");
        }
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, Signal::TERM).unwrap();
        assert!(child.wait().unwrap().success());
        assert!(path.exists(), "the socket is systemd's");
        // While the service restarts, clients wait.
        early = [Conn::tcp(address), Conn::unix(&path)];
        early.iter_mut().for_each(|conn| conn.send("get k\r\n"));
    }
}

/// The next process of the service has the socket, too, so clients come to it during the drain.
#[test]
fn a_drain_costs_nothing_while_clients_wait_at_a_socket_that_others_have_too() {
    let pause = Duration::from_millis(1500);
    let server = FakeServer::start(move |mut conn, _| {
        while conn.read_line().is_ok() {
            thread::sleep(pause);
            conn.send("END\r\n");
        }
    });
    let dir = TempDir::new();
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let both = [bind(), bind()];
    let [address, other] = both.each_ref().map(|it| it.local_addr().unwrap());
    let config = pool_on("p", &format!("[\"{address}\", \"{other}\"]"), "", &[server.entry()]);
    fs::write(dir.join("c.yml"), config).unwrap();
    let sockets = both.each_ref().map(|it| it.try_clone().unwrap().into());
    let mut command = with_sockets(&dir, sockets, &[]);
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    let mut slow = Conn::tcp(address);
    slow.ask("mn\r\n", "MN\r\n");
    slow.send("get k\r\n");
    slow.expect_silence(Duration::from_millis(200));
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::TERM).unwrap();
    thread::sleep(Duration::from_millis(200));
    let _waits = Conn::tcp(address);
    let before = processor_time(child.id());
    thread::sleep(Duration::from_millis(700));
    let used = processor_time(child.id()) - before;
    assert!(used < Duration::from_millis(200), "{used:?} of the processor");
    slow.expect("END\r\n");
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_socket_that_nobody_wants_is_an_error_that_says_what_is_wanted() {
    let dir = TempDir::new();
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (wanted, unwanted) = (bind(), bind());
    let (address, other) = (wanted.local_addr().unwrap(), unwanted.local_addr().unwrap());
    let config = pool_on("p", &address.to_string(), "", &["127.0.0.1:9:1".to_owned()]);
    fs::write(dir.join("c.yml"), config).unwrap();
    let told = |command: Command| {
        let (code, text) = fails(command);
        assert_eq!(code, Some(1), "{text}");
        text
    };
    let both = [wanted.try_clone().unwrap().into(), unwanted.into()];
    let text = told(with_sockets(&dir, both, &[]));
    let why = format!(
        "systemd handed over a socket for {other}, which is not configured; configured are \
         {address}, 127.0.0.1:"
    );
    assert!(text.contains(&why), "{text}");

    let file = || OwnedFd::from(fs::File::open(dir.join("c.yml")).unwrap());
    let text = told(with_sockets(&dir, [wanted.try_clone().unwrap().into(), file()], &[]));
    assert!(text.contains("LISTEN_FDS: socket 2 of 2 can't be used"), "{text}");

    let both = [wanted.try_clone().unwrap().into(), bind().into()];
    let text = told(with_sockets(&dir, both, &["-d"]));
    assert!(text.contains("leave out -d"), "{text}");
}

#[test]
fn sockets_for_another_process_are_not_touched() {
    let (server, dir, port) = (server(), TempDir::new(), free_port());
    fs::write(dir.join("c.yml"), pool(port, "", &[server.entry()])).unwrap();
    let stats = free_port().to_string();
    let mut command = Program::UnderTest.command();
    command.current_dir(dir.join("")).args(["-c", "c.yml", "-a", "127.0.0.1", "-s", &stats]);
    command.env("LISTEN_FDS", "3").env("LISTEN_PID", getpid().to_string());
    let mut process = Process::spawn(&mut command);
    wait_until(&mut process, || "LISTEN_PID is another process".to_owned(), || accepts(port));
}

/// The socket that systemd listens on.
struct Systemd(UnixDatagram);

impl Systemd {
    fn at(path: &Path) -> Self {
        Self::over(UnixDatagram::bind(path).unwrap())
    }

    fn over(socket: UnixDatagram) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    fn hear(&self) -> String {
        let mut room = [0; 1000];
        let count = self.0.recv(&mut room).expect("systemd is told something");
        String::from_utf8_lossy(&room[..count]).into_owned()
    }
}

#[test]
fn systemd_hears_of_the_start_of_an_upgrade_and_of_the_end() {
    let server = server();
    let site = Site::with_servers("", &[server.entry()]);
    let path = site.dir.join("notify");
    let systemd = Systemd::at(&path);
    let start = |is_next| {
        let mut command = site.command(is_next, &["--workers", "2"]);
        let process = Process::spawn(command.env("NOTIFY_SOCKET", &path));
        let ready =
            format!("READY=1\nMAINPID={}\nSTATUS=Serving 1 pools with 2 workers", process.id());
        assert_eq!(systemd.hear(), ready);
        Conn::tcp((Ipv4Addr::LOCALHOST, site.port)).ask("get k\r\n", "END\r\n");
        process
    };
    let mut first = start(false);
    let mut slow = Conn::tcp((Ipv4Addr::LOCALHOST, site.port));
    slow.send("get slow\r\n");
    thread::sleep(Duration::from_millis(50));
    let mut next = start(true);
    // The first still has a client, and may be told to end.
    first.signal(Signal::TERM);
    slow.expect("END\r\n");
    assert!(first.wait(PATIENCE).expect("it was replaced").success());
    // The first said nothing at its end: the service goes on.
    systemd.0.set_nonblocking(true).unwrap();
    assert!(systemd.0.recv(&mut [0; 100]).is_err());
    systemd.0.set_nonblocking(false).unwrap();
    next.signal(Signal::TERM);
    assert_eq!(systemd.hear(), "STOPPING=1\nSTATUS=Answering the requests in flight");
    assert!(next.wait(PATIENCE).expect("it ends").success());
}

#[test]
fn systemd_hears_of_a_reload_and_of_its_end() {
    let server = server();
    let site = Site::with_servers("", &[server.entry()]);
    let path = site.dir.join("notify");
    let systemd = Systemd::at(&path);
    let mut command = site.command(false, &["--no-watch"]);
    let process = Process::spawn(command.env("NOTIFY_SOCKET", &path));
    assert!(systemd.hear().starts_with("READY=1\n"));
    let file = site.dir.join("c.yml");
    let more = fs::read_to_string(&file).unwrap() + &pool(free_port(), "", &[server.entry()]);
    // A configuration that is refused leaves the service as it was.
    for (config, pools) in [(&*more, 2), ("wrong", 2)] {
        fs::write(&file, config).unwrap();
        process.signal(Signal::HUP);
        let told = systemd.hear();
        let micros =
            told.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").and_then(|it| it.split('\n').next());
        assert!(micros.is_some_and(|it| it.parse::<u64>().is_ok()), "{told}");
        let ready = format!(
            "READY=1\nMAINPID={}\nSTATUS=Serving {pools} pools with 1 workers",
            process.id()
        );
        assert_eq!(systemd.hear(), ready);
    }
}

#[test]
fn sigusr2_starts_the_next_process_from_the_running_one() {
    let server = server();
    let site = Site::with_servers("", &[server.entry()]);
    let path = site.dir.join("notify");
    let systemd = Systemd::at(&path);
    let main = |said: String| -> u32 {
        let id = said.lines().find_map(|line| line.strip_prefix("MAINPID="));
        id.unwrap_or_else(|| panic!("{said}")).parse().unwrap()
    };
    let mut command = site.command(false, &[]);
    let mut first = Process::spawn(command.env("NOTIFY_SOCKET", &path));
    assert_eq!(main(systemd.hear()), first.id());
    let mut conn = Conn::tcp((Ipv4Addr::LOCALHOST, site.port));
    conn.ask("get k\r\n", "END\r\n");
    first.signal(Signal::USR2);
    let second = main(systemd.hear());
    assert!(first.wait(PATIENCE).expect("it was replaced").success());
    let second = Stray(second);
    second.signal(Signal::USR2);
    let third = Stray(main(systemd.hear()));
    assert!(third.0 != second.0 && third.0 != first.id());
    conn.ask("get k\r\n", "END\r\n");
    third.signal(Signal::TERM);
    assert!(systemd.hear().starts_with("STOPPING=1"));
    conn.expect_closed();
}

#[test]
fn the_watchdog_hears_of_workers_that_live() {
    let server = server();
    let site = Site::with_servers("", &[server.entry()]);
    // Its name is abstract, as that of a container may be.
    let name = format!("nuthatch-it-{}", getpid().as_raw_nonzero());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let systemd = Systemd::over(UnixDatagram::bind_addr(&address).unwrap());
    let mut command = site.command(false, &[]);
    command.env("NOTIFY_SOCKET", format!("@{name}")).env("WATCHDOG_USEC", "400000");
    let process = Process::spawn(&mut command);
    let began = Instant::now();
    let heard: Vec<_> = (0..6).map(|_| systemd.hear()).collect();
    assert!(heard.iter().filter(|said| *said == "WATCHDOG=1").count() == 5, "{heard:?}");
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert!(process.id() > 0);
}
