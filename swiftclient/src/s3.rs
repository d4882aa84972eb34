//! Objects in a bucket of an S3 store: AWS, MinIO, Ceph RGW and others.
//!
//! ```text
//!   seven verbs ─► request: one signed HTTP request ─► http ─► the store
//!                    │ identity: who we are, renewed      │
//!                    ▼                                    ▼
//!   put: attested ◄─ answer: status, code, region ─► StoreError, by what the caller must do
//! ```
//!
//! It must never know: segments, volumes, what an object means.
//!
//! Invariants
//! 1. An object is created by one PUT of known length with `If-None-Match: *`; nothing here ever
//!    overwrites one.
//! 2. `Ok` of a put means that a digest which the *store* computed over what it holds equals ours:
//!    its ETag is our MD5, or its CRC-32C is ours on a store that was seen to refuse a wrong one;
//!    failing both, the object was read back and compared.
//! 3. [`NotFound`](crate::StoreError::NotFound) is said only where the store's own error document
//!    says `NoSuchKey` (R3): a missing bucket, a proxy's 404 and a bare HEAD are not that.
//!    An absence is asked about again, over a connection of its own, and so is an answer that cannot
//!    be its request's: on a connection that is one answer behind, each is the request's before it.
//! 4. A put that may have reached the store never ends as *nothing happened*.
//! 5. Credentials come from the environment and what it names; they are in no error, log or URL.
//!
//! What stores do that the API does not say (each seen, on the version named):
//! - *AWS* answers 409 `ConditionalRequestConflict` to a conditional PUT that meets another one (or
//!   a delete): nothing was stored, try again. It answers 403 for an absent key to whoever may not
//!   list the bucket. ETags under SSE-KMS and SSE-C, and in S3 Express, are not MD5.
//! - *MinIO* 2026-02: condition and commit under one lock; 16 racers leave one winner. ETags are
//!   MD5. 503 `SlowDownWrite` also means that its drives failed: nothing can be concluded. A PUT
//!   without a length is 411, DeleteObjects without Content-MD5 or checksum is 400.
//! - *Ceph RGW* 16.2: atomic too, but losers of a race are answered 500 as often as 412. ETags are
//!   MD5. It ignores `x-amz-checksum-crc32c`, so that only Content-MD5 protects what is sent. Its
//!   front end leaves Nagle's algorithm on. `QuotaExceeded` comes as 403.
//! - *Swift's s3api* 2.30 answers 501 to a conditional PUT; 2.38 answers 412, but not atomically.
//! - *Garage* 2.5 ignores the condition and replaces the object: only a probe tells.
//! - None of them but AWS and MinIO take checksums in trailers, or a body of unknown length: neither
//!   is used here.

mod answer;
mod config;
mod delete;
mod documents;
mod get;
mod identity;
mod list;
mod put;
mod request;
mod store;

pub use config::{Addressing, S3Config};
pub use store::S3;

/// A door for the tests that throw bytes at decoders: every document that a store may send. Gives
/// how many keys a page of a listing names, if it is one.
#[doc(hidden)]
pub fn fuzz(document: &[u8]) -> Option<usize> {
    let _ = documents::error(document);
    let _ = documents::deleted(document);
    documents::page(document).ok().map(|page| page.contents.len())
}

#[cfg(test)]
mod tests;
