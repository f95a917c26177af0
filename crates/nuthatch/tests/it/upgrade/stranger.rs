//! Who speaks to the control socket as the next process does, rightly or wrongly.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;

use rustix::net::sockopt::{Timeout, set_socket_reuseport, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept, connect,
    recvmsg, sendmsg, socket_with,
};

use super::*;

/// Another program on the control socket.
pub(super) struct Stranger(OwnedFd);

impl Stranger {
    pub(super) fn connect(control: &Path) -> Self {
        let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
        let socket = socket_with(AddressFamily::UNIX, kind, flags, None).unwrap();
        connect(&socket, &SocketAddrUnix::new(control).unwrap()).unwrap();
        Self::over(socket)
    }

    fn over(socket: OwnedFd) -> Self {
        set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE)).unwrap();
        Self(socket)
    }

    pub(super) fn say(&self, text: &[u8]) {
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
    pub(super) fn hear(&self) -> (String, Option<OwnedFd>) {
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
