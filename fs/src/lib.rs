//! What POSIX promises: names, rights, times, handles.
//!
//! Faces call a [`Volume`]; it checks rights and hands the work down to `inode`. Operations are
//! `async` only because a page may have to be fetched; when everything needed is in memory each
//! future is ready at its first poll, so a face can run it inline on its reactor.
//!
//! A mutating operation *commits* (ordered, visible) and names its [`Seq`]; the face then decides
//! whether to [`Volume::sync`] before it answers. Dropping an operation's future before it is
//! ready leaves nothing done: the commit is its last step.
//!
//! It must never know: wire formats, object names, segments.

mod error;
mod types;
mod volume;

pub use error::{Failure, FsError};
pub use headhunter::{Remembered, RequestTag, Seq, SyncMode};
pub use types::*;
pub use volume::Volume;
