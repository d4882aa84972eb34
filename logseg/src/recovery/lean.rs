//! What a checkpoint made on a full store leans on (R18): chain segments below its replay start that
//! only the journal had.
//!
//! ```text
//!    stored │ a  b  c (in the journal) │ replay start …      the checkpoint lists a, b, c
//! ```
//!
//! They are not replayed, the root contains them; their data is read from the journal until destage
//! has stored them. Each must be in one of the two homes: a segment in the list has live bytes, and
//! what has live bytes in a kept checkpoint is never deleted (R8).

use swiftclient::StoreError;

use super::{Backlog, Recovery, chain::InJournal};
use crate::{LogError, SegmentId, format::segment_name};

impl Recovery {
    /// The checkpoint that this recovery begins with leans on `ids`, ascending and below its replay
    /// start: finds each in the journal, or else in the store. To be called before anything is read.
    ///
    /// Errors: `Refused` where one is in neither home (R3), unless the journal is to be abandoned;
    /// `Corrupt` where it is damaged; `Store`, `Journal`.
    pub async fn lean(&mut self, ids: &[SegmentId]) -> Result<(), LogError> {
        let mut missing = Vec::new();
        for &id in ids {
            match self.in_journal(id)? {
                InJournal::Whole(found, scanned, bytes) => {
                    let len = scanned.sealed_len().unwrap_or(bytes.len() as u64);
                    // A wreck in the store is replaced by destage; until then the journal is read.
                    let footer = scanned.footer;
                    self.behind.push(Backlog { found, footer, len, wreck: false });
                    continue;
                }
                InJournal::Open(_, scanned, _) => {
                    return Err(LogError::Corrupt {
                        segment: id,
                        offset: u64::from(scanned.end),
                        reason: "cut off, though a checkpoint was made behind it".into(),
                    });
                }
                InJournal::Absent | InJournal::Vanished => {}
            }
            match self.config.store.head(&segment_name(id)).await {
                Ok(_) => {}
                Err(StoreError::NotFound { .. }) => missing.push(id),
                Err(e) => return Err(e.into()),
            }
        }
        let Some(first) = missing.first() else { return Ok(()) };
        let n = missing.len();
        if self.config.abandon_journal {
            tracing::error!(
                segments = n, %first,
                "the contents of these segments are lost with the journal: the store was full"
            );
            return Ok(());
        }
        Err(LogError::Refused(format!(
            "{n} segments from {first} on are neither in the store, which was full, nor in the \
             journal at hand. Start with the journal that has them, or give up the contents that \
             only it has with --abandon-journal"
        )))
    }
}
