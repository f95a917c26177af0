//! The limits for clients and servers. Each limit has a counter of how often it was reached.

/// The limits of a pool. Each has a directive of the same name.
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
    /// Bytes of unread replies of one client above which its next requests wait.
    pub client_buffer_max: usize,
    /// Bytes of unread replies of one client above which a reply is replaced by an error.
    pub client_backlog_max: usize,
    /// Requests waiting on one server connection.
    pub server_requests_max: usize,
    /// Bytes queued to one server connection.
    pub server_buffer_max: usize,
    /// Bytes that one worker holds for the clients of the pool: unfinished requests and replies.
    pub memory_max: usize,
}

impl Limits {
    /// The limits of a pool that sets none.
    pub const DEFAULT: Self = Self {
        item_size_max: 64 << 20,
        keys_max: 1 << 18,
        line_max: 32 << 20,
        client_requests_max: 1024,
        client_buffer_max: 1 << 20,
        client_backlog_max: 128 << 20,
        server_requests_max: 16_384,
        server_buffer_max: 16 << 20,
        memory_max: 512 << 20,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
