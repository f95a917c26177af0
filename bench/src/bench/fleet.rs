//! What a load runs through: proxies in front of four servers, in a temporary directory.
//!
//! The servers have names, so keys go to the same one whatever its port is: what was stored
//! through nutcracker must be found through Nuthatch.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::process::{Running, pinned};
use crate::protocol::Protocol;

const SERVER_COUNT: usize = 4;
/// How long a server or proxy may take to listen; under valgrind that is seconds.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How long a request may take where servers fail.
pub(crate) const FAILING_TIMEOUT: Duration = Duration::from_millis(200);

/// A proxy to be measured: it takes nutcracker's command line and configuration.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
}

/// The CPU everything runs on and the directory for sockets, configurations and logs, which is
/// removed in the end.
#[derive(Debug)]
pub(crate) struct Workshop {
    pub(crate) cpu: u32,
    pub(crate) dir: PathBuf,
}

impl Workshop {
    pub(crate) fn open(cpu: u32) -> Result<Self, String> {
        let dir = std::env::temp_dir().join(format!("nuthatch-bench-{}", std::process::id()));
        fs::create_dir(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        Ok(Self { cpu, dir })
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Servers to put behind a proxy: four real ones, or one mock on four ports.
#[derive(Debug)]
pub(crate) struct Servers {
    pub(crate) protocol: Protocol,
    processes: Vec<Running>,
    pub(crate) ports: Vec<u16>,
}

impl Servers {
    /// Starts four memcacheds or Redis servers.
    pub(crate) fn start(protocol: Protocol, workshop: &Workshop) -> Result<Self, String> {
        let (program, _) = protocol.server();
        let ports = free_ports(SERVER_COUNT)?;
        let mut processes = Vec::new();
        for port in &ports {
            let mut command = protocol.server_command(*port, workshop.cpu, &workshop.dir);
            let log = workshop.dir.join(format!("{program}-{port}.log"));
            let mut server = Running::start(program, &mut command, &log)?;
            server.wait_until(START_LIMIT, || is_listening(*port))?;
            processes.push(server);
        }
        Ok(Self { protocol, processes, ports })
    }

    /// Starts `load mock`.
    pub(crate) fn start_mock(
        protocol: Protocol,
        load: &Path,
        workshop: &Workshop,
    ) -> Result<Self, String> {
        let log = workshop.dir.join("mock.log");
        let mut command = pinned(load, workshop.cpu);
        command.args(["mock", "--protocol", protocol.name()]);
        command.args(["--ports", &SERVER_COUNT.to_string()]);
        let mut mock = Running::start("mock", &mut command, &log)?;
        let mut ports = Vec::new();
        mock.wait_until(START_LIMIT, || {
            let line = fs::read_to_string(&log).unwrap_or_default();
            ports = line.split_whitespace().filter_map(|port| port.parse().ok()).collect();
            line.ends_with('\n')
        })?;
        Ok(Self { protocol, processes: vec![mock], ports })
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        self.processes.iter().map(Running::pid).collect()
    }
}

/// How a proxy is started.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Supervision<'a> {
    /// As it is.
    Plain,
    /// With an admin port, which nutcracker has not.
    Watched,
    /// With a short timeout; servers that fail are ejected.
    Failing,
    /// Under callgrind, which writes its counts to this file when the proxy ends.
    Callgrind { counts: &'a Path },
}

impl Supervision<'_> {
    /// Directives of the pools.
    fn settings(self) -> String {
        match self {
            Self::Failing => format!(
                "timeout: {}\n  auto_eject_hosts: true\n  server_failure_limit: 3\n  \
                 server_retry_timeout: 30000\n  ",
                FAILING_TIMEOUT.as_millis()
            ),
            _ => "timeout: 5000\n  ".to_owned(),
        }
    }
}

/// A running proxy.
#[derive(Debug)]
pub(crate) struct Proxy {
    process: Running,
    tcp_port: u16,
    admin_port: u16,
    unix_path: PathBuf,
}

impl Proxy {
    /// Starts a proxy in front of the servers, listening on a TCP port and on a unix socket.
    pub(crate) fn start(
        candidate: &Candidate,
        servers: &Servers,
        workshop: &Workshop,
        supervision: Supervision<'_>,
    ) -> Result<Self, String> {
        let [tcp_port, stats_port, admin_port] = free_ports(3)?[..] else {
            unreachable!("asked for three")
        };
        let file = |suffix| workshop.dir.join(format!("{}-{tcp_port}.{suffix}", candidate.name));
        let (unix_path, config) = (file("sock"), file("yml"));
        let listeners = (tcp_port, unix_path.as_path());
        let settings = supervision.settings();
        let text = configuration(listeners, &settings, servers.protocol, &servers.ports);
        fs::write(&config, text).map_err(|error| format!("{}: {error}", config.display()))?;
        let mut command = match supervision {
            Supervision::Plain | Supervision::Failing => pinned(&candidate.path, workshop.cpu),
            Supervision::Watched => {
                let mut command = pinned(&candidate.path, workshop.cpu);
                command.arg(format!("--admin=127.0.0.1:{admin_port}"));
                command
            }
            Supervision::Callgrind { counts } => {
                let mut command = pinned("valgrind", workshop.cpu);
                command.arg("--tool=callgrind");
                command.arg(format!("--callgrind-out-file={}", counts.display()));
                command.arg(&candidate.path);
                command
            }
        };
        command.arg("-c").arg(&config).arg("-o").arg(file("log"));
        command.args(["-a", "127.0.0.1", "-s", &stats_port.to_string()]);
        let mut process = Running::start(&candidate.name, &mut command, &file("out"))?;
        process
            .wait_until(START_LIMIT, || is_listening(tcp_port) && unix_path.exists())
            .map_err(|error| format!("{error}\n{}", last_lines(&[file("out"), file("log")])))?;
        Ok(Self { process, tcp_port, admin_port, unix_path })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub(crate) fn tcp_target(&self) -> String {
        format!("127.0.0.1:{}", self.tcp_port)
    }

    /// Where `/metrics` is, of a proxy that is [watched](Supervision::Watched).
    pub(crate) fn admin_port(&self) -> u16 {
        self.admin_port
    }

    pub(crate) fn unix_target(&self) -> String {
        self.unix_path.display().to_string()
    }

    /// Stops the proxy and waits until it has ended.
    pub(crate) fn stop(mut self, limit: Duration) -> Result<(), String> {
        self.process.stop(limit)
    }
}

/// One pool for each way in, both in front of the same servers.
fn configuration(
    (tcp_port, unix_path): (u16, &Path),
    settings: &str,
    protocol: Protocol,
    server_ports: &[u16],
) -> String {
    let protocol = protocol.pool_directive();
    let pool = |name: &str, listen: &str| {
        let mut pool = format!(
            "{name}:\n  listen: {listen}\n  hash: fnv1a_64\n  distribution: ketama\n  \
             {settings}preconnect: true\n{protocol}  servers:\n"
        );
        for (index, port) in server_ports.iter().enumerate() {
            pool += &format!("    - 127.0.0.1:{port}:1 server{index}\n");
        }
        pool
    };
    let tcp = pool("tcp", &format!("127.0.0.1:{tcp_port}"));
    tcp + &pool("unix", &unix_path.display().to_string())
}

/// Ports nobody listens on; all are held until the last is found, so they differ.
fn free_ports(count: usize) -> Result<Vec<u16>, String> {
    let bind = || TcpListener::bind("127.0.0.1:0");
    let listeners: Result<Vec<_>, _> = (0..count).map(|_| bind()).collect();
    let ports = listeners
        .and_then(|all| all.iter().map(|listener| Ok(listener.local_addr()?.port())).collect());
    ports.map_err(|error| format!("no free port: {error}"))
}

fn is_listening(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

/// The end of what a program that didn't start had to say.
fn last_lines(files: &[PathBuf]) -> String {
    let text: String = files.iter().filter_map(|file| fs::read_to_string(file).ok()).collect();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_pools_have_all_servers() {
        let socket = Path::new("/tmp/p.sock");
        let settings = Supervision::Plain.settings();
        let text = configuration((1, socket), &settings, Protocol::Memcached, &[11, 12]);
        let expected = "\
tcp:
  listen: 127.0.0.1:1
  hash: fnv1a_64
  distribution: ketama
  timeout: 5000
  preconnect: true
  servers:
    - 127.0.0.1:11:1 server0
    - 127.0.0.1:12:1 server1
unix:
  listen: /tmp/p.sock
  hash: fnv1a_64
  distribution: ketama
  timeout: 5000
  preconnect: true
  servers:
    - 127.0.0.1:11:1 server0
    - 127.0.0.1:12:1 server1
";
        assert_eq!(text, expected);
    }

    #[test]
    fn pools_of_redis_say_so() {
        let text = configuration((1, Path::new("/tmp/p.sock")), "", Protocol::Redis, &[11]);
        let expected = "  preconnect: true\n  redis: true\n  servers:\n";
        assert_eq!(text.matches(expected).count(), 2, "{text}");
    }
}
