//! What the index needs of a log, and the two that give it: the real one, and one in memory for
//! tests of the storeys above.

mod memory;

use std::ops::Range;

use bytes::Bytes;
use logseg::{
    CheckpointName, Frame, Location, Log, LogError, LogWriter, SegmentId, Seq, SideWriter, SyncMode,
};
pub(crate) use memory::{Memory, MemoryPen, MemorySide};

/// The log, for everybody. Clones share it.
#[derive(Clone)]
pub(crate) enum Home {
    /// In memory, for tests.
    Memory(Memory),
    /// Segments in journal and store.
    Log(Log),
}

impl Home {
    pub fn read_now(&self, location: &Location) -> Option<Bytes> {
        match self {
            Self::Memory(memory) => memory.read(location),
            Self::Log(log) => log.read_now(location),
        }
    }

    pub async fn read(&self, location: &Location) -> Result<Bytes, LogError> {
        match self {
            Self::Memory(memory) => memory.read_or_fail(location),
            Self::Log(log) => log.read(location).await,
        }
    }

    pub async fn read_many(&self, locations: &[Location]) -> Result<Vec<Bytes>, LogError> {
        match self {
            Self::Memory(memory) => locations.iter().map(|at| memory.read_or_fail(at)).collect(),
            Self::Log(log) => log.read_many(locations).await,
        }
    }

    pub async fn read_part(
        &self,
        location: &Location,
        part: Range<u32>,
    ) -> Result<Bytes, LogError> {
        match self {
            Self::Memory(memory) => memory.read_part(location, part),
            Self::Log(log) => log.read_part(location, part).await,
        }
    }

    pub fn durable_seq(&self) -> Seq {
        match self {
            Self::Memory(memory) => memory.last_seq(),
            Self::Log(log) => log.durable_seq(),
        }
    }

    pub async fn sync(&self, seq: Seq, mode: SyncMode) -> Result<(), LogError> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::Log(log) => log.sync(seq, mode).await,
        }
    }

    pub async fn flush_through(&self, seq: Seq) -> Result<(), LogError> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::Log(log) => log.flush_through(seq).await,
        }
    }

    pub async fn admit(&self, bytes: u64) -> Result<(), LogError> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::Log(log) => log.admit(bytes).await,
        }
    }

    pub async fn stored(&self, before: SegmentId) -> Result<(), LogError> {
        match self {
            Self::Memory(memory) => memory.step(),
            Self::Log(log) => log.stored(before).await,
        }
    }

    pub async fn side(&self) -> Result<Side, LogError> {
        match self {
            Self::Memory(memory) => Ok(Side::Memory(memory.side()?)),
            Self::Log(log) => Ok(Side::Log(Box::new(log.side_writer().await?))),
        }
    }

    pub async fn publish(&self, name: CheckpointName, bytes: Bytes) -> Result<(), LogError> {
        match self {
            Self::Memory(memory) => memory.publish(name, bytes),
            Self::Log(log) => log.publish(name, bytes).await,
        }
    }

    pub async fn delete_checkpoints(&self, names: &[CheckpointName]) -> Result<(), LogError> {
        match self {
            Self::Memory(memory) => memory.delete_checkpoints(names),
            Self::Log(log) => log.delete_checkpoints(names).await,
        }
    }

    pub async fn delete_segments(&self, ids: &[SegmentId]) -> Result<(), LogError> {
        match self {
            Self::Memory(memory) => memory.delete_segments(ids),
            Self::Log(log) => log.delete_segments(ids).await,
        }
    }

    pub fn room(&self) -> Option<(u64, u64)> {
        match self {
            Self::Memory(_) => None,
            Self::Log(log) => log.room(),
        }
    }

    pub fn reserve_in_use(&self) -> bool {
        match self {
            Self::Memory(_) => false,
            Self::Log(log) => log.reserve_in_use(),
        }
    }

    pub fn side_mark(&self) -> u32 {
        match self {
            Self::Memory(memory) => memory.side_mark(),
            Self::Log(log) => log.side_mark(),
        }
    }
}

/// The one writer of the chain.
pub(crate) enum Pen {
    Memory(MemoryPen),
    Log(Box<LogWriter>),
}

impl Pen {
    pub fn begin(&mut self) -> Result<(), LogError> {
        match self {
            Self::Memory(pen) => {
                pen.begin();
                Ok(())
            }
            Self::Log(pen) => pen.begin(),
        }
    }

    /// Bytes that the transaction under way may still append.
    pub fn room(&self) -> u64 {
        match self {
            Self::Memory(pen) => pen.room(),
            Self::Log(pen) => pen.room(),
        }
    }

    pub fn stage(&mut self, frame: &Frame) -> Location {
        match self {
            Self::Memory(pen) => pen.stage(frame),
            Self::Log(pen) => pen.stage(frame),
        }
    }

    pub fn next_seq(&self) -> Seq {
        match self {
            Self::Memory(pen) => pen.next_seq(),
            Self::Log(pen) => pen.next_seq(),
        }
    }

    pub fn commit(&mut self, record: &[u8]) -> Seq {
        match self {
            Self::Memory(pen) => pen.commit(record),
            Self::Log(pen) => pen.commit(record),
        }
    }

    pub fn abort(&mut self) {
        match self {
            Self::Memory(pen) => pen.abort(),
            Self::Log(pen) => pen.abort(),
        }
    }

    pub fn roll(&mut self) -> Result<SegmentId, LogError> {
        match self {
            Self::Memory(pen) => Ok(pen.roll()),
            Self::Log(pen) => pen.roll(),
        }
    }

    pub fn open_segment(&self) -> SegmentId {
        match self {
            Self::Memory(pen) => pen.open_segment(),
            Self::Log(pen) => pen.open_segment(),
        }
    }

    pub fn epoch(&self) -> u32 {
        match self {
            Self::Memory(pen) => pen.open_segment().epoch(),
            Self::Log(pen) => pen.epoch(),
        }
    }

    pub fn close(&mut self) -> Result<Seq, LogError> {
        match self {
            Self::Memory(pen) => Ok(pen.last_seq()),
            Self::Log(pen) => pen.close(),
        }
    }
}

/// Writes side segments.
pub(crate) enum Side {
    Memory(MemorySide),
    Log(Box<SideWriter>),
}

impl Side {
    pub async fn page(&mut self, bytes: &[u8]) -> Result<Location, LogError> {
        match self {
            Self::Memory(side) => side.put(bytes),
            Self::Log(side) => side.page(bytes).await,
        }
    }

    pub async fn root(&mut self, bytes: &[u8]) -> Result<Location, LogError> {
        match self {
            Self::Memory(side) => side.put(bytes),
            Self::Log(side) => side.root(bytes).await,
        }
    }

    pub async fn replies(&mut self, bytes: &[u8]) -> Result<Location, LogError> {
        match self {
            Self::Memory(side) => side.put(bytes),
            Self::Log(side) => side.replies(bytes).await,
        }
    }

    pub async fn finish(self) -> Result<Vec<SegmentId>, LogError> {
        match self {
            Self::Memory(side) => side.finish(),
            Self::Log(side) => side.finish().await,
        }
    }
}
