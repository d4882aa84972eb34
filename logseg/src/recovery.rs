//! Opening a log: reading the chain back to its end, and ending it (R2–R5, R11, R20).
//!
//! ```text
//!   begin: locks ─► next, next, … ─► end of the chain ─► seal ─┬► Open (a new epoch)
//!                     ▲                                        │
//!                     └──────────── a segment stood there ─────┘ More
//! ```
//!
//! The store is asked first for every id: what it says is definite, and a seal there makes void
//! whatever the journal has. Only what it definitely lacks is looked for in the journal.

mod chain;
mod lean;
pub(crate) mod plain;
mod seal;
mod volume;

pub(crate) use chain::read_whole;
use std::{
    collections::{HashMap, VecDeque},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use swiftclient::{
    ObjectStore, StoreError,
    disk::{Disk, DiskFile},
    seam::Env,
};
use tokio::task::JoinHandle;

use crate::{
    Location, Log, LogError, LogWriter, SegmentId, Seq, Survey, VolumeHeader,
    crypto::VolumeKey,
    format::{FooterBuilder, Scanned, Tail},
    journal::{Found, Journal},
    lock::{Claim, Locks},
    read::{Homes, Reader},
};

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
    /// Where background work runs (journal thread is the log's own; store I/O goes here). Its
    /// runtime must have time enabled.
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
    /// The volume's key, unwrapped, where the volume is encrypted (R26).
    pub key: Option<VolumeKey>,
    /// No thread: every flush runs in the call that wants it. For simulation, where all is one
    /// task after another on one thread.
    pub inline_only: bool,
    /// When and how fast segments move to the store.
    pub destage: DestageConfig,
    /// A cache of stored frames on a local disk that survives a restart.
    pub disk_cache: Option<DiskCacheConfig>,
}

/// When segments move from the journal to the store, and how much may wait for that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestageConfig {
    /// The time-based flusher: an open segment this old is sealed and stored. `None`: as suits the
    /// store ([`crate::AGE_LINKED`], [`crate::AGE_STREAMED`]).
    pub age: Option<Duration>,
    /// The dirty budget: most bytes that are durable in the journal and not yet stored. Writers are
    /// slowed smoothly from 60 % of it and stop at the whole.
    pub budget_bytes: u64,
    /// R18: most bytes of ballast, for a store that has an end and does not tell it; 0: none. A
    /// volume's own share grows up to it with what is stored.
    pub ballast_bytes: u64,
}

impl Default for DestageConfig {
    fn default() -> Self {
        Self { age: None, budget_bytes: crate::DIRTY_BUDGET_BYTES, ballast_bytes: 0 }
    }
}

/// A cache on a local disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskCacheConfig {
    /// Its directory, made if absent; nothing but the cache may be in it.
    pub dir: PathBuf,
    /// Its limit, bytes.
    pub bytes: u64,
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

impl Start {
    /// Of a volume without a checkpoint. Epoch 1 never has a segment: the first opener ends it,
    /// so that every epoch that writes was begun by a seal.
    pub const NEW: Self = Self {
        segment: SegmentId::chain(1, 0),
        seq: Seq(0),
        stored_through: SegmentId::chain(1, 0),
    };
}

/// One record, in commit order.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// Its seq. The log's own records take seqs too, so there are gaps.
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
    config: LogConfig,
    header: VolumeHeader,
    start: Start,
    locks: Option<Locks>,
    journal: Option<Journal>,
    /// Segment files of the journal, listed when the epoch was entered.
    files: Vec<Found>,
    /// The id to read next.
    at: SegmentId,
    /// Set when the chain has ended before this id.
    end: Option<SegmentId>,
    /// Last seq of the segments read.
    last: Option<Seq>,
    /// R3: nothing below may be missing.
    stored_through: SegmentId,
    /// Who began the epoch being read, as far as it is known.
    owner: Option<Owner>,
    /// The last segment read ends with a *closed* record.
    closed: bool,
    queue: VecDeque<Replayed>,
    backlog: Vec<Backlog>,
    /// The same below the replay start: the checkpoint leans on them (R18).
    behind: Vec<Backlog>,
    tail: Option<OpenTail>,
    /// Files of segments that are stored: to be unlinked.
    leftovers: Vec<Found>,
    ended: Vec<(u32, u32)>,
    side_marks: Vec<(u32, u32)>,
    homes: Arc<FoundHomes>,
    reader: Reader,
    ahead: VecDeque<(SegmentId, JoinHandle<Result<Bytes, StoreError>>)>,
    /// On a plain store: what says where epochs end.
    epochs: Option<plain::Epochs>,
}

/// Who writes an epoch.
#[derive(Clone)]
struct Owner {
    /// Zeros: it has no journal.
    journal: [u8; 16],
    holder: String,
}

/// A whole segment that the journal has and the store has not, or damaged.
struct Backlog {
    found: Found,
    footer: FooterBuilder,
    len: u64,
    /// The store has a damaged one, which must go first.
    wreck: bool,
}

/// The segment that was open when its writer ended: its good bytes.
struct OpenTail {
    found: Found,
    scanned: Scanned,
    bytes: Bytes,
}

/// Journal files met on the way, for pages needed while replaying.
#[derive(Default)]
struct FoundHomes(Mutex<HashMap<SegmentId, Arc<dyn DiskFile>>>);

impl Homes for FoundHomes {
    fn in_memory(&self, _location: &Location) -> Option<Bytes> {
        None
    }

    fn journal_file(&self, segment: SegmentId) -> Option<Arc<dyn DiskFile>> {
        self.0.lock().get(&segment).cloned()
    }
}

impl Recovery {
    /// Begins to read the chain at `start`. Takes the locks first (R2: `lock/<epoch>`), so that a
    /// second server is refused with a message that names the holder.
    ///
    /// Errors: `Refused` (held by another; a journal of another volume), `Journal`.
    pub async fn begin(
        config: LogConfig,
        header: VolumeHeader,
        start: Start,
    ) -> Result<Self, LogError> {
        let dirs = local_homes(&config);
        let claim = Claim { holder: &config.holder, take_over: config.take_over, env: &config.env };
        let locks = Locks::take(&config.disk, &dirs, &claim)?;
        let journal = match &config.journal {
            Some(dir) => Journal::find(&config.disk, dir, &header.uuid)?,
            None => None,
        };
        if let Some(journal) = &journal {
            journal.sweep()?;
        }
        Self::at(config, header, start, Some(locks), journal).await
    }

    /// As [`Recovery::begin`], for who only wants to look: takes no lock, writes nothing, and can
    /// never be sealed. A living writer may move things meanwhile; what it gives then is still a
    /// prefix of the chain, or an error.
    ///
    /// Errors: as there.
    pub async fn look(
        config: LogConfig,
        header: VolumeHeader,
        start: Start,
    ) -> Result<Self, LogError> {
        let journal = match &config.journal {
            Some(dir) => Journal::find(&config.disk, dir, &header.uuid)?,
            None => None,
        };
        Self::at(config, header, start, None, journal).await
    }

    /// Who holds the volume on this machine, in its own words, as far as locks tell; a server of a
    /// network store without a journal has none.
    ///
    /// Errors: `Journal`.
    pub fn holder(config: &LogConfig) -> Result<Option<String>, LogError> {
        crate::lock::holder(&config.disk, &local_homes(config))
    }

    async fn at(
        config: LogConfig,
        header: VolumeHeader,
        start: Start,
        locks: Option<Locks>,
        journal: Option<Journal>,
    ) -> Result<Self, LogError> {
        let homes = Arc::new(FoundHomes::default());
        let reader = Reader::new(
            config.store.clone(),
            homes.clone(),
            config.pool.clone(),
            header.uuid,
            config.key.clone(),
            config.cache_bytes,
            None,
        );
        let epochs = if header.fencing {
            None
        } else {
            let from = start.segment.epoch();
            Some(plain::Epochs::read(&*config.store, &header.uuid, from).await?)
        };
        let void = epochs.iter().flat_map(plain::Epochs::void).map(|epoch| (epoch, 0)).collect();
        let mut recovery = Self {
            at: start.segment,
            stored_through: start.stored_through,
            config,
            header,
            start,
            locks,
            journal,
            files: Vec::new(),
            end: None,
            last: None,
            owner: None,
            closed: false,
            queue: VecDeque::new(),
            backlog: Vec::new(),
            behind: Vec::new(),
            tail: None,
            leftovers: Vec::new(),
            ended: void,
            side_marks: Vec::new(),
            homes,
            reader,
            ahead: VecDeque::new(),
            epochs,
        };
        recovery.enter_epoch()?;
        Ok(recovery)
    }

    /// The next record after `start.seq`; `None` at the end of the chain as it now is.
    ///
    /// Errors: `Corrupt` naming the place (R11), or naming an id that is missing below the
    /// stored-through mark (R3); `Store` where the store does not say definitely (R3); `Refused`
    /// where the journal that the volume was last written with is missing (R5).
    pub async fn next(&mut self) -> Result<Option<Replayed>, LogError> {
        loop {
            if let Some(record) = self.queue.pop_front() {
                return Ok(Some(record));
            }
            if self.end.is_some() {
                return Ok(None);
            }
            self.read_one().await?;
        }
    }

    /// Body of an entry, for pages needed while replaying.
    pub async fn read(&self, location: &Location) -> Result<Bytes, LogError> {
        self.reader.read(location).await
    }

    /// [`Recovery::read`] of each, in order.
    pub async fn read_many(&self, locations: &[Location]) -> Result<Vec<Bytes>, LogError> {
        self.reader.read_many(locations).await
    }

    /// Bytes `part` of the body of a data entry, which must lie within it.
    pub async fn read_part(
        &self,
        location: &Location,
        part: std::ops::Range<u32>,
    ) -> Result<Bytes, LogError> {
        self.reader.read_part(location, part).await
    }

    /// Body of an entry that is in memory.
    pub fn read_now(&self, location: &Location) -> Option<Bytes> {
        self.reader.now(location)
    }

    /// What lies in store and journal, to be looked at.
    pub fn survey(&self) -> Survey {
        Survey::new(&self.config, &self.header)
    }

    /// The torn tail, if the chain ends with one: segment, offset, and what is wrong there. It was
    /// never acknowledged.
    pub fn torn(&self) -> Option<(SegmentId, u32, String)> {
        let tail = self.tail.as_ref()?;
        match &tail.scanned.tail {
            Tail::Torn(fault) => Some((tail.found.id, tail.scanned.end, fault.to_string())),
            Tail::Footer(_) | Tail::Open => None,
        }
    }

    /// Epochs whose chain has ended, with the first void counter of each, as far as the chain read
    /// shows: for the sweep (R8).
    pub fn ended(&self) -> &[(u32, u32)] {
        &self.ended
    }

    /// The id at which the seal will be tried, once [`Recovery::next`] gave `None`: if
    /// [`Recovery::seal`] then gives `Open`, that is where the epoch ends.
    pub fn end(&self) -> Option<SegmentId> {
        self.end
    }

    /// Epochs and their highest reserved side counter, as far as the chain read shows: for the
    /// sweep (R7, R8).
    pub fn side_marks(&self) -> &[(u32, u32)] {
        &self.side_marks
    }

    /// Newest seq read so far, the log's own records included.
    pub fn last_seq(&self) -> Seq {
        self.last.unwrap_or(self.start.seq).max(self.start.seq)
    }
}

/// Directories on this machine in which a server of this volume leaves its locks.
fn local_homes(config: &LogConfig) -> Vec<PathBuf> {
    let store = config.store.local_dir().map(PathBuf::from);
    store.into_iter().chain(config.journal.clone()).collect()
}

impl LogConfig {
    fn refuse<T>(why: impl Into<String>) -> Result<T, LogError> {
        Err(LogError::Refused(why.into()))
    }
}
