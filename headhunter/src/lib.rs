//! The index: where everything is, changed by atomic transactions, checkpointed, recovered.
//!
//! One ordered map of byte strings. [`Index::transact`] is the only way to change it; a [`View`]
//! is an immutable root that readers take without waiting.
//!
//! ```text
//!   transact(body)                                  view()
//!      │ commit lock                                  │
//!      ▼                                              ▼
//!   Txn ── record ──► log      apply ──► live root ═ PageRef ─► page ─► PageRef … (copy on write)
//!                                           │ freeze                        │ evicted / faulted
//!                                           ▼                               ▼
//!                               checkpoint: dirty pages ──► side segments, root entry, publish
//!                                           └──► retire: segments nobody can reach are deleted
//! ```
//!
//! It must never know: POSIX, protocols, what a key or value means (beyond its own reserved keys).
//!
//! Every look-up is synchronous and either answers or returns a [`Miss`]: a page that is not in
//! memory. The caller lets go of everything it holds, awaits [`Index::fault`], and starts again
//! (R17). So nothing ever waits for a store while it holds a lock.
//!
//! Invariants
//! 1. A record holds outcomes; the running server and recovery carry it out by the same function,
//!    which cannot fail: every page it needs is in memory before the record is written.
//! 2. A page whose bytes are in no stored segment is in memory. Only the holder of the commit lock
//!    evicts from the live root.
//! 3. Usage plus what the page ledger still holds back equals the bytes that values and pages of
//!    the live root refer to, segment by segment (R9; `Index::check`).
//! 4. Only retire and sweep delete, and only what neither kept checkpoint, the live root nor a view
//!    can reach (R8).
//! 5. Memory of pages is charged until their last holder drops them (R16).
//!
//! Who may call it: `inode` and `fs` (transactions, views), `daemon` (opening, closing, status).

mod ahead;
mod apply;
mod check;
mod checkpoint;
mod describe;
mod driver;
#[doc(hidden)]
pub mod fuzz;
mod home;
mod index;
pub mod limits;
mod open;
mod record;
mod replies;
mod retire;
mod strays;
mod tree;
mod txn;
mod view;

#[cfg(test)]
mod tests;

pub use check::{CheckReport, IndexStatus, Lost};
pub use checkpoint::Stage;
pub use describe::{Described, describe, describe_checkpoint, describe_own};
pub use driver::Reason;
pub use index::{Index, Intent, Room};
pub use logseg::{Codec, Frame, Location, LogError, Owner, SegmentId, Seq, SyncMode, VolumeHeader};
pub use open::{IndexConfig, look::Looked, roots::RootEntry};
pub use swiftclient::seam;
pub use tree::{Item, Miss};
pub use txn::{Abort, Committed, Remembered, RequestTag, Txn};
pub use view::View;
