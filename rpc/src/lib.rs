//! Esker's own protocol on the wire: frames, requests, replies. `docs/rpc.md` says it to the byte.
//!
//! Both sides use it: bytes become values here and values bytes, and nothing else happens. No
//! socket, no thread, no clock; what a request does is for the server to know.
//!
//! ```text
//!   ┌────────── 32 bytes ──────────┬───── body ─────┬──── payload ────┐
//!   │ lengths │ id │ op │ … │ mark │ identity, call │ raw file bytes  │
//!   └──────────────────────────────┴────────────────┴─────────────────┘
//! ```
//!
//! Invariants:
//! 1. No length on the wire reserves memory by itself: each is held against its limit first.
//! 2. What is written is read as the same; what does not decode is refused, never guessed.
//! 3. Names and payloads are slices of what arrived, not copies.
//!
//! It must never know: files, sessions, sockets.

pub mod calls;
pub mod errno;
pub mod frame;
pub mod hello;
pub mod limits;
mod types;
mod wire;

pub use calls::{Call, Op, Request, put_request};
pub use frame::{Frame, Header, Refusal, expected, put_frame};
pub use types::{
    Along, Attributes, Conflict, Entry, FileId, Found, Identity, Kind, Label, Object, Path, Place,
    Range, SetAttributes, SetTime, Text, Time, Wanted, XattrName, XattrValue,
};
pub use wire::{Blob, List, Malformed, Reader, Wire};

#[cfg(test)]
mod tests;
