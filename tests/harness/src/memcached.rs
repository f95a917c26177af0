//! The server that all tests agree on: a real memcached.

use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use crate::conn::Conn;
use crate::process::{Process, free_port, wait_until};

/// A real memcached of one thread.
#[derive(Debug)]
pub struct Memcached {
    /// The program.
    pub process: Process,
    /// The port that it listens on, of 127.0.0.1 unless it was told another address.
    pub port: u16,
}

impl Memcached {
    /// Starts one on a free port.
    pub fn start() -> Self {
        Self::start_with(free_port(), &[])
    }

    /// Starts one with more arguments, such as `-I 2m`.
    pub fn start_with(port: u16, arguments: &[&str]) -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST, port, arguments)
    }

    /// Starts one at another address of this machine, such as 127.0.0.2.
    pub fn start_at(address: Ipv4Addr, port: u16, arguments: &[&str]) -> Self {
        let (host, number) = (address.to_string(), port.to_string());
        let process = Process::spawn(
            as_user(&mut Command::new("memcached"))
                .args(["-l", &host, "-U", "0", "-t", "1", "-p", &number])
                .args(arguments),
        );
        let mut server = Self { process, port };
        let id = server.process.id();
        let accepts = || is_process((address, port), id);
        wait_until(&mut server.process, || "memcached".to_owned(), accepts);
        server
    }

    /// Starts one that listens on a unix socket only.
    pub fn start_unix(path: &Path) -> Process {
        let mut process = Process::spawn(
            as_user(&mut Command::new("memcached")).args(["-t", "1", "-a", "666", "-s"]).arg(path),
        );
        wait_until(&mut process, || "memcached".to_owned(), || UnixStream::connect(path).is_ok());
        process
    }

    /// `count` of them.
    pub fn start_many(count: usize) -> Vec<Self> {
        (0..count).map(|_| Self::start()).collect()
    }

    /// The server's line in a configuration, with weight 1 and no name.
    pub fn entry(&self) -> String {
        format!("127.0.0.1:{}:1", self.port)
    }

    /// A new connection to it.
    pub fn conn(&self) -> Conn {
        Conn::tcp((Ipv4Addr::LOCALHOST, self.port))
    }
}

impl Drop for Memcached {
    fn drop(&mut self) {
        // It has nothing to lose, and takes a second to heed SIGTERM.
        self.process.kill();
    }
}

/// Whether the server at an address is this process: another program may have taken the port first.
fn is_process(address: (Ipv4Addr, u16), id: u32) -> bool {
    if TcpStream::connect(address).is_err() {
        return false;
    }
    let mut conn = Conn::tcp(address);
    conn.send("stats\r\n");
    let own = format!("STAT pid {id}\r\n");
    while let Ok(line) = conn.read_line() {
        if line == own.as_bytes() || line == b"END\r\n" {
            return line != b"END\r\n";
        }
    }
    false
}

/// memcached refuses to run as root unless told as whom.
fn as_user(command: &mut Command) -> &mut Command {
    if rustix::process::geteuid().is_root() {
        command.args(["-u", "nobody"]);
    }
    command
}
