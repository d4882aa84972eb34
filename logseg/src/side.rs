use crate::{Frame, Location, LogError, SegmentId};

/// Writes side segments (R7): index pages, root entries, reply tables, cleaner output. Their ids
/// come from the block reserved by a durable chain record; they are stored before anything refers
/// to them, never replayed, never waited for by a sync, never in the journal.
pub struct SideWriter {
    _private: (),
}

#[allow(unused_variables, clippy::todo)]
impl SideWriter {
    /// Appends a page of the index. Stores the current side segment and goes on in a new one when
    /// it is full, so the location is final but stored only after [`SideWriter::finish`].
    /// `level` and the key range let `rebuild` work without checkpoints (R25).
    pub async fn page(&mut self, bytes: &[u8]) -> Result<Location, LogError> {
        todo!()
    }

    /// Appends the self-describing root entry (R25), the last of a checkpoint.
    pub async fn root(&mut self, bytes: &[u8]) -> Result<Location, LogError> {
        todo!()
    }

    /// Appends a reply table (R23).
    pub async fn replies(&mut self, bytes: &[u8]) -> Result<Location, LogError> {
        todo!()
    }

    /// Appends a data frame (cleaner).
    pub async fn data(&mut self, frame: &Frame) -> Result<Location, LogError> {
        todo!()
    }

    /// Waits until everything appended is *stored*; gives the segments written.
    pub async fn finish(self) -> Result<Vec<SegmentId>, LogError> {
        todo!()
    }
}
