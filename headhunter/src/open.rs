//! INTERIM: what the daemon calls on an index. `open` and the figures become real with checkpoints
//! and recovery; until then only a volume in memory can be served.

use logseg::{LogConfig, LogError, LogStatus, VolumeHeader};

use crate::Index;

/// How to open a volume's index.
#[derive(Clone)]
pub struct IndexConfig {
    /// The log below.
    pub log: LogConfig,
    /// The volume's constants.
    pub header: VolumeHeader,
    /// Budget of index pages, bytes.
    pub memory_bytes: u64,
}

impl IndexConfig {
    /// With the defaults for everything else.
    pub fn new(log: LogConfig, header: VolumeHeader, memory_bytes: u64) -> Self {
        Self { log, header, memory_bytes }
    }
}

/// Figures for `esker status` and `/metrics`.
#[derive(Clone, Debug, Default)]
pub struct IndexStatus {
    /// Records committed since the start.
    pub records: u64,
    /// Checkpoints published since the start.
    pub checkpoints: u64,
    /// Dirty pages, bytes.
    pub dirty_bytes: u64,
    /// Pages in memory, bytes.
    pub resident_bytes: u64,
    /// Pages evicted since the start.
    pub evictions: u64,
    /// Pages faulted in since the start.
    pub faults: u64,
    /// Segments that usage knows.
    pub segments: u64,
    /// Live bytes in them.
    pub live_bytes: u64,
}

impl Index {
    /// Opens the volume: newest checkpoint, replay, seal; starts the background driver on the
    /// log's pool.
    pub async fn open(_config: IndexConfig) -> Result<Self, LogError> {
        Err(LogError::Refused("recovery is not built yet: serve mem:".into()))
    }

    /// A clean stop: a checkpoint, the *closed* record, everything durable; background work ends.
    pub async fn close(&self) -> Result<(), LogError> {
        Ok(())
    }

    /// Figures of the index.
    pub fn status(&self) -> IndexStatus {
        IndexStatus::default()
    }

    /// Figures of the log below.
    pub fn log_status(&self) -> LogStatus {
        LogStatus::default()
    }
}
