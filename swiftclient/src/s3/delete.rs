//! Deleting: a thousand keys in one request, or one by one where a store cannot.

use std::collections::HashMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Method, StatusCode};
use md5::{Digest, Md5};

use super::{
    answer::Refusal,
    documents,
    request::{Answer, Ask, Door},
};
use crate::{
    ObjectName, StoreError, StoreFuture, Verb,
    http::Body,
    limits::{DOCUMENT_BYTES, SINGLE_DELETES},
};

/// What is said of DeleteObjects by stores that do not have it.
fn unsupported(refusal: &Refusal) -> bool {
    [StatusCode::NOT_IMPLEMENTED, StatusCode::METHOD_NOT_ALLOWED].contains(&refusal.status)
        || ["NotImplemented", "MethodNotAllowed"].contains(&refusal.code.as_str())
}

impl Door {
    /// One DeleteObjects of at most 1000 names, an outcome for each. `None`: the store has no such
    /// request.
    pub(super) async fn delete_batch(
        &self,
        names: &[ObjectName],
    ) -> Result<Option<Vec<Result<(), StoreError>>>, StoreError> {
        let keys: Vec<String> = names.iter().map(|n| self.config.key(n.as_str())).collect();
        let document = Bytes::from(documents::delete(keys.iter().map(String::as_str)));
        let first = names.first().map_or("", |n| n.as_str());
        let about = format!("{first} and {} more", names.len().saturating_sub(1));
        let ask = Ask::new(Verb::Delete, Method::POST, &about)
            .query("delete", "")
            .header("content-type", "application/xml")
            .header("content-md5", BASE64_STANDARD.encode(Md5::digest(&document)));
        let answered = self.send(&ask, document.into()).await?;
        let reply = match answered.answer {
            Answer::Good(reply) => reply,
            Answer::Refused(refusal) if unsupported(&refusal) => return Ok(None),
            Answer::Refused(refusal) => return Err(refusal.sorted(&ask, &self.config)),
        };
        let whole = reply.collect(DOCUMENT_BYTES).await;
        let whole = whole.map_err(|e| e.into_store(ask.what(), true))?;
        let unknown = |reason| StoreError::Unknown { what: ask.what(), reason };
        let result = documents::deleted(whole.body()).map_err(unknown)?;
        let mut failed: HashMap<&str, &documents::Undeleted> = HashMap::new();
        for error in &result.errors {
            failed.insert(&error.key, error);
        }
        let outcome = |(name, key): (&ObjectName, &String)| match failed.get(key.as_str()) {
            None => Ok(()),
            Some(error) => {
                let one = Ask::new(Verb::Delete, Method::DELETE, name.as_str());
                let refusal = Refusal::of_key(error.code.clone(), error.message.clone());
                absent_is_deleted(Err(refusal.sorted(&one, &self.config)))
            }
        };
        Ok(Some(names.iter().zip(&keys).map(outcome).collect()))
    }

    /// Each name by a request of its own, several at a time.
    pub(super) async fn delete_singly(&self, names: &[ObjectName]) -> Vec<Result<(), StoreError>> {
        let deletes = names.iter().map(|name| self.delete_one(name)).collect::<Vec<_>>();
        stream::iter(deletes).buffered(SINGLE_DELETES).collect().await
    }
}

impl Door {
    fn delete_one<'a>(&'a self, name: &'a ObjectName) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let key = self.config.key(name.as_str());
            let ask = Ask::new(Verb::Delete, Method::DELETE, name.as_str()).key(key);
            let done = self.call(&ask, Body::Empty, DOCUMENT_BYTES).await;
            absent_is_deleted(done.map(drop))
        })
    }
}

fn absent_is_deleted(outcome: Result<(), StoreError>) -> Result<(), StoreError> {
    match outcome {
        Err(e) if e.is_not_found() => Ok(()),
        other => other,
    }
}
