//! Storing a segment's bytes create-only, and telling our own object from another's (R4).

use std::ops::Range;

use bytes::Bytes;
use swiftclient::{ObjectName, ObjectStore, StoreError};

use crate::{
    LogError,
    format::{FOOTER_TAIL, FooterTail, SegmentHeader},
    limits::PUT_AGAIN,
};

/// What makes two sealed segments equal: their length and the digest in their footers (R4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Likeness {
    /// Length of the whole segment, footer included, bytes.
    pub len: u64,
    /// [`FooterTail::digest`].
    pub digest: u64,
}

impl Likeness {
    /// Of a sealed segment with this footer.
    pub(crate) fn of(tail: &FooterTail) -> Self {
        Self { len: tail.end(), digest: tail.digest }
    }

    /// Of a sealed segment in memory, from its last bytes.
    pub(crate) fn of_bytes(segment: &[u8]) -> Option<Self> {
        let tail = FooterTail::decode(segment.last_chunk::<FOOTER_TAIL>()?).ok()?;
        (tail.end() == segment.len() as u64).then(|| Self::of(&tail))
    }
}

/// What stands under a segment's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stands {
    /// Definitely nothing.
    Nothing,
    /// A segment equal to ours.
    Equal,
    /// Something else.
    Other,
}

/// Reads back what stands under `name`: its length, and where that is ours, its last 64 bytes. That
/// it is another object is believed only the second time: it ends a server.
pub(crate) async fn stands(
    store: &dyn ObjectStore,
    name: &ObjectName,
    ours: Likeness,
) -> Result<Stands, StoreError> {
    match look(store, name, ours).await {
        Ok(Stands::Other) => {
            store.distrust();
            look(store, name, ours).await
        }
        settled => settled,
    }
}

async fn look(
    store: &dyn ObjectStore,
    name: &ObjectName,
    ours: Likeness,
) -> Result<Stands, StoreError> {
    let info = match store.head(name).await {
        Ok(info) => info,
        Err(e) if e.is_not_found() => return Ok(Stands::Nothing),
        Err(e) => return Err(e),
    };
    if info.len != ours.len {
        return Ok(Stands::Other);
    }
    let range: Range<u64> = ours.len.saturating_sub(FOOTER_TAIL as u64)..ours.len;
    let bytes = match store.get(name, range).await {
        Ok(bytes) => bytes,
        Err(e) if e.is_not_found() => return Ok(Stands::Nothing),
        Err(e) => return Err(e),
    };
    let tail = bytes.first_chunk::<FOOTER_TAIL>().map(FooterTail::decode);
    Ok(match tail {
        Some(Ok(tail)) if Likeness::of(&tail) == ours => Stands::Equal,
        _ => Stands::Other,
    })
}

/// Stores a sealed segment create-only. `Ok`: an object equal to it stands there, durable. After
/// an unknown outcome, or where something stands there already, it is read back (R4).
///
/// Errors: `Refused` where something else stands under the name; `Store` otherwise (nothing is
/// known to be stored).
pub(crate) async fn put_segment(
    store: &dyn ObjectStore,
    name: &ObjectName,
    pieces: &[Bytes],
    ours: Likeness,
) -> Result<(), LogError> {
    let mut tries = 0;
    loop {
        let error = match store.put_new(name, pieces.to_vec()).await {
            Ok(()) => return Ok(()),
            Err(e @ (StoreError::Exists { .. } | StoreError::Unknown { .. })) => e,
            Err(e) => return Err(e.into()),
        };
        match stands(store, name, ours).await? {
            Stands::Equal => return Ok(()),
            Stands::Other
                if tries < PUT_AGAIN && remove_wreck(store, name, &pieces.concat()).await? =>
            {
                tries += 1;
            }
            Stands::Other => {
                return Err(LogError::Refused(format!(
                    "{name}: another object stands where this server's segment belongs; is a \
                     second server writing to the volume?"
                )));
            }
            Stands::Nothing if tries < PUT_AGAIN => tries += 1,
            Stands::Nothing => return Err(error.into()),
        }
    }
}

/// True where `there` is what a put of `ours` left damaged: cut short, or some bits turned. The nonce
/// in its header, which is ours alone, must have come through.
pub(crate) fn wreck_of(ours: &[u8], there: &[u8]) -> bool {
    let Ok(header) = SegmentHeader::decode(ours) else { return false };
    let nonce = ours.windows(header.nonce.len()).position(|bytes| bytes == header.nonce);
    let Some(nonce) = nonce.map(|at| at..at + header.nonce.len()) else { return false };
    let is_ours = match there.get(nonce.clone()) {
        Some(bytes) => *bytes == ours[nonce],
        None => ours.starts_with(there),
    };
    is_ours && there.len() <= ours.len() && there != ours
}

/// Removes what stands under `name` if it is a wreck of `ours`, and says so. A server that streams to
/// a store does not know the digest beforehand; one that was killed, or whose answer was lost, before
/// it saw what the store made of it leaves the wreck behind.
pub(crate) async fn remove_wreck(
    store: &dyn ObjectStore,
    name: &ObjectName,
    ours: &[u8],
) -> Result<bool, StoreError> {
    store.distrust();
    let there = match store.get(name, 0..u64::MAX).await {
        Ok(there) => there,
        Err(e) if e.is_not_found() => return Ok(false),
        Err(e) => return Err(e),
    };
    if !wreck_of(ours, &there) {
        return Ok(false);
    }
    let (object, bytes, whole) = (name, there.len(), ours.len());
    tracing::error!(%object, bytes, whole, "a damaged object is removed, to be put again");
    store.delete_many(std::slice::from_ref(name)).await?.into_iter().collect::<Result<(), _>>()?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(nonce: u8) -> Vec<u8> {
        let header = SegmentHeader { nonce: [nonce; 16], ..crate::format::tests::header(false) };
        let body = (0..4096_u32).map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()[3]);
        header.encode().into_iter().chain(body).collect()
    }

    #[test]
    fn a_wreck_has_our_nonce() {
        let ours = segment(9);
        let mut turned = ours.clone();
        turned[2] ^= 1;
        let last = ours.len() - 1;
        for wreck in [&turned[..], &ours[..last], &ours[..1], &turned[..900], &[]] {
            assert!(wreck_of(&ours, wreck), "{} bytes", wreck.len());
        }
        let longer = [&ours[..], b"more"].concat();
        for another in [&segment(8)[..], &ours, &longer, &ours[1..], b"seal"] {
            assert!(!wreck_of(&ours, another), "{} bytes", another.len());
        }
    }
}
