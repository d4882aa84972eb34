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
