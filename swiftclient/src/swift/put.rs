//! Putting what is known beforehand.

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Response, header};
use md5::{Digest, Md5};

use super::{
    Inner,
    containers::{TRUE, X_NEWEST},
    place::Place,
    refusal,
    session::Ask,
};
use crate::{
    ObjectName, StoreError,
    disk::Disk,
    http::{Body, SourceFile},
    limits::DOCUMENT_BYTES,
    local::read_pieces,
};

/// CRC-32C of the object as eight hexadecimal digits, kept beside it: whoever reads back after an
/// unknown outcome compares this instead of fetching everything.
pub(super) const X_CRC: HeaderName = HeaderName::from_static("x-object-meta-crc32c");

/// MD5, CRC-32C and length of an object.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Print {
    pub md5: String,
    pub crc32c: u32,
    pub len: u64,
}

/// A [`Print`] in the making.
pub(super) struct Printing {
    md5: Md5,
    crc32c: crc_fast::Digest,
    len: u64,
}

impl Printing {
    pub(super) fn new() -> Self {
        let crc32c = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
        Self { md5: Md5::new(), crc32c, len: 0 }
    }

    pub(super) fn add(&mut self, piece: &[u8]) {
        self.md5.update(piece);
        self.crc32c.update(piece);
        self.len += piece.len() as u64;
    }

    pub(super) fn done(self) -> Print {
        let md5 = self.md5.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        // The 32-bit checksums fill the lower half.
        let crc32c = u32::try_from(self.crc32c.finalize()).unwrap_or(0);
        Print { md5, crc32c, len: self.len }
    }
}

pub(super) fn text(value: &str) -> Result<HeaderValue, StoreError> {
    HeaderValue::from_str(value)
        .map_err(|e| StoreError::Invalid { what: "a header".into(), reason: e.to_string() })
}

/// The MD5 that an answer names; some servers put it in quotes.
pub(super) fn etag<B>(reply: &Response<B>) -> Option<&str> {
    Some(reply.headers().get(header::ETAG)?.to_str().ok()?.trim_matches('"'))
}

/// A create-only PUT, without what depends on its bytes.
pub(super) fn create<'a>(place: &'a Place) -> Ask<'a> {
    Ask::new(Method::PUT, &place.container, &place.object)
        .header(header::IF_NONE_MATCH, HeaderValue::from_static("*"))
        // Otherwise Swift guesses one by the name.
        .header(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"))
}

impl Inner {
    pub(super) async fn put_pieces(
        &self,
        name: &ObjectName,
        pieces: Vec<Bytes>,
    ) -> Result<(), StoreError> {
        let mut printing = Printing::new();
        for piece in &pieces {
            printing.add(piece);
        }
        self.put(name, &printing.done(), || Body::Pieces(pieces.clone())).await
    }

    pub(super) async fn put_file(
        &self,
        name: &ObjectName,
        disk: &Arc<dyn Disk>,
        file: &Path,
        len: u64,
    ) -> Result<(), StoreError> {
        // Read twice, the second time from the page cache: the server can only refuse a body that
        // came differently if it is told beforehand what should come.
        let print = || {
            let mut printing = Printing::new();
            read_pieces(disk.as_ref(), file, len, |_, piece| {
                printing.add(&piece);
                Ok(())
            })?;
            Ok(printing.done())
        };
        let before = print()?;
        let source = SourceFile { disk: Arc::clone(disk), path: file.to_owned(), len };
        let put = self.put(name, &before, || Body::File(source.clone())).await;
        match put {
            Err(e @ StoreError::Unavailable { .. }) if print()? != before => {
                Err(StoreError::Corrupt {
                    what: format!("put {name}"),
                    reason: format!("{} changed meanwhile: {e}", file.display()),
                })
            }
            other => other,
        }
    }

    async fn put(
        &self,
        name: &ObjectName,
        print: &Print,
        body: impl Fn() -> Body,
    ) -> Result<(), StoreError> {
        let place = self.layout.place(name);
        let ask = create(&place)
            .header(header::ETAG, text(&print.md5)?)
            .header(X_CRC, text(&format!("{:08x}", print.crc32c))?);
        let mut again = true;
        loop {
            self.containers.ensure(&self.session, &place.container).await?;
            self.absent_for_create(name, &place).await?;
            let reply = self.session.call(&ask, &body, DOCUMENT_BYTES).await?;
            if reply.status() == http::StatusCode::NOT_FOUND {
                // The container went since it was seen, or a proxy remembers that there was none.
                self.containers.forget(&place.container);
                if again {
                    again = false;
                    continue;
                }
            }
            return self.judge(name, &place, print, &reply).await;
        }
    }

    /// True where the server looks at `If-None-Match` at all (RGW's Swift API does not, and says
    /// nothing of it). Swift takes no other value than `*` and says so (400) before it looks for
    /// anything; whoever ignores the header finds that there is no such container.
    async fn honours_conditions(&self) -> bool {
        let ask = || async {
            let container = format!("{}_none", self.layout.base());
            let ask = Ask::new(Method::PUT, &container, "none")
                .header(header::IF_NONE_MATCH, HeaderValue::from_static("\"none\""));
            match self.session.call(&ask, || Body::Empty, DOCUMENT_BYTES).await {
                Ok(reply) if reply.status().is_server_error() => Err(()),
                Ok(reply) => Ok(reply.status() == http::StatusCode::BAD_REQUEST),
                Err(_) => Err(()),
            }
        };
        self.honours.get_or_try_init(ask).await.copied().unwrap_or(false)
    }

    /// Where the server will not look, this looks beforehand: enough for one who is alone, which is
    /// what a plain store asks for.
    ///
    /// Errors: `Exists`.
    pub(super) async fn absent_for_create(
        &self,
        name: &ObjectName,
        place: &Place,
    ) -> Result<(), StoreError> {
        if self.honours_conditions().await {
            return Ok(());
        }
        let ask = Ask::new(Method::HEAD, &place.container, &place.object).header(X_NEWEST, TRUE);
        let ask = ask.alone();
        let reply = self.session.call(&ask, || Body::Empty, DOCUMENT_BYTES).await?;
        match reply.status().as_u16() {
            404 => Ok(()),
            200..=299 => Err(StoreError::Exists { name: name.to_string() }),
            _ => Err(refusal::sorted(ask.what(), ask.doing, &reply)),
        }
    }

    /// What the answer to a create-only PUT means.
    pub(super) async fn judge(
        &self,
        name: &ObjectName,
        place: &Place,
        print: &Print,
        reply: &Response<Bytes>,
    ) -> Result<(), StoreError> {
        let what = format!("put {name}");
        match reply.status().as_u16() {
            201 if etag(reply) == Some(&print.md5) => Ok(()),
            201 => self.settle(name, place, print, etag(reply)).await,
            412 => Err(StoreError::Exists { name: name.to_string() }),
            404 => Err(StoreError::Unavailable {
                what,
                reason: format!("404: the store sees no container {}", place.container),
                retry_after: None,
            }),
            _ => Err(refusal::sorted(what, refusal::Doing::Writing, reply)),
        }
    }

    /// The store said *created*, and named another MD5 than ours, or none. It is asked again; what
    /// it holds instead of ours is removed, so that the name is free for the right bytes: this put
    /// made it, nobody was told of it.
    async fn settle(
        &self,
        name: &ObjectName,
        place: &Place,
        print: &Print,
        said: Option<&str>,
    ) -> Result<(), StoreError> {
        let what = format!("put {name}");
        let head = Ask::new(Method::HEAD, &place.container, &place.object).header(X_NEWEST, TRUE);
        let reply = self.session.call(&head, || Body::Empty, DOCUMENT_BYTES).await;
        let unknown = |reason: String| StoreError::Unknown { what: what.clone(), reason };
        let reply = reply.map_err(|e| unknown(format!("created, but as what? {e}")))?;
        let held = etag(&reply).map(str::to_owned);
        let (ours, seen) = (&print.md5, held.as_deref().unwrap_or("no MD5"));
        match reply.status().as_u16() {
            200..=299 if held.as_ref() == Some(ours) => return Ok(()),
            200..=299 if held.is_some() && (said.is_none() || held.as_deref() == said) => {}
            404 => return Err(unknown("created, and then not found".into())),
            status => return Err(unknown(format!("created, then {status} with {seen}"))),
        }
        let reason = format!("the store held other bytes (MD5 {seen}) than were sent ({ours})");
        tracing::error!(%name, reason, "a damaged object is removed");
        match self.delete_one(place).await {
            Ok(()) => Err(StoreError::Unavailable { what, reason, retry_after: None }),
            Err(e) => {
                let reason = format!("{reason}, and it could not be removed: {e}");
                Err(StoreError::Corrupt { what, reason })
            }
        }
    }
}
