//! Creating: one conditional PUT, believed when the store's own digest of it is ours.
//!
//! Which digest: MD5 is understood by every store, as `Content-MD5` before and as the ETag after,
//! but costs about 30 ms of CPU for 16 MiB. CRC-32C costs 2 ms, yet some stores ignore it, and a
//! store that only echoed it would attest nothing. So both are sent until the store has refused a
//! wrong one on trial; from then on CRC-32C alone, believed where the store gives ours back. The
//! first object of some size waits for the trial: else all that go beside it would pay for MD5.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};
use http::{HeaderMap, Method, StatusCode, header};
use md5::Md5;
use tokio::sync::OnceCell;

use super::{
    get::checksum,
    request::{Answer, Ask, Door},
    store::CHECKSUM,
};
use crate::{
    ObjectName, StoreError, Verb,
    disk::Disk,
    http::{Body, SourceFile},
    limits::{COPY_BYTES, DOCUMENT_BYTES, TRIAL_BYTES},
    local::read_pieces,
    probe,
    seam::Env,
};

/// What is put.
pub(super) enum Source<'a> {
    Pieces(Vec<Bytes>),
    File { disk: &'a Arc<dyn Disk>, path: &'a Path, len: u64 },
}

impl Source<'_> {
    fn body(&self) -> Body {
        match self {
            Self::Pieces(pieces) => Body::Pieces(pieces.clone()),
            Self::File { disk, path, len } => {
                let (disk, path, len) = (Arc::clone(disk), path.to_path_buf(), *len);
                Body::File(SourceFile { disk, path, len })
            }
        }
    }

    fn each(&self, mut sink: impl FnMut(&[u8])) -> Result<(), StoreError> {
        match self {
            Self::Pieces(pieces) => pieces.iter().for_each(|piece| sink(piece)),
            Self::File { disk, path, len } => {
                read_pieces(disk.as_ref(), path, *len, |_, piece| {
                    sink(&piece);
                    Ok(())
                })?;
            }
        }
        Ok(())
    }

    fn is_large(&self) -> bool {
        let len = match self {
            Self::Pieces(pieces) => pieces.iter().map(|piece| piece.len() as u64).sum(),
            Self::File { len, .. } => *len,
        };
        len >= TRIAL_BYTES
    }

    fn print(&self, with_md5: bool) -> Result<Print, StoreError> {
        let mut crc = Digest::new(CrcAlgorithm::Crc32Iscsi);
        let mut md5 = with_md5.then(Md5::default);
        let mut len = 0;
        self.each(|piece| {
            len += piece.len() as u64;
            crc.update(piece);
            if let Some(md5) = &mut md5 {
                md5::Digest::update(md5, piece);
            }
        })?;
        let md5 = md5.map(|md5| md5::Digest::finalize(md5).into());
        // The 32-bit checksums fill the lower half.
        let crc32c = u32::try_from(crc.finalize()).unwrap_or(0);
        Ok(Print { len, crc32c, md5 })
    }
}

/// Length and digests of what is put.
struct Print {
    len: u64,
    crc32c: u32,
    md5: Option<[u8; 16]>,
}

/// Whether the store's CRC-32C attests anything.
#[derive(Default)]
pub(super) struct Trust {
    verdict: AtomicU8,
    /// The trial before the first object of some size.
    first: OnceCell<()>,
}

impl Trust {
    const UNTRIED: u8 = 0;
    const CHECKS: u8 = 1;
    const ECHOES: u8 = 2;

    fn get(&self) -> u8 {
        self.verdict.load(Ordering::Relaxed)
    }

    fn set(&self, found: u8) {
        self.verdict.store(found, Ordering::Relaxed);
    }
}

/// How stores say that a checksum is not that of the body: AWS, MinIO, Garage.
const MISMATCH: [&str; 3] = ["BadDigest", "XAmzContentChecksumMismatch", "InvalidDigest"];

fn base64_of(crc32c: u32) -> String {
    BASE64_STANDARD.encode(crc32c.to_be_bytes())
}

fn creation(name: &ObjectName, key: String) -> Ask {
    Ask::new(Verb::Put, Method::PUT, name.as_str())
        .key(key)
        .header("if-none-match", "*")
        .header("content-type", "application/octet-stream")
}

impl Door {
    /// Creates `name`. See [`crate::ObjectStore::put_new`].
    pub(super) async fn put(
        &self,
        env: &Env,
        trust: &Trust,
        name: &ObjectName,
        source: Source<'_>,
    ) -> Result<(), StoreError> {
        if source.is_large() {
            trust.first.get_or_init(|| self.try_checksums(env, trust)).await;
        }
        let print = source.print(trust.get() != Trust::CHECKS)?;
        let mut ask = creation(name, self.config.key(name.as_str()))
            .header(CHECKSUM, base64_of(print.crc32c));
        if let Some(md5) = print.md5 {
            ask = ask.header("content-md5", BASE64_STANDARD.encode(md5));
        }
        let answered = self.send(&ask, source.body()).await?;
        let reply = match answered.answer {
            Answer::Good(reply) => reply,
            Answer::Refused(refusal) => {
                let error = refusal.sorted(&ask, &self.config);
                return Err(if answered.doubt {
                    // The first try may have created it, and this be the answer to its success.
                    StoreError::Unknown { what: ask.what(), reason: error.to_string() }
                } else {
                    error
                });
            }
        };
        let headers = reply.headers.clone();
        let created = reply.status == StatusCode::OK || reply.status == StatusCode::CREATED;
        let whole = reply.collect(DOCUMENT_BYTES).await;
        whole.map_err(|e| e.into_store(ask.what(), true))?;
        if !created {
            let reason = "the store did not say that the object was created".to_owned();
            return Err(StoreError::Unknown { what: ask.what(), reason });
        }
        if self.attested(env, trust, &headers, &print, &source).await? {
            return Ok(());
        }
        self.read_back(&ask, name, &print).await
    }

    /// The store's own digest says that it holds what was sent.
    async fn attested(
        &self,
        env: &Env,
        trust: &Trust,
        headers: &HeaderMap,
        print: &Print,
        source: &Source<'_>,
    ) -> Result<bool, StoreError> {
        let echoed = checksum(headers) == Some(print.crc32c);
        if echoed && trust.get() == Trust::CHECKS {
            return Ok(true);
        }
        let md5 = match print.md5 {
            Some(md5) => md5,
            None => {
                // It did before: another server of the same store, or one that was exchanged.
                tracing::info!("the store stopped giving CRC-32C; back to MD5");
                trust.set(Trust::UNTRIED);
                source.print(true)?.md5.unwrap_or_default()
            }
        };
        let etag = headers.get(header::ETAG).and_then(|e| e.to_str().ok()).unwrap_or("");
        let hex: String = md5.iter().map(|byte| format!("{byte:02x}")).collect();
        let same = etag.trim_matches('"').eq_ignore_ascii_case(&hex);
        if echoed && trust.get() == Trust::UNTRIED && (!same || print.len >= TRIAL_BYTES) {
            self.try_checksums(env, trust).await;
        }
        Ok(same || (echoed && trust.get() == Trust::CHECKS))
    }

    /// Sends an object with a wrong checksum, which a store that checks must refuse. Undecided
    /// where it answers anything else: the next put tries again.
    async fn try_checksums(&self, env: &Env, trust: &Trust) {
        let text = format!("{}checksum-{:016x}", probe::PREFIX, env.random_u64());
        let Some(name) = ObjectName::new(text) else { return };
        let body = Bytes::from_static(b"Esker asks whether checksums are checked\n");
        let wrong = !crc_fast::crc32_iscsi(&body);
        let ask =
            creation(&name, self.config.key(name.as_str())).header(CHECKSUM, base64_of(wrong));
        match self.send(&ask, body.into()).await.map(|a| a.answer) {
            Ok(Answer::Refused(refusal)) if MISMATCH.contains(&refusal.code.as_str()) => {
                tracing::debug!("the store checks CRC-32C: MD5 is no longer needed");
                trust.set(Trust::CHECKS);
            }
            Ok(Answer::Good(_)) => {
                tracing::debug!("the store echoes CRC-32C without checking it");
                trust.set(Trust::ECHOES);
                for outcome in self.delete_singly(std::slice::from_ref(&name)).await {
                    if let Err(error) = outcome {
                        tracing::debug!(%error, "what the trial created stays");
                    }
                }
            }
            Ok(Answer::Refused(refusal)) => tracing::debug!(?refusal, "no verdict on checksums"),
            Err(error) => tracing::debug!(%error, "no verdict on checksums"),
        }
    }

    /// No digest that can be believed came with the answer (SSE-KMS, a store of its own ways).
    async fn read_back(
        &self,
        ask: &Ask,
        name: &ObjectName,
        print: &Print,
    ) -> Result<(), StoreError> {
        // It was created: whatever is not known yet must not sound as if nothing had happened.
        let doubt = |e: StoreError| StoreError::Unknown {
            what: ask.what(),
            reason: format!("created, but it cannot be read back: {e}"),
        };
        let mut crc = Digest::new(CrcAlgorithm::Crc32Iscsi);
        let mut at = 0;
        while at <= print.len {
            // One byte more than there should be: an object that is too long shows.
            let piece = at..(at + COPY_BYTES as u64).min(print.len + 1);
            let bytes = self.get(name, piece).await.map_err(doubt)?;
            if bytes.is_empty() {
                break;
            }
            crc.update(&bytes);
            at += bytes.len() as u64;
        }
        if at == print.len && crc.finalize() == u64::from(print.crc32c) {
            return Ok(());
        }
        Err(StoreError::Corrupt {
            what: ask.what(),
            reason: "what the store holds is not what was put".to_owned(),
        })
    }
}
