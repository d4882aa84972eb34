//! A log in memory: no journal, no store, everything durable at once.
//!
//! With `history` it keeps its records too, so that tests can recover from any moment, and any of
//! its operations can be made to fail.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use logseg::{CheckpointName, Frame, Location, LogError, Replayed, SegmentId, Seq};
use parking_lot::{Mutex, RwLock};
use swiftclient::StoreError;

/// Bytes of a segment in memory: small, so that tests see many.
const SEGMENT: u32 = 1 << 20;
/// Bytes of an entry beside its body.
const ENTRY: u32 = 64;

#[derive(Default)]
struct Contents {
    entries: RwLock<HashMap<Location, Bytes>>,
    checkpoints: Mutex<BTreeMap<CheckpointName, Bytes>>,
    history: Option<Mutex<Vec<Replayed>>>,
    last: AtomicU64,
    side: AtomicU32,
    /// Counter of the open chain segment.
    chain: AtomicU32,
    epoch: AtomicU32,
    /// Operations that still succeed; negative: all do.
    until_failure: AtomicI64,
}

/// The log. Clones share it.
#[derive(Clone)]
pub(crate) struct Memory(Arc<Contents>);

fn len(bytes: usize) -> u32 {
    u32::try_from(bytes.next_multiple_of(8)).unwrap_or(u32::MAX) + ENTRY
}

impl Memory {
    /// An empty log. `history`: keep what recovery needs.
    pub fn new(history: bool) -> Self {
        let contents = Contents {
            history: history.then(Mutex::default),
            until_failure: AtomicI64::new(-1),
            ..Contents::default()
        };
        Self(Arc::new(contents))
    }

    /// The writer of a new epoch.
    pub fn pen(&self) -> MemoryPen {
        let epoch = self.0.epoch.fetch_add(1, Relaxed) + 1;
        self.0.side.store(0, Relaxed);
        self.0.chain.store(0, Relaxed);
        let segment = SegmentId::chain(epoch, 0);
        MemoryPen { memory: self.clone(), segment, end: 0, staged: Vec::new(), ahead: 0 }
    }

    /// One operation that may fail.
    pub fn step(&self) -> Result<(), LogError> {
        let left = self.0.until_failure.load(Relaxed);
        if left < 0 {
            return Ok(());
        }
        if left == 0 {
            return Err(LogError::Store(StoreError::Unavailable {
                what: "memory log".into(),
                reason: "made to fail".into(),
                retry_after: None,
            }));
        }
        self.0.until_failure.store(left - 1, Relaxed);
        Ok(())
    }

    pub fn read(&self, location: &Location) -> Option<Bytes> {
        self.0.entries.read().get(location).cloned()
    }

    pub fn read_or_fail(&self, location: &Location) -> Result<Bytes, LogError> {
        self.read(location).ok_or_else(|| LogError::Corrupt {
            segment: location.segment,
            offset: u64::from(location.offset),
            reason: "no such entry".into(),
        })
    }

    pub fn read_part(&self, location: &Location, part: Range<u32>) -> Result<Bytes, LogError> {
        let whole = self.read_or_fail(location)?;
        Ok(whole.slice(part.start as usize..part.end as usize))
    }

    pub fn last_seq(&self) -> Seq {
        Seq(self.0.last.load(Relaxed))
    }

    pub fn side_mark(&self) -> u32 {
        self.0.side.load(Relaxed)
    }

    pub fn side(&self) -> Result<MemorySide, LogError> {
        self.step()?;
        Ok(MemorySide {
            memory: self.clone(),
            segment: None,
            end: 0,
            written: Vec::new(),
            entries: Vec::new(),
        })
    }

    pub fn publish(&self, name: CheckpointName, bytes: Bytes) -> Result<(), LogError> {
        self.step()?;
        self.0.checkpoints.lock().insert(name, bytes);
        Ok(())
    }

    pub fn delete_checkpoints(&self, names: &[CheckpointName]) -> Result<(), LogError> {
        self.step()?;
        self.0.checkpoints.lock().retain(|name, _| !names.contains(name));
        Ok(())
    }

    pub fn delete_segments(&self, ids: &[SegmentId]) -> Result<(), LogError> {
        self.step()?;
        self.0.entries.write().retain(|location, _| !ids.contains(&location.segment));
        if let Some(history) = &self.0.history {
            history.lock().retain(|record| !ids.contains(&record.segment));
        }
        Ok(())
    }
}

#[cfg(test)]
impl Memory {
    /// The operation after the next `n` fails, and all that follow; `None`: none does.
    pub fn fail_after(&self, n: Option<i64>) {
        self.0.until_failure.store(n.unwrap_or(-1), Relaxed);
    }

    /// All checkpoints, ascending.
    pub fn checkpoints(&self) -> Vec<(CheckpointName, Bytes)> {
        self.0.checkpoints.lock().iter().map(|(name, bytes)| (*name, bytes.clone())).collect()
    }

    /// All records from segment `from` on, above `seq`.
    pub fn replay(&self, from: SegmentId, seq: Seq) -> Vec<Replayed> {
        let history = self.0.history.as_ref().unwrap().lock();
        history.iter().filter(|r| r.segment >= from && r.seq > seq).cloned().collect()
    }

    /// Segments that hold anything.
    pub fn segments(&self) -> std::collections::BTreeSet<SegmentId> {
        let mut ids: std::collections::BTreeSet<_> =
            self.0.entries.read().keys().map(|location| location.segment).collect();
        if let Some(history) = &self.0.history {
            ids.extend(history.lock().iter().map(|record| record.segment));
        }
        ids
    }

    /// Every epoch so far is over once the next pen is made.
    pub fn ended(&self) -> Vec<crate::checkpoint::format::Ended> {
        let epoch = self.0.epoch.load(Relaxed);
        let side_mark = self.side_mark();
        let seal = self.0.chain.load(Relaxed) + 1;
        vec![crate::checkpoint::format::Ended { epoch, seal, side_mark, rounds: 0 }]
    }

    /// A side segment that was put and never told of, as of a checkpoint that crashed.
    pub fn litter(&self) -> SegmentId {
        let mut side = self.side().unwrap();
        side.put(b"litter").unwrap();
        side.finish().unwrap()[0]
    }

    /// A copy of everything: what a crash now would leave.
    pub fn photograph(&self) -> Self {
        let history = self.0.history.as_ref().map(|h| Mutex::new(h.lock().clone()));
        Self(Arc::new(Contents {
            entries: RwLock::new(self.0.entries.read().clone()),
            checkpoints: Mutex::new(self.0.checkpoints.lock().clone()),
            history,
            last: AtomicU64::new(self.0.last.load(Relaxed)),
            side: AtomicU32::new(self.0.side.load(Relaxed)),
            chain: AtomicU32::new(self.0.chain.load(Relaxed)),
            epoch: AtomicU32::new(self.0.epoch.load(Relaxed)),
            until_failure: AtomicI64::new(-1),
        }))
    }
}

/// Appends to the chain.
pub(crate) struct MemoryPen {
    memory: Memory,
    segment: SegmentId,
    end: u32,
    staged: Vec<(Location, Bytes)>,
    ahead: u32,
}

impl MemoryPen {
    pub fn begin(&mut self) {
        if self.end > SEGMENT {
            self.roll();
        }
    }

    pub fn stage(&mut self, frame: &Frame) -> Location {
        let stored = len(frame.len());
        let location = Location { segment: self.segment, offset: self.end + self.ahead, stored };
        self.ahead += stored;
        self.staged.push((location, frame.decoded().clone()));
        location
    }

    pub fn room(&self) -> u64 {
        logseg::TRANSACTION_BYTES.saturating_sub(u64::from(self.ahead))
    }

    pub fn last_seq(&self) -> Seq {
        self.memory.last_seq()
    }

    pub fn next_seq(&self) -> Seq {
        Seq(self.memory.0.last.load(Relaxed) + 1)
    }

    pub fn commit(&mut self, record: &[u8]) -> Seq {
        let seq = self.next_seq();
        self.memory.0.last.store(seq.0, Relaxed);
        self.end += self.ahead + len(record.len());
        self.ahead = 0;
        if !self.staged.is_empty() {
            self.memory.0.entries.write().extend(self.staged.drain(..));
        }
        if let Some(history) = &self.memory.0.history {
            let record = Bytes::copy_from_slice(record);
            history.lock().push(Replayed { seq, segment: self.segment, record });
        }
        seq
    }

    pub fn abort(&mut self) {
        self.staged.clear();
        self.ahead = 0;
    }

    pub fn roll(&mut self) -> SegmentId {
        self.segment = SegmentId(self.segment.0 + 1);
        self.memory.0.chain.store(self.segment.counter(), Relaxed);
        self.end = 0;
        self.segment
    }

    pub fn open_segment(&self) -> SegmentId {
        self.segment
    }
}

/// Writes side segments.
pub(crate) struct MemorySide {
    memory: Memory,
    segment: Option<SegmentId>,
    end: u32,
    written: Vec<SegmentId>,
    /// Not to be read before it is stored.
    entries: Vec<(Location, Bytes)>,
}

impl MemorySide {
    pub fn put(&mut self, bytes: &[u8]) -> Result<Location, LogError> {
        self.memory.step()?;
        let segment = match self.segment {
            Some(segment) if self.end < SEGMENT => segment,
            _ => {
                let counter = self.memory.0.side.fetch_add(1, Relaxed);
                let epoch = self.memory.0.epoch.load(Relaxed);
                self.end = 0;
                self.written.push(SegmentId::side(epoch, counter));
                SegmentId::side(epoch, counter)
            }
        };
        self.segment = Some(segment);
        let stored = len(bytes.len());
        let location = Location { segment, offset: self.end, stored };
        self.end += stored;
        self.entries.push((location, Bytes::copy_from_slice(bytes)));
        Ok(location)
    }

    pub fn finish(self) -> Result<Vec<SegmentId>, LogError> {
        let done = self.memory.step();
        // What failed may be there all the same.
        self.memory.0.entries.write().extend(self.entries);
        done?;
        Ok(self.written)
    }
}
