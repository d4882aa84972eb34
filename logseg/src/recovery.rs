use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;
use swiftclient::{ObjectStore, disk::Disk, seam::Env};

use crate::{CheckpointName, Log, LogError, LogWriter, SegmentId, Seq, VolumeHeader};

/// How to open a log.
#[derive(Clone)]
pub struct LogConfig {
    /// The store.
    pub store: Arc<dyn ObjectStore>,
    /// The seam at file operations, for journal and locks.
    pub disk: Arc<dyn Disk>,
    /// Clock and dice.
    pub env: Env,
    /// Journal directory; `None`: durability `store` (each sync seals and stores).
    pub journal: Option<PathBuf>,
    /// Where background work runs (journal thread is the log's own; store I/O goes here).
    pub pool: tokio::runtime::Handle,
    /// Limit of the frame cache, bytes.
    pub cache_bytes: u64,
    /// Limit of committed bytes that are not yet durable, bytes.
    pub unsynced_bytes: u64,
    /// Who we are, in words an operator understands: host, pid, start time.
    pub holder: String,
    /// R2, R5: take the volume over from another holder.
    pub take_over: bool,
    /// R5: open without the journal that the volume was last written with.
    pub abandon_journal: bool,
}

/// Where replay begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// First chain segment to read (a checkpoint's replay start; (1,0) for a new volume).
    pub segment: SegmentId,
    /// Last seq that the checkpoint contains: records up to it are skipped.
    pub seq: Seq,
    /// R3: below this chain id nothing may be missing.
    pub stored_through: SegmentId,
}

/// One record, in commit order.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// Its seq.
    pub seq: Seq,
    /// Segment that holds it.
    pub segment: SegmentId,
    /// What was given to `LogWriter::commit`.
    pub record: Bytes,
}

/// An attempt to end the old epoch (R2).
pub enum Sealed {
    /// The seal is ours: the log is open for writing in a new epoch.
    Open(Box<(Log, LogWriter)>),
    /// A segment stood there: replay it (the same [`Recovery`] goes on), then seal again.
    More(Box<Recovery>),
}

/// Reading the chain back, from a checkpoint to its end (R2–R5, R11, R20).
pub struct Recovery {
    _private: (),
}

#[allow(unused_variables, clippy::todo)]
impl Recovery {
    /// Writes the object `volume` and makes the journal directory: a new, empty volume. Fails with
    /// `Refused` where the store holds anything else.
    pub async fn format(config: &LogConfig, header: &VolumeHeader) -> Result<(), LogError> {
        todo!()
    }

    /// Reads and checks the object `volume`; `Ok(None)` when the store is empty or absent;
    /// `Refused` (with what and where) when it holds something else or another format version.
    pub async fn volume(config: &LogConfig) -> Result<Option<VolumeHeader>, LogError> {
        todo!()
    }

    /// Names of all checkpoints, ascending, found by listing (R6).
    pub async fn checkpoints(config: &LogConfig) -> Result<Vec<CheckpointName>, LogError> {
        todo!()
    }

    /// The bytes of a checkpoint object, as published (the log's own checksum around them verified).
    pub async fn checkpoint(config: &LogConfig, name: CheckpointName) -> Result<Bytes, LogError> {
        todo!()
    }

    /// Begins to read the chain at `start`. Takes the locks first (R2: `lock/<epoch>`), so that a
    /// second server is refused with a message that names the holder.
    pub async fn begin(
        config: LogConfig,
        header: VolumeHeader,
        start: Start,
    ) -> Result<Self, LogError> {
        todo!()
    }

    /// The next record after `start.seq`; `None` at the end of the chain as it now is.
    pub async fn next(&mut self) -> Result<Option<Replayed>, LogError> {
        todo!()
    }

    /// Body of an entry, for pages needed while replaying.
    pub async fn read(&self, location: &crate::Location) -> Result<Bytes, LogError> {
        todo!()
    }

    /// Puts the seal at the first absent id (R2).
    ///
    /// Errors: `Refused`/`Fenced` naming the holder where a foreign seal is found or the journal is
    /// missing.
    pub async fn seal(self) -> Result<Sealed, LogError> {
        todo!()
    }

    /// Epochs whose chain has ended, with the first void counter of each, as far as the chain read
    /// shows: for the sweep (R8).
    pub fn ended(&self) -> &[(u32, u32)] {
        todo!()
    }
}
