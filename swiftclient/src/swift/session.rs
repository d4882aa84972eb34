//! Requests with a token that is still good.
//!
//! ```text
//!   ask ──► token in hand? ──► request ──► 401 ──► renew (once) ──► request again ──► 401: Denied
//!               │ no, or near its end                ▲
//!               └──► renew ─────── one at a time ────┘
//! ```
//!
//! Invariants
//! 1. One renewal at a time; whoever waits for it takes its outcome, its error too, so that an
//!    identity service that is away is not asked by each of a thousand requests in turn.
//! 2. A token is renewed before it ends, and once where the store refuses it earlier (a restarted
//!    cache, a revoked token). One that was refused before it ever served is no good: `Denied`.
//! 3. A renewal that fails while the old token still lives fails nobody.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE},
};
use parking_lot::RwLock;
use url::Url;

use super::{
    bulk::quoted,
    config::{Auth, SwiftConfig},
    keystone,
    refusal::{self, Doing},
};
use crate::{
    StoreError,
    http::{Body, HttpClient, HttpConfig, HttpError, Reply, Way},
    limits::{DOCUMENT_BYTES, SWIFT_TOKEN_MARGIN},
    seam::Env,
};

/// A token and where it is good.
pub(super) struct Grant {
    token: HeaderValue,
    /// Without a final `/`.
    storage: String,
    /// When to get the next one, by the monotonic clock.
    renew_at: Option<Duration>,
    ends_at: Option<Duration>,
    /// The store has taken it at least once.
    served: AtomicBool,
}

/// The renewals so far, and what the last one said.
#[derive(Default)]
struct Renewals {
    done: u64,
    failed: Option<StoreError>,
}

pub(super) struct Session {
    http: HttpClient,
    auth: Auth,
    storage_url: Option<Url>,
    env: Env,
    grant: RwLock<Option<Arc<Grant>>>,
    renewals: tokio::sync::Mutex<Renewals>,
    /// `renewals.done`, to be read without waiting.
    done: std::sync::atomic::AtomicU64,
}

/// One request.
pub(super) struct Ask<'a> {
    pub method: Method,
    /// Empty: the account.
    pub container: &'a str,
    /// Empty: the container.
    pub object: &'a str,
    /// Without `?`; encoded.
    pub query: String,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub doing: Doing,
    pub way: Way,
}

impl<'a> Ask<'a> {
    pub(super) fn new(method: Method, container: &'a str, object: &'a str) -> Self {
        let reads = [Method::GET, Method::HEAD].contains(&method);
        let doing = if reads { Doing::Reading } else { Doing::Writing };
        Self {
            method,
            container,
            object,
            query: String::new(),
            headers: Vec::new(),
            doing,
            way: Way::Kept,
        }
    }

    pub(super) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Over a connection of its own: what comes is the answer to nothing else.
    pub(super) fn alone(mut self) -> Self {
        self.way = Way::New;
        self
    }

    pub(super) fn query(mut self, query: String) -> Self {
        self.query = query;
        self
    }

    /// For errors.
    pub(super) fn what(&self) -> String {
        let path = match (self.container, self.object) {
            ("", _) => "the account".to_owned(),
            (container, "") => container.to_owned(),
            (container, object) => format!("{container}/{object}"),
        };
        format!("{} {path}", self.method)
    }

    fn uri(&self, storage: &str) -> String {
        let mut uri = storage.to_owned();
        for part in [self.container, self.object] {
            if !part.is_empty() {
                uri.push('/');
                uri.push_str(&quoted(part));
            }
        }
        if !self.query.is_empty() {
            uri.push('?');
            uri.push_str(&self.query);
        }
        uri
    }

    fn request(&self, grant: &Grant, body: Body) -> Result<Request<Body>, StoreError> {
        let mut request = Request::builder()
            .method(self.method.clone())
            .uri(self.uri(&grant.storage))
            .header(X_AUTH_TOKEN, grant.token.clone());
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        // hyper says nothing of an empty body; Swift wants to hear it (411).
        if body.is_empty() && [Method::PUT, Method::POST].contains(&self.method) {
            request = request.header(CONTENT_LENGTH, HeaderValue::from(0));
        }
        request.body(body).map_err(|e| invalid(&self.what(), &e))
    }
}

const X_AUTH_TOKEN: HeaderName = HeaderName::from_static("x-auth-token");

fn invalid(what: &str, e: &dyn std::fmt::Display) -> StoreError {
    StoreError::Invalid { what: what.to_owned(), reason: e.to_string() }
}

impl Session {
    pub(super) fn new(config: &SwiftConfig, env: &Env) -> Result<Self, StoreError> {
        let http = HttpConfig {
            extra_ca: config.extra_ca.clone(),
            ca_setting: "OS_CACERT",
            idle_timeout: config.idle_timeout,
            ..HttpConfig::default()
        };
        Ok(Self {
            http: HttpClient::new(&http)?,
            auth: config.auth.clone(),
            storage_url: config.storage_url.clone(),
            env: env.clone(),
            grant: RwLock::new(None),
            renewals: tokio::sync::Mutex::default(),
            done: std::sync::atomic::AtomicU64::new(0),
        })
    }

    /// An answer was not its request's.
    pub(super) fn distrust(&self) {
        self.http.distrust();
    }

    /// Sends it; gives the reply whatever its status, except 401: that one is answered with a new
    /// token, once. `body` is made anew for each try.
    pub(super) async fn send(
        &self,
        ask: &Ask<'_>,
        body: impl Fn() -> Body,
    ) -> Result<Reply, StoreError> {
        let grant = self.grant().await?;
        let reply = self.once(ask, &grant, body()).await?;
        if reply.status != StatusCode::UNAUTHORIZED {
            grant.served.store(true, Ordering::Relaxed);
            return Ok(reply);
        }
        let grant = self.renewed(&grant, &ask.what()).await?;
        let reply = self.once(ask, &grant, body()).await?;
        if reply.status != StatusCode::UNAUTHORIZED {
            grant.served.store(true, Ordering::Relaxed);
            return Ok(reply);
        }
        Err(self.refused_for_good(&ask.what()))
    }

    /// The same with the whole reply, up to `limit` bytes of body.
    pub(super) async fn call(
        &self,
        ask: &Ask<'_>,
        body: impl Fn() -> Body,
        limit: usize,
    ) -> Result<Response<Bytes>, StoreError> {
        let reply = self.send(ask, body).await?;
        reply.collect(limit).await.map_err(|e| self.broken(ask, e))
    }

    /// Sends it once, with the token in hand: for a body that cannot be sent again. A 401 is given
    /// back.
    pub(super) async fn stream(
        &self,
        ask: &Ask<'_>,
        grant: &Grant,
        body: Body,
    ) -> Result<Response<Bytes>, StoreError> {
        let reply = self.once(ask, grant, body).await?;
        if reply.status != StatusCode::UNAUTHORIZED {
            grant.served.store(true, Ordering::Relaxed);
        }
        reply.collect(DOCUMENT_BYTES).await.map_err(|e| self.broken(ask, e))
    }

    /// A request to the same server without a token, outside the account: `/info`.
    pub(super) async fn info(&self) -> Result<Response<Bytes>, StoreError> {
        let grant = self.grant().await?;
        // The account's path is `[/PREFIX]/v1[/ACCOUNT]`.
        let root = grant.storage.rfind("/v1").map_or("", |at| &grant.storage[..at]);
        let what = "GET /info";
        let request = Request::get(format!("{root}/info")).body(Body::Empty);
        let reply = self.http.call(request.map_err(|e| invalid(what, &e))?, DOCUMENT_BYTES).await;
        reply.map_err(|e| e.into_store(what, false))
    }

    async fn once(&self, ask: &Ask<'_>, grant: &Grant, body: Body) -> Result<Reply, StoreError> {
        let request = ask.request(grant, body)?;
        let reply = self.http.send_by(request, ask.way).await;
        let reply = reply.map_err(|e| self.broken(ask, e))?;
        // Swift (its middleware catch_errors, always on) and RGW put it in every answer. A balancer
        // that has lost its way says 404 as well, and that is no absence (R3).
        if reply.status == StatusCode::NOT_FOUND && reply.header("x-trans-id").is_none() {
            return Err(StoreError::Unavailable {
                what: ask.what(),
                reason: format!(
                    "404 without X-Trans-Id, so not from Swift: check what {} leads to",
                    self.auth.setting()
                ),
                retry_after: None,
            });
        }
        Ok(reply)
    }

    /// A request without a reply, in the words of a store.
    pub(super) fn broken(&self, ask: &Ask<'_>, error: HttpError) -> StoreError {
        match error.into_store(ask.what(), ask.doing == Doing::Writing) {
            StoreError::Denied { what, reason } => {
                let reason = format!("{reason} (the address came with {})", self.auth.setting());
                StoreError::Denied { what, reason }
            }
            other => other,
        }
    }

    fn refused_for_good(&self, what: &str) -> StoreError {
        StoreError::Denied {
            what: what.to_owned(),
            reason: format!("401: the token was not taken: check {}", self.auth.secrets()),
        }
    }

    /// A token with time left.
    pub(super) async fn grant(&self) -> Result<Arc<Grant>, StoreError> {
        let (now, seen) = (self.env.clock.monotonic(), self.done.load(Ordering::Acquire));
        let old = self.grant.read().clone();
        let Some(grant) = old else { return self.renew(None, seen).await };
        if grant.renew_at.is_none_or(|at| now < at) {
            return Ok(grant);
        }
        if grant.ends_at.is_some_and(|at| now < at) {
            // Still good: whoever comes first renews it, the others go on.
            if self.renewals.try_lock().is_err() {
                return Ok(grant);
            }
            return match self.renew(Some(&grant), seen).await {
                Err(error) if error.is_transient() => {
                    tracing::warn!(%error, "the token could not be renewed yet");
                    Ok(grant)
                }
                other => other,
            };
        }
        self.renew(Some(&grant), seen).await
    }

    /// Another token in place of one that the store did not take.
    ///
    /// Errors: `Denied` where that one had never served.
    pub(super) async fn renewed(
        &self,
        refused: &Arc<Grant>,
        what: &str,
    ) -> Result<Arc<Grant>, StoreError> {
        let seen = self.done.load(Ordering::Acquire);
        let newer = self.grant.read().clone().filter(|g| !Arc::ptr_eq(g, refused));
        if let Some(grant) = newer {
            return Ok(grant);
        }
        let ready = matches!(self.auth, Auth::Token { .. });
        if ready || !refused.served.load(Ordering::Relaxed) {
            return Err(self.refused_for_good(what));
        }
        self.renew(Some(refused), seen).await
    }

    /// Asks for a token in place of `old`, unless another has done so since `seen`.
    async fn renew(&self, old: Option<&Arc<Grant>>, seen: u64) -> Result<Arc<Grant>, StoreError> {
        let mut renewals = self.renewals.lock().await;
        let now = self.grant.read().clone();
        if let Some(grant) = now
            && old.is_none_or(|old| !Arc::ptr_eq(old, &grant))
        {
            return Ok(grant);
        }
        if renewals.done != seen
            && let Some(error) = &renewals.failed
        {
            return Err(error.clone());
        }
        let asked = self.authenticate().await;
        renewals.done += 1;
        self.done.store(renewals.done, Ordering::Release);
        renewals.failed = asked.as_ref().err().cloned();
        let grant = Arc::new(asked?);
        *self.grant.write() = Some(Arc::clone(&grant));
        Ok(grant)
    }

    async fn authenticate(&self) -> Result<Grant, StoreError> {
        match &self.auth {
            Auth::Token { token, storage_url } => {
                self.granted(&token.0, Some(storage_url.clone()), None)
            }
            Auth::V1 { url, user, key } => {
                let request = Request::get(url.as_str())
                    .header("x-auth-user", user)
                    .header("x-auth-key", sensitive(&key.0, self.auth.secrets())?)
                    .body(Body::Empty)
                    .map_err(|e| invalid("ST_USER", &e))?;
                let reply = self.identity(url, request).await?;
                let header = |name: &str| reply.headers().get(name).and_then(|v| v.to_str().ok());
                let (Some(token), Some(storage)) =
                    (header("x-auth-token"), header("x-storage-url"))
                else {
                    return Err(self.no_identity(url, "its answer has no X-Auth-Token"));
                };
                let storage = Url::parse(storage)
                    .map_err(|e| self.no_identity(url, &format!("X-Storage-Url: {e}")))?;
                let life = header("x-auth-token-expires").and_then(|s| s.parse().ok());
                self.granted(token, Some(storage), life.map(Duration::from_secs))
            }
            Auth::Keystone { url, credential, region, interface } => {
                let document = keystone::request(credential).map_err(|e| invalid("OS_*", &e))?;
                let mut at = url.clone();
                at.set_path(&format!("{}/auth/tokens", url.path()));
                let request = Request::post(at.as_str())
                    .header(CONTENT_TYPE, "application/json")
                    .header(ACCEPT, "application/json")
                    .body(Body::from(Bytes::from(document)))
                    .map_err(|e| invalid("OS_AUTH_URL", &e))?;
                let reply = self.identity(&at, request).await?;
                let token = reply.headers().get("x-subject-token").and_then(|v| v.to_str().ok());
                let Some(token) = token else {
                    return Err(self.no_identity(&at, "its answer has no X-Subject-Token"));
                };
                let found = keystone::granted(reply.body(), interface, region.as_deref())
                    .map_err(|reason| self.no_identity(&at, &reason))?;
                self.granted(token, found.storage_url, found.life)
            }
        }
    }

    /// What an identity service said, where it gave a token.
    async fn identity(
        &self,
        url: &Url,
        request: Request<Body>,
    ) -> Result<Response<Bytes>, StoreError> {
        let setting = self.auth.setting();
        let what = format!("a token from {url} ({setting})");
        let reply = match self.http.call(request, DOCUMENT_BYTES).await {
            Ok(reply) => reply,
            // Asking again for a token changes nothing: never `Unknown`.
            Err(e) => return Err(e.into_store(what, false)),
        };
        match reply.status().as_u16() {
            200..=299 => Ok(reply),
            status @ (401 | 403) => Err(StoreError::Denied {
                what,
                reason: format!(
                    "{status}: wrong user, key or project: check {}{}",
                    self.auth.secrets(),
                    refusal::said(reply.body())
                ),
            }),
            status @ (300..=400 | 404..=407 | 410..=417) => {
                Err(self.no_identity(url, &format!("{status}")))
            }
            _ => Err(refusal::sorted(what, Doing::Reading, &reply)),
        }
    }

    fn no_identity(&self, url: &Url, seen: &str) -> StoreError {
        StoreError::Denied {
            what: format!("a token from {url} ({})", self.auth.setting()),
            reason: format!("{seen}: check {}", self.auth.setting()),
        }
    }

    fn granted(
        &self,
        token: &str,
        storage: Option<Url>,
        life: Option<Duration>,
    ) -> Result<Grant, StoreError> {
        let Some(storage) = self.storage_url.clone().or(storage) else {
            return Err(StoreError::Denied {
                what: "a token".into(),
                reason: "the catalog has no object-store: the project has none, or set \
                         OS_STORAGE_URL"
                    .into(),
            });
        };
        let now = self.env.clock.monotonic();
        let margin = |life: Duration| (life / 10).min(SWIFT_TOKEN_MARGIN);
        Ok(Grant {
            token: sensitive(token, "the token")?,
            storage: storage.as_str().trim_end_matches('/').to_owned(),
            renew_at: life.map(|life| now + life - margin(life)),
            ends_at: life.map(|life| now + life),
            served: AtomicBool::new(false),
        })
    }
}

fn sensitive(text: &str, whence: &str) -> Result<HeaderValue, StoreError> {
    let mut value = HeaderValue::from_str(text).map_err(|e| invalid(whence, &e))?;
    value.set_sensitive(true);
    Ok(value)
}
