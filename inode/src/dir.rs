use std::hash::Hasher;

use bytes::Bytes;
use headhunter::Txn;
use siphasher::sip::SipHasher24;

use crate::{
    Entry, Fault, FileId, Files, Inode, Kind, Source,
    files::damaged,
    key,
    limits::{NAMES_PER_HASH, SCAN_KEYS},
};

/// Where a name stands, or could stand, in a directory.
#[derive(Clone, Debug)]
pub enum Slot {
    /// The name exists.
    Taken(Entry),
    /// It does not; this cookie is free for it. `None`: its hash has all the names it may have.
    Free(Option<u64>),
}

impl Slot {
    /// The entry, if the name exists.
    pub fn entry(&self) -> Option<&Entry> {
        match self {
            Self::Taken(entry) => Some(entry),
            Self::Free(_) => None,
        }
    }
}

impl Files {
    /// First cookie of `name`'s hash: 55 bits of SipHash-2-4 under the volume's secret, never 0,
    /// then eight zero bits (R21).
    fn hash(&self, name: &[u8]) -> u64 {
        let mut sip = SipHasher24::new_with_key(&self.name_secret);
        sip.write(name);
        let bits = self.tuning.hash_bits.clamp(1, 55);
        let hash = (sip.finish() >> 9) & ((1 << bits) - 1);
        hash.max(1) << 8
    }

    /// True if an entry `name` may have this cookie.
    pub(crate) fn cookie_fits(&self, name: &[u8], cookie: u64) -> bool {
        self.hash(name) == cookie & !0xff
    }

    /// Looks `name` up in directory `dir`.
    pub fn find(&self, from: &impl Source, dir: u64, name: &[u8]) -> Result<Slot, Fault> {
        let first = self.hash(name);
        let low = key::with_u64(dir, key::ENTRY, first);
        let high = key::with_u64(dir, key::ENTRY, first + NAMES_PER_HASH as u64);
        let mut free = first;
        for (k, v) in from.range(&low, &high, NAMES_PER_HASH)? {
            let entry = decode(&k, &v)?;
            if entry.name == name {
                return Ok(Slot::Taken(entry));
            }
            if entry.cookie == free {
                free += 1;
            }
        }
        Ok(Slot::Free((free < first + NAMES_PER_HASH as u64).then_some(free)))
    }

    /// Adds `name` at the free `slot` that [`Files::find`] gave. `dir` is changed, not saved.
    pub fn insert(
        &self,
        txn: &mut Txn<'_>,
        dir: &mut Inode,
        slot: &Slot,
        name: &[u8],
        (kind, id): (Kind, FileId),
    ) -> Result<(), Fault> {
        let Slot::Free(Some(cookie)) = *slot else {
            self.hash_full.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            tracing::warn!(dir = dir.id.ino, "no room: {NAMES_PER_HASH} names of one hash");
            return Err(Fault::NoRoom);
        };
        let entry = Entry { cookie, kind, id, name: Bytes::copy_from_slice(name) };
        put_entry(txn, dir.id.ino, &entry);
        dir.size = dir.size.saturating_add(Entry::weight(name));
        Ok(())
    }

    /// Lets `entry` of directory `dir` name another inode; its cookie stays.
    pub fn replace(&self, txn: &mut Txn<'_>, dir: u64, entry: &Entry, to: (Kind, FileId)) {
        let entry = Entry { kind: to.0, id: to.1, ..entry.clone() };
        put_entry(txn, dir, &entry);
    }

    /// Removes `entry`. `dir` is changed, not saved.
    pub fn erase(&self, txn: &mut Txn<'_>, dir: &mut Inode, entry: &Entry) {
        let key = key::with_u64(dir.id.ino, key::ENTRY, entry.cookie);
        txn.delete(Bytes::copy_from_slice(&key));
        dir.size = dir.size.saturating_sub(Entry::weight(&entry.name));
    }

    /// True when directory `dir` has no entry.
    pub fn is_empty_dir(&self, from: &impl Source, dir: u64) -> Result<bool, Fault> {
        let low = key::prefix(dir, key::ENTRY);
        Ok(from.range(&low, &key::end(dir, key::ENTRY), 1)?.is_empty())
    }

    /// Up to `limit` entries of `dir` with a cookie greater than `after`, ascending.
    pub fn entries(
        &self,
        from: &impl Source,
        dir: u64,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Entry>, Fault> {
        let Some(mut next) = after.checked_add(1) else { return Ok(Vec::new()) };
        let high = key::end(dir, key::ENTRY);
        let mut entries = Vec::with_capacity(limit.min(SCAN_KEYS));
        while entries.len() < limit {
            let want = (limit - entries.len()).min(SCAN_KEYS);
            let items = from.range(&key::with_u64(dir, key::ENTRY, next), &high, want)?;
            for (k, v) in &items {
                entries.push(decode(k, v)?);
            }
            match entries.last().and_then(|e: &Entry| e.cookie.checked_add(1)) {
                Some(cookie) if items.len() == want => next = cookie,
                _ => break,
            }
        }
        Ok(entries)
    }
}

fn put_entry(txn: &mut Txn<'_>, dir: u64, entry: &Entry) {
    let key = key::with_u64(dir, key::ENTRY, entry.cookie);
    txn.put(Bytes::copy_from_slice(&key), entry.encode());
}

fn decode(key: &[u8], value: &Bytes) -> Result<Entry, Fault> {
    let cookie = key::sub_u64(key).ok_or_else(|| damaged(key))?;
    Entry::decode(cookie, value).ok_or_else(|| damaged(key))
}
