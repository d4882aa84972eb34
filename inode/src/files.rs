use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use headhunter::{Abort, Index, LogError, SyncMode, Txn};
use parking_lot::Mutex;

use crate::{
    Fault, FileId, Inode, Kind, Pending, ROOT, Source, Timestamp, format, key, limits,
    numbers::Numbers,
    streams::{ReadAhead, Streams},
};

/// What tests make small so that limits are met; the default is the product.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    /// Bits of the name hash that are used, 1..=55. A volume must always be opened with the same.
    pub hash_bits: u32,
    /// Most links of an inode.
    pub links: u32,
    /// Most keys that one transaction removes.
    pub slice_keys: usize,
    /// Inode numbers reserved by one record; at least 4.
    pub numbers_block: u64,
    /// How long an orphan that was open is kept after a restart.
    pub orphan_grace: Duration,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            hash_bits: 55,
            links: limits::LINKS,
            slice_keys: limits::SLICE_KEYS,
            numbers_block: limits::NUMBERS_BLOCK,
            orphan_grace: Duration::from_secs(limits::ORPHAN_GRACE_SECONDS),
        }
    }
}

/// The files of one volume.
pub struct Files {
    pub(crate) index: Index,
    pub(crate) tuning: Tuning,
    pub(crate) name_secret: [u8; 16],
    pub(crate) numbers: Numbers,
    /// Open handles per inode. Changed only under the committer's lock, so that the last unlink
    /// and the first open of an inode cannot miss each other.
    pub(crate) held: Mutex<HashMap<u64, u32>>,
    /// False only when the list of pending work holds nothing that can be done now.
    pub(crate) work: AtomicBool,
    pub(crate) hash_full: AtomicU64,
    pub(crate) streams: Streams,
    pub(crate) mounted: Duration,
}

impl Files {
    /// Opens the files of `index`; an empty index gets a root directory (inode 1) owned by
    /// `root_owner` (uid, gid), mode 0755. Durable on return: a first block of inode numbers.
    pub async fn open(
        index: Index,
        root_owner: (u32, u32),
        tuning: Tuning,
    ) -> Result<Self, LogError> {
        let now = Timestamp::from(index.env().clock.wall());
        transact(&index, |txn| {
            if Source::get(txn, &key::prefix(key::VOLUME, key::NEXT_NUMBER))?.is_some() {
                return Ok(());
            }
            // Never format over files whose counter is lost.
            if !txn.range(&key::prefix(1, 0), &key::prefix(key::VOLUME, 0), 1)?.is_empty() {
                return Err(damaged(&key::prefix(key::VOLUME, key::NEXT_NUMBER)));
            }
            let mut root =
                Inode::new(FileId { ino: ROOT, generation: txn.epoch() }, Kind::Directory);
            (root.uid, root.gid) = root_owner;
            (root.mode, root.nlink, root.parent) = (0o755, 2, ROOT);
            (root.atime, root.mtime, root.ctime) = (now, now, now);
            save(txn, &mut root);
            put_counter(txn, key::NEXT_NUMBER, ROOT + 1);
            put_counter(txn, key::INODES, 1);
            Ok(())
        })
        .await?;
        let numbers = Numbers::open(&index, tuning.numbers_block).await?;
        let mounted = index.env().clock.monotonic();
        // Small volumes have small transactions; a removal takes a key and a change of usage.
        let fit = (index.payload_bytes() / limits::REMOVAL_BYTES).max(1);
        Ok(Self {
            tuning: Tuning { slice_keys: tuning.slice_keys.min(fit), ..tuning },
            name_secret: index.header().name_secret,
            numbers,
            held: Mutex::default(),
            work: AtomicBool::new(true),
            hash_full: AtomicU64::new(0),
            streams: Streams::new(index.ahead_bytes()),
            mounted,
            index,
        })
    }

    /// The files of an index that is only looked at: nothing is formatted, no number is reserved.
    pub fn still(index: Index, tuning: Tuning) -> Self {
        Self {
            tuning,
            name_secret: index.header().name_secret,
            numbers: Numbers::none(),
            held: Mutex::default(),
            work: AtomicBool::new(false),
            hash_full: AtomicU64::new(0),
            streams: Streams::new(0),
            mounted: index.env().clock.monotonic(),
            index,
        }
    }

    /// The index below.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Names refused because their hash had all the names it may have (R21).
    pub fn hash_full(&self) -> u64 {
        self.hash_full.load(Ordering::Relaxed)
    }

    /// What read-ahead has done since the volume was opened.
    pub fn read_ahead(&self) -> ReadAhead {
        self.streams.done()
    }

    /// Most links of an inode.
    pub fn most_links(&self) -> u32 {
        self.tuning.links
    }

    /// A fresh inode number. Waits for a sync only when a block is used up.
    pub async fn take_number(&self) -> Result<u64, LogError> {
        self.numbers.take(&self.index).await
    }

    /// Gives a number back that no transaction committed.
    pub fn return_number(&self, ino: u64) {
        self.numbers.give_back(ino);
    }

    /// The inode, unless it is gone: absent, of another generation, or without a name and not held.
    pub fn load(&self, from: &impl Source, id: FileId) -> Result<Option<Inode>, Fault> {
        let inode = self.load_number(from, id.ino)?;
        Ok(inode.filter(|i| i.id.generation == id.generation))
    }

    /// As [`Files::load`], whatever its generation.
    pub fn load_number(&self, from: &impl Source, ino: u64) -> Result<Option<Inode>, Fault> {
        let Some(inode) = load_any(from, ino)? else { return Ok(None) };
        Ok((inode.nlink > 0 || self.is_held(ino)).then_some(inode))
    }

    /// Target of symlink `ino`.
    pub fn target(&self, from: &impl Source, ino: u64) -> Result<Bytes, Fault> {
        let mut items =
            from.range(&key::prefix(ino, key::TARGET), &key::end(ino, key::TARGET), 9)?;
        if items.len() == 1 {
            return Ok(items.remove(0).1);
        }
        let mut target = BytesMut::new();
        items.iter().for_each(|(_, part)| target.extend_from_slice(part));
        Ok(target.freeze())
    }

    /// Sets the target of the new symlink `inode`, and its size.
    pub fn set_target(&self, txn: &mut Txn<'_>, inode: &mut Inode, target: &[u8]) {
        for (n, part) in target.chunks(limits::TARGET_PART_BYTES).enumerate() {
            let key = key::target(inode.id.ino, u8::try_from(n).unwrap_or(u8::MAX));
            txn.put(Bytes::copy_from_slice(&key), Bytes::copy_from_slice(part));
        }
        inode.size = target.len() as u64;
    }

    /// Counts an inode made.
    pub fn count_made(&self, txn: &mut Txn<'_>) -> Result<(), Fault> {
        add_counter(txn, key::INODES, 1)
    }

    /// Notes that a session of a face holds locks, which a later process is to wait for.
    pub fn note_locker(&self, txn: &mut Txn<'_>, session: &[u8; 16]) {
        txn.put(Bytes::copy_from_slice(&key::locker(session)), Bytes::new());
    }

    /// Takes that note back.
    pub fn forget_locker(&self, txn: &mut Txn<'_>, session: &[u8; 16]) {
        txn.delete(Bytes::copy_from_slice(&key::locker(session)));
    }

    /// At most `most` of the sessions that are noted.
    pub fn lockers(&self, from: &impl Source, most: usize) -> Result<Vec<[u8; 16]>, Fault> {
        let (low, high) =
            (key::prefix(key::VOLUME, key::LOCKER), key::end(key::VOLUME, key::LOCKER));
        let found = from.range(&low, &high, most)?;
        let id = |key: &Bytes| key.get(9..).and_then(|id| id.try_into().ok());
        found.iter().map(|(key, _)| id(key).ok_or_else(|| damaged(key))).collect()
    }

    /// Inodes that exist.
    pub fn inodes(&self, from: &impl Source) -> Result<u64, Fault> {
        get_counter(from, key::INODES)
    }

    /// True while a face holds the inode open.
    pub fn is_held(&self, ino: u64) -> bool {
        self.held.lock().contains_key(&ino)
    }

    /// Puts the attribute record of `inode`, changed by this transaction.
    pub fn save(&self, txn: &mut Txn<'_>, inode: &mut Inode) {
        save(txn, inode);
    }

    /// Notes work for [`Files::slice`].
    pub(crate) fn note(&self, txn: &mut Txn<'_>, ino: u64, pending: Pending) {
        let key = key::with_u64(key::VOLUME, key::PENDING, ino);
        txn.put(Bytes::copy_from_slice(&key), pending.encode());
        self.work.store(true, Ordering::Relaxed);
    }
}

/// Whether it has a name or not.
pub(crate) fn load_any(from: &impl Source, ino: u64) -> Result<Option<Inode>, Fault> {
    if ino == 0 || ino == key::VOLUME {
        return Ok(None);
    }
    let key = key::attributes(ino);
    let Some(value) = from.get(&key)? else { return Ok(None) };
    Inode::decode(ino, &value).map(Some).ok_or_else(|| damaged(&key))
}

pub(crate) fn save(txn: &mut Txn<'_>, inode: &mut Inode) {
    inode.last = txn.seq();
    save_unchanged(txn, inode);
}

/// Puts the record without moving its `last`: for work that COMMIT need not wait for.
pub(crate) fn save_unchanged(txn: &mut Txn<'_>, inode: &Inode) {
    txn.put(Bytes::copy_from_slice(&key::attributes(inode.id.ino)), inode.encode());
}

pub(crate) fn get_counter(from: &impl Source, kind: u8) -> Result<u64, Fault> {
    let key = key::prefix(key::VOLUME, kind);
    let Some(value) = from.get(&key)? else { return Err(damaged(&key)) };
    format::counter(&value).ok_or_else(|| damaged(&key))
}

pub(crate) fn put_counter(txn: &mut Txn<'_>, kind: u8, value: u64) {
    let key = key::prefix(key::VOLUME, kind);
    txn.put(Bytes::copy_from_slice(&key), Bytes::copy_from_slice(&value.to_le_bytes()));
}

pub(crate) fn add_counter(txn: &mut Txn<'_>, kind: u8, delta: i64) -> Result<(), Fault> {
    let value = get_counter(txn, kind)?;
    put_counter(txn, kind, value.saturating_add_signed(delta));
    Ok(())
}

pub(crate) fn damaged(key: &[u8]) -> Fault {
    Fault::Damaged(match key::split(key) {
        Some((ino, kind, sub)) => format!("index key (inode {ino}, kind {kind}, {sub:02x?})"),
        None => format!("index key {key:02x?}"),
    })
}

/// Runs `body` until it does not miss. For work of files themselves; `fs` has its own loop.
pub(crate) async fn transact<R>(
    index: &Index,
    mut body: impl FnMut(&mut Txn<'_>) -> Result<R, Fault>,
) -> Result<R, LogError> {
    loop {
        let done = index.transact(|txn| {
            body(txn).map_err(|fault| match fault {
                Fault::Miss(miss) => Abort::Miss(miss),
                other => Abort::Refused(other),
            })
        });
        match done {
            Ok(committed) => return Ok(committed.value),
            Err(Abort::Miss(miss)) => index.fault(miss).await?,
            Err(Abort::Log(error)) => return Err(error),
            Err(Abort::Refused(fault)) => return Err(LogError::Refused(format!("{fault:?}"))),
        }
    }
}

/// Waits until `seq` is durable.
pub(crate) async fn sync(index: &Index, seq: headhunter::Seq) -> Result<(), LogError> {
    if index.durable_seq() >= seq {
        return Ok(());
    }
    index.sync(seq, SyncMode::Inline).await
}
