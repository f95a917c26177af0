//! One process takes over from another: no client is refused, no request is lost, and a process that
//! cannot take over changes nothing.

use std::collections::BTreeSet;
use std::fs;
use std::io::{ErrorKind, IoSlice, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nuthatch_harness::Dnsmasq;
use nuthatch_harness::redis::command;
use rustix::net::sockopt::{Timeout, set_socket_reuseport, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept, bind,
    connect, listen, recvmsg, sendmsg, socket_with,
};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::conn::{Broken, Conn, PATIENCE, show};
use crate::fake::FakeServer;
use crate::harness::{
    Memcached, Process, Program, Redis, TempDir, accepts, free_port, named, pool, pool_on,
    wait_until,
};
use crate::http;
use crate::random::Random;

/// Where the processes of a test run, one after the other.
pub(crate) struct Site {
    pub(crate) dir: TempDir,
    pub(crate) port: u16,
    stats_port: u16,
}

impl Site {
    pub(crate) fn new(port: u16, config: &str) -> Self {
        let site = Self { dir: TempDir::new(), port, stats_port: free_port() };
        site.configure(config);
        site
    }

    /// A pool on the port of the site and on the unix socket `p.sock`.
    pub(crate) fn with_servers(settings: &str, servers: &[String]) -> Self {
        let port = free_port();
        let site = Self::new(port, "");
        let listen = format!("[\"127.0.0.1:{port}\", \"{}\"]", site.socket().display());
        site.configure(&pool_on("p", &listen, settings, servers));
        site
    }

    pub(crate) fn configure(&self, config: &str) {
        fs::write(self.dir.join("c.yml"), config).unwrap();
    }

    fn socket(&self) -> PathBuf {
        self.dir.join("p.sock")
    }

    fn control(&self) -> PathBuf {
        self.dir.join("control")
    }

    fn conn(&self) -> Conn {
        Conn::tcp((Ipv4Addr::LOCALHOST, self.port))
    }

    /// The command of a process: the first, or the next one.
    pub(crate) fn command(&self, is_next: bool, arguments: &[&str]) -> Command {
        let mut command = Program::UnderTest.command();
        if is_next {
            command.arg("upgrade");
        }
        command.current_dir(self.dir.join("")).args([
            "-c",
            "c.yml",
            "-a",
            "127.0.0.1",
            "-p",
            "pid",
        ]);
        command.args(["-s", &self.stats_port.to_string(), "--control", "control"]).args(arguments);
        command
    }

    /// Starts the first process and waits until it listens.
    pub(crate) fn start(&self, arguments: &[&str]) -> Process {
        let mut process = Process::spawn(&mut self.command(false, arguments));
        // The pid file is written when all else is done.
        let pid = format!("{}\n", process.id());
        let is_started = || fs::read_to_string(self.dir.join("pid")).is_ok_and(|text| text == pid);
        wait_until(&mut process, || "the first process".to_owned(), is_started);
        process
    }

    /// Replaces `old` with the next process, and waits until `old` has ended.
    pub(crate) fn upgrade(&self, old: &mut Process, arguments: &[&str]) -> Process {
        let next = self.begin_upgrade(arguments);
        let status = old.wait(PATIENCE).expect("the old process ends when its clients have passed");
        assert!(status.success(), "{status}");
        next
    }

    /// Starts the next process and waits until it has taken over.
    fn begin_upgrade(&self, arguments: &[&str]) -> Process {
        let mut next = Process::spawn(&mut self.command(true, arguments));
        let pid = format!("{}\n", next.id());
        let has_taken = || fs::read_to_string(self.dir.join("pid")).is_ok_and(|text| text == pid);
        wait_until(&mut next, || "the next process".to_owned(), has_taken);
        next
    }
}

/// Runs a process that must fail; its exit code and errors.
pub(crate) fn fails(mut command: Command) -> (Option<i32>, String) {
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    // The command has copies of the sockets that it gives to the process.
    drop(command);
    let mut stderr = child.stderr.take().unwrap();
    // It may wait for a port, for 7 seconds.
    let deadline = Instant::now() + 3 * PATIENCE;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("the process neither fails nor ends");
        }
        thread::sleep(Duration::from_millis(5));
    }
    let mut text = String::new();
    stderr.read_to_string(&mut text).unwrap();
    (child.wait().unwrap().code(), text)
}

/// A process that is not a child of the test; ended if the test fails.
pub(crate) struct Stray(pub(crate) u32);

impl Stray {
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.id(), signal).unwrap();
    }

    fn id(&self) -> Pid {
        Pid::from_raw(self.0.try_into().unwrap()).unwrap()
    }
}

impl Drop for Stray {
    fn drop(&mut self) {
        if thread::panicking() {
            // It may have ended already.
            let _ = kill_process(self.id(), Signal::TERM);
        }
    }
}

/// What happened to the clients of a load.
#[derive(Default)]
struct Tally {
    ends: AtomicBool,
    connections: AtomicU64,
    requests: AtomicU64,
    refused: AtomicU64,
    lost: AtomicU64,
    /// Connections that the proxy closed.
    closed: AtomicU64,
}

/// Ends the load, also if the test fails.
struct EndOfLoad<'t>(&'t Tally);

impl Drop for EndOfLoad<'_> {
    fn drop(&mut self) {
        self.0.ends.store(true, Ordering::Relaxed);
    }
}

/// A client that sends pipelines of writes and reads of its own key, in pieces, and checks every reply.
/// Every fourth client keeps its connection; the others connect anew now and then.
fn load(number: usize, tcp: u16, unix: &Path, tally: &Tally) {
    let mut random = Random::new(u64::try_from(number).unwrap() + 1);
    let open = || match number % 3 {
        0 => UnixStream::connect(unix).map(|stream| TcpStream::from(OwnedFd::from(stream))),
        _ => TcpStream::connect((Ipv4Addr::LOCALHOST, tcp)),
    };
    let (mut conn, mut count) = (None, 0_u64);
    while !tally.ends.load(Ordering::Relaxed) {
        if !number.is_multiple_of(4) && random.one_in(5) {
            conn = None;
        }
        let open_one = || match open() {
            Ok(stream) => {
                tally.connections.fetch_add(1, Ordering::Relaxed);
                Some(Conn::over(stream))
            }
            Err(error) => {
                eprintln!("client {number}: {error}");
                tally.refused.fetch_add(1, Ordering::Relaxed);
                None
            }
        };
        let Some(mut open) = conn.take().or_else(open_one) else {
            thread::sleep(Duration::from_millis(1));
            continue;
        };
        let (mut requests, mut replies) = (String::new(), String::new());
        let few = 1 + random.below(8);
        for _ in 0..few {
            count += 1;
            let silent = random.one_in(3);
            let noreply = if silent { " noreply" } else { "" };
            requests += &format!("set c{number} 0 0 8{noreply}\r\n{count:08}\r\nget c{number}\r\n");
            replies += if silent { "" } else { "STORED\r\n" };
            replies += &format!("VALUE c{number} 0 8\r\n{count:08}\r\nEND\r\n");
        }
        let (first, second) = requests.split_at(random.below(requests.len()));
        open.send(first);
        if random.one_in(3) {
            thread::sleep(Duration::from_millis(u64::try_from(random.below(30)).unwrap()));
        }
        open.send(second);
        match open.read_exact(replies.len()) {
            Ok(got) if got == replies.as_bytes() => {
                tally.requests.fetch_add(u64::try_from(few).unwrap(), Ordering::Relaxed);
                conn = Some(open);
            }
            wrong => {
                let (Ok(got) | Err(Broken::Closed(got) | Broken::TimedOut(got))) = wrong;
                eprintln!("client {number} sent {requests:?}, got {}", show(&got));
                tally.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
        if random.one_in(20) {
            thread::sleep(Duration::from_millis(20));
        }
        // A connection that was closed while nothing was asked.
        if conn.as_ref().is_some_and(is_at_end) {
            tally.closed.fetch_add(1, Ordering::Relaxed);
            conn = None;
        }
    }
}

fn is_at_end(conn: &Conn) -> bool {
    let socket = conn.socket();
    socket.set_nonblocking(true).unwrap();
    let seen = socket.peek(&mut [0]);
    socket.set_nonblocking(false).unwrap();
    seen.map_or_else(|error| error.kind() != ErrorKind::WouldBlock, |count| count == 0)
}

#[test]
#[ignore = "needs memcached: run make it"]
fn under_load_no_client_is_refused_and_no_request_is_lost() {
    let servers = Memcached::start_many(2);
    let site = Site::with_servers("", &servers.iter().map(Memcached::entry).collect::<Vec<_>>());
    let mut process = site.start(&["--workers", "1"]);
    let tally = Tally::default();
    thread::scope(|scope| {
        let _end = EndOfLoad(&tally);
        for number in 0..20 {
            let (tally, socket) = (&tally, site.socket());
            scope.spawn(move || load(number, site.port, &socket, tally));
        }
        for workers in ["1", "2", "2", "1", "3", "1", "2"] {
            thread::sleep(Duration::from_millis(400));
            process = site.upgrade(&mut process, &["--workers", workers]);
        }
        thread::sleep(Duration::from_millis(400));
    });
    let figure = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
    let counts = [&tally.refused, &tally.lost, &tally.closed].map(figure);
    assert_eq!(counts, [0, 0, 0], "refused, lost, closed");
    let (connections, requests) = (figure(&tally.connections), figure(&tally.requests));
    assert!(connections > 200 && requests > 2000, "{connections} connections, {requests} requests");
    // What the last process has is what it removes.
    process.signal(Signal::TERM);
    assert!(process.wait(PATIENCE).expect("it ends").success());
    for file in ["p.sock", "control", "pid"] {
        assert!(!site.dir.join(file).exists(), "{file}");
    }
}

/// A server that answers each line after a time.
fn slow_server(pause: Duration) -> FakeServer {
    FakeServer::start(move |mut conn, _| {
        while conn.read_line().is_ok() {
            thread::sleep(pause);
            conn.send("END\r\n");
        }
    })
}

#[test]
fn a_client_keeps_its_connection_whatever_it_is_in_the_middle_of() {
    let server = slow_server(Duration::from_millis(300));
    let site = Site::with_servers("", &[server.entry()]);
    let mut old = site.start(&[]);
    let (mut idle, mut half, mut waiting) = (site.conn(), Conn::unix(&site.socket()), site.conn());
    half.send("get ha");
    waiting.send("get waits\r\nget in\r\nget li");
    thread::sleep(Duration::from_millis(100));
    let _next = site.upgrade(&mut old, &["--workers", "2"]);
    half.ask("lf\r\n", "END\r\n");
    idle.ask("get k\r\n", "END\r\n");
    waiting.expect("END\r\nEND\r\n");
    waiting.ask("ne\r\n", "END\r\n");
}

#[test]
fn many_idle_clients_pass_to_all_workers() {
    let server = slow_server(Duration::ZERO);
    let site = Site::with_servers("", &[server.entry()]);
    let mut old = site.start(&["--workers", "2"]);
    let mut clients: Vec<_> = (0..1500).map(|_| site.conn()).collect();
    // The workers know them all.
    clients.iter_mut().for_each(|conn| conn.ask("get k\r\n", "END\r\n"));
    let _next = site.upgrade(&mut old, &["--workers", "2"]);
    clients.iter_mut().for_each(|conn| conn.ask("get k\r\n", "END\r\n"));
}

#[test]
#[ignore = "needs redis-server: run make it"]
fn a_redis_client_keeps_what_it_has_said_and_finishes_what_it_has_begun() {
    let servers = [Redis::start()];
    let port = free_port();
    let site = Site::new(port, &pool(port, "redis: true", &named(&servers)));
    let mut old = site.start(&[]);
    let (mut named, mut buyer) = (site.conn(), site.conn());
    let hello = named.call(["HELLO", "3", "SETNAME", "me"]).unwrap();
    assert!(hello.starts_with(b"%7"), "{}", show(&hello));
    buyer.ask(command(["WATCH", "stock"]), "+OK\r\n");
    let mut next = site.begin_upgrade(&[]);
    named.ask(command(["CLIENT", "GETNAME"]), "$2\r\nme\r\n");
    named.ask(command(["GET", "none"]), "_\r\n");
    // The watch is on a connection of the old process, which serves its client on.
    assert!(old.wait(Duration::from_millis(300)).is_none(), "it has a client");
    buyer.ask(command(["MULTI"]), "+OK\r\n");
    buyer.ask(command(["SET", "stock", "1"]), "+QUEUED\r\n");
    buyer.ask(command(["EXEC"]), "*1\r\n+OK\r\n");
    assert!(old.wait(PATIENCE).expect("its last client has passed").success());
    buyer.ask(command(["GET", "stock"]), "$1\r\n1\r\n");

    // Nor does a process with such a client outlive a SIGTERM.
    buyer.ask(command(["WATCH", "stock"]), "+OK\r\n");
    let _last = site.begin_upgrade(&[]);
    next.signal(Signal::TERM);
    buyer.expect_closed();
    assert!(next.wait(PATIENCE).expect("it drains").success());
}

#[test]
fn a_process_that_cannot_serve_changes_nothing() {
    let server = slow_server(Duration::ZERO);
    let site = Site::with_servers("", &[server.entry()]);
    let mut old = site.start(&["--workers", "2"]);
    let mut conn = site.conn();
    let good = fs::read_to_string(site.dir.join("c.yml")).unwrap();
    let busy = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let busy = busy.local_addr().unwrap();
    let more = good.clone() + &pool_on("q", &busy.to_string(), "", &[server.entry()]);
    let missing = site.dir.join("missing/pid").display().to_string();
    for (config, arguments, why) in [
        (good.replace("servers", "serfers"), &[][..], "directive \"serfers\""),
        (more, &[], "pool 'q' can't listen on"),
        (good.clone(), &["-p", &missing], "failed to write pid file"),
        // This one takes its time: it waits for the port.
        (good.clone(), &["--workers", "3", "--admin", &busy.to_string()], "the admin port can't"),
    ] {
        site.configure(&config);
        let command = site.command(true, arguments);
        let (code, told) = thread::scope(|scope| {
            let failing = scope.spawn(|| fails(command));
            while !failing.is_finished() {
                site.conn().ask("get k\r\n", "END\r\n");
                thread::sleep(Duration::from_millis(1));
            }
            failing.join().unwrap()
        });
        assert_eq!(code, Some(1), "{told}");
        assert!(told.contains(why), "{told}");
        conn.ask("get k\r\n", "END\r\n");
        (0..20).for_each(|_| site.conn().ask("get k\r\n", "END\r\n"));
        Conn::unix(&site.socket()).ask("get k\r\n", "END\r\n");
        let pid = fs::read_to_string(site.dir.join("pid")).unwrap();
        assert_eq!(pid, format!("{}\n", old.id()));
    }
    site.configure(&good);
    let _next = site.upgrade(&mut old, &[]);
    conn.ask("get k\r\n", "END\r\n");
}

#[test]
fn without_a_running_process_there_is_nothing_to_take_over() {
    let site = Site::with_servers("", &["127.0.0.1:9:1".to_owned()]);
    let (code, told) = fails(site.command(true, &[]));
    assert_eq!(code, Some(1));
    assert!(told.contains("no process to take over from") && told.contains("control"), "{told}");
    assert!(!site.socket().exists());
}

/// Another program on the control socket.
struct Stranger(OwnedFd);

impl Stranger {
    fn connect(control: &Path) -> Self {
        let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
        let socket = socket_with(AddressFamily::UNIX, kind, flags, None).unwrap();
        connect(&socket, &SocketAddrUnix::new(control).unwrap()).unwrap();
        Self::over(socket)
    }

    fn over(socket: OwnedFd) -> Self {
        set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE)).unwrap();
        Self(socket)
    }

    fn say(&self, text: &[u8]) {
        self.give(text, &[]);
    }

    /// Says something, and sends sockets with it.
    fn give(&self, text: &[u8], sockets: &[BorrowedFd<'_>]) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut rights = SendAncillaryBuffer::new(&mut space);
        if !sockets.is_empty() {
            rights.push(SendAncillaryMessage::ScmRights(sockets));
        }
        sendmsg(&self.0, &[IoSlice::new(text)], &mut rights, SendFlags::NOSIGNAL).unwrap();
    }

    /// The next message and whether a descriptor came with it; empty at the end.
    fn hear(&self) -> (String, Option<OwnedFd>) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut rights = RecvAncillaryBuffer::new(&mut space);
        let mut room = [0; 4096];
        let rooms = &mut [IoSliceMut::new(&mut room)];
        let got = recvmsg(&self.0, rooms, &mut rights, RecvFlags::CMSG_CLOEXEC).unwrap();
        let socket = rights.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut sockets) => sockets.next(),
            _ => None,
        });
        (String::from_utf8_lossy(&room[..got.bytes]).into_owned(), socket)
    }
}

/// The running process is one that accepts nobody: it has three sockets on one port, as with three
/// workers, and clients in the queue of each.
#[test]
fn clients_in_the_queue_of_every_socket_are_served_by_any_number_of_workers() {
    let server = slow_server(Duration::ZERO);
    for workers in ["1", "2", "4"] {
        let site = Site::with_servers("", &[server.entry()]);
        let sockets: Vec<_> = (0..3).map(|_| listen_shared(site.port)).collect();
        let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
        let control = socket_with(AddressFamily::UNIX, kind, flags, None).unwrap();
        bind(&control, &SocketAddrUnix::new(site.control()).unwrap()).unwrap();
        listen(&control, 1).unwrap();
        let mut clients: Vec<_> = (0..60).map(|_| site.conn()).collect();
        clients.iter_mut().for_each(|conn| conn.send("get k\r\n"));
        let mut next = Process::spawn(&mut site.command(true, &["--workers", workers]));
        let old = Stranger::over(accept(&control).unwrap());
        assert!(old.hear().0.starts_with("nuthatch upgrade 1 "));
        old.say(b"nuthatch 1 4000000 4 0.1.0");
        old.give(
            format!("control own {}", site.control().display()).as_bytes(),
            &[control.as_fd()],
        );
        sockets.iter().for_each(|socket| old.give(b"pool tcp", &[socket.as_fd()]));
        assert_eq!(old.hear().0, "pool 1 memcached p");
        assert_eq!(old.hear().0, "go");
        // It has said so before its workers accept.
        clients[0].expect_silence(Duration::from_millis(50));
        old.say(b"yours");
        drop((sockets, control));
        clients.iter_mut().for_each(|conn| conn.expect("END\r\n"));
        (0..60).for_each(|_| site.conn().ask("get k\r\n", "END\r\n"));
        drop(old);
        next.signal(Signal::TERM);
        assert!(next.wait(PATIENCE).expect("it ends").success());
        assert!(!site.control().exists(), "it was adopted");
    }
}

/// A socket that listens on a port together with others.
fn listen_shared(port: u16) -> OwnedFd {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).unwrap();
    set_socket_reuseport(&socket, true).unwrap();
    bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, port))).unwrap();
    listen(&socket, 100).unwrap();
    socket
}

#[test]
fn who_ends_in_the_middle_or_says_nonsense_changes_nothing() {
    let server = slow_server(Duration::ZERO);
    let site = Site::with_servers("", &[server.entry()]);
    let mut old = site.start(&["--workers", "2"]);
    let mut conn = site.conn();
    let control = site.control();
    assert_eq!(fs::metadata(&control).unwrap().permissions().mode() & 0o777, 0o600);

    // It gets all listening sockets, and dies.
    let dying = Stranger::connect(&control);
    dying.say(b"nuthatch upgrade 1 0.1.0");
    let (answer, _) = dying.hear();
    // Two for the port, one for the unix socket, the statistics, the control socket.
    assert!(answer.starts_with(&format!("nuthatch 1 {} 5 ", old.id())), "{answer}");
    let mut kinds: Vec<_> = (0..5).map(|_| dying.hear()).collect();
    assert!(kinds.iter().all(|(_, socket)| socket.is_some()));
    kinds.sort_by(|one, two| one.0.cmp(&two.0));
    let path = |name: &str| site.dir.join(name).display().to_string();
    let named: Vec<_> = kinds.iter().map(|(kind, _)| kind.clone()).collect();
    let unix = [format!("control own {}", path("control")), format!("pool own {}", path("p.sock"))];
    assert_eq!(named, [&unix[0], &unix[1], "pool tcp", "pool tcp", "statistics tcp"]);
    dying.say(b"pool 1 memcached p");
    drop((dying, kinds));
    conn.ask("get k\r\n", "END\r\n");

    for (hello, answer) in [
        (&b"nuthatch upgrade 2 9.9.9"[..], "takes part in upgrades of version 1, not 2"),
        (b"GET / HTTP/1.1", "that is no upgrade"),
        (&[0xff; 70_000], ""),
    ] {
        let stranger = Stranger::connect(&control);
        stranger.say(hello);
        let (told, _) = stranger.hear();
        assert!(
            told.contains(answer) && (told.is_empty() || told.starts_with("refused ")),
            "{told}"
        );
    }
    // Who says nothing is waited for, and costs nobody else anything.
    let silent = Stranger::connect(&control);
    thread::sleep(Duration::from_millis(100));
    conn.ask("get k\r\n", "END\r\n");
    site.conn().ask("get k\r\n", "END\r\n");
    assert_eq!(silent.hear().0, "", "closed");
    let _next = site.upgrade(&mut old, &[]);
    conn.ask("get k\r\n", "END\r\n");
}

#[test]
#[ignore = "needs root: run make it"]
fn a_process_of_another_user_is_refused() {
    const NOBODY: u32 = 65_534;
    let server = slow_server(Duration::ZERO);
    let site = Site::with_servers("", &[server.entry()]);
    let _old = site.start(&[]);
    // The mode of the socket is the first guard; this is about the second.
    fs::set_permissions(site.control(), fs::Permissions::from_mode(0o666)).unwrap();
    // The other user may not be able to reach the program where it was built.
    let program = site.dir.join("nuthatch");
    fs::copy(site.command(true, &[]).get_program(), &program).unwrap();
    let ours = site.command(true, &["-p", "pid.nobody"]);
    let mut command = Command::new(&program);
    command.current_dir(site.dir.join("")).args(ours.get_args()).uid(NOBODY).gid(NOBODY);
    let (code, told) = fails(command);
    assert_eq!(code, Some(1));
    assert!(told.contains("the other process belongs to user 0, this one to user 65534"), "{told}");
    site.conn().ask("get k\r\n", "END\r\n");

    // One that asks all the same.
    let script = "import socket, sys\n\
        s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n\
        s.connect(sys.argv[1])\n\
        try:\n  s.send(b'nuthatch upgrade 1 0.1.0')\n  print(s.recv(100))\n\
        except OSError: print(b'')\n";
    let mut asking = Command::new("python3");
    let control = site.control();
    asking.args(["-c", script]).arg(control).current_dir("/").uid(NOBODY).gid(NOBODY);
    let output = asking.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "b''\n", "{output:?}");
    site.conn().ask("get k\r\n", "END\r\n");
}

#[test]
fn a_unix_socket_whose_file_was_deleted_is_there_again_after_an_upgrade() {
    let server = slow_server(Duration::ZERO);
    let site = Site::with_servers("", &[server.entry()]);
    let mut old = site.start(&[]);
    fs::remove_file(site.socket()).unwrap();
    let _next = site.upgrade(&mut old, &[]);
    Conn::unix(&site.socket()).ask("get k\r\n", "END\r\n");
    site.conn().ask("get k\r\n", "END\r\n");
}

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

#[test]
fn a_process_in_the_background_is_taken_over_by_another() {
    let server = slow_server(Duration::ZERO);
    let site = Site::with_servers("", &[server.entry()]);
    let pid = || {
        let text = fs::read_to_string(site.dir.join("pid")).unwrap();
        Stray(text.trim().parse().unwrap())
    };
    let lives = |process: &Stray| test_kill_process(process.id()).is_ok();
    let mut last = None;
    for is_next in [false, true] {
        let mut command = site.command(is_next, &["-d", "-o", "log"]);
        let status = command.stdin(Stdio::null()).status().unwrap();
        assert!(status.success(), "{}", fs::read_to_string(site.dir.join("log")).unwrap());
        site.conn().ask("get k\r\n", "END\r\n");
        if let Some(before) = last.replace(pid()) {
            assert_ne!(Some(before.0), last.as_ref().map(|it: &Stray| it.0));
            let deadline = Instant::now() + PATIENCE;
            while lives(&before) {
                assert!(Instant::now() < deadline, "the first process does not end");
                thread::sleep(Duration::from_millis(10));
            }
        }
    }
    pid().signal(Signal::TERM);
    let deadline = Instant::now() + PATIENCE;
    while site.dir.join("pid").exists() {
        assert!(Instant::now() < deadline, "the next process does not end");
        thread::sleep(Duration::from_millis(10));
    }
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
