//! An immutable root for readers.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    retire::Generation,
    tree::{self, Item, Miss, PageRef},
};

/// An immutable root. Cheap to take; keep it for one request only: while it lives, no segment that
/// it can see is retired (R8), and pages it shares with the live root are copied when they change.
#[derive(Clone)]
pub struct View {
    pub(crate) root: Arc<PageRef>,
    pub(crate) pin: Arc<Generation>,
}

impl View {
    /// Value of `key`, at most 3 KiB.
    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Miss> {
        tree::get(&self.root, key).map_err(|miss| miss.pinned(&self.pin))
    }

    /// Up to `limit` items with `from` <= key < `to`, ascending.
    pub fn range(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Item>, Miss> {
        let mut items = Vec::new();
        tree::range(&self.root, from, to, limit, &mut items)
            .map_err(|miss| miss.pinned(&self.pin))?;
        Ok(items)
    }

    /// The last item with `from` <= key < `to`.
    pub fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<Item>, Miss> {
        tree::last(&self.root, from, to).map_err(|miss| miss.pinned(&self.pin))
    }
}
