//! Replies, read piece by piece and never believed before their end.

use std::{fmt, future::Future, pin::pin, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::{
    HttpError, HttpErrorKind,
    body::Progress,
    error::chain,
    pool::{Connection, Pool},
};

/// Status and head of a reply, and its body as it comes.
pub struct Reply {
    /// Status.
    pub status: StatusCode,
    /// Head.
    pub headers: HeaderMap,
    /// It is the first one of its connection: it cannot be the answer to an earlier request.
    pub first: bool,
    body: Incoming,
    flow: Option<Flow>,
    pool: Arc<Pool>,
}

/// A connection with a request on its way.
pub(super) struct Flow {
    pub(super) connection: Connection,
    pub(super) progress: Arc<Progress>,
    pub(super) idle_timeout: Duration,
}

impl Flow {
    /// Waits for `future` as long as bytes move, or the request waits for its caller.
    pub(super) async fn watched<T>(&self, future: impl Future<Output = T>) -> Result<T, HttpError> {
        const TICKS: u32 = 8;
        let mut future = pin!(future);
        let (mut quiet, mut moved) = (0, self.connection.moved.both());
        loop {
            tokio::select! {
                biased;
                done = &mut future => return Ok(done),
                () = tokio::time::sleep(self.idle_timeout / TICKS) => {
                    let now = self.connection.moved.both();
                    quiet = if now != moved || self.progress.waiting() { 0 } else { quiet + 1 };
                    moved = now;
                }
            }
            if quiet >= TICKS {
                let (target, limit) = (&self.connection.target, self.idle_timeout);
                let reason = format!("{target}: no byte moved for {limit:?}");
                return Err(HttpError::sent(HttpErrorKind::Stalled, reason));
            }
        }
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.status, self.headers)
    }
}

impl Reply {
    /// Refuses a reply whose end nothing but the close of the connection would tell.
    pub(super) fn new(
        reply: http::Response<Incoming>,
        flow: Flow,
        pool: Arc<Pool>,
    ) -> Result<Self, HttpError> {
        let (head, body) = reply.into_parts();
        let framed = http_body::Body::is_end_stream(&body)
            || head.headers.contains_key(header::CONTENT_LENGTH)
            || head.headers.contains_key(header::TRANSFER_ENCODING);
        if !framed {
            let reason = format!(
                "{}: the reply ({}) has neither a length nor chunks: its end cannot be told",
                flow.connection.target, head.status
            );
            return Err(HttpError::sent(HttpErrorKind::Protocol, reason));
        }
        let (status, headers, first) = (head.status, head.headers, !flow.connection.reused);
        Ok(Self { status, headers, first, body, flow: Some(flow), pool })
    }

    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body's next piece; `None` once it was whole. Errors: `Broken`, `Stalled`, `Protocol`.
    pub async fn next(&mut self) -> Result<Option<Bytes>, HttpError> {
        let Some(flow) = &self.flow else { return Ok(None) };
        loop {
            match flow.watched(self.body.frame()).await? {
                // Trailers say nothing that is asked for.
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(piece) if !piece.is_empty() => return Ok(Some(piece)),
                    _ => {}
                },
                Some(Err(e)) => {
                    let target = &flow.connection.target;
                    let reason = format!("{target}: the reply broke off: {}", chain(&e));
                    return Err(HttpError::sent(HttpErrorKind::Broken, reason));
                }
                None => break,
            }
        }
        // An answer before the request was sent whole (a refusal): the rest would still follow.
        if let Some(flow) = self.flow.take()
            && flow.progress.whole()
        {
            self.pool.keep(flow.connection);
        }
        Ok(None)
    }

    /// The whole body in one buffer of its own size; `TooLong` beyond `limit` bytes.
    pub async fn collect(mut self, limit: usize) -> Result<http::Response<Bytes>, HttpError> {
        let too_long = |len: u64| {
            let reason = format!("a reply of {len} bytes or more, the limit is {limit}");
            HttpError::sent(HttpErrorKind::TooLong, reason)
        };
        let known = http_body::Body::size_hint(&self.body).exact().unwrap_or(0);
        if known > limit as u64 {
            return Err(too_long(known));
        }
        // hyper's pieces are parts of larger buffers: who keeps one keeps all of it.
        let mut whole = BytesMut::with_capacity(usize::try_from(known).unwrap_or(0));
        while let Some(piece) = self.next().await? {
            if whole.len() + piece.len() > limit {
                return Err(too_long((whole.len() + piece.len()) as u64));
            }
            whole.extend_from_slice(&piece);
        }
        let mut reply = http::Response::new(whole.freeze());
        *reply.status_mut() = self.status;
        *reply.headers_mut() = self.headers;
        Ok(reply)
    }
}
