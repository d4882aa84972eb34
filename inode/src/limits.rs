//! Every limit of files, with its unit.

/// Largest file, bytes: 8 EiB − 1 (offsets are signed 64-bit on every client).
pub const MAX_FILE_BYTES: u64 = i64::MAX as u64;
/// Longest name, bytes.
pub const NAME_BYTES: usize = 255;
/// Longest symlink target, bytes (PATH_MAX − 1).
pub const TARGET_BYTES: usize = 4095;
/// A symlink target is kept in parts of this many bytes.
pub const TARGET_PART_BYTES: usize = 2048;
/// Largest value of one extended attribute, bytes.
pub const XATTR_BYTES: usize = 64 << 10;
/// An extended attribute's value is kept in parts of this many bytes.
pub const XATTR_PART_BYTES: usize = 2048;
/// Most bytes of names and values of one inode's extended attributes together.
pub const XATTR_TOTAL_BYTES: usize = 256 << 10;
/// What each extended attribute costs besides its name and value, bytes.
pub const XATTR_EACH_BYTES: usize = 64;
/// Most names of one directory that share a hash (R21).
pub const NAMES_PER_HASH: usize = 256;
/// Most hard links of one inode, and most subdirectories of one directory.
pub const LINKS: u32 = i32::MAX as u32;
/// Inode numbers reserved by one durable record.
pub const NUMBERS_BLOCK: u64 = 65_536;
/// The next block is asked for when less than one in this many numbers of a block is left.
pub const NUMBERS_LOW: u64 = 4;
/// Most extents or xattr parts that one transaction removes (R22).
pub const SLICE_KEYS: usize = 1_024;
/// What the removal of one extent takes in a record at most, bytes.
pub const REMOVAL_BYTES: usize = 64;
/// Most truncate marks of one inode (R22).
pub const MARKS: usize = 4;
/// Most payload bytes of one write transaction (half of what the log allows one record).
pub const WRITE_BYTES: usize = 1 << 20;
/// Most bytes of one read.
pub const READ_BYTES: u32 = 8 << 20;
/// A read of more pieces than this is gathered into one buffer.
pub const READ_PIECES: usize = 256;
/// How long an inode that was open and without a name when the server died is kept, seconds.
pub const ORPHAN_GRACE_SECONDS: u64 = 90;
/// Keys read at once by scans.
pub const SCAN_KEYS: usize = 256;
/// Most findings that a check lists.
pub const FINDINGS: usize = 1_000;
/// First window of a stream, bytes: doubled each time half of it was used.
pub const AHEAD_FIRST_BYTES: u64 = 256 << 10;
/// Widest window of a stream, bytes; at most half of what all streams may have.
pub const AHEAD_MOST_BYTES: u64 = 32 << 20;
/// What is asked for ahead ends at multiples of this in the file, bytes, once the window is twice as
/// wide: what the log fetches in one request.
pub const AHEAD_PIECE_BYTES: u64 = 4 << 20;
/// Who begins a file with this many bytes is taken to go on, bytes.
pub const AHEAD_START_BYTES: u64 = 64 << 10;
/// Files in which streams are followed.
pub const STREAM_FILES: usize = 1_024;
/// Ranges followed in one file: reads that came before those in front of them, and other readers.
pub const STREAM_RUNS: usize = 32;
/// A file is left alone after this many reads that found all in memory and moved no stream.
pub const STREAM_IDLE_READS: u32 = 256;
/// A stream counts as given up when this many other reads came since, and memory is wanted.
pub const STREAM_STALE_READS: u32 = 1_024;
/// Pieces of files named at most when their bytes are damaged.
pub const BLAMED: usize = 10_000;
