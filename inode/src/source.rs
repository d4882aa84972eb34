use bytes::Bytes;
use headhunter::{Item, Miss, Txn, View};

/// Why an operation on files stops. Nothing was changed.
#[derive(Debug)]
pub enum Fault {
    /// A page is not in memory: fault it, begin again.
    Miss(Miss),
    /// A value of the index makes no sense; the text names the key.
    Damaged(String),
    /// More names of one hash than [`crate::limits::NAMES_PER_HASH`] (R21).
    NoRoom,
    /// The inode's pending work must go on before: call [`crate::Files::slice`], begin again.
    Slice(u64),
    /// More than one transaction may remove is in the way: only this many bytes fit now.
    Dense(u64),
}

impl From<Miss> for Fault {
    fn from(miss: Miss) -> Self {
        Self::Miss(miss)
    }
}

/// What both a [`View`] and a [`Txn`] can do.
pub trait Source {
    /// Value of `key`.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Miss>;
    /// Up to `limit` items with `from` <= key < `to`, ascending.
    fn range(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Item>, Miss>;
    /// The last item with `from` <= key < `to`.
    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<Item>, Miss>;
}

impl Source for View {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Miss> {
        Self::get(self, key)
    }
    fn range(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Item>, Miss> {
        Self::range(self, from, to, limit)
    }
    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<Item>, Miss> {
        Self::last(self, from, to)
    }
}

impl Source for Txn<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Miss> {
        Self::get(self, key)
    }
    fn range(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Item>, Miss> {
        Self::range(self, from, to, limit)
    }
    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<Item>, Miss> {
        Self::last(self, from, to)
    }
}
