//! Storing a segment's bytes create-only, and telling our own object from another's (R4).

use std::ops::Range;

use bytes::Bytes;
use swiftclient::{ObjectName, ObjectStore, StoreError};

use crate::{
    LogError,
    format::{FOOTER_TAIL, FooterTail},
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
