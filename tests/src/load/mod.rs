//! The load generator: rows of one kind of call, driven by pipelining connections.
//!
//! It is part of what it measures, so it is cheap: one read takes all replies that are there, one
//! write sends all calls they make room for, the clock is read once per such batch, and nothing is
//! decoded beyond the status.
//!
//! ```text
//!   Target (where, which process) ─► prepare(Row) ─► run: conns × window ─► Outcome, one line
//! ```
//!
//! It must never know which server it drives. Data are incompressible and differ in every MiB.
//!
//! Invariants: 1. every reply is checked for success, a failure ends the row with an error;
//! 2. a figure counts only replies that came before the clock ran out; 3. what a row made is
//! removed outside the measured time.

#![allow(clippy::cast_possible_truncation)] // slots, blocks and counts are far below 2³²

mod data;
mod engine;
mod outcome;
mod rows;
mod streams;
#[cfg(test)]
mod tests;

pub use data::Pool;
pub use outcome::{Outcome, cpu_seconds, now, rss_bytes};
pub use rows::{Prepared, Row, Shape, make_files};
pub use streams::{read_file, write_file};

use std::net::SocketAddr;
use std::time::Duration;

use crate::nfsclient::{Client, Conn, Cred, Fault, Fh, mnt};

/// Why a row could not be measured.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum LoadError {
    #[error(transparent)]
    Fault(#[from] Fault),
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Malformed(#[from] crate::nfsclient::xdr::Malformed),
    #[error(transparent)]
    Refused(#[from] crate::nfsclient::Refused),
    #[error("{0} failed: {1:?}")]
    Status(&'static str, crate::nfsclient::Status),
    #[error("MNT {0}: status {1}")]
    Mount(String, u32),
    #[error("{0}")]
    Wrong(String),
}

/// A server to drive.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where NFS is.
    pub nfs: SocketAddr,
    /// Where MOUNT is.
    pub mount: SocketAddr,
    /// What to mount.
    pub export: String,
    /// The server's process, for its CPU time and memory.
    pub pid: Option<u32>,
}

impl Target {
    /// Mounts: the root's handle.
    pub fn root(&self) -> Result<Fh, LoadError> {
        let mut conn = Conn::open(self.mount)?;
        let m = mnt(&mut conn, &Cred::sys(0, 0, &[]), self.export.as_bytes())?;
        m.fh.ok_or_else(|| LoadError::Mount(self.export.clone(), m.status))
    }
    /// A client that is uid 0.
    pub fn client(&self) -> Result<Client, LoadError> {
        let client = Client::root(self.nfs)?;
        // Low ports are few, and one that was closed in order would be taken for a minute.
        socket2::SockRef::from(client.conn.stream()).set_linger(Some(Duration::ZERO))?;
        Ok(client)
    }
}
