//! Files as keys of the index: attributes, names, extents, extended attributes, pending work.
//!
//! ```text
//!   (inode, kind, subkey)              value
//!   ( 17, attributes)                  type, mode, owner, size, times, marks …
//!   ( 17, entry, hash ‖ ordinal)       type, inode, generation, name
//!   ( 17, extent, file offset)         frame's location, offset in it, length, birth
//!   ( 17, xattr, name ‖ 0 ‖ part)      bytes
//!   (2⁶⁴−1, next number | inodes | pending, …)   volume-wide
//! ```
//!
//! Everything here is synchronous over a [`headhunter::View`] or [`headhunter::Txn`] and stops with
//! [`Fault::Miss`] where a page is absent; the storey above faults it and begins again.
//!
//! Invariants:
//! 1. Live extents of a file do not overlap, none reaches beyond its size, none crosses a truncate
//!    mark that is younger than it.
//! 2. `used` is the sum of the lengths of all extent keys of the inode, and what is accounted to a
//!    segment is the sum of the lengths of the extents that point into it (R9).
//! 3. An inode number is handed out only from a block whose reserving record is durable, and once.
//! 4. An entry never moves: its key is its cookie for as long as the name exists (R21).
//! 5. One transaction removes at most [`limits::SLICE_KEYS`] keys; what is left is on the list of
//!    pending work in the same record (R22).
//!
//! It must never know: rights, callers, protocols, segments' files or objects.
//!
//! Who may call it: `fs`.

mod blame;
mod check;
mod dir;
mod dump;
mod extent;
mod files;
mod format;
mod key;
pub mod limits;
mod numbers;
mod reap;
mod scan;
mod source;
mod streams;
mod types;
mod xattr;

pub use blame::{Blamed, blame, paths};
pub use check::{Report, check, check_except};
pub use dir::Slot;
pub use dump::{Dump, explain};
pub use extent::Piece;
pub use files::{Files, Tuning};
pub use format::{Entry, Extent, Inode, Mark, Pending};
pub use headhunter::{Frame, Location, Lost, Owner, Seq};
pub use key::split as split_key;
pub use source::{Fault, Source};
pub use streams::ReadAhead;
pub use swiftclient::StoreError;
pub use types::{FileId, Kind, Timestamp};

/// The root directory's inode number.
pub const ROOT: u64 = 1;

/// What a key of files refers to, for the index's own check of usage (R9): segment and logical
/// bytes of an extent, `None` for every other key.
pub fn referenced(key: &[u8], value: &[u8]) -> Option<(headhunter::SegmentId, u64)> {
    let (ino, kind, _) = key::split(key)?;
    if ino == key::VOLUME || kind != key::EXTENT {
        return None;
    }
    let extent = Extent::decode(key::sub_u64(key)?, value)?;
    Some((extent.location.segment, u64::from(extent.len)))
}
