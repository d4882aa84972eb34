//! Doors for the tests that throw bytes at decoders. Nothing else may use them.
//!
//! Each gives what the decoded value is encoded to again, `None` where the bytes were refused.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    checkpoint::format::Checkpoint,
    record::Outcome,
    replies::Replies,
    tree::{budget::Budget, page::Page},
};

/// A page of the index.
pub fn page(bytes: &[u8]) -> Option<Vec<u8>> {
    let (page, birth) = Page::decode(bytes, &Arc::new(Budget::default())).ok()?;
    page.encode(birth)
}

/// A transaction's record.
pub fn record(bytes: &Bytes) -> Option<Vec<u8>> {
    Outcome::decode(bytes).map(|outcome| outcome.encode())
}

/// A checkpoint object, without the log's envelope.
pub fn checkpoint(bytes: &Bytes) -> Option<Vec<u8>> {
    Checkpoint::decode(bytes).map(|checkpoint| checkpoint.encode())
}

/// A reply table. Gives how many it holds.
pub fn replies(bytes: &Bytes) -> Option<usize> {
    Replies::decode(bytes).map(|replies| replies.len())
}
