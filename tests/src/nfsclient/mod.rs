//! A second, independent speaker of the wire: an NFSv3 and MOUNT client that shares no line with
//! the server, so that the two can only agree by both following RFC 1813, 5531 and 4506.
//!
//! ```text
//!   Client   typed calls, one identity        ─┐
//!   proc     arguments out, results in         │ blocking, one thread per connection
//!   Conn     records, xids, batches, sockets  ─┘
//!   xdr      4-byte units
//! ```
//!
//! It must never know anything of the server's crates. It decodes strictly (padding, booleans,
//! trailing bytes are checked) and sends whatever it is told to, right or wrong.
//!
//! Invariants: 1. what is queued goes out in one write per [`Conn::flush`]; 2. a reply is returned
//! only with the xid it carried; 3. no reply, however malformed, makes it panic.

mod conn;
mod mount;
pub mod proc;
mod types;
pub mod xdr;

mod client;
#[cfg(test)]
mod tests;

pub use client::{Client, Listed, Refused, decode};
pub use conn::{Conn, Cred, Fault, Reply, RpcStatus, envelope, open_socket, put_call};
pub use mount::{Export, Mounted, dump, exports, mnt, umnt, umntall};
pub use types::{Attr, Fh, Ftype, Sattr, SattrTime, Status, Time, Wcc, WccAttr};

/// Program number of NFS.
pub const NFS: u32 = 100_003;
/// Program number of MOUNT.
pub const MOUNT: u32 = 100_005;
