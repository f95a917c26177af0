//! The protocols of the workloads: each has servers of its own, and pools that say so.

use std::path::Path;
use std::process::Command;

use crate::process::pinned;

/// What the servers, the proxies and the generator of a workload speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Memcached,
    Redis,
}

impl Protocol {
    /// In the order in which they are measured.
    pub(crate) const ALL: [Self; 2] = [Self::Memcached, Self::Redis];

    /// The name that `load --protocol` and `bench --only` know.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Memcached => "memcached",
            Self::Redis => "redis",
        }
    }

    /// The program of its servers and the option that prints the version.
    pub(crate) fn server(self) -> (&'static str, &'static str) {
        match self {
            Self::Memcached => ("memcached", "-V"),
            Self::Redis => ("redis-server", "-v"),
        }
    }

    /// A server of one thread on this port of the loopback interface, which writes nothing to disk.
    pub(crate) fn server_command(self, port: u16, cpu: u32, dir: &Path) -> Command {
        let (program, _) = self.server();
        let mut command = pinned(program, cpu);
        match self {
            Self::Memcached => {
                command.args(["-l", "127.0.0.1", "-U", "0", "-t", "1", "-m", "256", "-c", "4096"]);
                command.args(["-u", "root", "-p", &port.to_string()]);
            }
            Self::Redis => {
                command.args(["--bind", "127.0.0.1", "--port", &port.to_string()]);
                command.args(["--save", "", "--appendonly", "no", "--dir"]).arg(dir);
            }
        }
        command
    }

    /// The line of a pool's configuration that chooses the protocol, unless it is the default.
    pub(crate) fn pool_directive(self) -> &'static str {
        match self {
            Self::Memcached => "",
            Self::Redis => "  redis: true\n",
        }
    }
}
