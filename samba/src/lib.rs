//! The Rust half of `vfs_esker`, the module by which stock Samba serves a volume.
//!
//! smbd loads one `.so`: the C half (`shim/`), which knows Samba and nothing of our protocol, and
//! this, which knows the protocol and nothing of Samba. Between them lies `shim/esker_abi.h`.
//!
//! ```text
//!   smbd ──► shim/*.c ──► abi ──► share, walk, dirs ──► link ──► esker serve
//!            tables,      plain    files by inode,       requests,
//!            talloc       data     paths, streams        replies
//! ```
//!
//! Invariants:
//! 1. Nothing unwinds into C: each entry catches panics and answers -EIO.
//! 2. Each request names who asks; no thread's own identity means anything.
//! 3. Nothing that the server said outlives the turn of smbd's event loop in which it was said.
//! 4. A file stands for an inode. What is open at the server is closed when its last holder goes.
//! 5. No path leaves the share: `..` of its root is its root.
//!
//! It must never know: Samba's structures, how a volume is stored.

mod abi;
mod dirs;
mod link;
mod seen;
mod share;
mod walk;

pub use abi::*;

#[cfg(test)]
mod tests;
