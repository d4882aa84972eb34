//! NFS version 3 and MOUNT over TCP on one port (RFC 1813, RFC 5531, RFC 4506), our own layer.
//!
//! It turns records into calls of [`fs::Volume`] and the outcomes into replies. It must never know
//! how files are stored: no segments, no index, no store.
//!
//! ```text
//!   accept loop (on reactor 0) ── round robin ──► reactor n: one thread, one runtime
//!                                                    │ connection: read all → run inline → one writev
//!        wire      record marking, XDR, reply queue  │
//!        rpc       call header, credentials          │  dispatch ─ exports, handles: every call
//!        drc       repeats: in progress, done        │     │
//!        mount     path → handle                     │    ops  the 22 procedures ──► fs::Volume
//! ```
//!
//! Invariants
//! 1. A length on the wire never costs memory by itself; every queue has a limit in bytes
//!    ([`limits`]).
//! 2. Whatever decodes gets an answer on a connection that lives; only broken framing, a record
//!    that is no call, and clients that neither finish a record nor read replies are cut off.
//! 3. Export rules are applied to every call; a handle that this volume did not make is refused.
//! 4. A non-repeatable call is carried out once, however often it arrives (R23), and its reply is
//!    sent only when it may be: in `sync` exports when it is durable.
//! 5. COMMIT, DATA_SYNC and FILE_SYNC are answered only when durable. WRITE and COMMIT speak of one
//!    verifier, taken before the write and after the wait (R24).
//! 6. A call that cannot begin in time is given up whole and answered NFS3ERR_JUKEBOX; once its
//!    record is committed it is waited for.
//! 7. Nothing on a reactor waits for another thread, but for a sync that is alone there.
//!
//! Used by the daemon and by tests.

mod budget;
mod call;
mod conn;
mod counters;
mod dispatch;
mod drc;
mod exports;
#[doc(hidden)]
pub mod fuzz;
mod handle;
pub mod limits;
mod mount;
mod nfs3;
mod ops;
mod peer;
mod reactor;
mod rpc;
mod server;
mod service;
mod wire;

pub use counters::{Counters, Outcome};
pub use exports::{ExportError, Exports, Network, Options};
pub use limits::Limits;
pub use nfs3::{Procedure, Status};
pub use rpc::Refusal;
pub use server::{Bound, Server, ServerConfig};
