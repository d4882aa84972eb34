//! One HTTP/1.1 client for every store that is spoken to over a network.
//!
//! ```text
//!    S3, Swift, credentials
//!         │ http::Request<Body>                      HttpError: was anything sent?
//!     client ── watch: a byte must move                    ▲
//!         │                                                │
//!       pool ── keep-alive connections by target      Reply: head, then pieces
//!         │
//!      hyper ── one task for each connection
//!         │
//!       wire ── TCP_NODELAY, TCP_QUICKACK, bytes counted; inside TLS or plain
//! ```
//!
//! It must never know: objects, buckets, containers, signatures, tokens; it gives back what the
//! server said, whatever the status.
//!
//! Why an own pool over `hyper::client::conn`: the contract of [`StoreError`](crate::StoreError)
//! tells *nothing happened* from *unknown*, so each request must know whether its own connection
//! was a fresh one and whether a byte of it has left.
//!
//! Invariants
//! 1. An error says `sent: false` only where no byte of the request was given to the kernel.
//! 2. A reply is whole or an error: a body shorter than its Content-Length, without its last chunk,
//!    or ended by nothing but the close of the connection is never taken for a whole one.
//! 3. No wait is without end: while a request or reply is on its way, a byte moves at least every
//!    [`HttpConfig::idle_timeout`], or the request itself waits for the caller's next piece.
//! 4. A connection goes back to the pool only after a whole request and a whole reply.
//!    One that may have given a wrong answer ([`HttpClient::distrust`]) never does.
//! 5. A body whose source failed or was dropped never ends as a whole one on the wire.
//! 6. Payloads are not copied on their way out (TLS encrypts into its own buffer); on their way in,
//!    once, into a buffer of their own size.

mod body;
mod client;
mod error;
mod pool;
mod reply;
mod tls;
mod wire;

use std::{path::PathBuf, time::Duration};

pub use body::{Body, BodySender, Ended, SourceFile};
pub use client::{HttpClient, Way};
pub use error::{HttpError, HttpErrorKind};
pub use reply::Reply;

use crate::limits;

/// How to reach servers.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// PEM file with certificates that are trusted besides the machine's own.
    pub extra_ca: Option<PathBuf>,
    /// The setting that names `extra_ca`, for errors that say what to do: `AWS_CA_BUNDLE`.
    pub ca_setting: &'static str,
    /// Name resolution, TCP and TLS handshake of one connection together.
    pub connect_timeout: Duration,
    /// No byte moved in either direction for so long (up to an eighth longer): the request fails.
    pub idle_timeout: Duration,
    /// Connections kept open without a request, for each server.
    pub idle_connections: usize,
    /// How long such a connection is kept.
    pub idle_keep: Duration,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            extra_ca: None,
            ca_setting: "the CA file",
            connect_timeout: limits::CONNECT_TIMEOUT,
            idle_timeout: limits::IDLE_TIMEOUT,
            idle_connections: limits::IDLE_CONNECTIONS,
            idle_keep: limits::IDLE_KEEP,
        }
    }
}

#[cfg(test)]
mod tests;
