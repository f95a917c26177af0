//! Why a server could not answer, and whose fault that is.

use core::error::Error;
use core::fmt;

/// Why a server could not answer. The words are twemproxy's, which are `strerror`'s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerError {
    /// Nobody listens there.
    Refused,
    /// It took longer than `timeout`.
    TimedOut,
    /// The connection was reset.
    Reset,
    /// The server closed the connection with requests pending.
    Closed,
    /// Its name could not be resolved.
    HostDown,
    /// There is no route to it.
    Unreachable,
    /// Its unix socket does not exist.
    NoSocket,
    /// It has as many connections as it takes.
    Full,
    /// It answered something else than was asked.
    Desync,
    /// This machine has no descriptor or memory for a connection; no fault of the server.
    Local,
    /// Another error of its socket.
    Other,
    /// Every server of the pool is ejected; this is nobody's in particular.
    NoServers,
}

impl ServerError {
    /// All of them that are a server's, in the order of their numbers.
    pub const OF_SERVERS: [Self; 11] = [
        Self::Refused,
        Self::TimedOut,
        Self::Reset,
        Self::Closed,
        Self::HostDown,
        Self::Unreachable,
        Self::NoSocket,
        Self::Full,
        Self::Desync,
        Self::Local,
        Self::Other,
    ];

    /// Its name in figures.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::TimedOut => "timed_out",
            Self::Reset => "reset",
            Self::Closed => "closed",
            Self::HostDown => "host_down",
            Self::Unreachable => "unreachable",
            Self::NoSocket => "no_socket",
            Self::Full => "full",
            Self::Desync => "desync",
            Self::Local => "local",
            Self::Other => "other",
            Self::NoServers => "no_servers",
        }
    }

    /// The error in words.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Refused | Self::NoServers => "Connection refused",
            Self::TimedOut => "Connection timed out",
            Self::Reset => "Connection reset by peer",
            Self::Closed => "unknown",
            Self::HostDown => "Host is down",
            Self::Unreachable => "No route to host",
            Self::NoSocket => "No such file or directory",
            Self::Full => "Too many open connections",
            Self::Desync => "Invalid argument",
            Self::Local => "Resource temporarily unavailable",
            Self::Other => "Input/output error",
        }
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.text())
    }
}

impl Error for ServerError {}
