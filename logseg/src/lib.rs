//! The log: append entries in order, make a prefix durable, read entries back.
//!
//! A *segment* is one write-once object: a header, 8-byte-aligned checksummed entries, a footer.
//! It lives in the journal directory until it is stored; the bytes are the same in both homes (R4).
//!
//! ```text
//!   header | data data record | data record | page … | footer (index of entries, last seq, digest)
//! ```
//!
//! ```text
//!   LogWriter ─► core, chain ─► flush ─► journal files ─► destage ─► store      (writing)
//!   Log::read ─► read: memory │ cache │ journal file │ disk cache │ store        (reading)
//!   SideWriter ─► side ─────────────────────────────────────────────► store     (pages, cleaner)
//!   Recovery  ─► journal + store ─► records, then a seal and a new epoch        (opening)
//!   format, crypto: every byte of it, pure
//! ```
//!
//! It must never know: what a record means, what an owner is, POSIX, protocols.
//!
//! Invariants
//! 1. A [`Location`] is final when it is given, and what stands there never changes: ids are never
//!    used twice (R1), stored segments are never written (R4).
//! 2. [`Log::sync`] answers only when everything up to its seq is durable and no seal of the epoch
//!    was found afterwards (R5).
//! 3. What was durable is replayed, in order and whole, or the opening fails and names the place;
//!    only what no sync ever answered for is dropped (R3, R11).
//! 4. A journal file whose write or fdatasync failed is never used again (R10).
//! 5. Bytes are given to a reader only after every checksum over them held; a mismatch is
//!    [`LogError::Corrupt`] with segment and offset.
//! 6. Only [`Log::delete_segments`] and [`Log::delete_checkpoints`] delete objects.
//!
//! Who may call it: `headhunter` (everything), `inode` (to make frames and read them).

mod again;
mod ballast;
mod cache;
mod chain;
mod core;
pub mod crypto;
mod destage;
mod disk_cache;
mod encoder;
mod equal;
mod error;
mod flush;
pub mod format;
mod frame;
mod id;
mod journal;
mod limits;
mod lock;
mod log;
mod plain;
mod read;
mod recovery;
mod reserve;
mod room;
mod side;
#[cfg(test)]
mod spy;
mod survey;
mod volume;
mod writer;

pub use destage::DestageStatus;
pub use disk_cache::DiskCacheStatus;
pub use error::LogError;
pub use frame::{Codec, Frame};
pub use id::{Location, Owner, SegmentId, Seq};
pub use limits::*;
pub use log::{CheckpointName, Log, LogStatus, SyncMode};
pub use read::ReadStatus;
pub use recovery::{DestageConfig, DiskCacheConfig, LogConfig, Recovery, Replayed, Sealed, Start};
pub use side::SideWriter;
pub use survey::{Damage, JournalItem, JournalItemKind, Survey, Verified, journal_items};
pub use volume::VolumeHeader;
pub use writer::LogWriter;
