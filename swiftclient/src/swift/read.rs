//! Reading, and what *not found* takes.
//!
//! ```text
//!   GET or HEAD ── 404 ──► HEAD container* ── 404 ─────────────────► not found
//!                              │ it is there
//!                              └──► again*, with X-Newest ── 404 ──► not found
//!
//!   * over a connection of its own
//! ```
//!
//! Over one of its own, because answers carry nothing that tells whose they are: on a connection
//! that is one answer behind, a 404 is that of the request before, and so is the next. What comes
//! first on a new connection is the answer to nothing else.
//!
//! Why one 404 is not enough: a plain read asks replicas until one answers, and one that was away
//! when the object came says 404 as well; `X-Newest` asks all. And a proxy that cannot read the
//! container's record takes the default storage policy, and looks for the object in the wrong ring:
//! 404 (`container_info` in Swift's `proxy/controllers/base.py` treats every failure as "no such
//! container"). The HEAD before the second look fills the proxy's memory of that record, or fails
//! itself. What remains is the loss of a quorum of an object's replicas at once, which says 404 on
//! any Swift.
//!
//! What is outside `seg/` and `side/` is asked for with `X-Newest` at once: recovery decides by it,
//! and a replica that missed a DELETE must not show a checkpoint that is gone. There a 404 is
//! believed without a look at the container where `/info` tells of one storage policy: then there is
//! no other ring. (A policy that was retired is
//! not told of. For segments, by whose absence a chain ends, the longer way is always taken.)

use std::ops::Range;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, header};

use super::{
    Inner,
    containers::{TRUE, X_NEWEST},
    place::Layout,
    put::{X_CRC, text},
    refusal,
    session::Ask,
};
use crate::{
    ObjectInfo, ObjectName, StoreError,
    http::{Body, Reply},
    limits::{DOCUMENT_BYTES, SWIFT_GET_BYTES},
};

/// `Content-Range: bytes 3-7/10` or `bytes */10` (RFC 9110 §14.4): the range with its end
/// exclusive, and the object's length.
pub(super) fn content_range(text: &str) -> Option<(Option<Range<u64>>, u64)> {
    let (range, len) = text.strip_prefix("bytes ")?.split_once('/')?;
    let len = len.parse().ok()?;
    if range == "*" {
        return Some((None, len));
    }
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last && last < len).then_some((Some(first..last + 1), len))
}

fn number(reply: &http::HeaderMap, name: HeaderName) -> Option<&str> {
    reply.get(name)?.to_str().ok()
}

impl Inner {
    /// Sends a GET or HEAD as often as *not found* takes.
    async fn look(
        &self,
        name: &ObjectName,
        method: Method,
        headers: &[(HeaderName, HeaderValue)],
    ) -> Result<Reply, StoreError> {
        let place = self.layout.place(name);
        let not_found = || StoreError::NotFound { name: name.to_string() };
        let ask = |newest: bool| {
            let mut ask = Ask::new(method.clone(), &place.container, &place.object);
            ask.headers.extend_from_slice(headers);
            if newest { ask.header(X_NEWEST, TRUE) } else { ask }
        };
        // Where one look is enough, it is one that can be believed.
        let known = self.info.get().is_some_and(|info| info.one_policy);
        let first = ask(Layout::in_base(name));
        let first = if known && Layout::in_base(name) { first.alone() } else { first };
        let reply = self.session.send(&first, || Body::Empty).await?;
        if reply.status != StatusCode::NOT_FOUND {
            return Ok(reply);
        }
        let alone = reply.first;
        // Read to its end, so that its connection can serve again.
        reply.collect(DOCUMENT_BYTES).await.map_err(|e| self.session.broken(&first, e))?;
        let one_look = Layout::in_base(name) && self.info().await.one_policy;
        if one_look && alone {
            return Err(not_found());
        }
        if !one_look && !self.containers.exists(&self.session, &place.container).await? {
            return Err(not_found());
        }
        let second = ask(true).alone();
        let reply = self.session.send(&second, || Body::Empty).await?;
        if reply.status == StatusCode::NOT_FOUND {
            reply.collect(DOCUMENT_BYTES).await.map_err(|e| self.session.broken(&second, e))?;
            return Err(not_found());
        }
        if one_look || reply.status.is_success() {
            // It was there: so the first answer was a stale replica's, or another request's.
            self.session.distrust();
        }
        Ok(reply)
    }

    /// The error behind a status that is no success.
    async fn refused(&self, what: String, reply: Reply) -> StoreError {
        let (status, headers) = (reply.status, reply.headers.clone());
        let body = reply.collect(DOCUMENT_BYTES).await.map(Response::into_body);
        let mut whole = Response::new(body.unwrap_or_default());
        (*whole.status_mut(), *whole.headers_mut()) = (status, headers);
        refusal::sorted(what, refusal::Doing::Reading, &whole)
    }

    pub(super) async fn head(&self, name: &ObjectName) -> Result<ObjectInfo, StoreError> {
        match self.head_once(name).await {
            Err(e) if self.wrong(&e) => self.head_once(name).await,
            other => other,
        }
    }

    /// True where an answer was not its request's: then it is asked again, over new connections.
    fn wrong(&self, error: &StoreError) -> bool {
        let wrong = matches!(error, StoreError::Corrupt { .. });
        if wrong {
            self.session.distrust();
        }
        wrong
    }

    async fn head_once(&self, name: &ObjectName) -> Result<ObjectInfo, StoreError> {
        let reply = self.look(name, Method::HEAD, &[]).await?;
        let what = format!("head {name}");
        if reply.status != StatusCode::OK {
            return Err(self.refused(what, reply).await);
        }
        let Some(len) = number(&reply.headers, header::CONTENT_LENGTH) else {
            let reason = "the answer to HEAD tells no length".into();
            return Err(StoreError::Corrupt { what, reason });
        };
        let len = len
            .parse()
            .map_err(|_| StoreError::Corrupt { what, reason: format!("a length of {len:?}") })?;
        let crc = number(&reply.headers, X_CRC).filter(|crc| crc.len() == 8);
        Ok(ObjectInfo { len, crc32c: crc.and_then(|crc| u32::from_str_radix(crc, 16).ok()) })
    }

    pub(super) async fn get(
        &self,
        name: &ObjectName,
        range: Range<u64>,
    ) -> Result<Bytes, StoreError> {
        match self.get_once(name, range.clone()).await {
            Err(e) if self.wrong(&e) => self.get_once(name, range).await,
            other => other,
        }
    }

    async fn get_once(&self, name: &ObjectName, range: Range<u64>) -> Result<Bytes, StoreError> {
        let what = format!("get {name}");
        let Range { start, end } = range;
        if start > end {
            let reason = format!("the range {start}..{end} ends before it begins");
            return Err(StoreError::Invalid { what, reason });
        }
        // No range of HTTP is empty, and none begins beyond the 63 bits that servers count in.
        if start == end || start > i64::MAX.unsigned_abs() {
            self.head(name).await?;
            return Ok(Bytes::new());
        }
        let last =
            if end > i64::MAX.unsigned_abs() { String::new() } else { (end - 1).to_string() };
        let asked = text(&format!("bytes={start}-{last}"))?;
        let reply = self.look(name, Method::GET, &[(header::RANGE, asked)]).await?;
        let told = number(&reply.headers, header::CONTENT_RANGE).and_then(content_range);
        let wrong = |reason: String| Err(StoreError::Corrupt { what: what.clone(), reason });
        match (reply.status.as_u16(), told) {
            (206, Some((Some(got), len))) => {
                if got != (start..end.min(len)) {
                    return wrong(format!("asked for {start}..{end} of {len}, got {got:?}"));
                }
                self.collected(what, reply, got.end - got.start).await
            }
            (206, _) => wrong("206 without a range".into()),
            (200, _) => {
                // The server knows no ranges: all of it comes.
                let whole = self.collected(what, reply, SWIFT_GET_BYTES).await?;
                let clip = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(whole.len());
                Ok(whole.slice(clip(start)..clip(end)))
            }
            // Nothing there: true where it begins at or beyond the object's end.
            (416, Some((None, len))) if start < len => {
                wrong(format!("416 for {start}..{end} of {len} bytes"))
            }
            (416, Some((None, _))) => Ok(Bytes::new()),
            (416, _) => match self.head(name).await?.len {
                len if start < len => wrong(format!("416 for {start}..{end} of {len} bytes")),
                _ => Ok(Bytes::new()),
            },
            _ => Err(self.refused(what, reply).await),
        }
    }

    /// A body of `len` bytes or, where the length was not told, at most so many.
    async fn collected(&self, what: String, reply: Reply, len: u64) -> Result<Bytes, StoreError> {
        let partial = reply.status == StatusCode::PARTIAL_CONTENT;
        if partial && len > SWIFT_GET_BYTES {
            let reason = format!("{len} bytes at once, the limit is {SWIFT_GET_BYTES}");
            return Err(StoreError::Invalid { what, reason });
        }
        let limit = usize::try_from(len).unwrap_or(usize::MAX);
        let body = match reply.collect(limit).await {
            Ok(reply) => reply.into_body(),
            Err(e) => return Err(e.into_store(what, false)),
        };
        if partial && body.len() as u64 != len {
            let reason = format!("{} bytes came of {len}", body.len());
            return Err(StoreError::Unavailable { what, reason, retry_after: None });
        }
        Ok(body)
    }
}
