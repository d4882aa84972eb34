use bytes::Bytes;

use crate::{Frame, Location, LogError, SegmentId, Seq, SideWriter};

/// How a sync may be carried out (DESIGN §8.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncMode {
    /// The caller's thread has nothing else to do: it may write and fdatasync itself, if no other
    /// flush runs.
    Inline,
    /// Leave it to the journal thread.
    Queued,
}

/// Name of a checkpoint object (R6): newest = greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckpointName {
    /// Writer's epoch.
    pub epoch: u32,
    /// Counts up within the epoch.
    pub number: u32,
}

/// Figures for `esker status` and `/metrics`.
#[derive(Clone, Debug, Default)]
pub struct LogStatus {
    /// Committed, not yet durable, bytes.
    pub unsynced_bytes: u64,
    /// Durable in the journal, not yet stored, bytes.
    pub unstored_bytes: u64,
    /// fdatasync calls of the journal.
    pub syncs: u64,
    /// Sync requests answered.
    pub waiters: u64,
    /// Segments stored.
    pub stored_segments: u64,
    /// Objects put.
    pub puts: u64,
}

/// The log of one mounted volume. Clones share it.
#[derive(Clone)]
pub struct Log {
    _private: (),
}

#[allow(unused_variables, clippy::todo)]
impl Log {
    /// Body of an entry, decoded, if it is in memory (not yet durable, or in the frame cache).
    pub fn read_now(&self, location: &Location) -> Option<Bytes> {
        todo!()
    }

    /// Body of an entry, decoded and checked: memory, journal file or store. Single-flight per
    /// location. Data entries enter the frame cache; pages do not (the index keeps them).
    pub async fn read(&self, location: &Location) -> Result<Bytes, LogError> {
        todo!()
    }

    /// Newest seq known durable in the sense of the volume's durability class.
    pub fn durable_seq(&self) -> Seq {
        todo!()
    }

    /// Newest committed seq.
    pub fn last_seq(&self) -> Seq {
        todo!()
    }

    /// Waits until everything up to `seq` is durable. Group commit, no window (DESIGN §8.3).
    pub async fn sync(&self, seq: Seq, mode: SyncMode) -> Result<(), LogError> {
        todo!()
    }

    /// Waits until there is room for `bytes` more unsynced bytes in memory.
    pub async fn admit(&self, bytes: u64) -> Result<(), LogError> {
        todo!()
    }

    /// Waits until every chain segment below `before` is stored. `before` must be sealed or open.
    pub async fn stored(&self, before: SegmentId) -> Result<(), LogError> {
        todo!()
    }

    /// Starts writing side segments.
    pub async fn side_writer(&self) -> Result<SideWriter, LogError> {
        todo!()
    }

    /// Publishes a checkpoint: create-only, durable on return. Only after all it refers to and the
    /// chain up to its replay start is stored (R6): the caller's duty.
    pub async fn publish(&self, name: CheckpointName, bytes: Bytes) -> Result<(), LogError> {
        todo!()
    }

    /// Deletes checkpoints older than the two that are kept (R8).
    pub async fn delete_checkpoints(&self, names: &[CheckpointName]) -> Result<(), LogError> {
        todo!()
    }

    /// Deletes whole segments (retire and sweep, R8: only the index decides). Drops their cached
    /// frames and journal files too. An absent one counts as deleted.
    pub async fn delete_segments(&self, ids: &[SegmentId]) -> Result<(), LogError> {
        todo!()
    }

    /// Ids ever handed out to side segments in `epoch` up to now, for the sweep: counters below
    /// this mark.
    pub fn side_mark(&self) -> u32 {
        todo!()
    }

    /// Room of the store and journal in bytes, reserve left out: (total, free). `None`: unbounded.
    pub fn room(&self) -> Option<(u64, u64)> {
        todo!()
    }

    /// True while free room is below the reserve (R18): only shrinking is admitted.
    pub fn reserve_in_use(&self) -> bool {
        todo!()
    }

    /// Figures.
    pub fn status(&self) -> LogStatus {
        todo!()
    }
}

/// Keeps `Frame` in scope for the doc links above.
#[allow(dead_code)]
type Unused = Frame;
