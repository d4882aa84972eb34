//! The client of Esker's RPC for programs in C: `libesker.so`, `libesker.a`, `esker.h`.
//!
//! ```text
//!   C ─► esker_*: pointers become values, errors become -errno, panics stop here
//!                     └─► client::blocking
//! ```
//!
//! Invariants:
//! 1. No panic crosses the border: it is -EIO, with its words in `esker_error`.
//! 2. A null pointer where there must be one, or a path too long, is -EINVAL, never a crash.
//! 3. Nothing is kept of a caller's memory once a function returns.
//!
//! It must never know: the wire, sockets.

// The names are those of C.
#![allow(non_camel_case_types)]

mod border;
mod dirs;
mod files;
mod locks;
mod names;

pub use dirs::{esker_closedir, esker_dir, esker_entry, esker_opendir, esker_readdir};
pub use files::{
    esker_append, esker_client, esker_close, esker_close_handle, esker_connect, esker_error,
    esker_fstat, esker_fsync, esker_open, esker_read, esker_sync, esker_truncate, esker_who,
    esker_write,
};
pub use locks::{esker_lock, esker_unlock};
pub use names::{
    esker_attributes, esker_chmod, esker_chown, esker_getxattr, esker_link, esker_mkdir,
    esker_readlink, esker_rename, esker_rmdir, esker_setxattr, esker_stat, esker_symlink,
    esker_unlink,
};
