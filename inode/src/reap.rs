use std::sync::atomic::Ordering;

use bytes::Bytes;
use headhunter::{Abort, Intent, LogError, Miss, Txn};

use crate::{
    Fault, FileId, Files, Inode, Pending,
    extent::{self, overlapping},
    files::{add_counter, damaged, load_any, save, save_unchanged, transact},
    key,
    limits::{self, MAX_FILE_BYTES, SCAN_KEYS},
};

impl Files {
    /// The last name of `inode` (nlink 0 already) is gone: frees it, or as much as one transaction
    /// may, and notes the rest; an inode that is held open only gets noted.
    pub fn unlinked(&self, txn: &mut Txn<'_>, inode: &mut Inode) -> Result<(), Fault> {
        if self.is_held(inode.id.ino) {
            save(txn, inode);
            self.note(txn, inode.id.ino, Pending::Open);
            return Ok(());
        }
        if !self.free(txn, inode)? {
            save(txn, inode);
            self.note(txn, inode.id.ino, Pending::Unlinked);
        }
        Ok(())
    }

    /// Keeps an inode alive until [`Files::release`], whatever happens to its names. False: it is
    /// gone already.
    pub async fn hold(&self, id: FileId) -> Result<bool, LogError> {
        transact(&self.index, |txn| {
            // Under the committer's lock: no unlink can come between the look and the count.
            let alive = match load_any(txn, id.ino)?.filter(|i| i.id == id) {
                Some(inode) => inode.nlink > 0 || may_reopen(txn, id.ino)?,
                None => false,
            };
            if alive {
                *self.held.lock().entry(id.ino).or_default() += 1;
            }
            Ok(alive)
        })
        .await
    }

    /// Gives one [`Files::hold`] back; the last one frees an inode without a name.
    pub async fn release(&self, id: FileId) -> Result<(), LogError> {
        let mut counted = false;
        transact(&self.index, |txn| {
            if !counted {
                counted = true;
                let mut held = self.held.lock();
                let Some(count) = held.get_mut(&id.ino) else { return Ok(()) };
                *count -= 1;
                if *count > 0 {
                    return Ok(());
                }
                held.remove(&id.ino);
            }
            match load_any(txn, id.ino)? {
                Some(mut inode) if inode.nlink == 0 && !self.is_held(id.ino) => {
                    self.unlinked(txn, &mut inode)
                }
                _ => Ok(()),
            }
        })
        .await
    }

    fn in_grace(&self) -> bool {
        let up = self.index.env().clock.monotonic().saturating_sub(self.mounted);
        up < self.tuning.orphan_grace
    }

    /// Goes on with the pending work of inode `ino`, one transaction's worth.
    pub async fn slice(&self, ino: u64) -> Result<(), LogError> {
        self.index.admit(Intent::Shrink).await?;
        transact(&self.index, |txn| self.slice_in(txn, ino)).await
    }

    /// One slice of whatever is pending, without waiting: for the beginning of other operations.
    pub fn tend_now(&self) {
        if !self.work.load(Ordering::Relaxed) {
            return;
        }
        let Ok(Some(ino)) = self.next_pending() else { return };
        let _later = self.index.transact(|txn| {
            self.slice_in(txn, ino).map_err(|fault| match fault {
                Fault::Miss(miss) => Abort::Miss(miss),
                other => Abort::Refused(other),
            })
        });
    }

    /// One slice of whatever is pending; true if more is left that can be done now.
    pub async fn tend(&self) -> Result<bool, LogError> {
        let next = loop {
            match self.next_pending() {
                Ok(next) => break next,
                Err(miss) => self.index.fault(miss).await?,
            }
        };
        let Some(ino) = next else { return Ok(false) };
        self.slice(ino).await?;
        Ok(true)
    }

    /// The first inode on the list that may be worked on now.
    fn next_pending(&self) -> Result<Option<u64>, Miss> {
        // Before the look: what is noted meanwhile must not be forgotten.
        self.work.store(false, Ordering::Relaxed);
        let view = self.index.view();
        let high = key::end(key::VOLUME, key::PENDING);
        let (mut from, mut waiting) = (0, false);
        loop {
            let low = key::with_u64(key::VOLUME, key::PENDING, from);
            let items = view.range(&low, &high, SCAN_KEYS).inspect_err(|_| {
                self.work.store(true, Ordering::Relaxed);
            })?;
            for (k, v) in &items {
                let Some(ino) = key::sub_u64(k) else { continue };
                from = ino + 1;
                let open = Pending::decode(v) == Some(Pending::Open);
                if open && (self.is_held(ino) || self.in_grace()) {
                    waiting = true;
                    continue;
                }
                self.work.store(true, Ordering::Relaxed);
                return Ok(Some(ino));
            }
            if items.len() < SCAN_KEYS {
                // Held ones are noted again by their release; those in grace need another look.
                if waiting && self.in_grace() {
                    self.work.store(true, Ordering::Relaxed);
                }
                return Ok(None);
            }
        }
    }

    fn slice_in(&self, txn: &mut Txn<'_>, ino: u64) -> Result<(), Fault> {
        match load_any(txn, ino)? {
            Some(mut inode) if inode.nlink == 0 && !self.is_held(ino) => {
                if !self.free(txn, &mut inode)? {
                    save_unchanged(txn, &inode);
                    // Half of it is gone: it cannot be opened again.
                    self.note(txn, ino, Pending::Unlinked);
                }
            }
            Some(mut inode) => {
                // Without a name it stays on the list, as open, until it is closed.
                if self.sweep_marks(txn, &mut inode)? && inode.nlink > 0 {
                    done(txn, ino);
                }
                save_unchanged(txn, &inode);
            }
            None => done(txn, ino),
        }
        Ok(())
    }

    /// Removes dead extents from the first mark on; the marks move with the work. True when no
    /// mark is left.
    fn sweep_marks(&self, txn: &mut Txn<'_>, inode: &mut Inode) -> Result<bool, Fault> {
        let Some(first) = inode.marks.first().copied() else { return Ok(true) };
        let most = self.tuning.slice_keys;
        let old = overlapping(txn, inode.id.ino, first.offset, MAX_FILE_BYTES, most + 1)?;
        for e in old.iter().take(most) {
            if inode.is_dead(e) {
                extent::remove(txn, inode, e);
            }
        }
        let Some(rest) = old.get(most) else {
            inode.marks.clear();
            return Ok(true);
        };
        for mark in &mut inode.marks {
            mark.offset = mark.offset.max(rest.start);
        }
        // Of marks at one offset the youngest says all that the others say.
        inode.marks.reverse();
        inode.marks.dedup_by_key(|mark| mark.offset);
        inode.marks.reverse();
        Ok(false)
    }

    /// Removes everything of an inode, at most one slice of it now. True when nothing is left.
    fn free(&self, txn: &mut Txn<'_>, inode: &mut Inode) -> Result<bool, Fault> {
        let ino = inode.id.ino;
        let most = self.tuning.slice_keys;
        let items =
            txn.range(&key::prefix(ino, key::TARGET), &key::end(ino, u8::MAX - 1), most + 1)?;
        // Names of xattrs make long keys: the record must stay as small as one of extents.
        let (mut now, mut bytes) = (0, 0);
        for (k, v) in items.iter().take(most) {
            bytes += k.len() + 16;
            if bytes > most * limits::REMOVAL_BYTES && now > 0 {
                break;
            }
            now += 1;
            match key::split(k) {
                Some((_, key::EXTENT, _)) => {
                    let extent = extent::decode(k, v)?;
                    extent::remove(txn, inode, &extent);
                }
                Some((_, key::TARGET | key::XATTR, _)) => txn.delete(k.clone()),
                _ => return Err(damaged(k)),
            }
        }
        if items.len() > now {
            return Ok(false);
        }
        txn.delete(Bytes::copy_from_slice(&key::attributes(ino)));
        let noted = key::with_u64(key::VOLUME, key::PENDING, ino);
        if txn.get(&noted)?.is_some() {
            done(txn, ino);
        }
        add_counter(txn, key::INODES, -1)?;
        Ok(true)
    }
}

/// An orphan that was open when the server died may be opened again within the grace time.
fn may_reopen(txn: &Txn<'_>, ino: u64) -> Result<bool, Miss> {
    let key = key::with_u64(key::VOLUME, key::PENDING, ino);
    Ok(txn.get(&key)?.and_then(|v| Pending::decode(&v)) == Some(Pending::Open))
}

fn done(txn: &mut Txn<'_>, ino: u64) {
    let key = key::with_u64(key::VOLUME, key::PENDING, ino);
    txn.delete(Bytes::copy_from_slice(&key));
}
