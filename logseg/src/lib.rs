//! The log: append entries in order, make a prefix durable, read entries back.
//!
//! A *segment* is one write-once object: a header, 8-byte-aligned checksummed entries, a footer.
//! It lives in the journal directory until it is stored; the bytes are the same in both homes (R4).
//!
//! ```text
//!   header | data data record | data record | page … | footer (index of entries, last seq, digest)
//! ```
//!
//! It must never know: what a record means, what an owner is, POSIX, protocols.
//!
//! Who may call it: `headhunter` (everything), `inode` (to make frames and read them).

mod cache;
mod chain;
mod core;
pub mod crypto;
mod destage;
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
mod read;
mod recovery;
mod reserve;
mod room;
mod side;
#[cfg(test)]
mod spy;
mod volume;
mod writer;

pub use error::LogError;
pub use frame::{Codec, Frame};
pub use id::{Location, Owner, SegmentId, Seq};
pub use limits::*;
pub use log::{CheckpointName, Log, LogStatus, SyncMode};
pub use recovery::{LogConfig, Recovery, Replayed, Sealed, Start};
pub use side::SideWriter;
pub use volume::VolumeHeader;
pub use writer::LogWriter;
