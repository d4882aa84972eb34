//! Bytes on the socket: record marking (RFC 5531 §11), XDR (RFC 4506), the queue of replies.

mod out;
mod record;
#[cfg(test)]
mod tests;
mod xdr;

pub use out::{OutQueue, Reply};
pub use record::Inbound;
pub use xdr::{Cursor, Enc, Garbage};
