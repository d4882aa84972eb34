//! Listing: ListObjectsV2, page after page.

use http::Method;

use super::{
    documents,
    request::{Ask, Door},
};
use crate::{
    ObjectName, StoreError, Verb,
    http::{Body, Way},
    limits::{DOCUMENT_BYTES, S3_PAGE},
};

impl Door {
    /// The first key below the prefix, of whatever form.
    pub(super) async fn first(&self) -> Result<Option<String>, StoreError> {
        let ask = Ask::new(Verb::List, Method::GET, "")
            .by(Way::New)
            .query("list-type", "2")
            .query("prefix", self.config.key(""))
            .query("max-keys", "1")
            .query("encoding-type", "url");
        let reply = self.call(&ask, Body::Empty, DOCUMENT_BYTES).await?;
        let corrupt = |reason: String| StoreError::Corrupt { what: ask.what(), reason };
        let page = documents::page(reply.body()).map_err(corrupt)?;
        Ok(page.contents.into_iter().next().map(|listed| listed.key))
    }

    /// Up to `limit` names, each page over a connection of its own: nothing in a page tells which
    /// listing it belongs to, and what it lacks is taken for absent. Each page is asked for by the last key of the one before: what a
    /// continuation token stands for, without a state in the store.
    pub(super) async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ObjectName>, StoreError> {
        let (mut names, mut last) = (Vec::new(), after.map(|a| self.config.key(a)));
        while names.len() < limit {
            let wanted = (limit - names.len()).min(S3_PAGE);
            let mut ask = Ask::new(Verb::List, Method::GET, prefix)
                .by(Way::New)
                .query("list-type", "2")
                .query("prefix", self.config.key(prefix))
                .query("max-keys", wanted.to_string())
                .query("encoding-type", "url");
            if let Some(last) = &last {
                ask = ask.query("start-after", last.clone());
            }
            let reply = self.call(&ask, Body::Empty, DOCUMENT_BYTES).await?;
            let corrupt = |reason: String| StoreError::Corrupt { what: ask.what(), reason };
            let page = documents::page(reply.body()).map_err(corrupt)?;
            if page.contents.len() > wanted {
                return Err(corrupt(format!("{} names, {wanted} asked for", page.contents.len())));
            }
            let ends = !page.is_truncated || page.contents.is_empty();
            for listed in page.contents {
                // A store that ignores where to begin would have us list for ever.
                if last.as_ref().is_some_and(|last| listed.key <= *last) {
                    return Err(corrupt(format!("{} is out of order", listed.key)));
                }
                // What others keep below the prefix under other names is not ours.
                let name = self.config.name(&listed.key).filter(|n| n.starts_with(prefix));
                names.extend(name.and_then(ObjectName::new));
                last = Some(listed.key);
            }
            if ends {
                break;
            }
        }
        Ok(names)
    }
}
