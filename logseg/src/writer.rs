use crate::{Frame, Location, LogError, SegmentId, Seq};

/// The one writer of the chain. Owned by the committer (`&mut` everywhere): a transaction is
/// `begin`, any number of `stage`, then `commit` or `abort`. None of them waits for I/O.
pub struct LogWriter {
    _private: (),
}

#[allow(unused_variables, clippy::todo)]
impl LogWriter {
    /// Begins a transaction: rolls to the prepared next segment where less than
    /// [`crate::TRANSACTION_BYTES`] of room is left, so that frames and record share a segment.
    ///
    /// Errors: `Fenced`, `ReadOnly`.
    pub fn begin(&mut self) -> Result<(), LogError> {
        todo!()
    }

    /// Where `frame` will lie if this transaction commits. Nothing is appended yet.
    pub fn stage(&mut self, frame: &Frame) -> Location {
        todo!()
    }

    /// The seq that `commit` will give.
    pub fn next_seq(&self) -> Seq {
        todo!()
    }

    /// Appends the staged frames and then `record`, as one piece, to the open segment's buffer.
    pub fn commit(&mut self, record: &[u8]) -> Seq {
        todo!()
    }

    /// Forgets the staged frames.
    pub fn abort(&mut self) {
        todo!()
    }

    /// Seals the open segment (footer) and opens the next; gives the next one's id, which is a
    /// replay start (R6). Between transactions only.
    pub fn roll(&mut self) -> Result<SegmentId, LogError> {
        todo!()
    }

    /// The id of the open segment.
    pub fn open_segment(&self) -> SegmentId {
        todo!()
    }

    /// This writer's epoch.
    pub fn epoch(&self) -> u32 {
        todo!()
    }

    /// A clean stop: ends the chain with a *closed* record (R5) and seals. Then sync and drop.
    pub fn close(&mut self) -> Result<Seq, LogError> {
        todo!()
    }
}
