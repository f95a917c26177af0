//! The words that the multiplexer shares with the protocols.
//!
//! A protocol turns bytes into these values and knows nothing of servers, queues or time; the
//! multiplexer moves them and knows nothing of grammar. The values borrow from the bytes they were
//! read from, so nothing is copied or allocated between a client's bytes and a server's queue.
//! Today the one protocol is [`crate::memcache`]; a second one answers the same two questions:
//! `parse_request` (hop 4) and `parse_response` (hop 11).

use crate::memcache::{Head, Needs, Wire};
use core::ops::Range;

/// Bounds that a client meets. Each has a configuration key of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one value.
    pub item_size_max: usize,
    /// Keys of one request.
    pub keys_max: usize,
    /// Bytes of one command line.
    pub line_max: usize,
    /// Requests of one client that wait for their reply.
    pub client_requests_max: usize,
    /// Bytes of replies waiting for one client beyond which its next requests wait.
    pub client_buffer_max: usize,
    /// Bytes held for one client beyond which a reply is replaced by an error.
    pub client_backlog_max: usize,
    /// Requests waiting on one server connection.
    pub server_requests_max: usize,
    /// Bytes queued to one server connection.
    pub server_buffer_max: usize,
    /// Bytes that one worker holds for the clients of the pool: unfinished requests and replies.
    pub memory_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            item_size_max: 64 << 20,
            keys_max: 65_536,
            line_max: 4 << 20,
            client_requests_max: 1024,
            client_buffer_max: 1 << 20,
            client_backlog_max: 64 << 20,
            server_requests_max: 16_384,
            server_buffer_max: 16 << 20,
            memory_max: 512 << 20,
        }
    }
}

/// What stands at the head of a client's bytes.
#[derive(Debug, PartialEq)]
pub enum Parsed<'a> {
    /// A request that takes up the first `len` bytes.
    Request(Request<'a>, usize),
    /// The start of a line: none of these bytes ends it.
    PartialLine,
    /// A line whose data is not whole: there must be so many bytes for another look to be worth it.
    Partial(usize),
}

/// What a client wants.
#[derive(Debug, PartialEq)]
pub enum Request<'a> {
    /// A request with one key, so for one server.
    One(One<'a>),
    /// Reads of several keys, each of its own server, merged by key.
    Many(Many<'a>),
    /// A request for every server of the pool.
    All(All<'a>),
    /// Answered once everything before it is.
    Barrier(&'static [u8]),
    /// Answered here with these bytes; with none, there is no reply.
    Answer(&'static [u8]),
    /// The proxy's own figures; the bytes after the command say which.
    Stats(&'a [u8]),
    /// Refused with this error (none, if the client wants no replies); the framing is certain,
    /// and the next request begins after `skip` more bytes.
    Refused {
        /// The error's bytes.
        error: &'static [u8],
        /// Bytes of data that follow the request's line.
        skip: u64,
        /// Which limit bit.
        limit: Limit,
    },
    /// Where the next request begins is not certain: this error, then the end of the connection.
    Lost {
        /// The error's bytes; none to close without a word.
        error: &'static [u8],
        /// Which limit bit.
        limit: Limit,
    },
    /// The client takes its leave.
    Quit,
}

/// Why a request was refused, for the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// It broke the grammar.
    Grammar,
    /// It is of memcached's binary protocol.
    Binary,
    /// It is of HTTP.
    Http,
    /// `item_size_max`.
    ItemSize,
    /// `keys_max`.
    Keys,
    /// `line_max`.
    Line,
}

/// A request with one key.
#[derive(Debug, PartialEq)]
pub struct One<'a> {
    /// The key as it stands in the request.
    pub key: &'a [u8],
    /// What the key's bytes are.
    pub encoding: KeyEncoding,
    /// The opaque token, if the client gave one that the reply repeats.
    pub opaque: &'a [u8],
    /// What the server gets.
    pub wire: Wire<'a>,
    /// What it owes for that.
    pub expect: Expect,
    /// What it must be able to do.
    pub needs: Needs,
    /// Its kind, for the counters.
    pub class: Class,
}

/// How a key is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyEncoding {
    /// As itself.
    Plain,
    /// In base64 (a meta request's `b` flag); checked by the parser.
    Base64,
}

/// Reads of several keys.
#[derive(Debug, PartialEq)]
pub struct Many<'a> {
    /// What each fragment begins with: command and arguments before the keys.
    pub head: Head<'a>,
    /// Bytes of the longest line that servers take of this command, its end included.
    pub line_max: usize,
    /// The keys, as words that may turn out not to be keys.
    pub keys: &'a [u8],
    /// What each server owes for its fragment.
    pub expect: Expect,
    /// Their kind, for the counters.
    pub class: Class,
}

/// A request for every server.
#[derive(Debug, PartialEq)]
pub struct All<'a> {
    /// What each server gets.
    pub wire: Wire<'a>,
    /// What each owes for it.
    pub expect: Expect,
}

/// What a server owes for a request. Its meaning is the protocol's; the multiplexer keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expect {
    /// The answers that fit.
    pub shape: Shape,
    /// Which of them the client does not want to see.
    pub quiet: Quiet,
}

/// Which answers fit a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `VALUE` of the one key, or not, and `END`.
    Value,
    /// `VALUE`s of the keys of a fragment, and `END`.
    Values,
    /// The answers to storage commands.
    Stored,
    /// A number or `NOT_FOUND`.
    Number,
    /// `DELETED` or `NOT_FOUND`.
    Deleted,
    /// `TOUCHED` or `NOT_FOUND`.
    Touched,
    /// `OK`.
    Ok,
    /// `VERSION`.
    Version,
    /// The answers to `mg`.
    MetaGet,
    /// The answers to `ms`, `md`, `ma`.
    MetaStored,
    /// The answers to `me`.
    MetaDebug,
}

impl Shape {
    /// Whether these are the answers to a meta command.
    pub const fn is_meta(self) -> bool {
        matches!(self, Self::MetaGet | Self::MetaStored | Self::MetaDebug)
    }
}

/// Which answers the client does not want.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quiet {
    /// It wants all.
    No,
    /// None at all (`noreply`).
    All,
    /// No misses (`mg` with `q`).
    Misses,
    /// No plain success (`ms`, `md`, `ma` with `q`).
    Success,
}

impl Quiet {
    /// Whether the client is not told of `outcome`.
    pub fn hides(self, outcome: Outcome) -> bool {
        match self {
            Self::No => false,
            Self::All => true,
            Self::Misses => outcome == Outcome::Miss,
            Self::Success => outcome == Outcome::Success,
        }
    }
}

/// Kinds of requests, for the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Reads.
    Get,
    /// Reads that also set the expiry.
    GetAndTouch,
    /// Storage.
    Set,
    /// Deletion.
    Delete,
    /// Arithmetic.
    Arith,
    /// A new expiry.
    Touch,
    /// Meta reads.
    MetaGet,
    /// Meta storage.
    MetaSet,
    /// Meta deletion.
    MetaDelete,
    /// Meta arithmetic.
    MetaArith,
    /// The rest.
    Other,
}

impl Class {
    /// The names by which the figures tell requests apart.
    pub const LABELS: [&str; 6] = ["get", "set", "delete", "arith", "touch", "other"];

    /// Which of [`Class::LABELS`] it goes by; a meta request by that of its kind.
    pub const fn label(self) -> usize {
        match self {
            Self::Get | Self::GetAndTouch | Self::MetaGet => 0,
            Self::Set | Self::MetaSet => 1,
            Self::Delete | Self::MetaDelete => 2,
            Self::Arith | Self::MetaArith => 3,
            Self::Touch => 4,
            Self::Other => 5,
        }
    }
}

/// What stands at the head of a server's bytes.
#[derive(Debug, PartialEq)]
pub enum Response {
    /// The answer, whole: the first `len` bytes.
    Whole {
        /// Its bytes.
        len: usize,
        /// What it says.
        outcome: Outcome,
    },
    /// One value of a fragment's answer; more follows.
    Value {
        /// The bytes of the value with its header.
        len: usize,
        /// Where among them its key stands; none if it is the one that was looked for.
        key: Option<Range<usize>>,
    },
    /// A value of more than `item_size_max` bytes; so many bytes with its header, here or to come.
    TooLarge(usize),
    /// Not whole yet: there must be at least this many bytes for another look to be worth it.
    Partial(usize),
    /// No answer to this request.
    Mismatch,
}

/// What an answer says, as far as the proxy cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A value was found.
    Hit,
    /// A read found nothing, or the fragment's values have ended.
    Miss,
    /// It was done.
    Success,
    /// It was not done, for a good reason (`NOT_STORED`, `EXISTS`, `NOT_FOUND`, …).
    Failure,
    /// An error line.
    Error,
}

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
