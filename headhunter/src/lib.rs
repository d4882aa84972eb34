//! The index: where everything is, changed by atomic transactions, checkpointed, recovered.
//!
//! One ordered map of byte strings. [`Index::transact`] is the only way to change it; a [`View`]
//! is an immutable root that readers take without waiting.
//!
//! It must never know: POSIX, protocols, what a key or value means (beyond its own reserved keys).
//!
//! Every look-up is synchronous and either answers or returns a [`Miss`]: a page that is not in
//! memory. The caller lets go of everything it holds, awaits [`Index::fault`], and starts again
//! (R17). So nothing ever waits for a store while it holds a lock.

mod standin;

pub use logseg::{Codec, Frame, Location, LogError, Owner, SegmentId, Seq, SyncMode, VolumeHeader};
pub use standin::*;
