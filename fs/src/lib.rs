//! What POSIX promises: names, rights, times, handles.
//!
//! Faces call a [`Volume`]; it checks rights and hands the work down to `inode`. Operations are
//! `async` only because a page may have to be fetched; when everything needed is in memory each
//! future is ready at its first poll, so a face can run it inline on its reactor.
//!
//! A mutating operation *commits* (ordered, visible) and names its [`Seq`]; the face then decides
//! whether to [`Volume::sync`] before it answers. Dropping an operation's future before it is
//! ready leaves nothing done: the commit is its last step. (A write of more than 1 MiB commits in
//! pieces, each of them whole.)
//!
//! ```text
//!   face ──► Volume::rename ──► driver: admit ─► transact(closure) ─► Moved { wcc, wcc, seq }
//!                                 ▲                 │ Miss
//!                                 └──── fault ◄─────┘  (again, from the rights check on)
//! ```
//!
//! Invariants:
//! 1. Rights, change and the attributes before and after are of one moment: the closure of an
//!    operation runs as a whole under the committer's lock, or on one view.
//! 2. ctime of an inode rises with each change, whatever the clock does; a directory's mtime too.
//! 3. A refused operation changed nothing.
//! 4. Reading moves no access time: atime is what creation and SETATTR made it.
//!
//! It must never know: wire formats, object names, segments.
//!
//! Who may call it: the faces (`nfssvr` …) and the daemon.

mod attrs;
mod convert;
mod copy;
mod data;
mod dirs;
mod driver;
mod error;
mod locks;
mod moves;
mod names;
mod rights;
mod types;
mod volume;
mod xattrs;

pub use copy::Copied;
pub use error::{Failure, FsError};
pub use headhunter::{Remembered, RequestTag, Seq, SyncMode, seam};
pub use inode::{ReadAhead, Report, Tuning};
pub use locks::{HeldLock, LockError, LockOwner, LockRange, LockWait, Locks, SESSION_LOCKS};
pub use types::*;
pub use volume::{MAX_FILE_BYTES, NAME_BYTES, TARGET_BYTES, Volume};
