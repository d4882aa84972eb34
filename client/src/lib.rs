//! A client of the RPC protocol (`docs/rpc.md`, `docs/client.md`).
//!
//! ```text
//!   callers ─► blocking (threads, std sockets) ─┐
//!                                               ├─► core: one session, no I/O ─► rpc: the wire
//!   tasks  ─►  tokio, feature `async`  ─────────┘
//! ```
//!
//! Invariants:
//! 1. Every request is carried out once, however often the connection is lost on the way.
//! 2. A server that is started again is waited for, and gets back what it had lost; handles and
//!    locks stay. One that stays away is an error in the end, not a wait for ever.
//! 3. Memory is bounded, whatever callers and server do.
//!
//! It must never know: anything of the server but the wire.

mod address;
pub mod blocking;
pub mod core;
mod error;
#[cfg(test)]
mod fake;
mod inbox;
pub mod limits;
mod methods;
mod seams;
#[cfg(feature = "async")]
pub mod tasks;

pub use address::Address;
pub use error::Error;
pub use rpc;
