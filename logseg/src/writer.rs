use std::sync::Arc;

use bytes::Bytes;

use crate::{
    Codec, Frame, Location, LogError, SegmentId, Seq,
    core::Core,
    format::{Body, Kind},
    log::Running,
};

/// The one writer of the chain. Owned by the committer (`&mut` everywhere): a transaction is
/// `begin`, any number of `stage`, then `commit` or `abort`. None of them waits for I/O or makes a
/// system call.
///
/// Seqs are not all the caller's: the log's own records (R5, R7) take some between transactions.
pub struct LogWriter {
    running: Arc<Running>,
    /// Where the next staged frame goes, while a transaction is under way.
    open: Option<Transaction>,
    staged: Vec<(Frame, Location)>,
}

struct Transaction {
    segment: SegmentId,
    next: u64,
    limit: u64,
}

impl LogWriter {
    pub(crate) fn new(running: Arc<Running>) -> Self {
        Self { running, open: None, staged: Vec::new() }
    }

    fn core(&self) -> &Core {
        &self.running.core
    }

    /// Begins a transaction: rolls to the next segment where less than
    /// [`LogWriter::transaction_bytes`] of room is left, so that frames and record share a segment.
    ///
    /// Errors: `Fenced`, `ReadOnly`.
    pub fn begin(&mut self) -> Result<(), LogError> {
        if self.open.is_some() {
            self.abort();
        }
        let (segment, next) = self.core().begin()?;
        let limit = next + self.transaction_bytes();
        self.open = Some(Transaction { segment, next, limit });
        Ok(())
    }

    /// Most bytes that one transaction may append, frames and record as stored:
    /// [`crate::TRANSACTION_BYTES`], a quarter of a segment on small volumes.
    pub fn transaction_bytes(&self) -> u64 {
        self.core().sizes.transaction
    }

    /// Bytes that the transaction under way may still append.
    pub fn room(&self) -> u64 {
        self.open.as_ref().map_or(0, |t| t.limit.saturating_sub(t.next))
    }

    /// Where `frame` will lie if this transaction commits. Nothing is appended yet.
    ///
    /// # Panics
    /// Outside a transaction: a bug of the caller that would tear the log.
    pub fn stage(&mut self, frame: &Frame) -> Location {
        let encrypted = self.core().key.is_some();
        let Some(open) = &mut self.open else { panic!("stage outside a transaction") };
        let stored = frame.body.entry_len(encrypted);
        let location = Location {
            segment: open.segment,
            offset: u32::try_from(open.next).unwrap_or(u32::MAX),
            stored,
        };
        open.next += u64::from(stored);
        self.staged.push((frame.clone(), location));
        location
    }

    /// The seq that `commit` will give to the transaction under way.
    pub fn next_seq(&self) -> Seq {
        self.core().next_seq()
    }

    /// Appends the staged frames and then `record` (at most [`crate::RECORD_BYTES`]), as one piece,
    /// to the open segment.
    ///
    /// # Panics
    /// Outside a transaction, or where `record` is longer than its limit: replay could not read it.
    pub fn commit(&mut self, record: &[u8]) -> Seq {
        assert!(self.open.take().is_some(), "commit outside a transaction");
        let bytes = Bytes::copy_from_slice(record);
        let Some(body) = Body::new(Kind::Record, &bytes, Codec::Stored) else {
            panic!("a record of {} bytes", record.len())
        };
        let staged = std::mem::take(&mut self.staged);
        self.core().commit(&staged, &body)
    }

    /// Forgets the staged frames.
    pub fn abort(&mut self) {
        self.staged.clear();
        if self.open.take().is_some() {
            self.core().abort();
        }
    }

    /// Seals the open segment (footer) and opens the next; gives the next one's id, which is a
    /// replay start (R6). An open segment without entries stays and is that id itself. Between
    /// transactions only.
    ///
    /// Errors: `Fenced`, `ReadOnly`.
    pub fn roll(&mut self) -> Result<SegmentId, LogError> {
        self.abort();
        self.core().check()?;
        let mut state = self.core().lock();
        self.core().roll(&mut state).ok_or_else(closed)
    }

    /// The id of the open segment.
    pub fn open_segment(&self) -> SegmentId {
        let state = self.core().lock();
        state.chain.segments.back().map_or(SegmentId::chain(self.epoch(), 0), |s| s.id)
    }

    /// This writer's epoch.
    pub fn epoch(&self) -> u32 {
        self.core().epoch
    }

    /// A clean stop: ends the chain with a *closed* record (R5) and seals. Then sync and drop.
    ///
    /// Errors: `Fenced`, `ReadOnly`.
    pub fn close(&mut self) -> Result<Seq, LogError> {
        self.abort();
        self.core().check()?;
        self.core().close().ok_or_else(closed)
    }
}

pub(crate) fn closed() -> LogError {
    LogError::ReadOnly { reason: "the log was closed".into() }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        self.abort();
    }
}
