//! One signed request and the store's answer to it.

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Method, Request,
    uri::{Authority, Scheme},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{S3Config, answer::Refusal, documents, identity::Identity};
use crate::{
    StoreError, Verb,
    http::{Body, HttpClient, HttpConfig, Reply, Way},
    limits::ERROR_BYTES,
};

/// RFC 3986 unreserved characters stay (Signature Version 4, "UriEncode").
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const PATH: &AsciiSet = &QUERY.remove(b'/');
const AGENT: &str = concat!("esker/", env!("CARGO_PKG_VERSION"));

/// What is asked of the store.
pub(super) struct Ask {
    pub(super) verb: Verb,
    /// Whom it is about, in errors: an object's name or a prefix.
    pub(super) name: String,
    pub(super) method: Method,
    /// The object's key; `None`: the bucket itself.
    pub(super) key: Option<String>,
    pub(super) query: Vec<(&'static str, String)>,
    pub(super) headers: Vec<(HeaderName, String)>,
    pub(super) way: Way,
}

impl Ask {
    pub(super) fn new(verb: Verb, method: Method, name: &str) -> Self {
        let (name, query, headers) = (name.to_owned(), Vec::new(), Vec::new());
        Self { verb, name, method, key: None, query, headers, way: Way::Kept }
    }

    #[must_use]
    pub(super) fn key(mut self, key: String) -> Self {
        self.key = Some(key);
        self
    }

    #[must_use]
    pub(super) fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    #[must_use]
    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((HeaderName::from_static(name), value.into()));
        self
    }

    /// Over this way.
    #[must_use]
    pub(super) fn by(mut self, way: Way) -> Self {
        self.way = way;
        self
    }

    /// Operation and object, for errors.
    pub(super) fn what(&self) -> String {
        format!("{} {}", self.verb.name(), self.name)
    }

    /// True where the request, had it arrived, would have changed the store.
    pub(super) fn changes(&self) -> bool {
        self.verb.changes()
    }
}

/// What came back.
pub(super) enum Answer {
    /// 2xx: its body is still to be read.
    Good(Reply),
    Refused(Refusal),
}

/// An answer, and whether an earlier try of the same request may have been carried out.
pub(super) struct Answered {
    pub(super) answer: Answer,
    pub(super) doubt: bool,
}

/// The way to one bucket.
pub(super) struct Door {
    pub(super) config: S3Config,
    scheme: Scheme,
    authority: Authority,
    path: String,
    http: HttpClient,
    identity: Identity,
}

impl Door {
    pub(super) fn new(config: S3Config, http: &HttpConfig) -> Result<Self, StoreError> {
        let (scheme, authority, path) = config.base()?;
        let http = HttpConfig {
            extra_ca: config.extra_ca.clone(),
            ca_setting: "AWS_CA_BUNDLE",
            ..http.clone()
        };
        let (http, identity) = (HttpClient::new(&http)?, Identity::new(&config)?);
        Ok(Self { config, scheme, authority, path, http, identity })
    }

    /// Sends `ask`; the body again where a kept connection turned out to be closed, and once more
    /// with new credentials where the store says that the old ones have expired.
    pub(super) async fn send(&self, ask: &Ask, body: Body) -> Result<Answered, StoreError> {
        let (mut body, mut renewed, mut doubt) = (body, false, false);
        loop {
            let spare = body.again();
            let (request, generation) = self.request(ask, body).await?;
            let reply = match (self.http.send_by(request, ask.way).await, spare) {
                // Never with a second doubt: two in a row are no accident.
                (Err(e), Some(spare)) if e.stale && !doubt => {
                    doubt = true;
                    body = spare;
                    continue;
                }
                (Err(e), _) => return Err(self.failed(ask, e, doubt)),
                (Ok(reply), None) => return Ok(Answered { answer: answer_of(reply).await, doubt }),
                (Ok(reply), Some(spare)) => {
                    let answer = answer_of(reply).await;
                    match &answer {
                        Answer::Refused(refusal) if refusal.expired() && !renewed => {
                            tracing::info!(code = refusal.code, "renewing credentials");
                            self.identity.renew(generation).await;
                            (renewed, body) = (true, spare);
                            continue;
                        }
                        _ => answer,
                    }
                }
            };
            return Ok(Answered { answer: reply, doubt });
        }
    }

    /// An answer was not its request's.
    pub(super) fn distrust(&self) {
        self.http.distrust();
    }

    /// The error of a first answer on which nothing may rest: it is to be asked again (invariant 3
    /// of [`super`]).
    pub(super) fn doubtful<T>(&self, first: &Result<T, StoreError>) -> Option<StoreError> {
        match first {
            Err(e @ StoreError::Corrupt { .. }) => {
                self.distrust();
                Some(e.clone())
            }
            Err(e @ StoreError::NotFound { .. }) => Some(e.clone()),
            _ => None,
        }
    }

    /// The second answer, which came over a connection of its own. Where it does not repeat the
    /// absence that the first told of, that one was another request's.
    pub(super) fn compare<T>(
        &self,
        first: &StoreError,
        second: Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let repeats = matches!(&second, Err(e) if e.is_not_found());
        if first.is_not_found() && !repeats {
            tracing::warn!(error = %first, "not so when asked again: connections are made anew");
            self.distrust();
        }
        second
    }

    /// CreateBucket.
    pub(super) async fn create_bucket(&self) -> Result<(), StoreError> {
        let S3Config { bucket, region, .. } = &self.config;
        let ask = Ask::new(Verb::Put, Method::PUT, &format!("bucket {bucket}"));
        // AWS wants the region of every bucket but those of the first one.
        let body = match region.as_str() {
            "us-east-1" => Body::Empty,
            _ => Body::from(Bytes::from(documents::location(region))),
        };
        match self.send(&ask, body).await?.answer {
            Answer::Refused(refusal) if refusal.code == "BucketAlreadyOwnedByYou" => Ok(()),
            Answer::Refused(refusal) => Err(refusal.sorted(&ask, &self.config)),
            Answer::Good(reply) => {
                let whole = reply.collect(ERROR_BYTES).await;
                whole.map(drop).map_err(|e| e.into_store(ask.what(), true))
            }
        }
    }

    fn failed(&self, ask: &Ask, error: crate::http::HttpError, doubt: bool) -> StoreError {
        let error = crate::http::HttpError { sent: error.sent || doubt, ..error };
        error.into_store(ask.what(), ask.changes())
    }

    /// Sends `ask` without a body and gives the whole reply, up to `limit` bytes of body.
    pub(super) async fn call(
        &self,
        ask: &Ask,
        body: Body,
        limit: usize,
    ) -> Result<http::Response<Bytes>, StoreError> {
        let answered = self.send(ask, body).await?;
        match answered.answer {
            Answer::Refused(refusal) => Err(refusal.sorted(ask, &self.config)),
            Answer::Good(reply) => {
                let whole = reply.collect(limit).await;
                whole.map_err(|e| self.failed(ask, e, answered.doubt))
            }
        }
    }

    async fn request(&self, ask: &Ask, body: Body) -> Result<(Request<Body>, u64), StoreError> {
        let invalid = |reason: String| StoreError::Invalid { what: ask.what(), reason };
        let mut request = Request::new(body);
        *request.method_mut() = ask.method.clone();
        *request.uri_mut() = self.uri(ask).parse().map_err(|e| invalid(format!("{e}")))?;
        for (name, value) in &ask.headers {
            let value =
                HeaderValue::from_str(value).map_err(|e| invalid(format!("{name}: {e}")))?;
            request.headers_mut().insert(name.clone(), value);
        }
        let (mut head, body) = request.into_parts();
        let generation = self.identity.sign(&ask.what(), &mut head).await?;
        // Unsigned: what stands between may rewrite it.
        head.headers.insert(http::header::USER_AGENT, HeaderValue::from_static(AGENT));
        Ok((Request::from_parts(head, body), generation))
    }

    fn uri(&self, ask: &Ask) -> String {
        let (scheme, authority, path) = (&self.scheme, &self.authority, &self.path);
        let mut uri = format!("{scheme}://{authority}{}", utf8_percent_encode(path, PATH));
        uri.push('/');
        if let Some(key) = &ask.key {
            uri.extend(utf8_percent_encode(key, PATH));
        }
        for (i, (name, value)) in ask.query.iter().enumerate() {
            uri.push(if i == 0 { '?' } else { '&' });
            uri.push_str(name);
            uri.push('=');
            uri.extend(utf8_percent_encode(value, QUERY));
        }
        uri
    }
}

/// Reads the error document of a refusal. One that cannot be read leaves the status alone, from
/// which nothing is concluded that a document would have had to say.
async fn answer_of(reply: Reply) -> Answer {
    if reply.status.is_success() {
        return Answer::Good(reply);
    }
    let (status, headers) = (reply.status, reply.headers.clone());
    let body = match reply.collect(ERROR_BYTES).await {
        Ok(whole) => whole.into_body(),
        Err(_) => Bytes::new(),
    };
    Answer::Refused(Refusal::new(status, &headers, &body))
}
