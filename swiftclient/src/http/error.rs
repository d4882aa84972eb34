//! What can go wrong between a request and its whole reply, and what the caller may conclude.

use std::fmt;

use crate::StoreError;

/// What broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpErrorKind {
    /// No connection: name unknown, refused, unreachable, timed out.
    Connect,
    /// The server cannot be talked to as configured: certificate not trusted, TLS against plain
    /// HTTP or the other way round. An operator must act.
    Refused,
    /// The connection broke, or the reply ended before its end.
    Broken,
    /// No byte moved for [`HttpConfig::idle_timeout`](super::HttpConfig::idle_timeout).
    Stalled,
    /// What came is not HTTP/1.1, or a reply that cannot be told from a truncated one.
    Protocol,
    /// The reply is longer than the caller's limit.
    TooLong,
    /// The request's own body could not be read: the file is shorter than said, or unreadable; or
    /// the sender of a streamed body was dropped. It was never sent whole.
    Source,
    /// The request cannot be sent: its address is not `http://` or `https://`.
    Invalid,
}

/// A request without a whole reply.
#[derive(Clone, Debug)]
pub struct HttpError {
    /// What broke.
    pub kind: HttpErrorKind,
    /// What was seen, and what to do about it where that is known.
    pub reason: String,
    /// False only where no byte of the request can have reached the server.
    pub sent: bool,
    /// The connection had served before and ended without a byte of a reply: most likely the
    /// server had closed it already and never saw the request.
    pub stale: bool,
}

impl HttpError {
    pub(super) fn unsent(kind: HttpErrorKind, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into(), sent: false, stale: false }
    }

    pub(super) fn sent(kind: HttpErrorKind, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into(), sent: true, stale: false }
    }

    /// In the words of a store. `what` is operation and object; `changes` says whether the request,
    /// had it arrived, would have changed the store.
    pub fn into_store(self, what: impl Into<String>, changes: bool) -> StoreError {
        let (what, reason) = (what.into(), self.reason);
        match self.kind {
            HttpErrorKind::Refused => StoreError::Denied { what, reason },
            HttpErrorKind::Invalid => StoreError::Invalid { what, reason },
            // Never sent whole, and no server keeps a part.
            HttpErrorKind::Source => StoreError::Unavailable { what, reason, retry_after: None },
            _ if changes && self.sent => StoreError::Unknown { what, reason },
            HttpErrorKind::TooLong => StoreError::Corrupt { what, reason },
            _ => StoreError::Unavailable { what, reason, retry_after: None },
        }
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for HttpError {}

/// The whole chain of causes, without repeating what the outer one says already.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        next = cause.source();
    }
    text
}
