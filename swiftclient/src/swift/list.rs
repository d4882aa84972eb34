//! Listing over HTTP: `GET container?format=json&prefix=…&marker=…&limit=…`.

use http::Method;
use serde::Deserialize;

use super::{
    Inner,
    bulk::quoted,
    containers::{TRUE, X_NEWEST},
    listing::{Listed, Listing, Wanted},
    refusal,
    session::Ask,
};
use crate::{ObjectName, StoreError, StoreFuture, http::Body, limits::SWIFT_LIST_BYTES};

/// A row of a listing; the rest is of no use here. In text form a foreign name with a line feed
/// would be two.
#[derive(Deserialize)]
struct Row {
    name: Option<String>,
}

pub(super) fn names(body: &[u8], what: &str) -> Result<Vec<String>, StoreError> {
    // 204 has no body at all.
    if body.trim_ascii().is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<Row> = serde_json::from_slice(body).map_err(|e| StoreError::Corrupt {
        what: what.to_owned(),
        reason: format!("no listing: {e}"),
    })?;
    Ok(rows.into_iter().filter_map(|row| row.name).collect())
}

impl Inner {
    pub(super) async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ObjectName>, StoreError> {
        let page = self.info().await.listing;
        let wanted = Wanted { prefix, after, limit, page };
        Listing::run(&self.layout, self, wanted).await
    }

    /// One page; nothing where there is no such container (or account).
    pub(super) async fn page(
        &self,
        container: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, StoreError> {
        let mut query = format!("format=json&limit={limit}&prefix={}", quoted(prefix));
        if let Some(after) = after {
            query.push_str("&marker=");
            query.push_str(&quoted(after));
        }
        let ask = Ask::new(Method::GET, container, "").query(query).header(X_NEWEST, TRUE);
        // Nothing in a page tells which listing it belongs to.
        let ask = ask.alone();
        let reply = self.session.call(&ask, || Body::Empty, SWIFT_LIST_BYTES).await?;
        match reply.status().as_u16() {
            200..=299 => names(reply.body(), &ask.what()),
            404 => Ok(Vec::new()),
            _ => Err(refusal::sorted(ask.what(), ask.doing, &reply)),
        }
    }
}

impl Listed for Inner {
    fn containers<'a>(&'a self, prefix: &'a str) -> StoreFuture<'a, Vec<String>> {
        Box::pin(async move {
            let limit = self.info().await.listing;
            let mut all: Vec<String> = self.containers.with_prefix(prefix);
            let mut after: Option<String> = None;
            loop {
                let page = self.page("", prefix, after.as_deref(), limit).await?;
                let last = page.last().cloned();
                let ended = page.len() < limit || last <= after;
                all.extend(page);
                if ended {
                    break;
                }
                after = last;
            }
            all.sort();
            all.dedup();
            Ok(all)
        })
    }

    fn objects<'a>(
        &'a self,
        container: &'a str,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> StoreFuture<'a, Vec<String>> {
        Box::pin(self.page(container, prefix, after, limit))
    }
}
