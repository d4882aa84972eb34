//! Every limit of the face, with its unit. What an operator may change is in [`Limits`].

use std::time::Duration;

/// Most file data in one READ or WRITE, bytes (FSINFO rtmax, wtmax).
pub const TRANSFER_BYTES: u32 = 1 << 20;
/// Preferred READDIR size told in FSINFO, bytes.
pub const DIR_BYTES: u32 = 64 << 10;
/// Most a record may hold beside its payload, bytes: RPC header, credential, arguments.
pub const HEADER_BYTES: usize = 4 << 10;
/// Longest record, all fragments together, bytes.
pub const RECORD_BYTES: usize = TRANSFER_BYTES as usize + HEADER_BYTES;
/// Most fragments in one record.
pub const FRAGMENTS: u32 = 64;
/// Size of a shared read buffer, bytes.
pub const READ_BUFFER_BYTES: usize = 64 << 10;
/// Room for a whole large record is reserved only once this much of it has arrived, bytes.
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
/// … or after this many bytes of records and replies.
pub const TURN_BYTES: usize = 1 << 20;
/// No further request is begun while this much reply waits for the client to read, bytes.
pub const OUT_BYTES: usize = 2 << 20;
/// Longest opaque credential or verifier, bytes (RFC 5531 §8.2).
pub const AUTH_BYTES: usize = 400;
/// Longest machine name in AUTH_SYS, bytes (RFC 5531 appendix A).
pub const MACHINE_BYTES: usize = 255;
/// Most supplementary groups in AUTH_SYS (RFC 5531 appendix A).
pub const GROUPS: usize = 16;
/// Longest file handle, bytes (RFC 1813 §2.4).
pub const HANDLE_BYTES: usize = 64;
/// Longest name, bytes (PATHCONF name_max); longer ones get NFS3ERR_NAMETOOLONG.
pub const NAME_BYTES: usize = 255;
/// Longest symlink target, bytes.
pub const TARGET_BYTES: usize = 4095;
/// Most links to one file told by PATHCONF; `fs` refuses more with NFS3ERR_MLINK.
pub const LINK_MAX: u32 = i32::MAX.unsigned_abs();
/// Longest mount path, bytes (RFC 1813 §5.1.3 MNTPATHLEN).
pub const MOUNT_PATH_BYTES: usize = 1024;
/// Entries of the mount list that DUMP tells.
pub const MOUNT_LIST: usize = 1024;
/// Most export paths.
pub const EXPORTS: usize = 1024;
/// Most client rules of all exports together.
pub const EXPORT_RULES: usize = 16 << 10;
/// Most entries one READDIR asks the file system for.
pub const DIR_ENTRIES: usize = 2048;
/// First bytes of a call that its checksum covers.
pub const DIGEST_BYTES: usize = 256;
/// Shards of the duplicate-request cache.
pub const DRC_SHARDS: usize = 16;
/// A record up to this size is always read, even if the byte budget is used up, bytes.
pub const ALWAYS_BYTES: usize = 2 << 10;
/// Slow things (unfinished records, unread replies) are looked at in these steps.
pub const TICK: Duration = Duration::from_millis(500);
/// A connection held back by the server's byte budget looks again after this.
pub const STARVED: Duration = Duration::from_millis(20);
/// A silent client is asked whether it still exists after the first time, then at each second one.
pub const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(300), Duration::from_secs(60));
/// First and last pause of the accept loop after an error such as EMFILE.
pub const ACCEPT_PAUSE: (Duration, Duration) =
    (Duration::from_millis(20), Duration::from_millis(500));
/// Descriptors that connections may not use: the log, the store and the admin port need them.
pub const SPARE_DESCRIPTORS: u64 = 64;
/// Batches in a row from one connection after which it counts as alone on its reactor.
pub const ALONE_AFTER: u32 = 4;

/// What an operator, or a test, may change.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Most calls of one connection in flight.
    pub calls: usize,
    /// Most bytes of records and replies of one connection in flight.
    pub connection_bytes: usize,
    /// Most bytes of records and replies of all connections in flight.
    pub total_bytes: usize,
    /// Most connections; `None`: the descriptor limit less [`SPARE_DESCRIPTORS`], at most 65,536.
    pub connections: Option<usize>,
    /// When all places are taken, the connection idle longest is closed for a new one, if it has
    /// been idle at least this long.
    pub evict_idle: Duration,
    /// A call that could not begin by then is answered NFS3ERR_JUKEBOX.
    pub begin: Duration,
    /// A record that is not complete by then closes its connection.
    pub record: Duration,
    /// Replies of which the client reads nothing for so long close their connection.
    pub unread: Duration,
    /// Running calls may take so long after [`crate::Server::shutdown`].
    pub drain: Duration,
    /// Age at which remembered replies leave.
    pub drc_age: Duration,
    /// Most bytes of remembered replies to non-idempotent calls.
    pub drc_bytes: usize,
    /// Most bytes of remembered replies to WRITE.
    pub drc_write_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            calls: 1024,
            connection_bytes: 32 << 20,
            total_bytes: 128 << 20,
            connections: None,
            evict_idle: Duration::from_secs(5),
            begin: Duration::from_secs(10),
            record: Duration::from_secs(60),
            unread: Duration::from_secs(120),
            drain: Duration::from_secs(20),
            drc_age: Duration::from_secs(15 * 60),
            drc_bytes: 16 << 20,
            drc_write_bytes: 4 << 20,
        }
    }
}
