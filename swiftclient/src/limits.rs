//! Every limit of this crate, with its unit.

use std::time::Duration;

/// Object files that a directory store keeps open for reading, descriptors.
pub const OPEN_FILES: usize = 128;
/// Piece in which files are streamed and copied, bytes.
pub const COPY_BYTES: usize = 1 << 20;
/// A streamed temporary file is pushed out each time this much waits, bytes.
pub const WRITEOUT_BYTES: u64 = 4 << 20;
/// Tries to find a free temporary name before giving up.
pub const TEMPORARY_TRIES: u32 = 1000;
/// Files with a failed fdatasync that a directory store remembers, descriptors.
pub const DISTRUSTED_FILES: usize = 16;
/// Creators that race for one name when a store is probed.
pub const PROBE_CREATORS: u32 = 8;
/// Races with one winner each that a fencing store must have shown.
pub const PROBE_ROUNDS: u32 = 10;
/// Further rounds for those that were no race.
pub const PROBE_TRIES: u32 = 6;
/// Tries of the small probe of a mount: a store that answers now and then only delays a start.
pub const PROBE_MOUNT_TRIES: u32 = 60;
/// Name resolution, TCP and TLS handshake of one connection to a store.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A look whether a server that never answered speaks TLS, or does not.
pub const MISMATCH_TRIAL: Duration = Duration::from_secs(3);
/// No byte moved on a connection with a request on its way: the request fails.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Connections kept open without a request, for each server.
pub const IDLE_CONNECTIONS: usize = 64;
/// How long such a connection is kept. Shorter than what servers keep theirs for, so that few
/// requests meet a connection that is just being closed.
pub const IDLE_KEEP: Duration = Duration::from_secs(15);
/// Piece in which a file is read while it is sent, bytes.
pub const SEND_BYTES: usize = 256 << 10;
/// Pieces that a body of unknown length holds before its sender waits.
pub const CHANNEL_PIECES: usize = 4;
/// Reply bodies that are not payload (errors, listings, tokens), bytes.
pub const DOCUMENT_BYTES: usize = 8 << 20;
/// Longest wait that a store's Retry-After is believed.
pub const RETRY_AFTER_MOST: Duration = Duration::from_secs(300);
/// A Swift token is renewed this long before it ends, or a tenth of its life where that is less.
pub const SWIFT_TOKEN_MARGIN: Duration = Duration::from_secs(300);
/// Names asked for in one listing of a Swift container.
pub const SWIFT_LIST_NAMES: usize = 10_000;
/// One page of such a listing, bytes: 10,000 rows of JSON with names of 770 bytes.
pub const SWIFT_LIST_BYTES: usize = 16 << 20;
/// Names in one bulk delete of Swift. It answers when all are done: so few that this is soon.
pub const SWIFT_BULK_DELETES: usize = 500;
/// Single DELETEs under way at once, where a Swift store knows no bulk delete.
pub const SWIFT_DELETES_AT_ONCE: usize = 8;
/// Longest object, or part of one, that one `get` of a Swift store gives, bytes.
pub const SWIFT_GET_BYTES: u64 = 1 << 30;
/// A source of credentials does not answer, or no byte moves.
pub const CREDENTIAL_TIMEOUT: Duration = Duration::from_secs(3);
/// A credentials file, or the answer of a service that hands them out, bytes.
pub const CREDENTIAL_BYTES: usize = 1 << 20;
/// Credentials are renewed so long before they expire.
pub const RENEWAL_LEAD: Duration = Duration::from_secs(180);
/// What one streaming put may keep until its end, bytes.
pub const STREAM_BYTES: u64 = 256 << 20;
/// Names in one page of a listing, and in one DeleteObjects (Amazon S3 API Reference).
pub const S3_PAGE: usize = 1000;
/// Single deletions at a time, where a store has no DeleteObjects.
pub const SINGLE_DELETES: usize = 16;
/// The error document of a refusal, bytes.
pub const ERROR_BYTES: usize = 64 << 10;
/// Before the first object of this size or more an S3 store's checksums are tried, which saves MD5 to
/// it and all later ones, bytes.
pub const TRIAL_BYTES: u64 = 256 << 10;
/// Time between two tries to renew credentials that still hold.
pub const RENEWAL_PAUSE: Duration = Duration::from_secs(10);
