//! Deleting many.

use std::sync::atomic::Ordering;

use futures_util::{StreamExt, stream};
use http::{HeaderValue, Method, StatusCode, header};

use super::{
    Inner,
    bulk::{self, Fate},
    place::Place,
    refusal,
    session::Ask,
};
use crate::{
    ErrorKind, ObjectName, StoreError, StoreFuture,
    http::Body,
    limits::{DOCUMENT_BYTES, SWIFT_DELETES_AT_ONCE},
};

impl Inner {
    pub(super) async fn delete_many(
        &self,
        names: &[ObjectName],
    ) -> Result<Vec<Result<(), StoreError>>, StoreError> {
        let most = if names.len() > 1 { self.info().await.deletes } else { 0 };
        let mut outcomes = Vec::with_capacity(names.len());
        for batch in names.chunks(most.max(1)) {
            let places: Vec<Place> = batch.iter().map(|name| self.layout.place(name)).collect();
            let bulk = most > 0 && !self.no_bulk.load(Ordering::Relaxed);
            let fates = if bulk { self.delete_bulk(&places).await } else { Ok(None) };
            match fates {
                Ok(fates) => outcomes.push((places, fates)),
                // Whatever the others said is kept.
                Err(e) if e.is_transient() => {
                    let kind = e.kind();
                    let reason = e.to_string();
                    let failed = Fate::Failed(kind, reason);
                    let fates = vec![failed; places.len()];
                    outcomes.push((places, Some(fates)));
                }
                Err(e) => return Err(e),
            }
        }
        self.finished(names, outcomes).await
    }

    /// Single DELETEs for what no bulk delete has settled.
    async fn finished(
        &self,
        names: &[ObjectName],
        batches: Vec<(Vec<Place>, Option<Vec<Fate>>)>,
    ) -> Result<Vec<Result<(), StoreError>>, StoreError> {
        let mut all = Vec::with_capacity(names.len());
        for (places, fates) in batches {
            let fates = fates.unwrap_or_else(|| vec![Fate::Open; places.len()]);
            all.extend(places.into_iter().zip(fates));
        }
        // Boxed: the compiler cannot tell otherwise that these futures may change threads.
        let each: Vec<StoreFuture<'_, ()>> = all
            .into_iter()
            .zip(names)
            .map(|((place, fate), name)| Box::pin(self.settled(name, place, fate)) as _)
            .collect();
        Ok(stream::iter(each).buffered(SWIFT_DELETES_AT_ONCE).collect().await)
    }

    /// One object's outcome.
    async fn settled(&self, name: &ObjectName, place: Place, fate: Fate) -> Result<(), StoreError> {
        match fate {
            Fate::Gone => Ok(()),
            Fate::Open => self.delete_one(&place).await,
            Fate::Failed(kind, reason) => Err(kind.error("delete", name.as_str(), &reason)),
            Fate::Refused(status) if status.starts_with("404") => Ok(()),
            // The token ended meanwhile; alone it is sent with a new one.
            Fate::Refused(status) if status.starts_with("401") => self.delete_one(&place).await,
            Fate::Refused(status) => Err(refused(name, &status)),
        }
    }

    /// One request for all of them; `None`: this store knows no bulk delete.
    async fn delete_bulk(&self, places: &[Place]) -> Result<Option<Vec<Fate>>, StoreError> {
        let body = bytes::Bytes::from(bulk::body(places));
        let ask = Ask::new(Method::POST, "", "")
            .query("bulk-delete".into())
            .header(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"))
            .header(header::ACCEPT, HeaderValue::from_static("application/json"));
        let reply = self.session.call(&ask, || Body::from(body.clone()), DOCUMENT_BYTES).await?;
        let fates = match reply.status().as_u16() {
            200..=299 => bulk::fates(places, reply.body()),
            400 | 404 | 405 | 411 | 412 | 501 => None,
            _ => return Err(refusal::sorted(ask.what(), ask.doing, &reply)),
        };
        if fates.is_none() {
            tracing::info!(status = %reply.status(), "no bulk delete here: one by one");
            self.no_bulk.store(true, Ordering::Relaxed);
        }
        Ok(fates)
    }

    /// 404 is deleted.
    pub(super) async fn delete_one(&self, place: &Place) -> Result<(), StoreError> {
        let ask = Ask::new(Method::DELETE, &place.container, &place.object);
        let reply = self.session.call(&ask, || Body::Empty, DOCUMENT_BYTES).await?;
        match reply.status() {
            StatusCode::NOT_FOUND => Ok(()),
            status if status.is_success() => Ok(()),
            _ => Err(refusal::sorted(ask.what(), ask.doing, &reply)),
        }
    }
}

/// What a status within a bulk answer means (`409 Conflict`).
fn refused(name: &ObjectName, status: &str) -> StoreError {
    let number = status.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
    let mut reply = http::Response::new(bytes::Bytes::new());
    match StatusCode::from_u16(number) {
        Ok(number) => *reply.status_mut() = number,
        Err(_) => return ErrorKind::Unknown.error("delete", name.as_str(), status),
    }
    refusal::sorted(format!("delete {name}"), refusal::Doing::Writing, &reply)
}
