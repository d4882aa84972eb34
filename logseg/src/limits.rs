//! Every limit of the log, with its unit.

use std::time::Duration;

/// Most file data in one frame, bytes decoded.
pub const FRAME_BYTES: usize = 128 << 10;
/// A data frame is checksummed in blocks of this many stored bytes, so that a small read checks
/// only what it reads.
pub const BLOCK_BYTES: usize = 4 << 10;
/// Default and largest size of a chain segment, bytes (R18: min(16 MiB, capacity / 64)).
pub const SEGMENT_BYTES: u64 = 16 << 20;
/// Most bytes one transaction may append, frames and record together: a segment is rolled before a
/// transaction begins when less than this is left, because a record never spans segments.
pub const TRANSACTION_BYTES: u64 = 2 << 20;
/// Zeros written ahead of the journal's end, bytes (DESIGN §8.4).
pub const ZERO_AHEAD_BYTES: u64 = 256 << 10;
/// Streams are pushed out by the journal thread each time this much waits, bytes (DESIGN §8.4).
pub const WRITEOUT_BYTES: u64 = 4 << 20;
/// Side ids reserved by one chain record (R7).
pub const SIDE_IDS_RESERVED: u32 = 64;
/// Side ids that a writer may have reserved by records which went with an abandoned journal: its
/// dirty budget holds no more checkpoints than that many segments make.
pub const SIDE_IDS_LOST: u32 = 4 * SIDE_IDS_RESERVED;
/// Segments read ahead in recovery (R20).
pub const REPLAY_READ_AHEAD: usize = 32;
/// Ids beyond the oldest unstored that may be stored or in flight (R19).
pub const DESTAGE_WINDOW: u32 = 8;
/// Longest record or reply table, bytes decoded: more than a transaction may append.
pub const RECORD_BYTES: usize = 2 << 20;
/// Longest page or root of the index, bytes decoded.
pub const PAGE_BYTES: usize = 1 << 20;
/// A payload below this size is copied out of the buffer it came in before it is kept longer than
/// its request, bytes (P18): else 100 bytes would pin the whole buffer.
pub const COPY_OUT_BYTES: usize = 16 << 10;
/// Segments whose nonce the reader remembers, so that a read costs one get.
pub const SEEDS_KEPT: usize = 16 << 10;
/// A small read fetches header, table and blocks of a frame in one get where at most this lies
/// between them, bytes.
pub const SMALL_GAP_BYTES: u64 = 16 << 10;
/// Most bytes of one ranged get that brings several entries: 4 MiB of a file with their headers.
pub const RANGE_BYTES: u64 = (4 << 20) + (64 << 10);
/// Entries that lie at most this far apart travel in one ranged get, bytes: at 100 MB/s they take
/// less time than the latency of another request.
pub const RANGE_GAP_BYTES: u64 = 64 << 10;
/// A segment's header comes along with entries that begin at most this far from its start, bytes.
pub const HEADER_NEAR_BYTES: u64 = 64 << 10;
/// Most bytes in flight from the store to readers: an eighth of the frames' share of memory, within
/// these two.
pub const FLIGHT_BYTES: u64 = 64 << 20;
/// See [`FLIGHT_BYTES`].
pub const FLIGHT_LEAST_BYTES: u64 = 256 << 10;
/// Smallest disk cache, bytes.
pub const DISK_CACHE_LEAST_BYTES: u64 = 8 << 20;
/// A disk cache is cut into about this many slabs.
pub const DISK_CACHE_SLABS: u64 = 32;
/// Smallest slab, bytes: the longest entry fits.
pub const DISK_CACHE_SLAB_LEAST_BYTES: u64 = 4 << 20;
/// Largest slab, bytes.
pub const DISK_CACHE_SLAB_MOST_BYTES: u64 = 2 << 30;
/// Most bytes that wait to be written to the disk cache; at most a sixteenth of the frames' share
/// of memory.
pub const DISK_CACHE_QUEUE_BYTES: usize = 16 << 20;
/// And so much even where memory is short.
pub const DISK_CACHE_QUEUE_LEAST_BYTES: usize = 512 << 10;
/// Memory that one entry of the disk cache takes on its shelf, bytes, roughly.
pub const DISK_CACHE_ENTRY_MEMORY: u64 = 96;
/// Records looked at in one go when the disk cache finds its entries again.
pub const DISK_CACHE_SCAN_RECORDS: usize = 64;
/// The disk cache writes nothing for this long after its disk failed.
pub const DISK_CACHE_PAUSE: Duration = Duration::from_secs(10);
/// Full side segments being stored at the same time by one writer; it waits beyond.
pub const SIDE_IN_FLIGHT: usize = 2;
/// Times an answer of the store is asked for again whose bytes do not have their checksums: wires and
/// middle boxes damage some, a store that rots damages all.
pub const DAMAGED_AGAIN: u32 = 3;
/// Times a segment is put again after an unknown outcome that left nothing behind.
pub const PUT_AGAIN: usize = 3;
/// Largest reserve (R18): max(8 segments, capacity / 16), but never more than this, bytes.
pub const RESERVE_MAX_BYTES: u64 = 1 << 30;
/// Smallest size of a chain segment, bytes.
pub const SEGMENT_MIN_BYTES: u64 = 64 << 10;
/// A mark is appended after this much silence (R11).
pub const MARK_AFTER: Duration = Duration::from_secs(1);
/// An open segment older than this is sealed and stored, where storing is a link.
pub const AGE_LINKED: Duration = Duration::from_secs(30);
/// The same where segments travel to the store.
pub const AGE_STREAMED: Duration = Duration::from_secs(5);
/// First pause after a failed put; doubles with each further failure.
pub const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// Longest pause between two tries of a put.
pub const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// Default dirty budget: most bytes durable in the journal and not yet stored.
pub const DIRTY_BUDGET_BYTES: u64 = 1 << 30;
/// Destage of sealed segments begins at this share of the budget, per cent ...
pub const DESTAGE_START_SHARE: u64 = 50;
/// ... and pauses at this share, per cent.
pub const DESTAGE_STOP_SHARE: u64 = 45;
/// The high mark is at most this many half segments, whatever the budget: two full segments pass
/// it, one does not.
pub const DESTAGE_START_HALVES: u64 = 3;
/// Puts that may be under way at the same time, however small the budget is.
pub const PARALLEL_LEAST: usize = 2;
/// An open segment's bytes begin to travel when there are so many of them (R13), bytes.
pub const STREAM_FROM_BYTES: u64 = 1 << 20;
/// Bytes of an open segment travel in pieces of at least this, and are taken in steps of at most
/// four times that, bytes.
pub const STREAM_PIECE_BYTES: u64 = 256 << 10;
/// A segment whose stream has been idle this long is sealed, which ends the stream.
pub const STREAM_SEAL_AFTER: Duration = Duration::from_secs(20);
/// A stream idle this long is given up: stores end an idle request after a minute (Swift's
/// `client_timeout`). The segment goes by an ordinary put.
pub const STREAM_GIVEN_UP_AFTER: Duration = Duration::from_secs(30);
/// Writers are slowed from this share of the dirty budget, per cent.
pub const SLOW_FROM_SHARE: u64 = 60;
/// Where the level settles when writers could write more than the store takes, per cent.
pub const SLOW_SETTLES_SHARE: u64 = 75;
/// A put that failed this often is an alarm in the log (and still tried again).
pub const ALARM_ATTEMPTS: u32 = 5;
/// A forced flush is given up when nothing was stored for this long and a put has failed ...
pub const FLUSH_PATIENCE: Duration = Duration::from_secs(60);
/// ... or when nothing was stored for this long, though nothing failed either.
pub const FLUSH_SILENCE: Duration = Duration::from_secs(600);
/// Ballast of a volume on a network store at most (R18: 8 segments), bytes.
pub const BALLAST_BYTES: u64 = 8 * SEGMENT_BYTES;
/// Ballast objects that any volume on a network store has, however small (R18).
pub const BALLAST_LEAST: usize = 4;
/// One piece more of ballast for so many times its bytes stored.
pub const BALLAST_SHARE: u64 = 8;
/// First pause before a full store is asked again; doubles.
pub const BALLAST_ASK_FIRST: Duration = Duration::from_secs(1);
/// Longest pause before a full store is asked again.
pub const BALLAST_ASK_LONGEST: Duration = Duration::from_secs(60);
/// Longest pause before a piece of ballast is put again where the store did not say that it is full.
pub const BALLAST_ASK_AGAIN: Duration = Duration::from_secs(4);
/// Pauses before a put is tried again for which ballast was deleted: stores may free room behind
/// their answer.
pub const ROOM_COMES: [Duration; 4] = [
    Duration::from_millis(250),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];
/// Where the journal takes nothing (R10): so long its bytes may be on their way to the store before
/// syncs fail and the volume is read-only.
pub const RESCUE_PATIENCE: Duration = Duration::from_secs(30);
/// The same where the store is a directory of this machine.
pub const RESCUE_PATIENCE_LINKED: Duration = Duration::from_secs(1);
/// On a plain store: how long after its put the object of a new epoch is looked at again.
pub const EPOCH_SETTLES: Duration = Duration::from_secs(1);
