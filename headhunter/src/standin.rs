//! STAND-IN: an in-memory index with the real interface, so that the storeys above can be built
//! while the tree is. To be replaced whole.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use logseg::{Codec, Frame, Location, LogError, SegmentId, Seq, SyncMode, VolumeHeader};
use parking_lot::{Mutex, RwLock};
use swiftclient::seam::Env;

/// A page that is not in memory. Give it to [`Index::fault`], then begin again.
#[derive(Clone, Debug)]
pub struct Miss(());

/// Why a transaction was given up. Nothing was changed.
#[derive(Debug)]
pub enum Abort<E> {
    /// A page is missing: fault it and run the closure again from its first check.
    Miss(Miss),
    /// The closure's own verdict.
    Refused(E),
    /// The log took nothing: fenced, read-only or full.
    Log(LogError),
}

impl<E> From<Miss> for Abort<E> {
    fn from(miss: Miss) -> Self {
        Self::Miss(miss)
    }
}

/// Outcome of a committed transaction.
#[derive(Debug)]
pub struct Committed<R> {
    /// What the closure returned.
    pub value: R,
    /// Its place in commit order; unchanged (the newest seq so far) where it changed nothing.
    pub seq: Seq,
}

/// Identity of a non-repeatable request (R23), opaque here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestTag {
    /// Who asks: an address without port, a client uuid.
    pub client: [u8; 16],
    /// The client's own number (xid).
    pub id: u64,
    /// Checksum of the call.
    pub digest: u64,
}

/// A request that was committed, as the reply table (R23) remembers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// Its place in commit order: answer only once this is durable.
    pub seq: Seq,
    /// At most 64 bytes with which the face can rebuild its answer.
    pub outcome: Bytes,
}

/// One item of a range scan.
pub type Item = (Bytes, Bytes);

type Map = BTreeMap<Bytes, Bytes>;

/// An immutable root. Cheap to take; keep it for one request only.
#[derive(Clone)]
pub struct View {
    map: Arc<Map>,
}

impl View {
    /// Value of `key`, at most 3 KiB.
    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Miss> {
        Ok(self.map.get(key).cloned())
    }

    /// Up to `limit` items with `from` <= key < `to`, ascending.
    pub fn range(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Item>, Miss> {
        if from >= to {
            return Ok(Vec::new());
        }
        let items = self
            .map
            .range::<[u8], _>((std::ops::Bound::Included(from), std::ops::Bound::Excluded(to)));
        Ok(items.take(limit).map(|(k, v)| (k.clone(), v.clone())).collect())
    }

    /// The last item with `from` <= key < `to`.
    pub fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<Item>, Miss> {
        if from >= to {
            return Ok(None);
        }
        let mut items = self
            .map
            .range::<[u8], _>((std::ops::Bound::Included(from), std::ops::Bound::Excluded(to)));
        Ok(items.next_back().map(|(k, v)| (k.clone(), v.clone())))
    }
}

/// A transaction in the making: sees its own writes, touches nothing until it commits.
///
/// It runs under the committer's lock, so what it reads cannot change before it commits. It must
/// be short and must not wait.
pub struct Txn<'a> {
    index: &'a Index,
    base: Arc<Map>,
    writes: BTreeMap<Bytes, Option<Bytes>>,
    frames: Vec<(Location, Bytes)>,
    usage: HashMap<SegmentId, i64>,
    tag: Option<(RequestTag, Bytes)>,
    seq: Seq,
}

impl Txn<'_> {
    /// As [`View::get`], own writes included.
    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Miss> {
        match self.writes.get(key) {
            Some(value) => Ok(value.clone()),
            None => Ok(self.base.get(key).cloned()),
        }
    }

    /// As [`View::range`], own writes included.
    pub fn range(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Item>, Miss> {
        if from >= to {
            return Ok(Vec::new());
        }
        let bounds = (std::ops::Bound::Included(from), std::ops::Bound::Excluded(to));
        let mut merged: BTreeMap<Bytes, Bytes> = BTreeMap::new();
        let extra = self.writes.range::<[u8], _>(bounds).count();
        for (k, v) in self.base.range::<[u8], _>(bounds).take(limit.saturating_add(extra)) {
            merged.insert(k.clone(), v.clone());
        }
        for (k, v) in self.writes.range::<[u8], _>(bounds) {
            match v {
                Some(v) => merged.insert(k.clone(), v.clone()),
                None => merged.remove(k),
            };
        }
        Ok(merged.into_iter().take(limit).collect())
    }

    /// As [`View::last`], own writes included.
    pub fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<Item>, Miss> {
        Ok(self.range(from, to, usize::MAX)?.pop())
    }

    /// Sets `key` (at most 280 bytes) to `value` (at most 3 KiB).
    pub fn put(&mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.writes.insert(key.into(), Some(value.into()));
    }

    /// Removes `key`, present or not.
    pub fn delete(&mut self, key: impl Into<Bytes>) {
        self.writes.insert(key.into(), None);
    }

    /// Appends a data frame that [`Frame::data`] prepared outside the lock. It becomes part of the
    /// log only if the transaction commits, in the same segment as its record.
    pub fn append(&mut self, frame: &Frame) -> Location {
        let n = self.index.inner.next_offset.fetch_add(8, Ordering::Relaxed);
        let location = Location {
            segment: SegmentId::chain(1, u32::try_from(n >> 24).unwrap_or(0)),
            offset: u32::try_from(n & 0xff_ffff).unwrap_or(0),
            stored: u32::try_from(frame.len()).unwrap_or(0),
        };
        self.frames.push((location, frame.decoded().clone()));
        location
    }

    /// Accounts `delta` referenced logical bytes to `segment` (R9): positive where an extent now
    /// points there, negative where one no longer does.
    pub fn account(&mut self, segment: SegmentId, delta: i64) {
        *self.usage.entry(segment).or_default() += delta;
    }

    /// The seq that this transaction will have if it commits: the birth of its extents (R14).
    pub fn seq(&self) -> Seq {
        self.seq
    }

    /// The writer's epoch: the generation of inodes created now (DESIGN §6).
    pub fn epoch(&self) -> u32 {
        1
    }

    /// Remembers the outcome (at most 64 bytes) of a non-repeatable request with this record (R23).
    pub fn remember(&mut self, tag: RequestTag, outcome: impl Into<Bytes>) {
        self.tag = Some((tag, outcome.into()));
    }

    /// True when nothing was put, deleted or appended.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.frames.is_empty()
    }
}

/// What a caller wants to do, for admission (R16, R18).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// Adds data or names: refused with `Full` at the reserve, slowed at the budgets.
    Grow {
        /// Payload bytes that will be appended.
        bytes: u64,
    },
    /// Removes or truncates: may use the reserve.
    Shrink,
}

/// The index of one volume. Clones share it.
#[derive(Clone)]
pub struct Index {
    inner: Arc<Inner>,
}

struct Inner {
    map: RwLock<Arc<Map>>,
    commit: Mutex<Seq>,
    frames: RwLock<HashMap<Location, Bytes>>,
    replies: Mutex<HashMap<RequestTag, Remembered>>,
    next_offset: AtomicU64,
    env: Env,
}

impl Index {
    /// An empty volume in memory.
    pub fn in_memory(env: Env) -> Self {
        Self {
            inner: Arc::new(Inner {
                map: RwLock::default(),
                commit: Mutex::default(),
                frames: RwLock::default(),
                replies: Mutex::default(),
                next_offset: AtomicU64::new(0),
                env,
            }),
        }
    }

    /// The newest committed root.
    pub fn view(&self) -> View {
        View { map: self.inner.map.read().clone() }
    }

    /// Runs `body` under the committer's lock and commits what it staged as one record. Never
    /// waits. A body that stages nothing commits nothing.
    pub fn transact<R, E>(
        &self,
        body: impl FnOnce(&mut Txn<'_>) -> Result<R, Abort<E>>,
    ) -> Result<Committed<R>, Abort<E>> {
        let mut last = self.inner.commit.lock();
        let base = self.inner.map.read().clone();
        let mut txn = Txn {
            index: self,
            base,
            writes: BTreeMap::new(),
            frames: Vec::new(),
            usage: HashMap::new(),
            tag: None,
            seq: Seq(last.0 + 1),
        };
        let value = body(&mut txn)?;
        if txn.is_empty() {
            return Ok(Committed { value, seq: *last });
        }
        let Txn { base, writes, frames, tag, seq, .. } = txn;
        drop(base);
        *last = seq;
        self.inner.frames.write().extend(frames);
        if let Some((tag, outcome)) = tag {
            self.inner.replies.lock().insert(tag, Remembered { seq, outcome });
        }
        let mut map = self.inner.map.write();
        let map = Arc::make_mut(&mut map);
        for (key, value) in writes {
            match value {
                Some(value) => map.insert(key, value),
                None => map.remove(&key),
            };
        }
        Ok(Committed { value, seq })
    }

    /// Waits until there is room for `intent` (R16: slowed from 60 %, stopped at 80 % dirty), or
    /// says that there is none (R18). Call it before any lock and before `transact`.
    pub async fn admit(&self, _intent: Intent) -> Result<(), LogError> {
        Ok(())
    }

    /// Brings a missing page into memory.
    pub async fn fault(&self, _miss: Miss) -> Result<(), LogError> {
        Ok(())
    }

    /// The decoded bytes of a data entry, if they are in memory: never waits.
    pub fn read_now(&self, location: &Location) -> Option<Bytes> {
        self.inner.frames.read().get(location).cloned()
    }

    /// The decoded bytes of a data entry. Hold the [`View`] that gave the location meanwhile: it
    /// keeps the segment from being retired (R8).
    pub async fn read(&self, location: &Location) -> Result<Bytes, LogError> {
        self.read_now(location).ok_or_else(|| LogError::Corrupt {
            segment: location.segment,
            offset: u64::from(location.offset),
            reason: "no such entry".into(),
        })
    }

    /// Newest committed seq.
    pub fn last_seq(&self) -> Seq {
        *self.inner.commit.lock()
    }

    /// Newest durable seq.
    pub fn durable_seq(&self) -> Seq {
        self.last_seq()
    }

    /// Waits until everything up to and including `seq` is durable.
    pub async fn sync(&self, _seq: Seq, _mode: SyncMode) -> Result<(), LogError> {
        Ok(())
    }

    /// What is remembered of a request (R23).
    pub fn remembered(&self, tag: &RequestTag) -> Option<Remembered> {
        self.inner.replies.lock().get(tag).cloned()
    }

    /// Room of the volume in bytes, reserve left out (statfs).
    pub fn room(&self) -> Room {
        Room { total: 1 << 40, free: 1 << 39 }
    }

    /// How this volume's frames are to be stored: the argument of [`Frame::data`].
    pub fn codec(&self) -> Codec {
        Codec::Stored
    }

    /// The volume's constants: name-hash secret, handle key, uuid.
    pub fn header(&self) -> VolumeHeader {
        VolumeHeader {
            uuid: [7; 16],
            segment_bytes: 16 << 20,
            fencing: true,
            name_secret: [7; 16],
            handle_key: [7; 32],
            wrapped_key: None,
        }
    }

    /// The seams.
    pub fn env(&self) -> &Env {
        &self.inner.env
    }
}

/// Room of a volume, bytes, reserve left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Whole size.
    pub total: u64,
    /// Free to writers.
    pub free: u64,
}
