//! Every limit of this crate, with its unit.

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
/// Further rounds for those that were no race, and tries of the small probe of a mount.
pub const PROBE_TRIES: u32 = 6;
