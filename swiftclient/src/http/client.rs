//! Sending.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Uri, header, request::Parts};

use super::{
    Body, HttpConfig, HttpError, HttpErrorKind, Reply,
    body::Outgoing,
    error::chain,
    pool::{Pool, Target},
    reply::Flow,
    tls::Tls,
};
use crate::StoreError;

/// The first byte of a TLS alert record (RFC 8446 §5.1): what TLS servers answer to plain HTTP.
const TLS_ALERT: u8 = 0x15;

/// Over what a request travels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Way {
    /// A kept connection, where there is one.
    #[default]
    Kept,
    /// A connection of its own: what comes first on it is the answer to nothing else.
    New,
}

/// Sends requests. Clones share the connections.
#[derive(Clone)]
pub struct HttpClient {
    pool: Arc<Pool>,
    idle_timeout: Duration,
}

impl std::fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HttpClient")
    }
}

impl HttpClient {
    /// A client without a connection. `Invalid` where the CA file holds no certificate.
    pub fn new(config: &HttpConfig) -> Result<Self, StoreError> {
        let pool = Pool::new(config, Tls::new(config)?);
        Ok(Self { pool, idle_timeout: config.idle_timeout })
    }

    /// Sends a request to an absolute `http(s)://` address; gives the reply, whatever its status,
    /// once its head has come. Within a tokio runtime with I/O and time.
    ///
    /// A request that met a kept connection which the server had already closed is sent once more
    /// on a new one, where no byte of it had left, or where its repetition changes nothing (GET,
    /// HEAD, DELETE). A streamed body always has a connection of its own.
    ///
    /// Errors: [`HttpError`]; dropping the future closes the connection.
    pub async fn send(&self, request: Request<Body>) -> Result<Reply, HttpError> {
        self.send_by(request, Way::Kept).await
    }

    /// The same over a kept connection or a new one.
    pub async fn send_by(&self, request: Request<Body>, way: Way) -> Result<Reply, HttpError> {
        let (head, body) = request.into_parts();
        let target = Target::of(&head.uri)?;
        let repeatable = [Method::GET, Method::HEAD, Method::DELETE].contains(&head.method);
        let mut may_reuse = way == Way::Kept && body.again().is_some();
        let mut next = body;
        loop {
            let spare = next.again();
            match self.once(&target, &head, next, may_reuse).await {
                Err(e) if e.stale && (repeatable || !e.sent) => {
                    let Some(spare) = spare else { return Err(e) };
                    tracing::debug!(%target, "a kept connection was closed; once more");
                    self.pool.forget(&target);
                    (next, may_reuse) = (spare, false);
                }
                other => return other,
            }
        }
    }

    /// An answer was not its request's: no connection that is open now serves again.
    pub fn distrust(&self) {
        self.pool.distrust();
    }

    /// The same with the whole reply, up to `limit` bytes of body.
    pub async fn call(
        &self,
        request: Request<Body>,
        limit: usize,
    ) -> Result<http::Response<Bytes>, HttpError> {
        self.send(request).await?.collect(limit).await
    }

    async fn once(
        &self,
        target: &Target,
        head: &Parts,
        body: Body,
        may_reuse: bool,
    ) -> Result<Reply, HttpError> {
        let connection = self.pool.lend(target, may_reuse).await?;
        let empty = body.is_empty();
        let (outgoing, progress) = Outgoing::new(body);
        let mut request = wire_request(head, outgoing)?;
        // hyper leaves it away where there is nothing to send; some servers then answer 411.
        if empty && [Method::PUT, Method::POST].contains(&head.method) {
            request.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        let (written, replied) = (connection.moved.written(), connection.moved.replied());
        let mut flow = Flow { connection, progress, idle_timeout: self.idle_timeout };
        let answer = flow.connection.sender.send_request(request);
        let outcome = flow.watched(answer).await;
        let left = flow.connection.moved.written() != written;
        let error = match outcome {
            Ok(Ok(reply)) => {
                self.pool.meet(target);
                return Reply::new(reply, flow, Arc::clone(&self.pool));
            }
            Ok(Err(e)) => sorted(&flow, &e, replied),
            Err(stalled) => stalled,
        };
        let silent = [HttpErrorKind::Broken, HttpErrorKind::Stalled].contains(&error.kind)
            && flow.connection.moved.replied() == 0;
        drop(flow);
        if silent && let Some(wrong) = self.pool.mismatch(target).await {
            return Err(wrong);
        }
        Err(HttpError { sent: left, ..error })
    }
}

/// In origin form, with its Host (RFC 9112 §3.2.1, §7.2).
fn wire_request(head: &Parts, body: Outgoing) -> Result<Request<Outgoing>, HttpError> {
    let invalid = |reason: String| HttpError::unsent(HttpErrorKind::Invalid, reason);
    let mut request = Request::new(body);
    *request.method_mut() = head.method.clone();
    *request.headers_mut() = head.headers.clone();
    let path = head.uri.path_and_query().map_or("/", |p| p.as_str());
    *request.uri_mut() = path.parse::<Uri>().map_err(|e| invalid(format!("{path}: {e}")))?;
    if !request.headers().contains_key(header::HOST) {
        let host = head.uri.authority().map_or("", |a| a.as_str());
        let host = HeaderValue::from_str(host).map_err(|e| invalid(format!("{host}: {e}")))?;
        request.headers_mut().insert(header::HOST, host);
    }
    Ok(request)
}

/// What an error before the head of a reply means; `replied`: bytes before.
fn sorted(flow: &Flow, error: &hyper::Error, replied: u64) -> HttpError {
    let target = &flow.connection.target;
    if let Some(reason) = flow.progress.failure() {
        return HttpError::sent(HttpErrorKind::Source, reason);
    }
    if error.is_parse() {
        if flow.connection.moved.first_byte() == Some(TLS_ALERT) {
            let reason = format!("{target}: it speaks TLS on this port: write https://");
            return HttpError::sent(HttpErrorKind::Refused, reason);
        }
        let reason = format!("{target}: the reply is not HTTP/1.1: {}", chain(error));
        return HttpError::sent(HttpErrorKind::Protocol, reason);
    }
    let reason = format!("{target}: broken before its reply: {}", chain(error));
    let stale = flow.connection.reused && flow.connection.moved.replied() == replied;
    HttpError { stale, ..HttpError::sent(HttpErrorKind::Broken, reason) }
}
