//! Answers held whole, to be changed.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::wire::{Head, Source};

/// Largest body that is held whole, bytes.
pub const WHOLE_BYTES: usize = 128 << 20;

/// An answer with its whole body.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its head; the length in it is that of the body, but for answers to HEAD.
    pub head: Head,
    /// Its body.
    pub body: Bytes,
}

impl Answer {
    /// Reads the rest of an answer to `method` whose head is there.
    pub async fn collect<R: AsyncRead + Unpin>(
        mut head: Head,
        method: &str,
        from: &mut Source<R>,
    ) -> io::Result<Self> {
        let mut framing = head.answer_body(method);
        let body = from.whole(&mut framing, WHOLE_BYTES).await?;
        if method != "HEAD" && head.length() != Some(body.len() as u64) {
            head.remove("transfer-encoding");
            if !matches!(head.status(), 204 | 304) {
                head.set("Content-Length", body.len());
            }
        }
        Ok(Self { head, body })
    }

    /// An error as stores write it (S3 API reference, "Error responses"; Swift's clients look at
    /// the status only).
    pub fn error(status: u16, retry_after: Option<u64>, method: &str) -> Self {
        let (reason, code) = match status {
            400 => ("Bad Request", "BadRequest"),
            403 => ("Forbidden", "AccessDenied"),
            404 => ("Not Found", "NoSuchKey"),
            409 => ("Conflict", "ConditionalRequestConflict"),
            412 => ("Precondition Failed", "PreconditionFailed"),
            429 => ("Too Many Requests", "TooManyRequests"),
            500 => ("Internal Server Error", "InternalError"),
            503 => ("Service Unavailable", "SlowDown"),
            507 => ("Insufficient Storage", "QuotaExceeded"),
            _ => ("Error", "InternalError"),
        };
        let mut head = Head::answer(status, reason);
        let text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code>\
             <Message>{reason}</Message></Error>"
        );
        head.set("Content-Type", "application/xml");
        // By which Swift's clients know its answers from a balancer's.
        head.set("X-Trans-Id", "tx0");
        head.set("Content-Length", text.len());
        if let Some(seconds) = retry_after {
            head.set("Retry-After", seconds);
        }
        let body = if method == "HEAD" { Bytes::new() } else { Bytes::from(text) };
        Self { head, body }
    }

    /// The same head around another body, whose length it says.
    #[must_use]
    pub fn with_body(mut self, body: Bytes) -> Self {
        self.head.set("Content-Length", body.len());
        self.body = body;
        self
    }

    /// Serves `object` where this answer served something else (or nothing): whole, or the range
    /// that was asked for; a HEAD gets its length.
    #[must_use]
    pub fn of_object(mut self, request: &Head, object: &Bytes, etag: Option<&str>) -> Self {
        let whole = object.len() as u64;
        let range = request.field("range").and_then(|r| range(r, whole));
        self.head.fields.retain(|(n, _)| !n.to_ascii_lowercase().starts_with("x-amz-checksum"));
        if let Some(etag) = etag {
            self.head.set("ETag", etag);
        }
        if request.method() == "HEAD" {
            self.head.line = Head::answer(200, "OK").line;
            self.head.set("Content-Length", whole);
            return self;
        }
        let Some((from, to)) = range else {
            self.head.line = Head::answer(200, "OK").line;
            self.head.remove("content-range");
            return self.with_body(object.clone());
        };
        self.head.line = Head::answer(206, "Partial Content").line;
        self.head.set("Content-Range", format!("bytes {from}-{}/{whole}", to.saturating_sub(1)));
        let at = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        self.with_body(object.slice(at(from)..at(to)))
    }

    /// Writes it.
    pub async fn write<W: AsyncWrite + Unpin>(&self, to: &mut W) -> io::Result<()> {
        to.write_all(&self.head.encode()).await?;
        to.write_all(&self.body).await?;
        to.flush().await
    }
}

/// The single range that a request asks for, as first byte and end (RFC 9110 §14.1.2); `None`
/// where it is none that can be satisfied.
pub fn range(value: &str, whole: u64) -> Option<(u64, u64)> {
    let (from, to) = value.strip_prefix("bytes=")?.split_once('-')?;
    let (from, to) = match (from.trim().parse().ok(), to.trim().parse::<u64>().ok()) {
        (Some(from), Some(last)) => (from, last.saturating_add(1).min(whole)),
        (Some(from), None) => (from, whole),
        (None, Some(n)) => (whole.saturating_sub(n), whole),
        (None, None) => return None,
    };
    (from < to).then_some((from, to))
}

/// Waits as long as is said; 0 costs nothing.
pub async fn wait(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}
