//! Reading: ranges checked against what the store says it sent.

use std::ops::Range;

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode, header};

use super::{
    request::{Answer, Ask, Door},
    store::CHECKSUM,
};
use crate::{
    ObjectInfo, ObjectName, StoreError, Verb,
    http::{Body, Reply, Way},
};

/// No object is as long (AWS: 5 TiB), and some servers read larger numbers as negative ones.
const BEYOND: u64 = 1 << 62;

/// A checksum as S3 writes it: big-endian, base64. `None` for one of parts (`…-3`).
pub(super) fn checksum(headers: &HeaderMap) -> Option<u32> {
    let text = headers.get(CHECKSUM)?.to_str().ok()?;
    let bytes = BASE64_STANDARD.decode(text).ok()?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

impl Door {
    /// Length and, where the store keeps it, CRC-32C.
    pub(super) async fn head(&self, name: &ObjectName) -> Result<ObjectInfo, StoreError> {
        let first = self.head_by(name, Way::Kept).await;
        let Some(doubtful) = self.doubtful(&first) else { return first };
        let second = self.head_by(name, Way::New).await;
        self.compare(&doubtful, second)
    }

    async fn head_by(&self, name: &ObjectName, way: Way) -> Result<ObjectInfo, StoreError> {
        let key = self.config.key(name.as_str());
        let ask = Ask::new(Verb::Head, Method::HEAD, name.as_str())
            .key(key)
            .by(way)
            .header("x-amz-checksum-mode", "ENABLED");
        match self.send(&ask, Body::Empty).await?.answer {
            Answer::Good(reply) => {
                let crc32c = checksum(&reply.headers);
                let len =
                    reply.header(header::CONTENT_LENGTH.as_str()).and_then(|l| l.parse().ok());
                let len = len.ok_or_else(|| StoreError::Corrupt {
                    what: ask.what(),
                    reason: "the store told no length".to_owned(),
                })?;
                let whole = reply.collect(0).await;
                whole.map_err(|e| e.into_store(ask.what(), false))?;
                Ok(ObjectInfo { len, crc32c })
            }
            // Only a document can tell an absent object from an absent bucket (R3).
            Answer::Refused(refusal) if refusal.code.is_empty() => self.told(name, &ask).await,
            Answer::Refused(refusal) => Err(refusal.sorted(&ask, &self.config)),
        }
    }

    /// Asks with a GET what a HEAD was refused for; should it be there after all, its length.
    async fn told(&self, name: &ObjectName, ask: &Ask) -> Result<ObjectInfo, StoreError> {
        let get = Ask::new(Verb::Head, Method::GET, name.as_str())
            .key(self.config.key(name.as_str()))
            .header("range", "bytes=0-0")
            .by(ask.way);
        let whole = |total: &str| total.rsplit('/').next().and_then(|l| l.parse().ok());
        let len = match self.send(&get, Body::Empty).await?.answer {
            Answer::Good(reply) if reply.status == StatusCode::PARTIAL_CONTENT => {
                reply.header(header::CONTENT_RANGE.as_str()).and_then(whole)
            }
            Answer::Good(reply) => {
                reply.header(header::CONTENT_LENGTH.as_str()).and_then(|l| l.parse().ok())
            }
            Answer::Refused(r) if r.status == StatusCode::RANGE_NOT_SATISFIABLE => Some(0),
            Answer::Refused(refusal) => return Err(refusal.sorted(ask, &self.config)),
        };
        let untold = || StoreError::Corrupt {
            what: ask.what(),
            reason: "the store told no length".to_owned(),
        };
        Ok(ObjectInfo { len: len.ok_or_else(untold)?, crc32c: None })
    }

    /// Bytes of `range`, its end clipped to the object's.
    pub(super) async fn get(
        &self,
        name: &ObjectName,
        range: Range<u64>,
    ) -> Result<Bytes, StoreError> {
        let first = self.get_by(name, range.clone(), Way::Kept).await;
        let Some(doubtful) = self.doubtful(&first) else { return first };
        let second = self.get_by(name, range, Way::New).await;
        self.compare(&doubtful, second)
    }

    async fn get_by(
        &self,
        name: &ObjectName,
        range: Range<u64>,
        way: Way,
    ) -> Result<Bytes, StoreError> {
        if range.start > range.end {
            let (start, end) = (range.start, range.end);
            return Err(StoreError::Invalid {
                what: format!("get {name}"),
                reason: format!("the range {start}..{end} ends before it begins"),
            });
        }
        if range.is_empty() || range.start >= BEYOND {
            // There are no bytes; whether there is an object is still to be said.
            return self.head_by(name, way).await.map(|_| Bytes::new());
        }
        let mut ask = Ask::new(Verb::Get, Method::GET, name.as_str())
            .key(self.config.key(name.as_str()))
            .by(way);
        ask = if range.start == 0 && range.end >= BEYOND {
            ask.header("x-amz-checksum-mode", "ENABLED")
        } else if range.end >= BEYOND {
            ask.header("range", format!("bytes={}-", range.start))
        } else {
            ask.header("range", format!("bytes={}-{}", range.start, range.end - 1))
        };
        match self.send(&ask, Body::Empty).await?.answer {
            Answer::Good(reply) if reply.status == StatusCode::PARTIAL_CONTENT => {
                partial(&ask, &range, reply).await
            }
            Answer::Good(reply) if reply.status == StatusCode::OK => {
                whole(&ask, &range, reply).await
            }
            Answer::Good(reply) => Err(StoreError::Corrupt {
                what: ask.what(),
                reason: format!("answered by {}", reply.status),
            }),
            Answer::Refused(r) if r.status == StatusCode::RANGE_NOT_SATISFIABLE => Ok(Bytes::new()),
            Answer::Refused(refusal) => Err(refusal.sorted(&ask, &self.config)),
        }
    }
}

/// `bytes 5-9/100` as (first, last, total) (RFC 9110 §14.4).
fn content_range(text: &str) -> Option<(u64, u64, u64)> {
    let (span, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = span.split_once('-')?;
    Some((first.trim().parse().ok()?, last.trim().parse().ok()?, total.trim().parse().ok()?))
}

/// A 206: it must be what was asked for, to the byte.
async fn partial(ask: &Ask, range: &Range<u64>, reply: Reply) -> Result<Bytes, StoreError> {
    let said = reply.header(header::CONTENT_RANGE.as_str()).unwrap_or("").to_owned();
    let wrong = || StoreError::Corrupt {
        what: ask.what(),
        reason: format!("asked for the bytes {}..{}, got {said:?}", range.start, range.end),
    };
    let (first, last, total) = content_range(&said).ok_or_else(wrong)?;
    if first != range.start || last >= total || last.checked_add(1) != Some(range.end.min(total)) {
        return Err(wrong());
    }
    let len = last + 1 - first;
    read(ask, reply, 0, len, len).await
}

/// A 200: the whole object, of which the range is taken.
async fn whole(ask: &Ask, range: &Range<u64>, reply: Reply) -> Result<Bytes, StoreError> {
    let told = reply.header(header::CONTENT_LENGTH.as_str()).and_then(|l| l.parse().ok());
    let crc32c = checksum(&reply.headers);
    let len: u64 = told.unwrap_or(u64::MAX);
    let end = range.end.min(len);
    let start = range.start.min(end);
    let bytes = read(ask, reply, start, end - start, len).await?;
    let all = start == 0 && bytes.len() as u64 == len;
    match crc32c {
        Some(said) if all && said != crc_fast::crc32_iscsi(&bytes) => Err(StoreError::Corrupt {
            what: ask.what(),
            reason: "the bytes do not have the checksum that the store keeps of them".to_owned(),
        }),
        _ => Ok(bytes),
    }
}

/// Skips `skip` bytes of a body of `len`, takes up to `take`, and leaves the rest unread. A body of
/// known length gives exactly what it should or an error; of an unknown one (`u64::MAX`) what is
/// there.
async fn read(
    ask: &Ask,
    mut reply: Reply,
    skip: u64,
    take: u64,
    len: u64,
) -> Result<Bytes, StoreError> {
    let corrupt = |reason: String| StoreError::Corrupt { what: ask.what(), reason };
    let room = if len == u64::MAX { 0 } else { usize::try_from(take).unwrap_or(0) };
    let (mut taken, mut at) = (BytesMut::with_capacity(room), 0_u64);
    let window = skip..skip.saturating_add(take);
    while let Some(piece) = reply.next().await.map_err(|e| e.into_store(ask.what(), false))? {
        let clip = |edge: u64| {
            usize::try_from(edge.saturating_sub(at)).unwrap_or(usize::MAX).min(piece.len())
        };
        taken.extend_from_slice(&piece[clip(window.start)..clip(window.end)]);
        at += piece.len() as u64;
        if at > len {
            return Err(corrupt(format!("more than {len} bytes came")));
        }
        if at >= window.end && at < len {
            break; // The rest is not wanted; the connection goes with it.
        }
    }
    if len != u64::MAX && taken.len() as u64 != take {
        return Err(corrupt(format!("{} bytes came, {take} were announced", taken.len())));
    }
    Ok(taken.freeze())
}
