//! Reading an object whose bytes say themselves whose they are.
//!
//! ```text
//!   get ──► open ── good ──► what it is
//!    ▲        │ not that object, or damaged
//!    └────────┴─ the store makes its connections anew, at most DAMAGED_AGAIN times
//! ```
//!
//! A wire or a box on the way may damage an answer, or give one request the answer to another. The
//! decisions of a start (does the epoch go on? who holds it? which checkpoint?) must not rest on one.
//!
//! It must never know: what the object is for.

use bytes::Bytes;
use swiftclient::{ObjectName, ObjectStore};

use crate::{LogError, limits::DAMAGED_AGAIN};

/// The whole object `name` as `open` makes it, asked for again where `open` does not take it.
///
/// Errors: `Store`; the last error of `open`.
pub(crate) async fn read_good<T>(
    store: &dyn ObjectStore,
    name: &ObjectName,
    open: impl Fn(&Bytes) -> Result<T, LogError>,
) -> Result<T, LogError> {
    let bytes = store.get(name, 0..u64::MAX).await?;
    good(store, name, bytes, open).await
}

/// The same where the first answer is there.
pub(crate) async fn good<T>(
    store: &dyn ObjectStore,
    name: &ObjectName,
    mut bytes: Bytes,
    open: impl Fn(&Bytes) -> Result<T, LogError>,
) -> Result<T, LogError> {
    let mut tries = 0;
    loop {
        let error = match open(&bytes) {
            Err(e) if tries < DAMAGED_AGAIN => e,
            settled => return settled,
        };
        tries += 1;
        tracing::warn!(object = %name, %error, tries, "not what was asked for: asked again");
        store.distrust();
        bytes = store.get(name, 0..u64::MAX).await?;
    }
}
