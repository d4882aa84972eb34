//! Putting what still grows: `Transfer-Encoding: chunked`, on a connection of its own.
//!
//! ```text
//!   write ──► 4 pieces ──► the connection's task ──► server
//!   finish ── last chunk ──►                     ◄── 201 and its MD5
//! ```
//!
//! The bytes travel while the object grows; the server shows them once the last chunk has come.
//! Whoever drops the writer breaks the connection without it, and the server discards the part.
//!
//! A server waits only so long for the next piece (`client_timeout` of Swift's proxy: 60 s by
//! default) and then answers 408: whoever streams ends an object that stands still before that.

use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};
use tokio::task::JoinHandle;

use super::{
    Inner,
    place::Place,
    put::{Printing, create},
    session::Grant,
};
use crate::{
    ObjectName, ObjectWriter, StoreError, StoreFuture,
    http::{Body, BodySender},
};

type Answer = Result<Response<Bytes>, StoreError>;

pub(super) struct Writer {
    inner: Arc<Inner>,
    name: ObjectName,
    place: Place,
    grant: Arc<Grant>,
    /// `None` once the body was ended.
    sender: Option<BodySender>,
    answer: Request,
    printing: Printing,
}

/// The request on its way; dropped, its connection is closed.
struct Request(JoinHandle<Answer>);

impl Drop for Request {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Writer {
    /// Begins the request.
    pub(super) async fn open(inner: &Arc<Inner>, name: &ObjectName) -> Result<Self, StoreError> {
        let place = inner.layout.place(name);
        inner.containers.ensure(&inner.session, &place.container).await?;
        inner.absent_for_create(name, &place).await?;
        let grant = inner.session.grant().await?;
        let (sender, body) = Body::channel();
        let (of, at, token) = (Arc::clone(inner), place.clone(), Arc::clone(&grant));
        // A task, so that it moves on while the caller has nothing to write.
        let answer = tokio::spawn(async move {
            let ask = create(&at);
            of.session.stream(&ask, &token, body).await
        });
        Ok(Self {
            inner: Arc::clone(inner),
            name: name.clone(),
            place,
            grant,
            sender: Some(sender),
            answer: Request(answer),
            printing: Printing::new(),
        })
    }

    /// An earlier write failed.
    fn over(&self) -> StoreError {
        StoreError::Invalid {
            what: format!("put {}", self.name),
            reason: "a write failed: the object is sent again by a new writer".into(),
        }
    }

    /// The answer that ended the request, in the words of a store; `whole`: all was sent.
    async fn ended(&mut self, whole: bool) -> Result<(), StoreError> {
        let what = format!("put {}", self.name);
        let answer = match (&mut self.answer.0).await {
            Ok(answer) => answer,
            Err(e) => Err(StoreError::Unknown { what: what.clone(), reason: e.to_string() }),
        };
        let reply = match answer {
            Ok(reply) => reply,
            // Without its last chunk no server keeps it.
            Err(StoreError::Unknown { what, reason }) if !whole => {
                return Err(StoreError::Unavailable { what, reason, retry_after: None });
            }
            Err(e) => return Err(e),
        };
        let again = |reason: &str| StoreError::Unavailable {
            what: what.clone(),
            reason: reason.to_owned(),
            retry_after: None,
        };
        match reply.status() {
            StatusCode::UNAUTHORIZED => {
                self.inner.session.renewed(&self.grant, &what).await?;
                return Err(again("401: the token was renewed: to be sent again from the start"));
            }
            StatusCode::NOT_FOUND => self.inner.containers.forget(&self.place.container),
            status if status.is_success() && !whole => {
                return Err(StoreError::Unknown {
                    what,
                    reason: format!("{status} before the object was whole"),
                });
            }
            _ => {}
        }
        let print = std::mem::replace(&mut self.printing, Printing::new()).done();
        match self.inner.judge(&self.name, &self.place, &print, &reply).await {
            Err(StoreError::Unknown { what, reason }) if !whole => {
                Err(StoreError::Unavailable { what, reason, retry_after: None })
            }
            other => other,
        }
    }
}

impl ObjectWriter for Writer {
    fn write(&mut self, piece: Bytes) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            let Some(sender) = &self.sender else { return Err(self.over()) };
            if !self.answer.0.is_finished() {
                self.printing.add(&piece);
                if sender.send(piece).await.is_ok() {
                    return Ok(());
                }
            }
            // Dropped first: whatever is still to go out must not look whole.
            self.sender = None;
            let name = self.name.to_string();
            self.ended(false).await?;
            let reason = "the store answered before the object was whole".into();
            Err(StoreError::Unknown { what: format!("put {name}"), reason })
        })
    }

    fn finish(mut self: Box<Self>) -> StoreFuture<'static, ()> {
        Box::pin(async move {
            let Some(sender) = self.sender.take() else { return Err(self.over()) };
            let whole = sender.finish().await.is_ok();
            self.ended(whole).await
        })
    }
}
