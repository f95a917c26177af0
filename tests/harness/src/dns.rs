//! A real name server: dnsmasq, with the records that a test gives it.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::process::{Process, TempDir, free_port, wait_until};

/// A dnsmasq on 127.0.0.1, and a `resolv.conf` that names it.
#[derive(Debug)]
pub struct Dnsmasq {
    /// None while it is stopped.
    process: Option<Process>,
    port: u16,
    dir: TempDir,
}

impl Dnsmasq {
    /// Starts one with these lines of its configuration, such as
    /// `host-record=a.test,127.0.0.2` and `srv-host=_x._tcp.test,a.test,11211`. A name without a record
    /// under `test` does not exist.
    pub fn start(records: &[&str]) -> Self {
        let mut server = Self { process: None, port: free_port(), dir: TempDir::new() };
        server.set_resolv_conf("");
        server.change(records);
        server
    }

    /// Replaces all records. It is restarted for that, in some milliseconds.
    pub fn change(&mut self, records: &[&str]) {
        self.stop();
        let conf = self.dir.join("dnsmasq.conf");
        fs::write(&conf, records.join("\n") + "\n").unwrap();
        let mut process = Process::spawn(
            Command::new("dnsmasq")
                .arg("--keep-in-foreground")
                .arg(format!("--conf-file={}", conf.display()))
                .arg(format!("--port={}", self.port))
                .arg(format!("--pid-file={}", self.dir.join("pid").display()))
                .args(["--listen-address=127.0.0.1", "--bind-interfaces", "--local=/test/"])
                .args(["--no-resolv", "--no-hosts", "--log-facility=/dev/null"]),
        );
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        wait_until(&mut process, || "dnsmasq".to_owned(), || answers(address));
        self.process = Some(process);
    }

    /// Ends it: then nobody listens on its port.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// The process, while it runs.
    pub fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The `resolv.conf` for those who ask it.
    pub fn resolv_conf(&self) -> PathBuf {
        self.dir.join("resolv.conf")
    }

    /// Adds lines to the `resolv.conf`, such as `search a.test`.
    pub fn set_resolv_conf(&self, lines: &str) {
        let text = format!("nameserver 127.0.0.1:{}\n{lines}\n", self.port);
        fs::write(self.resolv_conf(), text).unwrap();
    }
}

/// Whether a name server answers a question about the root.
fn answers(address: SocketAddr) -> bool {
    const QUESTION: &[u8] = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x01";
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    socket.connect(address).unwrap();
    let mut answer = [0; 512];
    socket.send(QUESTION).is_ok() && socket.recv(&mut answer).is_ok()
}
