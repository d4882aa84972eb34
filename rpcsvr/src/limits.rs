//! Every limit of the face, with its unit. What an operator may change is in [`Limits`].

use std::time::Duration;

/// Size of a shared read buffer, bytes.
pub const READ_BUFFER_BYTES: usize = 64 << 10;
/// Room for a whole large frame is reserved only once this much of it has arrived, bytes.
pub const RESERVE_AFTER_BYTES: usize = 16 << 10;
/// Read buffers that wait for their next use, per reactor.
pub const POOLED_BUFFERS: usize = 64;
/// Reply heads that wait for their next use, per reactor.
pub const POOLED_HEADS: usize = 256;
/// Largest reply head that is pooled, bytes.
pub const POOLED_HEAD_BYTES: usize = 1 << 10;
/// Reply data up to this size is copied beside its header, larger goes out as its own piece, bytes.
pub const COPY_BYTES: usize = 16 << 10;
/// Pieces of one vectored write.
pub const WRITE_PIECES: usize = 64;
/// A connection yields to its neighbours after this many requests.
pub const TURN_REQUESTS: u32 = 64;
/// … or after this many bytes of frames and replies.
pub const TURN_BYTES: usize = 1 << 20;
/// No further request is begun while this much reply waits for the client to read, bytes.
pub const OUT_BYTES: usize = 2 << 20;
/// A frame up to this size is always read, even if the byte budget is used up, bytes.
pub const ALWAYS_BYTES: usize = 2 << 10;
/// First bytes of a payload that a request's checksum covers.
pub const DIGEST_BYTES: usize = 256;
/// Slow things (unfinished frames, unread replies) are looked at in these steps.
pub const TICK: Duration = Duration::from_millis(500);
/// A connection held back by the server's byte budget looks again after this.
pub const STARVED: Duration = Duration::from_millis(20);
/// A silent client over TCP is asked whether it still exists after the first time, then at each
/// second one.
pub const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));
/// First and last pause of the accept loop after an error such as EMFILE.
pub const ACCEPT_PAUSE: (Duration, Duration) =
    (Duration::from_millis(20), Duration::from_millis(500));
/// Descriptors that connections may not use: the log, the store and the admin port need them.
pub const SPARE_DESCRIPTORS: u64 = 64;
/// Batches in a row from one connection after which it counts as alone on its reactor.
pub const ALONE_AFTER: u32 = 4;
/// Most connections of one session.
pub const SESSION_CONNECTIONS: usize = 64;
/// Bytes that a remembered reply is taken to hold beside itself.
pub const REMEMBERED_BYTES: usize = 160;
/// Replies that a session may always have remembered, even if the budget is used up.
pub const REMEMBERED_ALWAYS: usize = 64;
/// Most entries one READDIR asks the file system for at once.
pub const DIR_ENTRIES: usize = 1024;
/// Entries read at once when a name is looked for whatever its case.
pub const FIND_ENTRIES: usize = 4096;
/// Most bytes that one COPY copies.
pub const COPY_ONCE_BYTES: u64 = 1 << 20;
/// Room of a volume is told in pieces of this many bytes.
pub const BLOCK_BYTES: u32 = 4096;

/// What an operator, or a test, may change.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Most requests of one connection in flight.
    pub requests: usize,
    /// Most bytes of frames and replies of one connection in flight.
    pub connection_bytes: usize,
    /// Most bytes of frames and replies of all connections in flight.
    pub total_bytes: usize,
    /// Most connections; `None`: half of the descriptor limit, at most 65,536.
    pub connections: Option<usize>,
    /// Most sessions, those without a connection included.
    pub sessions: usize,
    /// Most handles of one session.
    pub handles: usize,
    /// Ids of requests that are carried out once lie within so many of the mark.
    pub window: u32,
    /// Most bytes of replies remembered for all sessions.
    pub remembered_bytes: usize,
    /// A session without a connection is kept so long.
    pub grace: Duration,
    /// A handshake that is not over by then closes its connection.
    pub hello: Duration,
    /// A frame that is not complete by then closes its connection.
    pub frame: Duration,
    /// Replies of which the client reads nothing for so long close their connection.
    pub unread: Duration,
    /// Running requests may take so long after [`crate::Server::shutdown`].
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests: 1024,
            connection_bytes: 32 << 20,
            total_bytes: 64 << 20,
            connections: None,
            sessions: 16_384,
            handles: 65_536,
            window: 4096,
            remembered_bytes: 32 << 20,
            grace: Duration::from_secs(60),
            hello: Duration::from_secs(10),
            frame: Duration::from_secs(60),
            unread: Duration::from_secs(120),
            drain: Duration::from_secs(20),
        }
    }
}
