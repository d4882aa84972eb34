//! Our own protocol over Unix sockets and TCP (docs/rpc.md): for the client library, and through it
//! for smbd, mounts and programs.
//!
//! It turns frames into calls of [`fs::Volume`] and the outcomes into replies. It must never know
//! how files are stored: no segments, no index, no store.
//!
//! ```text
//!   accept loops (on reactor 0) ── round robin ──► reactor n: one thread, one runtime
//!                                                    │ connection: read all → run inline → one writev
//!        wire      frames in, replies out            │
//!        door      handshake: peer, secret, session  │  dispatch ─ identity, once: every request
//!        session   handles, replies, grace           │     │
//!        place     path → inode                      │    ops ──► fs::Volume
//! ```
//!
//! Invariants
//! 1. A length on the wire never costs memory by itself; every queue has a limit in bytes
//!    ([`limits`]).
//! 2. Nothing is done for who has not come through the handshake: on a Unix socket root or the
//!    server's own user, over TCP who proves that he knows the secret.
//! 3. A request that is carried out once is carried out once, however often it arrives: in this
//!    process by the session's memory, across a restart by the volume's (R23).
//! 4. What a session holds open keeps its inode; when the session ends everything it held is given
//!    back.
//! 5. SYNC, FSYNC, and what says *durable*, are answered only when it is so.
//! 6. Nothing on a reactor waits for another thread, but for a sync that is alone there.
//!
//! Used by the daemon and by tests.

mod budget;
mod call;
mod conn;
mod convert;
mod counters;
mod dispatch;
mod door;
#[doc(hidden)]
pub mod fuzz;
pub mod limits;
mod listen;
mod ops;
mod place;
mod reactor;
mod reclaim;
mod server;
mod service;
mod session;
mod stream;
mod wire;

pub use counters::{Counters, Outcome};
pub use limits::Limits;
pub use listen::Listen;
pub use server::{Bound, Server, ServerConfig};
pub use stream::Tls;
