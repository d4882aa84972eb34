//! What lies in the store, for who wants to know whether anything is there that nobody refers to.
//! A log at work never lists its segments: this is for the operator's check.

use crate::{
    Log, LogError, SegmentId,
    format::{ChainName, ChainObject, chain_object, parse_name, segment_name},
};

/// Names asked for in one go.
const PAGE: usize = 1000;
/// A seal is shorter than this, bytes: its envelope holds no more than the holder's name.
const SEAL_MOST: u64 = 64 << 10;

impl Log {
    /// Ids of all objects in the store that are called like segments, seals among them, in the
    /// order of their names.
    ///
    /// Errors: `Store`.
    pub async fn stored_ids(&self) -> Result<Vec<SegmentId>, LogError> {
        let store = &self.core().store;
        let mut found = Vec::new();
        for prefix in ["seg/", "side/"] {
            let mut after: Option<String> = None;
            loop {
                let page = store.list(prefix, after.as_deref(), PAGE).await?;
                found.extend(page.iter().filter_map(|name| match parse_name(name.as_str()) {
                    Some(ChainName::Segment(id)) => Some(id),
                    _ => None,
                }));
                match page.last() {
                    Some(last) if page.len() == PAGE => after = Some(last.as_str().to_owned()),
                    _ => break,
                }
            }
        }
        Ok(found)
    }

    /// True if the object of this id is a seal, which stays for ever (R3).
    ///
    /// Errors: `Store`.
    pub async fn is_seal(&self, id: SegmentId) -> Result<bool, LogError> {
        // A seal is small, and of a segment the header suffices.
        let begin = self.core().store.get(&segment_name(id), 0..SEAL_MOST).await?;
        Ok(matches!(chain_object(&begin), Ok(ChainObject::Seal(_))))
    }
}
