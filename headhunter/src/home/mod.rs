//! What the index needs of a log, and who gives it: the real one, one that is only looked at, and one
//! in memory for tests of the storeys above.

mod memory;

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use logseg::{
    CheckpointName, Frame, Location, Log, LogError, LogWriter, Recovery, SegmentId, Seq,
    SideWriter, SyncMode,
};
pub(crate) use memory::{Memory, MemoryPen, MemorySide};

/// The log, for everybody. Clones share it.
#[derive(Clone)]
pub(crate) enum Home {
    /// In memory, for tests.
    Memory(Memory),
    /// Segments in journal and store.
    Log(Log),
    /// The same, read to its end by who takes no lock: nothing can be written.
    Still(Arc<Recovery>),
}

fn still() -> LogError {
    LogError::ReadOnly { reason: "the volume is only looked at".into() }
}

impl Home {
    pub fn read_now(&self, location: &Location) -> Option<Bytes> {
        match self {
            Self::Memory(memory) => memory.read(location),
            Self::Log(log) => log.read_now(location),
            Self::Still(past) => past.read_now(location),
        }
    }

    pub async fn read(&self, location: &Location) -> Result<Bytes, LogError> {
        match self {
            Self::Memory(memory) => memory.read_or_fail(location),
            Self::Log(log) => log.read(location).await,
            Self::Still(past) => past.read(location).await,
        }
    }

    pub async fn read_many(&self, locations: &[Location]) -> Result<Vec<Bytes>, LogError> {
        match self {
            Self::Memory(memory) => locations.iter().map(|at| memory.read_or_fail(at)).collect(),
            Self::Log(log) => log.read_many(locations).await,
            Self::Still(past) => past.read_many(locations).await,
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
            Self::Still(past) => past.read_part(location, part).await,
        }
    }

    pub fn overruled(&self) -> Result<(), LogError> {
        match self {
            Self::Memory(_) | Self::Still(_) => Ok(()),
            Self::Log(log) => log.overruled(),
        }
    }

    pub fn durable_seq(&self) -> Seq {
        match self {
            Self::Memory(memory) => memory.last_seq(),
            Self::Log(log) => log.durable_seq(),
            Self::Still(past) => past.last_seq(),
        }
    }

    pub async fn sync(&self, seq: Seq, mode: SyncMode) -> Result<(), LogError> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::Log(log) => log.sync(seq, mode).await,
            Self::Still(_) => Err(still()),
        }
    }

    pub async fn flush_through(&self, seq: Seq) -> Result<(), LogError> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::Log(log) => log.flush_through(seq).await,
            Self::Still(_) => Err(still()),
        }
    }

    pub async fn admit(&self, bytes: u64) -> Result<(), LogError> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::Log(log) => log.admit(bytes).await,
            Self::Still(_) => Err(still()),
        }
    }

    pub async fn stored(&self, before: SegmentId) -> Result<(), LogError> {
        match self {
            Self::Memory(memory) => memory.step(),
            Self::Log(log) => log.stored(before).await,
            Self::Still(_) => Err(still()),
        }
    }

    pub async fn stored_unless_full(&self, before: SegmentId) -> Result<(), LogError> {
        match self {
            Self::Memory(memory) => memory.step(),
            Self::Log(log) => log.stored_unless_full(before).await,
            Self::Still(_) => Err(still()),
        }
    }

    pub fn leans(&self) -> bool {
        match self {
            Self::Memory(_) | Self::Still(_) => false,
            Self::Log(log) => log.leans(),
        }
    }

    /// See [`Log::checkpoint_room`].
    pub fn checkpoint_room(&self) -> Option<u64> {
        match self {
            Self::Memory(_) | Self::Still(_) => None,
            Self::Log(log) => log.checkpoint_room(),
        }
    }

    pub fn wish_checkpoint_room(&self, bytes: u64) {
        if let Self::Log(log) = self {
            log.wish_checkpoint_room(bytes);
        }
    }

    /// See [`Log::room_for_a_seal`].
    pub async fn room_for_a_seal(&self) {
        if let Self::Log(log) = self {
            log.room_for_a_seal().await;
        }
    }

    pub async fn settled(&self, before: SegmentId) -> Result<Vec<SegmentId>, LogError> {
        match self {
            Self::Memory(_) => Ok(Vec::new()),
            Self::Log(log) => log.settled(before).await,
            Self::Still(_) => Err(still()),
        }
    }

    pub async fn side(&self) -> Result<Side, LogError> {
        match self {
            Self::Memory(memory) => Ok(Side::Memory(memory.side()?)),
            Self::Log(log) => Ok(Side::Log(Box::new(log.side_writer().await?))),
            Self::Still(_) => Err(still()),
        }
    }

    pub async fn publish(&self, name: CheckpointName, bytes: Bytes) -> Result<(), LogError> {
        match self {
            Self::Memory(memory) => memory.publish(name, bytes),
            Self::Log(log) => log.publish(name, bytes).await,
            Self::Still(_) => Err(still()),
        }
    }

    pub async fn delete_checkpoints(&self, names: &[CheckpointName]) -> Result<(), LogError> {
        match self {
            Self::Memory(memory) => memory.delete_checkpoints(names),
            Self::Log(log) => log.delete_checkpoints(names).await,
            Self::Still(_) => Err(still()),
        }
    }

    pub async fn delete_segments(&self, ids: &[SegmentId]) -> Result<(), LogError> {
        match self {
            Self::Memory(memory) => memory.delete_segments(ids),
            Self::Log(log) => log.delete_segments(ids).await,
            Self::Still(_) => Err(still()),
        }
    }

    pub fn room(&self) -> Option<(u64, u64)> {
        match self {
            Self::Memory(_) | Self::Still(_) => None,
            Self::Log(log) => log.room(),
        }
    }

    pub fn reserve_in_use(&self) -> bool {
        match self {
            Self::Memory(_) | Self::Still(_) => false,
            Self::Log(log) => log.reserve_in_use(),
        }
    }

    pub fn side_mark(&self) -> u32 {
        match self {
            Self::Memory(memory) => memory.side_mark(),
            Self::Log(log) => log.side_mark(),
            Self::Still(_) => 0,
        }
    }
}

/// The one writer of the chain.
pub(crate) enum Pen {
    Memory(MemoryPen),
    Log(Box<LogWriter>),
    /// None: the volume is only looked at.
    Still,
}

impl Pen {
    /// Before anything else: of a volume that is only looked at it fails.
    pub fn begin(&mut self) -> Result<(), LogError> {
        match self {
            Self::Memory(pen) => {
                pen.begin();
                Ok(())
            }
            Self::Log(pen) => pen.begin(),
            Self::Still => Err(still()),
        }
    }

    /// Bytes that the transaction under way may still append.
    pub fn room(&self) -> u64 {
        match self {
            Self::Memory(pen) => pen.room(),
            Self::Log(pen) => pen.room(),
            Self::Still => 0,
        }
    }

    pub fn stage(&mut self, frame: &Frame) -> Location {
        match self {
            Self::Memory(pen) => pen.stage(frame),
            Self::Log(pen) => pen.stage(frame),
            Self::Still => Location { segment: SegmentId(0), offset: 0, stored: 0 },
        }
    }

    pub fn next_seq(&self) -> Seq {
        match self {
            Self::Memory(pen) => pen.next_seq(),
            Self::Log(pen) => pen.next_seq(),
            Self::Still => Seq(0),
        }
    }

    pub fn commit(&mut self, record: &[u8]) -> Seq {
        match self {
            Self::Memory(pen) => pen.commit(record),
            Self::Log(pen) => pen.commit(record),
            Self::Still => Seq(0),
        }
    }

    pub fn abort(&mut self) {
        match self {
            Self::Memory(pen) => pen.abort(),
            Self::Log(pen) => pen.abort(),
            Self::Still => {}
        }
    }

    pub fn roll(&mut self) -> Result<SegmentId, LogError> {
        match self {
            Self::Memory(pen) => Ok(pen.roll()),
            Self::Log(pen) => pen.roll(),
            Self::Still => Err(still()),
        }
    }

    pub fn open_segment(&self) -> SegmentId {
        match self {
            Self::Memory(pen) => pen.open_segment(),
            Self::Log(pen) => pen.open_segment(),
            Self::Still => SegmentId(0),
        }
    }

    pub fn epoch(&self) -> u32 {
        match self {
            Self::Memory(pen) => pen.open_segment().epoch(),
            Self::Log(pen) => pen.epoch(),
            Self::Still => 0,
        }
    }

    pub fn close(&mut self) -> Result<Seq, LogError> {
        match self {
            Self::Memory(pen) => Ok(pen.last_seq()),
            Self::Log(pen) => pen.close(),
            Self::Still => Err(still()),
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
