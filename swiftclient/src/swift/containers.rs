//! Which containers exist. They are made on first use, by whoever comes first: `PUT container` says
//! 201 or 202 and changes nothing the second time, so that racing makers do no harm.

use std::collections::BTreeSet;

use http::{HeaderName, HeaderValue, Method};
use parking_lot::Mutex;

use super::{
    refusal,
    session::{Ask, Session},
};
use crate::{StoreError, http::Body, limits::DOCUMENT_BYTES};

pub(super) const X_NEWEST: HeaderName = HeaderName::from_static("x-newest");
pub(super) const TRUE: HeaderValue = HeaderValue::from_static("true");

/// Those that this process has made or seen.
#[derive(Default)]
pub(super) struct Containers {
    known: Mutex<BTreeSet<String>>,
    making: tokio::sync::Mutex<()>,
}

impl Containers {
    fn knows(&self, container: &str) -> bool {
        self.known.lock().contains(container)
    }

    /// The store said that it is gone.
    pub(super) fn forget(&self, container: &str) {
        self.known.lock().remove(container);
    }

    /// The known ones whose name begins with `prefix`: the account's own listing lags.
    pub(super) fn with_prefix(&self, prefix: &str) -> Vec<String> {
        let known = self.known.lock();
        known.iter().filter(|name| name.starts_with(prefix)).cloned().collect()
    }

    /// Asks whether it exists.
    pub(super) async fn exists(
        &self,
        session: &Session,
        container: &str,
    ) -> Result<bool, StoreError> {
        let ask = Ask::new(Method::HEAD, container, "").header(X_NEWEST, TRUE).alone();
        let reply = session.call(&ask, || Body::Empty, DOCUMENT_BYTES).await?;
        match reply.status().as_u16() {
            200..=299 => {
                self.known.lock().insert(container.to_owned());
                Ok(true)
            }
            404 => {
                self.forget(container);
                Ok(false)
            }
            _ => Err(refusal::sorted(ask.what(), ask.doing, &reply)),
        }
    }

    /// Makes it unless it is there.
    ///
    /// Errors: `Denied` where there is none and these credentials may not make it.
    pub(super) async fn ensure(
        &self,
        session: &Session,
        container: &str,
    ) -> Result<(), StoreError> {
        if self.knows(container) {
            return Ok(());
        }
        let _one = self.making.lock().await;
        if self.knows(container) {
            return Ok(());
        }
        match self.exists(session, container).await {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            // A write ACL alone does not let one look at the container: the put itself will tell.
            Err(StoreError::Denied { reason, .. }) if reason.starts_with("403") => return Ok(()),
            Err(e) => return Err(e),
        }
        // It may have been made though nobody said so; to make it again is harmless.
        let harmless = |error| match error {
            StoreError::Unknown { what, reason } => {
                StoreError::Unavailable { what, reason, retry_after: None }
            }
            other => other,
        };
        let ask = Ask::new(Method::PUT, container, "");
        let reply = session.call(&ask, || Body::Empty, DOCUMENT_BYTES).await.map_err(harmless)?;
        match reply.status().as_u16() {
            200..=299 => {
                self.known.lock().insert(container.to_owned());
                Ok(())
            }
            status @ 403..=405 => Err(StoreError::Denied {
                what: ask.what(),
                reason: format!(
                    "{status}{}: there is no such container, and this user may not make it: have \
                     it made, or give the user a role that may",
                    refusal::said(reply.body())
                ),
            }),
            _ => Err(harmless(refusal::sorted(ask.what(), ask.doing, &reply))),
        }
    }
}
