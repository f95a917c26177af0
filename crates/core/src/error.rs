//! The reasons why a server could not answer.

use core::error::Error;
use core::fmt;

/// Why a server could not answer. The texts are twemproxy's, which come from `strerror`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerError {
    /// No process listens at the server's address.
    Refused,
    /// The server took longer than `timeout`.
    TimedOut,
    /// The connection was reset.
    Reset,
    /// The server closed the connection with requests pending.
    Closed,
    /// The server's name could not be resolved.
    HostDown,
    /// There is no route to the server.
    Unreachable,
    /// The server's unix socket does not exist.
    NoSocket,
    /// The server has reached its connection limit.
    Full,
    /// A reply did not match its request.
    Desync,
    /// The proxy has no file descriptor or memory for a connection; not a failure of the server.
    Local,
    /// Another error of the socket.
    Other,
    /// The server is loading its data.
    Loading,
    /// The server refused the proxy's password, or asks for one.
    Login,
    /// The server did not change to the pool's database.
    Database,
    /// The pool has no servers, or all are ejected; this error belongs to no single server.
    NoServers,
    /// The operator has ejected the server; no failure.
    Ejected,
    /// The server refused to remove what was changed while it was away; no client gets this.
    Unremoved,
    /// A server is away, and so are all gutter servers; this error belongs to no single server.
    NoGutter,
    /// The server is about to get its keys back, or the rest of them; no failure.
    Returning,
}

impl ServerError {
    /// All failures of a server, in the order of their numbers.
    pub const OF_SERVERS: [Self; 14] = [
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
        Self::Loading,
        Self::Login,
        Self::Database,
    ];

    /// The name of the error in metrics.
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
            Self::Loading => "loading",
            Self::Login => "login",
            Self::Database => "database",
            Self::NoServers => "no_servers",
            Self::Ejected => "ejected",
            Self::Unremoved => "unremoved",
            Self::NoGutter => "no_gutter",
            Self::Returning => "returning",
        }
    }

    /// The text of the error.
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
            Self::Loading => "the server is loading its data",
            Self::Login => "the server wants another password than the proxy has",
            Self::Database => "the server refused the pool's database",
            Self::Ejected => "the server is ejected by the operator",
            Self::Unremoved => "the server refused to remove keys that it has missed",
            Self::NoGutter => "the server is away, and so are all gutter servers",
            Self::Returning => {
                "the server is returning and does not have all of its keys yet: try again later"
            }
        }
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.text())
    }
}

impl Error for ServerError {}
